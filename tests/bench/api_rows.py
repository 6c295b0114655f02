"""The api against bare ASGI apps."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from harness import Measured, Row, cpu_sec, interleaved, pin_under_test
from load import event, request, run_load

from ocelot_devstack.ports import free_port
from ocelot_devstack.probes import http_status
from ocelot_devstack.process import ManagedProcess
from ocelot_devstack.queues import open_sqs
from ocelot_devstack.stack import Stack

NDJSON = "application/x-ndjson"


@asynccontextmanager
async def limit_process(stack: Stack, log: Path) -> AsyncIterator[tuple[ManagedProcess, str]]:
    """The bare ASGI apps as a process, on the core under test."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    env = {**os.environ, **stack.env("api", port=port)}

    async def ready() -> bool:
        return await http_status(f"{url}/") is not None

    program = Path(__file__).with_name("limit_app.py")
    process = ManagedProcess(
        "limit", (sys.executable, str(program)), env=env, log_path=log, ready=ready
    )
    await process.start()
    pin_under_test(process.pid or 0)
    await process.wait_ready(30)
    try:
        yield process, url
    finally:
        await process.stop(5)


async def purge(stack: Stack) -> None:
    """Empty the ingest queue: LocalStack grows slower with what waits in it."""
    async with open_sqs(stack.sqs_endpoint_url, stack.settings.aws_env()) as sqs:
        await sqs.purge_queue(QueueUrl=stack.queues.ingest)


async def api_rows(
    stack: Stack, token: str, *, rounds: int, log: Path, report: Callable[[str], None]
) -> AsyncIterator[Row]:
    """Yield the rows of bulks of 1,000, of bulks of 100 and of single events."""
    api = await stack.start_service("api")
    pin_under_test(api.pid or 0)
    await api.wait_ready(30)
    async with limit_process(stack, log) as (limit, limit_url):

        async def measure(
            process: ManagedProcess,
            url: str,
            bodies: list[bytes],
            kind: str,
            *,
            connections: int,
            per_request: int,
        ) -> Measured:
            requests = [request(url, token, body, kind) for body in bodies]
            await run_load(url, requests[: len(requests) // 10], connections=connections)
            began = cpu_sec(process.pid or 0)
            result = await run_load(url, requests, connections=connections)
            used = cpu_sec(process.pid or 0) - began
            if set(result.statuses) != {b"202"}:
                raise SystemExit(f"{url}: {result.statuses}")
            report(f"    {url}: core {used / result.seconds:.0%} busy")
            await purge(stack)
            units = result.requests * per_request
            return Measured(units / result.seconds, used / units * 1e6)

        for name, size, number, connections, least in (
            # Rounds of about five seconds: shorter ones differ by a third from each other.
            ("api, bulk of 1,000", 1_000, 600, 8, 0.75),
            ("api, bulk of 100", 100, 5_000, 32, 0.60),
        ):
            bodies = [
                b"\n".join(event(number * size + each) for each in range(size))
                for number in range(number)
            ]
            yield await interleaved(
                name,
                ocelot=lambda b=bodies, c=connections, s=size: measure(
                    api, f"{api.url}/api/v1/logs/bulk", b, NDJSON, connections=c, per_request=s
                ),
                limit=lambda b=bodies, c=connections, s=size: measure(
                    limit, f"{limit_url}/bulk", b, NDJSON, connections=c, per_request=s
                ),
                rounds=rounds,
                unit="events/s",
                least=least,
                report=report,
            )
        singles = [event(number) for number in range(60_000)]
        yield await interleaved(
            "api, single events",
            ocelot=lambda: measure(
                api,
                f"{api.url}/api/v1/logs",
                singles,
                "application/json",
                connections=256,
                per_request=1,
            ),
            limit=lambda: measure(
                limit,
                f"{limit_url}/single",
                singles,
                "application/json",
                connections=256,
                per_request=1,
            ),
            rounds=rounds,
            unit="requests/s",
            least=0.35,
            report=report,
        )
    await stack.stop_services("api")
    await asyncio.sleep(0)
