import hashlib
import random
import time
import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocelot_common.ids import (
    IdsByKey,
    Ordinals,
    derived_id,
    format_id,
    format_ids,
    new_id,
    new_id_and_text,
    new_id_text,
    new_ids_and_texts,
    parse_id,
)

UID = "0123456789abcdef"
parts = st.lists(st.binary(max_size=6) | st.sampled_from([b"\x001:", b"1:", b"\0"]), max_size=4)
texts = st.lists(st.sampled_from([b"a", b"b", b"c", b"d"]), max_size=12)


def ids_by_key(uid: str, subject: str, key: str, sent: list[bytes]) -> list[bytes]:
    ids = IdsByKey(uid, subject, key)
    return [ids.next(text) for text in sent]


def test_a_new_id_is_a_uuid_of_version_7_with_the_time_in_front() -> None:
    before = time.time_ns() // 1_000_000
    made = new_id()
    after = time.time_ns() // 1_000_000
    assert uuid.UUID(bytes=made).version == 7
    assert uuid.UUID(bytes=made).variant == uuid.RFC_4122
    assert before <= int.from_bytes(made[:6]) <= after


def test_the_text_of_a_new_id_is_that_of_its_bytes() -> None:
    made, text = new_id_and_text()
    assert text == format_id(made)
    assert uuid.UUID(new_id_text()).version == 7


def test_new_ids_differ_and_grow() -> None:
    made = [new_id() for _ in range(1_000)]
    assert sorted(set(made)) == made


@given(st.integers(0, 300))
def test_ids_made_at_once_are_uuids_of_version_7_that_differ_and_grow(number: int) -> None:
    before = time.time_ns() // 1_000_000
    made, texts = new_ids_and_texts(number)
    more, _ = new_ids_and_texts(number)
    after = time.time_ns() // 1_000_000
    assert len(set(made + more)) == 2 * number
    assert sorted(made) == made
    assert [uuid.UUID(bytes=each) for each in made] == [uuid.UUID(text) for text in texts]
    for each in made:
        assert (uuid.UUID(bytes=each).version, uuid.UUID(bytes=each).variant) == (
            7,
            uuid.RFC_4122,
        )
        assert before <= int.from_bytes(each[:6]) <= after


def test_the_counter_of_ids_never_reaches_the_variant(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.urandom", lambda size: b"\xff" * size)
    made, texts = new_ids_and_texts(10_000)
    assert sorted(set(made)) == made
    assert texts == [format_id(each) for each in made]
    assert {uuid.UUID(bytes=each).version for each in made} == {7}
    assert {uuid.UUID(bytes=each).variant for each in made} == {uuid.RFC_4122}


@given(parts)
def test_a_derived_id_is_a_uuid_of_version_8(given_parts: list[bytes]) -> None:
    made = uuid.UUID(bytes=derived_id("test", *given_parts))
    assert made.version == 8
    assert made.variant == uuid.RFC_4122


@given(parts, parts)
def test_lists_of_parts_have_one_derived_id_only_if_they_are_equal(
    one: list[bytes], other: list[bytes]
) -> None:
    assert (derived_id("test", *one) == derived_id("test", *other)) is (one == other)


@given(parts.filter(any), st.data())
def test_moving_a_border_between_parts_changes_the_derived_id(
    given_parts: list[bytes], data: st.DataObject
) -> None:
    whole = b"".join(given_parts)
    cut = data.draw(st.integers(0, len(whole)))
    moved = [whole[:cut], whole[cut:]]
    assert (derived_id("t", *given_parts) == derived_id("t", *moved)) is (given_parts == moved)


def test_a_derived_id_never_changes_from_release_to_release() -> None:
    """What a client sent once with a key must meet the same ids for ever."""
    assert format_id(derived_id("test", b"a", b"b")) == "4ceb37b4-7fd5-8b46-8761-519afe6f2ffa"
    (by_key,) = ids_by_key(UID, "billing", "key", [b"{}"])
    assert format_id(by_key) == "a05046d5-7460-8661-afd3-38156059539c"


def test_domains_separate_derived_ids() -> None:
    assert derived_id("one", b"a") != derived_id("other", b"a")


@given(st.uuids())
def test_an_id_survives_its_text_in_either_case(value: uuid.UUID) -> None:
    assert parse_id(str(value)) == parse_id(str(value).upper()) == value.bytes
    assert format_id(value.bytes) == str(value)


NO_IDS: dict[str, str] = {
    "no hyphens": "0123456789ab7cde8f0123456789abcd",
    "hyphens elsewhere": "0123456-789ab-7cde-8f01-23456789abcd",
    "braces": "{01234567-89ab-7cde-8f01-23456789abcd}",
    "a URN": "urn:uuid:01234567-89ab-7cde-8f01-23456789abcd",
    "a letter that is no digit": "0123456g-89ab-7cde-8f01-23456789abcd",
    "digits of another script": "٠1234567-89ab-7cde-8f01-23456789abcd",
    "a line break behind it": "01234567-89ab-7cde-8f01-23456789abcd\n",
    "too short": "01234567-89ab-7cde-8f01-23456789abc",
    "the nil UUID": "00000000-0000-0000-0000-000000000000",
    "nothing": "",
}


@pytest.mark.parametrize("text", NO_IDS.values(), ids=NO_IDS)
def test_an_id_is_refused_with(text: str) -> None:
    with pytest.raises(ValueError, match="UUID"):
        parse_id(text)


def test_equal_texts_are_numbered_from_0_and_others_do_not_matter() -> None:
    ordinals = Ordinals()
    assert [ordinals.next(text) for text in (b"a", b"b", b"a", b"a", b"b")] == [0, 0, 1, 2, 1]


@given(texts, st.randoms())
def test_ids_by_key_do_not_depend_on_the_order(sent: list[bytes], order: random.Random) -> None:
    first = ids_by_key(UID, "billing", "key", sent)
    shuffled = sent[:]
    order.shuffle(shuffled)
    again = ids_by_key(UID, "billing", "key", shuffled)
    assert sorted(zip(sent, first, strict=True)) == sorted(zip(shuffled, again, strict=True))


@given(texts)
def test_ids_by_key_differ_for_equal_texts(sent: list[bytes]) -> None:
    made = ids_by_key(UID, "billing", "key", sent)
    assert len(set(made)) == len(sent)


@given(texts, st.sampled_from([b"a", b"b", b"c", b"d"]))
def test_a_request_repeated_without_one_kind_of_item_gives_the_rest_their_ids(
    sent: list[bytes], dropped: bytes
) -> None:
    first = ids_by_key(UID, "billing", "key", sent)
    kept = [text for text in sent if text != dropped]
    again = ids_by_key(UID, "billing", "key", kept)
    assert again == [made for made, text in zip(first, sent, strict=True) if text != dropped]


@pytest.mark.parametrize(
    "other",
    [
        ("f" * 16, "billing", "key", b"{}"),
        (UID, "shipping", "key", b"{}"),
        (UID, "billing", "other", b"{}"),
        (UID, "billing", "key", b"[]"),
        (UID, "billingk", "ey", b"{}"),
    ],
    ids=["another tenant", "another sender", "another key", "another text", "a moved border"],
)
def test_an_id_by_key_differs_for(other: tuple[str, str, str, bytes]) -> None:
    uid, subject, key, text = other
    assert ids_by_key(uid, subject, key, [text]) != ids_by_key(UID, "billing", "key", [b"{}"])


def uuid_8(digest: bytes) -> bytes:
    """As RFC 9562 §5.8 says, bit by bit."""
    bits = int.from_bytes(digest[:16]) & ~(0xF << 76) & ~(3 << 62)
    return (bits | 8 << 76 | 2 << 62).to_bytes(16)


def test_ids_by_key_are_the_same_one_by_one_and_many_at_once() -> None:
    texts = [b"a", b"b"] * 60 + [b"a"] * 1_000
    many = IdsByKey("uid", "sub", "key").next_ids(texts)
    one_by_one = IdsByKey("uid", "sub", "key")
    assert many == [one_by_one.next(text) for text in texts]
    seen: dict[bytes, int] = {}
    for text, made in zip(texts, many, strict=True):
        ordinal = seen.get(text, 0)
        seen[text] = ordinal + 1
        scope = b"ocelot/idempotency-key\0003:uid\0003:sub\0003:key"
        whole = hashlib.sha256(scope).digest() + b"%d:%b" % (ordinal, text)
        assert made == uuid_8(hashlib.sha256(whole).digest())
    assert format_ids(many) == list(map(format_id, many))
    assert format_ids([]) == IdsByKey("uid", "sub", "key").next_ids([]) == []
