"""Tenants and where their events live: the registry in MongoDB and its snapshot (design §8)."""
