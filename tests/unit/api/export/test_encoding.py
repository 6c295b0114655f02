"""What a client likes best of what there is, and streams that decode as far as they came."""

import zlib

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from ocelot_api.export.encoding import encoder_of, pick_encoding


@pytest.mark.parametrize(
    ("accepted", "picked"),
    [
        ("", "identity"),
        ("identity", "identity"),
        ("gzip", "gzip"),
        ("x-gzip", "gzip"),
        ("GZip", "gzip"),
        ("zstd", "zstd"),
        ("br", "identity"),
        ("gzip, deflate, br, zstd", "zstd"),
        ("gzip,zstd;q=0.5", "gzip"),
        ("gzip;q=0.5, zstd;q=0.4, identity;q=0.1", "gzip"),
        ("gzip ; q=0.2 , identity;q=0.9", "identity"),
        ("identity;q=0.2, gzip;q=0.2", "gzip"),
        ("*", "zstd"),
        ("*;q=0.5, zstd;q=0.1", "gzip"),
        ("zstd;q=0, *", "gzip"),
        ("zstd;q=0, gzip;q=0", "identity"),
        # Nothing is acceptable: RFC 9110 allows to send what there is.
        ("*;q=0", "identity"),
        ("identity;q=0", "identity"),
        ("identity;q=0, gzip;q=0.001", "gzip"),
        # What is no weight is none.
        ("gzip;q=", "identity"),
        ("gzip;q=two", "identity"),
        ("gzip;q=-1", "identity"),
        ("gzip;q=2", "identity"),
        ("gzip;q=nan", "identity"),
        ("zstd;level=3", "zstd"),
        (",,gzip,", "gzip"),
        (";q=1", "identity"),
    ],
)
def test_the_heaviest_encoding_is_picked(accepted: str, picked: str):
    assert pick_encoding(accepted.encode()) == picked


@given(st.binary(max_size=60))
def test_any_header_picks_one(accepted: bytes):
    assert pick_encoding(accepted) in ("zstd", "gzip", "identity")


def decode(name: str, content: bytes) -> bytes:
    if name == "gzip":
        return zlib.decompressobj(wbits=31).decompress(content)
    if name == "zstd":
        return zstandard.ZstdDecompressor().decompressobj().decompress(content)
    return content


@pytest.mark.parametrize("name", ["zstd", "gzip", "identity"])
@given(pieces=st.lists(st.binary(min_size=1, max_size=200), max_size=5))
def test_what_came_so_far_can_be_decoded(name: str, pieces: list[bytes]):
    encoder = encoder_of(name)
    sent = b""
    for number, piece in enumerate(pieces):
        sent += encoder.encode(piece)
        assert decode(name, sent) == b"".join(pieces[: number + 1])
    assert decode(name, sent + encoder.end()) == b"".join(pieces)
