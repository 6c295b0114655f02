"""What the parser takes and RFC 9112 refuses."""

import httptools
import pytest

from ocelot_api.http.head import HeadError, check_head, framing_of, split_target

HOST = (b"host", b"x")


@pytest.mark.parametrize(
    ("version", "framing"),
    [
        ("1.1", [HOST]),
        ("1.1", [(b"host", b"")]),
        ("1.1", [(b"host", b" ocelot.example:8000 ")]),
        ("1.1", [(b"host", b"[::1]:8000")]),
        ("1.1", [HOST, (b"transfer-encoding", b"Chunked ")]),
        ("1.1", [HOST, (b"expect", b"100-Continue")]),
        ("1.0", []),
        ("1.0", [(b"expect", b"anything")]),  # RFC 9110 §10.1.1: ignored
    ],
)
def test_a_head_that_is_clear_is_accepted(version: str, framing: list[tuple[bytes, bytes]]):
    check_head(b"POST", version, framing)


@pytest.mark.parametrize(
    ("method", "version", "framing", "status", "code"),
    [
        (b"GET", "0.9", [], 400, "invalid_http"),
        (b"GET", "2.0", [HOST], 505, "unsupported_version"),
        (b"CONNECT", "1.1", [HOST], 400, "invalid_http"),
        (b"DESCRIBE", "1.0", [], 400, "invalid_http"),
        (b"SOURCE", "1.0", [], 400, "invalid_http"),
        (b"GET", "1.1", [], 400, "invalid_host"),
        (b"GET", "1.1", [HOST, HOST], 400, "invalid_host"),
        (b"GET", "1.0", [HOST, (b"host", b"y")], 400, "invalid_host"),
        (b"GET", "1.1", [(b"host", b"a b")], 400, "invalid_host"),
        (b"GET", "1.1", [(b"host", b"user@host")], 400, "invalid_host"),
        (b"GET", "1.1", [(b"host", b"host/path")], 400, "invalid_host"),
        (b"GET", "1.1", [(b"host", b"a, b c")], 400, "invalid_host"),
        (b"GET", "1.1", [(b"host", b"\xff")], 400, "invalid_host"),
        (b"GET", "1.1", [(b"host", b"a%zz")], 400, "invalid_host"),
        (b"POST", "1.0", [HOST, (b"transfer-encoding", b"chunked")], 400, "invalid_http"),
        (b"POST", "1.1", [HOST, (b"transfer-encoding", b"gzip")], 400, "invalid_http"),
        (b"POST", "1.1", [HOST, (b"transfer-encoding", b"identity")], 400, "invalid_http"),
        (b"POST", "1.1", [HOST, (b"transfer-encoding", b"chunked;q=1")], 400, "invalid_http"),
        (b"POST", "1.1", [HOST, (b"transfer-encoding", b"")], 400, "invalid_http"),
        (
            b"POST",
            "1.1",
            [HOST, (b"transfer-encoding", b"gzip, chunked")],
            501,
            "unsupported_transfer_coding",
        ),
        (
            b"POST",
            "1.1",
            [HOST, (b"transfer-encoding", b"gzip"), (b"transfer-encoding", b"chunked")],
            501,
            "unsupported_transfer_coding",
        ),
        (b"POST", "1.1", [HOST, (b"expect", b"200-ok")], 417, "unsupported_expectation"),
        (
            b"POST",
            "1.1",
            [HOST, (b"expect", b"100-continue"), (b"expect", b"x")],
            417,
            "unsupported_expectation",
        ),
    ],
)
def test_a_head_that_two_servers_may_read_differently_is_refused(
    method: bytes, version: str, framing: list[tuple[bytes, bytes]], status: int, code: str
):
    with pytest.raises(HeadError) as caught:
        check_head(method, version, framing)
    assert (caught.value.problem.status, caught.value.problem.code) == (status, code)


@pytest.mark.parametrize(
    ("target", "path", "query"),
    [
        (b"/", "/", b""),
        (b"/a?b=c?d#e", "/a", b"b=c?d"),
        (b"/a#b?c", "/a", b""),
        (b"*", "*", b""),
        (b"http://x/a?b", "/a", b"b"),
        (b"http://x", "/", b""),
    ],
)
def test_a_target_is_split_into_path_and_query(target: bytes, path: str, query: bytes):
    assert split_target(target) == (path, query)


def test_the_head_that_stands_for_another_frames_its_body_in_the_same_way():
    for headers in (
        [(b"content-length", b"3"), (b"accept", b"x")],
        [(b"transfer-encoding", b"chunked")],
        [],
    ):
        seen: list[bytes] = []

        class Callbacks:
            on_body = staticmethod(seen.append)

        parser = httptools.HttpRequestParser(Callbacks())
        parser.feed_data(framing_of(headers, keep_alive=True))
        if headers:
            parser.feed_data(b"3\r\nabc\r\n0\r\n\r\n" if len(headers) == 1 else b"abc")
            assert seen == [b"abc"]
        assert parser.should_keep_alive()
