"""make dev with stub services, in a process of its own that a test can signal."""

import asyncio
import sys
from pathlib import Path

from ocelot_devstack.console import complain
from ocelot_devstack.dev_run import up
from ocelot_devstack.errors import DevstackError
from ocelot_devstack.services import ServiceSpec
from ocelot_devstack.settings import DevSettings
from ocelot_devstack.stack import Stack


async def fake_tokens(stack: Stack, tenant: str, isolation: str) -> dict[str, str]:
    assert stack.installation.signing_key_file.exists()
    return {role: f"{tenant}-{role}-{isolation}" for role in ("admin", "writer", "reader")}


def stub(role: str) -> tuple[str, ...]:
    return (sys.executable, str(Path(__file__).with_name("stub_service.py")), role)


services = (
    ServiceSpec("api", stub("api"), public=True),
    ServiceSpec("consumer", stub(sys.argv[1]), drains="ingest"),
)
try:
    sys.exit(asyncio.run(up(DevSettings(), services=services, provision=fake_tokens)))
except DevstackError as error:
    complain(str(error))
    sys.exit(1)
