"""The api's settings hold together."""

import pytest
from pydantic import ValidationError

from ocelot_api.settings import ApiSettings

NEEDED = {"mongodb_url": "mongodb://x", "sqs_queue_url": "http://x/q"}


def test_a_budget_that_could_not_hold_one_compressed_body_is_refused():
    with pytest.raises(ValidationError, match="OCELOT_BODY_BUDGET_BYTES"):
        ApiSettings(**NEEDED, max_bulk_bytes=1_000_000, body_budget_bytes=1_999_999)
    ApiSettings(**NEEDED, max_bulk_bytes=1_000_000, body_budget_bytes=2_000_000)


@pytest.mark.parametrize(
    ("tenants", "applies"), [(None, 65_536), (1_024, 1_024), (65_537, 65_536), (10**9, 65_536)]
)
def test_the_smaller_of_two_limits_on_an_event_applies(tenants: int | None, applies: int):
    assert ApiSettings(**NEEDED).event_limits(tenants).max_event_bytes == applies
