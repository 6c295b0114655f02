"""Finding events: filters, cursors, and two backends that give the same answers (design §10)."""
