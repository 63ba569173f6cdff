"""Streams of Amazon Bedrock's ConverseStream, read.

    messageStart · (contentBlockStart only of tools · deltas · contentBlockStop)* · messageStop
    · metadata

Each is one message of Amazon's event stream. An exception ends it. `p` is padding.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Callable
from typing import Any

from routeur.dialects.base import Json
from routeur.dialects.bedrock.blocks import NAME, origin_of, read_citation, unsealed
from routeur.dialects.bedrock.values import fault_in_stream, read_stop, read_usage
from routeur.dialects.eventstream import EventStreamError, Message, Messages
from routeur.dialects.exact import encoded, loads
from routeur.dialects.loose import items, members, string
from routeur.dialects.neutral import (
    BROKE_OFF,
    Block,
    Fault,
    Image,
    Opaque,
    Reasoning,
    Text,
    ToolCall,
)
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
    ReasoningDelta,
    Signed,
    Start,
    Stopped,
    TextDelta,
    UsageUpdate,
)
from routeur.dialects.neutral.ids import made_id


class EventReader:
    """Reads one stream. Texts and reasoning open with their first piece.

    What has no neutral form (tools that the provider runs) is gathered, and comes out whole.
    """

    __slots__ = (
        "_calls",
        "_count",
        "_ended",
        "_gathered",
        "_measured",
        "_messages",
        "_model",
        "_open",
        "_origin",
        "_started",
        "_stopped",
    )

    def __init__(self, model: str) -> None:
        self._model = model
        self._origin = origin_of(model)
        self._messages = Messages()
        self._open: dict[int, tuple[int, type[Block]]] = {}  # by the wire's index
        self._gathered: dict[int, tuple[Json, list[Any]]] = {}
        self._count = 0
        self._calls = self._started = self._stopped = self._measured = self._ended = False

    def read(self, frame: bytes) -> list[Event]:
        """The events of one message."""
        if self._ended:
            return []
        try:
            messages = self._messages.feed(frame)
        except EventStreamError as error:
            return self._fail(Fault(502, f"the provider's answer is damaged: {error}"))
        return [event for message in messages for event in self._read(message)]

    def end(self) -> list[Event]:
        """What is missing up to Done, or Failed if the answer is not whole."""
        if self._ended:
            return []
        if self._stopped:
            return self._done()
        return self._fail(BROKE_OFF)

    def _read(self, message: Message) -> list[Event]:
        headers = message.headers
        name = headers.get(":event-type")
        if headers.get(":message-type") != "event" or str(name).endswith("Exception"):
            return self._fail(fault_in_stream(headers, message.payload))
        try:
            payload = members(loads(message.payload))
        except ValueError:
            return self._fail(Fault(502, "the provider's answer is damaged: expected JSON"))
        if reader := _EVENTS.get(name):
            return reader(self, payload)
        return [OpaqueEvent(NAME, {str(name): payload})] if self._started else []

    def _fail(self, fault: Fault) -> list[Event]:
        self._ended = True
        return [Failed(fault)]

    def _done(self) -> list[Event]:
        self._ended = True
        return [Done()]

    def _begin(self) -> list[Event]:
        if self._started:
            return []
        self._started = True
        return [Start(NAME, model=self._model)]

    def _on_start(self, payload: Json) -> list[Event]:
        return self._begin()

    def _on_block_start(self, payload: Json) -> list[Event]:
        at, start = _at(payload), members(payload.get("start"))
        call = members(start.get("toolUse"))
        if call and call.get("type") != "server_tool_use":
            name = string(call.get("name"))
            id = string(call.get("toolUseId")) or made_id(name, self._count)
            self._calls = True
            return self._opening(at, ToolCall(id, name))
        if start:
            self._gathered[at] = (start, [])
        return []

    def _on_delta(self, payload: Json) -> list[Event]:
        at, delta = _at(payload), members(payload.get("delta"))
        if at in self._gathered:
            self._gathered[at][1].append(delta)
            return []
        for name, value in delta.items():
            if reader := _DELTAS.get(name):
                return reader(self, at, value)
        return [*self._begin(), OpaqueEvent(NAME, {"contentBlockDelta": payload})]

    def _text(self, at: int, value: Any) -> list[Event]:
        if not value or type(value) is not str:
            return []  # some models begin with an empty text
        place = self._open.get(at)
        if place is not None and place[1] is Text:
            return [TextDelta(place[0], value)]
        return [*self._opening(at, Text()), TextDelta(self._count - 1, value)]

    def _reasoning(self, at: int, value: Any) -> list[Event]:
        found: list[Event] = []
        place = self._open.get(at)
        if place is None or place[1] is not Reasoning:
            found = self._opening(at, Reasoning(origin=self._origin))
            place = self._open[at]
        value = members(value)
        if text := string(value.get("text")):
            found.append(ReasoningDelta(place[0], text))
        signature, data = string(value.get("signature")), string(value.get("redactedContent"))
        if signature or data:
            found.append(Signed(place[0], signature, unsealed(data, self._origin), self._origin))
        return found

    def _arguments(self, at: int, value: Any) -> list[Event]:
        text = string(members(value).get("input"))
        place = self._open.get(at)
        if not text or place is None or place[1] is not ToolCall:
            return []
        return [ArgumentsDelta(place[0], text)]

    def _citation(self, at: int, value: Any) -> list[Event]:
        found: list[Event] = []
        place = self._open.get(at)
        if place is None or place[1] is not Text:
            found = self._opening(at, Text())
            place = self._open[at]
        return [*found, CitationDelta(place[0], read_citation(members(value)))]

    def _opening(self, at: int, block: Block) -> list[Event]:
        """Open a block; texts before it end with that, should the wire not have said so."""
        found = self._begin()
        for each, (_, kind) in tuple(self._open.items()):
            if each == at or kind is not ToolCall:
                found += self._closing(each)
        self._open[at] = (self._count, type(block))
        self._count += 1
        found.append(BlockStart(self._count - 1, block))
        return found

    def _closing(self, at: int) -> list[Event]:
        if at in self._gathered:
            block = _whole(*self._gathered.pop(at))
            self._count += 1
            index = self._count - 1
            return [*self._begin(), BlockStart(index, block), BlockStop(index)]
        place = self._open.pop(at, None)
        return [] if place is None else [BlockStop(place[0])]

    def _on_block_stop(self, payload: Json) -> list[Event]:
        return self._closing(_at(payload))

    def _on_stop(self, payload: Json) -> list[Event]:
        if self._stopped:
            return []
        found = self._begin()
        for at in (*self._open, *self._gathered):
            found += self._closing(at)
        fields = payload.get("additionalModelResponseFields")
        if fields is not None:
            found.append(MetaUpdate(extra={"additionalModelResponseFields": fields}))
        found.append(Stopped(read_stop(string(payload.get("stopReason")), fields, self._calls)))
        self._stopped = True
        return found + self._done() if self._measured else found

    def _on_metadata(self, payload: Json) -> list[Event]:
        found = self._begin()
        self._measured = True
        if usage := read_usage(payload.get("usage")):
            found.append(UsageUpdate(usage))
        tier = string(members(payload.get("serviceTier")).get("type"))
        known = ("usage", "serviceTier", "p")
        extra = {name: value for name, value in payload.items() if name not in known}
        if tier or extra:
            found.append(MetaUpdate(service_tier=tier, extra=extra))
        return found + self._done() if self._stopped else found


_EVENTS: dict[object, Callable[[EventReader, Json], list[Event]]] = {
    "messageStart": EventReader._on_start,
    "contentBlockStart": EventReader._on_block_start,
    "contentBlockDelta": EventReader._on_delta,
    "contentBlockStop": EventReader._on_block_stop,
    "messageStop": EventReader._on_stop,
    "metadata": EventReader._on_metadata,
}
_DELTAS: dict[str, Callable[[EventReader, int, Any], list[Event]]] = {
    "text": EventReader._text,
    "reasoningContent": EventReader._reasoning,
    "toolUse": EventReader._arguments,
    "citation": EventReader._citation,
}


def _at(payload: Json) -> int:
    """The wire's number of a block; -1 where it has none."""
    at = payload.get("contentBlockIndex")
    return at if type(at) is int else -1


def _whole(start: Json, deltas: list[Json]) -> Block:
    """A block of which the wire brought a start and pieces, as a whole answer has it."""
    if "image" in start:
        return _image(members(start["image"]), deltas)
    if "toolUse" in start:
        text = "".join(string(members(each.get("toolUse")).get("input")) for each in deltas)
        return Opaque(NAME, {"toolUse": {**members(start["toolUse"]), "input": _value(text)}})
    if "toolResult" in start:
        content = [part for each in deltas for part in items(each.get("toolResult"))]
        return Opaque(NAME, {"toolResult": {**members(start["toolResult"]), "content": content}})
    return Opaque(NAME, {**start, "deltas": deltas} if deltas else start)


def _value(text: str) -> Any:
    try:
        return loads(encoded(text)) if text else {}
    except ValueError:
        return text


def _image(start: Json, deltas: list[Json]) -> Block:
    pieces = [members(members(each.get("image")).get("source")).get("bytes") for each in deltas]
    data = [each for each in pieces if type(each) is str]
    if len(data) > 1:
        try:
            data = [b64encode(b"".join(b64decode(each) for each in data)).decode()]
        except ValueError:
            data = []
    return Image(data="".join(data), media_type=f"image/{string(start.get('format')) or 'png'}")
