"""docs/local-development.md: every setting of make dev, with its default."""

import re
from pathlib import Path

import pytest

from ocelot_devstack.settings import ENV_PREFIX, DevSettings

PAGE = (Path(__file__).parents[3] / "docs/local-development.md").read_text()
ROWS = {
    name: default
    for names, default in re.findall(r"^\| (`[A-Z].*?`) \| (.*?) ?\|", PAGE, re.MULTILINE)
    for name in re.findall(r"`(\w+)`", names)
}
VARIABLES = {
    str(field.validation_alias or f"{ENV_PREFIX}{name.upper()}"): field
    for name, field in DevSettings.model_fields.items()
}


def test_every_variable_has_a_row_and_none_has_another():
    # envtest's, and one for the tests alone.
    assert set(ROWS) == {*VARIABLES, "KUBEBUILDER_ASSETS", "OCELOT_REQUIRE_BACKENDS"}


@pytest.mark.parametrize("name", VARIABLES)
def test_the_row_has_the_default(name: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    value = VARIABLES[name].get_default(call_default_factory=True)

    text = "" if value is None else str(value).replace(str(Path.home()), "~")
    shown = ROWS[name].strip("`").removesuffix(" s")
    assert shown == {"True": "true", "20.0": "20"}.get(text, text)
