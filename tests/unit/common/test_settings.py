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
        "mongodb://ocelot:s3cret?1@mongodb/",
        "mongodb+srv://ocelot:s3cret@1@mongodb.example.com/",
        "mongodb+srv://ocelot:s3cret/1@mongodb.example.com/",
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
    "host", ["a.example.com:27017", "a.example.com,b.example.com", "10.0.0.1", "[fd00::1]", ""]
)
def test_a_url_of_dns_records_names_one_host_and_no_port(
    environment: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], host: str
) -> None:
    environment.setenv("MONGODB_URL", f"mongodb+srv://ocelot:s3cret@{host}/?retryWrites=true")
    with pytest.raises(SystemExit) as ended:
        load(MongoSettings)
    assert ended.value.code == 2
    shown = capsys.readouterr().err
    assert "MONGODB_URL: must be mongodb+srv://HOST/" in shown
    assert "one host and without a port" in shown
    assert "s3cret" not in shown


@pytest.mark.parametrize(
    "url",
    [
        "mongodb://mongodb/?directConnection=true&loadBalanced=true",
        "mongodb://mongodb/?authMechanism=SCRAM-SHA-256",
        "mongodb://mongodb/?readPreference=primary&maxStalenessSeconds=120",
        "mongodb://mongodb/?minPoolSize=9&maxPoolSize=3",
        "mongodb://mongodb/?retryWrites",
        "mongodb+srv://mongodb.example.com/?directConnection=true",
    ],
)
def test_options_of_a_url_that_the_driver_refuses_are_told_apart(
    environment: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], url: str
) -> None:
    environment.setenv("MONGODB_URL", url)
    with pytest.raises(SystemExit) as ended:
        load(MongoSettings)
    assert ended.value.code == 2
    assert "MONGODB_URL: has options" in capsys.readouterr().err


def test_a_file_that_a_url_names_must_be_one_of_certificates(
    environment: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "other.pem").write_text("none")
    for name in ("missing.pem", "other.pem"):
        environment.setenv("MONGODB_URL", f"mongodb://a/?tls=true&tlsCAFile={tmp_path / name}")
        with pytest.raises(SystemExit) as ended:
            load(MongoSettings)
        assert ended.value.code == 2
        assert "MONGODB_URL: names a file" in capsys.readouterr().err


@pytest.mark.parametrize("end", [" ", "\n"])
def test_a_url_of_mongodb_ends_without_the_line_end_of_a_file(
    environment: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], end: str
) -> None:
    environment.setenv("MONGODB_URL", f"mongodb://mongodb/?replicaSet=rs0{end}")
    with pytest.raises(SystemExit):
        load(MongoSettings)
    assert "MONGODB_URL: must not begin or end with" in capsys.readouterr().err


_URLS = {
    "AWS_ENDPOINT_URL_SQS": SqsSettings,
    "SQS_QUEUE_URL": SqsSettings,
    "SQS_DLQ_URL": SqsSettings,
    "SQS_INDEX_QUEUE_URL": SqsSettings,
    "SQS_INDEX_DLQ_URL": SqsSettings,
    "OPENSEARCH_URL": OpenSearchSettings,
    "OTEL_EXPORTER_OTLP_ENDPOINT": TelemetrySettings,
}


@pytest.mark.parametrize("name", _URLS)
@pytest.mark.parametrize(
    "url",
    [
        "host",
        "host:9200/a/b",
        "ftp://host/a/b",
        "http://",
        "http:///a/b",
        "http://host:port/a/b",
        "http://host:0/a/b",
        "http://host:70000/a/b",
        "http://ho st/a/b",
        "http://host..example.com/a/b",
        "http://-host/a/b",
        "http://[::1/a/b",
        "http://[host]/a/b",
        "http://host/a/b\n",
        "http://host/a/b?c=d",
        "http://host/a/b#c",
        "https://ocelot@host/a/b",
        "https://ocelot:s3cret/1@host/a/b",
        "https://ocelot:s3cret?1@host/a/b",
        "https://ocelot:s3cret#1@host/a/b",
    ],
)
def test_a_malformed_url_is_told_by_its_setting_and_without_its_password(
    environment: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str, url: str
) -> None:
    environment.setenv(name, url)
    with pytest.raises(SystemExit) as ended:
        load(_URLS[name])
    assert ended.value.code == 2
    first, line, *rest = capsys.readouterr().err.splitlines()
    assert first == "The settings of this process are wrong:"
    assert line.startswith(f"  {name}: must ")
    assert rest == []
    assert "s3cret" not in line


@pytest.mark.parametrize(
    ("name", "url"),
    [
        ("SQS_QUEUE_URL", "https://sqs.eu-central-1.amazonaws.com/"),
        ("AWS_ENDPOINT_URL_SQS", "http://local_stack:4566"),
    ],
)
def test_a_url_that_only_sqs_cannot_have_is_refused(
    environment: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str, url: str
) -> None:
    environment.setenv(name, url)
    with pytest.raises(SystemExit):
        load(SqsSettings)
    assert f"  {name}: must " in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "url"),
    [
        ("OPENSEARCH_URL", "https://ocelot:s3%2Fcret@search.example.com"),
        ("OPENSEARCH_URL", "http://open_search:9200/prefix/"),
        ("OPENSEARCH_URL", "http://[fd00::1]:9200"),
        ("OPENSEARCH_URL", "https://such-maschine.example."),
        ("AWS_ENDPOINT_URL_SQS", "http://localhost:4566"),
        ("AWS_ENDPOINT_URL_SQS", "http://[::1]:4566/"),
        ("SQS_QUEUE_URL", "https://sqs.eu-central-1.amazonaws.com/123456789012/audit.fifo"),
        ("SQS_QUEUE_URL", "http://127.0.0.1:4566/queue/us-east-1/000000000000/in"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector.monitoring.svc:4318"),
    ],
)
def test_a_url_may_be(environment: pytest.MonkeyPatch, name: str, url: str) -> None:
    environment.setenv(name, url)
    kind = _URLS[name]
    assert url in load(kind).model_dump().values()


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
