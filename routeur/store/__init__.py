"""Where keys, limits, usage and traces survive: which store an address names."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from importlib import import_module
from pathlib import Path

from routeur.store.base import Store
from routeur.store.memory import MemoryStore
from routeur.store.sqlite import SqliteStore


def _memory(owner: str, where: str) -> Store:
    return MemoryStore(owner)


def _sqlite(owner: str, where: str) -> Store:
    return SqliteStore(owner, Path(where))


def _redis(owner: str, where: str, kind: str = "redis") -> Store:
    try:
        store: Store = import_module("routeur.store.redis").RedisStore(owner, f"{kind}:{where}")
    except ModuleNotFoundError as error:
        if str(error.name).partition(".")[0] != "redis":
            raise
        raise ValueError(f"{kind}: needs more: pip install 'routeur[redis]'") from error
    return store


STORES: dict[str, Callable[[str, str], Store]] = {
    "memory": _memory,
    "sqlite": _sqlite,
    "redis": _redis,
    "rediss": partial(_redis, kind="rediss"),
}


def spool_of(address: str) -> Path | None:
    """The directory in which finished calls wait for a store; None: it is as good as one."""
    kind, _, where = address.partition(":")
    if kind == "memory":
        return None
    return Path(f"{where}-spool") if kind == "sqlite" else Path("routeur.spool")


def make(address: str, owner: str) -> Store:
    """The store at an address, for the process that calls itself `owner`: `memory:`, `sqlite:FILE`,
    or `redis://HOST:PORT/DB`, with `rediss:` over TLS.

    It is not open yet. Raises ValueError for an address of no known kind.
    """
    kind, _, where = address.partition(":")
    if kind not in STORES:
        expected = ", ".join(f"{name}:…" for name in STORES)
        raise ValueError(f"unknown kind of store {kind!r}: expected one of {expected}")
    return STORES[kind](owner, where)
