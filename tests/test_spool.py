"""What has to be booked survives, in files."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from routeur.store import spool as spool_module
from routeur.store.spool import Spool, SpoolFull, orphans, read

HOME = Path(__file__).parent


@pytest.fixture(autouse=True)
def hurried(monkeypatch):
    monkeypatch.setattr(spool_module, "PAUSE", 0.01)


@pytest.fixture
def directory(tmp_path):
    return tmp_path / "spool"


@pytest.fixture
def spool(directory):
    spool = Spool(directory, "me")
    spool.open()
    yield spool
    spool.close()


def segments(directory, owner="me"):
    return sorted((directory / owner).iterdir())


def lines(directory, owner="me"):
    return [line for path in segments(directory, owner) for line in read(path)]


def until(condition):
    """Waits for what a thread does."""
    for _ in range(500):
        if condition():
            return
        threading.Event().wait(0.01)
    raise AssertionError("it has not come true")


def test_what_is_appended_can_be_read(spool, directory):
    assert [spool.append(b'{"n":%d}' % n) for n in range(3)] == [0, 1, 2]

    assert lines(directory) == [(n, b'{"n":%d}' % n) for n in range(3)]
    assert directory.stat().st_mode & 0o777 == 0o700
    assert segments(directory)[0].stat().st_mode & 0o777 == 0o600


def test_nothing_is_left_when_everything_is_booked(directory):
    spool = Spool(directory, "me")
    spool.open()
    spool.append(b"{}")
    spool.confirm([0])
    spool.close()

    assert [*directory.iterdir()] == []


def test_what_is_not_booked_is_found(directory):
    spool = Spool(directory, "me")
    spool.open()
    for n in range(3):
        spool.append(b"[%d]" % n)
    spool.confirm([0, 2])
    assert [*orphans(directory)] == []  # it is alive
    spool.close()

    (orphan,) = orphans(directory)
    assert [*orphans(directory)] == []  # somebody reads it
    assert (orphan.owner, [*orphan.entries()]) == ("me", [(n, b"[%d]" % n) for n in range(3)])
    orphan.release()
    (orphan,) = orphans(directory)
    orphan.remove()
    assert [*directory.iterdir()] == []


def test_no_spool_no_orphans(tmp_path):
    assert [*orphans(tmp_path / "nowhere")] == []


def test_a_killed_process_leaves_what_it_has_written(directory):
    text = (
        "import os, signal\nfrom pathlib import Path\nfrom routeur.store.spool import Spool\n"
        f"spool = Spool(Path({str(directory)!r}), 'dead')\nspool.open()\n"
        "for n in range(1000): spool.append(b'[%d]' % n)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    environment = os.environ | {"PYTHONPATH": str(HOME.parent)}
    subprocess.run([sys.executable, "-c", text], env=environment, check=False)

    (orphan,) = orphans(directory)
    assert [*orphan.entries()] == [(n, b"[%d]" % n) for n in range(1000)]
    orphan.remove()


@pytest.mark.parametrize("cut", range(1, 20))
def test_a_last_line_that_was_cut(spool, directory, cut):
    spool.append(b'{"first":1}')
    spool.append(b'{"last":22}')
    path = segments(directory)[0]
    os.truncate(path, path.stat().st_size - cut)

    assert lines(directory) == [(0, b'{"first":1}')]


@pytest.mark.parametrize("at", [0, 7, 9, 10, 11, 15, 21])
def test_a_damaged_line_harms_no_other(spool, directory, at):
    for n in range(3):
        spool.append(b'{"number":%d}' % n)
    path = segments(directory)[0]
    with path.open("r+b") as file:
        start = len(file.readline())
        file.seek(start + at)
        file.write(b"\xf7")

    assert lines(directory) == [(0, b'{"number":0}'), (2, b'{"number":2}')]


def test_numbers_are_checked_too(spool, directory):
    """One entry must not be taken for another."""
    for _ in range(12):
        spool.append(b"{}")
    path = segments(directory)[0]
    path.write_bytes(path.read_bytes().replace(b" 1 {}", b" 2 {}").replace(b" 11 {}", b" +1 {}"))

    assert [n for n, _ in lines(directory)] == [0, *range(2, 11)]


def test_bounded(directory):
    spool = Spool(directory, "me", limit=100)
    spool.open()
    spool.append(b"x" * 60)
    with pytest.raises(SpoolFull, match="the spool is full"):
        spool.append(b"x" * 60)
    assert spool.append(b"y") == 1
    assert lines(directory) == [(0, b"x" * 60), (1, b"y")]
    spool.close()


@pytest.mark.parametrize("written", [0, 10, -2, -1])
def test_a_full_disk(spool, directory, monkeypatch, written):
    """A part of a line does not become an entry, nor the beginning of the next one."""
    write = os.write

    def short(fd, data):
        return write(fd, data[:written])

    spool.append(b"[1]")
    monkeypatch.setattr(os, "write", short)
    with pytest.raises(SpoolFull, match="the disk is full"):
        spool.append(b"[2]")
    monkeypatch.setattr(os, "write", write)
    assert spool.append(b"[3]") == 1
    assert lines(directory) == [(0, b"[1]"), (1, b"[3]")]


def test_a_disk_that_fails(spool, monkeypatch):
    def fail(fd, data):
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", fail)
        with pytest.raises(SpoolFull, match="Input/output error"):
            spool.append(b"[2]")
    assert spool.append(b"[1]") == 0


def test_segments_go_when_they_are_booked(directory, monkeypatch):
    monkeypatch.setattr(spool_module, "SEGMENT", 100)
    spool = Spool(directory, "me")
    spool.open()
    for _ in range(4):
        for _ in range(5):
            spool.append(b"x" * 30)
        until(lambda: spool._next is not None)
    assert len(segments(directory)) == 5  # and one that is to come
    assert spool.kept_from == 0

    spool.confirm([0, 1, 2, 3, 4, 6, 7])
    until(lambda: len(segments(directory)) == 4)
    until(lambda: spool.kept_from == 5)  # a moment after the file has gone
    spool.confirm([10, 11, 12, 13, 14, 5, 8])
    assert [n for n, _ in spool.entries(9, 18)] == [*range(9, 18)]
    spool.confirm([9])
    until(lambda: len(segments(directory)) == 2)
    until(lambda: spool.kept_from == 15)  # a moment after the file has gone
    spool.close()
    assert [n for n, _ in lines(directory)] == [*range(15, 20)]


def test_what_is_old_goes_too(directory, monkeypatch):
    monkeypatch.setattr(spool_module, "AGE", 0.05)
    spool = Spool(directory, "me")
    spool.open()
    spool.append(b"[0]")
    until(lambda: spool._next is not None)
    spool.append(b"[1]")
    spool.confirm([0])
    until(lambda: [n for n, _ in lines(directory)] == [1])
    spool.confirm([1])
    spool.close()


def test_everything_is_synced(directory, monkeypatch):
    synced = []
    sync = os.fdatasync
    monkeypatch.setattr(os, "fdatasync", lambda fd: synced.append(os.fstat(fd).st_size) or sync(fd))
    spool = Spool(directory, "me")
    spool.open()
    for _ in range(100):
        spool.append(b"x" * 100)
    size = segments(directory)[0].stat().st_size
    until(lambda: size in synced)
    assert len(synced) < 50
    spool.close()


@pytest.mark.parametrize(
    "junk", [b"\xff\xfe\n", b"00000000 5 {}\n", b"12345678 %b x\n" % (b"9" * 5000)]
)
def test_junk_is_left_out(spool, directory, junk):
    spool.append(b"[0]")
    with segments(directory)[0].open("ab") as file:
        file.write(junk)
    spool.append(b"[1]")
    assert lines(directory) == [(0, b"[0]"), (1, b"[1]")]


def test_a_directory_that_somebody_has_removed(directory):
    spool = Spool(directory, "me")
    spool.open()
    spool.append(b"[0]")
    spool.confirm([0])
    shutil.rmtree(directory)
    spool.append(b"[1]")
    spool.confirm([1])
    spool.close()
