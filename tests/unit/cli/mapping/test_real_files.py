"""Every real event that stands beside the checkout becomes a valid Ocelot event."""

import gzip
import time
from collections import Counter
from pathlib import Path
from typing import Any

import msgspec
import pytest

from ocelot_cli.mapping import UnmappableEvent, load_mapping
from ocelot_common.event import accept_event
from ocelot_common.event_limits import EventLimits

DATA = Path(__file__).parents[5] / "shared" / "data"
pytestmark = [
    pytest.mark.costly,
    pytest.mark.skipif(
        not DATA.is_dir(), reason="the real audit logs (../shared/data) are not beside the checkout"
    ),
]
NOW_MS = int(time.time() * 1000)
NOT_CLOUDTRAIL = "not a CloudTrail record (because !eventName && !eventSource)"
#: 82,000 events in a minute would be 730 µs each; 40 to 100 µs were measured.
BUDGET_US = 400


def _events(file: str) -> list[dict[str, Any]]:
    with gzip.open(DATA / f"{file}.ndjson.gz") as lines:
        return [msgspec.json.decode(line) for line in lines]


@pytest.mark.parametrize(
    ("mapping", "file", "mapped", "refused"),
    [
        ("cloudtrail", "cloudtrail-invictus", 1892, {}),
        ("cloudtrail", "cloudtrail-stratus", 261, {}),
        ("cloudtrail", "cloudtrail-otrf", 63, {}),
        ("cloudtrail", "cloudtrail-plaso", 6, {}),
        # EventBridge carries findings and schedules of other services as well.
        ("cloudtrail", "eventbridge-cloudtrail-custodian", 12, {NOT_CLOUDTRAIL: 6}),
        ("kubernetes", "kubernetes-audit-immudb", 2000, {}),
        ("kubernetes", "kubernetes-audit-falco", 33, {}),
        ("okta", "okta-cribl", 66, {}),
        ("windows-security", "windows-security-otrf", 72_533, {}),
        ("windows-security", "windows-powershell-otrf", 3_619, {}),
        ("github-webhook", "github-webhooks-octokit", 175, {}),
    ],
)
def test_every_event_is_mapped_and_valid(
    mapping: str, file: str, mapped: int, refused: dict[str, int]
) -> None:
    loaded = load_mapping(mapping)
    limits = EventLimits()
    events = _events(file)
    reasons: Counter[str] = Counter()
    valid = 0
    mapping_s = 0.0
    for foreign in events:
        begun = time.process_time()
        try:
            event = loaded.apply(foreign)
            loaded.natural_id(foreign)
        except UnmappableEvent as error:
            reasons[error.reason] += 1
            continue
        finally:
            mapping_s += time.process_time() - begun
        accept_event(msgspec.json.encode(event), now_ms=NOW_MS, limits=limits)
        assert event["metadata"] is foreign
        valid += 1
    assert (valid, dict(reasons)) == (mapped, refused)
    if len(events) > 1000:
        assert mapping_s / len(events) * 1e6 < BUDGET_US


@pytest.mark.parametrize(
    ("mapping", "file", "distinct", "without"),
    [
        ("kubernetes", "kubernetes-audit-immudb", 2000, 0),
        ("windows-security", "windows-security-otrf", 48_576, 23_939),
        ("cloudtrail", "cloudtrail-invictus", 1892, 0),
    ],
)
def test_natural_ids(mapping: str, file: str, distinct: int, without: int) -> None:
    loaded = load_mapping(mapping)
    ids = [loaded.natural_id(event) for event in _events(file)]
    assert len({found for found in ids if found is not None}) == distinct
    assert ids.count(None) == without


def test_no_windows_event_is_dated_by_its_local_event_time() -> None:
    loaded = load_mapping("windows-security")
    for foreign in _events("windows-security-otrf"):
        written = foreign.get("@timestamp") or foreign["TimeCreated"].replace(" ", "T") + "000Z"
        assert loaded.apply(foreign)["occurred_at"] == written
