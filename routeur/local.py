"""The echo provider, behind connections like any other's: a transport without a network."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from http import HTTPStatus
from typing import Any

import httptools
import orjson

from routeur.dialects import echo, match
from routeur.pool import Origin, Pool
from routeur.providers import Timeouts
from routeur.upstream import Connection

PACE = 0.01  # seconds between two chunks of a stream, so that one can see it stream
HOME = Origin(secure=False, host="echo", port=80, path="")


class EchoPool(Pool):
    """Connections to the built-in answerer."""

    def __init__(self, timeouts: Timeouts, pace: float = PACE) -> None:
        super().__init__(HOME, timeouts=timeouts)
        self._pace = pace

    async def connect(
        self, seconds: float, make: Callable[[Pool], Connection] = Connection
    ) -> Connection:
        connection = make(self)
        connection.connection_made(EchoTransport(connection, self._pace))
        return connection


class EchoTransport(asyncio.Transport):
    """Reads requests from what is written, and answers them in HTTP/1.1, chunked."""

    def __init__(self, connection: Connection, pace: float) -> None:
        super().__init__()
        self._connection = connection
        self._pace = pace
        self._loop = asyncio.get_running_loop()
        self._parser = httptools.HttpRequestParser(self)
        self._url = b""
        self._body: list[bytes] = []
        self._due: deque[bytes] = deque()
        self._timer: asyncio.Handle | None = None
        self._paused = self._closing = False

    # ---- asyncio.Transport

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self._parser.feed_data(bytes(data))

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        return None

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return default

    def is_closing(self) -> bool:
        return self._closing

    def close(self) -> None:
        self.abort()

    def abort(self) -> None:
        if not self._closing:
            self._closing = True
            if self._timer is not None:
                self._timer.cancel()
            self._loop.call_soon(self._connection.connection_lost, None)

    def pause_reading(self) -> None:
        self._paused = True

    def resume_reading(self) -> None:
        self._paused = False
        self._schedule(0.0)

    # ---- httptools' callbacks

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_body(self, body: bytes) -> None:
        self._body.append(body)

    def on_message_complete(self) -> None:
        target = self._url.decode("utf-8", "surrogateescape")
        found = match("POST", target.partition("?")[0])
        try:
            body = orjson.loads(b"".join(self._body) or b"{}")
        except orjson.JSONDecodeError:
            body = {}
        if not isinstance(body, dict):
            body = {}
        family = found[0] if found else "openai"
        if (method := self._parser.get_method()) != b"POST":
            target = f"{method.decode()} {target}"  # which echo does not answer
        answer = echo.answer(family, target, body, bool(body.get("stream")))
        lines = [f"HTTP/1.1 {answer.status} {HTTPStatus(answer.status).phrase}\r\n"]
        lines += [f"{name}: {value}\r\n" for name, value in answer.headers]
        head = "".join([*lines, "Transfer-Encoding: chunked\r\n\r\n"]).encode()
        chunks = [b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in answer.chunks if chunk]
        blocks = [*chunks, b"0\r\n\r\n"]
        if len(chunks) <= 1:
            self._due.append(head + b"".join(blocks))
        else:
            self._due.extend([head, *blocks[:-2], blocks[-2] + blocks[-1]])
        self._url, self._body = b"", []
        self._schedule(0.0)

    # ---- inside

    def _schedule(self, seconds: float) -> None:
        if self._due and not self._paused and not self._closing:
            if self._timer is not None:
                self._timer.cancel()
            self._timer = self._loop.call_later(seconds, self._next)

    def _next(self) -> None:
        self._timer = None
        if self._due and not self._paused and not self._closing:
            self._connection.data_received(self._due.popleft())
            self._schedule(self._pace)
