"""Turns of a client's WebSocket at a provider that has WebSockets, too."""

from __future__ import annotations

import asyncio

import orjson
import pytest
from aiohttp import WSMsgType, web
from openai import AsyncOpenAI

from routeur.dialects import sse
from tests.conftest import merged
from tests.fake import PATIENCE
from tests.recording import recording
from tests.sockets import provider
from tests.virtual import AUTH, MASTER, bearer, give, settled, until

RECORDED = "openai-responses/pydantic-ai__test_openai_responses_stream.0"
EVENTS = [sse.data(each).decode() for each in sse.Frames().feed(recording(RECORDED).body)]
EVENTS = [each for each in EVENTS if each != "[DONE]"]
USAGE = orjson.loads(EVENTS[-1])["response"]["usage"]


def answer(id, text="Hi", **more):
    """A turn's events: its response has this id."""
    message = {"type": "message", "role": "assistant", "id": f"msg_{id}", "status": "completed"}
    output = [message | {"content": [{"type": "output_text", "text": text, "annotations": []}]}]
    begun = {"id": id, "object": "response", "status": "in_progress", "output": []}
    usage = {"input_tokens": 10, "output_tokens": 2, "total_tokens": 12}
    over = begun | {"status": "completed", "output": output, "usage": usage} | more
    delta = {"type": "response.output_text.delta", "delta": text, "item_id": f"msg_{id}"}
    events = [
        {"type": "response.created", "response": begun},
        delta,
        {"type": "response.completed", "response": over},
    ]
    return [{**each, "sequence_number": at} for at, each in enumerate(events)]


@pytest.fixture
async def there():
    async with provider() as made:
        made.play = answering()
        yield made


def answering(heard=None):
    """Every turn gets an answer; what was asked is added to `heard`."""
    count = 0

    async def play(visit):
        nonlocal count
        async for message in visit.socket:
            if heard is not None:
                heard.append((visit, message.json()))
            count += 1
            await visit.tell(*answer(f"resp_{count}"))

    return play


@pytest.fixture
def make(make_router, there):
    async def made(headers=None, provider=None, **changes):
        models = {"gpt-5": {"price": {"input": 1, "output": 2}}, "fine": {"id": "gpt-5"}}
        ours = {"base_url": f"{there.url}/v1", "websocket": True, "models": models}
        known = {"openai": merged(ours, provider or {})}
        return await make_router(headers, **merged({"providers": known}, changes))

    return made


async def connect(client, **headers):
    socket = await client.session.ws_connect(client.url + "/v1/responses", headers=headers)
    client._answers.append(socket._response)
    return socket


async def turn(socket, **more):
    """One turn, and all of its events as they came."""
    await socket.send_json({"type": "response.create", "model": "gpt-5", "input": "Hi", **more})
    told = []
    async with asyncio.timeout(PATIENCE):
        while not told or _kind(told[-1]) not in LAST:
            message = await socket.receive()
            assert message.type is WSMsgType.TEXT, message
            told.append(message.data)
    return told


LAST = ("response.completed", "response.failed", "response.incomplete", "error")


def _kind(text):
    return orjson.loads(text)["type"]


async def finished(client, count=1):
    traces = client.router.traces

    async def enough():
        return len(traces) >= count

    await until(enough)
    return list(traces._by_id.values())


async def test_events_as_they_are(make, there):
    """A recorded stream, and a message of several lines."""

    async def play(visit):
        await visit.hear()
        await visit.tell(*EVENTS)
        await visit.hear()
        events = answer("resp_2")
        await visit.tell(events[0], orjson.dumps(events[1], option=orjson.OPT_INDENT_2).decode())
        await visit.tell(events[2])
        await visit.receive()

    there.play = play
    client = await make()
    socket = await connect(client)

    assert await turn(socket) == EVENTS
    told = await turn(socket)
    assert told[1] == orjson.dumps(answer("resp_2")[1], option=orjson.OPT_INDENT_2).decode()
    await socket.close()
    (first, second) = await finished(client, 2)
    assert (first.usage.input_total, first.usage.output_total) == (
        USAGE["input_tokens"],
        USAGE["output_tokens"],
    )
    assert (second.status, second.usage.total, second.estimated) == (200, 12, False)
    assert second.first_token > 0


async def test_what_is_asked(make, there):
    """One handshake with our key and the client's own headers; `response.create` as it is."""
    heard = []
    there.play = answering(heard)
    client = await make(auth=AUTH)
    headers = bearer(MASTER) | {"OpenAI-Beta": "responses_websockets=1", "Cookie": "a=b"}
    socket = await connect(client, **headers)
    await turn(socket, model="fine", metadata={"a": "b"}, stream_id="one", store=False)
    await turn(socket, model="fine", stream_id="one")
    await socket.close()

    (asked,) = there.asked
    assert (asked.method, asked.path) == ("GET", "/v1/responses")
    assert asked.headers["Authorization"] == "Bearer sk-at-openai"
    assert asked.headers["OpenAI-Beta"] == "responses_websockets=1"
    assert "Cookie" not in asked.headers
    assert MASTER not in str(asked.headers)
    assert heard[0][1] == {
        "type": "response.create",
        "model": "gpt-5",
        "input": "Hi",
        "metadata": {"a": "b"},
        "store": False,
    }


async def test_what_only_the_connection_remembers(make, there):
    """It is not said again where it is known, and is where it is not."""
    heard = []
    there.play = answering(heard)
    client = await make()
    socket = await connect(client)

    await turn(socket, store=False, input="One")
    await turn(socket, store=False, input="Two", previous_response_id="resp_1")
    there.visits[0].cut()
    await there.visits[0].over.wait()
    await turn(socket, store=False, input="Three", previous_response_id="resp_2")
    await socket.close()

    first, second, third = (asked for _, asked in heard)
    assert "previous_response_id" not in first
    assert (second["input"], second["previous_response_id"]) == ("Two", "resp_1")
    assert "previous_response_id" not in third
    assert [each.get("role") for each in third["input"]] == [
        "user",
        "assistant",
        "user",
        "assistant",
        "user",
    ]
    assert len(there.visits) == 2


async def test_a_provider_that_has_forgotten(make, there):
    """It is asked once more, with all that was said."""
    heard = []

    async def play(visit):
        async for message in visit.socket:
            asked = message.json()
            heard.append(asked)
            if "previous_response_id" in asked:
                error = {"code": "previous_response_not_found", "message": "gone", "type": "x"}
                await visit.tell({"type": "error", "status": 400, "error": error})
            else:
                await visit.tell(*answer(f"resp_{len(heard)}"))

    there.play = play
    client = await make()
    socket = await connect(client)
    await turn(socket, store=False, input="One")
    told = await turn(socket, store=False, input="Two", previous_response_id="resp_1")
    await socket.close()

    assert _kind(told[-1]) == "response.completed"
    assert len(heard) == 3
    assert len(heard[2]["input"]) == 3
    assert len(there.visits) == 1


async def test_lanes_side_by_side(make, there):
    met = asyncio.Barrier(3)

    async def play(visit):
        async for message in visit.socket:
            await met.wait()
            await visit.tell(*answer(f"resp_{message.json()['input']}"))

    there.play = play
    client = await make()
    socket = await connect(client)
    for lane in "abc":
        asked = {"type": "response.create", "model": "gpt-5", "input": lane, "stream_id": lane}
        await socket.send_json(asked)
    seen = []
    async with asyncio.timeout(PATIENCE):
        while len(seen) < 3:
            event = await socket.receive_json()
            if event["type"] == "response.completed":
                seen.append((event["stream_id"], event["response"]["id"]))
    await socket.close()
    assert sorted(seen) == [("a", "resp_a"), ("b", "resp_b"), ("c", "resp_c")]
    assert len(there.visits) == 3
    async with asyncio.timeout(PATIENCE):
        for visit in there.visits:
            await visit.over.wait()


@pytest.mark.parametrize("status", [400, 404, 429, 500])
async def test_an_error_is_that_of_its_status(make, there, status):
    error = {"code": "some_code", "message": "no", "type": "some_error", "param": "input"}

    async def play(visit):
        await visit.hear()
        await visit.tell({"type": "error", "status": status, "error": error})
        await visit.hear()
        await visit.tell(*answer("resp_2"))
        await visit.receive()

    there.play = play
    client = await make(ban={"after": 9})
    socket = await connect(client)
    (told,) = await turn(socket)
    told = orjson.loads(told)
    assert (told["status"], told["error"]["code"]) == (status, "some_code")
    assert told["error"]["message"] == "no"
    if status != 429:
        assert _kind((await turn(socket))[-1]) == "response.completed"
        assert len(there.visits) == 1
    await socket.close()
    assert (await finished(client))[0].attempts[0].status == status


async def test_another_target_after_an_error(make, there, upstream):
    async def play(visit):
        await visit.hear()
        await visit.tell({"type": "error", "status": 503, "error": {"message": "busy"}})
        await visit.receive()

    there.play = play
    upstream.answers(recording("anthropic-text").body)
    client = await make(
        aliases={"any": ["openai/gpt-5", "anthropic/claude-x"]}, retries={"attempts": 2}
    )
    socket = await connect(client)
    told = await turn(socket, model="any")
    await socket.close()
    assert _kind(told[-1]) == "response.completed"
    (call,) = await finished(client)
    assert [each.status for each in call.attempts] == [503, 200]


@pytest.mark.parametrize("status", [401, 429, 500])
async def test_another_credential_after_a_refused_handshake(make, there, status):
    there.refuses = [web.json_response({"error": {"message": "no"}}, status=status)]
    two = [{"name": each, "api_key": f"sk-of-{each}"} for each in ("a", "b")]
    client = await make(provider={"credentials": two, "api_key": None}, retries={"attempts": 2})
    socket = await connect(client)
    assert _kind((await turn(socket))[-1]) == "response.completed"
    await socket.close()
    assert len({each.headers["Authorization"] for each in there.asked}) == 2
    (call,) = await finished(client)
    assert [each.status for each in call.attempts] == [status, 200]


async def test_no_websocket_there(make, there):
    there.refuses = [web.json_response({"id": "resp_1"})]
    client = await make()
    socket = await connect(client)
    (told,) = await turn(socket)
    await socket.close()
    assert orjson.loads(told)["status"] == 502


@pytest.mark.parametrize("how", ["cut", "close", "old"])
async def test_a_connection_that_has_ended_meanwhile(make, there, how):
    """It is made anew, and nobody notices."""
    served = 0

    async def play(visit):
        nonlocal served
        async for _ in visit.socket:
            served += 1
            if served == 2 and how == "cut":
                return visit.cut()
            if served == 2 and how == "close":
                return
            if served == 2:
                error = {"code": "websocket_connection_limit_reached", "message": "60 minutes"}
                await visit.tell({"type": "error", "status": 400, "error": error})
                return
            await visit.tell(*answer(f"resp_{served}"))

    there.play = play
    client = await make()
    socket = await connect(client)
    await turn(socket)
    told = await turn(socket)
    await socket.close()
    assert _kind(told[-1]) == "response.completed"
    assert len(there.visits) == 2


@pytest.mark.parametrize("how", ["cut", "close", "frame"])
async def test_an_answer_that_breaks_off(make, there, how):
    async def play(visit):
        await visit.hear()
        await visit.tell(*answer("resp_1")[:2])
        if how == "cut":
            visit.cut()
        elif how == "frame":
            visit.request.transport.write(b"\x83\x00")
            await visit.receive()

    there.play = play
    client = await make()
    socket = await connect(client)
    told = await turn(socket)
    there.play = answering()
    again = await turn(socket)
    await socket.close()

    assert [_kind(each) for each in told[:2]] == ["response.created", "response.output_text.delta"]
    assert orjson.loads(told[-1])["status"] == 502
    assert _kind(again[-1]) == "response.completed"
    call = (await finished(client, 2))[0]
    assert (call.aborted_by, call.estimated) == ("upstream", True)
    assert call.usage.output > 0


async def test_messages_that_nobody_has_asked_for(make, there):
    async def play(visit):
        await visit.socket.ping()
        async for message in visit.socket:
            await visit.socket.send_bytes(b"\0")
            await visit.tell(*answer(f"resp_{message.json()['input']}"))
            await visit.tell({"type": "rate_limits", "left": 1}, "no json")
            await visit.socket.send_bytes(b"\0")

    there.play = play
    client = await make()
    socket = await connect(client)
    for word in "abc":
        told = await turn(socket, input=word)
        assert [_kind(each) for each in told] == [_kind(orjson.dumps(e)) for e in answer("x")]
    await socket.close()
    assert len(there.visits) == 1


async def test_a_client_that_leaves(make, there):
    """Amid a turn: it is billed, and the provider's connection ends."""

    async def play(visit):
        await visit.hear()
        await visit.tell(*answer("resp_1", "word " * 50)[:2])
        await visit.receive()

    there.play = play
    client = await make(auth=AUTH)
    secret, key = await give(client, limit=1_000_000)
    socket = await connect(client, **bearer(secret))
    await socket.send_json({"type": "response.create", "model": "gpt-5", "input": "Hi"})
    for _ in range(2):
        await socket.receive_json()
    socket._response.connection.transport.abort()
    async with asyncio.timeout(PATIENCE):
        await there.visits[0].over.wait()
    (call,) = await finished(client)
    assert (call.status, call.aborted_by, call.estimated) == (499, "client", True)
    assert (await settled(client, key)).usage == call.micro > 50


async def test_each_turn_has_its_limits(make, there):
    client = await make(auth=AUTH)
    secret, key = await give(client, limit=300)
    socket = await connect(client, **bearer(secret))
    told = await turn(socket, max_output_tokens=20)
    refused = await turn(socket, max_output_tokens=1000)
    await socket.close()
    assert _kind(told[-1]) == "response.completed"
    assert orjson.loads(refused[0])["status"] == 402
    assert (await settled(client, key)).usage == 14


async def test_a_reload(make, there):
    """The next turn is asked of the new configuration, over a connection of its own."""
    client = await make()
    socket = await connect(client)
    await turn(socket)
    client.router.reload(client.router.config)
    await turn(socket)
    async with asyncio.timeout(PATIENCE):
        await there.visits[0].over.wait()
    assert not there.visits[1].over.is_set()
    await socket.close()
    assert len(there.visits) == 2


async def test_a_browser_s_key(make, there):
    client = await make(auth=AUTH)
    protocols = [f"openai-insecure-api-key.{MASTER}"]
    socket = await client.session.ws_connect(client.url + "/v1/responses", protocols=protocols)
    client._answers.append(socket._response)
    assert _kind((await turn(socket))[-1]) == "response.completed"
    await socket.close()
    assert MASTER not in str(there.asked[0].headers)


async def test_a_slow_client_makes_the_provider_wait(make, there):
    sent = 0

    async def play(visit):
        nonlocal sent
        await visit.hear()
        events = answer("resp_1", "x" * 100_000)
        await visit.tell(events[0])
        for _ in range(200):
            await visit.tell(events[1])
            sent += 1
        await visit.tell(events[2])
        await visit.receive()

    there.play = play
    client = await make()
    socket = await connect(client)
    transport = socket._response.connection.transport
    await socket.send_json({"type": "response.create", "model": "gpt-5", "input": "Hi"})
    transport.pause_reading()
    before = -1
    while sent != before:
        before = sent
        await asyncio.sleep(0.2)
    assert sent < 150
    transport.resume_reading()
    count = 0
    async with asyncio.timeout(PATIENCE):
        while (await socket.receive_json())["type"] != "response.completed":
            count += 1
    assert count == 201
    await socket.close()


async def test_the_sdk(make, there):
    client = await make(auth=AUTH)
    sdk = AsyncOpenAI(api_key=MASTER, base_url=f"{client.url}/v1")
    seen = []
    async with asyncio.timeout(PATIENCE):
        async with sdk.responses.connect() as connection:
            await connection.response.create(model="gpt-5", input="Hi")
            async for event in connection:
                seen.append(event.type)
                if event.type == "response.completed":
                    break
    await sdk.close()
    assert seen == ["response.created", "response.output_text.delta", "response.completed"]
