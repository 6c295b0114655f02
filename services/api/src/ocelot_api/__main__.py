"""`python -m ocelot_api`."""

from ocelot_api.main import main

if __name__ == "__main__":
    main()
