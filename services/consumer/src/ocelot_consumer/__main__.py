"""`python -m ocelot_consumer`."""

from ocelot_consumer.main import main

if __name__ == "__main__":
    main()
