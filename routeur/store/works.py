"""What is written to the SQLite file besides calls: keys, owners, responses, small values.

Each is done in a transaction of its own.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from routeur.store.base import Kept, Key, Seen
from routeur.store.tables import Tables, key_of, key_row
from routeur.store.windows import WINDOW

KEY = """SELECT hash, name, label, kind, disabled, "limit", limit_reset, allowed_providers,
    allowed_models, rpm, tpm, max_parallel, created_at, updated_at, expires_at FROM keys
    WHERE hash = ?"""
ADD_KEY = """INSERT INTO keys (hash, name, label, kind, disabled, "limit", limit_reset,
    allowed_providers, allowed_models, rpm, tpm, max_parallel, created_at, updated_at, expires_at,
    version) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"""
CHANGE_KEY = """UPDATE keys SET hash = ?, name = ?, label = ?, kind = ?, disabled = ?, "limit" = ?,
    limit_reset = ?, allowed_providers = ?, allowed_models = ?, rpm = ?, tpm = ?,
    max_parallel = ?, created_at = ?, updated_at = ?, expires_at = ?, version = ? WHERE hash = ?"""
KEEP = """INSERT INTO kept VALUES (?, ?, ?, ?, 1, ?) ON CONFLICT (id) DO UPDATE SET
    at = excluded.at, size = excluded.size, version = version + 1, body = excluded.body
    WHERE owner = excluded.owner"""
NEW_ACCOUNT = "INSERT INTO accounts VALUES (?, 0, 0, 0, 0, 0, 0, 0, 0, 0)"


def add_key(tables: Tables, key: Key) -> bool:
    db = tables.db
    if db.execute("SELECT 1 FROM keys WHERE hash = ?", (key.hash,)).fetchone():
        return False
    db.execute(ADD_KEY, [*key_row(key), _next_version(tables)])
    db.execute(NEW_ACCOUNT, (key.hash,))
    db.execute("DELETE FROM gone WHERE hash = ?", (key.hash,))
    return True


def change_key(tables: Tables, hash: str, changes: Mapping[str, Any]) -> Key | None:
    row = tables.db.execute(KEY, (hash,)).fetchone()
    if row is None:
        return None
    key = dataclasses.replace(key_of(row), **changes)
    tables.db.execute(CHANGE_KEY, [*key_row(key), _next_version(tables), hash])
    return key


def remove_key(tables: Tables, hash: str) -> bool:
    db = tables.db
    if not db.execute("DELETE FROM keys WHERE hash = ?", (hash,)).rowcount:
        return False
    db.execute("DELETE FROM accounts WHERE hash = ?", (hash,))
    db.execute("REPLACE INTO gone VALUES (?, ?)", (hash, _next_version(tables)))
    return True


def beat(tables: Tables, owner: str, kept_from: int, seen: Sequence[Seen], now: int) -> None:
    """The owner is alive; what its spool no longer holds need not be remembered."""
    tables.db.execute("REPLACE INTO owners VALUES (?, ?)", (owner, now))
    tables.db.execute("DELETE FROM settled WHERE owner = ? AND seq < ?", (owner, kept_from))
    tables.db.execute("DELETE FROM windows WHERE last NOT BETWEEN ? AND ?", (now - WINDOW, now))
    tables.bring([each.id for each in seen], (), set(), set(), now)
    tables.ledger.see(seen)


def expire(tables: Tables, owner: str, silence: float, wall: float, now: int) -> int:
    """End owners that were silent. One that was seen later than now was before a restart."""
    silent = tables.db.execute(
        "SELECT owner FROM owners WHERE owner <> ? AND seen NOT BETWEEN ? AND ?",
        (owner, now - int(silence * 1000), now + 1000),
    ).fetchall()
    return sum([_end(tables, each, wall) for (each,) in silent])


def leave(tables: Tables, owner: str, wall: float) -> int:
    tables.db.execute("DELETE FROM owners WHERE owner = ?", (owner,))
    tables.db.execute("DELETE FROM settled WHERE owner = ?", (owner,))
    return _end(tables, owner, wall)


def prune(tables: Tables, before: float, keep: int, at_most: int) -> int:
    db = tables.db
    last = db.execute("SELECT MAX(n) FROM traces").fetchone()[0] or 0
    gone = 0
    oldest = db.execute("SELECT n, ended_at FROM traces ORDER BY n LIMIT ?", (at_most,))
    for n, ended_at in oldest.fetchall():
        if n > last - keep and ended_at >= before:
            break
        gone = n
    return db.execute("DELETE FROM traces WHERE n <= ?", (gone,)).rowcount


def keep(tables: Tables, items: Sequence[Kept]) -> None:
    for item in items:
        _keep(tables, item)


def renew(tables: Tables, item: Kept) -> int | None:
    known = "SELECT 1 FROM kept WHERE id = ? AND owner = ? AND version = ?"
    if tables.db.execute(known, (item.id, item.owner, item.version)).fetchone() is None:
        return None
    _keep(tables, item)
    return item.version + 1


def _keep(tables: Tables, item: Kept) -> None:
    db, size = tables.db, len(item.body)
    old = db.execute("SELECT size FROM kept WHERE id = ?", (item.id,)).fetchone()
    row = (item.id, item.owner, item.at, size, item.body)
    if db.execute(KEEP, row).rowcount:
        _grow(tables, size - (old[0] if old else 0))


def drop(tables: Tables, id: str, owner: str) -> bool:
    db = tables.db
    old = db.execute("SELECT size FROM kept WHERE id = ? AND owner = ?", (id, owner)).fetchone()
    if old is None:
        return False
    db.execute("DELETE FROM kept WHERE id = ?", (id,))
    _grow(tables, -old[0])
    return True


def evict(tables: Tables, before: float, max_size: int, at_most: int) -> int:
    db = tables.db
    left = db.execute("SELECT value FROM meta WHERE name = 'kept_size'").fetchone()[0]
    gone, size = [], 0
    oldest = db.execute("SELECT id, at, size FROM kept ORDER BY at LIMIT ?", (at_most,))
    for id, at, each in oldest.fetchall():
        if at >= before and left - size <= max_size:
            break
        gone.append((id,))
        size += each
    db.executemany("DELETE FROM kept WHERE id = ?", gone)
    _grow(tables, -size)
    return len(gone)


def _grow(tables: Tables, size: int) -> None:
    """Bytes of bodies that are kept: the sum, so that nobody has to add them up."""
    tables.db.execute("UPDATE meta SET value = value + ? WHERE name = 'kept_size'", (size,))


def put(tables: Tables, name: str, value: bytes | None, version: int | None) -> int | None:
    row = tables.db.execute("SELECT version FROM small WHERE name = ?", (name,)).fetchone()
    if version is not None and version != (row[0] if row else 0):
        return None
    new = _next_version(tables)
    if value is None:
        tables.db.execute("DELETE FROM small WHERE name = ?", (name,))
    else:
        tables.db.execute("REPLACE INTO small VALUES (?, ?, ?)", (name, value, new))
    return new


def _end(tables: Tables, owner: str, wall: float) -> int:
    tables.bring_owner(owner)
    return tables.ledger.end_of(owner, wall)


def _next_version(tables: Tables) -> int:
    update = "UPDATE meta SET value = value + 1 WHERE name = 'version'"
    tables.db.execute(update)
    row = tables.db.execute("SELECT value FROM meta WHERE name = 'version'").fetchone()
    return int(row[0])
