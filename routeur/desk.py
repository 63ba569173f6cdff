"""What the management API works with, and how it reads what requests say."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from urllib.parse import parse_qsl

from aiohttp import web

from routeur import body
from routeur.bans import Ban
from routeur.errors import ClientError, TooLarge, did_you_mean
from routeur.keys import Caller, without_key
from routeur.log import Log
from routeur.providers import Provider
from routeur.routes import Ground, Routes
from routeur.standing import Standings
from routeur.store.base import Clock, Store

BODY_IDLE = 30.0  # seconds for a request's body
LONGEST_TEXT = 512  # characters
LAST_MOMENT = 253_402_300_799  # the end of the year 9999

# RFC 3339, or a day. A `+` in a query is a space to those who do not write it as %2B.
_MOMENT = re.compile(
    r"(\d{4}-\d\d-\d\d)(?:[T ](\d\d:\d\d:\d\d(?:\.\d+)?)(?:Z|([+\- ]\d\d:\d\d)))?",
    re.IGNORECASE | re.ASCII,
)
_WHEN = "a moment such as 2026-01-31T12:00:00Z, or Unix seconds"

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Desk:
    """What requests are about.

    `off` are providers that are configured and wait for something. `bans` are those of all workers;
    `synced` waits until all other workers know what was told to them. `secret` hashes keys;
    `changed` makes changes of keys effective here, and tells the other workers. `trace` is a call's
    record, by its id; its `key` is the caller's id. `ground` is what routes are checked against.
    """

    providers: Mapping[str, Provider]
    off: Collection[str]
    standings: Standings
    bans: Callable[[], Awaitable[list[Ban]]]
    synced: Callable[[], Awaitable[None]]
    log: Log
    store: Store
    secret: bytes = field(repr=False)
    changed: Callable[[], Awaitable[None]]
    trace: Callable[[str], Awaitable[Json | None]]
    clock: Clock
    routes: Routes
    ground: Ground

    @property
    def provider_names(self) -> set[str]:
        """Of all providers of the configuration."""
        return {*self.providers, *self.off}


@dataclass(frozen=True, slots=True)
class Asked:
    """One request: who asks, the body's members, the query's, and a name that the path holds."""

    caller: Caller
    given: Json
    query: Mapping[str, str]
    name: str


async def read(request: web.BaseRequest) -> Json:
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


def read_query(query: str, known: Collection[str]) -> dict[str, str]:
    """A query's members but for the caller's key; raises ClientError for others than `known`."""
    found: dict[str, str] = {}
    for name, value in parse_qsl(without_key(query), keep_blank_values=True):
        if name in found:
            raise ClientError(f"`{name}` stands twice: send it once", param=name)
        found[name] = value
    only(found, known)
    for name in found:
        text(found, name)
    return found


def only(given: Mapping[str, object], known: Iterable[str]) -> None:
    """Raises ClientError for a name that is not known."""
    for name in given:
        if name not in known:
            raise ClientError(f'unknown member "{name}"{did_you_mean(name, known)}', param=name)


def text(given: Mapping[str, object], name: str) -> str | None:
    """A member that is a printable string, None where there is none."""
    value = given.get(name)
    if value is None:
        return None
    if not isinstance(value, str) or not value.isprintable() or len(value) > LONGEST_TEXT:
        what = f"a string of at most {LONGEST_TEXT} printable characters"
        raise ClientError(f"`{name}` must be {what}", param=name)
    return value


def moment(value: object, name: str) -> int:
    """Unix seconds of a moment in RFC 3339 (a day is its beginning in UTC), or in Unix seconds."""
    seconds: float | None = None
    if isinstance(value, str):
        seconds = float(value) if value.isdecimal() else _read_moment(value)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        seconds = value
    if seconds is None or not 0 <= seconds <= LAST_MOMENT:
        raise ClientError(f"`{name}` must be {_WHEN}", param=name)
    return int(seconds)


def _read_moment(given: str) -> float | None:
    match = _MOMENT.fullmatch(given)
    if match is None:
        return None
    day, time, offset = match.groups()
    try:
        zone = (offset or "+00:00").replace(" ", "+")
        plain = datetime.fromisoformat(f"{day}T{time or '00:00:00'}{zone}")
        return plain.timestamp()
    except (ValueError, OverflowError):  # no such day; or the first one, elsewhere
        return None
