"""N processes under one parent: they share the port, and one that dies is replaced.

What they say to each other goes through it, and what they share it keeps: limits, and who probes.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import signal
import socket
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from secrets import token_hex
from typing import Any

import orjson

from routeur.admission import Desk
from routeur.bus import LINE, RELOAD
from routeur.metrics import Figures

FD = "ROUTEUR_WORKER_FD"  # tells a worker which descriptor leads to its parent
HOME = "ROUTEUR_WORKER_HOME"  # what the workers of one parent have in common, and nobody else
LISTEN_FD = "ROUTEUR_LISTEN_FD"  # and which one to listen on, where the port cannot be shared
TOO_SOON = 5.0  # seconds: a worker that dies younger than this did not start well
GIVE_UP = 3  # such deaths in a row
NOBODY = 0  # workers count from 1: what is answered to this number is let go


@dataclass
class Worker:
    """One process; `started` once it has said something."""

    number: int
    process: asyncio.subprocess.Process
    writer: asyncio.StreamWriter
    born: float
    started: bool = False


class Parent:
    """Starts workers, replaces dead ones, passes on signals and what they say to each other."""

    def __init__(
        self,
        arguments: list[str],
        count: int,
        say: Callable[[str, str], None],
        listen: socket.socket | None = None,
    ) -> None:
        self._arguments = arguments
        self._count = count
        self._say = say
        self._listen = listen
        self._desk = Desk()
        self._figures = Figures()
        self._home = token_hex(8)
        self._workers: dict[int, Worker] = {}
        self._numbers = itertools.count(1)
        self._stopping = False
        self._failures = 0
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self) -> int:
        """Until a signal ends it; returns the exit status."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop)
        loop.add_signal_handler(signal.SIGHUP, self._reload)
        for _ in range(self._count):
            await self._start()
        while self._tasks:
            await asyncio.wait(self._tasks, return_when=asyncio.FIRST_COMPLETED)
        return 1 if self._failures >= GIVE_UP else 0

    async def _start(self) -> None:
        if self._stopping:
            return
        ours, theirs = socket.socketpair()
        environment = {**os.environ, FD: str(theirs.fileno()), HOME: self._home}
        passed = [theirs.fileno()]
        if self._listen is not None:
            environment[LISTEN_FD] = str(self._listen.fileno())
            passed.append(self._listen.fileno())
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "routeur",
            *self._arguments,
            env=environment,
            pass_fds=passed,
            start_new_session=True,  # Ctrl-C reaches the parent, which drains them
        )
        theirs.close()
        reader, writer = await asyncio.open_connection(sock=ours, limit=LINE)
        worker = Worker(next(self._numbers), process, writer, time.monotonic())
        self._workers[worker.number] = worker
        for task in (self._watch(worker), self._hear(worker, reader)):
            running = asyncio.create_task(task)
            self._tasks.add(running)
            running.add_done_callback(self._tasks.discard)
        if self._stopping:  # since the process was begun
            _end(worker)

    async def _watch(self, worker: Worker) -> None:
        """Wait for a worker's end, and replace it."""
        status = await worker.process.wait()
        del self._workers[worker.number]
        worker.writer.close()
        for news in self._desk.gone(worker.number):
            self._tell(worker, news)
        if self._stopping:
            return
        self._say("error", f"worker {worker.process.pid} ended with status {status}")
        young = time.monotonic() - worker.born < TOO_SOON
        self._failures = self._failures + 1 if young else 0
        if self._failures >= GIVE_UP:
            self._say("error", "workers do not start: giving up")
            self._stop()
        else:
            await self._start()

    async def _hear(self, worker: Worker, reader: asyncio.StreamReader) -> None:
        with suppress(ConnectionError):  # killed before it had read everything
            while (line := await reader.readline()).endswith(b"\n"):  # or in the midst of a line
                worker.started = True
                self._take(worker, orjson.loads(line), time.monotonic())
        self._figures.gone(worker.number)

    def _take(self, worker: Worker, message: dict[str, Any], now: float) -> None:
        """Do what a worker's message wants, as `bus.Bus` has them."""
        match message:
            case {"take": asked, "n": number}:
                said = self._desk.take(worker.number, asked, now)
                _send(worker, {"n": number, "say": said})
            case {"settle": used}:
                self._desk.settle(used, now)
            case {"tell": news}:
                if self._desk.heard(worker.number, news, now):
                    self._tell(worker, news)
            case {"keep": snapshot}:
                self._figures.note(worker.number, snapshot)
            case {"figures": _, "n": number}:
                _send(worker, {"n": number, "say": self._figures.sum()})
            case {"ask": _, "n": number}:
                others = [each for each in self._workers.values() if each.started]
                others = [each for each in others if each is not worker]
                _send(worker, {"n": number, "expect": len(others)})
                for other in others:
                    _send(other, {"from": worker.number, **message})
            case {"to": number}:
                if asker := self._workers.get(number):
                    _send(asker, message)

    def _tell(self, teller: Worker, news: dict[str, Any]) -> None:
        """Also those that have not started yet: they read it when they do."""
        for worker in self._workers.values():
            if worker is not teller:
                _send(worker, {"tell": news})

    def _reload(self) -> None:
        """Not by the signal: it would kill a worker that has just been begun."""
        for worker in self._workers.values():
            _send(worker, {"from": NOBODY, "n": 0, "ask": RELOAD})

    def _stop(self) -> None:
        self._stopping = True
        for worker in self._workers.values():
            _end(worker)


def _end(worker: Worker) -> None:
    with suppress(ProcessLookupError):
        worker.process.send_signal(signal.SIGTERM)


def _send(worker: Worker, message: dict[str, Any]) -> None:
    if not worker.writer.is_closing():
        worker.writer.write(orjson.dumps(message) + b"\n")
