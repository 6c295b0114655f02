"""What may go wrong on a developer's machine, said in one message."""


class DevstackError(Exception):
    """Something that the developer can act on; its text is shown without a traceback."""
