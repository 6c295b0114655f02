"""The one place that knows how things in the stores are called (design §8).

Parts of a name are joined by `_`, which no tenant id contains, so no pattern for the names of
`acme`, such as `logs_acme_*`, matches one of `acme-corp`.
"""

import re
import secrets
from datetime import UTC, datetime
from enum import StrEnum
from typing import Final, NamedTuple

# MongoDB collections of the installation.
TENANTS: Final = "tenants"
SPACES: Final = "spaces"
KEYS: Final = "keys"
QUEUE_KEYS: Final = "queue_keys"
QUEUE_KEY_USE: Final = "queue_key_use"
COUNTERS: Final = "counters"
DEAD_LETTERS: Final = "dead_letters"
JOBS: Final = "jobs"
HOLDS: Final = "holds"
TENANT_STATUS: Final = "tenant_status"
PROBES: Final = "probes"
INSTALLATION: Final = "installation"

#: The space that all tenants of the Shared tier have in common.
SHARED_SPACE: Final = "logs_shared"

TENANT_ID: Final = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,38}[a-z0-9])?")
UID: Final = re.compile(r"[0-9a-f]{16}")
RESERVED_TENANT_IDS: Final = frozenset(
    {"shared", "system", "ocelot", "admin", "all", "default", "internal", "tenants"}
)


class Period(StrEnum):
    """How much time one index holds."""

    MONTH = "Month"
    QUARTER = "Quarter"
    YEAR = "Year"


class PeriodRange(NamedTuple):
    """A calendar period in UTC: [start, end), and its label, `2026-11`, `2026-Q4` or `2026`."""

    start: datetime
    end: datetime
    label: str


def check_tenant_id(tenant_id: str) -> None:
    """Refuse what can't be a tenant's id.

    Raises:
        ValueError: with the reason.
    """
    if not TENANT_ID.fullmatch(tenant_id):
        raise ValueError(
            "A tenant id must have 1 to 40 of the characters a-z, 0-9 and '-', and must not begin"
            f" or end with '-', got {tenant_id!r}."
        )
    if tenant_id in RESERVED_TENANT_IDS:
        raise ValueError(f"The tenant id {tenant_id!r} is reserved.")


def new_uid() -> str:
    """16 random lowercase hex characters: the name of one incarnation of a tenant."""
    return secrets.token_hex(8)


def space_name(tenant_id: str, uid: str, *, first: bool) -> str:
    """The space of a Dedicated tenant, which is its collection's and its read alias's name, too.

    A later incarnation of an id gets a name of its own, so that a process with an old snapshot
    can't write into it.
    """
    return f"logs_{tenant_id}" if first else f"logs_{tenant_id}_{uid}"


def period_at(period: Period, moment: datetime) -> PeriodRange:
    """The calendar period that holds `moment`."""
    moment = moment.astimezone(UTC)
    year, month = moment.year, moment.month
    match period:
        case Period.MONTH:
            first, months, label = month, 1, f"{year:04d}-{month:02d}"
        case Period.QUARTER:
            quarter = (month - 1) // 3
            first, months, label = quarter * 3 + 1, 3, f"{year:04d}-Q{quarter + 1}"
        case Period.YEAR:
            first, months, label = 1, 12, f"{year:04d}"
    after = first - 1 + months
    return PeriodRange(
        datetime(year, first, 1, tzinfo=UTC),
        datetime(year + after // 12, after % 12 + 1, 1, tzinfo=UTC),
        label,
    )


def period_alias(space: str, label: str) -> str:
    """The alias under which one period's index is written and searched.

    Index names are lowercase (an OpenSearch rule), so `2026-Q4` becomes `2026-q4`.
    """
    return f"{space}_{label.lower()}"


def index_name(alias: str, generation: int) -> str:
    """The index behind a period's alias; a rebuild makes the next generation."""
    return f"{alias}_{generation:06d}"


def write_alias(index: str) -> str:
    """The alias of one index alone, under which it is written.

    `require_alias` refuses a write to a bare index name, and while a rebuild lasts two indices of a
    period are written, whichever of them the period's alias leads to.
    """
    return f"{index}_w"
