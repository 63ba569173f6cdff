"""Writes streams of Chat Completions, in OpenAI's order.

For each choice a chunk with its role, deltas, a chunk with its `finish_reason`; then, if asked for,
one with usage and no choices; then `[DONE]`. After an error in the stream there is none.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from routeur.dialects.base import Json, Usage
from routeur.dialects.exact import dumps
from routeur.dialects.neutral import (
    ANTHROPIC,
    BEDROCK,
    GEMINI,
    RESPONSES,
    Audio,
    Image,
    Opaque,
    Reasoning,
    Refusal,
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
from routeur.dialects.openai_chat.blocks import write_citation
from routeur.dialects.openai_chat.errors import error_object
from routeur.dialects.openai_chat.reasoning import google_extra, write_details, write_head
from routeur.dialects.openai_chat.tools import is_old
from routeur.dialects.openai_chat.whole import (
    finish_of,
    hides_reasoning,
    write_audio,
    write_call,
    write_image,
    write_meta,
    write_usage,
)

_DONE = b"data: [DONE]\n\n"
# Whose reasoning may be sealed in the end, so that its text goes into the details, too.
_SEALS = {"anthropic": ANTHROPIC, "bedrock": BEDROCK, "openai_responses": RESPONSES}


@dataclass(slots=True)
class _Open:
    """A block that is open: `start` is where its text begins in the choice's, in characters.

    `number` counts tool calls, and reasoning. `origin` is whose seal the details wait for, "" for
    none.
    """

    block: Any
    start: int = 0
    number: int = 0
    said: bool = False  # whether it has arguments; for reasoning, whether its format is known
    part: int = -1  # of a summary, the last one
    origin: str = ""


@dataclass(slots=True)
class _Choice:
    """What has been written of a choice."""

    calls: int = 0
    thoughts: int = 0
    notes: int = 0
    length: int = 0  # characters of text
    refused: bool = False
    text: bool = False


class EventWriter:
    """Writes one stream. Blocks may come interleaved, and several choices."""

    __slots__ = (
        "_caller",
        "_choices",
        "_head",
        "_hides",
        "_old",
        "_open",
        "_seals",
        "_start",
        "_tail",
        "_usage",
    )

    def __init__(self, caller: Caller) -> None:
        self._caller = caller
        self._start = Start("")
        self._head = b""  # of every chunk, up to its choices; made when the first is written
        self._tail = b',"usage":null}\n\n' if caller.request.include_usage else b"}\n\n"
        self._choices: dict[int, _Choice] = {}
        self._open: dict[tuple[int, int], _Open] = {}
        self._usage: Usage | None = None
        self._hides = hides_reasoning(caller)
        self._old = is_old(caller.request)
        self._seals = ""

    def write(self, event: Event) -> bytes:
        """The chunks that an event is, or none."""
        write = _WRITERS.get(type(event))
        return write(self, event) if write else b""

    # Chunks.

    def _delta(self, choice: int, delta: Json) -> bytes:
        return self._chunk(choice, dumps(delta))

    def _chunk(
        self, choice: int, delta: bytes, finish: bytes = b"null", logprobs: bytes = b"null"
    ) -> bytes:
        head = self._head or self._make_head()
        return b'%b{"index":%d,"delta":%b,"logprobs":%b,"finish_reason":%b}]%b' % (
            head,
            choice,
            delta,
            logprobs,
            finish,
            self._tail,
        )

    def _make_head(self) -> bytes:
        start, caller = self._start, self._caller
        head: Json = {
            "id": own_id(start.id, "chatcmpl-", caller.token),
            "object": "chat.completion.chunk",
            "created": start.created or caller.created,
            "model": start.model or caller.request.model,
            **write_meta(start.service_tier, start.fingerprint),
        }
        self._head = b'data: %b,"choices":[' % dumps(head)[:-1]
        return self._head

    def _role(self, choice: int, block: Any) -> bytes:
        """The first chunk of a choice; its content is null where no text comes first."""
        if choice in self._choices:
            return b""
        self._choices[choice] = _Choice()
        content = "" if block is None or isinstance(block, Text) else None
        return self._delta(choice, {"role": "assistant", "content": content, "refusal": None})

    # The whole answer.

    def _begin(self, event: Start) -> bytes:
        self._start = event
        self._usage = event.usage
        self._seals = _SEALS.get(event.dialect, "")
        if self._seals == BEDROCK and "claude" in event.model:
            self._seals = ANTHROPIC
        return b""

    def _update(self, event: MetaUpdate) -> bytes:
        """What was not known at the start; the id stays once it has been said."""
        start = self._start
        self._start = Start(
            start.dialect,
            start.id if self._head else event.id or start.id,
            event.model or start.model,
            start.created,
            service_tier=event.service_tier or start.service_tier,
            fingerprint=event.fingerprint or start.fingerprint,
        )
        if self._head:
            self._make_head()
        return b""

    def _count(self, event: UsageUpdate) -> bytes:
        self._usage = event.usage
        return b""

    def _stop(self, event: Stopped) -> bytes:
        number, stop = event.choice, event.stop
        written = self._role(number, None)
        refused = self._choices[number].refused
        if stop.reason == "refusal" and stop.detail and not refused:
            written += self._delta(number, {"refusal": stop.detail})
        return written + self._chunk(number, b"{}", dumps(finish_of(stop, self._caller)))

    def _end(self, event: Done) -> bytes:
        if not self._caller.request.include_usage or self._usage is None:
            return _DONE
        head = self._head or self._make_head()
        return b'%b],"usage":%b}\n\n%b' % (head, dumps(write_usage(self._usage)), _DONE)

    def _fail(self, event: Failed) -> bytes:
        return b"data: %b\n\n" % dumps({"error": error_object(event.fault)})

    def _logprobs(self, event: LogprobsDelta) -> bytes:
        written = self._role(event.choice, None)
        said = self._choices[event.choice]
        refusal = said.refused and not said.text
        tokens = list(event.tokens)
        found = {"content": None if refusal else tokens, "refusal": tokens if refusal else None}
        return written + self._chunk(event.choice, b"{}", logprobs=dumps(found))

    # Blocks.

    def _block(self, event: BlockStart) -> bytes:
        block, number = event.block, event.choice
        written = self._role(number, block)
        choice = self._choices[number]
        opened = _Open(block, start=choice.length)
        delta: Json | None = None
        self._open[number, event.index] = opened
        match block:
            case Text():
                choice.text = True
                return written + self._text_head(block, event)
            case Reasoning():
                opened.number = choice.thoughts
                choice.thoughts += 1
                return written + self._thought_head(block, opened, event)
            case ToolCall():
                opened.number = choice.calls
                choice.calls += 1
                return written + self._call_head(block, opened, number)
            case Refusal():
                choice.refused = True
                delta = {"refusal": block.text} if block.text else None
            case Audio():
                audio = write_audio(block, self._caller)
                delta = {"audio": {name: each for name, each in audio.items() if each}}
            case Image():
                delta = {"images": [{**write_image(block), "index": event.index}]}
            case Opaque():
                self._caller.losses.drop(block.kind)
        return written + (self._delta(number, delta) if delta else b"")

    def _text_head(self, block: Text, event: BlockStart) -> bytes:
        number, index = event.choice, event.index
        written = self._text(TextDelta(index, block.text, number)) if block.text else b""
        for citation in block.citations:
            written += self._cite(CitationDelta(index, citation, number))
        if block.signature and block.origin == GEMINI:
            written += self._delta(number, _signed_text(block.signature))
        return written

    def _text(self, event: TextDelta) -> bytes:
        choice = self._choices.get(event.choice)
        if choice is None or not event.text:
            return b""
        choice.length += len(event.text)
        return self._chunk(event.choice, b'{"content":%b}' % dumps(event.text))

    def _refuse(self, event: RefusalDelta) -> bytes:
        return self._delta(event.choice, {"refusal": event.text})

    def _cite(self, event: CitationDelta) -> bytes:
        opened = self._open.get((event.choice, event.index))
        if opened is None:
            return b""
        choice = self._choices[event.choice]
        found = write_citation(event.citation, opened.start, choice.length)
        if found is None:
            self._caller.losses.drop("citations")
            return b""
        choice.notes += 1  # the index is for OpenAI's package, which puts lists together by it
        return self._delta(event.choice, {"annotations": [{**found, "index": choice.notes - 1}]})

    def _speak(self, event: AudioDelta) -> bytes:
        audio: Json = {"data": event.data, "transcript": event.transcript}
        audio["expires_at"] = event.expires_at
        audio = {name: each for name, each in audio.items() if each}
        return self._delta(event.choice, {"audio": audio}) if audio else b""

    def _close(self, event: BlockStop) -> bytes:
        opened = self._open.pop((event.choice, event.index), None)
        if opened is None or opened.said or not isinstance(opened.block, ToolCall):
            return b""
        if opened.block.kind == "custom":
            return b""
        return self._piece(opened, "{}", event.choice)  # no arguments are an empty object

    # Reasoning.

    def _thought_head(self, block: Reasoning, opened: _Open, event: BlockStart) -> bytes:
        opened.origin = block.origin or self._seals
        details = write_details(block, opened.number, event.index)
        if self._hides or not details:
            return b""
        opened.said = True
        opened.part = len(block.summary) - 1
        opened.origin = opened.origin or "unknown"
        shown = {"reasoning_content": block.shown} if block.shown else {}
        return self._delta(event.choice, {**shown, "reasoning_details": details})

    def _think(self, event: ReasoningDelta) -> bytes:
        return self._thought(event, event.text, {"type": "reasoning.text", "text": event.text})

    def _summarise(self, event: SummaryDelta) -> bytes:
        opened = self._open.get((event.choice, event.index))
        text = event.text
        if opened and event.part > opened.part:
            text = text if opened.part < 0 else f"\n\n{text}"
            opened.part = event.part
        return self._thought(event, text, {"type": "reasoning.summary", "summary": text})

    def _thought(self, event: Any, text: str, entry: Json) -> bytes:
        """More words, with the same in the details where a seal may come."""
        opened = self._open.get((event.choice, event.index))
        if self._hides or opened is None or not text:
            return b""
        delta: Json = {"reasoning_content": text}
        if opened.origin:
            delta["reasoning_details"] = [self._entry(entry, opened, event.index)]
        return self._delta(event.choice, delta)

    def _entry(self, entry: Json, opened: _Open, place: int) -> Json:
        """An entry; the first of a block has what stands once."""
        found = {**entry, "index": opened.number}
        if opened.said:
            return found
        opened.said = True
        return found | write_head(opened.block, opened.origin, opened.number, place)

    def _sign(self, event: Signed) -> bytes:
        opened = self._open.get((event.choice, event.index))
        if opened is None:
            return b""
        match opened.block:
            case Reasoning():
                return b"" if self._hides else self._seal(event, opened)
            case ToolCall() if event.signature and not self._old:
                extra = google_extra(event.signature)
                call = {"index": opened.number, "extra_content": extra}
                return self._delta(event.choice, {"tool_calls": [call]})
            case Text() if event.signature:
                return self._delta(event.choice, _signed_text(event.signature))
        return b""

    def _seal(self, event: Signed, opened: _Open) -> bytes:
        if event.origin and event.origin != opened.origin:
            opened.origin = event.origin
            opened.said = False
        found = []
        if event.signature:
            entry: Json = {"type": "reasoning.text", "signature": event.signature}
            found.append(self._entry(entry, opened, event.index))
        if event.encrypted:
            entry = {"type": "reasoning.encrypted", "data": event.encrypted}
            found.append(self._entry(entry, opened, event.index))
        return self._delta(event.choice, {"reasoning_details": found}) if found else b""

    # Tool calls.

    def _call_head(self, block: ToolCall, opened: _Open, choice: int) -> bytes:
        opened.said = bool(block.arguments)
        if self._old:
            if opened.number:
                self._caller.losses.drop("tool_calls")
                return b""
            function = {"name": block.name, "arguments": block.arguments}
            return self._delta(choice, {"function_call": function})
        call = {"index": opened.number, **write_call(block)}
        if block.kind == "function":
            call["function"] = {"name": block.name, "arguments": block.arguments}
        return self._delta(choice, {"tool_calls": [call]})

    def _argue(self, event: ArgumentsDelta) -> bytes:
        opened = self._open.get((event.choice, event.index))
        if opened is None or not event.text:
            return b""
        opened.said = True
        return self._piece(opened, event.text, event.choice)

    def _piece(self, opened: _Open, text: str, choice: int) -> bytes:
        if self._old:
            return (
                b""
                if opened.number
                else self._delta(choice, {"function_call": {"arguments": text}})
            )
        custom = opened.block.kind == "custom"
        inner = {"custom": {"input": text}} if custom else {"function": {"arguments": text}}
        return self._delta(choice, {"tool_calls": [{"index": opened.number, **inner}]})


def _signed_text(signature: str) -> Json:
    return {"content": "", "extra_content": google_extra(signature)}


_WRITERS: dict[type, Callable[[EventWriter, Any], bytes]] = {
    Start: EventWriter._begin,
    MetaUpdate: EventWriter._update,
    UsageUpdate: EventWriter._count,
    BlockStart: EventWriter._block,
    TextDelta: EventWriter._text,
    ReasoningDelta: EventWriter._think,
    SummaryDelta: EventWriter._summarise,
    ArgumentsDelta: EventWriter._argue,
    RefusalDelta: EventWriter._refuse,
    AudioDelta: EventWriter._speak,
    CitationDelta: EventWriter._cite,
    Signed: EventWriter._sign,
    BlockStop: EventWriter._close,
    LogprobsDelta: EventWriter._logprobs,
    Stopped: EventWriter._stop,
    Done: EventWriter._end,
    Failed: EventWriter._fail,
}
