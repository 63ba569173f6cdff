"""What a key with allow-lists may ask for, where the model's name could be said in several ways."""

from __future__ import annotations

import json

import pytest

from tests.virtual import AUTH, bearer, give

OK = b'{"id":"x","object":"chat.completion","choices":[]}'
CHAT = "/openai/v1/chat/completions"
GEMINI = "/google/v1beta/models/gemini-pro:generateContent"


@pytest.fixture
async def router(make_router, upstream):
    upstream.answers(OK)
    return await make_router(
        auth=AUTH,
        providers={"openai": {"models": ["cheap", "dear"]}},
        aliases={"two": ["openai/dear", "openai/cheap"]},
    )


async def ask(router, path, body, allowed, **headers):
    secret, _ = await give(router, allowed_models=allowed)
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    given = bearer(secret) | {"Content-Type": "application/json"} | headers
    answer = await router.post(path, data=data, headers=given)
    await answer.read()
    return answer.status


@pytest.mark.parametrize(
    ("path", "body", "headers"),
    [
        (CHAT, {"model": "dear"}, {}),
        (CHAT, {"model": "dear"}, {"Routeur-Model": "cheap"}),
        (CHAT, b'{"model":"dear","model":"cheap"}', {}),
        (CHAT, rb'{"mode\u006c":"dear","model":"cheap"}', {}),
        (GEMINI, {"model": "cheap"}, {}),
        ("/openai/v1/deployments/dear/chat/completions", {"model": "cheap"}, {}),
        ("/v1/batches", {"model": "cheap", "input_file_id": "f"}, {}),
        ("/v1/batches", {"input_file_id": "f"}, {"Routeur-Model": "cheap"}),
    ],
)
async def test_what_is_passed_on_unread_is_not_believed(router, upstream, path, body, headers):
    assert await ask(router, path, body, ("cheap",), **headers) == 403
    assert upstream.requests == []


@pytest.mark.parametrize(
    ("path", "body", "allowed"),
    [
        (CHAT, {"model": "cheap"}, "cheap"),
        (CHAT, {"model": "cheap"}, "openai/cheap"),
        ("/openai/v1/responses", {"model": "cheap"}, "cheap"),
        ("/anthropic/v1/messages", {"model": "claude-x", "max_tokens": 1}, "claude-*"),
        (GEMINI, {}, "google/*"),
        ("/v1/batches", {"input_file_id": "f"}, "*"),
    ],
)
async def test_what_is_sure_is_allowed(router, path, body, allowed):
    assert await ask(router, path, body, (allowed,)) == 200


async def test_a_suffix_is_no_part_of_the_name(router, upstream):
    body = {"model": "two:price", "messages": []}
    assert await ask(router, "/v1/chat/completions", body, ("two",)) == 200
    assert await ask(router, "/v1/chat/completions", body, ("other",)) == 403


async def test_a_suffix_of_the_models_own_is(make_router, upstream):
    upstream.answers(OK)
    models = {"local": {"dialect": "openai", "base_url": upstream.url, "models": ["a", "a:price"]}}
    router = await make_router(auth=AUTH, providers=models)
    body = {"model": "a:price", "messages": []}
    assert await ask(router, "/v1/chat/completions", body, ("a",)) == 403
    assert await ask(router, "/v1/chat/completions", body, ("a:*",)) == 200
