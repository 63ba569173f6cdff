"""The management API, JSON in and out: which path does what, and bans."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass

import orjson
from aiohttp import web

from routeur import admin_keys, admin_routes, admin_usage, answers, paths
from routeur.bans import EVERY_MODEL
from routeur.desk import Asked, Desk, Json, only, read, read_query, text
from routeur.errors import ClientError, Forbidden, NotFound, did_you_mean
from routeur.keys import Caller
from routeur.yamlfile import duration

__all__ = ["Desk", "is_managed", "serve"]

PREFIX = "/api/"
ROUTES = "/v1/routes"
ONE_KEY = "/api/v1/keys/{hash}"
ONE_ROUTE = f"{ROUTES}/{{id}}"
_ONE_OF = {"/api/v1/keys": ONE_KEY, ROUTES: ONE_ROUTE}


@dataclass(frozen=True, slots=True)
class Handler:
    """What answers at one path and method.

    `query` are the parameters it knows; `everybody`: also keys that do not manage, about themselves
    alone.
    """

    answer: Callable[[Desk, Asked], Awaitable[Json]]
    query: tuple[str, ...] = ()
    everybody: bool = False
    status: int = 200


def is_managed(path: str) -> bool:
    """Whether a path is of the management API."""
    return path.startswith((PREFIX, f"{ROUTES}/")) or path == ROUTES


async def serve(request: web.BaseRequest, caller: Caller, path: str, desk: Desk) -> web.Response:
    """The answer to a request at a path that is managed; raises RouteurError."""
    pattern, name = _pattern(path)
    here = HANDLERS.get(pattern)
    if here is None:
        raise NotFound(f"nothing is served at this path{did_you_mean(path, HANDLERS)}")
    if not caller.manages and not any(handler.everybody for handler in here.values()):
        raise Forbidden("this key cannot manage: use the management key (auth.management_key)")
    handler = here.get("GET" if request.method == "HEAD" else request.method)
    if handler is None:
        also = ("HEAD",) if "GET" in here else ()
        raise paths.wrong_method(request.method, (*here, *also))
    query = read_query(request.raw_path.partition("?")[2], handler.query)
    given = await read(request) if request.method in ("POST", "PATCH") else {}
    said = await handler.answer(desk, Asked(caller, given, query, name))
    return answers.plain(handler.status, orjson.dumps(said))


def _pattern(path: str) -> tuple[str, str]:
    """A path of HANDLERS, and what stands in it for a name."""
    path = path.removesuffix("/")
    start, _, last = path.rpartition("/")
    one = _ONE_OF.get(start)
    return (one, last) if one else (path, "")


# ---- bans


async def _ban(desk: Desk, asked: Asked) -> Json:
    given = asked.given
    only(given, ("credential", "model", "ttl", "reason"))
    credential, model = _credential(desk, given), _model(given)
    reason = text(given, "reason") or "an operator said so"
    ban = desk.standings.ban(credential, model, _ttl(given), reason)
    await desk.synced()
    until = "until it is lifted" if ban.until is None else f"until {ban.as_dict()['until']}"
    said = f"{ban.credential} is banned for {_named(ban.model)} {until}: {ban.reason}"
    desk.log.event("warning", "ban", said)
    return ban.as_dict()


async def _unban(desk: Desk, asked: Asked) -> Json:
    given = asked.given
    only(given, ("credential", "model"))
    bans = await desk.bans()
    credential = _credential(desk, given, {ban.credential for ban in bans})
    model = _model(given)
    removed = desk.standings.unban(credential, model)
    await desk.synced()
    # Another worker's may have been in force longer than what is known here.
    removed |= any(
        ban.credential == credential and model in (ban.model, EVERY_MODEL) for ban in bans
    )
    if removed:
        said = f"{credential} is banned for {_named(model)} no more"
        desk.log.event("info", "unban", said)
    return {"credential": credential, "model": model, "removed": removed}


async def _bans(desk: Desk, asked: Asked) -> Json:
    return {"bans": [ban.as_dict() for ban in await desk.bans()]}


def _credential(desk: Desk, given: Json, also: Iterable[str] = ()) -> str:
    """A credential's name: one that is configured, or one of `also`."""
    name = text(given, "credential")
    if not name:
        raise ClientError(
            "`credential` is missing: name one of the configuration's", param="credential"
        )
    known = [each.name for of in desk.providers.values() for each in of.credentials]
    if name in known or name in also:
        return name
    hint = did_you_mean(name, known)
    if name in desk.providers:
        several = ", ".join(each.name for each in desk.providers[name].credentials)
        hint = f": the provider of this name has {several}"
    raise NotFound(f'unknown credential "{name}"{hint}', param="credential")


def _model(given: Json) -> str:
    """A model's name, `*` for all of them."""
    return text(given, "model") or EVERY_MODEL


def _ttl(given: Json) -> float | None:
    """Seconds, None for good."""
    value = given.get("ttl")
    if value is None:
        return None
    seconds = duration(value) if isinstance(value, str) else value
    if isinstance(seconds, bool) or not isinstance(seconds, int | float):
        seconds = math.nan
    if not 0 < seconds < math.inf:
        raise ClientError(
            "`ttl` must be a duration of more than 0, as in 60 or 90s; without it the ban is for"
            " good",
            param="ttl",
        )
    return float(seconds)


def _named(model: str) -> str:
    return "all models" if model == EVERY_MODEL else model


# ---- which path does what

HANDLERS: Mapping[str, Mapping[str, Handler]] = {
    "/api/ban": {"POST": Handler(_ban)},
    "/api/unban": {"POST": Handler(_unban)},
    "/api/bans": {"GET": Handler(_bans)},
    "/api/v1/keys": {
        "GET": Handler(admin_keys.listed, query=("offset", "page_size", "include_disabled")),
        "POST": Handler(admin_keys.create, status=201),
    },
    ONE_KEY: {
        "GET": Handler(admin_keys.one),
        "PATCH": Handler(admin_keys.change),
        "DELETE": Handler(admin_keys.remove),
    },
    "/api/v1/key": {"GET": Handler(admin_keys.own, everybody=True)},
    ROUTES: {
        "GET": Handler(admin_routes.listed),
        "POST": Handler(admin_routes.create, status=201),
    },
    ONE_ROUTE: {
        "GET": Handler(admin_routes.one),
        "PATCH": Handler(admin_routes.change),
        "DELETE": Handler(admin_routes.remove),
    },
    "/api/v1/generation": {
        "GET": Handler(admin_usage.generation, query=("id",), everybody=True),
    },
    "/api/usage/summary": {
        "GET": Handler(admin_usage.summary, query=admin_usage.SPAN, everybody=True),
    },
    "/api/usage/timeseries": {
        "GET": Handler(
            admin_usage.timeseries, query=(*admin_usage.SPAN, "granularity"), everybody=True
        ),
    },
}
