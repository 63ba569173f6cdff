"""The output items of a streamed Responses answer, and their events, as they grow."""

from __future__ import annotations

from typing import Any

from routeur.dialects import exact
from routeur.dialects.base import Json
from routeur.dialects.neutral import Citation, Reasoning, ToolCall
from routeur.dialects.openai_responses.items import (
    CALLS,
    summary_parts,
    write_call,
    write_citation,
    write_reasoning,
)


class Sender:
    """Numbers the events of one answer and frames them."""

    __slots__ = ("number",)

    def __init__(self) -> None:
        self.number = 0

    def event(self, kind: str, **members: Any) -> bytes:
        """One event, framed."""
        told = {"type": kind, "sequence_number": self.number, **members}
        self.number += 1
        return b"event: %s\ndata: %s\n\n" % (kind.encode(), exact.dumps(told))

    def delta(self, head: bytes, text: str) -> bytes:
        """More of a text, by what `delta_head` made."""
        number = self.number
        self.number = number + 1
        return b'%s%d,"delta":%s}\n\n' % (head, number, exact.dumps(text))


def delta_head(kind: str, **members: Any) -> bytes:
    """All of an event of deltas that is always the same, up to its sequence number."""
    told = exact.dumps({"type": kind, **members})[:-1]
    return b'event: %s\ndata: %s,"sequence_number":' % (kind.encode(), told)


class Item:
    """An output item at its place in the output: announced at once, done when it is whole."""

    __slots__ = ("id", "index", "item", "sender", "whole")

    def __init__(self, sender: Sender, index: int, id: str) -> None:
        self.sender = sender
        self.index = index
        self.id = id
        self.item: Json = {}  # as it was announced, and in the end as it stays
        self.whole = False

    def announce(self, item: Json) -> bytes:
        """The event with which it begins."""
        self.item = item
        return self.sender.event("response.output_item.added", output_index=self.index, item=item)

    def done(self, item: Json) -> bytes:
        """The event with which it ends."""
        self.item = item
        self.whole = True
        return self.sender.event("response.output_item.done", output_index=self.index, item=item)


class WholeItem(Item):
    """An item that comes in one piece."""

    __slots__ = ()

    def come(self, item: Json) -> bytes:
        """Its beginning and end."""
        opened = self.announce(item)
        return opened + self.done(item)


class CallItem(Item):
    """A call of a client's tool."""

    __slots__ = ("_block", "_extra", "_head", "_kind", "_pieces")

    def begin(self, block: ToolCall, extra: Json) -> bytes:
        """Its beginning, with the arguments that the block has."""
        self._block = block
        self._extra = extra
        custom = block.kind == "custom"
        self._kind = "custom_tool_call_input" if custom else "function_call_arguments"
        self._head = delta_head(
            f"response.{self._kind}.delta", item_id=self.id, output_index=self.index
        )
        self._pieces: list[str] = []
        opened = self.announce(self._whole("", "in_progress"))
        return opened + self.more(block.arguments) if block.arguments else opened

    def more(self, text: str) -> bytes:
        """More of the arguments."""
        self._pieces.append(text)
        return self.sender.delta(self._head, text)

    def close(self) -> bytes:
        """Its end."""
        item = self._whole("".join(self._pieces), "completed")
        name = CALLS[item["type"]]
        said = {name: item[name]}
        if name == "arguments":
            said["name"] = self._block.name
        end = self.sender.event(
            f"response.{self._kind}.done", item_id=self.id, output_index=self.index, **said
        )
        return end + self.done(item)

    def _whole(self, arguments: str, status: str) -> Json:
        item = write_call(self._block, self.id, self._block.id, self._extra)
        return {**item, CALLS[item["type"]]: arguments, "status": status}


class ReasoningItem(Item):
    """A reasoning: its content or the parts of its summary, and what is sealed in it."""

    __slots__ = (
        "_content",
        "_content_head",
        "_extra",
        "_part",
        "_parts",
        "_pieces",
        "_summary_head",
    )

    def begin(self, extra: Json) -> bytes:
        """Its beginning; `extra` are members that have no field."""
        self._extra = extra
        self._content: list[str] = []
        self._content_head = b""
        self._part = -1  # of the summary, as read; -1: none is open
        self._summary_head = b""
        self._parts: list[str] = []  # that are whole
        self._pieces: list[str] = []  # of the open one
        return self.announce({**self._whole(""), "status": "in_progress"})

    def think(self, text: str) -> bytes:
        """More of the content."""
        opened = b""
        if not self._content:
            place = self._place(content_index=0)
            self._content_head = delta_head("response.reasoning_text.delta", **place)
            part = {"type": "reasoning_text", "text": ""}
            opened = self.sender.event("response.content_part.added", **place, part=part)
        self._content.append(text)
        return opened + self.sender.delta(self._content_head, text)

    def sum_up(self, part: int, text: str) -> bytes:
        """More of a part of the summary; one part comes after the other."""
        opened = b""
        if part != self._part:
            opened = self._end_part()
            self._part = part
            place = self._place(summary_index=len(self._parts))
            self._summary_head = delta_head("response.reasoning_summary_text.delta", **place)
            opened += self.sender.event(
                "response.reasoning_summary_part.added", **place, part=summary_parts([""])[0]
            )
        self._pieces.append(text)
        return opened + self.sender.delta(self._summary_head, text)

    def seal(self, encrypted: str) -> bytes:
        """Its end."""
        ended = self._end_part() + self._end_content()
        return ended + self.done(self._whole(encrypted))

    def _end_part(self) -> bytes:
        if self._part < 0:
            return b""
        place = self._place(summary_index=len(self._parts))
        text = "".join(self._pieces)
        part = summary_parts([text])[0]
        self._parts.append(text)
        self._pieces = []
        self._part = -1
        ended = self.sender.event("response.reasoning_summary_text.done", **place, text=text)
        return ended + self.sender.event("response.reasoning_summary_part.done", **place, part=part)

    def _end_content(self) -> bytes:
        if not self._content:
            return b""
        place = self._place(content_index=0)
        text = "".join(self._content)
        part = {"type": "reasoning_text", "text": text}
        ended = self.sender.event("response.reasoning_text.done", **place, text=text)
        return ended + self.sender.event("response.content_part.done", **place, part=part)

    def _place(self, **number: int) -> Json:
        return {"item_id": self.id, "output_index": self.index, **number}

    def _whole(self, encrypted: str) -> Json:
        shown = Reasoning("".join(self._content), tuple(self._parts))
        return write_reasoning(shown, self.id, encrypted, self._extra)


class MessageItem(Item):
    """A message: its parts, of which the last one may be open."""

    __slots__ = (
        "_citations",
        "_head",
        "_kind",
        "_length",
        "_logprobs",
        "_notes",
        "_parts",
        "_pieces",
        "_start",
        "meta",
        "open",
    )

    def begin(self, meta: Json) -> bytes:
        """Its beginning; `meta` as `message_of` reads it."""
        self.meta = meta
        self._parts: list[Json] = []
        self._kind = ""  # of the open part: output_text, refusal
        self._length = 0  # characters of it
        self._start = 0  # and before the open block
        self.open = 0  # blocks that are still growing
        return self.announce(self._whole("in_progress"))

    def start(self, kind: str, apart: bool) -> bytes:
        """A block begins: in a part of its own, or in the open one if that may go on."""
        self.open += 1
        if kind == self._kind and not apart:
            self._start = self._length
            return b""
        ended = self._end_part()
        self._kind = kind
        self._length = self._start = 0
        self._pieces: list[str] = []
        self._notes: list[Json] = []
        self._citations: list[Citation] = []  # that wait for their block's end
        self._logprobs: list[Json] = []
        place = self._place()
        always: Json = {"logprobs": []} if kind == "output_text" else {}
        self._head = delta_head(f"response.{kind}.delta", **place, **always)
        return ended + self.sender.event(
            "response.content_part.added", **place, part=self._part("")
        )

    def more(self, text: str) -> bytes:
        """More of the open part."""
        self._pieces.append(text)
        self._length += len(text)
        return self.sender.delta(self._head, text)

    def cite(self, citation: Citation) -> bytes | None:
        """A source; None: the API cannot say it. Where it ends may be known only with its block."""
        note = write_citation(citation, self._start, -1)
        if note is None:
            return None
        if note.get("end_index", 0) < 0:
            self._citations.append(citation)
            return b""
        return self._note(note)

    def weigh(self, tokens: list[Json]) -> bytes:
        """The logprobs of tokens that have been written, in an event without text."""
        if self._kind != "output_text":
            return b""
        self._logprobs += tokens
        return self.sender.event(
            "response.output_text.delta", **self._place(), delta="", logprobs=tokens
        )

    def stop(self) -> bytes:
        """A block is whole. Its part may go on with the next one."""
        self.open -= 1
        if self._kind != "output_text":
            return b""
        notes = [write_citation(each, self._start, self._length) for each in self._citations]
        self._citations = []
        return b"".join(self._note(each) for each in notes if each)

    @property
    def says_text(self) -> bool:
        """Whether the open part is text."""
        return self._kind == "output_text"

    def insert(self, part: Json) -> bytes:
        """A part that comes whole."""
        ended = self._end_part()
        place = self._place()
        self._parts.append(part)
        return (
            ended
            + self.sender.event("response.content_part.added", **place, part=part)
            + self.sender.event("response.content_part.done", **place, part=part)
        )

    def close(self, status: str) -> bytes:
        """Its end; `status` is completed or incomplete."""
        return self._end_part() + self.done(self._whole(status))

    def _note(self, annotation: Json) -> bytes:
        number = len(self._notes)
        self._notes.append(annotation)
        return self.sender.event(
            "response.output_text.annotation.added",
            **self._place(),
            annotation_index=number,
            annotation=annotation,
        )

    def _end_part(self) -> bytes:
        if not self._kind:
            return b""
        kind, place = self._kind, self._place()
        text = "".join(self._pieces)
        part = self._part(text)
        said: Json = {"text": text, "logprobs": self._logprobs}
        if kind == "refusal":
            said = {"refusal": text}
        self._parts.append(part)
        self._kind = ""
        return self.sender.event(f"response.{kind}.done", **place, **said) + self.sender.event(
            "response.content_part.done", **place, part=part
        )

    def _part(self, text: str) -> Json:
        if self._kind == "refusal":
            return {"type": "refusal", "refusal": text}
        return {
            "type": "output_text",
            "text": text,
            "annotations": self._notes,
            "logprobs": self._logprobs,
        }

    def _place(self) -> Json:
        return {
            "item_id": self.id,
            "output_index": self.index,
            "content_index": len(self._parts),
        }

    def _whole(self, status: str) -> Json:
        item: Json = {"type": "message", "id": self.id, "status": status, "role": "assistant"}
        return {**item, "content": self._parts, **self.meta}
