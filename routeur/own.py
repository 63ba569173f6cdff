"""What routeur answers itself, for callers whose key is known: models, traces, management."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qsl, unquote

import orjson
from aiohttp import web

from routeur import admin, answers, models, paths
from routeur.bookkeeping import Bookkeeping
from routeur.errors import NotFound
from routeur.keys import Caller
from routeur.log import Log
from routeur.peers import Peers
from routeur.permits import allows
from routeur.routes import Ground, Routes
from routeur.rules import Table, Target
from routeur.standing import Standings

LISTS = ("/v1/models", "/v1beta/models", "/models")
TRACES = "/v1/traces/"


class Own:
    """`table` gives the rules in force, `ground` what the configuration says of them."""

    def __init__(
        self,
        books: Bookkeeping,
        peers: Peers,
        standings: Standings,
        table: Callable[[], Table],
        routes: Routes,
        ground: Callable[[], Ground],
        log: Log,
    ) -> None:
        self._books = books
        self._peers = peers
        self._standings = standings
        self._table = table
        self._routes = routes
        self._ground = ground
        self._log = log

    async def answer(
        self, request: web.BaseRequest, caller: Caller, path: str, query: str
    ) -> web.Response | None:
        """None for a path that is not ours."""
        if path in LISTS or path.startswith(("/v1/models/", "/v1beta/models/")):
            if request.method == "DELETE":  # a fine-tuned model, at the provider
                return None
            paths.only_get(request)
            return answers.plain(200, self._models(request, caller, path, query))
        if path.startswith(TRACES):
            paths.only_get(request)
            id, _, part = path[len(TRACES) :].partition("/")
            return await self._trace(request, caller, id, part)
        if admin.is_managed(path):
            return await admin.serve(request, caller, path, self._desk())
        return None

    def _desk(self) -> admin.Desk:
        ground = self._ground()
        return admin.Desk(
            ground.providers,
            ground.off,
            self._standings,
            self._peers.bans,
            self._peers.synced,
            self._log,
            self._books.store,
            self._books.secret,
            self._books.learn_keys,
            self._find,
            self._books.clock,
            self._routes,
            ground,
        )

    def _models(self, request: web.BaseRequest, caller: Caller, path: str, query: str) -> bytes:
        family, table, key = paths.family_of(request), self._table(), caller.key

        def usable(name: str, target: Target) -> bool:
            return key is None or allows(key, name, (target,))

        allowed = None if key is None else usable
        _, _, name = path.partition("/models")
        if len(name) > 1:
            return models.one(table, family, unquote(name[1:]), allowed)
        asked = dict(parse_qsl(query))
        limit = asked.get("limit", "")
        return models.listing(
            table,
            family,
            allowed,
            limit=int(limit) if limit.isdecimal() else None,
            after_id=asked.get("after_id"),
            before_id=asked.get("before_id"),
        )

    async def _trace(
        self, request: web.BaseRequest, caller: Caller, id: str, part: str
    ) -> web.Response:
        """The trace of a call, or the `part` of it that has an address of its own."""
        shown = await self._find(id) if part in ("", "payload") else None
        if shown is None or not (caller.manages or (caller.id or None) == shown["key"]):
            raise NotFound(
                "no such trace: only the latest are kept, for the key that made the call"
            )
        if part:
            return await self._payload(id)
        if request.method == "HEAD":
            headers = {"X-Routeur-Trace-Status": str(shown["status_code"]), "Server": "routeur"}
            headers["X-Routeur-Trace-Payload"] = "true" if "payload_url" in shown else "false"
            if shown["provider"]:
                headers["X-Routeur-Trace-Provider"] = shown["provider"]
            return web.Response(headers=headers)
        return answers.plain(200, orjson.dumps(shown))

    async def _payload(self, id: str) -> web.Response:
        text = await self._peers.payload(id) or await self._books.payload(id)
        if text is None:
            raise NotFound("of this call no headers and bodies are kept: see `traces.payloads`")
        return answers.plain(200, text.encode())

    async def _find(self, id: str) -> dict[str, Any] | None:
        """A call's trace: of this process, of another one of this machine, or of any."""
        return await self._peers.trace(id) or await self._books.trace(id)
