"""The api's settings hold together."""

import pytest
from pydantic import ValidationError

from ocelot_api.budget import EVENT_BYTES
from ocelot_api.settings import ApiSettings

NEEDED = {
    "mongodb_url": "mongodb://x",
    "sqs_queue_url": "http://x/q",
    "queue_keys_file": "queue-keys",
}


def test_a_budget_that_could_not_hold_the_largest_request_is_refused():
    bounds = {"max_bulk_bytes": 1_000_000, "max_bulk_events": 100}
    least = 2 * (2_000_000 + 100 * EVENT_BYTES)  # a tenant may hold half of it
    with pytest.raises(ValidationError, match="OCELOT_BODY_BUDGET_BYTES"):
        ApiSettings(**NEEDED, **bounds, body_budget_bytes=least - 1)
    ApiSettings(**NEEDED, **bounds, body_budget_bytes=least)


@pytest.mark.parametrize(
    ("tenants", "applies"), [(None, 65_536), (1_024, 1_024), (65_537, 65_536), (10**9, 65_536)]
)
def test_the_smaller_of_two_limits_on_an_event_applies(tenants: int | None, applies: int):
    assert ApiSettings(**NEEDED).event_limits(tenants).max_event_bytes == applies


def test_clients_and_probes_may_not_share_a_port():
    with pytest.raises(ValidationError, match="OCELOT_HTTP_PORT and OCELOT_PROBES_PORT are both"):
        ApiSettings(**NEEDED, http_port=8080)
    assert ApiSettings(**NEEDED).probes_port == 8080
