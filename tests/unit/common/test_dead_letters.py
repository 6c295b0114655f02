from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocelot_common.dead_letters import DeadLetter, Reason, Stage

LETTER = DeadLetter(
    stage=Stage.STORE,
    reason=Reason.CONFLICT,
    uid="0123456789abcdef",
    event_id=bytes(15) + b"\1",
    content='{"action":"a"}',
    detail="the id is taken",
    received_at=1_000,
    writer="billing",
    request_id="r",
)

SAME: dict[str, dict[str, Any]] = {
    "another detail": {"detail": "other words"},
    "another time": {"received_at": 2_000},
    "another writer": {"writer": "shipping"},
    "another request": {"request_id": "s"},
}
OTHER: dict[str, dict[str, Any]] = {
    "another stage": {"stage": Stage.INDEX},
    "another reason": {"reason": Reason.NOT_STORABLE},
    "another tenant": {"uid": "f" * 16},
    "another event": {"event_id": bytes(15) + b"\2"},
    "no event": {"event_id": None},
    "another content": {"content": '{"action":"b"}'},
}


@pytest.mark.parametrize("changes", SAME.values(), ids=SAME)
def test_the_same_fault_met_again_is_the_same_letter_with(changes: dict[str, Any]) -> None:
    assert msgspec.structs.replace(LETTER, **changes).key == LETTER.key


@pytest.mark.parametrize("changes", OTHER.values(), ids=OTHER)
def test_it_is_another_letter_with(changes: dict[str, Any]) -> None:
    assert msgspec.structs.replace(LETTER, **changes).key != LETTER.key


def test_a_key_is_a_sha_256_in_hex_that_never_changes() -> None:
    assert LETTER.key == "af559b7ea7059330c97fd7777a6775ef1510bbb915f22c9feedc679333ada6ab"


small = st.text(st.sampled_from("01:a"), max_size=3)
letters = st.builds(
    DeadLetter,
    stage=st.sampled_from(Stage),
    reason=st.sampled_from(Reason),
    uid=small,
    event_id=small.map(str.encode),
    content=small,
    detail=st.just(""),
)


@given(letters, letters)
def test_parts_that_run_into_each_other_are_told_apart(one: DeadLetter, other: DeadLetter) -> None:
    assert (one.key == other.key) is (one == other)
