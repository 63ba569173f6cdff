"""A process that spends cents: STORE OWNER COUNT. It says how many calls were admitted."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TypeVar

from routeur.store import make
from routeur.store.base import Admitted, StoreUnavailable
from tests.stores import asks, done

Result = TypeVar("Result")


async def insist(ask: Callable[[], Awaitable[Result]]) -> Result:
    while True:
        try:
            return await ask()
        except StoreUnavailable:  # not in time, on a machine that is busy
            await asyncio.sleep(0.1)


async def main(address: str, owner: str, count: str) -> None:
    store = make(address, owner)
    await store.open()
    numbers = iter(range(int(count)))

    async def calls() -> int:
        admitted = 0
        for number in numbers:
            id = f"{owner}-{number}"
            if isinstance(await insist(partial(store.reserve, asks(id))), Admitted):
                admitted += 1
                await insist(partial(store.settle, [done(id, owner=owner, seq=number)]))
        return admitted

    print(sum(await asyncio.gather(*(calls() for _ in range(20)))))
    await store.leave(owner)
    await store.close()


asyncio.run(main(*sys.argv[1:]))
