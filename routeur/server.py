"""The side that clients see: aiohttp's HTTP server, with deadlines, strictness and quiet errors.

aiohttp parses requests and keeps connections; what it leaves open is closed here: how long a head
may take, what a malformed request gets, and how a client's going is noticed while its connection is
not being read.
"""

from __future__ import annotations

import asyncio
import errno
import os
import select
import socket
import struct
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Any, Protocol

import aiohttp.http_parser
from aiohttp import web
from aiohttp.http_exceptions import LineTooLong
from aiohttp.web_protocol import RequestHandler

from routeur.lasting import Lasting

Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]
ErrorBody = Callable[[int, str, bytes], bytes]

MAX_HEAD_LINE = 16 * 1024
MAX_HEADERS = 128
IDLE_CONNECTION = 75.0  # seconds between two requests
IDLE_SWEEP = 5.0  # seconds between two looks at that
NEVER = 365 * 86400.0  # aiohttp closes no connection: it does not know what the express does
MAX_QUEUED = 64 * 1024  # bytes that a client may send ahead of its answer
TURNS = 16  # of the loop, that aiohttp takes at most to wait for the next request
LINGER = 2.0  # seconds for which a refused body is still read, so that the client sees the answer
GONE_SWEEP = 0.025
RESET = socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)  # instead of a proper end


class Express(Protocol):
    """The short cut for requests whose head is known (`express.py`)."""

    def take(self, client: ClientConnection, data: bytes) -> bool:
        """Serve the request that these bytes are; false: aiohttp has to read it."""

    def left(self, exchange: Any) -> None:
        """The client of an exchange has gone, or of what no handler has resumed."""


class Source(Protocol):
    """What bytes for a client come from, and can be told to wait."""

    def pause_reading(self) -> None: ...
    def resume_reading(self) -> None: ...


class ClientConnection(RequestHandler):
    """One client's connection. `source` is the answer under way; a slow client makes it wait.

    `exchange` is a request that the express serves, `queued` what came after it. `whole` are the
    bytes of a request that came at once, until its handler runs; `resumed` are its attempts, where
    the express has begun it, until its handler takes them over.
    """

    __slots__ = (
        "bare",
        "busy",
        "exchange",
        "fed",
        "fed_size",
        "finishing",
        "head_end",
        "head_since",
        "held",
        "idle_for",
        "loop",
        "odd",
        "queued",
        "refused",
        "resumed",
        "server",
        "source",
        "stalled_since",
        "whole",
    )

    berth: Any = None  # of a turn of a WebSocket: its `turn_sockets.Berth`

    def __init__(self, server: Server, loop: asyncio.AbstractEventLoop, **kwargs: Any) -> None:
        super().__init__(server, loop=loop, **kwargs)
        self.server = server
        self.loop = loop  # asyncio.get_running_loop() costs a system call on Python 3.11
        self.source: Source | None = None
        self.exchange: object = None
        self.queued = self.whole = b""
        self.resumed: object = None
        self.idle_for = 0.0  # seconds, counted by the server's sweep
        self.busy = self.refused = False
        self.fed = False  # aiohttp has got something to read
        self.fed_size = self.head_end = 0  # since it had nothing: how much, and where its head ends
        self.odd = False  # what aiohttp has read did not end where a request does
        self.finishing = False
        self.held = False  # a request's body is not being read, and much of it waits
        self.bare = False  # its answer says by nothing but the connection's end that it is over
        self.head_since = self.stalled_since = 0.0

    def data_received(self, data: bytes) -> None:
        if self.refused:
            return
        if not data:  # aiohttp's own: it goes on with what its parser has kept
            super().data_received(data)
            return
        if self.exchange is not None or self.queued or (self.finishing and not self._waits()):
            self._queue(data)
            return
        self.finishing = False
        if self.busy or self.head_since:
            self._feeds_on(data)
        else:
            if not self.odd and (not self.fed or self._waits()) and self._take(data):
                return
            self._feeds(data)
        self.fed = True
        super().data_received(data)
        if self.transport is not None and not self.transport.is_reading():
            self.server.watch_unread(self)

    def _feeds(self, data: bytes) -> None:
        """aiohttp gets the first block of a request."""
        self.whole = b"" if self.odd else data
        self.head_end = data.find(b"\r\n\r\n") + 4
        self.fed_size = len(data)
        self.head_since = self.loop.time()
        self.server.reading_heads.add(self)

    def _feeds_on(self, data: bytes) -> None:
        """And another block of it, or of what is pipelined."""
        self.fed_size += len(data)
        if self.head_end < 4 and self.whole and self.fed_size < MAX_QUEUED:
            self.whole += data
            self.head_end = self.whole.find(b"\r\n\r\n") + 4

    def _waits(self) -> bool:
        """Whether aiohttp waits for a request: nothing of the last one is still to be written."""
        waiter = self._waiter
        return waiter is not None and not waiter.done()

    def finish(self) -> None:
        """The answer is complete; what comes from now on is for when aiohttp has noticed it, which
        takes some turns of the loop."""
        self.finishing = True
        self.loop.call_soon(self._look_again, TURNS)

    def _look_again(self, turns: int) -> None:
        if not self.finishing or self.transport is None:
            return
        if turns and not self._waits():
            self.loop.call_soon(self._look_again, turns - 1)
            return
        self.finishing = False
        if self.queued:
            self.data_received(self._unqueue())

    def _take(self, data: bytes) -> bool:
        """Whether the express serves this request."""
        express = self.server.express
        if express is None:
            return False
        try:
            return express.take(self, data)
        except Exception as bug:
            self.server.malformed(500, bug)
            if self.exchange is not None:
                self.abort()
            return self.exchange is not None

    def begin(self, exchange: object) -> None:
        """The express serves a request."""
        self.exchange = exchange
        self.busy = True
        self.fed = False  # aiohttp waits, or has not begun
        self.idle_for = 0.0

    def end(self, *, keep: bool) -> None:
        """Its answer is over."""
        self.exchange = self.source = None
        self.busy = False
        if self.transport is None:
            return
        if not keep:
            self.force_close()
        elif self.queued:
            self.data_received(self._unqueue())

    def resume(self, data: bytes, attempts: object) -> None:
        """Give a request that the express has begun to its handler."""
        self.exchange = self.source = None
        self.busy = False
        self.resumed = attempts
        data += self._unqueue()
        self._feeds(data)
        self.fed = True
        super().data_received(data)

    def _queue(self, data: bytes) -> None:
        """Keep what is pipelined, and read no more when it is much."""
        self.queued += data
        if len(self.queued) > MAX_QUEUED and self.transport is not None:
            self.transport.pause_reading()
            self.server.watch_unread(self)

    def _unqueue(self) -> bytes:
        data, self.queued = self.queued, b""
        if len(data) > MAX_QUEUED and self.transport is not None:
            self.transport.resume_reading()
        return data

    def pause_reading(self) -> None:
        self.held = True
        super().pause_reading()

    def resume_reading(self, resume_parser: bool = True) -> None:
        """aiohttp asks for this after every read of a body, held or not."""
        if self.held:
            self.held = False
            super().resume_reading(resume_parser)

    def pause_writing(self) -> None:
        super().pause_writing()
        self.stalled_since = self.loop.time()
        self.server.stalled.add(self)
        if self.source is not None:
            self.source.pause_reading()

    def resume_writing(self) -> None:
        super().resume_writing()
        self.server.stalled.discard(self)
        if self.source is not None:
            self.source.resume_reading()

    def connection_lost(self, exc: BaseException | None) -> None:
        self.server.forget(self)
        if self.exchange is not None and self.server.express is not None:
            exchange, self.exchange = self.exchange, None
            self.server.express.left(exchange)
        if self.resumed is not None and self.server.express is not None:
            resumed, self.resumed = self.resumed, None
            self.server.express.left(resumed)
        super().connection_lost(exc)

    def request_begins(self) -> None:
        """The head is complete and its handler runs."""
        self.busy = True
        self.head_since = self.idle_for = 0.0
        self.server.reading_heads.discard(self)

    def request_ends(self, request: web.BaseRequest) -> None:
        """Its handler is done."""
        size = self.head_end + (request.content_length or 0)
        if self.fed_size != size or "Transfer-Encoding" in request.headers:
            self.odd = True
        self.busy = False
        self.source = None
        self.whole = b""

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """What a request gets that aiohttp could not parse (or whose handler failed: a bug of
        ours).
        """
        if request.writer.output_size > 0:
            raise ConnectionError("the answer has begun")
        if isinstance(exc, LineTooLong) or (message and "Too many headers" in message):
            status, text = 431, "the request's head is too large"
        elif status == 500:
            text = "internal error"
        else:
            text = "the request is not well-formed HTTP/1.1"
        self.server.malformed(status, exc)
        self.refuse(status, text)
        return CLOSED

    def late(self) -> None:
        """The head did not come in time: say so, and close."""
        self.server.reading_heads.discard(self)
        if not self.busy:
            self.refuse(408, "the request's head did not arrive in time")

    def refuse(self, status: int, message: str) -> None:
        """Answer without aiohttp, which knows no request here or repeats a version of HTTP that
        nobody speaks, and close."""
        if self.transport is not None:
            body = self.server.error_body(status, message, self.whole)
            self.transport.write(
                b"HTTP/1.1 %d %b\r\nContent-Type: application/json\r\nServer: routeur\r\n"
                b"Content-Length: %d\r\nConnection: close\r\n\r\n%b"
                % (status, HTTPStatus(status).phrase.encode(), len(body), body)
            )
            # Closed at once, with bytes unread, the answer might be lost to a reset.
            self.refused = True
            self.transport.write_eof()
            self.loop.call_later(LINGER, self.force_close)

    def abort(self) -> None:
        """Cut, so that the client sees that its answer is not whole."""
        if self.transport is not None:
            if self.bare:
                self.transport.get_extra_info("socket").setsockopt(*RESET)
            self.transport.abort()
        self.force_close()


class Server(web.Server):
    """Makes `ClientConnection`s and watches over them.

    `head_timeout` and `stall_timeout` are seconds; `error_body(status, message, data)` gives the
    body of an answer to what is no request yet, and begins with `data`; `malformed(status, error)`
    is told of each such answer.
    """

    def __init__(
        self,
        handler: Handler,
        *,
        error_body: ErrorBody,
        malformed: Callable[[int, BaseException | None], None],
        head_timeout: float = 10.0,
        stall_timeout: float = 60.0,
    ) -> None:
        super().__init__(handler, handler_cancellation=True)
        self.error_body = error_body
        self.malformed = malformed
        self.head_timeout = head_timeout
        self.stall_timeout = stall_timeout
        self.express: Express | None = None
        self.lasting = Lasting()
        self._idle_looked_at = 0.0
        self.reading_heads: set[ClientConnection] = set()
        self.stalled: set[ClientConnection] = set()
        self.unread: set[ClientConnection] = set()

    def __call__(self) -> RequestHandler:
        return ClientConnection(
            self,
            asyncio.get_running_loop(),
            keepalive_timeout=NEVER,
            max_line_size=MAX_HEAD_LINE,
            max_field_size=MAX_HEAD_LINE,
            max_headers=MAX_HEADERS,
            lingering_time=LINGER,
            auto_decompress=False,
            access_log=None,
        )

    def forget(self, connection: ClientConnection) -> None:
        for watched in (self.reading_heads, self.stalled, self.unread):
            watched.discard(connection)

    def sweep(self, now: float) -> None:
        """End connections that are too slow, or idle for too long; `now` is the loop's time."""
        for connection in [*self.reading_heads]:
            if now - connection.head_since > self.head_timeout:
                connection.late()
        for connection in [*self.stalled]:
            if now - connection.stalled_since > self.stall_timeout:
                connection.abort()
        if now - self._idle_looked_at > IDLE_SWEEP:
            self._idle_looked_at = now
            self._sweep_idle()

    def _sweep_idle(self) -> None:
        """Close connections on which there has been no request for a while."""
        for connection in self.connections:
            if isinstance(connection, ClientConnection) and not connection.busy:
                connection.idle_for += IDLE_SWEEP
                if connection.idle_for > IDLE_CONNECTION:
                    connection.force_close()

    def watch_unread(self, connection: ClientConnection) -> None:
        """A connection that is not being read does not notice that its client has gone."""
        if not self.unread:
            asyncio.get_running_loop().call_later(GONE_SWEEP, self._sweep_unread)
        self.unread.add(connection)

    def _sweep_unread(self) -> None:
        """Ask the kernel whose clients have gone."""
        poll = select.poll()
        asked: dict[int, ClientConnection] = {}
        for connection in [*self.unread]:
            transport = connection.transport
            if transport is None or transport.is_closing() or transport.is_reading():
                self.unread.discard(connection)
                continue
            number = transport.get_extra_info("socket").fileno()
            asked[number] = connection
            poll.register(number, select.POLLRDHUP)
        for number, event in poll.poll(0) if asked else ():
            if event & (select.POLLRDHUP | select.POLLHUP | select.POLLERR):
                self.unread.discard(asked[number])
                asked[number].abort()
        if self.unread:
            asyncio.get_running_loop().call_later(GONE_SWEEP, self._sweep_unread)

    def close_idle(self) -> None:
        """Close connections on which no request is under way."""
        for connection in self.connections:
            if isinstance(connection, ClientConnection) and not connection.busy:
                connection.force_close()


class Sent(web.StreamResponse):
    """What a handler returns when it has already written the answer itself."""

    def __init__(self, *, keep: bool) -> None:
        super().__init__()
        self._keep = keep

    @property
    def keep_alive(self) -> bool | None:
        return self._keep

    async def prepare(self, request: web.BaseRequest) -> None: ...

    async def write_eof(self, data: bytes = b"") -> None: ...


KEPT = Sent(keep=True)
CLOSED = Sent(keep=False)


def check_parser() -> None:
    """aiohttp's parser in Python has let requests be smuggled: only the C one will do."""
    if aiohttp.http_parser.HttpRequestParser is aiohttp.http_parser.HttpRequestParserPy:
        raise RuntimeError(
            "aiohttp was installed without its C parser (or AIOHTTP_NO_EXTENSIONS is set)"
        )


def require_free(path: str) -> None:
    """Raise OSError where somebody serves on a unix socket; a dead one is replaced."""
    with socket.socket(socket.AF_UNIX) as probe:
        if probe.connect_ex(path) == 0:
            raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))
