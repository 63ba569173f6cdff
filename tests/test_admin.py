"""The management API as operators use it: bans."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.conftest import Client, MakeRouter
from tests.fake import Upstream

MASTER, MANAGEMENT = "sk-master-of-a-test", "sk-management-of-a-test"
CHAT = {"model": "gpt-4o", "messages": []}


async def ask(
    router: Client, path: str, body: object = None, key: str = "", **headers: str
) -> tuple[int, Any]:
    """Status and JSON of a POST, or of a GET without a body."""
    if key:
        headers["Authorization"] = f"Bearer {key}"
    method = "GET" if body is None else "POST"
    data = None if body is None else body if isinstance(body, bytes) else json.dumps(body)
    answer = await router.request(method, path, data=data, headers=headers)
    return answer.status, await answer.json()


async def ban(router: Client, **given: Any) -> tuple[int, Any]:
    return await ask(router, "/api/ban", given)


async def bans(router: Client) -> list[dict[str, Any]]:
    _, said = await ask(router, "/api/bans")
    found: list[dict[str, Any]] = said["bans"]
    return found


async def test_ban_and_unban(router: Client, upstream: Upstream) -> None:
    """Nobody is asked while it lasts, and the client hears why."""
    status, made = await ban(router, credential="openai", model="gpt-4o", ttl=60, reason="trial")
    answer = await router.post("/v1/chat/completions", json=CHAT)
    refused = await answer.json()

    assert status == 200
    assert (made["credential"], made["model"], made["origin"]) == ("openai", "gpt-4o", "admin")
    assert (made["reason"], made["error_code"], made["permanent"]) == ("trial", None, False)
    assert made["until"] > made["since"]
    assert await bans(router) == [made]
    assert answer.status == 503
    assert "openai" in refused["error"]["message"] and "trial" in refused["error"]["message"]
    assert upstream.requests == []

    unban = {"credential": "openai", "model": "gpt-4o"}
    assert await ask(router, "/api/unban", unban) == (200, unban | {"removed": True})
    assert await ask(router, "/api/unban", unban) == (200, unban | {"removed": False})
    assert await bans(router) == []
    upstream.answers(b'{"object": "chat.completion"}')
    assert (await router.post("/v1/chat/completions", json=CHAT)).status == 200


async def test_for_good_and_for_all_models(router: Client) -> None:
    for model in ({}, {"model": "*"}, {"model": None}):
        _, made = await ban(router, credential="openai", **model)
        assert (made["model"], made["permanent"], made["until"]) == ("*", True, None)
        _, said = await ask(router, "/api/unban", {"credential": "openai", **model})
        assert said == {"credential": "openai", "model": "*", "removed": True}


@pytest.mark.parametrize(("ttl", "seconds"), [("90s", 90), ("2m", 120), (1.5, 1.5), ("20", 20)])
async def test_how_long(router: Client, ttl: object, seconds: float) -> None:
    await ban(router, credential="openai", ttl=ttl)
    (found,) = router.router.standings.bans()

    assert found.until == pytest.approx(found.since + seconds)


async def test_routeurs_own_are_there_too(make_router: MakeRouter, upstream: Upstream) -> None:
    router = await make_router(ban={"after": 1})
    upstream.answers(b"{}", status=503)
    await (await router.post("/v1/chat/completions", json=CHAT)).read()
    (found,) = await bans(router)

    assert (found["credential"], found["model"]) == ("openai", "gpt-4o")
    assert (found["origin"], found["error_code"]) == ("routeur", 503)
    assert "503" in found["reason"]
    status, health = await ask(router, "/health")
    assert status == 200
    assert health["models"]["openai:gpt-4o"]["is_banned"]
    assert not health["credentials"]["openai"]["is_banned"]


async def test_seen_everywhere(make_router: MakeRouter) -> None:
    """In /health, on its page and in the metrics; with nobody left health is bad."""
    only = {"openai": {"models": ["gpt-4o"]}, "anthropic": None, "google": None, "echo": False}
    router = await make_router(providers=only, aliases=None)
    await ban(router, credential="openai", reason="no money")
    status, health = await ask(router, "/health")
    page = await (await router.get("/vhealth")).text()
    figures = await (await router.get("/metrics")).text()

    assert (status, health["status"]) == (503, "unhealthy")
    assert health["credentials"]["openai"]["is_banned"]
    assert (health["credentials_available"], health["credentials_banned"]) == (0, 1)
    assert "no money" in page
    assert 'routeur_credential_banned{credential="openai"} 1.0' in figures
    await ask(router, "/api/unban", {"credential": "openai"})
    status, _ = await ask(router, "/health")
    figures = await (await router.get("/metrics")).text()
    assert status == 200
    assert 'routeur_credential_banned{credential="openai"} 0.0' in figures


WRONG = [
    (b"", 400, None, "not JSON"),
    (b"[]", 400, None, "JSON object"),
    (b'{"credential": "openai", "credential": "google"}', 400, "credential", "stands twice"),
    ({}, 400, "credential", "is missing"),
    ({"credential": 5}, 400, "credential", "must be a string"),
    ({"credential": "opnai"}, 404, "credential", 'did you mean "openai"?'),
    ({"credential": "openai", "tll": 5}, 400, "tll", 'did you mean "ttl"?'),
    ({"credential": "openai", "model": ["a"]}, 400, "model", "must be a string"),
    ({"credential": "openai", "reason": "a\nb"}, 400, "reason", "printable"),
    ({"credential": "openai", "reason": "x" * 513}, 400, "reason", "at most 512"),
    ({"credential": "openai", "ttl": 0}, 400, "ttl", "more than 0"),
    ({"credential": "openai", "ttl": -1}, 400, "ttl", "more than 0"),
    ({"credential": "openai", "ttl": "soon"}, 400, "ttl", "a duration"),
    ({"credential": "openai", "ttl": True}, 400, "ttl", "a duration"),
    ({"credential": "openai", "ttl": [1]}, 400, "ttl", "a duration"),
    (b" " * (1 << 20) + b"{}", 413, None, "larger than 1 MiB"),
]


@pytest.mark.parametrize(("body", "status", "param", "message"), WRONG)
async def test_wrong_bodies(
    router: Client, body: object, status: int, param: str | None, message: str
) -> None:
    got, said = await ask(router, "/api/ban", body)

    assert (got, said["error"]["param"]) == (status, param)
    assert message in said["error"]["message"]
    assert await bans(router) == []


async def test_a_providers_name_is_not_a_credentials(make_router: MakeRouter) -> None:
    two = [{"name": name, "api_key": "k"} for name in ("eu", "us")]
    router = await make_router(providers={"openai": {"api_key": None, "credentials": two}})
    status, said = await ban(router, credential="openai")

    assert status == 404
    assert "openai.eu, openai.us" in said["error"]["message"]
    assert (await ban(router, credential="openai.eu"))[0] == 200


async def test_a_ban_outlives_its_credential(router: Client) -> None:
    """What is gone from the configuration can still be unbanned, not banned again."""
    router.router.standings.ban("gone", "*", None, "")

    assert (await ban(router, credential="gone"))[0] == 404
    _, said = await ask(router, "/api/unban", {"credential": "gone"})
    assert said["removed"] is True


async def test_wrong_methods_and_paths(router: Client) -> None:
    for method, path, allow in (
        ("GET", "/api/ban", "POST"),
        ("DELETE", "/api/unban", "POST"),
        ("POST", "/api/bans", "GET, HEAD"),
    ):
        answer = await router.request(method, path)
        assert (answer.status, answer.headers["Allow"]) == (405, allow)
    head = await router.head("/api/bans")
    assert (head.status, await head.read()) == (200, b"")
    status, said = await ask(router, "/api/bens")
    assert (status, said["error"]["code"]) == (404, "not_found")
    assert (await ask(router, "/api/"))[0] == 404


async def test_keys(make_router: MakeRouter) -> None:
    """The management key manages, the master key only while there is none."""
    router = await make_router(auth={"master_key": MASTER, "management_key": MANAGEMENT})
    alone = await make_router(auth={"master_key": MASTER})
    half = await make_router(auth={"management_key": MANAGEMENT})

    assert (await ask(router, "/api/bans", key=MANAGEMENT))[0] == 200
    status, said = await ask(router, "/api/bans", key=MASTER)
    assert (status, said["error"]["code"]) == (403, "forbidden")
    assert (await ask(router, "/api/bans"))[0] == 401
    assert (await ask(alone, "/api/bans", key=MASTER))[0] == 200
    assert (await ask(half, "/api/bans", key=MANAGEMENT))[0] == 200
    assert (await ask(half, "/api/bans"))[0] == 403


async def test_open_only_to_this_machine(router: Client) -> None:
    """No website bans anybody through a browser."""
    given = {"credential": "openai"}
    status, _ = await ask(router, "/api/ban", given, Origin="https://evil.example")

    assert status == 403
    assert (await ask(router, "/api/ban", given, Host="evil.example"))[0] == 403
    assert await bans(router) == []


async def test_errors_are_openais_whatever_the_request_says(make_router: MakeRouter) -> None:
    router = await make_router(auth={"master_key": MASTER})
    version = {"anthropic-version": "2023-06-01"}

    for path in ("/api/bans", "/api/none"):
        _, said = await ask(router, path, **version)
        assert set(said) == {"error"}
        assert set(said["error"]) == {"message", "type", "param", "code"}
