"""Whether to ask once more, and when: what providers say, pauses, and the budget."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from datetime import UTC
from email.utils import parsedate_to_datetime

LONGEST_REST = 3600.0  # seconds: whoever asks for more is asked again after that
_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 2.0  # seconds
_MINUTE = 60
_NUMBER = re.compile(rb"\s*(\d{1,20}(?:\.\d{0,20})?)\s*", re.ASCII)


def retry_after(
    headers: Mapping[bytes, bytes], body_hint: float | None, now_wall: float
) -> float | None:
    """Seconds for which a provider wants to be left alone, None if it does not say.

    `headers` are its `retry-after-ms` and `retry-after` (seconds or a date), as far as they came;
    `body_hint` is what its body says, in seconds (Gemini's RetryInfo). The first of these that
    makes sense holds.
    """
    milliseconds = _number(headers.get(b"retry-after-ms", b""))
    said = headers.get(b"retry-after", b"")
    for seconds in (
        None if milliseconds is None else milliseconds / 1000,
        _number(said),
        _until(said, now_wall),
        body_hint,
    ):
        if seconds is not None and 0 <= seconds < math.inf:
            return min(seconds, LONGEST_REST)
    return None


def _number(text: bytes) -> float | None:
    match = _NUMBER.fullmatch(text)
    return float(match[1]) if match else None


def _until(text: bytes, now: float) -> float | None:
    """Seconds until an HTTP date (RFC 9110, 5.6.7); negative where it has passed."""
    try:
        date = parsedate_to_datetime(text.decode("ascii"))
        # A date without a zone, as asctime writes it, is in UTC.
        return (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp() - now
    except (ValueError, TypeError, IndexError, OverflowError):
        return None


def pause(attempt: int, random: Callable[[], float]) -> float:
    """Seconds to wait before the same place is asked again, after so many attempts (from 1).

    Anything up to 100 ms, doubled for each attempt after the first, 2 s at most (full jitter).
    """
    return random() * min(_LONGEST_PAUSE, _FIRST_PAUSE * 2.0 ** (attempt - 1))


class Budget:
    """Keeps retries from making an outage worse.

    `floor` a minute are always allowed; beyond them as many as `share` of the last minute's calls.
    Times are seconds on a clock that does not go back.
    """

    __slots__ = ("_calls", "_retries", "_second", "floor", "share")

    def __init__(self, share: float, floor: int = 10) -> None:
        self.share = share
        self.floor = floor
        self._calls = [0] * _MINUTE  # one for each second
        self._retries = [0] * _MINUTE
        self._second = 0

    def called(self, now: float, times: int = 1) -> None:
        """Count calls."""
        second = int(now)
        if second > self._second:
            self._forget(second)
        self._calls[self._second % _MINUTE] += times

    def may_retry(self, now: float) -> bool:
        """Whether another attempt is within the budget; if so, it is counted."""
        if now >= self._second + 1:
            self._forget(int(now))
        retries = sum(self._retries)
        if retries >= self.floor and retries >= self.share * sum(self._calls):
            return False
        self._retries[self._second % _MINUTE] += 1
        return True

    def _forget(self, second: int) -> None:
        """Empty the slots of the seconds that have come since."""
        for each in range(max(self._second + 1, second - _MINUTE + 1), second + 1):
            self._calls[each % _MINUTE] = self._retries[each % _MINUTE] = 0
        self._second = second
