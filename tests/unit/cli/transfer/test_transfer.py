"""Reading, preparing and sending side by side."""

import asyncio
import gzip
import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from ocelot_cli.transfer.account import Account
from ocelot_cli.transfer.delivery import Delivered
from ocelot_cli.transfer.lines import Source, UnreadableError
from ocelot_cli.transfer.preparing import EventPreparer
from ocelot_cli.transfer.progress import ProgressReport
from ocelot_cli.transfer.repeating import RefusedError
from ocelot_cli.transfer.transfer import BATCH_BYTES, Transfer


def numbered(number: int, size: int = 0) -> bytes:
    return b"".join(b'{"n":%d,"x":"%s"}\n' % (n, b"x" * size) for n in range(number))


@pytest.fixture
def transfer(tmp_path: Path) -> Any:
    def make(*contents: bytes) -> Transfer:
        sources = []
        for n, content in enumerate(contents):
            (tmp_path / f"{n}.ndjson").write_bytes(content)
            sources.append(Source(str(tmp_path / f"{n}.ndjson")))
        return Transfer(sources, make_preparer=EventPreparer, account=Account(None))

    return make


def test_batches_hold_a_thousand_events_in_the_order_of_the_lines(transfer: Any):
    batches = list(transfer(numbered(1_500), numbered(900)).batches())

    assert [len(batch) for batch in batches] == [1_000, 1_000, 400]
    numbers = [json.loads(each.event)["n"] for batch in batches for each in batch]
    assert numbers == [*range(1_500), *range(900)]


def test_batches_of_large_events_end_at_about_four_mebibytes(transfer: Any):
    batches = list(transfer(numbered(100, size=200_000)).batches())

    sizes = [sum(len(each.event) for each in batch) for batch in batches]
    assert all(BATCH_BYTES <= size < BATCH_BYTES + 210_000 for size in sizes[:-1])
    assert sum(map(len, batches)) == 100


def test_equal_lines_are_counted_a_file(transfer: Any):
    line = b'{"same":1}\n'

    ids = [json.loads(each.event)["id"] for each in transfer(line * 2, line * 2).events()]

    assert ids[0] != ids[1]
    assert ids[:2] == ids[2:]


def test_lines_that_are_no_events_are_accounted_for(transfer: Any):
    made = transfer(b'{"a":1}\n\n  \t\r\n[1]\nnot json\n' + b"x" * 1_100_000 + b"\n{}\n")

    events = list(made.events())

    account = made._account
    assert len(events) == 2
    assert (account.read, account.blank, account.unusable, account.open) == (7, 2, 3, 2)


async def test_every_line_is_sent_once_and_the_account_closes(
    transfer: Any, scene: Any, events_of: Any
):
    made = transfer(numbered(2_345) + b"\nnot json\n")
    at = scene()

    with ProgressReport(0) as progress:
        await made.send(at.delivery, progress)

    sent = [json.loads(event)["n"] for request in at.api.requests for event in events_of(request)]
    account = made._account
    assert sorted(sent) == list(range(2_345))
    assert (account.read, account.accepted, account.unusable, account.blank, account.open) == (
        2_347,
        2_345,
        1,
        1,
        0,
    )


async def test_refused_events_are_accounted_for_by_line(
    transfer: Any, scene: Any, capsys: pytest.CaptureFixture[str]
):
    error = {"index": 1, "code": "bad", "path": "n", "detail": "No."}
    body = {"accepted": 2, "rejected": 1, "ids": [], "errors": [error]}
    made = transfer(b"\n" + numbered(3))

    with ProgressReport(0) as progress:
        await made.send(scene(httpx.Response(202, json=body)).delivery, progress)

    account = made._account
    assert (account.accepted, account.refused, account.open) == (2, 1, 0)
    assert "0.ndjson:3: bad (n): No." in capsys.readouterr().err


class SlowDelivery:
    """Holds every batch until it is let go, and counts."""

    def __init__(self, fails_at: int | None = None) -> None:
        self.begun = 0
        self.at_once = 0
        self.most_at_once = 0
        self.cancelled = 0
        self._fails_at = fails_at

    async def deliver(self, batch: list[Any]) -> Any:
        self.begun += 1
        number = self.begun
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            if number == self._fails_at:
                raise RefusedError("401 no")
            await asyncio.sleep(0.5 if self._fails_at is None else 60)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        finally:
            self.at_once -= 1
        return Delivered(len(batch), [])


async def test_at_most_four_batches_are_under_way(transfer: Any):
    made = transfer(numbered(12_000))
    delivery = SlowDelivery()

    with ProgressReport(0) as progress:
        await made.send(delivery, progress)

    assert delivery.begun == 12
    assert 1 < delivery.most_at_once <= 4
    assert made._account.accepted == 12_000


async def test_a_batch_that_fails_stops_the_rest_which_stay_open_in_the_account(transfer: Any):
    made = transfer(numbered(12_000))
    delivery = SlowDelivery(fails_at=3)

    with pytest.raises(RefusedError), ProgressReport(0) as progress:
        await made.send(delivery, progress)

    account = made._account
    assert delivery.at_once == 0
    assert delivery.begun <= 4
    assert delivery.cancelled == delivery.begun - 1
    assert account.accepted == 0
    assert account.open == account.read < 12_000


async def test_a_file_that_is_cut_off_ends_the_transfer_with_its_name(tmp_path: Path, scene: Any):
    path = tmp_path / "cut.ndjson.gz"
    path.write_bytes(gzip.compress(numbered(5_000))[:-100])
    account = Account(None)
    made = Transfer([Source(str(path))], make_preparer=EventPreparer, account=account)

    with pytest.raises(UnreadableError, match=r"cut\.ndjson\.gz"), ProgressReport(0) as progress:
        await made.send(scene().delivery, progress)

    assert account.read == account.accepted + account.open
