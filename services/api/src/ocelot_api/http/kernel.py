"""What the kernel holds of a connection, beside the event loop's buffers."""

import fcntl
import struct
import termios

_INT = struct.Struct("i")


def unread_bytes(fd: int) -> int:
    """Return the bytes that arrived and were not read yet (tcp(7), SIOCINQ)."""
    return _ask(fd, termios.FIONREAD)


def unsent_bytes(fd: int) -> int:
    """Return the bytes that the peer's kernel has not acknowledged yet (tcp(7), SIOCOUTQ)."""
    return _ask(fd, termios.TIOCOUTQ)


def _ask(fd: int, request: int) -> int:
    try:
        (size,) = _INT.unpack(fcntl.ioctl(fd, request, bytes(_INT.size)))
    except OSError:  # the connection is gone
        return 0
    return int(size)
