"""`python -m ocelot_devstack`."""

from ocelot_devstack.main import main

main()
