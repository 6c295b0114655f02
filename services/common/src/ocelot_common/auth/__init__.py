"""Keys, tokens and scopes (design §7; RFC 7519, RFC 8725)."""
