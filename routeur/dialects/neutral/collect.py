"""From the events of an answer to the whole answer, and back; and open blocks put in a row."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field, fields, replace
from typing import Any

from routeur.dialects.base import Json, Usage
from routeur.dialects.neutral import (
    BROKE_OFF,
    Audio,
    Block,
    Choice,
    Citation,
    Fault,
    Reasoning,
    Refusal,
    Response,
    Stop,
    Text,
    ToolCall,
)
from routeur.dialects.neutral.events import (
    ArgumentsDelta,
    AudioDelta,
    BlockStart,
    BlockStop,
    CitationDelta,
    Delta,
    Done,
    Event,
    Failed,
    LogprobsDelta,
    MetaUpdate,
    OfBlock,
    OpaqueEvent,
    Ping,
    ReasoningDelta,
    RefusalDelta,
    Signed,
    Start,
    Stopped,
    SummaryDelta,
    TextDelta,
    UsageUpdate,
)


@dataclass(slots=True)
class _Growing:
    """A block that is not whole: its head, and the pieces that came since."""

    head: Block
    text: list[str] = field(default_factory=list)
    data: list[str] = field(default_factory=list)
    summary: dict[int, list[str]] = field(default_factory=dict)
    citations: list[Citation] = field(default_factory=list)
    said: Json = field(default_factory=dict)

    def add(self, delta: Delta) -> None:
        """One more piece."""
        match delta:
            case TextDelta() | ReasoningDelta() | ArgumentsDelta() | RefusalDelta():
                self.text.append(delta.text)
            case SummaryDelta():
                self.summary.setdefault(delta.part, []).append(delta.text)
            case CitationDelta():
                self.citations.append(delta.citation)
            case AudioDelta():
                self.data.append(delta.data)
                self.text.append(delta.transcript)
                if delta.expires_at is not None:
                    self.said["expires_at"] = delta.expires_at
            case Signed():
                for name in ("signature", "encrypted", "origin"):
                    if value := getattr(delta, name):
                        self.said[name] = value

    def whole(self) -> Block:
        """The block. What does not fit its kind is left out: no delta is ever fatal."""
        text = "".join(self.text)
        changes: Json = dict(self.said)
        match self.head:
            case Text():
                citations = (*self.head.citations, *self.citations)
                changes |= {"text": self.head.text + text, "citations": citations}
            case Reasoning():
                changes |= {"text": self.head.text + text, "summary": self._summary(self.head)}
            case Refusal():
                changes["text"] = self.head.text + text
            case ToolCall():
                changes["arguments"] = self.head.arguments + text
            case Audio():
                changes["data"] = self.head.data + "".join(self.data)
                changes["transcript"] = self.head.transcript + text
        known = {each.name for each in fields(self.head)}
        changes = {name: value for name, value in changes.items() if name in known}
        return replace(self.head, **changes) if changes else self.head

    def _summary(self, head: Reasoning) -> tuple[str, ...]:
        """The parts in order. Numbers that nobody used leave no gap."""
        parts = {number: [part] for number, part in enumerate(head.summary)}
        for number, pieces in self.summary.items():
            parts.setdefault(number, []).extend(pieces)
        return tuple("".join(parts[number]) for number in sorted(parts))


@dataclass(slots=True)
class _Choice:
    blocks: dict[int, _Growing] = field(default_factory=dict)
    stop: Stop | None = None
    logprobs: list[Json] = field(default_factory=list)

    def whole(self) -> Choice:
        """The choice as far as it came; one that did not say why it ended has failed."""
        blocks = tuple(each.whole() for _, each in sorted(self.blocks.items()))
        return Choice(blocks, self.stop or Stop("error"), tuple(self.logprobs))


class Collector:
    """Takes events one by one, and has the answer as far as it came at any time."""

    __slots__ = ("_choices", "_ended", "_error", "_known", "_usage")

    def __init__(self) -> None:
        self._known: dict[str, Any] = {"dialect": "", "extra": {}}
        self._choices: dict[int, _Choice] = {}
        self._usage: Usage | None = None
        self._error: Fault | None = None
        self._ended = False

    def add(self, event: Event) -> None:
        """One more event. What belongs to a block that never opened is left out."""
        match event:
            case Start():
                self._update(event)
                self._usage = event.usage
            case MetaUpdate():
                self._update(event)
            case UsageUpdate():
                self._usage = event.usage
            case LogprobsDelta():
                self._choice(event.choice).logprobs.extend(event.tokens)
            case Stopped():
                self._choice(event.choice).stop = event.stop
            case Failed():
                self._error = event.fault
                self._ended = True
            case Done():
                self._ended = True
            case Ping() | OpaqueEvent():
                pass
            case _:
                self._grow(event)

    def response(self) -> Response:
        """The answer. If the stream was cut, it has an `error`, and choices that stop with one."""
        last = max(self._choices, default=0)
        choices = tuple(self._choices.get(number, _Choice()).whole() for number in range(last + 1))
        error = self._error
        if not self._ended:
            error = BROKE_OFF
        return Response(choices=choices, usage=self._usage, error=error, **self._known)

    def _choice(self, number: int) -> _Choice:
        return self._choices.setdefault(number, _Choice())

    def _grow(self, event: OfBlock) -> None:
        blocks = self._choice(event.choice).blocks
        match event:
            case BlockStart():
                blocks[event.index] = _Growing(event.block)
            case BlockStop():
                pass
            case _:
                if block := blocks.get(event.index):
                    block.add(event)

    def _update(self, event: Start | MetaUpdate) -> None:
        for each in fields(event):
            value = getattr(event, each.name)
            if each.name == "extra":
                self._known["extra"] = {**self._known["extra"], **value}
            elif value and each.name != "usage":
                self._known[each.name] = value


def collect(events: Iterable[Event]) -> Response:
    """The whole answer that these events are."""
    collector = Collector()
    for event in events:
        collector.add(event)
    return collector.response()


def events_of(response: Response) -> list[Event]:
    """The events that `collect` makes this answer of."""
    found: list[Event] = [
        Start(
            response.dialect,
            response.id,
            response.model,
            response.created,
            None,
            response.service_tier,
            response.fingerprint,
            response.extra,
        )
    ]
    for number, choice in enumerate(response.choices):
        for index, block in enumerate(choice.blocks):
            found += _of_block(block, index, number)
        if choice.logprobs:
            found.append(LogprobsDelta(choice.logprobs, number))
        found.append(Stopped(choice.stop, number))
    if response.usage:
        found.append(UsageUpdate(response.usage))
    found.append(Failed(response.error) if response.error else Done())
    return found


def _of_block(block: Block, index: int, choice: int) -> list[Event]:
    """Heads are empty, as in a stream; what a stream brings whole is whole."""
    head: Block = block
    deltas: list[Event] = []
    match block:
        case Text():
            head = replace(block, text="", citations=(), signature="", origin="")
            deltas += [TextDelta(index, block.text, choice)] if block.text else []
            deltas += [CitationDelta(index, each, choice) for each in block.citations]
        case Reasoning():
            head = replace(block, text="", summary=(), signature="")
            deltas += [ReasoningDelta(index, block.text, choice)] if block.text else []
            deltas += [
                SummaryDelta(index, part, text, choice) for part, text in enumerate(block.summary)
            ]
        case ToolCall():
            head = replace(block, arguments="")
            deltas += [ArgumentsDelta(index, block.arguments, choice)] if block.arguments else []
        case Refusal():
            head = replace(block, text="")
            deltas += [RefusalDelta(index, block.text, choice)] if block.text else []
    if isinstance(block, Text | Reasoning) and block.signature:
        deltas.append(Signed(index, block.signature, origin=block.origin, choice=choice))
    return [BlockStart(index, head, choice), *deltas, BlockStop(index, choice)]


class OneAtATime:
    """Puts blocks in a row, for those who write one block at a time and one choice only.

    Blocks are numbered anew, without gaps; events of a block wait until those before it have
    closed. Other choices than the first are left out. Blocks still open at the end are closed.
    """

    __slots__ = ("_current", "_number", "_waiting")

    def __init__(self) -> None:
        self._current: int | None = None  # the index, as read, of the block that is open
        self._number = -1  # and as written
        self._waiting: deque[OfBlock] = deque()

    def feed(self, event: Event) -> list[Event]:
        """The events that can now be written."""
        match event:
            case Stopped() | LogprobsDelta() if event.choice:
                return []
            case Stopped() | Done() | Failed():
                return [*self._flush(), event]
            case Start() | UsageUpdate() | MetaUpdate() | Ping() | OpaqueEvent() | LogprobsDelta():
                return [event]
        if event.choice:
            return []
        if event.index == self._current:
            return self._pass(event)
        if self._current is None and isinstance(event, BlockStart):
            return self._pass(event)
        if self._current is not None:
            self._waiting.append(event)
        return []

    def _pass(self, event: OfBlock) -> list[Event]:
        """Write an event of the open block, or open it; after its end, those that waited."""
        if isinstance(event, BlockStart):
            self._current = event.index
            self._number += 1
        if event.index != self._number:
            event = replace(event, index=self._number)
        if not isinstance(event, BlockStop):
            return [event]
        self._current = None
        return [event, *self._resume()]

    def _resume(self) -> list[Event]:
        waiting, self._waiting = self._waiting, deque()
        return [ready for event in waiting for ready in self.feed(event)]

    def _flush(self) -> list[Event]:
        found: list[Event] = []
        while self._current is not None:
            found += self._pass(BlockStop(self._current))
        return found
