"""Requests whose head has been seen before are answered without aiohttp's tasks and objects.

Clients repeat themselves: but for its Content-Length, a head is mostly the same as the one before.
aiohttp has read such a head once, routeur has checked its key and sorted its headers; what comes of
it is kept here. A request that begins with the same bytes, and is whole, is sent on in the next
turn of the loop, and its answer is booked before it goes. Whatever is not plain
goes the ordinary way, an attempt that has failed too: this is a short cut, never a second set of
rules.

To wake somebody who sleeps costs more than to read a request. So while many are under way, what one
turn of the loop brings goes out together: the first wakes the reader, the others find it awake.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from routeur.attempts import Attempts
from routeur.call import CLIENT_GONE, Call
from routeur.compaction import MARKED
from routeur.dialects.base import Json, Route
from routeur.dialects.opening import is_well
from routeur.errors import RouteurError, UpstreamError
from routeur.facts import Facts
from routeur.headers import Inbound
from routeur.heads import Head
from routeur.keys import Caller
from routeur.noting import noted
from routeur.passage import Passage, target_of
from routeur.pool import Pool
from routeur.proxy import Proxy
from routeur.reply import HEADERS
from routeur.routing import Place
from routeur.rules import Plan
from routeur.server import ClientConnection
from routeur.shelf import STATEFUL
from routeur.standing import Standing
from routeur.upstream import Stale

REMEMBERED = 1024  # heads
LONGEST = 4096  # bytes of a head that is remembered
WAYS = 64  # of one head
_LENGTH = re.compile(rb"\r\ncontent-length: ([0-9]{1,9})\r\n", re.IGNORECASE)
# What these say is for one request, or concerns the connection.
_NOT_PLAIN = frozenset(b"expect upgrade x-request-id content-encoding".split())
KEEP_ALIVE = b"keep-alive"
_WORDS = frozenset(("models", "route", "provider"))  # OpenRouter's, about who may answer
RESPONSES, COMPACT = "openai_responses", "/v1/responses/compact"
FEW = 4  # requests at a credential, of which answers do not wait for each other


@dataclass(frozen=True, slots=True)
class Way:
    """Where requests with a head and a model go, and the head they get, without a length.

    `model` is one string for the records of all of them.
    """

    model: str
    plan: Plan
    place: Place
    standing: Standing
    lines: bytes
    made: int  # when its standing was looked up: `Standings.forgotten`


@dataclass(frozen=True, slots=True)
class Known:
    """What a head has come to: whose request it is, and of what kind.

    `ways` are those that its models go, where that does not depend on anything else.
    """

    inbound: Inbound
    family: str
    route: Route
    path: str
    query: str  # without a key
    raw_path: str  # as traces show it
    caller: Caller
    ways: dict[str, Way] = field(default_factory=dict)
    bound: dict[str, Way] = field(default_factory=dict)  # ways that not all requests may go
    never: set[str] = field(default_factory=set)  # models of which each request is looked at
    given: tuple[Inbound, str, Route, str, str, Caller] = field(init=False)  # to `Facts`
    to_call: tuple[str, str, str, str | None] = field(init=False)  # and to `Call`
    kind: type[ExpressPassage] = field(init=False)
    plain: Callable[[Json], bool] = field(init=False)  # whether a body may take the short cut
    mark: bytes = field(init=False)  # what a body must not have in it; nothing: it may have any

    def __post_init__(self) -> None:
        caller = self.caller
        given = self.inbound, self.family, self.route, self.path, self.query, caller
        object.__setattr__(self, "given", given)
        to_call = "POST", self.raw_path, self.family, caller.id or None
        object.__setattr__(self, "to_call", to_call)
        keeps = self.route.format == RESPONSES
        kind = noted(ExpressPassage) if keeps else ExpressPassage
        object.__setattr__(self, "kind", kind)
        object.__setattr__(self, "plain", (_WORDS | STATEFUL if keeps else _WORDS).isdisjoint)
        object.__setattr__(self, "mark", MARKED if keeps else b"")


class Express:
    """The short cut. `begun` is told when a request takes it, `finished` of each call, once.

    Who changes what a key may do, or the configuration, calls `forget`.
    """

    def __init__(
        self,
        proxy: Proxy,
        max_body: int,
        begun: Callable[[], None],
        finished: Callable[[Call], None],
    ) -> None:
        self.proxy = proxy
        self._max_body = max_body
        self._begun = begun
        self.finished = finished
        self.standings = proxy.routing.standings
        self._heads: dict[bytes, Known] = {}
        self._leaving: list[ExpressPassage] = []  # requests of this turn
        self._arrived: list[ExpressPassage] = []  # answers of this turn

    def forget(self, max_body: int) -> None:
        """What was known of heads holds no more."""
        self._heads.clear()
        self._max_body = max_body

    def remember(self, data: bytes, known: Known) -> None:
        """Note what the head of a request (`data`: all of it) has come to."""
        if self.proxy.routing.redactor is not None:  # what passes is kept
            return
        end = data.find(b"\r\n\r\n") + 4
        found = _LENGTH.search(data, 0, end)
        if found is None or len(data) - end != int(found[1]) or end > LONGEST:
            return
        inbound = known.inbound
        if known.path == COMPACT:
            return
        words = inbound.words
        key = known.caller.key
        if key is not None and (key.limited or key.expires_at is not None):
            return
        if inbound.steers or not inbound.plain_json or not _NOT_PLAIN.isdisjoint(words):
            return
        if words.get(b"connection", KEEP_ALIVE).lower() != KEEP_ALIVE:
            return
        if len(self._heads) >= REMEMBERED:
            del self._heads[next(iter(self._heads))]
        start, stop = found.span(1)
        self._heads[data[:start] + data[stop:end]] = known

    def take(self, client: ClientConnection, data: bytes) -> bool:
        """Serve the request that these bytes are, if it is one of which all is known."""
        found = _LENGTH.search(data)
        if found is None:
            return False
        start, stop = found.span(1)
        end = data.find(b"\r\n\r\n", stop) + 4
        known = self._heads.get(data[:start] + data[stop:end])
        if known is None or not len(data) - end == int(found[1]) <= self._max_body:
            return False
        facts = Facts(*known.given)
        try:
            facts.take(data[end:])
            if not known.plain(facts.doc) or (known.mark and known.mark in data):
                return False
            way = known.ways.get(facts.model or "")
            if way is None or way.made != self.standings.forgotten:
                way = self._way(known, facts)
        except RouteurError:  # aiohttp's way says it to the client
            return False
        if way is None or self.proxy.draining or not way.standing.clear:
            return False
        way.standing.inflight += 1
        self._begun()
        call = Call(*known.to_call)
        call.requested_model, call.stream, call.reason = way.model, facts.stream, way.plan.reason
        attempts = Attempts(self.proxy.routing, way.plan, facts, call)
        passage = known.kind(attempts, way.place, facts, client)
        passage.express, passage.came, passage.lines = self, data, way.lines
        client.begin(passage)
        # A turn later: what a provider has sent unasked is read first, and closes its connection.
        if not self._leaving:
            client.loop.call_soon(self._set_out)
        self._leaving.append(passage)
        return True

    def _set_out(self) -> None:
        passages, self._leaving = self._leaving, []
        for passage in passages:
            passage.set_out()

    def arrive(self, passage: ExpressPassage) -> None:
        """An answer is there: it goes at the end of this turn."""
        if not self._arrived:
            passage.client.loop.call_soon(self._deliver)
        self._arrived.append(passage)

    def _deliver(self) -> None:
        passages, self._arrived = self._arrived, []
        for passage in passages:
            passage.settle()
        for passage in passages:
            try:
                passage.deliver()
            except Exception as bug:  # it must not take the others with it
                passage.client.server.malformed(500, bug)
                passage.client.abort()

    def left(self, exchange: Any) -> None:
        """The client of an attempt has gone, or of attempts that no handler has taken over."""
        if isinstance(exchange, Passage):
            exchange.leave()
        call: Call = exchange.call
        call.request_id = call.request_id or call.id
        call.status = CLIENT_GONE
        call.aborted_by = "routeur" if self.proxy.draining else "client"
        call.ended = time.perf_counter()
        self.finished(call)

    def _way(self, known: Known, facts: Facts) -> Way | None:
        """Where a request goes; None where it depends on more than can be seen at a glance."""
        model = facts.model
        if model is None or model in known.never:
            return None
        way = known.bound.get(model)
        if way is None or way.made != self.standings.forgotten:
            way = self._found(known, facts, model)
        elif way.plan.choice is not None and not way.plan.choice.fits(facts):
            return None
        if way is None or not self.proxy.routing.chooser.plain(way.plan):
            return None
        return way

    def _found(self, known: Known, facts: Facts, model: str) -> Way | None:
        """The way that requests like this one go, to be remembered."""
        routing = self.proxy.routing
        plan = routing.chooser.plan(facts)
        rule = plan.rule
        if not plan.lasting or plan.rejected or (rule is not None and rule.hedge is not None):
            if not plan.bound and len(known.never) < WAYS:
                known.never.add(model)
            return None
        place = routing.lone(plan, facts)
        if place is None or place.rewrites or place.endpoint.identity is not None:
            return None
        if place.endpoint.provider.usage_ask:
            return None
        target = target_of(place, facts, facts.path, facts.query, facts.format)
        lines = place.endpoint.head(facts.method, target, facts.inbound)
        way = Way(model, plan, place, place.standing, lines, self.standings.forgotten)
        depends = plan.bound or plan.alias or plan.strategy
        ways = known.bound if depends else known.ways
        if len(ways) < WAYS:
            ways[model] = way
        return way


class ExpressPassage(Passage):
    """An attempt at a request that nobody waits for."""

    express: Express
    whole: Head | None = None  # of an answer that has come at once
    answer = b""  # and its body; with the client's head, once that is made

    def set_out(self) -> None:
        """Send the request, if the client is still there."""
        if self.booked:
            return
        try:
            pool = self.place.endpoint.pool
            connection = pool.take()
            if connection is None:
                self.work = asyncio.create_task(self._connect(pool))
            else:
                self.go(connection)
        except Exception as bug:
            self.client.server.malformed(500, bug)
            self.client.abort()

    async def _connect(self, pool: Pool) -> None:
        """Send the request on a connection of its own, as no other is idle."""
        try:
            connection = await pool.connect(self.manner.limits.connect)
            self.work = None
            self.go(connection)
        except UpstreamError as error:
            self.work = None
            self.tell(error)
        except Exception as bug:
            self.client.server.malformed(500, bug)
            self.client.abort()

    def tell(self, error: RouteurError | None) -> None:
        """It has ended."""
        client = self.client
        if error is None or self.started:
            self.express.finished(self.call)
            client.end(keep=self.keep)
        elif isinstance(error, Stale):
            self.withdraw()
            self.attempts.fresh = True
            client.resume(self.came, self.attempts)
        elif isinstance(error, UpstreamError):
            self.fail(error)
            client.resume(self.came, self.attempts)

    def unread(self) -> bool:
        return False

    # ---- answers that come at once

    def takes(self, head: Head, answer: bytes) -> bool:
        """Whether it is an answer in JSON of which there is nothing to judge, as most are."""
        manner, pieces = self.manner, self.pieces
        if head.status != 200 or head.content_encoding or manner.format is None:
            return False
        if not head.content_type.startswith(b"application/json") or not self.place.standing.clear:
            return False
        if manner.commit != HEADERS and (len(pieces) != 1 or not is_well(pieces[0])):
            return False
        self.whole, self.answer, self.final, self.watching = head, answer, True, False
        attempt = self.attempt
        attempt.status = 200
        self.first_token = attempt.answered = time.perf_counter()
        return True

    def ended(self) -> None:
        if self.whole is None:
            super().ended()
        elif self.place.standing.inflight > FEW:
            self.client.source = None  # it may be somebody else's by then
            self.express.arrive(self)
        else:
            self.client.source = None
            self.settle()
            self.deliver()

    def settle(self) -> None:
        if self.whole is not None and not self.booked:
            try:
                self.answer = self._begin(self.whole) + self.answer
            except Exception as bug:
                self.client.server.malformed(500, bug)
                self.client.abort()
        super().settle()

    def deliver(self) -> None:
        """Give an answer that is booked to the client, if that is still there."""
        if self.counted or not self.started:
            return
        self.counted = self.complete = True
        self.place.standing.inflight -= 1
        client = self.client
        try:
            self.out(self.answer)
        except RuntimeError:  # uvloop's word for a client that is gone, of which we hear next
            if not self.gone:
                raise
        self.express.finished(self.call)
        client.end(keep=self.keep)
