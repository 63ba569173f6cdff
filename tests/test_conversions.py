"""Embeddings and counts of tokens between dialects, through a running routeur."""

from __future__ import annotations

import json

import pytest

COUNT = "/v1/messages/count_tokens"
MESSAGES = [{"role": "user", "content": "How many are these?"}]


async def test_openai_client_gets_geminis_embeddings(router, upstream):
    upstream.answers(b'{"embeddings":[{"values":[3.0,4.0]},{"values":[0.0,2.0]}]}')
    body = {"model": "gemini-embedding-001", "input": ["a", "b"], "dimensions": 2}
    answer = await router.post("/v1/embeddings", data=json.dumps(body).encode())
    found = await answer.json()
    assert [each["embedding"] for each in found["data"]] == [[0.6, 0.8], [0.0, 1.0]]
    assert (
        upstream.request.target.decode() == "/v1beta/models/gemini-embedding-001:batchEmbedContents"
    )
    asked = json.loads(upstream.request.body)
    assert [each["outputDimensionality"] for each in asked["requests"]] == [2, 2]


async def test_gemini_client_gets_openais_embeddings(router, upstream):
    upstream.answers(
        b'{"object":"list","data":[{"object":"embedding","index":0,"embedding":[1.0,0.0]}],'
        b'"model":"text-embedding-3-small","usage":{"prompt_tokens":2,"total_tokens":2}}'
    )
    body = {"content": {"parts": [{"text": "a"}]}}
    path = "/v1beta/models/text-embedding-3-small:embedContent"
    answer = await router.post(path, data=json.dumps(body).encode())
    assert (await answer.json())["embedding"] == {"values": [1.0, 0.0]}
    assert json.loads(upstream.request.body)["input"] == ["a"]
    assert (await router.trace(answer))["usage"]["input"] == 2


async def test_embeddings_of_no_other_dialect(router, upstream):
    body = {"model": "claude-haiku-4-5", "input": "a"}
    answer = await router.post("/v1/embeddings", data=json.dumps(body).encode())
    assert answer.status == 400
    assert "this path is not translated" in (await answer.json())["error"]["message"]
    assert upstream.requests == []


async def test_counted_by_another_dialect(router, upstream):
    upstream.answers(b'{"totalTokens": 7}')
    body = {"model": "gemini-2.5-flash", "messages": MESSAGES}
    answer = await router.post(COUNT, data=json.dumps(body).encode())
    assert await answer.json() == {"input_tokens": 7}
    assert upstream.request.target == b"/v1beta/models/gemini-2.5-flash:countTokens"


async def test_counted_for_a_gemini_client(router, upstream):
    upstream.answers(b'{"input_tokens": 9}')
    body = {"contents": [{"role": "user", "parts": [{"text": "hi"}]}]}
    path = "/v1beta/models/claude-haiku-4-5:countTokens"
    answer = await router.post(path, data=json.dumps(body).encode())
    assert await answer.json() == {"totalTokens": 9}
    assert upstream.request.target == b"/v1/messages/count_tokens"


async def test_estimated_where_nobody_counts(router, upstream):
    body = {"model": "gpt-4o", "messages": MESSAGES}
    answer = await router.post(COUNT, data=json.dumps(body).encode())
    assert (await answer.json())["input_tokens"] > 0
    assert answer.headers["X-Routeur-Trace-Estimated"] == "true"
    assert (await router.trace(answer))["estimated"] is True
    assert upstream.requests == []


@pytest.mark.parametrize("status", [400, 404])
async def test_errors_of_the_provider(router, upstream, status):
    upstream.answers(b'{"error":{"code":400,"message":"no","status":"INVALID_ARGUMENT"}}', status)
    body = {"model": "gemini-embedding-001", "input": "a"}
    answer = await router.post("/v1/embeddings", data=json.dumps(body).encode())
    assert answer.status == status
    assert (await answer.json())["error"]["message"] == "no"


@pytest.mark.parametrize("kind", ["text/event-stream", "text/plain"])
@pytest.mark.parametrize("path", ["/v1/embeddings", COUNT])
async def test_a_stream_that_nobody_asked_for(router, upstream, path, kind):
    upstream.answers(b"data: {}\n\n", headers={"Content-Type": kind})
    body = {"model": "gemini-2.5-flash", "input": "a", "messages": MESSAGES}
    answer = await router.post(path, data=json.dumps(body).encode())
    assert answer.status == 502
    assert "sent a stream" in (await answer.json())["error"]["message"]
