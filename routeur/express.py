"""Requests whose head has been seen before are answered without aiohttp's tasks and objects.

Clients repeat themselves: but for its Content-Length, a head is mostly the same as the one before.
aiohttp has read such a head once, routeur has checked its key and sorted its headers; what comes of
it is kept here. A request that begins with the same bytes, and is whole, is sent on in the next
turn of the loop, and its answer is booked in the turn in which that ends. Whatever is not plain
goes the ordinary way, an attempt that has failed too: this is a short cut, never a second set of
rules.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from routeur.attempts import Attempts, Place
from routeur.call import CLIENT_GONE, Call
from routeur.dialects.base import Route
from routeur.errors import RouteurError, UpstreamError
from routeur.facts import Facts
from routeur.headers import Inbound
from routeur.passage import Passage, target_of
from routeur.pool import Pool
from routeur.proxy import Proxy
from routeur.rules import Plan
from routeur.server import ClientConnection
from routeur.standing import Standing
from routeur.upstream import Stale

REMEMBERED = 1024  # heads
LONGEST = 4096  # bytes of a head that is remembered
WAYS = 64  # of one head
_LENGTH = re.compile(rb"\r\ncontent-length: ([0-9]{1,9})\r\n", re.IGNORECASE)
# What these say is for one request, or concerns the connection.
_NOT_PLAIN = frozenset(b"expect upgrade x-request-id content-encoding".split())
KEEP_ALIVE = b"keep-alive"


@dataclass(frozen=True, slots=True)
class Way:
    """Where requests with a head and a model go, and the head they get, without a length."""

    plan: Plan
    place: Place
    standing: Standing
    pool: Pool
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
    key: str | None  # the caller's name
    ways: dict[str, Way] = field(default_factory=dict)


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

    def forget(self, max_body: int) -> None:
        """What was known of heads holds no more."""
        self._heads.clear()
        self._max_body = max_body

    def remember(self, data: bytes, known: Known) -> None:
        """Note what the head of a request (`data`: all of it) has come to."""
        end = data.find(b"\r\n\r\n") + 4
        found = _LENGTH.search(data, 0, end)
        if found is None or len(data) - end != int(found[1]) or end > LONGEST:
            return
        inbound = known.inbound
        words = inbound.words
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
        facts = Facts(known.inbound, known.family, known.route, known.path, known.query, known.key)
        try:
            facts.take(data[end:])
            way = known.ways.get(facts.model or "")
            if way is None or way.made != self.standings.forgotten:
                way = self._way(known, facts)
        except RouteurError:  # aiohttp's way says it to the client
            return False
        if way is None or self.proxy.draining or not way.standing.clear:
            return False
        if not way.pool.idle:
            return False
        way.standing.inflight += 1
        self._begun()
        call = Call("POST", known.raw_path, known.family, known.key)
        call.requested_model, call.stream, call.reason = facts.model, facts.stream, way.plan.reason
        attempts = Attempts(self.proxy.routing, way.plan, facts, call)
        passage = ExpressPassage(attempts, way.place, facts, client)
        passage.express, passage.came, passage.lines = self, data, way.lines
        client.begin(passage)
        # A turn later: what a provider has sent unasked is read first, and closes its connection.
        client.loop.call_soon(passage.set_out, way.pool)
        return True

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
        """Where these requests go; None where it depends on more than their names."""
        routing = self.proxy.routing
        if facts.model is None:
            return None
        plan = routing.table.plan(facts)
        if not plan.lasting or (plan.rule is not None and plan.rule.hedge is not None):
            return None
        place = routing.lone(plan, facts)
        if place is None or place.rewrites or place.endpoint.identity is not None:
            return None
        target = target_of(place, facts, facts.path, facts.query, facts.format)
        lines = place.endpoint.head(facts.method, target, facts.inbound)
        way = Way(plan, place, place.standing, place.endpoint.pool, lines, self.standings.forgotten)
        if len(known.ways) < WAYS:
            known.ways[facts.model] = way
        return way


class ExpressPassage(Passage):
    """An attempt at a request that nobody waits for."""

    express: Express

    def set_out(self, pool: Pool) -> None:
        """Send the request, if the client is still there."""
        if self.booked:
            return
        try:
            connection = pool.take()
            if connection is None:
                self.withdraw()
                self.client.resume(self.came, self.attempts)
            else:
                self.go(connection)
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
