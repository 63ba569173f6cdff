"""Requests and answers that change their dialect on the way, on real sockets."""

from __future__ import annotations

import asyncio
import json
import re
import sys
from base64 import b64encode
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.conftest import MakeRouter
from tests.fake import Upstream
from tests.program import Program
from tests.program import ask as send
from tests.recording import recording
from tests.targets import (
    ANTHROPIC,
    BEDROCK,
    CHAT,
    GEMINI,
    KEYS,
    MODELS,
    PAIRS,
    RESPONSES,
    STREAMS,
    TARGETS,
    WHOLES,
    Make,
    answers,
    ask,
    maker,
    request,
    settings,
)


@pytest.fixture
def make(make_router: MakeRouter, upstream: Upstream) -> Make:
    return maker(make_router, upstream)


# ── what a provider is asked

PATHS = {
    CHAT: "/v1/chat/completions",
    RESPONSES: "/v1/responses",
    ANTHROPIC: "/v1/messages",
    GEMINI: "/v1beta/models/gemini-2.5-pro:generateContent",
    BEDROCK: "/model/us.anthropic.claude-sonnet-4-5-v1%3A0/converse",
}
STREAM_PATHS = PATHS | {
    GEMINI: "/v1beta/models/gemini-2.5-pro:streamGenerateContent?alt=sse",
    BEDROCK: "/model/us.anthropic.claude-sonnet-4-5-v1%3A0/converse-stream",
}
KEY_HEADER = {ANTHROPIC: "x-api-key", GEMINI: "x-goog-api-key"}
SHOWN = {
    CHAT: {"Authorization": "Bearer k", "OpenAI-Organization": "o", "OpenAI-Beta": "b"},
    RESPONSES: {"Authorization": "Bearer k", "OpenAI-Beta": "b"},
    ANTHROPIC: {"x-api-key": "k", "anthropic-version": "2023-01-01", "anthropic-beta": "b"},
    GEMINI: {"x-goog-api-key": "k", "x-goog-api-client": "c"},
}
OF_A_DIALECT = ("openai-", "anthropic-", "x-goog-")
OWN = {name: set() for name in (CHAT, RESPONSES, BEDROCK)} | {
    ANTHROPIC: {"anthropic-version"},
    GEMINI: {"x-goog-api-key"},
}


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize(("client", "provider"), PAIRS)
async def test_the_request(
    make: Make, upstream: Upstream, client: str, provider: str, stream: bool
):
    """A path, a key and headers of the provider's dialect, and none of the client's."""
    router = await make()
    answers(upstream, (STREAMS if stream else WHOLES)[provider])
    path, body = request(client, TARGETS[provider], stream=stream)
    sent = {"Accept-Encoding": "gzip", "traceparent": "t", "X-Odd": "kept", **SHOWN[client]}
    answer = await router.post(path, json=body, headers=sent)
    await answer.read()

    asked = upstream.request
    assert (answer.status, asked.method) == (200, "POST")
    assert asked.path == (STREAM_PATHS if stream else PATHS)[provider]
    assert asked.header(KEY_HEADER.get(provider, "authorization")).endswith(KEYS[provider])
    assert asked.key == KEYS[provider]
    assert asked.header("content-type") == "application/json"
    assert asked.header("accept-encoding") == "identity"
    assert (asked.header("traceparent"), asked.header("x-odd")) == ("t", "kept")
    assert {name for name in asked.names() if name.startswith(OF_A_DIALECT)} == OWN[provider]
    assert asked.header("anthropic-version") == ("2023-06-01" if provider == ANTHROPIC else None)


@pytest.mark.parametrize(("client", "provider"), PAIRS)
async def test_the_answers_head(make: Make, upstream: Upstream, client: str, provider: str):
    router = await make()
    answers(upstream, WHOLES[provider], headers={"ETag": "e", "X-Odd": "kept"})
    answer, said = await ask(router, client, TARGETS[provider])

    assert said
    assert answer.headers["Content-Type"] == "application/json"
    assert answer.headers["X-Odd"] == "kept"
    assert "ETag" not in answer.headers
    told = {name: answer.headers[f"X-Routeur-Trace-{name}"] for name in ("Provider", "Model")}
    assert told == {"Provider": provider, "Model": MODELS[provider]}
    trace = await router.trace(answer)
    family = {CHAT: "openai", RESPONSES: "openai"}
    assert trace["dialect_in"] == family.get(client, client)
    assert trace["dialect_out"] == family.get(provider, provider)


# ── who answers


async def test_from_copy_to_translation_and_back(make: Make, upstream: Upstream):
    """One alias over targets of three dialects; each that fails is followed by the next."""
    router = await make(
        retries={"attempts": 3},
        aliases={"any": [TARGETS[CHAT], TARGETS[ANTHROPIC], TARGETS[CHAT] + "x"]},
        more={CHAT: {"models": ["gpt-*"]}},
    )
    upstream.answers(b'{"error":{"message":"Oops"}}', 500)
    upstream.answers(b'{"type":"error","error":{"type":"api_error","message":"Oops"}}', 500)
    answers(upstream, WHOLES[CHAT])
    path, body = request(CHAT, "any", seed=1)
    answer = await router.post(path, json=body)

    assert await answer.read() == recording(WHOLES[CHAT]).body
    assert [asked.path for asked in upstream.requests] == [
        "/v1/chat/completions",
        "/v1/messages",
        "/v1/chat/completions",
    ]
    sent = json.dumps(body)
    assert upstream.requests[0].body.decode() == sent.replace('"any"', '"gpt-4o"')
    assert upstream.requests[2].body.decode() == sent.replace('"any"', '"gpt-4ox"')
    assert json.loads(upstream.requests[1].body)["model"] == MODELS[ANTHROPIC]
    assert answer.headers["X-Routeur-Trace-Attempts"] == "3"
    # of the one that was translated, and not of the answer
    assert "X-Routeur-Trace-Dropped" not in answer.headers
    assert (await router.trace(answer))["dropped"] == []


async def test_one_that_fails_then_a_translated_one(make: Make, upstream: Upstream):
    router = await make(retries={"attempts": 3}, aliases={"any": [TARGETS[CHAT], TARGETS[BEDROCK]]})
    upstream.answers(b'{"error":{"message":"Oops"}}', 500)
    answers(upstream, STREAMS[BEDROCK])
    path, body = request(CHAT, "any", stream=True)
    answer = await router.post(path, json=body)

    assert (await answer.read()).endswith(b"data: [DONE]\n\n")
    attempts = (await router.trace(answer))["attempts"]
    assert [(each["target"], each["status"]) for each in attempts] == [
        (TARGETS[CHAT], 500),
        (TARGETS[BEDROCK], 200),
    ]


# ── what cannot be said


CANNOT = [  # a client's member, the target, the field that is named
    (CHAT, {"n": 2}, ANTHROPIC, "n"),
    (CHAT, {"n": 2}, BEDROCK, "n"),
    (CHAT, {"modalities": ["audio"], "audio": {"voice": "alloy", "format": "wav"}}, ANTHROPIC, ""),
    (ANTHROPIC, {"tools": [{"type": "web_search_20250305", "name": "web_search"}]}, CHAT, ""),
    (GEMINI, {"generationConfig": {"candidateCount": 2}}, ANTHROPIC, ""),
    (RESPONSES, {"tools": [{"type": "file_search", "vector_store_ids": ["v"]}]}, GEMINI, ""),
    (RESPONSES, {"conversation": "conv_1"}, ANTHROPIC, "conversation"),
]


@pytest.mark.parametrize(("client", "members", "provider", "field"), CANNOT)
async def test_what_cannot_be_said(
    make: Make, upstream: Upstream, client: str, members: dict[str, Any], provider: str, field: str
):
    router = await make()
    answer, said = await ask(router, client, TARGETS[provider], **members)

    assert answer.status == 400
    assert upstream.requests == []
    error = said["error"]
    if client in (CHAT, RESPONSES):
        assert (error["code"], error["type"]) == ("unsupported_parameter", "invalid_request_error")
        assert error["param"].startswith(field)
    assert field in error["message"]


async def test_the_next_target_can_say_it(make: Make, upstream: Upstream):
    """What is no attempt is not counted as one."""
    router = await make(
        retries={"attempts": 1}, aliases={"any": [TARGETS[ANTHROPIC], TARGETS[CHAT]]}
    )
    answers(upstream, WHOLES[CHAT])
    for _ in range(15):  # the budget for retries is ten a minute
        answer, _ = await ask(router, CHAT, "any", n=2)
        assert answer.status == 200
    assert answer.headers["X-Routeur-Trace-Attempts"] == "1"
    assert {asked.path for asked in upstream.requests} == {"/v1/chat/completions"}


async def test_a_rival_that_cannot_say_it(make: Make, upstream: Upstream):
    """The first one goes on."""
    rule = {"name": "r", "match": {"model": "any"}, "to": [TARGETS[CHAT], TARGETS[ANTHROPIC]]}
    router = await make(retries={"attempts": 3}, rules=[rule | {"hedge": "20ms"}])
    answers(upstream, WHOLES[CHAT], before=[0.1])
    answer, _ = await ask(router, CHAT, "any", n=2)
    assert answer.status == 200
    assert len(upstream.requests) == 1


@pytest.mark.parametrize(
    ("client", "members", "provider", "dropped"),
    [
        (CHAT, {"seed": 7}, ANTHROPIC, "seed"),
        (ANTHROPIC, {"metadata": {"user_id": "u"}}, GEMINI, "user"),
        (GEMINI, {"generationConfig": {"seed": 7}}, BEDROCK, "seed"),
        (RESPONSES, {"prompt_cache_key": "k"}, BEDROCK, "cache_key"),
    ],
)
async def test_what_is_dropped_is_told(
    make: Make,
    upstream: Upstream,
    client: str,
    members: dict[str, Any],
    provider: str,
    dropped: str,
):
    router = await make()
    answers(upstream, WHOLES[provider])
    answer, _ = await ask(router, client, TARGETS[provider], **members)
    assert dropped in answer.headers["X-Routeur-Trace-Dropped"].split(", ")
    assert dropped in (await router.trace(answer))["dropped"]

    strict = {"Routeur-Strict": "true"}
    answer, said = await ask(router, client, TARGETS[provider], headers=strict, **members)
    assert answer.status == 400
    assert dropped in said["error"]["message"]
    assert len(upstream.requests) == 1


async def test_what_an_answer_loses_is_told(make: Make, upstream: Upstream):
    """It has been paid for, so it is not refused."""
    router = await make()
    answers(upstream, "GoogleCommon-gemini-3-pro-preview-multi_tool.0")
    strict = {"Routeur-Strict": "true"}
    answer, _ = await ask(router, ANTHROPIC, TARGETS[GEMINI], headers=strict)
    assert answer.headers["X-Routeur-Trace-Dropped"] == "tool_call.signature"
    assert (await router.trace(answer))["dropped"] == ["tool_call.signature"]


async def test_a_request_that_breaks_its_own_dialect(make: Make, upstream: Upstream):
    router = await make()
    body = {"model": TARGETS[ANTHROPIC], "messages": [{"role": "user", "content": 7}]}
    answer = await router.post("/v1/chat/completions", json=body)

    error = (await answer.json())["error"]
    assert (answer.status, error["code"]) == (400, "invalid_request")
    assert error["param"] == "messages[0].content"
    assert upstream.requests == []


# ── what is told of the call


@pytest.mark.parametrize(("client", "provider"), PAIRS)
async def test_trace_block(make: Make, upstream: Upstream, client: str, provider: str):
    router = await make()
    answers(upstream, WHOLES[provider])
    headers = {"Routeur-Trace": "true"}
    answer, said = await ask(router, client, TARGETS[provider], headers=headers)

    block = said["routeur"]
    assert block["provider"] == provider
    assert block["model"] == MODELS[provider]
    trace = await router.trace(answer)
    assert block["usage"] == trace["usage"]
    assert trace["usage"]["output_total"] > 0
    assert trace["estimated"] is False


async def test_cost(make: Make, upstream: Upstream):
    prices = {"price": {"input": 1000, "output": 2000}}
    models = {MODELS[ANTHROPIC]: prices}
    router = await make(more={ANTHROPIC: {"models": models}})
    answers(upstream, STREAMS[ANTHROPIC])
    path, body = request(GEMINI, TARGETS[ANTHROPIC], stream=True)
    answer = await router.post(path, json=body)
    await answer.read()

    trace = await router.trace(answer)
    assert (trace["usage"]["input"], trace["usage"]["output"]) == (16, 38)
    assert trace["cost_usd"] == pytest.approx((16 * 1000 + 38 * 2000) / 1e6)
    assert trace["first_token_ms"] >= trace["first_byte_ms"] > 0


async def test_usage_is_estimated_where_nobody_counted(make: Make, upstream: Upstream):
    router = await make()
    said = b'data: {"choices":[{"delta":{"content":"%b"}}]}\n\n' % (b"word" * 100)
    end = b'data: {"choices":[{"delta":{},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'
    upstream.answers(said + end)
    path, body = request(ANTHROPIC, TARGETS[CHAT], stream=True)
    answer = await router.post(path, json=body)
    assert (await answer.read()).endswith(b"\n\n")

    trace = await router.trace(answer)
    assert trace["estimated"] is True
    assert trace["usage"]["output_total"] == 100
    assert trace["usage"]["input_total"] > 0


@pytest.mark.parametrize(("client", "provider"), PAIRS)
async def test_dry_run(make: Make, upstream: Upstream, client: str, provider: str):
    router = await make()
    headers = {"Routeur-Dry-Run": "true"}
    answer, said = await ask(router, client, TARGETS[provider], headers=headers)
    assert answer.status == 200
    assert said["routeur"]["targets"] == [TARGETS[provider]]
    assert said["routeur"]["model"] == MODELS[provider]
    assert upstream.requests == []


# ── what a large request costs


def image_in(client: str, data: str) -> Any:
    """The content of a message that is an image."""
    match client:
        case "openai_chat":
            return [{"type": "image_url", "image_url": {"url": f"data:image/png;base64,{data}"}}]
        case "anthropic":
            source = {"type": "base64", "media_type": "image/png", "data": data}
            return [{"type": "image", "source": source}]
    return [{"inlineData": {"mimeType": "image/png", "data": data}}]


def memory_now(program: Program) -> int:
    """In bytes; from here on the most is counted anew."""
    Path(f"/proc/{program.process.pid}/clear_refs").write_text("5")
    return _memory(program, "VmRSS")


def memory_at_most(program: Program) -> int:
    return _memory(program, "VmHWM")


def _memory(program: Program, what: str) -> int:
    status = Path(f"/proc/{program.process.pid}/status").read_text()
    (found,) = re.findall(rf"{what}:\s+(\d+) kB", status)
    return int(found) * 1024


@pytest.mark.full
@pytest.mark.skipif(sys.platform != "linux", reason="it is Linux that tells")
async def test_memory_of_a_large_image(upstream: Upstream, tmp_path: Path):
    """The body as it came, and at most three copies."""
    file = tmp_path / "router.yaml"
    file.write_text(yaml.safe_dump(settings(upstream.url)))
    start = partial(Program, "-c", str(file), cwd=tmp_path, MALLOC_MMAP_THRESHOLD_="131072")
    data = b64encode(bytes(range(256)) * 60_000).decode()
    with await asyncio.to_thread(start) as program:
        await asyncio.to_thread(lambda: program.port)
        for client, provider in ((CHAT, ANTHROPIC), (ANTHROPIC, GEMINI), (GEMINI, BEDROCK)):
            answers(upstream, WHOLES[provider])
            path, body = request(client, TARGETS[provider])
            if client == GEMINI:
                body["contents"][0]["parts"] = image_in(client, data)
            else:
                body["messages"][0]["content"] = image_in(client, data)
            before = memory_now(program)
            text = json.dumps(body)
            status, _, _ = await asyncio.to_thread(send, "POST", path, text, port=program.port)
            assert status == 200
            assert upstream.request.size > len(data)
            assert (memory_at_most(program) - before) / len(data) < 4.2
