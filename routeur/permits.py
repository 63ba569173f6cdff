"""What a virtual key's allow-lists leave of a plan, and of the list of models."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from fnmatch import fnmatchcase

from routeur import body
from routeur.auto import Choice
from routeur.errors import Forbidden
from routeur.facts import Facts
from routeur.rules import SUFFIXES, Plan, Target
from routeur.store.base import Key

# Formats in which the model's name stands in the body, and nowhere else.
NAMED_BY_BODY = frozenset(("openai_chat", "openai_responses", "anthropic"))


def permitted(plan: Plan, facts: Facts, key: Key) -> Plan:
    """The targets of a plan that a key may use; raises Forbidden where none is left.

    A model may be allowed by the name that the request says (an alias, too), by the target's, or
    as `provider/model`.
    """
    if key.allowed_providers is None and key.allowed_models is None:
        return plan
    unread = facts.as_is or facts.route.path == "*"
    if not (facts.route.creates or unread):
        key = replace(key, allowed_models=None)  # of what was made before, no model is asked
    asked = _sure_name(facts) if unread else asked_name(facts)
    whole = plan.choice or Choice(plan.targets, plan.rejected)
    lists = "key", key.allowed_providers, key.allowed_models, asked, unread

    def why_not(target: Target) -> str:
        return forbids(key, Target(target.provider, asked or "") if unread else target, asked)

    choice = whole.subset(lists, why_not)
    if len(choice.kept) == len(whole.kept):
        return plan
    kept = choice.kept
    if plan.targets != whole.kept:  # drawn
        kept = tuple(target for target in plan.targets if target in choice.kept)
    if not kept:
        raise _nothing(key, plan.targets, asked)
    rejected = choice.rejected[len(whole.rejected) :]
    return replace(plan, targets=kept, rejected=plan.rejected + rejected, choice=choice)


def asked_name(facts: Facts) -> str | None:
    """The model's name that decides: the header's, else the body's."""
    if facts.inbound.steers and (name := facts.inbound.word(b"routeur-model")):
        return name
    return facts.model


def _sure_name(facts: Facts) -> str | None:
    """The model of a request that is passed on unread, where the provider takes no other one: it
    may stand in the path, twice in the body, or within a file.
    """
    if facts.lasts or facts.model is None:
        return facts.model
    if facts.method != "POST" or facts.format not in NAMED_BY_BODY:
        return None
    several = [name for name, _, _ in body.members(facts.raw)].count("model") > 1
    return None if several else facts.model


def allows(key: Key, name: str, targets: Sequence[Target]) -> bool:
    """Whether a name in the list of models is one that a key may ask for."""
    return any(not forbids(key, target, name) for target in targets)


def forbids(key: Key, target: Target, asked: str | None) -> str:
    """Why a key may not use a target, or nothing."""
    providers, models = key.allowed_providers, key.allowed_models
    if providers is not None and target.provider not in providers:
        return "is at a provider that this key may not use"
    if models is not None and not any(
        fnmatchcase(name, pattern)
        for pattern in models
        for name in (asked, _base(asked, target), target.model, str(target))
        if name
    ):
        return "is a model that this key may not use"
    return ""


def _base(asked: str | None, target: Target) -> str | None:
    """The name without the order that its suffix asks for, if it is one and not the model's own."""
    base, _, suffix = (asked or "").rpartition(":")
    if suffix not in SUFFIXES or asked in (target.model, str(target)):
        return None
    return base


def _nothing(key: Key, targets: Sequence[Target], asked: str | None) -> Forbidden:
    providers, models = key.allowed_providers, key.allowed_models
    if providers is not None and not any(target.provider in providers for target in targets):
        where = ", ".join(dict.fromkeys(target.provider for target in targets[:5]))
        listed = ", ".join(providers) or "none"
        return Forbidden(
            f"this key may not use {where}: its providers are {listed}",
            code="provider_not_allowed",
        )
    listed = ", ".join(models or ()) or "none"
    what = f'the model "{asked}"' if asked else "a path that names no model"
    return Forbidden(
        f"this key may not use {what}: its models are {listed}",
        code="model_not_allowed",
        param="model" if asked else None,
    )
