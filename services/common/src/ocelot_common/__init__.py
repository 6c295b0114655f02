"""What crosses a process boundary in Ocelot: event, envelope, stored document, registry, keys."""
