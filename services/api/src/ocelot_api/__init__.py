"""Ocelot's HTTP API: takes events to SQS and answers auditors from OpenSearch or MongoDB."""
