"""`python -m ocelot_jobs`."""

from ocelot_jobs.main import main

if __name__ == "__main__":
    main()
