"""Whose conversations are whose, between processes."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path
from typing import Any

import pytest

from routeur.auto import Target
from routeur.sharing import ABROAD, NEWS, SLOTS, Sharing
from routeur.stickiness import TTL, Binding, Stickiness
from routeur.store import make
from routeur.store.base import Store, StoreUnavailable
from routeur.store.memory import Memory, MemoryStore
from tests.fake import PATIENCE
from tests.program import Program, ask
from tests.redis_server import Server
from tests.stores import Hands

WHO = Binding(Target("p", "m"), "p.eu")


def id_of(number: int) -> bytes:
    return number.to_bytes(16, "big")


class Routeur:
    """One process of a machine: its conversations, and its line to others."""

    def __init__(
        self, memory: Memory | None, name: str, home: str = "", store: Store | None = None
    ) -> None:
        self.clock = Hands()
        self.sticky = Stickiness(tells=True)
        self.told: list[dict[str, Any]] = []
        self.line = Sharing(self.sticky, self.told.append, self.clock, home or name)
        self.store = self.line._store = store or MemoryStore(name, memory=memory)

    def keep(self, number: int) -> None:
        self.sticky.keep(id_of(number), WHO, self.clock.steady())

    def has(self, number: int) -> bool:
        return self.sticky.find(id_of(number), self.clock.steady()) == WHO

    async def speak(self) -> None:
        self.line._say()
        await self.line._speak(self.store)

    async def listen(self) -> None:
        await self.line._listen(self.store)


@pytest.fixture
def memory() -> Memory:
    return Memory()


async def test_workers_are_told_over_their_bus(memory: Memory) -> None:
    one, other = Routeur(memory, "one"), Routeur(memory, "other")
    one.keep(1)
    one.line._say()
    one.line._say()
    (news,) = one.told
    assert news["do"] == NEWS
    other.line.hear(news)

    assert other.has(1)
    assert other.sticky.heard(frozenset((WHO.target,)), other.clock.steady())
    assert not other.sticky.heard(frozenset((Target("p", "x"),)), other.clock.steady())
    other.line._say()
    assert other.told == []  # what was heard is not told on


async def test_other_machines_read_the_store(memory: Memory) -> None:
    one, other = Routeur(memory, "one"), Routeur(memory, "other")
    neighbour = Routeur(memory, "neighbour", home="one")
    for number in range(SLOTS + 1):
        one.keep(number)
        await one.speak()
    await other.listen()
    await neighbour.listen()

    assert [other.has(number) for number in range(SLOTS + 1)] == [False, True, True, True]
    assert not any(neighbour.has(number) for number in range(SLOTS + 1))  # it has a bus
    other.sticky._known.clear()
    await other.listen()
    assert not other.has(2)  # each batch once
    await one.speak()
    one.keep(7)
    await one.speak()
    await other.listen()
    assert other.has(7)


@pytest.mark.parametrize("known", [True, False])
async def test_what_one_that_was_killed_has_left_is_cleared_away(
    memory: Memory, known: bool
) -> None:
    one, other = Routeur(memory, "one"), Routeur(memory, "other")
    one.keep(1)
    await one.speak()
    if known:
        await other.listen()
    other.clock.go(2 * TTL + 1)
    await other.listen()

    assert not other.has(1)
    assert await other.store.values(f"{NEWS}/") == {}
    await other.listen()
    assert other.line._heard == {}


@pytest.mark.parametrize("raw", [b"", b"?", b"A", b"AAAA\n", b"\xff\n\n"])
async def test_what_is_damaged_is_cleared_away(memory: Memory, raw: bytes) -> None:
    other = Routeur(memory, "other")
    await other.store.put(f"{NEWS}/one/one/0", raw)
    await other.listen()

    assert await other.store.values(f"{NEWS}/") == {}


async def test_machines_with_a_common_redis(redis_server: Server) -> None:
    """The same as above, with what is really between them."""
    stores = [make(redis_server.url, name) for name in ("one", "other")]
    one, other = (Routeur(None, store.owner, store=store) for store in stores)
    for store in stores:
        await store.open()
    try:
        for number in range(SLOTS):
            one.keep(number)
            await one.speak()
        await other.listen()
        assert all(map(other.has, range(SLOTS)))
        one.line._task = asyncio.create_task(asyncio.sleep(0))
        await one.line.close()
        assert await other.store.values(f"{NEWS}/one/") == {}
    finally:
        for store in stores:
            await store.close()


async def test_it_speaks_by_itself_and_leaves_nothing(
    memory: Memory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("routeur.sharing.EVERY", 0.001)
    one, other = Routeur(memory, "one"), Routeur(memory, "other")
    failing = iter([StoreUnavailable("away")])
    put = one.store.put

    async def fails_once(*given: Any) -> int | None:
        for error in failing:
            raise error
        return await put(*given)

    monkeypatch.setattr(one.store, "put", fails_once)
    one.line.start(one.store)
    other.line.start(other.store)
    for number in range(1, 4):
        one.keep(number)
        await asyncio.sleep(0.001 * ABROAD)
    async with asyncio.timeout(PATIENCE):
        while not other.has(3):  # noqa: ASYNC110 - it is another task of the same loop
            await asyncio.sleep(0.001)
    await one.line.close()
    await other.line.close()
    assert await one.store.values(f"{NEWS}/") == {}


FILE = """
server: {port: 0, workers: 2}
log: {format: json}
providers:
  one: {dialect: echo, models: [x]}
  two: {dialect: echo, models: [x]}
rules:
  - {name: drawn, match: {model: d}, split: {one/x: 1, two/x: 1}}
"""


@pytest.mark.full
def test_workers_agree_whose_a_conversation_is(tmp_path: Path) -> None:
    (tmp_path / "router.yaml").write_text(FILE)
    with Program(cwd=tmp_path) as program:
        program.said("serves on", 2)

        def served(session: str) -> tuple[str, str]:
            body = {"model": "d", "user": session, "messages": [{"role": "user", "content": "hi"}]}
            status, headers, said = ask(
                "POST", "/v1/chat/completions", json.dumps(body), port=program.port
            )
            assert status == 200, said
            return headers["X-Routeur-Trace-Provider"], headers["X-Routeur-Trace-Id"][:-10]

        sessions = [f"s{number}" for number in range(12)]
        first = {session: served(session)[0] for session in sessions}
        assert set(first.values()) == {"one", "two"}
        time.sleep(0.5)  # five times as long as it takes until they are told
        later = [(session, *served(session)) for session in sessions for _ in range(6)]
        assert len({worker for _, _, worker in later}) == 2
        assert all(provider == first[session] for session, provider, _ in later)
