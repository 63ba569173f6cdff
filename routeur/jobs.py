"""Background responses while they are made: begun, followed by any number of clients, cancelled.

Another process sees of one what was kept last, and cancels it there: who makes it notices.
"""

from __future__ import annotations

import asyncio
import dataclasses
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import suppress
from dataclasses import dataclass, field

from msgspec.structs import replace

from routeur.background import NEXT, Background, interrupted, require_background
from routeur.dialects import exact
from routeur.dialects.base import Json
from routeur.errors import LimitExceeded, RouteurError, UpstreamError
from routeur.eventlog import EventLog, after, number_of
from routeur.inside import Inside
from routeur.lanes import Refusal
from routeur.responses import Stored, not_found, pack, unpack
from routeur.shelf import Shelf
from routeur.store.base import Kept, Store, StoreUnavailable
from routeur.turns import refusal

SNAPSHOT = 2.0  # seconds between two moments at which what there is of one is kept
SELDOM, LONG = 10.0, 1024 * 1024  # the same for long ones; bytes, after which one is long
SILENCE = 30.0  # seconds after which nobody makes it any more
POLL = 1.0  # seconds between two looks at one that another process makes
AT_ONCE = 256  # jobs of this process
BEHIND = 1024  # frames that wait for a slow follower, who then reads them from the log


@dataclass(slots=True, eq=False)
class Job:
    """One response that is made here. `version` is the store's, of what was kept last."""

    stored: Stored
    state: Background
    log: EventLog
    version: int = 0
    followers: set[asyncio.Queue[bytes]] = field(default_factory=set)
    task: asyncio.Task[None] | None = None
    cancelled: bool = False

    def tell(self, frames: bytes) -> None:
        """Frames for whoever follows; nothing: it has ended."""
        if frames:
            self.log.add(frames)
        for follower in [*self.followers]:
            if follower.full():
                self.followers.discard(follower)  # it reads on in the log
            else:
                follower.put_nowait(frames)

    def now(self) -> Stored:
        """What is to be kept of it."""
        response = exact.dumps(self.state.response)
        stream = tuple(self.log.whole())
        return replace(self.stored, response=response, stream=stream, alive=time.time())


class Jobs:
    """Those of this process. `bug` is told of a mistake of ours."""

    def __init__(self, store: Store, shelf: Shelf, bug: Callable[[BaseException], None]) -> None:
        self._store = store
        self._shelf = shelf
        self._bug = bug
        self._jobs: dict[str, Job] = {}

    @property
    def busy(self) -> bool:
        return bool(self._jobs)

    async def begin(self, stored: Stored, queued: Json, ask: Callable[[], Inside]) -> Json:
        """Make a response of the stream that `ask` asks for; what its client gets at once.

        `stored` has its input, `queued` is its object. Raises LimitExceeded, StoreUnavailable.
        """
        if len(self._jobs) >= AT_ONCE:
            raise LimitExceeded("too many background responses are under way: try again later")
        job = Job(replace(stored, background=True), Background(queued), EventLog())
        job.tell(job.state.begin())
        told = job.state.response
        await self._store.keep([pack(job.now())])
        job.version = 1
        self._jobs[stored.id] = job
        job.task = asyncio.create_task(self._run(job, ask))
        return told

    async def find(self, id: str, owner: str) -> Stored | None:
        """A response as it is now; None: nobody's. Raises NotFound, StoreUnavailable."""
        job = self._jobs.get(id)
        if job is not None and job.stored.owner == owner:
            return job.now()
        found = await self._shelf.find(id, owner)
        return None if found is None else _as_it_is(found)

    async def get(self, id: str, owner: str) -> Stored:
        """The same; raises NotFound for nobody's, too."""
        found = await self.find(id, owner)
        if found is None:
            raise not_found(id)
        return found

    async def delete(self, id: str, owner: str) -> bytes:
        """The answer to who deletes it; one that is made here is made no longer."""
        told = await self._shelf.delete(id, owner)
        job = self._jobs.get(id)
        if job is not None:
            self._stop(job)
        return told

    async def cancel(self, id: str, owner: str) -> Stored:
        """Cancel one; one that has ended stays as it is. Raises NotFound, ClientError."""
        job = self._jobs.get(id)
        if job is not None and job.stored.owner == owner:
            self._stop(job)
            assert job.task is not None
            await asyncio.wait([job.task])
            return job.now()
        for _ in range(10):  # who makes it may keep it at the same time
            known = await self._store.kept(id)
            stored = await self.get(id, owner)
            require_background(exact.loads(stored.response))
            now = _cancelled(stored)
            if now is stored:
                return now
            if known is not None and await self._store.renew(_packed(now, known.version)):
                return now
        raise StoreUnavailable("the response could not be cancelled: try again")

    async def follow(self, id: str, owner: str, number: int) -> AsyncGenerator[bytes, None]:
        """The frames after that number, as they were and as they come. Raises NotFound."""
        while True:
            job = self._jobs.get(id)
            if job is not None and job.stored.owner == owner:
                async for frames in _live(job, number):
                    number = _last_number(frames, number)
                    yield frames
                continue
            stored = await self.get(id, owner)
            ended = stored.status not in NEXT
            frames = after(EventLog(stored.stream).read(), number)
            if frames:
                number = _last_number(frames, number)
                yield frames
            if ended:
                return
            await asyncio.sleep(POLL)

    async def stop(self) -> None:
        """The process ends: what is not done fails."""
        tasks = [job.task for job in self._jobs.values() if job.task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    # ---- inside

    async def _run(self, job: Job, ask: Callable[[], Inside]) -> None:
        """From its first event to its last, which is kept."""
        done = asyncio.Event()
        keeping = asyncio.create_task(self._keep_on(job, done))
        try:
            await self._make(job, ask)
        except asyncio.CancelledError:
            told = job.state.cancel() if job.cancelled else _gone(job)
            job.tell(told)
        except Refusal as error:
            job.tell(job.state.fail(error.error.get("code") or "server_error", str(error)))
        except RouteurError as error:
            job.tell(job.state.fail(error.code, error.message))
        except Exception as bug:
            self._bug(bug)
            job.tell(job.state.fail("server_error", "internal error"))
        finally:
            done.set()  # not cancelled: else the version of what it is keeping would be unknown
            await keeping
            await self._end(job)

    async def _make(self, job: Job, ask: Callable[[], Inside]) -> None:
        request = ask()
        try:
            await request.ask()
            if request.status >= 300 or not request.streams:
                raise refusal(request.status, await request.whole())
            async for data in request.events():
                job.tell(job.state.take(exact.loads(data)))
        finally:
            await request.close()
        if not job.state.ended:
            raise UpstreamError("the provider's answer broke off")

    async def _keep_on(self, job: Job, done: asyncio.Event) -> None:
        """Keep what there is now and then; it is cancelled where somebody has changed it."""
        while True:
            # What has become long is written again less often.
            pause = min(SELDOM, SNAPSHOT * (1 + job.log.size // LONG))
            with suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await done.wait()
                    return
            with suppress(StoreUnavailable):
                version = await self._store.renew(_packed(job.now(), job.version))
                if version is None:
                    self._stop(job)
                    return
                job.version = version

    def _stop(self, job: Job) -> None:
        job.cancelled = True
        if job.task is not None:
            job.task.cancel()

    async def _end(self, job: Job) -> None:
        """It is kept as it is, unless it was deleted or cancelled meanwhile."""
        now = job.now()
        try:
            if await self._store.renew(_packed(now, job.version)) is None:
                # Perhaps by ourselves, and we were not told.
                kept = await self._store.kept(now.id)
                if kept is not None and unpack(kept).status in NEXT:
                    await self._store.renew(_packed(now, kept.version))
        except StoreUnavailable:
            self._shelf.add(now)
        finally:
            del self._jobs[now.id]
            job.tell(b"")


async def _live(job: Job, number: int) -> AsyncGenerator[bytes, None]:
    """Frames of a job from the log, then as they come; ends where a follower is too slow, too."""
    queue: asyncio.Queue[bytes] = asyncio.Queue(BEHIND)
    frames = after(job.log.read(), number)
    job.followers.add(queue)
    try:
        if frames:
            yield frames
        while queue in job.followers or not queue.empty():
            frames = await queue.get()
            if not frames:
                return
            if told := after(frames, number):
                yield told
    finally:
        job.followers.discard(queue)


def _gone(job: Job) -> bytes:
    return job.state.fail("server_error", "routeur was stopped: ask again")


def _packed(stored: Stored, version: int) -> Kept:
    return dataclasses.replace(pack(stored), version=version)


def _cancelled(stored: Stored) -> Stored:
    """One that another process makes, as it is when it is cancelled; the same if it has ended."""
    log = EventLog(stored.stream)
    state = Background.resumed(exact.loads(stored.response), _last_number(log.read(), -1) + 1)
    last = state.cancel()
    if not last:
        return stored
    log.add(last)
    return Job(stored, state, log).now()


def _as_it_is(stored: Stored) -> Stored:
    """One whose process has ended is not in progress any more."""
    if not stored.background or stored.status not in NEXT:
        return stored
    if time.time() - stored.alive < SILENCE:
        return stored
    return replace(stored, response=exact.dumps(interrupted(exact.loads(stored.response))))


def _last_number(frames: bytes, number: int) -> int:
    """The number of the last frame that has one."""
    for frame in reversed(frames.split(b"\n\n")):
        found = number_of(frame)
        if found is not None:
            return found
    return number
