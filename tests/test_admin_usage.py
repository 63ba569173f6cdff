"""What calls have used, as reports show it: to operators everything, to a key its own."""

from __future__ import annotations

import time
from typing import Any

import pytest

from routeur.admin_usage import figures, summed
from routeur.store.base import BUCKETS, Used
from tests.conftest import Client, MakeRouter
from tests.fake import Upstream
from tests.stores import CENT, DAY, HOUR, NOON, charge, done, tokens

MASTER, MANAGEMENT = "sk-master-of-a-test", "sk-management-of-a-test"
CHAT = {"model": "gpt-4o", "messages": [{"role": "user", "content": "Hello"}]}
ANSWER = b"""{"object": "chat.completion", "choices": [], "usage": {"prompt_tokens": 100,
    "completion_tokens": 20, "total_tokens": 120, "prompt_tokens_details": {"cached_tokens": 40},
    "completion_tokens_details": {"reasoning_tokens": 5}}}"""
SUMMARY, SERIES = "/api/usage/summary", "/api/usage/timeseries"
ALL = f"start_time=0&end_time={NOON + 365 * DAY}"


@pytest.fixture
async def router(make_router: MakeRouter) -> Client:
    return await make_router(auth={"master_key": MASTER, "management_key": MANAGEMENT})


async def ask(router: Client, path: str, key: str = MANAGEMENT) -> tuple[int, Any]:
    answer = await router.get(path, headers={"Authorization": f"Bearer {key}"})
    return answer.status, await answer.json()


async def make(router: Client, name: str = "alice") -> tuple[str, str]:
    """A new key's hash, and the key."""
    headers = {"Authorization": f"Bearer {MANAGEMENT}"}
    answer = await router.post("/api/v1/keys", json={"name": name}, headers=headers)
    said = await answer.json()
    return said["data"]["hash"], said["key"]


async def spent(router: Client, *entries: Any) -> None:
    await router.router.books.store.settle(entries)


def call(id: str, key: str, at: float = NOON, micro: int | None = CENT, **more: Any) -> Any:
    used = charge(micro, tokens=tokens(input=60, cache_read=40, output=15, reasoning=5), **more)
    return done(id, used, key=key, at=at, reserved=False)


# ---- sums


async def test_summary(router: Client) -> None:
    await spent(
        router,
        call("1", "master"),
        call("2", "master", at=NOON + HOUR, model="gpt-5"),
        call("3", "k", provider="anthropic", model="claude"),
    )
    status, said = await ask(router, f"{SUMMARY}?{ALL}")

    assert status == 200
    each = {
        "requests": 1,
        "input_tokens": 100,
        "output_tokens": 20,
        "estimated_cost_usd": 0.01,
        "unpriced_requests": 0,
    }
    two = {name: 2 * value for name, value in each.items()}
    assert said == {
        "total_requests": 3,
        "total_input_tokens": 300,
        "total_output_tokens": 60,
        "total_tokens": 360,
        "estimated_cost_usd": 0.03,
        "unpriced_requests": 0,
        "by_provider": [
            {"provider_id": "anthropic", **each},
            {"provider_id": "openai", **two},
        ],
        "by_model": [
            {"provider_id": "anthropic", "model": "claude", **each},
            {"provider_id": "openai", "model": "gpt-4o", **each},
            {"provider_id": "openai", "model": "gpt-5", **each},
        ],
    }


async def test_timeseries(router: Client) -> None:
    moments = (NOON, NOON + 60, NOON + HOUR, NOON + DAY, NOON + 31 * DAY)
    await spent(router, *[call(str(n), "k", at=at) for n, at in enumerate(moments)])

    async def points(granularity: str) -> list[tuple[str, int]]:
        _, said = await ask(router, f"{SERIES}?{ALL}&granularity={granularity}")
        return [(point["timestamp"], point["requests"]) for point in said["data_points"]]

    assert await points("monthly") == [
        ("2026-01-01T00:00:00.000Z", 4),
        ("2026-02-01T00:00:00.000Z", 1),
    ]
    assert await points("daily") == [
        ("2026-01-05T00:00:00.000Z", 3),
        ("2026-01-06T00:00:00.000Z", 1),
        ("2026-02-05T00:00:00.000Z", 1),
    ]
    assert [count for _, count in await points("hourly")] == [2, 1, 1, 1]
    _, said = await ask(router, f"{SERIES}?{ALL}")
    assert len(said["data_points"]) == 3
    assert said["data_points"][0] == {
        "timestamp": "2026-01-05T00:00:00.000Z",
        "requests": 3,
        "input_tokens": 300,
        "output_tokens": 60,
        "estimated_cost_usd": 0.03,
        "unpriced_requests": 0,
    }


async def test_filters(router: Client) -> None:
    await spent(
        router,
        call("1", "master"),
        call("2", "k", at=NOON + 2 * HOUR),
        call("3", "k", provider="anthropic", model="claude"),
    )

    async def count(query: str) -> int:
        status, said = await ask(router, f"{SUMMARY}?{query}")
        assert status == 200, said
        _, series = await ask(router, f"{SERIES}?{query}")
        total = said["total_requests"]
        assert sum(point["requests"] for point in series["data_points"]) == total
        return int(total)

    assert await count(ALL) == 3
    assert await count(f"{ALL}&key_id=k") == 2
    assert await count(f"{ALL}&key_id=master") == 1
    assert await count(f"{ALL}&key_id=unknown") == 0
    assert await count(f"{ALL}&provider_id=openai") == 2
    assert await count(f"{ALL}&model=claude&key_id=k") == 1
    assert await count(f"{ALL}&model=claude&key_id=master") == 0
    assert await count(f"start_time={NOON + HOUR}&end_time={NOON + DAY}") == 1
    assert await count("start_time=2026-01-05T13:00:00%2B01:00&end_time=2026-01-05T13:00:00Z") == 2
    assert await count("start_time=2026-01-05T13:00:00+01:00&end_time=2026-01-05T13:00:00Z") == 2
    assert await count("start_time=2026-01-05&end_time=2026-01-06") == 3


async def test_the_last_thirty_days(router: Client) -> None:
    now = time.time()
    await spent(
        router,
        call("1", "k", at=now - 5),
        call("2", "k", at=now - 29 * DAY),
        call("3", "k", at=now - 31 * DAY),
    )
    assert (await ask(router, SUMMARY))[1]["total_requests"] == 2
    end = f"end_time={int(now - 10 * DAY)}"
    assert (await ask(router, f"{SUMMARY}?{end}"))[1]["total_requests"] == 2


async def test_what_is_asked_wrongly(router: Client) -> None:
    for query, param in (
        ("start_time=soon", "start_time"),
        ("start_time=", "start_time"),
        ("end_time=-5", "end_time"),
        ("end_time=" + "9" * 400, "end_time"),
        ("start_time=2026-01-06&end_time=2026-01-05", "start_time"),
        ("start_time=5&end_time=5", "start_time"),
        ("granularity=weekly", "granularity"),
        ("model=a&model=b", "model"),
        ("key=a", None),
        ("provider=openai", "provider"),
        ("model=%00", "model"),
    ):
        status, said = await ask(router, f"{SERIES}?{query}")
        assert (status, said["error"]["param"]) == (400, param), query
    _, said = await ask(router, f"{SERIES}?provider=openai")
    assert 'did you mean "provider_id"?' in said["error"]["message"]
    assert (await ask(router, f"{SUMMARY}?granularity=daily"))[0] == 400


def used(micro: int = 0, requests: int = 1, unpriced: int = 0) -> Used:
    return Used(requests, unpriced, micro, (1,) * len(BUCKETS), "openai", "gpt-4o")


def test_unknown_prices() -> None:
    """A sum is that of the priced calls; without any of them it is unknown, never 0."""

    def cost(*rows: Used) -> tuple[float | None, int]:
        found = figures(rows)
        return found["estimated_cost_usd"], found["unpriced_requests"]

    assert cost() == (0.0, 0)
    assert cost(used(0)) == (0.0, 0)
    assert cost(used(unpriced=1)) == (None, 1)
    assert cost(used(unpriced=1), used(5)) == (0.000005, 1)
    assert cost(used(5, requests=2, unpriced=1)) == (0.000005, 1)
    assert cost(used(5, requests=0), used(unpriced=1)) == (0.000005, 1)
    assert summed([used(unpriced=1)])["estimated_cost_usd"] is None
    assert summed([used(unpriced=1)])["by_model"][0]["estimated_cost_usd"] is None


# ---- whose figures


async def test_a_key_sees_its_own(router: Client) -> None:
    alice, key = await make(router)
    bob, _ = await make(router, "bob")
    await spent(router, call("1", alice), call("2", bob), call("3", bob), call("4", "master"))

    for path, of in ((SUMMARY, "total_requests"), (SERIES, "data_points")):
        _, said = await ask(router, f"{path}?{ALL}", key)
        assert said[of] == 1 or said[of][0]["requests"] == 1
        assert (await ask(router, f"{path}?{ALL}&key_id={alice}", key)) == (200, said)
        for other in (bob, "master", ""):
            status, refused = await ask(router, f"{path}?{ALL}&key_id={other}", key)
            assert (status, refused["error"]["code"]) == (403, "forbidden")
    _, said = await ask(router, f"{SUMMARY}?{ALL}", MASTER)
    assert said["total_requests"] == 1
    _, said = await ask(router, f"{SUMMARY}?{ALL}&key_id={bob}")
    assert said["total_requests"] == 2


# ---- one call


async def test_generation(router: Client, upstream: Upstream) -> None:
    upstream.answers(ANSWER)
    _, key = await make(router)
    _, other = await make(router, "bob")
    headers = {"Authorization": f"Bearer {key}"}
    answer = await router.post("/v1/chat/completions", json=CHAT, headers=headers)
    await answer.read()
    id = answer.headers["X-Routeur-Trace-Id"]
    status, said = await ask(router, f"/api/v1/generation?id={id}", key)

    assert status == 200
    data = said["data"]
    assert {name: data[name] for name in ("id", "model", "provider")} == {
        "id": id,
        "model": "gpt-4o",
        "provider": "openai",
    }
    assert data["created_at"].endswith("Z") and data["latency_ms"] > 0
    _, trace = await ask(router, f"/v1/traces/{id}")
    assert data["usage"].pop("cost") == trace["cost_usd"]
    assert data["usage"] == {
        "prompt_tokens": 100,
        "completion_tokens": 20,
        "total_tokens": 120,
        "prompt_tokens_details": {"cached_tokens": 40, "cache_write_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 5},
    }
    assert (await ask(router, f"/api/v1/generation?id={id}"))[0] == 200
    for stranger in (other, MASTER):
        status, refused = await ask(router, f"/api/v1/generation?id={id}", stranger)
        assert (status, refused["error"]["code"]) == (404, "not_found")
    assert (await ask(router, "/api/v1/generation?id=tr_none", key))[0] == 404
    assert (await ask(router, "/api/v1/generation?id=%F0", key))[0] == 404
    for query in ("", "?id=", "?id=a&id=b", "?ids=a"):
        assert (await ask(router, f"/api/v1/generation{query}", key))[0] == 400


async def test_calls_are_in_the_reports(router: Client, upstream: Upstream) -> None:
    """By the key's hash, and the master key's under its name."""
    upstream.answers(ANSWER)
    alice, key = await make(router)
    for who in (key, key, MASTER):
        headers = {"Authorization": f"Bearer {who}"}
        await (await router.post("/v1/chat/completions", json=CHAT, headers=headers)).read()
    await router.router.books.books.stop()

    for id, count in ((alice, 2), ("master", 1)):
        _, said = await ask(router, f"{SUMMARY}?key_id={id}")
        assert (said["total_requests"], said["total_tokens"]) == (count, count * 120)
