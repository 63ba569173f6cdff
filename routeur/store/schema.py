"""The tables of the SQLite file, how older ones become newer, and how the file is opened."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote

from routeur.store.base import StoreUnusable

OLDEST = (3, 35, 0)  # of SQLite: upserts, json_each, quick_check of one table
PATIENCE = 5.0  # seconds for others that open the file at the same time
SMALL = ("keys", "accounts", "reservations", "expired", "owners", "meta")  # checked at every start

# Steps from each version to the next: never changed, only added to. Each ends with its number.
MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        """CREATE TABLE keys (
            n INTEGER PRIMARY KEY, hash TEXT NOT NULL UNIQUE, version INTEGER NOT NULL,
            name TEXT NOT NULL, label TEXT NOT NULL, kind TEXT NOT NULL, disabled INTEGER NOT NULL,
            "limit" INTEGER, limit_reset TEXT, allowed_providers TEXT, allowed_models TEXT,
            rpm INTEGER, tpm INTEGER, max_parallel INTEGER,
            created_at INTEGER NOT NULL, updated_at INTEGER NOT NULL, expires_at INTEGER)""",
        "CREATE INDEX keys_by_version ON keys (version)",
        "CREATE TABLE gone (hash TEXT PRIMARY KEY, version INTEGER NOT NULL) WITHOUT ROWID",
        """CREATE TABLE accounts (
            hash TEXT PRIMARY KEY, usage INTEGER NOT NULL,
            day INTEGER NOT NULL, usage_daily INTEGER NOT NULL,
            week INTEGER NOT NULL, usage_weekly INTEGER NOT NULL,
            month INTEGER NOT NULL, usage_monthly INTEGER NOT NULL,
            reserved INTEGER NOT NULL, parallel INTEGER NOT NULL) WITHOUT ROWID""",
        """CREATE TABLE windows (
            name TEXT PRIMARY KEY, slots BLOB NOT NULL, last INTEGER NOT NULL) WITHOUT ROWID""",
        """CREATE TABLE reservations (
            id TEXT PRIMARY KEY, owner TEXT NOT NULL, key TEXT, attempt INTEGER NOT NULL,
            micro INTEGER NOT NULL, input INTEGER NOT NULL, output INTEGER NOT NULL,
            provider TEXT NOT NULL, model TEXT NOT NULL, taken TEXT NOT NULL,
            seen TEXT NOT NULL) WITHOUT ROWID""",
        """CREATE TABLE expired (
            id TEXT PRIMARY KEY, hour INTEGER NOT NULL, key TEXT NOT NULL, provider TEXT NOT NULL,
            model TEXT NOT NULL, windows TEXT NOT NULL, sums TEXT NOT NULL) WITHOUT ROWID""",
        """CREATE TABLE settled (
            owner TEXT NOT NULL, seq INTEGER NOT NULL, PRIMARY KEY (owner, seq)) WITHOUT ROWID""",
        "CREATE TABLE owners (owner TEXT PRIMARY KEY, seen INTEGER NOT NULL) WITHOUT ROWID",
        """CREATE TABLE usage (
            hour INTEGER NOT NULL, key TEXT NOT NULL, provider TEXT NOT NULL, model TEXT NOT NULL,
            requests INTEGER NOT NULL, unpriced INTEGER NOT NULL, micro INTEGER NOT NULL,
            input INTEGER NOT NULL, cache_read INTEGER NOT NULL, cache_write INTEGER NOT NULL,
            cache_write_1h INTEGER NOT NULL, output INTEGER NOT NULL, reasoning INTEGER NOT NULL,
            audio_in INTEGER NOT NULL, audio_out INTEGER NOT NULL,
            image_in INTEGER NOT NULL, image_out INTEGER NOT NULL,
            PRIMARY KEY (hour, key, provider, model)) WITHOUT ROWID""",
        "CREATE INDEX usage_by_key ON usage (key, hour)",
        """CREATE TABLE totals (
            hour INTEGER NOT NULL, provider TEXT NOT NULL, model TEXT NOT NULL,
            requests INTEGER NOT NULL, unpriced INTEGER NOT NULL, micro INTEGER NOT NULL,
            input INTEGER NOT NULL, cache_read INTEGER NOT NULL, cache_write INTEGER NOT NULL,
            cache_write_1h INTEGER NOT NULL, output INTEGER NOT NULL, reasoning INTEGER NOT NULL,
            audio_in INTEGER NOT NULL, audio_out INTEGER NOT NULL,
            image_in INTEGER NOT NULL, image_out INTEGER NOT NULL,
            PRIMARY KEY (hour, provider, model)) WITHOUT ROWID""",
        """CREATE TABLE traces (
            n INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, key TEXT NOT NULL,
            provider TEXT NOT NULL, model TEXT NOT NULL, started_at REAL NOT NULL,
            ended_at REAL NOT NULL, status INTEGER NOT NULL, input INTEGER NOT NULL,
            output INTEGER NOT NULL, micro INTEGER, trace TEXT NOT NULL)""",
        """CREATE TABLE small (
            name TEXT PRIMARY KEY, value BLOB NOT NULL, version INTEGER NOT NULL) WITHOUT ROWID""",
        "CREATE TABLE meta (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID",
        "INSERT INTO meta (name, value) VALUES ('version', 0)",
        "PRAGMA user_version = 1",
    ),
    (
        """CREATE TABLE kept (
            id TEXT PRIMARY KEY, owner TEXT NOT NULL, at REAL NOT NULL, size INTEGER NOT NULL,
            version INTEGER NOT NULL, body BLOB NOT NULL)""",
        "CREATE INDEX kept_by_age ON kept (at, id, size)",
        "INSERT INTO meta (name, value) VALUES ('kept_size', 0)",
        "PRAGMA user_version = 2",
    ),
)


def prepare(path: Path, *, replace_corrupt: bool = False) -> None:
    """Make the file, or bring it to this version; raises StoreUnusable.

    One that is corrupt is left alone, or renamed if it is to be replaced.
    """
    if sqlite3.sqlite_version_info < OLDEST:
        raise StoreUnusable("SQLite 3.35 or newer is needed, this is " + sqlite3.sqlite_version)
    try:
        _prepare(path)
    except sqlite3.DatabaseError as error:
        if isinstance(error, sqlite3.OperationalError) and not _corrupt(error):
            raise StoreUnusable(f"{path}: {error}") from error
        if not replace_corrupt:
            raise StoreUnusable(
                f"{path} is corrupt ({error}): put a backup in its place, or start once with "
                "--replace-corrupt-store, which keeps this file aside and begins an empty store"
            ) from error
        put_aside(path)
        _prepare(path)
    except OSError as error:
        raise StoreUnusable(f"{path}: {error.strerror}") from error


def _prepare(path: Path) -> None:
    os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
    db = connect(path, PATIENCE)
    try:
        _write_ahead(db)
        migrate(db, MIGRATIONS)
        for table in SMALL:
            found = db.execute("SELECT * FROM pragma_quick_check(?)", (table,)).fetchone()[0]
            if found != "ok":
                raise sqlite3.DatabaseError(f"{table}: {found}")
    finally:
        db.close()


def _write_ahead(db: sqlite3.Connection) -> None:
    """Switch to a write-ahead log; SQLite does not wait by itself for others that do the same."""
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            db.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as error:
            busy = error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY
            if not busy or time.monotonic() > deadline:
                raise
        time.sleep(0.01)


def connect(path: Path, patience: float = 0.0) -> sqlite3.Connection:
    """A connection to a file that exists; it begins and ends transactions only when told.

    `patience` is how long it waits for others, in seconds; to be opened it waits anyhow, as whoever
    closes it as the last one has it for himself.
    """
    address = f"file:{quote(str(path.absolute()))}?mode=rw"
    db = sqlite3.connect(
        address, uri=True, timeout=PATIENCE, isolation_level=None, check_same_thread=False
    )
    try:
        db.execute("PRAGMA synchronous = NORMAL")  # the spool is what survives a power cut
        db.execute("PRAGMA cache_size = -2048")  # KiB: calls come in order
        db.execute("PRAGMA wal_autocheckpoint = 0")  # checkpoints.py does it
        db.execute("PRAGMA journal_size_limit = 67108864")
        db.execute(f"PRAGMA busy_timeout = {round(patience * 1000)}")
    except BaseException:  # it is no database
        db.close()
        raise
    return db


def migrate(db: sqlite3.Connection, migrations: Sequence[Sequence[str]]) -> None:
    """Bring a database to the last version, all the way or not at all."""
    db.execute("BEGIN IMMEDIATE")
    try:
        version = db.execute("PRAGMA user_version").fetchone()[0]
        if version > len(migrations):
            raise StoreUnusable(
                f"the store has version {version}, this routeur knows up to {len(migrations)}: "
                "use a newer routeur"
            )
        for statements in migrations[version:]:
            for statement in statements:
                db.execute(statement)
        db.execute("COMMIT")
    except BaseException:
        db.execute("ROLLBACK")
        raise


def put_aside(path: Path) -> None:
    """Rename a database and what belongs to it."""
    mark = time.strftime(".corrupt-%Y%m%dT%H%M%S", time.gmtime())
    for suffix in ("", "-wal", "-shm"):
        part = path.with_name(path.name + suffix)
        if part.exists():
            part.rename(path.with_name(path.name + mark + suffix))


def _corrupt(error: sqlite3.Error) -> bool:
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    return code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
