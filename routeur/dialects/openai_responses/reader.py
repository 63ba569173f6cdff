"""Reads a Responses stream: items that open, grow and are done become blocks.

Items are known by their place in the output, as some servers change their ids from event to event.
Where deltas are missing, what an event says of the whole makes up for them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from routeur.dialects import exact, sse
from routeur.dialects.base import Json
from routeur.dialects.loose import items, members, string
from routeur.dialects.neutral import (
    BROKE_OFF,
    RESPONSES,
    Block,
    Opaque,
    Reasoning,
    Refusal,
    Text,
)
from routeur.dialects.neutral.events import (
    ArgumentsDelta,
    BlockStart,
    Done,
    Event,
    Failed,
    MetaUpdate,
    OpaqueEvent,
    ReasoningDelta,
    RefusalDelta,
    Signed,
    Start,
    Stopped,
    TextDelta,
    UsageUpdate,
)
from routeur.dialects.openai_chat.errors import read_fault
from routeur.dialects.openai_responses import NAME, usage
from routeur.dialects.openai_responses.items import (
    CALLS,
    IMAGE,
    message_of,
    read_call,
    read_image,
    read_reasoning,
    unknown_part,
)
from routeur.dialects.openai_responses.parts import Item, Part
from routeur.dialects.openai_responses.resource import created_of, read_extra, stop_of

_TEXTS = ("output_text", "text")
_ALONE = -1  # the part of an item that is one block


class EventReader:
    """Reads one stream."""

    __slots__ = ("_begun", "_called", "_count", "_ended", "_items", "_model", "_refused")

    def __init__(self, model: str) -> None:
        self._model = model
        self._begun = False
        self._ended = False
        self._items: dict[int, Item] = {}  # by their places in the output
        self._count = 0  # blocks that were opened
        self._called = False
        self._refused = False

    def read(self, frame: bytes) -> list[Event]:
        """The events of a frame. What cannot be read is left out."""
        data = sse.data(frame)
        if data is None or self._ended:
            return []
        try:
            event = exact.loads(data)
        except ValueError:  # also [DONE], which some servers send
            return []
        if not isinstance(event, dict):
            return []
        kind = event.get("type") or sse.event(frame).decode("ascii", "replace")
        read = _READ.get(kind) if isinstance(kind, str) else None
        found = read(self, event) if read else self._unknown(event)
        return found if self._begun or not found else self._after_start(found)

    def end(self) -> list[Event]:
        """Only the provider's own last event makes an answer whole."""
        if self._ended:
            return []
        self._ended = True
        return [Failed(BROKE_OFF)]

    # The answer as a whole.

    def _created(self, event: Json) -> list[Event]:
        if self._begun:
            return []
        told = members(event.get("response"))
        self._begun = True
        model = string(told.get("model")) or self._model
        return [Start(NAME, string(told.get("id")), model, created_of(told))]

    def _after_start(self, events: list[Event]) -> list[Event]:
        """An answer without its beginning has one all the same."""
        if isinstance(events[0], Failed):
            return events
        return self._created({}) + events

    def _ended_well(self, event: Json) -> list[Event]:
        """completed or incomplete; what never came by itself is in the output."""
        told = members(event.get("response"))
        found: list[Event] = [] if self._begun else self._created(event)
        found += self._missing(items(told.get("output")))
        for item in self._items.values():
            found += item.stop()
        found.append(
            MetaUpdate(
                model=string(told.get("model")),
                service_tier=string(told.get("service_tier")),
                extra=read_extra(told),
            )
        )
        if used := usage(event):
            found.append(UsageUpdate(used))
        found.append(Stopped(stop_of(told, self._called, self._refused)))
        self._ended = True
        return [*found, Done()]

    def _missing(self, output: list[object]) -> list[Event]:
        """Items whose events did not come, if those that came are the others."""
        given = [members(each) for each in output]
        for place, item in self._items.items():
            if not (0 <= place < len(given) and given[place].get("type") == item.kind):
                return []
        found: list[Event] = []
        for place, raw in enumerate(given):
            known = self._items.get(place)
            if known is None or not known.done:
                found += self._item_done({"output_index": place, "item": raw})
        return found

    def _failed(self, event: Json) -> list[Event]:
        self._ended = True
        return [Failed(read_fault(event))]

    def _nothing(self, event: Json) -> list[Event]:
        return []

    def _unknown(self, event: Json) -> list[Event]:
        """New events, and the progress of tools that run at the provider."""
        if event.get("error") and "response" not in event:  # as Chat Completions says it
            return self._failed(event)
        return [OpaqueEvent(NAME, event)] if self._begun else []

    # Items.

    def _item_added(self, event: Json) -> list[Event]:
        place = _number(event, "output_index")
        if place in self._items:
            return []
        raw = members(event.get("item"))
        item = self._items[place] = Item(raw)
        if item.kind not in CALLS:
            return []  # a block opens with what it has, and these have nothing yet
        self._called = True
        call = read_call(raw)
        found = self._open(item, _ALONE, replace(call, arguments=""))
        return found + item.parts[_ALONE].rest(call.arguments, ArgumentsDelta)

    def _item_done(self, event: Json) -> list[Event]:
        found = self._item_added(event)
        item = self._items[_number(event, "output_index")]
        if item.done:
            return found
        item.done = True
        raw = members(event.get("item"))
        if item.kind in CALLS:
            found += item.parts[_ALONE].rest(read_call(raw).arguments, ArgumentsDelta)
        elif item.kind == "message":
            for number, part in enumerate(items(raw.get("content"))):
                found += self._whole_part(item, number, members(part))
        elif item.kind == "reasoning":
            found += self._whole_reasoning(item, raw)
        else:
            image = read_image(raw) if item.kind == IMAGE else None
            found += self._open(item, _ALONE, image or Opaque(NAME, raw))
        return found + item.stop()

    def _whole_reasoning(self, item: Item, raw: Json) -> list[Event]:
        block = read_reasoning(raw)
        found = self._reasoning(item)
        part = item.parts[_ALONE]
        found += part.rest(block.text, ReasoningDelta)
        for number, text in enumerate(block.summary):
            found += part.rest_of_summary(number, text)
        if block.encrypted and not part.stopped:
            found.append(Signed(part.index, encrypted=block.encrypted, origin=RESPONSES))
        return found

    # Parts of messages.

    def _part_added(self, event: Json) -> list[Event]:
        item = self._item(event)
        kind = members(event.get("part")).get("type")
        if item.kind != "message" or item.done or kind not in (*_TEXTS, "refusal"):
            return []
        return self._part(item, _number(event, "content_index"), kind == "refusal")

    def _part_done(self, event: Json) -> list[Event]:
        item = self._item(event)
        if item.kind != "message" or item.done:
            return []
        number = _number(event, "content_index")
        found = self._whole_part(item, number, members(event.get("part")))
        return found + item.parts[number].stop()

    def _whole_part(self, item: Item, number: int, raw: Json) -> list[Event]:
        """What is not known yet of a message's part."""
        kind = raw.get("type")
        if kind == "refusal":
            found = self._part(item, number, True)
            return found + item.parts[number].rest(string(raw.get("refusal")), RefusalDelta)
        if kind not in _TEXTS:
            found = self._open(item, number, unknown_part(raw))
            return found + item.parts[number].stop()
        found = self._part(item, number, False)
        part = item.parts[number]
        found += part.rest(string(raw.get("text")), TextDelta)
        found += part.weigh(items(raw.get("logprobs"))[part.logprobs :])
        return found + part.cite(items(raw.get("annotations"))[part.citations :])

    def _text(self, event: Json) -> list[Event]:
        item, number = self._item(event), _number(event, "content_index")
        if item.done:
            return []
        part = item.parts.get(number)
        found: list[Event] = []
        if part is None:
            found = self._part(item, number, False)
            part = item.parts[number]
        found += part.more(event.get("delta"), TextDelta)
        logprobs = event.get("logprobs")
        return found + part.weigh(items(logprobs)) if logprobs else found

    def _text_done(self, event: Json) -> list[Event]:
        return self._part_done_so_far(event, {**event, "type": "output_text"})

    def _refusal(self, event: Json) -> list[Event]:
        item, number = self._item(event), _number(event, "content_index")
        if item.done:
            return []
        found = self._part(item, number, True)
        return found + item.parts[number].more(event.get("delta"), RefusalDelta)

    def _refusal_done(self, event: Json) -> list[Event]:
        return self._part_done_so_far(event, {**event, "type": "refusal"})

    def _part_done_so_far(self, event: Json, part: Json) -> list[Event]:
        """A text is whole, but its annotations may not be."""
        item = self._item(event)
        if item.done:
            return []
        return self._whole_part(item, _number(event, "content_index"), part)

    def _annotation(self, event: Json) -> list[Event]:
        item, number = self._item(event), _number(event, "content_index")
        if item.done:
            return []
        found = self._part(item, number, False)
        return found + item.parts[number].cite([event.get("annotation")])

    # Calls and reasoning.

    def _arguments(self, event: Json) -> list[Event]:
        part = self._item(event).parts.get(_ALONE)
        return part.more(event.get("delta"), ArgumentsDelta) if part else []

    def _arguments_done(self, event: Json) -> list[Event]:
        part = self._item(event).parts.get(_ALONE)
        text = string(event.get("arguments")) or string(event.get("input"))
        return part.rest(text, ArgumentsDelta) if part else []

    def _thought(self, event: Json) -> list[Event]:
        item = self._item(event, "reasoning")
        found = self._reasoning(item)
        return found + item.parts[_ALONE].more(event.get("delta"), ReasoningDelta)

    def _summary(self, event: Json) -> list[Event]:
        item = self._item(event, "reasoning")
        found = self._reasoning(item)
        number = _number(event, "summary_index")
        return found + item.parts[_ALONE].sum_up(number, event.get("delta"))

    def _summary_done(self, event: Json) -> list[Event]:
        item = self._item(event, "reasoning")
        found = self._reasoning(item)
        text = string(event.get("text"))
        return found + item.parts[_ALONE].rest_of_summary(_number(event, "summary_index"), text)

    # Blocks.

    def _item(self, event: Json, kind: str = "message") -> Item:
        """The item of an event; one that nobody announced is of the `kind` that has such events."""
        place = _number(event, "output_index")
        item = self._items.get(place)
        if item is None:
            item = self._items[place] = Item({"type": kind, "id": event.get("item_id")})
        return item

    def _part(self, item: Item, number: int, refusal: bool) -> list[Event]:
        """The block of a message's part opens, if it is not there."""
        if number in item.parts:
            return []
        message = message_of(item.raw)
        extra = {"message": message} if message else {}
        self._refused = self._refused or refusal
        return self._open(item, number, Refusal(extra=extra) if refusal else Text(extra=extra))

    def _reasoning(self, item: Item) -> list[Event]:
        if _ALONE in item.parts:
            return []
        block = read_reasoning(item.raw)
        return self._open(item, _ALONE, Reasoning(id=block.id, extra=block.extra))

    def _open(self, item: Item, number: int, block: Block) -> list[Event]:
        if number in item.parts:
            return []
        part = item.parts[number] = Part(self._count)
        self._count += 1
        return [BlockStart(part.index, block)]


def _number(event: Json, name: str) -> int:
    """A place: 0 where it is missing, as there is often but one."""
    value = event.get(name)
    return value if type(value) is int and value >= 0 else 0


_READ: dict[str, Callable[[EventReader, Json], list[Event]]] = {
    "response.created": EventReader._created,
    "response.queued": EventReader._nothing,
    "response.in_progress": EventReader._nothing,
    "response.output_item.added": EventReader._item_added,
    "response.output_item.done": EventReader._item_done,
    "response.content_part.added": EventReader._part_added,
    "response.content_part.done": EventReader._part_done,
    "response.output_text.delta": EventReader._text,
    "response.output_text.done": EventReader._text_done,
    "response.output_text.annotation.added": EventReader._annotation,
    "response.refusal.delta": EventReader._refusal,
    "response.refusal.done": EventReader._refusal_done,
    "response.function_call_arguments.delta": EventReader._arguments,
    "response.function_call_arguments.done": EventReader._arguments_done,
    "response.custom_tool_call_input.delta": EventReader._arguments,
    "response.custom_tool_call_input.done": EventReader._arguments_done,
    "response.reasoning_text.delta": EventReader._thought,
    "response.reasoning_text.done": EventReader._nothing,
    "response.reasoning.delta": EventReader._thought,
    "response.reasoning.done": EventReader._nothing,
    "response.reasoning_summary_part.added": EventReader._nothing,
    "response.reasoning_summary_part.done": EventReader._nothing,
    "response.reasoning_summary_text.delta": EventReader._summary,
    "response.reasoning_summary_text.done": EventReader._summary_done,
    "response.completed": EventReader._ended_well,
    "response.incomplete": EventReader._ended_well,
    "response.failed": EventReader._failed,
    "error": EventReader._failed,
}
