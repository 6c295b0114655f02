"""Events as a table: one line an event, one column a field."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import msgspec
from rich.table import Table
from rich.text import Text

from ocelot_cli.console import plain
from ocelot_common.timestamps import format_rfc3339, parse_rfc3339

_TIMES: Final = ("occurred_at", "received_at")
#: Of a time such as 2026-11-24T08:30:00.250Z.
_TIME_CHARS: Final = 24


def event_table(items: Sequence[Mapping[str, Any]], fields: Sequence[str] = ()) -> Table:
    """A table of events as the api answers them.

    Args:
        items: the events.
        fields: paths such as `actor.id` or `metadata.plan`, a column each; without any, the columns
            that say who did what to whom.
    """
    table = Table(box=None)
    for name in fields or ("time", "action", "actor", "target", "outcome", "message"):
        # rich cuts the widest columns first; a time that is cut is worth nothing.
        width = _TIME_CHARS if name in ("time", *_TIMES) else None
        table.add_column(_whole(plain(name)), width=width)
    for item in items:
        row = [_cell(item, path) for path in fields] if fields else _summary(item)
        table.add_row(*map(_whole, row))
    return table


def _whole(cell: Text) -> Text:
    """Keep a cell to one line.

    Cells say so, not columns: where all columns do, rich takes the same from each of them when they
    are too wide together, and else from the widest.
    """
    cell.no_wrap = True
    cell.overflow = "ellipsis"
    return cell


def _summary(item: Mapping[str, Any]) -> list[Text]:
    if "unreadable" in item:
        known = _time(item["received_at"]) if "received_at" in item else plain("")
        return [known, plain("(unreadable)"), *[plain("")] * 3, plain(item["unreadable"])]
    actor = item["actor"]
    target = (item.get("targets") or [{}])[0]
    return [
        _time(item.get("occurred_at") or item["received_at"]),
        plain(item["action"]),
        plain((actor.get("name") or actor["id"])[:40]),
        plain((target.get("name") or target.get("id") or "")[:40]),
        plain(item.get("outcome") or ""),
        plain(_one_line(item.get("message") or "")[:80]),
    ]


def _cell(item: Mapping[str, Any], path: str) -> Text:
    """What stands at a path, in one line; several values, of an array, with commas between."""
    values = [*_found(item, path)]
    if path in _TIMES and values:
        return _time(values[0])
    return plain(_one_line(", ".join(map(_text, values))))


def _found(value: Any, path: str) -> Iterator[Any]:
    """The values at a path, as the api reads paths.

    A dotted key and a nested one are one path; the items of an array carry the array's path.
    """
    if isinstance(value, list):
        for each in value:
            yield from _found(each, path)
    elif not path:
        yield value
    elif isinstance(value, dict):
        for key, inner in value.items():
            if key == path:
                yield from _found(inner, "")
            elif path.startswith(f"{key}."):
                yield from _found(inner, path[len(key) + 1 :])


def _text(value: Any) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _time(text: str) -> Text:
    """In UTC: the offsets of several sources can't be compared by eye."""
    try:
        return plain(format_rfc3339(parse_rfc3339(text)))
    except (ValueError, OverflowError):  # a year beyond datetime's, once the offset is taken off
        return plain(text)
