"""A connection to a Redis: operations go out in their order, and not at all while it has failed."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from itertools import count
from typing import Any

from redis.asyncio.connection import ConnectionPool
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import (
    AskError,
    AuthenticationError,
    ConnectionError,
    InvalidResponse,
    MovedError,
    NoPermissionError,
    NoScriptError,
    RedisError,
    ResponseError,
)

from routeur.store.base import Clock, StoreUnavailable, StoreUnusable
from routeur.store.scripts import ROOT, SCRIPTS

SCHEMA = 1  # of what is kept in a Redis
CONNECT = 1.0  # seconds
FAILURES = 3  # in a row, after which nothing is tried but to connect
REST = 0.25  # seconds until that is tried again; twice as long each time,
LONGEST = 1.0  # but no longer than this
AT_ONCE = 64  # operations
ENTRIES = 256  # settlements among them
TURNS = 4  # of the loop, in which an answer that has arrived is read
HOPS = 3  # from one part of a cluster to another

# What a Redis says that is well, but cannot do this now; within a script, somewhere in the text.
PASSING = (
    "ASK BUSY CLUSTERDOWN FENCED LOADING MASTERDOWN MISCONF MOVED NOAUTH NOPERM NOREPLICAS OOM "
    "READONLY TRYAGAIN UNKILLABLE"
).split()
FAILED = (RedisError, OSError, TimeoutError)


@dataclass(slots=True, eq=False)
class Operation:
    """A script, or a command where that is "". `again`: it may be done twice without harm.

    `undo` is owed if it was done, or may have been, when nobody waited any more.
    """

    script: str
    args: Sequence[Any]
    future: asyncio.Future[Any] | None
    again: bool = True
    undo: Operation | None = None
    weight: int = 1  # settlements

    def fail(self, error: Exception) -> None:
        if self.future is not None and not self.future.done():
            self.future.set_exception(error)


@asynccontextmanager
async def within(seconds: float) -> AsyncIterator[None]:
    """As asyncio.timeout: but what has arrived by then counts, however late our own loop is."""
    loop = asyncio.get_running_loop()
    waits: list[asyncio.Handle] = []
    async with asyncio.timeout(None) as timeout:

        def late(turns: int) -> None:
            if turns:
                waits.append(loop.call_soon(late, turns - 1))
            else:
                timeout.reschedule(loop.time())

        waits.append(loop.call_later(seconds, late, TURNS))
        try:
            yield
        finally:
            waits[-1].cancel()


class Line:
    """`limit` is how many seconds an exchange may last. A line of an `owner` is its only one: what
    was sent on an earlier one is refused from then on, should it still arrive.
    """

    def __init__(
        self, address: str, limit: float, clock: Clock | None = None, owner: str = ""
    ) -> None:
        self._pool = ConnectionPool.from_url(
            address, protocol=2, retry=Retry(NoBackoff(), 0), socket_timeout=None
        )
        self._limit = limit
        self._clock = clock
        self._owner = owner
        self._number = ""  # of the connection, among those of all owners
        self._connection: Any = None
        self._elsewhere: tuple[str, int] | None = None  # where a cluster keeps what is ours
        self._queue: deque[Operation] = deque()
        self._owed: deque[Operation] = deque()
        self._some = asyncio.Event()
        self._end = asyncio.Event()
        self._failures = 0
        self._slow = False  # somebody gave up before an answer came
        self._task: asyncio.Task[None] | None = None
        self.trouble: str | None = None

    # ---- life

    async def open(self) -> None:
        """Raises StoreUnusable; or StoreUnavailable, and goes on trying."""
        try:
            await self._connect()
            await self._check()
        except FAILED as error:
            await self._drop()
            if _final(error):
                raise StoreUnusable(f"{self._place()}: {_said(error)}") from error
            self._failed(error)
            raise StoreUnavailable(_told(error)) from error
        except StoreUnusable:
            await self._drop()
            raise
        self._begin()

    async def _check(self) -> None:
        """A Redis that throws away what it was given is no place for a ledger."""
        try:
            info: bytes = await self._call("INFO", "memory")
        except NoPermissionError:
            return
        found = dict(line.split(b":", 1) for line in info.split() if b":" in line)
        policy = found.get(b"maxmemory_policy", b"").decode()
        if policy.startswith("allkeys") and found.get(b"maxmemory") != b"0":
            raise StoreUnusable(
                f"{self._place()} may forget anything when its memory is full (maxmemory-policy "
                f"{policy}): expected noeviction"
            )

    async def close(self) -> None:
        """Does what was asked for before, if that works."""
        self._end.set()
        self._some.set()
        if self._task is not None:
            await self._task
        await self._drop()

    def put(self, operation: Operation) -> None:
        """Its place is behind all that were put before. It fails while nothing is tried."""
        if self._failures >= FAILURES or self._end.is_set():
            operation.fail(StoreUnavailable("the store does not work: try again in a moment"))
            return
        self._queue.append(operation)
        self._some.set()
        self._begin()

    def take_back(self, operation: Operation) -> None:
        """It was answered, but nobody has heard that."""
        future = operation.future
        if future is not None and future.exception() is None and future.result()[0] == b"yes":
            self._owe(operation)

    def _begin(self) -> None:
        if self._task is None:
            self._task = asyncio.create_task(self._run())

    def _place(self) -> str:
        known = self._pool.connection_kwargs
        return f"Redis at {known.get('host', 'localhost')}:{known.get('port', 6379)}"

    # ---- its task

    async def _run(self) -> None:
        while not self._end.is_set() or (not self._failures and (self._queue or self._owed)):
            if self._failures and self._connection is None:
                await self._try_again()
                continue
            await self._some.wait()
            batch = self._take()
            if batch:
                await self._carry(batch)
        self._refuse(self._queue, "it is closed")

    async def _try_again(self) -> None:
        if self._failures >= FAILURES:
            pause = min(REST * 2 ** min(self._failures - FAILURES, 8), LONGEST)
            with suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._end.wait()
        if self._end.is_set():
            return
        try:
            await self._connect()
        except Exception as error:
            self._failed(error)
        else:
            self._failures = min(self._failures, FAILURES - 1)  # one more is enough
            self.trouble = None

    def _take(self) -> deque[Operation]:
        """What is owed, then what has come, as far as somebody waits for it."""
        batch, weight = self._owed, 0
        self._owed = deque()
        while self._queue and len(batch) < AT_ONCE and weight < ENTRIES:
            each = self._queue.popleft()
            if each.script == "settle" or not _gone(each):
                batch.append(each)
                weight += each.weight
        if not self._queue and not self._end.is_set():
            self._some.clear()
        return batch

    async def _carry(self, batch: deque[Operation]) -> None:
        """Have them done; those that were answered leave the batch."""
        self._slow, fresh = False, self._connection is None
        try:
            async with within(self._limit):
                try:
                    await self._exchange(batch)
                except MovedError as error:
                    await self._follow(error)
                    await self._exchange(batch)
                except ConnectionError:  # it may have been closed for long
                    if fresh:
                        raise
                    await self._drop()
                    self._part(batch)
                    await self._exchange(batch)
            if self._slow:
                raise TimeoutError
        except Exception as error:  # whatever it was, the next ones are to be carried
            self._failed(error)
            await self._drop()
            for each in batch:
                self._owe(each)
            self._refuse(batch, _told(error))
        else:
            self._failures, self.trouble = 0, None

    def _part(self, batch: deque[Operation]) -> None:
        """Leave those that may be done twice."""
        whole, again = [*batch], [each for each in batch if each.again]
        batch.clear()
        batch.extend(again)
        self._refuse((each for each in whole if not each.again), "the connection was lost")

    def _owe(self, each: Operation) -> None:
        """Nobody waits for it now, or will: it is to be undone before anything else is done."""
        if each.undo is not None:
            self._owed.append(each.undo)
        elif each.future is None:
            self._owed.append(each)
        self._some.set()

    def _refuse(self, some: Iterable[Operation], why: str) -> None:
        for each in some:
            each.fail(StoreUnavailable(f"the store does not work: {why}"))

    def _failed(self, error: Exception) -> None:
        self.trouble = f"{self._place()}: {_said(error)}"
        self._failures += 1
        if self._failures >= FAILURES:
            self._refuse(self._queue, _told(error))
            self._queue.clear()
        self._begin()

    # ---- on the wire

    async def _connect(self) -> None:
        """Raises one of FAILED, or StoreUnusable."""
        try:
            async with asyncio.timeout(CONNECT):
                for hop in count(1):
                    try:
                        await self._connect_once()
                        return
                    except MovedError as error:
                        if hop == HOPS:
                            raise
                        await self._follow(error)
        except BaseException:
            self._elsewhere = None
            await self._drop()
            raise

    async def _follow(self, moved: MovedError) -> None:
        self._elsewhere = moved.host or self._connection.host, moved.port
        await self._drop()

    async def _connect_once(self) -> None:
        make: Callable[[], Any] = self._pool.make_connection  # has no types
        self._connection = make()
        if self._elsewhere is not None:
            self._connection.host, self._connection.port = self._elsewhere
        await self._connection.connect()
        if self._owner:
            given = (*self._now(), "", "", self._owner, SCHEMA)
            version, number = await self._call("EVAL", SCRIPTS["greet"].text, 1, ROOT, *given)
            if int(version) > SCHEMA:
                raise StoreUnusable(
                    f"the store at {self._place()} has version {int(version)}, this routeur knows "
                    f"up to {SCHEMA}: use a newer routeur"
                )
            self._number = number.decode()

    async def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(*FAILED):
                await connection.disconnect(nowait=True)

    async def _exchange(self, batch: deque[Operation]) -> None:
        if self._connection is None:
            await self._connect()
        if not await self._ask(batch):  # the cache of scripts was emptied, or it is another Redis
            for script in SCRIPTS.values():
                await self._call("SCRIPT", "LOAD", script.text)
            if not await self._ask(batch):
                raise ResponseError("it does not keep scripts")

    async def _ask(self, batch: deque[Operation]) -> bool:
        """Have them done; False if scripts are not there. What was not even begun stays."""
        await self._send([self._command(each) for each in batch])
        missing = False
        broken: ResponseError | None = None
        for _ in range(len(batch)):
            answer = await self._read()
            each = batch.popleft()
            if isinstance(answer, NoScriptError):
                missing = True
                batch.append(each)
            elif not isinstance(answer, ResponseError):
                self._deliver(each, answer)
            elif _passing(answer):
                broken = broken or answer
                batch.append(each)
            elif each.script == "settle":  # this one cannot be booked: others can
                each.fail(RuntimeError(_said(answer)))
            else:
                each.fail(StoreUnavailable(f"the store does not work: {_told(answer)}"))
        if broken is not None:
            raise broken
        return not missing

    def _deliver(self, each: Operation, answer: Any) -> None:
        if each.future is None:
            return
        if not each.future.done():
            each.future.set_result(answer)
            return
        self._slow = self._slow or not each.future.cancelled()
        if each.undo is not None and answer[0] == b"yes":
            self._owe(each)

    def _command(self, each: Operation) -> Sequence[Any]:
        if not each.script:
            return each.args
        sha = SCRIPTS[each.script].sha
        return "EVALSHA", sha, 1, ROOT, *self._now(), self._owner, self._number, *each.args

    def _now(self) -> tuple[str, str]:
        """Of a clock that was given; else it is the Redis's, which all machines share."""
        if self._clock is None:
            return "", ""
        return repr(self._clock.wall()), str(int(self._clock.steady() * 1000))

    async def _call(self, *command: Any) -> Any:
        await self._send([command])
        answer = await self._read()
        if isinstance(answer, ResponseError):
            raise answer
        return answer

    async def _send(self, commands: Sequence[Sequence[Any]]) -> None:
        packed = self._connection.pack_commands(commands)
        await self._connection.send_packed_command(packed, check_health=False)

    async def _read(self) -> Any:
        try:
            return await self._connection.read_response(disconnect_on_error=False)
        except ResponseError as error:
            return error


def _gone(each: Operation) -> bool:
    return each.future is not None and each.future.done()


def _passing(error: ResponseError) -> bool:
    """Whether it says that it is well, but cannot do this now; scripts say so within a text."""
    if type(error) is not ResponseError:
        return True
    text = str(error)
    code = text.partition(" ")[0]
    return code in PASSING or any(f"-{each} " in text for each in PASSING)


def _final(error: Exception) -> bool:
    """Whether there is no use in trying it again with this configuration."""
    if isinstance(error, AuthenticationError | NoPermissionError | InvalidResponse):
        return True
    return isinstance(error, ResponseError) and not _passing(error)


def _said(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "it does not answer in time"
    return str(error) or type(error).__name__


def _told(error: Exception) -> str:
    """The same for clients: without addresses."""
    if isinstance(error, TimeoutError):  # an OSError, too
        return _said(error)
    hidden = isinstance(error, AskError | OSError | ConnectionError | StoreUnusable)
    return "it cannot be reached" if hidden else _said(error)
