"""What goes wrong at providers, and what the client, the provider and the trace see of it.

Before the first byte a fault is a 502 or 504 in the caller's dialect; after it, a break that nobody
can take for an end. Nothing of a broken answer is ever another request's answer.
"""

from __future__ import annotations

import asyncio
import gzip
import io
import json
import re

import aiohttp
import pytest
import trustme

from tests.conftest import KEYS, Client
from tests.fake import CLOSE, EARLY, HOLD, RESET, Upstream, chunked, head, tls, whole
from tests.recording import hostile

JSON = b'{"id":"x","choices":[],"usage":{"prompt_tokens":1,"completion_tokens":1}}'
STREAM = b"".join(b'data: {"choices":[{"delta":{"content":"%d"}}]}\n\n' % n for n in range(9))
STREAM += b"data: [DONE]\n\n"
CHAT = {"model": "gpt-4o", "messages": [{"role": "user", "content": "hi"}]}
PATHS = {
    "openai": ("/v1/chat/completions", CHAT),
    "responses": ("/v1/responses", {"model": "gpt-4o", "input": "hi"}),
    "anthropic": ("/v1/messages", {"model": "claude-x", "max_tokens": 5, "messages": []}),
    "gemini": ("/v1beta/models/gemini-2.5-flash:generateContent", {"contents": []}),
}
LENGTH = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n"

BEFORE_THE_FIRST_BYTE = {
    "close": (CLOSE,),
    "reset": (RESET,),
    "close in the head": (b"HTTP/1.1 200 OK\r\nContent-", CLOSE),
    "reset in the head": (b"HTTP/1.1 200 OK\r\nContent-", RESET),
    "garbage": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", CLOSE),
    "not http": (b"<html>hello</html>\r\n\r\n",),
    "http/0.9 style": (JSON, CLOSE),
    "http/2": (b"HTTP/2 200 OK\r\nContent-Length: 2\r\n\r\n{}",),
    "huge head": (b"HTTP/1.1 200 OK\r\nX-Big: " + b"a" * (1 << 20) + b"\r\n\r\n",),
    "endless head": (b"HTTP/1.1 200 OK\r\n" + b"X-Many: a\r\n" * 100_000,),
    "no colon": (LENGTH % 2 + b"Nonsense\r\n\r\n{}",),
    "space before colon": (LENGTH % 2 + b"X-A : b\r\n\r\n{}",),
    "folded header": (LENGTH % 2 + b"X-A: b\r\n c\r\n\r\n{}",),
    "nul in header": (LENGTH % 2 + b"X-A: b\x00c\r\n\r\n{}",),
    "bare lf": (b"HTTP/1.1 200 OK\nContent-Length: 2\n\n{}",),
    "two lengths": (LENGTH % 2 + b"Content-Length: 3\r\n\r\n{} ",),
    "odd length": (LENGTH.replace(b"%d", b"+2") + b"\r\n{}",),
    "negative length": (LENGTH.replace(b"%d", b"-2") + b"\r\n{}",),
    "huge length": (LENGTH.replace(b"%d", b"9" * 30) + b"\r\n{}",),
    "length and chunks": (LENGTH % 2 + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",),
    "unknown coding": (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: pigeons\r\n\r\n{}", CLOSE),
    "switches protocols": (b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\n\r\n",),
    "1xx without end": (b"HTTP/1.1 103 Early Hints\r\n\r\n" * 10_000, CLOSE),
    "redirect": (head(307, [("Location", "http://127.0.0.1:1/"), ("Content-Length", "0")]),),
    "redirect elsewhere": (head(302, [("Location", "https://e.org/"), ("Content-Length", "0")]),),
}


def is_error(dialect: str, status: int, body: bytes, code: str = "") -> bool:
    """Whether this is an error of routeur's own as that dialect writes it."""
    said = json.loads(body)
    if dialect == "anthropic":
        return said["type"] == "error" and bool(said["error"]["message"]) and "request_id" in said
    if dialect == "gemini":
        return said["error"]["code"] == status and bool(said["error"]["status"])
    assert {"message", "type", "param", "code"} <= said["error"].keys()
    return not code or said["error"]["code"] == code


@pytest.mark.parametrize("dialect", PATHS)
@pytest.mark.parametrize("fault", BEFORE_THE_FIRST_BYTE)
async def test_before_the_first_byte(router, upstream, fault, dialect):
    """502 in the caller's dialect; the connection is not used again; no word of where it was."""
    upstream.sends(*BEFORE_THE_FIRST_BYTE[fault])
    path, body = PATHS[dialect]

    answer = await router.post(path, json=body)

    said = await answer.read()
    assert answer.status == 502, said
    assert is_error(dialect, 502, said, "upstream_error")
    assert str(upstream.port).encode() not in said
    assert b"Traceback" not in said
    upstream.answers(JSON)
    again = await router.post(path, json=body)
    assert (again.status, await again.read()) == (200, JSON)
    if not fault.startswith("redirect"):
        assert upstream.requests[0].connection is not upstream.request.connection


@pytest.mark.parametrize("fault", ["close", "garbage", "two lengths"])
async def test_a_failed_attempt_is_in_the_trace(router, upstream, fault):
    upstream.sends(*BEFORE_THE_FIRST_BYTE[fault])
    answer = await router.post("/v1/chat/completions", json=CHAT)
    trace = await router.trace(answer)
    assert trace["status_code"] == 502
    (attempt,) = trace["attempts"]
    assert attempt["target"] == "openai/gpt-4o"
    assert attempt["error"]


async def test_refused(router, upstream):
    """Nobody listens where the provider should be."""
    await upstream.stop()
    answer = await router.post("/v1/chat/completions", json=CHAT)
    assert answer.status == 502
    assert is_error("openai", 502, await answer.read(), "upstream_error")
    assert answer.headers["X-Routeur-Trace-Provider"] == "openai"


async def test_unknown_host(make_router):
    router = await make_router(providers={"openai": {"base_url": "http://nowhere.invalid/v1"}})
    answer = await router.post("/v1/chat/completions", json=CHAT)
    assert answer.status == 502
    assert b"nowhere" not in await answer.read()


# Bytes that come before the break; the client must see all of them, and that they are not all.
BROKEN = {
    "fewer bytes than said": (head(200, [("Content-Length", str(len(STREAM) + 1))]) + STREAM,),
    "no last chunk": (chunked(STREAM, end=b""),),
    "half a chunk": (chunked(STREAM, end=b"ff\r\n") + b"abc",),
    "bad chunk size": (chunked(STREAM, end=b"xyz\r\n"),),
    "negative chunk size": (chunked(STREAM, end=b"-1\r\n"),),
    "huge chunk size": (chunked(STREAM, end=b"f" * 20 + b"\r\n"),),
    "chunk without its end": (chunked(STREAM, end=b"3\r\nabcdef\r\n0\r\n\r\n"),),
    "chunks with bare lf": (chunked(STREAM, end=b"3\nabc\n0\n\n"),),
    "bad trailer": (chunked(STREAM, end=b"0\r\nno colon here\r\n\r\n"),),
}


@pytest.mark.parametrize("how", [CLOSE, RESET], ids=["close", "reset"])
@pytest.mark.parametrize("fault", BROKEN)
async def test_after_the_first_byte(router, upstream, fault, how):
    """The client gets what came, and no clean end."""
    raw = BROKEN[fault][0]
    upstream.sends(raw[:-60], 0.05, raw[-60:], how)
    answer = await router.post("/v1/chat/completions", json=CHAT | {"stream": True})
    assert answer.status == 200

    got = b""
    with pytest.raises(aiohttp.ClientError):
        async for piece in answer.content.iter_any():
            got += piece

    assert got.startswith(STREAM[:300])
    assert b"HTTP/1.1 500" not in got
    assert len(upstream.requests) == 1
    trace = await router.trace(answer)
    assert trace["attempts"][0]["error"]
    upstream.answers(JSON)
    assert await (await router.post("/v1/chat/completions", json=CHAT)).read() == JSON
    assert len(upstream.connections) == 2


async def test_break_is_visible_to_raw_clients(router, upstream):
    """Whoever counts chunks sees no last one; whoever pipelined a request gets no answer to it."""
    upstream.sends(chunked(STREAM, end=b""), RESET)
    body = json.dumps(CHAT | {"stream": True}).encode()
    one = b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n%b"
    got = await router.raw(one % (len(body), body) * 2)
    assert not got.endswith(b"0\r\n\r\n")
    assert got.count(b"HTTP/1.1") == 1
    assert len(upstream.requests) == 1


# More than the answer: it must not reach anybody, and the connection is not used again.
SURPLUS = {
    "a second answer": whole(JSON) + whole(b'{"stolen": true}'),
    "a second answer in chunks": chunked(JSON) + chunked(b'{"stolen": true}'),
    "more than said": whole(JSON) + b"stolen",
    "a line end": whole(JSON) + b"\r\n",
    "a line end after chunks": chunked(JSON) + b"\r\n",
    "a body with 204": head(204, []) + b"stolen",
    "a body with 304": head(304, [("Content-Length", "6")]) + b"stolen",
}


@pytest.mark.parametrize("fault", SURPLUS)
async def test_surplus_reaches_nobody(router, upstream, fault):
    upstream.sends(SURPLUS[fault])
    upstream.answers(b'{"second": 2}')

    first = await router.post("/v1/chat/completions", json=CHAT)
    assert await first.read() == (b"" if first.status in (204, 304) else JSON)
    second = await router.post("/v1/chat/completions", json=CHAT)

    assert await second.read() == b'{"second": 2}'
    assert upstream.requests[0].connection is not upstream.request.connection


async def test_surplus_reaches_no_raw_client(router, upstream):
    """Not even at the end of the client's own connection."""
    upstream.sends(whole(JSON) + whole(b'{"stolen": true}'))
    body = json.dumps(CHAT).encode()
    got = await router.raw(
        b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
        b"Content-Length: %d\r\n\r\n%b" % (len(body), body)
    )
    assert got.endswith(JSON)
    assert b"stolen" not in got


async def test_unasked_bytes_on_an_idle_connection(router, upstream):
    """They close it; the next request gets a new one and its own answer."""
    upstream.answers(JSON)
    await (await router.post("/v1/chat/completions", json=CHAT)).read()
    (idle,) = upstream.connections

    await idle.write(whole(b'{"stolen": true}'))

    await idle.wait_closed()
    upstream.answers(b'{"second": 2}')
    answer = await router.post("/v1/chat/completions", json=CHAT)
    assert await answer.read() == b'{"second": 2}'
    assert len(upstream.connections) == 2


async def test_unasked_bytes_and_a_request_at_the_same_time(router, upstream):
    """The bytes are there before the request is: they are no answer to it."""
    upstream.answers(JSON)
    await (await router.post("/v1/chat/completions", json=CHAT)).read()
    upstream.answers(b'{"second": 2}')

    upstream.connections[0].transport.write(whole(b'{"stolen": true}'))
    answer = await router.post("/v1/chat/completions", json=CHAT)

    assert await answer.read() == b'{"second": 2}'


async def test_connections_are_reused(router, upstream):
    upstream.answers(JSON)
    for _ in range(10):
        await (await router.post("/v1/chat/completions", json=CHAT)).read()
    assert len(upstream.connections) == 1


@pytest.mark.parametrize("body", [JSON, STREAM], ids=["whole", "stream"])
async def test_http_10_and_close_are_not_reused(router, upstream, body):
    for framing, version in (("close", "1.0"), ("length", "1.0"), ("close", "1.1")):
        upstream.answers(body, framing=framing, version=version)
        answer = await router.post("/v1/chat/completions", json=CHAT)
        assert await answer.read() == body
    assert len({request.connection.number for request in upstream.requests}) == 3


@pytest.mark.parametrize("how", [CLOSE, RESET], ids=["close", "reset"])
async def test_stale_connection_is_tried_once_more(router, upstream, how):
    """A reused connection that dies without a byte: once again on a new one, no attempt."""
    upstream.answers(JSON)
    await (await router.post("/v1/chat/completions", json=CHAT)).read()
    upstream.sends(how)
    upstream.answers(b'{"second": 2}')

    answer = await router.post("/v1/chat/completions", json=CHAT)

    assert await answer.read() == b'{"second": 2}'
    assert answer.headers["X-Routeur-Trace-Attempts"] == "1"
    first, died, again = upstream.requests
    assert first.connection is died.connection is not again.connection
    assert died.body == again.body


async def test_stale_connection_only_once_more(router, upstream):
    upstream.answers(JSON)
    await (await router.post("/v1/chat/completions", json=CHAT)).read()
    upstream.sends(CLOSE)
    answer = await router.post("/v1/chat/completions", json=CHAT)
    assert answer.status == 502
    assert len(upstream.requests) == 3


async def test_fresh_connection_is_not_tried_again(router, upstream):
    """It may have done the work."""
    upstream.sends(CLOSE)
    assert (await router.post("/v1/chat/completions", json=CHAT)).status == 502
    assert len(upstream.requests) == 1


async def test_stale_connection_that_began_to_answer_is_not_tried_again(router, upstream):
    upstream.answers(JSON)
    await (await router.post("/v1/chat/completions", json=CHAT)).read()
    upstream.sends(b"HTTP/1.1 2", CLOSE)
    assert (await router.post("/v1/chat/completions", json=CHAT)).status == 502
    assert len(upstream.requests) == 2


async def test_dropped_idle_connections(router, upstream):
    """Closed while idle: noticed before the next request."""
    upstream.answers(JSON)
    for _ in range(3):
        await (await router.post("/v1/chat/completions", json=CHAT)).read()
        await upstream.drop()
    assert len(upstream.requests) == 3


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_redirects_are_not_followed(router, upstream, status):
    canary = Upstream()
    await canary.start()
    upstream.answers(b"", status, {"Location": f"{canary.url}/v1/chat/completions"})

    answer = await router.post("/v1/chat/completions", json=CHAT)

    assert answer.status == 502
    assert "Location" not in answer.headers
    assert canary.connections == []
    await canary.stop()


@pytest.mark.parametrize("status", [401, 402, 403])
@pytest.mark.parametrize("dialect", PATHS)
async def test_our_credential_is_not_the_clients_business(router, upstream, status, dialect):
    """A provider that refuses *our* key: 502, without its words, which may hold the key."""
    said = json.dumps({"error": {"message": f"Incorrect API key: {KEYS['openai']}"}}).encode()
    upstream.answers(said, status, {"WWW-Authenticate": "Bearer"})
    path, body = PATHS[dialect]

    answer = await router.post(path, json=body)

    got = await answer.read()
    assert answer.status == 502
    assert is_error(dialect, 502, got, "upstream_auth_error")
    assert b"sk-at" not in got
    assert b"Incorrect" not in got
    assert "WWW-Authenticate" not in answer.headers
    assert answer.headers["X-Routeur-Trace-Status"] == str(status)
    assert "sk-at" not in json.dumps(await router.trace(answer))


@pytest.mark.parametrize("status", [400, 404, 408, 409, 413, 422, 429, 500, 503, 529])
@pytest.mark.parametrize("dialect", PATHS)
async def test_other_errors_are_answers(router, upstream, status, dialect):
    """Copied, with their status, words and headers."""
    said = b'{ "error" : {"message": "as the provider says it", "odd": [1, 2 ]} }'
    upstream.answers(said, status, {"Retry-After": "7", "X-RateLimit-Remaining": "0"})
    path, body = PATHS[dialect]

    answer = await router.post(path, json=body)

    assert answer.status == status
    assert await answer.read() == said
    assert (answer.headers["Retry-After"], answer.headers["X-RateLimit-Remaining"]) == ("7", "0")
    assert (await router.trace(answer))["status_code"] == status


async def test_gzip_is_not_touched(router, upstream):
    packed = gzip.compress(JSON)
    upstream.answers(
        packed, headers={"Content-Encoding": "gzip", "Content-Type": "application/json"}
    )
    answer = await router.post("/v1/chat/completions", json=CHAT)
    assert await answer.read() == packed
    assert answer.headers["Content-Encoding"] == "gzip"
    assert (await router.trace(answer))["usage"]["input"] == 1


async def test_gzip_bomb_costs_no_memory(router, upstream):
    """100 MB of nothing in 100 KB: the tap must not unpack it all."""
    packed = gzip.compress(b'data: {"a":"' + bytes(100_000_000) + b'"}\n\n', 1)
    upstream.answers(
        packed, headers={"Content-Encoding": "gzip", "Content-Type": "text/event-stream"}
    )
    answer = await router.post("/v1/chat/completions", json=CHAT | {"stream": True})
    assert await answer.read() == packed
    assert (await router.get("/healthz")).status == 200


ODD_BUT_WELL_FORMED = {
    "slow, byte by byte": (whole(JSON), 1),
    "chunks, byte by byte": (chunked(JSON, 3), 1),
    "chunk extensions": (
        head(200, [("Transfer-Encoding", "chunked")])
        + b'%x;a=b;c="d e"\r\n' % len(JSON)
        + JSON
        + b"\r\n0;z\r\n\r\n",
        5,
    ),
    "many zeros in chunk sizes": (
        head(200, [("Transfer-Encoding", "chunked")])
        + b"0000%X\r\n" % len(JSON)
        + JSON
        + b"\r\n000\r\n\r\n",
        5,
    ),
    "1xx first": (
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
        + whole(JSON),
        9,
    ),
    "no reason phrase": (b"HTTP/1.1 200\r\nContent-Length: %d\r\n\r\n%b" % (len(JSON), JSON), 9),
}


@pytest.mark.parametrize("kind", ODD_BUT_WELL_FORMED)
async def test_odd_but_well_formed(router, upstream, kind):
    raw, size = ODD_BUT_WELL_FORMED[kind]
    upstream.sends(raw, chunk_size=size)
    for _ in range(2):
        answer = await router.post("/v1/chat/completions", json=CHAT)
        assert (answer.status, await answer.read()) == (200, JSON)
    assert len(upstream.connections) == 1


async def test_early_answer(router, upstream):
    """The provider answers before it has read the body: the answer arrives, the connection goes."""
    upstream.sends(EARLY, whole(b'{"error": {"message": "too much"}}', 413), CLOSE)
    big = CHAT | {"messages": [{"role": "user", "content": "x" * 5_000_000}]}
    data = io.BytesIO(json.dumps(big).encode())
    answer = await router.post("/v1/chat/completions", data=data)
    assert answer.status in (413, 502)
    upstream.answers(JSON)
    assert await (await router.post("/v1/chat/completions", json=CHAT)).read() == JSON
    assert len(upstream.connections) == 2


SHORT = {"timeouts": {"connect": "600ms", "first_byte": "600ms", "idle": "600ms"}}


@pytest.mark.parametrize(
    "dialect",
    ["openai", *(pytest.param(one, marks=pytest.mark.full) for one in PATHS if one != "openai")],
)
async def test_no_first_byte(make_router, upstream, dialect):
    router = await make_router(**SHORT)
    upstream.sends(HOLD)
    path, body = PATHS[dialect]

    answer = await router.post(path, json=body)

    assert answer.status == 504
    assert is_error(dialect, 504, await answer.read(), "upstream_timeout")
    await (await upstream.requested()).connection.wait_closed()
    assert (await router.trace(answer))["status_code"] == 504


async def test_half_a_head(make_router, upstream):
    router = await make_router(**SHORT)
    upstream.sends(b"HTTP/1.1 200 OK\r\nContent-Ty", HOLD)
    assert (await router.post("/v1/chat/completions", json=CHAT)).status == 504


async def test_stall_in_the_body(make_router, upstream):
    """Silent for longer than `timeouts.idle`: a visible break, and the provider is let go."""
    router = await make_router(**SHORT)
    upstream.answers(STREAM, hold=100)
    answer = await router.post("/v1/chat/completions", json=CHAT | {"stream": True})

    with pytest.raises(aiohttp.ClientError):
        await answer.read()

    await upstream.request.connection.wait_closed()
    assert (await router.trace(answer))["attempts"][0]["error"]


async def test_stall_before_the_last_chunk(make_router, upstream):
    router = await make_router(**SHORT)
    upstream.sends(chunked(STREAM, end=b""), HOLD)
    answer = await router.post("/v1/chat/completions", json=CHAT | {"stream": True})
    with pytest.raises(aiohttp.ClientError):
        await answer.read()


@pytest.mark.full
async def test_slow_is_not_stalled(make_router, upstream):
    """`idle` is the pause between two chunks; the whole may take as long as it likes."""
    router = await make_router(**SHORT)
    upstream.answers(STREAM, chunk_size=80, pause=0.3)
    answer = await router.post("/v1/chat/completions", json=CHAT | {"stream": True})
    assert await answer.read() == STREAM


async def test_tls(make_router, tmp_path):
    """Verified against the configured authority, by the host's name."""
    ca = trustme.CA()
    ca.cert_pem.write_to_path(tmp_path / "ca.pem")
    secure = Upstream(tls("localhost", ca))
    await secure.start()
    secure.answers(STREAM, chunk_size=10)
    router = await make_router(providers={"openai": https(secure, tmp_path / "ca.pem")})
    for _ in range(2):
        answer = await router.post("/v1/chat/completions", json=CHAT)
        assert await answer.read() == STREAM
    assert len([one for one in secure.connections if one.requests]) == 1
    await secure.stop()


@pytest.mark.parametrize("wrong", ["host", "authority"])
async def test_tls_is_verified(make_router, tmp_path, wrong):
    """No request, and so no key, goes to a server that is not who it should be."""
    ca = trustme.CA()
    (trustme.CA() if wrong == "authority" else ca).cert_pem.write_to_path(tmp_path / "ca.pem")
    secure = Upstream(tls("example.org" if wrong == "host" else "localhost", ca))
    await secure.start()
    router = await make_router(providers={"openai": https(secure, tmp_path / "ca.pem")})
    answer = await router.post("/v1/chat/completions", json=CHAT)
    assert answer.status == 502
    assert secure.requests == []
    await secure.stop()


def https(provider: Upstream, ca: object) -> dict[str, object]:
    return {"base_url": f"https://localhost:{provider.port}/v1", "tls": {"ca": str(ca)}}


async def test_plain_provider_asked_for_tls(make_router, upstream):
    router = await make_router(
        providers={"openai": {"base_url": f"https://127.0.0.1:{upstream.port}/v1"}}
    )
    assert (await router.post("/v1/chat/completions", json=CHAT)).status == 502
    assert upstream.requests == []
    upstream.anomalies.clear()  # a ClientHello is not HTTP


HOSTILE_ANSWERS = {
    f"{case['name']} {number}": case["raw"].encode("latin-1") + b"\r\n"
    for number, case in enumerate(hostile("http1-messages")["cases"])
    if case["mode"].startswith("response")
}


@pytest.mark.parametrize("name", HOSTILE_ANSWERS)
async def test_hostile_answers(router, upstream, name):
    """llhttp's own tests as answers: always well-formed at our side, and the next is its own."""
    raw = HOSTILE_ANSWERS[name]
    upstream.sends(raw, CLOSE)
    upstream.answers(JSON)
    body = json.dumps(CHAT).encode()
    request = b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
    request += b"Content-Length: %d\r\n\r\n%b" % (len(body), body)

    got = await router.raw(request)
    again = await router.raw(request)

    assert re.match(rb"HTTP/1\.1 \d{3} [^\r\n]*\r\n", got), got
    assert not got.startswith(b"HTTP/1.1 504")
    assert b"HTTP/1.1 500" not in got or b"HTTP/1.1 500" in raw
    assert again.partition(b"\r\n\r\n")[2] == JSON


async def test_many_at_once_get_their_own_answers(router: Client, upstream: Upstream):
    """Under faults of every kind no client ever sees a byte of another's answer."""

    async def one(number: int) -> None:
        try:
            body = CHAT | {"user": str(number)}
            answer = await router.post("/v1/chat/completions", json=body)
            said = await answer.read()
        except aiohttp.ClientError:
            return
        if answer.status == 200:
            assert said == JSON

    faults = [
        *[(*parts, CLOSE) for parts in BEFORE_THE_FIRST_BYTE.values()],
        *[(raw[0], RESET) for raw in BROKEN.values()],
    ]
    for number in range(200):
        if number % 3:
            upstream.answers(JSON)
        else:
            upstream.sends(*faults[number // 3 % len(faults)])
    await asyncio.gather(*(one(number) for number in range(200)))
