"""What is read from the SQLite file, beside the thread that writes."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from itertools import takewhile
from pathlib import Path
from typing import Any, TypeVar

from routeur.store.accounts import Account
from routeur.store.base import (
    Balance,
    Granularity,
    Kept,
    Key,
    KeyChanges,
    Span,
    StoreUnavailable,
    Used,
)
from routeur.store.ledger import added
from routeur.store.reports import begin, hours, used
from routeur.store.schema import connect
from routeur.store.tables import FIELDS, key_of

Result = TypeVar("Result")

KEYS = """SELECT hash, name, label, kind, disabled, "limit", limit_reset, allowed_providers,
    allowed_models, rpm, tpm, max_parallel, created_at, updated_at, expires_at, usage, day,
    usage_daily, week, usage_weekly, month, usage_monthly, reserved, parallel
    FROM keys JOIN accounts USING (hash) """
CHANGED = """SELECT hash, name, label, kind, disabled, "limit", limit_reset, allowed_providers,
    allowed_models, rpm, tpm, max_parallel, created_at, updated_at, expires_at
    FROM keys WHERE version > ?"""
BY_MODEL = """SELECT provider, model, hour, SUM(requests), SUM(unpriced), SUM(micro),
    SUM(input), SUM(cache_read), SUM(cache_write), SUM(cache_write_1h), SUM(output), SUM(reasoning),
    SUM(audio_in), SUM(audio_out), SUM(image_in), SUM(image_out) FROM totals
    WHERE hour >= :first AND hour < :last
    AND (:provider IS NULL OR provider = :provider) AND (:model IS NULL OR model = :model)
    GROUP BY provider, model ORDER BY provider, model"""
BY_HOUR = """SELECT provider, model, hour, SUM(requests), SUM(unpriced), SUM(micro),
    SUM(input), SUM(cache_read), SUM(cache_write), SUM(cache_write_1h), SUM(output), SUM(reasoning),
    SUM(audio_in), SUM(audio_out), SUM(image_in), SUM(image_out) FROM totals
    WHERE hour >= :first AND hour < :last
    AND (:provider IS NULL OR provider = :provider) AND (:model IS NULL OR model = :model)
    GROUP BY hour ORDER BY hour"""
BY_MODEL_OF_KEY = """SELECT provider, model, hour, SUM(requests), SUM(unpriced), SUM(micro),
    SUM(input), SUM(cache_read), SUM(cache_write), SUM(cache_write_1h), SUM(output), SUM(reasoning),
    SUM(audio_in), SUM(audio_out), SUM(image_in), SUM(image_out) FROM usage
    WHERE key = :key AND hour >= :first AND hour < :last
    AND (:provider IS NULL OR provider = :provider) AND (:model IS NULL OR model = :model)
    GROUP BY provider, model ORDER BY provider, model"""
BY_HOUR_OF_KEY = """SELECT provider, model, hour, SUM(requests), SUM(unpriced), SUM(micro),
    SUM(input), SUM(cache_read), SUM(cache_write), SUM(cache_write_1h), SUM(output), SUM(reasoning),
    SUM(audio_in), SUM(audio_out), SUM(image_in), SUM(image_out) FROM usage
    WHERE key = :key AND hour >= :first AND hour < :last
    AND (:provider IS NULL OR provider = :provider) AND (:model IS NULL OR model = :model)
    GROUP BY hour ORDER BY hour"""


class Reader:
    """One connection, for one thread at a time; opened when first needed, and after errors."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._db: sqlite3.Connection | None = None
        self._seen: tuple[int, int] | None = None  # a state of the file in which nothing was new

    def run(self, read: Callable[[sqlite3.Connection], Result]) -> Result:
        try:
            if self._db is None:
                self._db = connect(self._path)
                self._db.execute("PRAGMA query_only = ON")
                self._db.execute("PRAGMA busy_timeout = 500")
            return read(self._db)
        except sqlite3.Error as error:
            self.close()
            raise StoreUnavailable(f"the store cannot be read: {error}") from error

    def close(self) -> None:
        if self._db is not None:
            self._db.close()
            self._db = None
            self._seen = None

    def key_changes(self, db: sqlite3.Connection, since: int) -> KeyChanges:
        """Nothing is looked up while nobody has written to the file since the last time."""
        seen = db.execute("PRAGMA data_version").fetchone()[0], since
        if seen == self._seen:
            return KeyChanges(since, (), ())
        found = _key_changes(db, since)
        self._seen = seen if found.version == since else None
        return found


def _key_changes(db: sqlite3.Connection, since: int) -> KeyChanges:
    db.execute("BEGIN")
    try:
        version = db.execute("SELECT value FROM meta WHERE name = 'version'").fetchone()[0]
        if version == since:
            return KeyChanges(version, (), ())
        keys = tuple(key_of(row) for row in db.execute(CHANGED, (since,)).fetchall())
        gone = db.execute("SELECT hash FROM gone WHERE version > ?", (since,)).fetchall()
        return KeyChanges(version, keys, tuple(hash for (hash,) in gone))
    finally:
        db.execute("COMMIT")


def key(db: sqlite3.Connection, hash: str, wall: float) -> tuple[Key, Balance] | None:
    row = db.execute(KEYS + "WHERE hash = ?", (hash,)).fetchone()
    return _with_balance(row, wall) if row else None


def keys(
    db: sqlite3.Connection, offset: int, size: int, include_disabled: bool, wall: float
) -> list[tuple[Key, Balance]]:
    rows = db.execute(
        KEYS + "WHERE ? OR NOT disabled ORDER BY n LIMIT ? OFFSET ?",
        (include_disabled, size, offset),
    )
    return [_with_balance(row, wall) for row in rows.fetchall()]


def _with_balance(row: Any, wall: float) -> tuple[Key, Balance]:
    account = Account(*row[len(FIELDS) :])
    account.roll(wall)
    return key_of(row), account.balance()


def trace(db: sqlite3.Connection, id: str, key: str | None) -> tuple[str, str] | None:
    found = db.execute(
        "SELECT key, trace FROM traces WHERE id = ? AND (? IS NULL OR key = ?)", (id, key, key)
    ).fetchone()
    return (found[0], found[1]) if found else None


def by_model(db: sqlite3.Connection, span: Span) -> list[Used]:
    statement = BY_MODEL if span.key is None else BY_MODEL_OF_KEY
    rows = db.execute(statement, _asked(span)).fetchall()
    return [used(row[3:], row[0], row[1]) for row in rows]


def by_time(db: sqlite3.Connection, span: Span, granularity: Granularity) -> list[Used]:
    statement = BY_HOUR if span.key is None else BY_HOUR_OF_KEY
    sums: dict[int, list[int]] = {}
    for row in db.execute(statement, _asked(span)).fetchall():
        added(sums, begin(row[2], granularity), [*row[3:]])
    return [used(row, start=start) for start, row in sums.items()]


def _asked(span: Span) -> dict[str, Any]:
    first, last = hours(span)
    some = {"provider": span.provider, "model": span.model, "key": span.key}
    return {"first": first, "last": last, **some}


def kept(db: sqlite3.Connection, id: str) -> Kept | None:
    found = db.execute("SELECT id, owner, at, body, version FROM kept WHERE id = ?", (id,))
    row = found.fetchone()
    return Kept(*row) if row else None


def values(db: sqlite3.Connection, prefix: str) -> dict[str, tuple[bytes, int]]:
    rows = db.execute(
        "SELECT name, value, version FROM small WHERE name >= ? ORDER BY name", (prefix,)
    ).fetchall()
    found = takewhile(lambda row: row[0].startswith(prefix), rows)
    return {name: (value, version) for name, value, version in found}
