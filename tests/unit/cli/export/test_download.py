"""An export arrives whole and once, wherever its answers are cut."""

import hashlib
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocelot_cli.export.download import Download
from ocelot_cli.export.forms import Format, form_of
from ocelot_cli.export.output import Output, State, sidecar_of
from ocelot_cli.transfer.progress import ProgressReport
from ocelot_cli.transfer.repeating import RefusedError, Repeater

EVENTS = [b'{"id":"%d","action":"a","message":"%b"}' % (n, b"x" * (n % 40)) for n in range(60)]
BOUND = {"Ocelot-Stored-Until": "77", "Ocelot-Complete-Until": "2026-11-24T12:00:00.000Z"}


def trailer(events: list[bytes], /, **more: Any) -> bytes:
    digest = hashlib.sha256(b"".join(event + b"\n" for event in events)).hexdigest()
    content = {"complete": True, "events": len(events), "sha256": digest, "next_cursor": None}
    return json.dumps({"export": content | more}, separators=(",", ":")).encode() + b"\n"


class Cut(httpx.AsyncByteStream):
    """Gives so many bytes in pieces, and then fails."""

    def __init__(self, content: bytes, at: int, piece: int) -> None:
        self.parts = [content[n : min(n + piece, at)] for n in range(0, at, piece)]

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for part in self.parts:
            yield part
        raise httpx.ReadError("reset")


class Api:
    """Exports `EVENTS`; each step is where an answer is cut, a response, or a trailer's problem."""

    def __init__(self, *steps: Any, piece: int = 100) -> None:
        self.steps = list(steps)
        self.piece = piece
        self.queries: list[dict[str, str]] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        query = dict(request.url.params)
        self.queries.append(query)
        start = int(query["after"]) + 1 if "after" in query else 0
        events = EVENTS[start:]
        step = self.steps.pop(0) if self.steps else None
        if isinstance(step, httpx.Response):
            return step
        if isinstance(step, str):
            events = events[:5]
            end = trailer(events, complete=False, code=step, detail="why")
            body = b"".join(event + b"\n" for event in events) + end
            return httpx.Response(200, headers=BOUND, content=body)
        body = b"".join(event + b"\n" for event in events) + trailer(events)
        if step is None:
            return httpx.Response(200, headers=BOUND, content=body)
        at = min(step, len(body) - 1)
        return httpx.Response(200, headers=BOUND, stream=Cut(body, at, self.piece))


class Scene:
    def __init__(self, api: Any, output: Output, form: Format = Format.NDJSON) -> None:
        self.reports: list[str] = []
        http = httpx.AsyncClient(base_url="http://api.test", transport=httpx.MockTransport(api))
        self.download = Download(
            http,
            output=output,
            form=form_of(form, ["id", "message"]),
            repeater=Repeater(
                http.base_url, patience_sec=60, report=self.reports.append, sleep=self._sleep
            ),
            progress=ProgressReport(0),
            report=self.reports.append,
        )

    async def _sleep(self, seconds: float) -> None:
        pass


def opened(folder: Path) -> Output:
    return Output.open(str(folder / "out"), State({}, [("action", "a")]))


WHOLE = {
    Format.NDJSON: b"".join(event + b"\n" for event in EVENTS),
    Format.JSON: b"[\n" + b",\n".join(EVENTS) + b"\n]\n",
    Format.CSV: b"id,message\r\n"
    + b"".join(b"%d,%b\r\n" % (n, b"x" * (n % 40)) for n in range(60)),
}


@given(
    cuts=st.lists(st.integers(0, 3_000), max_size=6),
    piece=st.integers(1, 500),
    form=st.sampled_from(Format),
)
async def test_it_is_whole_and_has_nothing_twice_wherever_it_is_cut(
    tmp_path_factory: pytest.TempPathFactory, cuts: list[int], piece: int, form: Format
):
    folder = tmp_path_factory.mktemp("cut")
    api = Api(*cuts, piece=piece)
    with opened(folder) as output:
        await Scene(api, output, form).download.run()
    assert (folder / "out").read_bytes() == WHOLE[form]
    assert not sidecar_of(str(folder / "out")).exists()
    assert all(query["stored_until"] == "77" for query in api.queries[1:])
    assert all(query["action"] == "a" for query in api.queries)


@given(cut=st.integers(0, 3_000), lost=st.integers(0, 300), form=st.sampled_from(Format))
async def test_a_later_run_goes_on_behind_what_the_first_had_on_the_disk(
    tmp_path_factory: pytest.TempPathFactory, cut: int, lost: int, form: Format
):
    folder = tmp_path_factory.mktemp("killed")
    refusal = httpx.Response(401, json={"code": "token_expired", "detail": "it has expired"})
    path = folder / "out"
    with opened(folder) as output, pytest.raises(RefusedError):
        await Scene(Api(cut, refusal), output, form).download.run()
    with path.open("ab") as file:  # killed: more was written than was noted
        file.write(b"," * lost)
    api = Api()
    with Output.resume(str(path), {}) as output:
        await Scene(api, output, form).download.run()
    assert path.read_bytes() == WHOLE[form]
    assert not sidecar_of(str(path)).exists()


async def test_an_incomplete_answer_is_gone_on_with(tmp_path: Path):
    with opened(tmp_path) as output:
        scene = Scene(Api("shutting_down", "store_unavailable"), output)
        await scene.download.run()
    assert (tmp_path / "out").read_bytes() == WHOLE[Format.NDJSON]
    first, second = scene.reports
    assert first.startswith("shutting_down: why")
    assert "5 events" in first
    assert second.startswith("store_unavailable: why")
    assert "10 events" in second


async def test_an_api_that_is_away_is_asked_again(tmp_path: Path):
    away = [httpx.Response(status, json={}) for status in (503, 429, 502)]
    with opened(tmp_path) as output:
        scene = Scene(Api(*away), output)
        await scene.download.run()
    assert (tmp_path / "out").read_bytes() == WHOLE[Format.NDJSON]
    assert len(scene.reports) == 3


@pytest.mark.parametrize("change", [{"sha256": "0" * 64}, {"events": 61}, {"events": 59}])
async def test_an_answer_that_is_not_what_was_sent_is_refused(
    tmp_path: Path, change: dict[str, Any]
):
    body = WHOLE[Format.NDJSON] + trailer(EVENTS, **change)
    with (
        opened(tmp_path) as output,
        pytest.raises(RefusedError, match=r"that the api sent|what the api sent"),
    ):
        await Scene(
            lambda _: httpx.Response(200, headers=BOUND, content=body), output
        ).download.run()


async def test_another_service_is_refused(tmp_path: Path):
    with opened(tmp_path) as output, pytest.raises(RefusedError, match="is not an"):
        await Scene(lambda _: httpx.Response(200, content=b"<html>"), output).download.run()


async def test_spaces_in_which_the_api_waits_are_no_part_of_the_events(tmp_path: Path):
    lines = [b"  " + EVENTS[0], EVENTS[1]]
    body = b"\n".join(lines) + b"\n   " + trailer(lines)
    with opened(tmp_path) as output:
        await Scene(
            lambda _: httpx.Response(200, headers=BOUND, content=body), output
        ).download.run()
    assert (tmp_path / "out").read_bytes() == b"\n".join(EVENTS[:2]) + b"\n"


async def test_nothing_found_is_an_empty_file_of_its_form(tmp_path: Path):
    for form, content in {"ndjson": b"", "json": b"[\n]\n", "csv": b"id,message\r\n"}.items():
        folder = tmp_path / form
        folder.mkdir()
        answer = httpx.Response(200, headers=BOUND, content=trailer([]))
        with opened(folder) as output:
            await Scene(lambda _, answer=answer: answer, output, Format(form)).download.run()
        assert (folder / "out").read_bytes() == content
