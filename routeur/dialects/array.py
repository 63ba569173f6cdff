"""A JSON array, cut into its elements as its bytes come: Gemini's streams without `alt=sse`."""

from __future__ import annotations

import re

from routeur.dialects.sse import BOM

# Up to the next bracket, or to a string whose end has not come.
_PLAIN = re.compile(rb'(?:[^"\[\]{}]++|"(?:[^"\\]++|\\.)*+")*+', re.DOTALL)
_IN_STRING = re.compile(rb'(?:[^"\\]++|\\.)*+', re.DOTALL)
_QUOTE = ord('"')
_LEAD = b" \t\r\n" + BOM


class Elements:
    """Cuts an array of objects (or arrays) into them, whatever the chunks.

    An element is whole with its last bracket, and does not wait for the comma after it; what
    stands between elements is left out. Brackets are counted, nothing else is checked: who parses
    an element sees what is wrong with it.
    """

    __slots__ = ("_depth", "_in_string", "_look", "closed", "rest")

    def __init__(self) -> None:
        self.rest = b""  # what has come of an element that is not whole
        self.closed = False  # whether the array has ended
        self._depth = 0  # of open brackets, the array's own included
        self._in_string = False
        self._look = 0  # how far `rest` has been looked at

    def feed(self, chunk: bytes) -> list[bytes]:
        """The elements that this chunk completes; raises ValueError if it is no array."""
        buffer = self.rest + chunk if self.rest else chunk
        look, start = self._look, 0
        found = []
        while look < len(buffer) and not self.closed:
            if not self._depth:
                self._open(buffer[look])
            elif self._in_string:
                look = _past(_IN_STRING, buffer, look)
                if buffer[look : look + 1] != b'"':
                    break  # its end, or the byte after a backslash, is still to come
                self._in_string = False
            elif (look := _past(_PLAIN, buffer, look)) < len(buffer):
                if buffer[look] == _QUOTE:
                    self._in_string = True
                elif buffer[look] in b"[{":
                    start = look if self._depth == 1 else start
                    self._depth += 1
                else:
                    self._depth -= 1
                    self.closed = not self._depth
                    if self._depth == 1:
                        found.append(buffer[start : look + 1])
            look += 1
        look = min(look, len(buffer))
        if self._depth <= 1:
            start = look  # between two elements
        self.rest = buffer[start:] if start else buffer
        self._look = look - start
        return found

    def _open(self, byte: int) -> None:
        """Before the array there may be nothing but white space."""
        if byte == ord("["):
            self._depth = 1
        elif byte not in _LEAD:
            raise ValueError(f"a JSON array has to begin with [, not with {chr(byte)!r}")


def _past(pattern: re.Pattern[bytes], buffer: bytes, look: int) -> int:
    match = pattern.match(buffer, look)
    return match.end() if match else look
