"""Requests that routeur makes of itself: answered, limited and traced as those of clients."""

from __future__ import annotations

import asyncio

import orjson
import pytest

from routeur import keys
from routeur.call import Call
from routeur.dialects import match, sse
from routeur.errors import Unauthorized, UpstreamError
from routeur.facts import Facts
from routeur.headers import Inbound
from routeur.inside import HIGH_WATER, Inside, fields_of
from routeur.server import ClientConnection
from routeur.turns import Turns
from routeur.websocket import Answerer, Session
from tests.conftest import ANY_NAME
from tests.fake import CLOSE, HOLD, PATIENCE, RESET
from tests.recording import recording

COPIED = "openai-responses/pydantic-ai__test_openai_responses_stream.0"
CLAUDE = "anthropic-text"


def serving(router):
    """What the application does with a request, once its path is known."""

    async def serve(request):
        inbound = Inbound(request.raw_headers)
        path, _, query = request.raw_path.partition("?")
        family, route = match(request.method, path)
        caller = router.keys.identify(keys.presented(inbound.keys, query))
        facts = Facts(inbound, family, route, path, keys.without_key(query), caller)
        facts.come_with(request, router.config.server.max_body)
        router.metrics.started()
        return await router.proxy.serve(facts, Call("POST", path, family, caller.id or None))

    return serve


def ask(router, headers=(), path="/v1/responses", **body):
    raw = orjson.dumps({"input": "Hi", "stream": True, **body})
    fields = fields_of(headers, raw)
    return Inside(serving(router), "POST", path, fields, raw, router._malformed)


async def answer(request):
    """All events of one, or its body."""
    try:
        async with asyncio.timeout(PATIENCE):
            await request.ask()
            if request.streams:
                return [each async for each in request.events()]
            return await request.whole()
    finally:
        await request.close()


def events(stream):
    return [sse.data(frame) for frame in sse.Frames().feed(stream)]


def lines(*values, end=b""):
    return b"".join(b"data: %b\n\n" % orjson.dumps(each) for each in values) + end


def finished(router):
    """The calls that are over, noted as they end."""
    calls = []
    tell = router.proxy._finished
    router.proxy._finished = lambda call: (calls.append(call), tell(call))
    return calls


@pytest.fixture
async def inner(make_router):
    client = await make_router(providers=ANY_NAME)
    return client.router


@pytest.mark.parametrize("size", [None, 1000])
@pytest.mark.parametrize("framing", ["chunked", "close", "length"])
async def test_a_copied_stream(inner, upstream, size, framing):
    body = recording(COPIED).body
    upstream.answers(body, chunk_size=size, framing=framing)

    assert await answer(ask(inner, model="openai/gpt-4o")) == events(body)
    assert orjson.loads(upstream.request.body)["model"] == "gpt-4o"


@pytest.mark.parametrize("size", [None, 50])
async def test_a_translated_stream(inner, upstream, size):
    upstream.answers(recording(CLAUDE).body, chunk_size=size)
    calls = finished(inner)

    told = [orjson.loads(each) for each in await answer(ask(inner, model="anthropic/claude-x"))]

    assert told[0]["type"] == "response.created"
    assert told[-1]["type"] == "response.completed"
    assert [each["sequence_number"] for each in told] == [*range(len(told))]
    (call,) = calls
    assert (call.status, call.stream, call.usage.output > 0) == (200, True, True)


async def test_a_whole_answer(inner, upstream):
    upstream.answers(b'{"id":"resp_1","object":"response","status":"completed","output":[]}')

    body = await answer(ask(inner, model="openai/gpt-4o", stream=False))
    assert orjson.loads(body)["id"] == "resp_1"


async def test_echo(inner):
    told = [orjson.loads(each) for each in await answer(ask(inner, model="echo"))]

    assert told[-1]["response"]["output"][0]["content"][0]["text"] == "Hi"


async def test_what_a_connection_says_stays_there(inner, upstream):
    upstream.answers(recording(COPIED).body)
    handshake = (
        (b"Host", b"localhost"),
        (b"Connection", b"Upgrade"),
        (b"Upgrade", b"websocket"),
        (b"Sec-WebSocket-Key", b"x"),
        (b"Accept-Encoding", b"gzip"),
        (b"Authorization", b"Bearer mine"),
        (b"OpenAI-Beta", b"responses_websockets=1"),
        (b"Traceparent", b"00-1"),
    )
    await answer(ask(inner, handshake, model="openai/gpt-4o"))

    names = upstream.request.names()
    assert {"openai-beta", "traceparent", "content-type"} <= names
    assert not names & {"upgrade", "sec-websocket-key", "accept-encoding"}
    assert upstream.request.key == "sk-at-openai"


@pytest.mark.parametrize("model", ["openai/gpt-4o", "anthropic/claude-x"])
async def test_errors_of_providers(inner, upstream, model):
    upstream.answers(b'{"error":{"message":"no","type":"t","code":"c"}}', status=422)
    request = ask(inner, model=model)
    body = orjson.loads(await answer(request))

    assert request.status == 422
    assert body["error"]["message"] == "no"


async def test_refusals_of_ours(make_router):
    request = ask((await make_router()).router, model="nowhere/x")
    body = orjson.loads(await answer(request))

    assert (request.status, body["error"]["code"]) == (404, "model_not_found")


@pytest.mark.parametrize("model", ["openai/gpt-4o", "anthropic/claude-x"])
@pytest.mark.parametrize("how", [CLOSE, RESET])
async def test_a_stream_that_breaks_off(inner, upstream, model, how):
    body = recording(COPIED if model.startswith("openai") else CLAUDE).body
    size = len(body) * 2 // 3
    head = (
        b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
    )
    upstream.sends(head + b"%x\r\n%b\r\n" % (size, body[:size]), 0.05, how)
    request = ask(inner, model=model)
    await request.ask()
    told = []
    with pytest.raises(UpstreamError, match="broke off"):
        async for each in request.events():
            told.append(each)
    await request.close()

    assert told[0] is not None


async def test_a_mistake_of_ours(inner):
    async def serve(request):
        raise KeyError("a mistake")

    request = Inside(serve, "POST", "/", (), b"", inner._malformed)
    with pytest.raises(KeyError):
        await answer(request)


@pytest.mark.parametrize("model", ["openai/gpt-4o", "anthropic/claude-x"])
@pytest.mark.parametrize("when", ["before", "amid"])
async def test_who_leaves_is_billed(inner, upstream, model, when):
    body = recording(COPIED if model.startswith("openai") else CLAUDE).body
    if when == "before":
        upstream.answers(body, before=[HOLD])
    else:
        upstream.answers(body, cuts=[900], hold=900)
    calls = finished(inner)
    request = ask(inner, model=model)
    if when == "amid":
        await request.ask()
        async for _ in request.events():
            break
    await upstream.requested()
    await request.close()
    async with asyncio.timeout(PATIENCE):
        await upstream.connections[-1].closed.wait()

    (call,) = calls
    assert (call.status, call.aborted_by) == (499, "client")
    assert call.usage is not None or when == "before"


async def test_a_slow_reader_holds_the_provider(inner, upstream):
    size = 64 * 1024
    delta = lines({"type": "response.output_text.delta", "delta": "x" * size})
    start = recording(COPIED).body[:1000].rpartition(b"\n\n")[0] + b"\n\n"
    upstream.answers(start + delta * 400, chunk_size=size)
    request = ask(inner, model="openai/gpt-4o")
    await request.ask()
    stream = request.events()
    await anext(stream)
    async with asyncio.timeout(PATIENCE):
        await upstream.connections[-1].blocked.wait()

    assert request._pipe.writing_paused
    assert request._pipe._size < HIGH_WATER + 600_000
    assert len([each async for each in stream]) > 399
    await request.close()


# ---- a WebSocket, turn by turn


async def connect(client, **headers):
    """A WebSocket to a routeur, as the application has to wire it."""
    router = client.router

    async def handle(request):
        connection = request.protocol
        assert isinstance(connection, ClientConnection)
        connection.request_begins()
        turns = Turns(serving(router), request.raw_path, request.raw_headers, router._malformed)
        answerer = Answerer(turns.run, turns.warm, router._bug)
        try:
            return await Session(answerer, router.config.server.max_body).serve(request)
        finally:
            connection.request_ends(request)

    router.server.request_handler = handle
    return await client.session.ws_connect(client.url + "/v1/responses", headers=headers)


async def turn(socket, **more):
    await socket.send_json({"type": "response.create", "input": "Hi", **more})
    told = []
    async with asyncio.timeout(PATIENCE):
        while not told or told[-1]["type"] not in ("response.completed", "error"):
            told.append(await socket.receive_json())
    return told


async def test_turns_are_calls(make_router, upstream):
    """Copied, translated, and refused: one connection, one trace each."""
    client = await make_router()
    calls = finished(client.router)
    upstream.answers(recording(COPIED).body)
    upstream.answers(recording(CLAUDE).body)
    socket = await connect(client)

    copied = await turn(socket, model="openai/gpt-4o")
    translated = await turn(socket, model="claude-x", stream_id="b")
    refused = await turn(socket, model="nowhere/x")

    assert copied == [orjson.loads(each) for each in events(recording(COPIED).body)]
    assert {each["stream_id"] for each in translated} == {"b"}
    assert refused[0]["error"]["code"] == "model_not_found"
    assert [call.status for call in calls] == [200, 200, 404]
    assert [call.provider for call in calls] == ["openai", "anthropic", None]
    await socket.close()


async def test_a_conversation_in_memory(make_router, upstream):
    client = await make_router(providers=ANY_NAME)
    upstream.answers(recording(CLAUDE).body)
    socket = await connect(client)

    warm = await turn(socket, model="anthropic/claude-x", generate=False, input="Remember: 7")
    first = await turn(
        socket,
        model="anthropic/claude-x",
        store=False,
        previous_response_id=warm[-1]["response"]["id"],
    )
    await turn(
        socket,
        model="anthropic/claude-x",
        store=False,
        previous_response_id=first[-1]["response"]["id"],
        input="And?",
    )

    assert warm[0]["response"]["object"] == "response"
    assert warm[1]["response"]["usage"]["total_tokens"] == 0
    assert len(upstream.requests) == 2
    messages = orjson.loads(upstream.request.body)["messages"]
    assert [each["role"] for each in messages] == ["user", "assistant", "user"]
    assert "Remember: 7" in str(messages[0])
    await socket.close()


async def test_to_warm_up_for_nobody(make_router):
    client = await make_router()
    socket = await connect(client)

    told = await turn(socket, model="nowhere/x", generate=False)
    assert told[0]["error"]["code"] == "model_not_found"
    await socket.close()


async def test_the_key_of_each_turn(make_router, monkeypatch):
    """It may be taken away meanwhile."""
    client = await make_router(providers=ANY_NAME, auth={"master_key": "a-long-master-key"})
    socket = await connect(client, Authorization="Bearer a-long-master-key")
    assert (await turn(socket, model="echo"))[-1]["type"] == "response.completed"

    def identify(_):
        raise Unauthorized("no more")

    monkeypatch.setattr(client.router.keys, "identify", identify)
    refused = await turn(socket, model="echo")
    assert (refused[0]["status"], refused[0]["error"]["code"]) == (401, "invalid_api_key")
    await socket.close()


async def test_a_client_that_leaves_amid_turns(make_router, upstream):
    client = await make_router(providers=ANY_NAME)
    calls = finished(client.router)
    upstream.answers(recording(COPIED).body, cuts=[900], hold=900)
    socket = await connect(client)
    for lane in "abc":
        await socket.send_json(
            {"type": "response.create", "model": "openai/gpt-4o", "input": "Hi", "stream_id": lane}
        )
    for _ in range(3):
        await socket.receive_json()
    socket._response.connection.transport.abort()
    async with asyncio.timeout(PATIENCE):
        for connection in upstream.connections:
            await connection.closed.wait()

    assert [(call.status, call.aborted_by) for call in calls] == [(499, "client")] * 3
