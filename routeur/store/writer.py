"""The one thread that writes to the SQLite file: whatever has come meanwhile is one transaction."""

from __future__ import annotations

import asyncio
import fcntl
import os
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, TypeVar

from routeur.store.base import (
    Admitted,
    Clock,
    Entry,
    Refused,
    Reservation,
    Settlement,
    StoreUnavailable,
)
from routeur.store.checkpoints import Checkpoints
from routeur.store.schema import connect
from routeur.store.tables import TRACES, Tables, trace_row

AT_ONCE = 256  # operations in one transaction
PATIENCE = 0.5  # seconds for which a lock is waited for that somebody else has on the file
STEP = 0.001  # seconds between two looks at a lock that is not one of routeur's

Result = TypeVar("Result")
Work = Callable[[Tables, float, int], Result]  # is given Unix seconds and steady milliseconds


@dataclass(slots=True)
class Ask:
    reservation: Reservation
    future: asyncio.Future[Any]


@dataclass(slots=True)
class Book:
    entries: Sequence[Entry]
    future: asyncio.Future[Any]


@dataclass(slots=True)
class Drop:
    """A reservation for which nobody waited any more."""

    id: str
    future: None = None


@dataclass(slots=True)
class Do:
    """Anything else, in a transaction of its own."""

    work: Work[Any]
    future: asyncio.Future[Any]


Operation = Ask | Book | Drop
Outcome = tuple[Ask | Book | Drop | Do, Any, Exception | None]


class Turn:
    """Processes write one after the other. SQLite has a lock of its own, for which one waits in
    growing pauses; this one wakes whoever is next.
    """

    def __init__(self, path: Path) -> None:
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)

    def __enter__(self) -> None:
        fcntl.flock(self._fd, fcntl.LOCK_EX)

    def __exit__(self, *error: object) -> None:
        fcntl.flock(self._fd, fcntl.LOCK_UN)

    def close(self) -> None:
        os.close(self._fd)


class Writer:
    """Takes operations in their order; their futures learn what came of them, in the loop."""

    def __init__(self, path: Path, owner: str, clock: Clock) -> None:
        self._path = path
        self._owner = owner
        self._clock = clock
        self._asked: list[Operation | Do] = []  # in this turn of the loop
        self._queue: SimpleQueue[list[Operation | Do] | None] = SimpleQueue()
        self._taken: deque[Operation | Do] = deque()  # from the queue, and still to be done
        self._ending = False
        self._tables: Tables | None = None
        self._checkpoints = Checkpoints(path)
        self._turn = Turn(path.with_name(path.name + "-turn"))
        self._file = (0, 0)  # device and inode
        self._trouble: str | None = None
        self._since = 0.0  # when what is being done was begun; 0.0: nothing is
        self._loop = asyncio.get_running_loop()
        self._thread = threading.Thread(target=self._run, name="routeur-store", daemon=True)

    def start(self) -> None:
        self._checkpoints.start()
        self._thread.start()

    async def stop(self) -> None:
        """Do what was asked for before, and end."""
        self._hand_over()
        self._queue.put(None)
        await asyncio.to_thread(self._thread.join)
        await asyncio.to_thread(self._checkpoints.stop)

    @property
    def trouble(self) -> str | None:
        since = self._since
        if since and time.monotonic() - since > 2 * PATIENCE:
            return f"{self._path.name} does not answer"
        return self._trouble

    def put(self, operation: Operation | Do) -> None:
        """What comes in one turn of the loop is handed over together: the thread is woken once,
        and has few transactions to make.
        """
        if not self._asked:
            self._loop.call_soon(self._hand_over)
        self._asked.append(operation)

    def _hand_over(self) -> None:
        asked, self._asked = self._asked, []
        if asked:
            self._queue.put(asked)

    # ---- in the thread

    def _run(self) -> None:
        while not self._ending:
            batch, work = self._take()
            self._since = time.monotonic()
            outcomes = self._try(batch) if batch else []
            if work is not None:
                outcomes.append(self._do(work))
            self._since = 0.0
            with suppress(RuntimeError):  # the loop is closed: nobody waits any more
                self._loop.call_soon_threadsafe(self._deliver, outcomes)
        if self._tables is not None:
            self._tables.db.close()
        self._turn.close()

    def _take(self) -> tuple[list[Operation], Do | None]:
        """What there is, up to something that wants a transaction of its own."""
        batch: list[Operation] = []
        while len(batch) < AT_ONCE and self._has_more(block=not batch):
            each = self._taken.popleft()
            if isinstance(each, Do):
                return batch, each
            batch.append(each)
        return batch, None

    def _has_more(self, *, block: bool) -> bool:
        """Whether there is something to do; waits for it if `block`, but for the end."""
        if not self._taken and not self._ending:
            with suppress(Empty):
                asked = self._queue.get(block=block)
                self._ending = asked is None
                self._taken.extend(asked or ())
        return bool(self._taken)

    def _try(self, batch: Sequence[Operation]) -> list[Outcome]:
        try:
            return self._transact(lambda *given: self._all(batch, *given))
        except StoreUnavailable as error:
            return [(each, None, error) for each in batch]
        except Exception as error:  # something that cannot be kept: whose fault is it?
            if len(batch) == 1:
                return [(batch[0], None, error)]
            return [outcome for each in batch for outcome in self._try([each])]

    def _do(self, work: Do) -> Outcome:
        try:
            return work, self._transact(work.work), None
        except Exception as error:
            return work, None, error
        finally:
            if self._tables is not None:  # it may have written past what they remember
                self._tables.forget()

    def _transact(self, work: Work[Result]) -> Result:
        """Do it all or nothing; raises StoreUnavailable if the file cannot be written."""
        try:
            tables = self._ready()
            with self._turn:
                self._begin(tables.db)
                tables.refresh()
                wall, now = self._clock.wall(), int(self._clock.steady() * 1000)
                result = work(tables, wall, now)
                tables.keep()
                tables.db.execute("COMMIT")
            self._checkpoints.committed(tables.db)
        except sqlite3.DatabaseError as error:
            self._undo()
            if isinstance(error, sqlite3.IntegrityError | sqlite3.DataError):
                raise
            self._trouble = f"{self._path.name}: {error}"
            self._close(error)
            raise StoreUnavailable(f"the store does not work: {error}") from error
        except BaseException:
            self._undo()
            raise
        self._trouble = None
        return result

    def _ready(self) -> Tables:
        """The open file, as long as it is the one at this path."""
        try:
            found = os.stat(self._path)
        except OSError as error:
            raise sqlite3.OperationalError(f"the file is gone ({error.strerror})") from error
        if self._file != (0, 0) and self._file != (found.st_dev, found.st_ino):
            raise sqlite3.OperationalError("the file was replaced: restart routeur to use it")
        if self._tables is None:
            self._tables = Tables(connect(self._path))
            self._file = found.st_dev, found.st_ino
        return self._tables

    def _begin(self, db: sqlite3.Connection) -> None:
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                db.execute("BEGIN IMMEDIATE")
                return
            except sqlite3.OperationalError as error:
                busy = error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY
                if not busy or time.monotonic() > deadline:
                    raise
            time.sleep(STEP)

    def _undo(self) -> None:
        if self._tables is not None:
            self._tables.forget()
            if self._tables.db.in_transaction:
                with suppress(sqlite3.Error):
                    self._tables.db.execute("ROLLBACK")

    def _close(self, error: sqlite3.Error) -> None:
        """Begin anew after errors that may stick to the connection."""
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        if self._tables is not None and code not in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_FULL):
            self._tables.db.close()
            self._tables = None

    def _all(
        self, batch: Sequence[Operation], tables: Tables, wall: float, now: int
    ) -> list[Outcome]:
        entries = [entry for each in batch if isinstance(each, Book) for entry in each.entries]
        new = tables.unbooked(entries)
        fresh = [*new.values()]
        self._bring(tables, batch, fresh, now)
        outcomes: list[Outcome] = []
        for each in batch:
            result: Admitted | Refused | None = None
            if isinstance(each, Ask):
                result = tables.ledger.reserve(each.reservation, self._owner, wall, now)
            elif isinstance(each, Drop):
                tables.ledger.cancel(each.id)
            else:
                found = [new.pop((entry.owner, entry.seq), None) for entry in each.entries]
                tables.ledger.settle([done for done in found if done is not None], wall)
            outcomes.append((each, result, None))
        TRACES.run(tables.db, [trace_row(done) for done in fresh if done.trace])
        return outcomes

    def _bring(
        self, tables: Tables, batch: Sequence[Operation], fresh: Sequence[Settlement], now: int
    ) -> None:
        asked = [each.reservation for each in batch if isinstance(each, Ask)]
        late = [done.id for done in fresh if done.reserved]
        ids = [each.id for each in asked] + late
        ids += [each.id for each in batch if isinstance(each, Drop)]
        hashes = {each.key for each in asked if each.key} | {d.key for d in fresh if d.key}
        names = {name for each in asked for name, _, _ in each.wants}
        tables.bring(ids, late, hashes, names, now)

    # ---- in the loop

    def _deliver(self, outcomes: Sequence[Outcome]) -> None:
        for operation, result, error in outcomes:
            future = operation.future
            if future is None or future.done():  # whoever asked has gone
                continue
            if error is not None:
                future.set_exception(error)
            else:
                future.set_result(result)
