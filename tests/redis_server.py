"""Redis servers for tests: each on a port of its own, with nothing on disk."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.patience import PATIENCE

BINARY = shutil.which("redis-server") or shutil.which("valkey-server")


class Server:
    """`url` is its address. Options are those of redis.conf."""

    def __init__(self, *options: str, port: int | None = None) -> None:
        if BINARY is None:
            pytest.skip("there is neither redis-server nor valkey-server")
        self.port = port or free_port()
        self.options = options
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        own = f"--port {self.port} --bind 127.0.0.1 --loglevel warning --save".split()
        self._process = subprocess.Popen(
            [str(BINARY), *own, "", *self.options], stdout=subprocess.DEVNULL
        )
        own_id = b"process_id:%d\r" % self._process.pid
        deadline = time.monotonic() + PATIENCE
        while not self._answers(own_id):
            assert self._process.poll() is None, "the server has ended: is the port another's?"
            assert time.monotonic() < deadline, "the server does not start"
            time.sleep(0.02)

    def _answers(self, own_id: bytes) -> bool:
        try:
            return own_id in self.say("INFO", "server")
        except OSError:
            return False

    def stop(self) -> None:
        """At once, as after a power cut."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def pause(self) -> None:
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        self._signal(signal.SIGCONT)

    def _signal(self, which: signal.Signals) -> None:
        assert self._process is not None
        os.kill(self._process.pid, which)

    def say(self, *words: Any) -> bytes:
        """The first bytes of its answer to a command."""
        parts = [str(word).encode() for word in words]
        packed = b"".join(b"$%d\r\n%b\r\n" % (len(part), part) for part in parts)
        with socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE) as wire:
            wire.sendall(b"*%d\r\n%b" % (len(parts), packed))
            return wire.recv(65536)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def running(*options: str, port: int | None = None) -> Iterator[Server]:
    server = Server(*options, port=port)
    server.start()
    try:
        yield server
    finally:
        server.stop()
