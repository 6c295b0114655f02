from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import bson
import msgspec
import pytest
from bson.codec_options import CodecOptions
from hypothesis import given
from hypothesis import strategies as st

from ocelot_common.names import Period
from ocelot_common.registry.model import (
    IndexRange,
    Isolation,
    KeyState,
    PendingRetention,
    Placement,
    ResourceOwner,
    Space,
    Tenant,
    TenantState,
    VerificationKey,
)
from ocelot_common.registry.store import to_document, to_row

CODEC: CodecOptions[dict[str, Any]] = CodecOptions(tz_aware=True)
AT = datetime(2026, 11, 24, 12, 0, 0, 123_000, tzinfo=UTC)

text = st.text(st.characters(codec="utf-8"), max_size=10)
# MongoDB keeps milliseconds.
moments = st.integers(-(10**12), 10**13).map(lambda ms: datetime.fromtimestamp(ms // 1000, UTC))
owners = text | st.builds(
    ResourceOwner, kind=text, cluster=text, namespace=text, name=text, uid=text
)
tenants = st.builds(
    Tenant,
    uid=text,
    id=text,
    version=st.integers(0, 2**40),
    display_name=text,
    owner=owners,
    isolation=st.sampled_from(Isolation),
    state=st.sampled_from(TenantState),
    space=text,
    placement=st.builds(Placement, store=text),
    retention_days=st.none() | st.integers(0, 10_000),
    pending_retention=st.none()
    | st.builds(PendingRetention, days=st.integers(1, 10_000), effective_at=moments),
    purged_before=st.none() | moments,
    not_before=st.none() | moments,
    created_at=moments,
)
ranges = st.builds(
    IndexRange, start=moments, end=moments, alias=text, index=text, building=st.booleans()
)
spaces = st.builds(
    Space,
    name=text,
    version=st.integers(0, 2**40),
    key=text,
    collection=text,
    search_enabled=st.booleans(),
    alias=text,
    period=st.sampled_from(Period),
    indices=st.lists(ranges, max_size=3),
    retired=st.booleans(),
)
keys = st.builds(
    VerificationKey,
    kid=text,
    version=st.integers(0, 2**40),
    alg=text,
    jwk=st.dictionaries(text.filter(lambda name: "\0" not in name), text),
    state=st.sampled_from(KeyState),
    published_at=moments,
)


@given(tenants | spaces | keys, st.integers(1, 2**40))
def test_a_row_survives_mongodb_with_the_version_of_its_write(
    row: Tenant | Space | VerificationKey, version: int
) -> None:
    document = bson.decode(bson.encode(to_document(row, version)), CODEC)
    expected = msgspec.structs.replace(row, version=version)
    kind: type[Any] = type(row)
    assert to_row(kind, document) == expected


def test_a_document_has_the_names_of_design_8(make_tenant: Callable[..., Tenant]) -> None:
    document = to_document(make_tenant(), 7)
    assert document["_id"] == "0123456789abcdef"
    assert document["version"] == 7
    assert (document["state"], document["isolation"]) == ("Active", "Dedicated")
    space = Space(
        name="logs_acme", version=0, key="k", collection="c", search_enabled=True, alias="a",
        indices=[IndexRange(start=AT, end=AT, alias="a", index="i")],
    )  # fmt: skip
    assert to_document(space, 8)["indices"] == [
        {"from": AT, "to": AT, "alias": "a", "index": "i", "beside": None, "building": False}
    ]


@pytest.mark.parametrize("state", TenantState)
def test_only_live_incarnations_claim_their_id(
    make_tenant: Callable[..., Tenant], state: TenantState
) -> None:
    """The unique index on live ids looks at this field."""
    document = to_document(make_tenant(state=state), 1)
    assert document["live"] is (state is not TenantState.DELETED)


def test_fields_of_a_newer_release_are_passed_over(make_tenant: Callable[..., Tenant]) -> None:
    document = to_document(make_tenant(), 1) | {"quota": {"events": 1}}
    assert to_row(Tenant, document) == make_tenant()
