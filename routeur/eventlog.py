"""The frames of a response's stream, kept so that it can be taken up again at any number.

Streams repeat themselves, so they are kept in compressed blocks: about an eighth of their size.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence

from routeur.dialects import exact, sse

BLOCK = 16 * 1024  # bytes of frames that are compressed together
AT_MOST = 16 * 1024 * 1024  # bytes of frames; a longer stream cannot be taken up again
_LEVEL = 1


class EventLog:
    """Takes frames as they are sent. `blocks` are those that are compressed, `size` is of all."""

    __slots__ = ("_tail", "_waiting", "blocks", "size")

    def __init__(self, blocks: Sequence[bytes] = ()) -> None:
        self.blocks = [*blocks]
        self.size = 0
        self._tail: list[bytes] = []
        self._waiting = 0  # bytes in the tail

    def add(self, frames: bytes) -> None:
        """Bytes of the stream: they need not be whole frames."""
        self.size += len(frames)
        if self.size > AT_MOST:
            self.blocks, self._tail = [], []
            return
        self._tail.append(frames)
        self._waiting += len(frames)
        if self._waiting > BLOCK:
            self._press()

    def whole(self) -> list[bytes]:
        """All of it as blocks, from which a log can be made again."""
        if self._tail:
            self._press()
        return self.blocks

    def read(self) -> bytes:
        """The stream as it was sent."""
        return b"".join([*map(zlib.decompress, self.blocks), *self._tail])

    def _press(self) -> None:
        self.blocks.append(zlib.compress(b"".join(self._tail), _LEVEL))
        self._tail, self._waiting = [], 0


def number_of(frame: bytes) -> int | None:
    """The `sequence_number` of a frame's event; None: it has none, as comments have."""
    data = sse.data(frame)
    try:
        event = exact.loads(data or b"")
    except ValueError:
        return None
    number = event.get("sequence_number") if isinstance(event, dict) else None
    return number if isinstance(number, int) else None


def after(stream: bytes, number: int) -> bytes:
    """The frames of a stream that come after the event of this number, byte for byte.

    -1 and less: all of it.
    """
    if number < 0:
        return stream
    cutter = sse.Frames()
    frames = cutter.feed(stream)
    for at, frame in enumerate(frames):
        found = number_of(frame)
        if found is not None and found > number:
            return b"".join(frames[at:]) + cutter.rest
    return cutter.rest
