"""OpenRouter's words in a body: `models`, `route` and `provider` say who may answer, and in which
order.

They are understood here and taken out before a provider sees the body; OpenRouter itself gets them
as they came, and heeds them. Members of these names that are something else are left alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import orjson

from routeur import body
from routeur.auto import Target
from routeur.dialects.base import Json
from routeur.errors import ClientError, did_you_mean
from routeur.providers import Provider
from routeur.usage import Price

SORTS = ("price", "throughput", "latency")
_MEMBERS = ("models", "route", "provider")
MOST_MODELS = 32
_LONGEST = 512  # characters of a name

_KNOWN = "order only ignore sort allow_fallbacks require_parameters max_price".split()
# Promises that only OpenRouter can make for its providers, and the values that ask for none.
_PROMISES: dict[str, tuple[Any, ...]] = {
    "data_collection": ("allow",),
    "zdr": (False,),
    "enforce_distillable_text": (False,),
    "quantizations": ([],),
}
# Wishes, after which OpenRouter sorts and removes nobody.
_WISHES = ("preferred_min_throughput", "preferred_max_latency")
_PRICES = ("prompt", "completion", "request")
# What OpenRouter calls a provider where presets have another name.
_SLUGS = {
    "amazon-bedrock": "bedrock",
    "google-vertex": "vertex",
    "google-ai-studio": "google",
    "moonshotai": "moonshot",
    "z-ai": "zai",
}


@dataclass(frozen=True, slots=True)
class MaxPrice:
    """The most that is to be paid: USD per million tokens; None is any price."""

    prompt: float | None = None
    completion: float | None = None


@dataclass(frozen=True, slots=True)
class Words:
    """What a body says about who may answer.

    `models` are further names, to be tried in this order after the body's `model`; with `nameless`
    it has none. `order`, `only` and `ignore` are providers' names in lower case. `promises` and
    `unknown` are paths of what routeur does not do, or know. `members` are the body's that say all
    this.
    """

    members: frozenset[str]
    models: tuple[str, ...] = ()
    nameless: bool = False
    order: tuple[str, ...] = ()
    only: tuple[str, ...] = ()
    ignore: tuple[str, ...] = ()
    sort: str | None = None
    allow_fallbacks: bool = True
    require_parameters: bool = False
    max_price: MaxPrice | None = None
    promises: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()

    def names(self, model: str | None) -> tuple[str, ...]:
        """The names to find targets for, best first."""
        first = () if self.nameless or not model else (model,)
        return tuple(dict.fromkeys((*first, *self.models)))


@dataclass(frozen=True, slots=True)
class About:
    """What words may be about: a provider's names (lower case), a model's price, and whether it is
    OpenRouter, which heeds them itself.
    """

    names: frozenset[str]
    price: Price | None = None
    openrouter: bool = False


@dataclass(frozen=True, slots=True)
class Applied:
    """Targets in the order asked for, and those left out, as (target, why)."""

    targets: tuple[Target, ...]
    rejected: tuple[tuple[str, str], ...] = ()


def read(doc: Json) -> Words | None:
    """The words in a body, None where there are none; raises ClientError for what is none of them.

    What other APIs may call so (a `provider` that is a string, say) is not touched; null says
    nothing, and is taken out.
    """
    if "models" not in doc and "provider" not in doc and "route" not in doc:
        return None
    said: dict[str, Any] = {}
    found = {name for name in _MEMBERS if name in doc and doc[name] is None}
    models = doc.get("models")
    if isinstance(models, list) and all(isinstance(each, str) for each in models):
        found.add("models")
        said["models"] = _models(models)
        said["nameless"] = "model" not in doc and bool(models)
    if doc.get("route") == "fallback":
        found.add("route")
    provider = doc.get("provider")
    if isinstance(provider, dict):
        found.add("provider")
        said |= _provider(provider)
    return Words(frozenset(found), **said) if found else None


def take_out(raw: bytes, words: Words) -> bytes:
    """The body without the words; every other byte stays. `raw` has passed `body.parse`.

    In one without a `model`, the first of `models` takes their place.
    """
    kept: list[bytes] = []
    head, before = b"", 0
    named = not words.nameless
    for number, (name, _, end) in enumerate(body.members(raw)):
        opens = raw.index(b'"', before)  # nothing but a comma and space stands before a name
        gap, before = raw[before:opens], end
        if number == 0:
            head = gap
        member = raw[opens:end]
        if name == "models" and not named:
            named = True
            member = b'"model":' + orjson.dumps(words.models[0])
        elif name in words.members:
            continue
        kept += (gap, member) if kept else (member,)
    return b"".join((head, *kept, raw[before:]))


def about(provider: Provider, names: frozenset[str], price: Price | None) -> About:
    """What words may be about at a provider; `price` is its model's."""
    return About(names, price, provider.preset == "openrouter")


def apply(words: Words, targets: Iterable[Target], known: Callable[[Target], About]) -> Applied:
    """The targets that the words leave, in their order; raises ClientError for unknown words.

    Sorting is for who knows what was measured; `require_parameters` is for who translates.
    """
    found = [(target, known(target)) for target in targets]
    if words.unknown and not any(each.openrouter for _, each in found):
        raise _unknown(words.unknown[0])
    kept, rejected = [], []
    for target, each in found:
        if why := against(words, each):
            rejected.append((str(target), why))
        else:
            kept.append((_place(words, each), target))
    kept.sort(key=lambda pair: pair[0])
    if not words.allow_fallbacks and not words.order:
        rejected += [(str(target), _FALLBACK) for _, target in kept[1:]]
        kept = kept[:1]
    return Applied(tuple(target for _, target in kept), tuple(rejected))


_FALLBACK = "is a fallback, which provider.allow_fallbacks forbids"


def against(words: Words, each: About) -> str:
    """Why a provider may not be asked, or nothing."""
    if each.openrouter:
        return ""
    if words.only and not each.names & set(words.only):
        return "is not in provider.only"
    if each.names & set(words.ignore):
        return "is in provider.ignore"
    if words.order and not words.allow_fallbacks and not each.names & set(words.order):
        return _FALLBACK
    if words.unknown:
        return f"does not know {words.unknown[0]}"
    if words.promises:
        return f"cannot promise {words.promises[0]}, as OpenRouter can"
    return _too_dear(words.max_price, each.price) if words.max_price else ""


def _too_dear(most: MaxPrice, price: Price | None) -> str:
    for word, limit, each in (
        ("prompt", most.prompt, price.input if price else None),
        ("completion", most.completion, price.output if price else None),
    ):
        if limit is None:
            continue
        if each is None:
            return f"has no known price, and provider.max_price.{word} is {limit:g}"
        if each > limit:
            return f"costs {each:g} USD, more than provider.max_price.{word} ({limit:g})"
    return ""


def _place(words: Words, each: About) -> int:
    """Its place in `order`; those that are not in it come last, as they were."""
    places = [place for place, name in enumerate(words.order) if name in each.names]
    return places[0] if places else len(words.order)


def _models(given: list[str]) -> tuple[str, ...]:
    if len(given) > MOST_MODELS:
        raise ClientError(f"`models` has more than {MOST_MODELS} names", param="models")
    if not all(name.strip() and len(name) <= _LONGEST for name in given):
        message = f"`models` must be names of at most {_LONGEST} characters, none of them empty"
        raise ClientError(message, param="models")
    return tuple(dict.fromkeys(given))


def _provider(given: Json) -> dict[str, Any]:
    """What `provider` says; null says nothing."""
    said: dict[str, Any] = {}
    promises, unknown = [], []
    for word, value in given.items():
        if value is None or word in _WISHES:
            continue
        match word:
            case "order" | "only" | "ignore":
                said[word] = _providers(word, value)
            case "allow_fallbacks" | "require_parameters":
                if type(value) is not bool:
                    raise _wrong(word, "true or false")
                said[word] = value
            case "sort":
                said[word] = _sort(value)
            case "max_price":
                said[word], more = _max_price(value)
                promises += more
            case _ if word in _PROMISES:
                promises += [] if value in _PROMISES[word] else [f"provider.{word}"]
            case _:
                unknown.append(f"provider.{word[:100]}")
    return {**said, "promises": tuple(promises), "unknown": tuple(unknown)}


def _providers(word: str, value: Any) -> tuple[str, ...]:
    """Names as providers have them here: OpenRouter's slugs may end in a variant."""
    if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
        raise _wrong(word, "a list of providers' names")
    slugs = (each.strip().lower().partition("/")[0].replace(" ", "-") for each in value)
    return tuple(dict.fromkeys(_SLUGS.get(slug, slug) for slug in slugs))


def _sort(value: Any) -> str:
    """`price`, or {"by": "price"}."""
    by = value.get("by") if isinstance(value, dict) else value
    if by not in SORTS:
        raise _wrong("sort", " or ".join(SORTS))
    return str(by)


def _max_price(value: Any) -> tuple[MaxPrice, list[str]]:
    """The prices, and those that are of something else than tokens."""
    if not isinstance(value, dict):
        raise _wrong("max_price", "an object such as {prompt: 1, completion: 2}")
    limits = {name: _number(name, each) for name, each in value.items() if each is not None}
    others = [f"provider.max_price.{name[:100]}" for name in limits if name not in _PRICES]
    return MaxPrice(limits.get("prompt"), limits.get("completion")), others


def _number(name: str, value: Any) -> float:
    """A price, which OpenRouter's clients also send as a string."""
    try:
        found = float(value) if type(value) in (int, float, str) else -1.0
    except (ValueError, OverflowError):
        found = -1.0
    if not 0 <= found < float("inf"):
        raise _wrong(f"max_price.{name[:100]}", "a price in USD per million tokens")
    return found


def _wrong(word: str, expected: str) -> ClientError:
    return ClientError(f"`provider.{word}` must be {expected}", param=f"provider.{word}")


def _unknown(path: str) -> ClientError:
    word = path.partition(".")[2]
    known = (*_KNOWN, *_PROMISES)
    hint = did_you_mean(word, known) or f"; expected one of {', '.join(_KNOWN)}"
    return ClientError(f"unknown `{path}`{hint}", param=path)
