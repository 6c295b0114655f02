"""The wire form of queue messages, and what tells a forgery."""

import hashlib
import hmac
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocelot_common.signed_text import (
    ForgedError,
    Purpose,
    QueueKey,
    SignedText,
    parse,
    sign,
)
from ocelot_common.versioned import NewerVersionError

KEY = QueueKey("k1", bytes(range(32)))
MAC = "0" * 64


@given(st.binary(max_size=300), st.integers(0, 253_402_300_799_999), st.sampled_from(Purpose))
def test_a_message_survives_the_queue_and_verifies(
    content: bytes, sent_at: int, purpose: Purpose
) -> None:
    text = sign(content, KEY, purpose, sent_at=sent_at)
    assert text.isascii()
    message = parse(text)
    assert (message.kid, message.sent_at, message.content()) == ("k1", sent_at, content)
    assert message.is_signed_with(KEY, purpose)


def test_a_time_that_no_date_can_tell_is_forged() -> None:
    for sent_at in (253_402_300_800_000, 999_999_999_999_999):
        with pytest.raises(ForgedError):
            parse(sign(b"", KEY, Purpose.INGEST, sent_at=sent_at))


def test_the_wire_form_is_what_the_documentation_says() -> None:
    """Computed by hand, so that a change of the form is noticed."""
    mac = hmac.new(KEY.secret, b"ocelot-ingest.2.k1.5.aGk=", hashlib.sha256).hexdigest()
    assert sign(b"hi", KEY, Purpose.INGEST, sent_at=5) == f"2.k1.{mac}.5.aGk="


@pytest.mark.parametrize("field", ["kid", "mac", "sent_at", "data", "purpose", "key"])
def test_the_mac_covers(field: str) -> None:
    message = parse(sign(b"content", KEY, Purpose.INGEST, sent_at=5))
    key, purpose = KEY, Purpose.INGEST
    match field:
        case "kid":
            key = QueueKey("k2", KEY.secret)
        case "key":
            key = QueueKey("k1", bytes(32))
        case "purpose":
            purpose = Purpose.INDEX
        case "mac":
            message = message._replace(mac=MAC)
        case "sent_at":
            message = message._replace(sent_at=6)
        case "data":
            message = message._replace(data="Y29udGVudA=")
    assert not message.is_signed_with(key, purpose)


FORGED = {
    "nothing": "",
    "prose": "hello",
    "a version without the rest": "2",
    "a version and a dot": "2.",
    "too few parts": f"2.k1.{MAC}.5",
    "no key id": f"2..{MAC}.5.aGk=",
    "a key id of 65 characters": f"2.{'k' * 65}.{MAC}.5.aGk=",
    "a key id with a blank": f"2.k 1.{MAC}.5.aGk=",
    "a key id with a line break": f"2.k1\n.{MAC}.5.aGk=",
    "a short MAC": f"2.k1.{MAC[1:]}.5.aGk=",
    "a MAC in capitals": f"2.k1.{'A' * 64}.5.aGk=",
    "a MAC that is not hex": f"2.k1.{'g' * 64}.5.aGk=",
    "a time that is text": f"2.k1.{MAC}.now.aGk=",
    "a time below zero": f"2.k1.{MAC}.-5.aGk=",
    "a time with a leading zero": f"2.k1.{MAC}.05.aGk=",
    "a time of 16 digits": f"2.k1.{MAC}.{'1' * 16}.aGk=",
    "a time in other digits": f"2.k1.{MAC}.\u0665.aGk=",
    "no time": f"2.k1.{MAC}..aGk=",
    "data that is not ASCII": f"2.k1.{MAC}.5.\u00fc",
    "version 0": f"0.k1.{MAC}.5.aGk=",
    "version 1": f"1.k1.{MAC}.5.aGk=",
    "a version with a leading zero": f"02.k1.{MAC}.5.aGk=",
    "a negative version": f"-2.k1.{MAC}.5.aGk=",
    "a version in other digits": f"\u0662.k1.{MAC}.5.aGk=",
    "a version of ten digits": f"1234567890.k1.{MAC}.5.aGk=",
    "a blank before the version": f" 2.k1.{MAC}.5.aGk=",
    "base64, as version 1 was": "KLUv/SAJSQAAkQGSoQCQ",
}


@pytest.mark.parametrize("text", FORGED.values(), ids=FORGED)
def test_a_text_is_forged_that_is(text: str) -> None:
    with pytest.raises(ForgedError):
        parse(text)


@pytest.mark.parametrize("text", ["3.", "3.anything", "10.k1.x", f"999999999.{MAC}"])
def test_a_text_of_a_newer_version_is_told_apart_whatever_follows(text: str) -> None:
    with pytest.raises(NewerVersionError):
        parse(text)


@given(st.text(max_size=80) | st.text(string.digits + ".k", max_size=80))
def test_any_text_is_parsed_or_refused(text: str) -> None:
    try:
        message = parse(text)
    except (ForgedError, NewerVersionError):
        return
    assert isinstance(message, SignedText)


def test_a_key_never_shows_its_secret() -> None:
    assert repr(KEY) == "QueueKey('k1')"
    assert "k1" in f"{KEY}"
    assert repr(KEY.secret) not in f"{KEY}"
