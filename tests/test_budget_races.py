"""200 requests at once on keys that cover some of them: as many are served, none overspends."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tests import redis_server
from tests.conftest import MakeRouter
from tests.fake import HOLD, Part, Request, Upstream, whole
from tests.running import Fleet, Given, chat, completion, configured, office, serving, start, tokens
from tests.virtual import AUTH, PRICED

REQUESTS = 200
COVERED, PARALLEL, RPM, BY_TOKENS = 50, 10, 30, 20  # requests that the limits allow
BODY, HELD = chat(), chat(user="held")
PROMPT, OUTPUT = tokens(BODY), 39  # one less than asked for
MOST, COST = PROMPT + 2 * 40, PROMPT + 2 * OUTPUT  # micro-dollars
LIMITS: dict[str, dict[str, int]] = {
    "budget": {"limit": COVERED * MOST},
    "parallel": {"max_parallel": PARALLEL},
    "rpm": {"rpm": RPM},
    "tpm": {"tpm": BY_TOKENS * (PROMPT + 40)},
}
FULL = pytest.mark.full


class Provider(Upstream):
    """Uses a token less than was reserved; some answers wait until they are released."""

    def _next(self, request: Request) -> list[Part]:
        said: list[Part] = [whole(completion(PROMPT, OUTPUT))]
        return [HOLD, *said] if "user" in json.loads(request.body) else said


@pytest.fixture
async def provider() -> AsyncIterator[Provider]:
    made = Provider()
    await made.start()
    yield made
    await made.stop()
    assert made.anomalies == []


Keys = list[dict[str, Given]]


async def give(fleet: Fleet, times: int) -> Keys:
    """For each time a key of every kind."""
    return [{name: await fleet.give(name, **LIMITS[name]) for name in LIMITS} for _ in range(times)]


@asynccontextmanager
async def programs(
    folder: Path,
    provider: Provider,
    address: str,
    workers: int,
    count: int,
    times: int,
    **variables: str,
) -> AsyncIterator[tuple[Fleet, Keys]]:
    config = configured(provider, address)
    async with office(address) as fleet, AsyncExitStack() as stack:
        keys = await give(fleet, times)
        folders = [folder / str(number) for number in range(count)]
        made = [start(each, config, workers, **variables) for each in folders]
        for program in made:
            stack.push_async_callback(asyncio.to_thread, program.kill)
        await serving(fleet, *made, workers=workers)
        yield fleet, keys


# ---- what is shown


def allowed(found: Counter[int], served: int, refused: int) -> bool:
    """As many were served as can be, and all others refused."""
    return found == {200: served, refused: REQUESTS - served}


async def many(fleet: Fleet, given: Given, body: bytes = BODY) -> Counter[int]:
    """How many of so many requests at once got which status."""
    answers = await asyncio.gather(*[fleet.ask(given, body) for _ in range(REQUESTS)])
    for status, headers, _ in answers:
        if status == 429:
            assert 1 <= int(headers["Retry-After"]) <= 60
    return Counter(status for status, *_ in answers)


async def never_more(fleet: Fleet, given: Given, limit: int) -> None:
    """Looks at a key until it is cancelled."""
    while True:
        found = await fleet.balance(given)
        assert found.usage + found.reserved <= limit
        assert min(found.usage, found.reserved, found.parallel) >= 0
        await asyncio.sleep(0.005)


async def race_for_money(fleet: Fleet, given: Given) -> None:
    limit = LIMITS["budget"]["limit"]
    watching = asyncio.create_task(never_more(fleet, given, limit))
    counted = await many(fleet, given)
    found = await fleet.settled(given)
    assert not watching.done() or watching.result()
    watching.cancel()
    assert allowed(counted, COVERED, 402), counted
    assert found.usage == found.usage_daily == found.usage_monthly == counted[200] * COST


async def race_for_places(fleet: Fleet, given: Given, provider: Provider) -> None:
    """Whoever is served stays until all others have been refused."""
    provider.released.clear()
    asked = [asyncio.create_task(fleet.ask(given, HELD)) for _ in range(REQUESTS)]
    refused: Counter[int] = Counter()
    for each in asyncio.as_completed(asked):
        refused[(await each)[0]] += 1
        if sum(refused.values()) == REQUESTS - PARALLEL:
            break
    assert (await fleet.balance(given)).parallel <= PARALLEL
    provider.release()
    counted = Counter([status for status, *_ in await asyncio.gather(*asked)])
    assert allowed(counted, PARALLEL, 429), counted
    await fleet.settled(given)


async def race_for_requests(fleet: Fleet, given: Given) -> None:
    counted = await many(fleet, given)
    assert allowed(counted, RPM, 429), counted
    await fleet.settled(given)


async def race_for_tokens(fleet: Fleet, given: Given) -> None:
    counted = await many(fleet, given)
    assert allowed(counted, BY_TOKENS, 429), counted
    await fleet.settled(given)


async def races(fleet: Fleet, provider: Provider, keys: Keys) -> None:
    """All at once; in the long run also one after the other."""
    for number, given in enumerate(keys, len(keys) == 1):
        all_of_them: list[Any] = [
            race_for_money(fleet, given["budget"]),
            race_for_places(fleet, given["parallel"], provider),
            race_for_requests(fleet, given["rpm"]),
            race_for_tokens(fleet, given["tpm"]),
        ]
        if number:
            await asyncio.gather(*all_of_them)
        else:
            for each in all_of_them:
                await each


# ---- over which stores, in how many processes

TIMES = [pytest.param(1, id="once"), pytest.param(20, id="often", marks=FULL)]


@pytest.mark.parametrize("times", TIMES)
async def test_in_memory(make_router: MakeRouter, provider: Provider, times: int) -> None:
    providers = {"openai": {"base_url": f"{provider.url}/v1"} | PRICED["openai"]}
    client = await make_router(auth=AUTH, providers=providers)
    books = client.router.books
    fleet = Fleet(books.store, client.session, [client.port], books.secret)
    client.session.connector._limit = 0  # type: ignore[union-attr]
    keys = await give(fleet, times)
    await books.learn_keys()
    await races(fleet, provider, keys)


@pytest.mark.parametrize("workers", [pytest.param(1, marks=FULL), 2, pytest.param(4, marks=FULL)])
@pytest.mark.parametrize("times", TIMES)
async def test_in_a_file(tmp_path: Path, provider: Provider, workers: int, times: int) -> None:
    address = f"sqlite:{tmp_path}/routeur.db"
    async with programs(tmp_path, provider, address, workers, 1, times) as (fleet, keys):
        await races(fleet, provider, keys)


@FULL
@pytest.mark.parametrize(("workers", "count"), [(1, 1), (2, 1), (1, 2)])
@pytest.mark.parametrize("times", [1, 20], ids=["once", "often"])
async def test_in_a_redis(
    tmp_path: Path,
    provider: Provider,
    workers: int,
    count: int,
    times: int,
) -> None:
    pytest.importorskip("redis")
    with redis_server.running() as server:
        place = server.url, workers, count, times
        async with programs(tmp_path, provider, *place) as (fleet, keys):
            await races(fleet, provider, keys)
