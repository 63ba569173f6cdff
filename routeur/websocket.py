"""The Responses API over a WebSocket: messages in, turns side by side, events out.

What is decided is in `lanes.py`. How a turn is answered is somebody else's business: `Run`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing, suppress
from dataclasses import dataclass

from aiohttp import WSMsgType, web

from routeur.dialects.base import Json
from routeur.errors import ClientError, RouteurError
from routeur.lanes import Lanes, Misread, Refusal, Turn, error_event, time_is_up

LIFE = 3600.0  # seconds
HEARTBEAT = 60.0  # seconds of silence, after which a client is asked whether it is there
CLOSING = 2.0  # seconds for which a client may take to say goodbye
COMPRESSED = 1024  # bytes, from which on a message is compressed, if the client can read that
GOING_AWAY, RESTART = 1001, 1012

# The data of a turn's events; raises Refusal or RouteurError where there is no answer. Closing it
# cancels the turn.
Run = Callable[[Turn], AsyncGenerator[bytes, None]]
# The response object of a turn that only prepares the next one; raises RouteurError.
Warm = Callable[[Turn], Awaitable[Json]]


@dataclass(frozen=True, slots=True)
class Answerer:
    """How the turns of a connection are answered; `bug` is told of a mistake of ours."""

    run: Run
    warm: Warm
    bug: Callable[[BaseException], None]


class Session:
    """One connection, after its key has been checked: `await session.serve(request)`."""

    def __init__(self, answerer: Answerer, max_body: int, *, life: float = LIFE) -> None:
        self._answerer = answerer
        self._lanes = Lanes(max_body)
        self._life = life
        self._turns: set[asyncio.Task[None]] = set()
        self._over = asyncio.Event()
        self._last_word = b""  # an error that goes before the goodbye
        self._goodbye: tuple[int, bytes] | None = None
        self._deflate = 0
        self._socket = web.WebSocketResponse(
            heartbeat=HEARTBEAT, timeout=CLOSING, max_msg_size=max_body, decode_text=False
        )

    async def serve(self, request: web.BaseRequest) -> web.StreamResponse:
        """Returns when the connection is closed; cancelled if it is lost, and so are its turns.

        Raises ClientError for what is no handshake.
        """
        socket = self._socket
        if not socket.can_prepare(request):
            raise ClientError("this is no WebSocket handshake as RFC 6455 has it")
        await socket.prepare(request)
        self._compress_by_message()
        timer = asyncio.get_running_loop().call_later(self._life, self.expire)
        reader = asyncio.create_task(self._read())
        try:
            await self._over.wait()
        finally:
            self._over.set()
            timer.cancel()
            reader.cancel()
            for turn in self._turns:
                turn.cancel()
            await asyncio.gather(reader, *self._turns, return_exceptions=True)
        if not socket.closed and self._goodbye is not None:
            code, why = self._goodbye
            with suppress(ConnectionError):
                if self._last_word:
                    await self._send(self._last_word)
                await socket.close(code=code, message=why)
        return socket

    def drain(self) -> None:
        """Begin no more turns, and close when those under way have ended."""
        self._end(RESTART, b"routeur is restarting: connect again")

    def expire(self) -> None:
        """The same, as it has lasted long enough."""
        self._last_word = error_event(time_is_up())
        self._end(GOING_AWAY, b"the connection has reached its time limit")

    def _end(self, code: int, why: bytes) -> None:
        if self._goodbye is None:
            self._goodbye = code, why
        self._lanes.drop_waiting()
        if self._lanes.idle:
            self._over.set()

    def _compress_by_message(self) -> None:
        """A compressor that lasts has 256 KiB of memory and gains nothing on small messages: large
        ones get one each, which every client can read that agreed to compression.
        """
        writer = self._socket._writer
        assert writer is not None
        self._deflate, writer.compress = writer.compress, 0

    async def _send(self, message: bytes) -> None:
        """Waits while the client does not read; raises ConnectionError when it has gone."""
        deflate = self._deflate if len(message) >= COMPRESSED else None
        await self._socket.send_frame(message, WSMsgType.TEXT, deflate)

    async def _read(self) -> None:
        """Messages become turns, until the client has closed."""
        try:
            while True:
                message = await self._socket.receive()
                if message.type is WSMsgType.TEXT:
                    await self._take(message.data)
                elif message.type is WSMsgType.BINARY:
                    await self._send(error_event(ClientError("messages must be text")))
                else:
                    return
        except ConnectionError:
            return
        finally:
            self._over.set()

    async def _take(self, message: bytes) -> None:
        if self._goodbye is not None:
            return  # its client is told to connect again
        try:
            self._lanes.take(message)
        except Misread as misread:
            await self._send(error_event(misread.error, misread.lane))
        except Exception as bug:
            self._answerer.bug(bug)
            await self._send(error_event(RouteurError("internal error")))
        self._begin()

    def _begin(self) -> None:
        if self._over.is_set():
            return
        for turn in self._lanes.ready():
            task = asyncio.create_task(self._play(turn))
            self._turns.add(task)
            task.add_done_callback(self._turns.discard)

    async def _play(self, turn: Turn) -> None:
        """One turn, from its beginning to its last event."""
        try:
            await self._answer(turn)
        except (RouteurError, Refusal) as error:
            with suppress(ConnectionError):
                await self._send(turn.error(error))
        except ConnectionError:
            self._over.set()
        except Exception as bug:
            self._answerer.bug(bug)
            with suppress(ConnectionError):
                await self._send(turn.error(RouteurError("internal error")))
        finally:
            self._lanes.over(turn)
            if self._goodbye is None:
                self._begin()
            elif self._lanes.idle:
                self._over.set()

    async def _answer(self, turn: Turn) -> None:
        self._lanes.begin(turn)
        if not turn.generate:
            messages = turn.warm(await self._answerer.warm(turn))
            await self._tell(turn, messages)
            return
        async with aclosing(self._answerer.run(turn)) as events:
            async for data in events:
                await self._tell(turn, turn.take(data))
        if last := turn.end():
            await self._send(last)

    async def _tell(self, turn: Turn, messages: list[bytes]) -> None:
        if turn.status:  # another lane may go on from it as soon as its client knows
            self._lanes.learn(turn)
        for message in messages:
            await self._send(message)
