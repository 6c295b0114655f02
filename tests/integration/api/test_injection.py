"""No text of a client's becomes a query, a path, a pattern or a header.

Each attack of `badinput.attacks` goes to each place where text enters. The answer is a problem, or
what a plain reading of that text gives among the tenant's own events, in their order; the events of
another tenant, in the same collection and index, hold a canary that no answer shows.
"""

import asyncio
import json
import uuid
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from functools import cache
from typing import Any, NamedTuple
from urllib.parse import quote, urlencode

import httpx
import pytest
import pytest_asyncio

from badinput.attacks import ATTACKS, STRUCTURES
from badinput.rows import JSON, LOGS
from badinput.wire import Answer, request, talk
from ocelot_api.problem_codes import MEANINGS
from ocelot_api.search.conditions import FIELDS
from ocelot_api.search.filters import EVERYTHING, Filter, Not
from ocelot_api.search.query import Sort
from ocelot_api.search.text_query import TextQueryError, parse_text_query
from ocelot_common.ids import format_id
from ocelot_common.registry.model import Isolation
from searchdata.reference import Reference

pytestmark = [pytest.mark.mongodb, pytest.mark.sqs, pytest.mark.opensearch]

STATS = f"{LOGS}/stats"
TREE = f"{LOGS}/search"
CANARY = "canary"
#: What an answer's head may hold.
HEADERS = {
    *("content-type", "content-length", "x-request-id", "date", "cache-control", "retry-after"),
    *("allow", "www-authenticate", "connection", "x-content-type-options"),
}
AT_ONCE = 8
NOTHING = Not(EVERYTHING)

Fits = Callable[[Reference, str], bool]
#: Checks an answer of 200 beyond which events it holds: the answer, all events, the attack.
Check = Callable[[Any, list[Reference], str], None]


class Place(NamedTuple):
    """Where text enters.

    Attributes:
        ask: the request for an attack: method, URL, headers, body.
        fits: whether an event is found, read plainly; None where no events are answered.
        check: of an answer that holds no events.
    """

    name: str
    ask: Callable[[str], tuple[str, str, dict[str, str], bytes]]
    fits: Fits | None = None
    check: Check | None = None


def get(url: str, **parameters: str) -> tuple[str, str, dict[str, str], bytes]:
    names = {name: text for name, text in parameters.items() if text is not None}
    return "GET", f"{url}?{urlencode(names, errors='surrogatepass')}", {}, b""


def post(body: Any) -> tuple[str, str, dict[str, str], bytes]:
    return "POST", TREE, {"Content-Type": JSON}, json.dumps(body).encode()


def literally(field: str, prefix: str = "") -> Fits:
    """One of the values is the text; or begins so, where it ends with an asterisk."""

    def fits(event: Reference, text: str) -> bool:
        wanted = prefix + text
        if wanted.endswith("*"):
            return any(value.startswith(wanted[:-1]) for value in event.values[field])
        return wanted in event.values[field]

    return fits


@cache
def words_of(text: str) -> Filter:
    """What a `q` asks for; nothing, if it can't be read and is refused."""
    try:
        return parse_text_query(text)
    except TextQueryError:
        return NOTHING


def by_words(event: Reference, text: str) -> bool:
    return event.holds(words_of(text))


def anything(event: Reference, text: str) -> bool:
    del event, text
    return True


def check_total(fits: Fits) -> Check:
    def check(body: Any, events: list[Reference], attack: str) -> None:
        assert body["total"] == sum(fits(event, attack) for event in events)

    return check


def check_groups(body: Any, events: list[Reference], attack: str) -> None:
    """The values at a path, counted one by one."""
    prefix = f"metadata.{attack}="
    counts = Counter(
        entry.removeprefix(prefix)
        for event in events
        for entry in set(event.values["attrs"])
        if entry.startswith(prefix)
    )
    assert {each["value"]: each["count"] for each in body["groups"]["values"]} == counts


def filters() -> Iterator[tuple[str, Fits]]:
    """Filters by name that take any text."""
    for name, field in FIELDS.items():
        yield name, literally(field)
    yield "q", by_words
    for path in ("metadata.k", "changes.before", "changes.after.k"):
        yield path, literally("attrs", f"{path}=")


def places() -> Iterator[Place]:
    for name, fits in filters():
        yield Place(name, lambda text, name=name: get(LOGS, limit="1000", **{name: text}), fits)
        if name in ("action", "tag", "q", "metadata.k"):
            yield Place(
                f"tree: {name}",
                lambda text, name=name: post(
                    {"filter": {"and": [{"or": [{name: [text]}]}, {"tag": "*"}]}, "limit": 1000}
                ),
                fits,
            )
    for name, fits in (("action", literally("action")), ("q", by_words)):
        yield Place(
            f"tree: not {name}",
            lambda text, name=name: post({"filter": {"not": {name: text}}, "limit": 1000}),
            # An attack that can't be read is no condition to be negated, but a 400.
            lambda event, text, fits=fits: not fits(event, text),
        )
        yield Place(
            f"stats: {name}",
            lambda text, name=name: get(STATS, **{name: text}),
            check=check_total(fits),
        )
    for before in ("metadata", "changes.after"):
        yield Place(
            f"{before}.<path>",
            lambda text, before=before: get(LOGS, limit="1000", **{f"{before}.{text}": "v"}),
            lambda event, text, before=before: f"{before}.{text}=v" in event.values["attrs"],
        )
    yield Place(
        "tree: metadata.<path>",
        lambda text: post({"filter": {f"metadata.{text}": "v"}, "limit": 1000}),
        lambda event, text: f"metadata.{text}=v" in event.values["attrs"],
    )
    yield Place(
        "fields: metadata.<path>",
        lambda text: get(LOGS, limit="1000", fields=f"metadata.{text}"),
        anything,
    )
    yield Place(
        "stats: group_by metadata.<path>",
        lambda text: get(STATS, group_by=f"metadata.{text}", top="100"),
        check=check_groups,
    )


def refusing() -> Iterator[Place]:
    """Where only known words are taken, and an attack is refused before a backend is asked."""
    for name in (
        *("outcome", "severity", "severity.gte", "source.ip", "from", "to", "received_from"),
        *("received_to", "sort", "limit", "cursor", "fields", "changes", "metadata"),
    ):
        yield Place(name, lambda text, name=name: get(LOGS, **{name: text}))
    for name in ("sort", "cursor", "fields"):
        yield Place(
            f"tree: {name}",
            lambda text, name=name: post({name: [text] if name == "fields" else text}),
        )
    for name in ("interval", "group_by", "distinct", "top", "tz"):
        needed = {"tz": {"interval": "1d"}, "top": {"group_by": "tag"}}.get(name, {})
        yield Place(
            f"stats: {name}",
            lambda text, name=name, needed=needed: get(STATS, **needed, **{name: text}),
        )
    yield Place("a parameter's name", lambda text: get(LOGS, **{text: "v"}))
    yield Place("a parameter's brackets", lambda text: get(LOGS, **{f"action[{text}]": "v"}))
    yield Place("stats: a parameter's name", lambda text: get(STATS, **{text: "v"}))
    yield Place("tree: a filter's name", lambda text: post({"filter": {text: "v"}}))
    yield Place("tree: an option's name", lambda text: post({text: "v"}))
    yield Place("changes.<path>", lambda text: get(LOGS, **{f"changes.{text}": "v"}))
    yield Place("an id", lambda text: ("GET", f"{LOGS}/{quote(text, safe='')}", {}, b""))
    yield Place("a path", lambda text: ("GET", f"{LOGS}/{quote(text)}", {}, b""))
    yield Place("X-Tenant-ID", lambda text: ("GET", LOGS, {"X-Tenant-ID": f"t{text}"}, b""))


PLACES = list(places())
REFUSING = list(refusing())


class Target(NamedTuple):
    """The tenant that is attacked from within, its events, and its neighbour."""

    access: Any
    events: list[Reference]
    other: Any


def event(attack: str, **fields: Any) -> bytes:
    """An event that holds the text wherever text can stand."""
    return json.dumps(
        {
            "action": attack,
            "actor": {"id": attack, "type": attack, "email": attack},
            "targets": [{"type": attack, "id": attack}],
            "request_id": attack,
            "trace_id": attack,
            "tags": [attack],
            "source": {"service": attack},
            "message": attack,
            "changes": {"before": attack, "after": {"k": attack, attack: "v"}},
        }
        | fields
    ).encode()


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def target(running: Any) -> Target:
    # Shared: one collection and one index for both.
    access = await running.tenant(isolation=Isolation.SHARED)
    other = await running.tenant(isolation=Isolation.SHARED)
    plain = [f"plain.{number}" for number in range(5)]
    texts = [*ATTACKS, *plain]
    mine = [event(text, metadata={"k": text, text: "v"}) for text in texts]
    theirs = [event(text, metadata={"k": text, text: "v", "c": CANARY}) for text in texts]
    for owner, lines in ((access, mine), (other, theirs)):
        answer = await running.post_lines(owner, lines)
        assert answer.json()["rejected"] == 0, answer.text
    await running.until_indexed(access.tenant, len(texts))
    await running.until_indexed(other.tenant, len(texts))
    events = [Reference(each) for each in await running.stored(access.tenant)]
    events.sort(key=lambda each: each.key(Sort.OCCURRED_DESC), reverse=True)
    return Target(access, events, other)


@pytest.fixture(params=["opensearch", "mongodb"])
def backend(
    request: pytest.FixtureRequest, running: Any, mongo_only: httpx.AsyncClient
) -> tuple[str, int]:
    http = mongo_only if request.param == "mongodb" else running.http
    return request.param, http.base_url.port


async def send(port: int, target: Target, asked: tuple[str, str, dict[str, str], bytes]) -> Answer:
    method, url, headers, body = asked
    raw = request(method, url, (target.access.admin | headers).items(), body)
    [answer] = await talk(port, [raw])
    assert answer.status < 500, (url, answer)
    assert set(answer.headers) <= HEADERS, (url, answer)
    for secret in (CANARY, target.other.tenant.id, target.other.tenant.uid):
        assert secret.encode() not in answer.body, (url, answer)
    return answer


def assert_refused(answer: Answer) -> None:
    problem = answer.problem()
    assert 400 <= problem["status"] < 500
    assert problem["code"] in MEANINGS


def assert_plain(place: Place, answer: Answer, target: Target, attack: str, name: str) -> None:
    """An answer of 200 is what a plain reading gives."""
    body = json.loads(answer.body)
    assert body["backend"] == name
    if place.check:
        place.check(body, target.events, attack)
        return
    fits = place.fits
    assert fits is not None, f"{attack!r} was taken: {body}"
    wanted = [each for each in target.events if fits(each, attack)]
    assert [item["id"] for item in body["items"]] == [format_id(each.event.id) for each in wanted]
    assert body["total"]["value"] == len(wanted) or body["total"]["relation"] == "gte"
    if place.name.startswith("fields"):
        assert all(set(item) <= {"id", "metadata"} for item in body["items"])


async def at_once(work: Callable[[str], Awaitable[None]]) -> None:
    """Every attack, some at a time."""
    gate = asyncio.Semaphore(AT_ONCE)

    async def one(attack: str) -> None:
        async with gate:
            await work(attack)

    await asyncio.gather(*map(one, ATTACKS))


@pytest.mark.parametrize("place", PLACES, ids=[place.name for place in PLACES])
async def test_an_attack_is_refused_or_read_as_the_text_that_it_is(
    target: Target, backend: tuple[str, int], place: Place
):
    name, port = backend
    taken = 0

    async def attack_with(attack: str) -> None:
        nonlocal taken
        answer = await send(port, target, place.ask(attack))
        if answer.status == 200:
            taken += 1
            assert_plain(place, answer, target, attack, name)
        else:
            assert_refused(answer)

    await at_once(attack_with)
    assert taken > len(ATTACKS) / 3  # most are plain texts here; else this would test nothing


@pytest.mark.parametrize("place", REFUSING, ids=[place.name for place in REFUSING])
async def test_an_attack_is_refused_where_only_known_words_are_taken(
    target: Target, running: Any, place: Place
):
    async def attack_with(attack: str) -> None:
        assert_refused(await send(running.http.base_url.port, target, place.ask(attack)))

    await at_once(attack_with)


async def test_an_attack_as_the_requests_id_stays_out_of_the_head(target: Target, running: Any):
    async def attack_with(attack: str) -> None:
        asked = ("GET", f"{LOGS}?limit=1", {"X-Request-ID": f"r{attack}"}, b"")
        answer = await send(running.http.base_url.port, target, asked)
        given = answer.headers["x-request-id"]
        assert f"r{attack}".startswith(given) or uuid.UUID(given)

    await at_once(attack_with)


@pytest.mark.parametrize("structure", STRUCTURES, ids=json.dumps)
async def test_a_structure_that_is_no_filter_is_refused(
    target: Target, running: Any, structure: Any
):
    for tree in (structure, {"not": structure}, {"and": [{"action": "*"}, structure]}):
        asked = post({"filter": tree})
        assert_refused(await send(running.http.base_url.port, target, asked))


async def test_what_belongs_to_another_tenant_opens_nothing(
    target: Target, backend: tuple[str, int]
):
    other, port = target.other, backend[1]
    raw = request("GET", f"{LOGS}?limit=1", other.admin.items())
    [theirs] = await talk(port, [raw])
    cursor = json.loads(theirs.body)["next_cursor"]
    event_id = json.loads(theirs.body)["items"][0]["id"]
    assert_refused(await send(port, target, get(LOGS, limit="1", cursor=cursor)))
    assert_refused(await send(port, target, post({"limit": 1, "cursor": cursor})))
    assert_refused(await send(port, target, ("GET", f"{LOGS}/{event_id}", {}, b"")))
    tenant = other.tenant
    mine = target.access.tenant.id
    for picked in (tenant.id, tenant.uid, f"{mine},{tenant.id}", f"{mine} {tenant.id}", "*", "a*"):
        answer = await send(port, target, ("GET", LOGS, {"X-Tenant-ID": picked}, b""))
        assert_refused(answer)
    for name, text in (("metadata.t", tenant.uid), ("metadata.c", "*"), ("q", tenant.uid)):
        answer = await send(port, target, get(LOGS, **{name: text}))
        assert json.loads(answer.body)["items"] == []
