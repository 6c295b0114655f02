"""make dev-kube beside make dev."""

import asyncio
import os
import signal
from pathlib import Path
from typing import Any

import pytest

EXAMPLE = Path(__file__).parents[3] / "examples/tenant.yaml"

pytestmark = [pytest.mark.kubernetes, pytest.mark.mongodb, pytest.mark.timeout(3_600)]


async def test_the_example_becomes_ready_as_the_output_says(make_dev: Any, control_plane: Any):
    await make_dev.start()
    await make_dev.wait_for("Ready in")
    kube = make_dev.beside()
    await kube.start_kube()
    try:
        await kube.wait_for("Nothing runs in this cluster")

        async def kubectl(*arguments: str) -> str:
            process = await asyncio.create_subprocess_exec(
                str(control_plane.kubectl),
                *arguments,
                env={**os.environ, "KUBECONFIG": str(make_dev.state_dir / "kubernetes/kubeconfig")},
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.STDOUT,
            )
            output, _ = await process.communicate()
            assert process.returncode == 0, output.decode()
            return output.decode()

        second = make_dev.beside()
        await second.start_kube()
        assert await second.end() == 1
        assert "make dev-kube already runs here" in second.output

        await kubectl("apply", "-f", str(EXAMPLE))
        await kubectl("wait", "--for=condition=Ready", "tenant/initech", "--timeout=180s")
        assert "initech-billing" in await kubectl("get", "secrets")
        assert "days" in await kubectl("explain", "tenant.spec.retention")
    finally:
        kube.process.send_signal(signal.SIGINT)
        assert await kube.end() == 0
    assert "Stopping" in kube.output


async def test_without_make_dev_it_says_so(make_dev: Any, control_plane: Any):
    del control_plane
    await make_dev.start_kube()
    assert await make_dev.end() == 1
    assert "Start it first" in make_dev.output
