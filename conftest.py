"""Loads the fixtures on real backends where the devstack is installed.

A member's unit tests also run in an environment of that member alone (`make test-members`), which
has no devstack and needs none.
"""

from importlib.util import find_spec

from hypothesis import HealthCheck, settings

pytest_plugins = ["ocelot_devstack.pytest_plugin"] if find_spec("ocelot_devstack") else []

# Tests pass on a machine of any speed: an example may take longer than 200 ms.
settings.register_profile("ocelot", deadline=None, suppress_health_check=[HealthCheck.too_slow])
if settings.get_current_profile_name() == "default":  # Hypothesis has one of its own for CI
    settings.load_profile("ocelot")
