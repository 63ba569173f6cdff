"""A provider on loopback: answers what a test tells it to, and remembers everything it was sent.

Raw asyncio and a strict parser, on purpose: it can break every rule of HTTP, and notices when a
request breaks one. A script is a list of answers; each serves one request, the last one all others.
"""

from __future__ import annotations

import asyncio
import hashlib
import socket
import ssl
import struct
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from http import HTTPStatus
from itertools import pairwise

import httptools
import trustme

from tests.patience import PATIENCE

KEPT = 1 << 20  # of a larger request body only size and digest are kept


class Do(Enum):
    """What an answer can do between two pieces of bytes."""

    HOLD = "wait for `release()`, or for the connection's end"
    CLOSE = "close the connection properly"
    RESET = "reset the connection"
    EARLY = "answer before the request's body has come"
    DEAF = "read nothing more of the request's body"


HOLD, CLOSE, RESET, EARLY, DEAF = Do
Part = bytes | Do | float  # a number is a pause in seconds


@dataclass
class Request:
    """A request as it came: `target` and `headers` are raw; `body` is cut off at 1 MiB."""

    connection: Connection
    method: str = ""
    target: bytes = b""
    version: str = ""
    headers: list[tuple[bytes, bytes]] = field(default_factory=list)
    kept: bytearray = field(default_factory=bytearray)
    size: int = 0
    digest: hashlib._Hash = field(default_factory=hashlib.sha256)
    done: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def body(self) -> bytes:
        return bytes(self.kept)

    @property
    def sha256(self) -> str:
        return self.digest.hexdigest()

    @property
    def path(self) -> str:
        return self.target.decode("latin-1")

    def header(self, name: str) -> str | None:
        """The header's value, all of them joined with commas, or None."""
        found = [value for key, value in self.headers if key.lower() == name.lower().encode()]
        return b", ".join(found).decode("latin-1") if found else None

    def names(self) -> set[str]:
        return {key.decode("latin-1").lower() for key, _ in self.headers}

    @property
    def key(self) -> str:
        """The credential that it carries."""
        found = map(self.header, ("authorization", "x-api-key", "x-goog-api-key"))
        return next(filter(None, found), "").removeprefix("Bearer ")


class Connection(asyncio.Protocol):
    """One connection of a client: parses its requests, and answers them one after the other."""

    def __init__(self, upstream: Upstream) -> None:
        self.upstream = upstream
        self.number = len(upstream.connections)
        self.requests: list[Request] = []
        self.closed = asyncio.Event()
        self.closed_at: float | None = None
        self.aborted = False
        self.blocked = asyncio.Event()  # the client reads slower than we write
        self._writable = asyncio.Event()
        self._writable.set()
        self._queue: asyncio.Queue[Request] = asyncio.Queue()
        self._parser = httptools.HttpRequestParser(self)

    # ── asyncio's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.upstream.connections.append(self)
        self.task = asyncio.get_running_loop().create_task(self._serve())

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self.upstream.anomalies.append(f"{error!r} in {data[:200]!r}")
            self.transport.abort()

    def connection_lost(self, error: Exception | None) -> None:
        self.closed_at = time.perf_counter()
        self.aborted = error is not None
        self.closed.set()
        self._writable.set()
        self.task.cancel()

    def pause_writing(self) -> None:
        self._writable.clear()
        self.blocked.set()

    def resume_writing(self) -> None:
        self._writable.set()
        self.blocked.clear()

    # ── the parser's side

    def on_message_begin(self) -> None:
        if self.requests and not self.requests[-1].done.is_set():
            self.upstream.anomalies.append("a request began inside another")
        self.requests.append(Request(self))

    def on_url(self, url: bytes) -> None:
        self.requests[-1].target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self.requests[-1].headers.append((name, value))

    def on_headers_complete(self) -> None:
        request = self.requests[-1]
        request.method = self._parser.get_method().decode()
        request.version = self._parser.get_http_version()
        if request.version == "1.1" and [n.lower() for n, _ in request.headers].count(b"host") != 1:
            self.upstream.anomalies.append(f"not one Host: {request.headers}")
        if not self._queue.empty():
            self.upstream.anomalies.append("a request before the answer to the one before")
        self._queue.put_nowait(request)
        self.upstream.requests.append(request)
        self.upstream._changed()

    def on_body(self, data: bytes) -> None:
        request = self.requests[-1]
        request.size += len(data)
        request.digest.update(data)
        request.kept += data[: KEPT - len(request.kept)]

    def on_message_complete(self) -> None:
        self.requests[-1].done.set()

    # ── the provider's side

    async def write(self, data: bytes) -> None:
        self.transport.write(data)
        await asyncio.sleep(0)  # so that the next piece is a read of its own at the other end
        await self._writable.wait()

    def reset(self) -> None:
        """End with RST, not FIN."""
        raw: socket.socket = self.transport.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.transport.abort()

    async def wait_closed(self) -> None:
        await asyncio.wait_for(self.closed.wait(), PATIENCE)

    async def _serve(self) -> None:
        while True:
            request = await self._queue.get()
            parts = self.upstream._next(request)
            if EARLY not in parts:
                await request.done.wait()
            for part in parts:
                if self.closed.is_set():
                    return
                await self._do(part)

    async def _do(self, part: Part) -> None:
        match part:
            case bytes():
                await self.write(part)
            case Do.HOLD:
                await self.upstream.released.wait()
            case Do.CLOSE:
                self.transport.close()
            case Do.RESET:
                self.reset()
            case Do.DEAF:
                self.transport.pause_reading()
            case float() | int():
                await asyncio.sleep(part)


@dataclass(frozen=True)
class Answer:
    """An HTTP answer, made for the request it answers (HEAD has no body)."""

    body: bytes = b""
    status: int = 200
    headers: tuple[tuple[str, str], ...] = ()
    framing: str = "length"
    pieces: tuple[bytes, ...] = ()
    before: tuple[Part, ...] = ()
    hold: int | None = None
    pause: float | None = None
    trailers: tuple[tuple[str, str], ...] = ()
    version: str = "1.1"

    def parts(self, request: Request) -> list[Part]:
        bare = request.method == "HEAD" or self.status in (204, 304)
        made: list[Part] = [*self.before, self._head(bare)]
        if not bare:
            made += self._body()
        if self.framing == "close":
            made.append(CLOSE)
        return made

    def _head(self, bare: bool) -> bytes:
        headers = [*self.headers]
        names = {name.lower() for name, _ in headers}
        if self.body and "content-type" not in names:
            headers.append(("Content-Type", guess_type(self.body)))
        if self.framing == "length" and "content-length" not in names and self.status != 204:
            headers.append(("Content-Length", str(len(self.body))))
        if self.framing == "chunked" and not bare:
            headers.append(("Transfer-Encoding", "chunked"))
        if self.framing == "close" and self.version == "1.1":
            headers.append(("Connection", "close"))
        return head(self.status, headers, self.version)

    def _body(self) -> Iterable[Part]:
        sent = 0
        for piece in self.pieces:
            if self.hold is not None and sent >= self.hold:
                yield HOLD
            if self.pause is not None and sent:
                yield self.pause
            yield b"%x\r\n%b\r\n" % (len(piece), piece) if self.framing == "chunked" else piece
            sent += len(piece)
        if self.hold is not None and sent <= self.hold:
            yield HOLD
        if self.framing == "chunked":
            lines = "".join(f"{name}: {value}\r\n" for name, value in self.trailers)
            yield b"0\r\n" + lines.encode() + b"\r\n"


class Upstream:
    """The fake provider: `answers` and `sends` say what it does, the lists what was done to it."""

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self.requests: list[Request] = []
        self.connections: list[Connection] = []
        self.anomalies: list[str] = []
        self.released = asyncio.Event()
        self.tls = tls
        self.port = 0
        self._script: list[Answer | list[Part]] = []
        self._by_key: dict[str, list[Part]] = {}
        self._latest: Answer | list[Part] = Answer(b"{}", pieces=(b"{}",))
        self._waiting = asyncio.Event()

    @property
    def url(self) -> str:
        return f"{'https' if self.tls else 'http'}://127.0.0.1:{self.port}"

    # ── what it answers

    def answers(
        self,
        body: bytes | str = b"",
        status: int = 200,
        headers: Mapping[str, str] | Iterable[tuple[str, str]] = (),
        *,
        chunk_size: int | None = None,
        cuts: Iterable[int] = (),
        framing: str = "",
        before: Iterable[Part] = (),
        hold: int | None = None,
        pause: float | None = None,
        trailers: Iterable[tuple[str, str]] = (),
        version: str = "1.1",
    ) -> None:
        """Answers one request so, and all others too if nothing else is said afterwards.

        The body goes out whole, in pieces of `chunk_size`, or cut at `cuts`; `framing` is
        `length`, `chunked` (what event streams have, if nothing is said) or `close`. After `hold`
        bytes it waits for `release()`; `pause` is the time between two pieces in seconds;
        `before` comes before the head.
        """
        body = body.encode() if isinstance(body, str) else body
        if not framing:
            framing = "chunked" if trailers or guess_type(body) == EVENTS else "length"
        pairs = headers.items() if isinstance(headers, Mapping) else headers
        ends = sorted({*cuts, *([hold] if hold else [])})
        pieces = split(body, chunk_size) if chunk_size else cut(body, ends)
        self._script.append(
            Answer(
                body,
                status,
                tuple(pairs),
                framing,
                tuple(pieces),
                tuple(before),
                hold,
                pause,
                tuple(trailers),
                version,
            )
        )

    def sends(self, *parts: Part, chunk_size: int | None = None) -> None:
        """Answers one request with these very bytes and deeds, whatever HTTP says about them."""
        if chunk_size is None:
            self._script.append(list(parts))
            return
        made: list[Part] = []
        for part in parts:
            made += split(part, chunk_size) if isinstance(part, bytes) else [part]
        self._script.append(made)

    def sends_to(self, key: str, *parts: Part) -> None:
        """Answers all requests with this key so, whatever was said for others."""
        self._by_key[key] = list(parts)

    def release(self) -> None:
        """Lets everything go on that was told to HOLD, now and later."""
        self.released.set()

    def _next(self, request: Request) -> list[Part]:
        if request.key in self._by_key:
            return self._by_key[request.key]
        if self._script:
            self._latest = self._script.pop(0)
        latest = self._latest
        return latest.parts(request) if isinstance(latest, Answer) else latest

    # ── what was done to it

    @property
    def request(self) -> Request:
        """The latest request."""
        return self.requests[-1]

    @property
    def keys(self) -> list[str]:
        """The credentials that requests carried, in their order."""
        return [request.key for request in self.requests]

    async def requested(self, number: int = 1) -> Request:
        """Waits for so many requests; their bodies may still be under way."""
        async with asyncio.timeout(PATIENCE):
            while len(self.requests) < number:
                self._waiting.clear()
                await self._waiting.wait()
        return self.requests[number - 1]

    def _changed(self) -> None:
        self._waiting.set()

    @property
    def open(self) -> list[Connection]:
        return [one for one in self.connections if not one.closed.is_set()]

    # ── its life

    async def start(self, port: int = 0) -> None:
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(
            lambda: Connection(self), "127.0.0.1", port, ssl=self.tls
        )
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Closes the port and every connection; from now on connecting is refused."""
        self._server.close()
        await self.drop()

    async def drop(self) -> None:
        """Closes every connection, idle or not."""
        for connection in self.open:
            connection.transport.abort()
        for connection in self.connections:
            await connection.wait_closed()


EVENTS = "text/event-stream; charset=utf-8"


def guess_type(body: bytes) -> str:
    start = body.lstrip()[:6]
    if start.startswith((b"{", b"[")):
        return "application/json"
    if start.startswith((b"data:", b"event:", b":", b"id:")):
        return EVENTS
    return "text/html" if start.startswith(b"<") else "application/octet-stream"


def head(status: int, headers: Iterable[tuple[str, str]], version: str = "1.1") -> bytes:
    """A status line and headers, as bytes."""
    try:
        reason = HTTPStatus(status).phrase
    except ValueError:
        reason = "Odd"
    lines = [f"HTTP/{version} {status} {reason}", *(f"{name}: {value}" for name, value in headers)]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


def whole(body: bytes, status: int = 200, *headers: tuple[str, str]) -> bytes:
    """An answer with Content-Length, as the bytes that `sends` takes."""
    length = ("Content-Length", str(len(body)))
    return head(status, [("Content-Type", guess_type(body)), length, *headers]) + body


def chunked(body: bytes, size: int = 64, end: bytes = b"0\r\n\r\n") -> bytes:
    """An answer in chunks, as the bytes that `sends` takes; without `end` it is unfinished."""
    headers = [("Content-Type", guess_type(body)), ("Transfer-Encoding", "chunked")]
    pieces = (b"%x\r\n%b\r\n" % (len(piece), piece) for piece in split(body, size))
    return head(200, headers) + b"".join(pieces) + end


def split(data: bytes, size: int) -> list[bytes]:
    return [data[start : start + size] for start in range(0, len(data), size)]


def cut(data: bytes, ends: Iterable[int]) -> list[bytes]:
    """The data, cut at these offsets."""
    edges = [0, *ends, len(data)]
    return [data[a:b] for a, b in pairwise(edges) if a < b]


def tls(host: str, ca: trustme.CA) -> ssl.SSLContext:
    """A server's context with a certificate for this host."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ca.issue_cert(host).configure_cert(context)
    return context
