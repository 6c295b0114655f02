"""make dev as a process: started, signalled, killed. OpenSearch is off where it adds nothing."""

import asyncio
import os
import re
import signal
import socket
from pathlib import Path
from typing import Any

from pymongo import AsyncMongoClient

from ocelot_devstack.ports import free_port


def signing_key(dev: dict[str, Any]) -> str:
    return Path(dev["signing_key_file"]).read_text()


def arguments(pid: int) -> bytes:
    return Path(f"/proc/{pid}/cmdline").read_bytes()


async def none_left(make_dev: Any) -> bool:
    for _ in range(300):
        if not make_dev.children():
            return True
        await asyncio.sleep(0.1)
    return False


async def test_ctrl_c_stops_the_api_then_drains_then_stops_the_rest(make_dev: Any) -> None:
    await make_dev.start()
    await make_dev.wait_for("Ready in")
    dev = make_dev.dev_file()
    assert dev["api_url"] == f"http://127.0.0.1:{make_dev.ports['API']}"
    assert dev["probes"] == {
        "api": f"http://127.0.0.1:{make_dev.ports['API_PROBES']}",
        "consumer": f"http://127.0.0.1:{make_dev.ports['CONSUMER_PROBES']}",
    }
    assert dev["opensearch_url"] is None
    assert dev["tenants"]["globex"]["reader"] == "globex-reader-Shared"
    assert dev["queues"]["ingest"].startswith(dev["sqs_endpoint_url"])
    assert "Authorization: Bearer acme-writer-Dedicated" in make_dev.output
    assert "acme (Dedicated), globex (Shared)" in make_dev.output
    await make_dev.send(*map(str, range(10)))

    make_dev.process.send_signal(signal.SIGINT)
    assert await make_dev.end() == 0

    assert "Saved" not in make_dev.output
    assert "Lost" not in make_dev.output
    ends = [line.split() for line in (make_dev.state_dir / "ends").read_text().splitlines()]
    assert [name for name, _ in ends] == ["api", "worker"]
    assert float(ends[1][1]) - float(ends[0][1]) > 1, "the worker had ten messages to delete"
    assert not (make_dev.state_dir / "dev.json").exists()
    assert make_dev.children() == []


async def test_a_second_ctrl_c_hurries(make_dev: Any) -> None:
    await make_dev.start("idle")
    await make_dev.wait_for("Ready in")
    await make_dev.send("0", "1", "2")
    make_dev.process.send_signal(signal.SIGINT)
    await make_dev.wait_for("Stopping")
    await asyncio.sleep(1)
    make_dev.process.send_signal(signal.SIGINT)
    async with asyncio.timeout(120):
        assert await make_dev.end() == 0
    assert re.search("Hurrying|Stopping immediately", make_dev.output)
    assert make_dev.children() == []


async def test_ctrl_c_while_starting_leaves_nothing(make_dev: Any) -> None:
    await make_dev.start()
    for _ in range(1_800):
        if make_dev.children():
            break
        await asyncio.sleep(0.1)
    make_dev.process.send_signal(signal.SIGINT)
    assert await make_dev.end() == 0
    assert "Stopping" in make_dev.output
    assert "Ready in" not in make_dev.output
    assert make_dev.children() == []


async def test_a_killed_make_dev_leaves_no_child(make_dev: Any) -> None:
    await make_dev.start()
    await make_dev.wait_for("Ready in")
    assert len(make_dev.children()) == 4
    make_dev.process.kill()
    await make_dev.process.wait()
    assert await none_left(make_dev)


async def test_yesterdays_data_is_there_under_another_port(make_dev: Any) -> None:
    for run in range(2):
        make_dev.env["OCELOT_DEV_MONGODB_PORT"] = str(free_port())
        await make_dev.start()
        await make_dev.wait_for("Ready in")
        dev = make_dev.dev_file()
        key = signing_key(dev)
        client: AsyncMongoClient[dict[str, Any]] = AsyncMongoClient(dev["mongodb_url"])
        async with client:
            days = client[dev["mongodb_database"]]["days"]
            await days.insert_one({"run": run, "key": key})
            found = await days.find().sort("run").to_list()
        assert [day["run"] for day in found] == list(range(run + 1))
        assert {day["key"] for day in found} == {key}
        make_dev.process.send_signal(signal.SIGTERM)
        assert await make_dev.end() == 0


async def test_a_taken_port_is_named_and_nothing_starts(make_dev: Any) -> None:
    with socket.socket() as first, socket.socket() as second:
        for server, name in ((first, "API"), (second, "SQS")):
            server.bind(("127.0.0.1", int(make_dev.ports[name])))
            server.listen()
        await make_dev.start()
        assert await make_dev.end() == 1
    assert "Set OCELOT_DEV_API_PORT" in make_dev.output
    assert "Set OCELOT_DEV_SQS_PORT" in make_dev.output
    assert not (make_dev.state_dir / "mongodb").exists()
    assert make_dev.children() == []


async def test_a_second_make_dev_on_a_live_one_is_refused(make_dev: Any) -> None:
    await make_dev.start()
    await make_dev.wait_for("Ready in")
    other = make_dev.beside()
    await other.start()
    assert await other.end() == 1
    assert "make dev already runs here" in other.output
    assert (make_dev.state_dir / "dev.json").exists(), "it is the living one's"


async def test_a_service_that_dies_is_reported_and_started_again(make_dev: Any) -> None:
    await make_dev.start()
    await make_dev.wait_for("Ready in")
    victim = next(
        pid for pid in make_dev.children() if b"stub_service.py\0worker" in arguments(pid)
    )
    os.kill(victim, signal.SIGKILL)
    await make_dev.wait_for("consumer ended unexpectedly (SIGKILL)")
    await make_dev.wait_for("started again")
    make_dev.process.send_signal(signal.SIGTERM)
    assert await make_dev.end() == 0


async def test_a_service_that_cannot_start_ends_everything_with_its_last_lines(
    make_dev: Any,
) -> None:
    await make_dev.start("broken")
    assert await make_dev.end() == 1
    assert "consumer ended unexpectedly (exit status 1)" in make_dev.output
    assert "no such table" in make_dev.output
    assert make_dev.children() == []
