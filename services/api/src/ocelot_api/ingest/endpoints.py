"""`POST /logs` and `POST /logs/bulk`, as plain ASGI: here every microsecond counts."""

import re
import time
from collections.abc import Collection
from typing import Final

import msgspec
from starlette.datastructures import QueryParams
from starlette.types import Receive, Scope, Send

from ocelot_api.answers import PIECE_BYTES, send_pieces
from ocelot_api.authentication import Authenticator, Principal
from ocelot_api.bodies import read_body
from ocelot_api.budget import EVENT_BYTES, FairPool, Reservation
from ocelot_api.ingest.accepting import (
    BYTES_PER_FAULT,
    BYTES_PER_SINGLE,
    BYTES_PER_SLOW_NUMBER,
    FAULTS_OF_DENSE,
    FREE_FAULTS,
    FREE_SINGLE,
    FREE_SLOW_NUMBERS,
    MANY_OPENINGS,
    MAX_SURPLUS,
    SMALL_BYTES,
    Accepted,
    Accepting,
    ItemError,
    TooDenseError,
    TooManyFaultsError,
)
from ocelot_api.ingest.coalescer import Coalescer, SendFailedError
from ocelot_api.ingest.splitting import (
    LARGE_BYTES,
    array_of,
    check_density,
    check_json,
    check_number,
    split_events,
)
from ocelot_api.ingest.turns import Turn, Turns
from ocelot_api.metrics import ApiMetrics
from ocelot_api.middleware import headers_of, note_problem, request_id_of, traceparent
from ocelot_api.problems import MEDIA_TYPE, Problem, bad_request, invalid_parameter, unavailable
from ocelot_api.query_strings import known_parameters
from ocelot_api.settings import ApiSettings
from ocelot_api.timers import TimeLimits
from ocelot_common.auth.scopes import LOGS_WRITE
from ocelot_common.envelope import Segment
from ocelot_common.event import OPENINGS_OF_SINGLE, EventAcceptor, TooManySlowNumbersError
from ocelot_common.event_limits import (
    BYTES_PER_CONTAINER_OF_BULK,
    FREE_CONTAINERS_OF_BULK,
)
from ocelot_common.queue.keys import NoSigningKeyError
from ocelot_common.registry.snapshot import RegistrySnapshot
from ocelot_common.timestamps import now_ms

#: With the registry away, writes go on for so long (design §8).
REGISTRY_GRACE_SEC: Final = 3_600.0
#: An event's JSON may hold white space that its text of record has not.
_SINGLE_BODY_FACTOR: Final = 2
#: A bulk request is validated for so long before others have their turn.
_TURN_SEC: Final = 0.010
_IDEMPOTENCY_KEY: Final = re.compile(r"[\x21-\x7e](?:[\x20-\x7e]{0,253}[\x21-\x7e])?")
_JSON: Final = (b"content-type", b"application/json")


class Ingest:
    """What the two endpoints share: clients, bounds, and the way to SQS."""

    def __init__(
        self,
        *,
        authenticator: Authenticator,
        snapshot: RegistrySnapshot,
        coalescer: Coalescer,
        budget: FairPool,
        metrics: ApiMetrics,
        settings: ApiSettings,
    ) -> None:
        self._authenticator = authenticator
        self._snapshot = snapshot
        self._coalescer = coalescer
        self._budget = budget
        self._metrics = metrics
        self._settings = settings
        self._turns = Turns()
        self._body_limits = TimeLimits(settings.body_timeout_sec)
        self._acceptors: dict[int | None, EventAcceptor] = {}
        self._acceptors_second = 0

    async def post_one(self, scope: Scope, receive: Receive, send: Send) -> None:
        """`POST /api/v1/logs`: one event, `202 {id, status}`."""
        headers = headers_of(scope)
        principal = await self._writer(headers)
        _parameters(scope, ())
        check_json(headers)
        with self._budget.reservation(principal.tenant.uid) as reservation:
            limit = self._settings.max_event_bytes * _SINGLE_BODY_FACTOR
            body = await self._body(receive, headers, limit, reservation)
            accepted = self._accepting(principal, headers).one(body)
            self._metrics.count_rejected(accepted.rejected)
            if accepted.errors:
                error = accepted.errors[0]
                raise Problem(
                    _status_of(error),
                    error.code,
                    error.detail,
                    path=error.path,
                    members={"errors": accepted.errors},
                )
            await self._store(scope, principal, accepted, single=True)
        text = str(accepted.ids[0]).encode()
        await _answer(
            send,
            202,
            b'{"id":"%b","status":"accepted"}' % text,
            (b"location", b"/api/v1/logs/" + text),
        )

    async def post_bulk(self, scope: Scope, receive: Receive, send: Send) -> None:
        """`POST /api/v1/logs/bulk`: many events, each taken or refused by itself."""
        headers = headers_of(scope)
        principal = await self._writer(headers)
        atomic = _atomic(scope)
        with self._budget.reservation(principal.tenant.uid) as reservation:
            try:
                answer = await self._bulk(
                    scope, receive, headers, principal, reservation, atomic=atomic
                )
            except Problem as problem:
                if "ids" not in problem.members:
                    raise
                # It lists every event, as an answer that is no problem does.
                await _answer_with_ids(scope, send, problem, reservation)
            else:
                await _answer(send, 202, answer, held=reservation)

    async def _bulk(
        self,
        scope: Scope,
        receive: Receive,
        headers: dict[bytes, bytes],
        principal: Principal,
        reservation: Reservation,
        *,
        atomic: bool,
    ) -> bytes:
        body = await self._body(receive, headers, self._settings.max_bulk_bytes, reservation)
        with self._turns.request(principal.tenant.uid, receive) as turn:
            accepted = await self._accepted(principal, headers, body, reservation, turn)
        del body
        self._metrics.count_rejected(accepted.rejected)
        if not accepted.events or (atomic and accepted.errors):
            raise _rejected(accepted, atomic=atomic)
        await self._store(scope, principal, accepted)
        return msgspec.json.encode(
            {
                "accepted": len(accepted.events),
                "rejected": accepted.rejected,
                "ids": accepted.ids,
                "errors": accepted.errors,
            }
        )

    async def _accepted(
        self,
        principal: Principal,
        headers: dict[bytes, bytes],
        body: bytes,
        reservation: Reservation,
        turn: Turn,
    ) -> Accepted:
        """Split a bulk body and validate its events."""
        max_events = self._settings.max_bulk_events

        async def turn_if_large() -> None:
            if len(body) > LARGE_BYTES:
                await turn()

        await turn_if_large()
        check_density(body, headers)
        await turn_if_large()
        array = array_of(body, headers)
        await turn_if_large()
        check_number(body, array, max_events=max_events)
        await turn_if_large()
        raws = split_events(body, array, max_events=max_events)
        reservation.grow(len(raws) * EVENT_BYTES)
        accepting = self._accepting(principal, headers)
        reserved_bytes = len(body)

        def reserve_texts() -> None:
            """Reserve what texts of record take beyond the body: `9e9` becomes `9000000000.0`."""
            nonlocal reserved_bytes
            if (growth := accepting.text_bytes - reserved_bytes) > 0:
                reservation.grow(growth)
                reserved_bytes += growth

        try:
            # Ordinary requests of a thousand events take one turn: taking turns costs them a sixth,
            # since the caches hold less of each.
            turn_ends = time.thread_time() + _TURN_SEC
            for _ in accepting.steps(raws):
                if time.thread_time() > turn_ends:
                    reserve_texts()
                    await turn()
                    turn_ends = time.thread_time() + _TURN_SEC
            reserve_texts()
        except TooManyFaultsError as error:
            self._metrics.count_rejected(len(raws))
            raise _too_faulty(len(raws), error) from None
        except TooDenseError:
            self._metrics.count_rejected(len(raws))
            raise _too_dense(len(raws)) from None
        except TooManySlowNumbersError:
            self._metrics.count_rejected(len(raws))
            raise _too_slow(len(raws)) from None
        return accepting.accepted

    async def _writer(self, headers: dict[bytes, bytes]) -> Principal:
        if self._snapshot.unconfirmed_sec > REGISTRY_GRACE_SEC:
            raise unavailable(
                "registry_stale",
                "The service could not read the registry for an hour. Retry after 5 s.",
                retry_after_sec=5,
                members={"outcome": "rejected"},
            )
        return await self._authenticator.authenticate(headers, LOGS_WRITE)

    async def _body(
        self,
        receive: Receive,
        headers: dict[bytes, bytes],
        max_bytes: int,
        reservation: Reservation,
    ) -> bytes:
        body = await read_body(
            receive,
            headers,
            max_bytes=max_bytes,
            time_limits=self._body_limits,
            reservation=reservation,
        )
        if not body:
            raise bad_request("empty_body", "The request has no body. Send an event.")
        return body

    def _accepting(self, principal: Principal, headers: dict[bytes, bytes]) -> Accepting:
        return Accepting(
            principal=principal,
            acceptor=self._acceptor(principal.tenant.max_event_bytes),
            key=_idempotency_key(headers),
        )

    def _acceptor(self, tenant_max_event_bytes: int | None) -> EventAcceptor:
        """Made anew every second: it holds the latest time that an event may have."""
        second = now_ms() // 1_000
        if second != self._acceptors_second:
            self._acceptors.clear()
            self._acceptors_second = second
        acceptor = self._acceptors.get(tenant_max_event_bytes)
        if acceptor is None:
            acceptor = self._acceptors[tenant_max_event_bytes] = EventAcceptor(
                now_ms=(second + 1) * 1_000,
                limits=self._settings.event_limits(tenant_max_event_bytes),
            )
        return acceptor

    async def _store(
        self, scope: Scope, principal: Principal, accepted: Accepted, *, single: bool = False
    ) -> None:
        number = len(accepted.events)
        segment = Segment(
            principal.subject, now_ms(), request_id_of(scope), traceparent(scope), accepted.events
        )
        try:
            await self._coalescer.submit(principal.tenant.uid, segment)
        except NoSigningKeyError as error:
            raise unavailable(
                "queue_key_missing",
                f"The service cannot sign messages, so it stored nothing: {error}.",
                members={"outcome": "rejected"},
            ) from None
        except SendFailedError as error:
            self._metrics.count_unknown(number)
            ids = {"id": accepted.ids[0]} if single else {"ids": accepted.ids}
            # A send that timed out may have arrived: with these ids, a repeat doubles nothing.
            raise unavailable(
                "queue_unavailable",
                f"{error} The events may be stored. Repeat the request with these ids or with the"
                " same Idempotency-Key.",
                members={"outcome": "unknown"} | ids,
            ) from None
        self._metrics.count_accepted(principal.tenant.id, number)


def _status_of(error: ItemError) -> int:
    if error.code == "event_too_large":
        return 413
    return 400 if error.code in ("invalid_json", "invalid_unicode") else 422


def _rejected(accepted: Accepted, *, atomic: bool) -> Problem:
    total = len(accepted.ids)
    if atomic:
        detail = (
            f"{accepted.rejected:,} of {total:,} events are not valid. `atomic=true` rejects the"
            " whole request."
        )
    else:
        detail = f"None of the {total:,} events is valid. `errors` lists their faults."
    return Problem(
        422,
        "events_rejected",
        detail,
        members={
            "accepted": 0,
            "rejected": total if atomic else accepted.rejected,
            "ids": [None] * total,
            "errors": accepted.errors,
        },
    )


def _too_faulty(total: int, found: TooManyFaultsError) -> Problem:
    return Problem(
        422,
        "too_many_faults",
        f"{found.rejected:,} of the first {found.errors[-1].index + 1:,} of {total:,} events are"
        " not valid, so the service rejected the whole request. The limit is"
        f" {FREE_FAULTS}, plus one per {BYTES_PER_FAULT} bytes of events. An event of up to"
        f" {SMALL_BYTES:,} bytes with more than {MANY_OPENINGS} arrays and objects counts as"
        f" {FAULTS_OF_DENSE}; `[` and `{{` in strings count, too. Events beside an event with"
        f" faulty `metadata` or `changes` have a limit of {FREE_SINGLE}, plus one per"
        f" {BYTES_PER_SINGLE} bytes. Such an event counts once more for each"
        f" {OPENINGS_OF_SINGLE} of its arrays and objects. Correct the events in `errors`, or send"
        " fewer events per request.",
        members={
            "accepted": 0,
            "rejected": total,
            "ids": [None] * total,
            "errors": found.errors,
        },
    )


def _too_dense(total: int) -> Problem:
    return Problem(
        422,
        "too_many_containers",
        f"The {total:,} events have too many arrays and objects, so the service rejected the"
        f" whole request. The limit is {MAX_SURPLUS:,} in excess of {FREE_CONTAINERS_OF_BULK}"
        f" and one per {BYTES_PER_CONTAINER_OF_BULK} bytes of each event. Send fewer events per"
        " request.",
        members={"accepted": 0, "rejected": total, "ids": [None] * total, "errors": []},
    )


def _too_slow(total: int) -> Problem:
    return Problem(
        422,
        "too_many_exponents",
        f"The {total:,} events have too many numbers such as 1e23 or 1e-300, so the service"
        f" rejected the whole request. The limit is {FREE_SLOW_NUMBERS}, plus one per"
        f" {BYTES_PER_SLOW_NUMBER} bytes of events. Write them without an exponent or as strings.",
        members={"accepted": 0, "rejected": total, "ids": [None] * total, "errors": []},
    )


def _idempotency_key(headers: dict[bytes, bytes]) -> str | None:
    raw = headers.get(b"idempotency-key")
    if raw is None:
        return None
    key = raw.decode("latin-1").strip()
    if not _IDEMPOTENCY_KEY.fullmatch(key):
        raise bad_request(
            "invalid_idempotency_key",
            "The header Idempotency-Key must have 1 to 255 printable ASCII characters.",
        )
    return key


def _atomic(scope: Scope) -> bool:
    (value,) = _parameters(scope, ("atomic",)).get("atomic", ["false"])
    if value not in ("true", "false"):
        raise invalid_parameter("atomic", "must be true or false")
    return value == "true"


def _parameters(scope: Scope, known: Collection[str]) -> dict[str, list[str]]:
    query: bytes = scope["query_string"]
    return known_parameters(QueryParams(query), known) if query else {}


async def _answer(
    send: Send,
    status: int,
    body: bytes,
    *headers: tuple[bytes, bytes],
    held: Reservation | None = None,
    media_type: tuple[bytes, bytes] = _JSON,
) -> None:
    await send(
        {
            "type": "http.response.start",
            "status": status,
            "headers": [media_type, (b"content-length", b"%d" % len(body)), *headers],
        }
    )
    if held is None or len(body) <= PIECE_BYTES:
        await send({"type": "http.response.body", "body": body})
    else:
        # A client that does not read it holds the budget of its tenant, not all of the memory.
        held.shrink_to(len(body))
        await send_pieces(send, [body], held)


async def _answer_with_ids(
    scope: Scope, send: Send, problem: Problem, reservation: Reservation
) -> None:
    note_problem(scope, problem)
    await _answer(
        send,
        problem.status,
        problem.document(request_id_of(scope)),
        (b"cache-control", b"no-store"),
        *((name.lower().encode(), value.encode()) for name, value in problem.headers.items()),
        held=reservation,
        media_type=(b"content-type", MEDIA_TYPE.encode()),
    )
