"""Inflates the content codings that Python knows, piece by piece and within bounds."""

from __future__ import annotations

import zlib

PLAIN = frozenset((b"", b"identity"))
CODINGS = frozenset((b"gzip", b"x-gzip", b"deflate"))  # what Inflater knows
_MEMBER = 0x1F  # what a member of gzip begins with: another may follow (RFC 1952, 2.2)
_STEP = 1024  # bytes that go in at once: what they make is lost if they are broken


class Inflater:
    """Inflates one body whose Content-Encoding is one of CODINGS."""

    __slots__ = ("_gzip", "_stream", "_waiting")

    def __init__(self, coding: bytes) -> None:
        self._gzip = coding != b"deflate"
        self._stream: zlib._Decompress | None = None
        self._waiting = b""  # what came in and was beyond the bound

    def feed(self, data: bytes, at_most: int) -> bytes:
        """At most so many (1 or more) bytes of what has come; raises ValueError if it is broken."""
        data = self._waiting + data
        inflated = b""
        while data and len(inflated) < at_most:
            stream = self._stream
            if stream is None or stream.eof:
                if stream is not None and not (self._gzip and data[0] == _MEMBER):
                    data = b""  # belongs to nothing
                    break
                stream = self._stream = zlib.decompressobj(self._window(data[0]))
            try:
                inflated += stream.decompress(data, at_most - len(inflated))
            except zlib.error as error:
                raise ValueError("the compressed data is broken") from error
            data = stream.unused_data if stream.eof else stream.unconsumed_tail
        self._waiting = data
        return inflated

    def _window(self, first: int) -> int:
        """zlib's `wbits`. `deflate` means zlib's format, but some send it without its wrapping."""
        if self._gzip:
            return zlib.MAX_WBITS | 16
        return zlib.MAX_WBITS if first & 0x0F == zlib.DEFLATED else -zlib.MAX_WBITS

    @property
    def whole(self) -> bool:
        """Whether the data's end has come, and its checksum was right."""
        return self._stream is not None and self._stream.eof


def inflate(data: bytes, coding: bytes, at_most: int) -> bytes:
    """The beginning of a body, inflated as far as that can be done; nothing of unknown codings."""
    coding = coding.strip().lower()
    if coding in PLAIN:
        return data[:at_most]
    if coding not in CODINGS:
        return b""
    stream = Inflater(coding)
    found = b""
    try:
        for at in range(0, len(data), _STEP):
            found += stream.feed(data[at : at + _STEP], at_most - len(found))
            if len(found) >= at_most:
                break
    except ValueError:
        pass  # what came before the fault is of use
    return found
