"""What is no usage: answers to requests that make nothing, or count tokens."""

from __future__ import annotations

import json

import pytest

from tests.virtual import AUTH, CENT, PRICED, bearer, give, settled

DONE = (
    b'{"id":"resp_1","object":"response","status":"completed","output":[],'
    b'"usage":{"input_tokens":10,"output_tokens":20,"total_tokens":30}}'
)


@pytest.fixture
async def router(make_router):
    claude = {"claude-x": {"price": {"input": 1, "output": 2}}}
    providers = {**PRICED, "anthropic": {"models": claude}}
    return await make_router(auth=AUTH, providers=providers)


@pytest.mark.parametrize(
    ("path", "model"),
    [("/v1/messages/count_tokens", "claude-x"), ("/v1/responses/input_tokens", "gpt-4o")],
)
async def test_counting_tokens_is_free(router, upstream, path, model):
    upstream.answers(b'{"input_tokens":2000}')
    secret, key = await give(router, limit=0)
    text = "many words " * 1000
    body = {"model": model, "input": text, "messages": [{"role": "user", "content": text}]}
    answer = await router.post(path, data=json.dumps(body), headers=bearer(secret))
    assert answer.status == 200
    trace = await router.get(
        f"/v1/traces/{answer.headers['X-Routeur-Trace-Id']}", headers=bearer(secret)
    )
    assert (await trace.json())["usage"] is None
    assert (await settled(router, key)).usage == 0


async def test_what_was_made_before_has_been_counted(router, upstream):
    upstream.answers(DONE)
    secret, key = await give(router, limit=CENT, tpm=100)
    for _ in range(5):  # five times 30 tokens would be too many
        answer = await router.get("/v1/responses/resp_1", headers=bearer(secret))
        assert answer.status == 200
        assert answer.headers["X-Routeur-RateLimit-Tokens-Remaining"] == "100"
        await settled(router, key)
    stopped = await router.post("/v1/responses/resp_1/cancel", data=b"{}", headers=bearer(secret))
    assert stopped.status == 200
    assert (await settled(router, key)).usage == 0


async def test_what_a_raw_path_makes_is_counted(router, upstream):
    upstream.answers(DONE)
    secret, key = await give(router, tpm=1000)
    body = b'{"model":"gpt-4o"}'
    for _ in range(2):
        answer = await router.post("/openai/responses", data=body, headers=bearer(secret))
        assert answer.status == 200
        await settled(router, key)
    assert answer.headers["X-Routeur-RateLimit-Tokens-Remaining"] != "1000"
