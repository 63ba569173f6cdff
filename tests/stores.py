"""For tests of stores: a clock that is set by hand, and short ways to say what is wanted."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from itertools import count
from typing import Any

from routeur.store.base import (
    BUCKETS,
    NOTHING,
    Charge,
    Clock,
    Entry,
    Key,
    Reservation,
    Settlement,
    Store,
)

NOON = 1_767_614_400  # Monday, 5 January 2026, 12:00 UTC
HOUR, DAY = 3600, 86400
CENT = 10_000  # micro-dollars

MakeStore = Callable[..., Awaitable[Store]]  # is given an owner; all are of the same store

_numbers = count()


class Hands(Clock):
    """A clock that stands still until somebody moves it."""

    def __init__(self) -> None:
        self.unix = float(NOON)
        self.seconds = 1000.0

    def wall(self) -> float:
        return self.unix

    def steady(self) -> float:
        return self.seconds

    def go(self, seconds: float) -> None:
        self.unix += seconds
        self.seconds += seconds


def key(hash: str = "k", **known: Any) -> Key:
    return Key(hash, known.pop("name", hash), f"rtr_live_…{hash}", **known)


def asks(id: str = "c", key: str | None = "k", micro: int = CENT, **more: Any) -> Reservation:
    more = {"input": 10, "output": 90, "provider": "openai", "model": "gpt-4o"} | more
    return Reservation(id, key, micro, **more)


def tokens(**given: int) -> tuple[int, ...]:
    return tuple(given.get(name, 0) for name in BUCKETS)


def charge(micro: int | None = CENT, **more: Any) -> Charge:
    more = {"provider": "openai", "model": "gpt-4o", "tokens": NOTHING} | more
    return Charge(micro=micro, **more)


def done(
    id: str = "c",
    *charges: Charge,
    key: str = "k",
    at: float = NOON,
    owner: str = "a",
    seq: int | None = None,
    reserved: bool = True,
    trace: str = "",
) -> Entry:
    """A call that has ended; without charges, of one cent."""
    settlement = Settlement(
        id, key, at - 1, at, 200, charges or (charge(),), reserved=reserved, trace=trace
    )
    return Entry(owner, next(_numbers) if seq is None else seq, settlement)
