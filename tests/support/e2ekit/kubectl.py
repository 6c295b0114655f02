"""kubectl on the current context, in one namespace."""

import base64
import json
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

from e2ekit.waiting import until

Object = dict[str, Any]

_TIMEOUT_SEC: Final = 180


class Kubectl:
    """Runs kubectl.

    Args:
        namespace: of every command.
    """

    def __init__(self, namespace: str) -> None:
        self.namespace = namespace
        self._program = shutil.which("kubectl") or "kubectl"

    def run(self, *arguments: str, check: bool = True, given: str | None = None) -> str:
        """Return what a command wrote to standard output; `given` is its standard input."""
        ran = subprocess.run(
            [self._program, "--namespace", self.namespace, *arguments],
            input=given,
            capture_output=True,
            text=True,
            check=False,
            timeout=_TIMEOUT_SEC,
        )
        assert ran.returncode == 0 or not check, f"kubectl {' '.join(arguments)}: {ran.stderr}"
        return ran.stdout

    def get(self, kind: str, name: str) -> Object | None:
        """Return an object, None if there is none."""
        text = self.run("get", kind, name, "--ignore-not-found", "--output=json")
        return json.loads(text) if text else None

    def list(self, kind: str, selector: str = "") -> list[Object]:
        """Return all objects of a kind that have these labels."""
        text = self.run("get", kind, f"--selector={selector}", "--output=json")
        items: list[Object] = json.loads(text)["items"]
        return items

    def apply(self, *objects: Object) -> None:
        """Create or change objects."""
        content = {"apiVersion": "v1", "kind": "List", "items": list(objects)}
        self.run("apply", "--filename=-", given=json.dumps(content))

    def patch(self, kind: str, name: str, change: Mapping[str, Any]) -> None:
        """Merge a change into an object."""
        self.run("patch", kind, name, "--type=merge", f"--patch={json.dumps(change)}")

    def secret(self, name: str) -> dict[str, str] | None:
        """Return a Secret's values as texts, None if there is no such Secret."""
        found = self.get("secret", name)
        if found is None:
            return None
        return {key: base64.b64decode(value).decode() for key, value in found["data"].items()}

    @contextmanager
    def forward(self, target: str, port: str) -> Iterator[str]:
        """Open a port-forward on the loopback address; its URL."""
        process = subprocess.Popen(
            [self._program, "--namespace", self.namespace, "port-forward", target, f":{port}"],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            found = re.search(r"127\.0\.0\.1:(\d+)", line)
            assert found, f"kubectl port-forward {target}: {line}{process.stdout.read()}"
            yield f"http://127.0.0.1:{found[1]}"
        finally:
            process.terminate()
            process.wait(timeout=30)

    def delete_namespace(self) -> None:
        """Delete the namespace, and wait until it is deleted."""
        self.run("delete", "namespace", self.namespace, "--ignore-not-found", "--wait=false")

        def deleted() -> bool:
            return self.get("namespace", self.namespace) is None

        until(deleted, what=f"the end of the namespace {self.namespace}", poll_sec=1)
