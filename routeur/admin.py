"""The management API: what stands under `/api`, JSON in and out, for keys that may manage."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import orjson
from aiohttp import web

from routeur import answers, body, paths
from routeur.bans import EVERY_MODEL, Ban
from routeur.errors import ClientError, Forbidden, NotFound, TooLarge, did_you_mean
from routeur.keys import Caller
from routeur.log import Log
from routeur.providers import Provider
from routeur.standing import Standings
from routeur.yamlfile import duration

PREFIX = "/api/"
BODY_IDLE = 30.0  # seconds for a request's body
LONGEST_TEXT = 512  # characters

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Desk:
    """What requests are about. `bans` are those of all workers; `synced` waits until all other
    workers know what was told to them.
    """

    providers: Mapping[str, Provider]
    standings: Standings
    bans: Callable[[], Awaitable[list[Ban]]]
    synced: Callable[[], Awaitable[None]]
    log: Log


async def serve(request: web.BaseRequest, caller: Caller, path: str, desk: Desk) -> web.Response:
    """The answer to a request below PREFIX; raises ClientError."""
    known = tuple(
        method
        for name, each in HANDLERS
        if each == path
        for method in (("GET", "HEAD") if name == "GET" else (name,))
    )
    if not known:
        near = did_you_mean(path, {each for _, each in HANDLERS})
        raise NotFound(f"nothing is served at this path{near}")
    if not caller.manages:
        raise Forbidden("this key cannot manage: use the management key (auth.management_key)")
    handler = HANDLERS.get(("GET" if request.method == "HEAD" else request.method, path))
    if handler is None:
        raise paths.wrong_method(request.method, known)
    given = await _read(request) if request.method == "POST" else {}
    return answers.plain(200, orjson.dumps(await handler(desk, given)))


async def _ban(desk: Desk, given: Json) -> Json:
    _only(given, ("credential", "model", "ttl", "reason"))
    credential, model = _credential(desk, given), _model(given)
    reason = _text(given, "reason") or "an operator said so"
    ban = desk.standings.ban(credential, model, _ttl(given), reason)
    await desk.synced()
    until = "until it is lifted" if ban.until is None else f"until {ban.as_dict()['until']}"
    said = f"{ban.credential} is banned for {_named(ban.model)} {until}: {ban.reason}"
    desk.log.event("warning", "ban", said)
    return ban.as_dict()


async def _unban(desk: Desk, given: Json) -> Json:
    _only(given, ("credential", "model"))
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


async def _bans(desk: Desk, given: Json) -> Json:
    return {"bans": [ban.as_dict() for ban in await desk.bans()]}


HANDLERS: Mapping[tuple[str, str], Callable[[Desk, Json], Awaitable[Json]]] = {
    ("POST", "/api/ban"): _ban,
    ("POST", "/api/unban"): _unban,
    ("GET", "/api/bans"): _bans,
}


# ---- what requests say


async def _read(request: web.BaseRequest) -> Json:
    """A body's members; raises ClientError, for two of the same name, too."""
    try:
        async with asyncio.timeout(BODY_IDLE):
            raw = await request.read()
    except TimeoutError:
        late = "the body did not arrive in time"
        raise ClientError(late, status=408, code="request_timeout") from None
    except web.HTTPRequestEntityTooLarge:
        raise TooLarge("the body is larger than 1 MiB") from None
    except (web.RequestPayloadError, ValueError):
        raise ClientError("the body's framing is broken") from None
    given = body.parse(raw)
    names = [name for name, _, _ in body.members(raw)]
    for name in given:
        if names.count(name) > 1:
            raise ClientError(f"`{name}` stands twice: send it once", param=name)
    return given


def _only(given: Json, known: Iterable[str]) -> None:
    for name in given:
        if name not in known:
            raise ClientError(f'unknown member "{name}"{did_you_mean(name, known)}', param=name)


def _text(given: Json, name: str) -> str | None:
    """A member that is a printable string, None where there is none."""
    value = given.get(name)
    if value is None:
        return None
    if not isinstance(value, str) or not value.isprintable() or len(value) > LONGEST_TEXT:
        what = f"a string of at most {LONGEST_TEXT} printable characters"
        raise ClientError(f"`{name}` must be {what}", param=name)
    return value


def _credential(desk: Desk, given: Json, also: Iterable[str] = ()) -> str:
    """A credential's name: one that is configured, or one of `also`."""
    name = _text(given, "credential")
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
    return _text(given, "model") or EVERY_MODEL


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
