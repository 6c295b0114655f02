import asyncio

import pytest

from ocelot_devstack.interrupts import Interrupts
from ocelot_devstack.main import main


def test_a_wrong_setting_is_named_by_its_variable(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("OCELOT_DEV_API_PORT", "many")
    monkeypatch.setenv("OCELOT_DEV_OPENSEARCH_PORT", "9300")
    with pytest.raises(SystemExit) as ended:
        main(["up"])
    assert ended.value.code == 1
    message = capsys.readouterr().err
    assert "OCELOT_DEV_API_PORT: " in message
    assert "OCELOT_DEV_OPENSEARCH_PORT: Input should be less than or equal to 9299" in message


async def test_one_key_press_passed_on_twice_counts_once() -> None:
    received = Interrupts()
    received.receive()
    received.receive()
    assert received.first.is_set()
    assert not received.second.is_set()
    await asyncio.sleep(0.6)
    received.receive()
    assert received.second.is_set()
