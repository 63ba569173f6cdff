"""A store that lasts as long as the process: `memory:`."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby, islice
from operator import attrgetter
from typing import Any

from routeur.store.accounts import Account
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
    Settlement,
    Span,
    Used,
)
from routeur.store.ledger import Changed, Group, Ledger, added
from routeur.store.reports import begin, hours, used

_owner, _trace = attrgetter("owner"), attrgetter("trace")


class Memory:
    """What several owners of one process share."""

    def __init__(self) -> None:
        self.ledger = Ledger()
        self.sums: dict[Group, list[int]] = {}
        self.traces: dict[str, Settlement] = {}
        self.booked: dict[str, set[int]] = {}
        self.alive: dict[str, float] = {}
        self.versions: dict[str, int] = {}  # of keys, by hash; those that are gone, too
        self.version = 0
        self.values: dict[str, tuple[bytes, int]] = {}
        self.kept: dict[str, Kept] = {}
        self.kept_size = 0


class MemoryStore:
    """Another one with the same `memory` is another owner of the same store."""

    trouble = None

    def __init__(
        self, owner: str, *, memory: Memory | None = None, clock: Clock | None = None
    ) -> None:
        self.owner = owner
        self._all = memory or Memory()
        self._clock = clock or Clock()

    async def open(self, *, replace_corrupt: bool = False) -> None:
        self._all.alive[self.owner] = self._clock.steady()

    async def close(self) -> None:
        pass

    # ---- keys

    async def add_key(self, key: Key) -> bool:
        ledger = self._all.ledger
        if key.hash in ledger.keys:
            return False
        ledger.keys[key.hash] = key
        ledger.accounts[key.hash] = Account()
        self._changed(key.hash)
        return True

    async def change_key(self, hash: str, changes: Mapping[str, Any]) -> Key | None:
        key = self._all.ledger.keys.get(hash)
        if key is not None:
            key = self._all.ledger.keys[hash] = dataclasses.replace(key, **changes)
            self._changed(hash)
        return key

    async def remove_key(self, hash: str) -> bool:
        ledger = self._all.ledger
        if ledger.keys.pop(hash, None) is None:
            return False
        del ledger.accounts[hash]
        self._changed(hash)
        return True

    def _changed(self, hash: str) -> None:
        self._all.version += 1
        self._all.versions[hash] = self._all.version

    async def key(self, hash: str) -> tuple[Key, Balance] | None:
        key = self._all.ledger.keys.get(hash)
        return None if key is None else (key, self._balance(hash))

    async def keys(
        self, offset: int, size: int, *, include_disabled: bool
    ) -> list[tuple[Key, Balance]]:
        found = (k for k in self._all.ledger.keys.values() if include_disabled or not k.disabled)
        return [(key, self._balance(key.hash)) for key in islice(found, offset, offset + size)]

    def _balance(self, hash: str) -> Balance:
        account = self._all.ledger.accounts[hash]
        account.roll(self._clock.wall())
        return account.balance()

    async def key_changes(self, since: int) -> KeyChanges:
        known = self._all.ledger.keys
        newer = [hash for hash, version in self._all.versions.items() if version > since]
        keys = tuple(known[hash] for hash in newer if hash in known)
        gone = tuple(hash for hash in newer if hash not in known)
        return KeyChanges(self._all.version, keys, gone)

    # ---- before and after a call

    async def reserve(self, reservation: Reservation) -> Admitted | Refused:
        return self._all.ledger.reserve(reservation, self.owner, *self._now())

    def settle(self, entries: Sequence[Entry]) -> asyncio.Future[None]:
        fresh: list[Settlement] = []
        for owner, some in groupby(entries, _owner):
            before = self._all.booked.setdefault(owner, set())
            given = {entry.seq: entry.settlement for entry in some}
            fresh += [done for seq, done in given.items() if seq not in before]
            before.update(given)
        self._all.ledger.settle(fresh, self._now()[0])
        for done in filter(_trace, fresh):
            self._all.traces.setdefault(done.id, done)
        self._keep()
        booked: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        booked.set_result(None)
        return booked

    # ---- owners

    async def beat(self, kept_from: int, seen: Sequence[Seen] = ()) -> None:
        self._all.alive[self.owner] = self._clock.steady()
        self._all.ledger.see(seen)
        booked = self._all.booked.get(self.owner, set())
        booked -= {seq for seq in booked if seq < kept_from}
        self._all.ledger.tidy(self._now()[1])

    async def expire(self, silence: float) -> int:
        latest = self._clock.steady() - silence
        silent = [owner for owner, at in self._all.alive.items() if at < latest]
        return sum([self._end(owner) for owner in silent if owner != self.owner])

    async def leave(self, owner: str) -> int:
        self._all.alive.pop(owner, None)
        self._all.booked.pop(owner, None)
        return self._end(owner)

    def _end(self, owner: str) -> int:
        ended = self._all.ledger.end_of(owner, self._clock.wall())
        self._keep()
        return ended

    def _keep(self) -> None:
        """What the ledger has found out, and does not hold itself."""
        for group, more in self._all.ledger.changed.sums.items():
            added(self._all.sums, group, more)
        self._all.ledger.changed = Changed()

    def _now(self) -> tuple[float, int]:
        return self._clock.wall(), int(self._clock.steady() * 1000)

    # ---- traces, usage

    async def trace(self, id: str, key: str | None = None) -> tuple[str, str] | None:
        done = self._all.traces.get(id)
        return (done.key, done.trace) if done and key in (None, done.key) else None

    async def prune(self, before: float, keep: int, at_most: int) -> int:
        traces = self._all.traces
        excess = len(traces) - keep
        gone: list[str] = []
        for id, done in islice(traces.items(), at_most):
            if len(gone) >= excess and done.ended_at >= before:
                break
            gone.append(id)
        for id in gone:
            del traces[id]
        return len(gone)

    async def used(self, span: Span) -> list[Used]:
        sums: dict[tuple[str, str], list[int]] = {}
        for (_, _, provider, model), row in self._in(span):
            added(sums, (provider, model), row)
        return [used(row, provider, model) for (provider, model), row in sorted(sums.items())]

    async def timeline(self, span: Span, granularity: Granularity) -> list[Used]:
        sums: dict[int, list[int]] = {}
        for (hour, *_), row in self._in(span):
            added(sums, begin(hour, granularity), row)
        return [used(row, start=start) for start, row in sorted(sums.items())]

    def _in(self, span: Span) -> Iterable[tuple[Group, list[int]]]:
        first, last = hours(span)
        for group, row in self._all.sums.items():
            hour, key, provider, model = group
            if (
                first <= hour < last
                and span.key in (None, key)
                and span.provider in (None, provider)
                and span.model in (None, model)
            ):
                yield group, row

    # ---- responses

    async def keep(self, items: Sequence[Kept]) -> None:
        for item in items:
            known = self._all.kept.get(item.id)
            if known is None or known.owner == item.owner:
                self._put(item)

    async def renew(self, item: Kept) -> int | None:
        known = self._all.kept.get(item.id)
        if known is None or (known.owner, known.version) != (item.owner, item.version):
            return None
        return self._put(item)

    def _put(self, item: Kept) -> int:
        version = self._forget(item.id) + 1
        self._all.kept[item.id] = dataclasses.replace(item, version=version)
        self._all.kept_size += len(item.body)
        return version

    def _forget(self, id: str) -> int:
        """Returns the version that it had; 0: there was none."""
        known = self._all.kept.pop(id, None)
        if known is None:
            return 0
        self._all.kept_size -= len(known.body)
        return known.version

    async def kept(self, id: str) -> Kept | None:
        return self._all.kept.get(id)

    async def drop(self, id: str, owner: str) -> bool:
        known = self._all.kept.get(id)
        if known is None or known.owner != owner:
            return False
        self._forget(id)
        return True

    async def evict(self, before: float, max_size: int, at_most: int) -> int:
        oldest = sorted(self._all.kept.values(), key=lambda item: item.at)[:at_most]
        gone = 0
        for item in oldest:
            if item.at >= before and self._all.kept_size <= max_size:
                break
            self._forget(item.id)
            gone += 1
        return gone

    # ---- small things

    async def put(self, name: str, value: bytes | None, version: int | None = None) -> int | None:
        known = self._all.values.get(name, (b"", 0))[1]
        if version is not None and version != known:
            return None
        self._all.version += 1
        self._all.values.pop(name, None)
        if value is not None:
            self._all.values[name] = value, self._all.version
        return self._all.version

    async def values(self, prefix: str) -> dict[str, tuple[bytes, int]]:
        return {k: v for k, v in self._all.values.items() if k.startswith(prefix)}
