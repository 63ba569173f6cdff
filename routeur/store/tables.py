"""Rows of the SQLite file, and the ledger's values that they are."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Collection, Iterable, Sequence
from dataclasses import fields
from itertools import chain
from operator import itemgetter
from typing import Any

import msgspec

from routeur.store.accounts import Account
from routeur.store.base import BUCKETS, INPUTS, Entry, Key, Settlement
from routeur.store.ledger import Changed, Expired, Group, Held, Ledger, added
from routeur.store.windows import Window

FIELDS = tuple(field.name for field in fields(Key))  # the order of the columns below
LISTS = (FIELDS.index("allowed_providers"), FIELDS.index("allowed_models"))
DISABLED = FIELDS.index("disabled")
KEYS = """SELECT hash, name, label, kind, disabled, "limit", limit_reset, allowed_providers,
    allowed_models, rpm, tpm, max_parallel, created_at, updated_at, expires_at FROM keys
    WHERE hash IN (SELECT value FROM json_each(?))"""
BALANCES = """SELECT hash, usage, day, usage_daily, week, usage_weekly, month, usage_monthly,
    reserved, parallel FROM accounts WHERE hash IN (SELECT value FROM json_each(?))"""
SLOTS = "SELECT name, slots FROM windows WHERE name IN (SELECT value FROM json_each(?))"
HELD = """SELECT id, owner, key, attempt, micro, input, output, provider, model, taken, seen
    FROM reservations WHERE id IN (SELECT value FROM json_each(?))"""
HELD_BY = """SELECT id, owner, key, attempt, micro, input, output, provider, model, taken, seen
    FROM reservations WHERE owner = ?"""
NOT_HELD = "DELETE FROM reservations WHERE id IN (SELECT value FROM json_each(?))"
LATE = """SELECT id, hour, key, provider, model, windows, sums FROM expired
    WHERE id IN (SELECT value FROM json_each(?))"""
NOT_LATE = "DELETE FROM expired WHERE id IN (SELECT value FROM json_each(?))"
BOOKED = "SELECT seq FROM settled WHERE owner = ? AND seq BETWEEN ? AND ?"
SETTLED = "INSERT INTO settled SELECT ?, value FROM json_each(?)"
Place = tuple[str, int]  # an owner, and a number in its spool

_encode = msgspec.json.Encoder().encode
_inputs = itemgetter(*(BUCKETS.index(name) for name in INPUTS))


class Insert:
    """A statement that inserts many rows in few steps: each lets go of the interpreter's lock."""

    SIZES = (256, 64, 16, 4, 1)

    def __init__(self, head: str, columns: int, tail: str = "") -> None:
        row = "(" + ", ".join(["?"] * columns) + ")"
        self._texts = [(size, head + ", ".join([row] * size) + tail) for size in self.SIZES]

    def run(self, db: sqlite3.Connection, rows: Sequence[Sequence[Any]]) -> None:
        at = 0
        for size, text in self._texts:
            while len(rows) - at >= size:
                db.execute(text, [*chain.from_iterable(rows[at : at + size])])
                at += size


ACCOUNTS = Insert("REPLACE INTO accounts VALUES ", 10)
WINDOWS = Insert("REPLACE INTO windows VALUES ", 3)
RESERVATIONS = Insert("REPLACE INTO reservations VALUES ", 11)
EXPIRIES = Insert("REPLACE INTO expired VALUES ", 7)
TRACES = Insert(
    """INSERT OR IGNORE INTO traces (id, key, provider, model, started_at, ended_at, status,
    input, output, micro, trace) VALUES """,
    11,
)
ADD = """ ON CONFLICT DO UPDATE SET requests = requests + excluded.requests,
    unpriced = unpriced + excluded.unpriced, micro = micro + excluded.micro,
    input = input + excluded.input, cache_read = cache_read + excluded.cache_read,
    cache_write = cache_write + excluded.cache_write,
    cache_write_1h = cache_write_1h + excluded.cache_write_1h, output = output + excluded.output,
    reasoning = reasoning + excluded.reasoning, audio_in = audio_in + excluded.audio_in,
    audio_out = audio_out + excluded.audio_out, image_in = image_in + excluded.image_in,
    image_out = image_out + excluded.image_out"""
SUMS = Insert("INSERT INTO usage VALUES ", 17, ADD)
TOTALS = Insert("INSERT INTO totals VALUES ", 16, ADD)  # of all keys


class Tables:
    """Brings a ledger what an operation is about, and keeps what has changed.

    What was brought is used again, until somebody else has written to the file.
    """

    def __init__(self, db: sqlite3.Connection) -> None:
        self.db = db
        self.ledger = Ledger()
        self._version = -1
        self._absent: set[str] = set()  # hashes that are no key's

    def refresh(self) -> None:
        """Forget what may have changed; within a transaction, so that it stays true in it."""
        version = self.db.execute("PRAGMA data_version").fetchone()[0]
        if version != self._version or len(self.ledger.accounts) + len(self._absent) > 10_000:
            self._version = version
            self.forget()

    def forget(self) -> None:
        self.ledger.forget()
        self._absent.clear()

    def bring(
        self,
        ids: Collection[str],
        late: Collection[str],
        hashes: set[str],
        names: set[str],
        now: int,
    ) -> None:
        """Calls by id, those of them that may have expired, keys by hash, windows by name."""
        ledger = self.ledger
        wanted = [id for id in ids if id not in ledger.held]
        for row in self._rows(HELD, wanted):
            self.add_held(row)
        self._bring_late(late)
        hashes.update(held.key for id in ids if (held := ledger.held.get(id)) and held.key)
        hashes.update(each.group[1] for each in ledger.expired.values())
        self.bring_keys(hashes)
        for hash in hashes:
            key = ledger.keys.get(hash)
            if key is not None and (key.rpm is not None or key.tpm is not None):
                names.add("key " + hash)
        for id in ids:
            if id in ledger.held:
                names.update(name for _, name, _, _ in ledger.held[id].taken)
        self._bring_windows([name for name in names if name not in ledger.windows], now)

    def bring_keys(self, hashes: Iterable[str]) -> None:
        ledger = self.ledger
        wanted = [h for h in hashes if h not in ledger.accounts and h not in self._absent]
        if wanted:
            self._absent.update(wanted)
            for row in self._rows(KEYS, wanted):
                ledger.keys[row[0]] = key_of(row)
            for row in self._rows(BALANCES, wanted):
                ledger.accounts[row[0]] = Account(*row[1:])
                self._absent.discard(row[0])

    def bring_owner(self, owner: str) -> None:
        """All that an owner's calls hold, and what that is of."""
        for row in self.db.execute(HELD_BY, (owner,)).fetchall():
            self.add_held(row)
        held = [each for each in self.ledger.held.values() if each.owner == owner]
        self._bring_late([each.id for each in held])  # of what has come back since
        self.bring_keys({each.key for each in held if each.key})

    def add_held(self, row: Sequence[Any]) -> None:
        held = self.ledger.held[row[0]] = Held(*row[:9])
        held.taken = [(place[0], place[1], place[2], place[3]) for place in json.loads(row[9])]
        seen = json.loads(row[10])
        held.seen = (seen[0], seen[1]) if seen else None

    def _bring_windows(self, names: list[str], now: int) -> None:
        windows = self.ledger.windows
        for name, slots in self._rows(SLOTS, names):
            windows[name] = Window.unpacked(slots, now)
        windows.update((name, Window()) for name in names if name not in windows)

    def _bring_late(self, ids: Collection[str]) -> None:
        for row in self._rows(LATE, ids):
            self.ledger.expired[row[0]] = _expired(row)

    def _rows(self, statement: str, wanted: Collection[str]) -> list[Any]:
        if not wanted:
            return []
        return self.db.execute(statement, (_json([*wanted]),)).fetchall()

    def unbooked(self, entries: Sequence[Entry]) -> dict[Place, Settlement]:
        """Those that were not booked before, by place; from now on they are."""
        new = {(entry.owner, entry.seq): entry.settlement for entry in entries}
        for owner in {owner for owner, _ in new}:
            seqs = [seq for of, seq in new if of == owner]
            booked = self.db.execute(BOOKED, (owner, min(seqs), max(seqs))).fetchall()
            for (seq,) in booked:
                new.pop((owner, seq), None)
            if booked:
                seqs = [seq for of, seq in new if of == owner]
            self.db.execute(SETTLED, (owner, _json(seqs)))
        return new

    def keep(self) -> None:
        """Write what the ledger has changed."""
        ledger, changed = self.ledger, self.ledger.changed
        accounts = ((hash, ledger.accounts[hash]) for hash in changed.accounts)
        ACCOUNTS.run(self.db, [(hash, *account.row()) for hash, account in accounts])
        WINDOWS.run(self.db, [_window_row(name, ledger.windows[name]) for name in changed.windows])
        held = [ledger.held[id] for id in changed.held if id in ledger.held]
        RESERVATIONS.run(self.db, [_held_row(each) for each in held])
        gone = [id for id in changed.held if id not in ledger.held]
        self._rows(NOT_HELD, gone)
        expired = [id for id in changed.expired if id in ledger.expired]
        EXPIRIES.run(self.db, [_expired_row(id, ledger.expired[id]) for id in expired])
        gone = [id for id in changed.expired if id not in ledger.expired]
        self._rows(NOT_LATE, gone)
        SUMS.run(self.db, [(*group, *sums) for group, sums in changed.sums.items()])
        totals: dict[tuple[int, str, str], list[int]] = {}
        for (hour, _, provider, model), sums in changed.sums.items():
            added(totals, (hour, provider, model), sums)
        TOTALS.run(self.db, [(*group, *sums) for group, sums in totals.items()])
        ledger.changed = Changed()


def trace_row(done: Settlement) -> tuple[Any, ...]:
    provider = model = ""
    micro, tokens_in, tokens_out = None, 0, 0
    for charge in done.charges:
        provider, model = charge.provider, charge.model
        if charge.micro is not None:
            micro = (micro or 0) + charge.micro
        given = sum(_inputs(charge.tokens))
        tokens_in += given
        tokens_out += sum(charge.tokens) - given
    return (
        *(done.id, done.key, provider, model, done.started_at, done.ended_at, done.status),
        *(tokens_in, tokens_out, micro, done.trace),
    )


def _json(value: Any) -> str:
    return _encode(value).decode()


def key_of(row: Sequence[Any]) -> Key:
    values = [*row[: len(FIELDS)]]
    values[DISABLED] = bool(values[DISABLED])
    for at in LISTS:
        values[at] = None if values[at] is None else tuple(json.loads(values[at]))
    return Key(*values)


def key_row(key: Key) -> list[Any]:
    values = [getattr(key, name) for name in FIELDS]
    for at in LISTS:
        values[at] = None if values[at] is None else _json(values[at])
    return values


def _held_row(held: Held) -> tuple[Any, ...]:
    return (
        *(held.id, held.owner, held.key, held.attempt, held.micro, held.input, held.output),
        *(held.provider, held.model, _json(held.taken), _json(held.seen)),
    )


def _window_row(name: str, window: Window) -> tuple[str, bytes, int]:
    return name, window.packed(), window.slots[-3] if window.slots else 0


def _expired(row: Sequence[Any]) -> Expired:
    _, hour, key, provider, model, windows, sums = row
    group: Group = hour, key, provider, model
    day, week, month = json.loads(windows)
    return Expired(group, (day, week, month), json.loads(sums))


def _expired_row(id: str, expired: Expired) -> tuple[Any, ...]:
    return id, *expired.group, _json(expired.windows), _json(expired.sums)
