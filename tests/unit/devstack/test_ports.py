import socket

import pytest
from pydantic import ValidationError

from ocelot_devstack.errors import DevstackError
from ocelot_devstack.ports import check_ports, free_opensearch_port, free_port, is_free
from ocelot_devstack.services import SERVICES as OUR_SERVICES
from ocelot_devstack.settings import DevSettings

SERVICES = ("api", "api_probes", "consumer_probes", "indexer_probes")


def listener(address: str = "127.0.0.1") -> socket.socket:
    server = socket.socket()
    server.bind((address, 0))
    server.listen()
    return server


def on_free_ports(settings: DevSettings, **changed: int) -> DevSettings:
    names = ("mongodb", "sqs", *SERVICES)
    ports = {f"{name}_port": free_port() for name in names}
    ports["opensearch_port"] = free_opensearch_port()
    return settings.model_copy(update={**ports, **changed})


@pytest.mark.parametrize("address", ["127.0.0.1", "0.0.0.0"])  # noqa: S104 - a port taken on all addresses is taken here
def test_a_port_with_a_listener_is_not_free(address: str) -> None:
    with listener(address) as server:
        assert not is_free(server.getsockname()[1])


def test_free_ports_pass(settings: DevSettings) -> None:
    check_ports(on_free_ports(settings), SERVICES)


def test_all_taken_ports_are_named_at_once_with_the_settings_that_move_them(
    settings: DevSettings,
) -> None:
    with listener() as first, listener() as second:
        api, mongodb = first.getsockname()[1], second.getsockname()[1]
        moved = on_free_ports(settings, api_port=api, mongodb_port=mongodb)

        with pytest.raises(DevstackError) as refused:
            check_ports(moved, SERVICES)

    lines = str(refused.value).splitlines()
    assert len(lines) == 2
    assert f"ort {api} (api)" in lines[0]
    assert "OCELOT_DEV_API_PORT" in lines[0]
    assert f"ort {mongodb} (mongodb)" in lines[1]
    assert "OCELOT_DEV_MONGODB_PORT" in lines[1]


def test_one_port_meant_twice_is_refused(settings: DevSettings) -> None:
    moved = on_free_ports(settings)
    moved = moved.model_copy(update={"consumer_probes_port": moved.api_port})

    with pytest.raises(
        DevstackError, match="OCELOT_DEV_API_PORT or OCELOT_DEV_CONSUMER_PROBES_PORT"
    ):
        check_ports(moved, SERVICES)


def test_the_port_of_a_backend_that_runs_already_does_not_matter(settings: DevSettings) -> None:
    with listener() as server:
        update = {"mongodb_url": "mongodb://elsewhere/"}
        moved = on_free_ports(settings, mongodb_port=server.getsockname()[1])
        check_ports(moved.model_copy(update=update), SERVICES)


def test_opensearch_ports_that_the_runner_refuses_are_refused_first() -> None:
    with pytest.raises(ValidationError):
        DevSettings(opensearch_port=9300)
    assert free_opensearch_port() <= 9299


def test_no_port_is_given_twice() -> None:
    few = range(30_000, 30_010)  # which nothing else is given ports from
    free = [port for port in few if is_free(port)]
    assert sorted(free_port(few) for _ in free) == free
    with pytest.raises(DevstackError, match="free"):
        free_port(few)


def test_every_port_of_every_service_has_a_setting_of_its_own(settings: DevSettings) -> None:
    names = [name for spec in OUR_SERVICES for name in spec.port_names]
    assert set(SERVICES) <= set(names)
    ports = [settings.port_of(name) for name in names]
    assert 0 not in ports
    assert len(set(ports)) == len(ports)
