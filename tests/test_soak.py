"""Many calls that go wrong in every way at once: afterwards nothing of them is left."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import random
import tracemalloc

import pytest

from routeur.metrics import merge, render
from tests.conftest import Client, MakeRouter
from tests.fake import CLOSE, HOLD, RESET, Part, Upstream, chunked, head
from tests.virtual import until

EVENT = b'data: {"choices":[{"delta":{"content":"word"}}]}\n\n'
STREAM = EVENT * 200
LARGE = EVENT * 20_000  # a megabyte
ANSWERS: list[list[Part]] = [
    [chunked(STREAM)],
    [chunked(LARGE, size=4096)],
    [chunked(STREAM, end=b""), RESET],
    [chunked(STREAM, end=b"")[:-7], CLOSE],
    [RESET],
    [CLOSE],
    [HOLD],
    [chunked(STREAM, end=b""), HOLD],
    [b"HTTP/1.1 500 No\r\nContent-Length: 2\r\n\r\n{}"],
    [chunked(STREAM, end=b"zz\r\n")],
    [head(200, [("Content-Length", str(len(STREAM)))]), STREAM + b"surplus"],
]


async def client(router: Client, chance: random.Random) -> None:
    """Reads all, slowly or not, or leaves somewhere."""
    reader, writer = await asyncio.open_connection("127.0.0.1", router.port, limit=8192)
    body = json.dumps({"model": "gpt-4o", "stream": True, "messages": []}).encode()
    writer.write(
        b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
        b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
    )
    leaves = chance.choice([0, 1, 5_000, 1 << 30, 1 << 30])
    slow = chance.random() < 0.2
    got = 0
    with contextlib.suppress(ConnectionError, TimeoutError):
        async with asyncio.timeout(chance.uniform(0.1, 3)):
            while got < leaves and (data := await reader.read(4096)):
                got += len(data)
                if slow:
                    await asyncio.sleep(0.001)
    if chance.random() < 0.5:
        writer.transport.abort()
    writer.close()
    with contextlib.suppress(ConnectionError):
        await writer.wait_closed()


def inflight(router: Client) -> str:
    page, _ = render(merge([router.router.metrics.snapshot()]))
    (line,) = [x for x in page.decode().splitlines() if x.startswith("routeur_inflight ")]
    return line


async def round_of(router: Client, upstream: Upstream, chance: random.Random, size: int) -> None:
    for _ in range(size):
        upstream.sends(*chance.choice(ANSWERS))
    await asyncio.gather(*[client(router, chance) for _ in range(size)])


@pytest.mark.full
@pytest.mark.parametrize("seed", range(3))
async def test_soak(make_router: MakeRouter, upstream: Upstream, seed: int) -> None:
    router = await make_router(ban={"after": 1_000_000})  # nobody is spared
    chance = random.Random(seed)
    await round_of(router, upstream, chance, 100)
    tasks = len(asyncio.all_tasks()) - len(upstream.open)
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()

    await round_of(router, upstream, chance, 500)

    upstream.release()
    server = router.router.server
    pools = router.router._pools

    async def is_quiet() -> bool:
        idle = sum(len(pool.idle) for pool in pools)
        return not (router.router._busy() or server.connections or len(upstream.open) > idle)

    await until(is_quiet)
    assert inflight(router) == "routeur_inflight 0.0"
    assert not server.stalled
    assert not server.unread
    assert not server.reading_heads
    assert not any(pool.active for pool in pools)
    assert len(asyncio.all_tasks()) - len(upstream.open) <= tasks
    upstream.requests.clear()
    upstream.connections[:] = upstream.open
    gc.collect()
    after, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert after - before < 3 << 20
    upstream._script.clear()  # what was meant for clients that left before they were heard
    upstream.answers(b"{}")
    answer = await router.post("/v1/chat/completions", json={"model": "gpt-4o", "messages": []})
    assert await answer.read() == b"{}"
