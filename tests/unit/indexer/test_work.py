"""What the indexer makes of a message."""

from ocelot_common.queue.receiver import Received
from ocelot_common.signed_text import ForgedError
from ocelot_indexer.work import IndexWork, open_message
from queuekit.signing import fixed_keys


def test_a_message_of_garbage_keeps_its_fault_for_the_batch():
    work = open_message(Received("r", "garbage", 1, 0, 0.0), fixed_keys())
    assert work.body is None
    assert isinstance(work.refused, ForgedError)
    work.unpack()
    assert (work.events, work.units) == (0, 1)


def test_the_longest_wait_asked_for_counts():
    work = IndexWork(Received("r", "", 1, 0, 0.0))
    work.come_again(30)
    work.come_again(2)
    assert work.wait_sec == 30
