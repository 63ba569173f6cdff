"""What routeurs on several machines tell each other of bans, through the store they share.

Each has one value there, which it writes when there is news and the others read twice a second:
nothing here is on a call's path. Workers of one machine have their bus for that, and leave out each
other's values.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import orjson

from routeur.store.base import Clock, Store, StoreUnavailable

EVERY = 0.5  # seconds between two looks
KEPT = 256  # news of one routeur, for those that look
AGE = 3600.0  # seconds after which what a routeur has written is of one that was killed

News = dict[str, Any]


class Abroad:
    """`home` is what the workers of one machine have in common; `apply` gets the news of others.

    `state` is all there is to know, as news for one that starts.
    """

    def __init__(
        self,
        store: Store,
        home: str,
        clock: Clock,
        apply: Callable[[News], None],
        state: Callable[[], News],
    ) -> None:
        self._store = store
        self._home = home
        self._name = f"news/{home}/{store.owner}"
        self._clock = clock
        self._apply = apply
        self._state = state
        self._said: deque[tuple[int, News]] = deque(maxlen=KEPT)
        self._count = 0
        self._written = -1
        self._heard: dict[str, tuple[int, int]] = {}  # version of a value, number of the last news
        self._task: asyncio.Task[None] | None = None

    def tell(self, news: News) -> None:
        """Let the others know."""
        self._count += 1
        self._said.append((self._count, news))

    async def start(self) -> None:
        """With what the others know; raises StoreUnavailable."""
        await self._listen()
        self._task = asyncio.create_task(self._run())

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            with suppress(StoreUnavailable):
                await self._store.put(self._name, None)

    async def _run(self) -> None:
        while True:
            with suppress(StoreUnavailable):
                await self._speak()
                await self._listen()
            await asyncio.sleep(EVERY)

    async def _speak(self) -> None:
        count = self._count
        if count == self._written:
            return
        value = {"at": self._clock.wall(), "news": [*self._said], "state": self._state()}
        await self._store.put(self._name, orjson.dumps(value))
        self._written = count

    async def _listen(self) -> None:
        for name, (raw, version) in (await self._store.values("news/")).items():
            known, last = self._heard.get(name, (0, -1))
            if version != known and not name.startswith(f"news/{self._home}/"):
                self._heard[name] = version, self._hear(orjson.loads(raw), last)

    def _hear(self, value: dict[str, Any], last: int) -> int:
        """Apply what is new; returns the number of the last news."""
        news = value["news"]
        end = news[-1][0] if news else 0
        if last >= 0 and (not news or news[0][0] <= last + 1):
            for number, each in news:
                if number > last:
                    self._apply(each)
        else:  # a routeur that was not known here, or of which too much was missed
            age = max(0.0, self._clock.wall() - value["at"])
            if age < AGE:
                for each in value["state"]["news"]:
                    if aged := _aged(each, age):
                        self._apply(aged)
        return int(end)


def _aged(news: News, seconds: float) -> News | None:
    """What was said so many seconds ago, if anything of it holds still."""
    ban = news.get("ban")
    if ban and ban["left"] is not None:
        ban = {**ban, "left": ban["left"] - seconds} if ban["left"] > seconds else None
    if news["do"] == "ban":
        return {**news, "ban": ban} if ban else None
    rest = max(0.0, news["rest"] - seconds)
    return {**news, "ban": ban, "rest": rest, "probe": 0.0}
