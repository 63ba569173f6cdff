"""Responses in a store, whichever it is: kept, replaced, dropped, and forgotten by age and size."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from routeur.store import queries, works
from routeur.store.base import Kept
from routeur.store.memory import Memory, MemoryStore
from routeur.store.redis import RedisStore
from routeur.store.schema import MIGRATIONS, migrate
from routeur.store.sqlite import SqliteStore
from routeur.store.tables import Tables
from tests.stores import NOON, Hands, MakeStore, key

HOME = Path(__file__).parent
LONG_AGO = 0.0
NO_BOUND = 1 << 60


@pytest.fixture(params=["memory", "sqlite", "redis"])
async def make_store(request, tmp_path):
    memory, opened = Memory(), []
    if request.param == "redis":
        server = request.getfixturevalue("redis_server")
        server.say("FLUSHALL")

    async def make(owner: str = "a"):
        if request.param == "memory":
            store = MemoryStore(owner, memory=memory, clock=Hands())
        elif request.param == "redis":
            store = RedisStore(owner, server.url, clock=Hands())
        else:
            store = SqliteStore(owner, tmp_path / "routeur.db", clock=Hands())
        await store.open()
        opened.append(store)
        return store

    yield make
    for store in opened:
        await store.close()


@pytest.fixture
async def store(make_store: MakeStore):
    return await make_store()


def item(id: str = "resp_1", owner: str = "k", at: float = NOON, body: bytes = b"{}") -> Kept:
    return Kept(id, owner, at, body)


async def test_what_is_kept_is_there_for_all(make_store):
    here, there = await make_store("a"), await make_store("b")
    await here.keep([item(body=b"\x00\xff"), item("resp_2")])

    found = await there.kept("resp_1")
    assert (found.id, found.owner, found.at, found.body) == ("resp_1", "k", NOON, b"\x00\xff")
    assert await there.kept("resp_3") is None


async def test_it_is_replaced(store):
    await store.keep([item(body=b"old")])
    await store.keep([item(body=b"new")])

    assert (await store.kept("resp_1")).body == b"new"


async def test_nobody_takes_anothers_id(store):
    await store.keep([item(body=b"mine")])
    await store.keep([item("resp_0"), item(owner="other", body=b"theirs")])

    found = await store.kept("resp_1")
    assert (found.owner, found.body) == ("k", b"mine")
    assert await store.kept("resp_0") is not None


async def test_renewed_if_nobody_else_did(make_store):
    here, there = await make_store("a"), await make_store("b")
    await here.keep([item(body=b"0")])
    known = await here.kept("resp_1")

    second = await here.renew(Kept("resp_1", "k", NOON, b"1", known.version))
    late = await there.renew(Kept("resp_1", "k", NOON, b"2", known.version))
    third = await there.renew(Kept("resp_1", "k", NOON, b"3", second))

    assert late is None
    assert third > second > known.version
    assert (await here.kept("resp_1")) == Kept("resp_1", "k", NOON, b"3", third)


async def test_what_is_gone_is_not_renewed(store):
    await store.keep([item()])
    known = await store.kept("resp_1")
    await store.drop("resp_1", "k")

    assert await store.renew(known) is None
    assert await store.renew(Kept("resp_1", "k", NOON, b"")) is None
    assert await store.kept("resp_1") is None


async def test_only_the_owner_renews_and_drops(store):
    await store.keep([item()])
    known = await store.kept("resp_1")

    assert await store.renew(Kept("resp_1", "other", NOON, b"", known.version)) is None
    assert not await store.drop("resp_1", "other")
    assert await store.drop("resp_1", "k")
    assert not await store.drop("resp_1", "k")


async def test_the_old_ones_are_forgotten(store):
    await store.keep([item(f"resp_{n}", at=NOON + n) for n in range(5)])

    assert await store.evict(NOON + 2, NO_BOUND, 100) == 2
    assert await store.evict(NOON + 2, NO_BOUND, 100) == 0
    assert [n for n in range(5) if await store.kept(f"resp_{n}")] == [2, 3, 4]


async def test_the_oldest_go_when_there_is_no_room(store):
    """Ages count, not the order in which they came; and what was replaced counts once."""
    for n in (3, 1, 4, 0, 2):
        await store.keep([item(f"resp_{n}", at=NOON + n, body=b"x" * 50)])
        await store.keep([item(f"resp_{n}", at=NOON + n, body=b"x" * 100)])
    await store.drop("resp_4", "k")

    assert await store.evict(LONG_AGO, 400, 100) == 0
    assert await store.evict(LONG_AGO, 399, 100) == 1
    assert await store.evict(LONG_AGO, 150, 100) == 2
    assert [n for n in range(5) if await store.kept(f"resp_{n}")] == [3]


async def test_not_too_many_at_once(store):
    await store.keep([item(f"resp_{n}", at=NOON + n) for n in range(5)])

    assert await store.evict(NOON + 10, NO_BOUND, 3) == 3
    assert await store.evict(NOON + 10, NO_BOUND, 3) == 2


async def test_what_others_refuse_does_not_count(store):
    await store.keep([item(body=b"x" * 100)])
    await store.keep([item(owner="other", body=b"x" * 1000)])

    assert await store.evict(LONG_AGO, 100, 10) == 0


async def test_after_a_restart(tmp_path):
    first, second = (SqliteStore(owner, tmp_path / "routeur.db") for owner in "ab")
    await first.open()
    await first.keep([item(body=b"x" * 10)])
    await first.close()
    await second.open()
    found, gone = await second.kept("resp_1"), await second.evict(LONG_AGO, 9, 10)
    await second.close()

    assert found.body == b"x" * 10
    assert gone == 1


async def test_a_file_of_version_1_can_keep_responses(tmp_path):
    db = sqlite3.connect(tmp_path / "routeur.db")
    db.executescript((HOME / "versions" / "store-1.sql").read_text())
    db.close()
    store = SqliteStore("b", tmp_path / "routeur.db")
    await store.open()
    await store.keep([item()])
    found = await store.kept("resp_1")
    await store.close()

    assert found.owner == "k"


async def test_a_file_of_version_2(tmp_path):
    """As the release that first kept responses made it: store-2.sql never changes."""
    db = sqlite3.connect(tmp_path / "routeur.db")
    db.executescript((HOME / "versions" / "store-2.sql").read_text())
    db.close()
    store = SqliteStore("b", tmp_path / "routeur.db")
    await store.open()
    found, known = await store.kept("resp_1"), await store.key("h1")
    gone = await store.evict(LONG_AGO, 6, 10)
    await store.close()

    assert found == Kept("resp_1", "h1", 1767614400.0, b'{"a":1}', 2)
    assert known[0] == key("h1", name="one", limit=100_000, created_at=1)
    assert gone == 1


IDS = st.sampled_from(["resp_a", "resp_b", "resp_c"])
OWNERS = st.sampled_from(["k", "l"])


def now(coroutine):
    """What a coroutine returns that never waits."""
    try:
        coroutine.send(None)
    except StopIteration as done:
        return done.value
    raise AssertionError("it waits")


class Both(RuleBasedStateMachine):
    """What the process keeps says what the file has to."""

    def __init__(self) -> None:
        super().__init__()
        self.db = sqlite3.connect(":memory:", isolation_level=None)
        migrate(self.db, MIGRATIONS)
        self.tables = Tables(self.db)
        self.memory = MemoryStore("a")

    def both(self, name, *given):
        here = getattr(works, name)(self.tables, *given)
        assert here == now(getattr(self.memory, name)(*given)), (name, given)

    @rule(
        ids=st.lists(IDS, max_size=3), owner=OWNERS, size=st.integers(0, 40), at=st.integers(0, 9)
    )
    def keep(self, ids, owner, size, at):
        # No two are equally old: which of them goes first is not said.
        items = [Kept(id, owner, at + ord(id[-1]) / 1000, b"x" * size) for id in ids]
        self.both("keep", items)

    @rule(id=IDS, owner=OWNERS, off=st.integers(-1, 1))
    def renew(self, id, owner, off):
        known = now(self.memory.kept(id))
        at, version = (known.at, known.version) if known else (1.0, 1)
        self.both("renew", Kept(id, owner, at, b"renewed", version + off))

    @rule(id=IDS, owner=OWNERS)
    def drop(self, id, owner):
        self.both("drop", id, owner)

    @rule(before=st.integers(0, 10), size=st.integers(0, 100), at_most=st.integers(1, 3))
    def evict(self, before, size, at_most):
        self.both("evict", float(before), size, at_most)

    @invariant()
    def same(self):
        for id in ("resp_a", "resp_b", "resp_c"):
            assert queries.kept(self.db, id) == now(self.memory.kept(id))
        size = self.db.execute("SELECT value FROM meta WHERE name = 'kept_size'").fetchone()[0]
        true = self.db.execute("SELECT COALESCE(SUM(LENGTH(body)), 0) FROM kept").fetchone()[0]
        assert size == true == self.memory._all.kept_size

    def teardown(self):
        self.db.close()


TestBoth = Both.TestCase
TestBoth.settings = settings(max_examples=30, deadline=None)
