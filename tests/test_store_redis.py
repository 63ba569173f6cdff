"""What can happen to a Redis: it stops, dies, fails over, forgets; and two of us at once."""

from __future__ import annotations

import asyncio
import os
import random
import sys
import time
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, suppress
from itertools import count
from pathlib import Path

import pytest

from routeur.store import make
from routeur.store.accounts import DAY, periods
from routeur.store.base import Admitted, Balance, Refused, Seen, Span, StoreUnavailable
from routeur.store.base import StoreUnusable as Unusable
from routeur.store.line import SCHEMA
from routeur.store.memory import Memory, MemoryStore
from routeur.store.redis import RedisStore
from routeur.store.scripts import HOME as LUA
from routeur.store.scripts import PARTS, ROOT, SCRIPTS
from tests.fake import PATIENCE
from tests.program import PATIENT
from tests.redis_server import free_port, running
from tests.stores import CENT, NOON, Hands, asks, charge, done, key, tokens

HOME = Path(__file__).parent
ALL_TIME = Span(0, 10**11)


@pytest.fixture
def server():
    """One to do anything with."""
    with running() as server:
        yield server


@asynccontextmanager
async def opened(url, owner="a", **options):
    store = RedisStore(owner, url, **options)
    await store.open()
    try:
        yield store
    finally:
        await store.close()


@pytest.fixture
async def store(server):
    async with opened(server.url) as store:
        await store.add_key(key(limit=100 * CENT))
        yield store


async def balance(store):
    return (await store.key("k"))[1]


async def well(store):
    """Waits until it is, which it has to be by itself."""
    async with asyncio.timeout(PATIENCE):
        while store.trouble:  # noqa: ASYNC110 - of another process
            await asyncio.sleep(0.02)


async def works_again(store, reserved=0):
    """By itself; and nothing stays reserved by what has failed."""
    await well(store)
    async with asyncio.timeout(PATIENCE):
        while True:
            with suppress(StoreUnavailable):
                await store.beat(0)
                if (await balance(store)).reserved == reserved:
                    break
            await asyncio.sleep(0.02)
    assert isinstance(await store.reserve(asks("again", micro=0)), Admitted)
    await store.settle([done("again", charge(0), owner=store.owner)])


async def fails(store, match=""):
    """Until it says why, and does not even try."""
    async with asyncio.timeout(PATIENCE):
        while True:
            before = time.monotonic()
            with pytest.raises(StoreUnavailable):
                await store.reserve(asks(f"f{before}"))
            if time.monotonic() - before < 0.01:
                break
            await asyncio.sleep(0.02)
    assert match in store.trouble
    with pytest.raises(StoreUnavailable):
        await store.settle([done("f", reserved=False)])
    with pytest.raises(StoreUnavailable):
        await store.beat(0)


# ---- faults that pass


@pytest.mark.full
async def test_stopped(impatient, store, server):
    """What it reads only when it goes on was given up: nothing stays reserved."""
    await store.reserve(asks("c"))
    server.pause()
    with pytest.raises(StoreUnavailable, match="does not answer"):
        await store.reserve(asks("d"))
    await fails(store, "in time")
    server.resume()

    await works_again(store, CENT)
    await store.settle([done("c")])
    assert await balance(store) == Balance(*[CENT] * 4)


async def test_killed_and_started_again(tmp_path):
    kept = "--dir", str(tmp_path), "--appendonly", "yes", "--appendfsync", "always"
    port = free_port()
    with running(*kept, port=port) as server:
        async with opened(server.url) as store:
            await store.add_key(key(limit=100 * CENT))
            await store.reserve(asks("c"))
            entry = done("c", trace="{}")
            await store.settle([entry])
            server.stop()
            await fails(store, "127.0.0.1")
            server.start()
            await works_again(store)
            await store.settle([entry])

            assert await balance(store) == Balance(*[CENT] * 4)
            assert await store.trace("c") == ("k", "{}")


async def test_an_idle_connection_that_was_closed(store, server):
    """Nobody notices."""
    for _ in range(3):
        server.say("CLIENT", "KILL", "TYPE", "normal")
        assert isinstance(await store.reserve(asks("c")), Admitted)
        assert store.trouble is None
    assert (await balance(store)).reserved == CENT


FAULTS = {
    "it has become a replica": (("REPLICAOF", "127.0.0.1", "1"), ("REPLICAOF", "NO", "ONE")),
    "it is full": (("CONFIG", "SET", "maxmemory", "1"), ("CONFIG", "SET", "maxmemory", "0")),
    "scripts are not allowed": (
        ("ACL", "SETUSER", "default", "-@scripting"),
        ("ACL", "SETUSER", "default", "+@all"),
    ),
}
WORDS = {"it has become a replica": "replica", "it is full": "maxmemory"}


@pytest.mark.parametrize("fault", FAULTS)
async def test_faults_that_pass(store, server, fault):
    begins, ends = FAULTS[fault]
    await store.reserve(asks("c"))
    assert server.say(*begins).startswith(b"+OK")
    await fails(store, WORDS.get(fault, "permission"))
    assert server.say(*ends).startswith(b"+OK")

    await works_again(store, CENT)
    await store.settle([done("c")])
    await works_again(store)


async def test_another_password(server):
    async with opened(server.url) as store:
        await store.add_key(key(limit=100 * CENT))
        server.say("ACL", "SETUSER", "other", "on", ">secret", "~*", "+@all")
        server.say("CLIENT", "KILL", "TYPE", "normal")
        server.say("ACL", "SETUSER", "default", ">secret")
        await fails(store, "uthentication")
        async with opened(server.url.replace("//", "//other:secret@"), "b") as admin:
            await admin._ask("", "ACL", "SETUSER", "default", "nopass")
        await works_again(store)


async def test_scripts_that_are_gone(store, server):
    for number in range(3):
        server.say("SCRIPT", "FLUSH")
        results = await asyncio.gather(
            *(store.reserve(asks(f"c{number}-{each}")) for each in range(5)),
            store.settle([done(f"c{number - 1}-{each}") for each in range(5)]),
            store.key("k"),
        )
        assert [isinstance(each, Admitted) for each in results[:5]] == [True] * 5
    assert (await balance(store)).reserved == 5 * CENT
    assert store.trouble is None


async def test_everything_is_gone(store, server):
    """Its keys, too: that is not to be mended here. But it works."""
    server.say("FLUSHALL")
    with pytest.raises(StoreUnavailable):
        await store.reserve(asks("c"))
    await well(store)

    assert await store.reserve(asks("c")) == Refused("key")


async def test_the_loop_does_not_wait(impatient, store, server):
    server.pause()
    waiting = asyncio.create_task(store.reserve(asks("c")))
    turns = 0
    while not waiting.done():
        await asyncio.sleep(0.001)
        turns += 1
    server.resume()

    assert isinstance(waiting.exception(), StoreUnavailable)
    assert turns > 3


async def test_what_cannot_be_kept_harms_nobody_else(store):
    results = await asyncio.gather(
        store.settle([done("c", reserved=False)]),
        store.settle([done("huge", charge(1 << 70), reserved=False)]),
        store.reserve(asks("d")),
        return_exceptions=True,
    )

    assert results[0] is None
    assert isinstance(results[1], OverflowError)
    assert isinstance(results[2], Admitted)
    assert ((await balance(store)).usage, store.trouble) == (CENT, None)


async def test_a_script_that_fails_harms_nobody_else(store, server):
    """Somebody else has put something there."""
    day = NOON // DAY
    server.say("SET", f"{ROOT}:usage:{day}:broken", "nonsense")
    results = await asyncio.gather(
        store.settle([done("x", key="broken", reserved=False)]),
        store.settle([done("y", reserved=False)]),
        return_exceptions=True,
    )

    assert isinstance(results[0], RuntimeError)
    assert not isinstance(results[0], StoreUnavailable)
    assert (results[1], store.trouble) == (None, None)


async def test_what_is_no_text_harms_nobody(store):
    results = await asyncio.gather(
        store.reserve(asks("c")),
        store.trace("\udc80"),
        store.key("\udc80"),
        store.reserve(asks("\udc80")),
        store.settle([done("x", key="\udc80")]),
        store.key("k"),
        return_exceptions=True,
    )

    assert [isinstance(each, UnicodeError) for each in results] == [False, *[True] * 4, False]
    assert store.trouble is None


async def test_names_with_anything_in_them(store):
    """Nothing of a client ever becomes a part of a command."""
    nasty = "'; } \x00\r\n*1\r\n\"]] :key %s {} ü 🦆"
    await store.add_key(key(nasty, name=nasty, limit=CENT, rpm=5))
    wants = ((nasty, 1, 1),)
    await store.reserve(asks(nasty, nasty, provider=nasty, model=nasty, wants=wants))
    refused = await store.reserve(asks("d", None, wants=wants))
    entry = done(nasty, charge(provider=nasty, model=nasty), key=nasty, trace=f'["{nasty!r}"]')
    await store.settle([entry])
    await store.put(nasty, b"1")

    assert refused.name == nasty
    assert (await store.key(nasty))[0].name == nasty
    assert await store.trace(nasty, nasty) == (nasty, f'["{nasty!r}"]')
    assert [*await store.values(nasty)] == [nasty]
    (used,) = await store.used(Span(0, 10**11, key=nasty, model=nasty, provider=nasty))
    assert (used.provider, used.model, used.micro) == (nasty, nasty, CENT)


# ---- answers that never come


class Wire:
    """Between a client and a server: it can hold what goes there, and lose what comes back."""

    def __init__(self, port):
        self.to = port
        self.held: list[tuple[asyncio.StreamWriter, bytes]] = []
        self.holding = self.losing = False
        self._tasks: list[asyncio.Task[None]] = []
        self._writers: list[asyncio.StreamWriter] = []

    async def __aenter__(self):
        self._server = await asyncio.start_server(self._meet, "127.0.0.1", 0)
        self.url = f"redis://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/0"
        return self

    async def __aexit__(self, *error):
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for writer in self._writers:
            writer.transport.abort()
        await asyncio.sleep(0)

    async def _meet(self, reader, writer):
        from_server, to_server = await asyncio.open_connection("127.0.0.1", self.to)
        self._writers += [writer, to_server]
        self._tasks.append(asyncio.create_task(self._there(reader, to_server)))
        self._tasks.append(asyncio.create_task(self._back(from_server, writer)))

    async def _there(self, reader, to_server):
        old = False
        while data := await reader.read(65536):
            old = old or self.holding
            if old:
                self.held.append((to_server, data))
            else:
                to_server.write(data)

    async def _back(self, reader, writer):
        while data := await reader.read(65536):
            if not self.losing:
                writer.write(data)
        writer.transport.abort()

    def release(self):
        for to_server, data in self.held:
            to_server.write(data)


@pytest.fixture
async def wire(server):
    async with Wire(server.port) as wire:
        yield wire


async def test_cancelled_in_the_turn_of_the_answer(store, monkeypatch):
    deliver = store._calls._deliver

    def and_cancel(operation, answer):
        deliver(operation, answer)
        asking.cancel()

    monkeypatch.setattr(store._calls, "_deliver", and_cancel)
    asking = asyncio.create_task(store.reserve(asks("c")))
    await asyncio.wait([asking])
    monkeypatch.undo()

    assert asking.cancelled()
    await works_again(store)


@pytest.mark.parametrize("how", ["the deadline", "cancelled"])
async def test_the_answer_is_lost(impatient, wire, how, monkeypatch):
    async with opened(wire.url) as store:
        await store.add_key(key(limit=100 * CENT, rpm=3))
        wire.losing = True
        asking = asyncio.create_task(store.reserve(asks("c")))
        if how == "cancelled":
            await asyncio.sleep(0.02)
            asking.cancel()
        await asyncio.wait([asking])
        assert asking.cancelled() or isinstance(asking.exception(), StoreUnavailable)
        monkeypatch.undo()  # patient again
        async with opened(wire.url.replace(wire.url, f"redis://127.0.0.1:{wire.to}"), "b") as other:
            assert (await balance(other)).reserved == CENT  # it was done
        wire.losing = False

        await works_again(store)
        assert (await store.reserve(asks("d"))).requests == 1


@pytest.mark.full
async def test_it_arrives_after_all(impatient, wire):
    """On a connection that was given up, when there is another one: it is not done any more."""
    async with opened(wire.url) as store:
        await store.add_key(key(limit=100 * CENT))
        wire.holding = True
        with pytest.raises(StoreUnavailable):
            await store.reserve(asks("c"))
        with pytest.raises(StoreUnavailable):
            await store.settle([done("x", reserved=False)])
        wire.holding = False
        await works_again(store)
        wire.release()
        await asyncio.sleep(0.05)

        assert wire.held
        assert await balance(store) == Balance()


async def test_a_settlement_of_which_nobody_heard(impatient, wire):
    """It is booked once, though it comes twice, and though it is in no spool."""
    async with opened(wire.url) as store:
        await store.add_key(key(limit=100 * CENT))
        wire.losing = True
        entry = done("x", seq=-1, reserved=False)
        with pytest.raises(StoreUnavailable):
            await store.settle([entry])
        wire.losing = False
        await works_again(store)
        await store.beat(0)
        await store.settle([entry])

        assert (await balance(store)).usage == CENT


# ---- opening


async def test_a_wrong_password(server):
    with pytest.raises(Unusable, match=f"Redis at 127.0.0.1:{server.port}: .*[Pp]assword") as error:
        await RedisStore("a", server.url.replace("//", "//:secret@")).open()
    assert "secret" not in str(error.value)

    server.say("CONFIG", "SET", "requirepass", "topsecret")
    for address in (server.url, server.url.replace("//", "//:wrong@")):
        with pytest.raises(Unusable):
            await RedisStore("a", address).open()
    async with opened(server.url.replace("//", "//:topsecret@")):
        pass


@asynccontextmanager
async def says(answer):
    """A server that answers so, whatever it is told."""

    met = []

    async def meet(reader, writer):
        met.append(writer)
        with suppress(OSError):
            while await reader.read(65536):
                writer.write(answer)

    server = await asyncio.start_server(meet, "127.0.0.1", 0)
    try:
        yield f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}/0"
    finally:
        server.close()
        for writer in met:
            writer.transport.abort()
        await asyncio.sleep(0.01)  # until their handlers have noticed


async def test_not_a_redis():
    async with says(b"HTTP/1.1 400 Bad Request\r\n\r\n") as url:
        with pytest.raises(Unusable, match=r"127.0.0.1:\d+: .*H"):
            await RedisStore("a", url).open()


async def test_a_database_that_is_not_there(server):
    with pytest.raises(Unusable, match="DB index is out of range"):
        await RedisStore("a", server.url.replace("/0", "/99")).open()


async def test_a_newer_version(server):
    server.say("HSET", f"{ROOT}:meta", "schema", SCHEMA + 1)
    with pytest.raises(Unusable, match=f"version {SCHEMA + 1}, this routeur knows up to {SCHEMA}"):
        await RedisStore("a", server.url).open()


async def test_one_that_forgets_when_it_is_full(server):
    server.say("CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
    async with opened(server.url):
        pass
    server.say("CONFIG", "SET", "maxmemory", "100mb")
    with pytest.raises(Unusable, match=r"allkeys-lru.*expected noeviction"):
        await RedisStore("a", server.url).open()


async def test_it_is_not_there_yet():
    """Whoever goes on all the same has a store as soon as there is one."""
    port = free_port()
    store = RedisStore("a", f"redis://127.0.0.1:{port}/0")
    with pytest.raises(StoreUnavailable):
        await store.open()
    assert str(port) in store.trouble
    with running(port=port):
        await well(store)
        assert await store.add_key(key())
        await store.close()


async def test_it_loads(monkeypatch):
    async with says(b"-LOADING Redis is loading the dataset in memory\r\n") as url:
        store = RedisStore("a", url)
        with pytest.raises(StoreUnavailable):
            await store.open()
        assert "loading" in store.trouble
        await store.close()


async def test_without_the_extra(monkeypatch):
    monkeypatch.delitem(sys.modules, "routeur.store.redis")
    monkeypatch.delitem(sys.modules, "routeur.store.line")
    for name in [name for name in sys.modules if name.partition(".")[0] == "redis"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "redis", None)

    with pytest.raises(ValueError, match=r"pip install 'routeur\[redis\]'"):
        make("redis://127.0.0.1:6379/0", "a")


# ---- several of us


async def program(url, *arguments):
    return await asyncio.create_subprocess_exec(
        sys.executable,
        str(HOME / "spender.py"),
        url,
        *map(str, arguments),
        stdout=asyncio.subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": PATIENT},
    )


@pytest.mark.parametrize("processes", [2, 4])
async def test_processes_never_spend_more_than_there_is(store, server, processes):
    running = [await program(server.url, f"p{n}", 200 // processes) for n in range(processes)]
    said = [(await each.communicate())[0] for each in running]

    assert sum(map(int, said)) == 100
    assert await balance(store) == Balance(*[100 * CENT] * 4)
    assert await store.reserve(asks("c", micro=1)) == Refused("budget", micro=0)


async def test_killed_under_load(store, server):
    """Nothing is half done, and what it held can be settled."""
    await store.change_key("k", {"limit": None})
    for number in range(3):
        process = await program(server.url, f"p{number}", 1_000_000)
        enough = (await balance(store)).usage + 20 * CENT
        async with asyncio.timeout(PATIENCE):
            while (await balance(store)).usage < enough:  # noqa: ASYNC110 - of another process
                await asyncio.sleep(0.005)
        process.kill()
        await process.wait()
        await store.leave(f"p{number}")

        found = await balance(store)
        assert (found.reserved, found.parallel) == (0, 0)
        assert sum(each.micro for each in await store.used(ALL_TIME)) == found.usage


async def test_many_calls_of_the_dead(store, server):
    """More than one script ends at once."""
    async with opened(server.url, "dead") as dead:
        for number in range(450):
            await dead.reserve(asks(f"c{number}", None, micro=1))
    assert await store.leave("dead") == 450
    assert server.say("EXISTS", f"{ROOT}:held", f"{ROOT}:held:owners") == b":0\r\n"


async def test_nothing_is_kept_of_whom_nobody_misses(redis_server):
    redis_server.say("FLUSHALL")
    clock = Hands()
    async with AsyncExitStack() as stack:
        here, gone = [
            await stack.enter_async_context(opened(redis_server.url, each, clock=clock))
            for each in ("a", "b")
        ]
        await gone.settle([done("c", owner="b", reserved=False)])
        clock.go(31 * DAY)
        await here.expire(30)
        assert redis_server.say("ZCARD", f"{ROOT}:settled") == b":0\r\n"
        with pytest.raises(StoreUnavailable):  # and greets again
            await gone.reserve(asks("d", None))
        await well(gone)
        assert await gone.reserve(asks("d", None)) == Admitted()


@pytest.mark.full
async def test_a_cluster(tmp_path):
    """Whoever is asked says who keeps what is ours; and that is all in one place."""
    with ExitStack() as stack:
        nodes = []
        for number in range(2):
            (tmp_path / str(number)).mkdir()
            options = "--cluster-enabled", "yes", "--dir", str(tmp_path / str(number))
            nodes.append(stack.enter_context(running(*options, port=low_port())))
        here, there = nodes
        there.say("CLUSTER", "ADDSLOTS", *range(16384))
        here.say("CLUSTER", "MEET", "127.0.0.1", there.port)
        async with asyncio.timeout(PATIENCE):
            for node in nodes:
                while b"cluster_state:ok" not in node.say("CLUSTER", "INFO"):  # noqa: ASYNC110
                    await asyncio.sleep(0.05)
        async with opened(here.url) as store:
            await store.add_key(key(limit=2 * CENT, rpm=10))
            assert await store.reserve(asks("c", wants=(("x", 5, 5000),))) == Admitted(
                9, None, CENT
            )
            await store.settle([done("c", trace="{}")])
            assert await store.trace("c") == ("k", "{}")
            assert [each.micro for each in await store.used(ALL_TIME)] == [CENT]

        assert here.say("DBSIZE") == b":0\r\n"
        assert there.say("DBSIZE") != b":0\r\n"


def low_port():
    """Nodes listen on a second one, 10,000 above."""
    return next(port for port in iter(free_port, None) if port < 55_000)


async def hurt(server, chance):
    match chance.randrange(5):
        case 0:
            server.pause()
            await asyncio.sleep(chance.choice([0.05, 0.15, 0.7]))
            server.resume()
        case 1:
            server.say("CLIENT", "KILL", "TYPE", "normal")
        case 2:
            server.say("SCRIPT", "FLUSH")
        case 3:
            server.say("REPLICAOF", "127.0.0.1", "1")
            await asyncio.sleep(0.2)
            server.say("REPLICAOF", "NO", "ONE")
        case 4:
            server.say("CONFIG", "SET", "maxmemory", "1")
            await asyncio.sleep(0.2)
            server.say("CONFIG", "SET", "maxmemory", "0")
    await asyncio.sleep(chance.random() * 0.8)


@pytest.mark.full
@pytest.mark.parametrize("seed", range(3))
async def test_two_spend_while_everything_happens(store, server, seed):
    """Callers leave, too. What was admitted is booked, once; and nothing else is held."""
    chance, over, admitted = random.Random(seed), asyncio.Event(), []

    async def settle(store, entry):
        while True:
            with suppress(StoreUnavailable):
                return await store.settle([entry])
            await asyncio.sleep(0.1)

    async def call(store, id):
        asking = asyncio.create_task(store.reserve(asks(id)))
        if chance.random() < 0.1:
            await asyncio.sleep(chance.random() * 0.004)
            asking.cancel()
        await asyncio.wait([asking])
        if asking.cancelled() or asking.exception() or isinstance(asking.result(), Refused):
            await asyncio.sleep(0.01)
        else:
            admitted.append(id)
            await asyncio.sleep(chance.random() * 0.01)
            await settle(store, done(id, owner=store.owner))

    async def spend(store, worker):
        for number in count():
            if over.is_set():
                return
            await call(store, f"{store.owner}-{worker}-{number}")

    await store.change_key("k", {"limit": 2000 * CENT})
    async with opened(server.url, "b") as other, asyncio.timeout(60):
        both = store, other
        running = [asyncio.create_task(spend(each, n)) for each in both for n in range(8)]
        for _ in range(12):
            await hurt(server, chance)
        over.set()
        await asyncio.gather(*running)
        for each in both:
            await works_again(each)

    assert await balance(store) == Balance(*[len(admitted) * CENT] * 4)
    assert 0 < len(admitted) <= 2000
    assert server.say("HLEN", f"{ROOT}:held") == b":0\r\n"


# ---- time


async def test_the_clock_of_the_server_is_set_back(store, server):
    """As it looks to us: it stood an hour ahead. Nothing that slides waits for that hour."""
    await store.change_key("k", {"rpm": 1})
    await store.reserve(asks("c"))
    last, steady = (int(each) for each in server.say("GET", f"{ROOT}:clock").split()[1:])
    server.say("SET", f"{ROOT}:clock", f"{last + 3_600_000} {steady}")
    refused = await store.reserve(asks("d"))
    assert refused.what == "rpm"
    assert 55 < refused.retry_after <= 60
    await asyncio.sleep(0.02)
    later = await store.reserve(asks("d"))
    assert later.retry_after < refused.retry_after


async def test_it_is_the_same_time_for_all(server):
    """Whatever the clocks of our machines say."""
    async with opened(server.url) as store:
        await store.add_key(key(limit=CENT, limit_reset="daily", expires_at=int(time.time()) + 90))
        await store.reserve(asks("c"))
        await store.settle([done("c", at=time.time())])
        refused = await store.reserve(asks("d"))

    assert refused.what == "budget"
    ends = (int(time.time()) // DAY + 1) * DAY
    assert refused.retry_after == pytest.approx(ends - time.time(), abs=5)


async def test_days_weeks_and_months(redis_server):
    """The scripts count them as accounts.py does."""
    text = (LUA / "accounts.lua").read_text()
    body = "local floor = math.floor\n" + text + "return {periods(tonumber(ARGV[1]))}"
    days = [*range(0, 60), *range(10_900, 11_500), *range(20_400, 20_900), 47_540, 47_541]
    async with opened(redis_server.url) as store:
        for day in days:
            found = await store._ask("", "EVAL", body, 0, day * DAY + DAY - 1)
            assert tuple(found) == periods(day * DAY + DAY - 1)


# ---- the scripts


def test_every_file_is_used():
    used = {part for name, parts in PARTS.items() for part in (name, *parts)} | {"begin"}
    assert {path.stem for path in LUA.glob("*.lua")} == used
    assert all(len(script.text.splitlines()) < 450 for script in SCRIPTS.values())


@pytest.mark.parametrize("seed", range(4))
async def test_they_decide_as_the_ledger_does(redis_server, seed):
    """Anything in any order: every answer is the same as that of a store in memory."""
    redis_server.say("FLUSHALL")
    clock, memory, chance = Hands(), Memory(), random.Random(seed)
    async with AsyncExitStack() as stack:
        pairs = []
        for owner in ("a", "b"):
            store = opened(redis_server.url, owner, clock=clock)
            pair = MemoryStore(owner, memory=memory, clock=clock)
            await pair.open()
            pairs.append((await stack.enter_async_context(store), pair))

        async def both(operation, *given, owner=None, **options):
            pair = pairs[chance.randrange(2)] if owner is None else pairs[owner]
            memory.ledger.tidy(int(clock.seconds * 1000))  # no old windows
            one, other = [await getattr(each, operation)(*given, **options) for each in pair]
            assert one == other, (operation, given)
            return one

        await both("add_key", key("j", rpm=4, tpm=700, max_parallel=3))
        await both("add_key", key("k", limit=40 * CENT, limit_reset="daily", tpm=2000))
        await both("add_key", key("l", limit=30 * CENT, rpm=9))
        calls = []
        for number in range(250):
            match chance.randrange(10):
                case 0 | 1 | 2:
                    wants = chance.sample([("x", 5, -1), ("y", -1, 900), ("z", 3, 500)], 2)
                    owner, hash = chance.randrange(2), chance.choice([None, "j", "k", "l", "m"])
                    sizes = {"input": chance.randrange(200), "output": chance.randrange(200)}
                    micro = chance.randrange(9 * CENT)
                    asked = asks(f"c{number}", hash, micro, wants=tuple(wants), **sizes)
                    if isinstance(await both("reserve", asked, owner=owner), Admitted):
                        calls.append((asked.id, hash, owner, 1))
                case 3 if calls:
                    id, hash, owner, attempt = calls.pop(chance.randrange(len(calls)))
                    ended = ((attempt, chance.randrange(99)),)
                    asked = asks(id, hash, 8 * CENT, attempt=attempt + 1, ended=ended)
                    await both("reserve", asked, owner=owner)
                    calls.append((id, hash, owner, attempt + 1))
                case 4 | 5 if calls:
                    id, hash, owner, attempt = calls.pop(chance.randrange(len(calls)))
                    some = [
                        charge(
                            chance.choice([None, chance.randrange(9 * CENT)]),
                            tokens=tokens(
                                input=chance.randrange(99), reasoning=chance.randrange(9)
                            ),
                            attempt=each,
                            model=chance.choice("mn"),
                        )
                        for each in range(1, attempt + 1)
                    ]
                    entry = done(
                        id, *some, key=hash or "", owner="ab"[owner], at=clock.unix, trace=id
                    )
                    await both("settle", [entry, entry], owner=owner)
                case 6 if calls:
                    id, _, owner, _ = chance.choice(calls)
                    await both("beat", 0, [Seen(id, chance.randrange(CENT), 5)], owner=owner)
                case 7 if chance.random() < 0.2:
                    clock.go(31)
                    await both("beat", 0, owner=0)
                    await both("expire", 30, owner=0)
                    await both("beat", 0, owner=1)
                case 8 if chance.random() < 0.1:
                    clock.unix += chance.choice([-DAY, DAY, 8 * DAY])
                case _:
                    clock.go(chance.choice([0.25, 0.5, 1, 5, 20]))
            for hash in "jkl":
                await both("key", hash)
        await both("used", ALL_TIME)
        await both("timeline", Span(0, 10**11, key="k"), "daily")
        for number in range(250):
            await both("trace", f"c{number}")
        await both("leave", "b", owner=0)
        await both("leave", "a", owner=0)
        await both("used", ALL_TIME)
