"""What the Open Responses compliance suite asks for, before a provider of each dialect.

Its first requests are recorded; what its WebSocket cases send after that is here.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import orjson
import pytest

from routeur.dialects import sse
from tests.conftest import Client, MakeRouter
from tests.fake import PATIENCE, Upstream
from tests.recording import HERE
from tests.schemas import breaks
from tests.targets import PROVIDERS, RESPONSES, STREAMS, TARGETS, WHOLES, answers, maker

FILE = HERE / "openai-responses" / "openresponses-compliance-requests.json"
CASES = {case["id"]: case for case in json.loads(FILE.read_text())["cases"]}
OPEN_RESPONSES = "openresponses-2026-04-24.json"
HTTP = [
    name
    for name, case in CASES.items()
    if case["transport"] == "http" and name not in ("response-output-phase-schema",)  # sends none
]
OURS = [name for name in PROVIDERS if name != RESPONSES]  # whose answers are translated

pytestmark = pytest.mark.parametrize("provider", PROVIDERS)


@pytest.fixture
async def client(make_router: MakeRouter, upstream: Upstream) -> Client:
    return await maker(make_router, upstream)()


def case(name: str, provider: str) -> dict[str, Any]:
    asked: dict[str, Any] = CASES[name]["request"]
    return {**asked, "model": TARGETS[provider]} if "model" in asked else asked


def check(response: dict[str, Any], provider: str) -> None:
    """It is a response that has been completed; if it is of ours, it is as the suite describes."""
    assert response["object"] == "response"
    assert response["status"] == "completed"
    assert response["output"]
    if provider in OURS:
        assert breaks(OPEN_RESPONSES, "ResponseResource", response) == []


# ---- over HTTP


@pytest.mark.parametrize("name", HTTP)
async def test_over_http(client: Client, upstream: Upstream, provider: str, name: str) -> None:
    asked = case(name, provider)
    if name.startswith("compact"):
        return await compacts(client, upstream, provider, asked)
    streamed = CASES[name]["streaming"]
    answers(upstream, (STREAMS if streamed else WHOLES)[provider])
    body = asked | ({"stream": True} if streamed else {})
    answer = await client.post("/v1/responses", json=body)
    text = await answer.read()
    assert answer.status == 200, text

    if not streamed:
        return check(orjson.loads(text), provider)
    found = [sse.data(frame) for frame in sse.Frames().feed(text)]
    events = [orjson.loads(each) for each in found if each]
    assert [each["sequence_number"] for each in events] == [*range(len(events))]
    check(events[-1]["response"], provider)


async def compacts(
    client: Client, upstream: Upstream, provider: str, asked: dict[str, Any]
) -> None:
    native = orjson.dumps({"id": "resp_1", "object": "response.compaction", "output": []})
    if provider == RESPONSES:
        upstream.answers(native)
    else:
        answers(upstream, WHOLES[provider])
    answer = await client.post("/v1/responses/compact", json=asked)
    told = await answer.json()

    if "model" not in asked:
        assert (answer.status, told["error"]["type"]) == (400, "invalid_request_error")
        assert told["error"]["param"] == "model"
        return
    assert (answer.status, told["object"]) == (200, "response.compaction")
    if provider in OURS:
        assert breaks(OPEN_RESPONSES, "CompactResource", told) == []


# ---- over a WebSocket


@asynccontextmanager
async def connected(client: Client) -> AsyncIterator[aiohttp.ClientWebSocketResponse]:
    async with client.session.ws_connect(client.url + "/v1/responses") as socket:
        yield socket


async def turn(socket: aiohttp.ClientWebSocketResponse, **asked: Any) -> dict[str, Any]:
    """The last event of a turn."""
    await socket.send_json(asked)
    async with asyncio.timeout(PATIENCE):
        while True:
            event: dict[str, Any] = await socket.receive_json()
            if event["type"] in ("response.completed", "response.failed", "error"):
                return event


def require_missing(event: dict[str, Any]) -> None:
    assert (event["type"], event["status"]) == ("error", 400)
    assert event["error"]["code"] == "previous_response_not_found"
    assert event["error"]["param"] == "previous_response_id"


@pytest.mark.parametrize("name", ["websocket-response", "websocket-compact-new-chain"])
async def test_one_turn(client: Client, upstream: Upstream, provider: str, name: str) -> None:
    answers(upstream, STREAMS[provider])
    async with connected(client) as socket:
        event = await turn(socket, **case(name, provider))

    check(event["response"], provider)


async def test_turns_in_a_row(client: Client, upstream: Upstream, provider: str) -> None:
    answers(upstream, STREAMS[provider])
    asked = case("websocket-sequential-responses", provider)
    async with connected(client) as socket:
        for _ in range(3):
            check((await turn(socket, **asked))["response"], provider)


async def test_to_go_on(client: Client, upstream: Upstream, provider: str) -> None:
    answers(upstream, STREAMS[provider])
    asked = case("websocket-continuation", provider)
    async with connected(client) as socket:
        first = await turn(socket, **asked)
        more = {**asked, "previous_response_id": first["response"]["id"], "input": "Which word?"}
        check((await turn(socket, **more))["response"], provider)

    assert b"cobalt" in upstream.request.body
    assert b"Which word?" in upstream.request.body


async def test_to_connect_again(client: Client, upstream: Upstream, provider: str) -> None:
    """A provider that keeps responses itself is the one to say that it does not know it."""
    answers(upstream, STREAMS[provider])
    asked = case("websocket-reconnect-store-false-recovery", provider)
    async with connected(client) as socket:
        first = await turn(socket, **asked)
    if provider == RESPONSES:
        upstream.answers(MISSING, status=400)
        answers(upstream, STREAMS[provider])
    async with connected(client) as socket:
        more = {**asked, "previous_response_id": first["response"]["id"]}
        require_missing(await turn(socket, **more))
        check((await turn(socket, **asked))["response"], provider)


MISSING = orjson.dumps(
    {
        "error": {
            "message": "Previous response with id 'resp_x' not found.",
            "type": "invalid_request_error",
            "param": "previous_response_id",
            "code": "previous_response_not_found",
        }
    }
)


async def test_a_missing_one(client: Client, upstream: Upstream, provider: str) -> None:
    upstream.answers(MISSING, status=400)
    async with connected(client) as socket:
        require_missing(
            await turn(socket, **case("websocket-previous-response-not-found", provider))
        )


async def test_a_failed_one_is_forgotten(client: Client, upstream: Upstream, provider: str) -> None:
    answers(upstream, STREAMS[provider])
    upstream.answers(MISSING, status=400)
    asked = case("websocket-failed-continuation-evicts-cache", provider)
    wrong = [{"type": "function_call_output", "call_id": "call_missing", "output": "{}"}]
    async with connected(client) as socket:
        first = await turn(socket, **asked)
        more = {**asked, "previous_response_id": first["response"]["id"]}
        failed = await turn(socket, **{**more, "input": wrong})
        assert failed["type"] == "error"
        require_missing(await turn(socket, **more))
