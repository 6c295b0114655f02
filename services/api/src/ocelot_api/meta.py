"""Health, metrics, and the public keys."""

from typing import Final

from fastapi import APIRouter, Response
from fastapi.responses import JSONResponse
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from ocelot_api.ingest.endpoints import REGISTRY_GRACE_SEC
from ocelot_api.operations import Schema, answer, content, operation
from ocelot_common.registry.model import KeyState
from ocelot_common.registry.snapshot import RegistrySnapshot

_TEXT: Final[Schema] = {"type": "string"}
_READINESS: Final[Schema] = {
    "type": "object",
    "required": ["status", "causes"],
    "properties": {
        "status": {"type": "string", "enum": ["ready", "unavailable"]},
        "causes": {"type": "object", "additionalProperties": _TEXT},
    },
}
_HEALTH: Final[Schema] = {
    "type": "object",
    "required": ["status"],
    "properties": {"status": {"type": "string", "const": "ok"}},
}
_KEYS: Final[Schema] = {
    "type": "object",
    "required": ["keys"],
    "properties": {
        "keys": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["kty", "kid", "alg", "use"],
                "properties": dict.fromkeys(("kty", "kid", "alg", "use", "crv", "x"), _TEXT),
            },
        }
    },
}
_AWAY: Final = {"registry": "the registry has not been read"}

HEALTHZ: Final = operation(
    "health", answers={200: answer("It does", content(_HEALTH, {"Alive": {"status": "ok"}}))}
)
READYZ: Final = operation(
    "readiness",
    answers={
        200: answer("It can", content(_READINESS, {"Ready": {"status": "ready", "causes": {}}})),
        503: answer(
            "It can't, and why",
            content(_READINESS, {"Away": {"status": "unavailable", "causes": _AWAY}}),
        ),
    },
)
METRICS: Final = operation(
    "metrics",
    answers={
        200: answer(
            "Prometheus's text format",
            content(
                _TEXT,
                {"A counter": 'ocelot_api_events_accepted_total{tenant="acme"} 17.0\n'},
                media_type="text/plain",
            ),
        )
    },
)
JWKS: Final = operation(
    "signing_keys",
    answers={
        200: answer(
            "A JSON Web Key Set",
            content(
                _KEYS,
                {
                    "One key": {
                        "keys": [
                            {
                                "kty": "OKP",
                                "crv": "Ed25519",
                                "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo",
                                "kid": "2026-11",
                                "alg": "EdDSA",
                                "use": "sig",
                            }
                        ]
                    }
                },
            ),
        )
    },
)


def meta_router(snapshot: RegistrySnapshot, registry: CollectorRegistry) -> APIRouter:
    """Routes of the process itself; they need no token."""
    router = APIRouter(tags=["service"])

    @router.get("/healthz", summary="Whether the process lives", openapi_extra=HEALTHZ)
    async def healthz() -> JSONResponse:
        return JSONResponse({"status": "ok"})

    @router.get("/readyz", summary="Whether the process can take requests", openapi_extra=READYZ)
    async def readyz() -> JSONResponse:
        # SQS and OpenSearch are not asked: their failures are answered request by request.
        if snapshot.unconfirmed_sec > REGISTRY_GRACE_SEC:
            return JSONResponse({"status": "unavailable", "causes": _AWAY}, status_code=503)
        return JSONResponse({"status": "ready", "causes": {}})

    @router.get(
        "/metrics",
        summary="Prometheus metrics",
        response_class=Response,
        openapi_extra=METRICS,
    )
    async def metrics() -> Response:
        return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)

    @router.get(
        "/.well-known/jwks.json",
        summary="Keys that sign Ocelot's tokens (RFC 7517)",
        openapi_extra=JWKS,
    )
    async def jwks() -> JSONResponse:
        keys = [
            {**key.jwk, "kid": key.kid, "alg": key.alg, "use": "sig"}
            for key in snapshot.published_keys()
            if key.state is KeyState.ACTIVE
        ]
        return JSONResponse({"keys": keys}, headers={"Cache-Control": "max-age=60"})

    return router
