"""docs/tutorial.md: its commands print what it shows, and its numbers are those of the examples.

The examples are read and counted here by themselves, without anything of Ocelot's, so that the
document and the search can't be wrong together.
"""

import ipaddress
import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

import pytest

pytestmark = [
    pytest.mark.mongodb,
    pytest.mark.sqs,
    pytest.mark.opensearch,
    pytest.mark.timeout(900),  # the import of the files
]
TEXT = (Path(__file__).parents[3] / "docs/tutorial.md").read_text("utf-8")
CUT = "…"
Event = dict[str, Any]


class Command(NamedTuple):
    """A command of the document, and what it is shown to print."""

    line: str
    output: tuple[str, ...]


def commands_of(text: str) -> list[Command]:
    blocks = re.findall(r"```console\n(.*?)```", text, re.DOTALL)
    parts = [
        re.match(r"((?:.*\\\n)*.*)\n([\s\S]*)", part)
        for block in blocks
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]
    ]
    return [Command(part[1], tuple(part[2].splitlines())) for part in parts if part is not None]


PREFACE, *SECTIONS = re.split(r"^#{2,3} ", TEXT, flags=re.MULTILINE)
IMPORT = commands_of(next(part for part in SECTIONS if part.startswith("Import\n")))
QUESTIONS = {
    int(part.split(".")[0]): (part.splitlines()[0], commands_of(part))
    for part in SECTIONS
    if re.match(r"\d+\. ", part)
}


def fits(shown: Sequence[str], printed: str) -> bool:
    """Whether a terminal's text is what is shown, of which any part may be cut out."""
    pattern = "".join(
        r"(?:.*\n)*?" if line.strip() == CUT else re.escape(line).replace(CUT, ".*") + "\n"
        for line in shown
    )
    lines = [line.rstrip() for line in printed.splitlines()]
    return re.fullmatch(pattern, "".join(f"{line}\n" for line in lines)) is not None


class Answer(NamedTuple):
    """The numbers of an answer."""

    total: int | None = None
    #: Of each value, or each begin of a time bucket.
    counts: dict[str, Any] | None = None
    distinct: tuple[int, ...] = ()
    #: Of each event that is shown.
    times: tuple[str, ...] = ()
    metadata: Event | None = None


def read(printed: str) -> Answer:
    """The numbers in what a command printed."""
    if printed.startswith("{"):
        return Answer(metadata=json.loads(printed)["metadata"])
    lines = printed.splitlines()
    total = None
    counts: dict[str, Any] = {}
    distinct: list[int] = []
    times: list[str] = []
    over_time = lines[0].split()[0] == "from"
    for line in lines:
        if found := re.fullmatch(r"(?:[\d,]+ of )?([\d,]+) events?, from opensearch", line):
            total = number(found[1])
        elif found := re.fullmatch(r"([\d,]+) distinct values of \S+", line):
            distinct.append(number(found[1]))
        elif over_time and (found := re.fullmatch(r" (\d{4}-\S+) +([\d, ]+)", line)):
            counts[found[1]] = tuple(map(number, found[2].split()))
        elif found := re.fullmatch(r" +(\d+) ([0-9A-Z]+)", line):  # of uniq -c
            counts[found[2]] = int(found[1])
        elif found := re.search(r"\b\d{4}-\d\d-\d\dT[\d:.]+Z\b", line):
            times.append(found[0])
        elif found := re.fullmatch(r" (\S.*?) +([\d,]+) *", line):
            counts[found[1]] = number(found[2])
    return Answer(total, counts or None, tuple(distinct), tuple(times))


def number(text: str) -> int:
    return int(text.replace(",", ""))


class Raw(NamedTuple):
    """The files' events, and every line in lower case."""

    cloudtrail: list[Event]
    kubernetes: list[Event]
    okta: list[Event]
    windows: list[Event]
    github: list[Event]
    lines: list[tuple[str, Event]]

    @property
    def everything(self) -> list[Event]:
        return [event for _, event in self.lines]


@pytest.fixture(scope="module")
def raw(example_logs: Any) -> Raw:
    lines: dict[str, list[tuple[str, Event]]] = {}
    for mapping, paths in example_logs.files.items():
        texts = [text for path in paths for text in path.read_text("utf-8").splitlines()]
        lines[mapping] = [(text.lower(), json.loads(text)) for text in texts]
    events = {mapping: [event for _, event in pairs] for mapping, pairs in lines.items()}
    return Raw(
        events["cloudtrail"],
        events["kubernetes"],
        events["okta"],
        events["windows-security"],
        events["github-webhook"],
        [pair for pairs in lines.values() for pair in pairs],
    )


def at(event: Event) -> datetime | None:
    """When an event happened; None of a payload that has no time of its own."""
    for key in ("eventTime", "@timestamp", "stageTimestamp", "published"):
        if event.get(key):
            return datetime.fromisoformat(event[key])
    for key in ("head_commit", "pull_request", "workflow_run", "issue", "key"):
        if part := event.get(key):
            times = [part.get(name) for name in ("timestamp", "updated_at", "created_at")]
            return datetime.fromisoformat(next(filter(None, times)))
    return None


def between(events: Iterable[Event], first: str, last: str) -> list[Event]:
    begin, end = map(datetime.fromisoformat, (first, last))
    return [event for event in events if (when := at(event)) and begin <= when < end]


def name_of(event: Event) -> str:
    """The name of whoever did it, as the source writes it."""
    if "userIdentity" in event:
        return aws_name(event)
    if "auditID" in event:
        name = event["user"]["username"]
    elif "eventType" in event:
        name = event["actor"]["displayName"]
    elif event.get("EventID"):
        name = event.get("SubjectUserName")
    else:
        name = event["sender"]["login"]
    assert isinstance(name, str), event
    return name


def action_of(event: Event) -> str:
    """The action, so that different ones differ."""
    if "eventSource" in event:
        return aws_action(event)
    if "auditID" in event:
        target = event.get("objectRef", {})
        parts = (event["verb"], *map(target.get, ("apiGroup", "resource", "subresource")))
        return "/".join(map(str, parts))
    return str(event.get("eventType") or event["EventID"])


def address_of(event: Event) -> str:
    addresses = event.get("sourceIPs") or [None]
    okta = at_path(event, "client", "ipAddress")
    return event.get("sourceIPAddress") or okta or event.get("IpAddress") or addresses[0] or ""


def outcome_of(event: Event) -> str:
    code = at_path(event, "responseStatus", "code")
    result = at_path(event, "outcome", "result")
    if event.get("errorCode") == "AccessDenied" or code in {401, 403} or result == "DENY":
        return "denied"
    login = at_path(event, "responseElements", "ConsoleLogin")
    failed = event.get("errorCode") or result == "FAILURE" or login == "Failure"
    if failed or (code or 0) >= 400 or event.get("EventType") == "AUDIT_FAILURE":
        return "failure"
    return "success"


def denied(raw: Raw) -> list[Event]:
    return [event for event in raw.everything if outcome_of(event) == "denied"]


def times(events: Iterable[Event], *, latest_first: bool = True) -> tuple[str, ...]:
    known = [when for event in events if (when := at(event))]
    moments = sorted(known, reverse=latest_first)
    return tuple(
        moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        for moment in moments
    )


def found(events: Iterable[Event], *, latest_first: bool = True) -> Answer:
    shown = times(events, latest_first=latest_first)
    return Answer(len(shown), times=shown)


def counted(values: Iterable[str], *distinct: Iterable[Any], top: int = 10) -> Answer:
    counts = Counter(values)
    rows = dict(counts.most_common(top))
    if rest := counts.total() - sum(rows.values()):
        rows["(others)"] = rest
    return Answer(counts.total(), rows, tuple(len({*each} - {None}) for each in distinct))


def at_path(value: Any, *keys: str) -> Any:
    for key in keys:
        value = value.get(key) if isinstance(value, dict) else None
    return value


def aws_name(event: Event) -> str:
    user = event.get("userIdentity")
    return at_path(user, "userName") or at_path(user, "sessionContext", "sessionIssuer", "userName")


def aws_action(event: Event) -> str:
    return f"{event['eventSource'].split('.')[0]}.{event['eventName']}"


def calls(raw: Raw, *names: str) -> list[Event]:
    return [event for event in raw.cloudtrail if event.get("eventName") in names]


def parameter(event: Event, name: str) -> Any:
    return at_path(event, "requestParameters", name)


def in_block(text: str | None, block: str) -> bool:
    try:
        return ipaddress.ip_address(text or "") in ipaddress.ip_network(block)
    except ValueError:
        return False


def windows(raw: Raw, event_id: int) -> list[Event]:
    return [event for event in raw.windows if str(event["EventID"]) == str(event_id)]


def scalars(value: Any) -> Iterator[str]:
    if isinstance(value, dict | list):
        for each in value.values() if isinstance(value, dict) else value:
            yield from scalars(each)
    else:
        yield str(value)


def with_words(raw: Raw, *phrases: str, without: str = "\0") -> list[Event]:
    """Events in which the words of every phrase stand one after the other."""
    matching = []
    for line, event in raw.lines:
        if all(word in line for phrase in phrases for word in phrase.split()):
            words = " ".join(re.findall(r"[^\W_]+", " ".join(scalars(event)).lower()))
            padded = f" {words} "
            if all(f" {phrase} " in padded for phrase in phrases) and f" {without} " not in padded:
                matching.append(event)
    return matching


ATTACKER = "203.0.113.77"
KINDS = ("secretId", "name")
WEB_ROLE = "arn:aws:sts::111122223333:assumed-role/web-instance-role/"


def attack_over_time(raw: Raw) -> Answer:
    begin = "2026-06-15T09:30:00Z"
    events = [event for event in raw.everything if address_of(event) == ATTACKER]
    rows: dict[str, list[int]] = {}
    for half_hours in range(4):
        start = datetime.fromisoformat(begin) + timedelta(minutes=30 * half_hours)
        part = between(events, start.isoformat(), (start + timedelta(minutes=30)).isoformat())
        outcomes = Counter(map(outcome_of, part))
        columns = [outcomes[outcome] for outcome in ("success", "denied", "failure")]
        rows[start.isoformat().replace("+00:00", "Z")] = [len(part), *columns]
    total = sum(row[0] for row in rows.values())
    return Answer(total, {start: tuple(row) for start, row in rows.items()})


def failed_logons_by_day(raw: Raw) -> Answer:
    zone = ZoneInfo("America/New_York")
    names = ("backup", "erik", "finn")
    rows = {f"2026-06-{day}T00:00:00-04:00": [0] * 4 for day in range(10, 16)}
    for event in windows(raw, 4625):
        when = at(event)
        assert when is not None
        row = rows[when.astimezone(zone).strftime("%Y-%m-%dT00:00:00-04:00")]
        row[0] += 1
        row[1 + names.index(event["TargetUserName"])] += 1
    counts = {start: tuple(row) for start, row in rows.items()}
    return Answer(sum(row[0] for row in counts.values()), counts)


def reads_of_secrets(raw: Raw) -> list[Event]:
    return [e for e in calls(raw, "GetSecretValue", "GetParameter") if not e.get("errorCode")]


def secrets_read(raw: Raw) -> Answer:
    read = reads_of_secrets(raw)
    secrets, parameters = ([parameter(event, name) for event in read] for name in KINDS)
    return counted(map(aws_name, read), secrets, parameters)


def with_web_role(raw: Raw) -> list[Event]:
    return [e for e in raw.cloudtrail if e["userIdentity"]["arn"].startswith(WEB_ROLE)]


def changes_of_the_role(raw: Raw) -> Answer:
    writes = ("Create", "Attach", "Add", "D", "Remove")
    return found(
        [
            event
            for event in raw.cloudtrail
            if parameter(event, "roleName") == "support-read"
            and event["eventName"].startswith(writes)
        ],
        latest_first=False,
    )


def from_inside(raw: Raw) -> list[Event]:
    return [event for event in raw.everything if in_block(address_of(event), "10.0.0.0/8")]


def access_keys(raw: Raw) -> Answer:
    events = between(raw.everything, "2026-06-15T10:00:00Z", "2026-06-15T10:30:00Z")
    keys = Counter(at_path(event, "userIdentity", "accessKeyId") or "" for event in events)
    del keys[""]
    return Answer(len(events), dict(keys))


def without_mfa(raw: Raw) -> list[Event]:
    logins = calls(raw, "ConsoleLogin")
    return [e for e in logins if at_path(e, "additionalEventData", "MFAUsed") == "No"]


def shells(raw: Raw) -> Answer:
    kinds = ("exec", "attach")
    events = [e for e in raw.kubernetes if at_path(e, "objectRef", "subresource") in kinds]
    return found([event for event in events if event["verb"] == "create"])


def every_verb(raw: Raw) -> Answer:
    def rules(event: Event) -> list[Event]:
        return at_path(event, "requestObject", "rules") or []

    return found(
        event
        for event in raw.kubernetes
        if any(verb.startswith("*") for rule in rules(event) for verb in rule["verbs"])
    )


def bound_to_admin(raw: Raw) -> Answer:
    path = ("requestObject", "roleRef", "name")
    return found(event for event in raw.kubernetes if at_path(event, *path) == "cluster-admin")


def cleared_by(event: Event) -> str:
    match = re.search(r"Account Name:\s+(\S+)", event["Message"])
    assert match
    return match[1]


def dumps(raw: Raw) -> Answer:
    ways = (("lsass exe", "ma"), ("create full",), ("create shadow",), ("reg save",))
    started = {id(event): event for way in ways for event in with_words(raw, *way)}
    return found(event for event in started.values() if str(event.get("EventID")) == "4688")


def errors(raw: Raw) -> Answer:
    worse = {"ERROR", "CRITICAL"}
    assert not any(event["severity"] in worse for event in raw.okta)
    events = [event for event in raw.windows if event["Severity"] in worse]
    return counted((f"windows.{event['EventID']}" for event in events), top=5)


def became_administrator(raw: Raw) -> Answer:
    return found(
        event
        for event in raw.okta
        if any(target["type"] == "ROLE" for target in event["target"] or ())
    )


COUNTS: dict[int, list[Callable[[Raw], Answer]]] = {
    1: [
        lambda raw: found(calls(raw, "DeleteTrail")),
        lambda raw: counted(
            aws_action(event)
            for event in raw.cloudtrail
            if event.get("eventSource") == "cloudtrail.amazonaws.com"
        ),
    ],
    2: [attack_over_time],
    3: [
        lambda raw: counted(
            map(name_of, denied(raw)),
            map(action_of, denied(raw)),
        ),
        lambda raw: found(denied(raw)),
    ],
    4: [
        secrets_read,
        lambda raw: found(e for e in reads_of_secrets(raw) if aws_name(e) == "erik"),
    ],
    5: [changes_of_the_role],
    6: [
        lambda raw: counted(event["sourceIPAddress"] for event in with_web_role(raw)),
        lambda raw: found(e for e in with_web_role(raw) if e["sourceIPAddress"] == ATTACKER),
    ],
    7: [
        lambda raw: counted(
            map(name_of, from_inside(raw)),
            map(address_of, from_inside(raw)),
            map(action_of, from_inside(raw)),
        ),
        lambda raw: found(
            e for e in from_inside(raw) if e.get("eventSource") == "iam.amazonaws.com"
        ),
    ],
    8: [access_keys],
    9: [lambda raw: found(without_mfa(raw))],
    10: [lambda raw: Answer(metadata=without_mfa(raw)[0])],
    11: [shells],
    12: [every_verb, bound_to_admin],
    13: [
        failed_logons_by_day,
        lambda raw: counted(event["TargetUserName"] for event in windows(raw, 4625)),
    ],
    14: [
        lambda raw: counted(
            map(cleared_by, windows(raw, 1102)),
            (event["Hostname"] for event in windows(raw, 1102)),
        ),
        lambda raw: Answer(
            total=len(windows(raw, 1102)), times=times(windows(raw, 1102))[:1]
        ),
    ],
    15: [
        lambda raw: found(with_words(raw, "backdoor"), latest_first=False),
        lambda raw: found(with_words(raw, "backdoor", without="wmic"), latest_first=False),
    ],
    16: [
        lambda raw: counted(
            (event["Hostname"] for event in with_words(raw, "nop sta w 1 enc")),
            (event["SubjectUserName"] for event in with_words(raw, "nop sta w 1 enc")),
        )
    ],
    17: [dumps],
    18: [errors],
    19: [became_administrator],
    20: [
        lambda raw: Answer(
            total=sum("old_permission" in (event.get("changes") or {}) for event in raw.github)
        )
    ],
}  # fmt: skip


@pytest.fixture
def printed(example_logs: Any, ocelot: Any, tokens: Any) -> Any:
    """What a command of the document prints: its tenant is acme, and that of the files another."""
    tenant = example_logs.access.tenant.id

    async def run(line: str) -> str:
        text: str = await ocelot.shell(
            line.replace("--tenant acme", f"--tenant {tenant}"),
            **tokens(example_logs.access, "reader"),
        )
        return text.replace(tenant, "acme")

    return run


def test_there_are_twenty_questions_and_each_is_counted():
    assert list(QUESTIONS) == list(COUNTS) == list(range(1, 21))
    for at, (title, commands) in QUESTIONS.items():
        assert len(commands) == len(COUNTS[at]), title
        assert all(command.output for command in commands), title
    assert PREFACE.startswith("# ")


async def test_the_import_prints_what_is_shown_and_takes_every_line(
    example_logs: Any, printed: Any, raw: Raw
):
    *imports, all_found = IMPORT

    assert {command.line for command in imports} == set(example_logs.printed)
    for command in imports:
        lines = example_logs.printed[command.line].splitlines()
        # Only a slow import reports its progress.
        text = "\n".join(line for line in lines if " accepted, 0 not, " not in line)
        assert fits(command.output, text), text
    text = await printed(all_found.line)
    assert fits(all_found.output, text), text
    assert read(text).total == len(raw.everything)


@pytest.mark.parametrize("at", QUESTIONS, ids=[title for title, _ in QUESTIONS.values()])
async def test_the_answer_is_what_is_shown_and_what_the_files_say(at: int, printed: Any, raw: Raw):
    for command, count in zip(QUESTIONS[at][1], COUNTS[at], strict=True):
        text = await printed(command.line)

        assert fits(command.output, text), text
        expected = count(raw)
        assert read(text) == expected
        assert expected.total != 0


@pytest.mark.parametrize(
    ("shown", "text", "same"),
    [
        (["a", "b"], "a  \nb\n", True),
        (["a"], "a\nb\n", False),
        (["a", "b"], "a\n", False),
        ([CUT, "b"], "b\n", True),
        (["a", CUT, "c"], "a\nb\nb\nc\n", True),
        (["a", CUT, "c"], "a\nb\n", False),
        ([f"a {CUT} c"], "a b b c\n", True),
        ([f"a {CUT} c"], "a b b\n", False),
        (["a.c"], "abc\n", False),
    ],
)
def test_what_is_cut_may_be_anything_and_the_rest_nothing_else(
    shown: list[str], text: str, same: bool
):
    assert fits(shown, text) is same
