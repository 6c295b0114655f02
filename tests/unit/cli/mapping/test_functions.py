"""The functions beside those of JMESPath, as expressions call them."""

from typing import Any

import pytest

from ocelot_cli.mapping.expressions import Expression
from ocelot_cli.mapping.functions import FUNCTIONS

DATA: dict[str, Any] = {
    "text": "ec2.amazonaws.com",
    "number": 42,
    "object": {"a": {"from": 1, "to": 2}, "b": {"from": None}, "c": "x"},
    "list": ["a", "c"],
    "lines": "\r\n first \r\n second",
    "json": '{"n":9007199254740993}',
    "empty": "",
}


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("coalesce(nothing, empty, number)", 42),
        ("coalesce(nothing)", None),
        ("text(number)", "42"),
        ("text(object)", None),
        ("lower('ÄB')", "äb"),
        ("upper(text)", "EC2.AMAZONAWS.COM"),
        ("trim(' a ')", "a"),
        ("first_line(lines)", "first"),
        ("split_first(text, '.')", "ec2"),
        ("split_last(text, '.')", "com"),
        ("split_first(text, '#')", "ec2.amazonaws.com"),
        ("prefix('windows.', number)", "windows.42"),
        ("prefix('windows.', nothing)", None),
        ("suffix(number, '!')", "42!"),
        ("strip_prefix(text, 'ec2.')", "amazonaws.com"),
        ("replace(text, '.', '/')", "ec2/amazonaws/com"),
        ("regex(text, '^[a-z0-9]+')", "ec2"),
        (r"regex(text, '\.(\w+)$')", "com"),
        ("regex(text, '#')", None),
        ("glob(text, '*.com')", True),
        ("unless(text, 'x', 'ec2.amazonaws.com')", None),
        ("unless(number, 'unknown')", 42),
        ("join_present('/', text, nothing, empty, number)", "ec2.amazonaws.com/42"),
        ("join_present('/', nothing)", None),
        ("is_ip('::1')", True),
        ("is_ip('1.2.3.04')", False),
        ("ip('10.0.0.1:443')", "10.0.0.1"),
        ("ip('[::1]:443')", "::1"),
        ("ip(text)", None),
        ("from_json(json).n", 9007199254740993),
        ("from_json(text)", None),
        ("first_key(@, ['nothing', 'empty', 'number', 'text'])", "number"),
        ("pick(object, list)", {"a": {"from": 1, "to": 2}, "c": "x"}),
        ("pick(object, ['z'])", None),
        ("pluck(object, 'from')", {"a": 1, "b": None}),
        ("entries(object)[2]", {"key": "c", "value": "x"}),
        ("length(list)", 2),
        ("list[?@ == 'c'] | [0]", "c"),
        ("object.a.to", 2),
        ("text.nothing.at_all", None),
    ],
)
def test_a_call(expression: str, expected: object) -> None:
    assert Expression(expression)(DATA) == expected


@pytest.mark.parametrize("name", sorted(set(FUNCTIONS) - {"coalesce", "entries"}))
@pytest.mark.parametrize("value", ["nothing", "object", "list", "number", "`true`"])
def test_no_function_fails_on_a_value_of_another_kind(name: str, value: str) -> None:
    for count in range(1, 5):
        try:
            expression = Expression(f"{name}({', '.join([value] * count)})")
        except ValueError:
            continue
        expression(DATA)


@pytest.mark.parametrize(
    ("expression", "holds"),
    [("number", True), ("`0`", True), ("empty", False), ("`false`", False), ("nothing", False)],
)
def test_conditions_are_true_as_in_jmespath(expression: str, holds: bool) -> None:
    assert Expression(expression).holds(DATA) is holds
