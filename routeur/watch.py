"""Notices that a file has changed: by looking once a second, which also sees replaced links."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

EVERY = 1.0  # seconds

Stamp = tuple[int, int, int] | None


class Watch:
    """Calls `changed` after a file's change, from within a running loop, until closed."""

    def __init__(self, path: Path, changed: Callable[[], None], every: float = EVERY) -> None:
        self._path = path
        self._changed = changed
        self._every = every
        self._seen = self._stamp()
        self._timer = asyncio.get_running_loop().call_later(every, self._look)

    def close(self) -> None:
        self._timer.cancel()

    def _look(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(self._every, self._look)
        now = self._stamp()
        if now is not None and now != self._seen:
            self._seen = now
            self._changed()

    def _stamp(self) -> Stamp:
        try:
            found = self._path.stat()
        except OSError:  # gone for a moment, while it is being replaced
            return None
        return found.st_mtime_ns, found.st_size, found.st_ino
