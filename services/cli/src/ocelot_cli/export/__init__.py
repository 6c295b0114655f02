"""`ocelot export`: a stream of events into a file, whatever happens to the stream."""
