"""Virtual keys in the management API: what requests may say of them, and how they are shown."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from typing import Any

from routeur.call import rfc3339
from routeur.desk import LONGEST_TEXT, Asked, Desk, Json, moment, only, text
from routeur.errors import ClientError, NotFound, did_you_mean
from routeur.keys import RESERVED, Caller, Kind, digest, label, mint
from routeur.store.accounts import periods
from routeur.store.base import Balance, Key, Span

RESETS = ("daily", "weekly", "monthly")
CHANGEABLE = (
    "name",
    "disabled",
    "limit",
    "limit_reset",
    "expires_at",
    "allowed_providers",
    "allowed_models",
    "rpm",
    "tpm",
    "max_parallel",
)
NEW = ("key_type", *(name for name in CHANGEABLE if name != "disabled"))
PAGE, LARGEST_PAGE = 50, 1000  # keys
MOST_USD = 1_000_000_000
MOST = 1_000_000_000_000  # requests, tokens, calls
MOST_NAMES = 1000  # in a list of providers or models
MICRO = 1_000_000  # of them are a dollar

_HASH = re.compile("[0-9a-f]{64}")


# ---- handlers


async def create(desk: Desk, asked: Asked) -> Json:
    key, shown_once = new_key(asked.given, desk.provider_names, desk.secret, desk.clock.wall())
    await desk.store.add_key(key)
    await desk.changed()
    _log(desk, asked.caller, key, "was made")
    return {"data": shown(key, Balance()), "key": shown_once}


async def listed(desk: Desk, asked: Asked) -> Json:
    found = await desk.store.keys(
        _whole(asked, "offset", 0, 0, MOST),
        _whole(asked, "page_size", PAGE, 1, LARGEST_PAGE),
        include_disabled=_yes(asked, "include_disabled"),
    )
    return {"data": [shown(key, balance) for key, balance in found]}


async def one(desk: Desk, asked: Asked) -> Json:
    found = await desk.store.key(asked.name) if _HASH.fullmatch(asked.name) else None
    if found is None:
        raise _no_such_key()
    return {"data": shown(*found)}


async def change(desk: Desk, asked: Asked) -> Json:
    if "key_type" in asked.given:
        raise ClientError("`key_type` cannot be changed: make another key", param="key_type")
    only(asked.given, CHANGEABLE)
    now = desk.clock.wall()
    changes = fields(asked.given, desk.provider_names, now)
    if not _HASH.fullmatch(asked.name):
        raise _no_such_key()
    key = await desk.store.change_key(asked.name, {**changes, "updated_at": int(now)})
    if key is None:
        raise _no_such_key()
    await desk.changed()
    _log(desk, asked.caller, key, f"was changed ({', '.join(changes) or 'nothing'})")
    return await one(desk, asked)


async def remove(desk: Desk, asked: Asked) -> Json:
    found = await desk.store.key(asked.name) if _HASH.fullmatch(asked.name) else None
    if found is None or not await desk.store.remove_key(asked.name):
        raise _no_such_key()
    await desk.changed()
    _log(desk, asked.caller, found[0], "was deleted")
    return {"data": {"deleted": True}}


async def own(desk: Desk, asked: Asked) -> Json:
    """The caller's own key; of one of the configuration, what the ledger knows of it."""
    caller = asked.caller
    if caller.key is not None:
        found = await desk.store.key(caller.id)
        if found is None:  # gone a moment ago
            raise _no_such_key()
        return {"data": shown(*found)}
    if caller.name is None:
        raise NotFound("no key was presented: there is nothing to show")
    kind: Kind = "regular" if caller.infers else "management"
    key = Key(caller.id, caller.name, caller.name, kind)
    return {
        "data": shown(key, await _spent(desk, caller.id)) | {"created_at": None, "updated_at": None}
    }


def _no_such_key() -> NotFound:
    return NotFound("no key has this hash: GET /api/v1/keys lists them")


async def _spent(desk: Desk, id: str) -> Balance:
    """What calls of a key of the configuration have cost."""
    now = desk.clock.wall()
    today = periods(now)
    sums = [0, 0, 0]
    total = 0
    for day in await desk.store.timeline(Span(0, int(now) + 1, key=id), "daily"):
        total += day.micro
        for i, (window, current) in enumerate(zip(periods(day.start), today, strict=True)):
            sums[i] += day.micro * (window == current)
    return Balance(total, *sums)


def _log(desk: Desk, by: Caller, key: Key, what: str) -> None:
    who = by.name or "somebody on this machine"
    desk.log.event("info", "key", f'key "{key.name}" ({key.label}) {what} by {who}')


def _whole(asked: Asked, name: str, default: int, least: int, most: int) -> int:
    given = asked.query.get(name)
    if given is None:
        return default
    if not (
        given.isascii() and given.isdigit() and len(given) < 19 and least <= int(given) <= most
    ):
        raise ClientError(f"`{name}` must be a whole number from {least} to {most}", param=name)
    return int(given)


def _yes(asked: Asked, name: str) -> bool:
    given = asked.query.get(name, "false").lower()
    if given not in ("true", "false"):
        raise ClientError(f"`{name}` must be true or false", param=name)
    return given == "true"


# ---- how a key is shown


def shown(key: Key, balance: Balance) -> Json:
    """A key as the API shows it: dollars, RFC 3339. The key itself nobody knows any more."""
    left = None
    if key.limit is not None:
        left = usd(key.limit - balance.spent(key.limit_reset) - balance.reserved)
    return {
        "hash": key.hash,
        "name": key.name,
        "label": key.label,
        "key_type": key.kind,
        "disabled": key.disabled,
        "limit": None if key.limit is None else usd(key.limit),
        "limit_remaining": left,
        "limit_reset": key.limit_reset,
        "allowed_providers": key.allowed_providers,
        "allowed_models": key.allowed_models,
        "rpm": key.rpm,
        "tpm": key.tpm,
        "max_parallel": key.max_parallel,
        "usage": usd(balance.usage),
        "usage_daily": usd(balance.usage_daily),
        "usage_weekly": usd(balance.usage_weekly),
        "usage_monthly": usd(balance.usage_monthly),
        "created_at": rfc3339(key.created_at),
        "updated_at": rfc3339(key.updated_at),
        "expires_at": None if key.expires_at is None else rfc3339(key.expires_at),
    }


def usd(micro: int) -> float:
    return micro / MICRO


# ---- what requests say


def new_key(given: Json, providers: Collection[str], secret: bytes, now: float) -> tuple[Key, str]:
    """What the store keeps of a new key, and the key itself. Raises ClientError."""
    only(given, NEW)
    if "name" not in given:
        raise ClientError("`name` is missing: say whose key it is", param="name")
    kind = _kind(given)
    known = fields({k: v for k, v in given.items() if k != "key_type"}, providers, now)
    made = mint(kind)
    at = int(now)
    key = Key(
        digest(secret, made), label=label(made), kind=kind, created_at=at, updated_at=at, **known
    )
    return key, made


def _kind(given: Json) -> Kind:
    match given.get("key_type"):
        case None | "regular":
            return "regular"
        case "management":
            return "management"
    raise ClientError("`key_type` must be regular or management", param="key_type")


def fields(given: Json, providers: Collection[str], now: float) -> dict[str, Any]:
    """A key's fields as the store has them; null is no limit. Raises ClientError."""
    known = dict(given)
    if "name" in given:
        known["name"] = _name(given)
    if type(given.get("disabled", False)) is not bool:
        raise ClientError("`disabled` must be true or false", param="disabled")
    readers: dict[str, Callable[[Any, str], Any]] = {
        "limit": micro,
        "limit_reset": _reset,
        "expires_at": lambda value, name: _later(value, name, now),
        "allowed_providers": lambda value, name: _providers(value, name, providers),
        "allowed_models": _names,
        "rpm": _count,
        "tpm": _count,
        "max_parallel": _count,
    }
    for name, read in readers.items():
        if known.get(name) is not None:
            known[name] = read(known[name], name)
    return known


def _name(given: Json) -> str:
    name = text(given, "name")
    if not name or name.isspace():
        raise ClientError("`name` must be a string that says whose key it is", param="name")
    if name in RESERVED:
        raise ClientError(
            f'`name` must not be "{name}": that is a key of the configuration', param="name"
        )
    return name


def micro(value: object, name: str) -> int:
    """Millionths of a dollar from dollars."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= MOST_USD:
        raise ClientError(f"`{name}` must be dollars, from 0 to {MOST_USD}", param=name)
    found = round(value * MICRO)
    if value and not found:
        raise ClientError(f"`{name}` must be 0, or at least 0.000001 dollars", param=name)
    return found


def _reset(value: object, name: str) -> str:
    if not isinstance(value, str) or value not in RESETS:
        near = did_you_mean(value, RESETS) if isinstance(value, str) else ""
        raise ClientError(f"`{name}` must be daily, weekly or monthly, or null{near}", param=name)
    return value


def _later(value: object, name: str, now: float) -> int:
    at = moment(value, name)
    if at <= now:
        raise ClientError(f"`{name}` is in the past: use `disabled` to end a key now", param=name)
    return at


def _count(value: object, name: str) -> int:
    if type(value) is not int or not 1 <= value <= MOST:
        raise ClientError(f"`{name}` must be a whole number of 1 or more, or null", param=name)
    return value


def _names(value: object, name: str) -> tuple[str, ...]:
    if isinstance(value, list) and 0 < len(value) <= MOST_NAMES and all(map(_is_name, value)):
        return tuple(dict.fromkeys(value))
    raise ClientError(
        f"`{name}` must be a list of 1 to {MOST_NAMES} names, or null for all", param=name
    )


def _is_name(value: object) -> bool:
    if not isinstance(value, str):
        return False
    return value.isprintable() and value == value.strip() != "" and len(value) <= LONGEST_TEXT


def _providers(value: object, name: str, known: Collection[str]) -> tuple[str, ...]:
    names = _names(value, name)
    for each in names:
        if each not in known:
            near = did_you_mean(each, known)
            raise ClientError(f'`{name}` names the unknown provider "{each}"{near}', param=name)
    return names
