"""What the words of JSON Schema can't say: values of the formats that are the api's own."""

import json
import os
import time
from datetime import UTC, datetime
from typing import Any

import requests
import schemathesis
from hypothesis import strategies as st
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import positive_data_acceptance

from ocelot_api.search.stats_parameters import VALUE_FIELDS

_MOMENTS = st.datetimes(datetime(1, 1, 2), datetime(2026, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001
_WORDS = st.from_regex(r"[a-zA-Z0-9é東]{1,12}", fullmatch=True)
_TERMS = st.one_of(
    _WORDS,
    _WORDS.map("{}*".format),
    _WORDS.map("-{}".format),
    st.lists(_WORDS, min_size=1, max_size=3).map(lambda words: f'"{" ".join(words)}"'),
)

#: Not in the future, as of `occurred_at`.
schemathesis.openapi.format("date-time", _MOMENTS.map(datetime.isoformat))
schemathesis.openapi.format("text-query", st.lists(_TERMS, min_size=1, max_size=9).map(" ".join))
schemathesis.openapi.format(
    "ip-or-block",
    st.one_of(
        st.ip_addresses().map(str),
        st.tuples(st.ip_addresses(v=4), st.integers(0, 32)).map(
            lambda pair: f"{pair[0]}/{pair[1]}"
        ),
        st.tuples(st.ip_addresses(v=6), st.integers(0, 128)).map(
            lambda pair: f"{pair[0]}/{pair[1]}"
        ),
    ),
)
_PATHS = st.one_of(
    _WORDS.map("metadata.{}".format),
    _WORDS.map("changes.after.{}".format),
    st.just("changes.before"),
)
schemathesis.openapi.format(
    "field-path", st.one_of(_PATHS, st.sampled_from(["id", "actor", "actor.id", "targets.name"]))
)
schemathesis.openapi.format(
    "columns", st.lists(_PATHS, min_size=1, max_size=4, unique=True).map(",".join)
)
schemathesis.openapi.format(
    "seq-or-time",
    st.one_of(
        st.integers(1, 2**63).map(str),
        st.datetimes(datetime(1970, 1, 2), datetime(2026, 1, 1), timezones=st.just(UTC)).map(  # noqa: DTZ001
            lambda moment: moment.replace(microsecond=0).isoformat()
        ),
    ),
)
schemathesis.openapi.format("value-field", st.one_of(_PATHS, st.sampled_from([*VALUE_FIELDS])))
schemathesis.openapi.format(
    "time-zone", st.sampled_from(["UTC", "Europe/Berlin", "Asia/Kathmandu"])
)
_LINE = st.fixed_dictionaries(
    {"action": _WORDS, "actor": st.fixed_dictionaries({"id": _WORDS})},
    optional={"message": st.text(max_size=20), "metadata": st.dictionaries(_WORDS, st.integers())},
)
schemathesis.openapi.format(
    "ndjson",
    st.lists(_LINE, min_size=1, max_size=5).map(lambda events: "\n".join(map(json.dumps, events))),
)


@schemathesis.serializer("application/x-ndjson")
def ndjson(ctx: Any, value: Any) -> bytes:
    """A text as it is; what is none, as JSON."""
    del ctx
    return (value if isinstance(value, str) else json.dumps(value)).encode("utf-8", "replace")


def _unbounded(schema: Any) -> None:
    """Take the bounds off a schema and those within it."""
    if isinstance(schema, dict):
        schema.pop("maxLength", None)
        schema.pop("maxItems", None)
        for each in schema.values():
            _unbounded(each)
    if isinstance(schema, list):
        for each in schema:
            _unbounded(each)


@schemathesis.hook
def before_load_schema(context: Any, raw_schema: Any) -> None:
    """Without `OCELOT_CONTRACT_MINUTES`, leave out what takes long and is much the same.

    A text of 1,024 characters takes Hypothesis half a second; the bounds are in `badinput`, too.
    """
    del context
    if os.environ.get("OCELOT_CONTRACT_MINUTES"):
        return
    for operations in raw_schema["paths"].values():
        for operation in operations.values():
            for parameter in operation.get("parameters", []):
                _unbounded(parameter["schema"])
    _unbounded(raw_schema["components"]["schemas"]["Rebuild"])  # ten thousand ids
    condition = raw_schema["components"]["schemas"]["Condition"]
    kept = ("and", "or", "not", "action", "outcome", "severity.gte", "source.ip", "from", "q")
    condition["properties"] = {name: condition["properties"][name] for name in kept}
    condition["propertyNames"] = {"enum": [*kept, "metadata.plan", "changes.after.title"]}
    _unbounded(condition)


@schemathesis.check
def no_server_error(ctx: Any, response: Any, case: Any) -> None:
    """`not_a_server_error`; where SQS was slow for once, the same request is to be taken then."""
    if response.status_code == 503 and response.json()["code"] == "queue_unavailable":
        time.sleep(float(response.headers["retry-after"][0]))
        repeated = requests.Session().send(response.request, timeout=120)
        assert repeated.status_code < 500, repeated.text
        return
    not_a_server_error(ctx, response, case)


@schemathesis.check
def valid_data_is_taken(ctx: Any, response: Any, case: Any) -> None:
    """`positive_data_acceptance`, but for what JSON Schema and OpenAPI can't say."""
    if response.status_code in (400, 422):
        problem, query = response.json(), case.query or {}
        code, detail = problem["code"], problem["detail"]
        if (
            # A cursor belongs to a tenant and a search: no invented one is good. How many buckets
            # there would be depends on the range of time, and on what is stored; what lies in the
            # future, on the clock; and which of two times is the later one, nothing can say.
            code in ("invalid_cursor", "too_many_buckets", "time_in_future")
            or (code == "invalid_rebuild" and problem.get("path") == "received_to")
            # Nor can it say bounds on a whole tree or event, or in bytes.
            or code in ("too_deep", "too_many_keys", "key_too_long", "events_rejected")
            or code in ("too_many_containers", "too_many_values", "too_many_exponents")
            or code == "too_many_faults"
            or "nest deeper than" in detail
            or "of a value, the first" in detail
            # The document says so by dependentSchemas, which schemathesis 4.32 does not heed.
            or detail.endswith("stands alone in its object")
            # An event to begin behind is the tenant's own; columns are of CSV, fields of the rest.
            or "after" in query
            or ("columns" in query and query.get("format") != "csv")
            or ("fields" in query and query.get("format") == "csv")
            or ("tz" in query and "interval" not in query)
            or ("top" in query and "group_by" not in query)
        ):
            return
    positive_data_acceptance(ctx, response, case)


@schemathesis.check
def code_is_documented(ctx: Any, response: Any, case: Any) -> None:
    """A problem's code is among those that the operation lists for the status."""
    del ctx
    if response.headers.get("content-type") != ["application/problem+json"]:
        return
    status, code = str(response.status_code), response.json()["code"]
    declared = case.operation.definition.raw["responses"].get(status)
    if declared is not None:  # else it is found by status_code_conformance
        codes = declared["content"]["application/problem+json"]["examples"]
        assert code in codes, f"{status} {code} is not among {', '.join(codes)}"
