"""One attempt: a request's way to a provider, and its answer's way back.

Nothing is awaited here. What has to be booked is booked in the turn of the loop in which the answer
ends, exactly once, whoever waits for it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from routeur.addressing import body_for, place_of, query_of
from routeur.attempts import Attempts
from routeur.call import LEFT, Attempt
from routeur.dialects import clouds
from routeur.dialects.base import Usage
from routeur.errors import RouteurError, UpstreamError
from routeur.facts import Facts, Outgoing
from routeur.marks import mark_body
from routeur.measure import used
from routeur.pool import Connections
from routeur.race import Lost, Race
from routeur.reply import Reply
from routeur.routing import Place
from routeur.server import ClientConnection
from routeur.traced import Traced
from routeur.upstream import Connection, Stale
from routeur.usage import Price, bill, micro

NO_HEADER: frozenset[bytes] = frozenset()
ACCEPT_ENCODING = frozenset([b"accept-encoding"])

Told = Callable[[RouteurError | None], None]


class Passage(Reply):
    """One attempt. `race` is the one it runs in, if there are rivals.

    `streams`: the request's body is sent as the client sends it, so there is no second attempt.
    """

    keep = True
    decoded = False
    streams = False
    booked = counted = False  # in the trace, and at its credential
    race: Race | None = None
    without = NO_HEADER  # the client's headers that stay behind
    lines = b""  # the request's head without its length, where it is known already
    came = b""  # the request as the client has sent it, if it may have to be read again
    _rest: Outgoing | None = None  # of a body that is still to come
    work: asyncio.Task[None] | None = None  # that connects, or sends the rest of a body
    tell: Told  # called once, when the answer has ended

    def __init__(
        self, attempts: Attempts, place: Place, facts: Facts, client: ClientConnection
    ) -> None:
        assert client.transport is not None
        self.pieces = []
        self.write = self.out = client.transport.write
        self.attempts = attempts
        self.place = place
        self.manner = place.manner
        self.facts = facts
        self.client = client
        self.call = call = attempts.call
        if not facts.keep:
            self.keep = False
            self.decoded = self.decoded or not facts.modern
        if facts.raw and facts.model == place.id and not place.rewrites:
            self.body: bytes | None = facts.raw
        else:
            self._prepare()
        call.provider, call.model, call.provider_dialect, call.credential = place.shown
        self.attempt = attempt = Attempt(place.name, call.credential)
        call.attempts.append(attempt)
        if attempts.spending is not None:
            attempts.spending.makes(self)
            if facts.caller.metered:  # a coding that cannot be undone here would hide the usage
                self.without |= ACCEPT_ENCODING
        self._began = time.perf_counter()

    # ---- what its owner does

    def start(self, connection: Connection, told: Told) -> None:
        """Send the request; `told(error)` is called once, when the answer has ended, however.

        After Stale it may be started again, on a new connection.
        """
        self.tell = told
        self.go(connection)

    def go(self, connection: Connection) -> None:
        """Send the request; `tell(error)` is called at the end."""
        self.connection = connection
        client, body = self.client, self.body
        if self.race is None:
            client.source = connection
        else:
            self.race.enter(self, self.stop)
        head = self.lines or self.head_lines()
        if body is None or self._rest is not None:
            self._send_otherwise(head)
        else:
            head = b"%bContent-Length: %d\r\n\r\n" % (head, len(body))
            connection.send(self, head, body, self.manner.limits)
        self.call.sent = self.attempt.sent = time.perf_counter()
        if client.writing_paused and self.race is None:
            connection.pause_reading()

    @property
    def target(self) -> str:
        """The request target: path and query."""
        facts = self.facts
        return target_of(self.place, facts, facts.path, facts.query, facts.format)

    def head_lines(self) -> bytes:
        """The request's head, but for its framing and its end."""
        facts = self.facts
        return self.place.endpoint.head(facts.method, self.target, facts.inbound, self.without)

    @property
    def secret(self) -> bytes:
        return self.place.endpoint.secret

    @property
    def pool(self) -> Connections:
        """Where its connection comes from."""
        return self.place.endpoint.pool

    @property
    def price(self) -> Price | None:
        """What the target costs at the speed that is asked for."""
        price = self.manner.price
        return price if price is None or not price.services else price.at(self.facts.service())

    async def read_rest(self) -> None:
        """Read a body that is still to come whole, up to `server.max_body`."""
        rest = self._rest
        if rest is not None and rest.rest is not None:
            self.body = rest.first + b"".join([block async for block in rest.rest])
            self._rest, self.streams = None, False

    def stop(self, error: UpstreamError) -> None:
        """Give up before the answer has begun, as if the provider had failed so."""
        if not self.started and self.attempt.sent:
            self.connection.refuse(self, error)

    def leave(self) -> None:
        """The client has gone: let the provider go too, and book what has come."""
        if self._timer is not None:
            self._timer.cancel()
        if not self.booked:
            if self.attempt.sent:
                self.connection.abort(self)
                if self.started or self.race is None:
                    self._measure(whole=self.final)
                else:  # the client's answer, if there is one, is another's
                    self._account()
            self._book(LEFT)
        if not self.counted:
            self.counted = True
            self.attempts.left(self.place)

    def withdraw(self) -> None:
        """It is not made after all: there is no connection that is known to be alive."""
        self.booked = self.counted = True
        self.attempts.withdraw(self.place)

    def fail(self, error: RouteurError) -> None:
        """Nothing has been sent to the client: another attempt may do better."""
        if not self.booked:  # there was no connection for it
            self._book(error.message)
        self.counted = True
        if isinstance(error, UpstreamError) and not isinstance(error, Lost):
            self.attempts.failed(self.place, error)
        else:
            self.attempts.left(self.place)

    def so_far(self) -> Usage | None:
        """What the answer has used until now, estimated."""
        return used(self.facts, self, whole=False)[0]

    # ---- what its answer does

    def settle(self) -> None:
        """The answer is whole: it is in the books before the client has all of it, so that nothing
        is lost by a kill in between. Never fails the answer.
        """
        if self.booked or not self.started:
            return
        try:
            if self.watching and self.pieces:
                self.look()
            self._is_whole()
            self.attempts.finish(self.call)
        except Exception as bug:
            self.client.server.malformed(500, bug)

    def _is_whole(self) -> None:
        self.call.ended = self._book(None)
        self._measure(whole=True)

    def over(self, error: RouteurError | None) -> None:
        if not isinstance(error, Stale):
            try:
                self._conclude(error)
            except Exception as bug:  # of ours: it must not take the answer with it
                self.client.server.malformed(500, bug)
        self.tell(error)

    def _conclude(self, error: RouteurError | None) -> None:
        self.client.source = None  # it may be somebody else's by the time a handler wakes
        if error is None:
            if not self.booked:
                self._is_whole()
            place = self.place
            self.counted = True
            if self.attempt.status in self.manner.refuse:
                self.attempts.refused(place, self.attempt.status)
                return
            if not place.standing.clear:
                self.attempts.succeeded(place)
            place.standing.inflight -= 1
            return
        self._book(error.message)
        if self.started:
            self._break_off(error)
        elif isinstance(error, Lost) or (self.first_token and self.attempt.status < 300):
            self._account()

    def _account(self) -> None:
        """What an attempt has cost that is not the client's answer."""
        attempt, spending = self.attempt, self.attempts.spending
        usage = attempt.usage = self.so_far()
        if usage is not None:
            attempt.micro = micro(usage, self.price)
            if attempt.micro is None and spending is not None:
                attempt.micro = spending.most(attempt.number)

    def on_start(self) -> None:
        place = self.place
        if not place.standing.clear and self.attempt.status not in self.manner.refuse:
            self.attempts.answered(place)
        if self.race is not None and not self.booked:
            self.race.win(self)
            self.client.source = self.connection
            if self.client.writing_paused:
                self.connection.pause_reading()
            self.attempts.show(place)
        # A stream that lasts would keep the request in memory to its end.
        if self.facts.stream and not self.streams:
            self.body = None
            self.came = b""
            self.facts.let_go()

    def hopeful(self) -> bool:
        return not self.streams and self.attempts.more()

    def unread(self) -> bool:
        return self.facts.unread()

    def expected(self) -> bytes:
        return b"text/event-stream" if self.facts.stream else b"application/json"

    # ---- inside

    def _prepare(self) -> None:
        """The body, where it is not the client's as it stands."""
        place, facts = self.place, self.facts
        out = facts.outgoing(place.endpoint.provider, place.target.model)
        self.body = None if out is None else out.first
        if self.body and place.marks:
            self.body = mark_body(self.body, facts.doc, place.id)
        if self.body and not facts.as_is:
            self.body = body_for(place.endpoint.credential, facts.format, facts.path, self.body)
        if out is not None and out.rest is not None:
            self._rest = out
            self.streams = True

    def _send_otherwise(self, head: bytes) -> None:
        """Send a request without a body, or one whose body is still to come."""
        connection, limits, rest = self.connection, self.manner.limits, self._rest
        if rest is None:
            no_body = self.facts.method == "HEAD"
            connection.send(self, head + b"\r\n", b"", limits, no_body=no_body)
        else:
            self.work = upload(connection, self, head, rest)

    def _measure(self, *, whole: bool) -> None:
        """Fill in the call's usage and cost."""
        call = self.call
        call.first_token = self.first_token
        if call.status < 400:
            call.usage, call.estimated = used(self.facts, self, whole=whole)
            if call.usage is not None:
                self._price(call.usage)

    def _price(self, usage: Usage) -> None:
        """What the client's answer has cost."""
        call, price = self.call, self.price
        if price is not None:
            call.cost_usd, call.micro = bill(usage, price)
        spending = self.attempts.spending
        if spending is not None:
            if not call.estimated:
                spending.learn(self.attempt.number, usage)
            call.number = self.attempt.number
            if call.micro is None:  # of something in it: then the most that was expected
                call.micro = spending.most(call.number)

    def _book(self, error: str | None) -> float:
        """The attempt is over; returns when."""
        attempt, now = self.attempt, time.perf_counter()
        self.booked = True
        attempt.ms, attempt.error = (now - self._began) * 1e3, error
        work, self.work = self.work, None  # else the two would wait for the collector
        if work is not None:
            work.cancel()
        return now

    def _break_off(self, error: RouteurError) -> None:
        """The client has seen a part: it has to see that it is not the whole."""
        call = self.call
        call.ended = time.perf_counter()
        call.error, call.aborted_by = error.message, "upstream"
        self._measure(whole=False)
        self.counted = True
        self.attempts.broke(self.place, error)
        self._cut(error)

    def _cut(self, error: RouteurError) -> None:
        self.client.abort()


class TracedPassage(Traced, Passage):
    """An attempt whose answer gets a block `routeur`."""

    without = ACCEPT_ENCODING

    def measure(self) -> None:
        self._measure(whole=True)


def target_of(place: Place, facts: Facts, path: str, query: str, format: str | None) -> str:
    """The request target at a place, for what a client of `format` would ask."""
    endpoint, provider = place.endpoint, place.endpoint.provider
    if not facts.as_is:
        if facts.route.creates:
            path = place_of(provider, endpoint.credential, place.id, format, path, facts.stream)
        elif provider.api_version:
            path = clouds.azure_path(path, place.id)
        query = query_of(provider, query)
    return endpoint.address(path, query)


def upload(
    connection: Connection, passage: Passage, head: bytes, body: Outgoing
) -> asyncio.Task[None]:
    """Write a request's head, and let a task send its body as the client sends it."""
    chunked = body.length is None
    if body.length is None:
        head, first = head + b"Transfer-Encoding: chunked\r\n\r\n", _frame(body.first)
    else:
        head, first = head + b"Content-Length: %d\r\n\r\n" % body.length, body.first
    connection.send(passage, head, first, passage.manner.limits, more=True)

    async def send_rest() -> None:
        try:
            assert body.rest is not None
            async for block in body.rest:
                await connection.send_more(_frame(block) if chunked else block)
            if chunked:
                await connection.send_more(b"0\r\n\r\n")
            connection.sending = False
        except RouteurError as error:
            connection.abort(passage)
            passage.failed(error)

    return asyncio.create_task(send_rest())


def _frame(block: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(block), block) if block else b""
