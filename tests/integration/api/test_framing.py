"""A request that another server may frame differently is refused, and nothing behind it is read.

Behind every request of the tables comes a second one on the same connection. Where the framing of
the first is in doubt, the second must stay unanswered: a proxy may take it for part of the first.
"""

import asyncio
from typing import Any, NamedTuple

import pytest
import pytest_asyncio

from badinput.framing import FramingRow, accepted_rows, refused_rows
from badinput.wire import Answer
from edgekit.conversation import Conversation, converse, head
from ocelot_api.problem_codes import MEANINGS

pytestmark = [pytest.mark.mongodb, pytest.mark.sqs, pytest.mark.opensearch]

REFUSED = refused_rows()
ACCEPTED = accepted_rows()


class Edge(NamedTuple):
    """The api, a tenant of its own for what is accepted, and one for what is refused."""

    running: Any
    port: int
    refused: Any
    accepted: Any

    async def send(self, access: Any, row: FramingRow, *, cut: int | None) -> Conversation:
        """A row's request and a second one, in one segment or in two."""
        token = access.admin["Authorization"].encode()
        raw = row.raw.replace(b"@\r\n", b"Authorization: %b\r\n\r\n" % token, 1)
        if raw == row.raw:
            raw = row.raw.replace(b"@", b"Authorization: %b\r\n" % token, 1)
        fields = [("X-Request-ID", "second"), ("Connection", "close"), *access.reader.items()]
        whole = raw + head("GET", "/api/v1/logs?limit=1", fields)
        pieces = [whole] if cut is None else [whole[:cut], whole[cut:]]
        return await converse(self.port, pieces, pause_sec=0.05)


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def edge(running: Any) -> Edge:
    api = next(service for service in running.stack.services if service.spec.name == "api")
    return Edge(running, api.port, await running.tenant(), await running.tenant())


def assert_expected(row: FramingRow, conversation: Conversation) -> Answer:
    answers = conversation.answers
    assert answers, "closed without an answer"
    first = answers[0]
    assert first.headers.get("x-request-id") != "second", "the first request was not answered"
    assert first.status in row.statuses, conversation
    if first.status >= 400:
        assert first.problem()["code"] in MEANINGS
    assert conversation.closed
    if row.closes:
        assert len(answers) == 1, f"what follows was answered: {answers[1:]}"
    return first


def test_the_tables_are_long_and_their_rows_distinct():
    rows = [*REFUSED, *ACCEPTED]
    assert len(REFUSED) >= 130
    assert len({row.name for row in rows}) == len(rows)
    assert len({row.raw for row in rows}) == len(rows)


@pytest.mark.parametrize("row", REFUSED, ids=[row.name for row in REFUSED])
async def test_a_request_that_may_be_framed_differently_is_refused(edge: Edge, row: FramingRow):
    cuts = (None, len(row.raw) // 2, len(row.raw) - 3)
    for conversation in await asyncio.gather(
        *(edge.send(edge.refused, row, cut=cut) for cut in cuts)
    ):
        assert_expected(row, conversation)
        if not row.closes:
            assert conversation.ids[1:] in ([], ["second"])


@pytest.mark.parametrize("row", ACCEPTED, ids=[row.name for row in ACCEPTED])
async def test_a_request_that_is_unusual_and_valid_is_answered(edge: Edge, row: FramingRow):
    cuts = (None, len(row.raw) // 2, len(row.raw) - 3)
    for conversation in await asyncio.gather(
        *(edge.send(edge.accepted, row, cut=cut) for cut in cuts)
    ):
        assert_expected(row, conversation)
        if not row.closes:
            assert conversation.ids[1:] == ["second"], conversation


@pytest.mark.parametrize(
    "line", ["OPTIONS * HTTP/1.1", "GET * HTTP/1.1", "OPTIONS /api/v1/logs HTTP/1.1"]
)
async def test_a_request_for_no_resource_gets_an_answer(edge: Edge, line: str):
    raw = f"{line}\r\nHost: ocelot\r\n@\r\n".encode()
    row = FramingRow(line, raw, frozenset({200, 204, 400, 404, 405}), closes=False)
    assert_expected(row, await edge.send(edge.accepted, row, cut=None))


async def test_nothing_that_was_refused_is_stored(edge: Edge):
    """What is accepted comes later through the same queue, so what was refused would be there."""
    stored = sum(1 for row in ACCEPTED if 202 in row.statuses) * 3
    assert stored
    await edge.running.until_stored(edge.accepted.tenant, stored)
    faulty = sum(1 for row in REFUSED if 202 in row.statuses) * 3
    assert len(await edge.running.stored(edge.refused.tenant)) <= faulty
