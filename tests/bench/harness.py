"""Pinning, CPU time, and the table of results."""

import json
import os
import statistics
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final, NamedTuple

RESULTS: Final = Path(__file__).with_name("results.json")
#: The process under test has the first core alone; backends and load have the others.
TEST_CORES: Final = {0}
OTHER_CORES: Final = set(range(1, os.cpu_count() or 2)) or {0}


class Row(NamedTuple):
    """One line of the table.

    Attributes:
        value: median of the rounds.
        limit: median of the raw limit's rounds, same unit.
        ratio: median of the rounds' ratios; for latencies, value divided by limit.
        least: the smallest ratio that is promised.
        cpu_us: CPU time of the process under test per unit, in microseconds, user and system;
            median of the rounds. It varies less than a rate on a machine with neighbours.
        limit_cpu_us: the same of the raw limit.
    """

    name: str
    value: float
    unit: str
    limit: float
    ratio: float
    least: float | None
    note: str = ""
    cpu_us: float | None = None
    limit_cpu_us: float | None = None


class Measured(NamedTuple):
    """One round: units per second, and CPU time per unit in microseconds if it was measured."""

    rate: float
    cpu_us: float | None = None


def pin_others() -> None:
    """Keep this process, and what it starts from now on, off the core under test."""
    os.sched_setaffinity(0, OTHER_CORES)


def unpin() -> None:
    """Let this process, and what it starts from now on, run anywhere."""
    os.sched_setaffinity(0, TEST_CORES | OTHER_CORES)


def pin_under_test(pid: int) -> None:
    """Give a fresh process, and the threads that it will start, the core under test."""
    for task in Path(f"/proc/{pid}/task").iterdir():
        os.sched_setaffinity(int(task.name), TEST_CORES)


def cpu_sec(pid: int) -> float:
    """CPU time of a process so far, user and system."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def interleaved(
    name: str,
    *,
    ocelot: Callable[[], Awaitable[float | Measured]],
    limit: Callable[[], Awaitable[float | Measured]],
    rounds: int,
    unit: str,
    least: float | None,
    note: str = "",
    report: Callable[[str], None],
) -> Row:
    """Measure limit and Ocelot in turn; each returns a rate, larger is better."""
    ours: list[Measured] = []
    limits: list[Measured] = []
    for number in range(rounds):
        limits.append(_measured(await limit()))
        ours.append(_measured(await ocelot()))
        report(
            f"{name}, round {number + 1} of {rounds}: {ours[-1].rate:,.0f} of"
            f" {limits[-1].rate:,.0f} {unit} = {ours[-1].rate / limits[-1].rate:.2f}"
            + _cpu_note(ours[-1].cpu_us, limits[-1].cpu_us)
        )
    ratios = [value.rate / bound.rate for value, bound in zip(ours, limits, strict=True)]
    return Row(
        name,
        statistics.median(each.rate for each in ours),
        unit,
        statistics.median(each.rate for each in limits),
        statistics.median(ratios),
        least,
        note,
        _median_cpu(ours),
        _median_cpu(limits),
    )


def _measured(value: float | Measured) -> Measured:
    return value if isinstance(value, Measured) else Measured(value)


def _median_cpu(rounds: list[Measured]) -> float | None:
    values = [each.cpu_us for each in rounds if each.cpu_us is not None]
    return statistics.median(values) if values else None


def _cpu_note(ours: float | None, limit: float | None) -> str:
    if ours is None or limit is None:
        return ""
    return f"; CPU {ours:.2f} µs beside {limit:.2f} = {limit / ours:.2f}"


class Results:
    """The rows of one run, written to a file as they are measured.

    A run takes most of an hour. Whatever ends it, the rows that it measured are in the file.

    Args:
        path: of the file; its rows that this run does not measure are kept.
        machine: on what, and how, this run measures.
    """

    def __init__(self, path: Path, machine: dict[str, Any]) -> None:
        self.rows: list[Row] = []
        self._path = path
        self._machine = machine
        self._began = time.monotonic()

    def add(self, row: Row) -> None:
        """Keep a row, and write the file."""
        self.rows.append(row)
        known: dict[str, Any] = {}
        if self._path.exists():
            known = {each["name"]: each for each in json.loads(self._path.read_text())["rows"]}
        known[row.name] = row._asdict()
        machine = self._machine | {"seconds": round(time.monotonic() - self._began)}
        text = json.dumps({"machine": machine, "rows": list(known.values())}, indent=2)
        written = self._path.with_suffix(".new")
        written.write_text(f"{text}\n")
        written.replace(self._path)  # whole, whenever this process ends


def table(rows: list[Row]) -> str:
    """The rows for people."""
    lines = [f"{'row':<34}{'Ocelot':>12}{'limit':>12}  {'unit':<12}{'ratio':>7}{'least':>7}"]
    for row in rows:
        least = "" if row.least is None else f"{row.least:.2f}"
        lines.append(
            f"{row.name:<34}{row.value:>12,.1f}{row.limit:>12,.1f}  {row.unit:<12}"
            f"{row.ratio:>7.2f}{least:>7}"
        )
        if row.cpu_us is not None:
            lines.append("    per unit" + _cpu_note(row.cpu_us, row.limit_cpu_us).replace(";", ""))
        if row.note:
            lines.append(f"    {row.note}")
    return "\n".join(lines)
