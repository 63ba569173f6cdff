"""The lists of models that clients ask for, in the shapes of OpenAI, Anthropic and Gemini."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import orjson

from routeur.errors import ClientError
from routeur.providers import Model
from routeur.rules import Table


@dataclass(frozen=True, slots=True)
class Entry:
    """A name that may be asked for: `owner` is a provider, or `routeur` for aliases."""

    id: str
    owner: str
    model: Model | None = None


def entries(table: Table) -> list[Entry]:
    """`auto`, aliases, then what providers list literally; in the file's order, each name once."""
    listed: dict[str, Entry] = {}
    for alias in table.aliases:
        listed[alias] = find(table, alias)
    for provider in table.providers.values():
        for name, model in provider.models.items():
            listed.setdefault(name, Entry(name, provider.name, model))
    return list(listed.values())


def find(table: Table, id: str) -> Entry:
    """The entry of a name, also of `provider/model` and of names that fit a provider's pattern.

    Raises NotFound.
    """
    if table.is_alias(id):
        return Entry(id, "routeur")
    targets = table.listed(id)
    if not targets:
        raise table.unknown(id)
    provider = table.providers[targets[0].provider]
    return Entry(id, provider.name, provider.models.get(targets[0].model))


def listing(
    table: Table,
    dialect: str,
    allowed: Callable[[Entry], bool] | None = None,
    *,
    limit: int | None = None,
    after_id: str | None = None,
    before_id: str | None = None,
) -> bytes:
    """The whole list; Anthropic's in pages if asked for.

    A page has up to `limit` entries after (or before) an id. Raises ClientError for an id that is
    not in the list, and for limits beyond 1 to 1000.
    """
    found = [entry for entry in entries(table) if allowed is None or allowed(entry)]
    if dialect == "anthropic":
        return orjson.dumps(_page(found, limit, after_id, before_id))
    if dialect == "gemini":
        return orjson.dumps({"models": [_gemini(entry) for entry in found]})
    return orjson.dumps({"object": "list", "data": [_openai(entry) for entry in found]})


def one(table: Table, dialect: str, id: str) -> bytes:
    """One entry. Raises NotFound."""
    entry = find(table, id)
    return orjson.dumps(_SHAPES[dialect](entry))


def _openai(entry: Entry) -> dict[str, Any]:
    # When a model was made is not known here: the epoch, as Anthropic does it.
    return {"id": entry.id, "object": "model", "created": 0, "owned_by": entry.owner}


def _anthropic(entry: Entry) -> dict[str, Any]:
    return {
        "type": "model",
        "id": entry.id,
        "display_name": entry.id,
        "created_at": "1970-01-01T00:00:00Z",
        "lifecycle": "active",
        "max_input_tokens": entry.model.context if entry.model else None,
        "max_tokens": entry.model.output if entry.model else None,
    }


def _gemini(entry: Entry) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "name": f"models/{entry.id}",
        "displayName": entry.id,
        "supportedGenerationMethods": ["generateContent", "streamGenerateContent", "countTokens"],
    }
    if entry.model and entry.model.context:
        shown["inputTokenLimit"] = entry.model.context
    if entry.model and entry.model.output:
        shown["outputTokenLimit"] = entry.model.output
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
