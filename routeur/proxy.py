"""One request, from the client to a provider and back: read `Proxy.serve` from top to bottom."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import cast

from aiohttp import web

from routeur import answers, rules
from routeur.answers import Reply
from routeur.call import CLIENT_GONE, Attempt, Call
from routeur.dialects import FORMATS
from routeur.endpoint import Endpoint
from routeur.errors import NoUpstream, RouteurError, UpstreamError
from routeur.facts import Facts, Outgoing
from routeur.headers import sane_id
from routeur.measure import measure
from routeur.providers import Provider, Timeouts
from routeur.relay import Chunks, Tap
from routeur.rules import Plan, Target
from routeur.server import CLOSED, KEPT, ClientConnection
from routeur.upstream import Connection, Stale

# Bytes of an answer to which `Routeur-Trace: true` adds its block.
TRACED_AT_MOST = 16 * 1024 * 1024
NO_STATUS: frozenset[int] = frozenset()
NO_HEADER: frozenset[bytes] = frozenset()
ACCEPT_ENCODING = frozenset([b"accept-encoding"])


@dataclass(frozen=True, slots=True)
class Routing:
    """What a configuration says about requests; replaced as a whole by a reload.

    `endpoints` are a provider's, in the order in which they are asked; `attempts` bounds them all.
    """

    table: rules.Table
    providers: Mapping[str, Provider]
    endpoints: Mapping[str, tuple[Endpoint, ...]]
    attempts: int
    statuses: frozenset[int]

    def places(self, plan: Plan) -> list[tuple[Target, Endpoint]]:
        """Targets in order, each by its provider's credentials, as many as may be attempted."""
        found = [
            (target, each) for target in plan.targets for each in self.endpoints[target.provider]
        ]
        return found[: (plan.rule and plan.rule.retries) or self.attempts]


class Proxy:
    """Serves inference requests. `finished` is told of every call, once."""

    def __init__(self, routing: Routing, finished: Callable[[Call], None]) -> None:
        self.routing = routing
        self.draining = False
        self._finished = finished

    async def serve(
        self, facts: Facts, call: Call, owner: Provider | None = None
    ) -> web.StreamResponse:
        """Decide who answers, and let them; `owner` is the provider that the path names."""
        words = facts.inbound.words
        if b"x-request-id" in words:
            call.request_id = sane_id(facts.inbound.word(b"x-request-id"))
        try:
            if not facts.look():
                await facts.read()
            call.requested_model, call.stream = facts.model, facts.stream
            routing = self.routing
            plan = _plan(routing.table, facts, owner)
            call.reason = plan.reason
            if facts.inbound.steers and facts.inbound.asks(b"routeur-dry-run"):
                return _dry_run(routing, facts, plan, call)
            return await self._open(routing, facts, plan, call)
        except RouteurError as error:
            call.status, call.error = error.status, error.message
            return answers.refusal(facts.request, facts.dialect, error, call)
        except asyncio.CancelledError:
            call.request_id = call.request_id or call.id
            if not call.ended:
                call.status = CLIENT_GONE
                call.aborted_by = "routeur" if self.draining else "client"
            raise
        except Exception:
            call.status, call.error = 500, "internal error"
            raise
        finally:
            facts.close()
            call.ended = call.ended or time.perf_counter()
            self._finished(call)

    async def _open(
        self, routing: Routing, facts: Facts, plan: Plan, call: Call
    ) -> web.StreamResponse:
        """Target by target, until one answers; the last one's failure is the client's."""
        places = routing.places(plan)
        left = len(places)
        for target, endpoint in places:
            left -= 1
            provider = endpoint.provider
            call.provider, call.model = target.provider, target.model or None
            call.provider_dialect, call.credential = provider.dialect, endpoint.credential.name
            call.attempts.append(attempt := Attempt(str(target), endpoint.credential.name))
            this = Try(facts, call, attempt, endpoint, facts.outgoing(provider, target.model))
            last = not left or this.streams
            if not last:
                this.refuse = routing.statuses
            this.limits = (plan.rule and plan.rule.timeouts) or provider.timeouts
            began = time.perf_counter()
            try:
                if facts.inbound.steers and this.traced:
                    return await _traced(this)
                return await self._copy(this)
            except UpstreamError as failure:
                attempt.error = failure.message
                if last:
                    raise
            finally:
                attempt.ms = (time.perf_counter() - began) * 1e3
        raise NoUpstream("no provider is left to ask")

    async def _copy(self, this: Try) -> web.StreamResponse:
        """Send the request, and the answer's bytes to the client as they come.

        Raises UpstreamError as long as nothing has been sent to the client.
        """
        # The body is not held here: a stream that lasts would keep it in memory to its end.
        facts, call, pool = this.facts, this.call, this.endpoint.pool
        client = cast(ClientConnection, facts.request.protocol)
        this.lines = this.head()
        # A body that is streamed cannot be sent twice: it gets a connection that cannot be stale.
        connection = None if this.streams else pool.take()
        while True:
            if connection is None:
                connection = await pool.connect(this.limits.connect)
            if client.transport is None:
                raise asyncio.CancelledError
            reply = Reply(client, client.transport, facts.request, call)
            reply.attempt, reply.refuse = this.attempt, this.refuse
            reply.content, reply.on_start = this.content, this.let_go
            if self.draining or b"upgrade" in facts.inbound.words:
                reply.keep = False
            client.source = connection
            upload = None
            if this.streams:
                upload = _upload(connection, reply, this)
            else:
                no_body = facts.method == "HEAD"
                connection.send(reply, this.lines, this.body, limits=this.limits, no_body=no_body)
            call.sent = time.perf_counter()
            if client.writing_paused:
                connection.pause_reading()
            try:
                await reply.done
                call.ended = time.perf_counter()
                this.measure(reply, whole=True)
                return KEPT if reply.keep else CLOSED
            except Stale:
                connection = None
            except RouteurError as error:
                if not reply.started:
                    raise
                call.error = this.attempt.error = error.message
                call.aborted_by = "upstream"
                this.measure(reply, whole=False)
                client.abort()
                return CLOSED
            except asyncio.CancelledError:
                if reply.complete:  # it came too late to matter
                    call.ended = time.perf_counter()
                this.measure(reply, whole=reply.complete)
                raise
            finally:
                client.source = None
                if upload is not None:
                    upload.cancel()
                if connection is not None and not reply.complete:
                    connection.abort(reply)


class Try:
    """One attempt in the making: what goes where, and what may come back."""

    limits: Timeouts
    refuse = NO_STATUS
    lines = b""  # the request's head

    def __init__(
        self,
        facts: Facts,
        call: Call,
        attempt: Attempt,
        endpoint: Endpoint,
        out: Outgoing | None,
    ) -> None:
        self.facts = facts
        self.call = call
        self.attempt = attempt
        self.endpoint = endpoint
        self.out = out
        self.streams = out is not None and out.rest is not None

    @property
    def body(self) -> bytes:
        return self.out.first if self.out else b""

    def let_go(self) -> None:
        """The answer has begun: nothing of the request is sent again."""
        if not self.streams:
            self.out, self.lines = None, b""
            self.facts.let_go()

    @property
    def content(self) -> re.Pattern[bytes] | None:
        """What the first content of a stream looks like."""
        form = self.facts.format
        return FORMATS[form].FIRST_TOKEN if form else None

    @property
    def traced(self) -> bool:
        """Whether the answer shall get a block `routeur`."""
        facts = self.facts
        if facts.format is None or facts.stream or self.streams:
            return False
        return facts.inbound.asks(b"routeur-trace")

    def head(self, without: frozenset[bytes] = NO_HEADER) -> bytes:
        """The request's head."""
        facts, endpoint = self.facts, self.endpoint
        path = facts.path
        if facts.gemini_path is not None:
            path = facts.target_path(endpoint.provider.id_of(self.call.model or ""))
        return endpoint.head(
            facts.method,
            endpoint.address(path, facts.query),
            facts.inbound,
            -1 if self.out is None else self.out.length,
            without,
        )

    def measure(self, tap: Tap, *, whole: bool) -> None:
        """Read what the answer has used; `whole` says that it came to its end."""
        model = self.endpoint.provider.models.get(self.call.model or "")
        measure(self.facts, self.call, tap, model.price if model else None, whole=whole)


def _plan(table: rules.Table, facts: Facts, owner: Provider | None) -> Plan:
    """The targets of a request."""
    if owner is not None:
        return Plan((Target(owner.name, facts.model or ""),), "path")
    if not facts.inbound.steers and facts.model is not None:
        return table.plan(facts)
    word = facts.inbound.word
    provider, vendor, model = word(b"routeur-provider"), word(b"vendor"), word(b"routeur-model")
    if facts.model is None and model is None:
        owner = table.owner(facts.dialect, provider=provider, vendor=vendor)
        return Plan(
            (Target(owner.name, ""),), "header" if provider else "vendor" if vendor else "path"
        )
    return table.plan(facts, provider=provider, vendor=vendor, model=model)


def _dry_run(routing: Routing, facts: Facts, plan: Plan, call: Call) -> web.StreamResponse:
    """Who would answer, without asking them."""
    call.status = 200
    shown = rules.explain(plan, facts, routing.providers, call.request_id or call.id)
    call.provider, call.model = plan.targets[0].provider, plan.targets[0].model
    return answers.own(call, 200, answers.json(shown))


def _upload(connection: Connection, reply: Reply, this: Try) -> asyncio.Task[None]:
    """Write a request's head, and let a task send its body as the client sends it."""
    out = this.out
    assert out is not None
    chunked = out.length is None
    first = _frame(out.first) if chunked else out.first
    connection.send(reply, this.lines, first, limits=this.limits, more=True)

    async def send_rest() -> None:
        try:
            assert out.rest is not None
            async for block in out.rest:
                await connection.send_more(_frame(block) if chunked else block)
            if chunked:
                await connection.send_more(b"0\r\n\r\n")
            connection.sending = False
        except RouteurError as error:
            reply.failed(error)
            connection.abort(reply)

    return asyncio.create_task(send_rest())


def _frame(block: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(block), block) if block else b""


async def _traced(this: Try) -> web.StreamResponse:
    """The answer with a block `routeur` at its end, for requests with `Routeur-Trace: true`."""
    call = this.call
    connection = await this.endpoint.pool.connect(this.limits.connect)
    chunks = Chunks(connection)
    connection.send(chunks, this.head(ACCEPT_ENCODING), this.body, limits=this.limits)
    call.sent = time.perf_counter()
    try:
        head = await chunks.answer()
        this.attempt.status = head.status
        call.first_byte = time.perf_counter()
        answers.check(head.status, this.refuse)
        call.request_id = call.request_id or sane_id(head.request_id.decode("latin-1"))
        chunks.expect(None, head.content_type, head.content_encoding)
        data = bytearray()
        async for chunk in chunks:
            data += chunk
            if len(data) > TRACED_AT_MOST:
                raise UpstreamError("the answer is too large for Routeur-Trace: ask without it")
    except asyncio.CancelledError:
        this.measure(chunks, whole=False)
        raise
    finally:
        connection.abort(chunks)
    call.status, call.ended = head.status, time.perf_counter()
    this.measure(chunks, whole=True)
    return answers.traced(call, head, bytes(data))
