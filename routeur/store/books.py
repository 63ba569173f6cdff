"""Sees to it that every finished call is booked, once: in the spool first, then in the store."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from itertools import islice
from pathlib import Path

import msgspec

from routeur.store.base import (
    Admitted,
    Charge,
    Entry,
    Refused,
    Reservation,
    Seen,
    Settlement,
    Store,
    StoreUnavailable,
)
from routeur.store.spool import Orphan, Spool, SpoolFull, orphans

AT_ONCE = 256  # entries that are booked together
PENDING = 20_000  # entries that are kept in memory; what comes then is read from the spool
MOMENT = 0.025  # seconds within which other processes have booked what ended just before
GATHER = 0.05  # seconds for which calls that hold nothing wait for others
AGAIN = 0.25  # seconds after which a store that did not work is tried again; at most ten times that
BEAT = 5.0  # seconds between two signs of life
SILENCE = 30.0  # seconds after which a process without any is taken to be dead
PRUNE_AT_ONCE = 500  # traces
PRUNE_EVERY = 10.0  # seconds
MOST = 1 << 53  # a number that is kept whole everywhere

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Settlement).decode


class Books:
    """`book` never waits and never fails; what it was given is in the store soon after.

    `seen` tells what calls under way have cost so far; `say` gets what an operator has to know.
    Traces are kept for so many seconds, and the last so many of them.
    """

    def __init__(
        self,
        store: Store,
        spool: Path | None,
        say: Callable[[str], None],
        seen: Callable[[], list[Seen]] = list,
        *,
        keep_for: float = 7 * 86400,
        keep: int = 1_000_000,
        spool_limit: int = 1 << 30,
    ) -> None:
        self._store = store
        self._owner = store.owner
        self._directory = spool
        self._spool = Spool(spool, self._owner, limit=spool_limit) if spool else None
        self._say = say
        self._seen = seen
        self._keep_for, self._keep = keep_for, keep
        self._pending: list[Entry] = []
        self._flying = 0  # entries that the store has, and has not said whether they are booked
        self._behind = -1  # the first entry that is in the spool and not pending; -1: none
        self._unspooled = 0  # how many have no number from the spool
        self.lost = 0  # calls that neither the store nor the spool could take
        self._idle = asyncio.Event()
        self._idle.set()
        self._pause = AGAIN
        self._soon = False  # calls that hold something are to be sent before anything is reserved
        self._timer: asyncio.TimerHandle | None = None  # for calls that can wait for others
        self._again: asyncio.TimerHandle | None = None  # after the store did not work
        self._catching_up: asyncio.Task[None] | None = None
        self._tasks: list[asyncio.Task[None]] = []

    # ---- life

    async def start(self) -> None:
        """The store is open. What processes that have ended left behind is booked first."""
        if self._spool is not None:
            self._spool.open()
        await self.recover()
        self._tasks = [
            asyncio.create_task(self._every(BEAT, self._beat)),
            asyncio.create_task(self._every(PRUNE_EVERY, self._prune)),
        ]

    async def stop(self, patience: float = 5.0) -> None:
        """Book what there is within so many seconds; what is left stays in the spool."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._send()
        with suppress(TimeoutError):
            async with asyncio.timeout(patience):
                await self._idle.wait()
        for timer in (self._timer, self._again):
            if timer is not None:
                timer.cancel()
        if self._catching_up is not None:
            self._catching_up.cancel()
        if self._spool is not None:  # before the store forgets what was in it
            await asyncio.to_thread(self._spool.close)
        if self._idle.is_set():
            with suppress(StoreUnavailable):
                await self._store.leave(self._owner)

    async def recover(self) -> None:
        """Book what ended processes have left in their spools, and end what their calls hold."""
        if self._directory is None:
            return
        for orphan in await asyncio.to_thread(list, orphans(self._directory)):
            try:
                count = await self._adopt(orphan)
            except StoreUnavailable:  # next time
                orphan.release()
            except msgspec.DecodeError as error:
                self._say(f"the spool of {orphan.owner} is of another version: {error}")
                orphan.release()
            else:
                if count:
                    self._say(f"{count} calls of a process that has ended were settled")

    async def _adopt(self, orphan: Orphan) -> int:
        entries = orphan.entries()
        while lines := await asyncio.to_thread(list, islice(entries, AT_ONCE)):
            await self._settle([Entry(orphan.owner, seq, _decode(line)) for seq, line in lines])
        # In this order: once the store has forgotten them, they must not be found again.
        await asyncio.to_thread(orphan.remove)
        return await self._store.leave(orphan.owner)

    # ---- calls

    async def reserve(self, reservation: Reservation) -> Admitted | Refused:
        """As the store's; but what has just ended in another process counts no more."""
        if self._soon:
            self._send()
        result = await self._store.reserve(reservation)
        if isinstance(result, Refused) and result.what in ("budget", "parallel"):
            await asyncio.sleep(MOMENT)
            result = await self._store.reserve(reservation)
        return result

    def book(self, done: Settlement) -> None:
        """In the turn of the loop in which the call has ended."""
        if self._spool is None:
            self._unspooled += 1
            seq = -self._unspooled
        else:
            try:
                line = _encode(done)
            except (UnicodeError, OverflowError):  # a model's name or a number that nobody sends
                done = _tame(done)
                line = _encode(done)
            seq = self._append(self._spool, line)
        self._idle.clear()
        pending = self._pending
        if self._behind < 0 and len(pending) + self._flying < PENDING:
            pending.append(Entry(self._owner, seq, done))
        elif seq < 0:
            self._lose()
        elif self._behind < 0:
            self._behind = seq
        if len(pending) >= AT_ONCE:
            self._send()
        elif done.reserved:
            self._send_soon()
        elif self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(GATHER, self._gathered)

    def _append(self, spool: Spool, line: bytes) -> int:
        """The entry's number; one below 0 where it could not be written."""
        try:
            return spool.append(line)
        except SpoolFull as error:
            if not self._unspooled:
                self._say(str(error))
            self._unspooled += 1
            return -self._unspooled

    def _lose(self) -> None:
        if not self.lost:
            self._say("finished calls are lost: neither the store nor the spool can be written")
        self.lost += 1

    def _send_soon(self) -> None:
        """Calls that hold something go together with what else ends in this turn of the loop."""
        if not self._soon:
            self._soon = True
            asyncio.get_running_loop().call_soon(self._send)

    def _gathered(self) -> None:
        self._timer = None
        self._send()

    # ---- to the store

    def _send(self) -> None:
        """Give the store what there is; a little at first, if it did not work just now."""
        self._soon = False
        if self._again is None:
            pending = self._pending
            self._pending = pending[AT_ONCE:] if self._pause > AGAIN else []
            for start in range(0, len(pending) - len(self._pending), AT_ONCE):
                self._settle_soon(pending[start : start + AT_ONCE])
        self._look()

    def _settle_soon(self, entries: list[Entry]) -> None:
        self._flying += len(entries)
        self._store.settle(entries).add_done_callback(partial(self._landed, entries))

    def _landed(self, entries: list[Entry], booked: asyncio.Future[None]) -> None:
        self._flying -= len(entries)
        error = booked.exception()
        if error is None:
            self._confirm(entries)
            self._pause = AGAIN
            if self._pending and self._timer is None:
                self._send()
        elif isinstance(error, StoreUnavailable):
            self._pending = entries + self._pending
            if self._again is None:
                loop = asyncio.get_running_loop()
                self._again = loop.call_later(self._pause, self._try_again)
                self._pause = min(2 * self._pause, 10 * AGAIN)
        elif len(entries) > 1:  # one of them cannot be kept, and must not hold up the others
            for entry in entries:
                self._settle_soon([entry])
        else:
            self._give_up(entries[0], error)
            self._confirm(entries)
        self._look()

    def _try_again(self) -> None:
        self._again = None
        self._send()

    def _look(self) -> None:
        """Whether there is more to do, once the store has everything that was in memory."""
        if not self._pending and not self._flying and self._catching_up is None:
            if self._behind >= 0:
                self._catching_up = asyncio.create_task(self._catch_up())
            else:
                self._idle.set()

    def _confirm(self, entries: list[Entry]) -> None:
        if self._spool is not None:
            self._spool.confirm([entry.seq for entry in entries if entry.seq >= 0])

    def _give_up(self, entry: Entry, error: BaseException) -> None:
        self._say(f"call {entry.settlement.id} cannot be booked: {error!r}")

    # ---- from the spool

    async def _catch_up(self) -> None:
        """Book what is in the spool only. What comes meanwhile goes there, too."""
        assert self._spool is not None
        while self._behind < self._spool.next:
            until = self._spool.next
            lines = self._spool.entries(self._behind, until)
            while some := await asyncio.to_thread(list, islice(lines, AT_ONCE)):
                await self._insist([Entry(self._owner, n, _decode(line)) for n, line in some])
                self._behind = some[-1][0] + 1
            self._behind = until
        self._behind = -1
        self._catching_up = None
        self._look()

    async def _insist(self, entries: list[Entry]) -> None:
        while True:
            try:
                await self._settle(entries)
            except StoreUnavailable:
                await asyncio.sleep(AGAIN)
            else:
                self._confirm(entries)
                return

    async def _settle(self, entries: list[Entry]) -> None:
        """Book them, but for what cannot be kept."""
        try:
            await self._store.settle(entries)
        except StoreUnavailable:
            raise
        except Exception as error:
            if len(entries) > 1:
                for entry in entries:
                    await self._settle([entry])
            else:
                self._give_up(entries[0], error)

    # ---- from time to time

    async def _every(self, seconds: float, work: Callable[[], Awaitable[None]]) -> None:
        """Do it again and again, whatever becomes of it."""
        while True:
            await asyncio.sleep(seconds)
            try:
                await work()
            except (StoreUnavailable, OSError):
                pass
            except Exception as error:
                self._say(f"a mistake of routeur's own, please report it: {error!r}")

    async def _beat(self) -> None:
        kept_from = self._spool.kept_from if self._spool else 0
        await self._store.beat(kept_from, self._seen())
        await self._store.expire(SILENCE)
        await self.recover()

    async def _prune(self) -> None:
        before = time.time() - self._keep_for
        while await self._store.prune(before, self._keep, PRUNE_AT_ONCE) == PRUNE_AT_ONCE:
            pass


def _tame(done: Settlement) -> Settlement:
    """The same, as far as text is text and numbers are of a size that can be kept."""
    charges = []
    for charge in done.charges:
        micro = None if charge.micro is None else min(max(charge.micro, 0), MOST)
        tokens = tuple(min(max(count, 0), MOST) for count in charge.tokens)
        names = _text(charge.provider), _text(charge.model)
        charges.append(Charge(*names, tokens, micro, charge.requests, charge.attempt))
    return msgspec.structs.replace(done, charges=tuple(charges), trace=_text(done.trace))


def _text(text: str) -> str:
    return text.encode("utf-8", "replace").decode()
