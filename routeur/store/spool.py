"""What has to be booked, in files, until the store has booked it: a kill or a power cut loses
nothing.

A process has a directory of its own under the spool's, named after it and locked while it lives.
In it are segments, files of lines: a checksum that begins with the number, the number, and the
entry as JSON.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from zlib import crc32

SEGMENT = 4 * 1024 * 1024  # bytes after which a new segment is begun
AGE = 30.0  # seconds after which it is, too, so that what is booked does not stay for long
PAUSE = 0.25  # seconds between two syncs, which only a power cut needs, and which slow writes
NEW = ".new-"  # how directories are named until they are locked
CHECKSUM = 8  # hexadecimal digits
DIGITS = 20  # decimal ones: of the longest number, and of a segment's name


class SpoolFull(Exception):
    """Nothing was written: the bound is reached, or the disk does not take it."""


@dataclass(slots=True)
class _Segment:
    """A file, and which entries it has; `open` ones have not been booked."""

    fd: int
    path: Path
    begun: float
    first: int
    size: int = 0
    open: int = 0


class Spool:
    """The spool of this process. `append` and `confirm` are called in the loop, and never wait.

    A thread syncs, begins new segments and removes those of which everything is booked.
    """

    def __init__(self, directory: Path, owner: str, *, limit: int = 1 << 30) -> None:
        self.owner = owner
        self._directory = directory
        self._home = directory / owner
        self._limit = limit
        self._seq = 0
        self._size = 0  # bytes in all segments
        self._torn = False  # the last write was cut short
        self._segments: deque[_Segment] = deque()
        self._next: _Segment | None = None
        self._gone: deque[_Segment] = deque()
        self._dirty = threading.Event()
        self._end = threading.Event()
        self._lock = -1
        self._thread = threading.Thread(target=self._run, name="routeur-spool", daemon=True)

    def open(self) -> None:
        """Raises OSError where no files can be made."""
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        made = self._directory / (NEW + self.owner)
        made.mkdir(mode=0o700)
        self._lock = os.open(made, os.O_RDONLY)
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        made.rename(self._home)
        self._segments.append(self._begin())
        self._thread.start()

    def close(self) -> None:
        """Sync, and remove what is booked. What is not stays, for the next one to find."""
        self._end.set()
        self._dirty.set()
        self._thread.join()
        if not any(segment.open for segment in self._segments):
            with suppress(FileNotFoundError):  # somebody has tidied up
                shutil.rmtree(self._home)
        for segment in self._segments:
            os.close(segment.fd)
        if self._next is not None:
            os.close(self._next.fd)
        os.close(self._lock)

    @property
    def kept_from(self) -> int:
        """The number of the first entry that is still in a file."""
        return [*self._gone, *self._segments][0].first

    @property
    def next(self) -> int:
        """The number of the next entry."""
        return self._seq

    def entries(self, first: int, end: int) -> Iterator[tuple[int, bytes]]:
        """Those with numbers in [first, end), all of them written and none of them booked."""
        segments = [*self._segments]
        while len(segments) > 1 and segments[1].first <= first:
            del segments[0]
        for segment in segments:
            for seq, entry in read(segment.path):
                if first <= seq < end:
                    yield seq, entry

    def append(self, entry: bytes) -> int:
        """Write an entry, JSON without line breaks; returns its number. Raises SpoolFull."""
        segment = self._segments[-1]
        if self._next is not None and segment.size:
            segment, self._next = self._next, None
            segment.first = self._seq
            self._segments.append(segment)
        seq = self._seq
        line = b"%08x %d %b\n" % (crc32(entry, seq), seq, entry)
        if self._torn:  # what is there is no entry, and must not become one, or a part of one
            line = b"!\n" + line
        if self._size + len(line) > self._limit:
            raise SpoolFull("the spool is full")
        try:
            written = os.write(segment.fd, line)
        except OSError as error:
            raise SpoolFull(f"the spool cannot be written: {error.strerror}") from error
        segment.size += written
        self._size += written
        self._torn = written < len(line)
        if self._torn:
            raise SpoolFull("the spool cannot be written: the disk is full")
        self._seq = seq + 1
        segment.open += 1
        if not self._dirty.is_set():
            self._dirty.set()
        return seq

    def confirm(self, seqs: Sequence[int]) -> None:
        """These entries are booked."""
        segments = self._segments
        for segment in reversed(segments):
            older = [seq for seq in seqs if seq < segment.first]
            segment.open -= len(seqs) - len(older)
            if not older:
                break
            seqs = older
        while len(segments) > 1 and not segments[0].open:
            gone = segments.popleft()
            self._size -= gone.size
            self._gone.append(gone)
            self._dirty.set()

    # ---- in the thread

    def _run(self) -> None:
        while not self._end.is_set():
            self._dirty.wait(AGE / 10)
            self._dirty.clear()
            with suppress(OSError):  # it is seen when an entry is written
                self._sync()
            self._end.wait(PAUSE)
        with suppress(OSError):
            self._sync()

    def _sync(self) -> None:
        for segment in [*self._segments][-2:]:  # the one before may have got some just now
            if segment.size:
                os.fdatasync(segment.fd)
        while self._gone:
            os.close(self._gone[0].fd)
            self._gone[0].path.unlink()
            self._gone.popleft()
        last = self._segments[-1]
        old = last.size and time.monotonic() - last.begun > AGE
        if self._next is None and (old or last.size > SEGMENT):
            self._next = self._begin()

    def _begin(self) -> _Segment:
        path = self._home / f"{time.monotonic_ns():0{DIGITS}}"
        fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL, 0o600)
        return _Segment(fd, path, time.monotonic(), self._seq)


class Orphan:
    """The spool of a process that has ended. Nobody else reads it until `release` or `remove`."""

    def __init__(self, home: Path, lock: int) -> None:
        self.owner = home.name
        self._home = home
        self._lock = lock

    def entries(self) -> Iterator[tuple[int, bytes]]:
        """Numbers and entries. Lines that are not whole are left out: the last may be."""
        for path in sorted(self._home.iterdir()):
            yield from read(path)

    def remove(self) -> None:
        """Everything in it is booked."""
        shutil.rmtree(self._home)
        os.close(self._lock)

    def release(self) -> None:
        os.close(self._lock)


def orphans(directory: Path) -> Iterator[Orphan]:
    """Spools whose processes have ended, each locked."""
    if not directory.is_dir():
        return
    for home in sorted(directory.iterdir()):
        if home.name.startswith(NEW):
            continue
        try:
            lock = os.open(home, os.O_RDONLY)
        except OSError:  # somebody else has just removed it
            continue
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:  # it is alive, or somebody else reads it
            os.close(lock)
            continue
        if home.is_dir() and all(map(_is_segment, home.iterdir())):
            yield Orphan(home, lock)
        else:
            os.close(lock)


def _is_segment(path: Path) -> bool:
    return len(path.name) == DIGITS and path.name.isdecimal()


def read(path: Path) -> Iterator[tuple[int, bytes]]:
    """The numbers and entries of a segment; lines that are not whole are left out."""
    with path.open("rb") as file:
        for line in file:
            number, _, entry = line[CHECKSUM + 1 : -1].partition(b" ")
            if line[-1:] == b"\n" and len(number) <= DIGITS and number.isdigit():
                seq = int(number)
                if line[:CHECKSUM] == b"%08x" % crc32(entry, seq):
                    yield seq, entry
