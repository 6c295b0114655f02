"""`path=value` entries of an event's free-form parts, for exact and prefix filters (design §10)."""

from typing import Any, Final, NamedTuple

import msgspec

MAX_ENTRIES: Final = 1_000
MAX_TOTAL_BYTES: Final = 64 * 1024
MAX_PATH_BYTES: Final = 256
MAX_VALUE_BYTES: Final = 512
# UTF-8 has at most four bytes a character: what is so short needs no encoding to be measured.
_SHORT_VALUE_CHARS: Final = MAX_VALUE_BYTES // 4
_SHORT_PATH_CHARS: Final = MAX_PATH_BYTES // 8
_SHORT_KEY_CHARS: Final = MAX_PATH_BYTES // 8 - 1

_encode = msgspec.json.Encoder().encode
_CONSTANTS: Final = {None: "null", True: "true", False: "false"}
# Beyond it, Python bounds what str() converts.
_PLAIN_INT: Final = 10**18


class Attrs(NamedTuple):
    """Entries without repetition, in the order of the event; `cut` if some were left out or cut."""

    entries: list[str]
    cut: bool


def attrs_of(metadata: Any, before: Any, after: Any) -> Attrs:
    """The entries of one event.

    Keys are joined by `.`, so a dotted key and a nested one are one path; an array's items carry
    the array's path; values stand as in JSON, strings without quotes; empty containers give none.

    Args:
        metadata: the event's metadata, or None.
        before: `changes.before`, or None.
        after: `changes.after`, or None.
    """
    collector = _Collector()
    for path, value in (
        ("metadata", metadata),
        ("changes.before", before),
        ("changes.after", after),
    ):
        if value is not None and not collector.full:
            collector.visit(path, value)
    return Attrs(list(collector.entries), collector.cut)


def attr_value(value: object) -> str:
    """A scalar as it stands in an entry, before the cut."""
    if type(value) is str:
        return value
    if type(value) is int:
        return str(value) if -_PLAIN_INT < value < _PLAIN_INT else _encode(value).decode()
    if value is None or type(value) is bool:
        return _CONSTANTS[value]
    return _encode(value).decode()


def cut_value(value: str) -> str:
    """A value as entries hold it: at most 512 bytes, cut on a character's border."""
    if len(value) * 4 <= MAX_VALUE_BYTES:
        return value
    raw = value.encode()
    if len(raw) <= MAX_VALUE_BYTES:
        return value
    return raw[:MAX_VALUE_BYTES].decode(errors="ignore")


class _Collector:
    def __init__(self) -> None:
        self.entries: dict[str, None] = {}
        self.cut = False
        self.full = False
        self._bytes = 0

    def visit(self, path: str, value: object) -> None:
        if type(value) is dict:
            self._visit_object(path, value)
        elif type(value) is list:
            for item in value:
                if self.full:
                    return
                self.visit(path, item)
        else:
            self._add(path, value)

    def _visit_object(self, path: str, value: dict[str, Any]) -> None:
        # Scalars are the usual case and cost no call of their own.
        if len(path) > _SHORT_PATH_CHARS:
            self._visit_slowly(path, value)
            return
        entries = self.entries
        for key, item in value.items():
            kind = type(item)
            if kind is dict or kind is list:
                self.visit(f"{path}.{key}", item)
            elif kind is str and len(item) <= _SHORT_VALUE_CHARS and len(key) <= _SHORT_KEY_CHARS:
                entry = f"{path}.{key}={item}"
                if entry not in entries:
                    self._bytes += len(entry) if entry.isascii() else len(entry.encode())
                    if len(entries) >= MAX_ENTRIES or self._bytes > MAX_TOTAL_BYTES:
                        self.cut = self.full = True
                    else:
                        entries[entry] = None
            else:
                self._add(f"{path}.{key}", item)
            if self.full:
                return

    def _visit_slowly(self, path: str, value: dict[str, Any]) -> None:
        if len(path.encode()) >= MAX_PATH_BYTES:
            # Every path below it is longer still, and left out.
            self.cut = self.cut or _holds_scalar(value)
            return
        for key, item in value.items():
            self.visit(f"{path}.{key}", item)
            if self.full:
                return

    def _add(self, path: str, value: object) -> None:
        if len(path) > _SHORT_PATH_CHARS and len(path.encode()) > MAX_PATH_BYTES:
            self.cut = True
            return
        text = attr_value(value)
        kept = cut_value(text)
        if len(kept) != len(text):
            self.cut = True
        entry = f"{path}={kept}"
        if entry in self.entries:
            return
        self._bytes += len(entry) if entry.isascii() else len(entry.encode())
        if len(self.entries) >= MAX_ENTRIES or self._bytes > MAX_TOTAL_BYTES:
            self.cut = self.full = True
            return
        self.entries[entry] = None


def _holds_scalar(value: object) -> bool:
    if isinstance(value, dict):
        return any(map(_holds_scalar, value.values()))
    if isinstance(value, list):
        return any(map(_holds_scalar, value))
    return True
