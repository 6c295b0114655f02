"""Runs a service as it ships, but for the visibility time-out of its messages.

Messages in the hands of a killed worker come back when their visibility ends, a minute later: too
long for the tests of every day. `make faults` runs the services without this.

    python impatient.py SECONDS MODULE
"""

import runpy
import sys

from ocelot_common.queue import receiver

seconds = int(sys.argv[1])
receiver.Receiver.__init__.__kwdefaults__["visibility_sec"] = seconds
receiver._EXTEND_EVERY_SEC = seconds / 3
runpy.run_module(sys.argv[2], run_name="__main__")
