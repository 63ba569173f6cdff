"""The setting `models` of a provider: names, patterns, and what is known of each."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from routeur.providers import Model
from routeur.usage import BUCKETS, SERVICES, Price
from routeur.yamlfile import Section, Value, choice, integer, many, number, text

ABILITIES = ("image", "file", "audio", "tools", "json", "reasoning")

_DEAREST = 1_000_000  # USD per million tokens


def listed(names: Iterable[str]) -> dict[str, Model]:
    return {name: Model(name, name) for name in names}


def is_glob(name: str) -> bool:
    return any(sign in name for sign in "*?[")


def read_models(
    section: Section, usual: Iterable[str]
) -> tuple[dict[str, Model], tuple[str, ...], bool]:
    """Models by name, patterns, and whether any other name is served too; `usual` are those of a
    provider that leaves the setting out.
    """
    value = section.at("models")
    if value is None:
        return listed(usual), (), True
    literal: dict[str, Model] = {}
    globs: list[str] = []
    if value.is_mapping():
        for name, entry in value.read(Value.entries, {}).items():
            if not is_glob(name):
                literal[name] = _model(name, entry)
            elif entry.empty() or not entry.read(Value.entries, {}):
                globs.append(name)
            else:
                entry.finding("a pattern takes no settings; name the model")
    else:
        for name in value.read(many(text), ()):
            if is_glob(name):
                globs.append(name)
            else:
                literal[name] = Model(name, name)
    return literal, tuple(glob for glob in globs if glob != "*"), "*" in globs


def _model(name: str, value: Value) -> Model:
    with Section.of(value) as section:
        return Model(
            name=name,
            id=section.get("id", text, name),
            price=section.get("price", _price, None),
            context=section.get("context", integer(1), None),
            output=section.get("output", integer(1), None),
            has=section.get("has", _abilities, None),
            quality=section.get("quality", number(0, 1), None),
        )


def _price(value: Value) -> Price:
    """All that the model's tokens cost; the catalogue's price does not fill in what is left out."""
    with Section.of(value) as given:
        services = {name: _part(each, True) for name in SERVICES if (each := given.at(name))}
        return Price(**_tokens_cost(given), over=_over(given), services=services)


def _part(value: Value, tiers: bool = False) -> Price:
    """A price within a price: of another speed, or of long prompts."""
    if value.empty() or not value.read(Value.entries, {"": value}):
        value.finding("expected prices, such as {input: 5, output: 15}")
    with Section.of(value) as given:
        return Price(**_tokens_cost(given), over=_over(given) if tiers else {})


def _over(section: Section) -> dict[int, Price]:
    entries = section.entries("over").items()
    return {_more_than(name, value): _part(value) for name, value in entries}


def _tokens_cost(section: Section) -> dict[str, Any]:
    return {name: section.get(name, number(0, _DEAREST), None) for name in BUCKETS}


def _more_than(name: str, value: Value) -> int:
    """The tokens that a prompt has to have more of."""
    if not re.fullmatch("[1-9][0-9]{0,11}", name):
        value.finding(f'expected a whole number of tokens, such as 200000, found "{name}"')
        return 0
    return int(name)


def _abilities(value: Value) -> frozenset[str]:
    return frozenset(many(choice(*ABILITIES))(value))
