"""Streams of Anthropic's Messages API, read.

Source of truth: recordings, and Anthropic's page "Streaming messages". Servers that only speak like
Anthropic leave out starts and stops, or name an input whole: that is understood, too.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from routeur.dialects import sse
from routeur.dialects.anthropic import NAME
from routeur.dialects.anthropic.blocks import read_block, read_citation
from routeur.dialects.anthropic.message import (
    merge_usage,
    read_extra,
    read_stop,
    read_usage,
    service_tier,
)
from routeur.dialects.base import Json
from routeur.dialects.exact import encoded, loads
from routeur.dialects.loose import members, string
from routeur.dialects.neutral import (
    ANTHROPIC,
    BROKE_OFF,
    Block,
    Fault,
    Opaque,
    Reasoning,
    Stop,
    StopReason,
    Text,
    ToolCall,
)
from routeur.dialects.neutral.aim import Invalid
from routeur.dialects.neutral.events import (
    ArgumentsDelta,
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
    Signed,
    Start,
    Stopped,
    TextDelta,
    UsageUpdate,
)
from routeur.dialects.refusals import error_of, status_of

_NO_JSON = Fault(502, "the provider sent an event that is no JSON")
_TWO = Fault(502, "the provider began a second answer within this one")


def read_fault(document: object) -> Fault:
    """An error event, or an error that stands where an answer should."""
    error = error_of(document)
    return Fault(
        status_of(document),
        string(error.get("message")) or "the provider reported an error",
        string(error.get("type")),
        string(members(error.get("details")).get("error_code")),
    )


def read_answer_block(raw: object) -> Block:
    """A block of an answer: what is not as it should be is kept as it is."""
    try:
        return read_block(raw, "content_block")
    except Invalid:
        return Opaque(NAME, members(raw))


@dataclass(slots=True)
class _Open:
    """A block that is open. `index` is the neutral one, None while it is held back.

    `raw` grows into an Opaque, which comes whole; `arguments` are what a call has said so far, if
    its start said any; `pieces` are those of an Opaque's input.
    """

    index: int | None
    raw: Json
    arguments: str = ""
    pieces: list[str] = field(default_factory=list)


class EventReader:
    """Reads one stream."""

    __slots__ = ("_begun", "_blocks", "_calls", "_count", "_model", "_over", "_stopped", "_usage")

    def __init__(self, model: str) -> None:
        self._model = model
        self._begun = self._stopped = self._over = self._calls = False
        self._blocks: dict[int, _Open] = {}  # by their numbers on the wire
        self._count = 0
        self._usage: Json = {}

    def read(self, frame: bytes) -> list[Event]:
        """The events of one frame."""
        data = sse.data(frame)
        if data is None or self._over:
            return []
        try:
            event = loads(data)
        except ValueError:
            return self._fail(_NO_JSON)
        if not isinstance(event, dict):
            return []
        kind = event.get("type")
        handler = _HANDLERS.get(kind) if isinstance(kind, str) else None
        if handler is not None:
            return handler(self, event)
        if "error" in event:
            return self._error(event)
        return [*self._start({}), OpaqueEvent(NAME, event)] if isinstance(kind, str) else []

    def end(self) -> list[Event]:
        """The bytes are over. A stop reason makes an answer whole, its message_stop or not."""
        if self._over:
            return []
        return self._done() if self._stopped else self._fail(BROKE_OFF)

    # ---- one event each

    def _message_start(self, event: Json) -> list[Event]:
        if self._count or self._blocks:
            return self._fail(_TWO)
        return self._start(members(event.get("message")))

    def _start(self, message: Json) -> list[Event]:
        """The start, if it was not there yet: it may be said twice, or never."""
        if self._begun:
            return []
        self._begun = True
        usage = message.get("usage")
        merge_usage(self._usage, usage)
        return [
            Start(
                NAME,
                string(message.get("id")),
                string(message.get("model")) or self._model,
                usage=read_usage(self._usage),
                service_tier=service_tier(usage),
                extra=read_extra(message),
            )
        ]

    def _block_start(self, event: Json) -> list[Event]:
        raw = members(event.get("content_block"))
        return [*self._start({}), *self._open(_index(event), read_answer_block(raw), raw)]

    def _open(self, number: int, block: Block, raw: Json) -> list[Event]:
        closed = self._close(number)
        if isinstance(block, Opaque):
            self._blocks[number] = _Open(None, dict(raw))
            return closed
        self._blocks[number] = each = _Open(self._count, raw)
        self._count += 1
        if isinstance(block, ToolCall):
            self._calls = True
            each.arguments = block.arguments
            block = replace(block, arguments="")
        return [*closed, BlockStart(each.index or 0, block)]

    def _block_delta(self, event: Json) -> list[Event]:
        delta = members(event.get("delta"))
        kind = delta.get("type")
        number = _index(event)
        each = self._blocks.get(number)
        before: list[Event] = []
        if each is None:
            block = _BEGUN.get(string(kind))
            if block is None:
                return []
            before = [*self._start({}), *self._open(number, block, {})]
            each = self._blocks[number]
        if each.index is None:
            _grow(each, delta)
            return before
        index = each.index
        match kind:
            case "text_delta":
                return [*before, TextDelta(index, string(delta.get("text")))]
            case "thinking_delta":
                return [*before, ReasoningDelta(index, string(delta.get("thinking")))]
            case "input_json_delta":
                piece = string(delta.get("partial_json"))
                if not piece:
                    return []
                each.arguments = ""
                return [ArgumentsDelta(index, piece)]
            case "signature_delta":
                return [Signed(index, string(delta.get("signature")), origin=ANTHROPIC)]
            case "citations_delta":
                return [CitationDelta(index, read_citation(members(delta.get("citation"))))]
        return [OpaqueEvent(NAME, event)]

    def _block_stop(self, event: Json) -> list[Event]:
        return self._close(_index(event))

    def _close(self, number: int) -> list[Event]:
        each = self._blocks.pop(number, None)
        if each is None:
            return []
        if each.index is not None:
            stop = BlockStop(each.index)
            return [ArgumentsDelta(each.index, each.arguments), stop] if each.arguments else [stop]
        index = self._count
        self._count += 1
        return [BlockStart(index, _whole(each)), BlockStop(index)]

    def _message_delta(self, event: Json) -> list[Event]:
        events = self._start({})
        delta = members(event.get("delta"))
        said = {**event, **delta}
        said.pop("delta", None)
        if extra := read_extra(said):
            events.append(MetaUpdate(extra=extra))
        if event.get("usage"):
            merge_usage(self._usage, event["usage"])
            if usage := read_usage(self._usage):
                events.append(UsageUpdate(usage))
        stop = read_stop(delta)
        if stop is None or self._stopped:
            return events
        return [*events, *self._stop(stop)]

    def _stop(self, stop: Stop) -> list[Event]:
        self._stopped = True
        return [
            *(event for number in list(self._blocks) for event in self._close(number)),
            Stopped(stop),
        ]

    def _message_stop(self, event: Json) -> list[Event]:
        return self._done()

    def _done(self) -> list[Event]:
        events = self._start({})
        if not self._stopped:
            reason: StopReason = "tool_calls" if self._calls else "unknown"
            events += self._stop(Stop(reason))
        self._over = True
        return [*events, Done()]

    def _ping(self, event: Json) -> list[Event]:
        return [Ping()]

    def _error(self, event: Json) -> list[Event]:
        return self._fail(read_fault(event))

    def _fail(self, fault: Fault) -> list[Event]:
        self._over = True
        return [Failed(fault)]


_HANDLERS: dict[str, Callable[[EventReader, Json], list[Event]]] = {
    "message_start": EventReader._message_start,
    "content_block_start": EventReader._block_start,
    "content_block_delta": EventReader._block_delta,
    "content_block_stop": EventReader._block_stop,
    "message_delta": EventReader._message_delta,
    "message_stop": EventReader._message_stop,
    "ping": EventReader._ping,
    "error": EventReader._error,
}


# What a delta belongs to whose block was never opened.
_BEGUN: dict[str, Block] = {"text_delta": Text(), "thinking_delta": Reasoning()}


def _index(event: Json) -> int:
    value = event.get("index")
    return value if type(value) is int else 0


def _grow(each: _Open, delta: Json) -> None:
    """More of a block that only this dialect knows."""
    if delta.get("type") == "input_json_delta":
        each.pieces.append(string(delta.get("partial_json")))
        return
    for name, value in delta.items():
        if name != "type" and value is not None:
            known = each.raw.get(name)
            both = isinstance(known, str) and isinstance(value, str)
            each.raw[name] = known + value if both else value


def _whole(each: _Open) -> Opaque:
    text = "".join(each.pieces)
    if text:
        try:
            each.raw["input"] = loads(encoded(text))
        except ValueError:
            each.raw["input"] = {"INVALID_JSON": text}
    block = read_answer_block(each.raw)
    return block if isinstance(block, Opaque) else Opaque(NAME, each.raw)
