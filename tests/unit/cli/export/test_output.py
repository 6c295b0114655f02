"""A file is never overwritten, and gone on with only by what began it."""

import json
import os
import pty
import tty
from pathlib import Path

import pytest

from ocelot_cli.export.output import Output, State, UnusableFileError, sidecar_of


def begun(path: Path) -> None:
    with Output.open(str(path), State({"action": ["a"]}, [("action", "a")])) as output:
        output.write(b"one\n", events=1, last_id="1")


HOSTILE = "\x1b[2J\x9b2J\u202e\u200b\r\nforged"


def test_a_file_gets_every_byte_as_it_is(tmp_path: Path):
    path = tmp_path / "out"
    content = HOSTILE.encode() + b"\xff\n"
    with Output.open(str(path), State({}, [])) as output:
        output.write(content, events=1, last_id="1")
    assert path.read_bytes() == content


@pytest.mark.parametrize(
    ("form", "content", "shown"),
    [
        (
            "ndjson",
            json.dumps({"a": HOSTILE}, ensure_ascii=False) + "\n",
            r'{"a": "\u001b[2J\u009b2J\u202e\u200b\r\nforged"}' + "\n",
        ),
        (
            "csv",
            f'id,message\r\n1,"{HOSTILE} ""x"""\r\n',
            'id,message\n1,"' + r"\u001b[2J\u009b2J\u202e\u200b\u000d\u000aforged" + ' ""x"""\n',
        ),
    ],
)
def test_a_terminal_gets_nothing_that_drives_it(form: str, content: str, shown: str):
    ours, its = pty.openpty()
    tty.setraw(its)  # else it would write a carriage return before each line feed
    try:
        with Output.open(os.ttyname(its), State({"format": form}, [])) as output:
            output.write(content.encode(), events=1, last_id="1")
            output.finish(b"")
        assert os.read(ours, 10_000).decode() == shown
        assert output.state.bytes == len(content.encode())
    finally:
        os.close(ours)
        os.close(its)


def test_a_file_that_is_there_is_not_touched(tmp_path: Path):
    path = tmp_path / "out"
    path.write_text("precious")
    with pytest.raises(UnusableFileError, match="exists already"):
        Output.open(str(path), State({}, []))
    assert path.read_text() == "precious"


def test_an_unfinished_one_is_not_begun_anew(tmp_path: Path):
    path = tmp_path / "out"
    begun(path)
    with pytest.raises(UnusableFileError, match="--resume"):
        Output.open(str(path), State({}, []))
    assert path.read_bytes() == b"one\n"


def test_a_finished_one_leaves_nothing_beside_it(tmp_path: Path):
    path = tmp_path / "out"
    begun(path)
    with Output.resume(str(path), {"action": ["a"]}) as output:
        assert (output.state.events, output.state.last_id) == (1, "1")
        output.finish(b"end\n")
    assert list(tmp_path.glob("out*")) == [path]
    assert path.read_bytes() == b"one\nend\n"
    with pytest.raises(UnusableFileError, match="does not exist"):
        Output.resume(str(path), {"action": ["a"]})


def test_what_was_written_after_the_last_note_is_taken_back(tmp_path: Path):
    path = tmp_path / "out"
    begun(path)
    with path.open("ab") as file:
        file.write(b"two")
    with Output.resume(str(path), {"action": ["a"]}) as output:
        output.write(b"TWO\n", events=1, last_id="2")
    assert path.read_bytes() == b"one\nTWO\n"
    state = json.loads(sidecar_of(str(path)).read_bytes())
    assert (state["events"], state["bytes"], state["last_id"]) == (2, 8, "2")


def test_other_options_are_named(tmp_path: Path):
    path = tmp_path / "out"
    begun(path)
    with pytest.raises(UnusableFileError, match="other options: action"):
        Output.resume(str(path), {"action": ["b"]})


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda path: path.write_bytes(b"o"), "is shorter than"),
        (lambda path: path.unlink(), "does not exist"),
        (lambda path: sidecar_of(str(path)).write_bytes(b"{"), "be read"),
        (lambda path: sidecar_of(str(path)).write_bytes(b"{}"), "be read"),
    ],
)
def test_what_does_not_fit_together_is_refused(tmp_path: Path, spoil: object, reason: str):
    path = tmp_path / "out"
    begun(path)
    assert callable(spoil)
    spoil(path)
    with pytest.raises(UnusableFileError, match=reason):
        Output.resume(str(path), {"action": ["a"]})


def test_a_device_is_written_to_and_has_nothing_beside_it():
    with Output.open("/dev/null", State({}, [])) as output:
        output.write(b"one\n", events=1, last_id="1")
        output.finish(b"")
        assert not output.resumable
