"""`.env.example` is made from the settings classes and may not drift from them."""

import importlib.util
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_env_example_is_what_the_settings_classes_say():
    spec = importlib.util.spec_from_file_location("env_example", ROOT / "scripts/env_example.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert (ROOT / ".env.example").read_text() == module.render(), "run `make env-example`"
