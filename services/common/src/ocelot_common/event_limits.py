"""Bounds on the shape of one event's JSON: size, nesting, keys and integers (design §3).

The checks look at the bytes first: nearly every event is too small to break a bound, which a count
of brackets or colons shows in a fraction of a microsecond. Only the rest is walked.
"""

import re
from typing import Any

import msgspec

# Strings are skipped as a whole; what is left of brackets is the nesting.
_BRACKET_OR_STRING = re.compile(rb'"(?:[^"\\]|\\.)*"?|[\[\]{}]', re.DOTALL)
_OPENING = (b"{", b"[")
_CLOSING = (b"}", b"]")


class EventLimits(msgspec.Struct, frozen=True, kw_only=True):
    """The largest event that is taken. Sizes are in bytes."""

    max_event_bytes: int = 65_536
    max_depth: int = 32
    max_keys: int = 2_000
    max_key_bytes: int = 1_024
    max_integer_digits: int = 1_000


class EventError(ValueError):
    """One event breaks a rule.

    Attributes:
        code: stable, for programs.
        path: of the field at fault, `metadata.plan` or `targets[0].id`; empty for the whole event.
        detail: one sentence for people.
    """

    def __init__(self, code: str, path: str, detail: str) -> None:
        super().__init__(f"{path or 'event'}: {detail}")
        self.code = code
        self.path = path
        self.detail = detail


def nesting_exceeds(raw: bytes, max_depth: int) -> bool:
    """Whether objects and arrays nest deeper than `max_depth` somewhere in the JSON text `raw`."""
    if raw.count(b"{") + raw.count(b"[") <= max_depth:
        return False
    depth = 0
    for match in _BRACKET_OR_STRING.finditer(raw):
        token = match.group()
        if token in _OPENING:
            depth += 1
            if depth > max_depth:
                return True
        elif token in _CLOSING:
            depth -= 1
    return False


def check_text(raw: bytes, limits: EventLimits) -> None:
    """Refuse an event by its bytes alone, before it is decoded.

    Raises:
        EventError: `event_too_large` or `too_deep`.
    """
    if len(raw) > limits.max_event_bytes:
        raise EventError(
            "event_too_large",
            "",
            f"the event has {len(raw):,} bytes, at most {limits.max_event_bytes:,} are taken",
        )
    if nesting_exceeds(raw, limits.max_depth):
        raise EventError(
            "too_deep", "", f"objects and arrays nest deeper than {limits.max_depth} levels"
        )


def check_contents(raw: bytes, free_form: dict[str, Any], limits: EventLimits) -> None:
    """Refuse an event whose free-form parts hold too many keys, or too long a key or integer.

    Args:
        raw: the event's JSON text.
        free_form: the decoded free-form values by their path.
        limits: the bounds.

    Raises:
        EventError: `too_many_keys`, `key_too_long` or `integer_too_long`.
    """
    many_keys = raw.count(b":") > limits.max_keys
    longest = min(limits.max_key_bytes, limits.max_integer_digits)
    if not many_keys and len(raw) <= longest:
        return
    walk = _Walk(limits)
    for path, value in free_form.items():
        walk.visit(path, value)


class _Walk:
    def __init__(self, limits: EventLimits) -> None:
        self._limits = limits
        self._keys = 0
        self._integer_bound = 10**limits.max_integer_digits

    def visit(self, path: str, value: object) -> None:
        if isinstance(value, dict):
            self._keys += len(value)
            if self._keys > self._limits.max_keys:
                raise EventError(
                    "too_many_keys", path, f"the event has over {self._limits.max_keys:,} keys"
                )
            for key, item in value.items():
                # UTF-8 has at most 4 bytes a character: short keys need no encoding.
                if len(key) * 4 > self._limits.max_key_bytes:
                    self._check_key(path, key)
                if type(item) is not str:
                    self.visit(f"{path}.{key}", item)
        elif isinstance(value, list):
            for index, item in enumerate(value):
                if type(item) is not str:
                    self.visit(f"{path}[{index}]", item)
        elif type(value) is int and not -self._integer_bound < value < self._integer_bound:
            raise EventError(
                "integer_too_long",
                path,
                f"an integer has over {self._limits.max_integer_digits:,} digits",
            )

    def _check_key(self, path: str, key: str) -> None:
        if len(key.encode()) > self._limits.max_key_bytes:
            raise EventError(
                "key_too_long",
                path,
                f"a key beginning with {key[:20]!r} has over {self._limits.max_key_bytes:,} bytes",
            )
