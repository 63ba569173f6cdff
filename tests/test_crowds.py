"""Many at once: clients that leave, connections that die, providers that answer whom they like."""

from __future__ import annotations

import asyncio
import itertools
import json
import re
from collections import Counter
from collections.abc import AsyncIterator

import pytest

from tests.conftest import Client, MakeRouter
from tests.fake import HOLD, PATIENCE, Connection, Part, Request, Upstream, head, whole

CHAT = "/v1/chat/completions"
EVENT = b'data: {"choices":[{"delta":{"content":"word"}}]}\n\n'
PIECE = b"%x\r\n%b\r\n" % (len(EVENT), EVENT)
EVENTS = head(200, [("Content-Type", "text/event-stream"), ("Transfer-Encoding", "chunked")])
REST = 3  # pieces that a stream still has when its provider goes on


def request(user: str, *, stream: bool) -> bytes:
    asked = {"model": "gpt-4o", "stream": stream, "messages": [], "user": user}
    body = json.dumps(asked).encode()
    lines = [f"POST {CHAT} HTTP/1.1", "Host: localhost", f"Content-Length: {len(body)}"]
    return "\r\n".join([*lines, "Content-Type: application/json", "", ""]).encode() + body


def user(request: Request) -> str:
    """Who asks, as its body says."""
    name: str = json.loads(request.body)["user"]
    return name


class Crowded(Upstream):
    """Does what each request's user is named after."""

    def _next(self, request: Request) -> list[Part]:
        match user(request).partition("/")[0]:
            case "warm":
                return [0.1, whole(b'{"id":"x","choices":[]}')]
            case "beside":
                return [EVENTS, PIECE, HOLD, *[PIECE] * REST, b"0\r\n\r\n"]
            case "mid-stream":
                return [EVENTS, *[PIECE, 0.02] * 10_000]
            case "silent stream":
                return [EVENTS, PIECE, HOLD]
        return [HOLD]


async def fake(provider: Upstream) -> AsyncIterator[Upstream]:
    await provider.start()
    yield provider
    await provider.stop()
    assert provider.anomalies == []


@pytest.fixture
async def crowded() -> AsyncIterator[Upstream]:
    async for provider in fake(Crowded()):
        yield provider


# ── clients that leave


async def arrive(client: Client, name: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A client whose request is under way."""
    reader, writer = await client.connect()
    streamed = not name.startswith(("unstreamed", "warm"))
    writer.write(request(name, stream=streamed))
    if name.startswith(("mid-stream", "silent stream", "beside")):
        await reader.readuntil(b"word")
    elif name.startswith("warm"):
        await reader.readuntil(b"choices")
    return reader, writer


SIZES = [(10, 30), pytest.param(200, 500, marks=pytest.mark.full)]


@pytest.mark.parametrize("express", [False, True], ids=["", "express"])
@pytest.mark.parametrize(("leaving", "staying"), SIZES)
@pytest.mark.parametrize(
    "case", ["mid-stream", "silent stream", "before the first byte", "unstreamed"]
)
async def test_many_leave(
    make_router: MakeRouter,
    crowded: Upstream,
    case: str,
    leaving: int,
    staying: int,
    express: bool,
) -> None:
    """All of theirs are closed, and nothing else: those who stay get all of their streams.

    (How fast it is, `tools/leaving.py` says.)
    """
    client = await make_router(providers={"openai": {"base_url": f"{crowded.url}/v1"}})
    stay = [await arrive(client, f"beside/{number}") for number in range(staying)]
    if express:  # takes who finds an idle connection
        await asyncio.gather(*[arrive(client, f"warm/{number}") for number in range(leaving)])
    leave = [await arrive(client, f"{case}/{number}") for number in range(leaving)]
    await crowded.requested(staying + leaving * (2 if express else 1))
    theirs = [each.connection for each in crowded.requests if user(each).startswith(case)]

    for number, (_, writer) in enumerate(leave):
        writer.transport.abort() if number % 2 else writer.close()

    for connection in theirs:
        await connection.wait_closed()
    assert client.router.metrics.inflight == staying
    assert sum(each.inflight for each in client.router.standings.known()) == staying
    crowded.release()
    for reader, _ in stay:
        async with asyncio.timeout(PATIENCE):
            rest = await reader.readuntil(b"0\r\n\r\n")
        assert rest.count(b"word") == REST
    traces = client.router.traces._by_id.values()
    counted = Counter(each.status for each in traces)
    assert counted == {200: staying + leaving * express, 499: leaving}


# ── connections that die


class Mortal(Upstream):
    """Answers everybody by name, and can close whatever is idle."""

    def __init__(self) -> None:
        super().__init__()
        self.answered: Counter[Connection] = Counter()
        self.killed = 0

    def _next(self, request: Request) -> list[Part]:
        self.answered[request.connection] += 1
        return [whole(b'{"id":"%b","choices":[]}' % user(request).encode())]

    def kill_idle(self) -> None:
        for connection in self.open:
            if connection.requests and self.answered[connection] == len(connection.requests):
                self.killed += 1
                connection.transport.close() if self.killed % 2 else connection.reset()


async def call(client: Client, name: str) -> tuple[int, bytes]:
    asked = {"model": "gpt-4o", "messages": [], "user": name}
    answer = await client.post(CHAT, json=asked)
    return answer.status, await answer.read()


async def every(seconds: float, count: int) -> AsyncIterator[int]:
    """Numbers, at even distances of time: who is late catches up."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    for number in range(count):
        await asyncio.sleep(began + number * seconds - loop.time())
        yield number


@pytest.mark.parametrize("seconds", [1, pytest.param(20, marks=pytest.mark.full)])
async def test_idle_connections_are_killed(make_router: MakeRouter, seconds: int) -> None:
    """20 times a second, at 200 requests a second: no client notices."""
    async for provider in fake(mortal := Mortal()):
        client = await make_router(providers={"openai": {"base_url": f"{provider.url}/v1"}})

        async def kill() -> None:
            async for _ in every(0.05, 20 * seconds):
                mortal.kill_idle()

        killer = asyncio.create_task(kill())
        calls = []
        async for number in every(0.005, 200 * seconds):
            calls.append(asyncio.create_task(call(client, str(number))))
        answers = await asyncio.gather(*calls)
        await killer
        wanted = [(200, b'{"id":"%d","choices":[]}' % n) for n in range(200 * seconds)]
        assert answers == wanted
        assert mortal.killed > 10 * seconds
        assert all(len(each.attempts) == 1 for each in client.router.traces._by_id.values())


# ── answers that are not theirs


LATER = 0.002  # seconds


class Poisoner(Upstream):
    """Answers by name; every third time more than that, at once or a little later."""

    def __init__(self) -> None:
        super().__init__()
        self._count = itertools.count()

    def _next(self, request: Request) -> list[Part]:
        said = whole(b'{"id":"%b","choices":[]}' % user(request).encode())
        foreign = whole(b'{"id":"foreign","choices":[]}')
        match next(self._count) % 6:
            case 0:
                return [said + foreign]
            case 3:
                return [said, LATER, foreign]
            case 5:
                return [said, 0.0, b"HTTP/1.1 408 Request Timeout\r\nConnection: close\r\n\r\n"]
        return [said]


async def test_poisoned_connections(make_router: MakeRouter) -> None:
    """What nobody has asked for is nobody's answer."""
    async for provider in fake(Poisoner()):
        client = await make_router(providers={"openai": {"base_url": f"{provider.url}/v1"}})
        for _ in range(20):
            calls = [call(client, str(number)) for number in range(10)]
            answers = await asyncio.gather(*calls)
            assert answers == [(200, b'{"id":"%d","choices":[]}' % n) for n in range(10)]
            await asyncio.sleep(5 * LATER)  # what comes in an answer's time is one, whatever it is


class Redirector(Upstream):
    """Sends everybody elsewhere."""

    elsewhere = ""

    def _next(self, request: Request) -> list[Part]:
        status = (301, 302, 303, 307, 308)[len(self.requests) % 5]
        where = (f"{self.elsewhere}/v1", f"//{self.elsewhere.partition('//')[2]}/")
        location = where[len(self.requests) % 2]
        return [head(status, [("Location", location), ("Content-Length", "0")])]


async def test_nobody_follows(make_router: MakeRouter, upstream: Upstream) -> None:
    """No request goes where an answer points, and no client is told where that was."""
    async for provider in fake(redirector := Redirector()):
        redirector.elsewhere = upstream.url
        client = await make_router(providers={"openai": {"base_url": f"{provider.url}/v1"}})
        answers = await asyncio.gather(*[call(client, str(number)) for number in range(20)])
        assert {status for status, _ in answers} <= {502, 503}
        assert not re.search(rb"127\.0\.0\.1", b"".join(body for _, body in answers))
        assert len(provider.requests) >= 3
    assert upstream.connections == []
