import platform
from importlib.metadata import version

from ocelot_common.build_info import build_info


def test_a_build_has_the_version_of_its_distribution() -> None:
    build = build_info("common")
    assert build.service == "common"
    assert build.version == version("ocelot-audit-common")
    assert build.python == platform.python_version()


def test_a_service_that_is_not_installed_has_an_unknown_version() -> None:
    assert build_info("nowhere").version == "unknown"
