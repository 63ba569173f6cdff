"""The lists of models that clients ask for, in the shapes of OpenAI, Anthropic and Gemini."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import orjson

from routeur.errors import ClientError, NotFound
from routeur.providers import Model
from routeur.rules import Table, Target
from routeur.usage import Price

# OpenRouter's names for what tokens cost, and ours.
_PRICES = {
    "prompt": "input",
    "completion": "output",
    "input_cache_read": "cache_read",
    "input_cache_write": "cache_write",
    "internal_reasoning": "reasoning",
}

Allowed = Callable[[str, Target], bool]


@dataclass(frozen=True, slots=True)
class Entry:
    """A name that may be asked for: `owner` is a provider, or `routeur` for aliases.

    An alias has `targets`; its `model` is what the best of them can do.
    """

    id: str
    owner: str
    model: Model | None = None
    targets: tuple[Target, ...] = ()


def entries(table: Table) -> list[Entry]:
    """`auto`, aliases, then what providers list literally; in the file's order, each name once."""
    listed: dict[str, Entry] = {}
    for alias in table.aliases:
        listed[alias] = find(table, alias)
    for provider in table.providers.values():
        for name in provider.models:
            listed.setdefault(name, Entry(name, provider.name, provider.model(name)))
    return list(listed.values())


def find(table: Table, id: str) -> Entry:
    """The entry of a name, also of `provider/model` and of names that fit a provider's pattern.

    Raises NotFound.
    """
    if table.is_alias(id):
        return _alias(table, id, table.behind(id))
    targets = table.listed(id)
    if not targets:
        raise table.unknown(id)
    return _listed(table, id, targets[0])


def _listed(table: Table, id: str, target: Target) -> Entry:
    return Entry(id, target.provider, table.providers[target.provider].model(target.model))


def _alias(table: Table, id: str, targets: Sequence[Target]) -> Entry:
    """An alias takes what any of its targets takes: a request is asked of those that can."""
    models = [table.providers[each.provider].model(each.model) for each in targets]
    has = [model.has for model in models if model.has is not None]
    together = Model(
        id,
        id,
        context=_most(model.context for model in models),
        output=_most(model.output for model in models),
        has=frozenset().union(*has) if has and len(has) == len(models) else None,
        input=_most(model.room for model in models),
    )
    return Entry(id, "routeur", together, tuple(targets))


def _most(sizes: Iterable[int | None]) -> int | None:
    return max((size for size in sizes if size is not None), default=None)


def _permitted(table: Table, entry: Entry, allowed: Allowed) -> Entry | None:
    """What is left of an entry for a key that may not use everything."""
    targets = entry.targets or table.behind(entry.id)
    kept = [target for target in targets if allowed(entry.id, target)]
    if len(kept) == len(targets):
        return entry if targets else None
    if not kept:
        return None
    if entry.targets:
        return _alias(table, entry.id, kept)
    return _listed(table, entry.id, kept[0])


def listing(
    table: Table,
    dialect: str,
    allowed: Allowed | None = None,
    *,
    limit: int | None = None,
    after_id: str | None = None,
    before_id: str | None = None,
) -> bytes:
    """The whole list; Anthropic's in pages if asked for. `allowed` says at which targets a name may
    be asked for.

    A page has up to `limit` entries after (or before) an id. Raises ClientError for an id that is
    not in the list, and for limits beyond 1 to 1000.
    """
    found = entries(table)
    if allowed is not None:
        found = [kept for each in found if (kept := _permitted(table, each, allowed))]
    if dialect == "anthropic":
        return orjson.dumps(_page(found, limit, after_id, before_id))
    if dialect == "gemini":
        return orjson.dumps({"models": [_gemini(entry) for entry in found]})
    return orjson.dumps({"object": "list", "data": [_openai(entry) for entry in found]})


def one(table: Table, dialect: str, id: str, allowed: Allowed | None = None) -> bytes:
    """One entry. Raises NotFound."""
    entry: Entry | None = find(table, id)
    if entry is not None and allowed is not None:
        entry = _permitted(table, entry, allowed)
    if entry is None:
        raise NotFound(
            f'this key may not use the model "{id}"', code="model_not_found", param="model"
        )
    return orjson.dumps(_SHAPES[dialect](entry))


def _openai(entry: Entry) -> dict[str, Any]:
    # When a model was made is not known here: the epoch, as Anthropic does it.
    shown: dict[str, Any] = {
        "id": entry.id,
        "object": "model",
        "created": 0,
        "owned_by": entry.owner,
    }
    if entry.model:
        known = {
            "context_length": entry.model.context or entry.model.input,
            "max_output_tokens": entry.model.output,
            "pricing": _pricing(entry.model.price) if entry.model.price else None,
        }
        shown |= {name: value for name, value in known.items() if value is not None}
    return shown | _ours(entry)


def _ours(entry: Entry) -> dict[str, Any]:
    """What no vendor's list says."""
    shown: dict[str, Any] = {}
    if entry.model and entry.model.has is not None:
        shown["abilities"] = sorted(entry.model.has)
    if entry.targets:
        shown |= {"alias": True, "targets": [str(target) for target in entry.targets]}
    return shown


def _pricing(price: Price) -> dict[str, str]:
    """USD per token, as decimals in strings: so OpenRouter says it, and some clients read it."""
    known = {name: price.usd(bucket) for name, bucket in _PRICES.items()}
    return {
        name: f"{(Decimal(str(usd)) / 10**6).normalize():f}"
        for name, usd in known.items()
        if usd is not None
    }


def _anthropic(entry: Entry) -> dict[str, Any]:
    return {
        "type": "model",
        "id": entry.id,
        "display_name": entry.id,
        "created_at": "1970-01-01T00:00:00Z",
        "lifecycle": "active",
        "max_input_tokens": entry.model.room if entry.model else None,
        "max_tokens": entry.model.output if entry.model else None,
    } | _ours(entry)


def _gemini(entry: Entry) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "name": f"models/{entry.id}",
        "displayName": entry.id,
        "supportedGenerationMethods": ["generateContent", "streamGenerateContent", "countTokens"],
    }
    if entry.model and entry.model.room:
        shown["inputTokenLimit"] = entry.model.room
    if entry.model and entry.model.output:
        shown["outputTokenLimit"] = entry.model.output
    if entry.model and entry.model.has is not None:
        shown["thinking"] = "reasoning" in entry.model.has
    if entry.targets:
        shown["description"] = f"An alias: {', '.join(map(str, entry.targets))}"
    return shown


_SHAPES = {"openai": _openai, "anthropic": _anthropic, "gemini": _gemini}


def _page(
    found: list[Entry], limit: int | None, after_id: str | None, before_id: str | None
) -> dict[str, Any]:
    """A page of Anthropic's; `has_more` is about the direction asked for."""
    if limit is not None and not 1 <= limit <= 1000:
        raise ClientError(f"limit: expected 1 to 1000, not {limit}", param="limit")
    ids = [entry.id for entry in found]
    if after_id in ids:  # an id that is not in the list (any more) begins at its start
        found = found[ids.index(after_id) + 1 :]
    if before_id in ids:
        found = found[: ids.index(before_id)]
    size = len(found) if limit is None else limit
    page = found[-size:] if before_id is not None and size < len(found) else found[:size]
    return {
        "data": [_anthropic(entry) for entry in page],
        "has_more": len(page) < len(found),
        "first_id": page[0].id if page else None,
        "last_id": page[-1].id if page else None,
    }
