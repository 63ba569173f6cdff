"""What one process does with its store: keys, what calls reserve, and what they have cost."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable
from secrets import token_hex
from typing import Any

import msgspec

from routeur import payloads, store
from routeur.booking import settlement
from routeur.call import Call
from routeur.keys import Keys, read_secret, require_same_secret
from routeur.payloads import Payloads
from routeur.providers import Secret
from routeur.spending import Terms, Treasury
from routeur.store.base import Clock, Settlement, StoreUnavailable, StoreUnusable
from routeur.store.books import Books
from routeur.traces import Traces, read, shown

KEYS_EVERY = 0.5  # seconds between two looks at what has become of keys
REMEMBERED = 1000  # calls that need not be looked up in the store
ONLY_HERE = 10_000  # where it keeps none


class Bookkeeping:
    """Everything that the store at `address` is for. `say` gets what an operator has to know.

    `keys_changed` is called when other keys are good now, or good for something else. Raises
    ConfigError for a secret that cannot be used.
    """

    def __init__(
        self,
        address: str,
        secret: Secret | None,
        terms: Terms,
        say: Callable[[str], None],
        keys_changed: Callable[[], None],
        *,
        master: Secret | None = None,
        management: Secret | None = None,
        keep_for: float = 7 * 86400,
        keep: int = 1_000_000,
    ) -> None:
        self.clock = Clock()
        self.store = store.make(address, _owner())
        self.secret = read_secret(secret, address)
        self.keys = Keys(master, management, self.secret, self.clock)
        self._spool = store.spool_of(address)
        self._lasting = address != "memory:"
        self.traces = Traces(REMEMBERED if self._lasting else ONLY_HERE)
        self._payloads = Payloads(lasting=self._lasting)
        self.books = Books(
            self.store,
            self._spool,
            say,
            lambda: self.treasury.seen(),
            keep_for=keep_for,
            keep=keep,
        )
        self.treasury = Treasury(self.books, terms, shares=address.startswith("redis"))
        self._keys_changed = keys_changed
        self._say = say
        self._told = False  # that the store does not work
        self._learning = asyncio.Lock()
        self._watching: asyncio.Task[None] | None = None

    async def open(self, *, replace_corrupt: bool = False) -> None:
        """Before the first call. Raises StoreUnusable, StoreUnavailable, and ConfigError for
        another secret than before.
        """
        await self.store.open(replace_corrupt=replace_corrupt)
        try:
            await require_same_secret(self.store, self.secret)
            await self._start_books()
            await self.learn_keys()
        except BaseException:
            await self.store.close()
            raise
        self._watching = asyncio.create_task(self._watch_keys())

    async def _start_books(self) -> None:
        try:
            await self.books.start()
        except OSError as error:
            why = error.strerror or str(error)
            raise StoreUnusable(f"the spool {self._spool} cannot be written: {why}") from error

    async def close(self) -> None:
        """After the last call."""
        if self._watching is not None:
            self._watching.cancel()
            await self.books.stop()
            await self.store.close()

    @property
    def trouble(self) -> str | None:
        """Why the store does not work now."""
        return self.store.trouble

    async def learn_keys(self) -> None:
        """Take over what has changed of virtual keys, whoever has changed it."""
        async with self._learning:
            changes = await self.store.key_changes(self.keys.since)
            if changes.version != self.keys.since:
                self.keys.update(changes)
                self._keys_changed()

    async def _watch_keys(self) -> None:
        while True:
            await asyncio.sleep(KEYS_EVERY)
            try:
                await self.learn_keys()
            except StoreUnavailable:
                pass
            except Exception as error:  # a mistake of ours must not keep a revoked key alive
                self._say(f"changes of keys cannot be read: {error!r}")
            self._tell_trouble()

    def _tell_trouble(self) -> None:
        """Say so once when the store stops to work, and when it does again."""
        trouble = self.trouble
        if trouble is None and self._told:
            self._say("the store works again")
        elif trouble is not None and not self._told:
            self._say(f"the store does not work: {trouble}")
        self._told = trouble is not None

    def finished(self, call: Call) -> None:
        """A call is over: it is in the spool before anything else happens to it."""
        done = settlement(call, traced=self._lasting)
        try:
            if call.payload is not None:
                done = self._with_payload(call, done)
        finally:  # whatever becomes of that
            self.books.book(done)
            self.traces.add(call)
            if call.reserved:
                self.treasury.open.pop(call.id, None)

    def _with_payload(self, call: Call, done: Settlement) -> Settlement:
        text = self._payloads.finish(call, trouble=self.trouble is not None)
        return msgspec.structs.replace(done, trace=payloads.joined(done.trace, text))

    async def trace(self, id: str) -> dict[str, Any] | None:
        """A call's record, whoever has served it."""
        kept = await self.store.trace(id) if self._lasting else None
        if kept is None:
            return None
        key, text = kept
        text, payload = payloads.parted(text)
        found = shown(read(text, id, key or None))
        if payload:
            found["payload_url"] = payloads.url(id)
        return found

    async def payload(self, id: str) -> str | None:
        """What passed in a call, whoever has served it."""
        kept = await self.store.trace(id) if self._lasting else None
        return payloads.parted(kept[1])[1] or None if kept else None


def _owner() -> str:
    """A name for this process that no other one has, or had before."""
    return f"{socket.gethostname()}-{os.getpid()}-{token_hex(6)}"
