"""Which path leads where, and what lives as long as the process."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
import time
import traceback
from collections import Counter
from collections.abc import Coroutine
from contextlib import suppress
from dataclasses import replace
from typing import Any
from urllib.parse import parse_qsl, unquote

import orjson
from aiohttp import HttpVersion10, HttpVersion11, web

from routeur import admin, answers, keys, models, paths
from routeur.attempts import Attempts, Routing
from routeur.bans import Ban
from routeur.bus import Bus
from routeur.call import Call
from routeur.config import Config, problems
from routeur.dialects import match, methods
from routeur.dialects.base import Route
from routeur.endpoint import Endpoints
from routeur.errors import (
    ClientError,
    ConfigError,
    Forbidden,
    NotFound,
    RouteurError,
    did_you_mean,
)
from routeur.express import Express, Known
from routeur.facts import Facts
from routeur.headers import Inbound
from routeur.health import Rates
from routeur.keys import Caller, Keys
from routeur.log import Log
from routeur.metrics import Metrics
from routeur.pages import Pages
from routeur.peers import Peers
from routeur.pool import SWEEP, Pool
from routeur.providers import Provider
from routeur.proxy import Proxy
from routeur.retries import Budget
from routeur.rules import Table
from routeur.server import CLOSED, ClientConnection, Server, check_parser, require_free
from routeur.standing import Standings
from routeur.traces import Traces

BACKLOG = 4096
AT_ONCE = 256  # calls that are counted together; after a quarter of a second all are
LISTS = ("/v1/models", "/v1beta/models", "/models")
SPOKEN = (HttpVersion11, HttpVersion10)


class Router:
    """A running routeur: `await start()`, then it serves on `port` until `await stop()`."""

    def __init__(self, config: Config, *, log: Log | None = None) -> None:
        check_parser()
        self.config = config
        self.log = log or Log(sys.stderr, config.log.level, config.log.format)
        self.traces = Traces()
        self._over: list[Call] = []
        self.rates = Rates(config.providers)
        self.ready = False
        self.port = 0  # of TCP, once it listens
        self._path = ""  # of a unix socket that this process has made
        self._pools: list[Pool] = []
        self._timer: asyncio.TimerHandle | None = None
        self._listener: asyncio.Server | None = None
        self.keys = Keys(config.auth.master_key, config.auth.management_key)
        self.metrics = Metrics(*_labels(config))
        ban, retries = config.ban, config.retries
        self.standings = Standings(
            ban.after,
            ban.seconds,
            retries.statuses,
            tell=lambda news: self.peers.tell(news),
            on_ban=self._banned,
        )
        self.peers = Peers(
            config.providers, self.metrics, self.rates, self.standings, self.traces, self._count
        )
        self.budget = Budget(retries.budget)
        self.proxy = Proxy(self._routing(config), self._finished)
        self.express = Express(
            self.proxy, config.server.max_body, self.metrics.started, self._finished
        )
        self.server: Server
        self._pages = Pages(self.peers, lambda: self.ready).by_path

    # ---- life

    async def join(self, bus: Bus) -> None:
        """Be one of several workers, before `start`."""
        await self.peers.join(bus)
        self.proxy.routing.admission = self.peers.admission

    async def start(self, listen: socket.socket | None = None, *, share: bool = False) -> None:
        """Listen and serve.

        `listen` is a socket to use instead of one's own; `share` the port with others.
        """
        self.server = Server(
            self.handle, error_body=answers.early_error_body, malformed=self._malformed
        )
        self.server.express = self.express
        loop = asyncio.get_running_loop()
        host, port = self.config.server.host, self.config.server.port
        if listen is not None:
            made = loop.create_server(self.server, sock=listen, backlog=BACKLOG)
        elif host.startswith("unix:"):
            require_free(host[5:])
            self._path = host[5:]
            made = loop.create_unix_server(self.server, self._path, backlog=BACKLOG)
        else:
            made = loop.create_server(
                self.server, host, port, backlog=BACKLOG, reuse_port=share or None
            )
        self._listener = await made
        name = self._listener.sockets[0].getsockname()
        self.port = int(name[1]) if isinstance(name, tuple) else 0
        self._sweep()
        self.metrics.start()
        self.ready = True

    async def stop(self, drain: float | None = None) -> None:
        """Stop listening, let what is under way end within `drain` seconds, cut the rest, and
        close.
        """
        assert self._listener is not None
        self.ready = False
        self.proxy.draining = True
        self._listener.close()
        deadline = time.monotonic() + (self.config.server.drain if drain is None else drain)
        while self._busy() and time.monotonic() < deadline:
            self.server.close_idle()
            await asyncio.sleep(0.02)
        for connection in self._busy():
            connection.abort()
        self.server.close_idle()  # else they are waited for
        await self.server.shutdown(1.0)
        for pool in self._pools:
            pool.close()
        if self._timer is not None:
            self._timer.cancel()
        self.metrics.stop()
        self._count()
        self.peers.close()
        if self._path:
            with suppress(OSError):
                os.unlink(self._path)
        self.log.close()

    def reload(self, config: Config) -> None:
        """Use another configuration for what comes from now on; what is under way keeps the old.

        Where it listens stays: raises ConfigError for keys that would leave that place open.
        """
        if config.server != self.config.server:
            self.log.event("warning", "reload", "changes of `server` take effect after a restart")
            config = replace(config, server=self.config.server)
        wrong = problems(config.server, config.auth, config.store)
        if wrong:
            raise ConfigError([f"{where}: {what}" for where, what in wrong])
        self.log.configure(config.log.level, config.log.format)
        for pool in self._pools:
            pool.close()
        self.proxy.routing = self._routing(config)
        self.keys = Keys(config.auth.master_key, config.auth.management_key)
        self.express.forget(config.server.max_body)
        self.metrics.configure(*_labels(config))
        self.rates.configure(config.providers)
        self.peers.providers = config.providers
        self.config = config

    def _routing(self, config: Config) -> Routing:
        ban, retries = config.ban, config.retries
        self.standings.configure(config.providers, ban.after, ban.seconds, retries.statuses)
        self.budget.share = retries.budget
        endpoints = Endpoints(config.providers.values())
        self._pools += endpoints.pools
        return Routing(
            Table(config.providers, config.aliases, config.rules, config.auto.models),
            config.providers,
            endpoints.by_credential,
            self.standings,
            self.peers.admission,
            self.budget,
            retries.attempts,
            retries.statuses,
        )

    def _sweep(self) -> None:
        """Every quarter of a second: deadlines."""
        loop = asyncio.get_running_loop()
        self.server.sweep(loop.time())
        self._count()
        current = {id(each.pool) for each in self.proxy.routing.endpoints.values()}
        for pool in [*self._pools]:
            pool.sweep(SWEEP)
            pool.sample(self.metrics.chunk_delay)
            if id(pool) not in current and not pool.active:
                pool.close()
                self._pools.remove(pool)
        self._timer = loop.call_later(SWEEP, self._sweep)

    def _busy(self) -> list[ClientConnection]:
        return [c for c in self.server.connections if isinstance(c, ClientConnection) and c.busy]

    # ---- requests

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Every request of every client."""
        connection = request.protocol
        assert isinstance(connection, ClientConnection)
        connection.request_begins()
        try:
            if request.version is not HttpVersion11 and request.version not in SPOKEN:
                connection.refuse(400, "only HTTP/1.1 and HTTP/1.0 are spoken here")
                return CLOSED
            inbound = Inbound(request.raw_headers)
            path, _, query = request.raw_path.partition("?")
            found = match(request.method, path)
            if found is None:
                return await self._elsewhere(request, inbound, path, query)
            resumed = connection.resumed
            if isinstance(resumed, Attempts):  # its key has been checked
                connection.resumed = None
                caller = Caller(resumed.call.key, infers=True, manages=False)
                return await self._serve(
                    request, inbound, caller, *found, path, query, resumed=resumed
                )
            caller = self._caller(inbound, query)
            return await self._serve(request, inbound, caller, *found, path, query)
        except RouteurError as error:
            if error.status == 401:
                self.log.counted("unauthorized", "requests without a valid key were refused")
            return answers.refusal(request, paths.family_of(request), error, None)
        except (asyncio.CancelledError, ConnectionError):
            raise
        except Exception as error:
            self._bug(error)
            hidden = RouteurError("internal error")
            return answers.refusal(request, paths.family_of(request), hidden, None)
        finally:
            connection.request_ends(request)

    def _caller(self, inbound: Inbound, query: str) -> Caller:
        """Who is calling: the one place where keys are checked, for every path."""
        if self.keys.open:
            self._require_local(inbound)
        return self.keys.identify(keys.presented(inbound.keys, query))

    def _require_local(self, inbound: Inbound) -> None:
        if not self.config.server.host.startswith("unix:"):
            keys.require_local(inbound.word(b"host") or "", inbound.word(b"origin"))

    def _serve(
        self,
        request: web.BaseRequest,
        inbound: Inbound,
        caller: Caller,
        family: str,
        route: Route,
        path: str,
        query: str,
        owner: Provider | None = None,
        resumed: Attempts | None = None,
    ) -> Coroutine[Any, Any, web.StreamResponse]:
        """An inference request: from here on it is a call, with a trace."""
        if not caller.infers:
            raise Forbidden("this key manages: it cannot be used for inference")
        if "." in path or "//" in path or "%" in path:
            paths.refuse_climbing(path)
        raw_path = request.raw_path.partition("?")[0]
        query = keys.without_key(query)
        facts = Facts(inbound, family, route, path, query, caller.name)
        facts.come_with(request, self.config.server.max_body)
        client = request.protocol
        assert isinstance(client, ClientConnection)
        if resumed is not None:
            return self.proxy.serve(facts, resumed.call, owner, resumed)
        if client.whole and facts.keep and owner is None and route.format and route.creates:
            self.express.remember(
                client.whole, Known(inbound, family, route, path, query, raw_path, caller.name)
            )
        client.whole = b""  # a stream that lasts would keep it in memory
        self.metrics.started()
        call = Call(request.method, raw_path, family, caller.name)
        return self.proxy.serve(facts, call, owner)

    async def _elsewhere(
        self, request: web.BaseRequest, inbound: Inbound, path: str, query: str
    ) -> web.StreamResponse:
        """Whatever is not a path of a dialect: our own pages, raw paths, and mistakes."""
        method = request.method
        if not path.startswith("/"):
            raise ClientError("the request target must be a path: absolute URLs are for proxies")
        if method not in paths.METHODS:
            raise paths.wrong_method(method, methods(path) or paths.METHODS)
        page = self._pages.get(path)
        if page is not None:
            if self.keys.open:
                self._require_local(inbound)
            paths.only_get(request)
            return await page()
        caller = self._caller(inbound, query)
        if (inbound.word(b"upgrade") or "").lower() == "websocket":
            raise ClientError(
                "WebSocket is not served here yet: use HTTP", status=426, code="upgrade_required"
            )
        known = methods(path)
        if known:
            raise paths.wrong_method(method, known)
        ours = await self._ours(request, caller, path, query)
        if ours is not None:
            return ours
        first, _, rest = path[1:].partition("/")
        provider = self.proxy.routing.table.serve(first)
        if provider is not None:
            family, route, rest = paths.raw(request, provider, "/" + rest)
            return await self._serve(request, inbound, caller, family, route, rest, query, provider)
        if path.startswith(("/v1/", "/v1beta/", "/upload/")):
            family = paths.family_of(request)
            return await self._serve(request, inbound, caller, family, paths.ANY, path, query)
        if first in self.config.off:
            raise NotFound(
                f'provider "{first}" is off: {self.config.off[first]}', code="provider_not_found"
            )
        hint = did_you_mean(first, self.config.providers)
        raise NotFound(f"nothing is served at this path{hint}")

    async def _ours(
        self, request: web.BaseRequest, caller: Caller, path: str, query: str
    ) -> web.StreamResponse | None:
        """Models, traces and management; None for any other path."""
        if path in LISTS or path.startswith(("/v1/models/", "/v1beta/models/")):
            if request.method == "DELETE":  # a fine-tuned model, at the provider
                return None
            paths.only_get(request)
            return self._models(request, path, query)
        if path.startswith("/v1/traces/"):
            paths.only_get(request)
            return await self._trace(request, caller, path[len("/v1/traces/") :])
        if path.startswith(admin.PREFIX):
            desk = admin.Desk(
                self.config.providers,
                self.standings,
                self.peers.bans,
                self.peers.synced,
                self.log,
            )
            return await admin.serve(request, caller, path, desk)
        return None

    def _models(self, request: web.BaseRequest, path: str, query: str) -> web.Response:
        family = paths.family_of(request)
        table = self.proxy.routing.table
        _, _, name = path.partition("/models")
        if len(name) > 1:
            return _json(models.one(table, family, unquote(name[1:])))
        asked = dict(parse_qsl(query))
        limit = asked.get("limit", "")
        page = models.listing(
            table,
            family,
            limit=int(limit) if limit.isdecimal() else None,
            after_id=asked.get("after_id"),
            before_id=asked.get("before_id"),
        )
        return _json(page)

    async def _trace(self, request: web.BaseRequest, caller: Caller, id: str) -> web.StreamResponse:
        shown = await self.peers.trace(id)
        if shown is None or not (caller.manages or caller.name == shown["key"]):
            raise NotFound(
                "no such trace: only the latest are kept, for the key that made the call"
            )
        if request.method == "HEAD":
            headers = {"X-Routeur-Trace-Status": str(shown["status_code"]), "Server": "routeur"}
            headers["X-Routeur-Trace-Payload"] = "false"
            if shown["provider"]:
                headers["X-Routeur-Trace-Provider"] = shown["provider"]
            return web.Response(headers=headers)
        return _json(orjson.dumps(shown))

    # ---- what happened

    def _finished(self, call: Call) -> None:
        """A call is over: keep its trace; it is counted and logged with others."""
        self.traces.add(call)
        self.metrics.finished()
        self._over.append(call)
        if len(self._over) >= AT_ONCE:
            self._count()

    def _count(self) -> None:
        """Count and log the calls that are over: twice as fast for many at once as one by one.

        Whoever shows figures calls this first. Never fails a call.
        """
        calls, self._over = self._over, []
        try:
            self.metrics.count(calls)
            self.rates.count(calls)
            self.log.finished(*calls)
            for second, count in Counter([int(call.ended) for call in calls]).items():
                self.budget.called(second, count)
        except Exception as error:
            self._bug(error)

    def _banned(self, ban: Ban) -> None:
        self.log.event(
            "warning",
            "ban",
            f"{ban.credential} is not asked for {ban.model}: {ban.reason}",
            credential=ban.credential,
            model=ban.model,
            until=ban.as_dict()["until"],
        )

    def _bug(self, error: BaseException) -> None:
        """Something of ours broke: where, without any value that a client or a provider sent."""
        error = error.__cause__ or error  # httptools wraps what its callbacks raise
        frames = traceback.extract_tb(error.__traceback__)
        where = " < ".join(f"{f.filename.rpartition('/')[2]}:{f.lineno}" for f in frames[::-1])
        self.log.event("error", "bug", f"{type(error).__name__} at {where}: please report it")

    def _malformed(self, status: int, error: BaseException | None) -> None:
        if status == 500 and error is not None:
            self._bug(error)
        else:
            self.log.counted("malformed", "requests that are not well-formed HTTP/1.1 were refused")


def _labels(config: Config) -> tuple[dict[str, list[str]], list[str]]:
    """The names that may be labels of metrics: models by provider, and credentials."""
    known = {name: [*provider.models] for name, provider in config.providers.items()}
    return known, [c.name for provider in config.providers.values() for c in provider.credentials]


def _json(body: bytes, status: int = 200) -> web.Response:
    return answers.plain(status, body)
