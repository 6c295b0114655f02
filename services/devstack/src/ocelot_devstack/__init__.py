"""Ocelot on one machine: real backends and all services, for make dev and the tests."""
