"""Every code that a problem document may carry, and which of them a kind of request can meet.

A code is stable: programs branch on it. The unit tests hold this table to the source, and every
operation of the OpenAPI document lists its codes by status.
"""

from collections.abc import Iterable, Mapping
from typing import Final

#: Codes by HTTP status.
Codes = Mapping[int, Iterable[str]]

#: What each code means, as an example of `detail`.
MEANINGS: Final[dict[str, str]] = {
    # Any request
    "invalid_http": "this is not HTTP/1.1",
    "invalid_host": "a request of HTTP/1.1 needs a Host header",
    "unsupported_expectation": "the only known expectation is 100-continue",
    "unsupported_transfer_coding": "the only transfer coding is chunked",
    "unsupported_version": "HTTP/2.0 is not supported; send HTTP/1.1 or HTTP/1.0",
    "too_many_pipelined": "over 64 requests wait for answers",
    "route_not_found": "no endpoint has this path",
    "method_not_allowed": "the path is there, but not with this method; see Allow",
    "http_error": "the framework refused the request",
    "head_timeout": "the head did not arrive within 10 s",
    "head_too_large": "The request line and headers may have 65,536 bytes in all and 200 headers",
    "internal": "an error of the service; its log has the request's id",
    # Tokens and tenants
    "token_missing": "send a token: Authorization: Bearer …",
    "token_invalid": "the token's signature is not valid",
    "token_expired": "the token has expired",
    "token_revoked": "the token was revoked",
    "tenant_unknown": "the token's tenant does not exist any more",
    "tenant_required": "a token for several tenants needs the header X-Tenant-ID",
    "tenant_forbidden": "the token is not for the tenant of X-Tenant-ID",
    "tenant_suspended": "the tenant is suspended",
    "tenant_deleting": "the tenant is being deleted",
    "tenant_orphaned": "the tenant has no owner at present",
    "insufficient_scope": "the token lacks the scope logs:read",
    "registry_stale": "the registry has not been read for 30 s",
    "registry_unavailable": "the token's key or tenant is not known yet, and the registry can't be"
    " read now",
    # Parameters
    "unknown_parameter": "no such parameter",
    "invalid_parameter": "a number from 1 to 1,000",
    "invalid_cursor": "the cursor belongs to another search",
    "invalid_search": "expected an array of at least one condition",
    "too_many_buckets": "more than 1,000 buckets of 1m: choose a longer interval, or narrow the"
    " search by from and to",
    "invalid_idempotency_key": "an Idempotency-Key has 1 to 255 printable characters",
    # Bodies
    "empty_body": "the request has no body",
    "invalid_encoding": "the body is not valid gzip",
    "body_timeout": "the body did not arrive within 30 s",
    "body_too_large": "a body may have 16,777,216 bytes",
    "unsupported_media_type": "send the event as application/json",
    "unsupported_encoding": "the body's encoding is neither gzip nor zstd",
    "overloaded": "The process holds nearly all of its 536,870,912 bytes of bodies. Retry after"
    " 1 s, or raise OCELOT_BODY_BUDGET_BYTES.",
    "tenant_share": "The tenant holds 4 exports in this process, and the request needs 1 more. One"
    " tenant may hold 4. Retry after 10 s, or raise OCELOT_MAX_EXPORTS.",
    # Events: of a single one, or in `errors` of a bulk request
    "invalid_json": "not valid JSON: expected ',' (byte 17)",
    "invalid_unicode": "the text is not valid UTF-8",
    "too_deep": "objects and arrays nest deeper than 32 levels",
    "event_too_large": "The event is 70,000 bytes; the limit is 65,536. Shorten `metadata` or raise"
    " OCELOT_MAX_EVENT_BYTES.",
    "too_many_containers": "an event of 60,000 bytes may have 10,064 arrays and objects, empty ones"
    " included (64, and one per 6 bytes)",
    "too_many_values": "The body has 2,600,000 commas and opening brackets, those in strings"
    " included; the limit for JSON is 2,000,000. Send the events as NDJSON, or fewer per request.",
    "too_many_exponents": "an event of 640 bytes may have 14 numbers such as 1e23 or 1e-300 (4, and"
    " one per 64 bytes); write them without an exponent or as strings",
    "too_many_keys": "the event has over 2,000 keys",
    "key_too_long": "a key beginning with 'k' has over 1,024 bytes",
    "integer_too_long": "an integer has over 1,000 digits",
    "number_out_of_range": "`metadata.n` has a number beyond 64-bit floating point. Write it as a"
    " string.",
    "unknown_field": "The event has no field `target`. Did you mean `targets`?",
    "missing_field": "`actor` is required.",
    "invalid_length": "`action` must not be empty.",
    "invalid_type": "`actor` must be an object, got a string.",
    "invalid_value": "`outcome` must be one of success, failure, denied, unknown.",
    "invalid_id": "`id` is not a UUID such as 01234567-89ab-7cde-8f01-23456789abcd.",
    "reserved_action": "`action` must not begin with `ocelot.`, which is reserved for Ocelot.",
    "invalid_time": "`occurred_at` is invalid: not an RFC 3339 date-time such as"
    " 2026-11-24T12:00:00Z.",
    "time_in_future": "`occurred_at` is more than 24 h in the future. Check the clock and the"
    " offset.",
    "invalid_ip": "`source.ip` must be an IPv4 or IPv6 address. Leave it out, or put the value into"
    " `metadata`.",
    # Bulk requests
    "invalid_bulk": 'neither an array of events nor {"logs": […]}',
    "no_events": "the request holds no event",
    "too_many_events": "10,001 events; one request may hold 10,000",
    "events_rejected": "none of 2 events is valid",
    "too_many_faults": "320 of the first 384 of 10,000 events are not valid, so the request was"
    " rejected as a whole",
    # Exports
    "too_many_exports": "The process holds nearly all of its 8 exports. Retry after 10 s, or raise"
    " OCELOT_MAX_EXPORTS.",
    "shutting_down": "The process is shutting down. Continue with another one.",
    # Jobs
    "invalid_rebuild": 'say {"all": true}, {"received_from": …, "received_to": …} or {"ids": […]}',
    "search_not_enabled": "the tenant has no search index to rebuild",
    "job_exists": "a rebuild is under way",
    "job_not_found": "the tenant has no such job",
    # Backends
    "queue_unavailable": "SQS did not confirm the events. They may be stored. Repeat the request"
    " with these ids or with the same Idempotency-Key.",
    "queue_key_missing": "the service has no key to sign queue messages with; nothing was stored",
    "event_not_found": "no such event is stored",
    "event_unreadable": "the stored document is not an event: `event` is not text",
    "store_unavailable": "the store can't be reached now",
    "store_timeout": "the store did not answer in time",
    "search_unavailable": "the search index can't be reached now",
    "search_too_broad": "words and metadata are compared in 20,000 events at most while the search"
    " index is not in use; narrow the search by time or by another filter",
    "search_timeout": "the search took too long; narrow it",
}

#: Whatever is asked.
ANY: Final[Codes] = {
    400: ("invalid_http", "invalid_host", "too_many_pipelined"),
    408: ("head_timeout",),
    417: ("unsupported_expectation",),
    431: ("head_too_large",),
    500: ("internal",),
    501: ("unsupported_transfer_coding",),
    505: ("unsupported_version",),
}
#: With a token.
AUTHENTICATED: Final[Codes] = {
    400: ("tenant_required", "unknown_parameter"),
    401: ("token_missing", "token_invalid", "token_expired", "token_revoked", "tenant_unknown"),
    403: (
        "insufficient_scope",
        "tenant_forbidden",
        "tenant_suspended",
        "tenant_deleting",
        "tenant_orphaned",
    ),
    503: ("registry_stale", "registry_unavailable"),
}
#: From a pool that the tenants of a process share.
HELD: Final = ("overloaded", "tenant_share")
#: With a body.
BODY: Final[Codes] = {
    400: ("invalid_encoding", "invalid_json"),
    408: ("body_timeout",),
    413: ("body_too_large",),
    415: ("unsupported_media_type", "unsupported_encoding"),
    503: HELD,
}
#: Reading from MongoDB.
STORE: Final[Codes] = {503: (*HELD, "store_unavailable"), 504: ("store_timeout",)}
#: Searching on either backend.
SEARCHING: Final[Codes] = {
    400: ("invalid_parameter",),
    503: (*HELD, "search_unavailable", "search_too_broad"),
    504: ("search_timeout",),
}
#: What can be wrong with an event; its own status where it is sent alone.
EVENT_FAULTS: Final[Codes] = {
    400: ("invalid_json", "invalid_unicode"),
    413: ("event_too_large",),
    422: (
        "missing_field",
        "unknown_field",
        "invalid_type",
        "invalid_value",
        "invalid_length",
        "invalid_id",
        "invalid_time",
        "time_in_future",
        "invalid_ip",
        "reserved_action",
        "too_deep",
        "too_many_containers",
        "too_many_exponents",
        "too_many_keys",
        "key_too_long",
        "integer_too_long",
        "number_out_of_range",
    ),
}
WRITING: Final[Codes] = {
    400: ("invalid_idempotency_key", "empty_body"),
    503: ("queue_unavailable", "queue_key_missing"),
}


def together(*kinds: Codes) -> dict[int, list[str]]:
    """The codes of several kinds by status, both in order and each once."""
    found: dict[int, list[str]] = {}
    for status in sorted({status for kind in kinds for status in kind}):
        codes = [code for kind in kinds for code in kind.get(status, ())]
        found[status] = list(dict.fromkeys(codes))
    return found
