"""One attempt at a Realtime connection: relayed frame by frame, both ways, as the frames come.

Nothing of what passes is changed. What the provider says is looked at after it was sent on: each
answer that is over is booked at once, so a connection that lasts an hour owes one answer at most.
The connection itself is a call like others, with one trace.
"""

from __future__ import annotations

import asyncio
import operator
import time
from secrets import token_bytes
from typing import Any, cast

from routeur.addressing import query_of
from routeur.attempts import Attempts
from routeur.dialects import realtime
from routeur.dialects.base import Usage
from routeur.errors import NotFound, RouteurError, UpstreamError
from routeur.facts import Facts
from routeur.frames import (
    CLOSE,
    GOING_AWAY,
    INTERNAL_ERROR,
    NORMAL,
    PING,
    POLICY,
    PONG,
    RESTART,
    TEXT,
    BrokenFrame,
    Cutter,
    Inflater,
    Part,
    deflates,
    frame,
    goodbye,
)
from routeur.handshake import UPGRADE, offers, require, with_model
from routeur.heads import Head
from routeur.passage import Passage
from routeur.pool import Connections
from routeur.routing import Place
from routeur.server import ClientConnection
from routeur.store.base import NOTHING, Charge, Settlement
from routeur.traces import buckets
from routeur.upstream import Connection
from routeur.upstream_socket import BROKE_OFF, RelayConnection, Relays
from routeur.usage import cost, micro

AZURE = "/openai/realtime"  # Azure's old path
ASKED = token_bytes(8)  # what our own pings carry
BEAT = 60.0  # seconds of silence, after which a side is asked whether it is there
PATIENCE = 2  # beats
CLOSING = 2.0  # seconds for which a side may take to say goodbye
REMEMBERED = 256 * 1024  # bytes of a message that are looked at whole
FIRST, LAST = 1024, 64 * 1024  # of a longer one
RESTARTING = "routeur is restarting: connect again"


class Ear:
    """Puts the messages of a side together; of long ones the beginning and the end."""

    def __init__(self, inflater: Inflater | None) -> None:
        self._inflater = inflater
        self._packed = self._text = False
        self._kept = b""

    def take(self, part: Part) -> bytes | None:
        """A message of text that this part of a frame ends; raises BrokenFrame."""
        if part.starts and part.opcode:
            self._packed, self._text = part.packed, part.opcode == TEXT
            self._kept = b""
        last, data = part.fin and part.ends, part.data
        if self._packed and self._inflater is not None:
            data = self._inflater.feed(data, last=last, most=REMEMBERED)
        if self._text:
            self._kept = self._kept + data if self._kept else data
            if len(self._kept) > REMEMBERED:
                self._kept = self._kept[:FIRST] + self._kept[-LAST:]
        if not last:
            return None
        kept, self._kept = self._kept, b""
        return kept if self._text else None


class RealtimePassage(Passage):
    """One attempt, and the connection that it leads to. `bye` are the sides that said goodbye."""

    connection: RelayConnection
    failure: UpstreamError | None = None  # of the provider, once it has agreed
    opens = ends = over_now = draining = False
    answers = spent = 0  # that are booked; micro-dollars of these
    usd: float | None = 0.0
    _last: asyncio.TimerHandle | None = None
    _beat: asyncio.TimerHandle | None = None
    _renewal: asyncio.Task[None] | None = None

    def __init__(
        self, attempts: Attempts, place: Place, facts: Facts, client: ClientConnection
    ) -> None:
        if place.endpoint.provider.dialect == "echo":
            raise NotFound("echo has no Realtime API", code="model_not_found")
        super().__init__(attempts, place, facts, client)
        self.keep = False
        self.used = Usage()
        self.meter = realtime.Meter()
        self.bye: set[str] = set()
        self._silent = {"client": 0, "provider": 0}  # beats without a byte
        self._up = Cutter(masked=True, most=facts.max_body)
        self._down = Cutter(masked=False, most=facts.max_body)
        self._ear = Ear(None)

    # ---- the handshake

    @property
    def pool(self) -> Connections:
        return Relays(self.place.endpoint.pool)

    @property
    def target(self) -> str:
        facts, endpoint = self.facts, self.place.endpoint
        provider, path, query = endpoint.provider, facts.path, facts.query
        if not facts.as_is and provider.api_version:
            path, query = AZURE, with_model(query, self.place.id, "deployment")
            query = query_of(provider, query)
        elif not facts.as_is and facts.model is not None and facts.model != self.place.id:
            query = with_model(query, self.place.id)
        return endpoint.address(path, query)

    def head_lines(self) -> bytes:
        return super().head_lines() + UPGRADE + offers(self.facts.inbound)

    def go(self, connection: Connection) -> None:
        assert isinstance(connection, RelayConnection)
        connection.key = require(self.facts.inbound)
        super().go(connection)

    def head(self, head: Head, whole: bool) -> bytes:
        if head.status < 300 and head.status != 101:
            self.attempt.status = head.status
            raise UpstreamError("the provider did not open a WebSocket")
        return super().head(head, whole)

    def opened(self, head: Head, extensions: str) -> None:
        """The provider has agreed: so do we."""
        try:
            self._ear = Ear(deflates(extensions))
        except BrokenFrame as error:
            raise UpstreamError(str(error)) from None
        self._tell(self.head(head, whole=False))
        self.opens = True
        client = self.client
        client.server.lasting.add(self)
        self._beat = client.loop.call_later(BEAT, self._ask)
        cast(Any, client).set_parser(self)

    def _begin(self, head: Head) -> bytes:
        if head.status != 101:
            return super()._begin(head)
        self.keep = True
        told = super()._begin(head)[:-2] + UPGRADE + b"\r\n"
        self.keep = False
        return told

    # ---- frames

    def feed_data(self, data: bytes) -> tuple[bool, bytes]:
        """Bytes of the client's; aiohttp's word for it."""
        self._silent["client"] = 0
        parts, broken = self._up.feed(data), self._up.broken
        if not self.ends:
            self.connection.say(b"".join([part.raw for part in parts if not _ours(part)]))
        if any(part.opcode == CLOSE for part in parts):
            self._parts_with("client")
        if broken is not None:
            self.end(broken.code, f"the client sent {broken}", by="client")
        return False, b""

    def feed_eof(self) -> None:
        """aiohttp's word for a client that has gone, of which its handler hears."""

    def down(self, data: bytes) -> None:
        """Bytes of the provider's. What an answer has cost is in the books before the client has
        heard of its end; all else is done once they have gone.
        """
        self._silent["provider"] = 0
        parts, broken = self._down.feed(data), self._down.broken
        answers = self.answers
        try:
            for part in parts:
                self._hear(part)
        except BrokenFrame as error:
            broken = broken or error
        self._tell(b"".join([part.raw for part in parts if not _ours(part)]))
        if any(part.opcode == CLOSE for part in parts):
            self._parts_with("provider")
        elif broken is not None and not self.ends:
            self.failure = UpstreamError(f"the provider sent {broken}")
            self.end(INTERNAL_ERROR, self.failure.message)
        elif self.draining and not self.meter.busy:
            self.cut()
        elif self.answers > answers and self.attempts.caller.metered:
            self._renew_soon()

    def _tell(self, data: bytes) -> None:
        if data and not self.gone and not self.over_now:
            self.out(data)

    def _hear(self, part: Part) -> None:
        message = None if part.control else self._ear.take(part)
        used = None if message is None else self.meter.take(message)
        if used is not None:
            self._charge(used)

    def hold(self, *, held: bool) -> None:
        """A slow provider makes the client wait."""
        if held:
            self.client.pause_reading()
            self.client.server.watch_unread(self.client)
        else:
            self.client.resume_reading()

    # ---- what it costs

    def _charge(self, used: Usage) -> None:
        """An answer is over: it is booked now, whatever becomes of the connection."""
        call, price = self.call, self.price
        spent, usd = self._cost(used), cost(used, price)
        self.usd = None if usd is None or self.usd is None else self.usd + usd
        self.spent += spent or 0
        self.used = _sum(self.used, used)
        self.answers += 1
        charge = Charge(call.provider or "", call.model or "", buckets(used) or NOTHING, spent)
        id, now = f"{call.id}.{self.answers}", time.time()
        # `reserved`, so that it is in the store before more is reserved.
        done = Settlement(id, call.key or "", now, now, 200, (charge,), reserved=True)
        self.attempts.books.book(done)

    def _cost(self, used: Usage) -> int | None:
        """Micro-dollars; the most that was reserved where a part of it has no price."""
        spent, spending = micro(used, self.price), self.attempts.spending
        if spent is None and spending is not None:
            return spending.most(self.attempt.number)
        return spent

    def _renew_soon(self) -> None:
        if self._renewal is None or self._renewal.done():
            self._renewal = asyncio.create_task(self._renew())

    async def _renew(self) -> None:
        """Reserve for the next answer; where nothing is left, this was the last."""
        spending, place = self.attempts.spending, self.place
        assert spending is not None
        try:
            model = place.endpoint.provider.model(place.target.model)
            await spending.again(model, place.standing, self.meter.before)
        except RouteurError as error:
            event = realtime.write_error(error.type, error.code, error.message)
            self.end(POLICY, error.message, event=event)

    def so_far(self) -> Usage:
        return self.meter.so_far()

    def _measure(self, *, whole: bool) -> None:
        """What is not booked yet is what the answer under way has used, estimated."""
        call, rest = self.call, self.meter.so_far()
        if not self.answers and not self.meter.busy:
            return
        spent, usd = self._cost(rest), cost(rest, self.price)
        call.usage = _sum(self.used, rest)
        call.estimated = self.meter.busy or self.meter.guessed
        call.cost_usd = None if usd is None or self.usd is None else self.usd + usd
        call.micro = None if spent is None else self.spent + spent
        call.number = self.attempt.number
        if self.answers:
            call.left = rest, spent

    # ---- the end

    def drain(self) -> None:
        """End as soon as no answer is under way."""
        self.draining = True
        if not self.meter.busy:
            self.cut()

    def cut(self) -> None:
        """End now: routeur stops."""
        self.end(RESTART, RESTARTING)

    def end(self, code: int, why: str, *, event: bytes = b"", by: str = "routeur") -> None:
        """Say goodbye to both sides, to the client after an event that tells why."""
        if self.ends or self.over_now:
            return
        self.ends = True
        if self.failure is None and not self.bye:
            self.call.error, self.call.aborted_by = why, by
        says = self._up.between and "client" not in self.bye
        self.connection.leave(goodbye(code, why, masked=True) if says else b"")
        if "provider" in self.bye:
            return self._finish()
        if not self._down.between:  # in the middle of a frame nothing can be said
            return self.client.abort()
        told = frame(TEXT, event, masked=False) if event and not self._down.within else b""
        self._tell(told + goodbye(code, why, masked=False))
        self._wait()

    def lost(self) -> None:
        """The provider's connection has ended."""
        if self.ends:
            return
        if self.bye:
            return self._finish()
        self.failure = UpstreamError(BROKE_OFF)
        self.end(INTERNAL_ERROR, BROKE_OFF)

    def leave(self) -> None:
        if not self.opens or self.over_now:
            return super().leave()
        self.over_now = True
        known = self.ends or bool(self.bye)
        says = not known and self._up.between
        self._let_go(goodbye(GOING_AWAY, "the client has gone", masked=True) if says else b"")
        if known:
            self._conclude(self.failure)
        else:
            super().leave()

    def _parts_with(self, side: str) -> None:
        """A side has said goodbye, and the other one may take a moment to do so, too."""
        self.bye.add(side)
        if self.ends:
            self._finish()
        else:
            self._wait()

    def _wait(self) -> None:
        if self._last is None:
            self._last = self.client.loop.call_later(CLOSING, self._finish)

    def _finish(self) -> None:
        if self.over_now:
            return
        if not self.ends and "provider" not in self.bye and self._down.between:
            self._tell(goodbye(NORMAL, "", masked=False))  # for a provider that says nothing
        self.over_now = True
        self._let_go()
        self.over(self.failure)

    def _let_go(self, last: bytes = b"") -> None:
        for timer in (self._last, self._beat):
            if timer is not None:
                timer.cancel()
        if self._renewal is not None:
            self._renewal.cancel()
        self.client.server.lasting.discard(self)
        self.connection.leave(last)

    def _cut(self, error: RouteurError) -> None:
        """The client has been told."""

    def _ask(self) -> None:
        """Now and then, whether both sides are there: a host that is gone says no goodbye."""
        waiting = {"client": self.client.held, "provider": self.connection.paused}
        self._beat = self.client.loop.call_later(BEAT, self._ask)
        for side, silent in self._silent.items():
            self._silent[side] = 0 if waiting[side] else silent + 1
        if self._silent["client"] > PATIENCE:
            return self.client.abort()
        if self._silent["provider"] > PATIENCE:
            self.failure = UpstreamError("the provider sent nothing for too long")
            return self.end(INTERNAL_ERROR, self.failure.message)
        if self._silent["client"] and self._down.between:
            self._tell(frame(PING, ASKED, masked=False))
        if self._silent["provider"] and self._up.between:
            self.connection.say(frame(PING, ASKED, masked=True))


def _ours(part: Part) -> bool:
    """Whether it answers a ping of ours, which the other side has not sent."""
    return part.opcode == PONG and part.data == ASKED


def _sum(one: Usage, other: Usage) -> Usage:
    return Usage(*map(operator.add, buckets(one) or NOTHING, buckets(other) or NOTHING))
