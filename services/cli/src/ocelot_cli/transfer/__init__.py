"""From files to the api: lines, events with ids, batches, retries, and an account of every line."""
