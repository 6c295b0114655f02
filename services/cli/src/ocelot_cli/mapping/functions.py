"""The functions that mappings have beside those of JMESPath.

All take null, and values of another kind, for nothing and answer null: a mapping meets every shape
that a source ever wrote.
"""

import inspect
import re
from collections.abc import Callable
from fnmatch import fnmatchcase
from typing import Final

import msgspec

from ocelot_cli.mapping.text import text_of
from ocelot_common.event import is_ip_address

_PORT = re.compile(r"\[(?P<bracketed>[^\]]+)\](?::\d+)?|(?P<plain>[^:]+):\d+")


def is_nothing(value: object) -> bool:
    """Whether `value` is null, or an empty string, object or array; 0 and false are something."""
    return value is None or (not value and isinstance(value, str | list | dict))


def _coalesce(*values: object) -> object:
    return next((value for value in values if not is_nothing(value)), None)


def _text(value: object) -> str | None:
    return text_of(value)


def _lower(value: object) -> str | None:
    text = text_of(value)
    return None if text is None else text.lower()


def _upper(value: object) -> str | None:
    text = text_of(value)
    return None if text is None else text.upper()


def _trim(value: object) -> str | None:
    text = text_of(value)
    return None if text is None else text.strip()


def _first_line(value: object) -> str | None:
    lines = (text_of(value) or "").strip().splitlines()
    return lines[0].rstrip() if lines else None


def _split_first(value: object, separator: object) -> str | None:
    text, mark = text_of(value), text_of(separator)
    return text.split(mark, 1)[0] if text is not None and mark else text


def _split_last(value: object, separator: object) -> str | None:
    text, mark = text_of(value), text_of(separator)
    return text.rsplit(mark, 1)[-1] if text is not None and mark else text


def _prefix(start: object, value: object) -> str | None:
    text = text_of(value)
    return (text_of(start) or "") + text if text else None


def _suffix(value: object, end: object) -> str | None:
    text = text_of(value)
    return text + (text_of(end) or "") if text else None


def _strip_prefix(value: object, start: object) -> str | None:
    text = text_of(value)
    return None if text is None else text.removeprefix(text_of(start) or "")


def _replace(value: object, old: object, new: object) -> str | None:
    text, found = text_of(value), text_of(old)
    return text.replace(found, text_of(new) or "") if text is not None and found else text


def _regex(value: object, pattern: object) -> str | None:
    text, source = text_of(value), text_of(pattern)
    if text is None or source is None:
        return None
    match = re.search(source, text)
    if match is None:
        return None
    return match[1] if match.re.groups else match[0]


def _glob(value: object, pattern: object) -> bool:
    text, source = text_of(value), text_of(pattern)
    return text is not None and source is not None and fnmatchcase(text, source)


def _unless(value: object, *placeholders: object) -> object:
    return None if value in placeholders else value


def _join_present(separator: object, *values: object) -> str | None:
    parts = [text for text in map(text_of, values) if text]
    return (text_of(separator) or "").join(parts) or None


def _is_ip(value: object) -> bool:
    return isinstance(value, str) and is_ip_address(value)


def _ip(value: object) -> str | None:
    if not isinstance(value, str):
        return None
    if is_ip_address(value):
        return value
    match = _PORT.fullmatch(value)
    address = (match["bracketed"] or match["plain"]) if match else ""
    return address if is_ip_address(address) else None


def _from_json(value: object) -> object:
    if not isinstance(value, str):
        return None
    try:
        decoded: object = msgspec.json.decode(value)
    except (msgspec.DecodeError, RecursionError, UnicodeError):
        return None
    return decoded


def _first_key(value: object, names: object) -> str | None:
    if not isinstance(value, dict) or not isinstance(names, list):
        return None
    return next((name for name in names if not is_nothing(value.get(name))), None)


def _pick(value: object, names: object) -> object:
    if not isinstance(value, dict) or not isinstance(names, list | dict):
        return None
    return {name: value[name] for name in names if name in value} or None


def _pluck(value: object, key: object) -> object:
    if not isinstance(value, dict) or not isinstance(key, str):
        return None
    return {
        name: item[key] for name, item in value.items() if isinstance(item, dict) and key in item
    } or None


def _entries(value: object) -> object:
    if not isinstance(value, dict):
        return None
    return [{"key": key, "value": item} for key, item in value.items()]


FUNCTIONS: Final[dict[str, Callable[..., object]]] = {
    "coalesce": _coalesce,
    "entries": _entries,
    "first_key": _first_key,
    "first_line": _first_line,
    "from_json": _from_json,
    "glob": _glob,
    "ip": _ip,
    "is_ip": _is_ip,
    "join_present": _join_present,
    "lower": _lower,
    "pick": _pick,
    "pluck": _pluck,
    "prefix": _prefix,
    "regex": _regex,
    "replace": _replace,
    "split_first": _split_first,
    "split_last": _split_last,
    "strip_prefix": _strip_prefix,
    "suffix": _suffix,
    "text": _text,
    "trim": _trim,
    "unless": _unless,
    "upper": _upper,
}


def arity_fault(function: Callable[..., object], count: int) -> str | None:
    """What is wrong with calling `function` with `count` values; `None` if nothing is."""
    parameters = inspect.signature(function).parameters.values()
    fixed = [p for p in parameters if p.kind is not inspect.Parameter.VAR_POSITIONAL]
    open_ended = len(fixed) < len(parameters)
    if count == len(fixed) or (open_ended and count > len(fixed)):
        return None
    least = "at least " if open_ended else ""
    return f"takes {least}{arguments(len(fixed))}, got {count}"


def arguments(number: int) -> str:
    """Return a number of arguments in words, for people."""
    return f"{number} argument" if number == 1 else f"{number} arguments"
