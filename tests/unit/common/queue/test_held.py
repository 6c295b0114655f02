import pytest

from ocelot_common.queue.held import MAX_MESSAGE_BYTES, HeldBounds, MovingRate


class Clock:
    """A clock that the test sets, in seconds."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def bounds(clock: Clock, *, max_bytes: int = 1_000 * MAX_MESSAGE_BYTES) -> HeldBounds:
    return HeldBounds(max_bytes=max_bytes, clock=clock)


def test_nothing_finished_is_a_rate_of_zero(clock: Clock) -> None:
    assert MovingRate(clock).per_second() == 0


def test_the_rate_is_the_average_over_ten_seconds(clock: Clock) -> None:
    rate = MovingRate(clock)
    for _ in range(30):
        rate.add(40)
        rate.add(60)
        clock.now += 1
    assert rate.per_second() == pytest.approx(100, rel=0.2)
    clock.now += 5
    assert rate.per_second() == pytest.approx(50, rel=0.2)
    clock.now += 5
    assert rate.per_second() == 0


def test_after_a_quiet_time_the_rate_is_not_averaged_over_it(clock: Clock) -> None:
    rate = MovingRate(clock)
    clock.now += 3_600
    rate.add(300)
    assert rate.per_second() == 100
    clock.now += 3
    rate.add(300)
    assert rate.per_second() == 200
    clock.now += 1
    assert rate.per_second() == 150


def test_at_first_a_worker_may_hold_twenty_messages(clock: Clock) -> None:
    held = bounds(clock)
    assert held.max_messages == 20
    asked = []
    while number := held.to_ask_for():
        held.asked(number)
        asked.append(number)
    assert asked == [10, 10]


@pytest.mark.parametrize(("finished", "most"), [(1, 20), (6, 20), (7, 21), (500, 1_500)])
def test_a_worker_may_hold_what_it_finishes_in_three_seconds(
    clock: Clock, finished: int, most: int
) -> None:
    held = bounds(clock)
    for _ in range(30):
        held.finished(finished)
        clock.now += 1
    assert held.max_messages == most


@pytest.mark.parametrize(("finished", "most"), [(1, 20), (20, 20), (21, 21), (500, 500)])
def test_a_worker_holds_no_more_than_it_has_finished_of_a_new_backlog(
    clock: Clock, finished: int, most: int
) -> None:
    held = bounds(clock)
    held.finished(finished)
    assert held.max_messages == most


def test_a_worker_that_becomes_slow_may_hold_less_again(clock: Clock) -> None:
    held = bounds(clock)
    held.finished(500)
    clock.now += 10
    assert held.max_messages == 20


def test_messages_held_and_asked_for_leave_the_rest(clock: Clock) -> None:
    held = bounds(clock)
    for _ in range(9):
        held.add(100)
    assert held.to_ask_for() == 10
    held.asked(10)
    assert held.to_ask_for() == 1
    held.asked(1)
    assert held.to_ask_for() == 0
    held.answered(10)
    held.remove(100)
    assert held.to_ask_for() == 10


def test_a_receive_asks_for_no_more_bytes_than_are_free(clock: Clock) -> None:
    held = bounds(clock, max_bytes=12 * MAX_MESSAGE_BYTES)
    held.add(MAX_MESSAGE_BYTES // 2)
    assert held.to_ask_for() == 10
    held.asked(10)
    assert held.to_ask_for() == 1
    held.answered(10)
    held.add(8 * MAX_MESSAGE_BYTES)
    assert held.to_ask_for() == 3
    assert held.fits(3 * MAX_MESSAGE_BYTES)
    held.asked(3)
    assert not held.fits(MAX_MESSAGE_BYTES)


def test_one_message_is_asked_for_however_small_the_bound_is(clock: Clock) -> None:
    held = bounds(clock, max_bytes=1_000)
    assert held.to_ask_for() == 1
    held.asked(1)
    assert held.to_ask_for() == 0
    held.answered(1)
    held.add(500)
    assert held.to_ask_for() == 0
    held.remove(500)
    assert held.to_ask_for() == 1
