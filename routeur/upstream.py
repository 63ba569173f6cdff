"""Connections to providers: HTTP/1.1 over httptools, one request at a time.

A connection reads an answer's head whole, asks its receiver what to do
with it, and from then on hands over every block of bytes in the turn of the loop in which it
arrived. It is strict: whatever is not plain HTTP/1.1 framing ends the connection, before the first
byte as an `UpstreamError`, after it as a visible break.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, cast

from httptools import HttpResponseParser

from routeur.errors import UpstreamError, UpstreamTimeout
from routeur.framing import BROKEN, EMPTY_LINE, LINE_END, NOT_HTTP, Framing
from routeur.heads import CHUNKED, UNTIL_CLOSE, Head, may_be_head, read_head
from routeur.providers import Timeouts
from routeur.receiver import Receiver

if TYPE_CHECKING:
    from routeur.pool import Pool

# What may wait in a transport before its writer is paused. asyncio reads up to 256 KiB at once on
# top of it.
HIGH_WATER = 64 * 1024
MAX_HEAD = 64 * 1024
MAX_INTERIM = 20  # answers with 1xx before the real one
# Decoded bytes that may gather before the receiver is asked to let go of what it need not keep.
TRIM = 64 * 1024

NO_HTTP = "the provider did not answer in HTTP"

Write = Callable[[bytes], object]


class Stale(UpstreamError):
    """A reused connection ended before any byte of the answer: worth one more try on a new one."""


class Connection(Framing):
    """One connection; `receiver` is whose answer is under way, None while it is idle."""

    __slots__ = (
        "_buffer",
        "_drained",
        "_feed",
        "_interim",
        "_no_body",
        "_pending",
        "_timed",
        "_write",
        "born",
        "idle_for",
        "limits",
        "paused",
        "pool",
        "reused",
        "sending",
        "silent",
        "transport",
    )

    def __init__(self, pool: Pool) -> None:
        self.pool = pool
        self.transport: asyncio.Transport | None = None
        self.receiver = None
        self.reused = False
        self.born = pool.clock()
        self.limits = pool.timeouts
        self.silent = 0.0  # seconds without a byte, counted by the pool's sweep
        self.idle_for = 0.0
        self.sending = False  # part of the request's body is still to come
        self.paused = False  # the receiver is slow: reading waits
        self._drained: asyncio.Future[None] | None = None
        self._write: Write | None = None
        self._feed: Write | None = None  # while a chunked body goes as it comes
        self._timed = False
        self._keep = None
        self._interim = self._pending = self._left = 0
        self._buffer = b""
        self._parser = self.on_body = None

    # ---- one exchange

    def send(
        self,
        receiver: Receiver,
        head: bytes,
        body: bytes,
        limits: Timeouts,
        *,
        no_body: bool = False,
        more: bool = False,
    ) -> None:
        """Write a request; its answer goes to `receiver`.

        `no_body`: it is a HEAD, whose answer has none. `more`: the rest of the body follows by
        `send_more`.
        """
        transport = self.transport
        assert transport is not None
        self.receiver = receiver
        self.limits = limits
        self.sending = more
        self.silent = 0.0
        self._no_body = no_body
        self._interim = 0
        if len(body) > HIGH_WATER:
            transport.write(head)
            transport.write(body)
        else:
            transport.write(head + body)

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
        """Whether the answer's body has begun to come, be it with its framing."""
        return self._write is not None and self._pending > 0

    @property
    def waits_for_client(self) -> bool:
        """Whether the rest of the request is the client's to send."""
        return self.sending and self._drained is None

    def time_next_block(self, tell: Callable[[float], None]) -> bool:
        """Measure how long the next block of a body takes to be written, in seconds; false where
        no answer is under way.
        """
        write = self._write
        if write is None or self._timed:
            return self._timed

        def timed(data: bytes) -> None:
            self._write = write
            self._timed = False
            began = time.perf_counter()
            write(data)
            tell(time.perf_counter() - began)

        self._write = timed
        self._timed = True
        return True

    def redirect(self, receiver: Receiver, write: Write) -> None:
        """Have the rest of an answer written by another function; nothing happens after its end."""
        if self.receiver is receiver:
            self._write = write
            self._timed = False

    def refuse(self, receiver: Receiver, error: UpstreamError) -> None:
        """Stop an answer, and let its receiver know why; nothing happens after its end."""
        if self.receiver is receiver:
            self._refuse(error)

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
        # Over TLS: what waits encrypted is lost on uvloop where a provider ends without a word.
        if limit := getattr(transport, "set_read_buffer_limits", None):
            limit(1)
        self.pool.open.add(self)

    def data_received(self, data: bytes) -> None:
        feed, write, receiver = self._feed, self._write, self.receiver
        if write is None or receiver is None:
            return self._head(data)
        if feed is None or data[0] in LINE_END or EMPTY_LINE in data:
            return self._body(receiver, write, data)
        # Nearly every block of a stream: it goes as it came, and no message can end in it.
        self.silent = 0.0
        try:
            feed(data)
            write(data)
        except NOT_HTTP:
            return self._refuse(UpstreamError(BROKEN))
        except UpstreamError as error:
            return self._refuse(error)
        except RuntimeError:  # uvloop's word for a client that is gone, of which we hear next
            return self._abandon(receiver)
        if receiver.watching:
            receiver.look()
        self._pending += len(data)
        if self._pending > TRIM:
            self._pending = 1  # never nothing again: see `answering`
            receiver.gather()

    def _body(self, receiver: Receiver, write: Write, data: bytes) -> None:
        """A block of a body that has to be counted, or may be its last."""
        self.silent = 0.0
        if self._left == CHUNKED and not receiver.decoded:
            data = self._count_chunks(data)
        else:
            data = self._count(data)
        if self.receiver is None:  # the framing broke
            return
        try:
            if self._complete:
                receiver.ending()
            write(data)
        except UpstreamError as error:
            return self._refuse(error)
        except RuntimeError:  # uvloop's word for a client that is gone, of which we hear next
            return self._abandon(receiver)
        if receiver.watching:
            receiver.look()
        if self._complete:
            return self._finish(self._surplus)
        self._pending += len(data)
        if self._pending > TRIM:
            self._pending = 1  # never nothing again: see `answering`
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
        elif self._write is not None or self._buffer or self._interim:
            self._fail(UpstreamError("the provider broke off its answer"))
        elif self.reused and not self.sending:
            self._fail(Stale("the provider closed the connection before it answered"))
        else:
            self._fail(UpstreamError("the provider closed the connection before it answered"))

    def pause_writing(self) -> None:
        self._drained = asyncio.get_running_loop().create_future()

    def resume_writing(self) -> None:
        if self._drained is not None and not self._drained.done():
            self._drained.set_result(None)
        self._drained = None

    # ---- inside

    def _head(self, data: bytes) -> None:
        """Bytes of an answer's head. Once it is whole it is passed on together with what has come
        of the body: for most answers that is all of it."""
        receiver = self.receiver
        if receiver is None:  # bytes nobody asked for: whose would they be?
            return self._close()
        if self._buffer:
            data, self._buffer = self._buffer + data, b""
        try:
            found = self._read(receiver, data)
            if found is None:
                return
            head, data = found
            self._left = length = head.length
            complete, surplus = True, False
            if length == len(data):
                if data:
                    receiver.pieces.append(data)
            elif length == 0:
                data, surplus = b"", True
            else:
                data = self._begin_body(data, length)
                complete, surplus = self._complete, self._surplus
                if self.receiver is None:  # the framing broke: nothing has been sent yet
                    return
            if complete and receiver.takes(head, data):
                return self._finish(surplus)
            first = receiver.head(head, complete)
            self._write = write = receiver.write
            if complete:
                receiver.ending()
            if first or data:
                write(first + data)
        except NOT_HTTP:
            return self._refuse(UpstreamError(NO_HTTP))
        except UpstreamError as error:
            return self._refuse(error)
        except RuntimeError:  # uvloop's word for a client that is gone, of which we hear next
            return self._abandon(receiver)
        if data and receiver.watching:
            receiver.look()
        if complete:
            self._finish(surplus)

    def _read(self, receiver: Receiver, data: bytes) -> tuple[Head, bytes] | None:
        """The head, and what has come after it; None: it is not whole yet."""
        head = None
        while True:
            end = data.find(EMPTY_LINE) + 4
            if end < 4:
                self._wait_for_more(data)
                return None
            raw, data = data[:end], data[end:]
            if not self._no_body:
                head = self.pool.templates.read(raw)
                if head is not None and head.length != CHUNKED:
                    self._keep = True
                    return head, data
            self._keep = None
            self.on_body = receiver.pieces.append
            self._parser = parser = HttpResponseParser(self)
            parser.feed_data(raw)
            status = parser.get_status_code()
            if status >= 200 and self._keep is not None:
                break
            self._pass_over(status, raw)
        if head is None:
            head = read_head(status, raw, self._no_body)
            self.pool.templates.learn(raw)
        return head, data

    def _wait_for_more(self, data: bytes) -> None:
        """A head is not whole yet."""
        if not may_be_head(data):
            raise UpstreamError(NO_HTTP)
        if len(data) > MAX_HEAD:
            raise UpstreamError("the provider sent a head larger than 64 KiB")
        self._buffer = data

    def _pass_over(self, status: int, raw: bytes) -> None:
        """An interim answer's head, which the real one follows."""
        if self._keep is None or status < 100 or not raw.startswith(b"HTTP/1."):
            raise UpstreamError(NO_HTTP)
        if status == 101:
            raise UpstreamError("the provider switched protocols unasked")
        if self._interim == MAX_INTERIM:
            raise UpstreamError("the provider sent interim answers without end")
        self._interim += 1

    def _begin_body(self, data: bytes, length: int) -> bytes:
        """The first block of a body that goes on, or ends with its last chunk."""
        self._complete = self._surplus = False
        self.silent = 0.0
        if length == UNTIL_CLOSE:
            self._keep = False
        self._pending = len(data)
        data = self._count(data) if data else data
        if length == CHUNKED and self.receiver is not None and not self.receiver.decoded:
            self._feed = self._parser.feed_data
        return data

    def _finish(self, surplus: bool) -> None:
        receiver = self.receiver
        assert receiver is not None
        self._let_go()
        if self.paused:
            self.resume_reading()
        if self._keep and not surplus and not self.sending:
            self.pool.give(self)
        elif self.transport is not None:
            self.transport.abort() if self.sending or surplus else self.transport.close()
        receiver.ended()

    def _abandon(self, receiver: Receiver) -> None:
        """A block could not be written."""
        if not receiver.gone:
            return self._refuse(UpstreamError("the answer could not be passed on"))
        if self.receiver is not None:
            self._let_go()
        self._close()

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
        self.receiver = self._write = self._feed = self._parser = self.on_body = None

    def _close(self) -> None:
        self.pool.forget(self)
        if self.transport is not None:
            self.transport.abort()
