"""docs/tutorial.md: its commands print what it shows, and its numbers are those of the raw files.

The raw files are read and counted here by themselves, without anything of Ocelot's, so that the
document and the search can't be wrong together.
"""

import gzip
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
        elif found := re.fullmatch(r"([\d,]+) different \S+", line):
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
def raw(real_logs: Any) -> Raw:
    lines: dict[str, list[tuple[str, Event]]] = {}
    for mapping, paths in real_logs.files.items():
        whole = [gzip.decompress(path.read_bytes()).decode() for path in paths]
        texts = [text for file in whole for text in file.split("\n")]
        lines[mapping] = [(text.lower(), json.loads(text)) for text in texts if text.strip()]
    events = {mapping: [event for _, event in pairs] for mapping, pairs in lines.items()}
    # Of EventBridge and lookup-events, the record is inside.
    events["cloudtrail"] = [
        json.loads(event["CloudTrailEvent"]) if "CloudTrailEvent" in event else event
        for event in (event.get("detail", event) for event in events["cloudtrail"])
    ]
    return Raw(
        events["cloudtrail"],
        events["kubernetes"],
        events["okta"],
        events["windows-security"],
        events["github-webhook"],
        [pair for pairs in lines.values() for pair in pairs],
    )


def at(event: Event) -> datetime:
    for key in ("eventTime", "@timestamp", "stageTimestamp", "published", "TimeCreated"):
        if event.get(key):
            when = datetime.fromisoformat(event[key])
            return when if when.tzinfo else when.replace(tzinfo=UTC)
    raise AssertionError(event)


def times(events: Iterable[Event], *, latest_first: bool = True) -> tuple[str, ...]:
    moments = sorted(map(at, events), reverse=latest_first)
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


def of_the_attack(raw: Raw, first: str, last: str) -> list[Event]:
    begin, end = map(datetime.fromisoformat, (first, last))
    return [event for event in raw.cloudtrail if begin <= at(event) < end]


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


def refused(event: Event) -> bool:
    return event.get("errorCode") in {"AccessDenied", "Client.UnauthorizedOperation"}


def nobody_else_is_refused(raw: Raw) -> bool:
    return not any(
        at_path(event, "responseStatus", "code") in {401, 403}
        or at_path(event, "outcome", "result") == "DENY"
        for event in raw.kubernetes + raw.okta
    )


def attack_over_time(raw: Raw) -> Answer:
    begin = "2023-07-10T11:40:00Z"
    rows: dict[str, list[int]] = {}
    for minutes in range(0, 30, 5):
        start = datetime.fromisoformat(begin) + timedelta(minutes=minutes)
        rows[start.isoformat().replace("+00:00", "Z")] = [0, 0, 0]
    for event in of_the_attack(raw, begin, "2023-07-10T12:10:00Z"):
        when = at(event)
        row = rows[f"{when:%Y-%m-%dT%H}:{when.minute // 5 * 5:02}:00Z"]
        row[0] += 1
        for column, name in enumerate(("bert-jan", "benjamin"), start=1):
            row[column] += aws_name(event) == name
    total = sum(row[0] for row in rows.values())
    return Answer(total, {start: tuple(row) for start, row in rows.items()})


def failed_logons_by_day(raw: Raw) -> Answer:
    zone = ZoneInfo("America/New_York")
    rows = {f"2022-08-{day:02}T00:00:00-04:00": (0, 0) for day in range(1, 11)}
    for event in windows(raw, 4625):
        start = at(event).astimezone(zone).strftime("%Y-%m-%dT00:00:00-04:00")
        if start in rows:
            everybody, pedro = rows[start]
            rows[start] = (everybody + 1, pedro + (event["TargetUserName"] == "pedro"))
    return Answer(sum(row[0] for row in rows.values()), rows)


def secrets_read(raw: Raw) -> Answer:
    read = [e for e in calls(raw, "GetSecretValue", "GetParameter") if not e.get("errorCode")]
    secrets, parameters = ([parameter(event, name) for event in read] for name in KINDS)
    return counted(map(aws_name, read), secrets, parameters)


KINDS = ("secretId", "name")
STOLEN = "stratus-red-team-ec2-steal-credentials-role"


def with_stolen_role(raw: Raw) -> list[Event]:
    role = f"arn:aws:sts::123837392027:assumed-role/{STOLEN}/"
    names = [at_path(event, "userIdentity", "arn") or "" for event in raw.cloudtrail]
    return [e for e, name in zip(raw.cloudtrail, names, strict=True) if name.startswith(role)]


def changes_of_the_role(raw: Raw) -> Answer:
    writes = ("Create", "Put", "Attach", "Add", "D", "Remove")
    return found(
        [
            event
            for event in raw.cloudtrail
            if parameter(event, "roleName") == STOLEN and event["eventName"].startswith(writes)
        ],
        latest_first=False,
    )


def from_inside(raw: Raw) -> list[Event]:
    return [e for e in raw.cloudtrail if in_block(e.get("sourceIPAddress"), "10.0.0.0/8")]


def access_keys(raw: Raw) -> Answer:
    events = of_the_attack(raw, "2023-07-10T11:50:00Z", "2023-07-10T12:10:00Z")
    keys = Counter(at_path(event, "userIdentity", "accessKeyId") or "" for event in events)
    del keys[""]
    return Answer(len(events), dict(keys.most_common(4)))


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
    events = [
        event
        for event in raw.windows
        if (event.get("Severity") or "").upper() in worse
        or (not event.get("Severity") and str(event.get("Level")) in {"1", "2"})
    ]
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
            map(aws_name, filter(refused, raw.cloudtrail)),
            map(aws_action, filter(refused, raw.cloudtrail)),
        )
    ],
    4: [secrets_read],
    5: [changes_of_the_role],
    6: [
        lambda raw: counted(event["sourceIPAddress"] for event in with_stolen_role(raw)),
        lambda raw: found(
            event
            for event in with_stolen_role(raw)
            if event["sourceIPAddress"] == "192.168.10.20"
        ),
    ],
    7: [
        lambda raw: counted(
            map(aws_name, from_inside(raw)),
            (event["sourceIPAddress"] for event in from_inside(raw)),
            map(aws_action, from_inside(raw)),
        ),
        lambda raw: found(e for e in from_inside(raw) if e["eventSource"] == "iam.amazonaws.com"),
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
            total=len(windows(raw, 1102)), times=times(windows(raw, 1102))[:3]
        ),
    ],
    15: [lambda raw: found(with_words(raw, "backdoor", without="stratus"), latest_first=False)],
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
def printed(real_logs: Any, ocelot: Any, tokens: Any) -> Any:
    """What a command of the document prints: its tenant is acme, and that of the files another."""
    tenant = real_logs.access.tenant.id

    async def run(line: str) -> str:
        text: str = await ocelot.shell(
            line.replace("--tenant acme", f"--tenant {tenant}"),
            **tokens(real_logs.access, "reader"),
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
    real_logs: Any, printed: Any, raw: Raw
):
    *imports, all_found = IMPORT

    assert {command.line for command in imports} == set(real_logs.printed)
    for command in imports:
        lines = real_logs.printed[command.line].splitlines()
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
