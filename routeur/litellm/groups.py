"""LiteLLM's deployments as providers with credentials, and its groups of them as rules."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

from routeur import catalogue
from routeur.litellm.accounts import (
    Account,
    anyone,
    by_account,
    free,
    hint,
    merged,
    named,
    shown,
    spread,
)
from routeur.litellm.given import whole_numbers
from routeur.litellm.models import ALL, Deployment
from routeur.litellm.settings import Settings

_ALONE = "names of a pattern go to its providers in the file's order, without shares and fallbacks"
_RENAMED = "NAME-only and NAME-default are NAME at one provider alone: clients ask for NAME."
# What is added to a name; the second one if the catalogue knows the model by its name alone.
_ENDINGS = ("-only", "-default")
# Where a deployment may have any id, and its name here says what it is.
_CLOUDS = {"azure": "azure", "bedrock": "amazon-bedrock"}
_OFTEN = 1_000_000  # calls, of which a fallback's weight makes it the first one in a few
_BEHIND = "Once in a million calls a fallback is asked first: split has no weight of 0."


@dataclass(slots=True)
class Arranged:
    """What goes into the file. `comments` are by the name of a provider or rule."""

    providers: dict[str, dict[str, Any]] = field(default_factory=dict)
    aliases: dict[str, list[str]] = field(default_factory=dict)
    rules: list[dict[str, Any]] = field(default_factory=list)
    patterns: list[tuple[str, str]] = field(default_factory=list)  # and whose they are
    comments: dict[str, list[str]] = field(default_factory=dict)
    taken: set[str] = field(default_factory=set)  # places of deployments


@dataclass(frozen=True, slots=True)
class Part:
    """A target of a group, and its share of the calls."""

    target: str
    share: float
    place: str


def arrange(deployments: Sequence[Deployment], settings: Settings, findings: list[str]) -> Arranged:
    """All of it; what cannot be said is a finding."""
    arranged = Arranged()
    found = by_account([each for each in deployments if each.kind != ALL], findings)
    groups = merged(found, apart=settings.sort == "latency")
    spread(groups, findings)
    settled: set[str] = set()
    for name, group in named(groups, findings):
        arranged.providers[name] = _provider(group)
        comments = [
            c for account in group for each in account.models.values() for c in each.comments
        ]
        arranged.comments[name] = list(dict.fromkeys(comments))
        arranged.patterns += [(pattern, name) for pattern in group[0].serves if pattern != ALL]
        if group[0].serves:
            settled.add(name)
        for account in group:
            for each in account.models.values():
                each.provider = name
                if each.local != ALL or account.serves:
                    arranged.taken.add(each.place)
                if ALL in each.local and _rates(each) and len(account.models) > 1:
                    why = "rpm and tpm of a pattern are not kept beside other models"
                    findings.append(f"{each.place}.litellm_params: {why}")
            arranged.taken |= account.again
    for each in deployments:
        if each.kind == ALL:
            _anyone(each, settled, arranged, findings)
    _route([each for each in deployments if each.provider], settings, arranged, findings)
    if _rename(arranged.providers, arranged.aliases, arranged.rules):
        arranged.comments["providers"] = [_RENAMED]
    return arranged


# ---- providers


def _provider(group: Sequence[Account]) -> dict[str, Any]:
    """Its settings."""
    first = group[0]
    found = dict(first.shape)
    limited = any(each.rpm or each.tpm for account in group for each in account.models.values())
    if len(group) == 1 and (len(first.models) == 1 or not limited):
        found |= first.account
        found |= _rates(next(iter(first.models.values())))
    else:
        shared = {
            name: value
            for name, value in first.account.items()
            if all(account.account.get(name) == value for account in group)
        }
        found |= shared
        found["credentials"] = _credentials(group, shared)
    found["models"] = _models(first)
    return found


def _rates(each: Deployment) -> dict[str, int]:
    rates = {"rpm": each.rpm, "tpm": each.tpm}
    return {name: rate for name, rate in rates.items() if rate}


def _credentials(group: Sequence[Account], shared: dict[str, Any]) -> list[dict[str, Any]]:
    """Each with its share of every model, and its limits."""
    shares = {
        local: whole_numbers(_shares([account.models[local] for account in group]))
        for local in group[0].models
    }
    alike = len({tuple(each) for each in shares.values()}) == 1
    names: list[str] = []
    found = []
    for index, account in enumerate(group):
        own = {name: value for name, value in account.account.items() if name not in shared}
        own_name = hint(own, account.kind) or ("main" if len(group) == 1 else str(index + 1))
        names.append(free(own_name, names))
        made: dict[str, Any] = {"name": names[-1], **own}
        share = next(iter(shares.values()))[index]
        if alike and share != 1:
            made["weight"] = share
        models = {
            local: ({} if alike else {"weight": shares[local][index]}) | _rates(each)
            for local, each in account.models.items()
            if ALL not in local
        }
        if len(account.models) == 1:
            made |= _rates(next(iter(account.models.values())))
        elif models := {local: each for local, each in models.items() if each}:
            made["models"] = models
        found.append(made)
    return found


def _shares(deployments: Sequence[Deployment]) -> Sequence[float]:
    """Of the calls: by weight, else by rpm, else by tpm, as LiteLLM draws; else all the same."""
    for name in ("weight", "rpm", "tpm"):
        given = [getattr(each, name) for each in deployments]
        if any(given):
            return [share or 0 for share in given]
    return [each.times for each in deployments]


def _models(account: Account) -> list[str] | dict[str, Any]:
    """A list of names where that says all."""
    found: dict[str, Any] = {}
    for local, each in account.models.items():
        own = {} if each.id == local else {"id": each.id}
        if ALL not in local:
            found[local] = own | each.model or None
        for name in account.serves if local == ALL else [local]:
            found.setdefault(name, None)
    return found if any(found.values()) else list(found)


def _anyone(
    each: Deployment, settled: Collection[str], arranged: Arranged, findings: list[str]
) -> None:
    """`model: "*"`: each vendor gets the names of its models."""
    arranged.taken.add(each.place)
    before = {*arranged.providers}
    added = anyone(arranged.providers, settled)
    for name, patterns in added.items():
        arranged.patterns += [(pattern, name) for pattern in patterns]
        if name not in before:
            arranged.comments[name] = ['for model_name: "*"']
    whose = "; ".join(f"{name} ({shown(patterns)})" for name, patterns in added.items())
    others = [name for name, given in arranged.providers.items() if ALL in given["models"]]
    rest = f"go to {others[0]}" if others else "are refused"
    why = f"became {whose}; those without a key are off; names of none of these {rest}"
    findings.append(f"{each.place}.model_name: {why}; resellers want entries of their own")


# ---- rules and aliases


def _route(
    deployments: Sequence[Deployment],
    settings: Settings,
    arranged: Arranged,
    findings: list[str],
) -> None:
    """A rule or an alias for each name that is more than one model of one provider."""
    groups: dict[str, list[Deployment]] = {}
    for each in deployments:
        if ALL not in each.name:
            groups.setdefault(each.name, []).append(each)
    keyed = {each.key: each for each in deployments if each.key}

    def behind(name: str, place: str) -> list[list[Part]]:
        """Who answers for a name in a list of fallbacks: a group, an id, a pattern's."""
        if name in groups:
            return _tiers(groups[name])
        if name in keyed:
            return _tiers([keyed[name]])
        if target := _by_pattern(name, deployments, arranged):
            return [[Part(target, 1.0, "")]]
        findings.append(f'{place}: nobody is called "{name}": left out')
        return []

    others = _aliases(groups, deployments, settings, arranged, findings)
    _note_patterns(deployments, settings, arranged, findings)
    for name, group in groups.items():
        tiers = _tiers(group)
        for other in settings.after(name):
            tiers += behind(other, settings.places.get(name, "default_fallbacks"))
        _group(name, others.get(name, []), tiers, settings.sort, arranged, findings)
    for name in dict.fromkeys([*settings.fallbacks, *settings.longer]):
        if name in groups:
            continue
        if ALL in name:
            findings.append(f"{settings.places[name]}: left out: {_ALONE}")
        elif target := _by_pattern(name, deployments, arranged):
            tiers = [[Part(target, 1.0, "")]]
            for other in settings.after(name):
                tiers += behind(other, settings.places[name])
            arranged.aliases[name] = list(dict.fromkeys(tier[0].target for tier in tiers))
        else:
            findings.append(f"{settings.places[name]}: no model is called so: left out")


def _aliases(
    groups: Mapping[str, object],
    deployments: Sequence[Deployment],
    settings: Settings,
    arranged: Arranged,
    findings: list[str],
) -> dict[str, list[str]]:
    """The other names of each group; those of patterns become aliases at once."""
    others: dict[str, list[str]] = {}
    for alias, name in settings.aliases.items():
        if name in groups:
            others.setdefault(name, []).append(alias)
        elif target := _by_pattern(name, deployments, arranged):
            arranged.aliases[alias] = [target]
        else:
            findings.append(f'{settings.places[alias]}: nobody is called "{name}": left out')
    return others


def _note_patterns(
    deployments: Sequence[Deployment],
    settings: Settings,
    arranged: Arranged,
    findings: list[str],
) -> None:
    """Patterns of the file, and those that only one provider can have here."""
    for each in deployments:
        if ALL in each.local and each.local != ALL:
            arranged.patterns.append((each.local, each.provider))
        if ALL in each.name and (settings.anyone or _shared(each, deployments)):
            findings.append(f"{each.place}.model_name: {_ALONE}")


def _shared(one: Deployment, deployments: Sequence[Deployment]) -> bool:
    """Whether several providers have the same pattern."""
    return any(each.name == one.name and each.provider != one.provider for each in deployments)


def _tiers(group: Sequence[Deployment]) -> list[list[Part]]:
    """Targets by LiteLLM's `order`, each with its credentials' shares together."""
    shares = dict(zip(map(id, group), _shares(group), strict=True))
    found: dict[tuple[float, bool], dict[str, Part]] = {}
    for each in sorted(group, key=lambda each: each.tier):
        tier = found.setdefault(each.tier, {})
        target = f"{each.provider}/{each.local}"
        before = tier[target].share if target in tier else 0.0
        tier[target] = Part(target, before + shares[id(each)], each.place)
    return [list(tier.values()) for tier in found.values()]


def _by_pattern(name: str, deployments: Sequence[Deployment], arranged: Arranged) -> str:
    """The target of a name that a wildcard means, with its prefix or, as LiteLLM knows, without."""
    wild = [(each.name, each.local, each.provider) for each in deployments if ALL in each.name]
    wild += [(pattern, pattern, provider) for pattern, provider in arranged.patterns]
    for pattern, local, provider in sorted(wild, key=lambda each: each[0] == ALL):
        if ALL not in name and fnmatchcase(name, pattern):
            return f"{provider}/{name.removeprefix(pattern.removesuffix(local))}"
    return ""


def _group(
    name: str,
    aliases: Sequence[str],
    tiers: Sequence[Sequence[Part]],
    sort: str,
    arranged: Arranged,
    findings: list[str],
) -> None:
    flat = list(dict.fromkeys(part.target for tier in tiers for part in tier))
    names = [name, *aliases]
    match = {"model": names if aliases else name}
    busy = sort == "throughput" and _has_several(flat[0], arranged)
    if len(flat) == 1 and not busy and not _is_hidden(name, flat[0], arranged):
        arranged.aliases |= {alias: flat for alias in aliases}
    elif len(tiers) == 1 and sort:
        arranged.rules.append({"name": name, "match": match, "to": flat, "sort": sort})
    elif len(tiers[0]) > 1:
        arranged.rules.append({"name": name, "match": match, "split": _split(tiers)})
        if len(tiers) > 1:
            arranged.comments[f"rule {name}"] = [_BEHIND]
            lost = f"; they share by weight, without sort: {sort}" if sort else ""
            why = f"its deployments share the calls, its fallbacks follow them{lost}. {_BEHIND}"
            findings.append(f"{tiers[0][0].place}.model_name: {name}: {why}")
    else:
        arranged.aliases |= {each: flat for each in names}
        if any(len(tier) > 1 for tier in tiers):
            why = "its fallbacks are asked in order, not by weight"
            findings.append(f"{tiers[0][0].place}.model_name: {name}: {why}")


def _split(tiers: Sequence[Sequence[Part]]) -> dict[str, int]:
    """The first ones' shares, and so little for the others that they follow, in their order: one
    is drawn by weight, then come all others, the heaviest first.
    """
    first = whole_numbers(part.share for part in tiers[0])
    times = _OFTEN if len(tiers) > 1 else 1
    found = {part.target: share * times for part, share in zip(tiers[0], first, strict=True)}
    behind = dict.fromkeys(part.target for tier in tiers[1:] for part in tier)
    later = [target for target in behind if target not in found]
    return found | {target: len(later) - place for place, target in enumerate(later)}


def _has_several(target: str, arranged: Arranged) -> bool:
    provider = arranged.providers[target.partition("/")[0]]
    return len(provider.get("credentials", ())) > 1


def _is_hidden(name: str, target: str, arranged: Arranged) -> bool:
    """Whether a name would lead elsewhere if it were not an alias."""
    provider, _, local = target.partition("/")
    if name == "auto" or local != name:
        return True
    head, slash, _ = name.partition("/")
    named = slash and head in arranged.providers and head != provider
    return bool(named) or any(
        fnmatchcase(name, pattern) for pattern, other in arranged.patterns if other != provider
    )


# ---- names that would be hidden: every start would speak of them


def _rename(
    providers: Mapping[str, dict[str, Any]],
    aliases: dict[str, list[str]],
    rules: Iterable[dict[str, Any]],
) -> bool:
    """Rename in all three, so that what reaches a provider stays as it is; False: nothing to do."""
    said = {*aliases, *(name for rule in rules for name in _matched(rule))}
    known = {name for each in providers.values() for name in each.get("models", ())}
    patterns = [name for name in known if "*" in name and name != ALL]
    targets: dict[str, str] = {}
    for provider, given in providers.items():
        new = {}
        for name in given.get("models", ()):
            if name not in said or any(fnmatchcase(name, pattern) for pattern in patterns):
                continue  # where a pattern has it, it is said in any case
            row = _row(name, name, given)
            for other in (f"{name}{ending}" for ending in _ENDINGS):
                if other not in known | said and _row(name, other, given) is row:
                    new[name] = other
                    break
        if new:
            _in_provider(given, new)
            targets |= {f"{provider}/{name}": f"{provider}/{new[name]}" for name in new}
    for alias in aliases:
        aliases[alias] = [targets.get(each, each) for each in aliases[alias]]
    for rule in rules:
        if "split" in rule:
            rule["split"] = {targets.get(each, each): n for each, n in rule["split"].items()}
        else:
            rule["to"] = [targets.get(each, each) for each in rule["to"]]
    return bool(targets)


def _matched(rule: dict[str, Any]) -> list[str]:
    names = rule["match"]["model"]
    return [names] if isinstance(names, str) else names


def _row(name: str, other: str, given: dict[str, Any]) -> catalogue.Row | None:
    """What the catalogue says of a model if it is called otherwise; None where that is all one.

    With a name that says nothing its price would be lost.
    """
    cloud = _CLOUDS.get(given.get("preset") or given.get("dialect", ""))
    if cloud is None:
        return None
    models = given["models"]
    own = (models[name] if isinstance(models, dict) else None) or {}
    return catalogue.find(cloud, own.get("id", name)) or catalogue.find(cloud, other)


def _in_provider(given: dict[str, Any], new: Mapping[str, str]) -> None:
    """The names of its models, and of those that its credentials share."""
    models = given["models"]
    if isinstance(models, list):
        models = dict.fromkeys(models)
    given["models"] = {
        new.get(name, name): {"id": name} | (own or {}) if name in new else own
        for name, own in models.items()
    }
    for credential in given.get("credentials", ()):
        if "models" in credential:
            shares = credential["models"].items()
            credential["models"] = {new.get(name, name): own for name, own in shares}
