import os
from pathlib import Path

import pytest
from pydantic import ValidationError

from ocelot_common.settings import (
    MongoSettings,
    OpenSearchSettings,
    ProbesSettings,
    ProvisioningSettings,
    SigningSettings,
    SqsSettings,
    TelemetrySettings,
    TokenSettings,
    WorkerSettings,
    load,
    read,
)

REQUIRED = {
    "MONGODB_URL": "mongodb://localhost:27017/?replicaSet=rs0",
    "SQS_QUEUE_URL": "http://localhost:4566/000000000000/ingest",
    "OCELOT_QUEUE_KEYS_FILE": "/keys/queue-keys",
}


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """An environment that holds what is required and nothing else."""
    for name in list(os.environ):
        if name.startswith(("OCELOT_", "MONGODB_", "SQS_", "AWS_", "OPENSEARCH_", "OTEL_", "LOG_")):
            monkeypatch.delenv(name)
    for name, value in REQUIRED.items():
        monkeypatch.setenv(name, value)
    return monkeypatch


def test_defaults_are_those_of_production() -> None:
    settings = load(WorkerSettings)
    assert settings.mongodb_url == REQUIRED["MONGODB_URL"]
    assert settings.sqs_queue_url == REQUIRED["SQS_QUEUE_URL"]
    assert settings.mongodb_database == "ocelot"
    assert settings.sqs_endpoint_url is None
    assert settings.opensearch_url is None
    assert settings.log_level == "INFO"
    assert settings.receivers == 4


def test_every_variable_is_read(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("AWS_ENDPOINT_URL_SQS", "http://localhost:4566")
    environment.setenv("AWS_REGION", "eu-central-1")
    environment.setenv("OPENSEARCH_URL", "http://localhost:9201")
    environment.setenv("OCELOT_PROBES_PORT", "9000")
    environment.setenv("OCELOT_DRAIN_TIMEOUT_SEC", "2.5")
    environment.setenv("OCELOT_SIGNING_KEY_FILE", "/keys/signing.pem")
    settings = load(WorkerSettings)
    assert settings.sqs_endpoint_url == "http://localhost:4566"
    assert settings.aws_region == "eu-central-1"
    assert settings.opensearch_url == "http://localhost:9201"
    assert (settings.probes_port, settings.drain_timeout_sec) == (9000, 2.5)
    assert load(SigningSettings).signing_key_file == Path("/keys/signing.pem")


def test_one_message_names_every_wrong_variable(
    environment: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    environment.delenv("MONGODB_URL")
    environment.delenv("SQS_QUEUE_URL")
    environment.setenv("MONGODB_DATABASE", "a.b")
    environment.setenv("LOG_LEVEL", "loud")
    environment.setenv("OCELOT_PROBES_PORT", "70000")
    environment.setenv("OCELOT_RECEIVERS", "many")
    environment.setenv("OCELOT_DRAIN_TIMEOUT_SEC", "0")
    with pytest.raises(SystemExit) as ended:
        load(WorkerSettings)
    assert ended.value.code == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    first, *rest = shown.err.splitlines()
    assert first == "The settings of this process are wrong:"
    assert {line.split(":")[0].strip() for line in rest} == {
        "MONGODB_URL", "SQS_QUEUE_URL", "MONGODB_DATABASE", "LOG_LEVEL", "OCELOT_PROBES_PORT",
        "OCELOT_RECEIVERS", "OCELOT_DRAIN_TIMEOUT_SEC",
    }  # fmt: skip
    assert "  MONGODB_URL: is required" in rest


def test_a_message_holds_no_values_which_may_be_secret(
    environment: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    environment.setenv("MONGODB_DATABASE", "s3cret!")
    with pytest.raises(SystemExit):
        load(MongoSettings)
    assert "s3cret" not in capsys.readouterr().err


@pytest.mark.parametrize(
    "url",
    [
        "https://mongodb.example.com",
        "mongodb://",
        "mongodb://ocelot:s3cret@1@mongodb/",
        "mongodb://ocelot:s3cret/1@mongodb/",
        "mongodb://ocelot:s3cret:1@mongodb/",
        "mongodb://ocelot:s3cret%@mongodb/",
        "mongodb://mongodb:s3cret/",
        "mongodb://mongodb/?directConnection=true&loadBalanced=true",
        "mongodb+srv://ocelot:s3cret@1@mongodb.example.com/",
    ],
)
def test_a_url_that_is_none_of_mongodb_is_told_without_its_password(
    environment: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], url: str
) -> None:
    environment.setenv("MONGODB_URL", url)
    with pytest.raises(SystemExit) as ended:
        load(MongoSettings)
    assert ended.value.code == 2
    shown = capsys.readouterr().err
    assert "MONGODB_URL: " in shown
    assert "Percent-encode" in shown
    assert "s3cret" not in shown


@pytest.mark.parametrize(
    "url",
    [
        "mongodb://a:1,b:2/?replicaSet=rs0&tls=true",
        "mongodb://ocelot:s3%40cret@mongodb/admin?retryWrites=true",
        "mongodb://mongodb/?anOptionOfTomorrow=1",
        "mongodb+srv://ocelot:s3cret@mongodb.example.com/?srvMaxHosts=2",
    ],
)
def test_a_url_of_mongodb_may_be(environment: pytest.MonkeyPatch, url: str) -> None:
    environment.setenv("MONGODB_URL", url)
    assert load(MongoSettings).mongodb_url == url


def test_an_empty_variable_is_one_that_is_not_set(
    environment: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    environment.setenv("OPENSEARCH_URL", "")
    environment.setenv("OCELOT_PROBES_PORT", "")
    assert load(OpenSearchSettings).opensearch_url is None
    assert load(ProbesSettings).probes_port == 8080
    environment.setenv("MONGODB_URL", "")
    with pytest.raises(SystemExit):
        load(MongoSettings)
    assert "MONGODB_URL: is required" in capsys.readouterr().err


def test_variables_of_others_are_passed_over(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("OCELOT_SOMETHING_NEW", "1")
    assert load(TokenSettings).token_issuer == "ocelot"


def test_settings_do_not_change(environment: pytest.MonkeyPatch) -> None:
    settings = load(TelemetrySettings)
    with pytest.raises(ValidationError, match="frozen"):
        settings.log_level = "DEBUG"


def test_reading_alone_ends_nothing(environment: pytest.MonkeyPatch) -> None:
    environment.delenv("SQS_QUEUE_URL")
    with pytest.raises(ValidationError):
        read(SqsSettings)


@pytest.mark.parametrize("prefix", ["", "a_", "team-1_", "x" * 31 + "_"])
def test_an_index_prefix_may_be(environment: pytest.MonkeyPatch, prefix: str) -> None:
    environment.setenv("OCELOT_INDEX_PREFIX", prefix)
    assert load(ProvisioningSettings).index_prefix == prefix


@pytest.mark.parametrize("prefix", ["a", "_", "A_", "-a_", "a_b_", "a*_", "x" * 32 + "_", "a_\n"])
def test_an_index_prefix_may_not_be(environment: pytest.MonkeyPatch, prefix: str) -> None:
    environment.setenv("OCELOT_INDEX_PREFIX", prefix)
    with pytest.raises(ValidationError):
        read(ProvisioningSettings)


def test_every_setting_has_a_variable_and_a_description() -> None:
    """`.env.example` is generated from them."""
    groups = (WorkerSettings, TokenSettings, SigningSettings, ProvisioningSettings)
    for name, field in (item for group in groups for item in group.model_fields.items()):
        assert field.alias, name
        assert field.alias == field.alias.upper()
        assert field.description, name
