"""One attempt at a turn of a client's WebSocket, at a provider that has WebSockets, too."""

from __future__ import annotations

import time

from routeur import body
from routeur.attempts import Attempts
from routeur.dialects.exact import dumps
from routeur.errors import UpstreamError
from routeur.facts import Facts
from routeur.handshake import UPGRADE, VERSION, new_key
from routeur.heads import Head
from routeur.passage import Passage
from routeur.pool import Connections
from routeur.responses import members_of, object_of
from routeur.routing import Place
from routeur.server import ClientConnection
from routeur.turn_sockets import Berth, Message, TurnConnection
from routeur.upstream import Connection

CREATE = b'"response.create"'
OF_BODIES = frozenset([b"content-type"])


class TurnPassage(Passage):
    """An attempt over a connection that is its client's, and stays so."""

    without = OF_BODIES

    def __init__(
        self, attempts: Attempts, place: Place, facts: Facts, client: ClientConnection
    ) -> None:
        super().__init__(attempts, place, facts, client)
        assert client.berth is not None
        self._berth: Berth = client.berth
        self._key = new_key()

    @property
    def pool(self) -> Connections:
        return self._berth.at(self.place.endpoint)

    def head_lines(self) -> bytes:
        facts, endpoint = self.facts, self.place.endpoint
        told = endpoint.head("GET", self.target, facts.inbound, self.without)
        key = f"Sec-WebSocket-Version: {VERSION}\r\nSec-WebSocket-Key: {self._key.decode()}\r\n"
        return told + UPGRADE + key.encode()

    def go(self, connection: Connection) -> None:
        assert isinstance(connection, TurnConnection)
        self.connection = connection
        if self.race is None:
            self.client.source = connection
        else:
            self.race.enter(self, self.stop)
        if not connection.switched:
            connection.key = self._key
        head = self.lines or self.head_lines()
        connection.ask(self, head, self._message(), self.manner.limits, self.facts.max_body)
        self.call.sent = self.attempt.sent = time.perf_counter()
        if self.client.writing_paused and self.race is None:
            connection.pause_reading()

    def head(self, head: Head, whole: bool) -> bytes:
        assert isinstance(self.connection, TurnConnection)
        if head.status < 300 and not self.connection.switched:
            self.attempt.status = head.status
            raise UpstreamError("the provider did not open a WebSocket")
        return super().head(head, whole)

    def _message(self) -> Message:
        """The event that asks for the answer; where the connection may know the past, also one
        without it.
        """
        berth, told = self._berth, members_of(self.body or b"{}")
        told.pop("stream", None)
        told = {"type": CREATE, **told}
        if not berth.asked or self.facts.raw != berth.raw:
            return Message(object_of(told))
        given = members_of(berth.asked)
        short = {name: value for name, value in told.items() if name != "input"}
        short["previous_response_id"] = dumps(berth.previous)
        if "input" in given:
            short["input"] = given["input"]
        message = object_of(short)
        if self.place.endpoint.provider.data_url_files:
            message = body.with_data_urls(message)
        return Message(object_of(told), message, berth.previous)
