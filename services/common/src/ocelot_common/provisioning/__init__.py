"""Making and removing what a tenant needs; the same code for CLI, operator and jobs."""
