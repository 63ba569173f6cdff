"""Which conversations are whose, told to other processes: to the workers of this machine over their
bus ten times a second, to other machines through the store they share once a second.

Nothing here is on a call's path: who has not heard yet chooses anew.
"""

from __future__ import annotations

import asyncio
from base64 import b64decode, b64encode
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from routeur.stickiness import TTL, Stickiness, made_at
from routeur.store.base import Clock, Store, StoreUnavailable

EVERY = 0.1  # seconds between two batches for workers
ABROAD = 10  # times of that between two for other machines
SLOTS = 3  # batches of one process that lie in the store: who looks late misses none
NEWS = "sticky"

News = dict[str, Any]


class Sharing:
    """`tell` sends news to the other workers of this machine, if there are any.

    With a `store`, other machines are told and heard, too; `home` is what the workers of one have
    in common.
    """

    def __init__(
        self, sticky: Stickiness, tell: Callable[[News], None], clock: Clock, home: str
    ) -> None:
        self._sticky = sticky
        self._tell = tell
        self._clock = clock
        self._home = home
        self._store: Store | None = None
        self._slot = 0
        self._heard: dict[str, tuple[int, float]] = {}  # a value's version, and when it was made
        self._batches: list[bytes] = []  # for other machines
        self._task: asyncio.Task[None] | None = None

    def start(self, store: Store | None) -> None:
        """`store` is one that other machines use, too."""
        self._store = store
        self._sticky.tells = True
        self._task = asyncio.create_task(self._run())

    async def close(self) -> None:
        if self._task is None:
            return
        self._task.cancel()
        if self._store is not None:
            with suppress(StoreUnavailable):
                for slot in range(SLOTS):
                    await self._store.put(self._name(slot), None)

    def hear(self, news: News) -> None:
        """What another worker of this machine has told."""
        self._learn(b64decode(news["batch"]))

    def _learn(self, batch: bytes) -> None:
        self._sticky.learn(batch, self._clock.steady(), self._clock.wall())

    def _name(self, slot: int) -> str:
        assert self._store is not None
        return f"{NEWS}/{self._home}/{self._store.owner}/{slot}"

    async def _run(self) -> None:
        turn = 0
        while True:
            self._say()
            turn += 1
            if self._store is not None and turn % ABROAD == 0:
                with suppress(StoreUnavailable):
                    await self._speak(self._store)
                    await self._listen(self._store)
            await asyncio.sleep(EVERY)

    def _say(self) -> None:
        batch = self._sticky.outgoing(self._clock.wall())
        if batch is None:
            return
        self._tell({"do": NEWS, "batch": b64encode(batch).decode()})
        if self._store is not None:
            self._batches = [*self._batches[-ABROAD:], batch]

    async def _speak(self, store: Store) -> None:
        if not self._batches:
            return
        await store.put(self._name(self._slot), b"\n".join(map(b64encode, self._batches)))
        self._batches = []
        self._slot = (self._slot + 1) % SLOTS

    async def _listen(self, store: Store) -> None:
        values = await store.values(f"{NEWS}/")
        known, self._heard = self._heard, {}
        for name, (raw, version) in values.items():
            if name.startswith(f"{NEWS}/{self._home}/"):
                continue
            heard = known.get(name, (0, 0.0))
            if heard[0] != version:
                heard = version, self._take(raw)
            self._heard[name] = heard
            if self._clock.wall() - heard[1] > 2 * TTL:  # of one that was killed, or damaged
                await store.put(name, None, version)

    def _take(self, raw: bytes) -> float:
        """Learn what another machine has told; returns when it did, in Unix seconds."""
        try:
            batches = [b64decode(line, validate=True) for line in raw.split(b"\n")]
        except ValueError:
            return 0.0
        for batch in batches:
            self._learn(batch)
        return made_at(batches[-1])
