"""The Realtime API: relayed frame by frame, paid answer by answer."""

from __future__ import annotations

import asyncio
import socket as socket_
import struct

import aiohttp
import pytest
from aiohttp import WSMsgType, web
from openai import AsyncOpenAI

from routeur.dialects import realtime
from routeur.handshake import with_model
from tests.conftest import merged
from tests.fake import PATIENCE
from tests.sockets import provider
from tests.virtual import AUTH, MASTER, balance, bearer, give, settled, until

PATH = "/v1/realtime?model=gpt-realtime"
# OpenAI's own example of `response.done` (openai-openapi-sdk-3.3.1.yml, Apache-2.0).
USAGE = {
    "total_tokens": 253,
    "input_tokens": 132,
    "output_tokens": 121,
    "input_token_details": {
        "text_tokens": 119,
        "audio_tokens": 13,
        "image_tokens": 0,
        "cached_tokens": 64,
        "cached_tokens_details": {"text_tokens": 64, "audio_tokens": 0, "image_tokens": 0},
    },
    "output_token_details": {"text_tokens": 30, "audio_tokens": 91},
}
CREATED = {"type": "response.created", "event_id": "event_1", "response": {"id": "resp_1"}}
# A million tokens: 4 in, 0.4 of a cache, 16 out, sound 32 and 64. This usage: 55 text, 13 sound,
# 64 cached, 30 text and 91 sound out.
PRICE = {"input": 4, "cache_read": 0.4, "output": 16, "audio_in": 32, "audio_out": 64}
MICRO = -(-(55 * 4 + 64 * 4 // 10 + 13 * 32 + 30 * 16 + 91 * 64) // 1)


def done(**more):
    response = {"object": "realtime.response", "id": "resp_1", "status": "completed"}
    return {
        "type": "response.done",
        "event_id": "e",
        "response": response | {"usage": USAGE} | more,
    }


@pytest.fixture
async def there():
    async with provider() as made:
        yield made


@pytest.fixture
def make(make_router, there):
    """A routeur whose provider `openai` speaks WebSocket."""

    async def made(headers=None, provider=None, **changes):
        models = {"gpt-realtime": {"price": PRICE, "output": 100}, "voice": {"id": "gpt-realtime"}}
        ours = {"base_url": f"{there.url}/v1", "models": models}
        known = {"openai": merged(ours, provider or {})}
        return await make_router(headers, **merged({"providers": known}, changes))

    return made


async def connect(client, path=PATH, **options):
    socket = await client.session.ws_connect(client.url + path, **options)
    client._answers.append(socket._response)
    return socket


async def receive(socket):
    async with asyncio.timeout(PATIENCE):
        return await socket.receive()


async def finished(client, count=1):
    """The calls that are over, as soon as there are so many."""
    traces = client.router.traces

    async def enough():
        return len(traces) >= count

    await until(enough)
    return list(traces._by_id.values())


async def closed(socket):
    """The code that a socket is closed with."""
    while (message := await receive(socket)).type in (WSMsgType.TEXT, WSMsgType.BINARY):
        pass
    assert message.type is WSMsgType.CLOSE
    return message.data


# ---- what passes


@pytest.mark.parametrize("size", [0, 5, 125, 126, 65_535, 65_536, 1_000_000])
async def test_messages_of_all_sizes(make, there, size):
    client = await make()
    socket = await connect(client, max_msg_size=0)
    there.options["max_msg_size"] = 0

    await socket.send_str("a" * size)
    assert (await receive(socket)).data == "a" * size
    await socket.send_bytes(b"\xff" * size)
    assert (await receive(socket)).data == b"\xff" * size
    await socket.close()


async def test_who_asks_there(make, there):
    """Our key, the model's name there, the client's own headers; nothing of its key."""
    client = await make(auth=AUTH)
    planted = bearer(MASTER) | {"OpenAI-Beta": "realtime=v1", "Cookie": "a=b", "X-Unknown": "1"}
    socket = await connect(client, "/v1/realtime?x=1&model=voice&y=%20", headers=planted)
    await socket.close()

    (asked,) = there.asked
    assert asked.raw_path == "/v1/realtime?x=1&model=gpt-realtime&y=%20"
    assert asked.headers["Authorization"] == "Bearer sk-at-openai"
    assert asked.headers["OpenAI-Beta"] == "realtime=v1"
    assert asked.headers["X-Unknown"] == "1"
    assert "Cookie" not in asked.headers
    assert MASTER not in str(asked.headers)


async def test_a_browser_s_key(make, there, capsys):
    """It comes as a subprotocol, and goes nowhere."""
    client = await make(auth=AUTH, traces={"payloads": True})
    offered = ["realtime", f"openai-insecure-api-key.{MASTER}", "openai-beta.realtime-v1"]
    socket = await connect(client, protocols=offered)
    assert socket.protocol == "realtime"
    await socket.close()

    headers = there.asked[0].headers
    assert headers["Sec-WebSocket-Protocol"] == "realtime, openai-beta.realtime-v1"
    assert MASTER not in str(headers)
    (call,) = await finished(client)
    answer = await client.get(f"/v1/traces/{call.id}/payload", headers=bearer(MASTER))
    assert answer.status == 200
    assert MASTER not in await answer.text()
    assert MASTER not in capsys.readouterr().err


async def test_only_the_key_is_offered(make, there):
    client = await make(auth=AUTH)
    socket = await connect(client, protocols=[f"openai-insecure-api-key.{MASTER}"])
    await socket.close()
    assert "Sec-WebSocket-Protocol" not in there.asked[0].headers


@pytest.mark.parametrize("options", [{}, {"headers": bearer("wrong")}])
async def test_a_wrong_key(make, there, options):
    client = await make(auth=AUTH)
    with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
        await connect(client, **options)
    assert refused.value.status == 401
    assert there.asked == []


@pytest.mark.parametrize("compress", [0, 15])
async def test_compressed_as_agreed(make, there, compress):
    """Both ends agree with each other; what passes is read all the same."""

    async def play(visit):
        for _ in range(3):
            await visit.tell(CREATED, done())
        await visit.receive()

    there.play = play
    client = await make()
    socket = await connect(client, compress=compress)
    assert socket.compress == compress
    for _ in range(6):
        await receive(socket)
    await socket.close()

    (call,) = await finished(client)
    assert call.usage.total == 3 * 253
    assert call.micro == pytest.approx(3 * MICRO, abs=3)


async def test_extensions_that_are_unknown_here(make, there):
    client = await make()
    socket = await connect(client, headers={"Sec-WebSocket-Extensions": "x-mux, bbf-usp"})
    await socket.close()
    assert "Sec-WebSocket-Extensions" not in there.asked[0].headers


@pytest.mark.parametrize("code", [1000, 1001, 4000, 4999])
async def test_the_provider_closes(make, there, code):
    async def play(visit):
        await visit.socket.close(code=code, message=b"enough")

    there.play = play
    client = await make()
    socket = await connect(client)

    message = await receive(socket)
    assert (message.type, message.data, message.extra) == (WSMsgType.CLOSE, code, "enough")
    (call,) = await finished(client)
    assert (call.status, call.error, call.aborted_by) == (101, None, None)


@pytest.mark.parametrize("code", [1000, 4321])
async def test_the_client_closes(make, there, code):
    client = await make()
    socket = await connect(client)
    await socket.close(code=code, message=b"bye")

    visit = await there.visit()
    async with asyncio.timeout(PATIENCE):
        await visit.over.wait()
    assert visit.socket.close_code == code
    (call,) = await finished(client)
    assert (call.status, call.error, call.usage) == (101, None, None)


async def test_a_provider_that_says_no_goodbye(make, there, monkeypatch):
    """The client gets one all the same."""
    monkeypatch.setattr("routeur.realtime.CLOSING", 0.05)
    there.options["autoclose"] = False

    async def play(visit):
        await visit.receive()
        await asyncio.sleep(PATIENCE)

    there.play = play
    client = await make()
    socket = await connect(client)
    await socket.close()
    assert socket.close_code == 1000
    (call,) = await finished(client)
    assert (call.status, call.error) == (101, None)


async def test_pings_of_both_sides(make, there):
    """They are answered by the other side, not here."""
    got = asyncio.get_running_loop().create_future()

    async def play(visit):
        await visit.socket.ping(b"there")
        while (message := await visit.receive()).type is not WSMsgType.PONG:
            await visit.socket.pong(message.data)
        got.set_result(message.data)

    there.play = play
    there.options["autoping"] = False
    client = await make()
    socket = await connect(client, autoping=False)
    await socket.ping(b"here")

    seen = [await receive(socket), await receive(socket)]
    assert {(each.type, bytes(each.data)) for each in seen} == {
        (WSMsgType.PING, b"there"),
        (WSMsgType.PONG, b"here"),
    }
    await socket.pong(b"there")
    async with asyncio.timeout(PATIENCE):
        assert await got == b"there"
    await socket.close()


async def test_what_comes_before_the_provider_has_agreed(make, there):
    """A client need not wait to speak."""
    client = await make()
    reader, writer = await client.connect()
    frame = b"\x81\x82" + b"\0\0\0\0" + b"hi"
    writer.write(HANDSHAKE + frame)
    async with asyncio.timeout(PATIENCE):
        head = await reader.readuntil(b"\r\n\r\n")
        assert await reader.readexactly(4) == b"\x81\x02hi"
    assert head.startswith(b"HTTP/1.1 101 ")
    assert b"\r\nX-Routeur-Trace-Provider: openai\r\n" in head
    writer.transport.abort()


HANDSHAKE = (
    b"GET /v1/realtime?model=gpt-realtime HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n"
    b"Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)


@pytest.mark.parametrize("size", [1, 2, 3, 7])
async def test_frames_in_pieces(make, there, size):
    client = await make()
    reader, writer = await client.connect()
    writer.write(HANDSHAKE)
    async with asyncio.timeout(PATIENCE):
        await reader.readuntil(b"\r\n\r\n")
        frame = b"\x81\xfe\x00\x80" + b"\0\0\0\0" + b"x" * 128
        for at in range(0, len(frame), size):
            writer.write(frame[at : at + size])
            await asyncio.sleep(0)
        assert await reader.readexactly(132) == b"\x81\x7e\x00\x80" + b"x" * 128
    writer.transport.abort()


@pytest.mark.parametrize(
    ("frame", "code"),
    [
        (b"\x81\x02hi", 1002),  # not masked
        (b"\x83\x80\0\0\0\0", 1002),  # of an unknown kind
        (b"\x89\xfe\x00\x80\0\0\0\0", 1002),  # a ping that is too large
        (b"\x80\x80\0\0\0\0", 1002),  # the rest of nothing
        (b"\x81\xff\x7f\xff\xff\xff\xff\xff\xff\xff\0\0\0\0", 1009),
    ],
)
async def test_frames_that_are_none(make, there, frame, code, monkeypatch):
    monkeypatch.setattr("routeur.realtime.CLOSING", 0.05)  # this client says no goodbye
    client = await make()
    reader, writer = await client.connect()
    writer.write(HANDSHAKE)
    async with asyncio.timeout(PATIENCE):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(frame)
        head = await reader.readexactly(4)
        await (await there.visit()).over.wait()
    assert (head[0], int.from_bytes(head[2:])) == (0x88, code)
    (call,) = await finished(client)
    assert call.aborted_by == "client"
    writer.transport.abort()


# ---- who answers


async def test_an_alias_and_the_provider_s_own_path(make, there):
    client = await make(aliases={"talk": ["openai/voice"]})
    for path in ("/v1/realtime?model=talk", "/openai/v1/realtime?model=gpt-realtime"):
        socket = await connect(client, path)
        await socket.close()
    assert [each.query["model"] for each in there.asked] == ["gpt-realtime"] * 2
    assert [call.reason for call in await finished(client, 2)] == ["alias:talk", "path"]


async def test_azure(make, there):
    """Its old path has the deployment and a version in the query."""
    azure = {"base_url": there.url, "api_version": "2024-10-01-preview", "auth": "api-key"}
    client = await make(provider=azure)
    socket = await connect(client, "/v1/realtime?model=voice")
    await socket.close()
    asked = there.asked[0]
    assert (asked.path, asked.headers["api-key"]) == ("/openai/realtime", "sk-at-openai")
    assert dict(asked.query) == {
        "deployment": "gpt-realtime",
        "api-version": "2024-10-01-preview",
    }


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        ("/v1/realtime?model=nobody", 404, "model_not_found"),
        ("/v1/realtime?model=claude-x", 400, "no_eligible_target"),
        ("/v1/realtime?model=echo", 404, "model_not_found"),
        ("/v1/realtime?model=gpt-realtime&model=other", 400, "invalid_request"),
        ("/v1/realtime?model=gpt-realtime&deployment=other", 400, "invalid_request"),
        ("/v1/embeddings", 426, "upgrade_required"),
    ],
)
async def test_nobody_to_ask(make, there, path, status, code):
    client = await make()
    headers = {
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
    }
    answer = await client.get(path, headers=headers)
    assert (answer.status, (await answer.json())["error"]["code"]) == (status, code)
    assert there.asked == []


async def test_no_handshake(make, there):
    client = await make()
    plain = await client.get(PATH)
    assert plain.status == 426
    old = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "8"}
    assert (await client.get(PATH, headers=old)).status == 400
    keyless = old | {"Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": "short"}
    assert (await client.get(PATH, headers=keyless)).status == 400
    assert there.asked == []


@pytest.mark.parametrize("status", [401, 403, 429, 500, 503])
async def test_another_credential_after_a_refusal(make, there, status):
    there.refuses = [web.json_response({"error": {"message": "no"}}, status=status)]
    two = [{"name": each, "api_key": f"sk-of-{each}"} for each in ("a", "b")]
    client = await make(provider={"credentials": two, "api_key": None}, retries={"attempts": 2})
    socket = await connect(client)
    await socket.close()

    assert len({each.headers["Authorization"] for each in there.asked}) == 2
    (call,) = await finished(client)
    assert [each.status for each in call.attempts] == [status, 101]


@pytest.mark.parametrize(
    ("given", "expected"),
    [(400, 400), (429, 429), (500, 500), (401, 502), (200, 502), (302, 502)],
)
async def test_a_refusal_is_an_answer(make, there, given, expected):
    there.refuses = [web.json_response({"error": {"message": "no"}}, status=given)]
    client = await make()
    with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
        await connect(client)
    assert refused.value.status == expected
    (call,) = await finished(client)
    assert call.attempts[0].status == given


async def test_a_provider_that_accepts_another_handshake(make, there, upstream):
    upstream.answers(b"", status=101, headers=[("Upgrade", "websocket"), ("Connection", "upgrade")])
    client = await make(provider={"base_url": f"{upstream.url}/v1"})
    with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
        await connect(client)
    assert refused.value.status == 502


# ---- what it costs


def test_another_name_for_the_model():
    assert with_model("a=1&model=x&a=1&b=%20", "y/z") == "a=1&model=y%2Fz&a=1&b=%20"
    assert with_model("m%6fdel=x&model=x", "y") == "model=y"
    assert with_model("", "y", "deployment") == "deployment=y"


def test_usage_in_disjoint_buckets():
    used = realtime.usage(USAGE)
    assert (used.input, used.cache_read, used.audio_in) == (55, 64, 13)
    assert (used.output, used.audio_out, used.total) == (30, 91, 253)


def test_sound_of_a_cache():
    details = {"text_tokens": 10, "audio_tokens": 90, "cached_tokens": 70}
    cached = {"cached_tokens_details": {"text_tokens": 5, "audio_tokens": 65}}
    used = realtime.usage({"input_tokens": 100, "input_token_details": details | cached})
    assert (used.input, used.cache_read, used.audio_in) == (5, 70, 25)


async def test_each_answer_is_booked_when_it_is_over(make, there):
    went_on = asyncio.Event()

    async def play(visit):
        await visit.tell(CREATED, done())
        await went_on.wait()
        await visit.tell(CREATED, done())
        await visit.receive()

    there.play = play
    client = await make(auth=AUTH)
    secret, key = await give(client)
    socket = await connect(client, headers=bearer(secret))

    async def booked(count):
        return (await balance(client, key)).usage == pytest.approx(count * MICRO, abs=count)

    await until(lambda: booked(1))
    went_on.set()
    await until(lambda: booked(2))
    await socket.close()

    (call,) = await finished(client)
    assert (call.usage.total, call.estimated, call.status) == (506, False, 101)
    assert call.cost_usd == pytest.approx(2 * MICRO / 1e6, abs=2e-6)
    assert await booked(2)
    answer = await client.get("/api/usage/summary", headers=bearer(secret))
    told = await answer.json()
    assert (told["total_requests"], told["total_tokens"]) == (2, 506)


async def test_an_answer_that_is_cut(make, there):
    """What has come of it is paid."""

    async def play(visit):
        sound = {"type": "response.output_audio.delta", "delta": "A" * 32_000}
        text = {"type": "response.output_audio_transcript.delta", "delta": "x" * 40}
        await visit.tell(done(), CREATED, sound, text)
        await visit.receive()
        visit.cut()

    there.play = play
    client = await make(auth=AUTH)
    secret, key = await give(client)
    socket = await connect(client, headers=bearer(secret))
    for _ in range(4):
        await receive(socket)
    await socket.send_str("cut")

    assert await closed(socket) == 1011
    (call,) = await finished(client)
    assert (call.aborted_by, call.estimated) == ("upstream", True)
    assert (call.usage.audio_out, call.usage.output) == (91 + 10, 30 + 10)

    async def paid():
        return (await balance(client, key)).usage == call.micro > MICRO

    await until(paid)


async def test_nothing_is_left(make, there):
    client = await make(auth=AUTH)
    secret, _ = await give(client, limit=6_000)  # an answer may cost 100 * 64
    answer = await client.get(PATH, headers=bearer(secret) | UPGRADE)
    assert answer.status == 402
    assert (await answer.json())["error"]["code"] == "insufficient_balance"
    assert there.asked == []


UPGRADE = {
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
}


async def test_the_budget_is_used_up(make, there):
    async def play(visit):
        while (await visit.receive()).type is WSMsgType.TEXT:
            await visit.tell(CREATED, done())

    there.play = play
    client = await make(auth=AUTH)
    # Two answers cost 14,000 of it, and a third may cost 253 * 32 + 100 * 64.
    secret, key = await give(client, limit=28_000)
    socket = await connect(client, headers=bearer(secret))

    await socket.send_str("one")
    assert [(await receive(socket)).json()["type"] for _ in range(2)][1] == "response.done"
    await asyncio.sleep(0.05)
    await socket.send_str("two")
    told = [(await receive(socket)).json() for _ in range(3)]
    message = await receive(socket)

    assert told[2]["error"]["code"] == "insufficient_balance"
    assert (message.type, message.data) == (WSMsgType.CLOSE, 1008)
    async with asyncio.timeout(PATIENCE):
        await there.visits[0].over.wait()
    (call,) = await finished(client)
    assert call.aborted_by == "routeur"
    found = await settled(client, key)
    assert found.usage == pytest.approx(2 * MICRO, abs=2)


async def test_one_connection_at_a_time(make, there):
    client = await make(auth=AUTH)
    secret, key = await give(client, max_parallel=1)
    socket = await connect(client, headers=bearer(secret))
    refused = await client.get(PATH, headers=bearer(secret) | UPGRADE)
    assert refused.status == 429
    await socket.close()
    await settled(client, key)
    again = await connect(client, headers=bearer(secret))
    await again.close()


async def test_a_model_that_is_not_allowed(make, there):
    client = await make(auth=AUTH)
    secret, _ = await give(client, allowed_models=("gpt-4o",))
    answer = await client.get(PATH, headers=bearer(secret) | UPGRADE)
    assert answer.status == 403
    assert there.asked == []


# ---- ends


async def test_a_client_that_leaves(make, there):
    client = await make()
    socket = await connect(client)
    visit = await there.visit()
    now = asyncio.get_running_loop().time
    left = now()
    socket._response.connection.transport.abort()
    async with asyncio.timeout(PATIENCE):
        await visit.over.wait()
    assert now() - left < 1.0
    assert visit.socket.close_code == 1001
    (call,) = await finished(client)
    assert (call.status, call.aborted_by) == (499, "client")


async def test_a_provider_that_dies(make, there):
    async def play(visit):
        await visit.receive()
        visit.cut()

    there.play = play
    client = await make()
    socket = await connect(client)
    await socket.send_str("die")
    message = await receive(socket)
    assert (message.type, message.data) == (WSMsgType.CLOSE, 1011)
    assert message.extra == "the provider broke off the connection"
    (call,) = await finished(client)
    assert (call.status, call.aborted_by) == (101, "upstream")


async def test_a_slow_client_makes_the_provider_wait(make, there):
    """And nothing is lost."""
    sent = 0

    async def play(visit):
        nonlocal sent
        await visit.receive()
        for _ in range(300):
            await visit.socket.send_bytes(b"x" * 100_000)
            sent += 1

    there.play = play
    client = await make()
    socket = await connect(client)
    transport = socket._response.connection.transport
    transport.pause_reading()
    await socket.send_str("go")
    before = -1
    while sent != before:
        before = sent
        await asyncio.sleep(0.2)
    assert sent < 200  # what the kernel holds
    connections = [c for c in client.router.server.connections if c.transport is not None]
    waiting = sum(c.transport.get_write_buffer_size() for c in connections)
    assert waiting < 384 * 1024
    transport.resume_reading()
    for _ in range(300):
        assert len((await receive(socket)).data) == 100_000
    await socket.close()


async def test_a_slow_provider_makes_the_client_wait(make, there):
    went_on = asyncio.Event()

    async def play(visit):
        visit.request.transport.pause_reading()
        await went_on.wait()
        visit.request.transport.resume_reading()
        for _ in range(300):
            assert len((await visit.receive()).data) == 100_000

    there.play = play
    client = await make()
    socket = await connect(client)
    await there.visit()
    sent = 0

    async def send():
        nonlocal sent
        for _ in range(300):
            await socket.send_bytes(b"x" * 100_000)
            sent += 1

    sending = asyncio.create_task(send())
    before = -1
    while sent != before:
        before = sent
        await asyncio.sleep(0.2)
    assert sent < 200
    went_on.set()
    async with asyncio.timeout(PATIENCE):
        await sending
    assert await closed(socket) == 1000


async def test_a_client_that_leaves_a_slow_provider(make, there):
    """It is noticed although nothing of it is read."""
    left = asyncio.Event()

    async def play(visit):
        visit.request.transport.pause_reading()
        await left.wait()

    there.play = play
    client = await make()
    socket = await connect(client)
    sending = asyncio.create_task(socket.send_bytes(b"x" * 30_000_000))
    await asyncio.sleep(0.3)
    transport = socket._response.connection.transport
    # Else its end would come after all that it has still to send.
    at_once = struct.pack("ii", 1, 0)
    transport.get_extra_info("socket").setsockopt(socket_.SOL_SOCKET, socket_.SO_LINGER, at_once)
    transport.abort()
    (call,) = await finished(client)
    assert call.status == 499
    left.set()
    await asyncio.gather(sending, return_exceptions=True)


@pytest.mark.parametrize("busy", [False, True])
async def test_a_restart(make, there, busy):
    went_on = asyncio.Event()

    async def play(visit):
        if busy:
            await visit.tell(CREATED)
            await went_on.wait()
            await visit.tell(done())
        await visit.receive()

    there.play = play
    client = await make()
    socket = await connect(client)
    if busy:
        await receive(socket)
    stopping = asyncio.create_task(client.router.stop(PATIENCE))
    if busy:
        await asyncio.sleep(0.1)
        assert not stopping.done()
        went_on.set()
        assert (await receive(socket)).json()["type"] == "response.done"
    assert await closed(socket) == 1012
    async with asyncio.timeout(PATIENCE):
        await stopping


async def test_a_restart_that_does_not_wait(make, there):
    async def play(visit):
        await visit.tell(CREATED)
        await visit.receive()

    there.play = play
    client = await make()
    socket = await connect(client)
    await receive(socket)
    await client.router.stop(0)
    assert await closed(socket) == 1012


async def test_neither_side_is_there_any_more(make, there, monkeypatch):
    """A host that is gone answers no pings."""
    monkeypatch.setattr("routeur.realtime.BEAT", 0.02)
    there.options["autoping"] = False

    async def play(visit):
        await asyncio.sleep(PATIENCE)

    there.play = play
    client = await make()
    socket = await connect(client)
    pings = []
    while (message := await receive(socket)).type is not WSMsgType.CLOSE:
        pings.append(message)
    assert message.data == 1011
    (call,) = await finished(client)
    assert call.error == "the provider sent nothing for too long"


async def test_who_answers_pings_stays(make, there, monkeypatch):
    monkeypatch.setattr("routeur.realtime.BEAT", 0.02)
    client = await make()
    socket = await connect(client)
    waiting = asyncio.create_task(receive(socket))
    await asyncio.sleep(0.3)
    await socket.send_str("still here")
    assert (await waiting).data == "still here"
    await socket.close()


# ---- OpenAI's own client


async def test_the_sdk(make, there):
    async def play(visit):
        await visit.tell({"type": "session.created", "event_id": "e", "session": {}})
        event = await visit.hear()
        assert event["type"] == "response.create"
        delta = {"type": "response.output_text.delta", "delta": "Hi", "event_id": "e"}
        await visit.tell(CREATED, delta, done())
        await visit.receive()

    there.play = play
    client = await make(auth=AUTH)
    sdk = AsyncOpenAI(api_key=MASTER, base_url=f"{client.url}/v1")
    seen = []
    async with asyncio.timeout(PATIENCE):
        async with sdk.realtime.connect(model="voice") as connection:
            await connection.response.create()
            async for event in connection:
                seen.append(event.type)
                if event.type == "response.done":
                    assert event.response.usage.total_tokens == 253
                    break
    await sdk.close()
    assert seen[-2:] == ["response.output_text.delta", "response.done"]
    (call,) = await finished(client)
    assert (call.usage.total, call.requested_model, call.model) == (253, "voice", "voice")
