"""A process that makes calls until it is killed: FILE OWNER. It says each one that has ended."""

from __future__ import annotations

import asyncio
import os
import sys
from itertools import count
from pathlib import Path

from routeur.store.books import Books
from routeur.store.sqlite import SqliteStore
from tests.stores import asks, done


async def main(path: str, owner: str) -> None:
    store = SqliteStore(owner, Path(path))
    await store.open()
    books = Books(store, Path(path + "-spool"), print)
    await books.start()
    numbers = count()

    async def calls(reserved: bool) -> None:
        for number in numbers:
            id = f"{owner}-{number}"
            if reserved:
                await books.reserve(asks(id))
            await asyncio.sleep(0)
            books.book(done(id, reserved=reserved, trace="{}").settlement)
            os.write(1, f"{id}\n".encode())
            await asyncio.sleep(0.001)

    await asyncio.gather(*(calls(number % 2 == 0) for number in range(20)))


asyncio.run(main(*sys.argv[1:]))
