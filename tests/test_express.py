"""The short cut for heads that were seen before: nobody can tell that a request has taken it."""

from __future__ import annotations

import asyncio
import gc
import json
import re
import time
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest

from routeur.app import Router
from routeur.dialects import FAMILIES
from routeur.express import FEW, LONGEST, REMEMBERED, Express, ExpressPassage
from routeur.pool import Pool
from routeur.server import IDLE_CONNECTION, IDLE_SWEEP, MAX_QUEUED, ClientConnection, Server
from routeur.upstream import Connection
from tests.conftest import Client, MakeRouter, merged, parse, settings
from tests.fake import (
    CLOSE,
    HOLD,
    PATIENCE,
    RESET,
    Part,
    Request,
    Upstream,
    chunked,
    head,
    whole,
)

CHAT = "/v1/chat/completions"
JSON = b'{"id":"x","choices":[],"usage":{"prompt_tokens":1,"completion_tokens":1}}'
STREAM = b'data: {"choices":[{"delta":{"content":"a"}}]}\n\n' * 3 + b"data: [DONE]\n\n"
# Of two answers these differ, and nothing else.
OWN = re.compile(rb"\r\n(?:X-Request-Id|X-Routeur-Trace-Id|Server-Timing|Date): [^\r]*")
PATHS = sorted(
    (family.name, route.path.replace("{verb}", "predict").replace("*", "some"))
    for family in FAMILIES.values()
    for route in family.routes
    if route.method == "POST" and route.body == "json" and route.creates and route.format
    if not route.path.endswith("/compact")  # of which each is looked at
)
MODELS = {"openai": "gpt-4o", "anthropic": "claude-x", "gemini": "gemini-x"}


@pytest.fixture(autouse=True)
def taken(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """The requests that the express has served."""
    found: list[bytes] = []
    take = Express.take

    def counting(self: Express, client: ClientConnection, data: bytes) -> bool:
        taken = take(self, client, data)
        if taken:
            found.append(data)
        return taken

    monkeypatch.setattr(Express, "take", counting)
    return found


@pytest.fixture(autouse=True)
def bugs(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[BaseException]]:
    """Mistakes of ours that were caught; a test that makes one takes it out."""
    found: list[BaseException] = []
    monkeypatch.setattr(Router, "_bug", lambda _, bug: found.append(bug))
    yield found
    assert found == []


def request(
    *headers: str, path: str = CHAT, version: str = "1.1", raw: bytes | None = None, **asked: Any
) -> bytes:
    asked = {"model": "gpt-4o", "messages": [{"role": "user", "content": "hi"}]} | asked
    body = json.dumps(asked).encode() if raw is None else raw
    lines = [f"POST {path} HTTP/{version}", "Host: localhost", "Content-Type: application/json"]
    return "\r\n".join([*lines, *headers, f"Content-Length: {len(body)}", "", ""]).encode() + body


class Talk:
    """One connection of a client."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def answer(self) -> tuple[bytes, bytes]:
        """The next answer's head, without what is its own, and its body as it came."""
        async with asyncio.timeout(PATIENCE):
            start = await self.reader.readuntil(b"\r\n\r\n")
            if b"\r\nTransfer-Encoding: chunked" in start:
                body = await self.reader.readuntil(b"\r\n0\r\n\r\n")
            else:
                length = re.search(rb"\r\nContent-Length: (\d+)", start)
                body = await self.reader.readexactly(int(length[1])) if length else b""
        return OWN.sub(b"", start), body

    async def ask(self, asked: bytes) -> tuple[bytes, bytes]:
        self.writer.write(asked)
        return await self.answer()

    async def end(self) -> bytes:
        async with asyncio.timeout(PATIENCE):
            try:
                return await self.reader.read()
            except ConnectionResetError:
                return b""

    async def status(self, asked: bytes) -> int:
        start, _ = await self.ask(asked)
        return int(start.split(b" ", 2)[1])


async def talk(client: Client, *, warm: bytes = b"") -> Talk:
    """A connection; after `warm`, the express knows the way of such requests."""
    made = Talk(*await client.connect())
    if warm:
        assert await made.status(warm) == 200
    return made


async def several(
    client: Client, upstream: Upstream, count: int, *, warm: bool = False
) -> list[Talk]:
    """So many connections that have been answered at the same time, with as many to the provider;
    `warm`: after another that has been answered before.
    """
    if warm:
        upstream.sends(whole(JSON))
        await talk(client, warm=request())
    upstream.sends(HOLD, whole(JSON))
    talks = [await talk(client) for _ in range(count)]
    for one in talks:
        one.writer.write(request())
    await upstream.requested(count + warm)
    upstream.release()
    for one in talks:
        await one.answer()
    return talks


def as_seen(request: Request) -> tuple[Any, ...]:
    return request.method, request.target, request.version, request.headers, request.body


# ── the same as the ordinary way


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize(("family", "path"), PATHS)
async def test_every_route(
    make_router: MakeRouter,
    upstream: Upstream,
    taken: list[bytes],
    family: str,
    path: str,
    streamed: bool,
) -> None:
    """The same bytes to the provider, and back, as without it."""
    asked = request(path=path.replace("{model}", "gemini-x"), model=MODELS[family], stream=streamed)
    found = []
    for short in (False, True):
        client = await make_router()
        if not short:
            client.router.server.express = None
        upstream.sends(chunked(STREAM) if streamed else whole(JSON))
        one = await talk(client)
        answers = [await one.ask(asked) for _ in range(3)]
        assert answers[0] == answers[1] == answers[2]
        found.append((answers[0], [*map(as_seen, upstream.requests[-3:])]))
    (answer, seen), (answer_of_express, seen_of_express) = found
    assert answer_of_express == answer
    assert seen_of_express == seen
    assert answer[0].startswith(b"HTTP/1.1 200 OK\r\n")
    assert taken == [asked] * 2


@pytest.mark.parametrize(
    "said",
    [
        whole(b'{"error":{}}', 404),
        whole(b'{"error":{}}', 400, ("X-Odd", "kept")),
        whole(b"", 200, ("Content-Type", "audio/mpeg")).replace(b"Length: 0", b"Length: 3")
        + b"abc",
        head(204, []),
        whole(JSON, 200, ("X-Request-Id", "of-the-provider"), ("Set-Cookie", "no")),
        whole(b" " + JSON + b"\n"),
        chunked(JSON, 5),
    ],
)
async def test_every_answer(
    make_router: MakeRouter, upstream: Upstream, taken: list[bytes], said: bytes
) -> None:
    client = await make_router()
    upstream.sends(whole(JSON))
    upstream.sends(said)
    one = await talk(client, warm=request())
    second = await one.ask(request())
    client.router.server.express = None
    assert await one.ask(request()) == second
    assert len(taken) == 1


async def test_traces_are_the_same(router: Client, upstream: Upstream, taken: list[bytes]) -> None:
    upstream.sends(chunked(STREAM))
    one = await talk(router)
    for _ in range(2):
        await one.ask(request(stream=True))
    assert len(taken) == 1
    first, second = [await router.trace_of(id) for id in [*router.router.traces._by_id]]
    changing = re.compile(r"(_ms|_at|^id|^request_id|ms)$")
    for trace in (first, second):
        for each in (trace, *trace["attempts"]):
            for name in [name for name in each if changing.search(name)]:
                del each[name]
    assert first == second


async def test_traces_of_aliases_are_the_same(
    router: Client, upstream: Upstream, taken: list[bytes]
) -> None:
    upstream.sends(whole(JSON))
    one = await talk(router)
    for _ in range(2):
        await one.ask(request(model="fast"))
    assert len(taken) == 1
    traces = [await router.trace_of(id) for id in [*router.router.traces._by_id]]
    assert [trace["choice"] for trace in traces] == [None, None]


async def test_metrics_are_the_same(router: Client, upstream: Upstream) -> None:
    upstream.sends(whole(JSON))
    one = await talk(router)
    for _ in range(5):
        await one.ask(request())
    page = await (await router.get("/metrics")).text()
    assert re.search(r"routeur_requests_total\{[^}]*gpt-4o[^}]*\} 5.0", page)
    assert "routeur_inflight 0.0" in page


# ── who takes it


@pytest.mark.parametrize("body", [{"stream": True}, {"messages": []}, {"model": "gpt-5"}])
async def test_another_body(
    router: Client, upstream: Upstream, taken: list[bytes], body: dict[str, Any]
) -> None:
    """But for its length the head is the same: another length, and even another model."""
    upstream.sends(whole(JSON))
    one = await talk(router, warm=request())
    await one.ask(request(**body))
    assert taken == [request(**body)]
    assert upstream.request.body == request(**body).partition(b"\r\n\r\n")[2]


async def test_another_connection(router: Client, upstream: Upstream, taken: list[bytes]) -> None:
    upstream.sends(whole(JSON))
    await talk(router, warm=request())
    await talk(router, warm=request())
    assert len(taken) == 1


async def test_a_mebibyte_of_body(
    make_router: MakeRouter, upstream: Upstream, taken: list[bytes]
) -> None:
    """Too large to come in one read: aiohttp collects it."""
    client = await make_router()
    upstream.sends(whole(JSON))
    one = await talk(client, warm=request())
    asked = request(messages=[{"role": "user", "content": "a" * (1 << 20)}])
    assert await one.ask(asked) == await one.ask(asked)
    assert upstream.request.size == len(asked.partition(b"\r\n\r\n")[2])
    assert taken == []


@pytest.mark.parametrize(
    "asked",
    [
        request(path="/v1/completions"),
        request("X-More: 1"),
        request().replace(b"Content-Type", b"content-type"),
        request().replace(b"Host: localhost", b"Host: 127.0.0.1"),
    ],
    ids=["path", "header", "case", "host"],
)
async def test_another_head(
    router: Client, upstream: Upstream, taken: list[bytes], asked: bytes
) -> None:
    """It is one of its own."""
    upstream.sends(whole(JSON))
    one = await talk(router, warm=request())
    assert await one.ask(asked) == await one.ask(asked)
    assert taken == [asked]


ELSEWHERE = {
    "a request id": (request("X-Request-Id: mine"), 200),
    "an upgrade": (request("Connection: upgrade", "Upgrade: h2c"), 200),
    "expects": (request("Expect: 100-continue"), 200),
    "who answers": (request("Routeur-Provider: openai"), 200),
    "retries": (request("Routeur-Retries: 2"), 200),
    "the vendor": (request("vendor: openai"), 200),
    "a trace block": (request("Routeur-Trace: true"), 200),
    "a dry run": (request("Routeur-Dry-Run: true"), 200),
    "HTTP/1.0": (request(version="1.0"), 200),
    "a form": (
        request(
            raw=b'--b\r\nContent-Disposition: form-data; name="model"\r\n\r\nwhisper-1\r\n--b--'
        )
        .replace(b"application/json", b"multipart/form-data; boundary=b")
        .replace(CHAT.encode(), b"/v1/audio/transcriptions"),
        200,
    ),
    "a raw path": (request(path="/openai/v1/chat/completions"), 200),
    "an unknown path": (request(path="/v1/batches"), 200),
}


@pytest.mark.parametrize("name", ELSEWHERE)
async def test_what_is_not_plain(
    make_router: MakeRouter, upstream: Upstream, taken: list[bytes], name: str
) -> None:
    """However often it comes, it goes the ordinary way."""
    client = await make_router(
        providers={"anthropic": None, "google": None}, aliases={"fast": None}
    )
    upstream.sends(whole(JSON))
    asked, status = ELSEWHERE[name]
    await talk(client, warm=request())
    seen = []
    for _ in range(3):
        raw = await client.raw(asked, quiet=0.05)
        raw = raw.removeprefix(b"HTTP/1.1 100 Continue\r\n\r\n")
        seen.append(OWN.sub(b"", raw))
        assert raw.startswith(b"HTTP/1.1 %d " % status)
    if name != "a trace block" and name != "a dry run":
        assert seen[0] == seen[1] == seen[2]
    assert taken == []


@pytest.mark.parametrize("word", ["keep-alive", "Keep-Alive"])
async def test_connection_keep_alive(
    router: Client, upstream: Upstream, taken: list[bytes], word: str
) -> None:
    """As clients of HTTP/1.1 need not say, and some do."""
    upstream.sends(whole(JSON))
    one = await talk(router, warm=request(f"Connection: {word}"))
    await one.ask(request(f"Connection: {word}"))
    assert len(taken) == 1
    assert b"connection" not in upstream.request.names()


@pytest.mark.parametrize("word", ["close", "keep-alive, close", "keep-alive, X-Drop"])
async def test_connection_close(
    router: Client, upstream: Upstream, taken: list[bytes], word: str
) -> None:
    upstream.sends(whole(JSON))
    for _ in range(3):
        one = await talk(router, warm=request(f"Connection: {word}", "X-Drop: 1"))
        if "close" in word:
            assert await one.end() == b""
        assert ("x-drop" in upstream.request.names()) == ("X-Drop" not in word)
    assert taken == []


@pytest.mark.parametrize("at", [1, 20, 90, -40, -1], ids=str)
async def test_split_in_two_reads(
    router: Client, upstream: Upstream, taken: list[bytes], at: int
) -> None:
    upstream.sends(whole(JSON))
    one = await talk(router, warm=request())
    usual = await one.ask(request())
    one.writer.write(request()[:at])
    await asyncio.sleep(0.02)
    assert await one.ask(request()[at:]) == usual
    assert len(taken) == 1
    assert await one.ask(request()) == usual
    assert len(taken) == 2


async def test_a_split_head_is_not_remembered(
    router: Client, upstream: Upstream, taken: list[bytes]
) -> None:
    upstream.sends(whole(JSON))
    for at in (20, -1):
        one = await talk(router)
        one.writer.write(request()[:at])
        await asyncio.sleep(0.02)
        await one.ask(request()[at:])
    assert taken == []


async def test_long_heads_are_not_remembered(
    router: Client, upstream: Upstream, taken: list[bytes]
) -> None:
    upstream.sends(whole(JSON))
    one = await talk(router)
    for _ in range(2):
        await one.ask(request("X-Long: " + "a" * LONGEST))
    assert taken == []


async def test_memory_has_an_end(router: Client, upstream: Upstream, taken: list[bytes]) -> None:
    """Whoever changes a header each time does not fill it."""
    upstream.sends(whole(JSON))
    one = await talk(router)
    for number in range(REMEMBERED + 5):
        await one.ask(request(f"X-Count: {number}"))
    assert len(router.router.express._heads) == REMEMBERED
    await one.ask(request(f"X-Count: {REMEMBERED + 4}"))
    assert len(taken) == 1


# ── mistakes, in the words of the ordinary way

WRONG = {
    "no JSON": (request(raw=b'{"model": '), 400),
    "NaN": (request(raw=b'{"model": "gpt-4o", "temperature": NaN}'), 400),
    "two models": (request(raw=b'{"model": "gpt-4o", "model": "gpt-5"}'), 400),
    "no object": (request(raw=b"[]"), 400),
    "no model": (request(raw=b"{}"), 400),
    "an odd model": (request(raw=b'{"model": 1}'), 400),
    "an unknown model": (request(model="gpt-none"), 404),
    "nothing": (request(raw=b""), 400),
}


@pytest.mark.parametrize("name", WRONG)
async def test_mistakes(router: Client, upstream: Upstream, taken: list[bytes], name: str) -> None:
    upstream.sends(whole(JSON))
    asked, status = WRONG[name]
    cold = await talk(router)
    first = await cold.ask(asked)
    one = await talk(router, warm=request())
    assert first[0].startswith(b"HTTP/1.1 %d " % status)
    assert await one.ask(asked) == first
    assert await one.status(request()) == 200
    assert taken == [request(), request()]
    assert len(upstream.requests) == 2


async def test_larger_than_max_body(
    make_router: MakeRouter, upstream: Upstream, taken: list[bytes]
) -> None:
    client = await make_router(server={"max_body": "1KB"})
    upstream.sends(whole(JSON))
    asked = request(messages=["a" * 2000])
    first = await (await talk(client)).ask(asked)
    one = await talk(client, warm=request())
    assert await one.ask(asked) == first
    assert first[0].startswith(b"HTTP/1.1 413 ")
    assert taken == [request()]


async def test_another_key(make_router: MakeRouter, upstream: Upstream, taken: list[bytes]) -> None:
    """A key that has been seen says nothing of another one, nor of none."""
    client = await make_router(auth={"master_key": "sk-master-0123456789"})
    upstream.sends(whole(JSON))
    key = "Authorization: Bearer sk-master-0123456789"
    one = await talk(client, warm=request(key))
    assert await one.status(request(key)) == 200
    assert len(taken) == 1
    for other in (key[:-1] + "8", key[:-1], "X-Nothing: 1", key + "\r\nx-api-key: other"):
        assert await (await talk(client)).status(request(other)) in (400, 401)
        assert await (await talk(client)).status(request(other)) in (400, 401)
    assert len(taken) == 1
    assert len(upstream.requests) == 2


async def test_foreign_hosts_and_origins(
    router: Client, upstream: Upstream, taken: list[bytes]
) -> None:
    upstream.sends(whole(JSON))
    await talk(router, warm=request())
    for asked in (
        request("Origin: https://evil.example"),
        request().replace(b"Host: localhost", b"Host: evil.example"),
    ):
        for _ in range(2):
            assert await (await talk(router)).status(asked) == 403
    assert taken == []


async def test_two_lengths(router: Client, upstream: Upstream, taken: list[bytes]) -> None:
    """Of smuggled requests nothing is known."""
    upstream.sends(whole(JSON))
    await talk(router, warm=request())
    for extra in (b"Content-Length: 5\r\n", b"Transfer-Encoding: chunked\r\n"):
        asked = request().replace(b"Content-Type", extra + b"Content-Type")
        for _ in range(2):
            assert (await client_raw(router, asked)).startswith(b"HTTP/1.1 400 ")
    assert taken == []
    assert len(upstream.requests) == 1


async def client_raw(client: Client, asked: bytes) -> bytes:
    return await client.raw(asked, quiet=0.05)


# ── the state of things


def changed(upstream: Upstream, **changes: Any) -> Any:
    return parse(merged(settings(upstream), changes))


async def test_reload(router: Client, upstream: Upstream, taken: list[bytes]) -> None:
    """What is known of heads is known of one configuration."""
    upstream.sends(whole(JSON))
    one = await talk(router, warm=request())
    await one.ask(request())
    assert upstream.request.key == "sk-at-openai"
    new = changed(upstream, providers={"openai": {"api_key": "sk-new"}})
    router.router.reload(new)
    assert await one.status(request()) == 200
    assert len(taken) == 1
    assert await one.status(request()) == 200
    assert len(taken) == 2
    assert upstream.keys[-2:] == ["sk-new", "sk-new"]


async def test_reload_with_another_key(make_router: MakeRouter, upstream: Upstream) -> None:
    auth = {"master_key": "sk-master-0123456789"}
    client = await make_router(auth=auth)
    upstream.sends(whole(JSON))
    asked = request("Authorization: Bearer " + auth["master_key"])
    one = await talk(client, warm=asked)
    client.router.reload(changed(upstream, auth={"master_key": "sk-other-0123456789"}))
    assert await one.status(asked) == 401
    assert len(upstream.requests) == 1


@pytest.mark.parametrize("times", [1, 2], ids=["ordinary", "express"])
async def test_reload_with_another_key_under_way(
    make_router: MakeRouter, upstream: Upstream, times: int
) -> None:
    """What is under way keeps the configuration it began with, also when it has to be tried again:
    whoever was let in is, and its call is counted and traced.
    """
    auth = {"master_key": "sk-master-0123456789"}
    client = await make_router(auth=auth)
    upstream.sends(whole(JSON))
    asked = request("Authorization: Bearer " + auth["master_key"])
    one = await talk(client)
    for _ in range(times - 1):
        await one.ask(asked)
    upstream._script[:] = [[HOLD, whole(b'{"error":{}}', 503)]]
    one.writer.write(asked)
    await upstream.requested(times)
    client.router.reload(changed(upstream, auth={"master_key": "sk-other-0123456789"}))
    upstream.release()
    assert (await one.answer())[1] == b'{"error":{}}'
    assert client.router.metrics.inflight == 0
    assert len(client.router.traces._by_id) == times


async def test_draining(router: Client, upstream: Upstream, taken: list[bytes]) -> None:
    """Then answers say that the connection ends."""
    upstream.sends(whole(JSON))
    one = await talk(router, warm=request())
    router.router.proxy.draining = True
    start, body = await one.ask(request())
    assert (body, taken) == (JSON, [])
    assert b"\r\nConnection: close" in start
    router.router.proxy.draining = False


async def test_drained_while_under_way(
    make_router: MakeRouter, upstream: Upstream, taken: list[bytes]
) -> None:
    client = await make_router(server={"drain": "5s"})
    upstream.sends(whole(JSON))
    one = await talk(client, warm=request())
    upstream.sends(HOLD, whole(JSON))
    one.writer.write(request())
    await upstream.requested(2)
    stopped = asyncio.create_task(client.router.stop())
    await asyncio.sleep(0.01)
    upstream.release()
    assert (await one.answer())[1] == JSON
    await stopped
    assert await one.end() == b""
    assert len(taken) == 1


async def test_cut_while_under_way(make_router: MakeRouter, upstream: Upstream) -> None:
    """The end of draining: the client sees that its answer is not whole, and it is accounted."""
    client = await make_router(server={"drain": "50ms"})
    upstream.sends(whole(JSON))
    one = await talk(client, warm=request())
    upstream.sends(chunked(STREAM, end=b""), HOLD)
    one.writer.write(request(stream=True))
    await one.reader.readuntil(b"[DONE]")
    await client.router.stop()
    assert b"0\r\n\r\n" not in await one.end()
    await upstream.request.connection.wait_closed()
    last = [*client.router.traces._by_id.values()][-1]
    assert (last.status, last.aborted_by) == (499, "routeur")


# ── attempts that fail


@pytest.fixture
async def second() -> AsyncIterator[Upstream]:
    provider = Upstream()
    await provider.start()
    yield provider
    await provider.stop()
    assert provider.anomalies == []


FAILS: dict[str, tuple[Part, ...]] = {
    "503": (whole(b"{}", 503),),
    "401": (whole(b"{}", 401),),
    "close": (b"HTTP/1.1 200", CLOSE),
    "HTML": (whole(b"<html></html>"),),
    "empty": (whole(b""),),
}


@pytest.mark.parametrize("name", FAILS)
async def test_the_first_attempt_fails(
    make_router: MakeRouter, upstream: Upstream, second: Upstream, taken: list[bytes], name: str
) -> None:
    """As without it: the next target answers, with the same words about it."""
    here = {"dialect": "openai", "models": ["m"], "api_key": "k"}
    upstream.sends(whole(JSON))
    second.sends(whole(b'{"id":"q","choices":[]}'))
    found = []
    for short in (False, True):
        client = await make_router(
            providers={
                "p": here | {"base_url": f"{upstream.url}/v1"},
                "q": here | {"base_url": f"{second.url}/v1"},
            },
            aliases={"any": ["p/m", "q/m"]},
            retries={"attempts": 3},
        )
        if not short:
            client.router.server.express = None
        upstream._script[:] = [[whole(JSON)], [*FAILS[name]]]
        one = await talk(client, warm=request(model="any"))
        answer = await one.ask(request(model="any"))
        found.append(answer)
        last = [*client.router.traces._by_id.values()][-1]
        found.append([(each.target, each.status, each.error) for each in last.attempts])
    assert found[:2] == found[2:]
    assert found[0][1] == b'{"id":"q","choices":[]}'
    assert len(taken) == 1


@pytest.mark.parametrize("how", ["at once", "in the answer's place"])
async def test_a_stale_connection(
    router: Client, upstream: Upstream, taken: list[bytes], how: str
) -> None:
    """Once more on a new one, silently: that is no attempt."""
    upstream.sends(whole(JSON))
    one = await talk(router, warm=request())
    if how == "at once":
        await upstream.drop()
    else:
        upstream._script[:] = [[RESET], [whole(JSON)]]
    start, body = await one.ask(request())
    assert body == JSON
    assert b"\r\nX-Routeur-Trace-Attempts: 1\r\n" in start
    assert len(taken) == 1
    assert len(upstream.connections) == 2
    assert len(upstream.requests) == (2 if how == "at once" else 3)


async def test_a_stale_connection_once_more_only(router: Client, upstream: Upstream) -> None:
    """Also with other idle ones in the pool, that may be as dead."""
    talks = await several(router, upstream, 3)
    upstream._script[:] = [[RESET], [RESET]]
    start, _ = await talks[0].ask(request())
    assert start.startswith(b"HTTP/1.1 502 ")
    assert b"\r\nX-Routeur-Trace-Attempts: 1\r\n" in start
    assert len(upstream.requests) == 5
    assert len(upstream.connections) == 4


async def test_nobody_banned_is_asked(
    make_router: MakeRouter, upstream: Upstream, taken: list[bytes]
) -> None:
    """After a failure the express waits for a success; after a ban nobody is asked at all."""
    client = await make_router(ban={"after": 3, "for": "50ms"})
    upstream.sends(whole(JSON))
    one = await talk(client, warm=request())
    upstream._script[:] = [[whole(b"{}", 503)]]
    assert [await one.status(request()) for _ in range(5)] == [503] * 5
    assert (len(upstream.requests), len(taken)) == (4, 1)
    while client.router.standings.bans():  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    upstream._script[:] = [[HOLD, whole(JSON)]]
    upstream.released.clear()
    one.writer.write(request())
    await upstream.requested(5)
    other = await talk(client)
    assert await other.status(request()) == 503  # while one probes, others wait
    upstream.release()
    assert (await one.answer())[1] == JSON
    assert await one.status(request()) == await other.status(request()) == 200
    assert (len(upstream.requests), len(taken)) == (7, 3)


@pytest.mark.parametrize("model", ["gpt-4o", "*"])
async def test_an_operators_ban(
    make_router: MakeRouter, upstream: Upstream, taken: list[bytes], model: str
) -> None:
    client = await make_router()
    upstream.sends(whole(JSON))
    one = await talk(client, warm=request())
    ban = {"credential": "openai", "model": model}
    assert (await client.post("/api/ban", json=ban)).status == 200
    assert await one.status(request()) == 503
    assert (await client.post("/api/unban", json=ban)).status == 200
    assert await one.status(request()) == 200
    assert (len(upstream.requests), len(taken)) == (2, 1)


async def test_limits(make_router: MakeRouter, upstream: Upstream, taken: list[bytes]) -> None:
    """Who has limits is never asked without counting."""
    client = await make_router(providers={"openai": {"rpm": 3}})
    upstream.sends(whole(JSON))
    one = await talk(client)
    assert [await one.status(request()) for _ in range(5)] == [200, 200, 200, 429, 429]
    assert taken == []


@pytest.mark.parametrize("extra", [(), ("X-Ordinary: 1",)], ids=["express", "ordinary"])
async def test_unasked_bytes_are_there_already(
    router: Client, upstream: Upstream, extra: tuple[str, ...]
) -> None:
    """Request and unasked bytes come in one turn of the loop, the request is seen first: what was
    there before it was sent on is no answer to it.
    """
    upstream.sends(whole(JSON))
    one = await talk(router, warm=request())
    one.writer.write(request(*extra))
    upstream.connections[0].transport.write(whole(b'{"id":"stolen","choices":[]}'))
    assert (await one.answer())[1] == JSON


# ── connections of their own


async def test_nobody_is_idle(router: Client, upstream: Upstream, taken: list[bytes]) -> None:
    """Then each gets a new connection, as on the ordinary way."""
    await several(router, upstream, 5, warm=True)
    assert len(taken) == 5
    assert len(upstream.connections) == 5


async def test_the_provider_is_gone(
    make_router: MakeRouter, upstream: Upstream, second: Upstream, taken: list[bytes]
) -> None:
    """As without it: the next target answers, with the same words about it."""
    here = {"dialect": "openai", "models": ["m"], "api_key": "k"}
    upstream.sends(whole(JSON))
    second.sends(whole(b'{"id":"q","choices":[]}'))
    client = await make_router(
        providers={
            "p": here | {"base_url": f"{upstream.url}/v1"},
            "q": here | {"base_url": f"{second.url}/v1"},
        },
        aliases={"any": ["p/m", "q/m"]},
        retries={"attempts": 3},
    )
    one = await talk(client, warm=request(model="any"))
    await upstream.stop()
    found = []
    for _ in range(2):
        found.append(await one.ask(request(model="any")))
        last = [*client.router.traces._by_id.values()][-1]
        found.append([(each.target, each.status, each.error) for each in last.attempts])
        client.router.server.express = None
    assert found[:2] == found[2:]
    assert found[0][1] == b'{"id":"q","choices":[]}'
    assert len(taken) == 1


@pytest.mark.parametrize("express", [False, True], ids=["without", "with"])
async def test_reload_while_it_connects(
    make_router: MakeRouter, upstream: Upstream, monkeypatch: pytest.MonkeyPatch, express: bool
) -> None:
    """The connection that comes then has the timeouts of the configuration it belongs to."""
    monkeypatch.setattr("routeur.app.SWEEP", 0.02)
    client = await make_router(providers={"openai": {"timeouts": {"first_byte": "200ms"}}})
    upstream.sends(whole(JSON))
    one = await talk(client, warm=request())
    if not express:
        client.router.server.express = None
    await upstream.drop()
    connect, go, waits = Pool._connect, asyncio.Event(), asyncio.Event()

    async def slow(pool: Pool, make: Callable[[], Connection]) -> Connection:
        waits.set()
        await go.wait()
        return await connect(pool, make)

    monkeypatch.setattr(Pool, "_connect", slow)
    upstream.sends(HOLD)
    one.writer.write(request())
    await waits.wait()
    client.router.reload(client.router.config)
    old = [pool for pool in client.router._pools if pool.connecting]
    client.router._sweep()
    assert old and old[0] in client.router._pools
    go.set()
    assert (await one.answer())[0].startswith(b"HTTP/1.1 504 ")


def connects_for_ever(monkeypatch: pytest.MonkeyPatch) -> asyncio.Event:
    """No connection is made from now on; what is returned is set when one is given up."""
    ended = asyncio.Event()

    async def connect(pool: Pool, seconds: float) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    monkeypatch.setattr(Pool, "connect", connect)
    return ended


async def test_the_client_leaves_while_it_connects(
    router: Client, upstream: Upstream, taken: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    upstream.sends(whole(JSON))
    one = await talk(router, warm=request())
    await upstream.drop()
    ended = connects_for_ever(monkeypatch)
    one.writer.write(request())
    while not taken:  # noqa: ASYNC110
        await asyncio.sleep(0)
    one.writer.close()
    async with asyncio.timeout(PATIENCE):
        await ended.wait()
    last = [*router.router.traces._by_id.values()][-1]
    assert (last.status, last.usage, last.sent) == (499, None, 0.0)
    assert router.router.metrics.inflight == 0


async def test_nothing_is_left_of_who_leaves_while_it_connects(
    router: Client, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What waits for the collector keeps a whole connection."""

    def left() -> list[object]:
        return [each for each in gc.get_objects() if isinstance(each, ExpressPassage)]

    upstream.sends(whole(JSON))
    one = await talk(router, warm=request())
    await upstream.drop()
    ended = connects_for_ever(monkeypatch)
    gc.collect()
    gc.disable()
    try:
        one.writer.write(request())
        while not left():  # noqa: ASYNC110
            await asyncio.sleep(0)
        one.writer.close()
        async with asyncio.timeout(PATIENCE):
            await ended.wait()
            while left():  # noqa: ASYNC110
                await asyncio.sleep(0.01)
    finally:
        gc.enable()


# ── answers that come together


async def test_booked_before_they_go(
    router: Client, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of many answers in one turn of the loop, the first goes when the last is in the books."""
    arrived: list[ExpressPassage] = []
    arrive, deliver = Express.arrive, ExpressPassage.deliver

    def arriving(self: Express, passage: ExpressPassage) -> None:
        arrived.append(passage)
        arrive(self, passage)

    def delivering(self: ExpressPassage) -> None:
        if arrived:
            assert all(passage.booked for passage in arrived)
        deliver(self)

    monkeypatch.setattr(Express, "arrive", arriving)
    monkeypatch.setattr(ExpressPassage, "deliver", delivering)
    await several(router, upstream, 4 * FEW, warm=True)
    assert len(arrived) >= 3 * FEW  # when the last ones came, only a few were under way
    calls = [*router.router.traces._by_id.values()]
    assert [call.status for call in calls] == [200] * (1 + 4 * FEW)
    assert {call.usage.output_total for call in calls if call.usage} == {1}


async def test_the_client_leaves_before_its_answer_goes(
    router: Client, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is booked as left, with what the whole answer has used; nothing is written any more."""
    arrived: list[ExpressPassage] = []
    monkeypatch.setattr("routeur.express.FEW", 0)
    monkeypatch.setattr(Express, "arrive", lambda _, passage: arrived.append(passage))
    upstream.sends(whole(JSON))
    one = await talk(router, warm=request())
    one.writer.write(request())
    while not arrived:  # noqa: ASYNC110
        await asyncio.sleep(0)
    one.writer.transport.abort()
    async with asyncio.timeout(PATIENCE):
        while router.router.metrics.inflight:  # noqa: ASYNC110
            await asyncio.sleep(0.001)
    (passage,) = arrived
    written: list[bytes] = []
    passage.out = written.append
    passage.settle()
    passage.deliver()
    assert written == []
    last = [*router.router.traces._by_id.values()][-1]
    assert (last.status, last.aborted_by, last.estimated) == (499, "client", False)
    assert last.usage is not None and last.usage.output_total == 1
    assert passage.place.standing.inflight == 0


async def test_one_mistake_of_ours(
    router: Client, upstream: Upstream, bugs: list[BaseException], monkeypatch: pytest.MonkeyPatch
) -> None:
    """At the end of one answer does not keep those that go with it."""
    deliver, mistakes = ExpressPassage.deliver, [ValueError("a bug")]

    def delivering(self: ExpressPassage) -> None:
        if mistakes and len(taken) > 1:
            raise mistakes.pop()
        deliver(self)

    taken: list[ExpressPassage] = []
    arrive = Express.arrive
    monkeypatch.setattr(Express, "arrive", lambda *both: (taken.append(both[1]), arrive(*both)))
    monkeypatch.setattr(ExpressPassage, "deliver", delivering)
    upstream.sends(whole(JSON))
    await talk(router, warm=request())
    upstream.sends(HOLD, whole(JSON))
    talks = [await talk(router) for _ in range(4 * FEW)]
    for one in talks:
        one.writer.write(request())
    await upstream.requested(1 + len(talks))
    upstream.release()
    answers = await asyncio.gather(*(one.answer() for one in talks), return_exceptions=True)
    lost = [answer for answer in answers if isinstance(answer, Exception)]
    assert (len(lost), len(bugs), mistakes) == (1, 1, [])
    assert router.router.metrics.inflight == 0
    bugs.clear()


ODD = {
    "no UTF-8": b'{"choices":[],"usage":{"prompt_tokens":1,"completion_tokens":1,"x":"\xff"}}',
    "deep": b'{"choices":%b%b,"usage":{"prompt_tokens":1,"completion_tokens":1}}'
    % (b"[" * 1000, b"]" * 1000),
}


@pytest.mark.parametrize("name", ODD)
async def test_odd_answers_are_booked(router: Client, upstream: Upstream, name: str) -> None:
    """With what they have used."""
    upstream.sends(whole(JSON))
    upstream.sends(whole(ODD[name]))
    one = await talk(router, warm=request())
    assert (await one.ask(request()))[1] == ODD[name]
    last = [*router.router.traces._by_id.values()][-1]
    assert last.usage is not None and last.usage.output_total == 1
    assert (last.estimated, router.router.metrics.inflight) == (False, 0)


# ── clients that leave

WHERE: dict[str, list[Part]] = {
    "before the head": [HOLD],
    "in the head": [b"HTTP/1.1 200 OK\r\nContent-", HOLD],
    "after the head": [chunked(STREAM, end=b"")[:110], HOLD],
    "held": [chunked(STREAM[:20], end=b""), HOLD],
    "in a stream": [chunked(STREAM, end=b""), HOLD],
    "in a JSON": [whole(JSON)[:-9], HOLD],
    "in an error": [whole(JSON, 503)[:-9], HOLD],
}


@pytest.mark.parametrize("how", ["fin", "rst", "half-close"])
@pytest.mark.parametrize("where", WHERE)
async def test_the_client_leaves(
    router: Client, upstream: Upstream, taken: list[bytes], where: str, how: str
) -> None:
    """Its provider is let go, it is accounted, and nobody is to blame."""
    upstream.sends(whole(JSON))
    upstream.sends(*WHERE[where])
    one = await talk(router, warm=request())
    one.writer.write(request(stream=True))
    await upstream.requested(2)
    if where == "in a stream":
        await one.reader.readuntil(b"[DONE]")
    elif where != "before the head":
        await asyncio.sleep(0.01)
    if how == "half-close":
        one.writer.write_eof()
    else:
        one.writer.close() if how == "fin" else one.writer.transport.abort()
    await upstream.request.connection.wait_closed()
    assert len(taken) == 1
    last = [*router.router.traces._by_id.values()][-1]
    assert (last.status, last.aborted_by) == (499, "client")
    assert [each.error for each in last.attempts] == ["the client left"]
    assert router.router.metrics.inflight == 0
    assert router.router.standings.bans() == []


async def test_the_client_leaves_with_more_in_the_pipe(router: Client, upstream: Upstream) -> None:
    """What it had asked for after that reaches nobody."""
    upstream.sends(whole(JSON))
    upstream.sends(chunked(STREAM, end=b""), HOLD)
    one = await talk(router, warm=request())
    one.writer.write(request(stream=True))
    await one.reader.readuntil(b"[DONE]")
    one.writer.write(request() * 3)
    one.writer.close()
    await upstream.request.connection.wait_closed()
    assert len(upstream.requests) == 2


async def test_the_client_leaves_between_attempts(
    make_router: MakeRouter, upstream: Upstream, taken: list[bytes]
) -> None:
    """While the ordinary way goes on with what the express has begun."""
    client = await make_router(retries={"attempts": 3})
    upstream.sends(whole(JSON))
    upstream.sends(whole(b"{}", 503, ("Retry-After", "1")))
    one = await talk(client, warm=request())
    one.writer.write(request())
    await upstream.requested(2)
    await asyncio.sleep(0.05)
    one.writer.close()
    async with asyncio.timeout(PATIENCE):
        while client.router.metrics.inflight:  # noqa: ASYNC110
            await asyncio.sleep(0.005)
    last = [*client.router.traces._by_id.values()][-1]
    assert (last.status, len(last.attempts)) == (499, 1)
    assert (len(upstream.requests), len(taken)) == (2, 1)


@pytest.mark.parametrize("turns", range(-2, 4))
@pytest.mark.parametrize("said", [b"", whole(b"{}", 503), whole(JSON), whole(JSON)[:-9]])
async def test_both_ends_at_once(
    router: Client, upstream: Upstream, taken: list[bytes], said: bytes, turns: int
) -> None:
    """The client leaves, and its provider answers or closes, some turns of the loop apart."""
    upstream.sends(whole(JSON))
    one = await talk(router, warm=request())
    upstream.sends(HOLD)
    one.writer.write(request())
    seen = await upstream.requested(2)
    if turns < 0:
        one.writer.transport.abort()
    for _ in range(-turns):
        await asyncio.sleep(0)
    seen.connection.transport.write(said) if said else seen.connection.reset()
    for _ in range(turns):
        await asyncio.sleep(0)
    one.writer.transport.abort()
    async with asyncio.timeout(PATIENCE):
        while router.router.server.connections:  # noqa: ASYNC110
            await asyncio.sleep(0.001)
        while router.router.metrics.inflight:  # noqa: ASYNC110
            await asyncio.sleep(0.001)
    assert len(taken) == 1
    assert len(router.router.traces._by_id) == 2


async def test_a_break_is_visible(router: Client, upstream: Upstream) -> None:
    upstream.sends(whole(JSON))
    upstream.sends(chunked(STREAM, end=b""), CLOSE)
    one = await talk(router, warm=request())
    one.writer.write(request(stream=True))
    assert (await one.end()).endswith(chunked(STREAM, end=b"").partition(b"\r\n\r\n")[2])


@pytest.mark.parametrize("fed", [True, False], ids=["an old connection", "a new one"])
async def test_a_break_with_more_in_the_pipe(
    router: Client, upstream: Upstream, fed: bool, taken: list[bytes]
) -> None:
    """The connection is cut: what its client had asked for after that reaches nobody."""
    one = (await several(router, upstream, 2))[0]
    upstream.released.clear()
    upstream._script[:] = [[chunked(STREAM, end=b""), HOLD, CLOSE]]
    if not fed:
        one = await talk(router)
    one.writer.write(request(stream=True))
    await one.reader.readuntil(b"[DONE]")
    one.writer.write(request(model="gpt-5"))  # of which nothing bad is known
    await asyncio.sleep(0.02)
    upstream.release()
    assert b"HTTP/1.1" not in await one.end()
    assert (len(upstream.requests), len(taken)) == (3, 1)


async def test_a_slow_client(make_router: MakeRouter, upstream: Upstream) -> None:
    """Its provider waits, and it gets all; the next one on the connection is not forgotten."""
    client = await make_router()
    size = 32 << 20
    upstream.sends(whole(JSON))
    upstream.sends(
        head(200, [("Content-Type", "audio/mpeg"), ("Content-Length", str(size))]),
        *[bytes(1 << 20)] * 32,
    )
    upstream.sends(whole(JSON))
    reader, writer = await asyncio.open_connection("127.0.0.1", client.port, limit=4096)
    one = Talk(reader, writer)
    await one.ask(request())
    writer.write(request())
    seen = await upstream.requested(2)
    start = await reader.readuntil(b"\r\n\r\n")
    await asyncio.wait_for(seen.connection.blocked.wait(), PATIENCE)
    writer.write(request())
    assert b"audio/mpeg" in start
    async with asyncio.timeout(PATIENCE):
        assert await reader.readexactly(size) == bytes(size)
    assert (await one.answer())[1] == JSON
    writer.close()


async def test_a_client_that_reads_nothing(make_router: MakeRouter, upstream: Upstream) -> None:
    client = await make_router()
    client.router.server.stall_timeout = 0.1
    upstream.sends(whole(JSON))
    size = 32 << 20
    upstream.sends(
        head(200, [("Content-Type", "audio/mpeg"), ("Content-Length", str(size))]),
        *[bytes(1 << 20)] * 32,
    )
    reader, writer = await asyncio.open_connection("127.0.0.1", client.port, limit=4096)
    await Talk(reader, writer).ask(request())
    writer.write(request())
    seen = await upstream.requested(2)
    await seen.connection.wait_closed()
    assert [*client.router.traces._by_id.values()][-1].status == 499
    writer.transport.abort()


# ── requests that come before their time


@pytest.mark.parametrize("count", [2, 3, 20])
async def test_pipelined(
    router: Client, upstream: Upstream, taken: list[bytes], count: int
) -> None:
    """Answered one by one, in their order, whoever serves them."""
    upstream.sends(whole(JSON))
    one = await talk(router, warm=request())
    for number in range(count):
        upstream.sends(whole(b'{"id":"%d","choices":[]}' % number))
    one.writer.write(request() * count)
    for number in range(count):
        assert (await one.answer())[1] == b'{"id":"%d","choices":[]}' % number
    assert upstream.anomalies == []
    assert len(upstream.connections) == 1


@pytest.mark.parametrize("streamed", [False, True])
async def test_behind_one_on_the_express(
    router: Client, upstream: Upstream, taken: list[bytes], streamed: bool
) -> None:
    """What comes while it is served waits, in whatever pieces."""
    upstream.sends(whole(JSON))
    upstream.sends(HOLD, chunked(STREAM) if streamed else whole(JSON))
    for number in range(5):
        upstream.sends(whole(b'{"id":"%d","choices":[]}' % number))
    one = await talk(router, warm=request())
    one.writer.write(request())
    await upstream.requested(2)
    more = request() * 5
    for start in range(0, len(more), 150):
        one.writer.write(more[start : start + 150])
        await asyncio.sleep(0.001)
    assert len(upstream.requests) == 2
    upstream.release()
    assert (await one.answer())[0].startswith(b"HTTP/1.1 200 OK")
    for number in range(5):
        assert (await one.answer())[1] == b'{"id":"%d","choices":[]}' % number
    assert len(taken) >= 1


async def test_more_behind_it_than_is_kept(
    router: Client, upstream: Upstream, taken: list[bytes]
) -> None:
    """Then the client's connection is not read; all is answered all the same."""
    upstream.sends(whole(JSON))
    one = await talk(router, warm=request())
    upstream.sends(HOLD, whole(JSON))
    count = 20
    asked = request(messages=["a" * (MAX_QUEUED // 4)])
    one.writer.write(request())
    await upstream.requested(2)
    for number in range(count):
        upstream.sends(whole(b'{"id":"%d","choices":[]}' % number))
    one.writer.write(asked * count)
    await asyncio.sleep(0.05)
    (connection,) = client_connections(router.router.server)
    assert connection.transport is not None
    assert not connection.transport.is_reading()
    assert len(connection.queued) < MAX_QUEUED + (1 << 18) + 1
    upstream.release()
    assert (await one.answer())[1] == JSON
    for number in range(count):
        assert (await one.answer())[1] == b'{"id":"%d","choices":[]}' % number
    assert [each.body for each in upstream.requests[2:]] == [
        asked.partition(b"\r\n\r\n")[2]
    ] * count
    assert len(taken) >= 1


async def test_leaving_with_more_behind_it_than_is_kept(router: Client, upstream: Upstream) -> None:
    """A connection that is not read: its client's going is noticed all the same."""
    upstream.sends(whole(JSON))
    one = await talk(router, warm=request())
    upstream.sends(HOLD)
    one.writer.write(request())
    await upstream.requested(2)
    one.writer.write(request() * 500)
    await asyncio.sleep(0.05)
    one.writer.transport.abort()
    await upstream.request.connection.wait_closed()
    assert len(upstream.requests) == 2


async def test_garbage_behind_it(router: Client, upstream: Upstream) -> None:
    """The answer is whole; then what is no request gets its 400."""
    upstream.sends(whole(JSON))
    one = await talk(router, warm=request())
    upstream.sends(HOLD, whole(JSON))
    one.writer.write(request())
    await upstream.requested(2)
    one.writer.write(b"GARBAGE\r\n\r\n")
    await asyncio.sleep(0.01)
    upstream.release()
    assert (await one.answer())[1] == JSON
    assert (await one.answer())[0].startswith(b"HTTP/1.1 400 ")
    assert await one.end() == b""


def client_connections(server: Server) -> list[ClientConnection]:
    return [each for each in server.connections if isinstance(each, ClientConnection)]


async def test_both_ways_take_turns(router: Client, upstream: Upstream, taken: list[bytes]) -> None:
    """One connection, a hundred requests that the express may serve and others that it may not."""
    upstream.sends(whole(JSON))
    one = await talk(router, warm=request())
    usual = await one.ask(request())
    for number in range(50):
        assert (await one.ask(request(f"X-Number: {number}")))[1] == JSON
        assert await one.ask(request()) == usual
    assert len(taken) == 51


async def test_nothing_is_written_into_an_answer(router: Client, upstream: Upstream) -> None:
    """aiohttp still writes a page of ours when the next request has come: it waits."""
    upstream.sends(whole(JSON))
    one = await talk(router, warm=request())
    for _ in range(20):
        one.writer.write(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n" + request())
        first, second = await one.answer(), await one.answer()
        assert first[0].startswith(b"HTTP/1.1 200 OK")
        assert second[1] == JSON


async def test_while_aiohttp_finishes(
    router: Client, upstream: Upstream, taken: list[bytes]
) -> None:
    """A request that comes in the very turn in which the answer before has ended: it is served
    when aiohttp has noticed that, and by the express.
    """
    upstream.sends(whole(JSON))
    one = await talk(router, warm=request())
    (connection,) = client_connections(router.router.server)

    def finish(self: ClientConnection) -> None:
        ClientConnection.finish(self)
        self.data_received(request())

    patched = {"__slots__": (), "finish": finish}
    connection.__class__ = type("Patched", (ClientConnection,), patched)
    assert await one.status(request("X-Ordinary: 1")) == 200
    assert (await one.answer())[1] == JSON
    connection.__class__ = ClientConnection
    assert taken == [request()]


# ── idle connections


async def test_idle_connections_are_closed(router: Client, upstream: Upstream) -> None:
    """75 seconds after their last request, whichever way it went; busy ones are not idle."""
    upstream.sends(whole(JSON))
    one, other = await talk(router, warm=request()), await talk(router)
    await one.ask(request())
    upstream.sends(HOLD, whole(JSON))
    busy = await talk(router)
    busy.writer.write(request())
    await upstream.requested(3)
    server = router.router.server
    sweeps = int(IDLE_CONNECTION / IDLE_SWEEP)
    for _ in range(sweeps):
        server._sweep_idle()
    assert len(client_connections(server)) == 3
    server._sweep_idle()
    assert await one.end() == await other.end() == b""
    upstream.release()
    assert (await busy.answer())[1] == JSON


@pytest.mark.parametrize("extra", [(), ("X-Ordinary: 1",)], ids=["express", "ordinary"])
async def test_a_request_makes_it_new(
    router: Client, upstream: Upstream, extra: tuple[str, ...]
) -> None:
    upstream.sends(whole(JSON))
    one = await talk(router, warm=request())
    for _ in range(5):
        for _ in range(int(IDLE_CONNECTION / IDLE_SWEEP)):
            router.router.server._sweep_idle()
        assert await one.status(request(*extra)) == 200


async def test_the_sweep_is_not_too_often(router: Client, upstream: Upstream) -> None:
    upstream.sends(whole(JSON))
    await talk(router, warm=request())
    (connection,) = client_connections(router.router.server)
    now = time.monotonic() + 1000
    for seconds in range(20):
        router.router.server.sweep(now + seconds)
    assert connection.idle_for == pytest.approx(20, abs=IDLE_SWEEP)


async def test_late_heads_after_the_express(make_router: MakeRouter, upstream: Upstream) -> None:
    """Half a head has its deadline, too, where whole ones went before it."""
    client = await make_router()
    client.router.server.head_timeout = 0.1
    upstream.sends(whole(JSON))
    one = await talk(client, warm=request())
    await one.ask(request())
    one.writer.write(request()[:30])
    assert (await one.answer())[0].startswith(b"HTTP/1.1 408 ")
    assert await one.end() == b""


async def test_a_bug_of_ours(
    router: Client, upstream: Upstream, monkeypatch: pytest.MonkeyPatch, bugs: list[BaseException]
) -> None:
    """It ends in the ordinary way's words, not in a connection that hangs."""
    upstream.sends(whole(JSON))
    one = await talk(router, warm=request())
    monkeypatch.setattr(Express, "_way", None)
    for known in router.router.express._heads.values():
        known.ways.clear()
    assert await one.status(request()) == 200
    (bug,) = bugs
    assert isinstance(bug, TypeError)
    bugs.clear()
