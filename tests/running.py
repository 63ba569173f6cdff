"""routeur in processes of its own, with virtual keys, before a fake provider in the test's."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import yaml

import routeur.store
from routeur.dialects import match
from routeur.facts import Facts
from routeur.headers import Inbound
from routeur.keys import OPEN, digest, label, mint
from routeur.store.base import Balance, Key, Store
from tests.conftest import merged, settings
from tests.fake import PATIENCE, Upstream
from tests.program import Program
from tests.virtual import MASTER, PRICED, bearer

CHAT = "/v1/chat/completions"
SECRET = "secret-of-tests-0123456789abcdef"


@dataclass
class Given:
    """A virtual key: what its client sends, and what the store calls it."""

    secret: str
    hash: str

    @property
    def headers(self) -> dict[str, str]:
        return bearer(self.secret) | {"Content-Type": "application/json"}


@dataclass
class Fleet:
    """Who serves (each at a port), and the store that they share, as a test sees it."""

    store: Store
    session: aiohttp.ClientSession
    ports: list[int] = field(default_factory=list)
    secret: bytes = SECRET.encode()
    _turn: int = 0

    async def give(self, name: str, **limits: Any) -> Given:
        """A new key, which who serves already learns of within half a second."""
        secret = mint("regular")
        made = Given(secret, digest(self.secret, secret))
        key = Key(made.hash, name, label(secret), created_at=int(time.time()), **limits)
        assert await self.store.add_key(key)
        return made

    async def ask(
        self, given: Given, body: bytes, path: str = CHAT
    ) -> tuple[int, Mapping[str, str], bytes]:
        """Status, headers and body of one request, to each of those who serve in turn."""
        self._turn += 1
        url = f"http://127.0.0.1:{self.ports[self._turn % len(self.ports)]}{path}"
        async with asyncio.timeout(3 * PATIENCE):
            async with self.session.post(url, data=body, headers=given.headers) as answer:
                return answer.status, answer.headers, await answer.read()

    async def balance(self, given: Given) -> Balance:
        found = await self.store.key(given.hash)
        assert found is not None
        return found[1]

    async def settled(self, given: Given) -> Balance:
        """A key's balance when nothing is reserved any more."""
        async with asyncio.timeout(PATIENCE):
            while (found := await self.balance(given)).reserved or found.parallel:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        return found


def configured(upstream: Upstream, store: str, **changes: Any) -> dict[str, Any]:
    """The configuration of most tests, with prices and keys, and its store at this address."""
    auth = {"master_key": MASTER, "secret": SECRET}
    base = merged(settings(upstream), {"auth": auth, "store": store, "providers": PRICED})
    return merged(base, {"log": {"format": "json"}, **changes})


def start(folder: Path, config: dict[str, Any], workers: int = 1, **variables: str) -> Program:
    """A process, or several, that will serve soon."""
    folder.mkdir(exist_ok=True)
    (folder / "router.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
    return Program("--workers", str(workers), cwd=folder, **variables)


@asynccontextmanager
async def office(store: str) -> AsyncIterator[Fleet]:
    """A store before anybody serves, and a client."""
    made = routeur.store.make(store, f"test-{time.monotonic_ns()}")
    await made.open()
    connector = aiohttp.TCPConnector(limit=0)
    session = aiohttp.ClientSession(connector=connector, auto_decompress=False)
    try:
        yield Fleet(made, session)
    finally:
        await session.close()
        await made.close()


async def serving(fleet: Fleet, *programs: Program, workers: int = 1) -> None:
    """Wait until all of them serve, and send requests to them from now on."""
    for program in programs:
        await asyncio.to_thread(program.said, "serves on", workers)
    fleet.ports = [program.port for program in programs]


def chat(**more: Any) -> bytes:
    """A request of some 100 tokens that asks for 40."""
    words = [{"role": "user", "content": "word " * 80}]
    return json.dumps({"model": "gpt-4o", "max_tokens": 40, "messages": words} | more).encode()


def tokens(body: bytes, path: str = CHAT) -> int:
    """What routeur takes a request's prompt for before any model has taught it better."""
    found = match("POST", path)
    assert found is not None
    facts = Facts(Inbound(()), *found, path, "", OPEN)
    facts.take(body)
    return facts.tokens()


def completion(prompt: int, output: int, text: str = "Hi") -> bytes:
    """An answer of Chat Completions with this usage."""
    message = {"role": "assistant", "content": text}
    usage = {"prompt_tokens": prompt, "completion_tokens": output, "total_tokens": prompt + output}
    return json.dumps(
        {
            "id": "chatcmpl-1",
            "object": "chat.completion",
            "model": "gpt-4o",
            "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
            "usage": usage,
        }
    ).encode()
