"""The sections `aliases` and `rules`: who may answer what, their targets checked."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from routeur.config_models import ABILITIES, is_glob
from routeur.config_providers import COMMITS, Found, read_timeouts
from routeur.errors import did_you_mean
from routeur.providers import Provider, Timeouts
from routeur.rules import Match, Rule, Target
from routeur.yamlfile import (
    Section,
    Value,
    Wrong,
    boolean,
    choice,
    integer,
    many,
    some_seconds,
    text,
)

SORTS = ("price", "latency", "throughput", "balanced")
STRATEGIES = ("balanced", "latency", "throughput", "price", "quality")


def read_targets(value: Value, found: Found) -> tuple[Target, ...]:
    """A list of `provider/model`, without those whose provider is off."""

    def read(item: Value) -> Target | None:
        return _target(text(item), item, found)

    return tuple(target for target in value.read(many(read), ()) if target)


def read_aliases(top: Section, found: Found) -> dict[str, tuple[Target, ...]]:
    """Names and their targets; () lets `auto` choose."""
    aliases = {}
    for name, value in top.entries("aliases").items():
        aliases[name] = () if value.empty() else read_targets(value, found)
        if not aliases[name] and not value.empty() and value.read(Value.items, []):
            found.notices.append(f"{value.place()}: no target is left; the alias is skipped")
            del aliases[name]
    return aliases


def read_rules(top: Section, found: Found, timeouts: Timeouts) -> tuple[Rule, ...]:
    rules: list[Rule] = []
    lines: dict[str, int] = {}
    value = top.at("rules")
    for item in value.mappings() if value else []:
        with Section.of(item) as section:
            rule = _rule(section, found, timeouts)
            if rule.name in lines:
                where = lines[rule.name]
                section.finding("name", f'"{rule.name}" stands twice; first in line {where}')
            elif not rule.name and not section.has("name"):
                item.finding("expected a name")
            lines.setdefault(rule.name, item.line)
        if rule.to or rule.split or not (section.has("to") or section.has("split")):
            rules.append(rule)
        else:
            found.notices.append(f"{item.place()}: no target is left; the rule is skipped")
    return tuple(rules)


def shadows(
    aliases: Iterable[str], rules: Iterable[Rule], providers: Mapping[str, Provider]
) -> list[str]:
    """A notice for each literal alias that a provider lists as a model, too."""
    literal = [name for rule in rules for name in rule.match.model if not is_glob(name)]
    notices = []
    for name in dict.fromkeys([*aliases, *literal]):
        owner = next((each.name for each in providers.values() if each.lists(name)), None)
        if owner and name != "auto":
            notices.append(f'alias "{name}" hides the model of that name at {owner}')
    return notices


def _target(word: str, value: Value, found: Found) -> Target | None:
    """The target at a place, or None and a notice where its provider is off."""
    provider, slash, model = word.partition("/")
    if not (provider and slash and model):
        raise Wrong(f'expected provider/model, found "{word}"')
    if provider in found.off:
        why = f"provider {provider} is off: {found.off[provider]}"
        found.notices.append(f"{value.place()}: {word} is skipped; {why}")
        return None
    known = [*found.places, *found.on]
    if provider not in known:
        raise Wrong(f'unknown provider "{provider}"{did_you_mean(provider, known)}')
    return Target(provider, model)


def _rule(section: Section, found: Found, timeouts: Timeouts) -> Rule:
    to = section.at("to")
    split = _split(section, found)
    retries, statuses = _retries(section)
    strategy = section.get("strategy", choice(*STRATEGIES), None)
    if section.has("to") and section.has("split"):
        section.finding("split", "expected to or split, not both")
    elif strategy and section.has("split"):
        section.finding("strategy", "expected strategy or split, not both: split draws by weight")
    elif to is None and not section.has("split") and not strategy:
        section.finding("", "expected to (a list of targets) or split (targets and weights)")
    return Rule(
        name=section.get("name", text, ""),
        match=_match(section),
        priority=section.get("priority", integer(-(10**9), 10**9), 0),
        to=read_targets(to, found) if to else (),
        split=split,
        sort=section.get("sort", choice(*SORTS), None),
        strategy=strategy,
        commit=section.get("commit", choice(*COMMITS), None),
        keepalive=section.get("keepalive", some_seconds, None),
        hedge=section.get("hedge", some_seconds, None),
        timeouts=read_timeouts(section, timeouts) if section.has("timeouts") else None,
        retries=retries,
        statuses=statuses,
    )


def _retries(section: Section) -> tuple[int | None, frozenset[int] | None]:
    """Attempts and statuses, as below `retries` at the top; or attempts alone, as a number."""
    value = section.at("retries")
    if value is None or not value.is_mapping():
        return section.get("retries", integer(1, 100), None), None
    with section.section("retries") as given:
        statuses = given.get("statuses", many(integer(400, 599)), None)
        attempts = given.get("attempts", integer(1, 100), None)
    return attempts, None if statuses is None else frozenset(statuses)


def _split(section: Section, found: Found) -> tuple[tuple[Target, int], ...]:
    parts = []
    for word, value in section.entries("split").items():
        try:
            target = _target(word, value, found)
            weight = integer(1)(value)
        except Wrong as wrong:
            value.finding(str(wrong))
        else:
            if target:
                parts.append((target, weight))
    return tuple(parts)


def _match(section: Section) -> Match:
    with section.section("match") as match:
        with match.section("tokens") as tokens:
            more = tokens.get("gt", integer(0), None)
            less = tokens.get("lt", integer(0), None)
        if more is not None and less is not None and more + 1 >= less:
            match.finding("tokens", f"no number is more than {more} and less than {less}")
        return Match(
            model=match.get("model", many(text), ()),
            has=frozenset(match.get("has", many(choice(*ABILITIES)), ())),
            tokens_gt=more,
            tokens_lt=less,
            stream=match.get("stream", boolean, None),
            key=match.get("key", many(text), ()),
            headers={
                name.lower(): value.read(text, "")
                for name, value in match.entries("headers").items()
            },
            path=match.get("path", many(text), ()),
            difficulty=frozenset(match.get("difficulty", many(text), ())),
        )
