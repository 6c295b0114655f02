"""Ocelot's indexer: puts what MongoDB holds into OpenSearch."""
