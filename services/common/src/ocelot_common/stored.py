"""The stored document: its key, how it is built, and what a reader makes of it."""

from typing import Any, Final

import msgspec
from bson import Binary, Timestamp
from bson.datetime_ms import DatetimeMS
from msgspec import UNSET, Struct, UnsetType

from ocelot_common.attrs import attrs_of
from ocelot_common.event import (
    DEFAULT_OUTCOME,
    DEFAULT_SEVERITY,
    RESERVED_ACTION_PREFIX,
    Actor,
    Source,
    Target,
    ip_bytes,
)
from ocelot_common.ids import format_id
from ocelot_common.registry.model import Isolation, Tenant
from ocelot_common.timestamps import format_rfc3339, parse_rfc3339

VERSION: Final = 1
FIRST_REVISION: Final = 1
_UUID_SUBTYPE: Final = 4
_UID_BYTES: Final = 8

Document = dict[str, Any]

_encoder = msgspec.json.Encoder()
# Replaced by mongod on insert, which makes the order of storing.
_SEQ = Timestamp(0, 0)
_SKIPPED: Final = msgspec.Raw()


def store_key(tenant: Tenant, event_id: bytes) -> Binary:
    """The `_id` of a tenant's event: the only place that knows its form.

    Dedicated: the UUID. Shared: uid, 8 bytes, and id, 16, so that two tenants' equal ids are two
    documents, and a tenant's documents are one range.
    """
    if tenant.isolation is Isolation.DEDICATED:
        return Binary(event_id, _UUID_SUBTYPE)
    return Binary(bytes.fromhex(tenant.uid) + event_id)


def event_id_of(key: bytes) -> bytes:
    """The 16 bytes of event id in a store key of either form."""
    return bytes(key[-16:])


def key_range(uid: str) -> tuple[Binary, Binary]:
    """First and last possible key of a Shared tenant."""
    prefix = bytes.fromhex(uid)
    return Binary(prefix + b"\0" * 16), Binary(prefix + b"\xff" * 16)


def keys_of_tenant(tenant: Tenant) -> tuple[Binary, Binary]:
    """First and last possible key of a tenant; every key between them has its form.

    MongoDB orders binary data by length, then by subtype, then by bytes.
    """
    if tenant.isolation is Isolation.DEDICATED:
        return Binary(b"\0" * 16, _UUID_SUBTYPE), Binary(b"\xff" * 16, _UUID_SUBTYPE)
    return key_range(tenant.uid)


def beside(field: str, time_ms: int, key: Binary, *, sign: str, of_key: str = "") -> Document:
    """A MongoDB query for what lies on one side of a position in the order of (time, key).

    Args:
        field: of the time: `occurred_at` or `received_at`.
        time_ms: the position's, milliseconds since the epoch.
        key: the position's; of one tenant's events, all with the same form.
        sign: `$gt` for what is behind it, `$lt` for what is before.
        of_key: `$gte` or `$lte` where the position itself is wanted, too.
    """
    time = DatetimeMS(time_ms)
    # The first bound is the index's; the second is the position.
    return {
        field: {f"{sign}e": time},
        "$or": [{field: {sign: time}}, {field: time, "_id": {of_key or sign: key}}],
    }


class TypedFields(Struct, gc=False, forbid_unknown_fields=True):
    """What filters need of an event; the free-form parts are skipped unread.

    The parts are plain dicts, since they go into the document as they are. The fields are all that
    a text of record may have: `id` and what the server sets are not among them.
    """

    action: str
    actor: dict[str, str | None]
    occurred_at: str | UnsetType | None = UNSET
    targets: list[dict[str, str | None]] | UnsetType | None = UNSET
    outcome: str | UnsetType | None = UNSET
    severity: str | UnsetType | None = UNSET
    message: msgspec.Raw = _SKIPPED
    changes: msgspec.Raw = _SKIPPED
    source: dict[str, str | None] | UnsetType | None = UNSET
    request_id: str | UnsetType | None = UNSET
    trace_id: str | UnsetType | None = UNSET
    tags: list[str] | UnsetType | None = UNSET
    metadata: msgspec.Raw = _SKIPPED


_ACTOR_KEYS: Final = frozenset(Actor.__struct_fields__)
_TARGET_KEYS: Final = frozenset(Target.__struct_fields__)
_SOURCE_KEYS: Final = frozenset(Source.__struct_fields__)


class _FreeForm(Struct, gc=False):
    metadata: Any = None
    changes: dict[str, Any] | None = None


_typed = msgspec.json.Decoder(TypedFields)
_free_form = msgspec.json.Decoder(_FreeForm)


def build_document(
    tenant: Tenant,
    event_id: bytes,
    text: bytes,
    *,
    received_at: int,
    writer: str,
    with_attrs: bool,
    internal: bool = False,
) -> Document:
    """The document of one event, ready to insert.

    Args:
        tenant: whose event it is.
        event_id: 16 bytes.
        text: the event's text of record.
        received_at: milliseconds since the epoch.
        writer: the token's `sub`.
        with_attrs: whether MongoDB answers searches here, so that it needs `attrs`.
        internal: whether Ocelot itself made the event, so that its action may begin with `ocelot.`.

    Raises:
        ValueError: the text is not a text of record, which the api never lets through.
    """
    try:
        event = _typed.decode(text)
        json_text = text.decode()
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(str(error)) from None
    _check_fields(event, json_text, internal=internal)
    occurred_at = parse_rfc3339(event.occurred_at) if event.occurred_at else received_at
    document: Document = {
        "_id": store_key(tenant, event_id),
        "v": VERSION,
        "rev": FIRST_REVISION,
        "t": tenant.uid,
        "seq": _SEQ,
        "received_at": DatetimeMS(received_at),
        "occurred_at": DatetimeMS(occurred_at),
        "writer": writer,
        "action": event.action,
        "actor": event.actor,
        "outcome": event.outcome or DEFAULT_OUTCOME,
        "severity": event.severity or DEFAULT_SEVERITY,
    }
    if event.targets:
        document["targets"] = event.targets
    if event.source:
        source: Document = dict(event.source)
        document["source"] = source
        if ip := source.get("ip"):
            source["ip16"] = ip_bytes(ip)
    if event.request_id:
        document["request_id"] = event.request_id
    if event.trace_id:
        document["trace_id"] = event.trace_id
    if event.tags:
        document["tags"] = event.tags
    if with_attrs:
        free = _free_form.decode(text)
        changes = free.changes or {}
        attrs = attrs_of(free.metadata, changes.get("before"), changes.get("after"))
        document["attrs"] = attrs.entries
        if attrs.cut:
            document["attrs_cut"] = True
    document["event"] = json_text
    return document


def _check_fields(event: TypedFields, text: str, *, internal: bool) -> None:
    # Decoding refuses every other byte below 0x20: only these may stand between two tokens. A line
    # break would end the document in a `_bulk` request.
    if "\n" in text or "\r" in text or "\t" in text:
        raise ValueError("the text contains a control character")
    if not _ACTOR_KEYS.issuperset(event.actor):
        raise ValueError("the actor has an unknown field")
    if event.source and not _SOURCE_KEYS.issuperset(event.source):
        raise ValueError("the source has an unknown field")
    for target in event.targets or ():
        if not _TARGET_KEYS.issuperset(target):
            raise ValueError("a target has an unknown field")
    if event.action.startswith(RESERVED_ACTION_PREFIX) and not internal:
        raise ValueError(f"actions that begin with {RESERVED_ACTION_PREFIX} are Ocelot's own")


class StoredEvent(Struct, gc=False, kw_only=True):
    """One stored event as a reader sees it.

    Attributes:
        id: 16 bytes.
        uid: the tenant's.
        received_at: milliseconds since the epoch.
        occurred_at: the same; equal to `received_at` where the client gave none.
        seq: order of storing: seconds « 32 | increment.
        text: the event's JSON text of record.
    """

    id: bytes
    uid: str
    received_at: int
    occurred_at: int
    seq: int
    writer: str
    rev: int
    text: str


def answer_json(event: StoredEvent, tenant_id: str) -> bytes:
    """The event as readers get it: its text, with `id` and the server's own fields before it.

    `seq` is a decimal string: JavaScript's numbers end at 2^53.
    """
    server = _encoder.encode(
        {
            "id": format_id(event.id),
            "tenant_id": tenant_id,
            "received_at": format_rfc3339(event.received_at),
            "writer": event.writer,
            "seq": str(event.seq),
        }
    )
    # The text is a JSON object with at least `action`, so a comma joins the two.
    return server[:-1] + b"," + event.text[1:].encode()
