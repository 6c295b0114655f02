"""What consumer and indexer have in common: gates, batches, start and drain (design §6)."""
