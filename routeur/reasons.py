"""What a dry run and `routeur explain` say of a choice: who would answer, why, and what that may
cost.
"""

from __future__ import annotations

from typing import Any

from routeur.choosing import Chooser
from routeur.decision import Decision
from routeur.dialects.base import Usage
from routeur.facts import Facts
from routeur.providers import Model
from routeur.rules import Plan
from routeur.usage import ceiling, cost

SHOWN = 100  # targets with their scores


def explain(
    plan: Plan, decision: Decision | None, facts: Facts, chooser: Chooser, request_id: str
) -> dict[str, Any]:
    """The answer to a dry run."""
    shut = chooser.shut(plan)
    first = next((each for each in plan.targets if each not in shut), plan.targets[0])
    passed = first != plan.targets[0]  # over those that cannot be asked now
    model = chooser.table.providers[first.provider].model(first.model)
    return {
        "routeur": {
            "request_id": request_id,
            "requested_model": facts.model,
            "provider": first.provider,
            "model": first.model,
            "credential": decision.credential if decision and not passed else None,
            "route_reason": plan.reason,
            "strategy": plan.strategy,
            "why": "is the first that can be asked now" if passed else _why(plan, decision),
            "targets": [str(target) for target in plan.targets],
            "unavailable": [{"target": str(each), "why": why} for each, why in shut.items()],
            "rejected": [{"target": target, "why": why} for target, why in plan.rejected],
            "scores": [each.shown() for each in decision.scores[:SHOWN]] if decision else [],
            "facts": _facts(facts, decision),
            "estimate": _estimate(facts, model),
        }
    }


def lines(told: dict[str, Any]) -> list[str]:
    """The same for people: a word, and what there is to say of it."""
    said = told["routeur"]
    facts, estimate = said["facts"], said["estimate"]
    answers = f"{said['provider']}/{said['model']}"
    found = [
        ("reason", said["route_reason"]),
        ("facts", _facts_in_words(facts)),
        ("strategy", said["strategy"] or "the order given"),
        ("answers", answers),
        ("why", f"it {said['why']}"),
    ]
    if said["credential"]:
        found.append(("account", said["credential"]))
    past = {answers, *(each["target"] for each in said["unavailable"])}
    found += [("then", target) for target in said["targets"] if target not in past]
    found += [("now shut", f"{each['target']}: {each['why']}") for each in said["unavailable"]]
    found += [("not", f"{each['target']}: {each['why']}") for each in said["rejected"]]
    found += [("score", _score_in_words(each)) for each in said["scores"]]
    found.append(("estimate", _estimate_in_words(estimate)))
    return [f"{word:<9} {text}" for word, text in found]


def _why(plan: Plan, decision: Decision | None) -> str:
    if decision is not None and decision.why:
        return decision.why
    if plan.rule is not None and plan.rule.split:
        return "was drawn by weight"
    return "is the first in the order given" if len(plan.targets) > 1 else "is the only one"


def _facts(facts: Facts, decision: Decision | None) -> dict[str, Any]:
    known = decision.conversation if decision else None
    return {
        "dialect": facts.dialect,
        "stream": facts.stream,
        "has": sorted(facts.has()),
        "tokens": facts.tokens(),
        "output": facts.output() or None,
        "difficulty": facts.difficulty(),
        "conversation": (known.source or None) if known else None,
        "tool_loop": known.loop if known else None,
        "signed_reasoning": known.signed if known else None,
    }


def _estimate(facts: Facts, model: Model) -> dict[str, Any]:
    """Tokens and USD: of the prompt, and with the longest answer."""
    tokens = facts.tokens()
    most = facts.output() or model.output
    price = model.price.at(facts.service()) if model.price else None
    whole = None if most is None else ceiling(price, tokens, most)
    return {
        "input_tokens": tokens,
        "most_output_tokens": most,
        "cost_usd": cost(Usage(input=tokens), price),
        "most_cost_usd": None if whole is None else whole / 1e6,
    }


def _facts_in_words(facts: dict[str, Any]) -> str:
    parts = [f"about {facts['tokens']} tokens", *facts["has"]]
    if facts["stream"]:
        parts.append("streamed")
    if facts["difficulty"]:
        parts.append(f"difficulty {facts['difficulty']}")
    if facts["conversation"]:
        parts.append(f"conversation by {facts['conversation']}")
    if facts["tool_loop"]:
        parts.append("within a tool loop")
    if facts["signed_reasoning"]:
        parts.append("with signed reasoning")
    return ", ".join(parts)


def _score_in_words(score: dict[str, Any]) -> str:
    parts = [
        f"{part} {score[part]:.2f}"
        for part in ("latency", "throughput", "price", "quality")
        if score[part] is not None
    ]
    if score["trust"] < 1:
        parts.append(f"trust {score['trust']:.2f}")
    if score["cold"]:
        parts.append("hardly known")
    return f"{score['score']:.3f} {score['target']} ({', '.join(parts) or 'nothing known'})"


def _estimate_in_words(estimate: dict[str, Any]) -> str:
    text = f"{estimate['input_tokens']} tokens in"
    if estimate["cost_usd"] is not None:
        text += f" for ${estimate['cost_usd']:.6f}"
    if estimate["most_output_tokens"] is not None:
        text += f", at most {estimate['most_output_tokens']} out"
    if estimate["most_cost_usd"] is not None:
        text += f": ${estimate['most_cost_usd']:.6f} together"
    return text
