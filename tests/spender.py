"""A process that spends cents: STORE OWNER COUNT. It says how many calls were admitted."""

from __future__ import annotations

import asyncio
import sys

from routeur.store import make
from routeur.store.base import Admitted
from tests.patience import WITH_REDIS, wait_long
from tests.stores import asks, done


async def main(address: str, owner: str, count: str) -> None:
    if address.startswith("redis"):
        wait_long(WITH_REDIS)
    store = make(address, owner)
    await store.open()
    numbers = iter(range(int(count)))

    async def calls() -> int:
        admitted = 0
        for number in numbers:
            id = f"{owner}-{number}"
            if isinstance(await store.reserve(asks(id)), Admitted):
                admitted += 1
                await store.settle([done(id, owner=owner, seq=number)])
        return admitted

    print(sum(await asyncio.gather(*(calls() for _ in range(20)))))
    await store.leave(owner)
    await store.close()


asyncio.run(main(*sys.argv[1:]))
