"""Every finished call is booked, whatever happens to the store, the disk or the process."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import sys
from pathlib import Path

import pytest

from routeur.store import books as books_module
from routeur.store.base import Admitted, Balance, Refused, Seen, Settlement, Span, StoreUnavailable
from routeur.store.books import Books
from routeur.store.memory import Memory, MemoryStore
from routeur.store.spool import Spool
from routeur.store.sqlite import SqliteStore
from tests.fake import PATIENCE
from tests.program import PATIENT
from tests.stores import CENT, NOON, Hands, asks, charge, done, key, tokens

HOME = Path(__file__).parent
ALL_TIME = Span(0, 2 * NOON)


def failed(error):
    future = asyncio.get_running_loop().create_future()
    future.set_exception(error)
    return future


class Moody(MemoryStore):
    """A store that can be told not to work."""

    works = True

    def settle(self, entries):
        if self.works:
            return super().settle(entries)
        return failed(StoreUnavailable("not now"))

    async def leave(self, owner):
        if not self.works:
            raise StoreUnavailable("not now")
        return await super().leave(owner)


@pytest.fixture(autouse=True)
def hurried(monkeypatch):
    for name in ("GATHER", "AGAIN", "BEAT", "PRUNE_EVERY"):
        monkeypatch.setattr(books_module, name, 0.01)


@pytest.fixture
def memory():
    return Memory()


@pytest.fixture
def said():
    return []


@pytest.fixture
def store(memory):
    return Moody("me", memory=memory, clock=Hands())


@pytest.fixture
def spool(tmp_path):
    return tmp_path / "spool"


@pytest.fixture
async def books(store, spool, said):
    books = Books(store, spool, said.append, keep_for=10**12)
    await books.start()
    yield books
    store.works = True
    await books.stop()
    assert [*spool.iterdir()] == []


def call(id, **more):
    return done(str(id), **more).settlement


async def booked(store):
    return sum([used.requests for used in await store.used(ALL_TIME)])


async def until(condition):
    async with asyncio.timeout(PATIENCE):
        while not await condition():  # noqa: ASYNC110 - of a store, which calls nobody
            await asyncio.sleep(0.005)


async def test_booked_soon(books, store):
    for n in range(1000):
        books.book(call(n, reserved=n % 2 == 0))

    async def all_of_them():
        return await booked(store) == 1000

    await until(all_of_them)
    assert books._pending == []


async def test_a_store_that_rests(books, store, said):
    store.works = False
    for n in range(1000):
        books.book(call(n))
    await asyncio.sleep(0.05)
    assert await booked(store) == 0
    store.works = True

    async def all_of_them():
        return await booked(store) == 1000

    await until(all_of_them)
    assert said == []


async def test_more_than_memory_is_to_hold(books, store, monkeypatch):
    """The rest is read from the spool, while more comes."""
    monkeypatch.setattr(books_module, "PENDING", 100)
    monkeypatch.setattr(books_module, "AT_ONCE", 32)
    store.works = False
    for n in range(1000):
        books.book(call(n))
    assert len(books._pending) + books._flying == 100
    store.works = True
    for n in range(1000, 1200):
        books.book(call(n))
        if n % 10 == 0:
            await asyncio.sleep(0)

    async def all_of_them():
        return await booked(store) == 1200

    await until(all_of_them)
    books.book(call("last"))
    await asyncio.sleep(0.02)
    assert (await booked(store), books._behind, books.lost) == (1201, -1, 0)


async def test_neither_store_nor_disk(store, spool, said, monkeypatch):
    """What memory holds is booked; of what is lost it is said, once."""
    monkeypatch.setattr(books_module, "PENDING", 10)
    books = Books(store, spool, said.append, spool_limit=0, keep_for=10**12)
    await books.start()
    store.works = False
    for n in range(15):
        books.book(call(n))
    assert books.lost == 5
    store.works = True
    await books.stop()

    assert await booked(store) == 10
    assert said == [
        "the spool is full",
        "finished calls are lost: neither the store nor the spool can be written",
    ]


async def test_without_a_spool(store, said):
    books = Books(store, None, said.append, keep_for=10**12)
    await books.start()
    for n in range(10):
        books.book(call(n))
    await books.stop()

    assert await booked(store) == 10


async def test_what_a_dead_process_has_left(store, spool, said, memory):
    """Its finished calls are booked, its reservations settled; what was booked is not again."""
    dead = MemoryStore("dead", memory=memory, clock=Hands())
    await dead.open()
    await dead.add_key(key(limit=100 * CENT))
    left = Spool(spool, "dead")
    left.open()
    for n in range(5):
        await dead.reserve(asks(f"c{n}", micro=2 * CENT))
    for n in range(4):
        left.append(books_module._encode(call(f"c{n}")))
    await dead.settle([done("c0", owner="dead", seq=0)])
    os.close(left._lock)  # as when it is killed

    books = Books(store, spool, said.append, keep_for=10**12)
    await books.start()
    _, balance = await store.key("k")
    await books.stop()
    assert (balance.usage, balance.reserved, balance.parallel) == (6 * CENT, 0, 0)
    assert said == ["1 calls of a process that has ended were settled"]
    assert [*spool.iterdir()] == []
    left._home.mkdir()
    left._lock = os.open(spool, os.O_RDONLY)
    left._segments[0].open = 0
    left.close()


async def test_a_store_that_does_not_work_at_the_start(store, spool, said):
    left = Spool(spool, "dead")
    left.open()
    left.append(books_module._encode(call("c")))
    left.close()
    store.works = False
    books = Books(store, spool, said.append, keep_for=10**12)
    await books.start()
    assert await booked(store) == 0
    store.works = True

    async def found():
        return await booked(store) == 1 and not (spool / "dead").exists()

    await until(found)
    await books.stop()
    assert [*spool.iterdir()] == []


async def test_stopped_while_the_store_rests(memory, spool, said):
    """Nothing is lost: it is in the spool for the next one."""
    store = Moody("first", memory=memory, clock=Hands())
    books = Books(store, spool, said.append, keep_for=10**12)
    await books.start()
    store.works = False
    books.book(call("c"))
    await books.stop(patience=0.05)
    assert await booked(store) == 0

    store = Moody("second", memory=memory, clock=Hands())
    books = Books(store, spool, said.append, keep_for=10**12)
    await books.start()
    assert await booked(store) == 1
    await books.stop()


async def test_what_cannot_be_kept_is_said_and_left_out(books, store, said, monkeypatch):
    settle = store.settle

    def choosy(entries):
        if any(entry.settlement.id == "bad" for entry in entries):
            return failed(ValueError("bad"))
        return settle(entries)

    monkeypatch.setattr(store, "settle", choosy)
    for id in ("a", "bad", "b"):
        books.book(call(id))

    async def both():
        return await booked(store) == 2 and said

    await until(both)
    assert said == ["call bad cannot be booked: ValueError('bad')"]


async def test_names_and_numbers_that_nobody_sends(books, store):
    books.book(call("c"))
    odd = charge(1 << 80, model="\ud800", tokens=(-5, 1 << 70, *[0] * 8))
    books.book(Settlement("d", "k", NOON, NOON, 200, (odd,), reserved=True, trace="\udfff"))

    async def both():
        return await booked(store) == 2

    await until(both)
    assert await store.trace("d") == ("k", "?")
    found = {used.model: used for used in await store.used(ALL_TIME)}
    assert (found["?"].micro, found["?"].input_tokens) == (1 << 53, 1 << 53)


async def test_signs_of_life(store, spool, said):
    await store.add_key(key(limit=CENT))
    await store.reserve(asks("c"))
    books = Books(store, spool, said.append, lambda: [Seen("c", 5, 6)], keep_for=10**12)
    await books.start()

    async def seen():
        return store._all.ledger.held["c"].seen == (5, 6)

    await until(seen)
    await books.stop()


async def test_old_traces_go(store, spool, said):
    entries = [done(f"c{n}", trace="{}", reserved=False, owner="x") for n in range(1200)]
    await store.settle(entries)
    books = Books(store, spool, said.append, keep=7, keep_for=10**12)
    await books.start()

    async def gone():
        return len(store._all.traces) == 7

    await until(gone)
    await books.stop()


async def test_what_ends_is_free_at_once(books, store, monkeypatch):
    """A client that has read the last byte may begin its next call in that moment."""
    monkeypatch.setattr(books_module, "MOMENT", None)  # nothing is asked for twice
    await store.add_key(key(limit=100 * CENT, max_parallel=1))
    for n in range(50):
        admitted = await books.reserve(asks(str(n)))
        assert isinstance(admitted, Admitted)
        books.book(call(n))


async def test_what_ends_elsewhere_is_free_soon(books, store):
    await store.add_key(key(limit=100 * CENT, max_parallel=1))
    await store.reserve(asks("0"))
    asyncio.get_running_loop().call_later(0.005, books.book, call(0))
    assert isinstance(await books.reserve(asks("1")), Admitted)
    assert await books.reserve(asks("2")) == Refused("parallel", 1.0)
    books.book(call("1"))


@pytest.mark.parametrize("kind", ["memory", "sqlite"])
async def test_sums_of_many_calls(tmp_path, memory, kind):
    """Of two keys, two models and two hours, some of them given several times."""
    store = MemoryStore("me", memory=memory, clock=Hands())
    if kind == "sqlite":
        store = SqliteStore("me", tmp_path / "r.db", clock=Hands())
    await store.open()
    await store.add_key(key())
    entries = []
    for n in range(300):
        price = None if n % 5 == 0 else n
        charges = charge(price, model=f"m{n % 2}", tokens=tokens(input=n)), charge(1, requests=0)
        name, hour = "k" if n % 3 else "other", NOON + n % 4 // 2 * 3600
        owner = "me" if n % 7 else "else"
        entries.append(
            done(f"c{n}", *charges, key=name, at=hour, seq=n, owner=owner, reserved=n % 2 == 0)
        )
    await asyncio.gather(*map(store.settle, (entries[:20], entries[10:] + entries[:9], entries)))
    await store.settle(entries)

    priced = [n for n in range(300) if n % 5]
    found = {used.model: used for used in await store.used(ALL_TIME)}
    for rest in (0, 1):
        mine = found[f"m{rest}"]
        assert mine.micro == sum(n for n in priced if n % 2 == rest)
        assert mine.input_tokens == sum(range(rest, 300, 2))
        assert (mine.requests, mine.unpriced) == (150, 30)
    assert (found["gpt-4o"].micro, found["gpt-4o"].requests) == (300, 0)
    _, balance = await store.key("k")
    assert balance.usage == sum(n for n in priced if n % 3) + 200
    timeline = await store.timeline(Span(0, 2 * NOON), "hourly")
    assert [used.requests for used in timeline] == [150, 150]
    await store.close()


@pytest.mark.parametrize("times", [3, pytest.param(50, marks=pytest.mark.full)])
async def test_killed(tmp_path, said, times):
    """No call that has ended is missing, and none is there twice."""
    path = tmp_path / "r.db"
    store = SqliteStore("parent", path)
    await store.open()
    await store.add_key(key(limit=10**12, rpm=10**6, max_parallel=1000))
    ended = []
    for number in range(times):
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, str(HOME / "booker.py"), str(path), f"o{number}"),
            stdout=asyncio.subprocess.PIPE,
            env=os.environ | {"PYTHONPATH": PATIENT},
        )
        for _ in range(100 + 37 * number):
            ended.append((await process.stdout.readline()).decode().strip())
        process.kill()
        ended += (await process.stdout.read()).decode().split()
        await process.wait()
        books = Books(store, tmp_path / "r.db-spool", said.append)
        await books.recover()

    db = sqlite3.connect(path)
    traces = {id for (id,) in db.execute("SELECT id FROM traces").fetchall()}
    assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    db.close()
    _, balance = await store.key("k")
    in_all = await booked(store)
    await store.close()
    assert set(ended) <= traces
    # A last one of each may be in the spool, and its line not yet said; the others were under way.
    settled = sum(int(line.split()[0]) for line in said if line.endswith("were settled"))
    assert in_all == len(traces) + settled
    assert balance == Balance(*[in_all * CENT] * 4)
    assert len(traces) - len(ended) <= times
