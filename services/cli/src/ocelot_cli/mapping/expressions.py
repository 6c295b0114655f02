"""JMESPath, compiled once: the one place that touches the untyped library."""

import difflib
import re
from collections.abc import Callable, Iterator
from typing import Any

import jmespath
import jmespath.exceptions
import jmespath.functions
import jmespath.visitor

from ocelot_cli.mapping.functions import FUNCTIONS, arguments, arity_fault, is_nothing

_Node = dict[str, Any]
_WITH_PATTERN = frozenset({"regex"})


class ExpressionError(ValueError):
    """An expression cannot be compiled, or failed on an event."""


class _Functions:
    """JMESPath's functions and ours, as its interpreter wants them."""

    def __init__(self) -> None:
        builtin = jmespath.functions.Functions()
        self._call_builtin: Callable[[str, list[object]], object] = builtin.call_function
        self.builtin: dict[str, Any] = builtin.FUNCTION_TABLE

    def call_function(self, name: str, values: list[object]) -> object:
        function = FUNCTIONS.get(name)
        return self._call_builtin(name, values) if function is None else function(*values)


_functions = _Functions()
_interpreter = jmespath.visitor.TreeInterpreter(
    jmespath.visitor.Options(custom_functions=_functions)
)


class Expression:
    """One compiled JMESPath expression.

    Raises:
        ExpressionError: it is no JMESPath, calls an unknown function or has a faulty pattern; the
            message names the expression and, where known, the column, counted from 1.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        try:
            node: _Node = jmespath.compile(text).parsed
        except jmespath.exceptions.EmptyExpressionError:
            raise ExpressionError("The expression must not be empty.") from None
        except jmespath.exceptions.LexerError as error:
            raise _syntax_fault(text, error.lexer_position, str(error.message)) from None
        except jmespath.exceptions.ParseError as error:
            raise _syntax_fault(text, error.lex_position, str(error.msg)) from None
        for inner in _walk(node):
            _check(inner, text)
        names = _plain_path(node)
        self._names = names
        self._node = node

    def __call__(self, data: object) -> object:
        """The value of this expression in `data`.

        Raises:
            ExpressionError: a function of JMESPath met a value of the wrong kind.
        """
        names = self._names
        if names is not None:  # plain paths are most of a mapping, and 5 times faster like this
            for name in names:
                if not isinstance(data, dict):
                    return None
                data = data.get(name)
            return data
        try:
            value: object = _interpreter.visit(self._node, data)
        except jmespath.exceptions.JMESPathError as error:
            reason = " ".join(str(error).split())
            raise ExpressionError(f"The expression {self.text!r} failed: {reason}") from None
        return value

    def holds(self, data: object) -> bool:
        """Whether the value counts as true in JMESPath: not false, null or empty; 0 does."""
        value = self(data)
        return value is not False and not is_nothing(value)


def _syntax_fault(text: str, position: int | None, what: str) -> ExpressionError:
    column = (len(text) if position is None else position) + 1
    if position is None or position >= len(text):
        what = "it ends too early (in a YAML list in brackets, quote values with a comma)"
    return ExpressionError(
        f"The expression is not valid JMESPath at column {column}: {what.rstrip('.')}: {text}"
    )


def _walk(node: _Node) -> Iterator[_Node]:
    yield node
    for child in node.get("children", ()):
        if isinstance(child, dict) and "type" in child:
            yield from _walk(child)


def _check(node: _Node, text: str) -> None:
    if node["type"] != "function_expression":
        return
    name, values = node["value"], node["children"]
    if name in FUNCTIONS:
        if fault := arity_fault(FUNCTIONS[name], len(values)):
            raise ExpressionError(f"The function {name}() {fault}: {text}")
        if name in _WITH_PATTERN and values[1]["type"] == "literal":
            check_pattern(values[1]["value"], text)
    elif name in _functions.builtin:
        _check_builtin(name, len(values), text)
    else:
        near = difflib.get_close_matches(name, [*FUNCTIONS, *_functions.builtin], 1)
        hint = f" Did you mean {near[0]}()?" if near else ""
        raise ExpressionError(
            f"The function {name}() does not exist.{hint} The expression is: {text}"
        )


def _check_builtin(name: str, count: int, text: str) -> None:
    signature = _functions.builtin[name]["signature"]
    variadic = bool(signature) and bool(signature[-1].get("variadic"))
    if count < len(signature) or (count > len(signature) and not variadic):
        raise ExpressionError(
            f"The function {name}() takes {arguments(len(signature))}, got {count}: {text}"
        )


def check_pattern(pattern: object, place: str) -> None:
    """Refuse a faulty regular expression.

    Raises:
        ExpressionError: naming the pattern and the column.
    """
    try:
        re.compile(str(pattern))
    except re.error as error:
        column = "" if error.pos is None else f" at column {error.pos + 1}"
        raise ExpressionError(
            f"The regular expression is invalid{column}: {error.msg}: {pattern} (in {place})"
        ) from None


def _plain_path(node: _Node) -> tuple[str, ...] | None:
    """The names of a path such as `a.b."c.d"`; `None` for every other expression."""
    if node["type"] == "field":
        return (node["value"],)
    if node["type"] == "current":
        return ()
    if node["type"] == "subexpression":
        names: tuple[str, ...] = ()
        for child in node["children"]:
            inner = _plain_path(child)
            if inner is None:
                return None
            names += inner
        return names
    return None
