"""Rules: how one field's value is found in a foreign event."""

import re
from collections.abc import Callable, Sequence
from fnmatch import translate
from typing import Final

from ocelot_cli.mapping.expressions import Expression
from ocelot_cli.mapping.functions import is_nothing
from ocelot_cli.mapping.specification import CaseSpec
from ocelot_cli.mapping.text import text_of

#: Turns what an expression found into a field's value; `None`: it is not usable there.
Shape = Callable[[object], object]

_SHOWN = 60


class Table:
    """A `map`: the first case that fits a value gives the result.

    Args:
        exact: results by a value's text.
        cases: tried in order after `exact`: a test of the value and its text, and the result.
        default: the result where nothing fits.
    """

    def __init__(
        self,
        exact: dict[str, str],
        cases: Sequence[tuple[Callable[[object, str], bool], str]],
        default: str | None,
    ) -> None:
        self._exact = exact
        self._cases = tuple(cases)
        self._default = default

    def __call__(self, value: object) -> str | None:
        """The result for `value`; objects and arrays fit nothing."""
        text = text_of(value)
        if text is None:
            return self._default
        found = self._exact.get(text)
        if found is not None:
            return found
        for fits, result in self._cases:
            if fits(value, text):
                return result
        return self._default


class Alternative:
    """One way to a value; the first of a rule's that yields something is taken.

    Args:
        expressions: tried in order; what is nothing, or not of the field's shape, is passed over.
        shape: the field's.
        when: the alternative counts only where this holds.
        constant: the value, instead of expressions.
        table: applied to what the expressions found.
        missing: the value where they found nothing.
        nothing: texts that stand for nothing in this source, such as `-`.
    """

    def __init__(
        self,
        expressions: Sequence[Expression],
        shape: Shape,
        *,
        when: Expression | None = None,
        constant: str | None = None,
        table: Table | None = None,
        missing: str | None = None,
        nothing: frozenset[str] = frozenset(),
    ) -> None:
        self._expressions = tuple(expressions)
        self._shape = shape
        self._when = when
        self._constant = constant
        self._table = table
        self._missing = missing
        self._nothing = nothing

    def find(self, event: object) -> object:
        """The value, or `None`."""
        if self._when is not None and not self._when.holds(event):
            return None
        if self._constant is not None:
            return self._shape(self._constant)
        for expression in self._expressions:
            value = expression(event)
            if self._is_nothing(value):
                continue
            if self._table is not None:
                value = self._table(value)
            value = self._shape(value)
            if value is not None:
                return value
            if self._table is not None:
                return None  # found, but the table has no place for it
        return None if self._missing is None else self._shape(self._missing)

    def unusable(self, event: object) -> str | None:
        """The first expression that found something, which the field could not take."""
        if self._when is not None and not self._when.holds(event):
            return None
        for expression in self._expressions:
            value = expression(event)
            if not self._is_nothing(value):
                return f"{expression.text} is {shown(value)}"
        return None

    def tried(self, event: object) -> list[str]:
        """What each expression found, for people."""
        if self._when is not None and not self._when.holds(event):
            return [f"not tried, because {self._when.text} is false"]
        return [
            f"{expression.text} ({self._found(expression(event))})"
            for expression in self._expressions
        ]

    def _found(self, value: object) -> str:
        return "nothing" if self._is_nothing(value) else shown(value)

    def _is_nothing(self, value: object) -> bool:
        return is_nothing(value) or (type(value) is str and value in self._nothing)


class Rule:
    """A field's alternatives, in order."""

    def __init__(self, alternatives: Sequence[Alternative]) -> None:
        self._alternatives = tuple(alternatives)
        self._only: Final = alternatives[0] if len(alternatives) == 1 else None

    def find(self, event: object) -> object:
        """The value of the first alternative that yields one, or `None`."""
        if self._only is not None:
            return self._only.find(event)
        for alternative in self._alternatives:
            value = alternative.find(event)
            if value is not None:
                return value
        return None

    def find_all(self, event: object) -> list[object]:
        """The values of all alternatives: `tags`."""
        found = (alternative.find(event) for alternative in self._alternatives)
        return [value for value in found if value is not None]

    def unusable(self, event: object) -> str | None:
        """What was found although the rule yields nothing; `None` if there was nothing."""
        return next(filter(None, (a.unusable(event) for a in self._alternatives)), None)

    def tried(self, event: object) -> str:
        """What was tried and found, for people."""
        return ", ".join(text for a in self._alternatives for text in a.tried(event))


def shown(value: object) -> str:
    """`value` as a message shows it: its kind if it is an object or array, cut if it is long."""
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, list):
        return "an array"
    text = repr(value) if isinstance(value, str) else text_of(value) or "null"
    return text if len(text) <= _SHOWN else text[:_SHOWN] + "…"


def case_test(case: CaseSpec) -> Callable[[object, str], bool]:
    """The test of a case that is not `is`.

    Raises:
        re.error: a faulty pattern.
    """
    if case.like is not None:
        globs = [case.like] if isinstance(case.like, str) else case.like
        pattern = re.compile("|".join(translate(glob) for glob in globs))
        return lambda _value, text: pattern.match(text) is not None
    if case.matches is not None:
        found = re.compile(case.matches)
        return lambda _value, text: found.search(text) is not None
    low, high = case.between or (None, None)
    return lambda value, _text: _lies_between(value, low, high)


def _lies_between(value: object, low: float | None, high: float | None) -> bool:
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            return False
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return (low is None or value >= low) and (high is None or value <= high)
