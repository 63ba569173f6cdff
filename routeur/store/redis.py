"""A store in a Redis or Valkey, for all processes of any number of machines: `redis://HOST:PORT/DB`.

What is decided is decided by its scripts, in lua/: those of calls do there what ledger.py does.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from routeur.store import packing
from routeur.store.accounts import DAY
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
from routeur.store.ledger import added
from routeur.store.line import Line, Operation
from routeur.store.reports import begin, hours, used
from routeur.store.scripts import ROOT

OPERATION = 0.1  # seconds that what calls wait for may take
PATIENCE = 0.5  # seconds for which a call waits to be admitted: others may be before it
QUESTION = 2.0  # seconds that anything else may take
REPORT = 10.0
AT_ONCE = 200  # calls that are ended by one script


class RedisStore:
    """Calls, and what their owner says, go one line, in their order; reports, which may take a
    while, another one; the rest a third.

    The time is the Redis's own, so that all machines have the same; a `clock` is for tests.
    """

    def __init__(self, owner: str, address: str, *, clock: Clock | None = None) -> None:
        self.owner = owner
        self._calls = Line(address, OPERATION, clock, owner)
        self._rest = Line(address, QUESTION, clock)
        self._reports = Line(address, REPORT, clock)
        self._unsure: set[int] = set()  # numbers of no spool that may have been booked

    @property
    def trouble(self) -> str | None:
        return self._calls.trouble

    async def open(self, *, replace_corrupt: bool = False) -> None:
        """Raises StoreUnavailable, too, if it does not answer: then it is tried again and again."""
        await self._calls.open()

    async def close(self) -> None:
        for line in (self._calls, self._rest, self._reports):
            await line.close()

    # ---- keys

    async def add_key(self, key: Key) -> bool:
        given = key.hash, packing.key_record(key)
        return bool(await self._ask("add_key", *given, again=False))

    async def change_key(self, hash: str, changes: Mapping[str, Any]) -> Key | None:
        while True:
            known = await self._ask("key", hash)
            if not known:
                return None
            key = dataclasses.replace(packing.key_of(known[0]), **changes)
            if await self._ask("change_key", hash, known[0], packing.key_record(key), again=False):
                return key

    async def remove_key(self, hash: str) -> bool:
        return bool(await self._ask("remove_key", hash, again=False))

    async def key(self, hash: str) -> tuple[Key, Balance] | None:
        found = await self._ask("key", hash)
        return packing.with_balance(*found) if found else None

    async def keys(
        self, offset: int, size: int, *, include_disabled: bool
    ) -> list[tuple[Key, Balance]]:
        wall, *found = await self._ask("keys", offset, size, int(include_disabled))
        return [packing.with_balance(*each, wall) for each in packing.pairs(found)]

    async def key_changes(self, since: int) -> KeyChanges:
        version, *found = await self._ask("key_changes", since)
        keys = [packing.key_of(record) for _, record in packing.pairs(found) if record]
        gone = [hash.decode() for hash, record in packing.pairs(found) if not record]
        return KeyChanges(version, tuple(keys), tuple(gone))

    # ---- before and after a call

    async def reserve(self, reservation: Reservation) -> Admitted | Refused:
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Any] = loop.create_future()
        first = reservation.attempt == 1
        undo = Operation("cancel", (reservation.id,), None) if first else None
        asking = Operation("reserve", (packing.reservation(reservation),), future, undo=undo)
        self._calls.put(asking)
        late = loop.call_later(PATIENCE, _give_up, future)
        try:
            return packing.admission(await future)
        except asyncio.CancelledError:
            if not future.cancelled():  # there was an answer, in the same turn of the loop
                self._calls.take_back(asking)
            raise
        finally:
            late.cancel()

    def settle(self, entries: Sequence[Entry]) -> asyncio.Future[None]:
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        try:
            given = packing.settlements(entries)
        except (OverflowError, UnicodeError) as error:
            future.set_exception(error)
            return future
        self._unsure.update(each.seq for each in entries if each.seq < 0)
        future.add_done_callback(lambda booked: self._settled(entries, booked))
        self._calls.put(Operation("settle", given, future, weight=len(entries)))
        return future

    def _settled(self, entries: Sequence[Entry], booked: asyncio.Future[None]) -> None:
        if not booked.cancelled() and not isinstance(booked.exception(), StoreUnavailable):
            self._unsure.difference_update(each.seq for each in entries)

    # ---- owners

    async def beat(self, kept_from: int, seen: Sequence[Seen] = ()) -> None:
        """Numbers below 0 are in no spool: they are kept as long as they may come again."""
        places = packing.places(self.owner, min((kept_from, *self._unsure)))
        await self._tell("beat", *places, packing.seen(seen))

    async def expire(self, silence: float) -> int:
        return await self._end("expire", int(silence * 1000))

    async def leave(self, owner: str) -> int:
        return await self._end("leave", owner)

    async def _end(self, script: str, given: int | str) -> int:
        ended, more = 0, AT_ONCE
        while more == AT_ONCE:
            more = await self._tell(script, AT_ONCE, packing.WIDTH, packing.OUTPUT_AT, given)
            ended += more
        return ended

    # ---- traces, usage

    async def trace(self, id: str, key: str | None = None) -> tuple[str, str] | None:
        found = await self._ask("", "HGET", f"{ROOT}:traces", id)
        if found is None:
            return None
        owner, trace = packing.trace_of(found)
        return (owner, trace) if key in (None, owner) else None

    async def prune(self, before: float, keep: int, at_most: int) -> int:
        return int(await self._ask("prune", repr(before), keep, at_most))

    async def used(self, span: Span) -> list[Used]:
        sums: dict[tuple[str, str], list[int]] = {}
        for provider, model, row in await self._sums(span, "model"):
            added(sums, (provider.decode(), model.decode()), packing.row(row))
        return [used(row, *name) for name, row in sorted(sums.items())]

    async def timeline(self, span: Span, granularity: Granularity) -> list[Used]:
        sums: dict[int, list[int]] = {}
        for hour, _, row in await self._sums(span, "hour"):
            added(sums, begin(int(hour), granularity), packing.row(row))
        return [used(row, start=start) for start, row in sorted(sums.items())]

    async def _sums(self, span: Span, by: str) -> list[tuple[bytes, bytes, bytes]]:
        """One script for each day, so that nobody else has to wait for long."""
        first, last = hours(span)
        of_days = "ZRANGEBYSCORE", f"{ROOT}:days", first // DAY, last // DAY
        days = await self._on(self._reports, "", of_days)
        some = [
            "" if each is None else f"={each}" for each in (span.key, span.provider, span.model)
        ]
        found: list[tuple[bytes, bytes, bytes]] = []
        for day in days:
            answer = await self._on(self._reports, "usage", (day, *some, first, last, by))
            found += zip(answer[::3], answer[1::3], answer[2::3], strict=True)
        return found

    # ---- responses

    async def keep(self, items: Sequence[Kept]) -> None:
        given = [part for each in items for part in (each.id, each.owner, repr(each.at), each.body)]
        if given:
            await self._ask("keep", *given)

    async def renew(self, item: Kept) -> int | None:
        given = item.id, item.owner, repr(item.at), item.body, item.version
        version: int | None = await self._ask("renew", *given, again=False)
        return version

    async def kept(self, id: str) -> Kept | None:
        return packing.kept_of(id, *await self._ask("kept", id))

    async def drop(self, id: str, owner: str) -> bool:
        return bool(await self._ask("drop", id, owner, again=False))

    async def evict(self, before: float, max_size: int, at_most: int) -> int:
        return int(await self._ask("evict", repr(before), max_size, at_most))

    # ---- small things

    async def put(self, name: str, value: bytes | None, version: int | None = None) -> int | None:
        given = name, value or b"", int(value is not None), "" if version is None else version
        new: int | None = await self._ask("put", *given, again=False)
        return new

    async def values(self, prefix: str) -> dict[str, tuple[bytes, int]]:
        start = prefix.encode()
        found = await self._ask("values", b"[" + start, b"(" + start + b"\xff")
        return {name.decode(): packing.value_of(value) for name, value in packing.pairs(found)}

    # ---- inside

    async def _ask(self, script: str, *given: Any, again: bool = True) -> Any:
        return await self._on(self._rest, script, given, again)

    async def _tell(self, script: str, *given: Any) -> Any:
        return await self._on(self._calls, script, given)

    async def _on(self, line: Line, script: str, given: Sequence[Any], again: bool = True) -> Any:
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        given = [each.encode() if isinstance(each, str) else each for each in given]
        line.put(Operation(script, given, future, again))
        return await future


def _give_up(future: asyncio.Future[Any]) -> None:
    if not future.done():
        future.set_exception(StoreUnavailable("the store does not answer"))
