"""SQS: clients, and the receiving side that consumer and indexer share (design §6)."""
