"""Answers to Gemini's clients: whole, as events, and as the elements of a JSON array.

Source of truth: GenerateContentResponse, and what google-genai makes of it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from routeur.dialects import exact, gemini
from routeur.dialects.base import Json, Usage
from routeur.dialects.gemini import NAME
from routeur.dialects.gemini.blocks import Parts, unnumbered
from routeur.dialects.gemini.citations import Grounding
from routeur.dialects.gemini.signatures import carry
from routeur.dialects.neutral import (
    Audio,
    Block,
    Choice,
    Citation,
    Fault,
    Opaque,
    Reasoning,
    Refusal,
    Response,
    Stop,
    StopReason,
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
    OfBlock,
    ReasoningDelta,
    RefusalDelta,
    Signed,
    Start,
    Stopped,
    SummaryDelta,
    TextDelta,
    UsageUpdate,
)
from routeur.dialects.neutral.ids import is_made
from routeur.dialects.neutral.media import audio_type

_FINISH: dict[StopReason, str] = {
    "length": "MAX_TOKENS",
    "refusal": "SAFETY",
    "content_filter": "SAFETY",
    "malformed": "MALFORMED_FUNCTION_CALL",
    "error": "OTHER",
}
_OVERLOADED = 529  # Anthropic's own status


def write_error(fault: Fault, request_id: str) -> bytes:
    """An error answer's body."""
    return gemini.write_error(
        503 if fault.status == _OVERLOADED else fault.status,
        fault.message,
        type=fault.type,
        code=fault.code,
        param=fault.param or None,
        request_id=request_id,
    )


def write_response(response: Response, caller: Caller) -> bytes:
    """A whole answer."""
    candidates = [_candidate(i, each, caller) for i, each in enumerate(response.choices)]
    body: Json = {"candidates": candidates}
    if response.usage:
        body["usageMetadata"] = _usage(response.usage, response.service_tier)
    body["modelVersion"] = response.model or caller.request.model
    body["responseId"] = response.id or caller.token
    return exact.dumps(body)


def _candidate(number: int, choice: Choice, caller: Caller) -> Json:
    parts = [part for each in choice.blocks for part in _parts(each, caller)]
    grounding = Grounding()
    for each in choice.blocks:
        if isinstance(each, Text):
            grounding.add(each.text, list(each.citations))
    found: Json = {"content": {"parts": parts or [{"text": ""}], "role": "model"}}
    found |= _end(choice.stop)
    found["index"] = number
    if choice.logprobs:
        found["logprobsResult"] = _logprobs(choice.logprobs)
    if metadata := grounding.metadata():
        found["groundingMetadata"] = metadata
    return found


def _parts(block: Block, caller: Caller) -> list[Json]:
    """The parts of a whole block."""
    match block:
        case Reasoning():
            return _thought(block, caller)
        case ToolCall() if is_made(block.id):
            block = unnumbered(block)
        case Text("", signature=""):
            return []
        case Opaque() if block.dialect != NAME:
            caller.losses.drop(block.kind)
            return []
    return Parts(caller.losses).write(block)


def _shows(caller: Caller) -> bool:
    """Whether the client wants thoughts: others are not prepared for them."""
    thinking = caller.request.thinking
    return thinking is not None and thinking.show is True


def _thought(block: Reasoning, caller: Caller) -> list[Json]:
    """What was thought, and what has to come back with it; hidden where nobody asked for it."""
    shown = _shows(caller)
    signature = carry(block, shown=shown)
    text = block.shown if shown else ""
    if not text and not signature:
        return []
    part: Json = {"text": text, "thought": True}
    return [{**part, "thoughtSignature": signature} if signature else part]


def _end(stop: Stop) -> Json:
    """Why it ended: a call is no reason here, nor is a stop sequence."""
    found: Json = {"finishReason": _FINISH.get(stop.reason, "STOP")}
    if stop.detail:
        found["finishMessage"] = stop.detail
    return found


def _usage(usage: Usage, tier: str) -> Json:
    """What was thought, and what tools brought in, stands beside prompt and candidates."""
    came_out = usage.output + usage.audio_out + usage.image_out
    found: Json = {
        "promptTokenCount": usage.input_total,
        "candidatesTokenCount": came_out,
        "totalTokenCount": usage.input_total + usage.output_total,
    }
    if usage.cache_read:
        found["cachedContentTokenCount"] = usage.cache_read
    if usage.reasoning:
        found["thoughtsTokenCount"] = usage.reasoning
    if usage.audio_in or usage.image_in:
        text = usage.input_total - usage.audio_in - usage.image_in
        found["promptTokensDetails"] = _details(text, usage.audio_in, usage.image_in)
    if usage.audio_out or usage.image_out:
        found["candidatesTokensDetails"] = _details(usage.output, usage.audio_out, usage.image_out)
    if tier in ("standard", "flex", "priority"):
        found["serviceTier"] = tier
    return found


def _details(text: int, audio: int, image: int) -> list[Json]:
    counts = {"TEXT": text, "AUDIO": audio, "IMAGE": image}
    return [{"modality": name, "tokenCount": count} for name, count in counts.items() if count]


def _logprobs(tokens: tuple[Json, ...]) -> Json:
    return {
        "chosenCandidates": [_logprob(each) for each in tokens],
        "topCandidates": [
            {"candidates": [_logprob(other) for other in each.get("top_logprobs") or ()]}
            for each in tokens
        ],
    }


def _logprob(each: Json) -> Json:
    return {"token": each.get("token", ""), "logProbability": each.get("logprob", 0.0)}


@dataclass(slots=True)
class _Open:
    """A block that is not whole: its head, and the pieces that came since."""

    head: Block
    pieces: list[str] = field(default_factory=list)  # of its text, or arguments
    summary: dict[int, str] = field(default_factory=dict)
    citations: list[Citation] = field(default_factory=list)
    signed: Json = field(default_factory=dict)


@dataclass(slots=True)
class _Growing:
    """A choice that is not whole."""

    open: dict[int, _Open] = field(default_factory=dict)
    grounding: Grounding = field(default_factory=Grounding)
    stop: Stop | None = None


class EventWriter:
    """Writes one stream: text as it comes, calls when they are whole, reasons and usage last."""

    __slots__ = ("_array", "_caller", "_choices", "_head", "_shows", "_tail", "_tier", "_usage")

    def __init__(self, caller: Caller) -> None:
        self._caller = caller
        self._array = not caller.sse
        self._shows = _shows(caller)
        self._choices: dict[int, _Growing] = {}
        self._usage: Usage | None = None
        self._tier = ""
        self._head = b"[" if self._array else b"data: "  # before the next element
        self._tail = b""
        self._name("", "")

    def write(self, event: Event) -> bytes:
        """Whole frames, or none."""
        handle = _HANDLERS.get(type(event))
        return handle(self, event) if handle else b""

    def _start(self, event: Start) -> bytes:
        self._usage = event.usage
        return self._update(event)

    def _update(self, event: Start | MetaUpdate) -> bytes:
        self._tier = event.service_tier or self._tier
        if event.model or event.id:
            self._name(event.model, event.id)
        return b""

    def _used(self, event: UsageUpdate) -> bytes:
        self._usage = event.usage
        return b""

    def _begin(self, event: BlockStart) -> bytes:
        """A block opens; what comes whole is written at once."""
        head = event.block
        block = self._choice(event.choice).open[event.index] = _Open(head)
        match head:
            case Text(text) | Refusal(text) if text:
                return self._text(TextDelta(event.index, text, event.choice))
            case Reasoning():
                block.summary = dict(enumerate(head.summary))
                if head.shown:
                    return self._part(event.choice, self._shown(head.shown))
            case Text() | Refusal() | ToolCall():
                pass
            case Audio() if not head.data:
                pass
            case _:
                return self._parts(event.choice, head)
        return b""

    def _text(self, event: TextDelta | RefusalDelta) -> bytes:
        if block := self._block(event):
            block.pieces.append(event.text)
        return self._part(event.choice, b'{"text":' + exact.dumps(event.text) + b"}")

    def _reasoning(self, event: ReasoningDelta) -> bytes:
        if block := self._block(event):
            block.pieces.append(event.text)
        return self._part(event.choice, self._shown(event.text))

    def _summary(self, event: SummaryDelta) -> bytes:
        """Parts of a summary are set apart by an empty line."""
        text = event.text
        if block := self._block(event):
            if block.summary and event.part not in block.summary:
                text = "\n\n" + text
            block.summary[event.part] = block.summary.get(event.part, "") + event.text
        return self._part(event.choice, self._shown(text))

    def _arguments(self, event: ArgumentsDelta) -> bytes:
        if block := self._block(event):
            block.pieces.append(event.text)
        return b""

    def _audio(self, event: AudioDelta) -> bytes:
        block = self._block(event)
        if not event.data or block is None or not isinstance(block.head, Audio):
            return b""
        data = {"mimeType": audio_type(block.head.format), "data": event.data}
        return self._part(event.choice, exact.dumps({"inlineData": data}))

    def _cite(self, event: CitationDelta) -> bytes:
        if block := self._block(event):
            block.citations.append(event.citation)
        return b""

    def _sign(self, event: Signed) -> bytes:
        if block := self._block(event):
            told = {"signature": event.signature, "encrypted": event.encrypted}
            told["origin"] = event.origin
            block.signed |= {name: value for name, value in told.items() if value}
        return b""

    def _finish(self, event: BlockStop) -> bytes:
        """A block is whole: what could not be written until now."""
        choice = self._choice(event.choice)
        block = choice.open.pop(event.index, None)
        if block is None:
            return b""
        text = "".join(block.pieces)
        match block.head:
            case Text() as head:
                choice.grounding.add(text, [*head.citations, *block.citations])
                if not block.signed:
                    return self._parts(event.choice, replace(head, text=""))
                signature, origin = block.signed["signature"], block.signed["origin"]
                return self._parts(event.choice, Text("", (), signature, origin))
            case ToolCall() as head:
                return self._parts(event.choice, replace(head, arguments=head.arguments + text))
            case Reasoning() as head:
                parts = tuple(block.summary[part] for part in sorted(block.summary))
                whole = replace(head, text=head.text + text, summary=parts, **block.signed)
                return self._sealed(event.choice, whole)
        return b""

    def _sealed(self, choice: int, whole: Reasoning) -> bytes:
        """What has to come back with a thought, and all of its text: its parts may get lost."""
        signature = carry(whole, shown=False)
        if not signature:
            return b""
        part = {"text": "", "thought": True, "thoughtSignature": signature}
        return self._part(choice, exact.dumps(part))

    def _logprobs(self, event: LogprobsDelta) -> bytes:
        return self._chunk(
            b'{"content":{"parts":[{"text":""}],"role":"model"},"index":%d,"logprobsResult":%b}'
            % (event.choice, exact.dumps(_logprobs(event.tokens)))
        )

    def _stop(self, event: Stopped) -> bytes:
        self._choice(event.choice).stop = event.stop
        return b""

    def _done(self, event: Done) -> bytes:
        """Why each choice ended, and what was used."""
        candidates = [_last(i, each) for i, each in sorted(self._choices.items()) if each.stop]
        if self._usage:
            usage = b',"usageMetadata":' + exact.dumps(_usage(self._usage, self._tier))
            self._tail = usage + self._tail
        end = b"]" if self._array else b""
        return self._chunk(exact.dumps(candidates)[1:-1]) + end

    def _fail(self, event: Failed) -> bytes:
        error = self._next() + write_error(event.fault, "")
        return error + (b"]" if self._array else b"\r\n\r\n")

    def _name(self, model: str, id: str) -> None:
        """What stands at the end of every element."""
        asked = self._caller.request.model
        named = {"modelVersion": model or asked, "responseId": id or self._caller.token}
        self._tail = b"," + exact.dumps(named)[1:] + (b"" if self._array else b"\r\n\r\n")

    def _choice(self, number: int) -> _Growing:
        found = self._choices.get(number)
        if found is None:
            found = self._choices[number] = _Growing()
        return found

    def _block(self, event: OfBlock) -> _Open | None:
        choice = self._choices.get(event.choice)
        return choice.open.get(event.index) if choice else None

    def _shown(self, text: str) -> bytes:
        """A thought, or nothing for those who did not ask for it."""
        return b'{"text":' + exact.dumps(text) + b',"thought":true}' if self._shows else b""

    def _parts(self, choice: int, block: Block) -> bytes:
        parts = exact.dumps(_parts(block, self._caller))[1:-1]
        return self._part(choice, parts)

    def _part(self, choice: int, part: bytes) -> bytes:
        """An element with a part, if there is one."""
        if not part:
            return b""
        return self._chunk(b'{"content":{"parts":[%b],"role":"model"},"index":%d}' % (part, choice))

    def _chunk(self, candidates: bytes) -> bytes:
        return self._next() + b'{"candidates":[' + candidates + b"]" + self._tail

    def _next(self) -> bytes:
        head = self._head
        if self._array:
            self._head = b",\r\n"
        return head


def _last(number: int, choice: _Growing) -> Json:
    found: Json = {"content": {"parts": [{"text": ""}], "role": "model"}}
    found |= _end(choice.stop or Stop("end"))
    found["index"] = number
    if metadata := choice.grounding.metadata():
        found["groundingMetadata"] = metadata
    return found


_HANDLERS: dict[type[Event], Callable[[EventWriter, Any], bytes]] = {
    Start: EventWriter._start,
    MetaUpdate: EventWriter._update,
    UsageUpdate: EventWriter._used,
    BlockStart: EventWriter._begin,
    TextDelta: EventWriter._text,
    RefusalDelta: EventWriter._text,
    ReasoningDelta: EventWriter._reasoning,
    SummaryDelta: EventWriter._summary,
    ArgumentsDelta: EventWriter._arguments,
    AudioDelta: EventWriter._audio,
    CitationDelta: EventWriter._cite,
    Signed: EventWriter._sign,
    BlockStop: EventWriter._finish,
    LogprobsDelta: EventWriter._logprobs,
    Stopped: EventWriter._stop,
    Done: EventWriter._done,
    Failed: EventWriter._fail,
}
