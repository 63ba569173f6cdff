"""Whatever happens in whatever order: reserved and spent stay within the limit, nothing leaks."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    invariant,
    rule,
    run_state_machine_as_test,
)

from routeur.store.base import Admitted, Refused, Span
from routeur.store.memory import Memory, MemoryStore
from routeur.store.redis import RedisStore
from routeur.store.sqlite import SqliteStore
from tests.redis_server import Server
from tests.stores import DAY, Hands, asks, charge, done, key

LIMITS = {"total": 1000, "today": 500}
RESETS = {"total": None, "today": "daily"}
PARALLEL = 4
OWNERS = ("a", "b")


class Calls(RuleBasedStateMachine):
    """Two owners of one store, and a model of what has to come out: plain sums."""

    calls = Bundle("calls")

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.clock = Hands()
        self.stores = {name: self.opened(name) for name in OWNERS}
        self.names = dict(zip(OWNERS, OWNERS, strict=True))  # as they are called after crashes
        self.held: dict[str, tuple[str, str, int]] = {}  # owner, key, micro
        self.ended: dict[str, tuple[str, int, float]] = {}  # key, micro, when: by silence
        self.spent = dict.fromkeys(LIMITS, 0)
        self.today = 0
        self.latest = self.clock.unix
        self.count = 0
        for name, limit in LIMITS.items():
            self.wait(self.stores["a"].add_key(self.key(name, limit)))
        self.roll()

    def key(self, name, limit):
        return key(name, limit=limit, limit_reset=RESETS[name], max_parallel=PARALLEL, rpm=1000)

    def wait(self, what):
        return self.loop.run_until_complete(what)

    def settled(self, store, entry):
        async def settle():
            await store.settle([entry])

        self.wait(settle())

    def opened(self, owner):
        store = self.make(owner)
        self.wait(store.open())
        return store

    def spend(self, name, micro):
        self.spent[name] += micro
        if name == "today":
            self.today += micro

    def spend_instead(self, name, micro, ended):
        """Of what was spent by silence before, if anything was."""
        if ended is None:
            return self.spend(name, micro)
        self.spent[name] += micro - ended[1]
        if name == "today" and ended[2] // DAY == self.latest // DAY:
            self.today += micro - ended[1]

    def used(self, name):
        return self.today if name == "today" else self.spent[name]

    def reserved(self, name):
        return sum(micro for _, each, micro in self.held.values() if each == name)

    @rule(
        target=calls,
        owner=st.sampled_from(OWNERS),
        name=st.sampled_from([*LIMITS]),
        micro=st.integers(0, 400),
    )
    def reserve(self, owner, name, micro):
        self.count += 1
        return self.ask(f"c{self.count}", owner, name, micro, 1)

    def ask(self, id, owner, name, micro, attempt):
        held = self.held.get(id)
        open_calls = sum(each == name for _, each, _ in self.held.values())
        before = held[2] if held else 0
        left = LIMITS[name] - self.used(name) - self.reserved(name) + before
        result = self.wait(self.stores[owner].reserve(asks(id, name, micro, attempt=attempt)))
        fits = micro <= left or micro <= before
        if fits and (held or open_calls < PARALLEL):
            assert isinstance(result, Admitted), (result, left)
            assert result.micro == left - micro
            self.held[id] = self.names[owner], name, micro
        else:
            assert isinstance(result, Refused)
            assert result.what == ("parallel" if fits else "budget")
            assert result.what == "parallel" or result.micro == left
        return id, owner, name

    @rule(call=calls, micro=st.integers(0, 400))
    def try_again(self, call, micro):
        """Those that were taken for dead may go on, too, and be taken for dead again."""
        id, owner, name = call
        if id in self.held or id in self.ended:
            self.count += 1
            self.ask(id, owner, name, micro, 1 + self.count)

    @rule(call=calls, share=st.integers(0, 100), twice=st.booleans())
    def settle(self, call, share, twice):
        """What is settled twice by mistake, or after it was taken for dead, counts once."""
        id, owner, name = call
        ended = self.ended.pop(id, None)
        held = self.held.pop(id, None)
        if not (held or ended):
            return
        micro = (held[2] if held else ended[1]) * share // 100
        self.spend_instead(name, micro, ended)
        entry = done(id, charge(micro), key=name, owner=self.names[owner], at=self.clock.unix)
        for _ in range(1 + twice):
            self.settled(self.stores[owner], entry)

    @rule(owner=st.sampled_from(OWNERS))
    def crash(self, owner):
        """It is gone without a word; the next one settles what it held."""
        self.count += 1
        dead = self.names[owner]
        self.wait(self.stores[owner].close())
        self.names[owner] = f"{owner}{self.count}"
        self.stores[owner] = self.opened(self.names[owner])
        lost = self.end(dead)
        for each in lost:
            del self.ended[each]  # nobody is left who could settle it
        assert self.wait(self.stores[owner].leave(dead)) == len(lost)

    @rule(owner=st.sampled_from(OWNERS))
    def silence(self, owner):
        """The other one is stopped for so long that it is taken to be dead, and goes on."""
        other = OWNERS[owner == "a"]
        self.clock.go(31)
        self.roll()
        self.wait(self.stores[owner].beat(0))
        assert self.wait(self.stores[owner].expire(30)) == len(self.end(self.names[other]))
        self.wait(self.stores[other].beat(0))

    def end(self, dead):
        lost = [id for id, (owner, _, _) in self.held.items() if owner == dead]
        for each in lost:
            _, name, micro = self.held.pop(each)
            before = self.ended.get(each)
            self.spend_instead(name, micro, before)
            self.ended[each] = name, micro, before[2] if before else self.latest
        return lost

    @rule(days=st.sampled_from((0.3, 1, 2)))
    def reset(self, days):
        self.clock.unix += days * DAY
        self.roll()

    @rule(seconds=st.sampled_from((1, DAY, 40 * DAY)))
    def clock_goes_back(self, seconds):
        self.clock.unix -= seconds

    def roll(self):
        """A new day begins with the first thing that is counted in it: here, a call of nothing."""
        if self.clock.unix // DAY > self.latest // DAY:
            self.today = 0
        self.latest = max(self.latest, self.clock.unix)
        entry = done("nothing", charge(0), key="today", owner=self.names["a"], reserved=False)
        self.settled(self.stores["a"], entry)

    @invariant()
    def sums_are_right(self):
        for name, limit in LIMITS.items():
            for store in self.stores.values():
                _, balance = self.wait(store.key(name))
                assert balance.reserved == self.reserved(name) >= 0
                assert balance.usage == self.spent[name] >= 0
                assert balance.parallel == sum(n == name for _, n, _ in self.held.values())
                spent = balance.spent(RESETS[name])
                assert spent == self.used(name) >= 0
                assert spent + balance.reserved <= limit

    def teardown(self):
        used = self.wait(self.stores["a"].used(Span(0, 10**11)))
        assert sum(each.micro for each in used) == sum(self.spent.values())
        for owner, store in self.stores.items():
            self.wait(store.leave(self.names[owner]))
        for name in LIMITS:
            _, balance = self.wait(self.stores["a"].key(name))
            assert (balance.reserved, balance.parallel) == (0, 0)
        for store in self.stores.values():
            self.wait(store.close())
        self.loop.close()


class InMemory(Calls):
    def make(self, owner):
        self.memory = getattr(self, "memory", None) or Memory()
        return MemoryStore(owner, memory=self.memory, clock=self.clock)


class InSqlite(Calls):
    def make(self, owner):
        if not hasattr(self, "directory"):
            self.directory = tempfile.TemporaryDirectory()
        return SqliteStore(owner, Path(self.directory.name) / "r.db", clock=self.clock)

    def teardown(self):
        super().teardown()
        self.directory.cleanup()


class InRedis(Calls):
    server: Server

    def make(self, owner):
        if not hasattr(self, "flushed"):
            self.flushed = self.server.say("FLUSHALL")
        return RedisStore(owner, self.server.url, clock=self.clock)


def test_in_memory():
    run_state_machine_as_test(InMemory, settings=settings(max_examples=100, deadline=None))


def test_in_sqlite():
    run_state_machine_as_test(
        InSqlite, settings=settings(max_examples=15, stateful_step_count=30, deadline=None)
    )


@pytest.mark.full
def test_in_redis(redis_server):
    machine = type("InRedis", (InRedis,), {"server": redis_server})
    run_state_machine_as_test(
        machine, settings=settings(max_examples=25, stateful_step_count=40, deadline=None)
    )
