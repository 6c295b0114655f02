import asyncio
from pathlib import Path

import pytest

from ocelot_devstack.cache import install_once


def names_in(directory: Path) -> list[str]:
    return [path.name for path in directory.iterdir()]


async def test_parallel_callers_install_once(tmp_path: Path) -> None:
    calls = 0

    async def install(into: Path) -> None:
        nonlocal calls
        calls += 1
        await asyncio.sleep(0.1)
        (into / "program").write_text("x")

    found = await asyncio.gather(*(install_once(tmp_path, "tool-1", install) for _ in range(3)))

    assert calls == 1
    assert set(found) == {tmp_path / "tool-1"}
    assert (tmp_path / "tool-1" / "program").exists()


async def test_a_failed_install_leaves_nothing_and_can_be_repeated(tmp_path: Path) -> None:
    async def broken(into: Path) -> None:
        (into / "half").write_text("x")
        raise OSError("no network")

    async def works(into: Path) -> None:
        (into / "whole").write_text("x")

    with pytest.raises(OSError, match="no network"):
        await install_once(tmp_path, "tool-1", broken)
    assert names_in(tmp_path) == ["tool-1.lock"]
    where = await install_once(tmp_path, "tool-1", works)
    assert names_in(where) == ["whole"]


async def test_what_a_killed_installer_left_is_removed(tmp_path: Path) -> None:
    (tmp_path / ".tool-1-abandoned").mkdir()

    async def install(into: Path) -> None:
        (into / "whole").write_text("x")

    await install_once(tmp_path, "tool-1", install)
    assert not (tmp_path / ".tool-1-abandoned").exists()
