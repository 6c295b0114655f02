from pathlib import Path

import pytest

from ocelot_devstack.errors import DevstackError
from ocelot_devstack.helm import VERSION, find_helm


def program(folder: Path, name: str, script: str) -> None:
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


async def test_the_helm_on_the_path_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    program(tmp_path / "bin", "helm", "true")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))

    assert await find_helm(tmp_path / "cache", print) == tmp_path / "bin" / "helm"


async def test_without_one_it_is_built_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    program(tmp_path / "bin", "go", 'echo "$@" >> "$GOBIN/helm"')
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
    said: list[str] = []

    first = await find_helm(tmp_path / "cache", said.append)
    second = await find_helm(tmp_path / "cache", said.append)

    assert first == second == tmp_path / "cache" / f"helm-{VERSION}" / "helm"
    assert len(said) == 1
    assert first.read_text().splitlines() == [
        f"install -trimpath -ldflags=-s -w helm.sh/helm/v4/cmd/helm@v{VERSION}"
    ]


async def test_without_go_the_reason_is_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PATH", str(tmp_path))

    with pytest.raises(DevstackError, match="Go"):
        await find_helm(tmp_path / "cache", print)


async def test_a_failed_build_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    program(tmp_path / "bin", "go", 'echo half > "$GOBIN/helm"; echo why; exit 1')
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")

    with pytest.raises(DevstackError, match="why"):
        await find_helm(tmp_path / "cache", print)
    assert not [path for path in (tmp_path / "cache").iterdir() if path.is_dir()]
