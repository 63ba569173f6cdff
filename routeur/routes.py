"""Rules that are made over HTTP: kept in the store, known to every process within a second."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

import msgspec

from routeur.config_models import ABILITIES
from routeur.errors import ClientError, NotFound, did_you_mean
from routeur.providers import Provider
from routeur.rules import Match, Rule, Target
from routeur.store.base import Store, StoreUnavailable
from routeur.yamlfile import one_of

EVERY = 0.5  # seconds between two looks at what has become of them
MOST = 1000  # of them; every process reads all when one has changed
LARGEST = 1 << 20  # bytes of all of them in the store
LONGEST_TEXT = 512  # characters
MOST_WORDS = 100  # in a list
_PLACE = "routes"  # in the store, all in one value: so names stay unique, whoever adds one
_TRIES = 50

PIN, AUTO = "pin", "auto"
OF_FILE = "route_file_"  # how the ids of the file's rules begin
MATCHES = tuple("requested_model has tokens stream key headers path difficulty".split())

Json = dict[str, Any]


class Route(msgspec.Struct, frozen=True):
    """A rule as it is kept: `match` and `action` as they were given, moments in Unix seconds."""

    id: str
    name: str
    priority: int
    enabled: bool
    action_kind: str
    match: Json
    action: Json
    created_at: float
    updated_at: float


class _Document(msgspec.Struct):
    routes: tuple[Route, ...] = ()


@dataclass(frozen=True, slots=True)
class Ground:
    """What the configuration says: its rules, its providers and why others are off, and by which
    strategy `auto` chooses.
    """

    rules: Sequence[Rule]
    providers: Mapping[str, Provider]
    off: Mapping[str, str]
    strategy: str = "balanced"
    names: frozenset[str] = field(init=False, repr=False)  # of its rules

    def __post_init__(self) -> None:
        object.__setattr__(self, "names", frozenset(rule.name for rule in self.rules))


class Routes:
    """All of them, the oldest first; `changed` is called when others are in force now.

    `say` gets what an operator has to know.
    """

    def __init__(
        self, store: Store, changed: Callable[[], None], say: Callable[[str], None]
    ) -> None:
        self.known: tuple[Route, ...] = ()
        self._store = store
        self._changed = changed
        self._say = say
        self._version = 0
        self._learning = asyncio.Lock()
        self._editing = asyncio.Lock()
        self._watching: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Before the first request. Raises StoreUnavailable."""
        await self.learn()
        self._watching = asyncio.create_task(self._watch())

    def close(self) -> None:
        if self._watching is not None:
            self._watching.cancel()

    async def learn(self) -> None:
        """Take over what has changed, whoever has changed it. Raises StoreUnavailable."""
        async with self._learning:  # else an older answer of the store could come last
            held, version = await self._held()
            if version == self._version:
                return
            self._version = version
            try:
                self.known = _read(held)
            except msgspec.MsgspecError:
                self._say("the routes in the store cannot be read: the old ones stay in force")
            else:
                self._changed()

    async def edit(self, change: Callable[[tuple[Route, ...]], Iterable[Route]]) -> None:
        """Replace all of them by what `change` makes of them: nobody else does so meanwhile.

        Raises StoreUnavailable, and ClientError (conflict), besides what `change` raises.
        """
        async with self._editing:
            for _ in range(_TRIES):
                held, version = await self._held()
                try:
                    routes = _read(held)
                except msgspec.MsgspecError:
                    raise conflict("the routes in the store cannot be read: mend them") from None
                made = _written(tuple(change(routes)))
                if await self._store.put(_PLACE, made, version) is not None:
                    break
            else:
                raise conflict("others change routes all the time: try again")
        with suppress(StoreUnavailable):  # then it is learnt a moment later
            await self.learn()

    async def _held(self) -> tuple[bytes, int]:
        return (await self._store.values(_PLACE)).get(_PLACE, (b"", 0))

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(EVERY)
            with suppress(StoreUnavailable):
                await self.learn()


def _read(held: bytes) -> tuple[Route, ...]:
    return msgspec.json.decode(held, type=_Document).routes if held else ()


def _written(routes: tuple[Route, ...]) -> bytes:
    made = msgspec.json.encode(_Document(routes))
    if len(routes) > MOST or len(made) > LARGEST:
        raise conflict(f"there is room for {MOST} routes of {LARGEST >> 20} MiB: delete some first")
    return made


def conflict(message: str, param: str | None = None) -> ClientError:
    return ClientError(message, status=409, code="conflict", param=param)


# ---- from routes to rules


def merged(ground: Ground, routes: Sequence[Route]) -> list[Rule]:
    """The file's rules, then those of routes that are in force; a table sorts them by priority."""
    used = [each for each in routes if each.enabled and not skipped(ground, each)]
    return [*ground.rules, *(_rule(ground, each) for each in used)]


def _rule(ground: Ground, route: Route) -> Rule:
    match = read_match(route.match)
    if route.action_kind == AUTO:
        return Rule(route.name, match, route.priority, strategy=ground.strategy, chooses=True)
    target = Target(route.action["provider"], route.action["model"])
    return Rule(route.name, match, route.priority, to=(target,))


def skipped(ground: Ground, route: Route) -> str:
    """Why a route is not asked although it is enabled, or nothing."""
    if route.name in ground.names:
        return "a rule of the configuration's file has this name"
    try:
        read_match(route.match)
        kind, action = read_action(route.action_kind, route.action)
    except ClientError as error:  # kept by another version
        return f"not understood here: {error.message}"
    provider = action.get("provider", "")
    if kind == AUTO or provider in ground.providers:
        return ""
    if provider in ground.off:
        return f"provider {provider} is off: {ground.off[provider]}"
    return f"provider {provider} is not configured"


def file_id(rule: Rule) -> str:
    """The id of a rule of the file: its name's, as it has no other."""
    return f"{OF_FILE}{sha256(rule.name.encode()).hexdigest()[:16]}"


# ---- what requests say


def known_provider(ground: Ground, name: str) -> None:
    """Raises NotFound for a provider that the configuration does not have; one that is off is
    known.
    """
    known = [*ground.providers, *ground.off]
    if name not in known:
        raise NotFound(
            f'`action.provider`: unknown provider "{name}"{did_you_mean(name, known)}',
            code="provider_not_found",
            param="action.provider",
        )


def read_action(kind: object, action: object) -> tuple[str, Json]:
    """Whether a target is pinned or `auto` chooses, and the target. Raises ClientError."""
    if kind not in (PIN, AUTO):
        raise ClientError("`action_kind` must be pin or auto", param="action_kind")
    given = _object(action, "action")
    if kind == AUTO:
        if given:
            raise ClientError("`action` must be {} where `action_kind` is auto", param="action")
        return AUTO, {}
    _only(given, ("provider", "model"), "action")
    for name in ("provider", "model"):
        if not _is_word(given.get(name)):
            what = "name a provider, and the model there, as in {provider: openai, model: gpt-4o}"
            raise ClientError(f"`action.{name}` is missing: {what}", param=f"action.{name}")
    return PIN, given


def read_match(value: object) -> Match:
    """What a request must be like: the keys of a rule's `match`. Raises ClientError."""
    given = _object(value, "match")
    _only(given, MATCHES, "match")
    tokens = _object(given.get("tokens"), "match.tokens")
    _only(tokens, ("gt", "lt"), "match.tokens")
    more, less = _count(tokens, "gt"), _count(tokens, "lt")
    if more is not None and less is not None and more + 1 >= less:
        text = f"`match.tokens`: no number is more than {more} and less than {less}"
        raise ClientError(text, param="match.tokens")
    return Match(
        model=_words(given, "requested_model"),
        has=_abilities(given),
        tokens_gt=more,
        tokens_lt=less,
        stream=_stream(given),
        key=_words(given, "key"),
        headers=_headers(given),
        path=_words(given, "path"),
        difficulty=frozenset(_words(given, "difficulty")),
    )


def _object(value: object, where: str) -> Json:
    """A JSON object without the members that are null."""
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise ClientError(f"`{where}` must be an object", param=where)
    return {name: each for name, each in value.items() if each is not None}


def _only(given: Json, known: Sequence[str], where: str) -> None:
    for name in given:
        if name not in known:
            near = did_you_mean("requested_model" if name == "model" else name, known)
            text = f'`{where}`: unknown member "{name}"{near or f"; expected {one_of((*known,))}"}'
            raise ClientError(text, param=f"{where}.{name}")


def _words(given: Json, name: str) -> tuple[str, ...]:
    """One word or a list of them; () where there is none."""
    value = given.get(name, [])
    words = value if isinstance(value, list) else [value]
    if len(words) > MOST_WORDS or not all(map(_is_word, words)) or (name in given and not words):
        what = f"a string, or a list of 1 to {MOST_WORDS}, without control characters"
        raise ClientError(f"`match.{name}` must be {what}", param=f"match.{name}")
    return tuple(words)


def _is_word(value: object) -> bool:
    if not isinstance(value, str):
        return False
    return value.isprintable() and not value.isspace() and 0 < len(value) <= LONGEST_TEXT


def _abilities(given: Json) -> frozenset[str]:
    words = _words(given, "has")
    for word in words:
        if word not in ABILITIES:
            near = did_you_mean(word, ABILITIES)
            text = f'`match.has`: expected {one_of(ABILITIES)}, found "{word}"{near}'
            raise ClientError(text, param="match.has")
    return frozenset(words)


def _count(tokens: Json, name: str) -> int | None:
    value = tokens.get(name)
    if value is None:
        return None
    if type(value) is not int or value < 0:
        where = f"match.tokens.{name}"
        raise ClientError(f"`{where}` must be a whole number of at least 0", param=where)
    return int(value)


def _stream(given: Json) -> bool | None:
    value = given.get("stream")
    if value is None or isinstance(value, bool):
        return value
    raise ClientError("`match.stream` must be true or false", param="match.stream")


def _headers(given: Json) -> Mapping[str, str]:
    headers = _object(given.get("headers"), "match.headers")
    if len(headers) > MOST_WORDS or not all(map(_is_word, (*headers, *headers.values()))):
        what = f"an object of at most {MOST_WORDS} names and patterns"
        raise ClientError(f"`match.headers` must be {what}", param="match.headers")
    return {name.lower(): value for name, value in headers.items()}
