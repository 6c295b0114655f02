import os

import pytest


@pytest.fixture(autouse=True)
def ends_file(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STUB_ENDS", str(tmp_path_factory.mktemp("stub") / "ends"))
    assert os.environ["STUB_ENDS"]
