"""`ocelot export` on a real installation: whole and once, whatever is cut or killed."""

import asyncio
import csv
import json
import random
import re
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import pytest_asyncio

from faultkit.proxy import Direction, Proxy
from ocelot_common.stored import answer_json

pytestmark = [pytest.mark.mongodb, pytest.mark.sqs, pytest.mark.opensearch]

NUMBER = 3_000


class Data(NamedTuple):
    """A tenant, and its events as they are exported."""

    access: Any
    lines: list[bytes]


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def data(running: Any) -> Data:
    """Messages that can't be compressed, so that an export is longer than any buffer."""
    rng = random.Random(5)
    access = await running.tenant()
    events = [
        {
            "action": f"note.{'read' if number % 3 else 'write'}",
            "actor": {"id": f"u{number % 9}"},
            "message": f"=event {number} {rng.randbytes(1_200).hex()}",
            "metadata": {"plan": "pro", "n": number},
        }
        for number in range(NUMBER)
    ]
    await running.post_lines(access, [json.dumps(event).encode() for event in events])
    stored = await running.until_stored(access.tenant, NUMBER)
    stored.sort(key=lambda event: (event.occurred_at, event.id))
    return Data(access, [answer_json(event, access.tenant.id) for event in stored])


@pytest.fixture
def token(data: Data, tokens: Any) -> dict[str, str]:
    return dict(tokens(data.access, "admin"))


@pytest_asyncio.fixture(loop_scope="session")
async def proxy(ocelot: Any) -> AsyncIterator[Proxy]:
    """Before the api, and slow enough that something can happen to an export."""
    async with Proxy(ocelot.env["OCELOT_API_URL"]) as made:
        made.delay(0.02)
        yield made


async def until_passed(proxy: Proxy, number: int) -> None:
    async with asyncio.timeout(360):
        while proxy.passed[Direction.TO_CLIENT] < number:  # noqa: ASYNC110 - it tells nobody
            await asyncio.sleep(0.01)


def lines_of(path: Path) -> list[bytes]:
    return path.read_bytes().splitlines()


class TestForms:
    async def test_each_holds_what_the_api_gives(
        self, running: Any, ocelot: Any, data: Data, token: dict[str, str]
    ):
        ended = await ocelot.ok("export", "--output", "a.ndjson", **token)
        assert lines_of(ocelot.folder / "a.ndjson") == data.lines
        assert f"{NUMBER:,} events, " in ended.err
        assert re.search("stored before 20", ended.err)
        assert not list(ocelot.folder.glob("*.unfinished"))

        await ocelot.ok("export", "--output", "a.json", "--format", "json", **token)
        items = json.loads((ocelot.folder / "a.json").read_bytes())
        assert items == [json.loads(line) for line in data.lines]

        for columns in ([], ["--columns", "id,message,metadata.n,metadata"]):
            ended = await ocelot.ok("export", "--format", "csv", *columns, **token)
            params = {"format": "csv"} | ({"columns": columns[1]} if columns else {})
            answer = await running.http.get(
                "/api/v1/logs/export", params=params, headers=data.access.admin
            )
            assert ended.out.encode().replace(b"\r\n", b"\n") == answer.content.replace(
                b"\r\n", b"\n"
            )

    async def test_filters_are_those_of_a_search(
        self, ocelot: Any, data: Data, token: dict[str, str]
    ):
        ended = await ocelot.ok(
            "export", "event", "--action", "note.w*", "--where", "metadata.plan=pro",
            "--from", "-24h", "--sort", "-received_at", **token,
        )  # fmt: skip
        wanted = [line for line in data.lines if b'"note.write"' in line]
        assert sorted(ended.out.encode().splitlines()) == sorted(wanted)

    async def test_what_was_stored_later_is_left_out(self, ocelot: Any, token: dict[str, str]):
        ended = await ocelot.ok("export", "--stored-until", "-1h", **token)
        assert ended.out == ""
        assert "0 events" in ended.err


class TestInterrupted:
    async def test_a_connection_that_is_cut_is_made_again_and_nothing_doubled(
        self, ocelot: Any, data: Data, token: dict[str, str], proxy: Proxy
    ):
        env = token | {"OCELOT_API_URL": f"http://{proxy.address}"}
        process = await ocelot.start("export", "--output", "cut.ndjson", **env)
        for part in (1, 2, 3):
            await until_passed(proxy, part * 1_000_000)
            assert proxy.cut() == 1
        proxy.delay(0)
        ended = await ocelot.ended(process)
        assert ended.status == 0, ended.err
        assert lines_of(ocelot.folder / "cut.ndjson") == data.lines
        assert (
            len(re.findall("going on behind|Continuing after|again in|Repeating in", ended.err))
            >= 3
        )

    async def test_an_api_that_is_killed_and_comes_back_is_waited_for(
        self, running: Any, ocelot: Any, data: Data, token: dict[str, str]
    ):
        api = await running.stack.start_service("api")
        await api.wait_ready(180)
        async with Proxy(api.url) as proxy:
            proxy.delay(0.02)
            env = token | {"OCELOT_API_URL": f"http://{proxy.address}"}
            process = await ocelot.start("export", "--output", "killed.csv", "--format=csv", **env)
            await until_passed(proxy, 1_500_000)
            await api.kill()
            proxy.cut()  # the system would still deliver what the api had written
            await api.start()
            proxy.delay(0)
            ended = await ocelot.ended(process)
        await api.stop()
        assert ended.status == 0, ended.err
        assert re.search("going on behind|Continuing after", ended.err)
        with (ocelot.folder / "killed.csv").open(newline="") as file:
            header, *rows = csv.reader(file)
        assert header[0] == "id"
        assert [row[0] for row in rows] == [json.loads(line)["id"] for line in data.lines]

    async def test_a_run_that_is_killed_is_gone_on_with(
        self, ocelot: Any, data: Data, token: dict[str, str], proxy: Proxy
    ):
        path = ocelot.folder / "killed.json"
        command = ("export", "--output", path, "--format", "json", "--action", "note.*")
        env = token | {"OCELOT_API_URL": f"http://{proxy.address}"}
        for end in (signal.SIGKILL, signal.SIGINT):
            begun = proxy.passed[Direction.TO_CLIENT]
            resume = ["--resume"] if path.exists() else []
            process = await ocelot.start(*command, *resume, **env)
            await until_passed(proxy, begun + 1_500_000)
            process.send_signal(end)
            ended = await ocelot.ended(process)
            assert ended.status == (130 if end is signal.SIGINT else -end)
        assert "--resume" in ended.err
        assert "--resume" in (await ocelot(*command, **env)).err
        other = await ocelot(*command, "--resume", "--actor", "u1", **env)
        assert (other.status, "other options: actor" in other.err) == (2, True)
        proxy.delay(0)
        ended = await ocelot.ok(*command, "--resume", **env)
        assert json.loads(path.read_bytes()) == [json.loads(line) for line in data.lines]
        assert not list(ocelot.folder.glob("*.unfinished*"))

    async def test_standard_output_goes_on_within_one_run_and_ends_quietly(
        self, ocelot: Any, data: Data, token: dict[str, str], proxy: Proxy
    ):
        env = token | {"OCELOT_API_URL": f"http://{proxy.address}"}
        process = await ocelot.start("export", **env)
        waiting = asyncio.create_task(ocelot.ended(process))
        await until_passed(proxy, 1_000_000)
        proxy.cut()
        proxy.delay(0)
        ended = await waiting
        assert ended.out.encode().splitlines() == data.lines

        process = await ocelot.start("export", **token)
        await process.stdout.readline()
        process.stdout._transport.close()
        assert b"Traceback" not in await process.stderr.read()
        await process.wait()


class TestRefused:
    async def test_what_the_api_refuses_is_told_in_one_line(
        self, ocelot: Any, token: dict[str, str]
    ):
        ended = await ocelot("export", "--format", "csv", "--columns", "nothing", **token)
        assert (ended.status, ended.out) == (1, "")
        assert ended.err.startswith("error: 400 invalid_parameter: ")
        assert "'nothing'" in ended.err

    async def test_a_token_without_the_scope_is_told_and_can_be_replaced(
        self, ocelot: Any, data: Data, tokens: Any, token: dict[str, str]
    ):
        command = ("export", "--output", "file")
        ended = await ocelot(*command, **tokens(data.access, "reader"))
        assert ended.status == 5
        assert "error: 403 insufficient_scope" in ended.err
        await ocelot.ok(*command, "--resume", **token)
        assert lines_of(ocelot.folder / "file") == data.lines
