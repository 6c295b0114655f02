"""Which times an authenticated envelope may hold.

A key that leaks, or a writer with a wrong clock, could otherwise store events at any time: before a
purge that has passed, or far ahead, where no search of today finds them.
"""

from collections.abc import Sequence
from typing import Final

from ocelot_common.envelope import Origin, Segment

_SECOND_MS: Final = 1_000
_HOUR_MS: Final = 3_600 * _SECOND_MS
#: SQS keeps a message for 14 days (AWS limit); a day is left for a redrive.
MAX_AGE_MS: Final = 15 * 24 * _HOUR_MS
#: Between the arrival of an event and the signing of its envelope, either way.
MAX_RECEIVED_AFTER_SENT_MS: Final = 5 * 60 * _SECOND_MS
MAX_RECEIVED_BEFORE_SENT_MS: Final = _HOUR_MS
#: Clocks that NTP keeps differ by less, and waiting for such a difference would delay every event.
CLOCK_TOLERANCE_MS: Final = 5 * _SECOND_MS
MAX_AHEAD_MS: Final = _HOUR_MS


class ExpiredError(ValueError):
    """The envelope was signed too long ago."""


class TimesError(ValueError):
    """The envelope's times contradict each other, or lie too far ahead."""


class AheadError(Exception):
    """The envelope's times lie ahead of this process's clock: it is due later.

    Attributes:
        wait_sec: until then, at least one second.
    """

    def __init__(self, ahead_ms: int) -> None:
        super().__init__(f"its times are {ahead_ms / 1000:.1f} s ahead of this process's clock")
        self.wait_sec = max(1, -(-ahead_ms // _SECOND_MS))


def check_times(segments: Sequence[Segment], *, sent_at: int, now: int) -> None:
    """Check an envelope's times, all in milliseconds since the epoch.

    A retry has no lower bound for `received_at`: an old dead letter must stay retryable. An event
    that Ocelot itself made has none, either, because it stays `internal` when it is retried. The
    tenant's cutoff still applies to both.

    Args:
        segments: of the envelope.
        sent_at: when it was signed.
        now: this process's clock.

    Raises:
        ExpiredError: it was signed more than 15 days ago.
        TimesError: an event arrived more than 5 minutes after the signing or more than an hour
            before it, or a time lies more than an hour ahead of `now`.
        AheadError: a time lies ahead of `now` by an hour at most.
    """
    if now - sent_at > MAX_AGE_MS:
        raise ExpiredError("the message was signed more than 15 days ago")
    latest = sent_at
    for segment in segments:
        received_at = segment.received_at
        if received_at > sent_at + MAX_RECEIVED_AFTER_SENT_MS:
            raise TimesError("received_at is more than 5 minutes after the message was signed")
        if received_at < sent_at - MAX_RECEIVED_BEFORE_SENT_MS and segment.origin is Origin.API:
            raise TimesError("received_at is more than 1 hour before the message was signed")
        latest = max(latest, received_at)
    ahead = latest - now
    if ahead > MAX_AHEAD_MS:
        raise TimesError("a time is more than 1 hour ahead of this process's clock")
    if ahead > CLOCK_TOLERANCE_MS:
        raise AheadError(ahead)
