"""Server-sent events: bytes to frames, and a frame to its data (WHATWG HTML, 9.2)."""

from __future__ import annotations

import re

BOM = b"\xef\xbb\xbf"

# A line's end and an empty line: all three ends, also mixed. Atomic, else CRLF would count as two.
_BLANK = re.compile(rb"(?>\r\n|\n|\r)(?>\r\n|\n|\r)")
_REACH = 3  # bytes of a blank line that may have come with the chunk before


class Frames:
    """Cuts a stream into frames, whatever its chunks; all frames and `rest` are the stream again.

    A frame ends with its blank line. When that ends in a CR at a chunk's end, a LF that belongs to
    it may come later: it then opens the next frame, where it means nothing.
    """

    __slots__ = ("rest",)

    def __init__(self) -> None:
        self.rest = b""  # what has come of a frame that is not whole

    def feed(self, chunk: bytes) -> list[bytes]:
        """The frames that this chunk completes."""
        start = 0
        look = max(0, len(self.rest) - _REACH)
        buffer = self.rest + chunk if self.rest else chunk
        frames = []
        while blank := _BLANK.search(buffer, look):
            frames.append(buffer[start : blank.end()])
            start = look = blank.end()
        self.rest = buffer[start:] if start else buffer
        return frames


def data(frame: bytes) -> bytes | None:
    """The data of a frame, its lines joined; None when it has none (comments, `retry`)."""
    parts = fields(frame, b"data")
    return b"\n".join(parts) if parts else None


def event(frame: bytes) -> bytes:
    """The event's name, or nothing."""
    names = fields(frame, b"event")
    return names[-1] if names else b""


def fields(frame: bytes, name: bytes) -> list[bytes]:
    """The values of all lines of this name, in order."""
    values = []
    # bytes.splitlines knows LF, CR and CRLF, and no others
    for line in frame.removeprefix(BOM).splitlines():
        if line.startswith(name):
            field, _, value = line.partition(b":")
            if field == name:
                values.append(value.removeprefix(b" "))
    return values
