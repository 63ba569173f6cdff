"""The Responses API over a WebSocket: with OpenAI's own client, with keys and their limits."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import openai
import orjson
import pytest

from tests.conftest import ANY_NAME, Client, MakeRouter
from tests.fake import PATIENCE, Upstream
from tests.recording import recording
from tests.virtual import AUTH, balance, bearer, give, until

CLAUDE = "anthropic/claude-x"
STREAM = recording("anthropic-text").body
COPIED = recording("OpenAIResponsesCommon-openai-gpt-5-simple_streaming").body
LAST = ("response.completed", "response.failed", "error")

Socket = aiohttp.ClientWebSocketResponse


@asynccontextmanager
async def connected(client: Client, key: str = "", **options: Any) -> AsyncIterator[Socket]:
    headers = bearer(key) if key else {}
    url = client.url + "/v1/responses"
    async with client.session.ws_connect(url, headers=headers, **options) as socket:
        yield socket


async def send(socket: Socket, **members: Any) -> None:
    await socket.send_json({"type": "response.create", "model": CLAUDE, "input": "Hi", **members})


async def last_event(socket: Socket) -> dict[str, Any]:
    async with asyncio.timeout(PATIENCE):
        while True:
            event: dict[str, Any] = await socket.receive_json()
            if event["type"] in LAST:
                return event


async def turn(socket: Socket, **members: Any) -> dict[str, Any]:
    """The last event of a turn."""
    await send(socket, **members)
    return await last_event(socket)


def roles(upstream: Upstream) -> list[str]:
    return [each["role"] for each in orjson.loads(upstream.request.body)["messages"]]


@pytest.fixture
async def client(make_router: MakeRouter, upstream: Upstream) -> Client:
    upstream.answers(STREAM)
    return await make_router(providers=ANY_NAME)


async def test_openais_own_client(client: Client, upstream: Upstream) -> None:
    """Stored and unstored turns in a row; what is stored is there on the next connection, too."""
    async with openai.AsyncOpenAI(
        base_url=f"{client.url}/v1", api_key="anything", max_retries=0
    ) as ai:

        async def asked(socket: Any, **members: Any) -> Any:
            await socket.response.create(model=CLAUDE, **members)
            async with asyncio.timeout(PATIENCE):
                while (event := await socket.recv()).type not in LAST:
                    pass
            return event

        async with ai.responses.connect() as socket:
            one = await asked(socket, input="A")
            two = await asked(socket, input="B", store=False, previous_response_id=one.response.id)
            three = await asked(
                socket, input="C", store=False, previous_response_id=two.response.id
            )
            assert roles(upstream) == ["user", "assistant"] * 2 + ["user"]
            missing = await asked(socket, input="D", previous_response_id="resp_none")
            assert missing.error.code == "previous_response_not_found"
        async with ai.responses.connect() as socket:
            gone = await asked(socket, input="D", previous_response_id=three.response.id)
            assert gone.error.code == "previous_response_not_found"
            four = await asked(socket, input="D", previous_response_id=one.response.id)
        kept = await ai.responses.retrieve(four.response.id)

    assert kept.previous_response_id == one.response.id
    assert roles(upstream) == ["user", "assistant", "user"]


async def test_each_response_keeps_its_own_part(client: Client) -> None:
    async with connected(client) as socket:
        first = await turn(socket)
        second = await turn(socket, previous_response_id=first["response"]["id"], input="More")
    found = await client.router.stateful.shelf.get(second["response"]["id"], "")

    assert (found.previous, len(found.input)) == (first["response"]["id"], 1)


async def test_copied_turns_are_pinned(make_router: MakeRouter, upstream: Upstream) -> None:
    keys = [{"name": name, "api_key": f"sk-{name}"} for name in "abc"]
    two = {"dialect": "openai", "base_url": f"{upstream.url}/v1", "credentials": keys}
    client = await make_router(providers={**ANY_NAME, "two": two})
    upstream.answers(COPIED)
    async with connected(client) as socket:
        event = await turn(socket, model="two/gpt-5")
        made_by = upstream.request.key
        for _ in range(4):
            id = event["response"]["id"]
            event = await turn(socket, model="two/gpt-5", previous_response_id=id)
            assert upstream.request.key == made_by
            assert orjson.loads(upstream.request.body)["previous_response_id"] == id


async def test_nothing_without_a_key(make_router: MakeRouter) -> None:
    client = await make_router(auth=AUTH)
    with pytest.raises(aiohttp.WSServerHandshakeError) as caught:
        async with connected(client, "rtr_live_wrong"):
            pass

    assert caught.value.status == 401


@pytest.mark.parametrize(
    "headers",
    [{"Sec-WebSocket-Version": "12"}, {"Sec-WebSocket-Key": "x"}, {"Connection": "close"}],
)
async def test_no_handshake(client: Client, headers: dict[str, str]) -> None:
    known = {
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
    }
    answer = await client.get("/v1/responses", headers=known | headers)

    assert answer.status == 400
    assert (await answer.json())["error"]["code"] == "invalid_request"


async def test_websites_cannot_connect(client: Client) -> None:
    with pytest.raises(aiohttp.WSServerHandshakeError) as caught:
        async with client.session.ws_connect(
            client.url + "/v1/responses", origin="https://elsewhere.example"
        ):
            pass

    assert caught.value.status == 403


async def test_limits_hold_for_each_turn(make_router: MakeRouter, upstream: Upstream) -> None:
    upstream.answers(STREAM)
    client = await make_router(providers=ANY_NAME, auth=AUTH)
    secret, _ = await give(client, rpm=2)
    async with connected(client, secret) as socket:
        kinds = [(await turn(socket))["type"] for _ in range(3)]
        refused = await turn(socket)

    assert kinds == ["response.completed"] * 2 + ["error"]
    assert (refused["status"], refused["error"]["code"]) == (429, "rate_limit_exceeded")
    assert len(upstream.requests) == 2


PRICED = {"anthropic": {"models": {"claude-x": {"price": {"input": 1, "output": 2}}}}}


async def test_budgets_hold_for_each_turn(make_router: MakeRouter, upstream: Upstream) -> None:
    upstream.answers(STREAM)
    client = await make_router(providers=PRICED, auth=AUTH)
    secret, key = await give(client, limit=1000)
    async with connected(client, secret) as socket:
        good = await turn(socket, max_output_tokens=100)
        poor = await turn(socket, max_output_tokens=100_000)

    assert good["type"] == "response.completed"
    assert (poor["status"], poor["error"]["code"]) == (402, "insufficient_balance")
    assert (await balance(client, key)).reserved == 0


async def test_who_leaves_pays(make_router: MakeRouter, upstream: Upstream) -> None:
    """Its turns are cancelled, and what has come of them is billed."""
    upstream.answers(STREAM, cuts=[800], hold=800)
    client = await make_router(providers=PRICED, auth=AUTH)
    secret, key = await give(client, limit=100_000)
    async with connected(client, secret) as socket:
        for lane in "ab":
            await send(socket, stream_id=lane, max_output_tokens=100)
        async with asyncio.timeout(PATIENCE):
            while "delta" not in (await socket.receive_json()):
                pass
        await upstream.requested(2)
    for connection in upstream.connections:
        await connection.wait_closed()

    async def settled() -> bool:
        found = await balance(client, key)
        return found.reserved == 0 and found.parallel == 0 and found.usage > 0

    await until(settled)


async def test_drained(make_router: MakeRouter, upstream: Upstream) -> None:
    """Turns end, and then the connection, with a code that says to connect again."""
    upstream.answers(STREAM, cuts=[800], hold=800)
    client = await make_router(providers=ANY_NAME, server={"drain": "5s"})
    async with connected(client) as busy, connected(client) as idle:
        await send(busy)
        await upstream.requested()
        stopping = asyncio.create_task(client.router.stop())
        async with asyncio.timeout(PATIENCE):
            assert (await idle.receive()).type is aiohttp.WSMsgType.CLOSE
            await send(busy)  # too late
            upstream.release()
            assert (await last_event(busy))["type"] == "response.completed"
            assert (await busy.receive()).type is aiohttp.WSMsgType.CLOSE
            await stopping

    assert (idle.close_code, busy.close_code) == (1012, 1012)
    assert len(upstream.requests) == 1


async def test_compressed(client: Client) -> None:
    async with connected(client, compress=15) as socket:
        event = await turn(socket, input="x" * 100_000)

    assert event["type"] == "response.completed"


async def test_who_else_wants_a_websocket(client: Client) -> None:
    for path in ("/v1/responses/resp_1", "/v1/chat/completions", "/v1/files"):
        with pytest.raises(aiohttp.WSServerHandshakeError):
            async with client.session.ws_connect(client.url + path):
                pass
