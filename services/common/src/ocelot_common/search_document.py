"""The OpenSearch document and its mapping (design §4, §10)."""

from typing import Any, Final

import msgspec
from msgspec import UNSET, Struct, UnsetType

from ocelot_common.attrs import Attrs, attrs_of
from ocelot_common.event import (
    DEFAULT_OUTCOME,
    DEFAULT_SEVERITY,
    SEVERITIES,
    Actor,
    Event,
    Source,
    Target,
)
from ocelot_common.ids import format_id
from ocelot_common.reading import decode_text
from ocelot_common.registry.model import Tenant
from ocelot_common.stored import StoredEvent
from ocelot_common.text_tokens import tokens_of_event

VERSION: Final = 1

_KEYWORD: Final = {"type": "keyword"}
_MILLISECONDS: Final = {"type": "date", "format": "epoch_millis"}

#: A small fixed mapping: unknown fields are kept in `_source` and never mapped, so no tenant can
#: make the mapping grow or collide with itself.
MAPPING: Final[dict[str, Any]] = {
    "dynamic": False,
    "properties": {
        "v": {"type": "byte"},
        "id": _KEYWORD,
        "t": _KEYWORD,
        "rev": {"type": "integer", "index": False},
        "seq": {"type": "long"},
        "received_at": _MILLISECONDS,
        "occurred_at": _MILLISECONDS,
        "writer": _KEYWORD,
        "action": _KEYWORD,
        "actor": {
            "properties": dict.fromkeys(("id", "type", "name", "email", "session_id"), _KEYWORD)
        },
        "targets": {"properties": dict.fromkeys(("type", "id", "name"), _KEYWORD)},
        "outcome": _KEYWORD,
        "severity": _KEYWORD,
        "severity_level": {"type": "byte"},
        "source": {
            "properties": {
                "ip": {"type": "ip"},
                **dict.fromkeys(("user_agent", "service", "location"), _KEYWORD),
            }
        },
        "request_id": _KEYWORD,
        "trace_id": _KEYWORD,
        "tags": _KEYWORD,
        "attrs": _KEYWORD,
        "attrs_cut": {"type": "boolean"},
        "text": {"type": "text", "analyzer": "ocelot_tokens", "norms": False},
        "event": {"type": "object", "enabled": False},
    },
}

#: Tokens come ready-made, separated by spaces; 200 characters may be 400 UTF-16 units, and the
#: whitespace tokenizer would cut at 255.
ANALYSIS: Final[dict[str, Any]] = {
    "tokenizer": {"ocelot_whitespace": {"type": "whitespace", "max_token_length": 512}},
    "analyzer": {"ocelot_tokens": {"type": "custom", "tokenizer": "ocelot_whitespace"}},
}


REFRESH_INTERVAL: Final = "1s"
#: One replica as soon as there are two data nodes, none before: OpenSearch counts the nodes itself.
_AUTOMATIC_REPLICAS: Final = "0-1"


def replica_settings(replicas: int | None) -> dict[str, Any]:
    """The settings of an index for a number of replicas; None leaves it to the number of nodes."""
    if replicas is None:
        return {"auto_expand_replicas": _AUTOMATIC_REPLICAS}
    return {"number_of_replicas": replicas}


def index_body(
    *, space_key: str, shards: int, replicas: int | None, aliases: list[str]
) -> dict[str, Any]:
    """The body of the request that makes an index of the space with this key.

    Args:
        space_key: tells indices of installations apart that share an OpenSearch.
        shards: primary shards.
        replicas: as for `replica_settings`.
        aliases: of the index.
    """
    return {
        "settings": {
            "index": {
                "number_of_shards": shards,
                **replica_settings(replicas),
                "codec": "best_compression",
                "refresh_interval": REFRESH_INTERVAL,
                # Refreshes stay on for an index that nobody has searched for a while: what is
                # stored is searchable within two seconds, by the first search too.
                "search.idle.after": "3650d",
                # A refresh waits up to 10 s for the merges that it begins, and what is stored is
                # not searchable that long; without this, they run beside it.
                "merge_on_flush.enabled": False,
            },
            "analysis": ANALYSIS,
        },
        "mappings": {"_meta": {"space_key": space_key}, **MAPPING},
        "aliases": {alias: {} for alias in aliases},
    }


class SearchDocument(Struct, gc=False, kw_only=True):
    """One indexed event; also what a search reads back from `_source`."""

    id: str
    t: str
    rev: int
    seq: int
    received_at: int
    occurred_at: int
    writer: str
    event: msgspec.Raw


class _IndexedDocument(SearchDocument, gc=False, kw_only=True, omit_defaults=True):
    v: int
    action: str
    actor: Actor
    outcome: str
    severity: str
    severity_level: int
    text: str
    attrs: list[str]
    attrs_cut: bool = False
    targets: list[Target] | UnsetType | None = UNSET
    source: Source | UnsetType | None = UNSET
    request_id: str | UnsetType | None = UNSET
    trace_id: str | UnsetType | None = UNSET
    tags: list[str] | UnsetType | None = UNSET


_encoder = msgspec.json.Encoder()


def document_id(tenant: Tenant, event_id: bytes) -> str:
    """OpenSearch's `_id`: the event's id; in the Shared tier after the uid."""
    text = format_id(event_id)
    return f"{tenant.uid}:{text}" if tenant.shared else text


def attrs_of_event(event: Event[Any, Any]) -> Attrs:
    """The `path=value` entries of a decoded event."""
    changes = event.changes or None
    return attrs_of(
        event.metadata or None,
        _value(changes.before) if changes else None,
        _value(changes.after) if changes else None,
    )


def build_search_document(stored: StoredEvent) -> bytes:
    """The JSON of a stored event's index document; holds no line break.

    Raises:
        EventError: the stored text is no event.
    """
    event = decode_text(stored.text)
    attrs = attrs_of_event(event)
    severity = event.severity or DEFAULT_SEVERITY
    source = event.source
    if source and source.ip == "":
        source.ip = UNSET  # an empty address is none, and the type `ip` refuses it
    return _encoder.encode(
        _IndexedDocument(
            v=VERSION,
            id=format_id(stored.id),
            t=stored.uid,
            rev=stored.rev,
            seq=stored.seq,
            received_at=stored.received_at,
            occurred_at=stored.occurred_at,
            writer=stored.writer,
            action=event.action,
            actor=event.actor,
            outcome=event.outcome or DEFAULT_OUTCOME,
            severity=severity,
            severity_level=SEVERITIES.index(severity),
            targets=event.targets,
            source=source,
            request_id=event.request_id,
            trace_id=event.trace_id,
            tags=event.tags,
            attrs=attrs.entries,
            attrs_cut=attrs.cut,
            text=" ".join(tokens_of_event(event)),
            event=msgspec.Raw(stored.text.encode()),
        )
    )


def _value(value: Any) -> Any:
    return None if value is UNSET else value
