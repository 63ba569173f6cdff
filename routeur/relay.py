"""What is kept of an answer beside its path, and its other end: decoded chunks.

(`reply.py` is the end that copies.) Only the little of a body is kept from which usage can be read
once it is over.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING

from routeur.dialects.inflate import Inflater
from routeur.errors import UpstreamError
from routeur.heads import Head

if TYPE_CHECKING:
    from routeur.upstream import Connection

KEEP_FIRST = 8 * 1024  # Anthropic says at the start what went in
KEEP_LAST = 32 * 1024  # everybody says at the end what came out
INFLATE_AT_MOST = 64 * 1024 * 1024  # of one answer: a bomb costs this much time, and no memory


class Tap:
    """What is kept of an answer that passes: its first and last bytes, its size, when content came.

    `pieces` holds what has come of the body since the last look.
    """

    first = last = b""
    total = 0
    first_token = 0.0
    watching = True
    _pattern: re.Pattern[bytes] | None = None
    _inflate: Callable[[bytes], bytes] | None = None

    decoded: bool
    pieces: list[bytes]

    def expect(self, content: re.Pattern[bytes] | None, kind: bytes, coding: bytes) -> None:
        """Before the body: `content` matches where a stream's first content has come (None: the
        first byte is content); `kind` and `coding` are its Content-Type and Content-Encoding. What
        holds no usage, or cannot be inflated, is not kept.
        """
        self._pattern = content
        if not coding and kind.startswith((b"text/event-stream", b"application/json")):
            return
        if not kind.startswith((b"text/event-stream", b"application/")) or b"octet" in kind:
            self._inflate = _nothing
        elif coding in (b"gzip", b"x-gzip", b"deflate"):
            self._inflate = _Inflater(coding).feed
            self._pattern = None
        elif coding and coding != b"identity":
            self._inflate = _nothing
            self._pattern = None

    def takes(self, head: Head, answer: bytes) -> bool:
        """Whether an answer that has come at once needs no steps; most kinds have some."""
        return False

    def look(self) -> None:
        """After a block has been written, while `watching`: note when content has come."""
        if self.pieces and (self._pattern is None or self._pattern.search(self.pieces[-1])):
            self.first_token = time.perf_counter()
            self.watching = False

    def document(self) -> bytes:
        """All of an answer that is over, if it is a small JSON object that came in one piece, as
        most do; else nothing."""
        pieces = self.pieces
        if len(pieces) != 1 or self.total or self._inflate is not None:
            return b""
        return pieces[0] if len(pieces[0]) <= KEEP_LAST and pieces[0][:1] == b"{" else b""

    def gather(self) -> None:
        """Keep of the pieces what usage can be read from, and let go of the rest."""
        pieces = self.pieces
        data = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        pieces.clear()
        if self._inflate is not None:
            data = self._inflate(data)
        elif not self.total and len(data) <= KEEP_FIRST:
            self.total = len(data)
            self.first = self.last = data
            return
        if len(self.first) < KEEP_FIRST:
            self.first += data[: KEEP_FIRST - len(self.first)]
        self.total += len(data)
        self.last = (self.last + data if self.last else data)[-KEEP_LAST:]


class _Inflater:
    """Inflates what passes; gives nothing more once the data is broken or beyond the bound."""

    def __init__(self, coding: bytes) -> None:
        self._stream = Inflater(coding)
        self._left = INFLATE_AT_MOST

    def feed(self, data: bytes) -> bytes:
        out = []
        try:
            while self._left > 0 and (piece := self._stream.feed(data, KEEP_LAST)):
                out.append(piece)
                self._left -= len(piece)
                data = b""
                del out[1:-2]  # only the start and the end are kept anyway
        except ValueError:
            self._left = 0
        return b"".join(out)


def _nothing(_: bytes) -> bytes:
    return b""


class Chunks(Tap):
    """Gives an answer to a coroutine: `await answer()` for the head, then `async for chunk in
    chunks`.

    At most HIGH_WATER bytes wait; then the provider's connection is not read until they are taken.
    """

    HIGH_WATER = 64 * 1024
    decoded = True
    gone = False

    def __init__(self, connection: Connection) -> None:
        self.pieces = []
        self._connection = connection
        self._waiting: list[bytes] = []
        self._size = 0
        self._answer: Head | None = None
        self._over = False
        self._error: UpstreamError | None = None
        self._news: asyncio.Event = asyncio.Event()

    def head(self, head: Head, whole: bool) -> bytes:
        self._answer = head
        self._news.set()
        return b""

    def ending(self) -> None:
        pass

    def write(self, data: bytes) -> None:
        self._waiting.append(data)
        self._size += len(data)
        if self._size > self.HIGH_WATER:
            self._connection.pause_reading()
        self._news.set()

    def ended(self) -> None:
        self._over = True
        self._news.set()

    def failed(self, error: UpstreamError) -> None:
        self._error = error
        self._news.set()

    async def answer(self) -> Head:
        """The answer's head; raises UpstreamError."""
        while self._answer is None:
            await self._wait()
        return self._answer

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """The body's bytes as they come; raises UpstreamError where they break off."""
        while True:
            if self._waiting:
                data = b"".join(self._waiting)
                self._waiting.clear()
                self._size = 0
                self._connection.resume_reading()
                yield data
            elif self._over:
                return
            else:
                await self._wait()

    async def _wait(self) -> None:
        if self._error is not None:
            raise self._error
        self._news.clear()
        await self._news.wait()
        if self._error is not None and not self._waiting:
            raise self._error
