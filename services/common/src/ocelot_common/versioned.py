"""The frame around everything that waits in a queue or travels in a cursor: a version, then a body.

A reader knows the version before it touches the body, so a newer one is told apart from garbage:
the first waits for its reader (transient), the second is a dead letter (design §4).
"""

import base64
import binascii

import msgspec


class MalformedError(ValueError):
    """The bytes are not what this reader's format says, and never will be."""


class NewerVersionError(ValueError):
    """The bytes were written by a newer release; a later reader will understand them."""


_header = msgspec.msgpack.Decoder(tuple[int, msgspec.Raw])


def frame(version: int, body: bytes) -> bytes:
    """`[version, body]` in msgpack; `body` is msgpack already."""
    return msgspec.msgpack.encode((version, msgspec.Raw(body)))


def unframe(data: bytes, *, newest: int) -> msgspec.Raw:
    """The body of a framed message of a version up to `newest`.

    Raises:
        MalformedError: no such frame.
        NewerVersionError: the version is larger than `newest`.
    """
    try:
        version, body = _header.decode(data)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise MalformedError(str(error)) from None
    if version < 1:
        raise MalformedError(f"the content has version {version}; the first version is 1")
    if version > newest:
        raise NewerVersionError(
            f"the content has version {version}; this release reads versions up to {newest}"
        )
    return body


def to_text(data: bytes) -> str:
    """Base64, since SQS takes no bytes."""
    return binascii.b2a_base64(data, newline=False).decode("ascii")


def from_text(text: str) -> bytes:
    """The bytes of base64 text.

    Raises:
        MalformedError: the text is no base64.
    """
    try:
        return base64.b64decode(text, validate=True)
    except ValueError as error:
        raise MalformedError(str(error)) from None
