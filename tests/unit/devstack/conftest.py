from pathlib import Path

import pytest

from ocelot_devstack.settings import DevSettings


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> DevSettings:
    for name in ("MONGODB_URL", "AWS_ENDPOINT_URL_SQS", "OPENSEARCH_URL"):
        monkeypatch.delenv(name, raising=False)
    return DevSettings(state_dir=tmp_path / "state", cache_dir=tmp_path / "cache")
