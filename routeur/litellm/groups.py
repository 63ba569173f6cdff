"""LiteLLM's deployments as providers with credentials, and its groups of them as rules."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

from routeur.litellm.accounts import Account, by_account, free, hint, merged, named
from routeur.litellm.given import whole_numbers
from routeur.litellm.models import ALL, Deployment
from routeur.litellm.settings import Settings
from routeur.litellm.tables import ANYONE, KINDS
from routeur.presets import presets

_ALONE = "names of a pattern go to its providers in the file's order, without shares and fallbacks"


@dataclass(slots=True)
class Arranged:
    """What goes into the file. `comments` are by the name of a provider, rule or alias."""

    providers: dict[str, dict[str, Any]] = field(default_factory=dict)
    aliases: dict[str, list[str]] = field(default_factory=dict)
    rules: list[dict[str, Any]] = field(default_factory=list)
    patterns: list[tuple[str, str]] = field(default_factory=list)  # and whose they are
    listed: set[str] = field(default_factory=set)  # by presets
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
    # Where LiteLLM finds whose a model is by its name, presets do; lists would hide patterns.
    listing = any(each.kind == ALL for each in deployments) and not any(
        ALL in each.name and each.name != ALL and not each.name.endswith("/*")
        for each in deployments
    )
    names = named(merged(found, apart=settings.sort == "latency"), findings)
    for name, group in names:
        arranged.providers[name] = _provider(group, listing)
        comments = [
            c for account in group for each in account.models.values() for c in each.comments
        ]
        arranged.comments[name] = list(dict.fromkeys(comments))
        for account in group:
            for each in account.models.values():
                each.provider = name
                arranged.taken.add(each.place)
                if ALL in each.local and _rates(each) and len(account.models) > 1:
                    why = "rpm and tpm of a pattern are not kept beside other models"
                    findings.append(f"{each.place}.litellm_params: {why}")
            arranged.taken |= account.again
    for each in deployments:
        if each.kind == ALL:
            _anyone(each, arranged, findings)
    _route([each for each in deployments if each.provider], settings, arranged, findings)
    return arranged


# ---- providers


def _provider(group: Sequence[Account], listing: bool) -> dict[str, Any]:
    """Its settings. `listing`: what has all models is left to its preset, which lists them."""
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
    models = _models(first)
    if not (listing and models == [ALL] and _lists(found)):
        found["models"] = models
    return found


def _lists(provider: dict[str, Any]) -> bool:
    """Whether its preset lists models under names of its own; resellers have others' names."""
    preset = presets().get(provider.get("preset", ""))
    return preset is not None and not any("/" in name for name in preset.models)


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
        own = {} if ALL in local or each.id == local else {"id": each.id}
        found[local] = (own | each.model if ALL not in local else {}) or None
    return found if any(found.values()) else list(found)


def _anyone(each: Deployment, arranged: Arranged, findings: list[str]) -> None:
    """`model: "*"`: whose a model is, LiteLLM knows by its name; here it is listed by presets."""
    arranged.taken.add(each.place)
    added = []
    for kind in ANYONE:
        if kind not in arranged.providers:
            keys = {"api_key": f"${{{KINDS[kind].keys[0]}}}"} if KINDS[kind].keys else {}
            preset = {"preset": KINDS[kind].preset, **keys}
            arranged.providers[kind] = preset if _lists(preset) else preset | {"models": [ALL]}
            arranged.comments[kind] = ['for model_name: "*"']
            added.append(kind)
    why = f"became the usual presets, each with its models: {', '.join(added)}"
    findings.append(f"{each.place}.model_name: {why}; those without a key are off")


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
    for given in arranged.providers.values():
        if "models" not in given:
            arranged.listed |= set(presets()[given["preset"]].models)
    others: dict[str, list[str]] = {}
    for alias, name in settings.aliases.items():
        if name in groups:
            others.setdefault(name, []).append(alias)
        elif target := _by_pattern(name, deployments):
            arranged.aliases[alias] = [target]
        else:
            findings.append(f'{settings.places[alias]}: nobody is called "{name}": left out')
    for each in deployments:
        if ALL in each.local and each.local != ALL:
            arranged.patterns.append((each.local, each.provider))
        if ALL in each.name and (settings.anyone or _shared(each, deployments)):
            findings.append(f"{each.place}.model_name: {_ALONE}")
    for name, group in groups.items():
        tiers = _tiers(group)
        for other in settings.after(name):
            tiers += _behind(other, groups, keyed, deployments, settings.places.get(name), findings)
        _group(name, others.get(name, []), tiers, settings.sort, arranged, findings)
    for name in dict.fromkeys([*settings.fallbacks, *settings.longer]):
        if name in groups:
            continue
        if target := _by_pattern(name, deployments):
            tiers = [[Part(target, 1.0, "")]]
            for other in settings.after(name):
                tiers += _behind(other, groups, keyed, deployments, settings.places[name], findings)
            arranged.aliases[name] = list(dict.fromkeys(tier[0].target for tier in tiers))
        else:
            findings.append(f"{settings.places[name]}: no model is called so: left out")


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


def _behind(
    name: str,
    groups: dict[str, list[Deployment]],
    keyed: dict[str, Deployment],
    deployments: Sequence[Deployment],
    place: str | None,
    findings: list[str],
) -> list[list[Part]]:
    """Who answers for a name that stands in a list of fallbacks: a group, an id, a pattern's."""
    if name in groups:
        return _tiers(groups[name])
    if name in keyed:
        return _tiers([keyed[name]])
    if target := _by_pattern(name, deployments):
        return [[Part(target, 1.0, "")]]
    findings.append(f'{place or "default_fallbacks"}: nobody is called "{name}": left out')
    return []


def _by_pattern(name: str, deployments: Sequence[Deployment]) -> str:
    for each in deployments:
        if ALL in each.name and fnmatchcase(name, each.name):
            prefix = each.name.removesuffix(each.local)
            return f"{each.provider}/{name.removeprefix(prefix)}"
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
    elif len(flat) > 1 and len(tiers) == 1:
        weights = whole_numbers(part.share for part in tiers[0])
        split = dict(zip(flat, weights, strict=True))
        arranged.rules.append({"name": name, "match": match, "split": split})
    else:
        arranged.aliases |= {each: flat for each in names}
        if any(len(tier) > 1 for tier in tiers):
            why = "its deployments are asked in order, not by weight, as others follow them"
            findings.append(f"{tiers[0][0].place}.model_name: {name}: {why}")
            arranged.comments[f"alias {name}"] = ["In LiteLLM the first ones share the calls."]


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
    return (
        bool(named)
        or name in arranged.listed
        or any(
            fnmatchcase(name, pattern) for pattern, other in arranged.patterns if other != provider
        )
    )
