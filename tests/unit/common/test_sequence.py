import pytest
from bson import Timestamp

from ocelot_common.sequence import closed_seq, seq_of, timestamp_of


@pytest.mark.parametrize("timestamp", [Timestamp(1, 0), Timestamp(1_764_000_000, 2**32 - 1)])
def test_a_seq_is_seconds_and_increment_and_back(timestamp: Timestamp):
    seq = seq_of(timestamp)
    assert seq == timestamp.time * 2**32 + timestamp.inc
    assert timestamp_of(seq) == timestamp


def test_order_stays():
    assert seq_of(Timestamp(1, 2**32 - 1)) < seq_of(Timestamp(2, 0)) < seq_of(Timestamp(2, 1))


def test_what_is_fifteen_seconds_old_is_closed():
    assert closed_seq(seq_of(Timestamp(115, 7))) == seq_of(Timestamp(100, 7))
