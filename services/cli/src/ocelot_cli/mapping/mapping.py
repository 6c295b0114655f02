"""A loaded mapping: makes Ocelot events of foreign ones."""

from typing import Any

from ocelot_cli.mapping.compiling import (
    Compiler,
    action_shape,
    address_shape,
    any_shape,
    keyword_shape,
    message_shape,
    outcome_shape,
    severity_shape,
    tags_shape,
)
from ocelot_cli.mapping.errors import UnmappableEvent
from ocelot_cli.mapping.expressions import Expression, ExpressionError
from ocelot_cli.mapping.rules import Rule, Shape, shown
from ocelot_cli.mapping.specification import ActorSpec, TargetSpec
from ocelot_cli.mapping.yaml_source import MappingSource
from ocelot_common.event import RESERVED_ACTION_PREFIX

_ACTOR: dict[str, Shape] = dict.fromkeys(
    ("id", "type", "name", "email", "session_id"), keyword_shape
)
_TARGET: dict[str, Shape] = dict.fromkeys(("type", "id", "name"), keyword_shape)
_CHANGES: dict[str, Shape] = {"before": any_shape, "after": any_shape}
_SOURCE: dict[str, Shape] = {
    "ip": address_shape,
    "user_agent": keyword_shape,
    "service": keyword_shape,
    "location": keyword_shape,
}
_BEFORE_CHANGES: dict[str, Shape] = {
    "outcome": outcome_shape,
    "severity": severity_shape,
    "message": message_shape,
}
_AFTER_SOURCE: dict[str, Shape] = {"request_id": keyword_shape, "trace_id": keyword_shape}


class Mapping:
    """Turns decoded foreign events into Ocelot events.

    Args:
        source: the mapping's YAML.
        zone: the zone of times that have none, instead of the one that the mapping names.

    Attributes:
        name: enters the events' ids, so that two mappings of one file never share them.
        description: one sentence.

    Raises:
        MappingError: an expression, pattern, value or zone in it is faulty.
    """

    def __init__(self, source: MappingSource, zone: str | None = None) -> None:
        given = source.spec
        self.name = given.name
        self.description = given.description
        compiler = Compiler(source, zone)
        self._root = compiler.rule(
            "root", given.root if isinstance(given.root, str) else list(given.root), _object_shape
        )
        self._rejects = [
            (compiler.expression(f"reject[{n}].when", reject.when), reject.reason)
            for n, reject in enumerate(given.reject)
        ]
        self._natural_id = (
            None
            if given.natural_id is None
            else compiler.rule("natural_id", given.natural_id, message_shape)
        )
        self._required = frozenset(given.required)

        event = given.event
        self._action = compiler.rule("event.action", event.action, action_shape)
        self._actors = _actors(compiler, event.actor)
        self._occurred_at = (
            None
            if event.occurred_at is None
            else compiler.time_rule("event.occurred_at", event.occurred_at)
        )
        self._targets = [
            _TargetRule(compiler, f"event.targets[{n}]", target)
            for n, target in enumerate(event.targets)
        ]
        self._before_changes = compiler.fields("event", event, _BEFORE_CHANGES)
        self._changes = (
            {}
            if event.changes is None
            else compiler.fields("event.changes", event.changes, _CHANGES)
        )
        self._source = (
            {} if event.source is None else compiler.fields("event.source", event.source, _SOURCE)
        )
        self._after_source = compiler.fields("event", event, _AFTER_SOURCE)
        self._tags = (
            compiler.rule("event.tags", list(event.tags), tags_shape) if event.tags else None
        )

    def apply(self, foreign: dict[str, Any]) -> dict[str, Any]:
        """The Ocelot event of a foreign one: design §3, without `id`.

        Args:
            foreign: a decoded JSON object. It becomes `metadata` as it is and is not changed;
                the result shares it.

        Raises:
            UnmappableEvent: with a reason for people.
        """
        try:
            return self._apply(foreign)
        except ExpressionError as error:
            raise UnmappableEvent(str(error)) from None

    def natural_id(self, foreign: dict[str, Any]) -> str | None:
        """The id that the source gave the event, or `None`. It need not be unique.

        Raises:
            UnmappableEvent: the event has no object that the mapping reads.
        """
        if self._natural_id is None:
            return None
        try:
            found = self._natural_id.find(self._inner(foreign))
        except ExpressionError as error:
            raise UnmappableEvent(str(error)) from None
        return None if found is None else str(found)

    def _inner(self, foreign: object) -> object:
        if not isinstance(foreign, dict):
            raise UnmappableEvent(f"The line must be a JSON object, got {shown(foreign)}.")
        inner = self._root.find(foreign)
        if inner is None:
            raise UnmappableEvent(f"The line has no event. Tried {self._root.tried(foreign)}.")
        return inner

    def _apply(self, foreign: dict[str, Any]) -> dict[str, Any]:
        inner = self._inner(foreign)
        for condition, reason in self._rejects:
            if condition.holds(inner):
                raise UnmappableEvent(f"{reason} (because {condition.text})")
        event: dict[str, Any] = {}
        action = _required("action", self._action, inner)
        if str(action).startswith(RESERVED_ACTION_PREFIX):
            raise UnmappableEvent(
                f"`action` must not begin with {RESERVED_ACTION_PREFIX}, which is reserved for"
                f" Ocelot, got {shown(action)}. Add another prefix with prefix()."
            )
        event["action"] = action
        event["actor"] = self._actor(inner)
        if self._occurred_at is not None:
            self._put_time(event, self._occurred_at, inner)
        if targets := self._found_targets(inner):
            event["targets"] = targets
        event |= _found(self._before_changes, inner)
        for name, rules in (("changes", self._changes), ("source", self._source)):
            if rules and (found := _found(rules, inner)):
                event[name] = found
        event |= _found(self._after_source, inner)
        if self._tags is not None and (tags := _flat(self._tags.find_all(inner))):
            event["tags"] = tags
        event["metadata"] = foreign
        self._check_required(event, inner)
        return event

    def _actor(self, inner: object) -> dict[str, object]:
        for when, rules in self._actors:
            if when is not None and not when.holds(inner):
                continue
            if rules["id"].find(inner) is not None:
                return _found(rules, inner)
        tried = ", ".join(rules["id"].tried(inner) for _when, rules in self._actors)
        raise UnmappableEvent(f"`actor.id` is required. Tried {tried}.")

    def _put_time(self, event: dict[str, Any], rule: Rule, inner: object) -> None:
        time = rule.find(inner)
        if time is not None:
            event["occurred_at"] = time
        elif unusable := rule.unusable(inner):
            # Without a time the event would get that of its arrival: worse than not taking it.
            raise UnmappableEvent(
                f"`occurred_at` must be a time with a known zone, but {unusable}. Name the format"
                " or the zone in the mapping, or give --zone."
            )
        elif "occurred_at" in self._required:
            raise UnmappableEvent(f"`occurred_at` is required. Tried {rule.tried(inner)}.")

    def _found_targets(self, inner: object) -> list[dict[str, object]]:
        targets: list[dict[str, object]] = []
        for rule in self._targets:
            if not (rule.fallback and targets):
                targets += rule.find(inner)
        return targets

    def _check_required(self, event: dict[str, Any], inner: object) -> None:
        for name in self._required:
            if name not in event:
                rule = self._before_changes.get(name) or self._after_source.get(name)
                tried = rule.tried(inner) if rule is not None else "no expression"
                raise UnmappableEvent(f"`{name}` is required. Tried {tried}.")


class _TargetRule:
    def __init__(self, compiler: Compiler, key: str, given: TargetSpec) -> None:
        self.fallback = given.fallback
        self._each = None if given.each is None else compiler.expression(f"{key}.each", given.each)
        self._when = compiler.condition(key, given.when)
        self._rules = compiler.fields(key, given, _TARGET)

    def find(self, inner: object) -> list[dict[str, object]]:
        items: list[object] = [inner]
        if self._each is not None:
            found = self._each(inner)
            items = found if isinstance(found, list) else [] if found is None else [found]
        return [target for target in map(self._one, items) if target]

    def _one(self, item: object) -> dict[str, object]:
        if self._when is not None and not self._when.holds(item):
            return {}
        found = _found(self._rules, item)
        # A type alone names nothing: it is mostly a constant of the mapping.
        return found if "id" in found or "name" in found else {}


def _actors(
    compiler: Compiler, given: ActorSpec | list[ActorSpec]
) -> list[tuple[Expression | None, dict[str, Rule]]]:
    alone = isinstance(given, ActorSpec)
    keyed = (
        ("event.actor" if alone else f"event.actor[{n}]", actor)
        for n, actor in enumerate([given] if isinstance(given, ActorSpec) else given)
    )
    return [
        (compiler.condition(key, actor.when), compiler.fields(key, actor, _ACTOR))
        for key, actor in keyed
    ]


def _found(rules: dict[str, Rule], inner: object) -> dict[str, object]:
    found: dict[str, object] = {}
    for name, rule in rules.items():
        value = rule.find(inner)
        if value is not None:
            found[name] = value
    return found


def _required(field: str, rule: Rule, inner: object) -> object:
    value = rule.find(inner)
    if value is None:
        raise UnmappableEvent(f"`{field}` is required. Tried {rule.tried(inner)}.")
    return value


def _flat(found: list[object]) -> list[object]:
    items = (item for part in found if isinstance(part, list) for item in part)
    return list(dict.fromkeys(items))


def _object_shape(value: object) -> object:
    return value if isinstance(value, dict) else None
