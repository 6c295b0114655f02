"""Text of others in whatever a command prints: no terminal is driven, and no reader deceived.

Every command of the application has its cases here; a new one without a case fails. They run in
this process, on MongoDB with hostile documents and against a server that answers with hostile text,
into a pipe and into what rich takes for a terminal.
"""

import hashlib
import json
import re
import secrets
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any, Final, NamedTuple

import msgspec
import pytest
import pytest_asyncio
import typer
from rich.color import ColorSystem
from typer.testing import CliRunner

from ocelot_cli import console
from ocelot_cli.export import output
from ocelot_cli.main import app
from ocelot_common import mongo
from ocelot_common.auth.keys import new_signing_key, save_signing_key
from ocelot_common.dead_letters import DeadLetter, DeadLetterStore, Reason, Stage
from ocelot_common.holds import HoldStore
from ocelot_common.ids import format_id, new_id
from ocelot_common.jobs.model import Job, JobError, JobState
from ocelot_common.jobs.store import to_document
from ocelot_common.provisioning.database import prepare_database
from ocelot_common.registry.model import Isolation, Tenant, TenantState
from ocelot_common.registry.store import RegistryStore, RegistryTransaction
from ocelot_common.terminal import is_safe

pytestmark = [pytest.mark.mongodb]

#: What rich writes of itself on a terminal: colours, and what redraws a line.
_OF_RICH: Final = re.compile(r"\x1b\[(?:\d+(?:;\d+)*)?m|\x1b\[\?25[lh]|\x1b\[\d*[AK]|\r(?=\x1b\[)")
#: A title, a cleared screen, C1, reordering, invisible characters, lines of their own, markup.
HOSTILE: Final = (
    "owned\x1b]0;title\x07\x1b[2J\x9b2J\x9d0;t\x9c\x7f\x08\u202e\u2066\u200f\u061c\u200b\u00ad\u2028"
    "\u2029\ufeff\U000e0041\x85\r\nerror: forged [red]red[/] :smiley:"
)
#: As much of it as a token of the command line or an HTTP header can hold.
ARGUMENT: Final = HOSTILE.replace("\r\n", "\n")
HEADER: Final = "owned\x9b2J\x85\x9d0;t\x9c [red]red[/]"
EVENT_ID: Final = "0192aaaa-bbbb-7ccc-8ddd-eeeeeeeeeeee"
EVENT: Final[dict[str, Any]] = {
    "id": EVENT_ID,
    "received_at": HOSTILE,
    "occurred_at": "2026-11-24T10:30:00Z",
    "action": HOSTILE,
    "actor": {"id": HOSTILE, "name": HOSTILE},
    "targets": [{"id": HOSTILE, "name": HOSTILE}],
    "outcome": HOSTILE,
    "message": HOSTILE,
    "metadata": {HOSTILE: HOSTILE},
}
COUNT: Final = {"value": 1, "relation": "approximate"}
STATS: Final = {
    "total": 1,
    "backend": HOSTILE,
    "buckets": [{"start": HOSTILE, "count": 1}],
    "groups": {
        "field": HOSTILE,
        "values": [{"value": HOSTILE, "count": 1, "buckets": [{"start": HOSTILE, "count": 1}]}],
        "other": 1,
    },
    "distinct": {HOSTILE: COUNT},
}
PAGE: Final = {
    "items": [EVENT],
    "next_cursor": None,
    "total": {"value": 1, "relation": HOSTILE},
    "backend": HOSTILE,
}


class Server(ThreadingHTTPServer):
    """Answers every request in the same way."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answers: dict[str, tuple[int, dict[str, str], bytes]] = {}

    @property
    def url(self) -> str:
        """Where it answers."""
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    server: Server

    def _answer(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        path = self.path.partition("?")[0]
        answer = self.server.answers.get(path) or self.server.answers[""]
        status, headers, content = answer
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_POST = _answer  # noqa: N815 - the names that http.server calls

    def log_message(self, *args: Any) -> None:
        del args


def ok(content: Any, **headers: str) -> tuple[int, dict[str, str], bytes]:
    return 200, headers, msgspec.json.encode(content)


def problem(status: int) -> tuple[int, dict[str, str], bytes]:
    body = {"status": status, "code": HOSTILE, "detail": HOSTILE, "path": HOSTILE}
    return status, {"X-Request-ID": HEADER}, msgspec.json.encode(body)


def exported(
    trailer: dict[str, Any], line: bytes = msgspec.json.encode(EVENT) + b"\n"
) -> tuple[int, dict[str, str], bytes]:
    last = {"events": line.count(b"\n"), "sha256": hashlib.sha256(line).hexdigest(), **trailer}
    headers = {"Ocelot-Stored-Until": HEADER, "Ocelot-Complete-Until": HEADER}
    return 200, headers, line + msgspec.json.encode({"export": last}) + b"\n"


class Case(NamedTuple):
    """One run of a command.

    Attributes:
        args: behind its path; `{name}` is replaced by what the scene has under this name.
        answer: of the server, to everything.
        told: whether text of others must be seen, so that the case can fail.
        stdin: of the command.
        json: how much of stdout is JSON: nothing, all of it, or each line.
        terminal: an export's output is a terminal.
    """

    args: tuple[str, ...] = ()
    answer: tuple[int, dict[str, str], bytes] | None = None
    told: bool = True
    stdin: str = ""
    json: str = ""
    terminal: bool = False


_LINE = msgspec.json.encode({"action": HOSTILE, "actor": {"id": "u"}}).decode()
_REFUSED = ok({"accepted": 0, "errors": [{"index": 0, "code": HOSTILE, "detail": HOSTILE}]})
_RAW = (403, {}, HOSTILE.encode())
_HTML = (200, {}, b"<html>" + HOSTILE.encode())
_HTTP_FAULTS = [Case(answer=answer) for answer in (problem(401), problem(422), _RAW)]
_REFUSALS = [*_HTTP_FAULTS, Case(("--tenant", ARGUMENT), told=False)]
#: By the command's path.
CASES: Final[dict[str, list[Case]]] = {
    "": [Case((ARGUMENT,)), Case((f"--{ARGUMENT}",)), Case(("search", f"--{ARGUMENT}"))],
    "send": [
        Case(answer=(202, *_REFUSED[1:]), stdin=_LINE),
        *(each._replace(stdin=_LINE) for each in _HTTP_FAULTS),
        Case(answer=_HTML, stdin=_LINE),
        Case(("--patience", "1"), answer=problem(503), stdin=_LINE),
        Case((f"no such {ARGUMENT}",)),
        Case(("{bad_file}",), answer=(202, *_REFUSED[1:])),
        Case(("{good_file}", "--rejects", f"no/such/{ARGUMENT}")),
    ],
    "import": [
        Case(("--list-mappings",), told=False),
        Case(("--dry-run", "-m", "okta", "{okta}"), json="lines"),
        Case(("--dry-run", "-m", "okta", "{bad_file}")),
        Case(("--dry-run", "-m", ARGUMENT, "{okta}")),
        Case(("--dry-run", "-m", "okta", "--zone", ARGUMENT, "{okta}"), told=False),
        Case(("--dry-run", "-m", "{mapping}", "{okta}")),
        Case(("--dry-run", "-m", "{half_mapping}", "{okta}"), told=False),
        Case(("-m", "okta", "{okta}"), answer=(202, *_REFUSED[1:])),
    ],
    "search": [
        Case(answer=ok(PAGE)),
        Case(("--json",), answer=ok(PAGE), json="lines"),
        Case(("--fields", f"action,metadata.{ARGUMENT},received_at"), answer=ok(PAGE)),
        Case(("--where", ARGUMENT)),
        Case(("--from", ARGUMENT), told=False),
        Case(answer=_HTML),
        *_REFUSALS,
    ],
    "stats": [
        Case(("--by", ARGUMENT, "--every", "1h"), answer=ok(STATS)),
        Case(("--by", "x"), answer=ok({k: v for k, v in STATS.items() if k != "buckets"})),
        Case(("--json",), answer=ok(STATS), json="all"),
        *_REFUSALS,
    ],
    "get": [
        Case((EVENT_ID,), answer=ok(EVENT), json="all"),
        *(each._replace(args=(EVENT_ID, *each.args)) for each in _REFUSALS),
        Case((ARGUMENT,), told=False),
    ],
    "export": [
        Case(("-o", "{new}"), answer=exported({"complete": True})),
        Case(answer=exported({"complete": True}), json="lines", terminal=True),
        Case(("--format", "json"), exported({"complete": True}), json="all", terminal=True),
        Case(
            ("--format", "csv", "--columns", f"id,message,metadata.{ARGUMENT}"),
            exported({"complete": True}),
            terminal=True,
        ),
        Case(
            ("-o", "{new}", "--patience", "1"),
            exported({"complete": False, "code": HOSTILE, "detail": HOSTILE}, line=b""),
        ),
        Case(("-o", "{bad_file}")),
        Case(("-o", f"no/such/{ARGUMENT}"), told=False),
        Case(("-o", ARGUMENT, "--resume"), told=False),
        *(each._replace(args=("-o", "{new}", *each.args)) for each in _REFUSALS),
    ],
    "tenants create": [
        Case(("t-{random}", "--owner", ARGUMENT, "--display-name", ARGUMENT), told=False),
        Case((ARGUMENT,), told=False),
        Case(("{hostile_id}", "--owner", "else"), told=False),
    ],
    "tenants list": [Case(), Case(("--json", "--all"), json="lines")],
    "tenants show": [
        Case(("{tenant}",)),
        Case(("{tenant}", "--json"), json="all"),
        Case((ARGUMENT,), told=False),
    ],
    "tenants update": [
        Case(("{tenant}", "--display-name", ARGUMENT)),
        Case((ARGUMENT, "--retention-days", "9"), told=False),
    ],
    "tenants suspend": [Case(("{tenant}",), told=False), Case((ARGUMENT,), told=False)],
    "tenants resume": [Case(("{tenant}",), told=False), Case((ARGUMENT,), told=False)],
    "tenants delete": [
        Case((ARGUMENT, "--now"), stdin=f"{ARGUMENT}\n"),
        Case(("{tenant}", "--owner", ARGUMENT), told=False),
    ],
    "tokens create": [
        Case(("--tenant", ARGUMENT, "--role", "reader"), told=False),
        Case(("--tenant", "{tenant}", "--role", ARGUMENT), told=False),
        Case(("--tenant", "{tenant}", "--scope", ARGUMENT)),
        Case(("--tenant", "{tenant}", "--role", "reader", "--subject", ARGUMENT), told=False),
        Case(("--tenant", "{tenant}", "--role", "reader", "--ttl", ARGUMENT), told=False),
        Case(("--tenant", "{tenant}", "--role", "reader"), told=False),
    ],
    "tokens key": [Case((f"no/such/{ARGUMENT}",), told=False), Case(("{bad_file}",))],
    "dead-letters list": [Case(), Case(("--json",), json="lines")],
    "dead-letters show": [Case(("{letter}",), json="all"), Case((ARGUMENT,), told=False)],
    # No process of jobs runs here.
    "dead-letters retry": [
        Case(("{letter}", "--wait-sec", "0"), told=False),
        Case((ARGUMENT,), told=False),
    ],
    "dead-letters accept": [
        Case(("--kid", ARGUMENT, "--wait-sec", "0"), told=False),
        Case(("--kid", "k", "--sent-from", ARGUMENT), told=False),
    ],
    "queue-keys new": [Case(("{bad_file}",), told=False), Case(("{new}",))],
    "queue-keys record": [Case(("{bad_file}",), told=False), Case(("{new}",), told=False)],
    "queue-keys list": [Case(told=False), Case(("--json",), told=False)],
    "queue-keys retire": [Case((ARGUMENT,), told=False)],
    "queue-keys lost": [
        Case((ARGUMENT, "--yes"), told=False),
        Case((ARGUMENT,), stdin="n\n", told=False),
    ],
    "dead-letters discard": [
        Case((ARGUMENT, "--yes"), told=False),
        Case((ARGUMENT,), stdin="n\n", told=False),
    ],
    "jobs list": [Case(), Case(("--json",), json="lines")],
    "jobs show": [Case(("{job}",), json="all"), Case((ARGUMENT,), told=False)],
    "jobs cancel": [Case(("{job}",)), Case((ARGUMENT,), told=False)],
    "jobs rebuild": [
        Case(("--tenant", ARGUMENT), told=False),
        Case(("--tenant", "{tenant}", "--id", ARGUMENT), told=False),
        Case(("--tenant", "{tenant}", "--received-from", ARGUMENT), told=False),
    ],
    "holds place": [
        Case(("{tenant}", "--reason", ARGUMENT, "--owner", ARGUMENT), told=False),
        Case((ARGUMENT, "--reason", "x"), told=False),
    ],
    "holds list": [Case(), Case(("--json",), json="lines")],
    "holds lift": [Case((ARGUMENT,), told=False), Case(("{hold}",), told=False)],
}


def paths(command: Any, context: Any, path: str = "") -> Iterator[str]:
    """The paths of all commands below one."""
    if not hasattr(command, "list_commands"):
        yield path
        return
    for name in command.list_commands(context):
        yield from paths(command.get_command(context, name), context, f"{path} {name}".strip())


def test_every_command_has_its_cases():
    root = typer.main.get_command(app)
    context = root.make_context("ocelot", [], resilient_parsing=True)
    assert {*paths(root, context), ""} == set(CASES)


class Scene(NamedTuple):
    """What the commands find."""

    server: Server
    env: dict[str, str]
    names: dict[str, str]


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    made = Server()
    Thread(target=made.serve_forever, daemon=True).start()
    yield made
    made.shutdown()
    made.server_close()


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def database(
    mongodb_url: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[tuple[dict[str, str], dict[str, str]]]:
    """A database whose documents somebody hostile has written; its variables, and names in it."""
    # One for all: a second one would be published for a minute before it signs.
    key = tmp_path_factory.mktemp("key") / "key.pem"
    save_signing_key(new_signing_key(), key)
    client = mongo.connect(mongodb_url, app_name="tests")
    name = f"hostile_{secrets.token_hex(4)}"
    found = client[name]
    store = RegistryStore(found)
    await prepare_database(found)
    now = datetime.now(UTC)
    rows = [
        Tenant(
            uid=secrets.token_hex(8),
            id=tenant_id,
            version=1,
            display_name=HOSTILE,
            owner="cli" if tenant_id == "acme" else HOSTILE,
            isolation=Isolation.SHARED,
            state=TenantState.ACTIVE,
            space="s",
            created_at=now,
        )
        for tenant_id in ("acme", HOSTILE)
    ]

    async def insert(transaction: RegistryTransaction) -> None:
        for row in rows:
            await transaction.insert(msgspec.structs.replace(row, version=transaction.version))

    await store.write(insert)
    uid = rows[1].uid
    letter = DeadLetter(
        stage=Stage.STORE, reason=Reason.MALFORMED, uid=uid, event_id=new_id(), content=HOSTILE,
        detail=HOSTILE, received_at=1, writer=HOSTILE, request_id=HOSTILE,
    )  # fmt: skip
    await DeadLetterStore(found).put([letter])
    await found["dead_letters"].update_many({}, {"$set": {"event_id": HOSTILE, "stage": HOSTILE}})
    job = Job(
        id=format_id(new_id()), kind=HOSTILE, uid=uid, state=JobState.SUCCEEDED, phase=HOSTILE,
        spec={HOSTILE: HOSTILE}, errors=[JobError(now, HOSTILE)], owner=HOSTILE, due_at=now,
        created_by=HOSTILE, created_at=now, every_sec=1,
    )  # fmt: skip
    await found["jobs"].insert_one(to_document(job))
    hold = await HoldStore(found).place(uid, reason=HOSTILE, owner=HOSTILE)
    names = {
        "tenant": "acme", "hostile_id": HOSTILE, "letter": letter.key, "job": job.id,
        "hold": hold.id,
    }  # fmt: skip
    variables = {
        "MONGODB_URL": mongodb_url,
        "MONGODB_DATABASE": name,
        "OCELOT_SIGNING_KEY_FILE": str(key),
    }
    yield variables, names
    await client.drop_database(name)
    await client.close()


@pytest.fixture
def scene(
    server: Server,
    database: tuple[dict[str, str], dict[str, str]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Scene:
    monkeypatch.chdir(tmp_path)
    variables, names = database
    folder = tmp_path / "[red]owned\x1b]0;t\x07\u202e"
    folder.mkdir()
    bad = folder / "bad\x9b\n.ndjson"
    bad.write_text(f"{HOSTILE}\n{_LINE}\n")
    (tmp_path / "good.ndjson").write_text(_LINE)
    okta = tmp_path / "okta.ndjson"
    okta.write_bytes(
        msgspec.json.encode(
            {
                "uuid": "1", "published": "2026-01-02T03:04:05.000Z", "eventType": HOSTILE,
                "actor": {"id": HOSTILE, "type": "User", "displayName": HOSTILE},
                "outcome": {"result": "SUCCESS"},
            }
        )
    )  # fmt: skip
    half = tmp_path / "half.yaml"
    half.write_text(json.dumps({f"owned {HOSTILE}": HOSTILE, "name": HOSTILE}))
    mapping = tmp_path / "mapping.yaml"
    mapping.write_text(half.read_text().replace("\\udb40\\udc41", ""))
    env = {
        "OCELOT_DEV_JSON": "", "OCELOT_API_URL": server.url, "OCELOT_TOKEN": "good",
        "OPENSEARCH_URL": "",
        "SQS_QUEUE_URL": "http://127.0.0.1:9/0/q", "AWS_ENDPOINT_URL_SQS": "http://127.0.0.1:9",
        "AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", **variables,
    }  # fmt: skip
    files = {
        "bad_file": str(bad), "good_file": str(tmp_path / "good.ndjson"), "okta": str(okta),
        "mapping": str(mapping), "half_mapping": str(half),
        "new": str(tmp_path / f"owned\x1b\u202e{secrets.token_hex(4)}"),
        "random": secrets.token_hex(4),
    }  # fmt: skip
    return Scene(server, env, names | files)


ALL = [
    pytest.param(path, case, id=f"{path or 'ocelot'} {number}")
    for path, cases in CASES.items()
    for number, case in enumerate(cases)
]


@pytest.mark.parametrize("colours", [False, True], ids=["pipe", "terminal"])
@pytest.mark.parametrize(("path", "case"), ALL)
def test_nothing_that_a_command_prints_drives_a_terminal(
    scene: Scene, path: str, case: Case, colours: bool, monkeypatch: pytest.MonkeyPatch
):
    if colours:
        for each in (console.out, console.err):
            monkeypatch.setattr(each, "_force_terminal", True)
            monkeypatch.setattr(each, "_color_system", ColorSystem.STANDARD)
    if case.terminal:
        monkeypatch.setattr(output, "is_terminal", lambda file: True)
    scene.server.answers[""] = case.answer or problem(500)
    args = [*path.split(), *(each.format_map(_Kept(scene.names)) for each in case.args)]

    result = CliRunner().invoke(app, args, input=case.stdin, env=scene.env)

    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    for stream in (result.stdout, result.stderr):
        shown = _OF_RICH.sub("", stream) if colours else stream
        for line in shown.split("\n"):
            assert is_safe(line.replace("\t", " ")), ascii(line)
            assert not line.startswith("error: forged")
        assert "forged red" not in shown, "markup was read"
    everything = result.stdout + result.stderr
    if case.told:
        assert "owned" in everything, everything
    if case.json:
        text = _OF_RICH.sub("", result.stdout)
        values = (
            [json.loads(text)] if case.json == "all" else list(map(json.loads, text.splitlines()))
        )
        assert values
        assert HOSTILE in _texts(values)


class _Kept(dict[str, str]):
    """Leaves what it does not know."""

    def __missing__(self, name: str) -> str:
        return "{" + name + "}"


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield key
            yield from _texts(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _texts(inner)
