"""How the workers of one machine speak with each other, and with their parent: lines of JSON."""

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
News = dict[str, Any]

RELOAD: Question = {"reload": True}  # what the parent asks of a worker, and wants no answer to

PATIENCE = 2.0  # seconds for which the answers of other workers are waited for
SHORT = 0.1  # seconds for which the parent's are: a request waits meanwhile
LINE = 64 * 1024 * 1024  # bytes of the longest line: the metrics of a busy worker


class Bus:
    """A worker's end of the line to its parent.

    `answer` replies to what other workers ask, `told` gets what they tell, `lost` is called when
    the parent has gone. These messages go to the parent:

    - `{"n", "ask"}` is for all other workers that have started; the parent says how many answers to
      `expect`, and they come as `{"n", "say"}`.
    - `{"to", "n", "say"}` answers such a question, which came as `{"from", "n", "ask"}`.
    - `{"tell"}` is for all other workers; nobody answers.
    - `{"n", "take"}` is for the parent itself, which answers it; `{"settle"}` is, too, and it does
      not (`admission.py`).
    - `{"keep"}` is a snapshot of this worker's metrics, for the parent; `{"n", "figures"}` asks it
      for those of all.
    """

    def __init__(
        self, fd: int, answer: Answer, told: Callable[[News], None], lost: Callable[[], None]
    ) -> None:
        self._socket = socket.socket(fileno=fd)
        self._answer = answer
        self._told = told
        self._lost = lost
        self._writer: asyncio.StreamWriter | None = None
        self._count = itertools.count()
        self._open: dict[int, _Inquiry] = {}
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        reader, self._writer = await asyncio.open_connection(sock=self._socket, limit=LINE)
        self._task = asyncio.create_task(self._listen(reader))

    async def ask(self, question: Question) -> list[Any]:
        """What the other workers answer; those that do not in time are left out.

        What was told before has reached all that answer.
        """
        return await self._inquire({"ask": question}, _Inquiry(), PATIENCE)

    async def take(self, wanted: dict[str, Any]) -> Any:
        """What the parent answers; raises TimeoutError where it does not within 100 ms."""
        answers = await self._inquire({"take": wanted}, _Inquiry(1), SHORT)
        if not answers:
            raise TimeoutError
        return answers[0]

    def tell(self, news: News) -> None:
        """Let all other workers know."""
        self._send({"tell": news})

    def settle(self, used: dict[str, Any]) -> None:
        """Let the parent know what came of something that was taken."""
        self._send({"settle": used})

    @property
    def behind(self) -> bool:
        """Whether the parent has not taken yet what it was sent, as one that was stopped."""
        return self._writer is not None and self._writer.transport.get_write_buffer_size() > 0

    def keep(self, snapshot: dict[str, Any]) -> None:
        """Let the parent know what this worker has counted."""
        self._send({"keep": snapshot})

    async def figures(self) -> dict[str, Any]:
        """What all have counted, as far as the parent knows; raises TimeoutError after 2 s."""
        answers = await self._inquire({"figures": True}, _Inquiry(1), PATIENCE)
        if not answers:
            raise TimeoutError
        snapshot: dict[str, Any] = answers[0]
        return snapshot

    async def _inquire(
        self, message: dict[str, Any], inquiry: _Inquiry, patience: float
    ) -> list[Any]:
        number = next(self._count)
        self._open[number] = inquiry
        self._send({"n": number, **message})
        try:
            async with asyncio.timeout(patience):
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
                if "tell" in message:
                    self._told(message["tell"])
                elif "ask" in message:
                    said = self._answer(message["ask"])
                    self._send({"to": message["from"], "n": message["n"], "say": said})
                elif inquiry := self._open.get(message["n"]):
                    inquiry.take(message)
        for inquiry in self._open.values():
            inquiry.complete.set()  # nobody answers any more
        self._lost()

    def _send(self, message: dict[str, Any]) -> None:
        assert self._writer is not None
        if not self._writer.is_closing():
            self._writer.write(orjson.dumps(message) + b"\n")

    def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
        if self._writer is not None:
            self._writer.close()


class _Inquiry:
    """A question under way, and how many answers are expected; -1: it will be said."""

    def __init__(self, expected: int = -1) -> None:
        self.answers: list[Any] = []
        self.complete = asyncio.Event()
        self._expected = expected

    def take(self, message: dict[str, Any]) -> None:
        if "expect" in message:
            self._expected = message["expect"]
        else:
            self.answers.append(message["say"])
        if len(self.answers) == self._expected:
            self.complete.set()
