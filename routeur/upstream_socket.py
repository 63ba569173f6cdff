"""Connections to providers that become WebSockets.

Before that they are like any other: a provider that does not want to answers in HTTP, and that is
judged as for every attempt.
"""

from __future__ import annotations

from typing import Protocol, cast

from routeur.errors import UpstreamError
from routeur.handshake import SWITCHING, read_switch
from routeur.heads import Head
from routeur.pool import Pool
from routeur.receiver import Receiver
from routeur.upstream import Connection

BROKE_OFF = "the provider broke off the connection"


class SocketConnection(Connection):
    """A connection that is asked to become a WebSocket; `key` is what it was asked with."""

    __slots__ = ("key", "switched")

    def __init__(self, pool: Pool) -> None:
        super().__init__(pool)
        self.key = b""
        self.switched = False

    def _head(self, data: bytes) -> None:
        if self._buffer:
            data, self._buffer = self._buffer + data, b""
        end = data.find(b"\r\n\r\n") + 4
        if self.receiver is None or end < 4 or not data.startswith(SWITCHING):
            return super()._head(data)
        try:
            head, extensions = read_switch(data[:end], self.key)
            self.switched = True
            self.become(head, extensions)
        except UpstreamError as error:
            return self._refuse(error)
        if len(data) > end and self.transport is not None:
            self.data_received(data[end:])

    def become(self, head: Head, extensions: str) -> None:
        """It is a WebSocket from here on; raises UpstreamError."""
        raise NotImplementedError


class Relayed(Receiver, Protocol):
    """Whoever passes on what comes on a WebSocket, and what goes there."""

    def opened(self, head: Head, extensions: str) -> None:
        """It is one now."""

    def down(self, data: bytes) -> None:
        """Bytes of the provider's."""

    def lost(self) -> None:
        """It has ended."""

    def hold(self, *, held: bool) -> None:
        """The provider is slow, or no more."""


class RelayConnection(SocketConnection):
    """One that belongs to one client's WebSocket, both being the same bytes."""

    __slots__ = ()

    @property
    def waits_for_client(self) -> bool:
        """Nobody has to say anything on a WebSocket."""
        return self.switched or super().waits_for_client

    def become(self, head: Head, extensions: str) -> None:
        cast(Relayed, self.receiver).opened(head, extensions)

    def data_received(self, data: bytes) -> None:
        if not self.switched:
            super().data_received(data)
        elif self.receiver is not None:
            cast(Relayed, self.receiver).down(data)

    def connection_lost(self, exc: Exception | None) -> None:
        receiver = self.receiver
        if not self.switched or receiver is None:
            return super().connection_lost(exc)
        self._let_go()
        super().connection_lost(exc)
        cast(Relayed, receiver).lost()

    def pause_writing(self) -> None:
        super().pause_writing()
        if self.switched and self.receiver is not None:
            cast(Relayed, self.receiver).hold(held=True)

    def resume_writing(self) -> None:
        super().resume_writing()
        if self.switched and self.receiver is not None:
            cast(Relayed, self.receiver).hold(held=False)

    def say(self, data: bytes) -> None:
        """Send bytes that belong there."""
        if self.transport is not None and not self.transport.is_closing():
            self.transport.write(data)

    def leave(self, last: bytes = b"") -> None:
        """The last word, if any, and the end; whoever does not read is not waited for."""
        self.receiver = None
        if self.transport is None:
            return
        self.say(last)
        if self.transport.get_write_buffer_size():
            self.transport.abort()
        else:
            self.transport.close()


class Relays:
    """A pool's connections for WebSockets that are relayed: each is a new one."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    def take(self) -> None:
        return None

    async def connect(self, seconds: float) -> Connection:
        return await self._pool.connect(seconds, RelayConnection)

    def give(self, connection: Connection) -> None:
        self._pool.give(connection)
