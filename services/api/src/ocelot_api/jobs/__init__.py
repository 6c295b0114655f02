"""Jobs over HTTP: a rebuild asked for, and how far jobs are."""
