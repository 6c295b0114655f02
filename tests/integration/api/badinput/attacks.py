"""Texts that another query language, path, header or pattern would take for more than text."""

from typing import Any, Final

from badinput.oddities import STRINGS

_MONGODB: Final = (
    '{"$gt":""}',
    '{"$where":"sleep(9999) || true"}',
    "'; return true; var x='",
    "$where",
    "$ne",
    "[$ne]",
    "$$ROOT",
    "$regex",
    '", "$or": [{}], "x": "',
    "t",
    "_id",
    "event",
    "__proto__",
)
_LUCENE: Final = (
    "*:*",
    "a OR *:*",
    "_exists_:t",
    "t:* OR action:*",
    '" OR t:"',
    '"}},{"match_all":{}},{"term":{"x":"',
    '{"match_all":{}}',
    "_id:[* TO *]",
    "action:/.*/",
    "\\*",
    "*a*",
    "?",
    "a~2",
    "(",
    "-*",
    "a\\",
)
_PATHS: Final = (
    "../../_search",
    "..%2f..%2f_all%2f_search",
    "..\\..\\_all",
    "/etc/passwd",
    "%2e%2e%2f",
    "_all",
    "logs_*",
    "logs_acme,logs_beta",
    ".",
    "..",
    "file:///etc/passwd",
    "a%00b",
)
_PATTERNS: Final = (
    ".*",
    "^",
    "a|.*",
    "(a+)+$",
    "^(([a-z])+.)+[A-Z]([a-z])+$",
    "(.*)*(.*)*(.*)*x",
    "a" * 200 + "!",
    "[" * 100,
    "(?R)",
    "[^x]{1,9999}{1,9999}",
    "\\Qa\\E",
    "%",
    "_",
)
_LINES: Final = (
    "x\r\nX-Injected: 1",
    "x\nX-Injected: 1",
    "\r\n\r\n<html>",
    "%0d%0aX-Injected: 1",
    "\u560d\u560aX-Injected: 1",  # whose last bytes are CR and LF
    "x\r X-Injected: 1",
)
_TEMPLATES: Final = ("{{7*7}}", "#{7*7}", "${7*7}", "1;SELECT pg_sleep(9)", "' OR '1'='1", "1/0")
#: All of them, and the odd strings that are short enough for an action.
ATTACKS: Final = tuple(
    dict.fromkeys(
        text
        for text in (
            *(*_MONGODB, *_LUCENE, *_PATHS, *_PATTERNS, *_LINES, *_TEMPLATES),
            *STRINGS.values(),
        )
        if len(text) <= 256
    )
)

#: Filters of `POST /logs/search` that are none: operators of others, and values of other kinds.
STRUCTURES: Final[tuple[Any, ...]] = (
    *({operator: [{"action": "a"}]} for operator in ("$or", "$and", "$nor", "OR", "should")),
    {"$where": "true"},
    {"$expr": {"$eq": [1, 1]}},
    {"$or": [{}]},
    {"match_all": {}},
    {"query_string": {"query": "*:*"}},
    {"script": {"source": "true"}},
    {"bool": {"must": []}},
    {"t": {"$ne": ""}},
    {"tenant_id": "x"},
    *(
        {name: value}
        for name in ("action", "actor.id", "metadata.k", "q", "source.ip", "from", "outcome")
        for value in (
            *({"$ne": ""}, {"$gt": ""}, {"$regex": ".*"}, {"gte": ""}, {"wildcard": "*"}, {}),
            *([{"$ne": ""}], ["a", {"$gt": ""}], [["a"]], None, 1, True, []),
        )
    ),
    {"and": {"$ne": ""}},
    {"or": [{"$where": "true"}]},
    {"not": {"$not": {}}},
    {"and": [{"action": "a"}], "$or": [{}]},
    {"and": [], "or": []},
    {"not": []},
)
