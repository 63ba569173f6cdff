"""A store in one SQLite file, for all processes of one machine: `sqlite:FILE`."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from routeur.store import queries, works
from routeur.store.base import (
    Admitted,
    Balance,
    Clock,
    Entry,
    Granularity,
    Kept,
    Key,
    KeyChanges,
    Refused,
    Reservation,
    Seen,
    Span,
    StoreUnavailable,
    Used,
)
from routeur.store.queries import Reader
from routeur.store.schema import prepare
from routeur.store.tables import Tables
from routeur.store.writer import Ask, Book, Do, Drop, Writer

PATIENCE = 1.0  # seconds for which a call waits to be admitted
REST = 0.25  # seconds for which nothing is tried after it did not work

Result = TypeVar("Result")


class SqliteStore:
    """Writing is one thread's, so that what many calls want is one transaction.

    Reading is two others': reports, which may take a while, and the rest.
    """

    def __init__(self, owner: str, path: Path, *, clock: Clock | None = None) -> None:
        self.owner = owner
        self._path = path
        self._clock = clock or Clock()
        self._reader, self._reporter = Reader(path), Reader(path)
        self._threads = {
            each: ThreadPoolExecutor(1, thread_name_prefix="routeur-store-reader")
            for each in (self._reader, self._reporter)
        }
        self._writer: Writer
        self._rest_until = 0.0

    @property
    def trouble(self) -> str | None:
        return self._writer.trouble

    async def open(self, *, replace_corrupt: bool = False) -> None:
        await asyncio.to_thread(prepare, self._path, replace_corrupt=replace_corrupt)
        self._loop = asyncio.get_running_loop()
        self._writer = Writer(self._path, self.owner, self._clock)
        self._writer.start()
        await self.beat(0)

    async def close(self) -> None:
        await self._writer.stop()
        for reader, thread in self._threads.items():
            await self._loop.run_in_executor(thread, reader.close)
            thread.shutdown()

    # ---- keys

    async def add_key(self, key: Key) -> bool:
        return await self._do(lambda tables, *_: works.add_key(tables, key))

    async def change_key(self, hash: str, changes: Mapping[str, Any]) -> Key | None:
        return await self._do(lambda tables, *_: works.change_key(tables, hash, changes))

    async def remove_key(self, hash: str) -> bool:
        return await self._do(lambda tables, *_: works.remove_key(tables, hash))

    async def key(self, hash: str) -> tuple[Key, Balance] | None:
        return await self._read(lambda db: queries.key(db, hash, self._clock.wall()))

    async def keys(
        self, offset: int, size: int, *, include_disabled: bool
    ) -> list[tuple[Key, Balance]]:
        wall = self._clock.wall()
        return await self._read(lambda db: queries.keys(db, offset, size, include_disabled, wall))

    async def key_changes(self, since: int) -> KeyChanges:
        return await self._read(lambda db: self._reader.key_changes(db, since))

    # ---- before and after a call

    async def reserve(self, reservation: Reservation) -> Admitted | Refused:
        loop = self._loop
        if loop.time() < self._rest_until:
            raise StoreUnavailable("the store does not work: try again in a moment")
        future: asyncio.Future[Admitted | Refused] = loop.create_future()
        late = loop.call_later(PATIENCE, _give_up, future)
        self._writer.put(Ask(reservation, future))
        try:
            return await future
        except (StoreUnavailable, asyncio.CancelledError) as error:
            if isinstance(error, StoreUnavailable):
                self._rest_until = loop.time() + REST
            if reservation.attempt == 1:  # now, so that it comes before whatever is asked next
                self._writer.put(Drop(reservation.id))
            raise
        finally:
            late.cancel()

    def settle(self, entries: Sequence[Entry]) -> asyncio.Future[None]:
        future: asyncio.Future[None] = self._loop.create_future()
        self._writer.put(Book(entries, future))
        return future

    # ---- owners

    async def beat(self, kept_from: int, seen: Sequence[Seen] = ()) -> None:
        owner = self.owner
        await self._do(lambda tables, _, now: works.beat(tables, owner, kept_from, seen, now))

    async def expire(self, silence: float) -> int:
        owner = self.owner
        return await self._do(lambda tables, *now: works.expire(tables, owner, silence, *now))

    async def leave(self, owner: str) -> int:
        return await self._do(lambda tables, wall, _: works.leave(tables, owner, wall))

    # ---- traces, usage

    async def trace(self, id: str, key: str | None = None) -> tuple[str, str] | None:
        return await self._read(lambda db: queries.trace(db, id, key))

    async def prune(self, before: float, keep: int, at_most: int) -> int:
        return await self._do(lambda tables, *_: works.prune(tables, before, keep, at_most))

    async def used(self, span: Span) -> list[Used]:
        return await self._read(lambda db: queries.by_model(db, span), self._reporter)

    async def timeline(self, span: Span, granularity: Granularity) -> list[Used]:
        return await self._read(lambda db: queries.by_time(db, span, granularity), self._reporter)

    # ---- responses

    async def keep(self, items: Sequence[Kept]) -> None:
        await self._do(lambda tables, *_: works.keep(tables, items))

    async def renew(self, item: Kept) -> int | None:
        return await self._do(lambda tables, *_: works.renew(tables, item))

    async def kept(self, id: str) -> Kept | None:
        return await self._read(lambda db: queries.kept(db, id))

    async def drop(self, id: str, owner: str) -> bool:
        return await self._do(lambda tables, *_: works.drop(tables, id, owner))

    async def evict(self, before: float, max_size: int, at_most: int) -> int:
        return await self._do(lambda tables, *_: works.evict(tables, before, max_size, at_most))

    # ---- small things

    async def put(self, name: str, value: bytes | None, version: int | None = None) -> int | None:
        return await self._do(lambda tables, *_: works.put(tables, name, value, version))

    async def values(self, prefix: str) -> dict[str, tuple[bytes, int]]:
        return await self._read(lambda db: queries.values(db, prefix))

    # ---- inside

    async def _do(self, work: Callable[[Tables, float, int], Result]) -> Result:
        future: asyncio.Future[Result] = self._loop.create_future()
        self._writer.put(Do(work, future))
        return await future

    async def _read(
        self, read: Callable[[sqlite3.Connection], Result], reader: Reader | None = None
    ) -> Result:
        reader = reader or self._reader
        return await self._loop.run_in_executor(self._threads[reader], reader.run, read)


def _give_up(future: asyncio.Future[Any]) -> None:
    if not future.done():
        future.set_exception(StoreUnavailable("the store does not answer"))
