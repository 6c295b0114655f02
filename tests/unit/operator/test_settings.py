"""The operator's settings."""

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from ocelot_operator.minting import RENEW_AFTER
from ocelot_operator.resource import MIN_TTL, OBJECT_NAME
from ocelot_operator.settings import OperatorSettings


def settings(**given: Any) -> OperatorSettings:
    values = {
        "MONGODB_URL": "mongodb://localhost/",
        "OCELOT_API_URL": "http://api",
        "OCELOT_OPERATOR_NAMESPACE": "ocelot",
    }
    return OperatorSettings.model_validate(values | given)


def test_the_id_of_an_installation_is_the_same_for_all_its_replicas_and_of_no_other() -> None:
    again = settings(MONGODB_DATABASE="restored", OCELOT_API_URL="http://other")
    assert again.installation == settings().installation
    others = [
        settings(OCELOT_OPERATOR_NAMESPACE="staging"),
        settings(OCELOT_ADMIN_TOKEN_SECRET="other-admin-token"),
    ]
    assert len({settings().installation, *(each.installation for each in others)}) == 3


def test_no_interval_is_too_long_for_the_shortest_token() -> None:
    """Half of the last third stays for the kubelet and the client."""
    longest = 60
    assert settings(OCELOT_OPERATOR_INTERVAL_SEC=longest).interval_sec == longest
    assert 1.1 * longest < MIN_TTL.total_seconds() * (1 - RENEW_AFTER) / 2
    with pytest.raises(ValidationError, match="less than or equal to 60"):
        settings(OCELOT_OPERATOR_INTERVAL_SEC=longest + 1)


def test_the_chart_and_the_custom_resource_allow_the_same_names_of_secrets() -> None:
    chart = Path(__file__).parents[3] / "charts" / "ocelot"
    schema = json.loads((chart / "values.schema.json").read_text())
    assert schema["$defs"]["secretName"] == {
        "type": "string",
        "maxLength": 253,
        "pattern": f"^({OBJECT_NAME})?$",  # empty: none is named
    }
    definition = (chart / "files" / "crd-tenants.yaml").read_text()
    assert f"pattern: ^{OBJECT_NAME}$\n" in definition


@pytest.mark.parametrize("name", ["a..b", "a-.b", "a.-b", ".a", "a.", "A", "a_b", "a" * 254])
def test_a_secret_has_a_name_of_kubernetes(name: str) -> None:
    with pytest.raises(ValidationError, match="OCELOT_SIGNING_KEY_SECRET"):
        settings(OCELOT_SIGNING_KEY_SECRET=name)
