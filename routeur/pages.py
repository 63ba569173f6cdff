"""The pages that need no key: whether it lives, how it is doing, what it has counted."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping

import orjson
from aiohttp import web

from routeur import answers, health, metrics
from routeur.peers import Peers

Page = Callable[[], Awaitable[web.Response]]


class Pages:
    """`by_path` has them; `unready` says why requests are not served, nothing while they are."""

    def __init__(self, peers: Peers, unready: Callable[[], str]) -> None:
        self._peers = peers
        self._unready = unready
        self._started = time.monotonic()
        self.by_path: Mapping[str, Page] = {
            "/healthz": self._alive,
            "/health/readiness": self._readiness,
            "/health": self._health,
            "/vhealth": self._health_page,
            "/metrics": self._metrics,
        }

    async def _alive(self) -> web.Response:
        return answers.plain(200, b'{"status":"ok"}')

    async def _readiness(self) -> web.Response:
        why = self._unready()
        status = 503 if why else 200
        return answers.plain(status, orjson.dumps({"status": why or "ready"}))

    async def _health(self) -> web.Response:
        peers = self._peers
        outages = await peers.outages()
        status, shown = health.health(peers.providers, await peers.loads(), outages)
        return answers.plain(status, orjson.dumps(shown))

    async def _health_page(self) -> web.Response:
        peers = self._peers
        outages = await peers.outages()
        status, shown = health.health(peers.providers, await peers.loads(), outages)
        page = health.page(
            shown,
            outages,
            inflight=await peers.inflight(),
            uptime=time.monotonic() - self._started,
        )
        answer = answers.plain(status, page.encode(), "text/html; charset=utf-8")
        answer.headers["Content-Security-Policy"] = health.PAGE_POLICY
        return answer

    async def _metrics(self) -> web.Response:
        try:
            snapshot = await self._peers.metrics()
        except TimeoutError:
            late = b"the parent of the workers does not answer: figures would be incomplete\n"
            return answers.plain(503, late, "text/plain; charset=utf-8")
        body, kind = metrics.render(snapshot)
        return answers.plain(200, body, kind)
