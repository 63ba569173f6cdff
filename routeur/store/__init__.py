"""Where keys, limits, usage and traces survive: which store an address names."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from routeur.store.base import Store
from routeur.store.memory import MemoryStore
from routeur.store.sqlite import SqliteStore


def _memory(owner: str, where: str) -> Store:
    return MemoryStore(owner)


def _sqlite(owner: str, where: str) -> Store:
    return SqliteStore(owner, Path(where))


STORES: dict[str, Callable[[str, str], Store]] = {"memory": _memory, "sqlite": _sqlite}


def make(address: str, owner: str) -> Store:
    """The store at `memory:` or `sqlite:FILE`, for the process that calls itself `owner`.

    It is not open yet. Raises ValueError for an address of no known kind.
    """
    kind, _, where = address.partition(":")
    if kind not in STORES:
        expected = ", ".join(f"{name}:…" for name in STORES)
        raise ValueError(f"unknown store {address!r}: expected one of {expected}")
    return STORES[kind](owner, where)
