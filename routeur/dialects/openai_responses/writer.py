"""Writes a Responses stream: the events of an answer as items that open, grow and are done.

Texts in a row, as Anthropic cuts them at citations, become one message with one part: what clients
of OpenAI expect. Blocks of OpenAI's own keep their items.
"""

from __future__ import annotations

from collections.abc import Callable
from time import time
from typing import Any

from routeur.dialects.base import Json, Usage
from routeur.dialects.loose import string
from routeur.dialects.neutral import (
    Audio,
    Block,
    File,
    Image,
    Opaque,
    Reasoning,
    Refusal,
    Stop,
    Text,
    ToolCall,
)
from routeur.dialects.neutral.aim import Caller
from routeur.dialects.neutral.events import (
    ArgumentsDelta,
    AudioDelta,
    BlockStart,
    BlockStop,
    CitationDelta,
    Done,
    Event,
    Failed,
    LogprobsDelta,
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
from routeur.dialects.neutral.media import base64_of
from routeur.dialects.openai_chat.errors import error_object
from routeur.dialects.openai_responses import NAME
from routeur.dialects.openai_responses.items import IMAGE, part_of, write_logprob
from routeur.dialects.openai_responses.options import read_tier
from routeur.dialects.openai_responses.output import (
    CallItem,
    Item,
    MessageItem,
    ReasoningItem,
    Sender,
    WholeItem,
)
from routeur.dialects.openai_responses.resource import echo, outcome, write_usage
from routeur.dialects.openai_responses.sealed import Seal, seal_of

_PING = b": ping\n\n"
_CUT = ("length", "content_filter")  # after which the last message is not whole


class EventWriter:
    """Writes one stream. `resource` is the response as the last event had it."""

    __slots__ = (
        "_blocks",
        "_caller",
        "_echo",
        "_items",
        "_known",
        "_message",
        "_own",
        "_refused",
        "_seals",
        "_sender",
        "_stop",
        "_tokens",
        "_usage",
        "resource",
    )

    def __init__(self, caller: Caller) -> None:
        self._caller = caller
        self._sender = Sender()
        self._echo: Json = {}
        self._known: Json = {}  # id and what else does not come from the request; empty: not begun
        self._own = False  # whether the answer is of this dialect itself
        self._items: list[Item] = []
        self._blocks: dict[int, Item | None] = {}  # that grow; None: a text that has no item yet
        self._seals: dict[int, Seal] = {}
        self._message: MessageItem | None = None  # the newest item, if it is a message
        self._tokens: list[Json] = []  # logprobs of a text that has not begun
        self._usage: Usage | None = None
        self._stop = Stop("end")
        self._refused = False
        self.resource: Json = {}

    def write(self, event: Event) -> bytes:
        """The frames of an event."""
        return _EVENTS[type(event)](self, event)

    # The answer as a whole.

    def _begin(self, event: Start) -> bytes:
        caller = self._caller
        self._echo = echo(caller.request)
        self._own = event.dialect == NAME
        self._usage = event.usage
        self._known = {
            "id": own_id(event.id, "resp_", caller.token),
            "created_at": event.created or caller.created,
            "model": event.model or caller.request.model,
            "service_tier": self._tier(event.service_tier) or "default",
            **(event.extra if self._own else {}),
        }
        told = self._as("in_progress")
        created = self._sender.event("response.created", response=told)
        return created + self._sender.event("response.in_progress", response=told)

    def _begun(self) -> bytes:
        return b"" if self._known else self._begin(Start(""))

    def _meta(self, event: MetaUpdate) -> bytes:
        """Later knowledge. The id stays, as the client has seen it."""
        begun = self._begun()
        if event.model:
            self._known["model"] = event.model
        if tier := self._tier(event.service_tier):
            self._known["service_tier"] = tier
        if self._own:
            self._known |= event.extra
        return begun

    def _tier(self, word: str) -> str:
        return word if self._own else read_tier(word)

    def _used(self, event: UsageUpdate) -> bytes:
        self._usage = event.usage
        return b""

    def _stopped(self, event: Stopped) -> bytes:
        if event.choice:
            return b""
        self._stop = event.stop
        cut = event.stop.reason in _CUT and self._message is not None
        return self._begun() + self._leave("incomplete" if cut else "completed")

    def _done(self, event: Done) -> bytes:
        begun = self._begun() + self._leave("completed")
        status, details = outcome(self._stop, self._refused)
        told = self._as(status, incomplete_details=details, usage=write_usage(self._usage))
        return begun + self._sender.event(f"response.{status}", response=told)

    def _failed(self, event: Failed) -> bytes:
        """An error, and the end; what had not been done is not in the output."""
        begun = self._begun()
        error = error_object(event.fault)
        flat = {"code": error["code"], "message": error["message"], "param": error["param"]}
        code = "rate_limit_exceeded" if event.fault.status == 429 else "server_error"
        code = (error["code"] if self._own else None) or code  # SDKs know these
        last = {"code": code, "message": error["message"]}
        told = self._as("failed", error=last, usage=write_usage(self._usage))
        said = self._sender.event("error", **flat, error=error)
        return begun + said + self._sender.event("response.failed", response=told)

    def _as(self, status: str, **changes: Any) -> Json:
        ended = int(time()) if status == "completed" else None
        self.resource = {
            "id": "",
            "object": "response",
            "created_at": 0,
            "status": status,
            "completed_at": max(ended, self._known["created_at"]) if ended else None,
            "error": None,
            "incomplete_details": None,
            "model": "",
            "output": [each.item for each in self._items if each.whole],
            "usage": None,
            **self._echo,
            **self._known,
            **changes,
        }
        return self.resource

    def _ping(self, event: Ping) -> bytes:
        return _PING

    def _foreign(self, event: OpaqueEvent) -> bytes:
        """Progress of items that are written whole."""
        return b""

    # Blocks begin.

    def _start(self, event: BlockStart) -> bytes:
        if event.choice:
            return b""
        open_block = _BLOCKS.get(type(event.block), EventWriter._leave_out)
        return self._begun() + open_block(self, event.index, event.block)

    def _open_text(self, index: int, block: Text) -> bytes:
        self._seals[index] = seal_of(block)
        self._blocks[index] = None
        begun = self._words(index, "output_text") if block.text or self._own else b""
        if block.text:
            begun += self._text(TextDelta(index, block.text))
        cited = [self._cited(CitationDelta(index, each)) for each in block.citations]
        return begun + b"".join(cited)

    def _open_refusal(self, index: int, block: Refusal) -> bytes:
        self._refused = True
        self._seals[index] = seal_of(block)
        begun = self._words(index, "refusal")
        return begun + self._text(TextDelta(index, block.text)) if block.text else begun

    def _open_audio(self, index: int, block: Audio) -> bytes:
        """There is no sound in this API: its words."""
        self._caller.losses.drop("audio")
        return self._open_text(index, Text(block.transcript))

    def _open_reasoning(self, index: int, block: Reasoning) -> bytes:
        self._seals[index] = seal_of(block)
        item = ReasoningItem(self._sender, *self._place("rs_", block.id))
        begun = self._leave() + item.begin(block.extra if self._own else {})
        self._add(index, item)
        if block.text:
            begun += self._thought(ReasoningDelta(index, block.text))
        parts = [item.sum_up(number, text) for number, text in enumerate(block.summary)]
        return begun + b"".join(parts)

    def _open_call(self, index: int, block: ToolCall) -> bytes:
        sealed = self._sealed_item(seal_of(block).other())  # before it, as reasoning is
        self._seals[index] = Seal(block, origin=block.origin)
        prefix = "ctc_" if block.kind == "custom" else "fc_"
        item = CallItem(self._sender, *self._place(prefix, block.item_id))
        begun = self._leave() + item.begin(block, block.extra if self._own else {})
        self._add(index, item)
        return sealed + begun

    def _whole_image(self, index: int, block: Image) -> bytes:
        if self._own and "id" in block.extra:
            return self._come({**block.extra, "result": block.data}, "")
        found = base64_of(block)
        if found is None:
            return self._leave_out(index, block)
        kind = (found[0] or "image/png").partition("/")[2]
        item = {"type": IMAGE, "status": "completed", "output_format": kind, "result": found[1]}
        return self._come(item, "ig_")

    def _whole_opaque(self, index: int, block: Opaque) -> bytes:
        if block.dialect != NAME:
            return self._leave_out(index, block)
        part = part_of(block)
        if part is None:
            return self._come(block.raw, "")
        begun = b""
        if self._message is None:
            self._message = self._new_message({})
            begun = self._message.begin({})
        return begun + self._message.insert(part)

    def _leave_out(self, index: int, block: Block) -> bytes:
        name = block.kind if isinstance(block, Opaque) else type(block).__name__.lower()
        self._caller.losses.drop(name)
        return b""

    def _come(self, item: Json, prefix: str) -> bytes:
        left = self._leave()
        whole = WholeItem(self._sender, *self._place(prefix, string(item.get("id"))))
        self._items.append(whole)
        return left + whole.come({"id": whole.id, **item} if whole.id else item)

    def _sealed_item(self, encrypted: str) -> bytes:
        if not encrypted:
            return b""
        item = {"type": "reasoning", "summary": [], "encrypted_content": encrypted}
        return self._come(item, "rs_")

    # Messages: several blocks, one item.

    def _words(self, index: int, kind: str) -> bytes:
        """A text or refusal begins to be said."""
        block = self._seals[index].block
        extra = block.extra if self._own else {}  # type: ignore[union-attr]
        meta = extra.get("message") or {}
        begun = b""
        item = self._message
        if item is None or (meta and meta != item.meta):
            begun = self._leave()
            self._message = item = self._new_message(meta)
            begun += item.begin(meta)
        begun += item.start(kind, apart=bool(meta))
        self._blocks[index] = item
        if self._tokens and kind == "output_text":
            begun += item.weigh(self._tokens)
            self._tokens = []
        return begun

    def _new_message(self, meta: Json) -> MessageItem:
        item = MessageItem(self._sender, *self._place("msg_", string(meta.get("id"))))
        self._items.append(item)
        return item

    def _leave(self, status: str = "completed") -> bytes:
        """Another item begins: the message ends, unless a text in it still grows."""
        item, self._message = self._message, None
        return item.close(status) if item is not None and not item.open else b""

    # Blocks grow.

    def _text(self, event: TextDelta | RefusalDelta) -> bytes:
        if event.choice:
            return b""
        item = self._blocks.get(event.index)
        if type(item) is MessageItem:
            return item.more(event.text)
        if event.index not in self._blocks or item is not None:
            return b""
        begun = self._words(event.index, "output_text")
        return begun + self._text(event)

    def _spoken(self, event: AudioDelta) -> bytes:
        if not event.transcript:
            return b""
        return self._text(TextDelta(event.index, event.transcript, event.choice))

    def _thought(self, event: ReasoningDelta) -> bytes:
        item = self._blocks.get(event.index)
        if event.choice or type(item) is not ReasoningItem:
            return b""
        self._seals[event.index].text.append(event.text)
        thinking = self._caller.request.thinking
        if thinking and thinking.summary and not self._own:
            return item.sum_up(0, event.text)  # the only place where this client looks for it
        return item.think(event.text)

    def _summed(self, event: SummaryDelta) -> bytes:
        item = self._blocks.get(event.index)
        if event.choice or type(item) is not ReasoningItem:
            return b""
        return item.sum_up(event.part, event.text)

    def _called(self, event: ArgumentsDelta) -> bytes:
        item = self._blocks.get(event.index)
        if event.choice or type(item) is not CallItem:
            return b""
        return item.more(event.text)

    def _cited(self, event: CitationDelta) -> bytes:
        if event.choice or event.index not in self._blocks:
            return b""
        begun = b""
        if self._blocks[event.index] is None:
            begun = self._words(event.index, "output_text")
        item = self._blocks[event.index]
        if type(item) is not MessageItem:
            return begun
        found = item.cite(event.citation)
        if found is None:
            self._caller.losses.drop("citations")
        return begun + (found or b"")

    def _signed(self, event: Signed) -> bytes:
        seal = self._seals.get(event.index)
        if seal is not None and not event.choice:
            seal.add(event)
        return b""

    def _weighed(self, event: LogprobsDelta) -> bytes:
        if event.choice or not self._caller.request.logprobs:
            return b""
        tokens = [write_logprob(each) for each in event.tokens]
        if self._message is not None and self._message.says_text:
            return self._message.weigh(tokens)
        self._tokens += tokens
        return b""

    # Blocks end.

    def _stop_block(self, event: BlockStop) -> bytes:
        if event.choice or event.index not in self._blocks:
            return b""
        item = self._blocks.pop(event.index)
        seal = self._seals.pop(event.index)
        ended = b""
        match item:
            case ReasoningItem():
                return item.seal(seal.reasoning())
            case CallItem():
                ended = item.close()
            case MessageItem():
                ended = item.stop()
                if item is not self._message and not item.open:
                    ended += item.close("completed")
        return ended + self._sealed_item(seal.other())

    def _add(self, index: int, item: Item) -> None:
        self._items.append(item)
        self._blocks[index] = item

    def _place(self, prefix: str, id: str) -> tuple[int, str]:
        """Where the next item stands, and its id."""
        number = len(self._items)
        return number, id or (f"{prefix}{self._caller.token}{number:02x}" if prefix else "")


_Open = Callable[[EventWriter, int, Any], bytes]
_BLOCKS: dict[type, _Open] = {
    Text: EventWriter._open_text,
    Refusal: EventWriter._open_refusal,
    Audio: EventWriter._open_audio,
    Reasoning: EventWriter._open_reasoning,
    ToolCall: EventWriter._open_call,
    Image: EventWriter._whole_image,
    Opaque: EventWriter._whole_opaque,
    File: EventWriter._leave_out,
}
_EVENTS: dict[type, Callable[[EventWriter, Any], bytes]] = {
    Start: EventWriter._begin,
    BlockStart: EventWriter._start,
    TextDelta: EventWriter._text,
    ReasoningDelta: EventWriter._thought,
    SummaryDelta: EventWriter._summed,
    ArgumentsDelta: EventWriter._called,
    RefusalDelta: EventWriter._text,
    AudioDelta: EventWriter._spoken,
    CitationDelta: EventWriter._cited,
    Signed: EventWriter._signed,
    BlockStop: EventWriter._stop_block,
    LogprobsDelta: EventWriter._weighed,
    UsageUpdate: EventWriter._used,
    MetaUpdate: EventWriter._meta,
    Stopped: EventWriter._stopped,
    Done: EventWriter._done,
    Failed: EventWriter._failed,
    Ping: EventWriter._ping,
    OpaqueEvent: EventWriter._foreign,
}
