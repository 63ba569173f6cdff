"""The rule table: which targets may answer a request, best first."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from random import random
from typing import Any, TypeVar

from routeur.auto import Candidates, Facts, Target, draw
from routeur.dialects.base import Usage
from routeur.errors import ClientError, NotFound, did_you_mean
from routeur.matching import Match, Row, Rows, Rule, literal
from routeur.providers import Provider
from routeur.usage import cost

__all__ = ["Facts", "Match", "Plan", "Rule", "Table", "Target", "explain"]


@dataclass(frozen=True, slots=True)
class Plan:
    """Targets, best first; why these; and which were left out, as (target, why).

    One that is `lasting` holds for every request with the same names and route. Who follows a plan
    keeps in `places` what it found: many requests have the same one.
    """

    targets: tuple[Target, ...]
    reason: str
    rejected: tuple[tuple[str, str], ...] = ()
    rule: Rule | None = None
    lasting: bool = False
    places: dict[Any, Any] = field(default_factory=dict, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Name:
    """What a model's name stands for: rules to ask, and who answers where none matches."""

    rows: Rows
    candidates: Candidates | None
    reason: str
    sort: str | None = None


_NO_ROWS = Rows(())
# Suffixes of a name: an order for any name, a strategy for aliases.
_ORDERS = {"nitro": "throughput", "floor": "price"}
_STRATEGIES = frozenset({"price", "latency", "throughput", "balanced", "quality"})
# What a vendor is called where that is not its dialect.
_DIALECT_OF = {"google": "gemini"}
_REMEMBERED = 4096  # names and plans; clients invent names, so there has to be an end
_LONGEST = 512  # characters of a name; a longer one is nobody's, and would only fill the memory
_NEAR = 100  # names compared for "did you mean": difflib takes some 20 µs for each
_NAMED = 10  # names in a message


class Table:
    """Who may answer what. What it remembers is derived from its arguments: it never changes.

    All targets are at `providers`. `random` draws from a rule's `split`.
    """

    def __init__(
        self,
        providers: Mapping[str, Provider],
        aliases: Mapping[str, tuple[Target, ...]],
        rules: Sequence[Rule],
        auto: tuple[Target, ...] = (),
        random: Callable[[], float] = random,
    ) -> None:
        self.providers = dict(providers)
        words = [word for rule in rules for word in rule.match.model if literal(word)]
        self.aliases = dict.fromkeys(("auto", *aliases, *words))
        self._lists = {name: self._candidates(targets) for name, targets in aliases.items()}
        self._chosen = bool(auto)
        self._only_echo = all(each.dialect == "echo" for each in providers.values())
        self._auto = self._candidates(auto or self._every_model())
        self._random = random
        self._by_model: dict[str, list[Row]] = {}
        self._loose: list[Row] = []
        self._file(rules)
        self._vendors = _vendors(self.providers.values())
        self._words = sorted({*self.aliases, *_ids(self.providers.values())})
        self._names: dict[str, Name] = {}
        self._plans: dict[tuple[str | bool | None, ...], Plan] = {}

    def plan(
        self,
        facts: Facts,
        *,
        provider: str | None = None,
        vendor: str | None = None,
        model: str | None = None,
    ) -> Plan:
        """Targets for a request; the names are the values of the three headers.

        Raises NotFound (model_not_found, provider_not_found) and ClientError (no_eligible_target).
        """
        key = (
            facts.model,
            facts.dialect,
            facts.format,
            facts.purpose,
            provider,
            vendor,
            model,
        )
        plan = self._plans.get(key)
        if plan is None:
            plan = self._decide(facts, provider, vendor, model)
            if plan.lasting:
                _remember(self._plans, key, plan)
        return plan

    def owner(
        self, dialect: str, *, provider: str | None = None, vendor: str | None = None
    ) -> Provider:
        """Who gets a request that names no model: the pinned provider, or the only one there is."""
        pins = self._pins(provider, vendor)
        if len(pins) == 1:
            return self.providers[pins[0]]
        speakers = [
            name
            for name in pins or self.providers
            if self.providers[name].dialect == dialect or self._only_echo
        ]
        if len(speakers) == 1:
            return self.providers[speakers[0]]
        if not speakers:
            message = f"this path names no model, and no provider here speaks {dialect}"
            raise NotFound(message, code="provider_not_found")
        raise NotFound(
            f"this path names no model, and several providers speak {dialect}: "
            f"{_enumerate(speakers)}; choose one with the header Routeur-Provider",
            code="provider_not_found",
        )

    def serve(self, provider: str) -> Provider | None:
        """The provider of a raw path `/{provider}/…`."""
        return self.providers.get(provider)

    def listed(self, name: str) -> tuple[Target, ...]:
        """Who serves a name by what is configured: `provider/model`, or an id that providers list.

        A provider that serves any name answers to its own name only.
        """
        head, slash, tail = name.partition("/")
        named = self.providers.get(head) if slash else None
        if named and named.lists(tail):
            return (Target(head, tail),)
        listing = tuple(
            Target(provider, name) for provider, each in self.providers.items() if each.lists(name)
        )
        if not listing and named and named.any_name and tail:
            return (Target(head, tail),)
        return listing

    def is_alias(self, name: str) -> bool:
        """Whether a name is routeur's own: `auto`, an alias, or a word that only rules know.

        A rule may also name a model that providers list: where it does not match, it is that model.
        """
        if name in self._lists or name == "auto":
            return True
        return name in self.aliases and not self.listed(name)

    def unknown(self, name: str) -> NotFound:
        """The error for a name that nobody answers to."""
        hint = did_you_mean(name, _near(name, self._words))
        return NotFound(
            f'unknown model "{_cut(name)}"{hint or "; GET /v1/models lists those there are"}',
            code="model_not_found",
            param="model",
        )

    def _decide(
        self, facts: Facts, provider: str | None, vendor: str | None, model: str | None
    ) -> Plan:
        name = model or facts.model
        if not name:
            raise ClientError('the request names no model; expected "model"', param="model")
        if len(name) > _LONGEST:
            raise self.unknown(name)
        pins = self._pins(provider, vendor)
        known = self._pinned(name, pins) if pins else self._name(name)
        row = next((row for row in known.rows.matching(facts) if _serves(row, pins)), None)
        candidates = known.candidates
        if row and row.candidates:
            candidates = row.candidates.at(pins) if pins else row.candidates
        if candidates is None:
            raise self._unserved(name, pins) if pins else self.unknown(name)
        reason = f"rule:{row.rule.name}" if row else known.reason
        choice = candidates.choice(facts, known.sort or (row.rule.sort if row else None))
        sized = reason != "model" and choice.sized
        if sized:
            choice = candidates.able(choice, facts)
        if not choice.kept:
            raise _nobody(choice.rejected)
        if pins:
            reason = "header" if provider else "vendor"
        elif model and reason == "model":
            reason = "header"
        targets = self._order(choice.kept, row.rule if row else None)
        lasting = not (known.rows or sized) and len(facts.model or "") <= _LONGEST
        return Plan(targets, reason, choice.rejected, row.rule if row else None, lasting)

    def _order(self, targets: tuple[Target, ...], rule: Rule | None) -> tuple[Target, ...]:
        if rule is None or not rule.split:
            return targets
        return draw([part for part in rule.split if part[0] in targets], self._random)

    def _name(self, name: str) -> Name:
        """What a name stands for where no provider is pinned; remembered."""
        known = self._names.get(name)
        if known is None:
            known = self._resolve(name)
            _remember(self._names, name, known)
        return known

    def _resolve(self, name: str) -> Name:
        base, sort = name, None
        for base, sort in self._readings(name):
            if base in self.aliases:
                return self._alias(base, sort)
            targets = self.listed(base)
            if targets:
                return Name(_NO_ROWS, self._candidates(targets), "model", sort)
        rows = self._rows(base)
        candidates = None
        # A provider that is named and does not serve the model is not replaced by another one.
        head, slash, _ = base.partition("/")
        if not (slash and head in self.providers):
            anyone = [Target(each.name, base) for each in self.providers.values() if each.any_name]
            candidates = self._candidates(anyone, anyone=True) if anyone else None
        if candidates is None and not rows:
            raise self.unknown(name)
        return Name(rows, candidates, "model", sort)

    def _alias(self, name: str, sort: str | None) -> Name:
        """The rules of an alias, and its own list, or where that is empty `auto`'s."""
        rows = self._rows(name)
        if not self.is_alias(name):
            return Name(rows, self._candidates(self.listed(name)), "model", sort)
        own = self._lists.get(name)
        if own and own.targets:
            return Name(rows, own, f"alias:{name}", sort)
        return Name(rows, self._auto if self._auto.targets else None, "auto", sort)

    def _pinned(self, name: str, pins: tuple[str, ...]) -> Name:
        """What a name stands for at these providers."""
        base, sort = name, None
        for base, sort in self._readings(name):
            here = (target for pin in pins if (target := self._local(pin, base)))
            listing = self._candidates(here)
            if base in self.aliases:
                known = self._name(base)
                own = self._alias_at(known, pins)
                chosen = own if own.targets else listing
                return Name(known.rows, chosen if chosen.targets else None, known.reason, sort)
            if listing.targets:
                return Name(_NO_ROWS, listing, "model", sort)
        anyhow = [
            Target(pin, base.removeprefix(f"{pin}/"))
            for pin in pins
            if self.providers[pin].any_name
        ]
        return Name(
            _NO_ROWS, self._candidates(anyhow, anyone=True) if anyhow else None, "model", sort
        )

    def _alias_at(self, known: Name, pins: tuple[str, ...]) -> Candidates:
        """What an alias stands for at these providers, its rules aside."""
        if known.reason == "auto" and not self._chosen:
            return self._candidates(self._every_model(pins))
        return known.candidates.at(pins) if known.candidates else self._candidates(())

    def _local(self, pin: str, name: str) -> Target | None:
        """A name that a provider lists, given as it stands or as `provider/model`."""
        provider = self.providers[pin]
        for local in (name, name.removeprefix(f"{pin}/")):
            if provider.lists(local):
                return Target(pin, local)
        return None

    def _readings(self, name: str) -> Iterator[tuple[str, str | None]]:
        """A name as it stands, then without its suffix, and the order which that asks for."""
        yield name, None
        base, colon, suffix = name.rpartition(":")
        if colon and suffix in _ORDERS:
            yield base, _ORDERS[suffix]
        elif colon and suffix in _STRATEGIES and base in self.aliases:
            yield base, suffix

    def _pins(self, provider: str | None, vendor: str | None) -> tuple[str, ...]:
        """The providers that a header names; () if none does."""
        if provider:
            if provider in self.providers:
                return (provider,)
            header, word, known = "Routeur-Provider", provider, list(self.providers)
        elif vendor and vendor != "auto":
            if vendor in self._vendors:
                return self._vendors[vendor]
            header, word, known = "vendor", vendor, list(self._vendors)
        else:
            return ()
        hint = did_you_mean(word, _near(word, sorted(known)))
        raise NotFound(
            f'header {header}: unknown provider "{_cut(word)}"{hint}', code="provider_not_found"
        )

    def _unserved(self, name: str, pins: tuple[str, ...]) -> NotFound:
        words = sorted({model for pin in pins for model in self.providers[pin].models})
        return NotFound(
            f'{_enumerate(pins)} does not serve "{_cut(name)}"'
            f"{did_you_mean(name, _near(name, words))}",
            code="model_not_found",
            param="model",
        )

    def _rows(self, name: str) -> Rows:
        """The rules that a name may meet: those for any name concern aliases only."""
        alias = name in self.aliases
        loose = (row for row in self._loose if (row.model(name) if row.model else alias))
        rows = sorted((*self._by_model.get(name, ()), *loose), key=lambda row: row.rank)
        return Rows(rows) if rows else _NO_ROWS

    def _file(self, rules: Sequence[Rule]) -> None:
        """Rules in their order, by the names they match; those with patterns or any name apart."""
        ordered = sorted(rules, key=lambda rule: -rule.priority)
        for rank, rule in enumerate(ordered):
            row = Row(rank, rule, self.providers)
            words = rule.match.model
            if words and all(map(literal, words)):
                for word in dict.fromkeys(words):
                    self._by_model.setdefault(word, []).append(row)
            else:
                self._loose.append(row)

    def _every_model(self, pins: Sequence[str] = ()) -> tuple[Target, ...]:
        """All that the configuration lists literally; of a catalogue's models one is enough.

        `echo` counts where it is alone, or asked for.
        """
        return tuple(
            Target(name, model)
            for name, provider in self.providers.items()
            if (name in pins if pins else provider.dialect != "echo" or self._only_echo)
            for model in _for_auto(provider)
        )

    def _candidates(self, targets: Iterable[Target], *, anyone: bool = False) -> Candidates:
        return Candidates(targets, self.providers, anyone=anyone)


def explain(
    plan: Plan, facts: Facts, providers: Mapping[str, Provider], request_id: str
) -> dict[str, Any]:
    """The answer to a dry run: who would answer, why, and what the input would cost (USD)."""
    first = plan.targets[0]
    model = providers[first.provider].models.get(first.model)
    tokens = facts.tokens()
    return {
        "routeur": {
            "request_id": request_id,
            "requested_model": facts.model,
            "provider": first.provider,
            "model": first.model,
            "route_reason": plan.reason,
            "targets": [str(target) for target in plan.targets],
            "rejected": [{"target": target, "why": why} for target, why in plan.rejected],
            "estimate": {
                "input_tokens": tokens,
                "cost_usd": cost(Usage(input=tokens), model.price if model else None),
            },
        }
    }


def _for_auto(provider: Provider) -> Iterable[str]:
    if not provider.catalogued:
        return provider.models
    return [provider.default] if provider.default else []


def _serves(row: Row, pins: tuple[str, ...]) -> bool:
    """Whether a rule has targets at the pinned providers, if there are any."""
    return not pins or row.candidates is None or bool(row.candidates.at(pins).targets)


def _vendors(providers: Iterable[Provider]) -> dict[str, tuple[str, ...]]:
    """What `vendor` may say: a provider's own name, else its preset, else its dialect."""
    names: dict[str, tuple[str, ...]] = {}
    presets: dict[str, tuple[str, ...]] = {}
    dialects: dict[str, tuple[str, ...]] = {}
    for provider in providers:
        name = (provider.name,)
        names[provider.name] = name
        if provider.preset:
            presets[provider.preset] = presets.get(provider.preset, ()) + name
        dialects[provider.dialect] = dialects.get(provider.dialect, ()) + name
    for vendor, dialect in _DIALECT_OF.items():
        if dialect in dialects:
            dialects[vendor] = dialects[dialect]
    return {**dialects, **presets, **names}


def _ids(providers: Iterable[Provider]) -> Iterator[str]:
    for provider in providers:
        for model in provider.models:
            yield model
            yield f"{provider.name}/{model}"


def _near(word: str, words: list[str]) -> list[str]:
    """Candidates for a misspelt word: all if they are few, else its neighbours in sorted words."""
    if len(word) > 2 * _NEAR:
        return []
    start = max(0, min(bisect_left(words, word) - _NEAR // 2, len(words) - _NEAR))
    return words[start : start + _NEAR]


def _nobody(rejected: Sequence[tuple[str, str]]) -> ClientError:
    facts = _enumerate([f"{target} {why}" for target, why in rejected], "; ")
    return ClientError(f"no target can serve this request: {facts}", code="no_eligible_target")


def _enumerate(words: Sequence[str], comma: str = ", ") -> str:
    """Words for a message; of many only the first ones."""
    more = len(words) - _NAMED
    return comma.join(words[:_NAMED]) + (f"{comma}and {more} more" if more > 0 else "")


def _cut(word: str) -> str:
    return word if len(word) <= 100 else word[:100] + "…"


K = TypeVar("K")
V = TypeVar("V")


def _remember(memory: dict[K, V], key: K, value: V) -> None:
    """Keep what was worked out; forget everything when there is too much of it."""
    if len(memory) >= _REMEMBERED:
        memory.clear()
    memory[key] = value
