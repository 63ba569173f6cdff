"""WebSockets that are relayed: they last until somebody ends them."""

from __future__ import annotations

from typing import Protocol


class Lasts(Protocol):
    """One of them."""

    def drain(self) -> None:
        """End when what is under way has ended; this may be asked for again."""

    def cut(self) -> None:
        """End now, with a goodbye."""


class Lasting:
    """Those of a server."""

    def __init__(self) -> None:
        self._known: set[Lasts] = set()

    def __len__(self) -> int:
        return len(self._known)

    def add(self, one: Lasts) -> None:
        self._known.add(one)

    def discard(self, one: Lasts) -> None:
        self._known.discard(one)

    def drain(self) -> None:
        for each in [*self._known]:
            each.drain()

    def cut(self) -> None:
        for each in [*self._known]:
            each.cut()
