"""Cursors, and what both backends are asked."""

import base64
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import bson
import msgspec
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from ocelot_api.problems import Problem
from ocelot_api.search.filters import (
    MATCH_FIELDS,
    Addresses,
    AllOf,
    AnyOf,
    Filter,
    Match,
    Not,
    Phrase,
    Times,
    Word,
    WordPrefix,
    occurred_within,
)
from ocelot_api.search.mongo_backend import _with_position, selection_for
from ocelot_api.search.opensearch_backend import indices_for, request_body
from ocelot_api.search.query import (
    Position,
    SearchQuery,
    Sort,
    position_of,
    read_cursor,
    write_cursor,
)
from ocelot_common.mongo import EVENT_CODEC
from ocelot_common.registry.model import Home, IndexRange, Isolation, Space, Tenant
from ocelot_common.stored import StoredEvent, store_key
from ocelot_common.timestamps import to_ms
from ocelot_common.versioned import frame

UIDS = ["0123456789abcdef", "fedcba9876543210"]
#: Milliseconds of the years 1 to 9999, by any offset.
TIMES = st.integers(-62_135_683_200_000, 253_402_387_140_000)
IDS = st.binary(min_size=16, max_size=16)
TEXTS = st.text(st.characters(codec="utf-8"), min_size=1, max_size=20)


VALUES = st.lists(TEXTS, unique=True, max_size=3).map(tuple)
LEAVES: st.SearchStrategy[Filter] = st.one_of(
    st.builds(Match, st.sampled_from(MATCH_FIELDS), VALUES, VALUES | st.just(("",))),
    st.builds(
        Times, st.sampled_from(["occurred_at", "received_at"]), st.none() | TIMES, st.none() | TIMES
    ),
    st.builds(Addresses, IDS, IDS),
    st.builds(Word, TEXTS),
    st.builds(WordPrefix, TEXTS),
    st.builds(Phrase, st.lists(TEXTS, min_size=2, max_size=3).map(tuple)),
)
FILTERS: st.SearchStrategy[Filter] = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.builds(AllOf, st.lists(inner, max_size=3).map(tuple)),
        st.builds(AnyOf, st.lists(inner, min_size=1, max_size=3).map(tuple)),
        st.builds(Not, inner),
    ),
    max_leaves=6,
)


@st.composite
def queries(draw: st.DrawFn) -> SearchQuery:
    shared = draw(st.booleans())
    tenant = Tenant(
        uid=draw(st.sampled_from(UIDS)),
        id="acme",
        version=1,
        display_name="",
        owner="cli",
        isolation=Isolation.SHARED if shared else Isolation.DEDICATED,
        state="Active",  # type: ignore[arg-type]
        space="s",
        created_at=datetime.now(UTC),
    )
    space = Space(name="s", version=1, key="k", collection="s", search_enabled=True, alias="s")
    return SearchQuery(
        home=Home(tenant, space),
        filter=draw(FILTERS),
        sort=draw(st.sampled_from(Sort)),
        limit=draw(st.integers(1, 1_000)),
        after=draw(st.none() | st.builds(Position, TIMES, IDS)),
        cutoff=draw(st.just(0) | TIMES),
    )


def stored(event_id: bytes, received: int, occurred: int) -> StoredEvent:
    return StoredEvent(
        id=event_id,
        uid=UIDS[0],
        received_at=received,
        occurred_at=occurred,
        seq=1,
        writer="w",
        rev=1,
        text="{}",
    )


class TestCursors:
    @given(queries(), IDS, TIMES, TIMES)
    def test_a_cursor_comes_back_as_the_position_it_was_made_of(
        self, query: SearchQuery, event_id: bytes, received: int, occurred: int
    ):
        event = stored(event_id, received, occurred)
        text = write_cursor(query, position_of(query.sort, event))
        assert re.fullmatch("[A-Za-z0-9_-]{1,256}", text)
        assert read_cursor(text, query) == position_of(query.sort, event)

    @given(queries(), queries(), IDS, TIMES)
    def test_it_is_good_for_the_same_tenant_filters_and_order_alone(
        self, query: SearchQuery, other: SearchQuery, event_id: bytes, time: int
    ):
        text = write_cursor(query, Position(time, event_id))
        same = (query.home.tenant.uid, query.fingerprint()) == (
            other.home.tenant.uid,
            other.fingerprint(),
        )
        if same:
            assert read_cursor(text, other).event_id == event_id
        else:
            assert code_of(text, other) == "invalid_cursor"

    @pytest.mark.parametrize(
        "change",
        [
            {"filter": Match("action", ("b",))},
            {"filter": Match("action", (), ("a",))},
            {"filter": Match("actor.id", ("a",))},
            {"filter": Not(Match("action", ("a",)))},
            {"filter": AllOf((Match("action", ("a",)),))},
            {"filter": AnyOf((Match("action", ("a",)),))},
            {"filter": AllOf()},
            {"filter": Word("a")},
            {"filter": WordPrefix("a")},
            {"sort": Sort.OCCURRED_ASC},
            {"sort": Sort.RECEIVED_DESC},
        ],
        ids=str,
    )
    def test_any_change_of_the_search_makes_it_another(self, home: Home, change: dict[str, Any]):
        query = SearchQuery(home=home, filter=Match("action", ("a",)))
        text = write_cursor(query, Position(1, bytes(16)))
        assert code_of(text, msgspec.structs.replace(query, **change)) == "invalid_cursor"

    @pytest.mark.parametrize("change", [{"limit": 1}, {"cutoff": 5}, {"fields": ("id",)}], ids=str)
    def test_page_size_and_cutoff_may_change(self, home: Home, change: dict[str, Any]):
        query = SearchQuery(home=home)
        text = write_cursor(query, Position(1, bytes(16)))
        assert read_cursor(text, msgspec.structs.replace(query, **change)) == (1, bytes(16))

    def test_anothers_cursor_is_refused(self, home: Home, make_tenant: Callable[..., Tenant]):
        text = write_cursor(SearchQuery(home=home), Position(1, bytes(16)))
        other = Home(make_tenant(uid=UIDS[1]), home.space)
        assert code_of(text, SearchQuery(home=other)) == "invalid_cursor"

    @given(queries(), st.integers(0, 300), st.characters())
    def test_a_changed_character_gives_400_or_a_position(
        self, query: SearchQuery, at: int, character: str
    ):
        text = write_cursor(query, Position(1, bytes(range(16))))
        assume(at < len(text))
        changed = text[:at] + character + text[at + 1 :]
        try:
            position = read_cursor(changed, query)
        except Problem as problem:
            assert (problem.status, problem.code) == (400, "invalid_cursor")  # noqa: PT017
        else:
            assert len(position.event_id) == 16

    @given(
        queries(), st.text() | st.binary().map(lambda raw: base64.urlsafe_b64encode(raw).decode())
    )
    def test_no_text_does_more_than_400(self, query: SearchQuery, text: str):
        assert code_of(text, query) == "invalid_cursor"

    @pytest.mark.parametrize(
        "time", [2**63 - 1, -(2**63), 2**63, 2**64 - 1, 2**48 + 1, -(2**48) - 1, 1.5, None, "1"]
    )
    def test_a_time_outside_the_calendar_is_refused(self, home: Home, time: Any):
        assert code_of(self.forged(home, time, bytes(16)), SearchQuery(home=home))

    @pytest.mark.parametrize("event_id", [b"", bytes(15), bytes(17), None, "x" * 16])
    def test_an_id_of_another_size_is_refused(self, home: Home, event_id: Any):
        assert code_of(self.forged(home, 1, event_id), SearchQuery(home=home))

    def test_a_newer_version_is_refused(self, home: Home):
        text = self.forged(home, 1, bytes(16), version=2)
        assert code_of(text, SearchQuery(home=home)) == "invalid_cursor"

    @staticmethod
    def forged(home: Home, time: Any, event_id: Any, version: int = 1) -> str:
        query = SearchQuery(home=home)
        body = msgspec.msgpack.encode((home.tenant.uid, query.fingerprint(), time, event_id))
        return base64.urlsafe_b64encode(frame(version, body)).decode().rstrip("=")


def code_of(text: str, query: SearchQuery) -> str:
    with pytest.raises(Problem) as caught:
        read_cursor(text, query)
    assert caught.value.status == 400
    return caught.value.code


class TestOpenSearchBodies:
    @given(queries())
    def test_the_tenants_term_is_always_a_filter_of_the_whole(self, query: SearchQuery):
        body = request_body(query)
        filters = body["query"]["bool"]["filter"]
        assert filters[0] == {"term": {"t": query.home.tenant.uid}}
        assert set(body["query"]) == {"bool"}
        assert set(body["query"]["bool"]) == {"filter"}
        assert {"post_filter", "suggest", "aggs", "rescore"}.isdisjoint(body)
        if query.cutoff:
            assert {"range": {"received_at": {"gte": query.cutoff}}} in filters

    @given(queries())
    def test_a_clients_text_stands_only_where_a_value_stands(self, query: SearchQuery):
        allowed = {"term", "terms", "prefix", "range", "bool", "match_phrase"}
        fields = {"t", "received_at", "occurred_at", "text", "source.ip", *MATCH_FIELDS}

        def visit(clause: dict[str, Any]) -> None:
            ((kind, inner),) = clause.items()
            assert kind in allowed
            if kind == "bool":
                assert len(inner.keys() & {"filter", "should", "must_not"}) == 1
                assert ("should" in inner) is (inner.pop("minimum_should_match", None) == 1)
                for each in next(iter(inner.values())):
                    visit(each)
            else:
                ((field, value),) = inner.items()
                assert field in fields
                assert not isinstance(value, dict) or kind == "range"
                assert kind != "range" or set(value) <= {"gt", "gte", "lt", "lte"}

        visit(request_body(query)["query"])

    @given(queries())
    def test_pages_are_ordered_by_time_and_id_and_one_is_read_ahead(self, query: SearchQuery):
        body = request_body(query)
        order = "desc" if query.sort.descending else "asc"
        assert body["sort"] == [{query.sort.field: order}, {"id": order}]
        assert body["size"] == query.limit + 1
        assert ("search_after" in body) is (query.after is not None)

    def test_a_star_alone_means_any_value_that_is_not_empty(self, home: Home):
        body = request_body(SearchQuery(home=home, filter=Match("request_id", ("x",), ("",))))
        assert body["query"]["bool"]["filter"][-1] == {"range": {"request_id": {"gt": ""}}}


class TestMongoFilters:
    @given(queries())
    def test_the_tenants_uid_is_always_in_the_filter(self, query: SearchQuery):
        conditions = selection_for(query).conditions
        assert conditions["t"] == query.home.tenant.uid
        assert "$or" not in conditions
        whole = _with_position(conditions, query)
        if query.after is None:
            assert whole is conditions
        else:
            assert set(whole) == {"$and"}
            assert whole["$and"][0] is conditions

    @given(queries())
    def test_every_filter_is_bson(self, query: SearchQuery):
        encoded = bson.encode(
            _with_position(selection_for(query).conditions, query), codec_options=EVENT_CODEC
        )
        assert query.home.tenant.uid.encode() in encoded

    @given(queries())
    def test_no_key_comes_from_a_client(self, query: SearchQuery):
        known = {"t", "received_at", "occurred_at", "$and", "$or", "$nor", "$not", "$in", "_id"}
        known |= {"$gte", "$gt", "$lt", "$lte", "source.ip16", *MATCH_FIELDS}

        def visit(value: Any) -> None:
            if isinstance(value, dict):
                assert set(value) <= known
                for item in value.values():
                    visit(item)
            elif isinstance(value, list):
                for item in value:
                    visit(item)

        visit(_with_position(selection_for(query).conditions, query))

    @given(prefix=TEXTS, rest=st.text(st.characters(codec="utf-8"), max_size=5), other=TEXTS)
    def test_a_prefix_matches_what_begins_with_it_and_nothing_else(
        self, home: Home, prefix: str, rest: str, other: str
    ):
        query = SearchQuery(home=home, filter=Match("action", (), (prefix,)))
        conditions = selection_for(query).conditions
        ((_, values),) = conditions["$and"][0]["action"].items()
        (pattern,) = values
        # No flags: MongoDB uses no index bounds with the one for Unicode.
        assert pattern.flags == 0
        assert "\0" not in pattern.pattern
        compiled = re.compile(pattern.pattern, re.DOTALL)
        assert compiled.match(prefix + rest)
        assert bool(compiled.match(other)) is other.startswith(prefix)

    def test_the_position_stands_in_the_tenants_own_form_of_key(
        self, make_tenant: Callable[..., Tenant], make_space: Callable[..., Space]
    ):
        for isolation in Isolation:
            tenant = make_tenant(isolation=isolation)
            query = SearchQuery(home=Home(tenant, make_space()), after=Position(7, bytes(16)))
            clause = _with_position(selection_for(query).conditions, query)["$and"][1]["$or"][1]
            assert clause["_id"] == {"$lt": store_key(tenant, bytes(16))}


class TestIndices:
    NAMES = ("2026-01", "2026-02", "2026-03", "2026-04")

    def names(
        self, home: Home, start: int | None = None, end: int | None = None, cutoff: int = 0
    ) -> list[str]:
        times = Times("occurred_at", start, end)
        entries = indices_for(SearchQuery(home=home, filter=times, cutoff=cutoff))
        return [entry.alias.removeprefix("logs_acme_") for entry in entries]

    def test_all_are_searched_without_a_time(self, home: Home):
        assert self.names(home) == list(self.NAMES)

    def test_a_lower_bound_leaves_out_what_ends_a_day_before_it(self, home: Home):
        march = to_ms(datetime(2026, 3, 1, tzinfo=UTC))
        day = 24 * 3600 * 1000
        assert self.names(home, march) == ["2026-02", "2026-03", "2026-04"]
        assert self.names(home, march + day - 1) == ["2026-02", "2026-03", "2026-04"]
        assert self.names(home, march + day) == ["2026-03", "2026-04"]

    def test_an_upper_bound_leaves_out_none_since_events_may_come_late(self, home: Home):
        assert self.names(home, end=0) == list(self.NAMES)

    def test_what_ended_before_the_cutoff_is_left_out(self, home: Home):
        march = to_ms(datetime(2026, 3, 1, tzinfo=UTC))
        assert self.names(home, cutoff=march) == ["2026-03", "2026-04"]
        assert self.names(home, cutoff=march - 1) == ["2026-02", "2026-03", "2026-04"]

    def test_the_newest_is_searched_at_least(self, home: Home):
        assert self.names(home, 2**47) == ["2026-04"]

    def test_no_index_gives_none(self, make_tenant: Any, make_space: Any):
        home = Home(make_tenant(), make_space(indices=[]))
        assert indices_for(SearchQuery(home=home)) == []

    @given(queries(), TIMES, st.integers(-(10**9), 24 * 3600 * 1000))
    def test_no_event_that_the_search_could_find_lies_in_an_index_left_out(
        self, query: SearchQuery, received: int, ahead: int
    ):
        assume(-30_000_000_000_000 < received < 100_000_000_000_000)
        begin = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=received)
        own = IndexRange(start=begin, end=begin + timedelta(seconds=1), alias="own", index="own")
        later = IndexRange(start=own.end, end=own.end + timedelta(1), alias="later", index="later")
        space = msgspec.structs.replace(query.home.space, indices=[own, later])
        query = msgspec.structs.replace(query, home=Home(query.home.tenant, space))
        occurred = received + ahead
        start, _ = occurred_within(query.filter)
        if received >= query.cutoff and (start is None or occurred >= start):
            assert own in indices_for(query)
