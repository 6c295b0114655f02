"""Logs, metrics and traces, set up one way in every process (design §14)."""
