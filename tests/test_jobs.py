"""Background responses: made, followed, cancelled, here and from another process."""

from __future__ import annotations

import asyncio
import time

import orjson
import pytest
from msgspec.structs import replace

from routeur import jobs
from routeur.errors import ClientError, LimitExceeded, NotFound
from routeur.jobs import Jobs
from routeur.responses import Stored, pack, unpack
from routeur.shelf import Shelf
from routeur.store.base import StoreUnavailable
from routeur.store.memory import Memory, MemoryStore
from tests.fake import PATIENCE


class Request:
    """An inner request, as a test answers it."""

    status = 200
    streams = True

    def __init__(self, *parts):
        self.parts = parts
        self.go = asyncio.Event()
        self.closed = asyncio.Event()

    async def ask(self):
        pass

    async def events(self):
        for part in self.parts:
            if part is None:
                await self.go.wait()
            else:
                yield orjson.dumps(part)

    async def whole(self):
        return orjson.dumps({"error": {"message": "no", "code": "teapot"}})

    async def close(self):
        self.closed.set()


CREATED = {"type": "response.created", "response": {"id": "resp_x", "status": "in_progress"}}
DELTA = {"type": "response.output_text.delta", "delta": "x"}
OUTPUT = [{"type": "message", "role": "assistant", "content": []}]
DONE = {
    "type": "response.completed",
    "response": {"id": "resp_x", "status": "completed", "output": OUTPUT},
}
QUEUED = {"id": "resp_1", "object": "response", "created_at": 5, "output": []}


class Process:
    def __init__(self, name, memory):
        self.store = MemoryStore(name, memory=memory)
        self.shelf = Shelf(self.store, 1000.0, 1 << 30, lambda count: None)
        self.bugs = []
        self.jobs = Jobs(self.store, self.shelf, self.bugs.append)

    async def begin(self, *parts, id="resp_1"):
        request = Request(*parts)
        stored = Stored(id, "k", time.time(), input=(b'{"role":"user","content":"q"}',))
        told = await self.jobs.begin(stored, {**QUEUED, "id": id}, lambda: request)
        return request, told

    async def idle(self):
        deadline = time.monotonic() + PATIENCE
        while self.jobs._jobs:
            assert time.monotonic() < deadline
            await asyncio.sleep(0)

    async def ended(self, id="resp_1"):
        async with asyncio.timeout(PATIENCE):
            async for _ in self.jobs.follow(id, "k", 10**6):
                pass
        return await self.jobs.get(id, "k")


@pytest.fixture
def memory():
    return Memory()


@pytest.fixture
async def here(memory, monkeypatch):
    monkeypatch.setattr(jobs, "SNAPSHOT", 0.02)
    monkeypatch.setattr(jobs, "POLL", 0.01)
    process = Process("a", memory)
    yield process
    await process.jobs.stop()
    assert not process.jobs._jobs


@pytest.fixture
def there(memory):
    return Process("b", memory)


def kinds(frames):
    data = [line[6:] for line in frames.splitlines() if line.startswith(b"data: ")]
    return [orjson.loads(each)["type"].removeprefix("response.") for each in data]


async def collect(frames):
    async with asyncio.timeout(PATIENCE):
        return b"".join([each async for each in frames])


WHOLE = ["created", "queued", "output_text.delta", "output_text.delta", "completed"]


async def test_from_its_beginning_to_its_end(here, there):
    request, told = await here.begin(CREATED, DELTA, None, DELTA, DONE)
    assert told["status"] == "queued"
    assert (await there.jobs.get("resp_1", "k")).status == "queued"
    following = asyncio.ensure_future(collect(here.jobs.follow("resp_1", "k", -1)))
    await asyncio.sleep(0)
    request.go.set()

    stream = await following
    assert kinds(stream) == WHOLE
    stored = await here.ended()
    assert stored.status == "completed"
    assert orjson.loads(stored.response)["id"] == "resp_1"
    assert request.closed.is_set()
    assert await collect(there.jobs.follow("resp_1", "k", -1)) == stream
    assert unpack(await here.store.kept("resp_1")).input == stored.input


@pytest.mark.parametrize("number", range(-1, 6))
async def test_taken_up_again_with_the_same_bytes(here, there, number):
    request, _ = await here.begin(CREATED, DELTA, None, DELTA, DONE)
    live = asyncio.ensure_future(collect(here.jobs.follow("resp_1", "k", number)))
    far = asyncio.ensure_future(collect(there.jobs.follow("resp_1", "k", number)))
    await asyncio.sleep(0.05)
    request.go.set()
    await here.ended()
    whole = await collect(here.jobs.follow("resp_1", "k", -1))

    rest = b"".join(each + b"\n\n" for each in whole.split(b"\n\n")[:-1][number + 1 :])
    assert await live == rest
    assert await far == rest
    assert await collect(here.jobs.follow("resp_1", "k", number)) == rest


async def test_a_follower_that_is_too_slow(here, monkeypatch):
    monkeypatch.setattr(jobs, "BEHIND", 2)
    request, _ = await here.begin(None, CREATED, *[DELTA] * 50, DONE)
    frames = here.jobs.follow("resp_1", "k", -1)
    first = await anext(frames)
    request.go.set()
    await here.idle()

    assert kinds(first + await collect(frames)) == [
        "created",
        "queued",
        *["output_text.delta"] * 50,
        "completed",
    ]


async def test_cancelled_here(here, there):
    request, _ = await here.begin(CREATED, DELTA, None)
    await asyncio.sleep(0)
    stored = await here.jobs.cancel("resp_1", "k")

    assert stored.status == "cancelled"
    assert request.closed.is_set()
    assert (await there.jobs.get("resp_1", "k")).status == "cancelled"
    assert (await here.jobs.cancel("resp_1", "k")).status == "cancelled"


async def test_cancelled_from_elsewhere(here, there):
    request, _ = await here.begin(CREATED, DELTA, None)
    stored = await there.jobs.cancel("resp_1", "k")
    assert stored.status == "cancelled"
    async with asyncio.timeout(PATIENCE):
        await request.closed.wait()

    assert (await here.ended()).status == "cancelled"
    stream = await collect(there.jobs.follow("resp_1", "k", -1))
    assert kinds(stream)[-1] == "cancelled"


async def test_deleted_while_it_is_made(here, there):
    request, _ = await here.begin(CREATED, DELTA, None)
    await there.shelf.delete("resp_1", "k")
    async with asyncio.timeout(PATIENCE):
        await request.closed.wait()
    await here.idle()

    with pytest.raises(NotFound):
        await here.jobs.get("resp_1", "k")


@pytest.mark.parametrize("how", ["refused", "cut", "bug"])
async def test_it_fails(here, how):
    request = Request(CREATED, DELTA)
    if how == "refused":
        request.status = 429
    elif how == "bug":
        request.ask = None
    stored = Stored("resp_1", "k", time.time())
    await here.jobs.begin(stored, QUEUED, lambda: request)
    ended = await here.ended()

    error = orjson.loads(ended.response)["error"]
    assert ended.status == "failed"
    assert error["code"] == {"refused": "teapot", "cut": "upstream_error"}.get(how, "server_error")
    assert bool(here.bugs) == (how == "bug")


async def test_the_process_ends(here, there):
    await here.begin(CREATED, DELTA, None)
    await asyncio.sleep(0)
    await here.jobs.stop()

    stored = await there.jobs.get("resp_1", "k")
    assert stored.status == "failed"
    assert "ask again" in orjson.loads(stored.response)["error"]["message"]


async def test_the_process_was_killed(there, memory):
    old = Stored(
        "resp_1",
        "k",
        1.0,
        background=True,
        alive=time.time() - 60,
        response=orjson.dumps({**QUEUED, "status": "in_progress", "background": True}),
    )
    await there.store.keep([pack(old)])

    assert (await there.jobs.get("resp_1", "k")).status == "failed"
    assert await collect(there.jobs.follow("resp_1", "k", -1)) == b""
    await there.store.keep([pack(replace(old, alive=time.time()))])
    assert (await there.jobs.get("resp_1", "k")).status == "in_progress"


async def test_anothers_is_not_there(here):
    await here.begin(CREATED, None)

    for ask in (here.jobs.get, here.jobs.cancel):
        with pytest.raises(NotFound):
            await ask("resp_1", "other")
    with pytest.raises(NotFound):
        await collect(here.jobs.follow("resp_1", "other", -1))


async def test_only_background_responses_are_cancelled(here):
    await here.store.keep([pack(Stored("resp_1", "k", 1.0, response=b'{"status":"completed"}'))])

    with pytest.raises(ClientError, match="background"):
        await here.jobs.cancel("resp_1", "k")


async def test_not_too_many(here, monkeypatch):
    monkeypatch.setattr(jobs, "AT_ONCE", 1)
    await here.begin(None)

    with pytest.raises(LimitExceeded):
        await here.begin(None, id="resp_2")


async def test_nothing_is_begun_without_a_store(here, monkeypatch):
    async def keep(items):
        raise StoreUnavailable("out of order")

    monkeypatch.setattr(here.store, "keep", keep)
    with pytest.raises(StoreUnavailable):
        await here.begin(CREATED)
    assert not here.jobs._jobs
