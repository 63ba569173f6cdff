"""A real routeur in front of a fake provider, both on loopback."""

from __future__ import annotations

import asyncio
import copy
import gc
import io
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from typing import Any

import aiohttp
import pytest
import yaml
from yarl import URL

import routeur.app
import routeur.config
from tests.fake import Upstream
from tests.patience import ALWAYS, PATIENCE, WITH_REDIS, own, wait_long
from tests.redis_server import Server, running

wait_long(ALWAYS)
wait_long(WITH_REDIS)

KEYS = {"openai": "sk-at-openai", "anthropic": "sk-at-anthropic", "google": "sk-at-google"}

# Lets every provider serve any name: recordings name models of their time.
ANY_NAME = {name: {"models": None} for name in KEYS}


def settings(upstream: Upstream) -> dict[str, Any]:
    """The configuration most tests have: three providers, all of them the fake one."""
    return {
        "server": {"port": 0, "drain": "1s"},
        "store": "memory:",
        "retries": {"attempts": 1},
        "providers": {
            "openai": {
                "dialect": "openai",
                "base_url": f"{upstream.url}/v1",
                "api_key": KEYS["openai"],
                "models": [
                    "gpt-4o",
                    "gpt-4o-mini",
                    "gpt-5",
                    "text-embedding-3-small",
                    "whisper-1",
                    "omni-moderation-latest",
                ],
            },
            "anthropic": {
                "dialect": "anthropic",
                "base_url": upstream.url,
                "api_key": KEYS["anthropic"],
                "models": ["claude-*"],
            },
            "google": {
                "dialect": "gemini",
                "base_url": upstream.url,
                "api_key": KEYS["google"],
                "models": ["gemini-*"],
            },
        },
        "aliases": {
            "fast": ["openai/gpt-4o-mini", "anthropic/claude-haiku-4-5", "google/gemini-2.5-flash"]
        },
    }


def merged(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """The changes laid over the base, maps in depth; None takes a setting away."""
    result = copy.deepcopy(base)
    for name, value in changes.items():
        if value is None:
            result.pop(name, None)
        elif isinstance(value, dict) and isinstance(result.get(name), dict):
            result[name] = merged(result[name], value)
        else:
            result[name] = value
    return result


def parse(config: dict[str, Any]) -> routeur.config.Config:
    return routeur.config.parse(yaml.safe_dump(config, sort_keys=False), "test.yaml", environ={})


class Client:
    """A running routeur and a client of it. Answers come as aiohttp's, not decompressed."""

    def __init__(self, router: routeur.app.Router, session: aiohttp.ClientSession) -> None:
        self.router = router
        self.session = session
        self._answers: list[aiohttp.ClientResponse] = []
        self._writers: list[asyncio.StreamWriter] = []

    @property
    def port(self) -> int:
        return self.router.port

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def request(self, method: str, path: str, **options: Any) -> aiohttp.ClientResponse:
        if isinstance(data := options.get("data"), bytes) and len(data) > 1 << 20:
            options["data"] = io.BytesIO(data)  # aiohttp warns of large bytes
        async with asyncio.timeout(PATIENCE):
            answer = await self.session.request(
                method, URL(self.url + path, encoded=True), **options
            )
        self._answers.append(answer)
        return answer

    def close(self) -> None:
        """Lets go of answers that a test did not read to their end, and of connections."""
        for answer in self._answers:
            answer.close()
        for writer in self._writers:
            writer.transport.abort()

    async def get(self, path: str, **options: Any) -> aiohttp.ClientResponse:
        return await self.request("GET", path, **options)

    async def head(self, path: str, **options: Any) -> aiohttp.ClientResponse:
        return await self.request("HEAD", path, **options)

    async def delete(self, path: str, **options: Any) -> aiohttp.ClientResponse:
        return await self.request("DELETE", path, **options)

    async def post(self, path: str, **options: Any) -> aiohttp.ClientResponse:
        options["headers"] = {"Content-Type": "application/json"} | dict(options.get("headers", {}))
        return await self.request("POST", path, **options)

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        self._writers.append(writer)
        return reader, writer

    async def raw(self, data: bytes, *, quiet: float = PATIENCE) -> bytes:
        """Sends the bytes on a new connection; what comes until its end, or until it is quiet.

        `quiet` is in seconds; if it is the default, the end must come within it.
        """
        reader, writer = await self.connect()
        writer.write(data)
        answer = bytearray()
        try:
            while True:
                async with asyncio.timeout(quiet):
                    got = await reader.read(65536)
                if not got:
                    break
                answer += got
        except TimeoutError:
            if quiet >= PATIENCE:
                raise
        except ConnectionResetError:
            pass  # an end too: routeur had unread bytes of ours
        finally:
            writer.transport.abort()
        return bytes(answer)

    async def trace(self, answer: aiohttp.ClientResponse) -> dict[str, Any]:
        """The trace of the call that got this answer, when it is over."""
        return await self.trace_of(answer.headers["X-Routeur-Trace-Id"])

    async def trace_of(self, id: str) -> dict[str, Any]:
        found = await self.get(f"/v1/traces/{id}")
        assert found.status == 200, await found.text()
        trace: dict[str, Any] = await found.json()
        return trace


def pytest_collection_finish() -> None:
    """20,000 tests need not be looked at by the garbage collector again and again."""
    gc.collect()
    gc.freeze()


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """routeur waits for others as long as it does outside of tests."""
    for path, seconds in own.items():
        monkeypatch.setattr(path, seconds)


@pytest.fixture
async def upstream() -> AsyncIterator[Upstream]:
    provider = Upstream()
    await provider.start()
    yield provider
    await provider.stop()
    assert provider.anomalies == []


@pytest.fixture(scope="session")
def lasting_redis() -> Iterator[Server]:
    with running() as server:
        yield server


@pytest.fixture
def redis_server(lasting_redis: Server) -> Server:
    """For tests that leave it running: it is empty, whatever others have kept there."""
    lasting_redis.say("FLUSHALL")
    return lasting_redis


MakeRouter = Callable[..., Awaitable[Client]]


async def nothing_is_left(router: routeur.app.Router) -> None:
    """Ends a routeur: then nothing may count as under way, and no connection be in use."""
    await router.stop()
    deadline = asyncio.get_running_loop().time() + PATIENCE
    while left := under_way(router):
        assert asyncio.get_running_loop().time() < deadline, left
        await asyncio.sleep(0.01)


def under_way(router: routeur.app.Router) -> list[str]:
    """What is not over yet, of calls, their attempts and connections."""
    found = [
        f"{each.credential.name} {each.model}: {each.inflight} attempts"
        for each in router.standings.known()
        if each.inflight
    ]
    found += [
        f"{len(p.active)} connections to {p.origin.authority}" for p in router._pools if p.active
    ]
    return found + [f"{router.metrics.inflight} calls"] * bool(router.metrics.inflight)


@pytest.fixture
async def make_router(upstream: Upstream) -> AsyncIterator[MakeRouter]:
    """Starts a routeur with the usual settings and some of one's own: `make_router(auth={…})`."""
    async with AsyncExitStack() as stack:

        async def make(headers: dict[str, str] | None = None, **changes: Any) -> Client:
            router = routeur.app.Router(parse(merged(settings(upstream), changes)))
            await router.start()
            stack.push_async_callback(nothing_is_left, router)
            session = aiohttp.ClientSession(
                auto_decompress=False, headers=headers, timeout=aiohttp.ClientTimeout(None)
            )
            await stack.enter_async_context(session)
            client = Client(router, session)
            stack.callback(client.close)
            return client

        yield make


@pytest.fixture
async def router(make_router: MakeRouter) -> Client:
    return await make_router()
