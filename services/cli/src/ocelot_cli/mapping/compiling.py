"""Compiles a mapping's specification into rules; every fault names its key."""

from collections.abc import Callable
from typing import Final

import msgspec

from ocelot_cli.mapping import specification as spec
from ocelot_cli.mapping.expressions import Expression, ExpressionError, check_pattern
from ocelot_cli.mapping.rules import Alternative, Rule, Shape, Table, case_test
from ocelot_cli.mapping.text import ACTION_LENGTH, KEYWORD_LENGTH, shorten, text_of
from ocelot_cli.mapping.times import TimeReader
from ocelot_cli.mapping.yaml_source import MappingSource
from ocelot_common.event import OUTCOMES, RESERVED_ACTION_PREFIX, SEVERITIES, is_ip_address


def keyword_shape(value: object) -> str | None:
    """Text of actor, targets, source, ids and tags: cut to its length."""
    text = text_of(value)
    return shorten(text, KEYWORD_LENGTH) if text and not text.isspace() else None


def action_shape(value: object) -> str | None:
    """An action, cut to its length."""
    text = text_of(value)
    return shorten(text, ACTION_LENGTH) if text and not text.isspace() else None


def message_shape(value: object) -> str | None:
    """A message: of any length."""
    text = text_of(value)
    return text if text and not text.isspace() else None


def tags_shape(value: object) -> list[str] | None:
    """One tag or a list of them."""
    items = value if isinstance(value, list) else [value]
    return [text for text in map(keyword_shape, items) if text is not None] or None


def address_shape(value: object) -> str | None:
    """An IP address, and nothing else."""
    return value if isinstance(value, str) and is_ip_address(value) else None


def any_shape(value: object) -> object:
    """A value as it is."""
    return value


def _one_of(known: tuple[str, ...]) -> Shape:
    names: Final = {name: name for name in known}

    def shape(value: object) -> str | None:
        text = text_of(value)
        return None if text is None else names.get(text) or names.get(text.lower())

    return shape


outcome_shape = _one_of(OUTCOMES)
severity_shape = _one_of(SEVERITIES)


class Compiler:
    """Compiles the parts of one mapping.

    Args:
        source: the mapping, which knows where its keys stand.
        zone: stands in for the zone of local times that the mapping names.
    """

    def __init__(self, source: MappingSource, zone: str | None) -> None:
        self._source = source
        self._zone = zone
        self._nothing = frozenset(source.spec.nothing)

    def expression(self, key: str, text: str) -> Expression:
        """One expression.

        Raises:
            MappingError: it cannot be compiled.
        """
        try:
            return Expression(text)
        except ExpressionError as error:
            raise self._source.fault(key, str(error)) from None

    def condition(self, key: str, text: str | None) -> Expression | None:
        """An optional `when`."""
        return None if text is None else self.expression(f"{key}.when", text)

    def rule(self, key: str, given: spec.Rule, shape: Shape) -> Rule:
        """The rule of one field.

        Raises:
            MappingError: one of its parts is faulty.
        """
        if isinstance(given, list):
            if not given:
                raise self._source.fault(key, "The list must have at least one expression.")
            return Rule(
                [self._alternative(f"{key}[{n}]", item, shape) for n, item in enumerate(given)]
            )
        return Rule([self._alternative(key, given, shape)])

    def fields(self, key: str, given: msgspec.Struct, shapes: dict[str, Shape]) -> dict[str, Rule]:
        """The rules of the fields that the mapping fills, in the order of `shapes`."""
        rules = ((name, getattr(given, name), shape) for name, shape in shapes.items())
        return {
            name: self.rule(f"{key}.{name}", rule, shape)
            for name, rule, shape in rules
            if rule is not None
        }

    def time_rule(self, key: str, given: spec.Rule) -> Rule:
        """The rule of `occurred_at`: its alternatives may say how a time is read."""
        items = given if isinstance(given, list) else [given]
        alternatives = []
        for n, item in enumerate(items):
            place = f"{key}[{n}]" if isinstance(given, list) else key
            time = None if isinstance(item, str) else item.time
            try:
                # A zone that the user names is for whatever has none of its own.
                reader = TimeReader(time or spec.TimeSpec(), self._zone)
            except ValueError as error:
                raise self._source.fault(f"{place}.time.zone", str(error)) from None
            alternatives.append(self._alternative(place, item, reader.read, timed=True))
        return Rule(alternatives)

    def _alternative(
        self, key: str, given: str | spec.RuleSpec, shape: Shape, *, timed: bool = False
    ) -> Alternative:
        if isinstance(given, str):
            return Alternative([self.expression(key, given)], shape, nothing=self._nothing)
        if (given.from_ is None) == (given.value is None):
            raise self._source.fault(key, "The rule must have either `from` or `value`.")
        if given.value is not None and (given.map is not None or given.missing is not None):
            raise self._source.fault(key, "`map` and `missing` need `from`, not `value`.")
        if given.map is None and given.default is not None:
            raise self._source.fault(
                f"{key}.default",
                "`default` needs `map`. For a value that is not found, use `missing`.",
            )
        if given.time is not None and not timed:
            raise self._source.fault(f"{key}.time", "`time` is for `occurred_at` only.")
        for name, value in (("value", given.value), ("missing", given.missing)):
            self._check_result(f"{key}.{name}", value, shape)
        texts = [given.from_] if isinstance(given.from_, str) else given.from_ or []
        single = isinstance(given.from_, str)
        return Alternative(
            [
                self.expression(f"{key}.from" if single else f"{key}.from[{n}]", text)
                for n, text in enumerate(texts)
            ],
            shape,
            when=self.condition(key, given.when),
            constant=given.value,
            table=None if given.map is None else self._table(key, given, shape),
            missing=given.missing,
            nothing=self._nothing,
        )

    def _table(self, key: str, given: spec.RuleSpec, shape: Shape) -> Table:
        self._check_result(f"{key}.default", given.default, shape)
        if isinstance(given.map, dict):
            for name, result in given.map.items():
                self._check_result(f"{key}.map.{name}", result, shape)
            return Table(given.map, [], given.default)
        cases: list[tuple[Callable[[object, str], bool], str]] = []
        for n, case in enumerate(given.map or []):
            place = f"{key}.map[{n}]"
            self._check_result(f"{place}.to", case.to, shape)
            given_tests = [case.is_, case.like, case.matches, case.between]
            if sum(test is not None for test in given_tests) != 1:
                raise self._source.fault(
                    place, "The case must have one of `is`, `like`, `matches`, `between`."
                )
            if case.is_ is not None:
                given_values = case.is_ if isinstance(case.is_, list) else [case.is_]
                wanted = frozenset(text_of(value) for value in given_values)
                cases.append((_is_among(wanted), case.to))
                continue
            if case.matches is not None:
                try:
                    check_pattern(case.matches, "matches")
                except ExpressionError as error:
                    raise self._source.fault(f"{place}.matches", str(error)) from None
            cases.append((case_test(case), case.to))
        return Table({}, cases, given.default)

    def _check_result(self, key: str, value: str | None, shape: Shape) -> None:
        if value is None:
            return
        if shape in {outcome_shape, severity_shape} and shape(value) is None:
            known = OUTCOMES if shape is outcome_shape else SEVERITIES
            raise self._source.fault(
                key, f"The value must be one of {', '.join(known)}, got {value!r}."
            )
        if shape is action_shape and value.startswith(RESERVED_ACTION_PREFIX):
            raise self._source.fault(
                key,
                f"An action must not begin with {RESERVED_ACTION_PREFIX}, which is reserved for"
                " Ocelot.",
            )


def _is_among(wanted: frozenset[str | None]) -> Callable[[object, str], bool]:
    return lambda _value, text: text in wanted
