"""The set of events of an export, and up to when none of it is missing."""

from ocelot_api.export.bound import bound_of

NEWEST = 1_000 << 32 | 9


def test_without_a_wish_it_is_all_that_may_be_visible():
    bound = bound_of(None, NEWEST)
    assert bound.stored_until == NEWEST
    assert bound.complete_until == "1970-01-01T00:16:25.000Z"  # fifteen seconds before


def test_an_older_one_is_complete_in_itself():
    bound = bound_of(900 << 32, NEWEST)
    assert bound == (900 << 32, 900 << 32)
    assert bound.complete_until == "1970-01-01T00:15:00.000Z"


def test_a_recent_one_is_complete_up_to_what_is_closed():
    assert bound_of(990 << 32, NEWEST) == (990 << 32, 985 << 32 | 9)


def test_none_reaches_into_the_future():
    assert bound_of(2_000 << 32, NEWEST) == bound_of(None, NEWEST)
