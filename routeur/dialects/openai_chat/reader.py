"""Reads streams of Chat Completions, OpenAI's and those of compatible servers.

What is known of the latter: ids of calls missing, a whole call in one chunk, all calls under one
index, no `[DONE]`, no `finish_reason`, usage on any chunk, an error instead of a chunk, Azure's
first chunk without choices and its late one after the end, content as parts (Mistral).
"""

from __future__ import annotations

from typing import Any

from routeur.dialects import sse
from routeur.dialects.base import Json
from routeur.dialects.exact import loads
from routeur.dialects.loose import items, string
from routeur.dialects.neutral import BROKE_OFF, Fault
from routeur.dialects.neutral.events import Done, Event, Failed, Start, UsageUpdate
from routeur.dialects.openai_chat import NAME
from routeur.dialects.openai_chat import usage as read_usage
from routeur.dialects.openai_chat.choice import ChoiceReader
from routeur.dialects.openai_chat.whole import EMPTY, fault_in

_CHOICES = 128  # OpenAI gives no more; a wild index must not cost memory


class EventReader:
    """Reads one stream."""

    __slots__ = ("_choices", "_ended", "_id", "_model", "_started")

    def __init__(self, model: str) -> None:
        self._model = model
        self._id = ""
        self._choices: dict[int, ChoiceReader] = {}
        self._started = False
        self._ended = False

    def read(self, frame: bytes) -> list[Event]:
        """The events of one frame."""
        data = sse.data(frame)
        if not data or self._ended:
            return []
        if data.strip() == b"[DONE]":
            return self._done()
        try:
            chunk = loads(data)
        except ValueError:
            return self._fail(Fault(502, "the provider sent a chunk that is not JSON"))
        return self._chunk(chunk) if isinstance(chunk, dict) else []

    def end(self) -> list[Event]:
        """What is missing: without `[DONE]` an answer is whole if each choice says why it ended."""
        if self._ended:
            return []
        if self._choices and all(each.stopped for each in self._choices.values()):
            self._ended = True
            return [Done()]
        return self._fail(BROKE_OFF)

    def _chunk(self, chunk: Json) -> list[Event]:
        choices = chunk.get("choices")
        events: list[Event] = []
        if not self._started:
            if not choices and not chunk.get("id") and not chunk.get("error"):
                return []  # Azure's first: what a filter thinks of the prompt
            events.append(self._start(chunk))
        for choice in items(choices):
            if isinstance(choice, dict):
                events += self._choice(choice)
        if (chunk.get("usage") or "x_groq" in chunk) and (usage := read_usage(chunk)):
            events.append(UsageUpdate(usage))
        if "error" in chunk or _failed(choices):
            if fault := fault_in(chunk):
                events += self._fail(fault)
        return events

    def _start(self, chunk: Json) -> Event:
        self._started = True
        self._id = string(chunk.get("id"))
        created = chunk.get("created")
        return Start(
            NAME,
            self._id,
            string(chunk.get("model")) or self._model,
            created if isinstance(created, int) else 0,
            service_tier=string(chunk.get("service_tier")),
            fingerprint=string(chunk.get("system_fingerprint")),
        )

    def _choice(self, raw: Json) -> list[Event]:
        number = raw.get("index") or 0
        choice = self._choices.get(number) if isinstance(number, int) else None
        if choice is None:
            if not isinstance(number, int) or not 0 <= number < _CHOICES:
                return []
            choice = self._choices[number] = ChoiceReader(number, self._id)
        return choice.read(raw)

    def _done(self) -> list[Event]:
        """`[DONE]`: an end on purpose, even where a choice has not said why."""
        begun = [each for each in self._choices.values() if each.stopped or each.count]
        if not begun:
            return self._fail(EMPTY)
        self._ended = True
        events = [event for each in begun if not each.stopped for event in each.stop({})]
        return [*events, Done()]

    def _fail(self, fault: Fault) -> list[Event]:
        self._ended = True
        return [Failed(fault)]


def _failed(choices: Any) -> bool:
    return any(isinstance(each, dict) and "error" in each for each in items(choices))
