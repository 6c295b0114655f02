"""The operator's settings."""

from typing import Any

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
