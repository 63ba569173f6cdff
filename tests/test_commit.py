"""The commit point: nothing reaches the client before it, all that was held comes with it."""

from __future__ import annotations

import asyncio
import gzip
import json
import re
from collections.abc import Callable
from typing import Any

import pytest

import routeur.reply
from tests.conftest import Client, MakeRouter
from tests.fake import CLOSE, EVENTS, HOLD, PATIENCE, RESET, Part, Upstream, chunked, head, whole
from tests.faults import ERROR_EVENT, EVENTS_HEAD, EVERY, JSON, REQUESTS, STREAM

CHAT = "/v1/chat/completions"
SPEAKS = {"openai": "openai", "responses": "openai", "anthropic": "anthropic", "gemini": "gemini"}
QUIET = 0.05  # seconds in which nothing may come
BREAK = {dialect: b"\r\n\r\n" if dialect == "gemini" else b"\n\n" for dialect in EVERY}
# Events before the first content.
EMPTY = {"openai": 1, "responses": 1, "anthropic": 1, "gemini": 0}
GOOD = whole(b'{"id":"q","choices":[]}')
COMMENT = b": alive\n\n"


def request(
    dialect: str = "openai", *headers: str, version: str = "1.1", path: str = "", **more: Any
) -> bytes:
    """A streamed one, if nothing else is said."""
    usual, asked = REQUESTS[dialect]
    if dialect == "gemini":
        usual = usual.replace(":generateContent", ":streamGenerateContent?alt=sse")
    else:
        asked = asked | {"stream": True}
    body = json.dumps(asked | more).encode()
    lines = [f"POST {path or usual} HTTP/{version}", "Host: localhost", *headers]
    lines += ["Content-Type: application/json", f"Content-Length: {len(body)}"]
    return "\r\n".join([*lines, "", ""]).encode() + body


def configured(upstream: Upstream, dialect: str = "openai", **settings: Any) -> dict[str, Any]:
    """`any` is `m` at `p`, with these settings, and at `q`."""
    url = upstream.url + ("/v1" if SPEAKS[dialect] == "openai" else "")
    here = {"dialect": SPEAKS[dialect], "base_url": url, "models": ["m"]}
    providers: dict[str, Any] = {"openai": None, "anthropic": None, "google": None}
    providers |= {"p": here | {"api_key": "p"} | settings, "q": here | {"api_key": "q"}}
    return {
        "providers": providers,
        "aliases": {"fast": None, "any": ["p/m", "q/m"]},
        "retries": {"attempts": 2},
    }


def ruled(upstream: Upstream, dialect: str = "openai", **settings: Any) -> dict[str, Any]:
    """The same with a rule that has these settings."""
    config = configured(upstream, dialect)
    rule = {"name": "r", "match": {"model": "any"}, "to": ["p/m", "q/m"]}
    config["aliases"] = {"fast": None}
    return config | {"rules": [rule | settings]}


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def events(dialect: str) -> list[bytes]:
    """The stream's events, each with the empty line that ends it."""
    end = BREAK[dialect]
    return [event + end for event in STREAM[dialect].split(end) if event]


class Asked:
    """A client whose request is under way; it looks at what has come."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def nothing(self) -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(QUIET):
                raise AssertionError(await self.reader.read(9999))

    async def until(self, end: bytes) -> bytes:
        async with asyncio.timeout(PATIENCE):
            return await self.reader.readuntil(end)

    async def body(self) -> bytes:
        """What follows the head, to the end of the connection."""
        await self.until(b"\r\n\r\n")
        return await self.rest()

    async def rest(self) -> bytes:
        async with asyncio.timeout(PATIENCE):
            return await self.reader.read()


async def ask(client: Client, asked: bytes) -> Asked:
    reader, writer = await client.connect()
    writer.write(asked)
    return Asked(reader, writer)


async def once(client: Client, dialect: str = "openai", **more: Any) -> Asked:
    """One streamed request, on a connection that ends with its answer."""
    return await ask(client, request(dialect, "Connection: close", **more))


# ── headers


@pytest.mark.parametrize("made", [configured, ruled])
@pytest.mark.parametrize("streamed", [True, False])
async def test_headers(
    make_router: MakeRouter, upstream: Upstream, made: Callable[..., Any], streamed: bool
) -> None:
    """The head goes when it comes, and so does every byte."""
    client = await make_router(**made(upstream, commit="headers"))
    said = chunked(STREAM["openai"] if streamed else JSON["openai"])
    start, _, body = said.partition(b"\r\n\r\n")
    upstream.sends(start + b"\r\n\r\n", HOLD, body)
    asked = await once(client, stream=streamed)
    assert (await asked.until(b"\r\n\r\n")).startswith(b"HTTP/1.1 200 OK\r\n")
    await asked.nothing()
    upstream.release()
    assert await asked.rest() == body


@pytest.mark.parametrize("said", [ERROR_EVENT["openai"], b"<html></html>", b""])
async def test_headers_and_an_error(
    make_router: MakeRouter, upstream: Upstream, said: bytes
) -> None:
    """Whatever follows the head is the answer: nobody else is asked."""
    client = await make_router(**configured(upstream, commit="headers"))
    upstream.sends(EVENTS_HEAD, QUIET / 5, (chunk(said) if said else b"") + b"0\r\n\r\n")
    asked = await once(client)
    assert await asked.body() == (chunk(said) if said else b"") + b"0\r\n\r\n"
    assert upstream.keys == ["p"]


async def test_a_status_counts_all_the_same(make_router: MakeRouter, upstream: Upstream) -> None:
    client = await make_router(**configured(upstream, commit="headers"))
    upstream.sends_to("p", whole(b"{}", 503))
    upstream.sends_to("q", GOOD)
    asked = await once(client)
    assert await asked.body() == b'{"id":"q","choices":[]}'


# ── first_event


@pytest.mark.parametrize("dialect", EVERY)
async def test_first_event(make_router: MakeRouter, upstream: Upstream, dialect: str) -> None:
    """Head, comments and a part of an event wait for its end; then all goes as it came."""
    client = await make_router(**configured(upstream, dialect))
    first, *others = events(dialect)
    held = [chunk(COMMENT), chunk(b":\n\n"), chunk(first[:9]), chunk(first[9:-2])]
    go = chunk(first[-2:])  # an event may end with CR LF CR already
    upstream.sends(EVENTS_HEAD, *held, HOLD, go, 0.02, chunk(b"".join(others)) + b"0\r\n\r\n")
    asked = await once(client, dialect)
    await upstream.requested()
    await asked.nothing()
    upstream.release()
    wanted = b"".join([*held, go])
    await asked.until(b"\r\n\r\n")
    assert await asked.reader.read(9999) == wanted
    assert await asked.rest() == chunk(b"".join(others)) + b"0\r\n\r\n"


async def test_byte_by_byte(make_router: MakeRouter, upstream: Upstream) -> None:
    """However its framing is cut, what was held comes as it was."""
    client = await make_router(**configured(upstream))
    said = EVENTS_HEAD + chunk(COMMENT) + chunk(STREAM["openai"][:70]) + b"0\r\n\r\n"
    upstream.sends(said, chunk_size=1)
    assert await (await once(client)).body() == said[len(EVENTS_HEAD) :]


# ── first_token


@pytest.mark.parametrize("made", [configured, ruled])
@pytest.mark.parametrize("dialect", EVERY)
async def test_first_token(
    make_router: MakeRouter, upstream: Upstream, dialect: str, made: Callable[..., Any]
) -> None:
    """Events without content are held, and go with the first that has some, unchanged."""
    client = await make_router(**made(upstream, dialect, commit="first_token"))
    all_of_it = [*map(chunk, events(dialect))]
    empty = EMPTY[dialect]
    held = [chunk(COMMENT), *all_of_it[:empty]]
    upstream.sends(EVENTS_HEAD, *held, HOLD, *all_of_it[empty:], b"0\r\n\r\n")
    asked = await once(client, dialect)
    await upstream.requested()
    await asked.nothing()
    upstream.release()
    await asked.until(b"\r\n\r\n")
    assert (await asked.reader.read(9999)).startswith(b"".join([*held, all_of_it[empty]]))
    await asked.rest()
    assert upstream.keys == ["p"]


@pytest.mark.parametrize("commit", ["first_event", "first_token"])
@pytest.mark.parametrize("dialect", ["openai", "responses", "anthropic"])
async def test_an_error_before_content(
    make_router: MakeRouter, upstream: Upstream, dialect: str, commit: str
) -> None:
    """With `first_token` a failed attempt still; with `first_event` the client's answer."""
    client = await make_router(**configured(upstream, dialect, commit=commit))
    said = chunk(events(dialect)[0]), chunk(ERROR_EVENT[dialect]) + b"0\r\n\r\n"
    upstream.sends_to("p", EVENTS_HEAD, said[0], 0.01, said[1])
    upstream.sends_to("q", chunked(STREAM[dialect]))
    asked = await once(client, dialect)
    good = chunked(STREAM[dialect]).partition(b"\r\n\r\n")[2]
    assert await asked.body() == (b"".join(said) if commit == "first_event" else good)
    assert upstream.keys == (["p"] if commit == "first_event" else ["p", "q"])


@pytest.mark.parametrize("how", [CLOSE, RESET])
async def test_a_break_before_content(
    make_router: MakeRouter, upstream: Upstream, how: Part
) -> None:
    client = await make_router(**configured(upstream, commit="first_token"))
    upstream.sends_to("p", EVENTS_HEAD, chunk(events("openai")[0]), 0.01, how)
    upstream.sends_to("q", GOOD)
    assert await (await once(client)).body() == b'{"id":"q","choices":[]}'


@pytest.mark.parametrize("provider", ["headers", "first_event"])
async def test_a_rule_goes_before_its_provider(
    make_router: MakeRouter, upstream: Upstream, provider: str
) -> None:
    config = ruled(upstream, commit="first_token")
    config["providers"]["p"]["commit"] = provider
    client = await make_router(**config)
    upstream.sends(EVENTS_HEAD, chunk(events("openai")[0]), HOLD)
    asked = await once(client)
    await upstream.requested()
    await asked.nothing()


async def test_tokens_of_whole_answers(make_router: MakeRouter, upstream: Upstream) -> None:
    """An answer that is no stream is sent when it is whole, whatever `commit` waits for."""
    client = await make_router(**configured(upstream, commit="first_token"))
    upstream.sends(whole(JSON["openai"]))
    assert await (await once(client, stream=False)).body() == JSON["openai"]


# ── a comment that comes late


@pytest.mark.parametrize("late", [True, False])
async def test_a_late_comment(
    make_router: MakeRouter, upstream: Upstream, monkeypatch: pytest.MonkeyPatch, late: bool
) -> None:
    """It says that the provider is alive: the client may know, too."""
    if late:
        monkeypatch.setattr(routeur.reply, "LATE", 0.01)
    client = await make_router(**configured(upstream))
    upstream.sends(EVENTS_HEAD, chunk(b":1\n\n"), 0.03, chunk(b":2\n\n"), HOLD, b"0\r\n\r\n")
    asked = await once(client)
    await upstream.requested()
    if late:
        await asked.until(b"\r\n\r\n")
        assert await asked.until(b":2\n\n\r\n") == chunk(b":1\n\n") + chunk(b":2\n\n")
    else:
        await asked.nothing()


@pytest.mark.parametrize("said", [b"data: {", b'data: {"choices":[]}'])
async def test_half_an_event_is_no_comment(
    make_router: MakeRouter, upstream: Upstream, monkeypatch: pytest.MonkeyPatch, said: bytes
) -> None:
    monkeypatch.setattr(routeur.reply, "LATE", 0.0)
    client = await make_router(**configured(upstream))
    upstream.sends(EVENTS_HEAD, chunk(said), HOLD)
    asked = await once(client)
    await upstream.requested()
    await asked.nothing()


async def test_a_late_comment_is_no_token(
    make_router: MakeRouter, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(routeur.reply, "LATE", 0.0)
    client = await make_router(**configured(upstream, commit="first_token"))
    upstream.sends(EVENTS_HEAD, chunk(COMMENT), HOLD)
    asked = await once(client)
    await upstream.requested()
    await asked.nothing()


# ── how much is held

LONG = b'data: {"choices":[{"delta":{"content":"' + b"a" * 70_000


@pytest.mark.parametrize("commit", ["first_event", "first_token"])
@pytest.mark.parametrize("size", [60_000, 70_000])
async def test_64_kib(make_router: MakeRouter, upstream: Upstream, size: int, commit: str) -> None:
    """A first event that is larger goes before it is whole."""
    client = await make_router(**configured(upstream, commit=commit))
    upstream.sends(EVENTS_HEAD, chunk(LONG[:size]), HOLD)
    asked = await once(client)
    await upstream.requested()
    if size < 64 * 1024:
        return await asked.nothing()
    await asked.until(b"\r\n\r\n")
    assert await asked.reader.readexactly(size) == chunk(LONG[:size])[:size]


@pytest.mark.parametrize("framing", ["length", "chunked"])
@pytest.mark.parametrize("size", [1000, 250_000])
async def test_json_is_held_whole(
    make_router: MakeRouter, upstream: Upstream, size: int, framing: str
) -> None:
    client = await make_router(**configured(upstream))
    said = b'{"choices":[],"more":"%b"}' % (b"a" * size)
    answer = whole(said) if framing == "length" else chunked(said, size=90_000)
    upstream.sends(answer[:-20], HOLD, answer[-20:])
    asked = await once(client, stream=False)
    await upstream.requested()
    await asked.nothing()
    upstream.release()
    assert await asked.body() == answer.partition(b"\r\n\r\n")[2]


@pytest.mark.parametrize("how", [CLOSE, RESET])
@pytest.mark.parametrize("framing", ["length", "chunked", "close"])
@pytest.mark.parametrize("size", [1000, 250_000])
async def test_half_a_json(
    make_router: MakeRouter, upstream: Upstream, size: int, framing: str, how: Part
) -> None:
    """It has never been an answer: somebody else gives one."""
    client = await make_router(**configured(upstream))
    said = b'{"choices":[],"more":"%b"}' % (b"a" * size)
    answer = whole(said) if framing == "length" else chunked(said, size=90_000)
    if framing == "close":
        answer = head(200, [("Content-Type", "application/json"), ("Connection", "close")]) + said
    upstream.sends_to("p", answer[:-20], 0.01, how)
    upstream.sends_to("q", GOOD)
    assert await (await once(client, stream=False)).body() == b'{"id":"q","choices":[]}'
    assert upstream.keys == ["p", "q"]


async def test_a_large_json_is_not_held(make_router: MakeRouter, upstream: Upstream) -> None:
    """Its first 256 KiB go, and what breaks off then breaks off for the client."""
    client = await make_router(**configured(upstream))
    said = whole(b'{"choices":[],"more":"%b"}' % (b"a" * 400_000))
    upstream.sends(said[:300_000], HOLD, CLOSE)
    asked = await once(client, stream=False)
    start = await asked.until(b"\r\n\r\n")
    assert b"\r\nContent-Length: 400024\r\n" in start
    got = await asked.reader.readexactly(290_000)
    upstream.release()
    got += await asked.rest()
    assert len(got) < 400_000
    assert got == said.partition(b"\r\n\r\n")[2][: len(got)]
    assert upstream.keys == ["p"]


# ── keep-alive

PING = {
    "openai": b": keep-alive\n\n",
    "responses": b": keep-alive\n\n",
    "anthropic": b'event: ping\ndata: {"type": "ping"}\n\n',
    "gemini": b"\n\n",
}
ALIVE = {"commit": "headers", "keepalive": "30ms"}


@pytest.mark.parametrize("made", [configured, ruled])
@pytest.mark.parametrize("dialect", EVERY)
async def test_pings(
    make_router: MakeRouter, upstream: Upstream, dialect: str, made: Callable[..., Any]
) -> None:
    """Between the head and the first byte, in the dialect's own words; then never again."""
    client = await make_router(**made(upstream, dialect, **ALIVE))
    said = [*map(chunk, events(dialect))]
    upstream.sends(EVENTS_HEAD, HOLD, said[0][:12], 0.07, said[0][12:], *said[1:], b"0\r\n\r\n")
    asked = await once(client, dialect)
    await asked.until(b"\r\n\r\n")
    ping = chunk(PING[dialect])
    assert await asked.reader.readexactly(2 * len(ping)) == 2 * ping
    upstream.release()
    rest = await asked.rest()
    while rest.startswith(ping):
        rest = rest[len(ping) :]
    assert rest == b"".join(said) + b"0\r\n\r\n"


@pytest.mark.parametrize("cut", [1, 2, 3, 4])
async def test_a_ping_does_not_part_a_chunks_head(
    make_router: MakeRouter, upstream: Upstream, cut: int
) -> None:
    """The first byte is the framing's, not the body's."""
    client = await make_router(**configured(upstream, **ALIVE))
    said = chunk(STREAM["openai"]) + b"0\r\n\r\n"
    upstream.sends(EVENTS_HEAD, 0.01, said[:cut], 0.08, said[cut:])
    body = await (await once(client)).body()
    assert body.endswith(said)
    assert body[: -len(said)].replace(chunk(PING["openai"]), b"") == b""


async def test_pings_of_http_10(make_router: MakeRouter, upstream: Upstream) -> None:
    """It knows no chunks."""
    client = await make_router(**configured(upstream, **ALIVE))
    upstream.sends(EVENTS_HEAD, HOLD, chunk(STREAM["openai"]) + b"0\r\n\r\n")
    asked = await ask(client, request(version="1.0"))
    start = await asked.until(b"\r\n\r\n")
    assert b"chunked" not in start
    ping = PING["openai"]
    assert await asked.reader.readexactly(2 * len(ping)) == 2 * ping
    upstream.release()
    assert (await asked.rest()).replace(ping, b"") == STREAM["openai"]


async def test_pings_of_an_answer_without_a_length(
    make_router: MakeRouter, upstream: Upstream
) -> None:
    client = await make_router(**configured(upstream, **ALIVE))
    start = head(200, [("Content-Type", EVENTS), ("Connection", "close")])
    upstream.sends(start, HOLD, STREAM["openai"], CLOSE)
    asked = await once(client)
    await asked.until(b"\r\n\r\n")
    assert await asked.until(b"\n\n") == PING["openai"]
    upstream.release()
    assert (await asked.rest()).replace(PING["openai"], b"") == STREAM["openai"]


PACKED = gzip.compress(STREAM["openai"])
NO_PINGS = {
    "gzip": (EVENTS_HEAD[:-2] + b"Content-Encoding: gzip\r\n\r\n", chunk(PACKED) + b"0\r\n\r\n"),
    "a length": (head(200, [("Content-Type", EVENTS), ("Content-Length", "9")]), b"data: 1\n\n"),
    "JSON": (
        head(200, [("Content-Type", "application/json"), ("Transfer-Encoding", "chunked")]),
        chunk(JSON["openai"]) + b"0\r\n\r\n",
    ),
    "an error": (EVENTS_HEAD.replace(b"200 OK", b"404 No"), b"2\r\n{}\r\n0\r\n\r\n"),
}


@pytest.mark.parametrize("name", NO_PINGS)
async def test_no_pings(make_router: MakeRouter, upstream: Upstream, name: str) -> None:
    """They would break what they are put into."""
    client = await make_router(**configured(upstream, **ALIVE))
    start, said = NO_PINGS[name]
    upstream.sends(start, 0.07, said)
    assert await (await once(client)).body() == said


async def test_no_ping_into_a_json_array(make_router: MakeRouter, upstream: Upstream) -> None:
    client = await make_router(**configured(upstream, "gemini", **ALIVE))
    said = chunk(b"[" + JSON["gemini"] + b"]") + b"0\r\n\r\n"
    upstream.sends(NO_PINGS["JSON"][0], 0.07, said)
    path = "/v1beta/models/any:streamGenerateContent"
    assert await (await once(client, "gemini", path=path)).body() == said


async def test_no_ping_before_the_commit_point(make_router: MakeRouter, upstream: Upstream) -> None:
    client = await make_router(**configured(upstream, keepalive="20ms"))
    upstream.sends(EVENTS_HEAD, chunk(COMMENT), HOLD, chunk(STREAM["openai"]) + b"0\r\n\r\n")
    asked = await once(client)
    await upstream.requested()
    await asked.nothing()
    upstream.release()
    assert await asked.body() == chunk(COMMENT) + chunk(STREAM["openai"]) + b"0\r\n\r\n"


@pytest.mark.parametrize("how", [CLOSE, RESET])
async def test_a_break_after_pings(make_router: MakeRouter, upstream: Upstream, how: Part) -> None:
    """No clean end, and nobody else is asked: the client has had a part of this answer."""
    client = await make_router(**configured(upstream, **ALIVE))
    upstream.sends(EVENTS_HEAD, HOLD, how)
    asked = await once(client)
    await asked.until(chunk(PING["openai"]))
    upstream.release()
    assert (await asked.rest()).replace(chunk(PING["openai"]), b"") == b""
    assert upstream.keys == ["p"]


@pytest.mark.parametrize("times", [1, 2], ids=["first", "express"])
async def test_pings_end_with_their_client(
    make_router: MakeRouter, upstream: Upstream, times: int
) -> None:
    client = await make_router(**configured(upstream, **ALIVE))
    upstream.sends(whole(JSON["openai"]))
    reader, writer = await client.connect()
    for _ in range(times - 1):
        writer.write(request())
        await reader.readuntil(JSON["openai"])
    upstream._script[:] = [[EVENTS_HEAD, HOLD]]
    writer.write(request())
    await reader.readuntil(chunk(PING["openai"]))
    writer.close()
    await upstream.request.connection.wait_closed()
    await asyncio.sleep(0.05)
    timers = asyncio.get_running_loop()._scheduled  # type: ignore[attr-defined]
    assert [each for each in timers if "send_ping" in repr(each) and not each.cancelled()] == []


@pytest.mark.parametrize("name", ["events", "a length"])
async def test_no_ping_on_raw_paths(make_router: MakeRouter, upstream: Upstream, name: str) -> None:
    """Nothing is known of what they carry: nothing is put into it."""
    client = await make_router(**configured(upstream, keepalive="20ms"))
    start, said = NO_PINGS["a length"]
    if name == "events":
        start, said = EVENTS_HEAD, chunk(said) + b"0\r\n\r\n"
    upstream.sends(start, 0.05, said)
    assert await (await once(client, path="/p/v1/anything")).body() == said


@pytest.mark.parametrize("status", [404, 503])
async def test_no_ping_after_the_end(
    make_router: MakeRouter, upstream: Upstream, status: int
) -> None:
    """An answer that ended without a byte gets none from us either."""
    client = await make_router(**configured(upstream, keepalive="20ms"))
    upstream.sends(EVENTS_HEAD.replace(b"200 OK", b"%d No" % status) + b"0\r\n\r\n")
    asked = await ask(client, request())
    start = await asked.until(b"0\r\n\r\n")
    assert re.match(rb"HTTP/1.1 %d " % status, start)
    await asked.nothing()
