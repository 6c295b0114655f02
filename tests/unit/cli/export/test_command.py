"""What `ocelot export` says to a command line that makes no sense."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from ocelot_cli.main import app

AWAY = {"OCELOT_API_URL": "http://127.0.0.1:9", "OCELOT_TOKEN": "t", "OCELOT_DEV_JSON": ""}


@pytest.mark.parametrize(
    ("arguments", "status", "text"),
    [
        (["--columns", "id"], 2, "--columns"),
        (["--resume"], 2, "--resume needs the --output FILE"),
        (["--resume", "-o", "none"], 2, "does not exist"),
        (["-o", "there"], 2, "exists already"),
        (["-o", "no/such/folder"], 1, "No such file or directory"),
        (["--format", "xml"], 2, "xml"),
        (["--stored-until", "then"], 2, "--stored-until"),
        (["--from", "then"], 2, "--from"),
        (["--where", "after=1"], 2, "FILTER=VALUE"),
        (["--where", "stored_until=1"], 2, "FILTER=VALUE"),
    ],
)
def test_it_is_told_in_one_line(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    status: int,
    text: str,
):
    monkeypatch.chdir(tmp_path)
    Path("there").write_bytes(b"precious")
    result = CliRunner().invoke(app, ["export", *arguments], env=AWAY)
    assert (result.exit_code, result.stdout) == (status, "")
    assert text in result.stderr
    assert [path.name for path in tmp_path.glob("[!h]*")] == ["there"]
    assert Path("there").read_bytes() == b"precious"


def test_an_api_that_is_away_leaves_a_file_to_go_on_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    for more in ([], ["--resume"]):
        result = CliRunner().invoke(
            app, ["export", "-o", "file", "--patience", "1", *more], env=AWAY
        )
        assert result.exit_code == 6
        assert "http://127.0.0.1:9" in result.stderr
        assert "--resume" in result.stderr
