"""schemathesis makes requests from the OpenAPI document, good and bad ones, and finds nothing.

The same ones each time; with `OCELOT_CONTRACT_MINUTES`, as in `make contract`, all that there are,
and then random ones for so long.
"""

import asyncio
import os
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.mongodb, pytest.mark.sqs, pytest.mark.opensearch]

HERE = Path(__file__).parent / "contract"
MINUTES = float(os.environ.get("OCELOT_CONTRACT_MINUTES") or 0)
SEED = os.environ.get("OCELOT_CONTRACT_SEED")


@pytest.mark.timeout(900 + 60 * MINUTES)
async def test_schemathesis_finds_nothing(running: Any, tmp_path: Path):
    access = await running.tenant()
    url = str(running.http.base_url).rstrip("/")
    if MINUTES:
        bounds = ["--max-time", str(int(60 * MINUTES))]
        bounds += ["--seed", SEED] if SEED else []
    else:
        bounds = ["--seed", "1", "--max-examples", "20"]
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "schemathesis.cli", "--config-file", HERE / "schemathesis.toml"),
        *("run", f"{url}/api/v1/openapi.json", "--url", url, *bounds),
        cwd=tmp_path,
        env=os.environ
        | {
            "OCELOT_TENANT": access.tenant.id,
            "OCELOT_TOKEN": access.admin["Authorization"].removeprefix("Bearer "),
            "PYTHONPATH": str(HERE),
            "SCHEMATHESIS_HOOKS": "hooks",
        },
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        output, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
    text = output.decode()
    assert process.returncode == 0, text
    for phase in ("Examples", "Coverage", "Fuzzing", "Stateful"):
        assert f"✅  {phase} (in" in text, text
