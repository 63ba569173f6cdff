"""What was chosen for one request: plans made of others for it, what its trace keeps of them, and
what its answer and its body have to do with it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from routeur import body
from routeur.conversation import Conversation
from routeur.facts import Facts
from routeur.rules import Plan, Target
from routeur.score import Score
from routeur.stickiness import Binding

if TYPE_CHECKING:
    from routeur.passage import Passage
    from routeur.routing import Place

SCORES, REJECTED = 8, 16  # of a call are kept in its trace
RESPONSES = "openai_responses"
OPENROUTER = "openrouter"  # the preset that heeds words of the body itself

_RESPONSE_ID = re.compile(rb'"id"\s*:\s*"(resp_[^"\\]{1,200})"')
_START = 8 * 1024  # bytes of an answer in which its id is looked for


@dataclass(slots=True)
class Decision:
    """What was chosen for one request. `plan` has the targets in their order, `credential` is whom
    to ask at the first one, None: anyone. `given` is the plan as the table has it.

    `keeps`: whoever answers has the conversation; `binding` is who had it until now. `name` is what
    was asked for. `answer` is the id of the answer, where a request can go on from it.
    """

    plan: Plan
    given: Plan
    conversation: Conversation
    name: str | None
    keeps: bool
    binding: Binding | None = None
    credential: str | None = None
    scores: tuple[Score, ...] = ()
    shown: list[dict[str, Any]] = field(default_factory=list)  # the first of them, for the trace
    why: str = ""
    answer: str = ""

    def kept(self) -> tuple[Any, ...] | None:
        """What a call's trace keeps of it: strategy, why, conversation, scores, rejected.

        None where there is nothing to tell: then the express does not even ask.
        """
        if not (self.plan.strategy or self.why or self.credential or self.plan.rejected):
            return None
        return (
            self.plan.strategy,
            self.why,
            self.conversation.source,
            self.shown,
            list(self.plan.rejected[:REJECTED]),
        )


def ordered(plan: Plan, targets: tuple[Target, ...]) -> Plan:
    """A plan with its targets in another order, for one request: `replace` takes its time."""
    return Plan(
        targets,
        plan.reason,
        plan.rejected,
        plan.rule,
        False,
        plan.places,
        plan.choice,
        False,
        plan.strategy,
        plan.explores,
        plan.alias,
    )


def joined(plans: Sequence[Plan]) -> Plan:
    """One plan for several names, in their order."""
    first = plans[0]
    return Plan(
        tuple(dict.fromkeys(target for plan in plans for target in plan.targets)),
        first.reason,
        tuple(dict.fromkeys(each for plan in plans for each in plan.rejected)),
        first.rule,
        alias=any(plan.alias for plan in plans),
    )


def only_rejected(plan: Plan) -> tuple[Any, ...]:
    """What the trace of a call keeps that had no choice, as `Decision.kept`."""
    return None, "", "", [], list(plan.rejected[:REJECTED])


def note_answer(passage: Passage) -> None:
    """Note the id of an answer of the Responses API, if it is known: requests go on from it."""
    decision = passage.attempts.decision
    if decision is None or passage.facts.format != RESPONSES:
        return
    if passage.manner.speaks is not None:  # it is made here
        decision.answer = f"resp_{passage.call.id[3:]:0<24}"
        return
    start = passage.first or b"".join(passage.pieces[:4])
    found = _RESPONSE_ID.search(start, 0, _START)
    decision.answer = found[1].decode("latin-1") if found else ""


@contextmanager
def worded(facts: Facts, place: Place) -> Iterator[None]:
    """Within it the body has its words, if the provider is one that heeds them."""
    if not facts.worded or place.endpoint.provider.preset != OPENROUTER or place.manner.speaks:
        yield
        return
    kept, raw = (facts.raw, facts.model), facts.worded
    named = "model" in body.parse(raw)
    facts.raw = body.replace_model(raw, place.id) if named else raw
    facts.model = facts.doc["model"] = place.id
    try:
        yield
    finally:
        facts.raw, facts.model = kept
        facts.doc["model"] = facts.model
