"""What a store must be able to do, and the values that go in and out.

Money is integers in millionths of a US dollar (`micro`), tokens are integers, moments are Unix
seconds. One call holds one reservation, by the call's id, from its first attempt to its settlement.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import msgspec

from routeur.dialects.base import Usage
from routeur.errors import RouteurError

BUCKETS = Usage.__struct_fields__  # the order of `Charge.tokens`
INPUTS = frozenset("input cache_read cache_write cache_write_1h audio_in image_in".split())
NOTHING = (0,) * len(BUCKETS)

Reset = Literal["daily", "weekly", "monthly"]
Granularity = Literal["hourly", "daily", "monthly"]
# Which sum counts against a limit that is reset so.
SPENT: dict[Reset | None, str] = {
    None: "usage",
    "daily": "usage_daily",
    "weekly": "usage_weekly",
    "monthly": "usage_monthly",
}
Want = tuple[str, int, int]  # a name, and its requests and tokens a minute; -1: no limit


class StoreUnavailable(RouteurError):
    """The store does not answer now, or cannot write. It may, a moment later."""

    status = 503
    type = "upstream_error"
    code = "store_unavailable"


class StoreUnusable(Exception):
    """The store cannot be used as it is: corrupt, of a newer version, not ours to write."""


class Clock:
    """Two clocks, so that one can be set without the other noticing."""

    _latest = 0.0

    def wall(self) -> float:
        """Unix seconds, for windows that people see; it never goes back within a process."""
        self._latest = max(self._latest, time.time())
        return self._latest

    def steady(self) -> float:
        """Seconds since some moment, the same for all processes of a machine."""
        return time.monotonic()


@dataclass(frozen=True, slots=True)
class Key:
    """What is configured for a virtual key. `hash` is its HMAC in hex: the key itself is unknown.

    None is no limit, or no list; `expires_at` None is never.
    """

    hash: str
    name: str
    label: str
    kind: Literal["regular", "management"] = "regular"
    disabled: bool = False
    limit: int | None = None  # micro-dollars
    limit_reset: Reset | None = None
    allowed_providers: tuple[str, ...] | None = None
    allowed_models: tuple[str, ...] | None = None
    rpm: int | None = None
    tpm: int | None = None
    max_parallel: int | None = None
    created_at: int = 0
    updated_at: int = 0
    expires_at: int | None = None

    @property
    def limited(self) -> bool:
        """Whether calls have to be admitted by the store."""
        limits = (self.limit, self.rpm, self.tpm, self.max_parallel)
        return any(limit is not None for limit in limits)


@dataclass(frozen=True, slots=True)
class Balance:
    """What a key has used, in all and in the windows of now, and what its calls hold."""

    usage: int = 0
    usage_daily: int = 0
    usage_weekly: int = 0
    usage_monthly: int = 0
    reserved: int = 0
    parallel: int = 0

    def spent(self, reset: Reset | None) -> int:
        """What counts against a limit that is reset so."""
        used: int = getattr(self, SPENT[reset])
        return used


@dataclass(frozen=True, slots=True)
class KeyChanges:
    """Keys that are new or changed since a version, and the hashes of those that are gone."""

    version: int
    keys: tuple[Key, ...]
    gone: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Reservation:
    """The most that a call may use, before one of its attempts.

    `attempt` counts from 1. A later one replaces what the call holds: `micro` is then all of it,
    the cost of the attempts before included. The key's rpm, tpm and max_parallel count a call once;
    `wants` (limits of the credential and its model) are taken for each attempt. `ended` says which
    attempts are over, and how many tokens each has used.
    """

    id: str
    key: str | None  # its hash; None for calls of nobody's limits but `wants`
    micro: int
    input: int  # tokens, estimated
    output: int
    wants: tuple[Want, ...] = ()
    attempt: int = 1
    provider: str = ""
    model: str = ""
    ended: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True, slots=True)
class Admitted:
    """The call may go on. What is left to its key, None where that has no limit."""

    requests: int | None = None
    tokens: int | None = None
    micro: int | None = None


@dataclass(frozen=True, slots=True)
class Refused:
    """Nothing was taken. `retry_after` is in seconds, None if waiting does not help.

    `key`: it is gone, disabled or expired. `micro` is the most that would fit the budget. `name` is
    the credential's or model's name, where not the key but that is at its limit.
    """

    what: Literal["key", "budget", "parallel", "rpm", "tpm"]
    retry_after: float | None = None
    micro: int | None = None
    name: str | None = None


# These two are made for every call, and written to the spool as they are: hence no dataclasses.
# New fields go to the end, with a default, so that an older spool can be read.


class Charge(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What one attempt has cost. `micro` None: its price is unknown.

    `requests` is 1 for the attempt that answered, 0 for those that failed after tokens flowed.
    """

    provider: str
    model: str
    tokens: tuple[int, ...] = NOTHING  # in the order of BUCKETS
    micro: int | None = None
    requests: int = 1
    attempt: int = 1


class Settlement(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What a finished call has cost, and its trace. The last charge is the answer's.

    `key` is the key's hash, or the name of a key of the configuration, or "". `reserved`: a
    reservation may be open under this id. `trace` is JSON, "" for none.
    """

    id: str
    key: str
    started_at: float
    ended_at: float
    status: int
    charges: tuple[Charge, ...]
    reserved: bool
    trace: str = ""


class Entry(msgspec.Struct, frozen=True, gc=False):
    """A settlement and its place: the number `seq` in the spool of `owner`. It is booked once."""

    owner: str
    seq: int
    settlement: Settlement


@dataclass(frozen=True, slots=True)
class Seen:
    """What a call under way has cost so far, should it never be settled."""

    id: str
    micro: int
    output: int  # tokens


@dataclass(frozen=True, slots=True)
class Kept:
    """A response that is kept, or where one is: `body` is for whoever keeps it, `at` is when it
    was made. Its `id` is one key's, `owner`, for good. `version` is the store's.
    """

    id: str
    owner: str
    at: float
    body: bytes
    version: int = 0


@dataclass(frozen=True, slots=True)
class Span:
    """Which calls a report is about: whole hours that touch [start, end), in Unix seconds."""

    start: int
    end: int
    provider: str | None = None
    model: str | None = None
    key: str | None = None


@dataclass(frozen=True, slots=True)
class Used:
    """Sums of calls: of a provider's model, or of a stretch of time that begins at `start`."""

    requests: int
    unpriced: int  # of them, those whose price is unknown
    micro: int
    tokens: tuple[int, ...]  # in the order of BUCKETS
    provider: str = ""
    model: str = ""
    start: int = 0

    @property
    def input_tokens(self) -> int:
        """Cached ones included."""
        return sum(n for name, n in zip(BUCKETS, self.tokens, strict=True) if name in INPUTS)

    @property
    def output_tokens(self) -> int:
        return sum(self.tokens) - self.input_tokens


class Store(Protocol):
    """Keys, limits, usage, traces and responses. Methods raise StoreUnavailable when it does not
    answer.

    `owner` is a name for this process that no other one has, or had before.
    """

    owner: str

    @property
    def trouble(self) -> str | None:
        """Why it does not work now; None while it does. Costs nothing."""

    async def open(self, *, replace_corrupt: bool = False) -> None:
        """Raises StoreUnusable. A corrupt store is replaced only if that is asked for, and kept
        aside.
        """

    async def close(self) -> None:
        """Waits for what was begun. Reservations stay: call `leave` first if there are none."""

    # ---- keys

    async def add_key(self, key: Key) -> bool:
        """False, and nothing is changed, if there is one with this hash."""

    async def change_key(self, hash: str, changes: Mapping[str, Any]) -> Key | None:
        """Replace fields by name; the key as it is then, or None if there is none."""

    async def remove_key(self, hash: str) -> bool: ...

    async def key(self, hash: str) -> tuple[Key, Balance] | None: ...

    async def keys(
        self, offset: int, size: int, *, include_disabled: bool
    ) -> list[tuple[Key, Balance]]:
        """One page, the oldest first."""

    async def key_changes(self, since: int) -> KeyChanges:
        """What has changed since a version; since 0: all keys. Cheap when nothing has."""

    # ---- before and after a call

    async def reserve(self, reservation: Reservation) -> Admitted | Refused:
        """All of it, or nothing; the same attempt a second time changes nothing.

        If the caller is cancelled meanwhile, nothing stays reserved for this attempt.
        """

    def settle(self, entries: Sequence[Entry]) -> asyncio.Future[None]:
        """Book all, or none if it fails. What has been booked before is left out.

        It has its place when this returns: what this owner reserves later comes after it.
        """

    # ---- owners

    async def beat(self, kept_from: int, seen: Sequence[Seen] = ()) -> None:
        """This owner is alive; its spool holds entries from number `kept_from` on."""

    async def expire(self, silence: float) -> int:
        """Settle what other owners hold that were silent for so many seconds.

        As seen, else as reserved; if such a call is settled after all, that is corrected.
        """

    async def leave(self, owner: str) -> int:
        """An owner has ended and its spool is empty: settle what it holds, and forget it.

        Returns how many calls that were, as `expire` does.
        """

    # ---- traces, usage

    async def trace(self, id: str, key: str | None = None) -> tuple[str, str] | None:
        """A call's key and its trace as JSON, if it is this key's (None: anybody's)."""

    async def prune(self, before: float, keep: int, at_most: int) -> int:
        """Forget traces of calls that ended before a moment, and all but the last `keep`.

        Returns how many went: not more than `at_most`, so that nothing else waits for long.
        """

    async def used(self, span: Span) -> list[Used]:
        """By provider and model."""

    async def timeline(self, span: Span, granularity: Granularity) -> list[Used]:
        """By hour, by day or by month (UTC), the oldest first."""

    # ---- responses

    async def keep(self, items: Sequence[Kept]) -> None:
        """Add or replace, all or none. One whose id is another owner's is left out."""

    async def renew(self, item: Kept) -> int | None:
        """Replace one if nobody has since its `version`; the new one, None: somebody has."""

    async def kept(self, id: str) -> Kept | None: ...

    async def drop(self, id: str, owner: str) -> bool: ...

    async def evict(self, before: float, max_size: int, at_most: int) -> int:
        """Forget what was made before a moment, then the oldest until the rest has `max_size` bytes
        of body.

        Returns how many went: not more than `at_most`, so that nothing else waits for long.
        """

    # ---- small things that all processes have to know, such as bans

    async def put(self, name: str, value: bytes | None, version: int | None = None) -> int | None:
        """Set a value, or remove it; returns its new version.

        With a `version`, only if that is still the value's (0: there is none): else None.
        """

    async def values(self, prefix: str) -> dict[str, tuple[bytes, int]]:
        """Values and their versions, of all names that begin so."""
