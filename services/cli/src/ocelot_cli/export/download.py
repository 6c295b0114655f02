"""Reading an export from the api, request after request, until it is whole."""

import asyncio
import hashlib
from collections.abc import Callable
from typing import Final

import httpx
import msgspec

from ocelot_cli.console import counted, sentence
from ocelot_cli.export.forms import Form
from ocelot_cli.export.output import Output
from ocelot_cli.transfer.progress import ProgressReport
from ocelot_cli.transfer.repeating import (
    RefusedError,
    Repeater,
    UnavailableError,
    require_status,
)

_PATH: Final = "/api/v1/logs/export"
_TRAILER: Final = b'{"export":'
#: In a line of a document that is not an event, and maybe in others.
_UNREADABLE: Final = b'"unreadable":'


class _Trailer(msgspec.Struct):
    complete: bool
    events: int
    sha256: str
    code: str = ""
    detail: str = ""


class _LastLine(msgspec.Struct):
    export: _Trailer


class _Event(msgspec.Struct):
    id: str = ""
    unreadable: str | None = None


_trailers = msgspec.json.Decoder(_LastLine)
_events = msgspec.json.Decoder(_Event)


class Download:
    """One export. Each request goes on behind the last event that is in the output.

    Args:
        http: a client with base URL and token.
        output: takes the events; its state says what is asked for.
        form: of the output.
        repeater: repeats requests while the api is away.
        progress: is told how far it is.
        report: is told of each interruption.
    """

    def __init__(
        self,
        http: httpx.AsyncClient,
        *,
        output: Output,
        form: Form,
        repeater: Repeater,
        progress: ProgressReport,
        report: Callable[[str], None],
    ) -> None:
        self._http = http
        self._output = output
        self._state = output.state
        self._form = form
        self._repeater = repeater
        self._progress = progress
        self._report = report
        self._already = output.state.events

    async def run(self) -> None:
        """Read to the end.

        Raises:
            RefusedError: the api refuses it, or what arrived is not what it sent.
            TimeoutError: the api is away for too long.
            OSError: the output can't be written.
        """
        while not await self._repeater.repeat(self._go_on):
            pass
        await asyncio.to_thread(self._output.finish, self._form.end())

    async def _go_on(self) -> bool:
        """One request; whether it was the last. A failure without a new event is raised."""
        before = self._state.events
        try:
            await self._request()
        except (UnavailableError, httpx.TransportError, httpx.DecodingError) as error:
            if self._state.events == before:
                raise
            reason = str(error) or type(error).__name__
            self._report(
                f"{sentence(reason)} Continuing after {counted(self._state.events, 'event')}."
            )
            return False
        return True

    async def _request(self) -> None:
        async with self._http.stream("GET", _PATH, params=tuple(self._params())) as answer:
            if answer.status_code != httpx.codes.OK:
                await answer.aread()
                require_status(answer)
            await self._begin(answer)
            reading = _Reading()
            async for chunk in answer.aiter_bytes():
                if lines := reading.lines(chunk):
                    await asyncio.to_thread(self._write, lines)
            reading.check()

    def _params(self) -> list[tuple[str, str]]:
        params = [*self._state.params]
        if self._state.stored_until:
            params.append(("stored_until", self._state.stored_until))
        if self._state.last_id:
            params.append(("after", self._state.last_id))
        return params

    async def _begin(self, answer: httpx.Response) -> None:
        """Keep to the bound of the first answer, so that later ones are of the same events."""
        if self._state.stored_until:
            return
        try:
            self._state.stored_until = answer.headers["Ocelot-Stored-Until"]
            self._state.complete_until = answer.headers["Ocelot-Complete-Until"]
        except KeyError:
            raise RefusedError(f"{self._http.base_url} is not an Ocelot api.") from None
        await asyncio.to_thread(self._output.write, self._form.begin())
        await asyncio.to_thread(self._output.save)

    def _write(self, lines: list[bytes]) -> None:
        content = self._form.write(lines, first=self._state.events == 0)
        last_id = _events.decode(lines[-1]).id
        marked = [line for line in lines if _UNREADABLE in line]
        self._state.unreadable += sum(
            [_events.decode(line).unreadable is not None for line in marked]
        )
        self._output.write(content, events=len(lines), last_id=last_id)
        state = self._state
        self._progress.show(
            state.bytes, counted(state.events, "event"), state.events - self._already
        )


class _Reading:
    """One answer: cut into lines, counted, and compared with what its last line says."""

    def __init__(self) -> None:
        self._rest = b""
        self._sha256 = hashlib.sha256()
        self._events = 0
        self._trailer: _Trailer | None = None

    def lines(self, chunk: bytes) -> list[bytes]:
        """The events that became whole with this chunk."""
        whole, newline, self._rest = (self._rest + chunk).rpartition(b"\n")
        if not newline:
            return []
        raw = whole.split(b"\n")
        if raw[-1].lstrip().startswith(_TRAILER):
            self._trailer = _trailers.decode(raw.pop()).export
        self._events += len(raw)
        for line in raw:
            self._sha256.update(line)
            self._sha256.update(b"\n")
        # Where nothing is found for long, the api sends spaces.
        return [line.lstrip(b" ") for line in raw]

    def check(self) -> None:
        """Compare at the end.

        Raises:
            UnavailableError: events are missing.
            RefusedError: these are not the events that were sent.
        """
        trailer = self._trailer
        if trailer is None:
            raise UnavailableError("The api's answer ended too early.")
        if (trailer.events, trailer.sha256) != (self._events, self._sha256.hexdigest()):
            raise RefusedError(
                "The received events are not those that the api sent:"
                f" {counted(self._events, 'event')} instead of {trailer.events:,}, or with other"
                " content. Remove the file and export again."
            )
        if not trailer.complete:
            raise UnavailableError(f"{trailer.code}: {trailer.detail}")
