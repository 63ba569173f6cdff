"""Streams of Amazon Bedrock's ConverseStream, written."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from routeur.dialects.base import Json, Usage
from routeur.dialects.bedrock.blocks import NAME, Writing, sealed, write_blocks, write_citation
from routeur.dialects.bedrock.values import exception_of, write_stop, write_usage
from routeur.dialects.eventstream import Message
from routeur.dialects.exact import dumps
from routeur.dialects.neutral import (
    ANTHROPIC,
    BEDROCK,
    Block,
    Image,
    Opaque,
    Reasoning,
    Refusal,
    Text,
    ToolCall,
)
from routeur.dialects.neutral.aim import Caller
from routeur.dialects.neutral.collect import OneAtATime
from routeur.dialects.neutral.events import (
    ArgumentsDelta,
    BlockStart,
    BlockStop,
    CitationDelta,
    Done,
    Event,
    Failed,
    MetaUpdate,
    ReasoningDelta,
    RefusalDelta,
    Signed,
    Start,
    Stopped,
    SummaryDelta,
    TextDelta,
    UsageUpdate,
)

_HEADERS = {
    name: {":event-type": name, ":content-type": "application/json", ":message-type": "event"}
    for name in (
        "messageStart",
        "contentBlockStart",
        "contentBlockDelta",
        "contentBlockStop",
        "messageStop",
        "metadata",
    )
}
# What stands at the end of a stream, of what a whole answer has.
_LATE = ("metrics", "trace", "performanceConfig")


def _frame(name: str, payload: Json) -> bytes:
    return Message(_HEADERS[name], dumps(payload)).encode()


class EventWriter:
    """Writes one stream: one block after the other, and only those that say something."""

    __slots__ = ("_block", "_extra", "_index", "_line", "_own", "_part", "_tier", "_to", "_usage")

    def __init__(self, caller: Caller) -> None:
        self._line = OneAtATime()
        self._to = Writing(caller.losses)
        self._own = False
        self._block: Block = Text()  # the head of the one that is open
        self._index = 0
        self._part: int | None = None  # of a reasoning's summary; None: nothing of the block yet
        self._usage: Usage | None = None
        self._tier = ""
        self._extra: Json = {}

    def write(self, event: Event) -> bytes:
        """Whole messages, or none."""
        found = b""
        for each in self._line.feed(event):
            if writer := _WRITERS.get(type(each)):
                found += writer(self, each)
        return found

    def _start(self, event: Start) -> bytes:
        self._own = self._to.own = event.dialect == NAME
        self._usage = event.usage
        self._meta(MetaUpdate(service_tier=event.service_tier, extra=event.extra))
        return _frame("messageStart", {"role": "assistant"})

    def _meta(self, event: MetaUpdate) -> bytes:
        self._tier = event.service_tier or self._tier
        if self._own:
            self._extra = {**self._extra, **event.extra}
        return b""

    def _open(self, event: BlockStart) -> bytes:
        """What a block's head says already; a text's has no message of its own."""
        self._block, self._part = event.block, None
        match event.block:
            case Text(text=text) | Refusal(text=text):
                return self._delta({"text": text}) if text else b""
            case Reasoning():
                return self._open_reasoning(event.block)
            case ToolCall(id=id, name=name, arguments=text):
                start = self._begin({"toolUse": {"toolUseId": id, "name": name}})
                return start + self._delta({"toolUse": {"input": text}}) if text else start
            case Image() | Opaque():
                return self._whole(event.block)
        self._to.losses.drop("audio")
        return b""

    def _open_reasoning(self, block: Reasoning) -> bytes:
        found = self._delta({"reasoningContent": {"text": block.shown}}) if block.shown else b""
        return found + self._seal(block.signature, block.encrypted, block.origin)

    def _seal(self, signature: str, encrypted: str, origin: str) -> bytes:
        """What Claude, and others of Bedrock's models, have signed; foreign seals are of no use."""
        if origin not in (ANTHROPIC, BEDROCK):
            if signature or encrypted:
                self._to.losses.drop("reasoning.signature")
            return b""
        found = b""
        if signature:
            found += self._delta({"reasoningContent": {"signature": signature}})
        if encrypted:
            data = sealed(Reasoning(encrypted=encrypted, origin=origin))
            found += self._delta({"reasoningContent": {"redactedContent": data}})
        return found

    def _whole(self, block: Block) -> bytes:
        """A block that came whole, as its start and one piece, if a stream can say it."""
        for raw in write_blocks([block], self._to):
            for name, value in raw.items():
                if writer := _WHOLE.get(name):
                    start, delta = writer(value)
                    return self._begin(start) + self._delta(delta)
            if "text" in raw:
                return self._delta(raw)
        return b""

    def _begin(self, start: Json) -> bytes:
        self._part = self._part or 0
        return _frame("contentBlockStart", {"start": start, "contentBlockIndex": self._index})

    def _delta(self, delta: Json) -> bytes:
        self._part = self._part or 0
        return _frame("contentBlockDelta", {"delta": delta, "contentBlockIndex": self._index})

    def _text(self, event: TextDelta | RefusalDelta) -> bytes:
        return self._delta({"text": event.text})

    def _reasoning(self, event: ReasoningDelta) -> bytes:
        return self._delta({"reasoningContent": {"text": event.text}})

    def _summary(self, event: SummaryDelta) -> bytes:
        """Parts of a summary become paragraphs."""
        between = "\n\n" if self._part is not None and event.part != self._part else ""
        self._part = event.part
        return self._delta({"reasoningContent": {"text": between + event.text}})

    def _arguments(self, event: ArgumentsDelta) -> bytes:
        return self._delta({"toolUse": {"input": event.text}})

    def _citation(self, event: CitationDelta) -> bytes:
        return self._delta({"citation": write_citation(event.citation)})

    def _signed(self, event: Signed) -> bytes:
        if isinstance(self._block, Reasoning):
            origin = event.origin or self._block.origin
            return self._seal(event.signature, event.encrypted, origin)
        self._to.losses.drop("text.signature")
        return b""

    def _close(self, event: BlockStop) -> bytes:
        if self._part is None:
            return b""
        frame = _frame("contentBlockStop", {"contentBlockIndex": self._index})
        self._index += 1
        return frame

    def _used(self, event: UsageUpdate) -> bytes:
        self._usage = event.usage
        return b""

    def _stop(self, event: Stopped) -> bytes:
        said: Json = {"stopReason": write_stop(event.stop)}
        if "additionalModelResponseFields" in self._extra:
            fields = self._extra["additionalModelResponseFields"]
            said["additionalModelResponseFields"] = fields
        return _frame("messageStop", said)

    def _done(self, event: Done) -> bytes:
        late = {name: self._extra[name] for name in _LATE if name in self._extra}
        said = {"usage": write_usage(self._usage), "metrics": {"latencyMs": 0}, **late}
        if self._tier:
            said["serviceTier"] = {"type": self._tier}
        return _frame("metadata", said)

    def _failed(self, event: Failed) -> bytes:
        headers = {
            ":exception-type": exception_of(event.fault.status),
            ":content-type": "application/json",
            ":message-type": "exception",
        }
        return Message(headers, dumps({"message": event.fault.message})).encode()


_WRITERS: dict[type, Callable[[EventWriter, Any], bytes]] = {
    Start: EventWriter._start,
    MetaUpdate: EventWriter._meta,
    BlockStart: EventWriter._open,
    TextDelta: EventWriter._text,
    RefusalDelta: EventWriter._text,
    ReasoningDelta: EventWriter._reasoning,
    SummaryDelta: EventWriter._summary,
    ArgumentsDelta: EventWriter._arguments,
    CitationDelta: EventWriter._citation,
    Signed: EventWriter._signed,
    BlockStop: EventWriter._close,
    UsageUpdate: EventWriter._used,
    Stopped: EventWriter._stop,
    Done: EventWriter._done,
    Failed: EventWriter._failed,
}


def _image(value: Json) -> tuple[Json, Json]:
    return {"image": {"format": value["format"]}}, {"image": {"source": value["source"]}}


def _tool_use(value: Json) -> tuple[Json, Json]:
    start = {name: each for name, each in value.items() if name != "input"}
    text = dumps(value.get("input", {})).decode()
    return {"toolUse": start}, {"toolUse": {"input": text}}


def _tool_result(value: Json) -> tuple[Json, Json]:
    start = {name: each for name, each in value.items() if name != "content"}
    return {"toolResult": start}, {"toolResult": value.get("content", [])}


_WHOLE: dict[str, Callable[[Json], tuple[Json, Json]]] = {
    "image": _image,
    "toolUse": _tool_use,
    "toolResult": _tool_result,
}
