"""`hedge` on a rule: a second target is asked when the first has sent nothing for a while."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator
from typing import Any

import pytest

from routeur.pool import Pool
from tests.conftest import Client, MakeRouter
from tests.fake import CLOSE, HOLD, PATIENCE, RESET, Upstream, chunked, head, whole

CHAT = "/v1/chat/completions"
JSON = {"p": b'{"id":"p","choices":[]}', "q": b'{"id":"q","choices":[]}'}
STREAM = {
    name: b'data: {"choices":[{"delta":{"content":"%b"}}]}\n\n' % name.encode() * 3 for name in "pq"
}
LOST = "another target was faster"
HEDGE = 0.1  # seconds


@pytest.fixture
async def second() -> AsyncIterator[Upstream]:
    provider = Upstream()
    await provider.start()
    yield provider
    await provider.stop()
    assert provider.anomalies == []


Hedged = tuple[Client, Upstream, Upstream]


@pytest.fixture
async def hedged(make_router: MakeRouter, upstream: Upstream, second: Upstream) -> Hedged:
    """`any` is the model at two providers."""
    return await hedging(make_router, upstream, second), upstream, second


async def hedging(
    make_router: MakeRouter, *upstreams: Upstream, hedge: str = "100ms", attempts: int = 3
) -> Client:
    providers: dict[str, Any] = {"openai": None, "anthropic": None, "google": None}
    names = "pqr"[: len(upstreams)]
    for name, where in zip(names, upstreams, strict=True):
        here = {"dialect": "openai", "models": ["m"], "base_url": f"{where.url}/v1"}
        providers[name] = here | {"api_key": f"sk-at-{name}"}
    rule = {"name": "r", "match": {"model": "any"}, "to": [f"{name}/m" for name in names]}
    return await make_router(
        providers=providers,
        aliases={"fast": None},
        rules=[rule | {"hedge": hedge}],
        retries={"attempts": attempts},
    )


def request(model: str = "any", *, stream: bool = False, close: bool = True) -> bytes:
    asked = {"model": model, "stream": stream, "messages": [{"role": "user", "content": "hi"}]}
    body = json.dumps(asked).encode()
    lines = [f"POST {CHAT} HTTP/1.1", "Host: localhost", f"Content-Length: {len(body)}"]
    lines += ["Connection: close"] * close
    return "\r\n".join([*lines, "", ""]).encode() + body


def shown(raw: bytes) -> dict[str, str]:
    """What an answer says of its call."""
    found = re.findall(rb"\r\nX-Routeur-Trace-([A-Za-z]+): ([^\r]*)", raw)
    return {name.decode(): value.decode() for name, value in found}


def body(raw: bytes) -> bytes:
    return raw.partition(b"\r\n\r\n")[2]


async def attempts(client: Client, raw: bytes) -> list[tuple[str, int, str | None]]:
    trace = await client.trace_of(shown(raw)["Id"])
    return [(each["target"], each["status"], each["error"]) for each in trace["attempts"]]


def under_way(client: Client) -> list[int]:
    groups = [client.router.standings.group(name, "m") for name in "pq"]
    return [each.inflight for group in groups for each in group.members]


async def test_the_first_is_fast(hedged: Hedged) -> None:
    """However long its answer takes then, nobody else is asked."""
    client, p, q = hedged
    p.answers(STREAM["p"], chunk_size=len(STREAM["p"]) // 3, pause=HEDGE)
    raw = await client.raw(request(stream=True))
    assert raw.count(b'"p"') == 3
    assert q.requests == []
    assert await attempts(client, raw) == [("p/m", 200, None)]


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
async def test_the_first_is_silent(hedged: Hedged, stream: bool) -> None:
    """The second's bytes and no other; the first is let go, and accounted."""
    client, p, q = hedged
    said = chunked(STREAM["q"]) if stream else whole(JSON["q"])
    p.sends(HOLD, chunked(STREAM["p"]))
    q.sends(said)
    began = asyncio.get_running_loop().time()

    raw = await client.raw(request(stream=stream))

    assert HEDGE <= asyncio.get_running_loop().time() - began
    assert body(raw) == body(said)
    assert raw.count(b"HTTP/1.1") == 1
    says = shown(raw)
    assert (says["Provider"], says["Attempts"], says["Status"]) == ("q", "2", "200")
    await p.request.connection.wait_closed()
    assert await attempts(client, raw) == [("p/m", 0, LOST), ("q/m", 200, None)]
    (call,) = client.router.traces._by_id.values()
    assert call.attempts[0].usage is not None
    assert call.attempts[0].usage.input > 0
    assert call.usage is not None
    tokens = call.usage.total + call.attempts[0].usage.total
    client.router._count()  # as whoever shows figures does first
    assert sum(client.router.metrics.snapshot()["tokens"].values()) == tokens
    assert call.provider == call.credential == "q"
    assert under_way(client) == [0, 0]


async def test_the_first_wins_late(hedged: Hedged) -> None:
    """Whoever begins first; the rival is let go."""
    client, p, q = hedged
    p.sends(3 * HEDGE, whole(JSON["p"]))
    q.sends(HOLD)
    raw = await client.raw(request())
    assert body(raw) == JSON["p"]
    says = shown(raw)
    assert (says["Provider"], says["Attempts"], says["Status"]) == ("p", "2", "200")
    await q.request.connection.wait_closed()
    assert await attempts(client, raw) == [("p/m", 200, None), ("q/m", 0, LOST)]
    trace = await client.trace_of(says["Id"])
    assert (trace["provider"], trace["credential"]) == ("p", "p")


async def test_a_stream_lasts_after_its_win(hedged: Hedged) -> None:
    client, p, q = hedged
    p.sends(HOLD)
    q.answers(STREAM["q"], chunk_size=len(STREAM["q"]) // 3, pause=HEDGE)
    raw = await client.raw(request(stream=True))
    assert raw.count(b'"q"') == 3
    assert raw.endswith(b"0\r\n\r\n")


async def test_the_first_fails_before(
    make_router: MakeRouter, upstream: Upstream, second: Upstream
) -> None:
    """Then the second is asked at once, as without a hedge."""
    client = await hedging(make_router, upstream, second, hedge="10m")
    upstream.sends(CLOSE)
    second.sends(whole(JSON["q"]))
    raw = await client.raw(request())
    assert body(raw) == JSON["q"]


@pytest.mark.parametrize("how", [CLOSE, RESET, whole(b"{}", 503), whole(b"<html></html>")])
async def test_the_first_fails_after(hedged: Hedged, how: Any) -> None:
    """The rival goes on alone."""
    client, p, q = hedged
    p.sends(2 * HEDGE, how)
    q.sends(3 * HEDGE, whole(JSON["q"]))
    raw = await client.raw(request())
    assert body(raw) == JSON["q"]
    assert len(p.requests) == len(q.requests) == 1
    first, rival = await attempts(client, raw)
    assert first[2] not in (None, LOST)
    assert rival == ("q/m", 200, None)


@pytest.mark.parametrize("how", [CLOSE, RESET, whole(b"{}", 503), whole(b"<html></html>")])
async def test_the_rival_fails(hedged: Hedged, how: Any) -> None:
    client, p, q = hedged
    p.sends(3 * HEDGE, whole(JSON["p"]))
    q.sends(how)
    raw = await client.raw(request())
    assert body(raw) == JSON["p"]
    assert shown(raw)["Status"] == "200"
    assert (await attempts(client, raw))[1][2] not in (None, LOST)


async def test_both_fail(make_router: MakeRouter, upstream: Upstream, second: Upstream) -> None:
    """The next one is asked."""
    client = await hedging(make_router, upstream, upstream, second)
    upstream.sends_to("sk-at-p", 2 * HEDGE, CLOSE)
    upstream.sends_to("sk-at-q", CLOSE)
    second.sends(whole(JSON["q"]))
    raw = await client.raw(request())
    assert body(raw) == JSON["q"]
    assert [each[0] for each in await attempts(client, raw)] == ["p/m", "q/m", "r/m"]


async def test_all_fail(hedged: Hedged) -> None:
    """The last error that was an answer is the answer, byte for byte."""
    client, p, q = hedged
    p.sends(2 * HEDGE, CLOSE)
    q.sends(whole(b'{ "error" : 1 }', 429, ("Retry-After", "9")))
    raw = await client.raw(request())
    assert raw.startswith(b"HTTP/1.1 429 ")
    assert b"\r\nRetry-After: 9\r\n" in raw
    assert body(raw) == b'{ "error" : 1 }'
    assert shown(raw)["Provider"] == "q"


async def test_both_at_once(hedged: Hedged) -> None:
    """Two answers in one turn of the loop: the client gets one of them, whole, and only it."""
    client, p, q = hedged
    for number in range(1, 11):
        p.released.clear()
        q.released.clear()
        p.sends(HOLD, chunked(STREAM["p"]))
        q.sends(HOLD, chunked(STREAM["q"]))
        asked = asyncio.create_task(client.raw(request(stream=True)))
        await q.requested(number)
        await p.requested(number)
        p.release()
        q.release()
        raw = await asked
        assert body(raw) in (body(chunked(STREAM["p"])), body(chunked(STREAM["q"])))
        assert under_way(client) == [0, 0]


async def test_a_rival_that_comes_too_late(hedged: Hedged, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its connection was still being made when the first answered: it is not asked any more."""
    client, p, q = hedged
    slow, connect = asyncio.Event(), Pool.connect

    async def connect_slowly(self: Pool, seconds: float) -> Any:
        if self.origin.port == q.port:
            slow.set()
            await asyncio.sleep(2 * HEDGE)
        return await connect(self, seconds)

    monkeypatch.setattr(Pool, "connect", connect_slowly)
    p.answers(STREAM["p"], before=[HOLD], chunk_size=len(STREAM["p"]) // 3, pause=2 * HEDGE)
    q.sends(chunked(STREAM["q"]))
    asked = asyncio.create_task(client.raw(request(stream=True)))
    await slow.wait()
    p.release()

    raw = await asked

    assert raw.count(b"HTTP/1.1") == 1
    assert b'"q"' not in raw
    assert raw.count(b'"p"') == 3
    assert q.requests == []
    assert under_way(client) == [0, 0]


@pytest.mark.parametrize(
    "begun",
    [head(200, [("Content-Type", "application/json"), ("Content-Length", "23")]), JSON["p"][:9]],
    ids=["head", "body"],
)
async def test_the_first_has_begun(hedged: Hedged, begun: bytes) -> None:
    """What has sent something is not silent: no second answer is paid for."""
    client, p, q = hedged
    said = whole(JSON["p"])
    at = said.index(begun) + len(begun) if begun in said else len(said) - len(JSON["p"])
    p.sends(said[:at], 3 * HEDGE, said[at:])
    q.sends(whole(JSON["q"]))
    raw = await client.raw(request())
    assert body(raw) == JSON["p"]
    assert q.requests == []


async def test_the_client_leaves(hedged: Hedged) -> None:
    """Both are let go, and neither is to blame."""
    client, p, q = hedged
    p.sends(HOLD)
    q.sends(HOLD)
    _, writer = await client.connect()
    writer.write(request())
    await q.requested()

    writer.close()

    await p.request.connection.wait_closed()
    await q.request.connection.wait_closed()
    (id,) = client.router.traces._by_id
    trace = await client.trace_of(id)
    assert trace["status_code"] == 499
    assert [each["error"] for each in trace["attempts"]] == ["the client left"] * 2
    assert under_way(client) == [0, 0]
    assert client.router.standings.bans() == []


async def test_the_client_leaves_the_winner(hedged: Hedged) -> None:
    client, p, q = hedged
    p.sends(HOLD)
    q.answers(STREAM["q"], hold=len(STREAM["q"]) // 3)
    reader, writer = await client.connect()
    writer.write(request(stream=True))
    await reader.readuntil(b'"q"')
    writer.close()
    await q.request.connection.wait_closed()
    assert under_way(client) == [0, 0]


async def test_one_attempt_is_no_race(
    make_router: MakeRouter, upstream: Upstream, second: Upstream
) -> None:
    """A hedge is an attempt: where only one is allowed there is none."""
    client = await hedging(make_router, upstream, second, attempts=1)
    upstream.sends(3 * HEDGE, whole(JSON["p"]))
    assert body(await client.raw(request())) == JSON["p"]
    assert second.requests == []


async def test_a_slow_reader_gets_its_next_answer(hedged: Hedged) -> None:
    """A request that begins while the answer before is still being read is not forgotten."""
    client, p, _ = hedged
    size = 8 << 20
    p.sends(head(200, [("Content-Length", str(size))]), *[bytes(1 << 20)] * 8)
    p.sends(whole(JSON["p"]))
    reader, writer = await asyncio.open_connection("127.0.0.1", client.port, limit=4096)
    writer.write(request("p/m", close=False) + request())
    await reader.readuntil(b"\r\n\r\n")
    await asyncio.sleep(2 * HEDGE)
    async with asyncio.timeout(PATIENCE):
        got = await reader.readexactly(size)
        rest = await reader.read()
    writer.close()
    assert got == bytes(size)
    assert body(rest) == JSON["p"]
