"""Loading mappings: what faults say, and what is shipped."""

from collections.abc import Callable
from pathlib import Path

import pytest

from ocelot_cli.mapping import Mapping, MappingError, load_mapping, shipped_mappings

Loader = Callable[..., Mapping]
GOOD = "action: what\nactor: {id: who}\n"


@pytest.mark.parametrize(
    ("event", "more", "line", "key", "expected"),
    [
        pytest.param("actor: {id: who}", "", 4, "event.action", "required", id="missing key"),
        pytest.param(GOOD + "acton: x", "", 7, "event.acton", "lists the keys", id="unknown key"),
        pytest.param(
            "action: what\nactor: {id: who, nmae: x}",
            "",
            6,
            "event.actor.nmae",
            "lists the keys",
            id="unknown inner key",
        ),
        pytest.param(
            GOOD + "message: 5", "", 7, "event.message", "expected", id="a number for a rule"
        ),
        pytest.param(
            "action: a.[\nactor: {id: who}",
            "",
            5,
            "event.action",
            "valid JMESPath at column 4: it ends too early",
            id="an expression that ends too early",
        ),
        pytest.param(
            "action: a ) b\nactor: {id: who}",
            "",
            5,
            "event.action",
            "valid JMESPath at column 3",
            id="a stray character",
        ),
        pytest.param(
            "action: lowercase(a)\nactor: {id: who}",
            "",
            5,
            "event.action",
            "id you mean lower()?",
            id="an unknown function",
        ),
        pytest.param(
            "action: lower(a, b)\nactor: {id: who}",
            "",
            5,
            "event.action",
            "lower() takes 1 ",
            id="too many values",
        ),
        pytest.param(
            "action: 'join(a)'\nactor: {id: who}",
            "",
            5,
            "event.action",
            "join() takes 2 ",
            id="too few values of a function of JMESPath",
        ),
        pytest.param(
            "action: \"regex(a, '(')\"\nactor: {id: who}",
            "",
            5,
            "event.action",
            "at column 1",
            id="a faulty pattern",
        ),
        pytest.param(
            GOOD + "outcome: {from: a, map: {x: ok}}",
            "",
            7,
            "event.outcome.map.x",
            "one of success, failure, denied, unknown",
            id="an unknown outcome",
        ),
        pytest.param(
            GOOD + "outcome: {from: a, map: [{is: x, like: y, to: success}]}",
            "",
            7,
            "event.outcome.map[0]",
            "between",
            id="two conditions",
        ),
        pytest.param(
            GOOD + "outcome: {from: a, map: [{matches: '[', to: success}]}",
            "",
            7,
            "event.outcome.map[0].matches",
            "regular expression",
            id="a faulty pattern in a table",
        ),
        pytest.param(
            GOOD + "message: {from: a, value: b}",
            "",
            7,
            "event.message",
            "value",
            id="from and value",
        ),
        pytest.param(
            GOOD + "message: {from: a, default: b}",
            "",
            7,
            "event.message.default",
            "map",
            id="default without a map",
        ),
        pytest.param(
            GOOD + "message: {from: a, time: {}}",
            "",
            7,
            "event.message.time",
            "occurred_at",
            id="a time elsewhere",
        ),
        pytest.param(
            GOOD + "occurred_at: {from: a, time: {zone: Mars}}",
            "",
            7,
            "event.occurred_at.time.zone",
            "'Mars'",
            id="an unknown zone",
        ),
        pytest.param(
            "action: {value: ocelot.x}\nactor: {id: who}",
            "",
            5,
            "event.action.value",
            "ocelot.",
            id="a reserved action",
        ),
        pytest.param(GOOD + "message: []", "", 7, "event.message", "list", id="no alternatives"),
        pytest.param(GOOD + "action: again", "", 7, "event.action", "key", id="twice"),
        pytest.param(
            GOOD, "requird: []", 3, "requird", "lists the keys", id="unknown key at the top"
        ),
    ],
)
def test_a_fault_names_file_line_key_and_what_was_expected(
    load: Loader, event: str, more: str, line: int, key: str, expected: str
) -> None:
    with pytest.raises(MappingError) as caught:
        load(event, more)
    error = caught.value
    assert (error.line, error.key) == (line, key)
    assert expected in error.detail
    assert f"mine.yaml:{line}: {key}: " in str(error)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param(b"", "empty", id="empty"),
        pytest.param(b"name: [", "valid YAML", id="broken"),
        pytest.param(b"- a\n", "expected", id="a list"),
        pytest.param(b"name: Mine\n", "expected", id="a name with a capital"),
        pytest.param(b"\xff\xfe", "UTF-8", id="UTF-8"),
        pytest.param(b"a: !!python/object/apply:os.system [ls]", "valid YAML", id="a tag"),
    ],
)
def test_a_file_that_is_no_mapping_is_refused(tmp_path: Path, text: bytes, expected: str) -> None:
    path = tmp_path / "x.yml"
    path.write_bytes(text)
    with pytest.raises(MappingError, match=expected):
        load_mapping(str(path))


def test_a_missing_file_is_named() -> None:
    with pytest.raises(MappingError, match=r"^no/such\.yaml: .*cannot be read: No such file"):
        load_mapping("no/such.yaml")


def test_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(
        MappingError, match="cloudtrail, github-webhook, kubernetes, okta, windows-security"
    ):
        load_mapping("cloudtrial")


def test_every_shipped_mapping_loads_under_its_name_and_describes_itself() -> None:
    for shipped in shipped_mappings():
        mapping = load_mapping(shipped.name)
        assert (mapping.name, mapping.description) == (shipped.name, shipped.description)
        assert shipped.description
        assert shipped.text.startswith("#")


def test_an_unknown_zone_is_refused_before_any_event_is_read() -> None:
    with pytest.raises(MappingError, match="'Mars'"):
        load_mapping("windows-security", zone="Mars")
