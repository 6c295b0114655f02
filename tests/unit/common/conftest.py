from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import settings

from ocelot_common.registry.model import Isolation, Tenant, TenantState

# Two shared cores: a slow moment is no failure, and examples are many enough to find what breaks.
settings.register_profile("ocelot", deadline=None, max_examples=100)
settings.load_profile("ocelot")


@pytest.fixture(scope="session")
def make_tenant() -> Callable[..., Tenant]:
    """Makes a tenant `acme` that differs in what is given."""

    def make(**changes: Any) -> Tenant:
        defaults: dict[str, Any] = {
            "uid": "0123456789abcdef",
            "id": "acme",
            "version": 1,
            "display_name": "Acme",
            "owner": "cli",
            "isolation": Isolation.DEDICATED,
            "state": TenantState.ACTIVE,
            "space": "logs_acme",
            "created_at": datetime(2026, 11, 24, tzinfo=UTC),
        }
        return Tenant(**(defaults | changes))

    return make
