"""`python -m ocelot_cli`."""

from ocelot_cli.main import main

if __name__ == "__main__":
    main()
