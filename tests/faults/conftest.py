"""The fault harness (docs/operations/guarantees.md).

`make test` runs the quick part. `make faults ROUNDS=30` runs everything at its full size, on
services exactly as they ship; `SEED=…` repeats one round of it.
"""

import os
import random
from collections.abc import AsyncIterator, Generator
from typing import Final

import pytest
import pytest_asyncio

from faultkit.harness import Access, Harness, open_harness
from faultkit.large import LARGE_NUMBER, large_events, post_events
from ocelot_devstack.backends import Backends

_NOTES: Final = pytest.StashKey[list[str]]()
_HARNESS: Final = pytest.StashKey[Harness]()
_LOG_LINES: Final = 30
_QUICK_ROUNDS: Final = 1


def rounds() -> int | None:
    """How many rounds the long part runs; None for the quick part."""
    text = os.environ.get("OCELOT_FAULTS_ROUNDS", "")
    return int(text) if text else None


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_NOTES] = []
    config.addinivalue_line("markers", "long: only in `make faults`")
    config.addinivalue_line("markers", "one_round: one seed, in the long part one for five rounds")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "seed" not in metafunc.fixturenames:
        return
    number = rounds() or _QUICK_ROUNDS
    if metafunc.definition.get_closest_marker("one_round"):
        number = max(1, (rounds() or 1) // 5)
    given = os.environ.get("OCELOT_FAULTS_SEED", "")
    seeds = [int(given)] if given else random.SystemRandom().sample(range(10**6), number)
    metafunc.parametrize("seed", seeds, ids=[f"seed{seed}" for seed in seeds])


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if rounds() is not None:
        return
    long = [item for item in items if item.get_closest_marker("long")]
    if long:
        items[:] = [item for item in items if item not in long]
        config.hook.pytest_deselected(items=long)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show the ends of the services' logs below a failure: a process may have ended by itself."""
    report = yield
    harness = item.config.stash.get(_HARNESS, None)
    if report.failed and harness is not None:
        for process in harness.stack.services:
            title = f"{process.name} (exit status {process.returncode})"
            report.sections.append((title, process.log_tail(_LOG_LINES)))
    return report


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    if notes := config.stash[_NOTES]:
        terminalreporter.section("faults")
        for note in notes:
            terminalreporter.write_line(note)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def harness(
    request: pytest.FixtureRequest,
    backends: Backends,
    opensearch_url: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> AsyncIterator[Harness]:
    """One installation for the session, every backend behind a proxy."""
    del opensearch_url  # asked for so that a missing OpenSearch skips or fails by name
    async with open_harness(
        backends,
        tmp_path_factory.mktemp("faults"),
        long=rounds() is not None,
        notes=request.config.stash[_NOTES],
    ) as opened:
        request.config.stash[_HARNESS] = opened
        yield opened
    del request.config.stash[_HARNESS]


@pytest_asyncio.fixture(loop_scope="session")
async def faults(harness: Harness) -> AsyncIterator[Harness]:
    """The harness; every fault is ended afterwards, and no service ended by itself meanwhile."""
    yield harness
    ended = [each.obituary() for each in harness.stack.services if each.wanted and not each.running]
    await harness.restore()
    assert not ended, "\n".join(ended)


@pytest_asyncio.fixture(loop_scope="session")
async def api_as_it_ships(harness: Harness) -> AsyncIterator[None]:
    """The installation's api gives SQS 1.5 s, as it ships, and not as long as in other tests."""
    async with harness.environment("api", OCELOT_SQS_TIMEOUT_SEC="1.5"):
        yield


@pytest_asyncio.fixture(loop_scope="session")
async def tenants(harness: Harness) -> AsyncIterator[list[Access]]:
    """Four new tenants; purged afterwards, so that thirty rounds fit one installation."""
    made = await harness.tenants()
    yield made
    await harness.restore()
    for access in made:
        await harness.maker.provisioner.delete(access.tenant.id, owner="cli", now=True)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def large(harness: Harness) -> AsyncIterator[Access]:
    """A tenant of 500 large events, both stored and indexed."""
    access = await harness.tenant()
    await post_events(harness, access, large_events(1, LARGE_NUMBER))
    yield access
    await harness.maker.provisioner.delete(access.tenant.id, owner="cli", now=True)


@pytest_asyncio.fixture(loop_scope="session")
async def small(faults: Harness) -> AsyncIterator[Access]:
    """Another tenant, with a few events."""
    access = await faults.tenant()
    events = [{"action": "small", "actor": {"id": f"u{number}"}} for number in range(20)]
    await post_events(faults, access, events)
    yield access
    await faults.maker.provisioner.delete(access.tenant.id, owner="cli", now=True)


@pytest.fixture
def rng(seed: int) -> random.Random:
    """The round's randomness."""
    return random.Random(seed)
