"""The command line: help, exit statuses, the account and the file of rejects."""

import gzip
import json
import re
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import version
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
import typer
import zstandard
from typer.testing import CliRunner

from ocelot_cli.main import app

COMMANDS = [
    [],
    ["send"],
    ["import"],
    ["search"],
    ["stats"],
    ["export"],
    ["get"],
    ["tenants"],
    *(
        ["tenants", name]
        for name in ("create", "list", "show", "update", "suspend", "resume", "delete")
    ),
    ["tokens"],
    ["tokens", "create"],
    ["tokens", "key"],
    ["dead-letters"],
    *(["dead-letters", name] for name in ("list", "show", "retry", "accept", "discard")),
    ["queue-keys"],
    *(["queue-keys", name] for name in ("new", "record", "list", "retire", "lost")),
    ["jobs"],
    *(["jobs", name] for name in ("list", "show", "cancel", "rebuild")),
    ["holds"],
    *(["holds", name] for name in ("place", "list", "lift")),
]
OKTA = (
    b'{"uuid":"1","published":"2026-01-02T03:04:05.000Z","eventType":"user.session.start",'
    b'"actor":{"id":"00u1","type":"User"},"outcome":{"result":"SUCCESS"}}'
)
ITEM = {
    "id": "0192aaaa-bbbb-7ccc-8ddd-eeeeeeeeeeee",
    "received_at": "2026-11-24T12:00:00.000Z",
    "occurred_at": "2026-11-24T10:30:00.25+02:00",
    "action": "note.write",
    "actor": {"id": "jane"},
    "message": "closes [/b] and \x1b[31mpaints",
}


class Api(BaseHTTPRequestHandler):
    """Takes events but those whose action is `bad`; answers searches by one page."""

    def do_POST(self) -> None:
        content = self.rfile.read(int(self.headers["Content-Length"]))
        if self.headers["Authorization"] != "Bearer good":
            self._answer(401, {"code": "unauthorized", "detail": "The token is not valid."})
            return
        if self._is_for_another_tenant():
            return
        packed = zstandard.ZstdDecompressor().decompressobj().decompress(content)
        events = [json.loads(line) for line in packed.split(b"\n")]
        errors = [
            {"index": n, "code": "invalid", "path": "action", "detail": "It is bad."}
            for n, event in enumerate(events)
            if event.get("action") == "bad"
        ]
        accepted = len(events) - len(errors)
        self._answer(202 if accepted else 422, {"accepted": accepted, "errors": errors})

    def do_GET(self) -> None:
        if self._is_for_another_tenant():
            return
        if self.path.startswith("/api/v1/logs/"):
            self._answer(404, {"code": "not_found", "detail": "There is no such event."})
            return
        total = {"value": 1, "relation": "eq"}
        page = {"items": [ITEM], "next_cursor": None, "total": total, "backend": "opensearch"}
        self._answer(200, page)

    def _is_for_another_tenant(self) -> bool:
        if self.headers.get("X-Tenant-ID") in (None, "acme"):
            return False
        self._answer(403, {"code": "tenant_forbidden", "detail": "It is not for this tenant."})
        return True

    def log_message(self, *args: Any) -> None:
        del args

    def _answer(self, status: int, body: dict[str, Any]) -> None:
        content = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


@pytest.fixture(scope="module")
def api_url() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Api)
    Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def ocelot(*args: object, stdin: bytes | None = None, **env: str) -> Any:
    return CliRunner().invoke(
        app, [str(arg) for arg in args], input=stdin, env={"OCELOT_DEV_JSON": ""} | env
    )


@pytest.fixture
def send(api_url: str) -> Callable[..., Any]:
    def run(*args: object, stdin: bytes | None = None, **env: str) -> Any:
        access = {"OCELOT_API_URL": api_url, "OCELOT_TOKEN": "good"}
        return ocelot(*args, stdin=stdin, **access | env)

    return run


@pytest.fixture
def written(tmp_path: Path) -> Callable[[bytes], Path]:
    def write(content: bytes, name: str = "events.ndjson") -> Path:
        (tmp_path / name).write_bytes(content)
        return tmp_path / name

    return write


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
@pytest.mark.parametrize("option", ["-h", "--help"])
def test_every_command_has_help_with_an_example_and_without_pythons_types(
    command: list[str], option: str
):
    result = ocelot(*command, option)

    assert result.exit_code == 0
    assert "Usage: " in result.output
    assert "Options:" in result.output
    assert re.search(rf"^  Example: ocelot {' '.join(command)}\b", result.output, re.MULTILINE)
    assert not re.search(r"<[a-z\[\]| ]+>", result.output)
    assert ("--install-completion" in result.output) == (not command)


def test_the_help_lists_every_command():
    """COMMANDS is complete."""
    root = typer.main.get_command(app)
    found = [[]]
    for name in root.list_commands(typer.Context(root)):
        command = root.get_command(typer.Context(root), name)
        found += [[name], *([name, inner] for inner in getattr(command, "commands", ()))]
    assert sorted(found) == sorted(COMMANDS)


def test_the_help_lists_the_exit_statuses():
    shown = ocelot("--help").output
    for status in (0, 1, 2, 3, 4, 5, 6, 130):
        assert re.search(rf"^    {status}  ", shown, re.MULTILINE), status


def test_the_help_lists_every_group():
    shown = ocelot("--help").output

    names = {command[0] for command in COMMANDS if command}
    assert {name for name in names if f"  {name}" in shown} == names


def test_the_old_name_of_a_group_works_and_is_not_in_the_help(tmp_path: Path):
    assert ocelot("token", "key", tmp_path / "key.pem").exit_code == 0
    assert (tmp_path / "key.pem").exists()
    assert "\n  token " not in ocelot("--help").output


def test_the_version_is_that_of_the_package():
    result = ocelot("--version")

    assert (result.exit_code, result.output) == (0, f"ocelot {version('ocelot-audit-cli')}\n")


@pytest.mark.parametrize(
    "args",
    [
        ["nothing-like-that"],
        ["tenants", "nothing-like-that"],
        ["send", "--no-such-option"],
        ["search", "--limit", "0"],
        ["stats", "--top", "many"],
        ["import"],
        ["tenants", "create", "x", "--isolation", "loose"],
        ["tenants", "create", "x", "--period", "day"],
        ["tenants", "create", "x", "--isolation", "shared", "--shards", "2"],
        ["dead-letters", "retry"],
        ["dead-letters", "retry", "--all", "abc"],
        ["tokens", "create"],
    ],
    ids=" ".join,
)
def test_a_wrong_command_line_is_status_2(args: list[str]):
    assert ocelot(*args).exit_code == 2


@pytest.mark.parametrize("event_id", ["stats", "../tenants", "0192aaaabbbb7ccc8dddeeeeeeeeeeee"])
def test_get_takes_an_id_and_nothing_else(send: Any, event_id: str):
    result = send("get", event_id)

    assert result.exit_code == 2
    assert result.stderr.startswith("error: ID ")


def test_sending_ends_with_status_0_and_an_account(send: Any, written: Any):
    result = send("send", written(b'{"action":"a"}\n{"action":"b"}\n\n'))

    assert (result.exit_code, result.stdout) == (0, "")
    rows = dict(line.split() for line in result.stderr.splitlines()[:3])
    assert rows == {"read": "3", "accepted": "2", "blank": "1"}


def test_without_a_file_standard_input_is_sent(send: Any):
    result = send("send", stdin=b'{"action":"a"}\n')

    assert result.exit_code == 0
    assert "accepted  1" in result.stderr


def test_lines_that_came_to_nothing_are_status_3_and_in_the_file(
    send: Any, written: Any, tmp_path: Path
):
    path = written(b'{"action":"a"}\nnot json\n{"action":"bad"}\n')

    result = send("send", path, "--rejects", tmp_path / "rejects")

    assert result.exit_code == 3
    entries = [json.loads(line) for line in (tmp_path / "rejects").read_bytes().splitlines()]
    assert [(each["line"], each["raw"]) for each in entries] == [
        (2, "not json"),
        (3, '{"action":"bad"}'),
    ]
    assert "not valid JSON" in entries[0]["reason"]
    reason = entries[1]["reason"]
    assert all(part in reason for part in ("invalid", "(action)", "It is bad."))
    assert f"{path}:3: {reason}" in result.stderr


def test_a_refused_token_is_status_5_with_one_line(send: Any, written: Any):
    result = send("send", written(b'{"action":"a"}\n'), OCELOT_TOKEN="bad")

    assert result.exit_code == 5
    assert "error: 401 unauthorized: The token is not valid.\n" in result.stderr
    assert re.search(r"known +1\b", result.stderr)


@pytest.mark.parametrize("command", ["send", "search", "get"])
def test_a_tenant_that_is_named_is_never_overruled_by_the_environments_token(
    send: Any, command: str
):
    args = {"send": ["send"], "search": ["search"], "get": ["get", ITEM["id"]]}[command]

    named = send(*args, "--tenant", "acme", stdin=b"{}\n")
    other = send(*args, "--tenant", "globex", stdin=b"{}\n")

    assert "403" not in named.stderr
    assert other.exit_code == 5
    assert "error: 403 tenant_forbidden" in other.stderr


def test_a_tenant_that_can_be_none_is_status_2(send: Any):
    assert send("search", "--tenant", "a\nb").exit_code == 2


def test_an_api_that_is_away_is_status_6(written: Any):
    path = written(b'{"action":"a"}\n')

    result = ocelot(
        "send", path, "--patience", "1", OCELOT_API_URL="http://127.0.0.1:9", OCELOT_TOKEN="t"
    )

    assert result.exit_code == 6
    assert "http://127.0.0.1:9" in result.stderr


@pytest.mark.parametrize("options", [[], ["--dry-run"]], ids=["sent", "dry"])
def test_a_file_that_is_missing_or_cut_off_is_status_1_with_its_name(
    send: Any, written: Any, options: list[str]
):
    cut = written(gzip.compress(OKTA)[:-6], "cut.ndjson.gz")

    gone = send("import", "-m", "okta", *options, "gone.ndjson")
    broken = send("import", "-m", "okta", *options, cut)

    assert (gone.exit_code, broken.exit_code) == (1, 1)
    assert "error: gone.ndjson: No such file or directory\n" in gone.stderr
    assert f"error: {cut}: Compressed file ended" in broken.stderr
    assert "Traceback" not in gone.stderr + broken.stderr


def test_rejects_that_can_not_be_written_are_status_1_before_anything_is_sent(
    send: Any, written: Any, tmp_path: Path
):
    result = send("send", written(b"{}\n"), "--rejects", tmp_path / "no" / "folder")

    assert result.exit_code == 1
    assert "No such file or directory" in result.stderr


def test_rejects_never_overwrite_what_is_to_be_read(send: Any, written: Any):
    path = written(b'{"action":"a"}\n')

    result = send("send", path, "--rejects", path)

    assert result.exit_code == 2
    assert path.read_bytes() == b'{"action":"a"}\n'


def test_an_import_is_sent_by_its_mapping(send: Any, written: Any):
    result = send("import", "-m", "okta", written(OKTA + b'\n{"a":1}\n'))

    assert result.exit_code == 3
    assert re.search(r"accepted +1\b", result.stderr)
    assert re.search(r"unreadable +1\b|or read +1\b", result.stderr)


def test_a_dry_run_prints_events_needs_no_token_and_sends_nothing(written: Any):
    path = written((OKTA + b"\n") * 3 + b"[]\n")

    result = ocelot("import", "-m", "okta", "--dry-run", path)
    some = ocelot("import", "-m", "okta", "--dry-run", "--show", "2", path)

    events = [json.loads(line) for line in result.stdout.splitlines()]
    assert result.exit_code == 3
    assert "1 of 4 lines" in result.stderr
    assert len({event["id"] for event in events}) == 3
    assert [event["metadata"] for event in events] == [json.loads(OKTA)] * 3
    assert (some.exit_code, len(some.stdout.splitlines())) == (0, 2)


def test_the_shipped_mappings_are_listed():
    listed = ocelot("import", "--list-mappings")

    assert listed.exit_code == 0
    assert [line.split()[0] for line in listed.stdout.splitlines()] == [
        "cloudtrail",
        "github-webhook",
        "kubernetes",
        "okta",
        "windows-security",
    ]


@pytest.mark.parametrize(
    "options", [["-m", "no-such"], ["-m", "gone.yaml"], ["-m", "okta", "--zone", "Mars/Base"]]
)
def test_a_mapping_or_zone_that_is_none_is_status_1(options: list[str]):
    result = ocelot("import", *options, "--dry-run")

    assert result.exit_code == 1
    assert result.stderr.startswith("error: ")


def test_a_search_shows_a_table_in_which_an_events_text_is_only_text(send: Any):
    result = send("search", "closes")

    assert result.exit_code == 0
    assert r"closes [/b] and \u001b[31mpaints" in result.stdout
    assert "1 of 1 event, from opensearch" in result.stderr


def test_a_search_shows_times_in_utc(send: Any):
    assert " 2026-11-24T08:30:00.250Z " in send("search").stdout


def test_a_search_as_json_prints_whole_events(send: Any):
    result = send("search", "--json")

    assert json.loads(result.stdout) == ITEM


@pytest.mark.parametrize("moment", ["-24h", "2026-11-24T12:00:00Z"])
def test_a_search_takes_moments_of_both_kinds(send: Any, moment: str):
    assert send("search", "--from", moment, "--to", "-1h").exit_code == 0


@pytest.mark.parametrize("command", ["search", "stats", "export"])
@pytest.mark.parametrize("option", ["--from", "--to"])
def test_a_moment_that_is_none_is_status_2_and_names_its_option(
    send: Any, command: str, option: str
):
    result = send(command, option, "yesterday")

    assert result.exit_code == 2
    assert result.stderr.startswith(f"error: {option} 'yesterday'")


@pytest.mark.parametrize(
    ("args", "option"),
    [
        (["export", "--stored-until", "soon"], "--stored-until"),
        (["tokens", "create", "--tenant", "acme", "--ttl", "soon"], "--ttl"),
        (["jobs", "rebuild", "--tenant", "acme", "--received-to", "soon"], "--received-to"),
        (["dead-letters", "accept", "--kid", "q", "--sent-from", "soon"], "--sent-from"),
    ],
)
def test_an_error_names_the_option(send: Any, args: list[str], option: str):
    result = send(*args)

    assert result.exit_code == 2
    assert result.stderr.startswith(f"error: {option} 'soon'")


def test_an_event_that_is_not_there_is_status_4(send: Any):
    result = send("get", ITEM["id"])

    assert result.exit_code == 4
    assert "error: 404 not_found: There is no such event.\n" in result.stderr


def test_commands_on_the_backends_say_what_is_not_set():
    result = ocelot("tenants", "list")

    assert result.exit_code == 2
    assert "MONGODB_URL" in result.stderr


def test_a_token_needs_a_private_key():
    result = ocelot("tokens", "create", "--tenant", "acme", "--role", "reader")

    assert result.exit_code == 2
    assert "OCELOT_SIGNING_KEY_FILE" in result.stderr


def test_a_private_key_is_written_once_and_for_its_owner_alone(tmp_path: Path):
    path = tmp_path / "key.pem"

    first, second = ocelot("tokens", "key", path), ocelot("token", "key", path)

    assert first.exit_code == 0
    assert path.stat().st_mode & 0o077 == 0
    assert second.exit_code == 1
    assert "overwritten" in second.stderr
    assert ocelot("tokens", "key", tmp_path / "no" / "folder.pem").exit_code == 1


def test_discarding_asks_first():
    result = ocelot("dead-letters", "discard", "abc", stdin=b"n\n")

    assert result.exit_code == 1
    assert "1 dead letter" in result.output


def test_a_wrong_url_of_mongodb_is_not_called_missing(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("MONGODB_URL", "https://db")
    result = ocelot("tenants", "list")
    assert result.exit_code == 2
    assert "MONGODB_URL: " in result.stderr
    assert "Set MONGODB_URL" not in result.stderr


def test_a_malformed_url_of_opensearch_is_one_line_that_names_the_setting(
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setenv("MONGODB_URL", "mongodb://db/")
    monkeypatch.setenv("OPENSEARCH_URL", "search:9200")
    result = ocelot("tenants", "list")
    assert result.exit_code == 2
    assert result.stderr.startswith("error: OPENSEARCH_URL: must be http://HOST:PORT or https://")
    assert result.stderr.count("\n") == 1
