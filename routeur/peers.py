"""What the workers of one machine know together; without others, what this process knows."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from typing import Any

from routeur import payloads, traces
from routeur.admission import Admission, Local, Shared
from routeur.bans import Ban, from_carried
from routeur.bus import Bus, News, Question
from routeur.health import Load, Rates
from routeur.metrics import Metrics
from routeur.outages import Outages, latest
from routeur.providers import Provider
from routeur.standing import Standings
from routeur.traces import Traces

KEPT = 1.0  # seconds, how often the parent is told what was counted


class Peers:
    """Asks the other workers, and answers them. `count` is called before figures are looked at.

    `bus` is how to reach them, None where there are none; `admission` is for attempts.
    """

    def __init__(
        self,
        providers: Mapping[str, Provider],
        metrics: Metrics,
        rates: Rates,
        standings: Standings,
        traces: Traces,
        count: Callable[[], None],
    ) -> None:
        self.bus: Bus | None = None
        self.admission: Admission = Local(standings)
        self.providers = providers
        self._metrics = metrics
        self._rates = rates
        self._standings = standings
        self._traces = traces
        self._count = count
        self._timer: asyncio.TimerHandle | None = None

    async def join(self, bus: Bus) -> None:
        """Be one of several, with what the others know of bans."""
        self.bus = bus
        self.admission = Shared(self._standings, bus.take, bus.settle)
        for state in await bus.ask({"state": True}):
            self._standings.apply(state)
        self._beat()

    def tell(self, news: News) -> None:
        """Let the others know."""
        if self.bus is not None:
            self.bus.tell(news)

    def answer(self, question: Question) -> Any:
        """What another worker wants to know of this one, as JSON can carry it."""
        match question:
            case {"trace": id}:
                return self._shown(id)
            case {"payload": id}:
                return self._payload(id)
            case {"state": _}:
                return self._standings.state()
            case {"bans": _}:
                now = time.monotonic()
                return [ban.carried(now) for ban in self._standings.bans()]
            case {"loads": _}:
                self._count()
                return self._rates.snapshot()
            case {"metrics": _}:
                self.keep()
        return None

    async def trace(self, id: str) -> dict[str, Any] | None:
        """A call as `traces.shown` has it, whichever worker served it."""
        shown = self._shown(id)
        if shown is None:
            shown = next((each for each in await self._others({"trace": id}) if each), None)
        return shown

    async def payload(self, id: str) -> str | None:
        """What passed in a call, if one of them has it still in memory."""
        text = self._payload(id)
        if not text:
            text = next((each for each in await self._others({"payload": id}) if each), None)
        return text

    async def metrics(self) -> dict[str, Any]:
        """One snapshot of them all; raises TimeoutError where the parent does not answer."""
        if self.bus is None:
            return self._figures()
        self.keep()
        await self._others({"metrics": True})  # the parent has heard theirs by then
        return await self.bus.figures()

    def keep(self) -> None:
        """Let the parent know what was counted here, which is not to be lost with this process."""
        if self.bus is not None:
            self.bus.keep(self._figures())

    async def inflight(self) -> int:
        """Requests under way; of this process alone where the parent does not answer."""
        try:
            return int((await self.metrics())["inflight"])
        except TimeoutError:
            return self._metrics.inflight

    async def loads(self) -> list[Load]:
        return [load for each in await self._all({"loads": True}) for load in each]

    async def bans(self) -> list[Ban]:
        """Those in force in any of them, the oldest first."""
        now = time.monotonic()
        carried = [ban for each in await self._others({"bans": True}) for ban in each]
        return latest([*self._standings.bans(), *(from_carried(ban, now) for ban in carried)], now)

    async def outages(self) -> Outages:
        return Outages(await self.bans(), self._standings.known(), time.monotonic())

    async def synced(self) -> None:
        """Wait until all others know what they were told: they answer in order."""
        await self._others({"synced": True})

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self.bus is not None:
            self.bus.close()

    def _beat(self) -> None:
        if self.bus is not None and not self.bus.behind:  # else they would pile up here
            self.keep()
        self._timer = asyncio.get_running_loop().call_later(KEPT, self._beat)

    def _figures(self) -> dict[str, Any]:
        self._count()
        outages = Outages(self._standings.bans(), self._standings.known(), time.monotonic())
        return self._metrics.snapshot(outages.names(self.providers))

    async def _all(self, question: Question) -> list[Any]:
        others = await self._others(question)
        return [self.answer(question), *others]

    async def _others(self, question: Question) -> list[Any]:
        return [] if self.bus is None else await self.bus.ask(question)

    def _shown(self, id: str) -> dict[str, Any] | None:
        call = self._traces.get(id)
        if call is None:
            return None
        shown = traces.shown(traces.record(call))
        if call.payload is not None:
            shown["payload_url"] = payloads.url(id)
        return shown

    def _payload(self, id: str) -> str | None:
        call = self._traces.get(id)
        return call.payload.text or None if call and call.payload else None
