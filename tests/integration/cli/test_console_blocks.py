"""Every console block of README and docs runs as it is printed, in the order of its page.

The tenant `acme` of the pages is one of the test's own, and so are their ids. The tutorial has a
test of its own, which compares what its commands print, too.
"""

import asyncio
import gzip
import json
import os
import re
import secrets
import sys
from asyncio.subprocess import PIPE, STDOUT
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import zstandard

from docskit.console import Block, console_blocks
from ocelot_common.dead_letters import DeadLetter, DeadLetterStore, Reason, Stage
from ocelot_common.holds import HoldStore
from ocelot_common.ids import new_id
from ocelot_common.jobs.model import JobKind
from ocelot_common.jobs.store import JobStore
from ocelot_common.timestamps import now_ms

ROOT = Path(__file__).parents[3]
TUTORIAL = ROOT / "docs/tutorial.md"
PAGES = [
    page
    for page in sorted(
        [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("examples/*.md")]
    )
    if page != TUTORIAL and any(block.reason is None for block in console_blocks(page))
]
pytestmark = [
    pytest.mark.mongodb,
    pytest.mark.sqs,
    pytest.mark.opensearch,
    pytest.mark.timeout(1_800),  # a hundred commands, each a process of its own
]

#: An answer that is an error ends curl well, unless it is told otherwise.
CURL = 'curl() { command curl --fail-with-body "$@"; }'
#: What the pages call their things, and what stands for it here is of the test.
LETTERS = ("3fa9c1", "77ab02", "5be0a4")
LETTER_TO_DISCARD = "0c55d2"
ENDED_JOB, WAITING_JOB = "01a21322", "01a21325"
HOLD = "01a2132f-9eb4-7005-8000-000000000001"
EVENT = "01a20fec-b3b5-72f4-9ef5-80ce43e0fde8"
EVENT_TO_INDEX = "019b0000-0000-7000-8000-000000000002"

EVENTS = [
    {"id": EVENT, "action": "document.update", "actor": {"id": "jane"}, "outcome": "denied"},
    {"id": EVENT_TO_INDEX, "action": "auth.logon", "actor": {"id": "alice"}},
]
#: A mapping and a log, as docs/mappings.md has them.
MAPPING = "name: mine\ndescription: of the test\nevent:\n  action: op\n  actor:\n    - {id: by}\n"
LOG = '{"op": "salary.view", "by": "ann"}\n'


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with the files that the pages name."""
    lines = "".join(f"{json.dumps(event)}\n" for event in EVENTS).encode()
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    (tmp_path / "events.ndjson").write_bytes(lines)
    (tmp_path / "2026-11-01.ndjson.gz").write_bytes(gzip.compress(lines))
    (tmp_path / "more.ndjson.zst").write_bytes(zstandard.compress(lines))
    trail = (ROOT / "examples/cloudtrail.ndjson").read_bytes()
    (tmp_path / "cloudtrail.ndjson.gz").write_bytes(gzip.compress(trail))
    windows = (ROOT / "examples/windows-security.ndjson").read_bytes()
    (tmp_path / "dc1.ndjson").write_bytes(windows)
    (tmp_path / "mine.yaml").write_text(MAPPING)
    (tmp_path / "mine.log").write_text(LOG)
    exporter = tmp_path / "my-exporter"
    exporter.write_text("#!/bin/sh\ncat events.ndjson\n")
    exporter.chmod(0o755)
    return tmp_path


async def put_letters(running: Any, access: Any, other: Any) -> dict[str, str]:
    """Make dead letters; their keys by the names that the pages give them."""
    names = {}
    for name in (*LETTERS, LETTER_TO_DISCARD):
        letter = DeadLetter(
            stage=Stage.STORE,
            reason=Reason.NOT_STORABLE,
            uid=(other if name == LETTER_TO_DISCARD else access).tenant.uid,
            event_id=new_id(),
            content='{"action":"doc.read","actor":{"id":"u"}}',
            detail="for the test",
            received_at=now_ms(),
            writer="test",
        )
        await DeadLetterStore(running.database).put([letter])
        names[name] = letter.key
    return names


async def make_jobs(running: Any, access: Any) -> dict[str, str]:
    """Make a job that has ended, and one that waits."""
    jobs = JobStore(running.database)
    ended = await jobs.create(JobKind.RETRY, created_by="test", spec={"keys": []})
    async with asyncio.timeout(120):
        while ended.live:
            await asyncio.sleep(0.1)
            ended = await jobs.get(ended.id) or ended
    later = datetime.now(UTC) + timedelta(days=1)
    waiting = await jobs.create(JobKind.RETRY, created_by="test", spec={"keys": []})
    await running.database.jobs.update_one({"_id": waiting.id}, {"$set": {"due_at": later}})
    hold = await HoldStore(running.database).place(access.tenant.uid, reason="test", owner="cli")
    return {ENDED_JOB: ended.id, WAITING_JOB: waiting.id, HOLD: hold.id}


def replaced(command: str, names: dict[str, str]) -> str:
    for name, own in names.items():
        # Not in the middle of a word: `acme` is not `Acme Corp`, nor a part of `acme-eu`.
        command = re.sub(rf"(?<![\w-]){re.escape(name)}(?![\w-])", own, command)
    return command


async def run(block: Block, names: dict[str, str], env: dict[str, str], folder: Path) -> None:
    """Run a block in one shell, so that an `export` holds until its end."""
    if any(command.startswith("ocelot tenants create acme") for command in block.commands):
        names = names | {"acme": f"t-{secrets.token_hex(5)}"}  # one that is new
    lines = [replaced(command, names) for command in block.commands]
    process = await asyncio.create_subprocess_exec(
        *("bash", "-euo", "pipefail", "-c", "\n".join([CURL, *lines])),
        stdin=PIPE,
        stdout=PIPE,
        stderr=STDOUT,
        env=env,
        cwd=folder,
    )
    # The pages have two questions: a tenant's id, and whether to go on.
    answer = names["acme"] if "tenants delete" in "".join(lines) else "y"
    printed = (await process.communicate(f"{answer}\n".encode()))[0].decode()
    assert process.returncode == 0, f"{block.page.name}, block {block.number}:\n{printed}"


@pytest.mark.parametrize("page", PAGES, ids=[str(page.relative_to(ROOT)) for page in PAGES])
async def test_the_blocks_of_a_page_run_as_they_are_printed(
    page: Path, running: Any, ocelot_env: dict[str, str], folder: Path, until_drained: Any
):
    access, other = await running.tenant(), await running.tenant()
    names = {
        "acme": access.tenant.id,
        "acme-eu": other.tenant.id,
        "small-one": f"t-{secrets.token_hex(5)}",
        "http://127.0.0.1:8000": running.api.url,
        "https://ocelot.example.com": running.api.url,
        "http://127.0.0.1:8080": running.api.probes_url,
    }
    names |= await put_letters(running, access, other) | await make_jobs(running, access)
    token = access.admin["Authorization"].removeprefix("Bearer ")
    path = os.pathsep.join((str(Path(sys.executable).parent), str(folder), ocelot_env["PATH"]))
    env = ocelot_env | {"PATH": path, "HOME": str(folder), "OCELOT_TOKEN": token, "TOKEN": token}
    for event in EVENTS:
        sent = await running.http.post("/api/v1/logs", json=event, headers=access.admin)
        assert sent.status_code == 202
    await until_drained()

    for block in console_blocks(page):
        if block.reason is None:
            await run(block, names, env, folder)
