"""WebSockets of providers that answer the turns of a client's: each is that one client's, so that
a turn can go on from what only this connection remembers.

To whoever has asked, a turn's events look like an answer over HTTP: a stream, or an error.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, cast

from routeur.dialects import exact
from routeur.dialects.base import Json
from routeur.dialects.loose import integer, members, string
from routeur.errors import UpstreamError
from routeur.frames import (
    CLOSE,
    NORMAL,
    PING,
    PONG,
    TEXT,
    Cutter,
    Part,
    frame,
    goodbye,
)
from routeur.heads import CHUNKED, UNTIL_CLOSE, Head
from routeur.pool import Pool
from routeur.providers import Timeouts
from routeur.receiver import Receiver
from routeur.upstream import TRIM, Connection, Stale
from routeur.upstream_socket import BROKE_OFF, SocketConnection

if TYPE_CHECKING:
    from routeur.endpoint import Endpoint

LOST_MEMORY = "previous_response_not_found"
TOO_OLD = "websocket_connection_limit_reached"
_NOTABLE = re.compile(rb'"type"\s*+:\s*+"(?:response\.(?:completed|incomplete|failed)|error)"')
_GOOD = frozenset(["response.completed", "response.incomplete"])
_LAST = _GOOD | {"response.failed", "error"}
_LINE_END = re.compile(rb"\r\n|\r|\n")
_STREAM = Head(
    200,
    b"HTTP/1.1 200 OK",
    b"\r\nContent-Type: text/event-stream\r\n",
    UNTIL_CLOSE,
    content_type=b"text/event-stream",
)


@dataclass(frozen=True, slots=True)
class Message:
    """What a turn asks. `short` leaves out what a connection knows that has answered `after`."""

    whole: bytes
    short: bytes = b""
    after: str = ""


class TurnConnection(SocketConnection):
    """One connection: one turn at a time. `last` is the response that it remembers."""

    __slots__ = ("_asked", "_cutter", "_parts", "_text", "home", "last")

    def __init__(self, pool: Pool) -> None:
        super().__init__(pool)
        self.home: Callable[[TurnConnection], None] = TurnConnection.leave
        self.last = ""
        self._asked: Message | None = None  # until its answer begins
        self._cutter = Cutter(masked=False, most=0)
        self._parts: list[bytes] = []
        self._text = False  # of the message that is coming

    def ask(
        self, receiver: Receiver, head: bytes, message: Message, limits: Timeouts, most: int
    ) -> None:
        """Ask for a turn's answer, whose messages have at most so many bytes; `head` is the
        handshake's, where there has been none.
        """
        self._asked = message
        if not self.switched:
            self._cutter = Cutter(masked=False, most=most)
            return self.send(receiver, head + b"\r\n", b"", limits)
        self.receiver, self.limits = receiver, limits
        self.silent = 0.0
        self._pending = 0
        self._ask()

    def leave(self) -> None:
        """Nobody needs it any more."""
        if self.transport is not None:
            self._say(goodbye(NORMAL, "", masked=True))
            self.transport.close()

    # ---- asyncio.Protocol

    def become(self, head: Head, extensions: str) -> None:
        if extensions:
            raise UpstreamError("the provider answered with an extension that was not offered")
        self._left = CHUNKED  # its end is never an answer's
        self._pending = 0
        self._ask()

    def data_received(self, data: bytes) -> None:
        if not self.switched:
            return super().data_received(data)
        self.silent = 0.0
        try:
            for part in self._cutter.feed(data):
                self._take(part)
            if self._cutter.broken is not None:
                self._drop(UpstreamError(f"the provider sent {self._cutter.broken}"))
        except UpstreamError as error:
            self._drop(error)
        except RuntimeError:  # uvloop's word for a client that is gone, of which we hear next
            if self.receiver is None:
                raise
            self._abandon(self.receiver)

    # ---- inside

    def _ask(self) -> None:
        asked = self._asked
        assert asked is not None
        short = asked.short if self.last == asked.after else b""
        self._say(frame(TEXT, short or asked.whole, masked=True))
        if not short:
            self._asked = Message(b"")

    def _say(self, data: bytes) -> None:
        if self.transport is not None and not self.transport.is_closing():
            self.transport.write(data)

    def _let_go(self) -> None:
        super()._let_go()
        self._asked = None

    def _drop(self, error: UpstreamError) -> None:
        if self.receiver is None:
            return self._close()
        self._refuse(error)

    def _take(self, part: Part) -> None:
        if part.opcode == PING:
            self._say(frame(PONG, part.data, masked=True))
        elif part.opcode == CLOSE:
            self._say(frame(CLOSE, part.data[:2], masked=True))
            again = self.reused and self._write is None
            self._drop(Stale(BROKE_OFF) if again else UpstreamError(BROKE_OFF))
        elif not part.control:
            if part.starts and part.opcode:
                self._text = part.opcode == TEXT
            self._parts.append(part.data)
            if part.fin and part.ends:
                message, self._parts = b"".join(self._parts), []
                if self._text:
                    self._hear(message)

    def _hear(self, text: bytes) -> None:
        """A message. Those that nobody has asked for are nobody's."""
        receiver = self.receiver
        if receiver is None:
            return
        event = _last_event(text)
        kind = event.get("type", "")
        if kind == "error" and self._write is None:
            return self._refused(receiver, event)
        data = b"data: %b\n\n" % _LINE_END.sub(b"\ndata: ", text)
        receiver.pieces.append(data)
        if self._write is None:
            self._asked = None
            data = receiver.head(_STREAM, whole=False) + data
            self._write = receiver.write
        if kind:
            receiver.ending()
        self._write(data)
        self._pending += len(data)
        if receiver.watching:
            receiver.look()
        if kind:
            return self._over(receiver, string(members(event.get("response")).get("id")), kind)
        if self._pending > TRIM:
            self._pending = 1
            receiver.gather()

    def _refused(self, receiver: Receiver, event: Json) -> None:
        """There is no answer: what is told instead is what HTTP would have."""
        error = members(event.get("error")) or {k: v for k, v in event.items() if k != "type"}
        if error.get("code") == LOST_MEMORY and self._asked is not None and self._asked.whole:
            self.last = ""
            return self._ask()
        if error.get("code") == TOO_OLD and self.reused:
            return self._drop(Stale(BROKE_OFF))
        status = integer(event.get("status")) or 500
        body = exact.dumps({"error": error})
        head = _error(status if 400 <= status < 600 else 500, len(body))
        receiver.pieces.append(body)
        first = receiver.head(head, whole=True)
        receiver.ending()
        receiver.write(first + body)
        self._over(receiver, "", "")

    def _over(self, receiver: Receiver, id: str, kind: str) -> None:
        """A turn has ended."""
        self._let_go()
        self.reused = True
        self.last = id if kind in _GOOD else ""
        if self.paused:
            self.resume_reading()
        if kind == "error":  # who knows what follows it
            self.leave()
        else:
            self.home(self)
        receiver.ended()


class Sockets:
    """Those of one client's WebSocket: one for each credential and lane."""

    def __init__(self) -> None:
        self._idle: dict[tuple[str, str | None], TurnConnection] = {}
        self._closed = False

    def take(self, endpoint: Endpoint, lane: str | None) -> TurnConnection | None:
        found = self._idle.pop((endpoint.credential.name, lane), None)
        if found is None or found.transport is None or found.transport.is_closing():
            return None
        if found.pool is endpoint.pool:
            return found
        found.leave()  # it is another configuration's
        return None

    async def connect(self, endpoint: Endpoint, lane: str | None, seconds: float) -> TurnConnection:
        made = cast(TurnConnection, await endpoint.pool.connect(seconds, TurnConnection))
        place = endpoint.credential.name, lane

        def keep(connection: TurnConnection) -> None:
            if self._closed or place in self._idle:
                connection.leave()
            else:
                self._idle[place] = connection

        made.home = keep
        return made

    def close(self) -> None:
        """The client has gone."""
        self._closed = True
        for each in self._idle.values():
            each.leave()
        self._idle.clear()


@dataclass(frozen=True, slots=True)
class Berth:
    """Where one turn can have its connection from. `raw` is its body, `asked` what its client has
    sent, if that goes on from `previous`, which only connections remember (else nothing).
    """

    sockets: Sockets
    lane: str | None
    raw: bytes
    asked: bytes
    previous: str

    def at(self, endpoint: Endpoint) -> Moored:
        return Moored(self, endpoint)


@dataclass(frozen=True, slots=True)
class Moored:
    """At one credential; as `Pool`, to attempts."""

    berth: Berth
    endpoint: Endpoint

    def take(self) -> Connection | None:
        return self.berth.sockets.take(self.endpoint, self.berth.lane)

    async def connect(self, seconds: float) -> Connection:
        return await self.berth.sockets.connect(self.endpoint, self.berth.lane, seconds)

    def give(self, connection: Connection) -> None:
        """It was not needed after all."""
        connection = cast(TurnConnection, connection)
        if connection.switched:
            connection.home(connection)
        else:
            self.endpoint.pool.give(connection)


def _last_event(text: bytes) -> Json:
    """An event that a turn ends with; nothing for others, which are not read."""
    if _NOTABLE.search(text) is None:
        return {}
    try:
        event = members(exact.loads(text))
    except ValueError:
        return {}
    return event if event.get("type") in _LAST else {}


def _error(status: int, size: int) -> Head:
    try:
        phrase = HTTPStatus(status).phrase
    except ValueError:
        phrase = "Error"
    kind = b"application/json"
    return Head(
        status,
        b"HTTP/1.1 %d %b" % (status, phrase.encode()),
        b"\r\nContent-Type: %b\r\nContent-Length: %d\r\n" % (kind, size),
        size,
        content_type=kind,
    )
