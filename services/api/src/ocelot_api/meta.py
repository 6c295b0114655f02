"""Health, metrics, and the public keys."""

from fastapi import APIRouter, Response
from fastapi.responses import JSONResponse
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from ocelot_api.ingest.endpoints import REGISTRY_GRACE_SEC
from ocelot_common.registry.model import KeyState
from ocelot_common.registry.snapshot import RegistrySnapshot


def meta_router(snapshot: RegistrySnapshot, registry: CollectorRegistry) -> APIRouter:
    """Routes of the process itself; they need no token."""
    router = APIRouter(tags=["service"])

    @router.get("/healthz", summary="Whether the process lives")
    async def healthz() -> dict[str, str]:
        return {"status": "ok"}

    @router.get("/readyz", summary="Whether the process can take requests")
    async def readyz() -> JSONResponse:
        # SQS and OpenSearch are not asked: their failures are answered request by request.
        if snapshot.unconfirmed_sec > REGISTRY_GRACE_SEC:
            causes = {"registry": "the registry has not been read"}
            return JSONResponse({"status": "unavailable", "causes": causes}, status_code=503)
        return JSONResponse({"status": "ready", "causes": {}})

    @router.get("/metrics", summary="Prometheus metrics", response_class=Response)
    async def metrics() -> Response:
        return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)

    @router.get("/.well-known/jwks.json", summary="Keys that sign Ocelot's tokens (RFC 7517)")
    async def jwks() -> JSONResponse:
        keys = [
            {**key.jwk, "kid": key.kid, "alg": key.alg, "use": "sig"}
            for key in snapshot.published_keys()
            if key.state is KeyState.ACTIVE
        ]
        return JSONResponse({"keys": keys}, headers={"Cache-Control": "max-age=60"})

    return router
