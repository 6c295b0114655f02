"""`python -m ocelot_indexer`."""

from ocelot_indexer.main import main

if __name__ == "__main__":
    main()
