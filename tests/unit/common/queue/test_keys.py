"""The key file: what it may hold, when it is read again, and which key signs."""

import base64
from pathlib import Path

import pytest

from ocelot_common.queue.keys import (
    MAX_FILE_BYTES,
    KeyFile,
    NoSigningKeyError,
    QueueKeys,
    UnknownKeyError,
    add_key,
    key_line,
    load_key_file,
    new_queue_key,
    parse_keys,
)
from ocelot_common.registry.model import QueueKeyState
from ocelot_common.signed_text import ForgedError, Purpose, QueueKey, sign
from queuekit.signing import KEY, OTHER_KEY, row

LINE = key_line(KEY)
GOOD = base64.b64encode(bytes(32)).decode()


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "queue-keys"


def write(path: Path, *keys: QueueKey) -> None:
    path.write_text("".join(f"{key_line(key)}\n" for key in keys))


def test_blank_lines_and_comments_are_skipped_and_the_order_stays() -> None:
    text = f"# rotated in May\n\n{key_line(OTHER_KEY)}\r\n  {LINE}  \n"
    assert parse_keys(text) == (OTHER_KEY, KEY)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "# nothing",
        "k1",
        f"k1 {GOOD}",
        f":{GOOD}",
        f"k.1:{GOOD}",
        "k1:",
        "k1:!!!!",
        f"k1:{base64.b64encode(bytes(31)).decode()}",
        f"k1:{base64.b64encode(bytes(33)).decode()}",
        f"{LINE}\n{LINE}",
    ],
)
def test_a_file_is_refused_that_holds(text: str) -> None:
    with pytest.raises(ValueError, match=r"line|key"):
        parse_keys(text)


def test_a_refusal_does_not_show_a_key() -> None:
    secret = base64.b64encode(bytes(31)).decode()
    with pytest.raises(ValueError, match="k1") as caught:
        parse_keys(f"k1:{secret}")
    assert secret not in str(caught.value)


def test_a_refusal_does_not_show_a_secret_that_stands_without_its_key_id() -> None:
    secret = "0f" * 16  # would be a key id if a colon followed
    with pytest.raises(ValueError, match="line 1") as caught:
        parse_keys(secret)
    assert secret not in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"k1:x", b"#" * (MAX_FILE_BYTES + 1)])
def test_a_process_with_a_wrong_file_ends_with_one_clear_message(
    path: Path, content: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    path.write_bytes(content)
    with pytest.raises(SystemExit) as caught:
        load_key_file(path)
    assert caught.value.code == 2
    assert f"OCELOT_QUEUE_KEYS_FILE: {path}" in capsys.readouterr().err


def test_a_process_without_a_file_ends_with_one_clear_message(
    path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        load_key_file(path)
    assert "OCELOT_QUEUE_KEYS_FILE: " in capsys.readouterr().err


def test_a_changed_file_is_read_again_within_a_second(path: Path) -> None:
    clock = Clock()
    write(path, KEY)
    file = KeyFile(path, clock=clock)
    write(path, OTHER_KEY, KEY)
    clock.now = 0.9
    assert file.keys == (KEY,)
    clock.now = 1.0
    assert file.keys == (OTHER_KEY, KEY)


def test_a_key_that_is_not_known_is_looked_for_in_the_file_at_once(path: Path) -> None:
    clock = Clock()
    write(path, KEY)
    file = KeyFile(path, clock=clock)
    assert file.find(OTHER_KEY.kid) is None
    write(path, KEY, OTHER_KEY)
    assert file.find(OTHER_KEY.kid) == OTHER_KEY


def test_a_secret_that_kubernetes_replaces_by_a_link_is_read_again(tmp_path: Path) -> None:
    clock = Clock()
    for name, key in (("one", KEY), ("two", OTHER_KEY)):
        (tmp_path / name).mkdir()
        write(tmp_path / name / "queue-keys", key)
    link = tmp_path / "..data"
    link.symlink_to(tmp_path / "one")
    file = KeyFile(link / "queue-keys", clock=clock)
    link.unlink()
    link.symlink_to(tmp_path / "two")
    clock.now = 1.0
    assert file.keys == (OTHER_KEY,)


@pytest.mark.parametrize("content", [None, b"", b"k1:half a li"])
def test_a_file_that_vanishes_or_breaks_leaves_the_keys(path: Path, content: bytes | None) -> None:
    clock = Clock()
    write(path, KEY)
    file = KeyFile(path, clock=clock)
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    clock.now = 1.0
    assert file.keys == (KEY,)
    assert file.find(KEY.kid) == KEY
    assert file.find("k9") is None


def test_a_new_key_becomes_the_first_line_and_the_file_is_its_owners(path: Path) -> None:
    first, second = new_queue_key(), new_queue_key()
    add_key(path, first)
    add_key(path, second)
    assert KeyFile(path).keys == (second, first)
    assert path.stat().st_mode & 0o777 == 0o600
    assert [each.name for each in path.parent.iterdir()] == [path.name]


def test_a_key_is_not_added_to_a_file_of_something_else(path: Path) -> None:
    path.write_text("not keys")
    with pytest.raises(ValueError, match="line 2"):
        add_key(path, new_queue_key())
    assert path.read_text() == "not keys"


def keys(path: Path, *rows: object) -> QueueKeys:
    known = {each.kid: each for each in rows}  # type: ignore[attr-defined]
    return QueueKeys(KeyFile(path), known.get)


def test_the_first_key_signs_and_all_verify(path: Path) -> None:
    write(path, OTHER_KEY, KEY)
    held = keys(path, row(KEY), row(OTHER_KEY))
    assert held.signing_key() == OTHER_KEY
    for key in (KEY, OTHER_KEY):
        text = sign(b"x", key, Purpose.INDEX, sent_at=5)
        assert held.open(text, Purpose.INDEX).kid == key.kid


@pytest.mark.parametrize(
    "first",
    [
        None,
        row(OTHER_KEY, QueueKeyState.RETIRED),
        row(OTHER_KEY, QueueKeyState.LOST),
        row(OTHER_KEY, sha256="0" * 64),
    ],
    ids=["unknown", "retired", "lost", "another key's"],
)
def test_a_first_key_that_others_would_refuse_does_not_sign(path: Path, first: object) -> None:
    write(path, OTHER_KEY, KEY)
    held = keys(path, row(KEY), *([first] if first else []))
    assert held.signing_key() == KEY


def test_without_an_active_key_nothing_is_signed(path: Path) -> None:
    write(path, KEY)
    with pytest.raises(NoSigningKeyError):
        keys(path).signing_key()


def test_a_wrong_mac_is_forged_under_the_registrys_key_and_unknown_under_another(
    path: Path,
) -> None:
    write(path, KEY)
    text = sign(b"x", QueueKey(KEY.kid, bytes(32)), Purpose.INDEX, sent_at=5)
    with pytest.raises(ForgedError):
        keys(path, row(KEY)).open(text, Purpose.INDEX)
    with pytest.raises(UnknownKeyError):  # the file has another key than everybody else
        keys(path, row(KEY, sha256="0" * 64)).open(text, Purpose.INDEX)


def test_what_was_signed_for_the_other_queue_is_forged(path: Path) -> None:
    write(path, KEY)
    text = sign(b"x", KEY, Purpose.INDEX, sent_at=5)
    with pytest.raises(ForgedError):
        keys(path, row(KEY)).open(text, Purpose.INGEST)


def test_the_use_of_a_key_is_told_once(path: Path) -> None:
    write(path, KEY)
    held = keys(path, row(KEY))
    for sent_at in (7, 5, 6, 9):
        held.open(sign(b"x", KEY, Purpose.INDEX, sent_at=sent_at), Purpose.INDEX)
    assert held.take_used() == {KEY.kid: (5, 9)}
    assert held.take_used() == {}


def test_the_key_that_signs_follows_the_registry_and_the_file(path: Path) -> None:
    clock = Clock()
    write(path, KEY, OTHER_KEY)
    known = {KEY.kid: row(KEY), OTHER_KEY.kid: row(OTHER_KEY)}
    held = QueueKeys(KeyFile(path, clock=clock), known.get)
    assert held.signing_key() == KEY
    known[KEY.kid] = row(KEY, QueueKeyState.LOST)
    assert held.signing_key() == OTHER_KEY
    known[KEY.kid] = row(KEY)
    assert held.signing_key() == KEY
    write(path, KEY)
    clock.now = 1.0
    assert held.signing_key() == KEY
    del known[KEY.kid]
    with pytest.raises(NoSigningKeyError):
        held.signing_key()
