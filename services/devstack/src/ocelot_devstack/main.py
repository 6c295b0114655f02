"""The command line: `up` for make dev, `worker` for make sqs-worker, `kube` for make dev-kube.

`backends` runs MongoDB, SQS and OpenSearch alone, for services that run elsewhere. `tools` builds
what tests need and what takes minutes: CI starts it first, beside the tests.
"""

import argparse
import asyncio
import os
from collections.abc import Sequence

from pydantic import ValidationError

from ocelot_common.provisioning.errors import ProvisioningError
from ocelot_common.renamed_settings import renamed_settings
from ocelot_common.settings import exit_with, fault_text
from ocelot_common.telemetry.logs import discard_logs
from ocelot_devstack.backends_run import download, run_backends
from ocelot_devstack.console import complain
from ocelot_devstack.dev_kube import dev_kube
from ocelot_devstack.dev_run import up
from ocelot_devstack.errors import DevstackError
from ocelot_devstack.helm import find_helm
from ocelot_devstack.kubernetes.programs import find_programs
from ocelot_devstack.provisioning import provision_tenant
from ocelot_devstack.services import SERVICES
from ocelot_devstack.settings import ENV_PREFIX, DevSettings
from ocelot_devstack.worker import become_worker


def main(argv: Sequence[str] | None = None) -> None:
    """Run a command; an error that a developer can fix is one message and exit status 1."""
    parser = argparse.ArgumentParser(prog="ocelot-devstack", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("up", help="Start backends and services. Ctrl-C stops them.")
    worker = commands.add_parser("worker", help="Start one more worker of a running `up`.")
    worker.add_argument("service", choices=[spec.name for spec in SERVICES if spec.drains])
    commands.add_parser("kube", help="Run a Kubernetes API server and the operator beside `up`.")
    backends = commands.add_parser("backends", help="Run MongoDB, SQS and OpenSearch alone.")
    backends.add_argument(
        "--download-only", action="store_true", help="Download them, unless they are there."
    )
    commands.add_parser("tools", help="Build Helm and the Kubernetes control plane, only once.")
    arguments = parser.parse_args(argv)
    if renamed := renamed_settings(os.environ):
        exit_with(renamed)
    try:
        settings = DevSettings()
        if arguments.command == "worker":
            become_worker(settings, arguments.service)
        if arguments.command == "kube":
            asyncio.run(dev_kube(settings))
            return
        if arguments.command == "backends":
            asyncio.run((download if arguments.download_only else run_backends)(settings))
            return
        if arguments.command == "tools":
            asyncio.run(_build_tools(settings))
            return
        # Provisioning writes log lines of a service; `up` reports in plain lines.
        discard_logs()
        raise SystemExit(asyncio.run(up(settings, provision=provision_tenant)))
    except ValidationError as error:
        for fault in error.errors():
            name = str(fault["loc"][0])
            variable = name if name.isupper() else f"{ENV_PREFIX}{name.upper()}"
            complain(f"{variable}: {fault_text(fault)}")
    except (DevstackError, ProvisioningError) as error:
        complain(str(error))
    raise SystemExit(1)


async def _build_tools(settings: DevSettings) -> None:
    """Build one after the other: each uses all cores."""
    await find_programs(settings.cache_dir, report=print)
    await find_helm(settings.cache_dir, print)
