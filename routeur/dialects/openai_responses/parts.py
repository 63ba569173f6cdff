"""The open blocks of a Responses stream that is read: how much of each has come."""

from __future__ import annotations

from dataclasses import dataclass, field

from routeur.dialects.base import Json
from routeur.dialects.loose import members, string
from routeur.dialects.neutral.events import (
    ArgumentsDelta,
    BlockStop,
    CitationDelta,
    Event,
    LogprobsDelta,
    ReasoningDelta,
    RefusalDelta,
    SummaryDelta,
    TextDelta,
)
from routeur.dialects.openai_responses.items import read_citation

Delta = type[TextDelta] | type[ReasoningDelta] | type[ArgumentsDelta] | type[RefusalDelta]


@dataclass(slots=True)
class Part:
    """A block. Once it has stopped, nothing more comes of it."""

    index: int
    text: int = 0  # characters
    citations: int = 0
    logprobs: int = 0
    summary: dict[int, int] = field(default_factory=dict)  # characters, by part
    stopped: bool = False

    def more(self, text: object, delta: Delta) -> list[Event]:
        """A delta."""
        if self.stopped or not text or not isinstance(text, str):
            return []
        self.text += len(text)
        return [delta(self.index, text)]

    def rest(self, text: str, delta: Delta) -> list[Event]:
        """What no delta said of the whole text."""
        return self.more(text[self.text :], delta)

    def sum_up(self, number: int, text: object) -> list[Event]:
        """More of a summary's part."""
        if self.stopped or not text or not isinstance(text, str):
            return []
        self.summary[number] = self.summary.get(number, 0) + len(text)
        return [SummaryDelta(self.index, number, text)]

    def rest_of_summary(self, number: int, text: str) -> list[Event]:
        """What no delta said of a summary's part."""
        return self.sum_up(number, text[self.summary.get(number, 0) :])

    def weigh(self, tokens: list[Json]) -> list[Event]:
        """Logprobs of more tokens."""
        known = tuple(each for each in tokens if isinstance(each, dict))
        if self.stopped or not known:
            return []
        self.logprobs += len(known)
        return [LogprobsDelta(known)]

    def cite(self, annotations: list[object]) -> list[Event]:
        """More annotations."""
        if self.stopped:
            return []
        self.citations += len(annotations)
        return [CitationDelta(self.index, read_citation(members(each))) for each in annotations]

    def stop(self) -> list[Event]:
        """Its end, once."""
        if self.stopped:
            return []
        self.stopped = True
        return [BlockStop(self.index)]


@dataclass(slots=True)
class Item:
    """An item of the output: as it was announced, and its blocks by their places in it."""

    raw: Json
    parts: dict[int, Part] = field(default_factory=dict)
    done: bool = False

    @property
    def kind(self) -> str:
        """Its type."""
        return string(self.raw.get("type"))

    def stop(self) -> list[Event]:
        """The end of all its blocks."""
        return [event for part in self.parts.values() for event in part.stop()]
