"""The messages that an administrator was shown."""

import hashlib

from hypothesis import given
from hypothesis import strategies as st

from ocelot_jobs.shown import Shown, digest_of, packed

DIGESTS = [digest_of("ingest", f"{number}") for number in range(1_000)]


def test_a_message_is_told_by_its_queue_and_its_whole_text() -> None:
    texts = [("ingest", "a"), ("index", "a"), ("ingest", "b"), ("ingest", "x" * 1_000_000)]
    assert len({digest_of(*text) for text in texts}) == 4
    assert digest_of("ingest", "a") == hashlib.sha256(b"ingest\na").digest()[:16]


@given(st.sets(st.integers(0, 999)), st.sets(st.integers(0, 999)), st.sets(st.integers(0, 999)))
def test_what_is_done_is_known_to_the_next_attempt(
    shown: set[int], done: set[int], seen: set[int]
) -> None:
    digests = packed(DIGESTS[number] for number in shown)
    first = Shown(digests)
    for number in shown & done:
        first.mark_done(DIGESTS[number])
    second = Shown(digests, first.done)
    for number, digest in enumerate(DIGESTS):
        assert (digest in second) is (number in shown)
        if number in shown:
            assert second.is_done(digest) is (number in done)
    assert second.missing({DIGESTS[number] for number in seen}) == len(shown - done - seen)


def test_100_000_messages_leave_room_in_a_document() -> None:
    digests = packed(digest_of("ingest", f"{number}") for number in range(100_000))
    assert len(digests) == 1_600_000
    assert len(Shown(digests).done) < 13_000
