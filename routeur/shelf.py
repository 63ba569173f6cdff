"""Where responses are kept: found at once, written a little later, forgotten in time.

A response is on the shelf in the turn of the loop in which it ends; the store is never waited for.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

from routeur.dialects.base import Json
from routeur.errors import ClientError, NotFound, RouteurError, TooLarge
from routeur.recording import Recording, is_long
from routeur.responses import (
    LINKS,
    REFERENCE,
    REFERRED,
    Item,
    Stored,
    context,
    continued,
    deleted,
    is_stored,
    items_of,
    not_found,
    own_input,
    pack,
    previous_not_found,
    referred,
    require_calls,
    response_of,
    unpack,
    with_input,
)
from routeur.store.base import Kept, Store, StoreUnavailable

PAUSE = 0.1  # seconds, in which what comes is written together
AGAIN = 1.0  # seconds after which what could not be written is tried again
WAITING = 10_000  # responses that wait for a store that does not work; older ones are given up
LARGE = 256 * 1024  # bytes of JSON, from which on packing is a thread's work
EVICTION = 60.0  # seconds between two looks for what is too old
AT_ONCE = 500  # that are forgotten in one step


# Members of a request for a response that say something about others, or how it is made.
STATEFUL = frozenset("previous_response_id conversation background context_management".split())


@dataclass(frozen=True, slots=True)
class Prepared:
    """A request for a response, as providers get it.

    `recording` is for an answer that is translated. `place` is the only provider and credential
    that can answer it; None: any. `unknown`: it goes on from a response that nobody here has made.
    """

    raw: bytes
    recording: Recording
    place: tuple[str, str] | None = None
    unknown: str = ""


class Shelf:
    """The responses of all keys. `keep` is in seconds, `max_size` in bytes; `lost` is told how many
    could not be written. `shared`: other processes write to the store, too.
    """

    def __init__(
        self,
        store: Store,
        keep: float,
        max_size: int,
        lost: Callable[[int], None],
        *,
        shared: bool = False,
    ) -> None:
        self.keep = keep
        self.max_size = max_size
        self._shared = shared
        self._store = store
        self._lost = lost
        self._waiting: dict[str, Stored] = {}
        self._news = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        self._tasks = [asyncio.create_task(self._write()), asyncio.create_task(self._tidy())]

    async def stop(self) -> None:
        """Write what waits, if the store takes it, and end."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        with suppress(StoreUnavailable):
            await self._flush()

    # ---- responses

    def add(self, stored: Stored) -> None:
        """From now on it is found."""
        self._waiting[stored.id] = stored
        if len(self._waiting) > WAITING:
            del self._waiting[next(iter(self._waiting))]
            self._lost(1)
        self._news.set()

    async def find(self, id: str, owner: str) -> Stored | None:
        """The response; None: nobody's. Raises NotFound for another key's, StoreUnavailable."""
        found = self._waiting.get(id)
        if found is None:
            kept = await self._store.kept(id)
            if kept is None and self._shared:  # somebody may be about to write it
                await asyncio.sleep(2 * PAUSE)
                kept = await self._store.kept(id)
            found = unpack(kept) if kept else None
        if found is not None and found.owner != owner:
            raise not_found(id)
        return found

    async def get(self, id: str, owner: str) -> Stored:
        """The response; raises NotFound if it is not this key's."""
        found = await self.find(id, owner)
        if found is None:
            raise not_found(id)
        return found

    async def delete(self, id: str, owner: str) -> bytes:
        """The answer to who deletes it; raises NotFound."""
        found = await self.get(id, owner)
        waited = self._waiting.pop(found.id, None) is not None
        if not await self._store.drop(id, owner) and not waited:
            raise not_found(id)
        return deleted(id)

    # ---- conversations

    async def previous(self, id: str, owner: str) -> Stored | None:
        """The response that a request goes on from; None: nobody's. Another's is not found."""
        try:
            return await self.find(id, owner)
        except StoreUnavailable:
            raise
        except RouteurError:
            raise previous_not_found(id) from None

    async def said(self, last: Stored) -> tuple[Item, ...]:
        """All that was said up to a response that is kept here; raises ClientError for a gap."""
        return context(await self._chain(last))

    async def before(self, stored: Stored) -> tuple[Item, ...]:
        """All that a response was made of: its input, after what was said before."""
        chain = await self._chain(stored)
        return (*context(chain[:-1]), *stored.input)

    async def _chain(self, last: Stored) -> list[Stored]:
        """The responses of a conversation, the oldest first."""
        chain = [last]
        while chain[-1].previous:
            one = await self.previous(chain[-1].previous, last.owner)
            if one is None or one.pinned or len(chain) > LINKS:
                raise previous_not_found(chain[-1].previous)
            chain.append(one)
        return chain[::-1]

    async def prepare(self, raw: bytes, body: Json, owner: str, max_body: int) -> Prepared:
        """A request with what was said before in its input.

        Raises ClientError, StoreUnavailable.
        """
        id = body.get("previous_response_id")
        if REFERENCE in raw:
            raw = await self._looked_up(raw, owner, max_body)
        recording = Recording(owner, own_input(raw), keeps=is_stored(body))
        if id is None:
            return Prepared(raw, recording)
        if not isinstance(id, str):
            raise ClientError(
                "`previous_response_id` must be a string", param="previous_response_id"
            )
        last = await self.previous(id, owner)
        if last is None:
            return Prepared(raw, recording, unknown=id)
        if last.pinned:
            return Prepared(raw, recording, (last.provider, last.credential))
        if body.get("conversation") is not None:
            raise ClientError(
                "`previous_response_id` and `conversation` cannot be used together",
                param="previous_response_id",
            )
        before = await self.said(last)
        require_calls(before, recording.new)
        raw = _bounded(continued(raw, before), max_body)
        # A stream that lasts keeps it in memory.
        needed = before if is_long(last) else ()
        return Prepared(raw, replace(recording, previous=last, before=needed, after=id))

    async def _looked_up(self, raw: bytes, owner: str, max_body: int) -> bytes:
        """The body with the items that are kept here in the place of references to them."""
        given = list(own_input(raw))
        known: dict[str, dict[str, Item]] = {}  # of responses, the items by their ids
        found = False
        for at, item in enumerate(given):
            id = referred(item)
            response = response_of(id)
            if response and response not in known and len(known) < REFERRED:
                known[response] = await self._made(response, owner)
            if made := known.get(response, {}).get(id):
                given[at], found = made, True
        return _bounded(with_input(raw, given), max_body) if found else raw

    async def _made(self, id: str, owner: str) -> dict[str, Item]:
        """The output of a response by the items' ids; nothing, if it is not this key's."""
        try:
            found = await self.find(id, owner)
        except NotFound:
            return {}
        return {} if found is None else items_of(found.response)

    # ---- writing

    async def _write(self) -> None:
        while True:
            await self._news.wait()
            await asyncio.sleep(PAUSE)
            try:
                await self._flush()
            except StoreUnavailable:
                await asyncio.sleep(AGAIN)

    async def _flush(self) -> None:
        self._news.clear()
        batch = [*self._waiting.values()]
        try:
            packed = await _packed(batch)
            # What was deleted meanwhile must not come back.
            there = [kept for kept, each in zip(packed, batch, strict=True) if self._waits(each)]
            if there:
                await self._store.keep(there)
        except BaseException:
            self._news.set()
            raise
        for each in batch:
            if self._waits(each):
                del self._waiting[each.id]

    def _waits(self, stored: Stored) -> bool:
        return self._waiting.get(stored.id) is stored

    async def _tidy(self) -> None:
        """What is too old goes, and the oldest when all is too large."""
        while True:
            gone = 0
            with suppress(StoreUnavailable):
                gone = await self._store.evict(time.time() - self.keep, self.max_size, AT_ONCE)
            await asyncio.sleep(0 if gone == AT_ONCE else EVICTION)


async def _packed(batch: Sequence[Stored]) -> list[Kept]:
    """For the store; what is large is packed beside the loop."""
    found = []
    for each in batch:
        size = len(each.response) + sum(map(len, each.input))
        found.append(pack(each) if size < LARGE else await asyncio.to_thread(pack, each))
    return found


def _bounded(raw: bytes, max_body: int) -> bytes:
    """The body; raises TooLarge."""
    if len(raw) > max_body:
        raise TooLarge(f"the conversation is larger than {max_body} bytes (server.max_body)")
    return raw
