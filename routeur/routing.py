"""What a configuration says about requests: who is asked at which credential, and how."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from routeur.addressing import on_vertex, spoken
from routeur.admission import Admission
from routeur.asking import Asking
from routeur.call import Call
from routeur.dialects import FORMATS
from routeur.endpoint import Endpoint
from routeur.facts import Facts
from routeur.providers import Provider
from routeur.redaction import Redactor
from routeur.reply import Manner
from routeur.retries import Budget
from routeur.rules import Plan, Rule, Table, Target
from routeur.spending import Treasury
from routeur.standing import Standing, Standings

if TYPE_CHECKING:
    from routeur.choosing import Chooser
    from routeur.responses import Stored

REMEMBERED = 4096  # places of a plan
MARKED = frozenset(("anthropic", "bedrock"))  # formats in which a prompt can be marked for a cache


@dataclass(frozen=True, slots=True)
class Place:
    """A target at one credential: what an attempt asks.

    `name` is the target's, as traces show it, `id` the model's at the provider. A body in which
    the model has that name already is sent as it is, unless `rewrites`. `shown` is what a call's
    record says of it: provider, model, dialect, credential. `marks`: its prompts are marked for
    caches.
    """

    target: Target
    endpoint: Endpoint
    standing: Standing
    manner: Manner
    name: str
    id: str
    rewrites: bool
    shown: tuple[str, str | None, str, str]
    marks: bool = False


class Routing:
    """What a configuration says about requests; replaced as a whole by a reload.

    `endpoints` are by credential. `attempts` bounds those of one call, `statuses` justify another.
    `marks`: prompts are marked for caches where clients have not done so.
    `redactor`: what passes is kept with the traces, without secrets.
    """

    redactor: Redactor | None = None
    keep: Callable[[Stored], None]  # where responses are kept
    finished: Callable[[Call], None]  # is told of every call, once or more often

    def __init__(
        self,
        chooser: Chooser,
        providers: Mapping[str, Provider],
        endpoints: Mapping[str, Endpoint],
        standings: Standings,
        admission: Admission,
        budget: Budget,
        attempts: int,
        statuses: frozenset[int],
        treasury: Treasury,
        *,
        marks: bool = False,
    ) -> None:
        self.chooser = chooser
        self._marks = marks
        self.providers = providers
        self.endpoints = endpoints
        self.standings = standings
        self.admission = admission
        self.budget = budget
        self.attempts = attempts
        self.statuses = statuses
        self.treasury = treasury
        self.asking = Asking()

    @property
    def table(self) -> Table:
        return self.chooser.table

    def place(self, plan: Plan, target: Target, standing: Standing, facts: Facts) -> Place | None:
        """Kept with its plan, which is made for one kind of route; None for a credential of a newer
        configuration.
        """
        known: Place | None = plan.places.get(standing)
        if known is None:
            endpoint = self.endpoints.get(standing.credential.name)
            if endpoint is None:
                return None
            if len(plan.places) >= REMEMBERED:
                plan.places.clear()
            provider = endpoint.provider
            manner = self._manner(provider, target.model, plan.rule, facts)
            endpoint.pool.heed(manner.limits)
            there = manner.speaks or manner.format
            marks = self._marks and facts.purpose == "answer" and there in MARKED
            marks = marks and provider.dialect != "echo"
            known = plan.places[standing] = Place(
                target,
                endpoint,
                standing,
                manner,
                str(target),
                provider.id_of(target.model),
                provider.data_url_files
                or manner.speaks is not None
                or on_vertex(provider)
                or marks,
                (target.provider, target.model or None, manner.dialect, standing.credential.name),
                marks,
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
        model, format = provider.model(name), facts.format
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
            price=model.price,
        )
