"""etcd, kube-apiserver and kube-controller-manager as processes on the loopback address.

There is no node: nothing runs in this cluster. Custom resources with their validation, RBAC,
ServiceAccount tokens and the garbage collector are the real ones.
"""

import asyncio
import json
import os
import secrets
import ssl
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import httpx
from cryptography.hazmat.primitives import serialization

from ocelot_common.auth.keys import new_signing_key, save_signing_key
from ocelot_devstack.console import Report, say
from ocelot_devstack.kubernetes.programs import KUBERNETES_VERSION, find_programs
from ocelot_devstack.ports import LOOPBACK, free_port
from ocelot_devstack.probes import http_status
from ocelot_devstack.process import ManagedProcess

_START_SEC: Final = 180.0
_STOP_SEC: Final = 10.0
_ISSUER: Final = "https://kubernetes.default.svc"
_CONTROLLERS: Final = (
    "garbage-collector-controller",
    "namespace-controller",
    "serviceaccount-controller",
)
_INHERITED: Final = ("PATH", "HOME", "LANG", "TMPDIR", "TZ")


class ControlPlane:
    """A control plane; an async context manager.

    Args:
        state_dir: gets data, certificates, logs and the kubeconfig.
        cache_dir: has, or gets, the programs.
        port: of the API server; 0 picks a free one.
        report: told what happens.

    Attributes:
        url: of the API server.
        kubeconfig: file of an administrator of the cluster.
        apiserver, etcd, controller_manager: the processes.
        kubectl: the program.
    """

    apiserver: ManagedProcess
    etcd: ManagedProcess
    controller_manager: ManagedProcess
    kubectl: Path

    def __init__(
        self, state_dir: Path, *, cache_dir: Path, port: int = 0, report: Report = say
    ) -> None:
        self._dir = state_dir.resolve() / "kubernetes"
        self._cache_dir = cache_dir
        self._port = port or free_port()
        self._report = report
        self._token = secrets.token_hex(32)
        self.url = f"https://{LOOPBACK}:{self._port}"
        self.kubeconfig = self._dir / "kubeconfig"

    @property
    def version(self) -> str:
        """Return the version of Kubernetes."""
        return KUBERNETES_VERSION

    async def __aenter__(self) -> Self:
        """Start the three processes, one after another.

        Raises:
            DevstackError: one could not be had or did not become ready.
        """
        programs = await find_programs(self._cache_dir, report=self._report)
        self.kubectl = programs["kubectl"]
        await asyncio.to_thread(self._write_files)
        etcd_url = f"http://{LOOPBACK}:{free_port()}"
        self.etcd = self._etcd(programs["etcd"], etcd_url)
        self.apiserver = self._apiserver(programs["kube-apiserver"], etcd_url)
        self.controller_manager = self._controller_manager(programs["kube-controller-manager"])
        try:
            for process in (self.etcd, self.apiserver):
                await process.start()
                await process.wait_ready(_START_SEC)
            await asyncio.to_thread(self._write_kubeconfig, self.kubeconfig, self._token)
            await self.controller_manager.start()
        except BaseException:
            await self._stop()
            raise
        self._report(f"Kubernetes {self.version}: ready at {self.url}")
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stop the processes."""
        await self._stop()

    def http(self, token: str = "") -> httpx.AsyncClient:
        """Return a client of the API server, by default with an administrator's token."""
        return httpx.AsyncClient(
            base_url=self.url,
            verify=ssl.create_default_context(cafile=str(self._ca)),
            headers={"Authorization": f"Bearer {token or self._token}"},
            timeout=60,
            trust_env=False,
        )

    async def write_kubeconfig_of(self, namespace: str, account: str) -> Path:
        """Write a kubeconfig with a token of a ServiceAccount, valid for a day."""
        async with self.http() as client:
            answer = await client.post(
                f"/api/v1/namespaces/{namespace}/serviceaccounts/{account}/token",
                json={"spec": {"expirationSeconds": 86_400}},
            )
        answer.raise_for_status()
        path = self._dir / f"kubeconfig-{namespace}-{account}"
        token = answer.json()["status"]["token"]
        await asyncio.to_thread(self._write_kubeconfig, path, token)
        return path

    @property
    def _ca(self) -> Path:
        # Made by the API server as it starts: its certificate and the CA's.
        return self._dir / "certificates" / "apiserver.crt"

    async def _stop(self) -> None:
        for process in (self.controller_manager, self.apiserver, self.etcd):
            await process.stop()

    def _write_files(self) -> None:
        self._dir.mkdir(parents=True, exist_ok=True)
        self._dir.chmod(0o700)
        private = self._dir / "service-accounts.key"
        if not private.exists():
            key = new_signing_key()
            save_signing_key(key, private)
            public = key.private.public_key().public_bytes(
                serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
            )
            private.with_suffix(".pub").write_bytes(public)
        tokens = self._dir / "tokens.csv"
        tokens.touch(mode=0o600)
        tokens.write_text(f"{self._token},admin,admin,system:masters\n")

    def _write_kubeconfig(self, path: Path, token: str) -> None:
        content: dict[str, Any] = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [
                {
                    "name": "ocelot",
                    "cluster": {"server": self.url, "certificate-authority": str(self._ca)},
                }
            ],
            "users": [{"name": "ocelot", "user": {"token": token}}],
            "contexts": [{"name": "ocelot", "context": {"cluster": "ocelot", "user": "ocelot"}}],
            "current-context": "ocelot",
        }
        path.touch(mode=0o600)
        path.write_text(json.dumps(content, indent=2))  # JSON is YAML

    def _etcd(self, program: Path, url: str) -> ManagedProcess:
        peers = f"http://{LOOPBACK}:{free_port()}"
        argv = [
            str(program),
            f"--data-dir={self._dir / 'etcd'}",
            f"--listen-client-urls={url}",
            f"--advertise-client-urls={url}",
            f"--listen-peer-urls={peers}",
            f"--initial-advertise-peer-urls={peers}",
            f"--initial-cluster=default={peers}",
            "--force-new-cluster",  # the ports differ from run to run
            "--log-level=warn",
        ]

        async def ready() -> bool:
            return await http_status(f"{url}/health") == httpx.codes.OK

        return self._process("etcd", argv, ready=ready)

    def _apiserver(self, program: Path, etcd_url: str) -> ManagedProcess:
        key = self._dir / "service-accounts.key"
        argv = [
            str(program),
            f"--etcd-servers={etcd_url}",
            f"--bind-address={LOOPBACK}",
            f"--secure-port={self._port}",
            f"--cert-dir={self._ca.parent}",
            f"--token-auth-file={self._dir / 'tokens.csv'}",
            "--authorization-mode=RBAC",
            f"--service-account-issuer={_ISSUER}",
            f"--service-account-signing-key-file={key}",
            f"--service-account-key-file={key.with_suffix('.pub')}",
            "--service-cluster-ip-range=10.255.0.0/24",
            "--endpoint-reconciler-type=none",
        ]

        async def ready() -> bool:
            try:
                async with self.http() as client:
                    return (await client.get("/readyz")).status_code == httpx.codes.OK
            except (httpx.HTTPError, OSError):
                return False

        return self._process("kube-apiserver", argv, ready=ready)

    def _controller_manager(self, program: Path) -> ManagedProcess:
        argv = [
            str(program),
            f"--kubeconfig={self.kubeconfig}",
            f"--controllers={','.join(_CONTROLLERS)}",
            "--leader-elect=false",
            "--secure-port=0",
        ]

        async def ready() -> bool:
            return True

        return self._process("kube-controller-manager", argv, ready=ready)

    def _process(self, name: str, argv: list[str], *, ready: Any) -> ManagedProcess:
        env = {each: os.environ[each] for each in _INHERITED if each in os.environ}
        return ManagedProcess(
            name,
            argv,
            env=env,
            log_path=self._dir / "log" / f"{name}.log",
            ready=ready,
            stop_sec=_STOP_SEC,
        )
