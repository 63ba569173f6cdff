"""Who answers one request: the table's targets, less those that its caller may not use or its words
rule out; the best of them first, or whoever has the conversation already.

What is costly (facts, conversations, scores) is looked at only where there is something to choose.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from random import random
from typing import Any, cast

from routeur.addressing import spoken, unfit
from routeur.auto import Choice
from routeur.board import Board
from routeur.call import CLIENT_GONE, Call
from routeur.classifier import Classifier
from routeur.conversation import id_after, look
from routeur.decision import SCORES, Decision, joined, ordered
from routeur.errors import ClientError
from routeur.facts import Facts
from routeur.permits import asked_name, forbids, permitted
from routeur.providers import Model, Provider
from routeur.rules import STRATEGIES, Plan, Table, Target
from routeur.score import Ask, Candidate, Ranking, Score, Strategy, Weights, pick, target_of
from routeur.standing import Group, Standings
from routeur.stickiness import TTL, Binding, Stickiness, order, stay
from routeur.verdicts import outcomes
from routeur.words import About, Words, about, against, apply, read, take_out

_SMALL = 16 * 1024  # bytes of a body whose tokens are not counted for a score
_WORDED = frozenset(("openai_chat", "openai_responses", "anthropic"))  # formats that have words


@dataclass(frozen=True, slots=True)
class Policy:
    """What is configured of choosing, beside the table."""

    weights: Weights = field(default_factory=Weights)
    classifier: Classifier | None = None


class Chooser:
    """Chooses for a configuration. `board` and `sticky` live longer: what was learnt stays.

    `clock` is monotonic, `random` draws from [0, 1).
    """

    def __init__(
        self,
        table: Table,
        standings: Standings,
        board: Board,
        sticky: Stickiness,
        policy: Policy,
        *,
        random: Callable[[], float] = random,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.table = table
        self.policy = policy
        self.board = board
        self.sticky = sticky
        self._standings = standings
        self._random = random
        self._clock = clock
        self._told = 0  # failures of the classifier
        # Until then conversations may be elsewhere that another configuration has seen.
        self._strays_until = clock() + TTL if len(sticky) else 0.0

    # ---- which targets

    def plan(self, facts: Facts, owner: Provider | None = None) -> Plan:
        """The targets of a request; `owner` is the provider that its path names.

        Raises ClientError (NotFound, Forbidden) where there is none.
        """
        key = facts.caller.key
        plan = self._plan(facts, owner)
        return plan if key is None else permitted(plan, facts, key)

    def _plan(self, facts: Facts, owner: Provider | None) -> Plan:
        if owner is not None:
            return Plan((Target(owner.name, facts.model or ""),), "path")
        facts.classifier = self.policy.classifier
        words = read(facts.doc) if facts.format in _WORDED and facts.route.creates else None
        steers = facts.inbound.steers or facts.place is not None
        if words is not None:
            plan = self._worded(facts, words)
        elif steers:
            plan = self._steered(facts)
        elif facts.model is None:
            plan = self._nameless(facts, None, None)
        else:
            plan = self.table.plan(facts)
        if steers and (asked := _strategy(facts)):
            plan = replace(plan, strategy=asked, explores=plan.alias, lasting=False)
        return plan if facts.place is None else replace(plan, reason="response")

    def _nameless(self, facts: Facts, provider: str | None, vendor: str | None) -> Plan:
        owner = self.table.owner(facts.dialect, provider=provider, vendor=vendor)
        reason = "header" if provider else "vendor" if vendor else "path"
        return Plan((Target(owner.name, ""),), reason)

    def _steered(self, facts: Facts) -> Plan:
        provider, vendor = _asked_places(facts)
        model = facts.inbound.word(b"routeur-model")
        if facts.model is None and model is None:
            return self._nameless(facts, provider, vendor)
        return self.table.plan(facts, provider=provider, vendor=vendor, model=model)

    # ---- words of the body

    def _worded(self, facts: Facts, words: Words) -> Plan:
        """The targets that the words allow, name by name. The words are taken out of the body."""
        asked = () if facts.inbound.word(b"routeur-model") else words.names(facts.model)
        plans = self._each(facts, asked) if asked else [self._steered(facts)]
        if words.sort and not words.order:
            plans = [self._sorted(plan, words.sort, facts) for plan in plans]
        if len(plans) > 1:
            plans = [self._sorted(p, p.strategy, facts) if p.strategy else p for p in plans]
        plan = plans[0] if len(plans) == 1 else joined(plans)
        applied = apply(words, plan.targets, lambda target: self._about(target, facts))
        rejected = plan.rejected + applied.rejected
        if not applied.targets:
            told = "; ".join(f"{target} {why}" for target, why in applied.rejected[:10])
            message = f"no target is left by the words of the body: {told}"
            raise ClientError(message, code="no_eligible_target", param="provider")
        facts.words = words
        facts.strict = facts.strict or words.require_parameters
        self._take_out(facts, words, applied.targets)
        return replace(
            plan,
            targets=applied.targets,
            rejected=rejected,
            strategy=None if words.order else plan.strategy,
            lasting=False,
            alias=plan.alias and not words.order,  # an order is for this request
        )

    def _each(self, facts: Facts, names: Sequence[str]) -> list[Plan]:
        """A plan for each name; those that nobody can serve are left out, if any can be served."""
        plans: list[Plan] = []
        rejected: list[tuple[str, str]] = []
        failure: ClientError | None = None
        key = facts.caller.key
        for name in names:
            facts.model = name
            try:
                plan = self._steered(facts)
                # A name that a key may ask for must not allow what another one stands for.
                plans.append(plan if key is None else permitted(plan, facts, key))
            except ClientError as error:
                failure = failure or error
                rejected.append((name, f"is left out: {error.message}"))
        facts.model = names[0]
        if not plans:
            assert failure is not None
            raise failure
        first = plans[0]
        return [replace(first, rejected=(*first.rejected, *rejected)), *plans[1:]]

    def _sorted(self, plan: Plan, strategy: str, facts: Facts) -> Plan:
        """In the order of a strategy, once and for all."""
        if len(plan.targets) < 2:
            return plan
        scores = self._scores(plan, strategy, facts, self._clock())
        return replace(plan, targets=tuple(map(target_of, scores)), strategy=None)

    def _about(self, target: Target, facts: Facts) -> About:
        provider = self.table.providers[target.provider]
        names = self.table.called[provider.name]
        known = about(provider, names, provider.model(target.model).price)
        there = spoken(provider, provider.id_of(target.model), facts.format, facts.purpose)
        return known if there == facts.format else replace(known, openrouter=False)

    def _take_out(self, facts: Facts, words: Words, targets: Iterable[Target]) -> None:
        """Nobody sees the words but OpenRouter, whose body is `worded`."""
        if any(self._about(target, facts).openrouter for target in targets):
            facts.worded = facts.raw
        facts.raw = take_out(facts.raw, words)
        facts.doc = {name: value for name, value in facts.doc.items() if name not in words.members}
        if facts.model is not None:
            facts.doc["model"] = facts.model

    # ---- in which order

    def plain(self, plan: Plan) -> bool:
        """Whether requests with this plan just go to its first target, whosever they are."""
        if len(plan.targets) == 1:
            return True
        if plan.strategy is not None or plan.choice is None:
            return False
        if not plan.alias:
            return True
        now, notes = self._clock(), plan.choice.notes
        if now < self._strays_until or now < notes.get("strays until", 0.0):
            return False
        others = notes.get("others")
        if others is None:
            others = notes["others"] = frozenset(plan.targets[1:])
        return not self.sticky.heard(others, now)

    def decide(self, plan: Plan, facts: Facts) -> Decision | None:
        """The order for this request, and who is to be asked first; None: there is no choice."""
        targets = plan.targets
        several = len(targets) > 1
        group = self._group(targets[0])
        if plan.choice is None and not several:  # a path's own
            return None
        # A conversation may also be with one that cannot take this request.
        alias = plan.alias and (several or plan.rejected)
        if group.lone is not None and not (alias or (several and plan.strategy)):
            return None
        now = self._clock()
        decision = self._decision(plan, facts)
        if several and plan.strategy is not None:
            targets = self._by_score(decision, facts, now)
            decision.shown = self._shown(decision)
        self._stay(decision, targets, facts, now)
        return decision

    def _decision(self, plan: Plan, facts: Facts) -> Decision:
        whose, name = facts.caller.id or None, asked_name(facts)
        doc = facts.doc
        if facts.recording is not None and facts.recording.after:  # what was said there is put in
            doc = {**doc, "previous_response_id": facts.recording.after}
        found = look(facts.format, doc, facts.inbound.word, whose, name)
        return Decision(plan, plan, found, name, facts.purpose == "answer")

    def _by_score(self, decision: Decision, facts: Facts, now: float) -> tuple[Target, ...]:
        """Best first; those of which nobody can be asked now stand last."""
        plan = decision.plan
        assert plan.strategy is not None
        scores = decision.scores = self._scores(plan, plan.strategy, facts, now)
        shut = 0
        while shut < len(scores) - 1 and not self._open(scores[shut].target, now):
            shut += 1
        left = scores[shut:] if shut else scores
        if plan.explores:
            picked = pick(left, self._load, self._random, decision.conversation.id)
            decision.why = picked.why
            targets = picked.targets
            if not self._open(targets[0], now):
                targets = tuple(map(target_of, left))
        else:
            targets = tuple(map(target_of, left))
            decision.why = f"is first by {plan.strategy}"
        if shut:
            decision.why += ", of those that can be asked now"
            targets += tuple(map(target_of, scores[:shut]))
        return targets

    def _scores(self, plan: Plan, strategy: str, facts: Facts, now: float) -> tuple[Score, ...]:
        self.board.wanted = True
        choice = plan.choice or Choice(plan.targets, (), self._model)
        ranking = choice.notes.get(("ranking", strategy))
        if ranking is None:
            candidates = [
                Candidate(target, model.price, model.quality)
                for target in choice.kept
                for model in [self._model(target)]
            ]
            kind = cast(Strategy, strategy)
            ranking = Ranking(self.board, candidates, kind, self.policy.weights)
            choice.notes["ranking", strategy] = ranking
        among = None if len(plan.targets) == len(choice.kept) else frozenset(plan.targets)
        size = len(facts.raw)
        prompt = size // 4 + 1 if 0 < size < _SMALL else facts.tokens()
        scores: tuple[Score, ...] = ranking.scores(Ask(prompt, facts.output()), now, among)
        return scores

    def _shown(self, decision: Decision) -> list[dict[str, Any]]:
        """The first scores for the trace; many requests have the same ones."""
        scores, choice = decision.scores, decision.plan.choice
        notes = choice.notes if choice is not None else {}
        known = notes.get("shown")
        if known is None or known[0] is not scores:
            known = notes["shown"] = scores, [score.shown() for score in scores[:SCORES]]
        return cast(list[dict[str, Any]], known[1])

    def _stay(
        self, decision: Decision, targets: tuple[Target, ...], facts: Facts, now: float
    ) -> None:
        """Who has the conversation is first, and its credential."""
        plan, found = decision.plan, decision.conversation
        binding = None
        if found.id and not found.begins:
            binding = decision.binding = self.sticky.find(found.id, now)
        if binding is not None and not plan.alias and binding.target != targets[0]:
            binding = None  # of an explicit target the credential is kept, and no more
        if binding is not None and not self._open(binding.target, now):
            decision.why = f"leaves {binding.target}, which cannot be asked now"
            binding = None
        if binding is not None:
            kept = stay(targets, binding, found, lambda target: self._unfit(target, facts))
            targets = kept.targets
            decision.credential, decision.why = kept.credential, kept.why
        elif found.id and not found.begins:
            decision.credential = self._own(found.id, targets[0])
        if targets != plan.targets:
            decision.plan = ordered(plan, targets)

    def _own(self, id: bytes, target: Target) -> str | None:
        """The credential that all processes choose for a conversation of which none has heard."""
        group = self._group(target)
        if group.lone is not None:
            return None
        regular = [each for each in group.members if not each.credential.fallback]
        weights = {each.credential.name: float(each.weight) for each in regular}
        return order(id, weights)[0] if weights else None

    def _unfit(self, target: Target, facts: Facts) -> str:
        """Why a target cannot be asked at all, or nothing."""
        provider = self.table.providers.get(target.provider)
        if provider is None:
            return "is not configured any more"
        pins = self.table.pins(*_asked_places(facts))
        if pins and target.provider not in pins:
            return "is not at the provider that is asked for"
        if facts.words is not None and (why := against(facts.words, self._about(target, facts))):
            return why
        key = facts.caller.key
        if key is not None and (why := forbids(key, target, asked_name(facts))):
            return why
        id = provider.id_of(target.model)
        return unfit(provider, id, facts.dialect, facts.format, facts.purpose)

    def _model(self, target: Target) -> Model:
        return self.table.providers[target.provider].model(target.model)

    def _group(self, target: Target) -> Group:
        return self._standings.group(target.provider, target.model)

    def _open(self, target: Target, now: float) -> bool:
        """Whether any credential can be asked now, as far as is known."""
        return self._group(target).open(now)

    def _load(self, target: Target) -> float:
        return self._group(target).load

    def shut(self, plan: Plan) -> dict[Target, str]:
        """Targets that cannot be asked now, and why: for people."""
        now = self._clock()
        found = {}
        for target in plan.targets:
            group = self._group(target)
            if not group.open(now):
                refusals = group.refusals(now)
                told = "; ".join(f"{each.credential} is {each.why}" for each in refusals)
                found[target] = told or "no credential serves it"
        return found

    # ---- what came of it

    def resumed(self, plan: Plan, facts: Facts) -> Decision | None:
        """The decision for a request that needed none, but whose first attempt has failed."""
        if not plan.alias or len(plan.targets) == 1:
            return None
        return self._decision(plan, facts)

    def over(self, decision: Decision, call: Call) -> None:
        """The call has ended: whoever has answered has the conversation."""
        found, had, now = decision.conversation, decision.binding, self._clock()
        if not found.id or not decision.keeps or not call.attempts:  # such as a dry run
            return
        went_on = call.status < 400 or (call.status == CLIENT_GONE and call.first_byte > 0)
        if not went_on or call.aborted_by == "upstream":
            if had is not None and _blamed(call):
                self.sticky.leave(found.id, had)
            return
        if call.provider is None or call.model is None:
            return
        who = Binding(Target(call.provider, call.model), call.credential or "")
        if decision.answer:
            next_id = id_after(decision.answer, call.key, decision.name)
            self.sticky.keep(next_id, who, now)
        given = decision.given
        if given.alias and given.lasting and given.strategy is None:
            usual = who.target == given.targets[0] and self._group(who.target).lone is not None
            if usual and had is None:
                return  # it would be asked in any case
            if not usual and given.choice is not None:
                given.choice.notes["strays until"] = now + TTL
        self.sticky.keep(found.id, who, now)

    def trouble(self) -> str:
        """What has gone wrong with the classifier since this was asked last, without a word of
        what it was shown; nothing, if nothing has.
        """
        classifier = self.policy.classifier
        if classifier is None or classifier.failures == self._told:
            return ""
        self._told = classifier.failures
        return f"auto.classifier has failed: {classifier.failure.partition(':')[0]}"

    def measure(self, calls: Iterable[Call], refused: frozenset[int]) -> None:
        """Note what finished calls say of their targets, once anybody has asked for scores."""
        if not self.board.wanted:
            return
        now = self._clock() - time.perf_counter()
        for call in calls:
            for target, at, seen in outcomes(call, refused):
                if seen is None:
                    self.board.failed(target, now + at)
                else:
                    self.board.record(target).answered(now + at, *seen)


def _asked_places(facts: Facts) -> tuple[str | None, str | None]:
    """The provider that a request pins, and its vendor."""
    if facts.place is not None:
        return facts.place[0], None
    return facts.inbound.word(b"routeur-provider"), facts.inbound.word(b"vendor")


def _blamed(call: Call) -> bool:
    """Whether an attempt has failed, and not only the request."""
    return any(attempt.error is not None for attempt in call.attempts)


def _strategy(facts: Facts) -> str | None:
    asked = facts.inbound.word(b"routeur-strategy")
    if asked is not None and asked not in STRATEGIES:
        raise ClientError(f"header Routeur-Strategy: expected one of {', '.join(STRATEGIES)}")
    return asked
