"""What was measured of each target: how fast it answers, and how often it fails."""

from __future__ import annotations

from dataclasses import dataclass

from routeur.auto import Target
from routeur.dialects.base import Usage

WINDOW = 50  # calls that the means are of
COLD = 5  # calls, up to which little is known of a target
STALE = 600.0  # seconds without a call, after which it is cold again
REMEMBERED = 4096  # targets

_LONG = 20  # tokens of an answer that tell how fast they come
_GOOD_START = 10  # good calls that a target is credited with
_FORGIVEN = 60.0  # seconds in which a share of errors is halved, when there are no calls
_PAUSE = 30.0  # seconds between two calls, of which nothing is to be concluded
_BACK_OFF = 5.0  # seconds in which the last failure is halved, times failures in a row
_MOST_IN_A_ROW = 6


@dataclass(slots=True)
class Mean:
    """Exponentially weighted over WINDOW samples, and the plain mean until there are as many."""

    value: float | None = None
    count: int = 0

    def add(self, sample: float) -> None:
        self.count += 1
        share = max(1 / self.count, 2 / (WINDOW + 1))
        self.value = sample if self.value is None else self.value + share * (sample - self.value)


class Record:
    """What was measured of one target. Moments are on one monotonic clock.

    Means: `first_token` in seconds from the request, `rate` in tokens a second, `errors` and
    `cached` (of the prompt's tokens, read from a cache) as shares, `output` in tokens. `row` counts
    the failures since the last success.
    """

    __slots__ = (
        "cached",
        "calls",
        "errors",
        "failed_at",
        "first_token",
        "output",
        "rate",
        "row",
        "seen_at",
    )

    def __init__(self) -> None:
        self.calls = self.row = 0
        self.failed_at = self.seen_at = 0.0
        self.first_token, self.rate, self.cached, self.output = Mean(), Mean(), Mean(), Mean()
        self.errors = Mean(0.0, _GOOD_START)

    def answered(
        self,
        now: float,
        first_token: float | None = None,
        seconds: float | None = None,
        usage: Usage | None = None,
    ) -> None:
        """A call ended well. `first_token` (None: it was not streamed) is seconds since it was
        sent; `seconds` is how long the tokens of its answer took to come.
        """
        self._seen(now, 0.0)
        self.row = 0
        if first_token is not None:
            self.first_token.add(first_token)
        if usage is None:
            return
        went_in, came_out = usage.input_total, usage.output_total
        if went_in:
            self.cached.add(usage.cache_read / went_in)
        self.output.add(came_out)
        if seconds and came_out >= _LONG:
            self.rate.add(came_out / seconds)

    def failed(self, now: float) -> None:
        """A call ended badly, and the target is to blame."""
        self._seen(now, 1.0)
        self.row = min(self.row + 1, _MOST_IN_A_ROW)
        self.failed_at = now

    def share_of_errors(self, now: float) -> float:
        """Of the last calls; what is long ago is forgiven."""
        idle = max(0.0, now - self.seen_at - _PAUSE)
        return float((self.errors.value or 0.0) * 0.5 ** (idle / _FORGIVEN))

    def trust(self, now: float) -> float:
        """How far to believe in it, from 0 to 1.

        One failure takes it down at once. A success brings it back to what its share of errors
        allows, and so does time: the more failures in a row, the later.
        """
        trouble = self.share_of_errors(now)
        if self.row:
            since = max(0.0, now - self.failed_at)
            fresh = 1 - 0.5**self.row
            trouble = max(trouble, fresh * 0.5 ** (since / (_BACK_OFF * self.row)))
        return float((1 - trouble) ** 2)

    def cold(self, now: float) -> bool:
        """Whether too little is known of it, or nothing of late."""
        return self.calls < COLD or now - self.seen_at > STALE

    def _seen(self, now: float, error: float) -> None:
        self.errors.value = self.share_of_errors(now)
        self.errors.add(error)
        self.calls += 1
        self.seen_at = now


class Board:
    """The records of all targets. `failures` counts those of all; it is `wanted` once anybody has
    asked for scores.
    """

    def __init__(self) -> None:
        self._records: dict[Target, Record] = {}
        self.failures = 0
        self.wanted = False

    def record(self, target: Target) -> Record:
        """Its record, a new one if there is none: to be looked up again for each call."""
        found = self._records.get(target)
        if found is None:
            if len(self._records) >= REMEMBERED:
                self._records.pop(next(iter(self._records)))
            found = self._records[target] = Record()
        return found

    def failed(self, target: Target, now: float) -> None:
        """A call failed; orders are worked out anew."""
        self.failures += 1
        self.record(target).failed(now)
