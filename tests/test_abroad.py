"""News of bans between routeurs that share a store."""

from __future__ import annotations

import time

import pytest

from routeur.abroad import Abroad
from routeur.providers import Credential, Provider
from routeur.standing import Standings
from routeur.store.memory import Memory, MemoryStore
from tests.stores import Hands

PROVIDER = Provider("p", "openai", (Credential("p", "p", "http://127.0.0.1:1/v1"),))


class Routeur:
    """One machine's: what is banned there, and its line to the others."""

    def __init__(self, memory: Memory, name: str, home: str = "") -> None:
        self.clock = Hands()
        self.standings = Standings(
            3, 60.0, frozenset([500]), tell=lambda news: self.line.tell(news)
        )
        self.standings.configure({"p": PROVIDER}, 3, 60.0, frozenset([500]))
        store = MemoryStore(name, memory=memory)
        known = self.standings.apply, self.standings.state
        self.line = Abroad(store, home or name, self.clock, *known)

    def bans(self) -> list[tuple[str, str]]:
        return [(ban.credential, ban.model) for ban in self.standings.bans()]


@pytest.fixture
def memory() -> Memory:
    return Memory()


async def test_a_ban_reaches_the_others(memory):
    one, other = Routeur(memory, "one"), Routeur(memory, "other")
    await other.line._listen()
    one.standings.ban("p", "m", None, "said so")
    await one.line._speak()
    await other.line._listen()

    assert other.bans() == [("p", "m")]
    one.standings.unban("p", "m")
    await one.line._speak()
    await other.line._listen()
    assert other.bans() == []


async def test_failures_of_several_add_up(memory):
    one, other = Routeur(memory, "one"), Routeur(memory, "other")
    await other.line._listen()
    await one.line._speak()
    await other.line._listen()
    for _ in range(3):
        standing = one.standings.group("p", "m").members[0]
        standing.inflight += 1
        one.standings.failed(standing, 500, time.monotonic())
    await one.line._speak()
    await other.line._listen()

    assert other.bans() == one.bans() == [("p", "m")]


async def test_news_are_heard_once(memory):
    one, other = Routeur(memory, "one"), Routeur(memory, "other")
    heard = []
    other.line._apply = heard.append
    await one.line._speak()
    await other.line._listen()
    for number in range(3):
        one.line.tell({"do": "left", "number": number})
        await one.line._speak()
        await other.line._listen()
        await other.line._listen()

    assert [each["number"] for each in heard] == [0, 1, 2]


async def test_who_starts_later_hears_what_holds_still(memory):
    one = Routeur(memory, "one")
    one.standings.ban("p", "short", 10.0, "for a moment")
    one.standings.ban("p", "long", 100.0, "for a while")
    one.standings.ban("p", "ever", None, "for good")
    await one.line._speak()
    late = Routeur(memory, "late")
    late.clock.go(50)
    await late.line._listen()

    assert {model for _, model in late.bans()} == {"long", "ever"}


async def test_workers_of_one_machine_have_their_bus(memory):
    one, other = Routeur(memory, "one", "home"), Routeur(memory, "other", "home")
    await other.line._listen()
    one.standings.ban("p", "m", None, "said so")
    await one.line._speak()
    await other.line._listen()

    assert other.bans() == []


async def test_what_a_routeur_has_said_ends_with_it(memory):
    one = Routeur(memory, "one")
    await one.line.start()
    one.line.tell({"do": "left"})
    await one.line._speak()
    await one.line.close()

    assert await MemoryStore("x", memory=memory).values("news/") == {}
