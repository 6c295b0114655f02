"""Ocelot's consumer: stores the envelopes of the ingest queue in MongoDB."""
