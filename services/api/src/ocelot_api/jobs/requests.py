"""What a client asks of a rebuild."""

from datetime import datetime
from typing import Final

import msgspec
from msgspec import UNSET, UnsetType

from ocelot_api.json_faults import invalid_body, invalid_json
from ocelot_api.problems import Problem, bad_request
from ocelot_common.ids import format_id, parse_id
from ocelot_common.jobs.rebuild import MAX_IDS
from ocelot_common.timestamps import parse_rfc3339, to_datetime

_FORMS: Final = (
    'The body must be one of {"all": true}, {"received_from": …, "received_to": …} and'
    ' {"ids": […]}.'
)


class RebuildRequest(msgspec.Struct, frozen=True):
    """Everything, what was received in [from, to), or these events."""

    ids: list[str] | None = None
    received_from: datetime | None = None
    received_to: datetime | None = None


class _Body(msgspec.Struct, forbid_unknown_fields=True):
    all: bool | UnsetType = UNSET
    received_from: str | UnsetType = UNSET
    received_to: str | UnsetType = UNSET
    ids: list[str] | UnsetType = UNSET


_decoder = msgspec.json.Decoder(_Body)


def read_rebuild(body: bytes) -> RebuildRequest:
    """The rebuild that a body asks for.

    Raises:
        Problem: 400, with the field at fault.
    """
    try:
        given = _decoder.decode(body)
    except msgspec.ValidationError as error:
        raise invalid_body("invalid_rebuild", error, rule=_FORMS) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise invalid_json(body, error) from None
    bounds = (given.received_from, given.received_to) != (UNSET, UNSET)
    forms = [given.all is not UNSET, bounds, given.ids is not UNSET]
    if forms.count(True) != 1 or given.all is False:
        raise bad_request("invalid_rebuild", _FORMS)
    if given.ids is not UNSET:
        return RebuildRequest(ids=_ids(given.ids))
    start = _moment("received_from", given.received_from)
    end = _moment("received_to", given.received_to)
    if start and end and start >= end:
        raise bad_request(
            "invalid_rebuild", "`received_to` must be after `received_from`.", path="received_to"
        )
    return RebuildRequest(received_from=start, received_to=end)


def _ids(given: list[str]) -> list[str]:
    if not 1 <= len(given) <= MAX_IDS:
        raise bad_request("invalid_rebuild", f"`ids` must have 1 to {MAX_IDS:,} ids.", path="ids")
    ids = []
    for index, text in enumerate(given):
        try:
            ids.append(format_id(parse_id(text)))
        except ValueError as error:
            raise bad_request(
                "invalid_id", f"`ids[{index}]` {error}.", path=f"ids[{index}]"
            ) from None
    return list(dict.fromkeys(ids))


def _moment(name: str, text: str | UnsetType) -> datetime | None:
    if text is UNSET:
        return None
    try:
        return to_datetime(parse_rfc3339(text))
    except (ValueError, OverflowError) as error:
        raise _fault(name, error) from None


def _fault(name: str, error: Exception) -> Problem:
    return bad_request("invalid_parameter", str(error), path=name)
