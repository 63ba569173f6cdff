"""Which path leads where, and what lives as long as the process."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
import time
import traceback
from collections import Counter
from contextlib import suppress
from dataclasses import replace
from operator import attrgetter
from typing import Any

from routeur import answers, payloads, sharing, workers
from routeur.abroad import Abroad
from routeur.bans import Ban
from routeur.board import Board
from routeur.bookkeeping import Bookkeeping
from routeur.bus import Bus
from routeur.call import Call
from routeur.choosing import Chooser, Policy
from routeur.config import Config, problems
from routeur.endpoint import Endpoints
from routeur.errors import (
    ConfigError,
)
from routeur.express import Express
from routeur.front import Front
from routeur.health import Rates
from routeur.log import Log
from routeur.metrics import Metrics
from routeur.own import Own
from routeur.pages import Pages
from routeur.peers import Peers
from routeur.pool import SWEEP, Pool
from routeur.proxy import Proxy
from routeur.retries import Budget
from routeur.routes import Ground, Routes, merged
from routeur.routing import Routing
from routeur.rules import Table
from routeur.score import Weights
from routeur.server import ClientConnection, Server, check_parser, require_free
from routeur.spending import Terms
from routeur.standing import Standings
from routeur.stateful import Stateful
from routeur.stickiness import Stickiness

BACKLOG = 4096
_ended = attrgetter("ended")
AT_ONCE = 256  # calls that are counted together; after a quarter of a second all are


class Router:
    """A running routeur: `await start()`, then it serves on `port` until `await stop()`."""

    def __init__(
        self, config: Config, *, log: Log | None = None, replace_corrupt: bool = False
    ) -> None:
        check_parser()
        self._replace_corrupt = replace_corrupt
        self.config = config
        self.log = log or Log(sys.stderr, config.log.level, config.log.format)
        self._over: list[Call] = []
        self.rates = Rates(config.providers)
        self.ready = self._hurried = False
        self.port = 0  # of TCP, once it listens
        self._path = ""  # of a unix socket that this process has made
        self._pools: list[Pool] = []
        self._timer: asyncio.TimerHandle | None = None
        self._listener: asyncio.Server | None = None
        self.books = self._bookkeeping(config)
        self.keys = self.books.keys
        self.traces = self.books.traces
        self.metrics = Metrics(*_labels(config))
        ban, retries = config.ban, config.retries
        self.standings = Standings(
            ban.after,
            ban.seconds,
            retries.statuses,
            tell=self._tell,
            on_ban=self._banned,
        )
        self._abroad: Abroad | None = None
        self._sharing: sharing.Sharing | None = None
        self.board = Board()
        self.sticky = Stickiness()
        self.peers = Peers(
            config.providers, self.metrics, self.rates, self.standings, self.traces, self._count
        )
        self.budget = Budget(retries.budget)
        self.routes = Routes(
            self.books.store,
            self._routes_changed,
            lambda text: self.log.event("error", "routes", text),
        )
        self.stateful = self._stateful(config)
        self.proxy = Proxy(self._routing(config), self.stateful.prepare, self._finished)
        self.express = Express(
            self.proxy, config.server.max_body, self.metrics.started, self._finished
        )
        self.server: Server
        self._front = self._made_front()
        self._front.configure(config.server.host, config.server.max_body, config.off)
        self.handle = self._front.handle

    def _bookkeeping(self, config: Config) -> Bookkeeping:
        return Bookkeeping(
            config.store,
            config.auth.secret,
            _terms(config),
            lambda text: self.log.event("warning", "store", text),
            lambda: self.express.forget(self.config.server.max_body),
            master=config.auth.master_key,
            management=config.auth.management_key,
            keep_for=config.traces.keep,
            keep=config.traces.max,
        )

    def _made_front(self) -> Front:
        own = Own(
            self.books,
            self.peers,
            self.standings,
            lambda: self.proxy.routing.table,
            self.routes,
            lambda: _ground(self.config),
            self.log,
        )
        return Front(
            self.proxy,
            self.express,
            self.stateful,
            own,
            Pages(self.peers, self._unready).by_path,
            self.books.keys,
            self.metrics,
            self.log,
            self._bug,
        )

    def _stateful(self, config: Config) -> Stateful:
        return Stateful(
            self.books.store,
            self.books.secret,
            config.responses.keep,
            config.responses.max_size,
            config.server.max_body,
            lambda: self.proxy.routing.chooser,
            lambda request: self._front.inside(request),
            lambda count: self.log.counted("lost", "responses could not be kept in the store"),
            self._malformed,
            self._bug,
            shared=config.server.workers > 1 or self.books.treasury.shares,
        )

    async def _meet(self) -> None:
        """Hear from routeurs on other machines, and let them hear from this one."""
        books, standings = self.books, self.standings
        abroad = Abroad(books.store, self._home(), books.clock, standings.apply, standings.state)
        await abroad.start()
        self._abroad = abroad

    def _home(self) -> str:
        """What this process has in common with those that hear from it over a bus, if any."""
        return os.environ.get(workers.HOME) or self.books.store.owner

    def hear(self, news: dict[str, Any]) -> None:
        """What another worker tells."""
        if news["do"] != sharing.NEWS:
            self.standings.apply(news)
        elif self._sharing is not None:
            self._sharing.hear(news)

    def _tell(self, news: dict[str, Any]) -> None:
        """Let the other workers know what becomes of a credential, and other machines."""
        self.peers.tell(news)
        if self._abroad is not None:
            self._abroad.tell(news)

    # ---- life

    async def join(self, bus: Bus) -> None:
        """Be one of several workers, before `start`."""
        await self.peers.join(bus)
        self.proxy.routing.admission = self.peers.admission

    async def start(self, listen: socket.socket | None = None, *, share: bool = False) -> None:
        """Listen and serve.

        `listen` is a socket to use instead of one's own; `share` the port with others.
        """
        await self.books.open(replace_corrupt=self._replace_corrupt)
        await self.routes.open()
        if self.books.treasury.shares:
            await self._meet()
        if self.books.treasury.shares or self.peers.bus is not None:
            clock = self.books.clock
            self._sharing = sharing.Sharing(self.sticky, self.peers.tell, clock, self._home())
            self._sharing.start(self.books.store if self.books.treasury.shares else None)
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
        self.stateful.start()
        name = self._listener.sockets[0].getsockname()
        self.port = int(name[1]) if isinstance(name, tuple) else 0
        self._sweep()
        self.metrics.start()
        self.ready = True

    def _unready(self) -> str:
        """Why no requests are served, or not all of them; nothing while they are."""
        if not self.ready:
            return "draining"
        return "" if self.books.trouble is None else "store_unavailable"

    async def stop(self, drain: float | None = None) -> None:
        """Stop listening, let what is under way end within `drain` seconds, cut the rest, and
        close.
        """
        assert self._listener is not None
        self.ready = False
        self.proxy.draining = True
        if self._path:  # while the rest drains another routeur may take the place
            with suppress(OSError):
                os.unlink(self._path)
            self._path = ""
        self._listener.close()
        self.stateful.drain()
        deadline = time.monotonic() + (self.config.server.drain if drain is None else drain)
        while (self._busy() or self.stateful.busy) and time.monotonic() < deadline:
            if self._hurried:
                break
            self.server.close_idle()
            self.server.lasting.drain()
            await asyncio.sleep(0.02)
        self.server.lasting.cut()
        for connection in self._busy():
            connection.abort()
        self.server.close_idle()  # else they are waited for
        await self.server.shutdown(1.0)
        await self.stateful.stop()
        for pool in self._pools:
            pool.close()
        if self._timer is not None:
            self._timer.cancel()
        self.metrics.stop()
        self._count()
        if self._abroad is not None:
            await self._abroad.close()
        if self._sharing is not None:
            await self._sharing.close()
        self.routes.close()
        await self.books.close()
        self.peers.close()
        self.log.close()

    def hurry(self) -> None:
        """Let `stop` cut at once what is still under way; all of it is booked and logged."""
        self._hurried = True

    def reload(self, config: Config) -> None:
        """Use another configuration for what comes from now on; what is under way keeps the old.

        Where it listens stays: raises ConfigError for keys that would leave that place open.
        """
        if config.server != self.config.server:
            self.log.event("warning", "reload", "changes of `server` take effect after a restart")
            config = replace(config, server=self.config.server)
        if (config.store, config.auth.secret) != (self.config.store, self.config.auth.secret):
            text = "changes of `store` and `auth.secret` take effect after a restart"
            self.log.event("warning", "reload", text)
            auth = replace(config.auth, secret=self.config.auth.secret)
            config = replace(config, store=self.config.store, auth=auth)
        wrong = problems(config.server, config.auth, config.store)
        if wrong:
            raise ConfigError([f"{where}: {what}" for where, what in wrong])
        self.log.configure(config.log.level, config.log.format)
        for pool in self._pools:
            pool.close()
        self.proxy.routing = self._routing(config)
        self.keys.configure(config.auth.master_key, config.auth.management_key)
        self.books.treasury.terms = _terms(config)
        self.express.forget(config.server.max_body)
        self._front.configure(config.server.host, config.server.max_body, config.off)
        self.metrics.configure(*_labels(config))
        self.rates.configure(config.providers)
        self.stateful.configure(config.responses.keep, config.responses.max_size)
        self.peers.providers = config.providers
        self.config = config

    def _routing(self, config: Config) -> Routing:
        ban, retries = config.ban, config.retries
        self.standings.configure(config.providers, ban.after, ban.seconds, retries.statuses)
        self.budget.share = retries.budget
        endpoints = Endpoints(config.providers.values())
        self._pools += endpoints.pools
        routing = Routing(
            self._chooser(config),
            config.providers,
            endpoints.by_credential,
            self.standings,
            self.peers.admission,
            self.budget,
            retries.attempts,
            retries.statuses,
            self.books.treasury,
            marks=config.cache_marks == "auto",
        )
        routing.finished = self._finished
        routing.keep = self.stateful.shelf.add
        if config.traces.payloads:
            auth = config.auth
            own = (auth.master_key, auth.management_key, auth.secret)
            asked = endpoints.by_credential.values()
            routing.redactor = payloads.redactor(asked, own, self.books.secret)
        return routing

    def _table(self, config: Config) -> Table:
        rules = merged(_ground(config), self.routes.known)
        auto = config.auto
        return Table(config.providers, config.aliases, rules, auto.models, strategy=auto.strategy)

    def _chooser(self, config: Config) -> Chooser:
        auto = config.auto
        policy = Policy(Weights(**auto.weights), auto.classifier)
        return Chooser(self._table(config), self.standings, self.board, self.sticky, policy)

    def _routes_changed(self) -> None:
        """Requests under way keep the plans that the old table has made."""
        self.proxy.routing.chooser = self._chooser(self.config)
        self.express.forget(self.config.server.max_body)

    def _sweep(self) -> None:
        """Every quarter of a second: deadlines."""
        loop = asyncio.get_running_loop()
        self.server.sweep(loop.time())
        self._count()
        current = {id(each.pool) for each in self.proxy.routing.endpoints.values()}
        for pool in [*self._pools]:
            pool.tick(SWEEP)
            pool.sample(self.metrics.chunk_delay)
            if id(pool) not in current and not pool.connecting and not pool.active:
                pool.close()
                self._pools.remove(pool)
        self._timer = loop.call_later(SWEEP, self._sweep)

    def _busy(self) -> list[ClientConnection]:
        return [c for c in self.server.connections if isinstance(c, ClientConnection) and c.busy]

    # ---- what happened

    def _finished(self, call: Call) -> None:
        """A call is over: it is in the spool at once; it is counted and logged with others."""
        if call.told:
            return
        call.told = True
        try:
            self.books.finished(call)
        except Exception as error:
            self._bug(error)
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
            chooser = self.proxy.routing.chooser
            chooser.measure(calls, self.standings.counted)
            if trouble := chooser.trouble():
                self.log.counted("classifier", trouble)
            for second, count in Counter(map(int, map(_ended, calls))).items():
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


def _terms(config: Config) -> Terms:
    limits = config.limits
    return Terms(
        limits.assumed_output,
        unpriced=limits.unpriced == "allow",
        offline=limits.store_unavailable == "allow",
    )


def _ground(config: Config) -> Ground:
    auto = config.auto
    return Ground(config.rules, config.providers, config.off, auto.strategy)


def _labels(config: Config) -> tuple[dict[str, list[str]], list[str]]:
    """The names that may be labels of metrics: models by provider, and credentials."""
    known = {name: [*provider.models] for name, provider in config.providers.items()}
    return known, [c.name for provider in config.providers.values() for c in provider.credentials]
