"""What becomes of a provider's answer in another dialect: errors, breaks, framing, and leaving."""

from __future__ import annotations

import asyncio
import gzip
import json
import re
from typing import Any

import pytest

import routeur.app
import routeur.translated
from routeur.dialects.anthropic import answers as anthropic_answers
from routeur.dialects.openai_chat import answers as openai_chat_answers
from tests.conftest import MakeRouter
from tests.fake import CLOSE, EVENTS, HOLD, PATIENCE, RESET, Upstream, head
from tests.recording import AWS, aws_frame, recording
from tests.targets import (
    ANTHROPIC,
    BEDROCK,
    CHAT,
    CLIENTS,
    GEMINI,
    PAIRS,
    PROVIDERS,
    RESPONSES,
    STREAMS,
    TARGETS,
    WHOLES,
    Make,
    answers,
    ask,
    maker,
    raw,
    request,
)

SHORT = {"timeouts": {"connect": "2s", "first_byte": "250ms", "idle": "250ms"}}


@pytest.fixture
def make(make_router: MakeRouter, upstream: Upstream) -> Make:
    return maker(make_router, upstream)


# ── errors before the answer

# As the providers say it: status, body, and headers beside.
ERRORS: dict[str, dict[int, tuple[str, dict[str, str]]]] = {
    CHAT: {
        400: ('{"error":{"message":"Oops","type":"invalid_request_error","code":"x"}}', {}),
        404: ('{"error":{"message":"Oops","type":"invalid_request_error"}}', {}),
        429: ('{"error":{"message":"Oops","type":"requests"}}', {"Retry-After": "7"}),
        503: ('{"error":{"message":"Oops","type":"server_error"}}', {}),
    },
    ANTHROPIC: {
        400: ('{"type":"error","error":{"type":"invalid_request_error","message":"Oops"}}', {}),
        404: ('{"type":"error","error":{"type":"not_found_error","message":"Oops"}}', {}),
        429: (
            '{"type":"error","error":{"type":"rate_limit_error","message":"Oops"}}',
            {"Retry-After": "7"},
        ),
        529: ('{"type":"error","error":{"type":"overloaded_error","message":"Oops"}}', {}),
    },
    GEMINI: {
        400: ('{"error":{"code":400,"message":"Oops","status":"INVALID_ARGUMENT"}}', {}),
        404: ('{"error":{"code":404,"message":"Oops","status":"NOT_FOUND"}}', {}),
        429: (
            '{"error":{"code":429,"message":"Oops","status":"RESOURCE_EXHAUSTED","details":'
            '[{"@type":"type.googleapis.com/google.rpc.RetryInfo","retryDelay":"7s"}]}}',
            {},
        ),
        503: ('{"error":{"code":503,"message":"Oops","status":"UNAVAILABLE"}}', {}),
    },
    BEDROCK: {
        400: ('{"message":"Oops"}', {"x-amzn-ErrorType": "ValidationException"}),
        404: ('{"message":"Oops"}', {"x-amzn-ErrorType": "ResourceNotFoundException"}),
        429: (
            '{"message":"Oops"}',
            {"x-amzn-ErrorType": "ThrottlingException", "Retry-After": "7"},
        ),
        503: ('{"Message":"Oops"}', {"x-amzn-ErrorType": "ServiceUnavailableException"}),
    },
}
ERRORS[RESPONSES] = ERRORS[CHAT]
TYPES = {  # as clients know them
    CHAT: {
        400: "invalid_request_error",
        404: "invalid_request_error not_found_error",
        429: "rate_limit_error requests",
        503: "server_error upstream_error",
    },
    ANTHROPIC: {
        400: "invalid_request_error",
        404: "not_found_error",
        429: "rate_limit_error",
        503: "api_error overloaded_error",
        529: "overloaded_error",
    },
    GEMINI: {
        400: "INVALID_ARGUMENT",
        404: "NOT_FOUND",
        429: "RESOURCE_EXHAUSTED",
        503: "UNAVAILABLE",
    },
}
TYPES[RESPONSES] = TYPES[CHAT]
FAILURES = [(c, p, status) for c, p in PAIRS for status in ERRORS[p]]


def kind_of(client: str, error: dict[str, Any]) -> str:
    return str(error["status" if client == GEMINI else "type"])


@pytest.mark.parametrize(("client", "provider", "status"), FAILURES)
async def test_errors(make: Make, upstream: Upstream, client: str, provider: str, status: int):
    """The client's dialect, with the type it has there, the same words, and how long to wait."""
    router = await make()
    said, headers = ERRORS[provider][status]
    upstream.answers(said, status, headers)
    answer, told = await ask(router, client, TARGETS[provider], stream=client != GEMINI)

    wanted = 503 if status == 529 and client != ANTHROPIC else status
    assert answer.status == wanted
    assert answer.headers["Content-Type"] == "application/json"
    assert answer.headers.get("Retry-After") == ("7" if status == 429 else None)
    error = told["error"]
    assert kind_of(client, error) in TYPES[client][wanted].split()
    assert error["message"] == "Oops"
    if client == ANTHROPIC:
        assert told["type"] == "error"
        assert told["request_id"] == answer.headers["X-Request-Id"]
    if client == GEMINI:
        assert error["code"] == wanted
    assert (await router.trace(answer))["attempts"][0]["status"] == status


@pytest.mark.parametrize(("client", "provider"), PAIRS)
async def test_not_modified(make: Make, upstream: Upstream, client: str, provider: str) -> None:
    """An answer with this status ends with its head: what followed would be read as the next one's
    beginning."""
    router = await make()
    upstream.answers(b"", 304)
    path, body = request(client, TARGETS[provider])
    answer = await router.post(path, json=body)
    assert answer.status == 502
    assert "304" in (await answer.json())["error"]["message"]


@pytest.mark.parametrize("client", [CHAT, ANTHROPIC, GEMINI])
@pytest.mark.parametrize("status", [401, 402, 403])
async def test_our_key_is_not_the_clients(
    make: Make, upstream: Upstream, client: str, status: int
) -> None:
    router = await make()
    upstream.answers('{"message":"secret words"}', status)
    answer, told = await ask(router, client, TARGETS[BEDROCK])
    assert answer.status == 502
    assert "secret" not in json.dumps(told)
    assert "credential" in told["error"]["message"]


@pytest.mark.parametrize("status", [400, 500])
async def test_an_error_in_gzip_or_html(make: Make, upstream: Upstream, status: int):
    router = await make()
    said = ERRORS[ANTHROPIC][400][0].encode()
    kinds = {"Content-Encoding": "gzip", "Content-Type": "application/json"}
    upstream.answers(gzip.compress(said), status, kinds)
    answer, told = await ask(router, CHAT, TARGETS[ANTHROPIC])
    assert (answer.status, told["error"]["message"]) == (status, "Oops")
    assert "Content-Encoding" not in answer.headers

    upstream.answers("<html><b>Sign in</b></html>", status)
    answer, told = await ask(router, CHAT, TARGETS[ANTHROPIC])
    assert answer.status == status
    assert "<" not in told["error"]["message"]


# ── a 200 that is none

NO_ANSWERS = {
    "nothing": (b"", "application/json"),
    "no JSON": (b"hello", "application/json"),
    "half a JSON": (b'{"type": "message", "con', "application/json"),
    "a list": (b"[]", "application/json"),
    "HTML": (b"<html></html>", "text/html"),
    "an error": (ERRORS[ANTHROPIC][529][0].encode(), "application/json"),
    "an empty stream": (b"", EVENTS),
    "an HTML stream": (b"<html></html>", EVENTS),
    "an error event": (
        b"event: error\ndata: " + ERRORS[ANTHROPIC][529][0].encode() + b"\n\n",
        EVENTS,
    ),
    "half an event": (b"event: message_start\ndata: {", EVENTS),
    "only pings": (b'event: ping\ndata: {"type":"ping"}\n\n' * 3, EVENTS),
    "a stream in gzip": (gzip.compress(recording(STREAMS[ANTHROPIC]).body), EVENTS),
}


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("name", NO_ANSWERS)
async def test_a_200_that_is_none(make: Make, upstream: Upstream, name: str, stream: bool):
    """Another target answers, and if there is none, the client hears a 502."""
    body, kind = NO_ANSWERS[name]
    router = await make(
        retries={"attempts": 2}, aliases={"any": [TARGETS[ANTHROPIC], TARGETS[BEDROCK]]}
    )
    upstream.answers(body, headers={"Content-Type": kind})
    answers(upstream, (STREAMS if stream else WHOLES)[BEDROCK])
    path, asked = request(CHAT, "any", stream=stream)
    answer = await router.post(path, json=asked)
    assert (answer.status, answer.headers["X-Routeur-Trace-Provider"]) == (200, BEDROCK)
    assert b"Oops" not in await answer.read()

    upstream.answers(body, headers={"Content-Type": kind})
    path, asked = request(CHAT, TARGETS[ANTHROPIC], stream=stream)
    answer = await router.post(path, json=asked)
    assert answer.status == 502
    assert "the provider" in (await answer.json())["error"]["message"]


# ── framing


@pytest.mark.parametrize(("client", "provider"), PAIRS)
async def test_a_whole_answer_to_a_stream_request(
    make: Make, upstream: Upstream, client: str, provider: str
):
    router = await make()
    answers(upstream, WHOLES[provider])
    path, body = request(client, TARGETS[provider], stream=True)
    answer = await router.post(path, json=body)
    said = await answer.read()
    assert answer.headers["Content-Type"].startswith("text/event-stream")
    assert ENDS[client] in said
    assert ERROR_FRAMES[client] not in said


@pytest.mark.parametrize(("client", "provider"), PAIRS)
async def test_a_stream_to_an_unstreamed_request(
    make: Make, upstream: Upstream, client: str, provider: str
):
    router = await make()
    answers(upstream, STREAMS[provider], chunk_size=500)
    answer, said = await ask(router, client, TARGETS[provider])
    assert answer.status == 200
    assert answer.headers["Content-Type"] == "application/json"
    assert int(answer.headers["Content-Length"]) == len(await answer.read())
    assert said
    assert (await router.trace(answer))["usage"]["output_total"] > 0


@pytest.mark.parametrize(("client", "provider"), PAIRS)
async def test_a_client_that_closes_its_connection(
    make: Make, upstream: Upstream, client: str, provider: str
):
    """It gets what others get, wherever the provider's chunks are cut."""
    router = await make()
    path, body = request(client, TARGETS[provider], stream=True)
    answers(upstream, STREAMS[provider], chunk_size=7)
    usual = await (await router.post(path, json=body)).read()
    answers(upstream, STREAMS[provider], chunk_size=7)
    last = await router.raw(raw(path, body, "Connection: close"))

    pieces = re.compile(rb'"(?:text|delta|content|arguments)": ?"[^"]*"')
    assert pieces.findall(last) == pieces.findall(usual) != []


async def test_an_answer_in_gzip(make: Make, upstream: Upstream):
    """It was not asked for, but some send it."""
    router = await make()
    answers(upstream, WHOLES[ANTHROPIC])
    _, wanted = await ask(router, CHAT, TARGETS[ANTHROPIC])
    upstream.answers(
        gzip.compress(recording(WHOLES[ANTHROPIC]).body),
        headers={"Content-Type": "application/json", "Content-Encoding": "gzip"},
    )
    answer, said = await ask(router, CHAT, TARGETS[ANTHROPIC])
    assert said["choices"] == wanted["choices"]
    assert "Content-Encoding" not in answer.headers


@pytest.mark.parametrize("kind", ["application/json", EVENTS])
async def test_an_answer_without_end(
    make: Make, upstream: Upstream, monkeypatch: pytest.MonkeyPatch, kind: str
):
    """A client that wants it whole makes routeur keep it: so it is bounded."""
    monkeypatch.setattr(routeur.translated, "WHOLE_AT_MOST", 100_000)
    router = await make()
    text = b'data: {"choices":[{"delta":{"content":"a"}}]}\n\n' * 10_000
    upstream.answers(text, headers={"Content-Type": kind}, framing="chunked", chunk_size=1 << 15)
    answer, said = await ask(router, ANTHROPIC, TARGETS[CHAT])
    assert answer.status == 502
    assert "too large" in said["error"]["message"]


ENDS = {
    CHAT: b"data: [DONE]\n\n",
    RESPONSES: b"event: response.completed\n",
    ANTHROPIC: b'event: message_stop\ndata: {"type":"message_stop"}\n\n',
    GEMINI: b'"finishReason":"STOP"',
}
ERROR_FRAMES = {
    CHAT: b'data: {"error":{',
    RESPONSES: b"event: error\n",
    ANTHROPIC: b'event: error\ndata: {"type":"error"',
    GEMINI: b'data: {"error":{',
}


@pytest.mark.parametrize("client", CLIENTS)
async def test_a_client_of_http_1_0(make: Make, upstream: Upstream, client: str):
    """No chunks: the end is the connection's."""
    router = await make()
    answers(upstream, STREAMS[BEDROCK], chunk_size=100)
    path, body = request(client, TARGETS[BEDROCK], stream=True)
    said = await router.raw(raw(path, body, version="1.0"))

    start, _, rest = said.partition(b"\r\n\r\n")
    assert b"Transfer-Encoding" not in start
    assert b"Content-Length" not in start
    assert ENDS[client] in rest
    assert re.search(rb"^[0-9a-f]+\r\n", rest) is None


@pytest.mark.parametrize("provider", [CHAT, ANTHROPIC, BEDROCK])
async def test_a_gemini_client_that_wants_an_array(make: Make, upstream: Upstream, provider: str):
    router = await make()
    answers(upstream, STREAMS[provider], chunk_size=100)
    path, body = request(GEMINI, TARGETS[provider], stream=True)
    answer = await router.post(path.replace("?alt=sse", ""), json=body)
    said = await answer.json()
    assert answer.headers["Content-Type"] == "application/json"
    assert said[-1]["candidates"][0]["finishReason"] == "STOP"
    assert len(said) > 2


# ── in mid-stream


def pieces(provider: str) -> tuple[bytes, bytes]:
    """A stream's first half, cut in mid-frame after some text, and the rest."""
    body = recording(STREAMS[provider]).body
    where = len(body) * 2 // 3
    return body[:where], body[where:]


def streaming(provider: str, *parts: bytes) -> bytes:
    """An unfinished answer in chunks."""
    kind = AWS if provider == BEDROCK else EVENTS
    start = head(200, [("Content-Type", kind), ("Transfer-Encoding", "chunked")])
    return start + b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts)


BREAKS = {
    "close": (CLOSE,),
    "reset": (RESET,),
    "broken chunks": (b"xyz\r\n",),
    "a clean end": (b"0\r\n\r\n",),
    "silence": (HOLD,),
}


@pytest.mark.parametrize(
    "name",
    [name if name == "close" else pytest.param(name, marks=pytest.mark.full) for name in BREAKS],
)
@pytest.mark.parametrize(("client", "provider"), PAIRS)
async def test_a_stream_that_breaks_off(
    make: Make,
    upstream: Upstream,
    monkeypatch: pytest.MonkeyPatch,
    client: str,
    provider: str,
    name: str,
):
    """An error frame of the client's dialect, and no end of the stream but that of the chunks."""
    monkeypatch.setattr(routeur.app, "SWEEP", 0.05)
    router = await make(**SHORT)
    upstream.sends(streaming(provider, pieces(provider)[0]), 0.02, *BREAKS[name])
    path, body = request(client, TARGETS[provider], stream=True)
    said = await router.raw(raw(path, body))

    assert said.startswith(b"HTTP/1.1 200 ")
    assert ERROR_FRAMES[client] in said
    assert ENDS[client] not in said
    assert said.endswith(b"0\r\n\r\n")
    (id,) = re.findall(rb"\r\nX-Routeur-Trace-Id: ([^\r]*)", said)
    trace = await router.trace_of(id.decode())
    assert trace["estimated"] is True
    assert trace["attempts"][0]["error"]


MID_ERRORS = {
    CHAT: ERRORS[CHAT][503][0],
    RESPONSES: '{"type":"error","code":"server_error","message":"Oops","param":null}',
    ANTHROPIC: ERRORS[ANTHROPIC][529][0],
    GEMINI: ERRORS[GEMINI][503][0],
}


def mid_error(provider: str) -> bytes:
    if provider == BEDROCK:
        return aws_frame("serviceUnavailableException", {"message": "Oops"}, kind="exception")
    return b"event: error\ndata: %b\n\n" % MID_ERRORS[provider].encode()


def whole_frames(provider: str) -> bytes:
    """The first of a stream's frames, none of them cut."""
    body = recording(STREAMS[provider]).body
    if provider != BEDROCK:
        end = b"\r\n\r\n" if provider == GEMINI else b"\n\n"
        return body[: body.rfind(end, 0, len(body) * 2 // 3) + len(end)]
    at = 0
    while at < len(body) // 2:
        at += int.from_bytes(body[at : at + 4])
    return body[:at]


@pytest.mark.parametrize("together", [False, True], ids=["later", "at once"])
@pytest.mark.parametrize(("client", "provider"), PAIRS)
async def test_an_error_in_mid_stream(
    make: Make, upstream: Upstream, client: str, provider: str, together: bool
):
    """What came before it reaches the client, then the error in its own dialect."""
    router = await make()
    first = whole_frames(provider)
    if together:
        cut = len(first) // 2
        parts = [streaming(provider, first[:cut]), 0.02]
        rest = first[cut:] + mid_error(provider)
        parts += [b"%x\r\n%b\r\n0\r\n\r\n" % (len(rest), rest)]
    else:
        rest = mid_error(provider)
        parts = [streaming(provider, first), 0.02, b"%x\r\n%b\r\n0\r\n\r\n" % (len(rest), rest)]
    upstream.sends(*parts)
    path, body = request(client, TARGETS[provider], stream=True)
    said = await router.raw(raw(path, body))

    before, found, after = said.partition(ERROR_FRAMES[client])
    assert found
    assert b"Oops" in after
    assert ENDS[client] not in said
    assert said.endswith(b"0\r\n\r\n")
    upstream.sends(streaming(provider, first) + b"0\r\n\r\n")
    whole = await router.raw(raw(path, body))
    assert words(before) == words(whole.partition(ERROR_FRAMES[client])[0])


def words(said: bytes) -> list[bytes]:
    """The texts in a stream's frames, but for ids and the like."""
    return re.findall(rb'"(?:content|delta|text)":"([^"]*)"', said)


# ── when an answer goes


@pytest.mark.parametrize("commit", ["headers", "first_event", "first_token"])
async def test_commit(make: Make, upstream: Upstream, commit: str):
    """What has come up to the moment that is configured, and what has not."""
    router = await make(more={ANTHROPIC: {"commit": commit}})
    frames = [frame + b"\n\n" for frame in recording(STREAMS[ANTHROPIC]).body.split(b"\n\n")]
    start, token = b"".join(frames[:1]), b"".join(frames[1:5])
    upstream.sends(head(200, [("Content-Type", EVENTS), ("Transfer-Encoding", "chunked")]), 0.05)
    reader, writer = await router.connect()
    path, body = request(CHAT, TARGETS[ANTHROPIC], stream=True)
    writer.write(raw(path, body))
    asked = await upstream.requested()
    came = asyncio.create_task(reader.readuntil(b"\r\n\r\n"))
    steps = {"headers": None, "first_event": start, "first_token": token}
    for name, part in steps.items():
        if part is not None:
            await asked.connection.write(b"%x\r\n%b\r\n" % (len(part), part))
        if name == commit:
            break
        await asyncio.sleep(0.1)
        assert not came.done()
    async with asyncio.timeout(PATIENCE):
        assert (await came).startswith(b"HTTP/1.1 200 ")


async def test_keepalive_before_the_first_event(make: Make, upstream: Upstream):
    router = await make(more={BEDROCK: {"commit": "headers", "keepalive": "50ms"}})
    answers(upstream, STREAMS[BEDROCK], hold=0)
    reader, writer = await router.connect()
    path, body = request(ANTHROPIC, TARGETS[BEDROCK], stream=True)
    writer.write(raw(path, body))
    async with asyncio.timeout(PATIENCE):
        for _ in range(2):
            await reader.readuntil(b'event: ping\ndata: {"type": "ping"}\n\n')
    upstream.release()
    async with asyncio.timeout(PATIENCE):
        rest = await reader.readuntil(b"0\r\n\r\n")
    assert b"event: ping" not in rest
    assert ENDS[ANTHROPIC] in rest


async def test_a_frame_goes_when_it_has_come(make: Make, upstream: Upstream):
    """Nothing waits for the end of the stream."""
    router = await make()
    text = recording(STREAMS[CHAT]).body
    where = text.index(b"\n\n", len(text) // 2) + 2
    answers(upstream, STREAMS[CHAT], hold=where)
    reader, writer = await router.connect()
    path, body = request(ANTHROPIC, TARGETS[CHAT], stream=True)
    writer.write(raw(path, body))
    async with asyncio.timeout(PATIENCE):
        await reader.readuntil(b"text_delta")
    upstream.release()
    async with asyncio.timeout(PATIENCE):
        assert ENDS[ANTHROPIC] in await reader.readuntil(b"0\r\n\r\n")


# ── clients that leave, or are slow


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("provider", PROVIDERS)
async def test_a_client_that_leaves(make: Make, upstream: Upstream, provider: str, stream: bool):
    client = ANTHROPIC if provider != ANTHROPIC else CHAT
    router = await make()
    name = (STREAMS if stream else WHOLES)[provider]
    answers(upstream, name, hold=len(recording(name).body) * 2 // 3)
    reader, writer = await router.connect()
    path, body = request(client, TARGETS[provider], stream=stream)
    writer.write(raw(path, body))
    asked = await upstream.requested()
    if stream:
        await reader.readuntil(b"data: ")
    writer.close()

    await asked.connection.wait_closed()
    (id,) = router.router.traces._by_id
    trace = await router.trace_of(id)
    assert (trace["status_code"], trace["estimated"]) == (499, True)


async def test_a_slow_client(make: Make, upstream: Upstream):
    """The provider has to wait, and nothing is lost."""
    router = await make()
    delta = b'data: {"choices":[{"index":0,"delta":{"content":"%b"}}]}\n\n' % (b"x" * 1000)
    end = b'data: {"choices":[{"delta":{},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'
    upstream.answers(delta * 20_000 + end, chunk_size=1 << 16)
    reader, writer = await router.connect()
    path, body = request(ANTHROPIC, TARGETS[CHAT], stream=True)
    writer.write(raw(path, body))
    asked = await upstream.requested()
    async with asyncio.timeout(PATIENCE):
        await asked.connection.blocked.wait()
    assert not asked.connection.closed.is_set()
    got = 0
    async with asyncio.timeout(PATIENCE):
        while part := await reader.read(1 << 18):
            got += part.count(b"x")
            if part.endswith(b"0\r\n\r\n"):
                break
    assert got >= 20_000_000


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("part", ["EventReader", "read_response", "EventWriter", "write_response"])
async def test_a_mistake_of_ours(
    make: Make, upstream: Upstream, monkeypatch: pytest.MonkeyPatch, part: str, stream: bool
):
    """Whatever an answer holds that nobody thought of: the client does not wait for ever."""

    class Explodes:
        def __init__(self, *_: Any) -> None: ...

        def __getattr__(self, name: str) -> Any:
            raise KeyError(name)

    def explode(*_: Any) -> Any:
        raise KeyError("unheard of")

    module = anthropic_answers if "read" in part.lower() else openai_chat_answers
    monkeypatch.setattr(module, part, Explodes if part[0] == "E" else explode)
    router = await make()
    answers(upstream, (STREAMS if stream else WHOLES)[ANTHROPIC])
    path, body = request(CHAT, TARGETS[ANTHROPIC], stream=stream)
    async with asyncio.timeout(PATIENCE):
        answer = await router.post(path, json=body)
        assert answer.status == (502 if stream == part.startswith("Event") else 200)
        await answer.read()
