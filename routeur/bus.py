"""How the workers of one machine ask each other: lines of JSON through their parent."""

from __future__ import annotations

import asyncio
import itertools
import socket
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import orjson

Question = dict[str, Any]
Answer = Callable[[Question], Any]

RELOAD: Question = {"reload": True}  # what the parent asks of a worker, and wants no answer to

PATIENCE = 2.0  # seconds for which an answer is waited for
LINE = 64 * 1024 * 1024  # bytes of the longest line: the metrics of a busy worker


class Bus:
    """A worker's end of the line to its parent. `answer` replies to what other workers ask.

    A message is `{"from", "n", "ask"}` or `{"to", "n", "say"}`; the parent passes the former to all
    other workers and the latter to the one that asked, after it has said how many answers to
    expect.
    """

    def __init__(self, fd: int, answer: Answer, lost: Callable[[], None]) -> None:
        self._socket = socket.socket(fileno=fd)
        self._answer = answer
        self._lost = lost
        self._writer: asyncio.StreamWriter | None = None
        self._count = itertools.count()
        self._open: dict[int, _Inquiry] = {}
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        reader, self._writer = await asyncio.open_connection(sock=self._socket, limit=LINE)
        self._task = asyncio.create_task(self._listen(reader))

    async def ask(self, question: Question) -> list[Any]:
        """What the other workers answer; those that do not in time are left out."""
        if self._writer is None:
            return []
        number = next(self._count)
        inquiry = self._open[number] = _Inquiry()
        self._send({"n": number, "ask": question})
        try:
            async with asyncio.timeout(PATIENCE):
                await inquiry.complete.wait()
        except TimeoutError:
            pass
        finally:
            del self._open[number]
        return inquiry.answers

    async def _listen(self, reader: asyncio.StreamReader) -> None:
        with suppress(ConnectionError):  # the parent was killed before it had read everything
            while line := await reader.readline():
                message = orjson.loads(line)
                if "ask" in message:
                    said = self._answer(message["ask"])
                    self._send({"to": message["from"], "n": message["n"], "say": said})
                elif inquiry := self._open.get(message["n"]):
                    inquiry.take(message)
        self._lost()

    def _send(self, message: dict[str, Any]) -> None:
        assert self._writer is not None
        self._writer.write(orjson.dumps(message) + b"\n")

    def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
        if self._writer is not None:
            self._writer.close()


class _Inquiry:
    """A question under way."""

    def __init__(self) -> None:
        self.answers: list[Any] = []
        self.complete = asyncio.Event()
        self._expected = -1

    def take(self, message: dict[str, Any]) -> None:
        if "expect" in message:
            self._expected = message["expect"]
        else:
            self.answers.append(message["say"])
        if len(self.answers) == self._expected:
            self.complete.set()
