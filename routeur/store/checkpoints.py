"""Moves what the log holds into the database, beside the thread that writes: syncing takes long."""

from __future__ import annotations

import sqlite3
import threading
from contextlib import suppress
from pathlib import Path

from routeur.store.schema import connect

COMMITS = 500  # after which the log is moved
LONG = 16384  # pages of a log that has to be begun anew, which only the writer can bring about

MOVE = "PRAGMA wal_checkpoint(PASSIVE)"


class Checkpoints:
    """`committed` is called by the thread that writes."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._commits = 0
        self._wanted = threading.Event()
        self._long = self._ending = False
        self._thread = threading.Thread(target=self._run, name="routeur-log", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._ending = True
        self._wanted.set()
        self._thread.join()

    def committed(self, db: sqlite3.Connection) -> None:
        """A log is begun anew when all of it has been moved, and nothing was added meanwhile."""
        self._commits += 1
        if self._long:
            self._long = False
            db.execute(MOVE)
        elif self._commits >= COMMITS:
            self._commits = 0
            self._wanted.set()

    def _run(self) -> None:
        while self._wanted.wait() and not self._ending:
            self._wanted.clear()
            with suppress(sqlite3.Error):  # the writer sees it, too
                self._move()

    def _move(self) -> None:
        db = connect(self._path)
        try:
            _, pages, _ = db.execute(MOVE).fetchone()
            self._long = pages > LONG
        finally:
            db.close()
