"""Signed queue messages for tests."""
