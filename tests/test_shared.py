"""Two routeurs on one Redis: what one of them does holds at the other, too."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.conftest import Client, MakeRouter
from tests.fake import Upstream
from tests.redis_server import Server
from tests.virtual import until

CHAT = json.dumps({"model": "m", "messages": [{"role": "user", "content": "hi"}]}).encode()


@pytest.fixture
async def pair(
    make_router: MakeRouter,
    upstream: Upstream,
    redis_server: Server,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Any,
) -> tuple[Client, Client]:
    """Each credential may be asked twice a minute, by both together."""
    monkeypatch.chdir(tmp_path)
    redis_server.say("FLUSHALL")
    upstream.answers(b'{"choices":[]}')
    up = {"dialect": "openai", "base_url": upstream.url, "models": ["m"], "rpm": 2}
    settings = {
        "store": redis_server.url,
        "auth": {"secret": "known-to-both-of-them-0001"},
        "providers": {"openai": None, "anthropic": None, "google": None, "up": up},
        "aliases": None,
    }
    return await make_router(**settings), await make_router(**settings)


async def test_limits_of_a_credential(pair: tuple[Client, Client], upstream: Upstream) -> None:
    one, other = pair
    assert (await one.post("/v1/chat/completions", data=CHAT)).status == 200
    assert (await other.post("/v1/chat/completions", data=CHAT)).status == 200
    for each in pair:
        answer = await each.post("/v1/chat/completions", data=CHAT)
        assert answer.status == 429
        assert 0 < int(answer.headers["Retry-After"]) <= 60
    assert len(upstream.requests) == 2


async def test_bans(pair: tuple[Client, Client]) -> None:
    one, other = pair
    given = json.dumps({"credential": "up", "model": "m", "reason": "said so"})
    assert (await one.post("/api/ban", data=given)).status == 200

    async def is_known() -> bool:
        return bool((await (await other.get("/api/bans")).json())["bans"])

    await until(is_known)
    answer = await other.post("/v1/chat/completions", data=CHAT)
    assert answer.status == 503
    assert "said so" in (await answer.json())["error"]["message"]


async def test_keys_and_traces(pair: tuple[Client, Client]) -> None:
    one, other = pair
    made = await (await one.post("/api/v1/keys", data=b'{"name": "team", "rpm": 1}')).json()
    bearer = {"Authorization": f"Bearer {made['key']}"}

    async def is_known() -> bool:
        return (await other.get("/api/v1/key", headers=bearer)).status == 200

    await until(is_known)
    answer = await one.post("/v1/chat/completions", data=CHAT, headers=bearer)
    assert answer.status == 200
    assert (await other.post("/v1/chat/completions", data=CHAT, headers=bearer)).status == 429
    path = f"/v1/traces/{answer.headers['X-Routeur-Trace-Id']}"

    async def is_kept() -> bool:
        return (await other.get(path, headers=bearer)).status == 200

    await until(is_kept)
