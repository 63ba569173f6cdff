"""One request, from the client to a provider and back: read `Proxy.serve` from top to bottom."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import cast

from aiohttp import HttpVersion11, web

from routeur import answers, rules
from routeur.answers import Reply
from routeur.call import CLIENT_GONE, Attempt, Call
from routeur.dialects import FORMATS
from routeur.endpoint import Endpoint
from routeur.errors import NoUpstream, RouteurError, UpstreamError
from routeur.facts import Facts, Outgoing
from routeur.headers import nominated, sane_id
from routeur.measure import measure
from routeur.providers import Provider, Timeouts
from routeur.relay import Chunks, Splice, Tap
from routeur.rules import Plan, Target
from routeur.server import ClientConnection, Sent
from routeur.upstream import Connection, Stale

TRACED_AT_MOST = (
    16 * 1024 * 1024
)  # bytes of an answer to which `Routeur-Trace: true` adds its block
NO_STATUS: frozenset[int] = frozenset()
NO_HEADER: frozenset[bytes] = frozenset()
ACCEPT_ENCODING = frozenset([b"accept-encoding"])


@dataclass(frozen=True, slots=True)
class Routing:
    """What a configuration says about requests; replaced as a whole by a reload."""

    table: rules.Table
    providers: Mapping[str, Provider]
    endpoints: Mapping[
        str, tuple[Endpoint, ...]
    ]  # by provider, in the order in which they are asked
    attempts: int
    statuses: frozenset[int]


@dataclass(slots=True)
class Try:
    """One attempt in the making: what goes where, and what may come back."""

    facts: Facts
    call: Call
    attempt: Attempt
    plan: Plan
    endpoint: Endpoint
    model: str | None  # the provider's name of it
    out: Outgoing | None
    refuse: frozenset[int]

    def head(self, without: frozenset[bytes] = NO_HEADER) -> bytes:
        """The request's head."""
        facts = self.facts
        without |= nominated(facts.headers.get("Connection"))
        return self.endpoint.head(
            facts.method,
            self.endpoint.address(facts.target_path(self.model or ""), facts.query),
            facts.request.raw_headers,
            -1 if self.out is None else self.out.length,
            without,
        )


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
        routing = self.routing
        call.request_id = sane_id(facts.headers.get("X-Request-Id")) or ""
        try:
            if not facts.look():
                await facts.read()
            call.requested_model, call.stream = facts.model, facts.stream
            plan = _plan(routing.table, facts, owner)
            call.reason = plan.reason
            if _asks(facts, "Routeur-Dry-Run"):
                return _dry_run(routing, facts, plan, call)
            return await self._open(routing, facts, plan, call)
        except RouteurError as error:
            call.status, call.error = error.status, error.message
            return answers.refusal(facts.request, facts.dialect, error, call)
        except asyncio.CancelledError:
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
        places = [*_places(routing, plan)]
        for number, (target, endpoint) in enumerate(places, 1):
            provider = endpoint.provider
            call.provider, call.model = target.provider, target.model or None
            call.provider_dialect, call.credential = provider.dialect, endpoint.credential.name
            attempt = Attempt(str(target), endpoint.credential.name)
            call.attempts.append(attempt)
            model = provider.id_of(target.model) if target.model else None
            out = facts.outgoing(provider, model)
            last = number == len(places) or (out is not None and out.rest is not None)
            refuse = NO_STATUS if last else routing.statuses
            this = Try(facts, call, attempt, plan, endpoint, model, out, refuse)
            began = time.perf_counter()
            try:
                if _asks(facts, "Routeur-Trace") and facts.format and not facts.stream:
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
        facts, call, endpoint = this.facts, this.call, this.endpoint
        request = facts.request
        client = cast(ClientConnection, request.protocol)
        limits = (this.plan.rule and this.plan.rule.timeouts) or endpoint.provider.timeouts
        head = this.head()
        content = FORMATS[facts.format].FIRST_TOKEN if facts.format else None
        # A body that is streamed cannot be sent twice: it gets a connection that cannot be stale.
        connection = endpoint.pool.take() if this.out is None or this.out.rest is None else None
        while True:
            if connection is None:
                connection = await endpoint.pool.connect(limits.connect)
            if client.transport is None:
                raise asyncio.CancelledError
            splice = Splice(client.transport, decoded=request.version < HttpVersion11)
            reply = Reply(call, this.attempt, request, splice, refuse=this.refuse, content=content)
            reply.keep = reply.keep and not self.draining and "Upgrade" not in request.headers
            splice.on_head = reply.head
            client.source = connection
            upload = _send(connection, splice, head, this.out, limits, facts.method == "HEAD")
            call.sent = time.perf_counter()
            if client.writing_paused:
                connection.pause_reading()
            try:
                await splice.done
                return Sent(keep=reply.keep)
            except Stale:
                connection = None
            except RouteurError as error:
                if not splice.started:
                    raise
                call.error = this.attempt.error = error.message
                call.aborted_by = "upstream"
                client.abort()
                return Sent(keep=False)
            finally:
                client.source = None
                if upload is not None:
                    upload.cancel()
                if connection is not None:
                    connection.abort(splice)
                    if splice.started or splice.done.cancelled():
                        _measure(this, splice, whole=splice.complete)
                    if splice.complete:
                        call.ended = time.perf_counter()


def _plan(table: rules.Table, facts: Facts, owner: Provider | None) -> Plan:
    """The targets of a request."""
    if owner is not None:
        return Plan((Target(owner.name, facts.model or ""),), "path")
    headers = facts.headers
    provider, vendor = headers.get("Routeur-Provider"), headers.get("vendor")
    model = headers.get("Routeur-Model")
    if facts.model is None and model is None:
        owner = table.owner(facts.dialect, provider=provider, vendor=vendor)
        return Plan(
            (Target(owner.name, ""),), "header" if provider else "vendor" if vendor else "path"
        )
    return table.plan(facts, provider=provider, vendor=vendor, model=model)


def _places(routing: Routing, plan: Plan) -> Iterator[tuple[Target, Endpoint]]:
    """Targets in order, each by its provider's credentials, as many as may be attempted."""
    left = (plan.rule and plan.rule.retries) or routing.attempts
    for target in plan.targets:
        for endpoint in routing.endpoints[target.provider]:
            if left:
                yield target, endpoint
                left -= 1


def _asks(facts: Facts, header: str) -> bool:
    value = facts.headers.get(header)
    return value is not None and value.strip().lower() in ("true", "1", "yes")


def _dry_run(routing: Routing, facts: Facts, plan: Plan, call: Call) -> web.StreamResponse:
    """Who would answer, without asking them."""
    call.status = 200
    shown = rules.explain(plan, facts, routing.providers, call.request_id or call.id)
    call.provider, call.model = plan.targets[0].provider, plan.targets[0].model
    return answers.own(call, 200, answers.json(shown))


def _send(
    connection: Connection,
    splice: Splice,
    head: bytes,
    out: Outgoing | None,
    limits: Timeouts,
    no_body: bool,
) -> asyncio.Task[None] | None:
    """Write a request; what of its body is still to come is sent by the task that is returned."""
    if out is None or out.rest is None:
        body = out.first if out else b""
        connection.send(splice, head, body, limits=limits, no_body=no_body)
        return None
    chunked = out.length is None
    first = _frame(out.first) if chunked else out.first
    connection.send(splice, head, first, limits=limits, no_body=no_body, more=True)
    return asyncio.create_task(_upload(connection, splice, out.rest, chunked))


async def _upload(
    connection: Connection, splice: Splice, rest: AsyncIterator[bytes], chunked: bool
) -> None:
    """Send the rest of a request's body as the client sends it and the provider takes it."""
    try:
        async for block in rest:
            await connection.send_more(_frame(block) if chunked else block)
        if chunked:
            await connection.send_more(b"0\r\n\r\n")
        connection.sending = False
    except RouteurError as error:
        splice.failed(error)
        connection.abort(splice)


def _frame(block: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(block), block) if block else b""


def _measure(this: Try, tap: Tap, *, whole: bool) -> None:
    model = this.endpoint.provider.models.get(this.call.model or "")
    measure(this.facts, this.call, tap, model.price if model else None, whole=whole)


async def _traced(this: Try) -> web.StreamResponse:
    """The answer with a block `routeur` at its end, for requests with `Routeur-Trace: true`."""
    call, endpoint = this.call, this.endpoint
    limits = endpoint.provider.timeouts
    connection = await endpoint.pool.connect(limits.connect)
    chunks = Chunks(connection)
    body = this.out.first if this.out else b""
    connection.send(chunks, this.head(ACCEPT_ENCODING), body, limits=limits)
    call.sent = time.perf_counter()
    try:
        head = await chunks.answer()
        this.attempt.status = head.status
        call.first_byte = time.perf_counter()
        answers.check(head.status, this.refuse)
        chunks.expect(None, head.content_type, head.content_encoding)
        data = bytearray()
        async for chunk in chunks:
            data += chunk
            if len(data) > TRACED_AT_MOST:
                raise UpstreamError("the answer is too large for Routeur-Trace: ask without it")
    finally:
        connection.abort(chunks)
        _measure(this, chunks, whole=True)
    call.status = head.status
    call.ended = time.perf_counter()
    return answers.traced(call, head, bytes(data))
