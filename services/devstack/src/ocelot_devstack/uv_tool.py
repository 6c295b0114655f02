"""Finds uv, which installs the backends that come as wheels."""

import os
import shutil

from ocelot_devstack.errors import DevstackError


def find_uv() -> str:
    """The uv that runs us, else the one on the path.

    Raises:
        DevstackError: there is none.
    """
    uv = os.environ.get("UV") or shutil.which("uv")
    if uv is None:
        raise DevstackError("Install uv, which installs the backends: https://docs.astral.sh/uv/")
    return uv
