"""Deployments by account, and what the accounts are called here."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from routeur.litellm.models import ALL, Deployment
from routeur.litellm.tables import RESERVED

# Words of hosts and variables that tell nobody which account it is.
_COMMON = frozenset(
    "api key base url www com net org io ai openai azure cognitiveservices token http https".split()
)
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
        if local == ALL and forced:
            why = f"became all names of provider {forced}: those without the prefix go there, too"
            findings.append(f"{each.place}.model_name: {why}, if nobody else has them")
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
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        return []
    if re.fullmatch(r"[\d.]+|localhost|.*:.*", host):
        return [host, str(port)] if port else [host]
    labels = [label for label in host.split(".") if label not in _COMMON]
    return labels[:1] if labels else [host]


def free(wanted: str, taken: Iterable[str]) -> str:
    """A name that nobody has."""
    used = {*taken, *RESERVED}
    if wanted not in used:
        return wanted
    return next(name for n in range(2, len(used) + 3) if (name := f"{wanted}-{n}") not in used)
