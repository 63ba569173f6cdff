"""A value that expires: fetched in a thread, renewed before its end, once for all who wait."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from routeur.errors import UpstreamError

WAIT = 10.0  # seconds for which a request waits for a value
PAUSE = 2.0  # seconds between two fetches: who has just refused is left alone

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Lease(Generic[T]):
    """A value, when a new one is to be fetched, and how long this one is good (Unix seconds)."""

    value: T
    renew_at: float = math.inf
    good_until: float = math.inf


class Refreshed(Generic[T]):
    """What `fetch` leases; it may block, and raise anything. `origin` is named in errors."""

    def __init__(
        self, fetch: Callable[[], Lease[T]], origin: str, clock: Callable[[], float] = time.time
    ) -> None:
        self._fetch = fetch
        self._origin = origin
        self._clock = clock
        self._lease: Lease[T] | None = None
        self._fetching: asyncio.Task[None] | None = None
        self._not_before = -math.inf
        self._failure: Exception | None = None

    async def get(self) -> T:
        """The value, at once as long as it is good; raises UpstreamError where there is none."""
        lease, now = self._lease, self._clock()
        if lease is None or now >= lease.renew_at:
            self._renew()
            if lease is None or now >= lease.good_until:
                lease = await self._next()
        return lease.value

    def _renew(self) -> None:
        """Begin to fetch, unless that is under way or has just ended."""
        loop = asyncio.get_running_loop()
        if self._fetching is None and loop.time() >= self._not_before:
            self._fetching = loop.create_task(self._run())

    async def _run(self) -> None:
        try:
            self._lease = await asyncio.to_thread(self._fetch)
            self._failure = None
        except Exception as error:
            self._failure = error
        finally:
            self._not_before = asyncio.get_running_loop().time() + PAUSE
            self._fetching = None

    async def _next(self) -> Lease[T]:
        """The lease that is being fetched."""
        if self._fetching is not None:
            try:
                async with asyncio.timeout(WAIT):
                    await asyncio.shield(self._fetching)  # who gives up leaves it to the others
            except TimeoutError:
                raise self._error("it did not answer in time") from None
        lease = self._lease
        if lease is None or self._clock() >= lease.good_until:
            # Its text may hold anything; whoever logs finds it as the cause.
            name = type(self._failure).__name__ if self._failure else "what it gave has expired"
            raise self._error(name) from self._failure
        return lease

    def _error(self, why: str) -> UpstreamError:
        message = f"routeur could not get credentials for the provider from {self._origin}: {why}"
        return UpstreamError(message, code="upstream_auth_error")
