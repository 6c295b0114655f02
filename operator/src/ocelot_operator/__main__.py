"""`python -m ocelot_operator`."""

from ocelot_operator.main import main

if __name__ == "__main__":
    main()
