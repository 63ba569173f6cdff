"""Routes as values: what they may say, how they become rules, how they are kept and shared."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import fields
from typing import Any

import pytest

from routeur import routes
from routeur.config import parse
from routeur.errors import ClientError
from routeur.routes import Ground, Route, Routes, merged, read_action, read_match, skipped
from routeur.rules import Match, Rule, Table, Target
from routeur.store.base import StoreUnavailable
from routeur.store.memory import Memory, MemoryStore
from tests.fake import PATIENCE

FILE = """
providers:
  a: {dialect: openai, base_url: "http://127.0.0.1:1/v1", models: [x, y]}
  b: {dialect: openai, base_url: "http://127.0.0.1:2/v1", models: [z]}
  waits: {preset: openai}
aliases: {fast: [a/x]}
rules: [{name: of-the-file, priority: 5, match: {model: fast}, to: b/z}]
"""
CONFIG = parse(FILE, "router.yaml", {})
GROUND = Ground(CONFIG.rules, CONFIG.providers, CONFIG.off, strategy="price")


def route(name: str = "r", **given: Any) -> Route:
    known = {
        "id": f"route_{name}",
        "name": name,
        "priority": 0,
        "enabled": True,
        "action_kind": "pin",
        "match": {"requested_model": "fast"},
        "action": {"provider": "a", "model": "y"},
        "created_at": 1.0,
        "updated_at": 1.0,
    }
    return Route(**known | given)


def names(rules: Iterable[Rule]) -> list[str]:
    return [rule.name for rule in rules]


# ---- what is said


def test_every_key_of_a_match_can_be_given() -> None:
    given = {
        "requested_model": ["fast", "gpt-*"],
        "has": "image",
        "tokens": {"gt": 10, "lt": 20},
        "stream": False,
        "key": "team-*",
        "headers": {"X-Tier": "gold"},
        "path": ["/v1/messages"],
        "difficulty": "hard",
    }
    wanted = Match(
        model=("fast", "gpt-*"),
        has=frozenset(["image"]),
        tokens_gt=10,
        tokens_lt=20,
        stream=False,
        key=("team-*",),
        headers={"x-tier": "gold"},
        path=("/v1/messages",),
        difficulty=frozenset(["hard"]),
    )
    assert read_match(given) == wanted
    said = {field.name.partition("_")[0] for field in fields(Match)}
    assert {name.removeprefix("requested_") for name in routes.MATCHES} == said


@pytest.mark.parametrize("given", [{}, None, {"requested_model": None, "tokens": {"gt": None}}])
def test_what_is_left_out_always_holds(given: object) -> None:
    assert read_match(given) == Match()


WRONG = [
    ([], "match", "an object"),
    ("fast", "match", "an object"),
    ({"model": "fast"}, "match.model", 'did you mean "requested_model"?'),
    ({"tokns": {}}, "match.tokns", 'did you mean "tokens"?'),
    ({"zzz": 1}, "match.zzz", "expected requested_model, has,"),
    ({"requested_model": ""}, "match.requested_model", "a string"),
    ({"requested_model": " "}, "match.requested_model", "a string"),
    ({"requested_model": []}, "match.requested_model", "a list of 1"),
    ({"requested_model": [[]]}, "match.requested_model", "a string"),
    ({"requested_model": ["a", 1]}, "match.requested_model", "a string"),
    ({"requested_model": True}, "match.requested_model", "a string"),
    ({"requested_model": "a\nb"}, "match.requested_model", "control"),
    ({"requested_model": "x" * 513}, "match.requested_model", "a string"),
    ({"requested_model": ["x"] * 101}, "match.requested_model", "1 to 100"),
    ({"has": "pictures"}, "match.has", "expected image, file, audio"),
    ({"has": ["imag"]}, "match.has", 'did you mean "image"?'),
    ({"tokens": 5}, "match.tokens", "an object"),
    ({"tokens": {"ge": 5}}, "match.tokens.ge", "unknown member"),
    ({"tokens": {"gt": -1}}, "match.tokens.gt", "at least 0"),
    ({"tokens": {"gt": True}}, "match.tokens.gt", "whole number"),
    ({"tokens": {"lt": 1.5}}, "match.tokens.lt", "whole number"),
    ({"tokens": {"gt": 5, "lt": 6}}, "match.tokens", "more than 5 and less than 6"),
    ({"stream": "true"}, "match.stream", "true or false"),
    ({"stream": 1}, "match.stream", "true or false"),
    ({"headers": ["x"]}, "match.headers", "an object"),
    ({"headers": {"x": 1}}, "match.headers", "names and patterns"),
    ({"headers": {"": "x"}}, "match.headers", "names and patterns"),
    ({"key": {"a": 1}}, "match.key", "a string"),
    ({"path": 5}, "match.path", "a string"),
]


@pytest.mark.parametrize(("given", "param", "text"), WRONG)
def test_wrong_matches(given: object, param: str, text: str) -> None:
    with pytest.raises(ClientError) as caught:
        read_match(given)
    assert (caught.value.status, caught.value.param) == (400, param)
    assert text in caught.value.message


@pytest.mark.parametrize(
    ("kind", "action", "param"),
    [
        ("pinned", {}, "action_kind"),
        (None, {}, "action_kind"),
        (["pin"], {}, "action_kind"),
        ("pin", None, "action.provider"),
        ("pin", "a/y", "action"),
        ("pin", {"provider": "a"}, "action.model"),
        ("pin", {"provider": "a", "model": ""}, "action.model"),
        ("pin", {"provider": 1, "model": "y"}, "action.provider"),
        ("pin", {"provider": "a", "model": "y", "modle": "z"}, "action.modle"),
        ("auto", {"provider": "a", "model": "y"}, "action"),
    ],
)
def test_wrong_actions(kind: object, action: object, param: str) -> None:
    with pytest.raises(ClientError) as caught:
        read_action(kind, action)
    assert (caught.value.status, caught.value.param) == (400, param)


def test_actions() -> None:
    target = {"provider": "a", "model": "y"}
    assert read_action("pin", target) == ("pin", target)
    assert read_action("auto", None) == read_action("auto", {}) == ("auto", {})


# ---- merged with the file


def test_the_file_precedes_what_has_the_same_priority() -> None:
    known = [route("low"), route("same", priority=5), route("later", priority=5)]
    known.append(route("high", priority=9))
    rules = merged(GROUND, known)

    assert names(rules) == ["of-the-file", "low", "same", "later", "high"]
    assert Target("a", "y") in Table(GROUND.providers, CONFIG.aliases, rules).behind("fast")


def test_auto_chooses_among_all_models_or_those_named() -> None:
    (rule,) = merged(
        Ground((), GROUND.providers, {}, "price"), [route(action_kind="auto", action={})]
    )
    assert rule.strategy == "price"
    everything = {Target("a", "x"), Target("a", "y"), Target("b", "z")}
    assert everything <= set(Table(GROUND.providers, {}, [rule]).behind("fast"))
    named = Table(GROUND.providers, {}, [rule], (Target("a", "y"),))
    assert named.behind("fast") == (Target("a", "y"),)


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({}, ""),
        ({"action": {"provider": "gone", "model": "y"}}, "provider gone is not configured"),
        ({"action": {"provider": "waits", "model": "y"}}, "provider waits is off: OPENAI_API_KEY"),
        ({"name": "of-the-file"}, "a rule of the configuration's file has this name"),
        ({"match": {"weather": "fine"}}, 'not understood here: `match`: unknown member "weather"'),
        ({"action_kind": "guess"}, "not understood here: `action_kind`"),
        ({"action": {}}, "not understood here: `action.provider`"),
    ],
)
def test_what_cannot_be_used_is_skipped(given: dict[str, Any], why: str) -> None:
    given = route(**given)
    assert skipped(GROUND, given).startswith(why) and bool(skipped(GROUND, given)) == bool(why)
    assert len(merged(GROUND, [given])) == (1 if why else 2)


def test_what_is_disabled_is_no_rule() -> None:
    assert names(merged(GROUND, [route(enabled=False)])) == ["of-the-file"]


# ---- kept


class Process:
    """One of several that share a store."""

    def __init__(self, memory: Memory) -> None:
        self.store = MemoryStore("p", memory=memory)
        self.changes = 0
        self.said: list[str] = []
        self.routes = Routes(self.store, self.count, self.said.append)

    def count(self) -> None:
        self.changes += 1

    async def add(self, added: Route) -> None:
        def add(known: tuple[Route, ...]) -> Iterable[Route]:
            if any(each.name == added.name for each in known):
                raise routes.conflict("there is one")
            return (*known, added)

        await self.routes.edit(add)


@pytest.fixture
def memory() -> Memory:
    return Memory()


async def test_whoever_makes_one_knows_it_at_once(memory: Memory) -> None:
    here, there = Process(memory), Process(memory)
    await here.add(route("one"))
    assert [each.name for each in here.routes.known] == ["one"]
    assert (here.changes, there.changes) == (1, 0)

    await there.routes.learn()
    assert there.routes.known == here.routes.known
    await there.routes.learn()
    assert there.changes == 1


async def test_a_process_that_starts_knows_all(memory: Memory) -> None:
    await Process(memory).add(route("one"))
    later = Process(memory)
    await later.routes.open()
    later.routes.close()
    assert later.routes.known == (route("one"),)


async def test_others_learn_it_by_themselves(
    memory: Memory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(routes, "EVERY", 0.001)
    here, there = Process(memory), Process(memory)
    learnt = asyncio.Event()
    there.routes._changed = learnt.set
    await there.routes.open()
    await here.add(route("one"))
    async with asyncio.timeout(PATIENCE):
        await learnt.wait()
    there.routes.close()


async def test_two_that_add_one_at_once(memory: Memory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both have read the same before either writes: one of two equal names is refused, and nothing
    is lost of two others.
    """
    here, there = Process(memory), Process(memory)
    put, both = MemoryStore.put, asyncio.Barrier(2)
    first = {here.store, there.store}

    async def together(store: MemoryStore, *given: Any) -> int | None:
        if store in first:
            first.discard(store)
            async with asyncio.timeout(PATIENCE):
                await both.wait()
        return await put(store, *given)

    monkeypatch.setattr(MemoryStore, "put", together)
    made = await asyncio.gather(
        here.add(route("same", id="1")), there.add(route("same", id="2")), return_exceptions=True
    )
    assert sorted(getattr(each, "status", 0) for each in made) == [0, 409]

    first |= {here.store, there.store}
    await asyncio.gather(here.add(route("mine")), there.add(route("yours")))
    await here.routes.learn()
    assert sorted(each.name for each in here.routes.known) == ["mine", "same", "yours"]


async def test_many_at_once_in_one_process(memory: Memory) -> None:
    here = Process(memory)
    await asyncio.gather(*(here.add(route(str(n))) for n in range(100)))
    assert len(here.routes.known) == 100


async def test_who_never_gets_a_turn_hears_so(
    memory: Memory, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def lost(*given: Any) -> None:
        return None

    monkeypatch.setattr(MemoryStore, "put", lost)
    with pytest.raises(ClientError, match="try again") as caught:
        await Process(memory).add(route())
    assert caught.value.code == "conflict"


async def test_there_is_an_end(memory: Memory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(routes, "MOST", 1)
    here = Process(memory)
    await here.add(route("one"))
    with pytest.raises(ClientError, match="delete some first"):
        await here.add(route("two"))
    assert len(here.routes.known) == 1


async def test_what_cannot_be_read_changes_nothing(memory: Memory) -> None:
    here = Process(memory)
    await here.add(route("one"))
    await here.store.put("routes", b'{"routes": [5]}')
    await here.routes.learn()
    await here.routes.learn()
    assert [each.name for each in here.routes.known] == ["one"]
    assert len(here.said) == 1 and "cannot be read" in here.said[0]
    with pytest.raises(ClientError, match="cannot be read"):
        await here.add(route("two"))


async def test_a_store_that_fails(memory: Memory, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is known stays; what was written is no failure, even if it cannot be read back."""
    here = Process(memory)
    await here.add(route("one"))
    values, asked = MemoryStore.values, []

    async def fail(store: MemoryStore, prefix: str) -> Any:
        asked.append(prefix)
        if len(asked) != 1:
            raise StoreUnavailable("the store does not answer")
        return await values(store, prefix)

    monkeypatch.setattr(MemoryStore, "values", fail)
    await here.add(route("two"))
    with pytest.raises(StoreUnavailable):
        await here.add(route("three"))
    assert [each.name for each in here.routes.known] == ["one"]
    monkeypatch.undo()
    await here.routes.learn()
    assert [each.name for each in here.routes.known] == ["one", "two"]
