"""Work that outlives a process: what is to be done, how far it is, and who may see it."""
