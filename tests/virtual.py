"""For tests with virtual keys: a routeur with prices, and keys of it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

from routeur.keys import digest, label, mint
from routeur.store.base import Balance, Key
from tests.conftest import Client
from tests.fake import PATIENCE

CENT = 10_000  # micro-dollars
# 1 and 2 USD per million tokens: a token costs 1 and 2 micro-dollars.
PRICED = {
    "openai": {
        "models": {
            "gpt-4o": {"price": {"input": 1, "output": 2}},
            "gpt-4o-mini": {"price": {"input": 0.5, "output": 1}},
            "unpriced": {},
            "text-embedding-3-small": {"price": {"input": 1}},
            "whisper-1": {},
        }
    }
}
MASTER = "master-key-of-tests-0001"
AUTH = {"master_key": MASTER}


async def give(client: Client, name: str = "team", **limits: Any) -> tuple[str, Key]:
    """A new virtual key, and what is known of it."""
    kind = limits.get("kind", "regular")
    secret = mint(kind)
    books = client.router.books
    now = int(time.time())
    key = Key(digest(books.secret, secret), name, label(secret), created_at=now, **limits)
    assert await books.store.add_key(key)
    await books.learn_keys()
    return secret, key


def bearer(secret: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {secret}"}


async def balance(client: Client, key: Key) -> Balance:
    """What a key has used when everything so far is booked."""
    found = await client.router.books.store.key(key.hash)
    assert found is not None
    return found[1]


async def until(true: Callable[[], Awaitable[bool]]) -> None:
    """Wait for what other tasks bring about; they have some seconds for it."""
    deadline = asyncio.get_running_loop().time() + PATIENCE
    while not (found := await true()):
        assert asyncio.get_running_loop().time() < deadline, found
        await asyncio.sleep(0.01)


async def settled(client: Client, key: Key) -> Balance:
    """A key's balance when nothing is reserved any more."""

    async def nothing_is_held() -> bool:
        found = await balance(client, key)
        return not (found.reserved or found.parallel)

    await until(nothing_is_held)
    return await balance(client, key)
