"""`ocelot send`, `import`, `search` and `get` on a real installation."""

import asyncio
import json
import re
import signal
from typing import Any

import pytest

from ocelot_common.ids import format_id

pytestmark = [pytest.mark.mongodb, pytest.mark.sqs, pytest.mark.opensearch]
CLOUDTRAIL = {
    "eventVersion": "1.08",
    "eventID": "11111111-2222-3333-4444-555555555555",
    "eventTime": "2026-10-05T06:07:08Z",
    "eventName": "DeleteTrail",
    "eventSource": "cloudtrail.amazonaws.com",
    "errorCode": "AccessDenied",
    "userIdentity": {"type": "IAMUser", "principalId": "AIDA1", "userName": "mallory"},
}


def lines(number: int, **more: Any) -> bytes:
    return b"".join(
        json.dumps({"action": "note.write", "actor": {"id": f"u{n}"}} | more).encode() + b"\n"
        for n in range(number)
    )


async def test_a_file_sent_twice_doubles_nothing(
    running: Any, ocelot: Any, tokens: Any, until_drained: Any
):
    access = await running.tenant()
    same = b'{"action":"same","actor":{"id":"x"}}\n'
    path = ocelot.write("events.ndjson", lines(1_200) + same * 3 + b"\n")

    first = await ocelot.ok("send", path, **tokens(access))
    stored = await running.until_stored(access.tenant, 1_203)
    second = await ocelot.ok("send", path, **tokens(access))
    await until_drained()

    assert re.search(r"accepted +1,203\b", first.err)
    assert re.search(r"accepted +1,203\b", second.err)
    after = await running.stored(access.tenant)
    assert {(event.id, event.seq) for event in after} == {(e.id, e.seq) for e in stored}
    assert len(after) == 1_203
    assert sorted(await running.until_indexed(access.tenant, 1_203)) == sorted(
        format_id(event.id) for event in after
    )


async def test_a_run_that_is_interrupted_and_started_again_sends_each_event_once(
    running: Any, ocelot: Any, tokens: Any, until_drained: Any
):
    access = await running.tenant()
    number = 6_000
    content = lines(number, message="x" * 200)
    path = ocelot.write("many.ndjson", content)
    # From a pipe that stays open, so that the run is surely under way when it is interrupted.
    process = await ocelot.start("send", "-", **tokens(access))
    process.stdin.write(b"".join(content.splitlines(keepends=True)[:2_500]))
    await process.stdin.drain()
    await running.until_stored(access.tenant, 2_000)

    process.send_signal(signal.SIGINT)
    status = await asyncio.wait_for(process.wait(), 300)
    said = (await process.stderr.read()).decode()

    assert status == 130
    assert "Interrupted" in said
    assert "known" in said
    await until_drained()
    some = {event.id for event in await running.stored(access.tenant)}
    assert 0 < len(some) < number

    await ocelot.ok("send", path, **tokens(access))

    await until_drained()
    stored = await running.stored(access.tenant)
    assert len(stored) == number
    assert some < {event.id for event in stored}
    actors = {json.loads(event.text)["actor"]["id"] for event in stored}
    assert len(actors) == number


async def test_refused_lines_are_named_and_the_others_are_stored(
    running: Any, ocelot: Any, tokens: Any
):
    access = await running.tenant()
    path = ocelot.write("mixed.ndjson", lines(2) + b'{"actor":{"id":"x"}}\nno json\n')

    ended = await ocelot("send", path, "--rejects", "rejects", **tokens(access))

    assert ended.status == 3
    rejects = [json.loads(line) for line in (ocelot.folder / "rejects").read_bytes().splitlines()]
    assert sorted(each["line"] for each in rejects) == [3, 4]
    await running.until_stored(access.tenant, 2)


async def test_a_foreign_event_is_imported_found_and_read(running: Any, ocelot: Any, tokens: Any):
    access = await running.tenant()
    content = json.dumps(CLOUDTRAIL).encode() + b'\n{"no":"cloudtrail"}\n'
    path = ocelot.write("trail.ndjson", content)
    reader = tokens(access, "reader")

    imported = await ocelot("import", "--mapping", "cloudtrail", path, **tokens(access))

    assert imported.status == 3
    assert f"{path}:2: not a CloudTrail record" in imported.err
    await running.until_indexed(access.tenant, 1)
    found = await ocelot.ok("search", "DeleteTrail", "--outcome", "denied", "--json", **reader)
    [event] = found.events
    assert event["metadata"] == CLOUDTRAIL
    assert event["occurred_at"].startswith("2026-10-05T06:07:08")
    got = await ocelot.ok("get", event["id"].upper(), **reader)
    assert json.loads(got.out) == event
    missing = await ocelot("get", "0192aaaa-bbbb-7ccc-8ddd-eeeeeeeeeeee", **reader)
    assert missing.status == 4
    assert "error: 404" in missing.err


async def test_searches_filter_by_words_options_and_time(running: Any, ocelot: Any, tokens: Any):
    access = await running.tenant()
    events = [
        {"action": "note.write", "actor": {"id": "jane"}, "message": "the red report"},
        {"action": "note.read", "actor": {"id": "jane"}, "message": "the blue report"},
        {"action": "user.login", "actor": {"id": "joe"}, "outcome": "failure"},
        {
            "action": "user.login",
            "actor": {"id": "ann"},
            "severity": "critical",
            "request_id": "r-1",
            "targets": [{"id": "t-1"}],
            "occurred_at": "2026-01-02T03:04:05Z",
        },
    ]
    await ocelot.ok(
        "send", stdin=b"\n".join(json.dumps(event).encode() for event in events), **tokens(access)
    )
    await running.until_indexed(access.tenant, 4)

    async def actors(*args: str) -> list[str]:
        ended = await ocelot.ok("search", *args, "--json", **tokens(access, "reader"))
        return sorted(event["actor"]["id"] for event in ended.events)

    assert await actors("report") == ["jane", "jane"]
    assert await actors("red", "report") == ["jane"]
    assert await actors("--action", "note.*") == ["jane", "jane"]
    assert await actors("--action", "note.read", "--action", "user.login") == ["ann", "jane", "joe"]
    assert await actors("--actor", "joe", "--outcome", "failure") == ["joe"]
    assert await actors("--severity", "critical", "--target", "t-1", "--request-id", "r-1") == [
        "ann"
    ]
    assert await actors("--from", "-1h") == ["jane", "jane", "joe"]
    assert await actors("--to", "-1h") == ["ann"]
    assert await actors("--limit", "1", "--sort", "occurred_at") == ["ann"]
    table = await ocelot.ok("search", "red", **tokens(access, "reader"))
    assert "the red report" in table.out
    assert "1 of 1 event, from opensearch" in table.err
    wrong = await ocelot("search", "--sort", "actor", **tokens(access, "reader"))
    assert wrong.status == 1
    assert wrong.err.startswith("error: 400")


async def test_stats_are_a_table_or_json(running: Any, ocelot: Any, tokens: Any):
    access = await running.tenant()
    times = ("2026-03-28T12:00:00Z", "2026-03-29T12:00:00Z", "2026-03-29T13:00:00Z")
    events = [
        {"action": "logon", "actor": {"id": actor}, "occurred_at": time, "metadata": {"n": actor}}
        for actor, time in zip(("jane", "joe", "joe"), times, strict=True)
    ]
    await ocelot.ok(
        "send", stdin=b"\n".join(json.dumps(event).encode() for event in events), **tokens(access)
    )
    await running.until_indexed(access.tenant, 3)

    async def table(*args: str) -> list[list[str]]:
        ended = await ocelot.ok("stats", *args, **tokens(access, "reader"))
        assert re.search(r"\d events, from opensearch", ended.err)
        return [line.split() for line in ended.out.splitlines()]

    by_actor = [["actor.id", "events"], ["joe", "2"], ["jane", "1"]]
    assert await table("--by", "actor.id") == by_actor
    assert await table("--by", "metadata.n", "--top", "1") == [
        ["metadata.n", "events"], ["joe", "2"], ["(others)", "1"],
    ]  # fmt: skip
    assert await table("--every", "1d", "--tz", "Europe/Berlin", "--by", "actor.id") == [
        ["from", "events", "joe", "jane"],
        ["2026-03-28T00:00:00+01:00", "1", "0", "1"],
        ["2026-03-29T00:00:00+01:00", "2", "2", "0"],
    ]
    assert await table("--distinct", "action", "--distinct", "actor.id") == [
        ["1", "distinct", "values", "of", "action"],
        ["2", "distinct", "values", "of", "actor.id"],
    ]
    assert await table("--action", "nothing") == []
    as_json = await ocelot.ok("stats", "--actor", "joe", "--json", **tokens(access, "reader"))
    assert json.loads(as_json.out) == {"total": 2, "backend": "opensearch"}
    wrong = await ocelot("stats", "--every", "2d", **tokens(access, "reader"))
    assert wrong.status == 1
    assert wrong.err.startswith("error: 400")


async def test_a_search_pages_beyond_a_thousand(running: Any, ocelot: Any, tokens: Any):
    access = await running.tenant()
    await ocelot.ok("send", stdin=lines(2_345), **tokens(access))
    await running.until_indexed(access.tenant, 2_345)
    reader = tokens(access, "reader")

    everything = await ocelot.ok("search", "--limit", "5000", "--json", **reader)
    some = await ocelot.ok("search", "--limit", "1500", "--json", **reader)

    ids = [event["id"] for event in everything.events]
    assert len(ids) == len(set(ids)) == 2_345
    assert [event["id"] for event in some.events] == ids[:1_500]
    assert "2,345 of 2,345 events" in everything.err
    assert "1,500 of 2,345 events" in some.err


async def test_a_token_that_is_wrong_is_one_line(running: Any, ocelot: Any):
    del running
    for command in (["search"], ["send"]):
        ended = await ocelot(*command, stdin=lines(1), OCELOT_TOKEN="wrong")
        assert ended.status == 5
        assert "error: 401" in ended.err


async def test_an_api_that_goes_away_is_waited_for_until_patience_is_over(
    running: Any, ocelot: Any, tokens: Any
):
    access = await running.tenant()
    answers = [b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nContent-Length: 0\r\n\r\n"]

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        if answers:
            writer.write(answers.pop())
            await writer.drain()
        writer.close()
        if not answers:
            server.close()

    server = await asyncio.start_server(refuse, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]

    ended = await ocelot(
        "send",
        "--patience",
        "3",
        stdin=lines(1),
        OCELOT_API_URL=f"http://127.0.0.1:{port}",
        **tokens(access),
    )

    assert ended.status == 6
    assert "503" in ended.err
    assert "Repeating in" in ended.err
    assert "for 3 s" in ended.err
