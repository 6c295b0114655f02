"""The status of a Tenant: written when it differs, escaped and cut."""

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from ocelot_common.registry.model import Isolation, PendingRetention, Tenant, TenantState
from ocelot_operator.resource import Client
from ocelot_operator.secrets import ClientToken
from ocelot_operator.status import MAX_MESSAGE_CHARS, Outcome, Reason, status_patch

NOW = datetime(2026, 11, 30, 12, tzinfo=UTC)
LATER = NOW + timedelta(hours=1)
TENANT = Tenant(
    uid="0123456789abcdef",
    id="acme",
    version=1,
    display_name="Acme",
    owner="cli",
    isolation=Isolation.DEDICATED,
    state=TenantState.ACTIVE,
    space="logs_acme",
    retention_days=30,
    pending_retention=PendingRetention(days=7, effective_at=LATER),
    created_at=NOW,
)
CLIENT = Client("app", ["logs:write"], "app-token")
DONE = Outcome(Reason.RECONCILED, "Done.", TENANT, [ClientToken(CLIENT, LATER)])


def body(status: Any = None, generation: int = 1) -> dict[str, Any]:
    return {"metadata": {"generation": generation}, "status": status}


def merged(before: dict[str, Any], patch: dict[str, Any]) -> dict[str, Any]:
    """Apply a merge patch (RFC 7396)."""
    result = dict(before)
    for name, value in patch.items():
        if value is None:
            result.pop(name, None)
        elif isinstance(value, dict):
            old = result.get(name)
            result[name] = merged(old if isinstance(old, dict) else {}, value)
        else:
            result[name] = value
    return result


def after(before: dict[str, Any], outcome: Outcome, *, now: datetime = NOW) -> dict[str, Any]:
    return merged(before, status_patch(body(before), outcome, now=now).get("status", {}))


def test_a_status_says_what_was_found() -> None:
    status = after({}, DONE)
    assert status == {
        "observedGeneration": 1,
        "conditions": [
            {
                "type": "Ready",
                "status": "True",
                "reason": "Reconciled",
                "message": "Done.",
                "observedGeneration": 1,
                "lastTransitionTime": "2026-11-30T12:00:00Z",
            }
        ],
        "tenantId": "acme",
        "uid": TENANT.uid,
        "state": "Active",
        "retention": {"days": 30, "pendingDays": 7, "effectiveAt": "2026-11-30T13:00:00Z"},
        "clients": [
            {
                "name": "app",
                "secretName": "app-token",
                "scopes": ["logs:write"],
                "expiresAt": "2026-11-30T13:00:00Z",
            }
        ],
    }


def test_an_outcome_that_is_there_is_not_written() -> None:
    status = after({}, DONE)
    assert status_patch(body(status), DONE, now=NOW + timedelta(minutes=1)) == {}


def test_a_pending_retention_ends_in_the_status_too() -> None:
    assert after(after({}, DONE), DONE, now=LATER)["retention"] == {"days": 7}


def test_a_tenant_without_retention_has_none_in_the_status_and_that_is_written_once() -> None:
    kept = msgspec.structs.replace(TENANT, retention_days=None, pending_retention=None)
    outcome = DONE._replace(tenant=kept)
    status = after(after({}, DONE), outcome)
    assert "retention" not in status
    assert status_patch(body(status), outcome, now=NOW) == {}


def test_the_time_of_the_transition_stays_while_the_status_of_the_condition_stays() -> None:
    first = after({}, Outcome(Reason.STORE_UNAVAILABLE, "a"))
    second = after(first, Outcome(Reason.TIMED_OUT, "b"), now=LATER)
    third = after(second, DONE, now=LATER)
    times = [each["conditions"][0]["lastTransitionTime"] for each in (first, second, third)]
    assert times == ["2026-11-30T12:00:00Z"] * 2 + ["2026-11-30T13:00:00Z"]


def test_what_a_pass_does_not_know_keeps_its_value() -> None:
    status = after(after({}, DONE), Outcome(Reason.STORE_UNAVAILABLE, "away"))
    assert (status["uid"], status["clients"][0]["name"]) == (TENANT.uid, "app")


def test_a_message_is_escaped_and_cut() -> None:
    status = after({}, Outcome(Reason.REFUSED, "\x1b[2J\u202e" + "x" * 9_999))
    message = status["conditions"][0]["message"]
    assert message.isprintable()
    assert len(message) == MAX_MESSAGE_CHARS


@pytest.mark.parametrize(
    "status", [None, [], "x", {"conditions": {}}, {"conditions": ["x"], "retention": []}]
)
def test_a_status_that_somebody_else_wrote_is_no_obstacle(status: Any) -> None:
    patch = status_patch(body(status), DONE, now=NOW)
    assert patch["status"]["uid"] == TENANT.uid
