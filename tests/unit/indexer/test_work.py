"""What the indexer makes of a message."""

from ocelot_common.queue.receiver import Received
from ocelot_indexer.work import IndexWork, unpack_message


def test_a_message_of_garbage_keeps_its_fault_for_the_batch():
    work = unpack_message(Received("r", "garbage", 1, 0, 0.0))
    assert work.body is None
    assert work.fault is not None
    assert work.units == 0


def test_the_longest_wait_asked_for_counts():
    work = IndexWork(Received("r", "", 1, 0, 0.0))
    work.come_again(30)
    work.come_again(2)
    assert work.wait_sec == 30
