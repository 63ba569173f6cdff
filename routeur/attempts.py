"""Who is asked next for one call, and what the client hears when nobody is left."""

from __future__ import annotations

import asyncio
import math
import random
import time
from collections.abc import Mapping
from dataclasses import dataclass

from routeur.addressing import on_vertex, spoken
from routeur.admission import Admission, choose
from routeur.call import Call
from routeur.dialects import FORMATS
from routeur.endpoint import Endpoint
from routeur.errors import (
    LimitExceeded,
    NoUpstream,
    RouteurError,
    UpstreamError,
    UpstreamTimeout,
)
from routeur.facts import Facts
from routeur.providers import Provider
from routeur.reply import Judged, Manner, Refused
from routeur.retries import Budget, pause, retry_after
from routeur.rules import Plan, Rule, Table, Target
from routeur.standing import Standing, Standings

NOTHING: Mapping[Standing, tuple[int, float]] = {}
LONGEST_PAUSE = 2.0  # seconds for which a lone credential is waited for


class OutOfTime(UpstreamTimeout):
    """The time is over that the client has given with `Routeur-Timeout`."""

    def __init__(self) -> None:
        super().__init__("no answer within Routeur-Timeout")


@dataclass(frozen=True, slots=True)
class Place:
    """A target at one credential: what an attempt asks.

    `name` is the target's, as traces show it, `id` the model's at the provider. A body in which
    the model has that name already is sent as it is, unless `rewrites`. `shown` is what a call's
    record says of it: provider, model, dialect, credential.
    """

    target: Target
    endpoint: Endpoint
    standing: Standing
    manner: Manner
    name: str
    id: str
    rewrites: bool
    shown: tuple[str, str | None, str, str]


class Routing:
    """What a configuration says about requests; replaced as a whole by a reload.

    `endpoints` are by credential. `attempts` bounds those of one call, `statuses` justify another.
    """

    def __init__(
        self,
        table: Table,
        providers: Mapping[str, Provider],
        endpoints: Mapping[str, Endpoint],
        standings: Standings,
        admission: Admission,
        budget: Budget,
        attempts: int,
        statuses: frozenset[int],
    ) -> None:
        self.table = table
        self.providers = providers
        self.endpoints = endpoints
        self.standings = standings
        self.admission = admission
        self.budget = budget
        self.attempts = attempts
        self.statuses = statuses

    def place(self, plan: Plan, target: Target, standing: Standing, facts: Facts) -> Place | None:
        """Kept with its plan, which is made for one kind of route; None for a credential of a newer
        configuration.
        """
        known: Place | None = plan.places.get(standing)
        if known is None:
            endpoint = self.endpoints.get(standing.credential.name)
            if endpoint is None:
                return None
            provider = endpoint.provider
            manner = self._manner(provider, target.model, plan.rule, facts)
            known = plan.places[standing] = Place(
                target,
                endpoint,
                standing,
                manner,
                str(target),
                provider.id_of(target.model),
                provider.data_url_files or manner.speaks is not None or on_vertex(provider),
                (target.provider, target.model or None, manner.dialect, standing.credential.name),
            )
        return known

    def lone(self, plan: Plan, facts: Facts) -> Place | None:
        """The first target's only credential, if there is nothing to ask about it: as for most."""
        target = plan.targets[0]
        lone = self.standings.group(target.provider, target.model).lone
        if lone is None or not lone.clear:
            return None
        return self.place(plan, target, lone, facts)

    def _manner(self, provider: Provider, name: str, rule: Rule | None, facts: Facts) -> Manner:
        model, format = provider.models.get(name), facts.format
        there = spoken(provider, provider.id_of(name), format, facts.purpose)
        return Manner(
            limits=(rule and rule.timeouts) or provider.timeouts,
            commit=(rule and rule.commit) or provider.commit,
            refuse=(rule and rule.statuses) or self.statuses,
            dialect=provider.dialect,
            format=format,
            speaks=there if facts.purpose and there != format else None,
            content=FORMATS[format].FIRST_TOKEN if format else None,
            keepalive=(rule and rule.keepalive) or provider.keepalive,
            price=model.price if model else None,
        )


class Attempts:
    """The attempts of one call. `most` bounds them, `deadline` (the loop's time) is when an answer
    has to have begun.
    """

    most = 0  # 0: as configured
    deadline: float | None = None
    answer: Refused | None = None  # the last error of a provider's that was an answer
    failure: UpstreamError | None = None  # the last of any kind
    fresh = False  # the next one gets a new connection: the last was dead
    _asked: tuple[Standing, ...] = ()
    _taken: Mapping[Standing, tuple[int, float]] = NOTHING  # tokens from limits, and when
    _probes: tuple[Standing, ...] = ()

    def __init__(self, routing: Routing, plan: Plan, facts: Facts, call: Call) -> None:
        self.plan = plan
        self.call = call
        self._routing = routing
        self._facts = facts

    # ---- who is next

    async def first(self) -> Place:
        """Who is asked first; raises LimitExceeded or NoUpstream when nobody can be asked."""
        place = self._routing.lone(self.plan, self._facts)
        if place is not None:
            place.standing.inflight += 1
            self._asked += (place.standing,)
            return place
        place = await self._choose()
        if place is None:
            raise self._nobody()
        return place

    async def other(self) -> Place | None:
        """One that has not been asked yet, if another attempt is allowed."""
        if not self.more():
            return None
        place = await self._choose()
        if place is not None and not self._routing.budget.may_retry(time.monotonic()):
            self.skip(place)
            return None
        return place

    async def instead(self) -> Place | None:
        """One in the place of another that cannot be asked for this: no attempt has been made."""
        return await self._choose()

    async def next(self) -> Place | None:
        """Who is asked after a failure, waited for if need be; None: nobody."""
        place = await self.other()
        lone = self._lone()
        if place is not None or lone is None or not self.more():
            return place
        if isinstance(self.failure, Judged) and self.failure.refusal.ours:
            return None  # asking again changes nothing
        now = time.monotonic()
        wait = pause(len(self.call.attempts), random.random)
        if refusal := lone.refusal(now):
            wait = max(wait, math.inf if refusal.seconds is None else refusal.seconds)
        if wait > LONGEST_PAUSE or not self._routing.budget.may_retry(now):
            return None
        if self.deadline is not None and asyncio.get_running_loop().time() + wait > self.deadline:
            return None
        await asyncio.sleep(wait)
        self._asked = ()
        return await self._choose()

    # ---- what becomes of an attempt

    def show(self, place: Place) -> None:
        """This is who answers."""
        call = self.call
        call.provider, call.model, call.provider_dialect, call.credential = place.shown

    def answered(self, place: Place) -> None:
        """An attempt's answer has begun: if it was to try a credential, that one is well."""
        now = time.monotonic()
        if place.standing.half_open(now):
            self._routing.standings.succeeded(place.standing, now)

    def succeeded(self, place: Place) -> None:
        """An attempt's answer has reached its end."""
        self._routing.standings.succeeded(place.standing, time.monotonic())
        usage = self.call.usage
        if usage is not None:
            self._settle(place, usage.input_total + usage.output_total)

    def left(self, place: Place) -> None:
        """An attempt was given up: nothing is known of how its credential does."""
        place.standing.inflight -= 1
        if place.standing in self._probes:
            self._routing.standings.left(place.standing)

    def withdraw(self, place: Place) -> None:
        """An attempt was not made after all."""
        self.call.attempts.pop()
        self.left(place)

    def skip(self, place: Place) -> None:
        """It was chosen, and is not asked: go on with others, or not at all."""
        self.left(place)
        self._settle(place, 0)

    def refused(self, place: Place, status: int) -> None:
        """The client has got an error for which another attempt could have been made."""
        self._count(place, status)

    def broke(self, place: Place, error: RouteurError) -> None:
        """An answer has begun, and broken off."""
        self._count(place, status_of(error))

    def failed(self, place: Place, error: UpstreamError) -> None:
        """An attempt has ended without an answer for the client."""
        if place.standing not in self._asked:
            self._asked += (place.standing,)
        self.failure = error
        if isinstance(error, OutOfTime):  # the client's own bound, which speaks against nobody
            return self.left(place)
        at_once = None
        if isinstance(error, Judged):
            refusal = error.refusal
            if refusal.exhausted:
                at_once = refusal.code or "exhausted"
            wait = refusal.wait
            if isinstance(error, Refused):
                wait = retry_after(error.headers, wait, time.time())
                if error.whole and not refusal.ours:
                    self.answer = error
            if wait is not None:
                self._routing.standings.rest(place.standing, wait, time.monotonic())
        self._count(place, status_of(error), at_once)

    # ---- inside

    def _count(self, place: Place, status: int, at_once: str | None = None) -> None:
        standing = place.standing
        standing.inflight -= 1
        self._routing.standings.failed(standing, status, time.monotonic(), at_once=at_once)
        if standing.wants:
            self._settle(place, 0)

    def _settle(self, place: Place, used: int) -> None:
        if place.standing in self._taken:
            tokens, at = self._taken[place.standing]
            self._routing.admission.settle(place.standing, tokens, used, at)

    async def _choose(self) -> Place | None:
        """The first target's next credential, else the next target's, of those not asked yet."""
        routing, plan = self._routing, self.plan
        least_busy = plan.rule is not None and plan.rule.sort == "throughput"
        for target in plan.targets:
            group = routing.standings.group(target.provider, target.model)
            tokens = self._facts.tokens() + self._facts.output() if group.limited else 0
            standing = await choose(
                routing.admission, group, tokens, self._asked, least_busy=least_busy
            )
            if standing is None:
                continue
            now = time.monotonic()
            self._asked += (standing,)
            if tokens:
                self._taken = {**self._taken, standing: (tokens, now)}
            if not standing.clear and standing.probing(now):
                self._probes += (standing,)
            place = routing.place(plan, target, standing, self._facts)
            if place is not None:
                return place
            group.put_back(standing, 0.0, now)
        return None

    def more(self) -> bool:
        """Whether another attempt is allowed."""
        if self.late():
            return False
        rule = self.plan.rule
        most = self.most or (rule and rule.retries) or self._routing.attempts
        return len(self.call.attempts) < most

    def late(self) -> bool:
        """Whether the time is over that the client has given."""
        # Timers may fire a clock tick early.
        now = asyncio.get_running_loop().time()
        return self.deadline is not None and now >= self.deadline - 0.001

    def narrow(self, most: int) -> None:
        """Allow so many attempts, if that is not more than configured."""
        rule = self.plan.rule
        self.most = min(most, (rule and rule.retries) or self._routing.attempts)

    def _lone(self) -> Standing | None:
        """The only one there is to ask."""
        if len(self.plan.targets) != 1:
            return None
        target = self.plan.targets[0]
        return self._routing.standings.group(target.provider, target.model).lone

    def _nobody(self) -> RouteurError:
        """Why nobody can be asked at all."""
        now = time.monotonic()
        groups = [
            self._routing.standings.group(target.provider, target.model)
            for target in self.plan.targets
        ]
        found = [refusal for group in groups for refusal in group.refusals(now)]
        told = "; ".join(
            f"{each.credential} ({each.model}) is {each.why}: {each.detail}" for each in found
        )
        message = f"no credential can be asked now: {told or 'none serves this model'}"
        after = min((each.seconds for each in found if each.seconds is not None), default=None)
        if any(each.why in ("resting", "rate limited") for each in found):
            return LimitExceeded(message, retry_after=after)
        return NoUpstream(message, retry_after=after)


def status_of(error: RouteurError) -> int:
    """The status that a failure counts as."""
    if isinstance(error, Judged):
        # A 400 about our account says what others say with a 401.
        return 401 if error.refusal.ours and error.answered == 400 else error.answered
    return 504 if isinstance(error, UpstreamTimeout) else 502
