"""A bulk body in its three forms, cut into the JSON texts of its events."""

from typing import Final

import msgspec

from ocelot_api.problems import Problem, bad_request
from ocelot_common.event import json_fault

_JSON_TYPES: Final = frozenset({b"application/json", b"text/json", b""})
_NDJSON_TYPES: Final = frozenset(
    {
        b"application/x-ndjson",
        b"application/ndjson",
        b"application/jsonl",
        b"application/x-jsonlines",
    }
)


class _Logs(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    logs: list[msgspec.Raw]


_array = msgspec.json.Decoder(list[msgspec.Raw])
_object = msgspec.json.Decoder(_Logs)


def media_type(headers: dict[bytes, bytes]) -> bytes:
    """The request's media type in lowercase, without parameters."""
    return headers.get(b"content-type", b"").partition(b";")[0].strip().lower()


def check_json(headers: dict[bytes, bytes]) -> None:
    """Refuse a body that does not say that it is JSON.

    Raises:
        Problem: 415.
    """
    if media_type(headers) not in _JSON_TYPES:
        raise Problem(415, "unsupported_media_type", "send the event as application/json")


def split_events(body: bytes, headers: dict[bytes, bytes]) -> list[bytes]:
    """The JSON text of each event of a bulk body, in order.

    Blank lines of NDJSON are no events and are not counted.

    Raises:
        Problem: 400 or 415, when the body as a whole can't be read.
    """
    kind = media_type(headers)
    if kind in _NDJSON_TYPES:
        return [line for line in body.split(b"\n") if line and not line.isspace()]
    if kind not in _JSON_TYPES:
        raise Problem(
            415,
            "unsupported_media_type",
            "send events as application/json or application/x-ndjson",
        )
    stripped = body.lstrip(b" \t\r\n")
    try:
        if stripped.startswith(b"["):
            return [bytes(raw) for raw in _array.decode(stripped)]
        return [bytes(raw) for raw in _object.decode(stripped).logs]
    except msgspec.ValidationError as error:
        raise bad_request(
            "invalid_bulk", f'neither an array of events nor {{"logs": […]}}: {error}'
        ) from None
    except RecursionError:
        raise bad_request("too_deep", "objects and arrays nest too deep") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        code, _, detail = json_fault(stripped, error)
        raise bad_request(code, detail) from None
