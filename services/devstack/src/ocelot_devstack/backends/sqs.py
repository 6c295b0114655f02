"""SQS by LocalStack, in an environment of its own."""

from pathlib import Path
from typing import Any, ClassVar, Final
from urllib.parse import urlsplit

import httpx

from ocelot_common.queue.moving import GROUP
from ocelot_common.queue.sending import Outgoing
from ocelot_devstack.backends.backend import Backend
from ocelot_devstack.cache import install_once
from ocelot_devstack.commands import run_command
from ocelot_devstack.errors import DevstackError
from ocelot_devstack.ports import free_port
from ocelot_devstack.probes import http_json, http_status
from ocelot_devstack.process import ManagedProcess
from ocelot_devstack.uv_tool import find_uv

_VERSION: Final = "4.9.2"
_REQUIREMENT: Final = f"localstack-core[runtime]=={_VERSION}"
_EXCLUDE_NEWER: Final = "2025-10-25"  # later releases of its dependencies break it
_PYTHON: Final = "3.11"
#: For an answer with hundreds of megabytes.
_ALL_MESSAGES_SEC: Final = 300.0


class Sqs(Backend):
    """LocalStack with SQS alone. Its queues are gone when it ends."""

    title: ClassVar[str] = "SQS"

    def running_at(self) -> str | None:
        """The value of AWS_ENDPOINT_URL_SQS."""
        return self.settings.sqs_endpoint_url

    async def check_running(self, url: str) -> None:
        """Any HTTP answer will do: not every SQS has LocalStack's health page.

        But that is asked first, since LocalStack's other pages take seconds the first time.
        """
        await self._ask_version()
        if not self.version and await http_status(url, timeout_sec=5) is None:
            raise DevstackError(f"AWS_ENDPOINT_URL_SQS is set, but {url} does not answer.")

    async def obtain(self) -> Path:
        """Return LocalStack's folder."""
        return await install_once(self.settings.cache_dir, f"localstack-{_VERSION}", self._install)

    async def launch(self) -> ManagedProcess:
        """Hypercorn, because the default server ignores the address and listens on all."""
        home = await self.obtain()
        port = self.settings.sqs_port or free_port()
        scratch = self.settings.state_dir.resolve() / "sqs"
        scratch.mkdir(parents=True, exist_ok=True)
        address = f"{self.settings.backends_host}:{port}"
        self.url = f"http://{address}"
        env = {
            "SERVICES": "sqs",
            "EAGER_SERVICE_LOADING": "1",
            "GATEWAY_SERVER": "hypercorn",
            "GATEWAY_LISTEN": address,
            # Without these it calls out, starts a DNS server and writes to /var/lib.
            "SKIP_SSL_CERT_DOWNLOAD": "1",
            "DNS_ADDRESS": "0",
            "DISABLE_EVENTS": "1",
            "OVERRIDE_IN_DOCKER": "0",
            "FILESYSTEM_ROOT": str(scratch),
        }
        argv = [str(home / "venv" / "bin" / "python"), "-m", "localstack.runtime.main"]
        return self.child(argv, ready=self._is_up, env=env, stop_sec=5)

    async def started(self) -> None:
        """Ask for the version."""
        await self._ask_version()

    async def messages(self, queue_url: str) -> list[Outgoing]:
        """Return every message of a queue as it was sent, also invisible and delayed ones.

        It uses LocalStack's own page for that, which receives nothing: the messages in the hands of
        a process that was killed would be invisible for a minute.

        Args:
            queue_url: of the queue.

        Raises:
            httpx.HTTPError: it does not answer.
            ValueError, KeyError: its answer has another form.
        """
        account, name = urlsplit(queue_url).path.strip("/").split("/")[-2:]
        region = self.settings.aws_env()["AWS_REGION"]
        async with httpx.AsyncClient(trust_env=False, timeout=_ALL_MESSAGES_SEC) as client:
            answer = await client.get(
                f"{self.url}/_aws/sqs/messages/{region}/{account}/{name}",
                params={"ShowInvisible": "true", "ShowDelayed": "true"},
                headers={"Content-Type": "application/x-amz-json-1.0"},
            )
        found = answer.raise_for_status().json().get("Messages") or []
        # One that becomes visible just then may be shown twice.
        return list({raw["MessageId"]: _as_sent(raw) for raw in found}.values())

    async def _is_up(self) -> bool:
        health = await http_json(f"{self.url}/_localstack/health")
        return health is not None and health.get("services", {}).get("sqs") in (
            "available",
            "running",
        )

    async def _ask_version(self) -> None:
        health = await http_json(f"{self.url}/_localstack/health")
        self.version = "" if health is None else f"(LocalStack {health.get('version', '?')})"

    async def _install(self, into: Path) -> None:
        self.report(f"{self.title}: installing LocalStack {_VERSION}, 310 MB, only once")
        uv, venv = find_uv(), into / "venv"
        await run_command(
            [uv, "venv", "--no-project", "--relocatable", "--python", _PYTHON, str(venv)],
            what="creating LocalStack's virtual environment",
            cwd=into,
        )
        install = ("--python", str(venv / "bin" / "python"), "--exclude-newer", _EXCLUDE_NEWER)
        await run_command(
            [uv, "pip", "install", *install, _REQUIREMENT],
            what=f"installing {_REQUIREMENT}",
            cwd=into,
        )


def _as_sent(raw: dict[str, Any]) -> Outgoing:
    attributes = {
        name: str(value["StringValue"])
        for name, value in raw.get("MessageAttributes", {}).items()
        if value.get("StringValue")
    }
    return Outgoing(raw["Body"], raw["Attributes"].get("MessageGroupId") or GROUP, attributes)
