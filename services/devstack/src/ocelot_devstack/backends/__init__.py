"""Real MongoDB, SQS and OpenSearch without containers."""

from ocelot_devstack.backends.backend import Backend
from ocelot_devstack.backends.group import Backends

__all__ = ["Backend", "Backends"]
