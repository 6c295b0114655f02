"""Loads the fixtures on real backends where the devstack is installed.

A member's unit tests also run in an environment of that member alone (`make test-members`), which
has no devstack and needs none.
"""

from importlib.util import find_spec

pytest_plugins = ["ocelot_devstack.pytest_plugin"] if find_spec("ocelot_devstack") else []
