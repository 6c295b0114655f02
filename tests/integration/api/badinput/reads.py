"""Parameters, ids and cursors of the read endpoints that must be refused."""

import base64
from collections.abc import Iterator
from urllib.parse import quote

from badinput.events import TIMES
from badinput.rows import LOGS, Row


def _get(name: str, query: str, code: str, path: str) -> Row:
    return Row(name, b"", 400, code, path, method="GET", url=f"{LOGS}?{query}", token="reader")


def _parameters() -> Iterator[Row]:
    for name in (
        *("x", "Action", "actor", "actor_id", "actor.id.x", "target", "targets.id", "from_", "Q"),
        *(
            "limit%20",
            "offset",
            "page",
            "filter",
            "query",
            "$where",
            "__proto__",
            "tenant",
            "tenant_id",
        ),
        *("atomic", "", "%00", "%F0%9F%A6%8A", "actor[id]", "actor%2Eid%00", "size", "index"),
    ):
        path = {
            "%00": "\0",
            "%F0%9F%A6%8A": "🦊",
            "actor%2Eid%00": "actor.id\0",
            "limit%20": "limit ",
        }.get(name, name)
        yield _get(f"GET ?{name}=1", f"{name}=1", "unknown_parameter", path)
    long = "x" * 1_025
    for name in ("action", "actor.id", "target.id", "request_id"):
        yield _get(f"GET {name} of nothing", f"{name}=", "invalid_parameter", name)
        yield _get(f"GET {name} of 1,025", f"{name}={long}", "invalid_parameter", name)
        many = "&".join(f"{name}={number}" for number in range(51))
        yield _get(f"GET {name} 51 times", many, "invalid_parameter", name)
    for name in ("outcome", "severity"):
        for value in ("", "INFO", "x", "*", "success*", "%00", "%ff", "%F0%9F%A6%8A", long):
            yield _get(f"GET {name}={value:.20}", f"{name}={value}", "invalid_parameter", name)
    for name in ("from", "to"):
        for value in TIMES:
            # A blank before an offset stands for a plus sign that was not encoded.
            yield _get(
                f"GET {name}={value!r:.40}",
                f"{name}={quote(value)[:3_000]}",
                "invalid_parameter",
                name,
            )
    for value in (
        *("0", "-1", "1001", "x", "", "1.5", "1e3", "0x10", "%00", "99999999999999999999", "NaN"),
        *("%2B", "1,0", "true", "null", "1" * 5_000, "%D9%A1%D9%A0%D9%A0%D9%A0%D9%A0"),
    ):
        yield _get(f"GET limit={value:.20}", f"limit={value}", "invalid_parameter", "limit")
    for value in ("", "id", "-id", "+occurred_at", "occurred_at,id", "OCCURRED_AT", "%00", "--seq"):
        yield _get(f"GET sort={value}", f"sort={value}", "invalid_parameter", "sort")
    words = "+".join(f"w{number}" for number in range(51))
    for name, value in (
        ("nothing", ""),
        ("marks", "%21%3F"),
        ("a NUL", "%00"),
        ("51 words", words),
        ("2,049 characters", "x" * 2_049),
        ("what is no UTF-8", "%ff%fe"),
        ("an emoji", "%F0%9F%A6%8A"),
    ):
        yield _get(f"GET q of {name}", f"q={value}", "invalid_parameter", "q")
    for name in ("from", "to", "q", "sort", "limit", "cursor"):
        value = {"from": "2026-01-01T00:00:00Z", "to": "2026-01-01T00:00:00Z", "q": "a"}
        once = f"{name}={value.get(name, {'sort': 'occurred_at', 'limit': '1'}.get(name, 'x'))}"
        yield _get(f"GET {name} twice", f"{once}&{once}", "invalid_parameter", name)


def _cursors() -> Iterator[Row]:
    raws = (
        *(b"", b"\0", b"\x01", b"\x92\x01\x94", b"\x92\x02\x94", b"\xc1", b"\x91" * 10_000),
        *(b"\x92\x01\x94\xa0\xc4\x00\x00\xc4\x00", b"\x92\xcd\xff\xff\xc0", b"\x93\x01\x01\x01"),
        b"\x92\x01\x94\xb0" + b"0" * 16 + b"\xc4\x0c" + b"0" * 12 + b"\xcf" + b"\xff" * 8,
    )
    texts = [base64.urlsafe_b64encode(raw).rstrip(b"=").decode() for raw in raws]
    for value in (
        *texts,
        "x",
        "====",
        "%00",
        "%ff",
        "%F0%9F%A6%8A",
        "-1",
        "0",
        "null",
        "x" * 10_000,
        "a+b",
        "..%2F..",
        "eyJhIjoxfQ",
    ):
        yield _get(f"GET cursor={value:.40}", f"cursor={value}", "invalid_cursor", "cursor")


def _ids() -> Iterator[Row]:
    good = "01234567-89ab-7cde-8f01-23456789abcd"
    for value in (
        *("x", "0", "null", "-", "%20", "%00", "%ff", "%F0%9F%A6%8A", "x" * 5_000, good[:-1]),
        *(good + "0", good + "%00", good + "%0A", good.replace("-", ""), "{" + good + "}"),
        *("urn:uuid:" + good, "00000000-0000-0000-0000-000000000000", good.replace("a", "g")),
        *("*", "%24ne", "%7B%22%24gt%22%3A%22%22%7D", "..", "%2E%2E", "bulk%00", good + "%20"),
    ):
        url = f"{LOGS}/{value}"
        if value in ("..", "%2E%2E"):
            continue  # the client resolves these
        yield Row(
            f"GET id {value:.40}",
            b"",
            400,
            "invalid_id",
            "id",
            method="GET",
            url=url,
            token="reader",
        )
    for value in ("..%2F..", good + "/x", good + "%2F", "%2F"):
        yield Row(
            f"GET path {value}",
            b"",
            404,
            "route_not_found",
            method="GET",
            url=f"{LOGS}/{value}",
            token="reader",
        )
    yield Row(
        "GET an unknown id",
        b"",
        404,
        "event_not_found",
        method="GET",
        url=f"{LOGS}/{good}",
        token="reader",
    )


def read_rows() -> list[Row]:
    """What is sent to `GET /logs` and `GET /logs/{id}`."""
    return [row for source in (_parameters, _cursors, _ids) for row in source()]
