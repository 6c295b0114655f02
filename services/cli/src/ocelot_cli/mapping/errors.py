"""What can go wrong: a faulty mapping, and an event that a mapping cannot take."""


class MappingError(Exception):
    """A mapping cannot be loaded.

    Attributes:
        file: the file at fault, as the user named it.
        key: the dotted key at fault, such as `event.actor.id`; empty for the whole file.
        detail: what was found and what was expected.
        line: counted from 1; `None` where it is not known.
    """

    def __init__(self, file: str, key: str, detail: str, line: int | None = None) -> None:
        place = file if line is None else f"{file}:{line}"
        super().__init__(f"{place}: {key}: {detail}" if key else f"{place}: {detail}")
        self.file = file
        self.key = key
        self.detail = detail
        self.line = line


class UnmappableEvent(Exception):  # noqa: N818  (it is the event that is at fault, not the program)
    """One foreign event cannot become an Ocelot event.

    Attributes:
        reason: one sentence for people, naming the field and what was tried.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason
