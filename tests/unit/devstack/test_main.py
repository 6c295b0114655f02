import asyncio
from collections.abc import Iterator

import pytest
import structlog

from ocelot_common.provisioning.errors import ProvisioningError
from ocelot_common.telemetry.logs import get_logger
from ocelot_devstack import main as main_module
from ocelot_devstack.interrupts import Interrupts
from ocelot_devstack.main import main


@pytest.fixture(autouse=True)
def logging_as_before() -> Iterator[None]:
    yield
    structlog.reset_defaults()


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


def test_demo_tenants_that_can_not_be_created_are_one_message(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async def up(*_: object, **__: object) -> int:
        raise ProvisioningError("the index 'logs_acme_2026-11_000001' exists")

    monkeypatch.setattr(main_module, "up", up)
    with pytest.raises(SystemExit) as ended:
        main(["up"])
    assert ended.value.code == 1
    assert "the index 'logs_acme_2026-11_000001' exists" in capsys.readouterr().err


def test_log_lines_of_the_provisioning_are_not_among_the_lines_for_people(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async def up(*_: object, **__: object) -> int:
        get_logger("ocelot_common.provisioning").warning("index_made", index="logs_acme")
        return 0

    monkeypatch.setattr(main_module, "up", up)
    with pytest.raises(SystemExit):
        main(["up"])
    printed = capsys.readouterr()
    assert printed.out + printed.err == ""


async def test_one_key_press_passed_on_twice_counts_once() -> None:
    received = Interrupts()
    received.receive()
    received.receive()
    assert received.first.is_set()
    assert not received.second.is_set()
    await asyncio.sleep(0.6)
    received.receive()
    assert received.second.is_set()
