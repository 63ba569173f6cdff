"""What clients may do wrong: a clear 4xx in their dialect, and nothing of it reaches a provider."""

from __future__ import annotations

import asyncio
import json
import re
from base64 import b64decode

import pytest

import routeur.facts
from tests.conftest import Client, MakeRouter
from tests.fake import PATIENCE, Upstream
from tests.recording import hostile

KEY = "a-master-key-of-some-length"
CHAT = "/v1/chat/completions"
PATHS = {
    "openai": CHAT,
    "responses": "/v1/responses",
    "anthropic": "/v1/messages",
    "gemini": "/v1beta/models/gemini-2.5-flash:generateContent",
}
BODY = b'{"model":"gpt-4o","messages":[]}'
HEAD = b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\n"
WHOLE = HEAD + b"Connection: close\r\nContent-Length: %d\r\n\r\n%b" % (len(BODY), BODY)
SNEAKY = b"GET /openai/v1/sneaky HTTP/1.1\r\nHost: localhost\r\n\r\n"


def statuses(answer: bytes) -> list[int]:
    return [int(status) for status in re.findall(rb"HTTP/1\.[01] (\d{3}) ", answer)]


def closes(answer: bytes) -> bool:
    """Whether the answer says that its connection ends."""
    return b"\r\nConnection: close\r\n" in answer or answer.startswith(b"HTTP/1.0")


def error_of(dialect: str, body: bytes) -> dict[str, object]:
    """The error in a body of that dialect; fails if the body is not of its shape."""
    said = json.loads(body)
    error: dict[str, object] = said["error"]
    if dialect == "anthropic":
        assert said["type"] == "error"
        assert error.keys() == {"type", "message"}
    elif dialect == "gemini":
        assert error.keys() == {"code", "message", "status"}
    else:
        assert error.keys() == {"message", "type", "param", "code"}
    return error


# ── HTTP


def as_it_is(raw: str) -> bytes:
    """A message's bytes; the collection leaves the last line's end out."""
    return (raw + "\r\n").encode("utf-8" if any(c > "\xff" for c in raw) else "latin-1")


def aimed(raw: str) -> bytes:
    """A hostile message at a path that leads to a provider, from a host that is let in."""
    data = re.sub(rb"^([A-Z-]+) /[^ ]*", rb"\1 /openai/v1/x", as_it_is(raw), count=1)
    if not re.search(rb"(?i)\nhost:", data):
        return data.replace(b"\r\n", b"\r\nHost: localhost\r\n", 1)
    return re.sub(rb"(?i)\nhost:[^\r\n]*", b"\nHost: localhost", data)


@pytest.mark.parametrize(
    "aim",
    [
        pytest.param(False, marks=pytest.mark.full, id="as it is"),
        pytest.param(True, id="at a provider"),
    ],
)
async def test_llhttps_own_cases(router, upstream, aim):
    """187 raw messages: an answer or an end, never a 5xx; the provider sees HTTP or nothing."""
    router.router.server.head_timeout = 0.3
    cases = hostile("http1-messages")["cases"]

    async def one(case) -> bytes:
        raw: str = case["raw"]
        return await router.raw(aimed(raw) if aim else as_it_is(raw), quiet=1.5)

    answers = await asyncio.gather(*(one(case) for case in cases))

    for case, answer in zip(cases, answers, strict=True):
        assert all(status < 500 for status in statuses(answer)), (case, answer)
        assert answer == b"" or answer.startswith(b"HTTP/1."), (case, answer)
    for request in upstream.requests:
        assert request.target.startswith(b"/v1/"), request
    assert (await router.get("/healthz")).status == 200


@pytest.mark.parametrize(
    "case",
    [case for case in hostile("http1-messages")["cases"] if case["mode"] == "request"],
    ids=lambda case: case["name"],
)
async def test_what_a_strict_parser_refuses_goes_nowhere(router, upstream, case):
    """Nothing of a message that is not HTTP reaches a provider, but for the request before it."""
    if case["parser_error"] is None or "Pause" in case["parser_error"]["reason"]:
        return
    await router.raw(aimed(case["raw"]), quiet=0.05)
    first = aimed(case["raw"]).partition(b"\r\n\r\n")[0]
    for request in upstream.requests:
        assert request.done.is_set()
        assert request.method.encode() == first.split(b" ")[0]
    assert len(upstream.requests) <= 1


SMUGGLED = {
    "length and chunks": b"Content-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nX",
    "chunks and length": b"Transfer-Encoding: chunked\r\nContent-Length: 6\r\n\r\n0\r\n\r\nX",
    "two lengths": b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{} ",
    "two lengths in one": b"Content-Length: 2, 3\r\n\r\n{} ",
    "length with sign": b"Content-Length: +2\r\n\r\n{}",
    "negative length": b"Content-Length: -2\r\n\r\n{}",
    "length in hex": b"Content-Length: 0x2\r\n\r\n{}",
    "length in two words": b"Content-Length: 2 2\r\n\r\n{}",
    "empty length": b"Content-Length: \r\n\r\n{}",
    "huge length": b"Content-Length: 99999999999999999999999\r\n\r\n{}",
    "space before colon": b"Content-Length : 2\r\n\r\n{}",
    "chunked twice": b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "chunked not last": b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
    "coded in chunks": b"Transfer-Encoding: gzip, chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
    "empty coding in chunks": b"Transfer-Encoding: ,chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
    "length and empty coding": b"Content-Length: 2\r\nTransfer-Encoding:\r\n\r\n{}",
    "unknown coding": b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "coding in odd spelling": b"Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n",
    "underscore": b"Transfer_Encoding: chunked\r\nContent-Length: x\r\n\r\n",
    "bare lf": b"X-A: b\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "bare cr": b"X-A: b\rTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "nul": b"X-A: b\x00c\r\nContent-Length: 2\r\n\r\n{}",
    "folded": b"X-A: b\r\n Content-Length: 5\r\nContent-Length: 2\r\n\r\n{}",
    "no colon": b"Nonsense\r\nContent-Length: 2\r\n\r\n{}",
    "empty name": b": value\r\nContent-Length: 2\r\n\r\n{}",
    "two hosts": b"Host: localhost:1\r\nContent-Length: 2\r\n\r\n{}",
    "bad chunk size": b"Transfer-Encoding: chunked\r\n\r\nxyz\r\n{}\r\n0\r\n\r\n",
    "negative chunk size": b"Transfer-Encoding: chunked\r\n\r\n-2\r\n{}\r\n0\r\n\r\n",
    "hex prefix in chunk size": b"Transfer-Encoding: chunked\r\n\r\n0x2\r\n{}\r\n0\r\n\r\n",
    "huge chunk size": b"Transfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\n{}\r\n0\r\n\r\n",
    "chunk longer than said": b"Transfer-Encoding: chunked\r\n\r\n1\r\n{}\r\n0\r\n\r\n",
    "lf in chunk": b"Transfer-Encoding: chunked\r\n\r\n2\n{}\r\n0\r\n\r\n",
}


@pytest.mark.parametrize("dialect", PATHS)
@pytest.mark.parametrize("line", [b"no header", b"A: " + b"a" * 20_000, b"Content-Length: x"])
async def test_what_is_no_request_is_answered_in_the_dialect_of_its_path(router, dialect, line):
    answer = await router.raw(b"POST %b?x HTTP/1.1\r\n%b\r\n\r\n" % (PATHS[dialect].encode(), line))
    assert statuses(answer) == [431 if len(line) > 99 else 400]
    error_of(dialect, answer.partition(b"\r\n\r\n")[2])


@pytest.mark.parametrize("trick", SMUGGLED)
async def test_smuggling(router, upstream, trick):
    """400 and the end; what follows is never a second request."""
    answer = await router.raw(HEAD + SMUGGLED[trick] + SNEAKY)
    assert statuses(answer) in ([400], []), answer
    assert all(b"sneaky" not in request.target for request in upstream.requests)
    assert upstream.requests == []


@pytest.mark.parametrize(
    "start",
    [
        b"GET  /healthz HTTP/1.1",
        b"GET /healthz HTTP/1.1 ",
        b"GET /healthz  HTTP/1.1",
        b"GET\t/healthz HTTP/1.1",
        b"GET /heal\x00thz HTTP/1.1",
        b"GET /heal thz HTTP/1.1",
        b"GET /healthz HTTP/2.0",
        b"GET /healthz HTTP/1.10",
        b"GET /healthz http/1.1",
        b"GET /healthz",
        b"get /healthz HTTP/1.1",
        b" GET /healthz HTTP/1.1",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"PRI * HTTP/2.0",
    ],
)
async def test_start_lines(router, start):
    answer = await router.raw(start + b"\r\nHost: localhost\r\nConnection: close\r\n\r\n")
    double_space = b"  " in start and not start.startswith(b" ")  # RFC 9112, 3: may be let through
    assert statuses(answer) in ([400], [404], [405], [], [200] if double_space else []), answer


@pytest.mark.parametrize(
    "target",
    [
        b"http://example.org/v1/chat/completions",
        b"http://localhost/v1/chat/completions",
        b"https://127.0.0.1:1/openai/x",
        b"//example.org/v1/chat/completions",
        b"example.org:443",
        b"*",
        b"v1/chat/completions",
        b"@example.org/",
        b"/openai@example.org/v1/x",
        b"/http://example.org/v1/x",
    ],
)
async def test_targets_that_are_no_path(router, upstream, target):
    """The destination is the configuration's: an absolute target is refused, not followed."""
    head = b"POST %b HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: %d\r\n\r\n"
    answer = await router.raw(head % (target, len(BODY)) + BODY)
    assert statuses(answer)[0] in (400, 404, 405), answer
    assert upstream.requests == []


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"])
@pytest.mark.parametrize("dialect", PATHS)
async def test_wrong_methods(router, upstream, method, dialect):
    answer = await router.request(method, PATHS[dialect])
    assert answer.status in ((405, 426) if dialect == "responses" else (405,))
    assert not any("access-control" in name.lower() for name in answer.headers)
    assert upstream.requests == []


async def test_connect(router, upstream):
    answer = await router.raw(
        b"CONNECT example.org:443 HTTP/1.1\r\nHost: localhost\r\n\r\n" + SNEAKY, quiet=0.3
    )
    assert len(statuses(answer)) == 1
    assert statuses(answer)[0] in (400, 403, 404, 405)
    assert upstream.requests == []


async def test_upgrade_with_a_body(router, upstream):
    """The answer ends the connection: what follows the body is nobody's second request."""
    upstream.answers(b"{}")
    body = b"Connection: Upgrade\r\nUpgrade: h2c\r\nContent-Length: %d\r\n\r\n" % len(BODY) + BODY
    answer = await router.raw(HEAD + body + SNEAKY)
    assert len(statuses(answer)) == 1
    assert [request.target for request in upstream.requests] in ([], [b"/v1/chat/completions"])
    assert all("upgrade" not in request.names() for request in upstream.requests)


@pytest.mark.parametrize(
    "path", ["/v1/embeddings", "/v1/chat/completions", "/v1/responses/resp_1", "/v1/files"]
)
async def test_no_websocket_there(router, upstream, path):
    headers = {
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
    }
    answer = await router.get(path, headers=headers)
    assert answer.status == 426
    assert error_of("openai", await answer.read())["code"] == "upgrade_required"
    assert upstream.requests == []


@pytest.mark.parametrize(
    "head",
    [
        b"X-Long: " + b"a" * 20_000,
        b"\r\n".join(b"X-%d: a" % number for number in range(200)),
        b"a" * 20_000 + b": a",
    ],
    ids=["long value", "many headers", "long name"],
)
async def test_large_heads(router, upstream, head):
    answer = await router.raw(HEAD + head + b"\r\n\r\n")
    assert statuses(answer) == [431]
    assert closes(answer)
    assert upstream.requests == []


async def test_long_target(router, upstream):
    answer = await router.raw(b"GET /" + b"a" * 20_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert statuses(answer)[0] in (414, 431)
    assert upstream.requests == []


@pytest.mark.parametrize("part", [b"", b"POST /v1/chat", HEAD, HEAD + b"X-A: b\r\n"])
async def test_slow_head(router, upstream, part):
    """A head that does not become whole: 408, or the end if nothing has come."""
    router.router.server.head_timeout = 0.1
    answer = await router.raw(part or b"P")
    assert statuses(answer) in ([408], [])
    assert upstream.requests == []


async def test_slow_head_drip_by_drip(router):
    """The limit is for the whole head: a byte now and then does not prolong it."""
    router.router.server.head_timeout = 0.2
    reader, writer = await router.connect()

    async def drip() -> None:
        for byte in HEAD * 10:
            writer.write(bytes([byte]))
            await asyncio.sleep(0.02)

    task = asyncio.create_task(drip())
    async with asyncio.timeout(PATIENCE):
        answer = await reader.read()
    task.cancel()
    writer.transport.abort()
    assert statuses(answer) == [408]


async def test_slow_second_head(router):
    """On a kept connection too, from its first byte on; being idle is no crime."""
    router.router.server.head_timeout = 0.1
    reader, writer = await router.connect()
    writer.write(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert await reader.readuntil(b"200 OK")
    await asyncio.sleep(0.3)
    writer.write(b"GET /healthz HTTP/1.1\r\nHo")
    async with asyncio.timeout(PATIENCE):
        rest = await reader.read()
    writer.transport.abort()
    assert statuses(rest) == [408]


@pytest.mark.parametrize(
    "dialect",
    ["openai", *(pytest.param(one, marks=pytest.mark.full) for one in PATHS if one != "openai")],
)
async def test_slow_body(router, upstream, monkeypatch, dialect):
    monkeypatch.setattr(routeur.facts, "BODY_IDLE", 0.1)
    head = b"POST %b HTTP/1.1\r\nHost: localhost\r\nContent-Length: 90\r\n\r\n"
    answer = await router.raw(head % PATHS[dialect].encode() + b'{"model":')
    assert statuses(answer) == [408]
    error_of(dialect, answer.partition(b"\r\n\r\n")[2])
    assert closes(answer)
    assert upstream.requests == []


@pytest.mark.parametrize("dialect", PATHS)
@pytest.mark.parametrize("framing", ["said", "chunked"])
async def test_large_body(make_router, upstream, dialect, framing):
    """Refused at its head where the head says so, and as soon as it is too much otherwise."""
    router = await make_router(server={"max_body": "100KB"})

    async def body():
        for _ in range(200):
            yield bytes(1000)

    data = bytes(200_000) if framing == "said" else body()
    answer = await router.post(PATHS[dialect], data=data)

    assert answer.status == 413
    error_of(dialect, await answer.read())
    assert upstream.requests == []


async def test_large_body_is_not_waited_for(make_router):
    """1 GB announced, nothing sent: the answer is there."""
    router = await make_router(server={"max_body": "100KB"})
    answer = await router.raw(HEAD + b"Content-Length: 1000000000\r\n\r\n")
    assert statuses(answer) == [413]
    assert closes(answer)


async def test_compressed_body(router, upstream):
    """It cannot be routed without being unpacked: 415."""
    answer = await router.post(CHAT, data=b"x", headers={"Content-Encoding": "gzip"})
    assert answer.status == 415
    assert error_of("openai", await answer.read())["code"] == "unsupported_media_type"
    assert upstream.requests == []


async def test_pipelining(router, upstream):
    """200 requests at once: 200 answers in their order, one request at a time per connection."""
    requests = []
    for number in range(200):
        body = b'{"model":"gpt-4o","messages":[],"user":"%d"}' % number
        requests.append(HEAD + b"Content-Length: %d\r\n\r\n%b" % (len(body), body))
        upstream.answers(b'{"answer": %d}' % number, chunk_size=5 if number % 2 else None)
    requests.append(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")

    answer = await router.raw(b"".join(requests))

    assert statuses(answer) == [200] * 201
    assert [int(n) for n in re.findall(rb'"answer": (\d+)', answer)] == [*range(200)]
    users = [json.loads(request.body)["user"] for request in upstream.requests]
    assert users == [str(number) for number in range(200)]


async def test_pipelining_after_an_error(router, upstream):
    """A refused request whose body was read does not harm the next one."""
    upstream.answers(b"{}")
    bad = HEAD + b"Content-Length: 4\r\n\r\nnull"
    answer = await router.raw(bad + WHOLE)
    assert statuses(answer) in ([400, 200], [400])
    assert len(upstream.requests) == len(statuses(answer)) - 1


async def test_expect_continue(router, upstream):
    """The body is asked for when the request is otherwise right."""
    upstream.answers(b"{}")
    reader, writer = await router.connect()
    writer.write(HEAD + b"Expect: 100-continue\r\nContent-Length: %d\r\n\r\n" % len(BODY))
    async with asyncio.timeout(PATIENCE):
        assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        writer.write(BODY)
        assert b"200 OK" in await reader.readuntil(b"{}")
    writer.transport.abort()
    assert upstream.request.body == BODY
    assert "expect" not in upstream.request.names()


@pytest.mark.full
async def test_expect_continue_without_a_key(make_router, upstream):
    """Who may not ask is not asked for the body."""
    router = await make_router(auth={"master_key": KEY})
    answer = await router.raw(HEAD + b"Expect: 100-continue\r\nContent-Length: 32\r\n\r\n")
    assert statuses(answer) == [401]
    assert closes(answer)
    assert upstream.requests == []


async def test_nothing_is_logged_of_it(router, caplog):
    """A malformed request is one counted line, without the client's bytes."""
    for _ in range(20):
        await router.raw(b"GET /\x00secret-of-mine HTTP/1.1\r\n\r\n")
    assert "secret-of-mine" not in caplog.text
    assert "Traceback" not in caplog.text


# ── JSON

DEEP = b'{"model":"gpt-4o","a":' + b"[" * 200 + b"]" * 200 + b"}"
BAD_JSON = {
    "empty": (b"", "invalid_json"),
    "no json": (b"model=gpt-4o", "invalid_json"),
    "half": (b'{"model":"gpt-4o",', "invalid_json"),
    "two": (b'{"model":"gpt-4o"}{}', "invalid_json"),
    "trailing comma": (b'{"model":"gpt-4o",}', "invalid_json"),
    "single quotes": (b"{'model':'gpt-4o'}", "invalid_json"),
    "NaN": (b'{"model":"gpt-4o","temperature":NaN}', "invalid_json"),
    "Infinity": (b'{"model":"gpt-4o","temperature":-Infinity}', "invalid_json"),
    "broken utf-8": (b'{"model":"gpt-4o","a":"\xff\xfe"}', "invalid_json"),
    "utf-8 of a surrogate": (b'{"model":"gpt-4o","a":"\xed\xa0\x80"}', "invalid_json"),
    "utf-16": ('{"model":"gpt-4o"}'.encode("utf-16"), "invalid_json"),
    "control character": (b'{"model":"gpt-4o","a":"\x01"}', "invalid_json"),
    "depth": (DEEP, "invalid_request"),
    "great depth": (b'{"a":' * 100_000, "invalid_json"),
    "null": (b"null", "invalid_request"),
    "list": (b'[{"model":"gpt-4o"}]', "invalid_request"),
    "number": (b"4", "invalid_request"),
    "string": (b'"gpt-4o"', "invalid_request"),
}
# Not for Gemini, whose model is in the path.
BAD_MODEL = {
    "no model": (b"{}", "invalid_request"),
    "model null": (b'{"model":null}', "invalid_request"),
    "model number": (b'{"model":4}', "invalid_request"),
    "model list": (b'{"model":["gpt-4o"]}', "invalid_request"),
    "model empty": (b'{"model":""}', "invalid_request"),
    "two models": (b'{"model":"gpt-4o","model":"gpt-5"}', "invalid_request"),
    "the same model twice": (b'{"model":"gpt-4o","a":1,"model":"gpt-4o"}', "invalid_request"),
    "a model spelled with escapes": (
        b'{"model":"gpt-4o","\\u006dodel":"gpt-5"}',
        "invalid_request",
    ),
    "stream twice": (b'{"model":"gpt-4o","stream":true,"stream":false}', "invalid_request"),
    "max_tokens twice": (b'{"model":"gpt-4o","max_tokens":1,"max_tokens":9}', "invalid_request"),
    "n twice": (b'{"model":"gpt-4o","n":1,"\\u006E":100}', "invalid_request"),
    "max_output_tokens twice": (
        b'{"model":"gpt-4o","max_output_tokens":1,"max_output_tokens":2}',
        "invalid_request",
    ),
    "max_completion_tokens twice": (
        b'{"model":"gpt-4o","max_completion_tokens":1,"max_completion_tokens":2}',
        "invalid_request",
    ),
}


BAD = [(dialect, case) for dialect in PATHS for case in BAD_JSON] + [
    (dialect, case) for dialect in PATHS if dialect != "gemini" for case in BAD_MODEL
]
BAD.remove(("responses", "no model"))  # a stored prompt may name it


@pytest.mark.parametrize(("dialect", "case"), BAD)
async def test_bad_bodies(router, upstream, dialect, case):
    body, code = (BAD_JSON | BAD_MODEL)[case]

    answer = await router.post(PATHS[dialect], data=body)

    assert answer.status == 400, await answer.read()
    error = error_of(dialect, await answer.read())
    assert error["message"]
    if dialect in ("openai", "responses"):
        assert error["type"] == "invalid_request_error"
        assert error["code"] == code
    elif dialect == "anthropic":
        assert error["type"] == "invalid_request_error"
    else:
        assert (error["code"], error["status"]) == (400, "INVALID_ARGUMENT")
    assert upstream.requests == []
    assert answer.headers["X-Request-Id"]
    assert answer.headers["X-Routeur-Trace-Id"]


async def test_bad_json_says_where(router):
    answer = await router.post(CHAT, data=b'{"model": "gpt-4o",\n "a": nope}')
    message = str(error_of("openai", await answer.read())["message"])
    assert re.search(r"\d+", message), message


async def test_missing_model_names_the_field(router):
    answer = await router.post(CHAT, data=b'{"messages": []}')
    assert error_of("openai", await answer.read())["param"] == "model"


@pytest.mark.parametrize("depth", [100, 126])
async def test_depth_that_is_fine(router, upstream, depth):
    upstream.answers(b"{}")
    body = b'{"model":"gpt-4o","a":' + b"[" * depth + b"]" * depth + b"}"
    assert (await router.post(CHAT, data=body)).status == 200
    assert upstream.request.body == body


def text_of(case) -> bytes:
    """A case's text in bytes; long ones are given as something to repeat."""
    if "repeat" in case:
        repeat = case["repeat"]
        return (repeat["unit"] * repeat["times"] + repeat["then"]).encode()
    return b64decode(case["base64"]) if "base64" in case else case["text"].encode()


async def test_json_as_a_value(router, upstream):
    """JSONTestSuite, each text as a member of a request: what must be refused is, and goes nowhere;
    what must be accepted arrives as it was sent."""
    upstream.answers(b"{}")
    for case in hostile("json-parsing")["cases"]:
        if case["name"] in MENDED:
            continue
        body = b'{"model":"gpt-4o","a":' + text_of(case) + b"}"
        before = len(upstream.requests)

        answer = await router.post(CHAT, data=body)

        await answer.read()
        assert answer.status in (200, 400), case["name"]
        if case["expect"] == "accept":
            assert (answer.status, upstream.request.body) == (200, body), case["name"]
        if case["expect"] == "reject":
            assert (answer.status, len(upstream.requests)) == (400, before), case["name"]


# Broken texts that are whole with what the test puts around them.
MENDED: frozenset[str] = frozenset()


# ── keys and hosts

TWO = [
    {"Authorization": f"Bearer {KEY}", "x-api-key": "another"},
    {"x-goog-api-key": KEY, "x-api-key": "another"},
    [("Authorization", f"Bearer {KEY}"), ("Authorization", "Bearer another")],
    [("x-api-key", KEY), ("x-api-key", "another")],
]


@pytest.mark.parametrize("headers", TWO, ids=["bearer and x", "goog and x", "bearer", "x"])
@pytest.mark.parametrize("dialect", PATHS)
async def test_two_different_keys(make_router, upstream, dialect, headers):
    router = await make_router(auth={"master_key": KEY})
    answer = await router.request("POST", PATHS[dialect], data=BODY, headers=headers)
    assert answer.status == 400
    error_of(dialect, await answer.read())
    assert upstream.requests == []


async def test_two_different_keys_one_in_the_query(make_router, upstream):
    router = await make_router(auth={"master_key": KEY})
    path = f"{PATHS['gemini']}?key=another"
    answer = await router.post(path, data=b"{}", headers={"x-goog-api-key": KEY})
    assert answer.status == 400
    assert upstream.requests == []


async def test_the_same_key_twice(make_router, upstream):
    upstream.answers(b"{}")
    router = await make_router(auth={"master_key": KEY})
    headers = {"Authorization": f"Bearer {KEY}", "x-api-key": KEY}
    assert (await router.post(CHAT, data=BODY, headers=headers)).status == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "example.org"},
        {"Host": "localhost.example.org"},
        {"Host": "127.0.0.1.example.org:8080"},
        {"Host": "127.0.0.1@example.org"},
        {"Host": "example.org:127"},
        {"Host": "[::2]:80"},
        {"Origin": "https://example.org"},
        {"Origin": "http://localhost.example.org"},
        {"Origin": "http://localhost:80@example.org"},
        {"Origin": "null"},
    ],
    ids=lambda headers: "{}={}".format(*next(iter(headers.items()))),
)
@pytest.mark.parametrize("dialect", PATHS)
async def test_websites_may_not_call(router, upstream, dialect, headers):
    """While no key is set: a foreign Host or Origin is a website's doing."""
    answer = await router.post(PATHS[dialect], data=BODY, headers=headers)
    assert answer.status == 403
    error_of(dialect, await answer.read())
    assert upstream.requests == []


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "localhost"},
        {"Host": "localhost:8080"},
        {"Host": "127.0.0.1:8080"},
        {"Host": "127.1.2.3"},
        {"Host": "[::1]:8080"},
        {"Host": "LOCALHOST"},
        {"Origin": "http://localhost:3000"},
        {"Origin": "http://127.0.0.1"},
    ],
    ids=lambda headers: "{}={}".format(*next(iter(headers.items()))),
)
async def test_localhost_may_call(router, upstream, headers):
    upstream.answers(b"{}")
    assert (await router.post(CHAT, data=BODY, headers=headers)).status == 200


async def test_hosts_are_free_where_a_key_is_asked(make_router, upstream):
    upstream.answers(b"{}")
    router = await make_router(auth={"master_key": KEY})
    headers = {"Host": "example.org", "Origin": "https://example.org", "x-api-key": KEY}
    assert (await router.post(CHAT, data=BODY, headers=headers)).status == 200
    assert upstream.request.header("host") == f"127.0.0.1:{upstream.port}"


@pytest.mark.parametrize("path", ["/openai/v1/x", "/v1/files", "/v1/models", "/v1/traces/x", CHAT])
async def test_websites_may_not_call_any_path(router: Client, upstream: Upstream, path: str):
    answer = await router.get(path, headers={"Origin": "https://example.org"})
    assert answer.status == 403
    assert upstream.requests == []


async def test_no_header_or_field_names_the_destination(make_router: MakeRouter, upstream):
    """What elsewhere sends requests away (SAFETY's first rows) is only bytes here."""
    canary = Upstream()
    await canary.start()
    upstream.answers(b"{}")
    router = await make_router()
    fields = ("api_base", "base_url", "custom_host", "endpoint", "url", "callback_url", "proxy")
    body = {"model": "gpt-4o", "messages": []} | dict.fromkeys(fields, canary.url)
    body["messages"] = [
        {"role": "user", "content": [{"type": "image_url", "image_url": {"url": canary.url}}]}
    ]
    hosts = ("X-Portkey-Custom-Host", "X-Forwarded-Host", "X-Base-Url", "X-Target", "Forwarded")
    headers = dict.fromkeys(hosts, canary.url)

    answer = await router.post(f"{CHAT}?base_url={canary.url}", json=body, headers=headers)

    assert answer.status == 200
    assert canary.connections == []
    assert upstream.request.header("host") == f"127.0.0.1:{upstream.port}"
    await canary.stop()


@pytest.mark.parametrize(
    "path",
    [
        "/openai/../anthropic/v1/x",
        "/openai/%2e%2e/x",
        "/openai/..%2fx",
        "/openai/%00",
        "/openai/%0d%0aX-Injected:%201",
        "/openai//example.org/x",
        "/openai/v1/x?a=%0d%0ab",
        "/openai/v1/x%20HTTP/1.1%0d%0a",
    ],
)
async def test_odd_paths_stay_with_their_provider(router, upstream, path):
    """They are refused, or arrive as they are at the provider named first."""
    upstream.answers(b"{}")
    head = f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    answer = await router.raw(head.encode())
    assert statuses(answer)[0] < 500
    for request in upstream.requests:
        assert request.header("authorization") == "Bearer sk-at-openai"
        assert request.header("x-injected") is None
        assert request.target.startswith(b"/v1")
        assert b"/../" not in request.target


@pytest.mark.parametrize(
    "path",
    [
        "/v1/files/../../admin",
        "/v1/files/..%2f..%2fadmin",
        "/v1/images/%2e%2e/%2E%2e/admin",
        "/v1/audio/..%5c..%5cadmin",
        "/v1/videos/..;/x",
        "/v1/responses/../cancel",
        "/openai/%252e%252e/x",
        "/openai//example.org/x",
    ],
)
async def test_no_path_climbs_out_of_its_base(router, upstream, path):
    """Whichever way another server reads it: 400, and the provider sees nothing."""
    head = f"DELETE {path} HTTP/1.1\r\nHost: localhost\r\nRouteur-Provider: openai\r\n"
    answer = await router.raw(f"{head}Connection: close\r\n\r\n".encode())
    assert statuses(answer)[0] in (400, 405)
    assert upstream.requests == []


@pytest.mark.parametrize("name", ["Routeur-Provider", "Routeur-Model", "vendor"])
async def test_a_header_that_is_no_text(router, upstream, name):
    head = (
        f"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\n{name}: ".encode() + b"\xff\r\n"
    )
    body = b'{"model":"gpt-4o"}'
    answer = await router.raw(
        head + b"Connection: close\r\nContent-Length: %d\r\n\r\n" % len(body) + body
    )
    assert statuses(answer) == [404]
    assert upstream.requests == []
