"""Every fault of `tests/faults.py`: what the client gets, byte for byte, what the providers saw,
and what the trace says. With nobody else to ask, with another credential, with another provider,
and for a request that the express serves.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator
from typing import Any

import pytest

import routeur.app
from tests.conftest import Client, MakeRouter
from tests.fake import CLOSE, HOLD, RESET, Request, Upstream, chunked, head, whole
from tests.faults import ERROR_EVENT, EVERY, FAULTS, JSON, REQUESTS, STREAM, Fault, frames

SPEAKS = {"openai": "openai", "responses": "openai", "anthropic": "anthropic", "gemini": "gemini"}
TABLE = [(name, dialect) for name, fault in FAULTS.items() for dialect in fault.dialects]
SHORT = {"timeouts": {"connect": "2s", "first_byte": "100ms", "idle": "100ms"}}
TYPES = {  # of errors, as Anthropic and Google name them
    "anthropic": {502: "api_error", 504: "timeout_error"},
    "gemini": {502: "UNAVAILABLE", 504: "DEADLINE_EXCEEDED"},
}


@pytest.fixture
async def good() -> AsyncIterator[Upstream]:
    """The provider that does better."""
    provider = Upstream()
    await provider.start()
    yield provider
    await provider.stop()
    assert provider.anomalies == []


def account(dialect: str, provider: Upstream, name: str) -> dict[str, Any]:
    path = "/v1" if SPEAKS[dialect] == "openai" else ""
    return {"base_url": provider.url + path, "api_key": f"sk-at-{name}"}


def settings(dialect: str, bad: Upstream, good: Upstream | None, second: str) -> dict[str, Any]:
    """`any` is a model at the bad one, and at a good one if there is a second."""
    here: dict[str, Any] = {"dialect": SPEAKS[dialect], "models": ["m"]}
    p, to = here | account(dialect, bad, "p"), ["p/m"]
    providers: dict[str, Any] = {"openai": None, "anthropic": None, "google": None, "p": p}
    if second == "credential" and good is not None:
        accounts = (("one", bad), ("two", good))
        found = [account(dialect, where, name) | {"name": name} for name, where in accounts]
        providers["p"] = here | {"credentials": found}
    elif good is not None:
        providers["q"] = here | account(dialect, good, "q")
        to.append("q/m")
    return {"providers": providers, "aliases": {"fast": None, "any": to}}


def request(dialect: str, *headers: str) -> bytes:
    path, asked = REQUESTS[dialect]
    body = json.dumps(asked).encode()
    lines = [f"POST {path} HTTP/1.1", "Host: localhost", "Content-Type: application/json", *headers]
    return "\r\n".join([*lines, f"Content-Length: {len(body)}", "", ""]).encode() + body


def split(raw: bytes) -> tuple[bytes, bytes]:
    """Head and body of an answer; the head without what no two have in common."""
    start, _, body = raw.partition(b"\r\n\r\n")
    start = re.sub(rb"\r\n(X-Request-Id|X-Routeur-Trace-Id|Server-Timing|Date): [^\r]*", b"", start)
    return start, body


def about(provider: str, attempts: int, status: int) -> bytes:
    """What every answer says of its call."""
    said = b"\r\nX-Routeur-Trace-Provider: %b" % provider.encode()
    said += b"\r\nX-Routeur-Trace-Model: m\r\nX-Routeur-Trace-Reason: alias:any"
    said += b"\r\nX-Routeur-Trace-Attempts: %d" % attempts
    return said + (b"\r\nX-Routeur-Trace-Status: %d" % status if status else b"")


def own(dialect: str, fault: Fault, raw: bytes) -> bytes:
    """An error of routeur's own, word for word."""
    if dialect == "anthropic":
        (id,) = re.findall(rb"\r\nX-Request-Id: ([^\r]*)", raw)
        inner = {"type": TYPES[dialect][fault.status], "message": fault.said}
        said: object = {"type": "error", "error": inner, "request_id": id.decode()}
    elif dialect == "gemini":
        inner = {"code": fault.status, "message": fault.said}
        said = {"error": inner | {"status": TYPES[dialect][fault.status]}}
    else:
        inner = {"message": fault.said, "type": "upstream_error", "param": None, "code": fault.code}
        said = {"error": inner}
    return json.dumps(said, separators=(",", ":")).encode()


def wanted(dialect: str, fault: Fault, raw: bytes) -> tuple[bytes, bytes]:
    """The answer to a client when there is nobody else to ask."""
    if fault.said is None:
        parts = fault.at(dialect)
        assert parts is not None and isinstance(parts[0], bytes)
        sent = re.sub(rb"^(HTTP/1.1 1.*?\r\n\r\n)", b"", parts[0], flags=re.DOTALL)
        start, _, body = sent.partition(b"\r\n\r\n")
        chunks = b"\r\nTransfer-Encoding: chunked"
        framing = chunks if chunks in start else b""
        start = start.replace(chunks, b"") + about("p", 1, fault.seen)
        return start + b"\r\nConnection: close" + framing, body
    reason = {502: b"502 Bad Gateway", 504: b"504 Gateway Timeout"}[fault.status]
    start = b"HTTP/1.1 " + reason + b"\r\nContent-Type: application/json\r\nServer: routeur"
    body = own(dialect, fault, raw)
    start += about("p", 1, fault.seen) + b"\r\nContent-Length: %d\r\nConnection: close" % len(body)
    return start, body


def as_seen(request: Request) -> tuple[str, bytes, str]:
    """A request but for its headers: path, body, key."""
    return request.path, request.body, request.key


def as_sent(dialect: str, key: str) -> tuple[str, bytes, str]:
    path, asked = REQUESTS[dialect]
    body = json.dumps(asked).encode().replace(b'"any"', b'"m"')
    return path.replace("/any:", "/m:"), body, f"sk-at-{key}"


async def attempts_of(client: Client, raw: bytes) -> list[tuple[Any, ...]]:
    (id,) = re.findall(rb"\r\nX-Routeur-Trace-Id: ([^\r]*)", raw)
    found = (await client.trace_of(id.decode()))["attempts"]
    names = ("target", "credential", "status", "error")
    return [tuple(each[name] for name in names) for each in found]


async def serve(bad: Upstream, fault: Fault, dialect: str) -> None:
    parts = fault.at(dialect)
    if parts is None:
        await bad.stop()
    else:
        bad.sends(*parts)


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Silence is noticed sooner."""
    monkeypatch.setattr(routeur.app, "SWEEP", 0.02)


@pytest.mark.parametrize(("name", "dialect"), TABLE)
async def test_nobody_else(make_router: MakeRouter, upstream: Upstream, name: str, dialect: str):
    """The client is told, in its own dialect, or gets the provider's words as they came."""
    fault = FAULTS[name]
    client = await make_router(**settings(dialect, upstream, None, ""), **SHORT)
    await serve(upstream, fault, dialect)

    raw = await client.raw(request(dialect, "Connection: close"))

    assert split(raw) == wanted(dialect, fault, raw)
    assert await attempts_of(client, raw) == [("p/m", "p", fault.seen, fault.error())]
    if fault.parts is not None:
        assert [*map(as_seen, upstream.requests)] == [as_sent(dialect, "p")]


@pytest.mark.parametrize("second", ["provider", pytest.param("credential", marks=pytest.mark.full)])
@pytest.mark.parametrize(("name", "dialect"), TABLE)
async def test_somebody_else(
    make_router: MakeRouter,
    upstream: Upstream,
    good: Upstream,
    name: str,
    dialect: str,
    second: str,
):
    """The client gets the good one's answer, and nothing of the fault."""
    fault = FAULTS[name]
    short = SHORT if fault.short else {}
    client = await make_router(
        retries={"attempts": 3}, **settings(dialect, upstream, good, second), **short
    )
    await serve(upstream, fault, dialect)
    good.sends(chunked(STREAM[dialect]) if fault.short else whole(JSON[dialect]))

    raw = await client.raw(request(dialect, "Connection: close"))

    keys = ("one", "two") if second == "credential" else ("p", "q")
    start, body = split(raw)
    assert start.startswith(b"HTTP/1.1 200 OK\r\nContent-Type: ")
    assert about("p" if second == "credential" else "q", 2, 200) in start
    assert (b"0\r\n\r\n" in body) if fault.short else (body == JSON[dialect])
    assert [*map(as_seen, good.requests)] == [as_sent(dialect, keys[1])]
    if fault.parts is not None:
        assert [*map(as_seen, upstream.requests)] == [as_sent(dialect, keys[0])]
    targets = ("p/m", "p/m") if second == "credential" else ("p/m", "q/m")
    names = ("p.one", "p.two") if second == "credential" else ("p", "q")
    assert await attempts_of(client, raw) == [
        (targets[0], names[0], fault.seen, fault.error()),
        (targets[1], names[1], 200, None),
    ]


STALE = ("close", "reset")  # of a connection that was used before: once more, and no attempt


@pytest.mark.parametrize("name", [name for name, dialect in TABLE if dialect == "openai"])
async def test_on_the_express(
    make_router: MakeRouter, upstream: Upstream, good: Upstream, name: str
):
    """A request that took the short cut ends as any other."""
    fault = FAULTS[name]
    client = await make_router(
        retries={"attempts": 3}, **settings("openai", upstream, good, "provider"), **SHORT
    )
    upstream.sends(whole(JSON["openai"]))
    good.sends(whole(b'{"id":"good","choices":[]}'))
    reader, writer = await client.connect()
    for _ in range(2):
        writer.write(request("openai"))
        assert (await answer(reader))[1] == JSON["openai"]
    await serve(upstream, fault, "openai")

    writer.write(request("openai"))

    start, body = await answer(reader)
    assert (start[:15], body) == (b"HTTP/1.1 200 OK", b'{"id":"good","choices":[]}')
    found = await attempts_of(client, start)
    assert found[-1] == ("q/m", "q", 200, None)
    assert len(found) == 2
    if fault.parts is not None:
        assert len(upstream.requests) == (4 if name in STALE else 3)
    writer.close()


async def answer(reader: asyncio.StreamReader) -> tuple[bytes, bytes]:
    """The next answer with a Content-Length."""
    start = await reader.readuntil(b"\r\n\r\n")
    (length,) = re.findall(rb"\r\nContent-Length: (\d+)", start)
    return start, await reader.readexactly(int(length))


# ── after the commit point

FRAME = {dialect: STREAM[dialect].partition(b"\n\n")[0] for dialect in EVERY} | {
    "gemini": STREAM["gemini"].partition(b"\r\n\r\n")[0]
}


def half(dialect: str) -> bytes:
    return frames(STREAM[dialect][:-9], end=b"")


# What follows the first event, and why the answer breaks off.
BREAKS = {
    "close": ((CLOSE,), "the provider broke off its answer"),
    "reset": ((RESET,), "the provider broke off its answer"),
    "close in a chunk": ((b"ff\r\nabc", CLOSE), "the provider broke off its answer"),
    "reset in a chunk": ((b"ff\r\nabc", RESET), "the provider broke off its answer"),
    "broken chunks": ((b"xyz\r\n",), "the provider sent broken chunks"),
    "stall": ((HOLD,), "the provider sent nothing for too long"),
    "stall in a chunk": ((b"ff\r\nabc", HOLD), "the provider sent nothing for too long"),
    "stall in the end": ((b"0\r\n", HOLD), "the provider sent nothing for too long"),
}


@pytest.mark.parametrize("dialect", EVERY)
@pytest.mark.parametrize("name", BREAKS)
async def test_after_the_commit_point(
    make_router: MakeRouter, upstream: Upstream, good: Upstream, name: str, dialect: str
):
    """The client sees all that came and no end; nobody else is asked."""
    more, why = BREAKS[name]
    client = await make_router(
        retries={"attempts": 3}, **settings(dialect, upstream, good, "provider"), **SHORT
    )
    upstream.sends(half(dialect), 0.02, *more)

    raw = await client.raw(request(dialect))

    _, body = split(raw)
    came = half(dialect).partition(b"\r\n\r\n")[2]
    assert body in (came, *(came + part for part in more if isinstance(part, bytes)))
    assert b"0\r\n\r\n" not in body
    assert raw.count(b"HTTP/1.1") == 1
    assert good.requests == []
    assert await attempts_of(client, raw) == [("p/m", "p", 200, why)]
    (id,) = re.findall(rb"\r\nX-Routeur-Trace-Id: ([^\r]*)", raw)
    assert (await client.trace_of(id.decode()))["estimated"] is True


@pytest.mark.parametrize("dialect", EVERY)
async def test_an_error_in_the_middle(
    make_router: MakeRouter, upstream: Upstream, good: Upstream, dialect: str
):
    """It is the provider's answer, and goes to the client as it came."""
    client = await make_router(
        retries={"attempts": 3}, **settings(dialect, upstream, good, "provider")
    )
    said = FRAME[dialect] + b"\n\n" + ERROR_EVENT[dialect]
    upstream.sends(chunked(said, len(FRAME[dialect]) + 2))
    raw = await client.raw(request(dialect, "Connection: close"))
    assert split(raw)[1] == chunked(said, len(FRAME[dialect]) + 2).partition(b"\r\n\r\n")[2]
    assert good.requests == []
    assert await attempts_of(client, raw) == [("p/m", "p", 200, None)]


LONGER = {
    "a second answer": whole(JSON["openai"]) + whole(b'{"stolen":1}'),
    "more than said": whole(JSON["openai"]) + b"stolen",
    "a second answer after chunks": chunked(JSON["openai"]) + whole(b'{"stolen":1}'),
    "a second answer after an error": whole(b'{"error":{}}', 404) + whole(b'{"stolen":1}'),
    "a second answer after a held error": whole(b'{"error":{}}', 503) + whole(b'{"stolen":1}'),
    "more than 204 has": head(204, []) + b"stolen",
}


@pytest.mark.parametrize("name", LONGER)
async def test_more_than_the_answer(make_router: MakeRouter, upstream: Upstream, name: str):
    """It reaches nobody, and the connection that it came on is not used again."""
    client = await make_router(**settings("openai", upstream, None, ""))
    upstream.sends(LONGER[name])
    reader, writer = await client.connect()
    for _ in range(3):
        writer.write(request("openai"))
    got = b"".join([await reader.readuntil(b"\r\n\r\n") for _ in range(1)])
    writer.write_eof()
    got += await reader.read()
    assert b"stolen" not in got
    assert len({request.connection.number for request in upstream.requests}) == len(
        upstream.requests
    )
    writer.close()
