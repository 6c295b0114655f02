"""The registry's documents as structs; field names are those of the MongoDB documents."""

from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Final, NamedTuple

import msgspec
from msgspec import field

from ocelot_common.names import Period, write_alias
from ocelot_common.timestamps import now_ms, to_ms

_DAY_MS: Final = 24 * 3600 * 1000


class Isolation(StrEnum):
    """Dedicated: own collection and indices. Shared: one of each for many small tenants."""

    DEDICATED = "Dedicated"
    SHARED = "Shared"


class TenantState(StrEnum):
    """A tenant's life. Deleted is a tombstone that stays for ever."""

    ACTIVE = "Active"
    SUSPENDED = "Suspended"
    DELETING = "Deleting"
    DELETED = "Deleted"
    ORPHANED = "Orphaned"


class KeyState(StrEnum):
    """Active keys verify. Revoked ones refuse everything that they signed."""

    ACTIVE = "Active"
    REVOKED = "Revoked"


class QueueKeyState(StrEnum):
    """Active keys sign. Retired and lost keys do not, and nobody waits for them."""

    ACTIVE = "Active"
    RETIRED = "Retired"
    LOST = "Lost"


class Placement(msgspec.Struct, frozen=True):
    """Which backend of each kind holds the tenant; one of each for now."""

    store: str = "default"
    search: str = "default"
    queue: str = "default"


class ResourceOwner(msgspec.Struct, frozen=True, kw_only=True):
    """A Kubernetes resource that owns a tenant.

    Attributes:
        kind: of the resource, `Tenant`.
        cluster: names the cluster; by default the uid of its namespace `kube-system`.
        namespace, name: of the resource.
        uid: of the resource. It changes when the resource is deleted and made again.
    """

    kind: str
    cluster: str
    namespace: str
    name: str
    uid: str

    def __str__(self) -> str:
        """Name the resource for people, and for the option `--owner`: all but its uid."""
        return f"{self.kind}/{self.cluster}/{self.namespace}/{self.name}"


#: Who may change a tenant: `cli` or another text that a person chose, or a Kubernetes resource.
Owner = str | ResourceOwner


def is_owner(recorded: Owner, asking: Owner) -> bool:
    """Return whether `asking` may change what belongs to `recorded`.

    A resource that was deleted and made again under its name in its cluster is the same owner. A
    person is the owner who gives the owner's text.
    """
    if isinstance(recorded, ResourceOwner) and isinstance(asking, ResourceOwner):
        return msgspec.structs.replace(recorded, uid=asking.uid) == asking
    if isinstance(asking, ResourceOwner):
        return False  # a person can choose any text
    return str(recorded) == asking


class PendingRetention(msgspec.Struct, frozen=True, kw_only=True):
    """A shorter retention that is announced and not yet in force: a typo can be corrected.

    Attributes:
        days: of the retention.
        effective_at: when it takes effect.
    """

    days: int
    effective_at: datetime


class Tenant(msgspec.Struct, frozen=True, kw_only=True):
    """One incarnation of a tenant.

    Attributes:
        uid: names the incarnation, never reused.
        id: the name that people use; of all incarnations with one id, one is not Deleted.
        version: of the registry when this document was written; grows.
        owner: who may change or recreate it.
        space: where its events live.
        retention_days: age at which events end, by `received_at`; None keeps them.
        pending_retention: replaces `retention_days` from its time on.
        purged_before: events received before this moment are gone, whatever their age.
        not_before: tokens issued before this moment are refused.
        purge_after: when a tenant in state Deleting loses its data.
        purged_at: when a Deleted tenant's data was removed; None while that is under way.
    """

    uid: str = field(name="_id")
    id: str
    version: int
    display_name: str
    owner: Owner
    isolation: Isolation
    state: TenantState
    space: str
    placement: Placement = Placement()
    retention_days: int | None = None
    pending_retention: PendingRetention | None = None
    purged_before: datetime | None = None
    max_event_bytes: int | None = None
    not_before: datetime | None = None
    purge_after: datetime | None = None
    purged_at: datetime | None = None
    created_at: datetime

    @property
    def live(self) -> bool:
        """Whether this is the id's present incarnation."""
        return self.state is not TenantState.DELETED

    @property
    def shared(self) -> bool:
        """Whether other tenants live in the same collection and indices."""
        return self.isolation is Isolation.SHARED

    def cutoff_ms(self, now: int | None = None) -> int:
        """Events received before this time (milliseconds since the epoch) are gone (design §9)."""
        if now is None:
            now = now_ms()
        cutoff = to_ms(self.purged_before) if self.purged_before else 0
        days = self.retention_days_at(now)
        return cutoff if days is None else max(cutoff, now - days * _DAY_MS)

    def retention_days_at(self, now: int) -> int | None:
        """The retention in force at a time (milliseconds since the epoch); None: events are kept.

        It follows from the document and the time alone, so it changes in all processes at once.
        """
        pending = self.pending_retention
        if pending is not None and to_ms(pending.effective_at) <= now:
            return pending.days
        return self.retention_days

    def with_retention(self, days: int | None, *, now: datetime, delay: timedelta) -> "Tenant":
        """This tenant with another retention, which takes effect later if it is shorter.

        Args:
            days: of the retention; None keeps events for ever.
            now: the time, aware.
            delay: until a shorter retention takes effect. One that is asked for again keeps its
                time; a longer one takes effect at once and ends what is pending.
        """
        present = self.retention_days_at(to_ms(now))
        if days == present or days is None or (present is not None and days > present):
            return msgspec.structs.replace(self, retention_days=days, pending_retention=None)
        pending = self.pending_retention
        if pending is None or pending.days != days:
            pending = PendingRetention(days=days, effective_at=now + delay)
        return msgspec.structs.replace(self, retention_days=present, pending_retention=pending)


class IndexRange(msgspec.Struct, frozen=True, kw_only=True):
    """One period's index: holds the events with `received_at` in [start, end).

    Attributes:
        alias: under which people find it.
        index: the index behind the alias, which is searched.
        beside: a second index that is written, too: the next one while a rebuild fills it, the one
            before for as long as a process may still search it.
        building: made while events of its range were stored already, so it may lack some; searches
            of its range go to MongoDB until a rebuild.
    """

    start: datetime = field(name="from")
    end: datetime = field(name="to")
    alias: str
    index: str
    beside: str | None = None
    building: bool = False

    def covers(self, moment: datetime) -> bool:
        """Whether events received at `moment` belong here."""
        return self.start <= moment < self.end

    @property
    def written(self) -> tuple[str, ...]:
        """The indices that hold this range: the one that is searched first."""
        return (self.index,) if self.beside is None else (self.index, self.beside)

    @property
    def write_aliases(self) -> tuple[str, ...]:
        """The aliases under which these are written."""
        return tuple(map(write_alias, self.written))


class RetiredIndex(msgspec.Struct, frozen=True, kw_only=True):
    """An index that a rebuild replaced; kept until `drop_after`, should people want it back."""

    index: str
    drop_after: datetime


class Space(msgspec.Struct, frozen=True, kw_only=True):
    """A place for events: one MongoDB collection and, with search on, a family of indices.

    A Dedicated tenant has a space of its own; all Shared tenants have one together. A `retired`
    space was purged with its tenant: nothing is made in it any more.

    Attributes:
        key: random; stands in every index of the space too, so that installations which share an
            OpenSearch notice that they would share an index.
        alias: the read alias, and what the names of its indices begin with.
        replicas: of each index; None: one where there is more than one data node, else none.
    """

    name: str = field(name="_id")
    version: int
    key: str
    collection: str
    search_enabled: bool
    alias: str
    period: Period = Period.MONTH
    shards: int = 1
    replicas: int | None = None
    indices: list[IndexRange] = []
    retired_indices: list[RetiredIndex] = []
    retired: bool = False

    def range_at(self, moment: datetime) -> IndexRange | None:
        """The index range that covers `moment`, if it has been made."""
        return next((entry for entry in self.indices if entry.covers(moment)), None)

    def with_range(self, changed: IndexRange) -> "Space":
        """This space with a range in place of the one of the same start."""
        others = [entry for entry in self.indices if entry.start != changed.start]
        ranges = sorted([*others, changed], key=lambda entry: entry.start)
        return msgspec.structs.replace(self, indices=ranges)

    def with_retired(self, index: str, drop_after: datetime) -> "Space":
        """This space with an index to be dropped."""
        retired = RetiredIndex(index=index, drop_after=drop_after)
        return msgspec.structs.replace(self, retired_indices=[*self.retired_indices, retired])


class Home(NamedTuple):
    """A tenant and the space in which its events live."""

    tenant: Tenant
    space: Space


class VerificationKey(msgspec.Struct, frozen=True, kw_only=True):
    """A public key (JWK, RFC 7517) whose tokens are taken."""

    kid: str = field(name="_id")
    version: int
    alg: str
    jwk: dict[str, Any]
    state: KeyState = KeyState.ACTIVE
    published_at: datetime


class QueueKeyRow(msgspec.Struct, frozen=True, kw_only=True):
    """What the registry knows of a key that signs queue messages; never the key itself.

    Attributes:
        sha256: of the key's 32 bytes, in hex.
    """

    kid: str = field(name="_id")
    version: int
    sha256: str
    state: QueueKeyState = QueueKeyState.ACTIVE
    created_at: datetime
