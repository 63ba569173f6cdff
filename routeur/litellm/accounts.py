"""Deployments by account, what the accounts are called, and what their wildcards stand for."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from routeur.litellm.models import ALL, Deployment
from routeur.litellm.tables import ANYONE, KINDS, NAMES, OWN, RESERVED, Kind
from routeur.presets import presets

# Words of hosts and variables that tell nobody which account it is.
_COMMON = frozenset(
    "api key base url www com net org io ai openai azure cognitiveservices token http https".split()
)
_SHOWN = 8  # names in a finding
_VARIABLE = re.compile(r"\$\{(\w+)[^}]*\}")


@dataclass(slots=True)
class Account:
    """Deployments of one account, by the names that its models have here."""

    kind: str
    shape: dict[str, Any]
    account: dict[str, Any]
    models: dict[str, Deployment] = field(default_factory=dict)
    name: str = ""  # that names of models ask for, as `groq/*` does
    again: set[str] = field(default_factory=set)  # places of deployments that stand twice
    serves: list[str] = field(default_factory=list)  # what its wildcard stands for


# ---- accounts


def by_account(deployments: Sequence[Deployment], findings: list[str]) -> list[Account]:
    """Deployments by account, each with the name that it gets there."""
    found: dict[str, Account] = {}
    names = {each.name for each in deployments}
    for each in deployments:
        local, forced = _local(each)
        if not local:
            why = "left out: such a pattern cannot be rewritten here"
            findings.append(f"{each.place}.model_name: {why}")
            continue
        key = _frozen([each.kind, each.shape, each.account])
        if forced and key in found and found[key].name not in ("", forced):
            key += forced
        account = found.setdefault(key, Account(each.kind, each.shape, each.account))
        account.name = forced or account.name
        known = account.models.get(local)
        if known and known.id != each.id:
            local = free(each.id, names) if each.id not in account.models else each.id
            known = account.models.get(local)
        if known:
            _add(known, each)
            account.again.add(each.place)
            findings.append(f"{each.place}: is {known.place} again: taken once")
            continue
        each.local = local
        account.models[local] = each
    return list(found.values())


def _add(known: Deployment, again: Deployment) -> None:
    """One that stands twice has both its shares and limits."""
    known.times += again.times
    known.rpm = (known.rpm or 0) + (again.rpm or 0) or None
    known.tpm = (known.tpm or 0) + (again.tpm or 0) or None
    if known.weight is not None or again.weight is not None:
        known.weight = (known.weight or 0) + (again.weight or 0)


def _local(each: Deployment) -> tuple[str, str]:
    """The model's name at its provider, and what the provider has to be called, if it matters.

    Nothing for a pattern that would have to be rewritten.
    """
    if ALL not in each.name:
        return (each.name, "") if ALL not in each.id else ("", "")
    if each.name == each.id:
        return each.name, ""
    head, slash, tail = each.name.partition("/")
    name = re.fullmatch(r"[\w.-]+", head) and head not in RESERVED
    if slash and name and tail == each.id:
        return tail, head
    return "", ""


def merged(accounts: Sequence[Account], *, apart: bool) -> list[list[Account]]:
    """Accounts with the same models are credentials of one provider; `apart`, none are."""
    found: dict[str, list[Account]] = {}
    for index, account in enumerate(accounts):
        models = {local: [each.id, each.model, each.tier] for local, each in account.models.items()}
        key = _frozen([account.kind, account.shape, models, account.name, index if apart else 0])
        found.setdefault(key, []).append(account)
    return list(found.values())


def _frozen(value: Any) -> str:
    return json.dumps(value, sort_keys=True)


# ---- wildcards: the names that a provider gets, so that no other company's come


def spread(groups: Sequence[Sequence[Account]], findings: list[str]) -> None:
    """Say what each wildcard serves. `*` is one provider's at most: unknown names go there.

    It is that of `model_name: "*"`, else that of the first server of one's own.
    """
    wild = [group for group in groups if ALL in group[0].models]
    every = [group for group in wild if group[0].models[ALL].name == ALL]
    own = [group for group in wild if _is_own(group[0].models[ALL])]
    holder = next(iter([*every, *own]), None)
    for group in wild:
        each = group[0].models[ALL]
        names = [ALL] if group is holder else _names(each)
        for pattern in _elsewhere(group, groups):
            names = [left for name in names for left in _without(name, pattern)]
        for account in group:
            account.serves = names
        findings.append(f"{each.place}.model_name: {_said(each, names)}")


def _elsewhere(group: Sequence[Account], groups: Sequence[Sequence[Account]]) -> list[str]:
    """Patterns that the file has for other providers: LiteLLM prefers them to a wildcard."""
    others = [other[0].models for other in groups if other is not group]
    return [local for models in others for local in models if ALL in local and local != ALL]


def _without(name: str, pattern: str) -> list[str]:
    """`gpt-*` without `gpt-4o*`: `gpt-[!4]*` and `gpt-4[!o]*`. What begins otherwise is left."""
    own, other = name.removesuffix(ALL), pattern.removesuffix(ALL)
    if pattern in (ALL, other) or ALL in other:
        return [name]
    if own.startswith(other):
        return []
    if name == own or ALL in own or not other.startswith(own):
        return [name]
    return [f"{other[:end]}[!{other[end]}]*" for end in range(len(own), len(other))]


def _is_own(each: Deployment) -> bool:
    """Whether it is nobody's but the user's: a server, or an account with names of one's own."""
    return each.kind in OWN or (each.kind == "openai" and "preset" not in each.shape)


def _names(each: Deployment) -> list[str]:
    return [] if _is_own(each) else known_names(each.kind)


def known_names(kind: str) -> list[str]:
    """What models of a provider are called: a vendor's own patterns, else as the preset has them.

    Whose names begin with companies, as `qwen/`, may have all of those, but of LiteLLM's prefixes
    only what is known, as `openai/gpt*`.
    """
    if kind in NAMES:
        return list(NAMES[kind])
    preset = presets().get(KINDS[kind].preset)
    found = []
    for name in preset.models if preset else ():
        head, slash, tail = name.partition("/")
        if not slash or head == kind:
            found.append(name)
        elif head.lower() in KINDS:
            family = re.match(r"[a-z]*", tail, re.IGNORECASE)
            found.append(f"{head}/{family[0] if family else ''}*")
        else:
            found.append(f"{head}/*")
    return list(dict.fromkeys(found))


def _said(each: Deployment, names: Sequence[str]) -> str:
    label = each.kind if each.name == ALL else each.name.removesuffix(f"/{ALL}")
    if not names and _names(each):
        return f"{label} gets no names: the file has other patterns for all of them"
    if not names:
        return (
            f"{label} gets no names: only one provider may take any name here, "
            "or prompts could reach another one; list its models by hand"
        )
    if names == [ALL] and each.name == ALL:
        return f"all names that no other provider lists go to {label}"
    if names == [ALL]:
        rest = "without it all names that nobody else lists, or that are of a provider without key"
        return f"any name after {label}/ goes there, and {rest}"
    what = f"{label} gets {shown(names)}, with {label}/ before them or without"
    return f"{what}; other names after {label}/ are refused: add them to its models"


def shown(names: Sequence[str]) -> str:
    more = len(names) - _SHOWN
    return ", ".join(names[:_SHOWN]) + (f" and {more} more" if more > 0 else "")


def anyone(providers: dict[str, dict[str, Any]], settled: Collection[str]) -> dict[str, list[str]]:
    """`model: "*"`: whose a model is, LiteLLM knows by its name. Add to the providers who gets
    which, but for those that are `settled`; returns the names by provider.
    """
    found = {}
    for kind in ANYONE:
        known, names = KINDS[kind], known_names(kind)
        given = providers.setdefault(kind, _preset(known))
        models = given.get("models", [])
        if kind in settled or given.get("preset") != known.preset or ALL in models:
            continue
        others = [each["models"] for name, each in providers.items() if name != kind]
        for pattern in [name for each in others for name in each if ALL in name]:
            names = [left for name in names for left in _without(name, pattern)]
        found[kind] = [name for name in names if name not in models]
        if isinstance(models, dict):
            given["models"] = models | dict.fromkeys(found[kind])
        else:
            given["models"] = [*models, *found[kind]]
    return found


def _preset(known: Kind) -> dict[str, Any]:
    keys = {"api_key": f"${{{known.keys[0]}}}"} if known.keys else {}
    return {"preset": known.preset, **keys}


# ---- names


def named(groups: Sequence[list[Account]], findings: list[str]) -> list[tuple[str, list[Account]]]:
    """Providers by name, in the file's order: LiteLLM's own, with a hint where several have it."""
    taken: dict[str, list[Account]] = {"echo": []}
    names: dict[int, str] = {}
    kinds = Counter(group[0].kind for group in groups)
    for forced in (True, False):
        for index, group in enumerate(groups):
            if bool(group[0].name) is not forced:
                continue
            if forced and group[0].name in taken:
                place = next(iter(group[0].models.values())).place
                why = f"left out: there is a provider {group[0].name} already, with other settings"
                findings.append(f"{place}: {why}")
                continue
            wanted = group[0].name or _wanted(group, kinds[group[0].kind])
            names[index] = free(wanted, taken)
            taken[names[index]] = group
    return [(names[index], group) for index, group in enumerate(groups) if index in names]


def _wanted(group: Sequence[Account], alike: int) -> str:
    """`azure`; `azure-europe` where several are `alike`; the host's name of one's own server."""
    first = group[0]
    found = hint(first.account, first.kind) if len(group) == 1 else ""
    if first.kind == "openai" and "preset" not in first.shape:
        return found or "server"
    return f"{first.kind}-{found}" if found and alike > 1 else first.kind


def hint(account: dict[str, Any], kind: str) -> str:
    """What tells one account from others: a region, a host, a word of a variable's name."""
    for name in ("region", "location", "base_url", "api_key"):
        value = str(account.get(name, ""))
        if match := _VARIABLE.fullmatch(value) or _VARIABLE.match(value):
            words = match[1].lower().split("_")
        elif name == "base_url":
            words = _host(value)
        elif name == "api_key":
            continue
        else:
            words = [value]
        skip = _COMMON | {*kind.split("_")}
        if words := [word for word in words if word and word not in skip]:
            return "-".join(re.sub(r"[^\w-]", "-", word) for word in words)
    return ""


def _host(url: str) -> list[str]:
    """The words of a name for a host; an address of numbers has none, but its port and path."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        return []
    if re.fullmatch(r"[\d.]+|localhost|.*:.*", host):
        words = ["local"] if re.match(r"127\.|localhost|::1|0\.0\.0\.0", host) else ["server", host]
        path = [word for word in parts.path.split("/") if not re.fullmatch(r"(v\d\w*)?", word)]
        return [*words, *([str(port)] if port else []), *path[:1]]
    labels = [label for label in host.split(".") if label not in _COMMON]
    return labels[:1] if labels else [host]


def free(wanted: str, taken: Iterable[str]) -> str:
    """A name that nobody has."""
    used = {*taken, *RESERVED}
    if wanted not in used:
        return wanted
    return next(name for n in range(2, len(used) + 3) if (name := f"{wanted}-{n}") not in used)
