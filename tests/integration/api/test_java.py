"""Java's HttpClient writes events with its defaults.

It prefers HTTP/2, and over cleartext it asks for it: `Connection: Upgrade, HTTP2-Settings` and
`Upgrade: h2c` come with every POST on a new connection.
"""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from edgekit import __path__ as kit
from faultkit.proxy import Proxy
from ocelot_common.ids import format_id
from ocelot_devstack.commands import run_command

pytestmark = [
    pytest.mark.mongodb,
    pytest.mark.sqs,
    pytest.mark.opensearch,
    pytest.mark.java,
]

PROGRAM = Path(next(iter(kit))) / "PostEvents.java"
SEQUENTIAL, PARALLEL = 20, 24


async def test_events_are_stored_and_connections_reused(
    running: Any, java_program: str, tmp_path: Path
):
    access = await running.tenant()
    api = next(service for service in running.stack.services if service.spec.name == "api")
    token = access.writer["Authorization"].removeprefix("Bearer ")
    async with asyncio.timeout(240), Proxy(f"127.0.0.1:{api.port}") as proxy:
        output = await run_command(
            [
                java_program,
                str(PROGRAM),
                f"http://{proxy.address}/api/v1/logs",
                token,
                str(SEQUENTIAL),
                str(PARALLEL),
            ],
            what="the Java client",
            cwd=tmp_path,
        )
        connections = proxy.accepted
    answers = [line.split("\t") for line in output.splitlines() if line.startswith("java.")]
    assert len(answers) == SEQUENTIAL + PARALLEL + 1, output
    refused = [answer for answer in answers if answer[1] != "202"]
    assert refused == []
    assert {version for _, _, version, _ in answers} == {"HTTP_1_1"}
    # One for those that follow each other, and at most one for each that is sent at once.
    assert connections <= 1 + PARALLEL, "connections are not reused"
    written = {json.loads(body)["id"]: action for action, _, _, body in answers}
    assert len(written) == len(answers)
    await running.until_stored(access.tenant, len(written))
    stored = {format_id(event.id): event.text for event in await running.stored(access.tenant)}
    assert stored.keys() == written.keys()
    for event_id, action in written.items():
        assert json.loads(stored[event_id])["action"] == action
