"""What the unit tests of the api share; of session scope, so that Hypothesis can use it."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, Gauge

from ocelot_api.budget import FairPool, Refusal, Reservation
from ocelot_api.metrics import ApiMetrics
from ocelot_common.registry.model import Home, IndexRange, Isolation, Space, Tenant, TenantState

UID = "0123456789abcdef"


def _tenant(**changes: Any) -> Tenant:
    fields: dict[str, Any] = {
        "uid": UID,
        "id": "acme",
        "version": 1,
        "display_name": "Acme",
        "owner": "cli",
        "isolation": Isolation.DEDICATED,
        "state": TenantState.ACTIVE,
        "space": "logs_acme",
        "created_at": datetime(2026, 1, 1, tzinfo=UTC),
    }
    return Tenant(**(fields | changes))


def _space(**changes: Any) -> Space:
    fields: dict[str, Any] = {
        "name": "logs_acme",
        "version": 1,
        "key": "k",
        "collection": "logs_acme",
        "search_enabled": True,
        "alias": "logs_acme",
        "indices": [
            IndexRange(
                start=datetime(2026, month, 1, tzinfo=UTC),
                end=datetime(2026, month + 1, 1, tzinfo=UTC),
                alias=f"logs_acme_2026-{month:02d}",
                index=f"logs_acme_2026-{month:02d}_000001",
            )
            for month in range(1, 5)
        ],
    }
    return Space(**(fields | changes))


@pytest.fixture(scope="session")
def make_tenant() -> Callable[..., Tenant]:
    return _tenant


@pytest.fixture(scope="session")
def make_space() -> Callable[..., Space]:
    return _space


@pytest.fixture(scope="session")
def home() -> Home:
    return Home(_tenant(), _space())


@pytest.fixture(scope="session")
def make_metrics() -> Callable[[], ApiMetrics]:
    return lambda: ApiMetrics(CollectorRegistry())


@pytest.fixture
def metrics(make_metrics: Callable[[], ApiMetrics]) -> ApiMetrics:
    return make_metrics()


def _pool(limit: int = 2**40, **refusal: Any) -> FairPool:
    gauge = Gauge("used", "used", registry=CollectorRegistry())
    return FairPool(limit, Refusal("OCELOT_LIMIT", "bytes", **refusal), gauge)


@pytest.fixture(scope="session")
def make_pool() -> Callable[..., FairPool]:
    """A pool of so many units; by default one that is never used up."""
    return _pool


@pytest.fixture
def held(make_pool: Callable[..., FairPool]) -> Reservation:
    """A reservation that may grow without end."""
    return make_pool().reservation(UID)
