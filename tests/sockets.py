"""A provider that speaks WebSocket, as a server of aiohttp's on loopback."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import WSMessage, web

from tests.fake import PATIENCE

Play = Callable[["Visit"], Awaitable[Any]]


class Visit:
    """One WebSocket of a client's: what it asked, and what it has sent."""

    def __init__(self, request: web.Request, socket: web.WebSocketResponse) -> None:
        self.request = request
        self.socket = socket
        self.over = asyncio.Event()

    @property
    def headers(self) -> dict[str, str]:
        return {name.lower(): value for name, value in self.request.headers.items()}

    async def receive(self) -> WSMessage:
        async with asyncio.timeout(PATIENCE):
            return await self.socket.receive()

    async def hear(self) -> Any:
        """The next event of the client's."""
        return (await self.receive()).json()

    async def tell(self, *events: Any) -> None:
        for event in events:
            if isinstance(event, str):
                await self.socket.send_str(event)
            else:
                await self.socket.send_json(event)

    def cut(self) -> None:
        """End the connection without a word."""
        assert self.request.transport is not None
        self.request.transport.abort()


class SocketProvider:
    """Its visits are played by `play`, one after the other or at once; without it they echo.

    `refuses` are the HTTP answers that the next handshakes get instead.
    """

    def __init__(self) -> None:
        self.visits: list[Visit] = []
        self.asked: list[web.Request] = []
        self.refuses: list[web.Response] = []
        self.play: Play = echo
        self.options: dict[str, Any] = {"protocols": ("realtime",)}
        self.port = 0
        self.news = asyncio.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def visit(self, number: int = 0) -> Visit:
        """One of its visits, which may be still to come."""
        async with asyncio.timeout(PATIENCE):
            while len(self.visits) <= number:
                self.news.clear()
                await self.news.wait()
        return self.visits[number]

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.asked.append(request)
        if self.refuses:
            return self.refuses.pop(0)
        socket = web.WebSocketResponse(**self.options)
        await socket.prepare(request)
        visit = Visit(request, socket)
        self.visits.append(visit)
        self.news.set()
        try:
            await self.play(visit)
            await socket.close()
        finally:
            visit.over.set()
        return socket


async def echo(visit: Visit) -> None:
    """Send everything back."""
    async for message in visit.socket:
        if isinstance(message.data, bytes):
            await visit.socket.send_bytes(message.data)
        else:
            await visit.socket.send_str(message.data)


@asynccontextmanager
async def provider() -> AsyncIterator[SocketProvider]:
    made = SocketProvider()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", made.handle)
    runner = web.AppRunner(app, handler_cancellation=True, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    made.port = runner.addresses[0][1]
    try:
        yield made
    finally:
        await runner.cleanup()
