"""The commands `keys` and `usage`: on the server's store, whether it runs or not."""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from collections.abc import Awaitable, Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from secrets import token_hex
from typing import Any

import orjson

from routeur import store as stores
from routeur.admin_keys import LARGEST_PAGE, RESETS, new_key, shown, usd
from routeur.admin_usage import DAY, DAYS, figures, point, summed
from routeur.call import rfc3339
from routeur.columns import table
from routeur.desk import Json, moment
from routeur.errors import ClientError, ConfigError
from routeur.keys import PREFIXES, digest, read_secret, require_same_secret
from routeur.providers import Secret
from routeur.store.base import Balance, Key, Span, Store, StoreUnavailable, Used
from routeur.yamlfile import duration

SHORTEST_START = 4  # characters of a hash that may stand for all of it
WHEN = "2026-01-31, 2026-01-31T12:00:00Z or Unix seconds"

Options = argparse.Namespace


@dataclass(frozen=True, slots=True)
class Place:
    """Of a configuration: its store, its `auth.secret`, and the names of its providers."""

    store: str
    secret: Secret | None
    providers: Collection[str]

    def read_secret(self) -> bytes:
        return read_secret(self.secret, self.store)


Work = Callable[[Store, Place, Options], Awaitable[None]]


def add(
    commands: argparse._SubParsersAction[argparse.ArgumentParser],
    add_file: Callable[[argparse.ArgumentParser], None],
    place_of: Callable[[Options], Place],
) -> None:
    """Add both to a parser. `place_of` reads the configuration that options name."""

    def made(
        among: argparse._SubParsersAction[argparse.ArgumentParser], name: str, help: str, work: Work
    ) -> argparse.ArgumentParser:
        parser = among.add_parser(name, help=help, description=help[0].upper() + help[1:] + ".")
        add_file(parser)
        parser.set_defaults(run=lambda options: _run(place_of(options), options, work))
        return parser

    keys = commands.add_parser("keys", help="make and manage virtual keys")
    several = keys.add_subparsers(metavar="COMMAND", required=True)
    _create_options(made(several, "create", "make a key; it is printed once", _create))
    listed = made(several, "list", "show all keys", _list)
    listed.add_argument("--json", action="store_true", help="as GET /api/v1/keys answers")
    listed.add_argument("--include-disabled", action="store_true", help="disabled ones, too")
    for name, help, work in (
        ("disable", "let a key do nothing until it is enabled", _disable),
        ("enable", "undo that", _enable),
        ("delete", "delete a key for good", _delete),
    ):
        which = "a key's hash, or how it begins, or its name, if no other key has it"
        made(several, name, help, work).add_argument("key", metavar="HASH", help=which)
    _usage_options(made(commands, "usage", "say what calls have used and cost", _usage))


def _create_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME", help="whose key it is; rules can match it")
    parser.add_argument("--limit", type=float, metavar="USD", help="what its calls may cost")
    parser.add_argument(
        "--limit-reset", choices=RESETS, help="when the limit begins anew, in UTC (default: never)"
    )
    parser.add_argument(
        "--expires", metavar="WHEN", help=f"{WHEN}, or a time from now such as 30d (default: never)"
    )
    parser.add_argument(
        "--provider",
        action="append",
        metavar="P",
        help="a provider it may use; may be given several times (default: all)",
    )
    parser.add_argument(
        "--model",
        action="append",
        metavar="M",
        help="a model it may use, or a pattern; may be given several times (default: all)",
    )
    parser.add_argument("--rpm", type=int, metavar="N", help="requests a minute")
    parser.add_argument("--tpm", type=int, metavar="N", help="tokens a minute")
    parser.add_argument("--max-parallel", type=int, metavar="N", help="calls at the same time")
    parser.add_argument(
        "--management", action="store_true", help="a key that manages and cannot infer"
    )


def _usage_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--days", type=int, metavar="N", help=f"the last N days (default: {DAYS})")
    parser.add_argument("--since", metavar="WHEN", help=f"from then on, by the hour: {WHEN}")
    parser.add_argument("--until", metavar="WHEN", help="up to then (default: now)")
    parser.add_argument(
        "--by", choices=("model", "provider", "day"), default="model", help="default: %(default)s"
    )
    parser.add_argument("--json", action="store_true", help="as /api/usage/… answers")


# ---- the store


def _run(place: Place, options: Options, work: Work) -> int:
    asyncio.run(_work(place, options, work))
    return 0


async def _work(place: Place, options: Options, work: Work) -> None:
    """Do it as one more process that uses the store."""
    store = _store(place, makes=work is _create)
    await store.open()
    try:
        await work(store, place, options)
    finally:
        with suppress(StoreUnavailable):
            await store.leave(store.owner)
        await store.close()


async def try_store(place: Place, *, replace_corrupt: bool) -> None:
    """Whether workers will be able to use it. Raises as a store's `open`, and ConfigError."""
    store = _store(place, makes=True)
    await store.open(replace_corrupt=replace_corrupt)
    try:
        await require_same_secret(store, place.read_secret())
        await store.leave(store.owner)
    finally:
        await store.close()


def _store(place: Place, *, makes: bool) -> Store:
    """Not open yet. In a wrong directory nothing is made but by who wants a key."""
    if place.store == "memory:":
        raise ConfigError(
            [
                "store: memory: is in the server alone; expected sqlite:FILE or"
                " redis://HOST:PORT/DB, or ask the server (/api/v1/keys, /api/usage/summary)"
            ]
        )
    file = _file(place)
    if file is not None and not makes and not file.exists():
        raise ConfigError([f"store: there is no file {file} yet"])
    try:
        return stores.make(place.store, f"command-{token_hex(8)}")
    except ValueError as error:
        raise ConfigError([f"store: {error}"]) from None


def _file(place: Place) -> Path | None:
    """The store's, if it is one."""
    kind, _, where = place.store.partition(":")
    return Path(where).absolute() if kind == "sqlite" else None


async def _all_keys(store: Store, *, include_disabled: bool) -> list[tuple[Key, Balance]]:
    found: list[tuple[Key, Balance]] = []
    while page := await store.keys(len(found), LARGEST_PAGE, include_disabled=include_disabled):
        found += page
    return found


async def _find(store: Store, place: Place, given: str) -> Key:
    """The one key that is meant; raises ClientError. Never says again what was given: it may be a
    key.
    """
    if given.startswith(tuple(PREFIXES.values())):
        given = digest(place.read_secret(), given)
    keys = [key for key, _ in await _all_keys(store, include_disabled=True)]
    start = given if len(given) >= SHORTEST_START else "none so short"
    found = [key for key in keys if key.hash == given] or [
        key for key in keys if key.name == given or key.hash.startswith(start)
    ]
    if not found:
        raise ClientError("no key has this hash or name: `routeur keys list` shows them")
    if len(found) > 1:
        which = ", ".join(f"{key.hash[:12]} ({key.name})" for key in found[:5])
        raise ClientError(f"{len(found)} keys are called so: {which}; give more of the hash")
    return found[0]


# ---- keys


async def _create(store: Store, place: Place, options: Options) -> None:
    secret = place.read_secret()
    await require_same_secret(store, secret, starting=False)
    wanted = {
        "name": options.name,
        "key_type": "management" if options.management else "regular",
        "limit": options.limit,
        "limit_reset": options.limit_reset,
        "expires_at": _from_now(options.expires),
        "allowed_providers": options.provider,
        "allowed_models": options.model,
        "rpm": options.rpm,
        "tpm": options.tpm,
        "max_parallel": options.max_parallel,
    }
    key, made = new_key(wanted, place.providers, secret, time.time())
    await store.add_key(key)
    print(f"{key.name}: this key is shown once; its hash is {key.hash}", file=sys.stderr)
    if file := _file(place):  # it may be a new one, and not what was meant
        print(f"it is known in {file}", file=sys.stderr)
    print(made)


def _from_now(given: str | None) -> str | int | None:
    """A moment as the API reads it; from a duration with a unit, too."""
    if given is None or given.isdecimal():
        return given
    seconds = duration(given)
    return given if seconds is None else int(time.time() + seconds)


async def _list(store: Store, place: Place, options: Options) -> None:
    found = await _all_keys(store, include_disabled=options.include_disabled)
    if options.json:
        print(_json({"data": [shown(key, balance) for key, balance in found]}))
        return
    head = ("HASH", "NAME", "KEY", "STATE", "LIMIT $", "LEFT $", "USED $", "EXPIRES")
    print(table(head, [_row(key, balance) for key, balance in found], right=range(4, 7)))


def _row(key: Key, balance: Balance) -> list[str]:
    limit = left = "-"
    if key.limit is not None:
        limit = f"{usd(key.limit):.4f} {key.limit_reset or ''}".rstrip()
        left = f"{usd(key.limit - balance.spent(key.limit_reset) - balance.reserved):.4f}"
    expires = "never" if key.expires_at is None else rfc3339(key.expires_at)[:16] + "Z"
    used = f"{usd(balance.usage):.4f}"
    return [key.hash[:12], key.name, key.label, _state(key), limit, left, used, expires]


def _state(key: Key) -> str:
    if key.disabled:
        return "disabled"
    if key.expires_at is not None and key.expires_at <= time.time():
        return "expired"
    return "manages" if key.kind == "management" else "good"


async def _disable(store: Store, place: Place, options: Options) -> None:
    await _set_disabled(store, place, options.key, True)


async def _enable(store: Store, place: Place, options: Options) -> None:
    await _set_disabled(store, place, options.key, False)


async def _set_disabled(store: Store, place: Place, given: str, disabled: bool) -> None:
    key = await _find(store, place, given)
    changes = {"disabled": disabled, "updated_at": int(time.time())}
    if await store.change_key(key.hash, changes) is None:
        raise ClientError("the key has just been deleted")
    print(f"{key.name} ({key.label}) is {'disabled' if disabled else 'enabled'}")


async def _delete(store: Store, place: Place, options: Options) -> None:
    key = await _find(store, place, options.key)
    await store.remove_key(key.hash)
    print(f"{key.name} ({key.label}) is deleted")


# ---- usage


async def _usage(store: Store, place: Place, options: Options) -> None:
    span = _span(options, int(time.time()))
    if options.by == "day":
        rows = await store.timeline(span, "daily")
        said: Json = {"data_points": [point(row) for row in rows]}
        lines = [([rfc3339(row.start)[:10]], [row]) for row in rows]
        head = ["DAY"]
    else:
        rows = await store.used(span)
        said = summed(rows)
        lines, head = _by_model(rows) if options.by == "model" else _by_provider(rows)
    if options.json:
        print(_json(said))
        return
    lines.append((["total", *[""] * (len(head) - 1)], rows))
    cells = [[*names, *_figures(some)] for names, some in lines]
    first = len(head)
    head += ["REQUESTS", "INPUT", "OUTPUT", "COST $"]
    print(table(head, cells, right=range(first, first + 4)))
    if unpriced := figures(rows)["unpriced_requests"]:
        print(f"+ and calls whose price is unknown: {unpriced}")


def _span(options: Options, now: int) -> Span:
    if options.days is not None and (options.since or options.until):
        raise ClientError("--days goes without --since and --until")
    days = DAYS if options.days is None else options.days
    if days < 1:
        raise ClientError("--days must be 1 or more")
    end = moment(options.until, "--until") if options.until else now + 1
    start = moment(options.since, "--since") if options.since else max(0, end - days * DAY)
    if start >= end:
        raise ClientError("--since must be before --until")
    return Span(start, end)


Lines = list[tuple[list[str], list[Used]]]


def _by_model(rows: list[Used]) -> tuple[Lines, list[str]]:
    return [([row.provider or "-", row.model or "-"], [row]) for row in rows], ["PROVIDER", "MODEL"]


def _by_provider(rows: list[Used]) -> tuple[Lines, list[str]]:
    names = dict.fromkeys(row.provider for row in rows)
    return [([name or "-"], [r for r in rows if r.provider == name]) for name in names], [
        "PROVIDER"
    ]


def _figures(rows: Sequence[Used]) -> list[str]:
    known = figures(rows)
    cost = known["estimated_cost_usd"]
    more = "+" if known["unpriced_requests"] and cost is not None else ""
    return [
        str(known["requests"]),
        str(known["input_tokens"]),
        str(known["output_tokens"]),
        "unknown" if cost is None else f"{cost:.4f}{more}",
    ]


# ---- output


def _json(value: Any) -> str:
    return orjson.dumps(value, option=orjson.OPT_INDENT_2).decode()
