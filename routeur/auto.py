"""Choosing among targets: what a request needs, which targets can serve it, and in which order."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from routeur.addressing import spoken, unfit
from routeur.providers import Model, Provider


@dataclass(frozen=True, slots=True)
class Target:
    """A provider and a model there, by the name the configuration gives it."""

    provider: str
    model: str

    def __str__(self) -> str:
        return f"{self.provider}/{self.model}"


class Facts(Protocol):
    """What is known of a request before it is sent.

    `dialect` is `openai`, `anthropic` or `gemini`, `format` that of the route, `purpose` what
    providers of other dialects can be asked for, too; `key` is the key's name; `headers` finds
    names in any case. `has` (its parts) and `tokens` (an estimate of the prompt) are computed when
    first asked for.
    """

    model: str | None
    stream: bool
    dialect: str
    format: str | None
    key: str | None
    path: str

    @property
    def purpose(self) -> str: ...

    @property
    def headers(self) -> Mapping[str, str]: ...

    def has(self) -> frozenset[str]: ...

    def tokens(self) -> int: ...


@dataclass(frozen=True, slots=True)
class Choice:
    """What is left of some targets for one dialect and format, in order.

    `context` is the smallest context (tokens) of those that say one, `abilities` what all those
    that say so can take.
    """

    kept: tuple[Target, ...]
    rejected: tuple[tuple[str, str], ...]
    context: int | None
    abilities: frozenset[str] | None

    @property
    def sized(self) -> bool:
        """Whether it depends on the request who can take it."""
        return self.context is not None or self.abilities is not None

    def fits(self, facts: Facts) -> bool:
        """Whether all can take a request by its parts and its size."""
        if self.abilities is not None and not facts.has() <= self.abilities:
            return False
        return self.context is None or facts.tokens() <= self.context


class Candidates:
    """The targets of one rule, alias or name; sifted once per dialect, format and order.

    `anyone`: nobody lists the name; then those come first that need no translation.
    """

    __slots__ = ("_anyone", "_choices", "_providers", "targets")

    def __init__(
        self,
        targets: Iterable[Target],
        providers: Mapping[str, Provider],
        *,
        anyone: bool = False,
    ) -> None:
        self.targets = tuple(dict.fromkeys(targets))
        self._anyone = anyone
        self._providers = providers
        self._choices: dict[tuple[str, str | None, str, str | None], Choice] = {}

    def at(self, pins: Sequence[str]) -> Candidates:
        """The targets at these providers."""
        here = (target for target in self.targets if target.provider in pins)
        return Candidates(here, self._providers)

    def choice(self, facts: Facts, sort: str | None) -> Choice:
        """Those that can be asked in the request's dialect and format, in the order asked for."""
        kind = facts.dialect, facts.format, facts.purpose
        choice = self._choices.get((*kind, sort))
        if choice is None:
            choice = self._choices[*kind, sort] = self._sift(*kind, sort)
        return choice

    def able(self, choice: Choice, facts: Facts) -> Choice:
        """Those of a choice that can take the request's parts and size."""
        if choice.fits(facts):
            return choice
        why = {target: unable(self._model(target), facts) for target in choice.kept}
        kept = tuple(target for target in choice.kept if not why[target])
        rejected = tuple((str(target), reason) for target, reason in why.items() if reason)
        return Choice(kept, choice.rejected + rejected, choice.context, choice.abilities)

    def _sift(self, dialect: str, format: str | None, purpose: str, sort: str | None) -> Choice:
        why = {target: self._unfit(target, dialect, format, purpose) for target in self.targets}
        kept = [target for target in self.targets if not why[target]]
        if self._anyone:
            kept.sort(key=lambda target: self._translates(target, format, purpose))
        # Throughput, latency and balance have no measurements yet: these keep the given order.
        if sort == "price":
            kept.sort(key=lambda target: _price(self._model(target)))
        models = [model for target in kept if (model := self._model(target))]
        contexts = [model.context for model in models if model.context is not None]
        abilities = [model.has for model in models if model.has is not None]
        return Choice(
            tuple(kept),
            tuple((str(target), reason) for target, reason in why.items() if reason),
            min(contexts, default=None),
            frozenset.intersection(*abilities) if abilities else None,
        )

    def _unfit(self, target: Target, dialect: str, format: str | None, purpose: str) -> str:
        provider = self._providers[target.provider]
        id = provider.id_of(target.model)
        return unfit(provider, id, dialect, format, purpose)

    def _translates(self, target: Target, format: str | None, purpose: str) -> bool:
        provider = self._providers[target.provider]
        return spoken(provider, provider.id_of(target.model), format, purpose) != format

    def _model(self, target: Target) -> Model | None:
        return self._providers[target.provider].models.get(target.model)


def unable(model: Model | None, facts: Facts) -> str:
    """Why a model cannot take this request, by what is known of it, or nothing."""
    if model is None:
        return ""
    if model.has is not None and not facts.has() <= model.has:
        return "cannot take " + ", ".join(sorted(facts.has() - model.has))
    if model.context is not None and facts.tokens() > model.context:
        return f"takes {model.context} tokens, the prompt has about {facts.tokens()}"
    return ""


def _price(model: Model | None) -> float:
    """To sort by: three parts of input and one of output, as prompts are longer than answers."""
    price = model.price if model else None
    if price is None or price.input is None:
        return math.inf
    return 3 * price.input + (price.output or 0.0)


def draw(split: Sequence[tuple[Target, int]], random: Callable[[], float]) -> tuple[Target, ...]:
    """One target drawn by weight, then the others, heaviest first."""
    point = random() * sum(weight for _, weight in split)
    drawn = 0
    for place, (_, weight) in enumerate(split):
        if point < weight:
            drawn = place
            break
        point -= weight
    rest = sorted((*split[:drawn], *split[drawn + 1 :]), key=lambda part: -part[1])
    return (split[drawn][0], *(target for target, _ in rest))
