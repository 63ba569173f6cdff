"""One request, from the client to a provider and back: read `Proxy.serve` from top to bottom."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import cast

from aiohttp import web

from routeur import answers
from routeur.asked import AskedPassage
from routeur.attempts import Attempts, OutOfTime
from routeur.call import CLIENT_GONE, LOST, Call
from routeur.choosing import Chooser
from routeur.conversions import COUNTERS, PASSAGES, estimate
from routeur.decision import (
    RESPONSES,
    Decision,
    note_answer,
    only_rejected,
    worded,
)
from routeur.errors import ClientError, RouteurError, UpstreamError, UpstreamTimeout
from routeur.facts import Facts
from routeur.headers import sane_id
from routeur.noting import noted
from routeur.passage import Passage, TracedPassage
from routeur.payloads import Payload, watched
from routeur.providers import Provider
from routeur.race import Lost, Race
from routeur.realtime import RealtimePassage
from routeur.reasons import explain
from routeur.recorded import RecordedPassage
from routeur.routing import Place, Routing
from routeur.rules import Plan
from routeur.server import CLOSED, KEPT, ClientConnection
from routeur.turn_passage import TurnPassage
from routeur.upstream import Stale

Prepare = Callable[[Facts, Call], Awaitable[web.StreamResponse | None]]

_DURATION = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,6})?) ?(ms|s|m|h)?")
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}


class Proxy:
    """Serves inference requests. `finished` is told of every call, once.

    `prepare` does with a request for a response what has to be done before it is decided who
    answers it; where it has made the answer, that is all.
    """

    def __init__(
        self, routing: Routing, prepare: Prepare, finished: Callable[[Call], None]
    ) -> None:
        self.routing = routing
        self.draining = False
        self._prepare = prepare
        self._finished = finished

    async def serve(
        self,
        facts: Facts,
        call: Call,
        owner: Provider | None = None,
        resumed: Attempts | None = None,
    ) -> web.StreamResponse:
        """Decide who answers, and let them; `owner` is the provider that the path names.

        `resumed` are the attempts that have been made already: then it is decided.
        """
        redactor = self.routing.redactor
        if redactor is not None:
            call.payload = Payload(redactor, facts)
        words = facts.inbound.words
        if b"x-request-id" in words:
            call.request_id = sane_id(facts.inbound.word(b"x-request-id"))
        try:
            if not facts.look():
                await facts.read()
            facts.as_is = owner is not None
            return await self._answer(facts, call, owner, resumed)
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
            if facts.over is not None:
                facts.over(call)
            self._finished(call)

    async def _answer(
        self, facts: Facts, call: Call, owner: Provider | None, resumed: Attempts | None
    ) -> web.StreamResponse:
        """Decide who answers a request that has been read, and let them."""
        if resumed is not None:
            self._note(
                facts, resumed.chooser, resumed.chooser.resumed(resumed.plan, facts), resumed
            )
            return await self._open(facts, resumed)
        call.requested_model, call.stream = facts.model, facts.stream
        if facts.format == RESPONSES and facts.route.creates and owner is None:
            told = await self._prepare(facts, call)
            if told is not None:
                call.status = told.status
                return told
        routing = self.routing
        chooser = routing.chooser
        plan = chooser.plan(facts, owner)
        call.reason = plan.reason
        decision = chooser.decide(plan, facts)
        if decision is not None:
            plan, call.choice = decision.plan, decision.kept()
        elif plan.rejected:
            call.choice = only_rejected(plan)
        if facts.inbound.steers and facts.inbound.asks(b"routeur-dry-run"):
            return _dry_run(routing, facts, plan, decision, call)
        attempts = Attempts(routing, plan, facts, call)
        self._note(facts, chooser, decision, attempts)
        if facts.place is not None and facts.place[1]:
            attempts.pin(facts.place[1])
        if facts.inbound.steers:
            _narrow(attempts, facts)
        return await self._open(facts, attempts)

    def _note(
        self, facts: Facts, chooser: Chooser, decision: Decision | None, attempts: Attempts
    ) -> None:
        """What was decided is kept to the end, when it is known whether it was right."""
        attempts.decision = decision
        if decision is not None:
            facts.over = partial(chooser.over, decision)

    async def _open(self, facts: Facts, attempts: Attempts) -> web.StreamResponse:
        """Attempt by attempt, until one answers."""
        rule = attempts.plan.rule
        hedge = rule.hedge if rule is not None else None
        place = await attempts.next() if attempts.failure else await attempts.first()
        cannot: ClientError | None = None
        while place is not None:
            if facts.purpose == "count" and place.manner.speaks not in (None, *COUNTERS):
                attempts.show(place)
                attempts.skip(place)
                return estimate(facts, attempts.call)
            try:
                passage = _passage(attempts, place, facts)
            except ClientError as error:  # this target's dialect cannot say it; another's may
                cannot = cannot or error
                attempts.skip(place)
                place = await attempts.instead()
                continue
            try:
                if hedge is not None and not passage.streams:
                    return await self._race(attempts, passage, hedge)
                answer = await self._try(passage)
                note_answer(passage)
                return answer
            except UpstreamError:
                place = None if passage.streams else await attempts.next()
        if cannot is not None and attempts.failure is None:
            raise cannot
        return _last_word(attempts)

    async def _try(self, passage: Passage) -> web.StreamResponse:
        """Make one attempt; raises UpstreamError as long as nothing has been sent to the client."""
        client, pool, attempts = passage.client, passage.pool, passage.attempts
        if self.draining or b"upgrade" in passage.facts.inbound.words:
            passage.keep = False
        timer = None
        try:
            if passage.place.endpoint.identity is not None:
                async with asyncio.timeout_at(attempts.deadline):
                    await _identify(passage)
            # A body that is streamed cannot be sent twice: its connection must not be stale.
            connection = None if passage.streams or attempts.fresh else pool.take()
            while True:
                if connection is None:
                    connection = await pool.connect(_patience(passage, client.loop.time()))
                if client.transport is None:
                    pool.give(connection)
                    raise asyncio.CancelledError
                if passage.race is not None and passage.race.won:
                    pool.give(connection)
                    raise Lost(LOST)
                done: asyncio.Future[None] = client.loop.create_future()
                passage.start(connection, partial(_tell, client, done))
                if attempts.deadline is not None and timer is None:
                    timer = client.loop.call_at(attempts.deadline, passage.stop, OutOfTime())
                try:
                    await done
                    return KEPT if passage.keep else CLOSED
                except Stale:
                    connection = None
        except (RouteurError, TimeoutError) as error:
            if passage.started:
                return CLOSED
            if isinstance(error, TimeoutError | UpstreamTimeout) and attempts.late():
                error = OutOfTime()
            assert isinstance(error, RouteurError)
            passage.fail(error)
            raise error from None
        except asyncio.CancelledError:
            passage.leave()
            raise
        finally:
            if timer is not None:
                timer.cancel()

    async def _race(self, attempts: Attempts, first: Passage, delay: float) -> web.StreamResponse:
        """As `_try`, but an attempt that has sent nothing for `delay` seconds gets a rival."""
        race = first.race = Race()
        running = {asyncio.create_task(self._try(first)): first}
        patience: float | None = delay
        failure = UpstreamError("the provider did not answer")
        try:
            while running:
                done, _ = await asyncio.wait(
                    running, timeout=patience, return_when=asyncio.FIRST_COMPLETED
                )
                if not done:
                    patience = None
                    if any(passage.attempt.answered for passage in running.values()):
                        continue
                    place = None if race.won else await attempts.other()
                    if place is not None and race.won:  # meanwhile
                        attempts.skip(place)
                    elif place is not None and (rival := _rival(attempts, place, first)):
                        running[asyncio.create_task(self._try(rival))] = rival
                for task in done:
                    passage = running.pop(task)
                    try:
                        answer = task.result()
                        note_answer(passage)
                        return answer
                    except UpstreamError as error:
                        failure = error
            raise failure
        finally:
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)


def _passage(attempts: Attempts, place: Place, facts: Facts) -> Passage:
    client = cast(ClientConnection, facts.request.protocol)
    kind: type[Passage] = Passage
    if facts.lasts:
        return RealtimePassage(attempts, place, facts, client)
    if place.manner.speaks is not None:
        kind = PASSAGES[facts.purpose]
    elif client.berth is not None and place.endpoint.provider.websocket and facts.stream:
        kind = TurnPassage
    elif attempts.asking.asks(facts, place, facts.caller.metered):
        kind = AskedPassage
    elif facts.inbound.steers and facts.inbound.asks(b"routeur-trace"):
        if facts.format is not None and facts.doc and not facts.stream:
            kind = TracedPassage
    if facts.format == RESPONSES and facts.purpose:
        kind = noted(kind) if place.manner.speaks is None else RecordedPassage
    if attempts.call.payload is not None:
        kind = watched(kind)
    with worded(facts, place):
        return kind(attempts, place, facts, client)


def _rival(attempts: Attempts, place: Place, first: Passage) -> Passage | None:
    """Another attempt in a race; None where its target cannot be asked for this."""
    try:
        rival = _passage(attempts, place, first.facts)
    except ClientError:
        attempts.skip(place)
        return None
    rival.race = first.race
    return rival


async def _identify(passage: Passage) -> None:
    """Add to a request's head what identifies us, where that changes; raises UpstreamError."""
    endpoint = passage.place.endpoint
    if endpoint.identity is not None and endpoint.identity.signs_body:
        await passage.read_rest()
    lines = await endpoint.identify(passage.facts.method, passage.target, passage.body or b"")
    passage.lines = passage.head_lines() + lines


def _patience(passage: Passage, now: float) -> float:
    """Seconds for which a connection may be waited for; raises UpstreamTimeout for none."""
    seconds, deadline = passage.manner.limits.connect, passage.attempts.deadline
    if deadline is None:
        return seconds
    if deadline <= now:
        raise OutOfTime
    return min(seconds, deadline - now)


def _narrow(attempts: Attempts, facts: Facts) -> None:
    """Take a request's own bounds, which are never wider than those configured."""
    word = facts.inbound.word
    retries, timeout = word(b"routeur-retries"), word(b"routeur-timeout")
    if retries is not None:
        if not (retries.isascii() and retries.isdecimal()):
            raise ClientError("header Routeur-Retries: expected a number, as in 2")
        attempts.narrow(int(retries[:9]) + 1)
    if timeout is not None:
        found = _DURATION.fullmatch(timeout)
        if found is None:
            raise ClientError("header Routeur-Timeout: expected a duration, as in 20s or 500ms")
        seconds = float(found[1]) * _SECONDS[found[2] or "s"]
        attempts.deadline = asyncio.get_running_loop().time() + seconds


def _last_word(attempts: Attempts) -> web.StreamResponse:
    """Nobody is left to ask: the last error that was an answer is the client's, else our own."""
    refused = attempts.answer
    if refused is None:
        assert attempts.failure is not None
        raise attempts.failure
    passage, call = cast(Passage, refused.reply), attempts.call
    attempts.show(passage.place)
    call.error, call.ended = refused.message, time.perf_counter()
    passage.pass_on()
    return KEPT if passage.keep else CLOSED


def _tell(client: ClientConnection, done: asyncio.Future[None], error: RouteurError | None) -> None:
    if done.done():
        return
    if error is None:
        client.finish()
        done.set_result(None)
    else:
        done.set_exception(error)


def _dry_run(
    routing: Routing, facts: Facts, plan: Plan, decision: Decision | None, call: Call
) -> web.StreamResponse:
    """Who would answer, without asking them."""
    call.status = 200
    shown = explain(plan, decision, facts, routing.chooser, call.request_id or call.id)
    call.provider, call.model = plan.targets[0].provider, plan.targets[0].model
    return answers.own(call, 200, answers.json(shown))
