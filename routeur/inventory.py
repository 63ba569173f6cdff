"""The command `models`: what a configuration has to offer, and what that costs."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

import orjson

from routeur.columns import table, terminal
from routeur.config_models import is_glob
from routeur.providers import Model, Provider
from routeur.rules import Rule, Target
from routeur.usage import BUCKETS, Price

NOTE = "Bans, limits in use and routes made over HTTP are known to the running server alone."
HEAD = ("MODEL", "IN $", "CACHED $", "OUT $", "CONTEXT", "OUTPUT", "QUALITY", "TAKES", "STATE")
_NUMBERS, _TEXTS = range(1, 7), (7, 8, 0)

Options = argparse.Namespace
Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Offer:
    """Of a configuration: providers, why others are off, and the names for what they have."""

    providers: Mapping[str, Provider]
    off: Mapping[str, str]
    aliases: Mapping[str, tuple[Target, ...]]
    rules: Sequence[Rule]


def add(
    commands: argparse._SubParsersAction[argparse.ArgumentParser],
    add_file: Callable[[argparse.ArgumentParser], None],
    offer_of: Callable[[Options], Offer],
) -> None:
    """Add it to a parser. `offer_of` reads the configuration that options name."""
    help = "list what is configured, with prices, sizes and abilities"
    parser = commands.add_parser(
        "models",
        help=help,
        description=f"{help[0].upper()}{help[1:]}. {NOTE}",
        epilog="Prices are US dollars per million tokens; + costs more in long prompts.",
    )
    add_file(parser)
    parser.add_argument(
        "pattern", nargs="?", metavar="PATTERN", help="part of a name, or a glob such as 'gpt-*'"
    )
    parser.add_argument("--json", action="store_true", help="print everything that is known")

    def run(options: Options) -> int:
        found = wanted(inventory(offer_of(options)), options.pattern)
        print(_json(found) if options.json else text(found, terminal()))
        return 0

    parser.set_defaults(run=run)


# ---- what there is


def inventory(offer: Offer) -> Json:
    """Everything by name: models, patterns, providers that are off, aliases and rules."""
    providers = offer.providers.values()
    return {
        "models": [_model(each, name) for each in providers for name in each.models],
        "patterns": [
            {"name": f"{each.name}/{glob}", "provider": each.name, "state": "on"}
            for each in providers
            for glob in (*each.globs, *["*"] * each.any_name)
        ],
        "off": [
            {"name": name, "provider": name, "state": f"off: {why}"}
            for name, why in offer.off.items()
        ],
        "aliases": [
            {"name": name, "targets": _names(targets)} for name, targets in offer.aliases.items()
        ],
        "rules": [_rule(each) for each in sorted(offer.rules, key=lambda each: -each.priority)],
        "note": NOTE,
    }


def _model(provider: Provider, name: str) -> Json:
    model: Model = provider.model(name)
    return {
        "name": f"{provider.name}/{name}",
        "provider": provider.name,
        "id": model.id,
        "price": None if model.price is None else _price(model.price),
        "context": model.context,
        "input": model.input,
        "output": model.output,
        "abilities": None if model.has is None else sorted(model.has),
        "quality": model.quality,
        "released": model.released,
        "state": "on",
    }


def _price(price: Price) -> Json:
    """Of each kind of tokens, as far as it is known; of long prompts and other speeds, too."""
    known: Json = {name: price.usd(name) for name in BUCKETS}
    said = {name: usd for name, usd in known.items() if usd is not None}
    if price.over:
        said["over"] = {str(size): _price(each) for size, each in price.over.items()}
    if price.services:
        said["services"] = {name: _price(each) for name, each in price.services.items()}
    return said


def _rule(rule: Rule) -> Json:
    targets = rule.to or tuple(target for target, _ in rule.split)
    return {
        "name": rule.name,
        "priority": rule.priority,
        "model": list(rule.match.model),
        "targets": _names(targets),
    }


def _names(targets: Iterable[Target]) -> list[str]:
    return [str(target) for target in targets]


def wanted(found: Json, pattern: str | None) -> Json:
    """What has a name that a pattern is part of, or fits, with or without its provider's."""
    if pattern is None:
        return found

    def fits(each: Json) -> bool:
        names = each["name"].lower(), each["name"].partition("/")[2].lower()
        asked = pattern.lower()
        if is_glob(asked):
            return any(fnmatchcase(name, asked) for name in names)
        return asked in names[0]

    return {
        kind: [each for each in rows if fits(each)] if isinstance(rows, list) else rows
        for kind, rows in found.items()
    }


# ---- how it is shown


def text(found: Json, width: int | None) -> str:
    """Tables, in lines of so many characters."""
    parts = []
    rows = [_row(each) for each in found["models"]]
    rows += [_bare(each) for each in (*found["patterns"], *found["off"])]
    if rows:
        parts.append(table(HEAD, rows, right=_NUMBERS, cut=_TEXTS, width=width))
    if aliases := found["aliases"]:
        chosen = [(each["name"], _targets(each) or "auto chooses") for each in aliases]
        parts.append(table(("ALIAS", "TARGETS"), chosen, cut=(1, 0), width=width))
    if rules := found["rules"]:
        head = "RULE", "PRIORITY", "FOR", "TARGETS"
        told = [_told(each) for each in rules]
        parts.append(table(head, told, right=(1,), cut=(3, 2, 0), width=width))
    return "\n\n".join([*parts, NOTE] if parts else ["Nothing has such a name."])


def _row(each: Json) -> tuple[str, ...]:
    price = each["price"] or {}
    more = "+" if "over" in price else ""
    takes = each["abilities"]
    return (
        each["name"],
        *(_usd(price.get(name), more) for name in ("input", "cache_read", "output")),
        *(_number(each[name]) for name in ("context", "output", "quality")),
        "-" if takes is None else " ".join(takes) or "text",
        each["state"],
    )


def _bare(each: Json) -> tuple[str, ...]:
    """A row of which no more is known than its name and state."""
    return (each["name"], *["-"] * 7, each["state"])


def _told(rule: Json) -> tuple[str, ...]:
    models = " ".join(rule["model"]) or "any alias"
    return rule["name"], str(rule["priority"]), models, _targets(rule) or "those of the alias"


def _usd(value: float | None, more: str) -> str:
    return "-" if value is None else f"{value:g}{more}"


def _number(value: float | None) -> str:
    return "-" if value is None else str(value)


def _targets(each: Json) -> str:
    return " ".join(each["targets"])


def _json(value: Json) -> str:
    return orjson.dumps(value, option=orjson.OPT_INDENT_2).decode()
