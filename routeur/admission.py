"""Whether a credential whose turn it is may be asked: its limits, and one probe after a ban.

With several workers their parent decides: it sees what all of them do.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection
from typing import Any, Protocol

from routeur.group import Group, Standing
from routeur.limits import Limits
from routeur.standing import PROBE, Standings

OVER = frozenset(("failed", "succeeded", "left"))  # news that end a probe

News = dict[str, Any]


class Admission(Protocol):
    """Takes what an attempt needs, and settles it."""

    async def take(self, group: Group, standing: Standing, tokens: int) -> bool:
        """Whether a picked one may be asked; if not, it has been put back."""

    def settle(self, standing: Standing, estimated: int, used: int, at: float) -> None:
        """What was taken at `at` (monotonic) has used so many tokens."""


async def choose(
    admission: Admission,
    group: Group,
    tokens: int,
    without: Collection[Standing] = (),
    *,
    least_busy: bool = False,
    prefer: str | None = None,
) -> Standing | None:
    """The next one to ask, begun and admitted; None if nobody can be asked now.

    Nothing is waited for where there is nothing to take.
    """
    while standing := group.pick(time.monotonic(), without, least_busy=least_busy, prefer=prefer):
        if standing.clear or await admission.take(group, standing, tokens):
            return standing
        without = (*without, standing)
    return None


class Local:
    """In one process: at once."""

    def __init__(self, standings: Standings) -> None:
        self._standings = standings

    async def take(self, group: Group, standing: Standing, tokens: int) -> bool:
        return not (standing.wants and group.take(standing, tokens, time.monotonic()))

    def settle(self, standing: Standing, estimated: int, used: int, at: float) -> None:
        self._standings.settle(standing, estimated, used, at)


class Shared:
    """In one of several workers. `ask` is answered by the parent, `say` is not.

    Where it does not answer in time, what this worker has taken decides alone.
    """

    def __init__(
        self,
        standings: Standings,
        ask: Callable[[dict[str, Any]], Awaitable[Any]],
        say: Callable[[dict[str, Any]], None],
    ) -> None:
        self._standings = standings
        self._local = Local(standings)
        self._ask = ask
        self._say = say

    async def take(self, group: Group, standing: Standing, tokens: int) -> bool:
        probe = standing.probing(time.monotonic())  # its own: others' keep it from being picked
        if not standing.wants and not probe:
            return True
        asked = {
            "wants": standing.wants,
            "tokens": tokens,
            "probe": [standing.credential.name, standing.model] if probe else None,
        }
        try:
            seconds = await self._ask(asked)
        except TimeoutError:
            return await self._local.take(group, standing, tokens)
        except asyncio.CancelledError:
            group.put_back(standing, 0.0, time.monotonic())
            raise
        now = time.monotonic()
        if seconds is None:  # another worker's probe, whose end will be told
            standing.inflight -= 1
            return False
        if seconds:
            group.put_back(standing, seconds, now)
            return False
        # Noted here as well, for when this worker has to decide alone.
        self._standings.limits.take(standing.wants, tokens, now)
        return True

    def settle(self, standing: Standing, estimated: int, used: int, at: float) -> None:
        if standing.wants:
            self._local.settle(standing, estimated, used, at)
            names = [name for name, _, _ in standing.wants]
            ago = time.monotonic() - at
            self._say({"names": names, "from": estimated, "to": used, "ago": ago})


class Desk:
    """The parent's: limits and probes of all workers, each known by a number.

    Times are seconds on a monotonic clock.
    """

    def __init__(self) -> None:
        self._limits = Limits()
        self._probes: dict[tuple[str, str], tuple[int, float]] = {}  # who, until when

    def take(self, worker: int, asked: dict[str, Any], now: float) -> float | None:
        """0.0: go ahead; else the seconds until there may be room; None: another one probes."""
        probe = asked["probe"]
        if probe and not self._probe(worker, probe[0], probe[1], now):
            return None
        return self._limits.take(asked["wants"], asked["tokens"], now)

    def settle(self, used: dict[str, Any], now: float) -> None:
        self._limits.settle(used["names"], used["from"], used["to"], now - used["ago"], now)

    def heard(self, worker: int, news: News, now: float) -> bool:
        """Note what a worker tells of probes; returns whether the others have to know."""
        match news:
            case {"do": "probe", "credential": credential, "model": model}:
                return self._probe(worker, credential, model, now)
            case {"do": "left", "credential": credential, "model": model}:
                return self._end(credential, model, worker)
            case {"do": do, "credential": credential, "model": model} if do in OVER:
                self._end(credential, model)
        return True

    def gone(self, worker: int) -> list[News]:
        """A worker has died: its probes are over, which the others have to know."""
        held = [key for key, (holder, _) in self._probes.items() if holder == worker]
        for key in held:
            del self._probes[key]
        return [{"do": "left", "credential": name, "model": model} for name, model in held]

    def _probe(self, worker: int, credential: str, model: str, now: float) -> bool:
        """Whether this worker is the one that probes."""
        holder, until = self._probes.get((credential, model), (worker, 0.0))
        if holder != worker and now < until:
            return False
        self._probes[credential, model] = worker, now + PROBE
        return True

    def _end(self, credential: str, model: str, worker: int | None = None) -> bool:
        """End a probe, of this worker's only if one is given; returns whether that was so."""
        holder, _ = self._probes.get((credential, model), (worker, 0.0))
        if worker is not None and holder != worker:
            return False
        self._probes.pop((credential, model), None)
        return True
