"""routeur as its users start it: a process, its words, its signals."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import IO, Any

import routeur
from tests.patience import PATIENCE

ROOT = str(Path(routeur.__file__).parents[1])
PATIENT = os.pathsep.join((ROOT, str(Path(__file__).with_name("patient"))))
ECHO = json.dumps({"model": "echo", "messages": [{"role": "user", "content": "one two three"}]})


class Program:
    """A running `python -m routeur`; what it says is kept by line.

    It waits long for what it needs, unless `PYTHONPATH` is to be only the ROOT.
    """

    def __init__(self, *arguments: str, cwd: Path, **variables: str) -> None:
        environment = {k: v for k, v in os.environ.items() if not k.endswith(("_KEY", "_TOKEN"))}
        environment["PYTHONPATH"] = PATIENT
        self.process = subprocess.Popen(
            [sys.executable, "-m", "routeur", *arguments],
            cwd=cwd,
            env=environment | variables,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.out: list[str] = []
        self.err: list[str] = []
        self._news = threading.Condition()
        assert self.process.stdout and self.process.stderr
        self._readers = [
            threading.Thread(target=self._read, args=(self.process.stdout, self.out)),
            threading.Thread(target=self._read, args=(self.process.stderr, self.err)),
        ]
        for reader in self._readers:
            reader.start()

    def _read(self, stream: IO[str], lines: list[str]) -> None:
        with stream:
            for line in stream:
                with self._news:
                    lines.append(line.rstrip("\n"))
                    self._news.notify_all()

    def said(self, text: str, times: int = 1) -> list[str]:
        """The lines with this text on stderr, as soon as there are so many."""

        def found() -> list[str]:
            return [line for line in self.err if text in line]

        def over() -> bool:
            return len(found()) >= times or not self._readers[1].is_alive()

        deadline = time.monotonic() + PATIENCE
        with self._news:
            while not over() and time.monotonic() < deadline:
                self._news.wait(0.5)
            assert len(found()) >= times, self.err
            return found()

    @property
    def port(self) -> int:
        found = re.search(r"serves on http://\S+:(\d+)", self.said("serves on")[0])
        assert found
        return int(found[1])

    def ended(self) -> int:
        """The exit status, once it has ended by itself, and all that it said is here."""
        status = self.process.wait(PATIENCE)
        for reader in self._readers:
            reader.join(PATIENCE)
        return status

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def children(self, count: int = 0) -> list[int]:
        """The workers' process ids, as soon as there are so many."""
        path = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        deadline = time.monotonic() + PATIENCE
        while len(found := path.read_text().split()) < count:
            assert time.monotonic() < deadline
            time.sleep(0.005)
        return [int(pid) for pid in found]

    def kill(self) -> None:
        """The end of a test: whatever still runs, runs no more."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGSTOP)  # it starts no other ones
            for pid in self.children():
                os.kill(pid, signal.SIGKILL)
            self.process.kill()
        self.ended()

    def __enter__(self) -> Program:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()


class Connection(http.client.HTTPConnection):
    """One connection; `path` is that of a unix socket."""

    def __init__(self, port: int = 0, path: Path | None = None) -> None:
        super().__init__("localhost" if path else "127.0.0.1", port or None, timeout=PATIENCE)
        self._path = path

    def connect(self) -> None:
        if self._path is None:
            super().connect()
        else:
            self.sock = socket.socket(socket.AF_UNIX)
            self.sock.settimeout(PATIENCE)
            self.sock.connect(str(self._path))

    def __enter__(self) -> Connection:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def ask(
    method: str, target: str, body: str | None = None, *, port: int = 0, path: Path | None = None
) -> tuple[int, dict[str, str], bytes]:
    """Status, headers and body of one request on a connection of its own."""
    with Connection(port, path) as connection:
        connection.request(method, target, body, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        return answer.status, dict(answer.getheaders()), answer.read()


def chat(body: str = ECHO, **place: Any) -> str:
    """The trace id of a chat that went well."""
    status, headers, said = ask("POST", "/v1/chat/completions", body, **place)
    assert status == 200, said
    return headers["X-Routeur-Trace-Id"]


def stream(connection: Connection, words: int) -> http.client.HTTPResponse:
    """A stream of so many words that has begun; a word takes 10 ms."""
    content = " ".join(["word"] * words)
    body = {"model": "echo", "stream": True, "messages": [{"role": "user", "content": content}]}
    connection.request(
        "POST", "/v1/chat/completions", json.dumps(body), {"Content-Type": "application/json"}
    )
    answer = connection.getresponse()
    assert answer.readline().startswith(b"data: {")
    return answer
