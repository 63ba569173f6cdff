"""What was counted in the last 60 s, in a form that can be kept as bytes."""

from __future__ import annotations

from array import array

WINDOW = 60_000  # milliseconds
SLOT = 250  # milliseconds that are counted together, so that a window has at most some 240 slots
ROW = 4  # numbers of a slot: its first and last moment, requests, tokens
AHEAD = 1_000  # milliseconds by which the clocks of two processors may differ


class Window:
    """Requests and tokens, the oldest first. What was counted leaves 60 s later, never earlier.

    Times are milliseconds on a clock that does not go back; if it does, it is taken to stand still.
    """

    __slots__ = ("requests", "slots", "tokens")

    def __init__(self) -> None:
        self.slots = array("q")
        self.requests = self.tokens = 0

    @classmethod
    def unpacked(cls, data: bytes, now: int) -> Window:
        """From what `packed` gave; what is later than now was before the machine started."""
        window = cls()
        window.slots.frombytes(data)
        if window.slots and window.slots[-3] > now + AHEAD:
            del window.slots[:]
        window.requests = sum(window.slots[2::ROW])
        window.tokens = sum(window.slots[3::ROW])
        return window

    def packed(self) -> bytes:
        return self.slots.tobytes()

    def forget(self, now: int) -> None:
        slots, end, gone = self.slots, len(self.slots), 0
        while gone < end and slots[gone + 1] + WINDOW <= now:
            self.requests -= slots[gone + 2]
            self.tokens -= slots[gone + 3]
            gone += ROW
        if gone:
            del slots[:gone]

    def wait(self, rpm: int, tpm: int, tokens: int, now: int) -> int:
        """Milliseconds until there is room for one more request of so many tokens; 0: there is.

        -1 is no limit. A request that is larger than a limit passes when nothing else is counted:
        it never could otherwise.
        """
        requests, used, when, slots = self.requests, self.tokens, now, self.slots
        for at in range(0, len(slots), ROW):
            if fits(rpm, requests, 1) and fits(tpm, used, tokens):
                break
            requests -= slots[at + 2]
            used -= slots[at + 3]
            when = slots[at + 1] + WINDOW
        return when - now

    def add(self, tokens: int, now: int) -> int:
        """Count one request; returns when it counts as made."""
        slots = self.slots
        if slots:
            now = max(now, slots[-3])
        if not slots or now - slots[-4] >= SLOT:
            slots.extend((now, now, 0, 0))
        slots[-3] = now
        slots[-2] += 1
        slots[-1] += tokens
        self.requests += 1
        self.tokens += tokens
        return now

    def correct(self, tokens: int, at: int, requests: int = 0) -> None:
        """Add tokens, or take them away, where a request of that time was counted, if it is."""
        slots = self.slots
        for start in range(len(slots) - ROW, -1, -ROW):
            if slots[start] <= at:
                if at <= slots[start + 1]:
                    slots[start + 2] += requests
                    slots[start + 3] += tokens
                    self.requests += requests
                    self.tokens += tokens
                return


def fits(limit: int, used: int, wanted: int) -> bool:
    return limit < 0 or used <= 0 or used + wanted <= limit
