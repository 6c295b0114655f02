"""The public keys. Probes and metrics are on a port of their own (`ocelot_common.probes`)."""

from typing import Final

from fastapi import APIRouter
from fastapi.responses import JSONResponse

from ocelot_api.operations import Schema, answer, content, operation
from ocelot_common.registry.model import KeyState
from ocelot_common.registry.snapshot import RegistrySnapshot

_TEXT: Final[Schema] = {"type": "string"}
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

JWKS: Final = operation(
    "signing_keys",
    answers={
        200: answer(
            "A JSON Web Key Set (RFC 7517).",
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


def meta_router(snapshot: RegistrySnapshot) -> APIRouter:
    """Make the routes that need no token."""
    router = APIRouter(tags=["service"])

    @router.get(
        "/.well-known/jwks.json",
        summary="Get the public keys that verify Ocelot's tokens",
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
