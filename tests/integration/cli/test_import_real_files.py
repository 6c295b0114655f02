"""All real audit logs beside the checkout, through the command, into both stores."""

import asyncio
import hashlib
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from ocelot_cli.mapping import load_mapping
from ocelot_cli.transfer.lines import Source
from ocelot_cli.transfer.preparing import MappingPreparer
from ocelot_common.event import EventAcceptor
from ocelot_common.event_limits import EventLimits
from ocelot_common.ids import format_id
from ocelot_common.mongo import events_of
from ocelot_common.reading import read_document
from ocelot_common.stored import StoredEvent

pytestmark = [
    pytest.mark.mongodb,
    pytest.mark.sqs,
    pytest.mark.opensearch,
    # 154,000 events through every process: 6 minutes on two cores that others use as well.
    pytest.mark.timeout(900),
]
LINES = {
    "cloudtrail": 2_222,
    "kubernetes": 2_033,
    "okta": 66,
    "windows-security": 72_533,
    "github-webhook": 175,
}
TOTAL = 77_029
EQUAL_WINDOWS_LINES = 4_485
#: The events are as old as the files.
NOW_MS = 1_795_000_000_000


class Expected(NamedTuple):
    """What the stores must hold: digests of texts by id, and lines told apart by nothing."""

    texts: dict[str, bytes]
    equal_lines: Counter[str]


def digest(text: bytes) -> bytes:
    return hashlib.blake2b(text, digest_size=16).digest()


def expected(files: dict[str, list[Path]]) -> Expected:
    acceptor = EventAcceptor(now_ms=NOW_MS, limits=EventLimits())
    texts: dict[str, bytes] = {}
    equal: Counter[str] = Counter()
    for mapping, paths in files.items():
        loaded = load_mapping(mapping)
        for file in paths:
            preparer = MappingPreparer(loaded)
            raws: set[bytes] = set()
            for line in Source(str(file)).lines():
                event = acceptor.accept(preparer.prepare(line).event)
                assert event.id is not None
                texts[format_id(event.id)] = digest(event.text)
                raw = digest(line.raw)
                equal[mapping] += raw in raws
                raws.add(raw)
    return Expected(texts, equal)


class Kept(NamedTuple):
    text: bytes
    seq: Any


async def stored(running: Any, tenant: Any) -> dict[str, Kept]:
    space = await running.space_of(tenant)
    cursor = events_of(running.database, space.collection).find({"t": tenant.uid})
    kept: dict[str, Kept] = {}
    number = 0
    async for document in cursor:
        event = read_document(document)
        assert isinstance(event, StoredEvent), event
        number += 1
        kept[format_id(event.id)] = Kept(digest(event.text.encode()), event.seq)
    assert number == len(kept)
    return kept


async def test_every_real_event_is_stored_and_searchable_once_however_often_it_is_imported(
    running: Any, ocelot: Any, tokens: Any, until_drained: Any, real_logs: Any
):
    access = real_logs.access
    every_line_taken = [{"read": number, "accepted": number} for number in LINES.values()]

    assert list(real_logs.files) == list(LINES)
    assert real_logs.accounts() == every_line_taken
    assert sum(account["accepted"] for account in real_logs.accounts()) == TOTAL

    expectation = await asyncio.to_thread(expected, real_logs.files)
    assert len(expectation.texts) == TOTAL
    assert expectation.equal_lines["windows-security"] == EQUAL_WINDOWS_LINES
    first = await stored(running, access.tenant)
    assert {event_id: kept.text for event_id, kept in first.items()} == expectation.texts
    indexed = await running.indexed_ids(access.tenant)
    assert len(indexed) == TOTAL
    assert set(indexed) == expectation.texts.keys()

    again = [
        real_logs.account_of(
            (await ocelot.ok("import", "-m", mapping, *paths, **tokens(access))).err
        )
        for mapping, paths in real_logs.files.items()
    ]

    assert again == every_line_taken
    await until_drained(600)
    assert await stored(running, access.tenant) == first
    assert sorted(await running.indexed_ids(access.tenant)) == sorted(indexed)
    letters = await ocelot.ok("dead-letters", "list", "--tenant", access.tenant.id, "--json")
    assert letters.events == []
