"""Lists as tables that fit the terminal: ids and times are shown whole or not at all."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Final, NamedTuple

from rich.text import Text

from ocelot_cli.console import out, plain

#: A cell is not cut below so many characters.
_LEAST: Final = 4


class Column(NamedTuple):
    """One column of a list.

    Attributes:
        name: its heading.
        whole: whether a cell that is cut would be worth nothing, such as an id or a time.
        optional: whether the column is left out where the terminal is too narrow for all; `--json`
            shows it always.
    """

    name: str
    whole: bool = False
    optional: bool = False


def print_list(columns: Sequence[Column], rows: Iterable[Sequence[str]]) -> None:
    """Print one line per row, no wider than the terminal.

    Args:
        columns: from left to right. Optional ones are left out from the right until the others fit;
            then cells that need not be whole are cut.
        rows: one text per column, of others perhaps.
    """
    cells = [[plain(column.name) for column in columns]]
    cells += [[plain(text) for text in row] for row in rows]
    widths = [max(line[index].cell_len for line in cells) for index in range(len(columns))]
    shown = list(range(len(columns)))
    for index in reversed(range(len(columns))):
        if columns[index].optional and _width(widths[each] for each in shown) > out.width:
            shown.remove(index)
    # Not by rich's tables, which cut ids and times as soon as all columns are too wide together.
    able = [index for index in shown if not columns[index].whole]
    while able and _width(widths[each] for each in shown) > out.width:
        widest = max(able, key=widths.__getitem__)
        if widths[widest] <= _LEAST:
            break
        widths[widest] -= 1
    for line in cells:
        for index in shown:
            line[index].truncate(widths[index], overflow="ellipsis", pad=index != shown[-1])
        out.print(Text(" ").join(line[index] for index in shown))


def _width(widths: Iterable[int]) -> int:
    return sum(width + 1 for width in widths) - 1


def time_text(moment: datetime | None) -> str:
    """Return a time of a list, in UTC to the second; `-` for none."""
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ") if moment else "-"
