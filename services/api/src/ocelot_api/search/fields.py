"""Which parts of an event an answer holds: the parameter `fields`."""

from collections.abc import Sequence
from typing import Any, Final

import msgspec

from ocelot_api.problems import invalid_parameter

MAX_FIELDS: Final = 50
_MAX_PATH_CHARS: Final = 300
#: The members of an event as it is answered.
KNOWN: Final = frozenset(
    (
        "id", "tenant_id", "received_at", "writer", "seq", "action", "actor", "occurred_at",
        "targets", "outcome", "severity", "message", "changes", "source", "request_id",
        "trace_id", "tags", "metadata",
    )
)  # fmt: skip

_object = msgspec.json.Decoder(dict[str, msgspec.Raw])
_array = msgspec.json.Decoder(list[msgspec.Raw])
_encode = msgspec.json.Encoder().encode


def read_fields(given: Sequence[str], parameter: str = "fields") -> tuple[str, ...]:
    """Paths such as `actor.id` or `metadata.plan`, from values separated by commas or repeated.

    Args:
        given: the values.
        parameter: whose they are, for the answer to one that is wrong.

    Raises:
        Problem: 400.
    """
    paths = tuple(dict.fromkeys(path for text in given for path in text.split(",")))
    for path in paths:
        if path.split(".", 1)[0] not in KNOWN or path.endswith(".") or ".." in path:
            raise invalid_parameter(
                parameter, f"names {path[:100]!r}, which is not a field of events"
            )
        if len(path) > _MAX_PATH_CHARS:
            raise invalid_parameter(
                parameter, f"must name paths of at most {_MAX_PATH_CHARS} characters"
            )
    if len(paths) > MAX_FIELDS:
        raise invalid_parameter(parameter, f"must name at most {MAX_FIELDS} fields")
    return paths


def pick(answer: bytes, paths: Sequence[str]) -> bytes:
    """The parts of an event's JSON that the paths name, and `id`.

    Values stay as they are, byte for byte; what is absent stays absent. A dotted key and a nested
    one are one path; of an array, each item is picked from.
    """
    return _encode(_pick_object(answer, ["id", *paths]))


def _pick_object(raw: Any, paths: Sequence[str]) -> dict[str, Any]:
    picked: dict[str, Any] = {}
    for key, value in _object.decode(raw).items():
        if key in paths:
            picked[key] = value
            continue
        prefix = f"{key}."
        if inner := [path.removeprefix(prefix) for path in paths if path.startswith(prefix)]:
            part = _pick(value, inner)
            if part is not None:
                picked[key] = part
    return picked


def _pick(raw: Any, paths: Sequence[str]) -> Any:
    begin = bytes(raw)[:1]
    if begin == b"{":
        return _pick_object(raw, paths) or None
    if begin == b"[":
        return [part for item in _array.decode(raw) if (part := _pick(item, paths))] or None
    return None
