"""Files are read line by line, packed or not."""

import gzip
import io
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import zstandard

from ocelot_cli.transfer.lines import MAX_LINE_BYTES, Source, UnreadableError

TEXT = b'{"a":1}\n{"a":2}\n\n{"a":3}'
RAWS = [b'{"a":1}', b'{"a":2}', b"", b'{"a":3}']


def zst(content: bytes) -> bytes:
    return zstandard.ZstdCompressor().compress(content)


def written(folder: Path, name: str, content: bytes) -> Source:
    (folder / name).write_bytes(content)
    return Source(str(folder / name))


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("plain.ndjson", TEXT),
        ("crlf.ndjson", TEXT.replace(b"\n", b"\r\n")),
        ("one.ndjson.gz", gzip.compress(TEXT)),
        ("joined.ndjson.gz", gzip.compress(TEXT[:10]) + gzip.compress(TEXT[10:])),
        ("one.ndjson.zst", zst(TEXT)),
        ("joined.ndjson.zst", zst(TEXT[:10]) + zst(b"") + zst(TEXT[10:])),
    ],
)
def test_every_form_of_file_gives_the_same_lines(tmp_path: Path, name: str, content: bytes):
    lines = list(written(tmp_path, name, content).lines())

    assert [line.raw for line in lines] == RAWS
    assert [line.number for line in lines] == [1, 2, 3, 4]
    assert not any(line.too_long for line in lines)
    assert lines[1].place == f"{tmp_path / name}:2"


@pytest.mark.parametrize("pack", [bytes, gzip.compress, zst])
@pytest.mark.parametrize("number", [0, 1, 100_000])
def test_files_of_any_length_come_whole(tmp_path: Path, number: int, pack: type):
    suffix = {bytes: "", gzip.compress: ".gz", zst: ".zst"}[pack]
    content = b"".join(b"%d some line\n" % n for n in range(number))

    source = written(tmp_path, f"long.ndjson{suffix}", pack(content))

    assert [line.raw for line in source.lines()] == content.splitlines()


@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
def test_a_line_of_exactly_a_mebibyte_is_whole_and_a_longer_one_is_marked(
    tmp_path: Path, end: bytes
):
    content = end.join([b"x" * MAX_LINE_BYTES, b"y" * (MAX_LINE_BYTES + 1), b"after", b""])

    whole, longer, after = written(tmp_path, "long.ndjson", content).lines()

    assert (len(whole.raw), whole.too_long) == (MAX_LINE_BYTES, False)
    assert (len(longer.raw), longer.too_long) == (MAX_LINE_BYTES, True)
    assert (after.raw, after.number) == (b"after", 3)


def test_a_line_far_too_long_is_skipped_to_its_end(tmp_path: Path):
    content = b"z" * (5 * MAX_LINE_BYTES + 7) + b"\nafter\n" + b"w" * (2 * MAX_LINE_BYTES)

    lines = list(written(tmp_path, "long.ndjson", content).lines())

    assert [line.too_long for line in lines] == [True, False, True]
    assert lines[1].raw == b"after"


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("cut.gz", gzip.compress(TEXT * 1_000)[:-9]),
        ("cut.zst", zst(TEXT * 1_000)[:-1]),
        ("begun.zst", zst(TEXT) + zst(TEXT)[:7]),
        ("damaged.gz", gzip.compress(TEXT)[:12] + b"\xff" * 20),
        ("plain.gz", TEXT),
        ("plain.zst", TEXT),
    ],
)
def test_a_file_that_is_cut_off_or_damaged_is_one_clear_error(
    tmp_path: Path, name: str, content: bytes
):
    source = written(tmp_path, name, content)

    with pytest.raises(UnreadableError) as caught:
        list(source.lines())

    assert str(caught.value).startswith(f"{tmp_path / name}: ")
    assert "\n" not in str(caught.value)


def test_a_folder_is_one_clear_error(tmp_path: Path):
    with pytest.raises(UnreadableError, match="Is a directory"):
        list(Source(str(tmp_path)).lines())


def test_a_missing_file_is_found_out_before_anything_is_read(tmp_path: Path):
    with pytest.raises(FileNotFoundError):
        Source(str(tmp_path / "missing.ndjson"))


def test_standard_input_is_read_where_the_name_is_a_hyphen(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(TEXT)))

    lines = list(Source("-").lines())

    assert [line.raw for line in lines] == RAWS
    assert lines[0].place == "stdin:1"


def test_the_position_is_that_in_the_file_on_the_disk(tmp_path: Path):
    content = gzip.compress(TEXT)
    source = written(tmp_path, "a.gz", content)
    assert (source.size, source.position) == (len(content), 0)

    list(source.lines())

    assert source.position == len(content)


def test_a_file_knows_itself_by_another_name(tmp_path: Path):
    source = written(tmp_path, "a.ndjson", TEXT)
    (tmp_path / "link").symlink_to(tmp_path / "a.ndjson")
    (tmp_path / "other").touch()

    assert source.is_file(tmp_path / "link")
    assert not source.is_file(tmp_path / "other")
    assert not Source("-").is_file(tmp_path / "other")
