"""Streams of Anthropic's Messages API, written: blocks one at a time, each event with its name.

Source of truth: recordings, and what the accumulator of Anthropic's own SDK reads.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from routeur.dialects import anthropic
from routeur.dialects.anthropic import NAME
from routeur.dialects.anthropic.block_writer import BlockWriter, write_citation
from routeur.dialects.anthropic.message import write_stop, write_usage
from routeur.dialects.base import Json, Usage
from routeur.dialects.exact import dumps, encoded
from routeur.dialects.neutral import (
    ANTHROPIC,
    Audio,
    Block,
    Fault,
    Reasoning,
    Refusal,
    Stop,
    Text,
    ToolCall,
)
from routeur.dialects.neutral.aim import Caller
from routeur.dialects.neutral.collect import OneAtATime
from routeur.dialects.neutral.events import (
    ArgumentsDelta,
    AudioDelta,
    BlockStart,
    BlockStop,
    CitationDelta,
    Done,
    Event,
    Failed,
    MetaUpdate,
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
from routeur.dialects.neutral.ids import own_id

_DELTA = (
    b'event: content_block_delta\ndata: {"type":"content_block_delta","index":%d,"delta":%b}\n\n'
)
_TEXT = b'{"type":"text_delta","text":%b}'
_THINKING = b'{"type":"thinking_delta","thinking":%b}'
_INPUT = b'{"type":"input_json_delta","partial_json":%b}'
_SIGNATURE = b'{"type":"signature_delta","signature":%b}'
_STOP = b'event: content_block_stop\ndata: {"type":"content_block_stop","index":%d}\n\n'
_PING = b'event: ping\ndata: {"type": "ping"}\n\n'
_LAST = b'event: message_stop\ndata: {"type":"message_stop"}\n\n'
_EMPTY_TEXT: Json = {"type": "text", "text": ""}
_EMPTY_THINKING: Json = {"type": "thinking", "thinking": "", "signature": ""}


def frame(event: Json) -> bytes:
    """One event, with its name."""
    return b"event: %b\ndata: %b\n\n" % (encoded(str(event["type"])), dumps(event))


def write_error(fault: Fault, request_id: str) -> bytes:
    """An error answer's body, or the data of an error event."""
    return anthropic.write_error(
        fault.status,
        fault.message,
        type=fault.type,
        code=fault.code,
        param=fault.param or None,
        request_id=request_id,
    )


class EventWriter:
    """Writes one stream. A block is begun with its first content: empty ones are never seen.

    What was used is known for certain only at the end, so the start says 0 where nothing is known,
    and the end says all: clients take its figures.
    """

    __slots__ = (
        "_blocks", "_caller", "_extra", "_head", "_index", "_line", "_own", "_part", "_shown",
        "_stop", "_usage",
    )  # fmt: skip

    def __init__(self, caller: Caller) -> None:
        self._caller = caller
        self._line = OneAtATime()
        self._begin(False)
        self._index = -1  # the number of the block that was begun last
        self._head: Block | None = None  # the block that is open
        self._shown = False  # whether it was begun on the wire
        self._part: int | None = None  # of a reasoning's summary: the last one
        self._stop: Stop | None = None
        self._usage: Usage | None = None
        self._extra: Json = {}

    def write(self, event: Event) -> bytes:
        """The frames of one event; none where clients are told later, or never."""
        if isinstance(event, Failed):
            # What is open stays open: a block that looks whole might be acted upon.
            return b"event: error\ndata: %b\n\n" % write_error(event.fault, "")
        ready = self._line.feed(event)
        if len(ready) == 1:
            return self._one(ready[0])
        return b"".join(self._one(each) for each in ready)

    def _one(self, event: Event) -> bytes:
        handler = _HANDLERS.get(type(event))
        return handler(self, event) if handler else b""

    # ---- the message

    def _begin(self, own: bool) -> None:
        self._own = own
        self._blocks = BlockWriter(self._caller.losses, own, ANTHROPIC, answer=True)

    def _start(self, event: Start) -> bytes:
        self._begin(event.dialect == NAME)
        self._usage = event.usage
        message: Json = {
            "id": own_id(event.id, "msg_", self._caller.token),
            "type": "message",
            "role": "assistant",
            "model": event.model or self._caller.request.model,
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "stop_details": None,
            "container": None,
            "usage": write_usage(event.usage),
        }
        if self._own:
            message["usage"] |= event.extra.get("usage", {})
            message |= {name: each for name, each in event.extra.items() if name != "usage"}
            if event.service_tier:
                message["usage"]["service_tier"] = event.service_tier
            if details := message["stop_details"]:
                self._extra["stop_details"] = details
        return frame({"type": "message_start", "message": message})

    def _known(self, event: UsageUpdate) -> bytes:
        self._usage = event.usage
        return b""

    def _meta(self, event: MetaUpdate) -> bytes:
        self._extra |= event.extra
        return b""

    def _stopped(self, event: Stopped) -> bytes:
        self._stop = event.stop
        return b""

    def _done(self, event: Done) -> bytes:
        delta = {
            "container": None,
            **write_stop(self._stop or Stop("unknown"), own=self._own),
        }
        last: Json = {"type": "message_delta", "delta": delta, "usage": write_usage(self._usage)}
        if self._own:
            for name, value in self._extra.items():
                if name == "usage":
                    last["usage"] |= value
                else:
                    (delta if name in delta else last)[name] = value
        return frame(last) + _LAST

    def _pinged(self, event: Ping) -> bytes:
        return _PING

    def _opaque(self, event: OpaqueEvent) -> bytes:
        return frame(event.raw) if event.dialect == NAME else b""

    # ---- blocks

    def _block_start(self, event: BlockStart) -> bytes:
        block = self._head = event.block
        self._shown = False
        self._part = None
        match block:
            case Text():
                written = self._text(block.text)
                return written + b"".join(self._cited(each) for each in block.citations)
            case Refusal():
                return self._text(block.text)
            case Audio():
                self._caller.losses.drop("audio")
                return self._text(block.transcript)
            case Reasoning():
                return self._reasoning_start(block)
            case ToolCall():
                head = self._blocks.write(replace(block, arguments=""))
                return self._open(head or {}) + self._piece(block.arguments)
        return self._whole(block)

    def _whole(self, block: Block) -> bytes:
        """A block that comes whole. The input of a server's tool comes as that of others does."""
        raw = self._blocks.write(block)
        if raw is None:
            return b""
        value = raw.get("input")
        if not isinstance(value, dict) or not value:
            return self._open(raw)
        return self._open({**raw, "input": {}}) + self._piece(dumps(value).decode())

    def _open(self, block: Json) -> bytes:
        self._index += 1
        self._shown = True
        return frame({"type": "content_block_start", "index": self._index, "content_block": block})

    def _delta(self, delta: bytes, value: Any) -> bytes:
        return _DELTA % (self._index, delta % dumps(value))

    def _text(self, text: str) -> bytes:
        if not text:
            return b""
        start = b"" if self._shown else self._open(_EMPTY_TEXT)
        return start + self._delta(_TEXT, text)

    def _piece(self, text: str) -> bytes:
        return self._delta(_INPUT, text) if text else b""

    def _cited(self, citation: Any) -> bytes:
        raw = write_citation(citation)
        if raw is None:
            return b""
        start = b"" if self._shown else self._open(_EMPTY_TEXT)
        return start + _DELTA % (self._index, dumps({"type": "citations_delta", "citation": raw}))

    def _thought(self, text: str) -> bytes:
        if not text:
            return b""
        start = b"" if self._shown else self._open(_EMPTY_THINKING)
        return start + self._delta(_THINKING, text)

    def _reasoning_start(self, block: Reasoning) -> bytes:
        written = self._thought(block.shown)
        if block.signature:
            written += self._seal(block.signature, "", block.origin)
        return written

    def _summary(self, event: SummaryDelta) -> bytes:
        gap = "\n\n" if self._part is not None and self._part != event.part else ""
        self._part = event.part
        return self._thought(gap + event.text)

    def _signed(self, event: Signed) -> bytes:
        head = self._head
        if not isinstance(head, Reasoning):
            self._caller.losses.drop("signature")
            return b""
        return self._seal(event.signature, event.encrypted, event.origin or head.origin)

    def _seal(self, signature: str, encrypted: str, origin: str) -> bytes:
        if origin == ANTHROPIC and signature:
            start = b"" if self._shown else self._open(_EMPTY_THINKING)
            return start + self._delta(_SIGNATURE, signature)
        if origin == ANTHROPIC and encrypted and not self._shown:
            return self._open({"type": "redacted_thinking", "data": encrypted})
        self._caller.losses.drop("reasoning.signature")
        return b""

    def _block_stop(self, event: BlockStop) -> bytes:
        head, self._head = self._head, None
        written = b""
        if isinstance(head, Reasoning) and head.encrypted and not (self._shown and head.text):
            written = self._seal("", head.encrypted, head.origin)
        return written + _STOP % self._index if self._shown else written


_HANDLERS: dict[type, Callable[[EventWriter, Any], bytes]] = {
    Start: EventWriter._start,
    UsageUpdate: EventWriter._known,
    MetaUpdate: EventWriter._meta,
    Stopped: EventWriter._stopped,
    Done: EventWriter._done,
    Ping: EventWriter._pinged,
    OpaqueEvent: EventWriter._opaque,
    BlockStart: EventWriter._block_start,
    BlockStop: EventWriter._block_stop,
    TextDelta: lambda writer, event: writer._text(event.text),
    RefusalDelta: lambda writer, event: writer._text(event.text),
    AudioDelta: lambda writer, event: writer._text(event.transcript),
    ReasoningDelta: lambda writer, event: writer._thought(event.text),
    ArgumentsDelta: lambda writer, event: writer._piece(event.text),
    SummaryDelta: EventWriter._summary,
    CitationDelta: lambda writer, event: writer._cited(event.citation),
    Signed: EventWriter._signed,
}
