"""Who is asked next for one call, and what the client hears when nobody is left."""

from __future__ import annotations

import asyncio
import math
import random
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING

from routeur.admission import choose
from routeur.asking import Asking
from routeur.call import Call
from routeur.errors import (
    LimitExceeded,
    NoUpstream,
    OutOfFiles,
    RouteurError,
    UpstreamError,
    UpstreamTimeout,
)
from routeur.facts import Facts
from routeur.group import Group
from routeur.keys import Caller
from routeur.reply import Judged, Refused
from routeur.retries import pause, retry_after
from routeur.routing import Place, Routing
from routeur.rules import Plan, Target
from routeur.spending import MANY, Spending, Unaffordable
from routeur.standing import Standing
from routeur.store.books import Books

if TYPE_CHECKING:
    from routeur.choosing import Chooser
    from routeur.decision import Decision
    from routeur.responses import Stored

NOTHING: Mapping[Standing, tuple[int, float]] = {}
LONGEST_PAUSE = 2.0  # seconds for which a lone credential is waited for
EARLY = 0.002  # seconds: libuv counts milliseconds, and its timers fire by more than one too soon


class OutOfTime(UpstreamTimeout):
    """The time is over that the client has given with `Routeur-Timeout`."""

    def __init__(self) -> None:
        super().__init__("no answer within Routeur-Timeout")


class Attempts:
    """The attempts of one call. `most` bounds them, `deadline` (the loop's time) is when an answer
    has to have begun.
    """

    most = 0  # 0: as configured
    deadline: float | None = None
    answer: Refused | None = None  # the last error of a provider's that was an answer
    failure: UpstreamError | None = None  # the last of any kind
    fresh = False  # the next one gets a new connection: the last was dead
    spending: Spending | None = None  # what the call reserves in the store
    decision: Decision | None = None  # what was chosen, if there was a choice
    _too_dear: Unaffordable | None = None  # why a target was left out
    _asked: tuple[Standing, ...] = ()
    _taken: Mapping[Standing, tuple[int, float]] = NOTHING  # tokens from limits, and when
    _probes: tuple[Standing, ...] = ()
    _failed: tuple[tuple[Standing, int], ...] = ()  # each counts once, however often it was asked

    def __init__(self, routing: Routing, plan: Plan, facts: Facts, call: Call) -> None:
        self.plan = plan
        self.call = call
        self._routing = routing
        self._facts = facts
        if facts.caller.limited:
            self.spending = Spending(routing.treasury, facts.caller.key, facts, call)

    @property
    def caller(self) -> Caller:
        return self._facts.caller

    @property
    def chooser(self) -> Chooser:
        return self._routing.chooser

    @property
    def books(self) -> Books:
        return self._routing.treasury.books

    @property
    def asking(self) -> Asking:
        return self._routing.asking

    def keep(self, stored: Stored) -> None:
        """A response that can be asked for from now on."""
        self._routing.keep(stored)

    def pin(self, credential: str) -> None:
        """Ask nobody but this credential."""
        target = self.plan.targets[0]
        group = self._routing.standings.group(target.provider, target.model)
        self._asked = tuple(each for each in group.members if each.credential.name != credential)

    def finish(self, call: Call) -> None:
        """The call is over, but for the last bytes of its answer."""
        self._routing.finished(call)

    # ---- who is next

    async def first(self) -> Place:
        """Who is asked first; raises LimitExceeded or NoUpstream when nobody can be asked, and why
        the caller's key does not allow it.
        """
        place = None
        if self.spending is None:
            place = self._routing.lone(self.plan, self._facts)
        if place is not None:
            place.standing.inflight += 1
            self._asked += (place.standing,)
            return place
        place = await self._choose()
        if place is None:
            raise self._too_dear or self._nobody()
        return place

    async def other(self) -> Place | None:
        """One that has not been asked yet, if another attempt is allowed."""
        if not self.more():
            return None
        place = await self._another()
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
        await asyncio.sleep(wait + EARLY)
        self._asked = ()
        return await self._another()

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
        # The client's own bound, and a lack of ours, speak against nobody.
        if isinstance(error, OutOfTime | OutOfFiles):
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
        if (standing, status) in self._failed and not at_once:  # a lone one, asked again
            self._routing.standings.left(standing)
        else:
            self._failed += ((standing, status),)
            self._routing.standings.failed(standing, status, time.monotonic(), at_once=at_once)
        if standing.wants:
            self._settle(place, 0)

    def _settle(self, place: Place, used: int) -> None:
        self._settle_taken(place.standing, used)

    def _settle_taken(self, standing: Standing, used: int) -> None:
        if standing in self._taken:
            tokens, at = self._taken[standing]
            self._routing.admission.settle(standing, tokens, used, at)

    async def _choose(self) -> Place | None:
        """The first target's next credential, else the next target's, of those not asked yet."""
        routing = self._routing
        for target in self.plan.targets:
            group = routing.standings.group(target.provider, target.model)
            if group.limited and routing.treasury.shares and self.spending is None:
                self.spending = Spending(routing.treasury, None, self._facts, self.call)
            standing = await self._admitted(target, group)
            if standing is None:
                continue
            place = routing.place(self.plan, target, standing, self._facts)
            if place is not None:
                return place
            group.put_back(standing, 0.0, time.monotonic())
        return None

    async def _another(self) -> Place | None:
        """As `_choose`; where the key does not allow another attempt, the last error stands."""
        try:
            return await self._choose()
        except RouteurError:
            return None

    async def _admitted(self, target: Target, group: Group) -> Standing | None:
        """The next credential of a target, begun; all limits have room for it."""
        routing, rule = self._routing, self.plan.rule
        least_busy = rule is not None and rule.sort == "throughput"
        decision = self.decision
        prefer = decision.credential if decision and target == self.plan.targets[0] else None
        tokens = self._tokens() if group.limited else 0
        while standing := await choose(
            routing.admission,
            group,
            tokens,
            self._asked,
            least_busy=least_busy,
            prefer=prefer,
        ):
            now = time.monotonic()
            self._asked += (standing,)
            if tokens:
                self._taken = {**self._taken, standing: (tokens, now)}
            if not standing.clear and standing.probing(now):
                self._probes += (standing,)
            try:
                full = await self._reserve(target, standing)
            except Unaffordable as error:
                self._too_dear = self._too_dear or error
                self._put_back(group, standing, 0.0)
                return None
            except BaseException:
                self._put_back(group, standing, 0.0)
                raise
            if full is None:
                return standing
            self._put_back(group, standing, full)
        return None

    def _tokens(self) -> int:
        """What the limits of credentials count of the request while it is under way."""
        return min(self._facts.tokens() + self._facts.output(), MANY)

    async def _reserve(self, target: Target, standing: Standing) -> float | None:
        """As `Spending.reserve`; None where there is nothing to reserve."""
        if self.spending is None:
            return None
        model = self._routing.providers[target.provider].model(target.model)
        return await self.spending.reserve(model, standing)

    def _put_back(self, group: Group, standing: Standing, seconds: float) -> None:
        """It is not asked after all, for so many seconds."""
        group.put_back(standing, seconds, time.monotonic())
        self._settle_taken(standing, 0)

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
        if any(each.limited for each in found):
            return LimitExceeded(message, retry_after=after)
        return NoUpstream(message)  # no Retry-After: SDKs would sleep as long as a ban lasts


def status_of(error: RouteurError) -> int:
    """The status that a failure counts as."""
    if isinstance(error, Judged):
        # A 400 about our account says what others say with a 401.
        return 401 if error.refusal.ours and error.answered == 400 else error.answered
    return 504 if isinstance(error, UpstreamTimeout) else 502
