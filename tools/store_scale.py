"""How a store does with a thousand keys and up to a million traces: prints microseconds.

    python tools/store_scale.py [--most 1000000] [--store sqlite|redis|memory|redis://…]

Each figure is the median of one operation at a time, awaited: its latency, not its throughput.
Admission and lookup have to stay flat from the first line to the last.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

import routeur.store
from routeur.store.base import (
    BUCKETS,
    Admitted,
    Charge,
    Entry,
    Key,
    Reservation,
    Settlement,
    Span,
    Store,
)
from tests import redis_server

KEYS = 1000
AT_ONCE = 256  # settlements while it is filled
FLYING = 8  # such batches
TIMES = 400  # that an operation is measured
MODELS = [("openai", "gpt-4o"), ("anthropic", "claude-sonnet-4-5"), ("google", "gemini-2.5-pro")]
TRACE = '["%s",null,"openai",true,1.0,200,"model","openai","openai",null,null,[["openai/gpt-4o",\
"openai",200,812.5,null]],0.0004,0.3,0.31,0.8,[12,0,0,0,340,0,0,0,0,0],0.0034,false,[]]'
TOKENS = tuple(340 if name == "output" else 12 if name == "input" else 0 for name in BUCKETS)


class Filled:
    """A store, what is in it, and numbers for what comes next."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.hashes = [f"{number:064x}" for number in range(KEYS)]
        self.traces = 0  # that can be looked up by their number
        self._seq = 0
        self._chance = random.Random(7)

    async def start(self) -> None:
        for number, hash in enumerate(self.hashes):
            key = Key(hash, f"key-{number}", "rtr_live_ab…yz", limit=10**15, rpm=10**9, tpm=10**12)
            await self.store.add_key(key)

    def entry(self, *, reserved: bool = False, id: str = "") -> Entry:
        number, self._seq = self._seq, self._seq + 1
        provider, model = self._chance.choice(MODELS)
        hash = self.hashes[number % KEYS]
        at = time.time()
        if not id:
            id, self.traces = f"tr_{self.traces:012}", self.traces + 1
        charge = Charge(provider, model, TOKENS, 3412)
        done = Settlement(id, hash, at - 1, at, 200, (charge,), reserved, TRACE % id)
        return Entry(self.store.owner, number, done)

    async def fill(self, traces: int) -> float:
        """So many traces in all; returns settlements per second."""
        began, before = time.perf_counter(), self.traces
        while self.traces < traces:
            batches = []
            while self.traces < traces and len(batches) < FLYING:
                size = min(AT_ONCE, traces - self.traces)
                batches.append(self.store.settle([self.entry() for _ in range(size)]))
            await asyncio.gather(*batches)
            await self.store.beat(self._seq)
        return (self.traces - before) / max(time.perf_counter() - began, 1e-9)

    def some(self) -> str:
        return f"tr_{self._chance.randrange(self.traces):012}"

    def hash(self) -> str:
        return self._chance.choice(self.hashes)


async def median(times: int, operation: Callable[[int], Awaitable[Any]]) -> float:
    """Microseconds of an operation."""
    taken = []
    for number in range(times):
        began = time.perf_counter()
        await operation(number)
        taken.append(time.perf_counter() - began)
    return statistics.median(taken) * 1e6


async def measured(filled: Filled) -> list[float]:
    """Admission, settling, lookup of a trace, of a key, a page of keys, news of keys, a report."""
    store, began = filled.store, time.monotonic_ns()
    version = (await store.key_changes(0)).version

    async def admit(number: int) -> None:
        hash = filled.hashes[(filled.traces + number) % KEYS]
        asked = Reservation(f"tr_x{began}{number}", hash, 5000, 12, 400)
        assert isinstance(await store.reserve(asked), Admitted)

    async def settle(number: int) -> None:
        await store.settle([filled.entry(reserved=True, id=f"tr_x{began}{number}")])

    async def look_up(_: int) -> None:
        assert await store.trace(filled.some()) is not None

    async def key(_: int) -> None:
        assert await store.key(filled.hash()) is not None

    async def page(number: int) -> None:
        assert len(await store.keys(number * 100 % KEYS, 100, include_disabled=True)) == 100

    async def news(_: int) -> None:
        assert not (await store.key_changes(version)).keys

    async def report(_: int) -> None:
        assert await store.used(Span(0, 1 << 40))

    found = [await median(TIMES, each) for each in (admit, settle)]
    found += [await median(TIMES, each) for each in (look_up, key)]
    return found + [await median(TIMES // 10, each) for each in (page, news, report)]


async def run(address: str, most: int) -> None:
    store = routeur.store.make(address, f"scale-{time.monotonic_ns()}")
    await store.open()
    filled = Filled(store)
    await filled.start()
    names = "traces fill/s admit settle trace key page news report".split()
    print(f"{address}: {KEYS} keys; microseconds, median")
    print(*[f"{name:>9}" for name in names])
    size = 1000
    while size <= most:
        rate = await filled.fill(size)
        figures = await measured(filled)
        row = [size, rate, *figures]
        print(*[f"{each:9.0f}" for each in row], flush=True)
        size *= 10
    await store.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--most", type=int, default=1_000_000, help="traces in the last line")
    parser.add_argument("--store", default="sqlite", help="sqlite, redis, memory or an address")
    options = parser.parse_args()
    with ExitStack() as stack:
        address = options.store
        if address == "redis":
            address = stack.enter_context(redis_server.running()).url
        elif address == "sqlite":
            folder = stack.enter_context(tempfile.TemporaryDirectory())
            address = f"sqlite:{folder}/routeur.db"
        elif address == "memory":
            address = "memory:"
        asyncio.run(run(address, options.most))


if __name__ == "__main__":
    main()
