"""Attempts that run side by side: the first to answer wins, the others are stopped."""

from __future__ import annotations

from collections.abc import Callable

from routeur.call import LOST
from routeur.errors import UpstreamError


class Lost(UpstreamError):
    """Another target was faster."""


class Race:
    """Whoever enters is stopped by `stop(error)` when another one begins to answer."""

    def __init__(self) -> None:
        self.won = False
        self._runners: dict[object, Callable[[UpstreamError], None]] = {}

    def enter(self, runner: object, stop: Callable[[UpstreamError], None]) -> None:
        """Raises Lost when it is over already."""
        if self.won:
            raise Lost(LOST)
        self._runners[runner] = stop

    def win(self, runner: object) -> None:
        """A runner's answer begins: from here on it is the only one."""
        self.won = True
        del self._runners[runner]
        for stop in [*self._runners.values()]:
            stop(Lost(LOST))
