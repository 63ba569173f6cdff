"""Connections to providers: HTTP/1.1 over httptools, one request at a time, framing counted byte by
byte.

A connection reads an answer's head whole, asks its receiver (`relay.py` has both kinds) what to do
with it, and from then on hands over every block of bytes in the turn of the loop in which it
arrived. It is strict: whatever is not plain HTTP/1.1 framing ends the connection, before the first
byte as an `UpstreamError`, after it as a visible break.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol, cast

import httptools

from routeur.errors import UpstreamError, UpstreamTimeout
from routeur.heads import CHUNKED, UNTIL_CLOSE, Head, may_be_head, read_head
from routeur.providers import Timeouts

if TYPE_CHECKING:
    from routeur.pool import Pool

# What may wait in a transport before its writer is paused. asyncio reads up to 256 KiB at once on
# top of it.
HIGH_WATER = 64 * 1024
MAX_HEAD = 64 * 1024
MAX_INTERIM = 20  # answers with 1xx before the real one
# Decoded bytes that may gather before the receiver is asked to let go of what it need not keep.
TRIM = 64 * 1024

NOT_HTTP = (httptools.HttpParserError, httptools.HttpParserUpgrade)


class Stale(UpstreamError):
    """A reused connection ended before any byte of the answer: worth one more try on a new one."""


class Receiver(Protocol):
    """Where an answer goes. After `ended` or `failed` a connection never calls it again."""

    pieces: list[bytes]  # what has come of the body, without transfer framing
    watching: bool

    @property
    def decoded(self) -> bool:
        """Whether `write` takes bytes without transfer framing."""

    def head(self, head: Head) -> bytes:
        """The head has come.

        Returns what to write before the body; raises UpstreamError to refuse.
        """

    def write(self, data: bytes, /) -> object:
        """A block of the body, in the turn of the loop in which it came."""

    def look(self) -> None:
        """Called after a block has been written, as long as `watching`."""

    def gather(self) -> None:
        """Called now and then, so that `pieces` does not grow without end."""

    def ended(self) -> None:
        """The answer is complete."""

    def failed(self, error: UpstreamError) -> None:
        """The answer will not come, or not to its end."""


class Connection(asyncio.Protocol):
    """One connection; `receiver` is whose answer is under way, None while it is idle."""

    __slots__ = (
        "_buffer",
        "_complete",
        "_decoded",
        "_drained",
        "_head_done",
        "_interim",
        "_keep",
        "_left",
        "_no_body",
        "_parser",
        "_pending",
        "_timed",
        "_write",
        "answered",
        "born",
        "idle_for",
        "limits",
        "on_body",
        "paused",
        "pool",
        "receiver",
        "sending",
        "silent",
        "transport",
        "uses",
    )

    def __init__(self, pool: Pool) -> None:
        self.pool = pool
        self.transport: asyncio.Transport | None = None
        self.receiver: Receiver | None = None
        self.uses = 0
        self.born = pool.clock()
        self.limits = pool.timeouts
        self.silent = 0.0  # seconds without a byte, counted by the pool's sweep
        self.idle_for = 0.0
        self.sending = False  # part of the request's body is still to come
        self.paused = False  # the receiver is slow: reading waits
        self.answered = False
        self._drained: asyncio.Future[None] | None = None
        self._write: Callable[[bytes], object] | None = None

    # ---- one exchange

    def send(
        self,
        receiver: Receiver,
        head: bytes,
        body: bytes,
        *,
        limits: Timeouts,
        no_body: bool = False,
        more: bool = False,
    ) -> None:
        """Write a request; its answer goes to `receiver`.

        `no_body`: it is a HEAD, whose answer has none. `more`: the rest of the body follows by
        `send_more`.
        """
        assert self.transport is not None
        self.receiver = receiver
        self.limits = limits
        self.sending = more
        self.uses += 1
        self.silent = 0.0
        self.answered = False
        self._no_body = no_body
        self._write = None
        self._timed = False
        self._decoded = receiver.decoded
        self._pending = 0
        self._expect_head()
        self._interim = 0
        self._buffer = b""
        self.pool.active.add(self)
        if len(body) > HIGH_WATER:
            self.transport.write(head)
            self.transport.write(body)
        else:
            self.transport.write(head + body)

    async def send_more(self, data: bytes) -> None:
        """Write a part of the request's body, and wait while the provider does not take it."""
        if self.transport is None or self.transport.is_closing():
            raise UpstreamError(
                "the provider closed the connection while the request was being sent"
            )
        self.transport.write(data)
        self.silent = 0.0
        if self._drained is not None:
            await self._drained

    @property
    def answering(self) -> bool:
        """Whether the answer's head has come, and been accepted."""
        return self._write is not None

    def time_next_block(self, tell: Callable[[float], None]) -> None:
        """Measure how long the next block of a body takes to be written, in seconds."""
        write = self._write
        if write is None or self._timed:
            return

        def timed(data: bytes) -> None:
            self._write = write
            self._timed = False
            began = time.perf_counter()
            write(data)
            tell(time.perf_counter() - began)

        self._write = timed
        self._timed = True

    def abort(self, receiver: Receiver) -> None:
        """Stop an answer.

        Does nothing when it is over: the connection may be somebody else's by now.
        """
        if self.receiver is receiver:
            self._let_go()
            self._close()

    def pause_reading(self) -> None:
        """The receiver is slow: leave bytes in the socket."""
        if not self.paused and self.transport is not None:
            self.paused = True
            self.transport.pause_reading()

    def resume_reading(self) -> None:
        if self.paused:
            self.paused = False
            if self.transport is not None:
                self.transport.resume_reading()

    # ---- asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.transport.set_write_buffer_limits(high=HIGH_WATER)

    def data_received(self, data: bytes) -> None:
        write = self._write
        if write is None:
            if self.receiver is None:  # bytes nobody asked for: whose would they be?
                self._close()
            else:
                self._head(data)
            return
        self.silent = 0.0
        data, surplus = self._count(data)
        receiver = self.receiver
        if receiver is None:  # the framing broke
            return
        write(data)
        self._pending += len(data)
        if receiver.watching:
            receiver.look()
        if self._complete:
            self._finish(surplus)
        elif self._pending > TRIM:
            self._pending = 0
            receiver.gather()

    def connection_lost(self, exc: Exception | None) -> None:
        self.transport = None
        self.pool.forget(self)
        if self._drained is not None and not self._drained.done():
            self._drained.set_result(None)
        receiver = self.receiver
        if receiver is None:
            return
        if self._write is not None and self._left == UNTIL_CLOSE and exc is None:
            self._let_go()
            receiver.ended()
        elif self.answered:
            self._fail(UpstreamError("the provider broke off its answer"))
        elif self.uses > 1 and not self.sending:
            self._fail(Stale("the provider closed the connection before it answered"))
        else:
            self._fail(UpstreamError("the provider closed the connection before it answered"))

    def pause_writing(self) -> None:
        self._drained = asyncio.get_running_loop().create_future()

    def resume_writing(self) -> None:
        if self._drained is not None and not self._drained.done():
            self._drained.set_result(None)
        self._drained = None

    # ---- llhttp's callbacks (`on_body` is the receiver's `pieces.append`)

    def on_headers_complete(self) -> None:
        self._head_done = True
        self._keep = self._parser.should_keep_alive()  # only here is it right

    def on_message_complete(self) -> None:
        self._complete = True

    # ---- inside

    def _expect_head(self) -> None:
        receiver = cast(Receiver, self.receiver)
        self.on_body = receiver.pieces.append
        self._parser = httptools.HttpResponseParser(self)
        self._head_done = self._complete = False

    def _head(self, data: bytes) -> None:
        self.answered = True
        data = self._buffer + data if self._buffer else data
        while True:
            end = data.find(b"\r\n\r\n") + 4
            if end < 4:
                if not may_be_head(data):
                    self._break("did not answer in HTTP")
                elif len(data) > MAX_HEAD:
                    self._break("sent a head larger than 64 KiB")
                self._buffer = data
                return
            raw, data = data[:end], data[end:]
            try:
                self._parser.feed_data(raw)
            except NOT_HTTP:
                return self._break("did not answer in HTTP")
            if not self._head_done or not raw.startswith(b"HTTP/1."):
                return self._break("did not answer in HTTP")
            status = self._parser.get_status_code()
            if status < 100:
                return self._break("did not answer in HTTP")
            if status >= 200:
                break
            if status == 101:
                return self._break("switched protocols unasked")
            self._interim += 1
            if self._interim > MAX_INTERIM:
                return self._break("sent interim answers without end")
            self._expect_head()  # an interim answer: the real one follows
        self._buffer = b""
        self._answer(status, raw, data)

    def _answer(self, status: int, raw: bytes, data: bytes) -> None:
        """The head is whole: pass it on together with what has come of the body."""
        receiver = cast(Receiver, self.receiver)
        surplus = False
        try:
            head = read_head(status, raw, no_body=self._no_body)
            if head.length == UNTIL_CLOSE:
                self._keep = False
            self._left = length = head.length
            self._complete = length == 0
            if data:
                if len(data) == length:  # the whole body: what most answers are
                    receiver.pieces.append(data)
                    self._complete = True
                else:
                    data, surplus = self._count(data)
                    if self.receiver is None:  # the framing broke: nothing has been sent yet
                        return
            first = receiver.head(head)
        except UpstreamError as error:
            return self._refuse(error)
        self._write = receiver.write
        self.silent = 0.0
        if first or data:
            receiver.write(first + data)
        if data and receiver.watching:
            receiver.look()
        if self._complete:
            self._finish(surplus)

    def _count(self, data: bytes) -> tuple[bytes, bool]:
        """Take a block of the body: what of it is to be written, and if more came than belongs to
        it.

        Where the framing breaks, the exchange is over (`receiver` is None).
        """
        if self._left == CHUNKED:
            if not self._decoded:
                return self._count_chunks(data)
            pieces = cast(Receiver, self.receiver).pieces
            before = len(pieces)
            _, surplus = self._count_chunks(data)
            return b"".join(pieces[before:]), surplus
        surplus = False
        if self._left >= 0:
            size = len(data)
            if size >= self._left:
                surplus = size > self._left
                data = data[: self._left]
                self._complete = True
            self._left -= len(data)
        cast(Receiver, self.receiver).pieces.append(data)
        return data, surplus

    def _count_chunks(self, data: bytes) -> tuple[bytes, bool]:
        """Take a block of a chunked body; returns what belongs to it, and if there was more.

        llhttp says that a message ended, not where, and swallows line ends after it: so no feed
        goes beyond an empty line, which is where a message can end.
        """
        feed = self._parser.feed_data
        start = 0
        try:
            if data[0] in b"\r\n":  # the empty line may have been cut by the network
                while start < min(4, len(data)) and not self._complete:
                    feed(data[start : start + 1])
                    start += 1
            while not self._complete and (end := data.find(b"\r\n\r\n", max(0, start - 3))) >= 0:
                feed(data[start : end + 4])
                start = end + 4
            if self._complete:
                return data[:start], start < len(data)
            if start < len(data):
                feed(data[start:] if start else data)
        except NOT_HTTP:
            self._break("sent broken chunks")
        return data, False

    def _finish(self, surplus: bool) -> None:
        receiver = self.receiver
        assert receiver is not None
        self._let_go()
        self.resume_reading()
        if self._keep and not surplus and not self.sending:
            self.pool.give(self)
        elif self.transport is not None:
            self.transport.abort() if self.sending or surplus else self.transport.close()
        receiver.ended()

    def _break(self, what: str) -> None:
        self._refuse(UpstreamError(f"the provider {what}"))

    def _refuse(self, error: UpstreamError) -> None:
        self._fail(error)
        self._close()

    def timeout(self, what: str) -> None:
        """Too long without a byte."""
        self._refuse(UpstreamTimeout(what))

    def _fail(self, error: UpstreamError) -> None:
        receiver = self.receiver
        assert receiver is not None
        self._let_go()
        receiver.failed(error)

    def _let_go(self) -> None:
        """The exchange is over: nothing of it may be reached from here any more."""
        self.receiver = self._write = None
        del self.on_body
        self._buffer = b""
        self.pool.active.discard(self)

    def _close(self) -> None:
        self.pool.forget(self)
        if self.transport is not None:
            self.transport.abort()
