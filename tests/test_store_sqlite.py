"""What can happen to a file: locks, a full disk, damage, older and newer versions, other hands."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from threading import Timer

import pytest

from routeur.store.base import Admitted, Balance, Refused, StoreUnavailable, StoreUnusable
from routeur.store.schema import MIGRATIONS, connect, migrate, prepare
from routeur.store.sqlite import SqliteStore
from routeur.store.writer import Turn
from tests.fake import PATIENCE
from tests.program import PATIENT
from tests.stores import CENT, asks, charge, done, key

HOME = Path(__file__).parent


@pytest.fixture
def path(tmp_path):
    return tmp_path / "routeur.db"


@pytest.fixture
async def store(path):
    store = SqliteStore("a", path)
    await store.open()
    await store.add_key(key(limit=100 * CENT))
    yield store
    await store.close()


async def usage(store):
    return (await store.key("k"))[1].usage


async def works_again(store):
    """Waits until it does, which it has to by itself."""
    async with asyncio.timeout(PATIENCE):
        while True:
            try:
                assert isinstance(await store.reserve(asks("again", micro=0)), Admitted)
                return
            except StoreUnavailable:
                await asyncio.sleep(0.05)


def read(path, statement):
    db = sqlite3.connect(path)
    try:
        return db.execute(statement).fetchall()
    finally:
        db.close()


async def test_the_file_is_nobody_elses(store, path):
    assert path.stat().st_mode & 0o777 == 0o600
    assert read(path, "PRAGMA journal_mode") == [("wal",)]


async def test_everything_is_there_after_a_restart(path):
    for number in range(3):
        store = SqliteStore(f"o{number}", path)
        await store.open()
        assert await store.add_key(key(limit=10 * CENT)) == (number == 0)
        await store.reserve(asks(f"c{number}"))
        await store.settle([done(f"c{number}", trace="{}", seq=0, owner=f"o{number}")])
        assert await usage(store) == (number + 1) * CENT
        assert await store.trace("c0") == ("k", "{}")
        await store.close()


async def test_names_with_anything_in_them(store, path):
    """Nothing of a client ever becomes a part of a statement."""
    nasty = "'; DROP TABLE keys; -- \x00\" ? :key %s {} ü 🦆"
    await store.add_key(key(nasty, name=nasty, limit=CENT))
    wants = ((nasty, 1, 1),)
    await store.reserve(asks(nasty, nasty, provider=nasty, model=nasty, wants=wants))
    await store.settle([done(nasty, charge(model=nasty), key=nasty, trace=f'["{nasty!r}"]')])
    await store.put(nasty, b"1")

    assert (await store.key(nasty))[0].name == nasty
    assert await store.trace(nasty, nasty) == (nasty, f'["{nasty!r}"]')
    assert [*await store.values(nasty)] == [nasty]
    assert read(path, "SELECT COUNT(*) FROM keys") == [(2,)]


# ---- faults that pass


async def test_locked_for_long(impatient, store, path):
    await store.reserve(asks("c"))
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    try:
        with pytest.raises(StoreUnavailable, match=r"locked|not answer"):
            await store.reserve(asks("d"))
        with pytest.raises(StoreUnavailable):
            await store.settle([done("c")])
        assert "locked" in store.trouble
        assert await usage(store) == 0  # who reads need not wait
    finally:
        other.close()

    await works_again(store)
    assert store.trouble is None
    await store.settle([done("c")])
    assert await usage(store) == CENT


async def test_locked_for_a_moment(store, path):
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    asyncio.get_running_loop().call_later(0.1, other.close)

    assert isinstance(await store.reserve(asks("c")), Admitted)


async def test_asked_again_while_nobody_is_answered(store, path, monkeypatch):
    """What was given up is not taken back from who has asked for the same again."""
    monkeypatch.setattr("routeur.store.sqlite.PATIENCE", 0.05)
    monkeypatch.setattr("routeur.store.sqlite.REST", 0.0)
    with Turn(path.with_name("routeur.db-turn")):
        with pytest.raises(StoreUnavailable, match="not answer"):
            await store.reserve(asks("c"))
        monkeypatch.setattr("routeur.store.sqlite.PATIENCE", PATIENCE)
        asking = asyncio.create_task(store.reserve(asks("c")))
        await asyncio.sleep(0)
    assert isinstance(await asking, Admitted)
    await store.beat(0)  # which comes after all of it
    assert (await store.key("k"))[1].reserved == CENT


async def test_the_loop_does_not_wait(impatient, store, path):
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    waiting = asyncio.create_task(store.reserve(asks("c")))
    turns = 0
    while not waiting.done():
        await asyncio.sleep(0.001)
        turns += 1
    other.close()

    assert isinstance(waiting.exception(), StoreUnavailable)
    assert turns > 3


async def test_the_disk_is_full(store, path):
    """As SQLite sees it: the file may not grow."""
    await store.reserve(asks("c"))
    pages = read(path, "PRAGMA page_count")[0][0]
    await store._do(lambda tables, *_: tables.db.execute(f"PRAGMA max_page_count = {pages}"))
    entries = [done(f"x{n}", reserved=False, trace="x" * 5000) for n in range(50)]
    with pytest.raises(StoreUnavailable, match="full"):
        await store.settle(entries)
    assert await usage(store) == 0

    await store._do(lambda tables, *_: tables.db.execute("PRAGMA max_page_count = 1000000"))
    await store.settle(entries)
    await store.settle([done("c")])
    assert await usage(store) == 51 * CENT


@pytest.mark.parametrize("how", ["gone", "replaced"])
async def test_the_file_is_another_one(store, path, how):
    """What is written there would not be found again."""
    await store.reserve(asks("c"))
    path.rename(path.with_name("elsewhere"))
    if how == "replaced":
        path.touch()
    with pytest.raises(StoreUnavailable, match=how):
        await store.settle([done("c")])
    assert how in store.trouble
    if how == "replaced":
        path.unlink()

    path.with_name("elsewhere").rename(path)
    await store.settle([done("c")])
    assert (store.trouble, await usage(store)) == (None, CENT)


async def test_damaged_while_it_is_used(store, path):
    await store.settle([done(f"x{n}", reserved=False, trace="x" * 900) for n in range(500)])
    await store._do(lambda tables, *_: None)
    db = sqlite3.connect(path)
    db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    db.close()
    with path.open("r+b") as file:
        file.seek(0)
        file.write(b"\xff" * 200_000)

    with pytest.raises(StoreUnavailable):
        await store.settle([done("c", trace="{}")])
    assert store.trouble


async def test_what_cannot_be_kept_harms_nobody_else(store):
    huge = done("huge", charge(1 << 70), reserved=False)
    results = await asyncio.gather(
        store.settle([done("c", reserved=False)]),
        store.settle([huge]),
        store.reserve(asks("d")),
        return_exceptions=True,
    )

    assert results[0] is None
    assert isinstance(results[1], OverflowError)
    assert isinstance(results[2], Admitted)
    assert (await usage(store), store.trouble) == (CENT, None)


# ---- opening


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: b"this is no database at all, but a text of some length\n" * 100,
        lambda data: data[:100] + b"\xff" * 8000 + data[8100:],
        lambda data: data[: len(data) // 2 // 4096 * 4096],
    ],
)
async def test_a_corrupt_file_is_not_used(path, damage):
    store = SqliteStore("a", path)
    await store.open()
    await store.add_key(key())
    await store.close()
    damaged = damage(path.read_bytes())
    path.write_bytes(damaged)

    for _ in range(2):
        with pytest.raises(StoreUnusable, match=r"routeur.db is corrupt .*put a backup"):
            await SqliteStore("b", path).open()
        assert path.read_bytes() == damaged
    store = SqliteStore("b", path)
    await store.open(replace_corrupt=True)
    assert await store.key("k") is None
    await store.close()
    (aside,) = path.parent.glob("routeur.db.corrupt-*[0-9]")
    assert aside.read_bytes() == damaged


async def test_no_place_for_a_file(tmp_path):
    with pytest.raises(StoreUnusable, match="No such file or directory"):
        await SqliteStore("a", tmp_path / "nowhere" / "routeur.db").open()
    with pytest.raises(StoreUnusable, match="Is a directory"):
        await SqliteStore("a", tmp_path).open()


@contextmanager
def nobody():
    """Root may write anywhere: be somebody else for a while."""
    before = os.geteuid()
    if before == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(before)


async def test_a_file_that_may_not_be_written():
    with tempfile.TemporaryDirectory() as directory:  # pytest's are only for who runs the tests
        os.chmod(directory, 0o755)
        path = Path(directory, "routeur.db")
        os.close(os.open(path, os.O_CREAT, 0o400))
        with nobody(), pytest.raises(StoreUnusable, match=f"{path}: Permission denied"):
            await SqliteStore("a", path).open()


async def test_a_file_of_a_newer_version(path):
    db = sqlite3.connect(path)
    db.execute("PRAGMA user_version = 99")
    db.close()

    with pytest.raises(
        StoreUnusable, match=f"version 99, this routeur knows up to {len(MIGRATIONS)}"
    ):
        await SqliteStore("a", path).open(replace_corrupt=True)


async def test_a_file_of_version_1(path):
    """As the first release made it: tests/versions/store-1.sql never changes."""
    db = sqlite3.connect(path)
    db.executescript((HOME / "versions" / "store-1.sql").read_text())
    db.close()
    store = SqliteStore("b", path)
    await store.open()
    found = await store.keys(0, 10, include_disabled=True)
    trace = await store.trace("tr_1")
    expired = await store.leave("a")
    after = await store.key("h1")
    await store.close()

    first = key("h1", name="one", limit=10 * CENT, limit_reset="daily", rpm=5, created_at=1)
    second = key("h2", name="two", disabled=True, allowed_models=("gpt-4o",), kind="management")
    assert [each for each, _ in found] == [first, second]
    assert (found[0][1].usage, found[0][1].reserved, expired) == (3 * CENT, 2 * CENT, 1)
    assert (after[1].usage, after[1].reserved) == (5 * CENT, 0)
    assert trace == ("h1", '{"id":"tr_1"}')
    assert read(path, "PRAGMA user_version") == [(len(MIGRATIONS),)]


def test_one_that_is_opened_while_another_closes_it(path):
    """The last one to close it has it for itself meanwhile, as at a start of several workers."""
    prepare(path)
    last = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    last.execute("PRAGMA locking_mode = EXCLUSIVE")
    last.execute("BEGIN IMMEDIATE")
    Timer(0.2, last.close).start()
    with closing(connect(path)) as db:
        assert db.execute("PRAGMA busy_timeout").fetchone() == (0,)


def test_several_may_make_it_at_once(tmp_path):
    """As by two routeurs that are started together."""
    with ThreadPoolExecutor(4) as threads:
        for number in range(8):
            list(threads.map(prepare, [tmp_path / f"{number}.db"] * 4))


@pytest.fixture
def db(path):
    path.touch()
    with closing(connect(path)) as opened:
        yield opened


def test_migrations_go_all_the_way_or_not_at_all(db):
    first = ("CREATE TABLE t (a)", "INSERT INTO t VALUES (1)", "PRAGMA user_version = 1")
    migrate(db, [first])
    broken = ("ALTER TABLE t ADD COLUMN b", "INSERT INTO nothing VALUES (1)")
    with pytest.raises(sqlite3.OperationalError):
        migrate(db, [first, broken])
    assert db.execute("SELECT * FROM t").fetchall() == [(1,)]

    migrate(db, [first, ("ALTER TABLE t ADD COLUMN b", "PRAGMA user_version = 2")])
    assert db.execute("SELECT * FROM t").fetchall() == [(1, None)]
    db.close()


@pytest.mark.parametrize("version", range(1, len(MIGRATIONS) + 1))
def test_every_migration_says_its_version(version):
    assert MIGRATIONS[version - 1][-1] == f"PRAGMA user_version = {version}"


# ---- several processes


def program(path, *arguments):
    return asyncio.create_subprocess_exec(
        sys.executable,
        str(HOME / "spender.py"),
        f"sqlite:{path}",
        *map(str, arguments),
        stdout=asyncio.subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": PATIENT},
    )


@pytest.mark.parametrize("processes", [2, 4])
async def test_processes_never_spend_more_than_there_is(store, path, processes):
    running = [await program(path, f"p{n}", 200 // processes) for n in range(processes)]
    said = [(await each.communicate())[0] for each in running]

    assert sum(map(int, said)) == 100
    assert (await store.key("k"))[1] == Balance(*[100 * CENT] * 4)
    assert await store.reserve(asks("c", micro=1)) == Refused("budget", micro=0)


async def test_killed_under_load(store, path):
    """Nothing is half done, and what it held can be settled."""
    await store.change_key("k", {"limit": None})
    for number in range(5):
        process = await program(path, f"p{number}", 1_000_000)
        enough = await usage(store) + 20 * CENT
        async with asyncio.timeout(PATIENCE):
            while await usage(store) < enough:  # noqa: ASYNC110 - of another process
                await asyncio.sleep(0.005)
        process.kill()
        await process.wait()
        await store.leave(f"p{number}")

        _, balance = await store.key("k")
        assert (balance.reserved, balance.parallel) == (0, 0)
        assert read(path, "PRAGMA integrity_check") == [("ok",)]
        assert read(path, "SELECT SUM(micro) FROM usage") == [(balance.usage,)]
