"""Where a request goes: to a provider, to what routeur answers itself, or nowhere."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Mapping
from typing import Any

from aiohttp import HttpVersion10, HttpVersion11, web

from routeur import answers, keys, paths
from routeur.attempts import Attempts
from routeur.call import Call
from routeur.dialects import match, methods
from routeur.dialects.base import Route
from routeur.errors import (
    ClientError,
    Forbidden,
    LimitExceeded,
    NotFound,
    RouteurError,
    Unauthorized,
    did_you_mean,
)
from routeur.express import Express, Known
from routeur.facts import Facts
from routeur.headers import Inbound
from routeur.keys import Caller, Keys, Throttle
from routeur.log import Log
from routeur.metrics import Metrics
from routeur.names import cut
from routeur.own import Own
from routeur.pages import Page
from routeur.providers import Provider
from routeur.proxy import Proxy
from routeur.server import CLOSED, ClientConnection
from routeur.stateful import Stateful, is_about_stored, is_conversation

SPOKEN = (HttpVersion11, HttpVersion10)
WRONG_KEY = (401, 429)  # what a request without a valid key gets; the latter for many of them


class Front:
    """Takes every request, once it is configured. `bug` is told what of ours has broken."""

    def __init__(
        self,
        proxy: Proxy,
        express: Express,
        stateful: Stateful,
        own: Own,
        pages: Mapping[str, Page],
        known: Keys,
        metrics: Metrics,
        log: Log,
        bug: Callable[[BaseException], None],
    ) -> None:
        self._proxy = proxy
        self._express = express
        self._stateful = stateful
        self._own = own
        self._pages = pages
        self._keys = known
        self._throttle = Throttle()
        self._metrics = metrics
        self._log = log
        self._bug = bug

    def configure(self, host: str, max_body: int, off: Mapping[str, str]) -> None:
        """What holds for requests from now on.

        `host` is where they come in, `max_body` is in bytes, `off` says which providers are, and
        why.
        """
        self._local = host.startswith("unix:")
        self._max_body = max_body
        self._off = off

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Every request of every client."""
        connection = request.protocol
        assert isinstance(connection, ClientConnection)
        connection.request_begins()
        try:
            inbound = Inbound(request.raw_headers)
            if why := _not_spoken(request, inbound):
                connection.refuse(400, why)
                return CLOSED
            path, _, query = request.raw_path.partition("?")
            found = match(request.method, path)
            if found is None:
                return await self._elsewhere(request, inbound, path, query)
            resumed = connection.resumed
            if isinstance(resumed, Attempts):  # its key has been checked
                connection.resumed = None
                return await self._serve(
                    request, inbound, resumed.caller, *found, path, query, resumed=resumed
                )
            caller = self._caller(request, inbound, query)
            if b"upgrade" in inbound.words:
                paths.refuse_websocket(path, inbound)
            place = None
            if not found[1].creates and is_about_stored(found[1]):
                told = await self._stateful.answer(request, caller, found[1], path, query)
                if isinstance(told, web.StreamResponse):
                    return told
                place = told
            return await self._serve(request, inbound, caller, *found, path, query, place=place)
        except RouteurError as error:
            return self._refused(request, error)
        except (asyncio.CancelledError, ConnectionError):
            raise
        except Exception as error:
            self._bug(error)
            hidden = RouteurError("internal error")
            return answers.refusal(request, paths.family_of(request), hidden, None)
        finally:
            connection.request_ends(request)

    def _refused(self, request: web.BaseRequest, error: RouteurError) -> web.Response:
        """The answer to what did not become a call."""
        family = paths.family_of(request)
        path = request.raw_path.partition("?")[0]
        if error.status == 401:
            self._log.counted("unauthorized", "requests without a valid key were refused")
        if error.status in WRONG_KEY or match(request.method, path):
            self._metrics.refused(family, error.status)
        return answers.refusal(request, family, error, None)

    async def inside(self, request: web.BaseRequest) -> web.StreamResponse:
        """A request for a response that routeur makes of itself: as `handle`, without a client's
        connection.
        """
        inbound = Inbound(request.raw_headers)
        path, _, query = request.raw_path.partition("?")
        found = match(request.method, path)
        assert found is not None
        try:
            caller = self._caller(request, inbound, query)
            return await self._serve(request, inbound, caller, *found, path, query)
        except RouteurError as error:
            return answers.refusal(request, found[0], error, None)

    def _caller(self, request: web.BaseRequest, inbound: Inbound, query: str) -> Caller:
        """Who is calling: the one place where keys are checked, for every path."""
        if self._keys.open:
            self._require_local(inbound)
        presented = keys.presented(inbound.keys, query)
        try:
            return self._keys.identify(presented)
        except Unauthorized:
            address = request.remote
            if presented is None or not address:
                raise
            wait = self._throttle.failed(address, time.monotonic())
            if wait is None:
                raise
            message = "too many wrong keys came from this address: try again later"
            raise LimitExceeded(message, retry_after=wait) from None

    def _require_local(self, inbound: Inbound) -> None:
        if not self._local:
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
        place: tuple[str, str] | None = None,
    ) -> Coroutine[Any, Any, web.StreamResponse]:
        """An inference request: from here on it is a call, with a trace."""
        if not caller.infers:
            raise Forbidden("this key manages: it cannot be used for inference")
        if "." in path or "//" in path or "%" in path:
            paths.refuse_climbing(path)
        raw_path = request.raw_path.partition("?")[0]
        query = keys.without_key(query)
        facts = Facts(inbound, family, route, path, query, caller)
        facts.come_with(request, self._max_body)
        facts.place = place
        client = request.protocol
        if resumed is not None:
            return self._proxy.serve(facts, resumed.call, owner, resumed)
        if isinstance(client, ClientConnection):  # not one of routeur's own
            if client.whole and facts.keep and owner is None and route.format and route.creates:
                self._express.remember(
                    client.whole, Known(inbound, family, route, path, query, raw_path, caller)
                )
            client.whole = b""  # a stream that lasts would keep it in memory
        self._metrics.started()
        call = Call(request.method, raw_path, family, caller.id or None)
        return self._proxy.serve(facts, call, owner)

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
            if self._keys.open:
                self._require_local(inbound)
            paths.only_get(request)
            return await page()
        caller = self._caller(request, inbound, query)
        if is_conversation(path, inbound.word(b"upgrade")) and method == "GET":
            return await self._stateful.converse(request, caller)
        paths.refuse_websocket(path, inbound)
        model = paths.is_model(method, path)
        known = methods(path)
        if known and not model:
            raise paths.wrong_method(method, known)
        first, _, rest = path[1:].partition("/")
        provider = self._proxy.routing.table.serve(first)
        near = "" if provider or model else paths.meant(path)
        ours = None if near else await self._own.answer(request, caller, path, query)
        if ours is not None:
            return ours
        if provider is not None:
            family, route, rest = paths.raw(request, provider, "/" + rest)
            return await self._serve(request, inbound, caller, family, route, rest, query, provider)
        if not near and path.startswith(("/v1/", "/v1beta/", "/upload/")):
            family = paths.family_of(request)
            return await self._serve(request, inbound, caller, family, paths.ANY, path, query)
        raise self._lost(method, path, first, near)

    def _lost(self, method: str, path: str, first: str, near: str) -> NotFound:
        """What is wrong with a path, whose `first` part is nobody's name; `near` is a good one.

        It is logged, too: an app with a wrong base URL makes no calls.
        """
        if first in self._off:
            why = f'provider "{first}" is off: {self._off[first]}'
            return NotFound(why, code="provider_not_found")
        hint = did_you_mean(first, self._proxy.routing.providers)
        if near:
            hint = f'; did you mean "{cut(near)}"? The base URL ends in /v1 for OpenAI\'s SDKs'
            hint += ", and in the host for the others"
        message = f"nothing is served at this path{hint}"
        self._log.counted("not_found", f"{method} {cut(path)}: {message}")
        return NotFound(message)


def _not_spoken(request: web.BaseRequest, inbound: Inbound) -> str:
    """Why HTTP is not understood here although aiohttp takes it, or nothing."""
    if request.version is not HttpVersion11 and request.version not in SPOKEN:
        return "only HTTP/1.1 and HTTP/1.0 are spoken here"
    coding = inbound.words.get(b"transfer-encoding")
    if coding is not None and coding.lower() != b"chunked":
        return "of transfer codings only chunked is understood here"
    return ""
