"""KEDA scales consumer and indexer from 0 and back, and no event is lost or doubled.

Each test makes one of both queues long, and follows how many replicas KEDA asks for. The indexer
comes first: for five minutes after the test of the consumer, the HorizontalPodAutoscaler would give
a consumer that starts again as many replicas as it had then.
"""

import json
import secrets
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from e2ekit.api import Api
from e2ekit.kubectl import Kubectl
from e2ekit.opensearch_proxy import OpenSearchProxy
from e2ekit.release import NAME, Release
from e2ekit.stores import Stores
from e2ekit.target import Target
from e2ekit.tenants import Account
from e2ekit.waiting import until

#: Limits of a replica. One consumer alone needs more than a minute for BACKLOG.
CPU = {"consumer": "60m", "indexer": "100m"}
BACKLOG = 500_000
EVENTS_PER_REQUEST = 500
CLIENTS = 4
#: Of the test of the indexer: far more than one message of the index queue holds, 4,000.
UNINDEXED = 100_000
#: Events that are written before the consumer has stored those before, less than KEDA's 100
#: messages per replica.
STEP = 5_000
MOST = 3
SCALED_SEC = 600
DRAINED_SEC = 1_800
PAUSED = "autoscaling.keda.sh/paused-replicas"

pytestmark = pytest.mark.timeout(5_400)


@pytest.fixture(scope="module")
def proxy(release: Release, kubectl: Kubectl, target: Target) -> Iterator[OpenSearchProxy]:
    (container,) = release.deployment("api")["spec"]["template"]["spec"]["containers"]
    made = OpenSearchProxy(kubectl, target.opensearch_url, container["image"])
    try:
        made.create()
        yield made
    finally:
        made.delete()


@pytest.fixture(scope="module")
def scaled_to_zero(release: Release, proxy: OpenSearchProxy) -> Iterator[Release]:
    """The release with workers that KEDA has scaled to 0, because their queues are empty."""
    release.wait_ready()
    release.upgrade(
        {
            "opensearch": {"url": proxy.url},
            "keda": {worker: {"minReplicas": 0, "maxReplicas": MOST} for worker in CPU},
            **{
                worker: {"resources": {"requests": {"cpu": "50m"}, "limits": {"cpu": cpu}}}
                for worker, cpu in CPU.items()
            },
        }
    )
    for worker in CPU:
        until_replicas(release, worker, 0)
    yield release
    # While a queue is long, KEDA starts more pods than a small cluster has room for.
    for worker in CPU:
        until_replicas(release, worker, 0)
    release.upgrade()


def test_the_indexer_scales_alone_from_0_to_many_and_back_and_both_stores_are_equal(
    account: Account,
    scaled_to_zero: Release,
    proxy: OpenSearchProxy,
    kubectl: Kubectl,
    stores: Stores,
):
    release = scaled_to_zero
    until_replicas(release, "indexer", 0)
    proxy.stop()
    consumer, indexer = Course(release, "consumer"), Course(release, "indexer")
    try:
        written: list[str] = []
        while len(written) < UNINDEXED:
            written += write(kubectl, account.token, STEP)

            def stored(number: int = len(written)) -> bool:
                consumer.see()
                indexer.see()
                return stores.stored_count(account.id) >= number

            until(stored, what=f"{len(written)} events stored", timeout_sec=DRAINED_SEC, poll_sec=1)
        until_replicas(release, "indexer", MOST, see=indexer.see)
        assert consumer.most == 1
        until_replicas(release, "consumer", 0, see=indexer.see)
        assert stores.indexed_ids(account.id) == []
    finally:
        proxy.start()

    def drained() -> bool:
        assert release.replicas("consumer") == 0
        return indexer.see() == 0

    until(drained, what="indexers at 0 again", timeout_sec=DRAINED_SEC, poll_sec=1)
    assert sorted(stores.indexed_ids(account.id)) == sorted(written), "documents in OpenSearch"
    assert sorted(stores.stored_ids(account.id)) == sorted(written), "events in MongoDB"


def test_the_consumer_scales_from_0_to_many_and_back_and_no_event_is_lost_or_doubled(
    account: Account, scaled_to_zero: Release, kubectl: Kubectl, stores: Stores
):
    release = scaled_to_zero
    # Otherwise it would start with the first message, and there would be no backlog.
    kubectl.run("annotate", "scaledobject", f"{NAME}-consumer", f"{PAUSED}=0", "--overwrite")
    try:
        written = write(kubectl, account.token, BACKLOG)
        assert stores.stored_count(account.id) == 0
    finally:
        kubectl.run("annotate", "scaledobject", f"{NAME}-consumer", f"{PAUSED}-")

    course = Course(release, "consumer")
    rate = Rate()

    def drained() -> bool:
        replicas = course.see()
        if course.most == 0:
            return False
        rate.see(release.ready_replicas("consumer"), stores.stored_count(account.id))
        return replicas == 0

    until(drained, what="consumers at 0 again", timeout_sec=DRAINED_SEC, poll_sec=1)
    rate.tell(BACKLOG)
    assert course.most == MOST
    assert sorted(stores.stored_ids(account.id)) == written, "events in MongoDB"

    until_replicas(release, "indexer", 0)


class Course:
    """The numbers of replicas that a worker was asked to have, one after another.

    Args:
        release: of the worker.
        worker: its component.
    """

    def __init__(self, release: Release, worker: str) -> None:
        self._release = release
        self._worker = worker
        self._began = time.monotonic()
        self._seen: list[int] = []

    @property
    def most(self) -> int:
        return max(self._seen)

    def see(self) -> int:
        """Return the present number; print it if it has changed."""
        replicas = self._release.replicas(self._worker)
        if not self._seen or self._seen[-1] != replicas:
            self._seen.append(replicas)
            print(f"{self._worker}: {replicas} at {time.monotonic() - self._began:.0f} s")
        return replicas


class Rate:
    """How many events one replica stores per second, while it is the only one."""

    def __init__(self) -> None:
        self._alone: list[tuple[float, int]] = []
        self._others = False

    def see(self, ready: int, stored: int) -> None:
        self._others = self._others or ready > 1
        if stored and not self._others:
            self._alone.append((time.monotonic(), stored))

    def tell(self, backlog: int) -> None:
        """Print the rate, and how long one replica alone would have needed for a backlog."""
        (began, first), (ended, last) = self._alone[0], self._alone[-1]
        rate = (last - first) / (ended - began) if last > first else 0
        print(
            f"one replica stored {last - first} events in {ended - began:.1f} s"
            + (f"; it would need {backlog / rate:.0f} s for {backlog}" if rate else "")
        )


def until_replicas(
    release: Release, worker: str, number: int, *, see: Callable[[], object] = lambda: None
) -> None:
    """Wait until KEDA asks for so many replicas, and, if for none, until no pod is left."""

    def reached() -> bool:
        see()
        return release.replicas(worker) == number and (number > 0 or not release.pods(worker))

    what = f"{number} replicas of {worker}"
    until(reached, what=what, timeout_sec=SCALED_SEC, poll_sec=1)


def write(kubectl: Kubectl, token: str, number: int) -> list[str]:
    """Write so many events in bulk requests, by several clients; their ids in order."""
    began = time.monotonic()
    ids = sorted(str(uuid.uuid4()) for _ in range(number))
    with ThreadPoolExecutor(CLIENTS) as clients:
        parts = [clients.submit(_write, kubectl, token, ids[n::CLIENTS]) for n in range(CLIENTS)]
        for part in parts:
            part.result()
    print(f"{number} events written in {time.monotonic() - began:.0f} s")
    return ids


def _write(kubectl: Kubectl, token: str, ids: list[str]) -> None:
    api = Api(kubectl, f"{NAME}-api")
    try:
        for start in range(0, len(ids), EVENTS_PER_REQUEST):
            api.write_lines(token, map(line, ids[start : start + EVENTS_PER_REQUEST]))
    finally:
        api.close()


def line(event_id: str) -> bytes:
    event = {
        "id": event_id,
        "action": "document.read",
        "actor": {"type": "user", "id": f"user-{secrets.randbelow(1_000)}"},
        "targets": [{"type": "document", "id": f"document-{secrets.randbelow(100_000)}"}],
        "outcome": "success",
        "metadata": {
            "path": f"/reports/{secrets.token_hex(16)}",
            "bytes": secrets.randbelow(10**6),
        },
    }
    return json.dumps(event).encode()
