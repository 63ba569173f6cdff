"""Notices that a file has changed: by looking twice a second, which also sees replaced links.

A file that is still being written may be valid already, and say something else.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

EVERY = 0.5  # seconds; what has changed since the last look is not done yet

Stamp = tuple[int, int, int] | None


class Watch:
    """Calls `changed` after a file's change, from within a running loop, until closed."""

    def __init__(self, path: Path, changed: Callable[[], None], every: float = EVERY) -> None:
        self._path = path
        self._changed = changed
        self._every = every
        self._seen = self._last = self._stamp()
        self._timer = asyncio.get_running_loop().call_later(every, self._look)

    def close(self) -> None:
        self._timer.cancel()

    def _look(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(self._every, self._look)
        last, self._last = self._last, self._stamp()
        if last is not None and last == self._last != self._seen:
            self._seen = last
            self._changed()

    def _stamp(self) -> Stamp:
        try:
            found = self._path.stat()
        except OSError:  # gone for a moment, while it is being replaced
            return None
        return found.st_mtime_ns, found.st_size, found.st_ino
