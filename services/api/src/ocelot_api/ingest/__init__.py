"""Taking events: from a request's body to SQS (design §6)."""
