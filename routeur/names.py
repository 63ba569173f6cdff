"""Names of providers and models: whom they mean, which are near a misspelt one, how many of them
are told.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence

from routeur.providers import Provider

# What a vendor is called where that is not its dialect.
_DIALECT_OF = {"google": "gemini"}
_NEAR = 100  # names compared for "did you mean": difflib takes some 20 µs for each
_NAMED = 10  # names in a message
# How models are called that make vectors, and those that make something else than text.
_VECTORS = re.compile(r"embed|(?:^|[-/])(?:bge|gte|e5|voyage)-")
_OTHERS = re.compile(
    r"whisper|(?:^|[-/])(?:tts|veo|sora|dall-e|imagen|gpt-image|flux|omni-moderation)(?:[-/]|$)"
    r"|-tts(?:-|$)|transcri|moderation|rerank|realtime|stable-diffusion"
)


def for_auto(provider: Provider) -> Iterable[str]:
    if not provider.catalogued:
        return provider.models
    return [provider.default] if provider.default else []


def misplaced(model: str, purpose: str) -> str:
    """Why a model that nobody has named for it is not asked for this, by its name, or nothing."""
    name = model.lower()
    vectors = _VECTORS.search(name) is not None
    if purpose == "embeddings":
        return "" if vectors else "makes no embeddings, by its name"
    if purpose in ("answer", "count") and (vectors or _OTHERS.search(name)):
        return "does not chat, by its name"
    return ""


def vendors(providers: Iterable[Provider]) -> dict[str, tuple[str, ...]]:
    """What `vendor` may say: a provider's own name, else its preset, else its dialect."""
    names: dict[str, tuple[str, ...]] = {}
    presets: dict[str, tuple[str, ...]] = {}
    dialects: dict[str, tuple[str, ...]] = {}
    for provider in providers:
        name = (provider.name,)
        names[provider.name] = name
        if provider.preset:
            presets[provider.preset] = presets.get(provider.preset, ()) + name
        dialects[provider.dialect] = dialects.get(provider.dialect, ()) + name
    for vendor, dialect in _DIALECT_OF.items():
        if dialect in dialects:
            dialects[vendor] = dialects[dialect]
    return {**dialects, **presets, **names}


def called(vendors: Mapping[str, Sequence[str]]) -> dict[str, frozenset[str]]:
    """What each provider may be called, in lower case: what means another one does not count."""
    found: dict[str, set[str]] = {}
    for word, providers in vendors.items():
        for name in providers:
            found.setdefault(name, set()).add(word.lower())
    return {name: frozenset(words) for name, words in found.items()}


def ids(providers: Iterable[Provider]) -> Iterator[str]:
    for provider in providers:
        for model in provider.models:
            yield model
            yield f"{provider.name}/{model}"


def near(word: str, words: list[str]) -> list[str]:
    """Candidates for a misspelt word: all if they are few, else its neighbours in sorted words."""
    if len(word) > 2 * _NEAR:
        return []
    start = max(0, min(bisect_left(words, word) - _NEAR // 2, len(words) - _NEAR))
    return words[start : start + _NEAR]


def enumerate_words(words: Sequence[str], comma: str = ", ") -> str:
    """Words for a message; of many only the first ones."""
    more = len(words) - _NAMED
    return comma.join(words[:_NAMED]) + (f"{comma}and {more} more" if more > 0 else "")


def cut(word: str) -> str:
    return word if len(word) <= 100 else word[:100] + "…"
