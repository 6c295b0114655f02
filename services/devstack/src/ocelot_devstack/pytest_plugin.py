"""Fixtures for tests on real backends: load with `-p ocelot_devstack.pytest_plugin`.

Backends start once a session, the first time a test asks for them, in a directory of their own on
free ports, so that several sessions run side by side. A running backend is used instead where
`MONGODB_URL`, `AWS_ENDPOINT_URL_SQS` or `OPENSEARCH_URL` is set.

A test that needs search is marked `opensearch`. Where OpenSearch cannot run it is skipped with the
reason, or fails if `OCELOT_REQUIRE_BACKENDS=1` or `CI=true`. The same holds for tests marked
`nginx` (a proxy in front of the api), `java` (a client of the api) and `helm` (the chart), which
need that program, and for those marked `kubernetes`: a control plane without a node. Helm and the
control plane are built with Go the first time.
"""

import os
import secrets
import shutil
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Final, NoReturn

import pytest
import pytest_asyncio

from ocelot_devstack.backends import Backend, Backends
from ocelot_devstack.backends.java import find_java
from ocelot_devstack.commands import run_command
from ocelot_devstack.errors import DevstackError
from ocelot_devstack.helm import find_helm
from ocelot_devstack.kubernetes import ControlPlane
from ocelot_devstack.kubernetes.programs import KubernetesMissingError, find_programs
from ocelot_devstack.services import SERVICES, ServiceSpec
from ocelot_devstack.settings import DevSettings
from ocelot_devstack.stack import Stack

MakeInstallation = Callable[..., Awaitable[Stack]]

#: The backends that a fixture brings, for the counts at the end.
_BY_FIXTURE: Final = {
    "backends": (),
    "installation": ("MongoDB", "SQS"),
    "make_installation": ("MongoDB", "SQS"),
    "mongodb_url": ("MongoDB",),
    "opensearch_url": ("OpenSearch",),
    "sqs_endpoint_url": ("SQS",),
    "nginx_program": ("nginx",),
    "java_program": ("Java",),
    "control_plane": ("Kubernetes",),
    "helm_program": ("Helm",),
}
#: Without Java's second compiler, which is still busy when a session's tests are over, OpenSearch
#: starts with half the CPU time and indexes 72,000 events with a seventh less. Slower in the long
#: run.
_SHORT_LIVED_JAVA: Final = "-XX:TieredStopAtLevel=1"
_MARKS: Final = {"mongodb": "MongoDB", "sqs": "SQS", "opensearch": "OpenSearch"}
#: Marks of tests that need a program of this machine, and the fixtures that find it.
_PROGRAMS: Final = {
    "nginx": ("nginx", "nginx_program"),
    "java": ("Java", "java_program"),
    "kubernetes": ("Kubernetes", "control_plane"),
    "helm": ("Helm", "helm_program"),
}
#: Where Debian keeps nginx, off the path of users other than root.
_SYSTEM_PATH: Final = "/usr/local/sbin:/usr/sbin:/sbin"
#: The first with a long-term support in which every client feature of the tests is there.
_JAVA_MAJOR: Final = 17


class _Ledger:
    """What ran, for the summary."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.opensearch_problem: str | None = None
        self.missing_programs: dict[str, str] = {}
        self.uses: dict[str, frozenset[str]] = {}
        self.counts: Counter[tuple[str, str]] = Counter()

    def started(self, backends: Backends) -> None:
        """Note what the session runs on."""
        self.lines = [_describe(backend) for backend in backends.all]
        self.opensearch_problem = backends.opensearch_problem


#: For tests that do not test the time limit of sends. SQS needs less than the default of 1.5 s, but
#: a machine that runs other tests may not give it the time.
PATIENT_SQS_ENV: Final = {"OCELOT_SQS_TIMEOUT_SEC": "15"}
#: Of services in tests: nothing here is cut off from the registry, which they read each second.
SERVICE_ENV: Final = {
    **PATIENT_SQS_ENV,
    "OCELOT_REBUILD_PROPAGATION_SEC": "3",
    "OCELOT_MAINTENANCE_INTERVAL_SEC": "2",
    "OCELOT_PURGE_INTERVAL_SEC": "2",
}

_LEDGER: Final = pytest.StashKey[_Ledger]()


def _describe(backend: Backend) -> str:
    origin = "running already" if backend.process is None else "started here"
    return f"{backend.title} {backend.version} at {backend.url} ({origin})"


def required() -> bool:
    """True where a backend that cannot run is an error: OCELOT_REQUIRE_BACKENDS=1 or CI=true."""
    return any(
        os.environ.get(name, "").lower() in {"1", "true", "yes"}
        for name in ("OCELOT_REQUIRE_BACKENDS", "CI")
    )


def pytest_configure(config: pytest.Config) -> None:
    """Register the marks."""
    config.stash[_LEDGER] = _Ledger()
    for mark, title in _MARKS.items():
        config.addinivalue_line("markers", f"{mark}: runs on a real {title}")
    for mark, (title, _) in _PROGRAMS.items():
        config.addinivalue_line("markers", f"{mark}: needs {title} on this machine")


def pytest_report_header() -> str:
    """Say where the backends will come from."""
    variables = ("MONGODB_URL", "AWS_ENDPOINT_URL_SQS", "OPENSEARCH_URL")
    given = [name for name in variables if os.environ.get(name)]
    return f"ocelot backends: {'running: ' + ', '.join(given) if given else 'own, on free ports'}"


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Make tests marked `opensearch` ask for it, and note who uses which backend."""
    ledger = config.stash[_LEDGER]
    for item in items:
        fixtures: list[str] = getattr(item, "fixturenames", [])
        if item.get_closest_marker("opensearch") and "opensearch_url" not in fixtures:
            fixtures.insert(0, "opensearch_url")
        for mark, (_, fixture) in _PROGRAMS.items():
            if item.get_closest_marker(mark) and fixture not in fixtures:
                fixtures.insert(0, fixture)
        uses = {title for fixture in fixtures for title in _BY_FIXTURE.get(fixture, ())}
        uses |= {title for mark, title in _MARKS.items() if item.get_closest_marker(mark)}
        uses |= {title for mark, (title, _) in _PROGRAMS.items() if item.get_closest_marker(mark)}
        ledger.uses[item.nodeid] = frozenset(uses)


class _Counting:
    def __init__(self, ledger: _Ledger) -> None:
        self._ledger = ledger

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when == "call" or report.outcome != "passed":
            for title in self._ledger.uses.get(report.nodeid, ()):
                self._ledger.counts[title, report.outcome] += 1


def pytest_sessionstart(session: pytest.Session) -> None:
    """Count results by backend."""
    session.config.pluginmanager.register(_Counting(session.config.stash[_LEDGER]))


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """Print the backends that ran, and the tests by backend."""
    ledger = config.stash[_LEDGER]
    if not ledger.lines and not ledger.missing_programs:
        return
    terminalreporter.section("real backends")
    for line in ledger.lines:
        terminalreporter.write_line(line)
    if ledger.opensearch_problem is not None:
        terminalreporter.write_line(f"OpenSearch is not available: {ledger.opensearch_problem}")
    for title, reason in ledger.missing_programs.items():
        terminalreporter.write_line(f"{title} is not available: {reason}")
    counted = {title for title, _ in ledger.counts}
    programs = [title for title, _ in _PROGRAMS.values() if title in counted]
    for title in (*_MARKS.values(), *programs):
        outcomes = {o: n for (t, o), n in sorted(ledger.counts.items()) if t == title}
        listed = ", ".join(f"{number} {outcome}" for outcome, number in outcomes.items())
        terminalreporter.write_line(f"tests on {title}: {listed or 'none'}")


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def backends(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Backends]:
    """The session's backends."""
    settings = dev_settings(tmp_path_factory.mktemp("backends")).model_copy(
        update={"opensearch_java_options": _SHORT_LIVED_JAVA}
    )
    reporter = request.config.pluginmanager.get_plugin("terminalreporter")
    lines: list[str] = []
    async with Backends(settings, report=lines.append) as started:
        request.config.stash[_LEDGER].started(started)
        if reporter is not None and request.config.get_verbosity() > 0:
            reporter.write_line("")
            for line in lines:
                reporter.write_line(line)
        yield started


@pytest.fixture(scope="session")
def mongodb_url(backends: Backends) -> str:
    """Of the session's replica set."""
    return backends.mongodb.url


@pytest.fixture(scope="session")
def sqs_endpoint_url(backends: Backends) -> str:
    """Of the session's SQS."""
    return backends.sqs.url


@pytest.fixture(scope="session")
def opensearch_url(backends: Backends) -> str:
    """Of the session's OpenSearch; skips the test, or fails it, where there is none."""
    if backends.opensearch is None:
        reason = f"OpenSearch is not available: {backends.opensearch_problem}"
        if required():
            pytest.fail(reason, pytrace=False)
        pytest.skip(reason)
    return backends.opensearch.url


def _without(request: pytest.FixtureRequest, title: str, reason: str) -> NoReturn:
    """Skip a test that lacks a program, or fail it, and name the program in the summary."""
    request.config.stash[_LEDGER].missing_programs[title] = reason
    if required():
        pytest.fail(f"{title} is not available: {reason}", pytrace=False)
    pytest.skip(f"{title} is not available: {reason}")


@pytest.fixture(scope="session")
def nginx_program(request: pytest.FixtureRequest) -> str:
    """The path of nginx; skips the test, or fails it, where there is none."""
    path = os.pathsep.join((os.environ.get("PATH", os.defpath), _SYSTEM_PATH))
    program = shutil.which("nginx", path=path)
    if program is None:
        _without(request, "nginx", "no nginx on the path: install the package nginx")
    return program


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def java_program(request: pytest.FixtureRequest) -> str:
    """The path of a Java that runs source files; skips the test, or fails it, where there is none.

    A runtime without compiler can't run a source file (JEP 330).
    """
    java = await find_java(_JAVA_MAJOR)
    if java is None:
        _without(request, "Java", f"no Java {_JAVA_MAJOR} or later: install a JDK")
    program = str(java.program)
    modules = await run_command(
        [program, "--list-modules"], what=f"{program} --list-modules", cwd=Path()
    )
    if "jdk.compiler" not in modules:
        _without(request, "Java", f"{program} has no compiler: install a JDK, not a runtime alone")
    return program


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def control_plane(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[ControlPlane]:
    """A Kubernetes control plane of the session; skips the test, or fails it, where it cannot be.

    The first time on a machine, it is built, which takes minutes: the line on the terminal says so.
    """
    reporter = request.config.pluginmanager.get_plugin("terminalreporter")

    def report(line: str) -> None:
        if reporter is not None:
            reporter.write_line(f"\n{line}")

    state_dir = tmp_path_factory.mktemp("kubernetes")
    settings = dev_settings(state_dir)
    try:
        await find_programs(settings.cache_dir, report=report)
    except KubernetesMissingError as error:
        _without(request, "Kubernetes", str(error))
    async with ControlPlane(
        state_dir, cache_dir=settings.cache_dir, report=lambda _: None
    ) as started:
        yield started


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def helm_program(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> str:
    """The path of Helm, built if need be; skips the test, or fails it, where that is impossible."""
    settings = dev_settings(tmp_path_factory.mktemp("helm"))
    reporter = request.config.pluginmanager.get_plugin("terminalreporter")

    def report(line: str) -> None:
        if reporter is not None:
            reporter.write_line(f"\n{line}")

    try:
        return str(await find_helm(settings.cache_dir, report))
    except DevstackError as error:
        _without(request, "Helm", str(error))


@pytest_asyncio.fixture(loop_scope="session")
async def make_installation(backends: Backends, tmp_path: Path) -> AsyncIterator[MakeInstallation]:
    """A function that makes installations of their own on the session's backends.

    It takes `services=` to run others than Ocelot's. Services are stopped, and databases and
    queues removed, at the test's end.
    """
    async with AsyncExitStack() as cleanup:

        async def make(*, services: Sequence[ServiceSpec] = SERVICES) -> Stack:
            name = secrets.token_hex(4)
            settings = dev_settings(tmp_path / name)
            stack = Stack(
                settings,
                backends=backends,
                name=name,
                services=services,
                env=SERVICE_ENV,
                report=lambda _: None,
            )
            await cleanup.enter_async_context(stack)
            cleanup.push_async_callback(stack.remove)
            cleanup.push_async_callback(stack.stop_services)
            return stack

        yield make


@pytest_asyncio.fixture(loop_scope="session")
async def installation(make_installation: MakeInstallation) -> Stack:
    """One installation of its own on the session's backends; no service runs yet."""
    return await make_installation()


def dev_settings(state_dir: Path) -> DevSettings:
    """Settings for a test: free ports everywhere, state in its directory."""
    return DevSettings(
        api_port=0,
        api_probes_port=0,
        mongodb_port=0,
        sqs_port=0,
        opensearch_port=0,
        consumer_probes_port=0,
        indexer_probes_port=0,
        jobs_probes_port=0,
        state_dir=state_dir,
    )
