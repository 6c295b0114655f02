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
    "invalid_http": "The request is not valid HTTP/1.1.",
    "invalid_host": "An HTTP/1.1 request must have a Host header.",
    "unsupported_expectation": "The service supports only the expectation `100-continue`."
    " Remove the Expect header.",
    "unsupported_transfer_coding": "The service supports only the transfer coding `chunked`.",
    "unsupported_version": "The service does not support HTTP/2.0. Send HTTP/1.1 or HTTP/1.0.",
    "too_many_pipelined": "The connection has over 64 requests without an answer, or they have"
    " over 800 headers. Read the answers before you send more requests.",
    "route_not_found": "The service has no such path.",
    "method_not_allowed": "The path supports only GET, HEAD.",
    "http_error": "The service rejected the request: Not Acceptable.",
    "head_timeout": "The request line and headers did not arrive within 10 s. Send the request"
    " again.",
    "head_too_large": "The request line and headers are too large. The limits are 65,536 bytes in"
    " all and 200 headers.",
    "internal": "The service failed. Its log has the error, with the id of this request.",
    # Tokens and tenants
    "token_missing": "The request has no token. Send it in the header `Authorization: Bearer"
    " TOKEN`.",
    "token_invalid": "The token is invalid: its signature is wrong.",
    "token_expired": "The token has expired. Create a new token.",
    "token_revoked": "The token was revoked. Create a new token.",
    "tenant_unknown": "The token's tenant does not exist, or was created again after the token."
    " Create a token for a tenant that exists.",
    "tenant_required": "The token is for several tenants. Name one of them in the header"
    " X-Tenant-ID.",
    "tenant_forbidden": "The token is not for the tenant in the header X-Tenant-ID. Name one of its"
    " tenants.",
    "tenant_suspended": "The tenant is suspended. `ocelot tenants resume` ends the suspension.",
    "tenant_deleting": "The tenant is being deleted. `ocelot tenants create` can still restore it.",
    "tenant_orphaned": "The tenant's owner no longer manages it. `ocelot tenants create` with this"
    " owner as `--owner` activates it. `ocelot tenants list` shows the owner.",
    "insufficient_scope": "The token lacks the scope `logs:read`. Use a token that has it.",
    "registry_stale": "The service could not read the registry for 30 s. Retry after 1 s.",
    "registry_unavailable": "The service does not know the token's key or tenant yet and cannot"
    " read the registry. Retry after 1 s.",
    # Parameters
    "unknown_parameter": "The endpoint has no parameter `plan`.",
    "invalid_parameter": "`limit` must be a number from 1 to 1,000.",
    "invalid_cursor": "`cursor` belongs to another search. Send it with the tenant, filters and"
    " sort of the first page.",
    "invalid_search": "`filter.and` must be an array of at least one condition.",
    "too_many_buckets": "The search has too many buckets of 1m. The limit is 1,000. Choose a"
    " longer interval, or narrow the search by `from` and `to`.",
    "invalid_idempotency_key": "The header Idempotency-Key must have 1 to 255 printable ASCII"
    " characters.",
    # Bodies
    "empty_body": "The request has no body. Send an event.",
    "invalid_encoding": "The body is not valid gzip. Check Content-Encoding.",
    "body_timeout": "The body did not arrive within 30 s. Send less per request.",
    "body_too_large": "The body is too large. The limit is 16,777,216 bytes, also after"
    " decompression. Send less per request.",
    "unsupported_media_type": "Content-Type must be application/json.",
    "unsupported_encoding": "Content-Encoding must be gzip, zstd or identity.",
    "overloaded": "The process uses nearly all of its 536,870,912 bytes of bodies. Retry after"
    " 1 s, or raise OCELOT_BODY_BUDGET_BYTES.",
    "tenant_share": "The tenant uses 4 exports of this process, and the request needs 1 more. One"
    " tenant may use 4. Retry after 10 s, or raise OCELOT_MAX_EXPORTS.",
    # Events: of a single one, or in `errors` of a bulk request
    "invalid_json": "The text is not valid JSON: expected ',' (byte 17).",
    "invalid_unicode": "The text is not valid UTF-8.",
    "too_deep": "The event is nested too deeply. The limit is 32 levels.",
    "event_too_large": "The event is 70,000 bytes; the limit is 65,536. Shorten `metadata` or raise"
    " OCELOT_MAX_EVENT_BYTES.",
    "too_many_containers": "The event has too many arrays and objects, including empty ones. The"
    " limit for 60,000 bytes is 10,064: 64, plus one per 6 bytes.",
    "too_many_values": "The body has 2,600,000 commas and opening brackets, including those in"
    " strings. The limit for JSON is 2,000,000. Send the events as NDJSON, or fewer events per"
    " request.",
    "too_many_exponents": "The event has too many numbers such as 1e23 or 1e-300. The limit for"
    " 640 bytes is 14: 4, plus one per 64 bytes. Write them without an exponent or as strings.",
    "too_many_keys": "The event has too many keys. The limit is 2,000.",
    "key_too_long": "The key that begins with 'k' is too long. The limit is 1,024 bytes.",
    "integer_too_long": "The integer is too long. The limit is 1,000 digits. Write it as a string.",
    "number_out_of_range": "`metadata.n` has a number beyond 64-bit floating point. Write it as a"
    " string.",
    "unknown_field": "The event has no field `target`. Did you mean `targets`?",
    "missing_field": "`actor` is required.",
    "invalid_length": "`action` must not be empty.",
    "invalid_type": "`actor` must be an object, got a string.",
    "invalid_value": "`outcome` must be one of success, failure, denied, unknown.",
    "invalid_id": "`id` must be a UUID such as 01234567-89ab-7cde-8f01-23456789abcd.",
    "reserved_action": "`action` must not begin with `ocelot.`, which is reserved for Ocelot.",
    "invalid_time": "`occurred_at` must be an RFC 3339 date-time such as 2026-11-24T12:00:00Z.",
    "time_in_future": "`occurred_at` is more than 24 h in the future. Check the clock and the"
    " offset.",
    "invalid_ip": "`source.ip` must be an IPv4 or IPv6 address. Leave it out, or put the value into"
    " `metadata`.",
    # Bulk requests
    "invalid_bulk": 'The body must be an array of events or {"logs": […]}.',
    "no_events": "The request has no event. Send at least one.",
    "too_many_events": "The request has 10,001 events. The limit is 10,000. Send several"
    " requests or raise OCELOT_MAX_BULK_EVENTS.",
    "events_rejected": "None of the 2 events is valid. `errors` lists their faults.",
    "too_many_faults": "320 of the first 384 of 10,000 events are not valid, so the service"
    " rejected the whole request. The limit is 32, plus one per 512 bytes of events. An event of up"
    " to 1,000 bytes with more than 16 arrays and objects counts as 12. Events beside an event"
    " with faulty `metadata` or `changes` have a limit of 300, plus one per 256 bytes. Correct the"
    " events in `errors`, or send fewer events per request.",
    # Exports
    "too_many_exports": "The process uses nearly all of its 8 exports. Retry after 10 s, or raise"
    " OCELOT_MAX_EXPORTS.",
    "shutting_down": "This api process is shutting down. Continue the export from `next_cursor`.",
    # Jobs
    "invalid_rebuild": 'The body must be one of {"all": true}, {"received_from": …, "received_to":'
    ' …} and {"ids": […]}.',
    "search_not_enabled": "The tenant has no search index to rebuild. Its searches run on MongoDB.",
    "job_exists": "The rebuild 01a20fec-b3b5-72f4-9ef5-80ce43e0fde8 is still running. Wait until"
    " it has ended.",
    "job_not_found": "The tenant has no job 01a20fec-b3b5-72f4-9ef5-80ce43e0fde8.",
    # Backends
    "queue_unavailable": "SQS did not confirm the events. The events may be stored. Repeat the"
    " request with these ids or with the same Idempotency-Key.",
    "queue_key_missing": "The service cannot sign messages, so it stored nothing: no key of"
    " OCELOT_QUEUE_KEYS_FILE is active in the registry.",
    "event_not_found": "The tenant has no event of this id. An event that was just accepted can be"
    " read a moment later.",
    "event_unreadable": "The stored document is not an event: `event` is not a string.",
    "store_unavailable": "MongoDB cannot be reached. Retry after 1 s.",
    "store_timeout": "MongoDB did not answer in time. Repeat the request.",
    "search_unavailable": "OpenSearch cannot be reached. Retry after 1 s.",
    "search_too_broad": "Without the search index, a search compares words and metadata of at most"
    " 20,000 events. Narrow the search by time or by another filter.",
    "search_timeout": "The search took too long. Narrow it by time or by another filter, or raise"
    " OCELOT_SEARCH_TIMEOUT_SEC.",
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
