"""Ocelot's jobs: work under leases in MongoDB."""
