"""What a pass over a Tenant came to, and the status that says so."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from typing import Any, Final, NamedTuple

from ocelot_common.registry.model import Tenant
from ocelot_common.terminal import escape
from ocelot_common.timestamps import to_ms
from ocelot_operator.kubernetes import Object
from ocelot_operator.secrets import ClientToken, utc_text

MAX_MESSAGE_CHARS: Final = 1_024


class Reason(StrEnum):
    """Why a Tenant is Ready or not: a closed list, explained in docs/operations/operator.md."""

    RECONCILED = "Reconciled"
    INVALID_SPEC = "InvalidSpec"
    TENANT_ID_TAKEN = "TenantIdTaken"
    LEFTOVER_DATA = "LeftoverData"
    REFUSED = "Refused"
    SECRET_NOT_OWNED = "SecretNotOwned"  # noqa: S105 - a reason
    SIGNING_KEY_MISSING = "SigningKeyMissing"
    STORE_UNAVAILABLE = "StoreUnavailable"
    SEARCH_UNAVAILABLE = "SearchUnavailable"
    KUBERNETES_UNAVAILABLE = "KubernetesUnavailable"
    TIMED_OUT = "TimedOut"
    INTERNAL_ERROR = "InternalError"


class Outcome(NamedTuple):
    """The result of one pass.

    Attributes:
        reason: RECONCILED if the Tenant is Ready.
        message: for people; cut and escaped in the status.
        tenant: as it is in the registry; None if it could not be made or read.
        tokens: of the clients; None if they could not be looked at.
    """

    reason: Reason
    message: str
    tenant: Tenant | None = None
    tokens: Sequence[ClientToken] | None = None

    @property
    def ready(self) -> bool:
        """Return whether the Tenant is as its spec says."""
        return self.reason is Reason.RECONCILED


def status_patch(body: Mapping[str, Any], outcome: Outcome, *, now: datetime) -> Object:
    """Return the merge patch that brings a Tenant's status to an outcome; empty if it is there.

    What is not known in this pass, because a backend is away, keeps its value.

    Args:
        body: of the Tenant, as it was read.
        outcome: of the pass over it.
        now: the time, aware.
    """
    before = body.get("status")
    before = before if isinstance(before, dict) else {}
    generation = body["metadata"].get("generation", 0)
    status: Object = {
        "observedGeneration": generation,
        "conditions": [_ready_condition(before, outcome, generation, now)],
    }
    if (tenant := outcome.tenant) is not None:
        status["tenantId"] = tenant.id
        status["uid"] = tenant.uid
        status["state"] = tenant.state.value
        status["retention"] = _retention(tenant, now) or None
    if outcome.tokens is not None:
        status["clients"] = [
            {
                "name": client.name,
                "secretName": client.secret_name,
                "scopes": sorted(set(client.scopes)),
                "expiresAt": utc_text(expires_at),
            }
            for client, expires_at in outcome.tokens
        ]
    changes = {name: value for name, value in status.items() if before.get(name) != value}
    if isinstance(changed := changes.get("retention"), dict):
        # A merge patch keeps what it does not name.
        stale = before.get("retention")
        stale = stale if isinstance(stale, dict) else {}
        changes["retention"] = dict.fromkeys(stale) | changed
    return {"status": changes} if changes else {}


def _ready_condition(
    before: Mapping[str, Any], outcome: Outcome, generation: int, now: datetime
) -> Object:
    status = "True" if outcome.ready else "False"
    conditions = before.get("conditions")
    known = next(
        (
            each
            for each in (conditions if isinstance(conditions, list) else [])
            if isinstance(each, dict) and each.get("type") == "Ready"
        ),
        {},
    )
    since = known.get("lastTransitionTime") if known.get("status") == status else None
    return {
        "type": "Ready",
        "status": status,
        "reason": outcome.reason.value,
        "message": escape(outcome.message)[:MAX_MESSAGE_CHARS],
        "observedGeneration": generation,
        "lastTransitionTime": since or utc_text(now),
    }


def _retention(tenant: Tenant, now: datetime) -> Object:
    days = tenant.retention_days_at(to_ms(now))
    retention: Object = {} if days is None else {"days": days}
    pending = tenant.pending_retention
    if pending is not None and pending.effective_at > now:
        retention["pendingDays"] = pending.days
        retention["effectiveAt"] = utc_text(pending.effective_at)
    return retention
