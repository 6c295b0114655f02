"""Problems of bodies that msgspec could not read, in words for clients that do not know msgspec."""

from typing import Final

import msgspec

from ocelot_api.problems import Problem, bad_request
from ocelot_common.event import json_fault, read_validation

NESTED_TOO_DEEP: Final = "The objects and arrays of the body are nested too deeply."


def invalid_json(body: bytes, error: Exception) -> Problem:
    """Return the problem of a body that is not JSON, or whose nesting is too deep to be read."""
    if isinstance(error, RecursionError):
        return bad_request("invalid_json", NESTED_TOO_DEEP)
    return bad_request("invalid_json", json_fault(body, error)[2])


def invalid_body(
    code: str, error: msgspec.ValidationError, *, rule: str = "", parent: str = ""
) -> Problem:
    """Return the problem of a body that is JSON of another form.

    Args:
        code: of the problem.
        error: the first fault.
        rule: what the body must be, a sentence that comes first.
        parent: path of the value that was decoded; empty for the body.
    """
    fault = read_validation(str(error), parent)
    if fault.code == "unknown_field":
        detail = f"The body has no member `{fault.path}`."
    elif fault.path:
        detail = fault.detail
    elif rule:
        detail = ""
    else:
        detail = fault.detail.replace("The event", "The body", 1)
    return bad_request(code, f"{rule} {detail}".strip(), path=fault.path or None)
