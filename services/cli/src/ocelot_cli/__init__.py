"""The ocelot command: tenants, tokens, sending, importing, searching, dead letters."""
