"""A store that does not work while routeur serves: streams go on, limited keys wait, nothing is
lost.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import resource
import sqlite3
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

import routeur.app
import routeur.store.base
from tests import redis_server
from tests.conftest import MakeRouter, parse
from tests.fake import EVENTS, Part, Request, Upstream, head, whole
from tests.program import ROOT, Program
from tests.running import Fleet, Given, chat, completion, configured, office, serving, start, tokens
from tests.virtual import AUTH, PRICED, bearer, give

FULL = pytest.mark.full
RECOVERY = 10.0  # seconds within which all is well again: twice what it may take
NOTICED = 5.0  # and within which it is known that it is not
PROMPT, OUTPUT = tokens(chat()), 39
COST = PROMPT + 2 * OUTPUT
FRAME = b'data: {"choices":[{"index":0,"delta":{"content":"word "}}]}\n\n'
USAGE = b'data: {"choices":[],"usage":{"prompt_tokens":%d,"completion_tokens":%d}}\n\n'
END = USAGE % (PROMPT, OUTPUT) + b"data: [DONE]\n\n"
STREAMS = 6


class Provider(Upstream):
    """Streams go on until `release()`, with a frame every now and then."""

    def _next(self, request: Request) -> list[Part]:
        if not json.loads(request.body).get("stream"):
            return [whole(completion(PROMPT, OUTPUT))]
        asyncio.get_running_loop().create_task(self._talk(request))
        headers = [("Content-Type", EVENTS), ("Transfer-Encoding", "chunked")]
        return [head(200, headers) + self._chunk(FRAME)]

    async def _talk(self, request: Request) -> None:
        write = request.connection.transport.write
        while not self.released.is_set():
            await asyncio.sleep(0.02)
            write(self._chunk(FRAME))
        write(self._chunk(END) + b"0\r\n\r\n")

    @staticmethod
    def _chunk(data: bytes) -> bytes:
        return b"%x\r\n%b\r\n" % (len(data), data)


@pytest.fixture
async def provider() -> AsyncIterator[Provider]:
    made = Provider()
    await made.start()
    yield made
    await made.stop()
    assert made.anomalies == []


@dataclass
class Scene:
    """A routeur with streams under way. What was answered has to be in the books at the end."""

    fleet: Fleet
    provider: Provider
    program: Program
    limited: Given
    free: Given
    streams: list[asyncio.Task[tuple[int, Any, bytes]]] = field(default_factory=list)
    answered: list[tuple[Given, str]] = field(default_factory=list)

    async def begin(self) -> None:
        """Streams of both keys, all of which have begun."""
        body = chat(stream=True, stream_options={"include_usage": True})
        for number in range(STREAMS):
            given = (self.limited, self.free)[number % 2]
            self.streams.append(asyncio.create_task(self.fleet.ask(given, body)))
        await self.provider.requested(STREAMS)

    async def ask(self, given: Given) -> tuple[int, bytes]:
        status, headers, said = await self.fleet.ask(given, chat())
        if status == 200:
            self.answered.append((given, headers["X-Routeur-Trace-Id"]))
        return status, said

    async def readiness(self) -> int:
        url = f"http://127.0.0.1:{self.fleet.ports[0]}/health/readiness"
        async with self.fleet.session.get(url) as answer:
            return answer.status

    async def suffers(self) -> None:
        """Limited keys are refused, others served; it says that it is not ready."""
        status, said = await self.ask(self.limited)
        assert (status, json.loads(said)["error"]["code"]) == (503, "store_unavailable")
        for _ in range(3):
            assert (await self.ask(self.free))[0] == 200
        await self.is_known()

    async def is_known(self) -> None:
        """Nobody sends requests here any more."""
        async with asyncio.timeout(NOTICED):
            while await self.readiness() != 503:  # noqa: ASYNC110
                await asyncio.sleep(0.02)

    async def recovers(self) -> None:
        """By itself, and soon."""
        async with asyncio.timeout(RECOVERY):
            while await self.readiness() != 200:  # noqa: ASYNC110
                await asyncio.sleep(0.05)
            while (await self.ask(self.limited))[0] != 200:  # noqa: ASYNC110
                await asyncio.sleep(0.05)

    async def ends(self) -> None:
        """None of the streams is lost, and everything is booked."""
        self.provider.release()
        for number, each in enumerate(self.streams):
            status, headers, said = await each
            assert status == 200
            assert said.endswith(END)
            given = (self.limited, self.free)[number % 2]
            self.answered.append((given, headers["X-Routeur-Trace-Id"]))
        await self.is_booked()

    async def is_booked(self) -> None:
        store = self.fleet.store
        async with asyncio.timeout(RECOVERY):
            for given, trace in self.answered:
                while (found := await store.trace(trace)) is None:  # noqa: ASYNC110
                    await asyncio.sleep(0.02)
                assert found[0] == given.hash
            for given in (self.limited, self.free):
                calls = sum(key is given for key, _ in self.answered)
                wanted = (calls * COST, 0, 0)
                while (b := await self.fleet.balance(given)) is not None:
                    if (b.usage, b.reserved, b.parallel) == wanted:
                        break
                    assert b.usage <= calls * COST
                    await asyncio.sleep(0.02)


@asynccontextmanager
async def scene(
    folder: Path, provider: Provider, address: str, **changes: Any
) -> AsyncIterator[Scene]:
    async with office(address) as fleet, AsyncExitStack() as stack:
        limited = await fleet.give("limited", limit=10**9, rpm=10**6, max_parallel=1000)
        free = await fleet.give("free")
        program = start(folder / "here", configured(provider, address, **changes), PYTHONPATH=ROOT)
        stack.push_async_callback(asyncio.to_thread, program.kill)
        await serving(fleet, program)
        yield Scene(fleet, provider, program, limited, free)


@pytest.mark.parametrize("seconds", [0, pytest.param(5, marks=FULL)])
async def test_a_file(tmp_path: Path, provider: Provider, seconds: int) -> None:
    """One fault after the other, and streams that know nothing of it."""
    file, aside = tmp_path / "routeur.db", tmp_path / "aside.db"
    async with scene(tmp_path, provider, f"sqlite:{file}") as found:
        await found.begin()
        await locked(found, file, seconds)
        file.rename(aside)  # removed
        await found.suffers()
        file.write_bytes(bytes(8192))  # and replaced by something else
        await found.suffers()
        assert file.read_bytes() == bytes(8192)
        aside.rename(file)
        await found.recovers()
        await disk_full(found)
        await found.ends()


async def locked(found: Scene, file: Path, seconds: int) -> None:
    """By another program."""
    other = sqlite3.connect(file, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    until = time.monotonic() + seconds
    await found.suffers()
    while time.monotonic() < until:
        await found.suffers()
        await asyncio.sleep(0.2)
    other.execute("ROLLBACK")
    other.close()
    await found.recovers()


async def disk_full(found: Scene) -> None:
    """Neither the store nor the spool can be written: what is to be booked waits in memory."""
    if not hasattr(resource, "prlimit"):
        return  # limits cannot be set from outside
    pid, (_, most) = found.program.process.pid, resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (1, most))
    await found.suffers()
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (most, most))
    await found.recovers()


def test_where_nothing_can_be_written(tmp_path: Path, provider: Provider) -> None:
    program = start(tmp_path, configured(provider, "sqlite:/proc/routeur.db"))
    assert program.ended() == 2
    (said,) = program.err
    assert "/proc/" in said


async def test_corrupt(tmp_path: Path, provider: Provider) -> None:
    """It does not start with that, unless it is told to; the file is kept aside."""
    address, file = f"sqlite:{tmp_path}/routeur.db", tmp_path / "routeur.db"
    async with office(address) as fleet:
        await fleet.give("somebody")
    spoilt = bytearray(file.read_bytes())
    spoilt[100:4096] = b"\xff" * 3996
    file.write_bytes(spoilt)
    program = start(tmp_path, configured(provider, address))
    assert await asyncio.to_thread(program.ended) == 2
    (said,) = [line for line in program.err if "corrupt" in line]
    assert "--replace-corrupt-store" in said
    assert file.read_bytes() == spoilt

    router = routeur.app.Router(parse(configured(provider, address)), replace_corrupt=True)
    await router.start()
    await router.stop()
    (kept,) = [each for each in os.listdir(tmp_path) if re.search(r"corrupt-\w+$", each)]
    assert (tmp_path / kept).read_bytes() == spoilt


# ---- a Redis


@pytest.mark.parametrize(
    ("rule", "seconds"),
    [("refuse", 1), *[pytest.param(each, 10, marks=FULL) for each in ("refuse", "allow")]],
)
async def test_redis_stands_still(
    tmp_path: Path, provider: Provider, rule: str, seconds: int
) -> None:
    pytest.importorskip("redis")
    with redis_server.running() as server:
        changes = {"limits": {"store_unavailable": rule}}
        async with scene(tmp_path, provider, server.url, **changes) as found:
            await found.begin()
            server.pause()
            until = time.monotonic() + seconds
            while time.monotonic() < until:
                if rule == "refuse":
                    await found.suffers()
                else:
                    for given in (found.limited, found.free):
                        assert (await found.ask(given))[0] == 200
                    await found.is_known()
                await asyncio.sleep(0.2)
            server.resume()
            await found.recovers()
            await found.ends()


# ---- clocks


class Jumping:
    """The module `time`, as the store's clock sees it."""

    def __init__(self) -> None:
        self.wall = 0.0  # seconds by which it is off
        self.steady = 0.0

    def time(self) -> float:
        return time.time() + self.wall

    def monotonic(self) -> float:
        return time.monotonic() + self.steady


DAY = 86400.0
Jump = Callable[[float], None]


async def test_clocks_jump(
    make_router: MakeRouter, upstream: Upstream, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Back: no window begins anew, and none is found again that was over."""
    clock = Jumping()
    monkeypatch.setattr(routeur.store.base, "time", clock)
    upstream.answers(completion(PROMPT, OUTPUT))
    router = await make_router(auth=AUTH, providers=PRICED, store=f"sqlite:{tmp_path}/routeur.db")
    most = PROMPT + 2 * 40 + 10  # one call, not two
    daily, _ = await give(router, "daily", limit=most, limit_reset="daily")
    paced, _ = await give(router, "paced", rpm=1)

    async def ask(secret: str) -> int:
        answer = await router.post("/v1/chat/completions", data=chat(), headers=bearer(secret))
        await answer.read()
        return answer.status

    async def booked() -> None:
        await router.router.books.books._idle.wait()

    assert (await ask(daily), await ask(paced)) == (200, 200)
    await booked()
    assert (await ask(daily), await ask(paced)) == (402, 429)
    clock.wall = -3 * DAY
    assert (await ask(daily), await ask(paced)) == (402, 429)
    clock.wall = DAY
    assert await ask(daily) == 200  # a new day
    await booked()
    clock.wall = 0
    assert await ask(daily) == 402
    for clock.steady in (-30.0, -50.0, 30.0):
        assert await ask(paced) == 429
    clock.steady = 61.0
    assert await ask(paced) == 200
