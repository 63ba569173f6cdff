"""The rule table: which targets may answer a request, best first."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from random import random
from typing import Any, TypeVar

from routeur.auto import Candidates, Choice, Facts, Target, draw
from routeur.errors import ClientError, NotFound, did_you_mean
from routeur.matching import Match, Row, Rows, Rule, literal
from routeur.names import called, cut, enumerate_words, for_auto, ids, near, vendors
from routeur.providers import Provider

__all__ = ["Facts", "Match", "Plan", "Rule", "Table", "Target"]


@dataclass(frozen=True, slots=True)
class Plan:
    """Targets, best first; why these; and which were left out, as (target, why).

    One that is `lasting` holds for every request with the same names and route, if `choice` fits
    where that is `bound`. `strategy` is the order that is asked for, None: this one; with it
    `explores` lets less known targets have a try. `alias`: the name was not a target's own, so
    that a conversation stays with whom it has. Who follows a plan keeps in `places` what it found:
    many requests have the same one.
    """

    targets: tuple[Target, ...]
    reason: str
    rejected: tuple[tuple[str, str], ...] = ()
    rule: Rule | None = None
    lasting: bool = False
    places: dict[Any, Any] = field(default_factory=dict, compare=False, repr=False)
    choice: Choice | None = field(default=None, compare=False, repr=False)
    bound: bool = False
    strategy: str | None = None
    explores: bool = False
    alias: bool = False


@dataclass(frozen=True, slots=True)
class Name:
    """What a model's name stands for: rules to ask, and who answers where none matches.

    `sort` is the order that its suffix asks for, which `explores` if it is a strategy's. `chosen`:
    the candidates are in no order.
    """

    rows: Rows
    candidates: Candidates | None
    reason: str
    sort: str | None = None
    chosen: bool = False

    @property
    def explores(self) -> bool:
        return self.sort is not None and self.reason != "model"


_NO_ROWS = Rows(())
STRATEGIES = ("balanced", "latency", "throughput", "price", "quality")
# Suffixes of a name: an order for any name, a strategy for aliases.
_ORDERS = {"nitro": "throughput", "floor": "price"}
SUFFIXES = frozenset((*_ORDERS, *STRATEGIES))  # of names, that ask for an order
_REMEMBERED = 4096  # names and plans; clients invent names, so there has to be an end
_LONGEST = 512  # characters of a name; a longer one is nobody's, and would only fill the memory


class Table:
    """Who may answer what. What it remembers is derived from its arguments: it never changes.

    All targets are at `providers`. `random` draws from a rule's `split`, `strategy` is `auto`'s.
    """

    def __init__(
        self,
        providers: Mapping[str, Provider],
        aliases: Mapping[str, tuple[Target, ...]],
        rules: Sequence[Rule],
        auto: tuple[Target, ...] = (),
        random: Callable[[], float] = random,
        *,
        strategy: str = "balanced",
    ) -> None:
        self.providers = dict(providers)
        self._strategy = strategy
        words = [word for rule in rules for word in rule.match.model if literal(word)]
        self.aliases = dict.fromkeys(("auto", *aliases, *words))
        self._lists = {name: self._candidates(targets) for name, targets in aliases.items()}
        self._chosen = bool(auto)
        self._only_echo = all(each.dialect == "echo" for each in providers.values())
        self._auto = Candidates(auto or self._every_model(), self.providers, unnamed=not auto)
        self._random = random
        self._by_model: dict[str, list[Row]] = {}
        self._loose: list[Row] = []
        self._file(rules)
        self._vendors = vendors(self.providers.values())
        self.called = called(self._vendors)
        self._words = sorted({*self.aliases, *ids(self.providers.values())})
        self._names: dict[tuple[str, tuple[str, ...]], Name] = {}
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
        if plan is None or (plan.bound and not (plan.choice and plan.choice.fits(facts))):
            plan = self._decide(facts, provider, vendor, model)
            if plan.lasting:
                _remember(self._plans, key, plan)
        return plan

    def owner(
        self, dialect: str, *, provider: str | None = None, vendor: str | None = None
    ) -> Provider:
        """Who gets a request that names no model: the pinned provider, or the only one there is."""
        pins = self.pins(provider, vendor)
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
            f"{enumerate_words(speakers)}; choose one with the header Routeur-Provider",
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

    def behind(self, name: str) -> tuple[Target, ...]:
        """All targets that a name may lead to, by its rules, too."""
        known = self._name(name)
        own = known.candidates.targets if known.candidates else ()
        found: list[Target] = []
        for row in sorted(known.rows, key=lambda row: row.rank):
            found += row.candidates.targets if row.candidates else own
            if row.unconditional:  # what comes after it is never asked
                break
        else:
            found = [*own, *found]
        return tuple(dict.fromkeys(found))

    def unknown(self, name: str) -> NotFound:
        """The error for a name that nobody answers to."""
        hint = did_you_mean(name, near(name, self._words))
        return NotFound(
            f'unknown model "{cut(name)}"{hint or "; GET /v1/models lists those there are"}',
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
        pins = self.pins(provider, vendor)
        known = self._name(name, pins)
        row = next((row for row in known.rows.matching(facts) if _serves(row, pins)), None)
        candidates = self._meant(name, known, row, pins)
        rule = row.rule if row else None
        reason = f"rule:{rule.name}" if rule else known.reason
        alias = reason != "model"
        whole = candidates.choice(facts)
        choice = whole.able(facts) if alias else whole
        if not choice.kept:
            raise _nobody(choice.rejected, facts)
        strategy, explores = self._order(known, row)
        if pins:
            reason = "header" if provider else "vendor"
        elif model and reason == "model":
            reason = "header"
        lasts = not known.rows and choice is whole and len(facts.model or "") <= _LONGEST
        return Plan(
            self._drawn(choice, rule) if strategy is None else choice.kept,
            reason,
            choice.rejected,
            rule,
            lasts,
            places=whole.notes.setdefault(("places", rule and rule.name), {}),
            choice=choice,
            bound=alias and whole.sized and not known.rows,
            strategy=strategy,
            explores=explores,
            alias=alias,
        )

    def _meant(self, name: str, known: Name, row: Row | None, pins: tuple[str, ...]) -> Candidates:
        """The targets of the rule that matches, else those of the name."""
        candidates = known.candidates
        if row and row.candidates:
            candidates = row.candidates.at(pins) if pins else row.candidates
        if candidates is None:
            raise self._unserved(name, pins) if pins else self.unknown(name)
        return candidates

    def _order(self, known: Name, row: Row | None) -> tuple[str | None, bool]:
        """By what targets are to be ordered, and whether others than the best may have a try."""
        if known.sort:
            return known.sort, known.explores
        if row and (row.rule.strategy or row.rule.sort):
            if not row.rule.split:
                return row.rule.strategy or row.rule.sort, row.rule.strategy is not None
        elif known.chosen and not (row and row.candidates):
            return self._strategy, True
        return None, False

    def _drawn(self, choice: Choice, rule: Rule | None) -> tuple[Target, ...]:
        if rule is None or not rule.split:
            return choice.kept
        return draw([part for part in rule.split if part[0] in choice.kept], self._random)

    def _name(self, name: str, pins: tuple[str, ...] = ()) -> Name:
        """What a name stands for, at these providers if there are any; remembered."""
        known = self._names.get((name, pins))
        if known is None:
            known = self._pinned(name, pins) if pins else self._resolve(name)
            _remember(self._names, (name, pins), known)
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
        return Name(rows, self._auto if self._auto.targets else None, "auto", sort, chosen=True)

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
                return Name(
                    known.rows,
                    chosen if chosen.targets else None,
                    known.reason,
                    sort,
                    known.chosen and chosen is own,
                )
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
            return Candidates(self._every_model(pins), self.providers, unnamed=True)
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
        elif colon and suffix in STRATEGIES and base in self.aliases:
            yield base, suffix

    def pins(self, provider: str | None, vendor: str | None) -> tuple[str, ...]:
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
        hint = did_you_mean(word, near(word, sorted(known)))
        raise NotFound(
            f'header {header}: unknown provider "{cut(word)}"{hint}', code="provider_not_found"
        )

    def _unserved(self, name: str, pins: tuple[str, ...]) -> NotFound:
        words = sorted({model for pin in pins for model in self.providers[pin].models})
        return NotFound(
            f'{enumerate_words(pins)} does not serve "{cut(name)}"'
            f"{did_you_mean(name, near(name, words))}",
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
            if rule.chooses:
                row.candidates = self._auto
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
            for model in for_auto(provider)
        )

    def _candidates(self, targets: Iterable[Target], *, anyone: bool = False) -> Candidates:
        return Candidates(targets, self.providers, anyone=anyone)


def _serves(row: Row, pins: tuple[str, ...]) -> bool:
    """Whether a rule has targets at the pinned providers, if there are any."""
    return not pins or row.candidates is None or bool(row.candidates.at(pins).targets)


def _nobody(rejected: Sequence[tuple[str, str]], facts: Facts) -> ClientError:
    reasons = enumerate_words([f"{target} {why}" for target, why in rejected], "; ")
    if "prompt" in reasons:
        reasons += f" (it has about {facts.tokens()})"
    return ClientError(f"no target can serve this request: {reasons}", code="no_eligible_target")


K = TypeVar("K")
V = TypeVar("V")


def _remember(memory: dict[K, V], key: K, value: V) -> None:
    """Keep what was worked out; forget everything when there is too much of it."""
    if len(memory) >= _REMEMBERED:
        memory.clear()
    memory[key] = value
