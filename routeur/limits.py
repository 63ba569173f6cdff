"""Requests and tokens of the last minute, for names that have limits.

Only plain values go in and out, so that the workers of one machine can ask their parent.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

WINDOW = 60.0  # seconds
SLOT = 0.1  # seconds that are counted together, so that a name has at most some 600 slots

Want = tuple[str, int, int]  # a name, and its requests and tokens a minute; -1: no limit


class Limits:
    """Windows that slide: what was counted leaves them 60 s later, and never earlier.

    Times are seconds on a clock that does not go back; if it does, it is taken to stand still.
    """

    def __init__(self) -> None:
        self._windows: dict[str, _Window] = {}

    def take(self, wants: Sequence[Want], tokens: int, now: float) -> float:
        """Count one request of so many tokens for all the names, or for none of them.

        Returns 0.0 where each had room, else the seconds until they may have. A request that is
        larger than a limit passes when nothing else is in the window: it never could otherwise.
        """
        windows = self._of([name for name, _, _ in wants], now)
        pairs = zip(windows, wants, strict=True)
        seconds = max(
            (each.wait(rpm, tpm, tokens, now) for each, (_, rpm, tpm) in pairs), default=0
        )
        if seconds <= 0:
            for window in windows:
                window.add(tokens, now)
            return 0.0
        return seconds

    def settle(
        self, names: Sequence[str], estimated: int, used: int, at: float, now: float
    ) -> None:
        """What was taken at `at` has used so many tokens instead; if that still counts."""
        for name in names:
            window = self._windows.get(name)
            if window is not None:
                window.forget(now)
                window.correct(max(used, 0) - estimated, at)

    def rates(self, name: str, now: float) -> tuple[int, int]:
        """Requests and tokens of a name's last 60 s."""
        window = self._windows.get(name)
        if window is None:
            return 0, 0
        window.forget(now)
        return window.requests, window.tokens

    def _of(self, names: Sequence[str], now: float) -> list[_Window]:
        if any(name not in self._windows for name in names):
            self._drop_empty(now)
            self._windows |= {name: _Window() for name in names if name not in self._windows}
        windows = [self._windows[name] for name in names]
        for window in windows:
            window.forget(now)
        return windows

    def _drop_empty(self, now: float) -> None:
        """Names come and go with the configuration: those that are gone are let go of."""
        for window in self._windows.values():
            window.forget(now)
        self._windows = {name: each for name, each in self._windows.items() if each.slots}


class _Slot:
    """What was counted within a tenth of a second; it leaves with the last of it."""

    __slots__ = ("first", "last", "requests", "tokens")

    def __init__(self, now: float) -> None:
        self.first = self.last = now
        self.requests = self.tokens = 0


class _Window:
    """The slots of the last 60 s, the oldest first, and their sums."""

    __slots__ = ("requests", "slots", "tokens")

    def __init__(self) -> None:
        self.slots: deque[_Slot] = deque()
        self.requests = self.tokens = 0

    def forget(self, now: float) -> None:
        slots = self.slots
        while slots and slots[0].last + WINDOW <= now:
            old = slots.popleft()
            self.requests -= old.requests
            self.tokens -= old.tokens

    def wait(self, rpm: int, tpm: int, tokens: int, now: float) -> float:
        """Seconds until there is room for one more request of so many tokens; 0.0: there is."""
        requests, used, when = self.requests, self.tokens, now
        for slot in self.slots:
            if _fits(rpm, requests, 1) and _fits(tpm, used, tokens):
                break
            requests -= slot.requests
            used -= slot.tokens
            when = slot.last + WINDOW
        return when - now

    def add(self, tokens: int, now: float) -> None:
        slots = self.slots
        if slots:
            now = max(now, slots[-1].last)
        if not slots or now - slots[-1].first >= SLOT:
            slots.append(_Slot(now))
        slot = slots[-1]
        slot.last = now
        slot.requests += 1
        slot.tokens += tokens
        self.requests += 1
        self.tokens += tokens

    def correct(self, tokens: int, at: float) -> None:
        """Add tokens, or take them away, where a request of that time was counted.

        Where the clock went back that may be the slot before: the sum is right all the same.
        """
        for slot in reversed(self.slots):
            if slot.first <= at:
                slot.tokens += tokens
                self.tokens += tokens
                return


def _fits(limit: int, used: int, wanted: int) -> bool:
    return limit < 0 or used <= 0 or used + wanted <= limit
