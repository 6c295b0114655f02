"""`make bench`: every row beside its raw limit in the same run."""

import argparse
import asyncio
import platform
import sys
import tempfile
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from api_rows import api_rows
from export_rows import export_rows
from foreign_logs import source
from harness import RESULTS, Results, Row, pin_others, table, unpin
from latency_rows import latency_rows
from search_rows import search_rows
from worker_rows import consumer_row, indexer_row, rebuild_row

from ocelot_devstack.provisioning import TenantMaker, open_tenant_maker
from ocelot_devstack.pytest_plugin import dev_settings
from ocelot_devstack.stack import Stack

#: For latencies OpenSearch has the whole machine: a JVM that starts on one core is another one.
ON_ALL_CORES = ("search", "latency")
SECTIONS = ("api", "consumer", "indexer", "search", "export", "latency")


def report(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


async def measure(arguments: argparse.Namespace, sections: list[str], results: Results) -> None:
    """Measure the rows of some sections, on backends of their own."""
    with tempfile.TemporaryDirectory(prefix="ocelot-bench-") as folder:
        state = Path(folder)
        async with Stack(dev_settings(state), report=report) as stack:
            async with open_tenant_maker(stack.installation) as maker:
                async for row in rows_of(arguments, sections, stack, maker, state):
                    results.add(row)
            await stack.stop_services()


async def rows_of(
    arguments: argparse.Namespace,
    sections: list[str],
    stack: Stack,
    maker: TenantMaker,
    state: Path,
) -> AsyncIterator[Row]:
    """Yield each row as soon as it is measured."""
    if "api" in sections:
        tenant = await maker.create("bench")
        async for row in api_rows(
            stack,
            maker.token(tenant, "writer"),
            rounds=arguments.rounds,
            log=state / "limit.log",
            report=report,
        ):
            yield row
    if "consumer" in sections or "indexer" in sections:
        row = await consumer_row(
            stack,
            maker,
            events=arguments.events,
            rounds=arguments.rounds if "consumer" in sections else 1,
            state=state,
            report=report,
        )
        if "consumer" in sections:
            yield row
    if "indexer" in sections:
        tenant = await maker.create("bench")
        yield await indexer_row(stack, maker, tenant, rounds=arguments.rounds, report=report)
        yield await rebuild_row(
            stack, maker, events=arguments.rebuilt, rounds=arguments.rounds, report=report
        )
    if "search" in sections:
        pin_others()
        async for row in search_rows(
            stack,
            maker,
            events=arguments.tenant_events,
            rounds=arguments.rounds,
            report=report,
        ):
            yield row
    if "export" in sections:
        async for row in export_rows(
            stack, maker, events=arguments.stored, rounds=arguments.rounds, report=report
        ):
            yield row
    if "latency" in sections:
        for row in await latency_rows(
            stack, maker, seconds=30, events_per_sec=arguments.flow, report=report
        ):
            yield row


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sections", nargs="*", default=SECTIONS, help=", ".join(SECTIONS))
    parser.add_argument("--rounds", type=int, default=5, help="of each row; the median counts")
    parser.add_argument("--events", type=int, default=100_000, help="for consumer and indexer")
    parser.add_argument("--rebuilt", type=int, default=200_000, help="events, for the rebuild")
    parser.add_argument("--stored", type=int, default=200_000, help="events, for the export")
    parser.add_argument(
        "--tenant-events", type=int, default=1_000_000, help="in the tenant that is searched"
    )
    parser.add_argument(
        "--flow", type=int, help="events/s beside the probes; half of what the pipeline sustains"
    )
    parser.add_argument("--results", type=Path, default=RESULTS, help="the file of the rows")
    return parser.parse_args(arguments)


def main() -> None:
    """Measure, print and write."""
    arguments = parse_arguments()
    report(f"Half of a large tenant's events are from: {source()}")
    machine = {
        "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "python": platform.python_version(),
        "machine": platform.machine(),
        "rounds": arguments.rounds,
        "foreign_events": source(),
    }
    results = Results(arguments.results, machine)
    if pinned := [section for section in arguments.sections if section not in ON_ALL_CORES]:
        pin_others()
        asyncio.run(measure(arguments, pinned, results))
    for section in ON_ALL_CORES:
        if section in arguments.sections:
            unpin()
            asyncio.run(measure(arguments, [section], results))
    report("")
    report(table(results.rows))


if __name__ == "__main__":
    main()
