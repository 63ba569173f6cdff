"""Requests that routeur makes of itself, through the same door as those of clients.

A turn of a WebSocket, a response that nobody waits for, a summary: each is an ordinary request,
with its plan, its limits and its trace. What would be written to a client is read here.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable
from typing import Any, cast

from aiohttp import HttpVersion10, web
from aiohttp.http_parser import RawRequestMessage
from aiohttp.streams import EmptyStreamReader
from aiohttp.web_protocol import RequestHandler
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

from routeur.dialects import sse
from routeur.errors import ClientError, UpstreamError
from routeur.server import Source
from routeur.turn_sockets import Berth

HIGH_WATER = 128 * 1024  # bytes that wait to be read; beyond, the provider has to wait
WHOLE_AT_MOST = 64 * 1024 * 1024  # bytes of an answer that is no stream
END_OF_HEAD = b"\r\n\r\n"

Fields = tuple[tuple[bytes, bytes], ...]
Serve = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]
# Of a connection's headers, those that say nothing about a request on it.
_OF_CONNECTION = (b"sec-websocket-", b"accept-encoding", b"content-", b"expect", b"transfer-")
_KEY = b"sec-websocket-protocol"  # may be among what it says
_ALSO = frozenset(b"connection upgrade accept te trailer keep-alive x-request-id".split())


class Pipe:
    """The client's end as an answer sees it: a connection, and its transport.

    As to an HTTP/1.0 client, a body comes without framing, and its end is that of the connection.
    """

    ssl_context = peername = sockname = None  # what aiohttp's requests ask of a connection

    def __init__(self, loop: asyncio.AbstractEventLoop, malformed: Callable[..., None]) -> None:
        self.loop = loop
        self.transport: Pipe | None = self
        self.server = self
        self.malformed = malformed  # of the server: told of mistakes of ours
        self.source: Source | None = None
        self.writing_paused = False
        self.berth: Berth | None = None  # of a turn: where it can have its connection from
        self.cut = False  # the answer ended before its end
        self._waiting: list[bytes] = []
        self._size = 0
        self._news = asyncio.Event()

    # ---- what an answer does

    def write(self, data: bytes) -> None:
        if self.transport is None or not data:
            return
        self._waiting.append(data)
        self._size += len(data)
        self._news.set()
        if self._size > HIGH_WATER and not self.writing_paused:
            self.writing_paused = True
            if self.source is not None:
                self.source.pause_reading()

    def is_closing(self) -> bool:
        return self.transport is None

    def finish(self) -> None:
        """The answer is complete."""

    def abort(self) -> None:
        self.force_close()

    def force_close(self) -> None:
        """It was cut, which has to be seen."""
        self.cut = True
        self.close()

    # ---- what its reader does

    def close(self) -> None:
        self.transport = None
        self._news.set()

    async def read(self) -> bytes:
        """What has come; nothing: it is over."""
        while not self._waiting:
            if self.transport is None:
                return b""
            self._news.clear()
            await self._news.wait()
        data = b"".join(self._waiting)
        self._waiting.clear()
        self._size = 0
        if self.writing_paused:
            self.writing_paused = False
            if self.source is not None:
                self.source.resume_reading()
        return data


class Inside:
    """One request: `await ask()`, then `status`, and `events()` or `whole()`; `close()` always."""

    def __init__(
        self,
        serve: Serve,
        method: str,
        target: str,
        fields: Fields,
        body: bytes,
        malformed: Callable[..., None],
        berth: Berth | None = None,
    ) -> None:
        loop = asyncio.get_running_loop()
        self.status = 0
        self.kind = b""  # of the body
        self._pipe = Pipe(loop, malformed)
        self._pipe.berth = berth
        self._rest = b""
        self._own: bytes | None = None  # the body of an answer of routeur's own
        request = _request(self._pipe, loop, method, target, fields, body)
        self._task = asyncio.ensure_future(self._serve(serve, request))

    async def _serve(self, serve: Serve, request: web.BaseRequest) -> None:
        try:
            answer = await serve(request)
            if isinstance(answer, web.Response):
                self.status, self.kind = answer.status, answer.content_type.encode()
                self._own = bytes(answer.body) if isinstance(answer.body, bytes) else b""
        finally:
            self._pipe.close()

    async def ask(self) -> None:
        """Until the answer's head is there; raises what `serve` raises, and UpstreamError."""
        while END_OF_HEAD not in self._rest:
            data = await self._pipe.read()
            if not data:
                break
            self._rest += data
        if self._own is None and not self._rest:
            await self._task
        if self._own is not None:
            return
        head, found, self._rest = self._rest.partition(END_OF_HEAD)
        if not found:
            raise UpstreamError("the answer broke off")
        self.status = int(head[9:12])
        for line in head.split(b"\r\n")[1:]:
            name, _, value = line.partition(b":")
            if name.lower() == b"content-type":
                self.kind = value.strip().lower()
            elif name.lower() == b"content-encoding" and value.strip().lower() != b"identity":
                raise UpstreamError("the provider used a content coding that nobody asked for")

    @property
    def streams(self) -> bool:
        return self.kind.startswith(b"text/event-stream")

    async def events(self) -> AsyncGenerator[bytes, None]:
        """The data of its events, as they come. Raises UpstreamError where it was cut."""
        cutter = sse.Frames()
        data = self._rest
        while True:
            for frame in cutter.feed(data):
                told = sse.data(frame)
                if told is not None and told != b"[DONE]":
                    yield told
            data = await self._pipe.read()
            if not data:
                break
        last = sse.data(cutter.rest)
        if last and last != b"[DONE]" and not self._pipe.cut:
            yield last
        await self._end()

    async def whole(self) -> bytes:
        """The body. Raises UpstreamError where it was cut, or is too large."""
        if self._own is not None:
            return self._own
        pieces, size = [self._rest], len(self._rest)
        while data := await self._pipe.read():
            pieces.append(data)
            size += len(data)
            if size > WHOLE_AT_MOST:
                raise UpstreamError("the answer is too large")
        await self._end()
        return b"".join(pieces)

    async def _end(self) -> None:
        await self._task
        if self._pipe.cut:
            raise UpstreamError("the provider's answer broke off")

    async def close(self) -> None:
        """What is still under way is cancelled, as if a client had left."""
        if not self._task.done():
            self._pipe.close()
            self._task.cancel()
        await asyncio.wait([self._task])
        if not self._task.cancelled():
            self._task.exception()  # it has been told, or nobody wants to know


def fields_of(fields: Iterable[tuple[bytes, bytes]], body: bytes) -> Fields:
    """The headers of a request inside, from those of the connection it is made for."""
    kept = [
        (name, value)
        for name, value in fields
        if name.lower() == _KEY
        or not (name.lower() in _ALSO or name.lower().startswith(_OF_CONNECTION))
    ]
    kept.append((b"Content-Type", b"application/json"))
    kept.append((b"Content-Length", b"%d" % len(body)))
    return tuple(kept)


def _request(
    pipe: Pipe,
    loop: asyncio.AbstractEventLoop,
    method: str,
    target: str,
    fields: Fields,
    body: bytes,
) -> web.BaseRequest:
    """What aiohttp would have made of it."""
    try:
        url = URL(target, encoded=True)
    except ValueError:
        raise ClientError("the request target is not well-formed") from None
    headers = CIMultiDict((k.decode("latin-1"), v.decode("latin-1")) for k, v in fields)
    message = RawRequestMessage(
        method,
        target,
        HttpVersion10,
        CIMultiDictProxy(headers),
        fields,
        should_close=True,
        compression=None,
        upgrade=False,
        chunked=False,
        url=url,
    )
    protocol = cast(RequestHandler, pipe)
    nobody = cast(Any, None)  # no task of aiohttp's, and nothing that it could write to
    return web.BaseRequest(message, _Whole(body), protocol, nobody, nobody, loop)


class _Whole(EmptyStreamReader):
    """A body that has come."""

    def __init__(self, body: bytes) -> None:
        super().__init__()
        self._body = body

    def read_nowait(self, n: int = -1) -> bytes:
        body, self._body = self._body, b""
        return body

    async def readany(self) -> bytes:
        return self.read_nowait()
