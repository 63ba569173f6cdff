"""What a process has of the system: its standard streams, open files, memory."""

from __future__ import annotations

import gc
import os
import resource
import sys
from contextlib import suppress
from io import TextIOWrapper

FILES = 1 << 20  # descriptors that are asked for at most


def prepare_streams() -> None:
    """Standard streams that were closed go nowhere, else a database or a connection would get their
    numbers; and a locale that cannot say a name is no error.
    """
    while (fd := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(fd)
    sys.stdout = sys.stdout or open(1, "w", closefd=False)
    sys.stderr = sys.stderr or open(2, "w", closefd=False)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def allow_files() -> None:
    """As many open files as may be: a stream has two, and shells and systemd begin with 1024."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = FILES if hard == resource.RLIM_INFINITY else min(hard, FILES)
    if soft != resource.RLIM_INFINITY and soft < most:
        with suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


def settle_memory() -> None:
    """What lives as long as the process is not looked at again by the collector; a collection in
    the middle of a thousand streams would delay them all.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)
