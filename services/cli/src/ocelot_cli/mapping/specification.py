"""The shape of a mapping's YAML, as msgspec structs that refuse unknown keys.

Every rule of a field is an expression, a list of alternatives, or an object with more to say;
docs/mappings.md explains them to users.
"""

from typing import Annotated, Literal

from msgspec import Meta, Struct

Name = Annotated[str, Meta(pattern=r"^[a-z0-9][a-z0-9-]{0,63}$")]


Scalar = str | int | float | bool
Unit = Literal["auto", "s", "ms", "us", "ns"]


class TimeSpec(Struct, forbid_unknown_fields=True, frozen=True):
    """How a time is read that is no RFC 3339 date-time."""

    formats: list[str] = []
    unit: Unit = "auto"
    zone: str | None = None


class CaseSpec(
    Struct, forbid_unknown_fields=True, frozen=True, omit_defaults=True, rename={"is_": "is"}
):
    """One line of a table: exactly one condition, and the value that it leads to."""

    to: str
    is_: Scalar | list[Scalar] | None = None
    like: str | list[str] | None = None
    matches: str | None = None
    between: Annotated[list[float | None], Meta(min_length=2, max_length=2)] | None = None


class RuleSpec(Struct, forbid_unknown_fields=True, frozen=True, rename={"from_": "from"}):
    """A rule with more to say than one expression."""

    from_: str | list[str] | None = None
    when: str | None = None
    value: str | None = None
    map: dict[str, str] | list[CaseSpec] | None = None
    missing: str | None = None
    default: str | None = None
    time: TimeSpec | None = None


Rule = str | list[str | RuleSpec] | RuleSpec


class ActorSpec(Struct, forbid_unknown_fields=True, frozen=True):
    """Who did it, or one of several alternatives: the first that yields an id is taken whole."""

    id: Rule
    when: str | None = None
    type: Rule | None = None
    name: Rule | None = None
    email: Rule | None = None
    session_id: Rule | None = None


class TargetSpec(Struct, forbid_unknown_fields=True, frozen=True):
    """One target, or one for each item of a list; a `fallback` counts if none came before."""

    each: str | None = None
    when: str | None = None
    fallback: bool = False
    type: Rule | None = None
    id: Rule | None = None
    name: Rule | None = None


class ChangesSpec(Struct, forbid_unknown_fields=True, frozen=True):
    """What changed: values of any kind."""

    before: Rule | None = None
    after: Rule | None = None


class SourceSpec(Struct, forbid_unknown_fields=True, frozen=True):
    """Where the request came from."""

    ip: Rule | None = None
    user_agent: Rule | None = None
    service: Rule | None = None
    location: Rule | None = None


class EventSpec(Struct, forbid_unknown_fields=True, frozen=True):
    """Where each field of an Ocelot event comes from."""

    action: Rule
    actor: ActorSpec | list[ActorSpec]
    occurred_at: Rule | None = None
    targets: list[TargetSpec] = []
    outcome: Rule | None = None
    severity: Rule | None = None
    message: Rule | None = None
    changes: ChangesSpec | None = None
    source: SourceSpec | None = None
    request_id: Rule | None = None
    trace_id: Rule | None = None
    tags: list[str | RuleSpec] = []


class RejectSpec(Struct, forbid_unknown_fields=True, frozen=True):
    """A condition under which an event is not taken, and the reason given for it."""

    when: str
    reason: str


class MappingSpec(Struct, forbid_unknown_fields=True, frozen=True):
    """A whole mapping."""

    name: Name
    description: str
    event: EventSpec
    root: str | list[str] = "@"
    nothing: list[str] = []
    reject: list[RejectSpec] = []
    natural_id: Rule | None = None
    required: list[Literal["occurred_at", "outcome", "message", "request_id", "trace_id"]] = []
