"""Bodies within bounds of size, time and memory, whatever their encoding says."""

import asyncio
import gzip
import time
import tracemalloc
from collections.abc import Callable
from typing import Any

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Gauge

from ocelot_api.bodies import ClientGoneError, read_body
from ocelot_api.budget import FairPool, Refusal
from ocelot_api.problems import Problem
from ocelot_api.timers import TimeLimits

MIB = 1024 * 1024
LIMIT = 4 * MIB
PLAIN = b'{"action":"a","actor":{"id":"u"}}\n' * 500


def budget_of(limit: int = 64 * MIB) -> FairPool:
    """A budget of which one tenant may hold this limit."""
    gauge = Gauge("used", "used", registry=CollectorRegistry())
    return FairPool(2 * limit, Refusal("X", "bytes", members={"outcome": "rejected"}), gauge)


def receive_of(*chunks: bytes, then: str = "end", pause_sec: float = 0) -> Callable[[], Any]:
    """An ASGI `receive` that gives chunks, then ends, disconnects or hangs."""
    left = list(chunks)

    async def receive() -> dict[str, Any]:
        if pause_sec:
            await asyncio.sleep(pause_sec)
        if left:
            body = left.pop(0)
            return {"type": "http.request", "body": body, "more_body": bool(left) or then != "end"}
        if then == "end":
            return {"type": "http.request", "body": b"", "more_body": False}
        if then == "disconnect":
            return {"type": "http.disconnect"}
        await asyncio.Event().wait()
        raise AssertionError

    return receive


async def read(
    *chunks: bytes,
    encoding: bytes | None = None,
    max_bytes: int = LIMIT,
    budget: FairPool | None = None,
    then: str = "end",
    timeout_sec: float = 60,
    **headers: bytes,
) -> bytes:
    given_headers = {name.replace("_", "-").encode(): value for name, value in headers.items()}
    if encoding is not None:
        given_headers[b"content-encoding"] = encoding
    with (budget or budget_of()).reservation("t") as reservation:
        return await read_body(
            receive_of(*chunks, then=then),
            given_headers,
            max_bytes=max_bytes,
            time_limits=TimeLimits(timeout_sec),
            reservation=reservation,
        )


async def problem_of(*chunks: bytes, **options: Any) -> tuple[int, str]:
    with pytest.raises(Problem) as caught:
        await read(*chunks, **options)
    return caught.value.status, caught.value.code


def zstd(data: bytes, *, stated: bool = True) -> bytes:
    return zstandard.ZstdCompressor(write_content_size=stated).compress(data)


def unsized(data: bytes) -> bytes:
    """A zstd frame as a streaming client writes it, that does not state its size."""
    compressor = zstandard.ZstdCompressor().compressobj()
    return compressor.compress(data) + compressor.flush()


def in_thirds(data: bytes) -> list[bytes]:
    third = len(data) // 3 + 1
    return [data[:third], data[third : 2 * third], data[2 * third :]]


FORMS: dict[str, tuple[bytes | None, Callable[[bytes], bytes]]] = {
    "plain": (None, lambda data: data),
    "identity": (b"identity", lambda data: data),
    "gzip": (b"gzip", gzip.compress),
    "x-gzip": (b"x-gzip", gzip.compress),
    "GZip in capitals": (b" GZIP ", gzip.compress),
    "zstd": (b"zstd", zstd),
    "zstd without its size": (b"zstd", unsized),
    "gzip in three members": (b"gzip", lambda d: b"".join(map(gzip.compress, in_thirds(d)))),
    "zstd in three frames": (b"zstd", lambda d: b"".join(map(zstd, in_thirds(d)))),
    "unsized zstd in three frames": (b"zstd", lambda d: b"".join(map(unsized, in_thirds(d)))),
    "zstd, an empty frame first": (b"zstd", lambda d: zstd(b"") + zstd(d)),
    "zstd, an empty frame last": (b"zstd", lambda d: zstd(d) + zstd(b"")),
    "zstd, a skippable frame first": (b"zstd", lambda d: b"\x50*M\x18\4\0\0\0skip" + zstd(d)),
    "gzip, an empty member first": (b"gzip", lambda d: gzip.compress(b"") + gzip.compress(d)),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("data", [b"", b"x", PLAIN, bytes(range(256)) * 8_000], ids=len)
async def test_every_form_gives_the_body_back(form: str, data: bytes):
    encoding, encode = FORMS[form]
    assert await read(encode(data), encoding=encoding) == data


@pytest.mark.parametrize("form", FORMS)
async def test_chunks_of_any_size_are_joined(form: str):
    encoding, encode = FORMS[form]
    raw = encode(PLAIN)
    for size in (1, 7, len(raw) - 1):
        chunks = [raw[at : at + size] for at in range(0, len(raw), size)][:5_000]
        if b"".join(chunks) == raw:
            assert await read(*chunks, encoding=encoding) == PLAIN


@given(data=st.binary(max_size=3_000), parts=st.integers(1, 4), form=st.sampled_from(["gz", "zs"]))
async def test_any_bytes_in_any_number_of_members_come_back(data: bytes, parts: int, form: str):
    encode = gzip.compress if form == "gz" else zstd
    step = len(data) // parts + 1
    raw = b"".join(encode(data[at : at + step]) for at in range(0, len(data), step))
    assert await read(raw, encoding=b"gzip" if form == "gz" else b"zstd") == data


@pytest.mark.parametrize("form", [name for name, (encoding, _) in FORMS.items() if encoding])
async def test_a_body_that_is_cut_anywhere_is_refused(form: str):
    encoding, encode = FORMS[form]
    if encoding == b"identity":
        return
    small = b"some text that is short"
    raw = encode(small)
    whole = {b""}
    for end in range(1, len(raw)):
        try:
            got = await read(raw[:end], encoding=encoding)
        except Problem as problem:
            assert (problem.status, problem.code) == (400, "invalid_encoding")  # noqa: PT017
        else:  # a cut between two members leaves a body that is whole
            whole.add(got)
            assert small.startswith(got)
            assert got != small or "last" in form
    assert len(whole) <= 4


@pytest.mark.parametrize("encoding", [b"gzip", b"zstd"])
@pytest.mark.parametrize("garbage", [b"\n", b"garbage", b"\x1f\x8b", b"\x28\xb5\x2f\xfd"])
async def test_garbage_after_the_body_is_refused(encoding: bytes, garbage: bytes):
    raw = (gzip.compress if encoding == b"gzip" else zstd)(PLAIN)
    assert await problem_of(raw + garbage, encoding=encoding) == (400, "invalid_encoding")


@pytest.mark.parametrize("encoding", [b"gzip", b"zstd"])
async def test_a_body_that_is_not_what_its_encoding_says_is_refused(encoding: bytes):
    assert await problem_of(PLAIN, encoding=encoding) == (400, "invalid_encoding")
    other = (zstd if encoding == b"gzip" else gzip.compress)(PLAIN)
    assert await problem_of(other, encoding=encoding) == (400, "invalid_encoding")


@pytest.mark.parametrize("encoding", [b"gzip", b"zstd"])
async def test_a_damaged_body_is_refused(encoding: bytes):
    checked = zstandard.ZstdCompressor(write_checksum=True).compress
    raw = bytearray((gzip.compress if encoding == b"gzip" else checked)(PLAIN))
    raw[len(raw) // 2] ^= 0xFF
    problem = await problem_of(bytes(raw), encoding=encoding)
    assert problem == (400, "invalid_encoding")


@pytest.mark.parametrize("encoding", [b"br", b"deflate", b"gzip, zstd", b"\xe9", b"zstd;q=1"])
async def test_another_encoding_is_refused_and_told_which_are_taken(encoding: bytes):
    with pytest.raises(Problem) as caught:
        await read(PLAIN, encoding=encoding)
    assert (caught.value.status, caught.value.code) == (415, "unsupported_encoding")
    assert caught.value.headers == {"Accept-Encoding": "gzip, zstd"}


BOMBS = {
    "gzip": (b"gzip", gzip.compress(bytes(200 * MIB))),
    "gzip in members": (b"gzip", gzip.compress(bytes(MIB)) * 200),
    "zstd": (b"zstd", zstd(bytes(200 * MIB))),
    "zstd without its size": (b"zstd", unsized(bytes(200 * MIB))),
    "zstd in frames": (b"zstd", zstd(bytes(MIB)) * 200),
    "unsized zstd in frames": (b"zstd", unsized(bytes(MIB)) * 200),
}


@pytest.mark.parametrize("bomb", BOMBS)
async def test_a_bomb_is_refused_in_bounded_memory(bomb: str):
    encoding, raw = BOMBS[bomb]
    assert len(raw) < MIB
    tracemalloc.start()
    try:
        assert await problem_of(raw, encoding=encoding) == (413, "body_too_large")
        assert tracemalloc.get_traced_memory()[1] < LIMIT + 4 * MIB
    finally:
        tracemalloc.stop()


def with_stated_size(frame: bytes, size: int) -> bytes:
    """The frame with another content size in its header (4 bytes of it, RFC 8878 §3.1.1.1)."""
    assert frame[4] >> 6 == 2
    at = 5 if frame[4] & 0x20 else 6
    return frame[:at] + size.to_bytes(4, "little") + frame[at + 4 :]


@pytest.mark.parametrize("stated", [1, 100, LIMIT - 1, LIMIT + 1, 2**31])
async def test_a_zstd_frame_that_lies_about_its_size_is_refused(stated: int):
    honest = zstd(b"ab" * 50_000)
    assert await read(with_stated_size(honest, 100_000), encoding=b"zstd") == b"ab" * 50_000
    status, code = await problem_of(with_stated_size(honest, stated), encoding=b"zstd")
    assert (status, code) in {(400, "invalid_encoding"), (413, "body_too_large")}


async def test_a_zstd_window_over_8_mib_is_refused():
    parameters = zstandard.ZstdCompressionParameters(window_log=27, write_content_size=False)
    compressor = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    raw = compressor.compress(PLAIN) + compressor.flush()
    assert await problem_of(raw, encoding=b"zstd") == (400, "invalid_encoding")


@pytest.mark.parametrize(
    ("encoding", "member"), [(b"gzip", gzip.compress(b"")), (b"zstd", zstd(b""))]
)
async def test_millions_of_empty_members_are_refused_at_once(encoding: bytes, member: bytes):
    raw = member * (LIMIT // len(member))
    began = time.thread_time()
    assert await problem_of(raw, encoding=encoding) == (400, "invalid_encoding")
    took = time.thread_time() - began
    print(f"{took:.3f} s of CPU time")  # noqa: T201 - in the report of `-rP`
    assert took < 2


@pytest.mark.parametrize("encoding", [b"gzip", b"zstd"])
async def test_hundreds_of_small_members_and_thousands_of_others_are_read(encoding: bytes):
    encode = gzip.compress if encoding == b"gzip" else zstd
    assert await read(encode(b"x\n") * 100, encoding=encoding) == b"x\n" * 100
    line = b"x" * 1_500 + b"\n"
    assert await read(encode(line) * 2_500, encoding=encoding) == line * 2_500
    assert await problem_of(encode(b"x\n") * 310, encoding=encoding) == (400, "invalid_encoding")


async def test_a_body_at_the_limit_is_taken_and_a_byte_more_is_not():
    assert len(await read(b"x" * 1_000, max_bytes=1_000)) == 1_000
    assert await problem_of(b"x" * 1_001, max_bytes=1_000) == (413, "body_too_large")
    for encoding, encode in FORMS.values():
        if encoding not in (None, b"identity"):
            assert len(await read(encode(b"x" * 1_000), encoding=encoding, max_bytes=1_000)) == 1000
            raw = encode(b"x" * 1_001)
            assert await problem_of(raw, encoding=encoding, max_bytes=1_000) == (
                413,
                "body_too_large",
            )


@pytest.mark.parametrize("length", [b"1001", b"9" * 30, b"9" * 5_000])
async def test_a_content_length_over_the_limit_is_refused_before_the_body_is_read(length: bytes):
    with pytest.raises(Problem) as caught:
        await asyncio.wait_for(
            read(then="hang", max_bytes=1_000, content_length=length, timeout_sec=600), 60
        )
    assert caught.value.code == "body_too_large"


@pytest.mark.parametrize("length", [b"", b"-5", b"abc", b"1_000", b"1"])
async def test_a_content_length_that_says_nothing_is_passed_over(length: bytes):
    assert await read(b"abc", content_length=length) == b"abc"


async def test_a_body_over_the_limit_is_refused_while_it_arrives():
    chunks = [b"x" * 400] * 3
    assert await problem_of(*chunks, then="hang", max_bytes=1_000) == (413, "body_too_large")


async def test_a_body_that_arrives_too_slowly_times_out_and_the_connection_ends():
    with pytest.raises(Problem) as caught:
        await read(b"x", then="hang", timeout_sec=0.05)
    assert (caught.value.status, caught.value.code) == (408, "body_timeout")
    assert caught.value.headers == {"Connection": "close"}


async def test_a_client_that_goes_away_is_noticed():
    with pytest.raises(ClientGoneError):
        await read(b"half", then="disconnect")


async def test_a_body_counts_against_the_budget_until_its_request_ends():
    budget = budget_of()
    with budget.reservation("t") as reservation:
        await read_body(
            receive_of(zstd(PLAIN)),
            {b"content-encoding": b"zstd"},
            max_bytes=LIMIT,
            time_limits=TimeLimits(60),
            reservation=reservation,
        )
        assert budget.used == len(zstd(PLAIN)) + len(PLAIN)
    assert budget.used == 0


@pytest.mark.parametrize(
    ("chunks", "options"),
    [
        ([b"x" * 600, b"x" * 600], {}),
        ([gzip.compress(bytes(5_000))], {"encoding": b"gzip"}),
        ([b""], {"content_length": b"1500", "then": "hang"}),
    ],
    ids=["as it arrives", "decompressed", "before it arrives"],
)
async def test_a_body_over_the_budget_is_refused_and_gives_everything_back(
    chunks: list[bytes], options: dict[str, Any]
):
    budget = budget_of(1_000)
    with pytest.raises(Problem) as caught:
        await asyncio.wait_for(read(*chunks, budget=budget, timeout_sec=600, **options), 60)
    assert (caught.value.status, caught.value.code) == (503, "tenant_share")
    assert caught.value.members == {"outcome": "rejected"}
    assert "Retry-After" in caught.value.headers
    assert budget.used == 0
    assert await read(b"x" * 1_000, budget=budget) == b"x" * 1_000


@pytest.mark.parametrize(
    ("then", "error"), [("disconnect", ClientGoneError), ("hang", Problem)], ids=str
)
async def test_a_body_that_never_ends_gives_its_bytes_back(then: str, error: type[Exception]):
    budget = budget_of()
    with pytest.raises(error):
        await read(b"x" * 1_000, budget=budget, then=then, timeout_sec=0.05)
    assert budget.used == 0


async def test_a_size_that_is_only_announced_is_not_held():
    budget = budget_of(1_000)
    waiting = asyncio.create_task(
        read(then="hang", budget=budget, content_length=b"900", timeout_sec=0.2)
    )
    await asyncio.sleep(0.05)
    assert await read(b"x" * 1_000, budget=budget) == b"x" * 1_000
    with pytest.raises(Problem):
        await waiting
