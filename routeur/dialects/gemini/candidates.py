"""One candidate of a streamed answer: its parts as blocks, and why it ended."""

from __future__ import annotations

from dataclasses import replace

from routeur.dialects.base import Json
from routeur.dialects.gemini.blocks import lenient_part
from routeur.dialects.gemini.citations import citations_of, in_characters
from routeur.dialects.gemini.pieces import Arguments
from routeur.dialects.gemini.wire import camel
from routeur.dialects.loose import either, items, members, string
from routeur.dialects.neutral import (
    GEMINI,
    Block,
    Citation,
    Reasoning,
    Stop,
    StopReason,
    Text,
    ToolCall,
)
from routeur.dialects.neutral.events import (
    ArgumentsDelta,
    BlockStart,
    BlockStop,
    CitationDelta,
    Event,
    LogprobsDelta,
    ReasoningDelta,
    Signed,
    Stopped,
    TextDelta,
)
from routeur.dialects.neutral.ids import made_id

_KEPT = 65_536  # characters of text that are kept to find positions in it

_FILTERED = """
    SAFETY RECITATION BLOCKLIST PROHIBITED_CONTENT SPII LANGUAGE MODEL_ARMOR IMAGE_SAFETY ESCALATION
    IMAGE_PROHIBITED_CONTENT IMAGE_RECITATION PUP_LIMITED_DISABLED
""".split()
_MALFORMED = """
    MALFORMED_FUNCTION_CALL UNEXPECTED_TOOL_CALL TOO_MANY_TOOL_CALLS MALFORMED_RESPONSE
""".split()
_REASONS: dict[str, StopReason] = {
    "STOP": "end",
    "MAX_TOKENS": "length",
    "CONTINUATION": "length",
    "OTHER": "error",
    "IMAGE_OTHER": "error",
    "NO_IMAGE": "error",
    "MISSING_THOUGHT_SIGNATURE": "error",
    **dict.fromkeys(_FILTERED, "content_filter"),
    **dict.fromkeys(_MALFORMED, "malformed"),
}
_NUMBERED = ("", "STOP", "MAX_TOKENS", "SAFETY", "RECITATION", "OTHER")  # enums as numbers
_EMPTY = Text()
_THOUGHT = Reasoning(origin=GEMINI)


class Candidate:
    """Turns the parts of one candidate into events.

    Pieces of text in a row are one block; a part that has a signature, or anything else beside its
    text, is a block by itself, so that it can be given back exactly where it was.
    """

    __slots__ = (
        "_before",
        "_calls",
        "_count",
        "_detail",
        "_id",
        "_length",
        "_number",
        "_open",
        "_partial",
        "_said",
        "_sources",
        "finish",
    )

    def __init__(self, number: int, response_id: str) -> None:
        self.finish = ""  # why it ended; some models say STOP in every frame
        self._detail = ""
        self._number = number
        self._id = response_id
        self._count = 0  # blocks that have opened
        self._open = ""  # what the last block still is: text, thought, call
        self._calls = 0
        self._partial: Arguments | None = None
        self._said: list[str] = []
        self._length = 0  # characters of text so far
        self._before = 0  # of them, those before the open block
        self._sources: list[Citation] = []

    def take(self, candidate: Json, found: list[Event]) -> None:
        """Add the events of what has come."""
        if len(candidate) != 2 or "content" not in candidate or "index" not in candidate:
            self._look_aside(candidate)
        content = candidate.get("content")
        if type(content) is dict:
            for part in items(content.get("parts")):
                self._part(part, found)
        if self._sources and self._open == "text":
            self._cite(found)
        if logprobs := either(candidate, "logprobsResult", "logprobs_result"):
            found.append(LogprobsDelta(_logprobs(camel(members(logprobs))), self._number))

    def end(self, found: list[Event]) -> None:
        """Add what ends the candidate."""
        self._close(found)
        if self._sources:
            self._whole(_EMPTY, found)
        found.append(Stopped(self._stop(), self._number))

    def _stop(self) -> Stop:
        reason = _REASONS.get(self.finish, "unknown")
        if reason == "end" and self._calls:
            reason = "tool_calls"
        return Stop(reason, raw=self.finish, detail=self._detail)

    def _look_aside(self, candidate: Json) -> None:
        """What stands beside the content."""
        finish = either(candidate, "finishReason", "finish_reason")
        if type(finish) is int:
            finish = _NUMBERED[finish] if 0 < finish < len(_NUMBERED) else str(finish)
        self.finish = string(finish) or self.finish
        self._detail = string(either(candidate, "finishMessage", "finish_message")) or self._detail
        self._sources += citations_of(candidate)

    def _part(self, part: object, found: list[Event]) -> None:
        if type(part) is not dict:
            return
        text = part.get("text")
        if type(text) is not str or len(part) > 1 + ("thought" in part):
            self._other(camel(part), found)
        elif text and part.get("thought"):
            self._continue("thought", found)
            found.append(ReasoningDelta(self._count - 1, text, self._number))
        elif text:
            self._continue("text", found)
            self._say(text)
            found.append(TextDelta(self._count - 1, text, self._number))

    def _continue(self, kind: str, found: list[Event]) -> None:
        """The open block goes on, or one of this kind opens."""
        if self._open == kind:
            return
        self._close(found)
        self._open = kind
        self._before = self._length
        self._begin(_THOUGHT if kind == "thought" else _EMPTY, found)

    def _begin(self, block: Block, found: list[Event]) -> None:
        found.append(BlockStart(self._count, block, self._number))
        self._count += 1

    def _say(self, text: str) -> None:
        self._length += len(text)
        if self._length <= _KEPT:
            self._said.append(text)

    def _other(self, part: Json, found: list[Event]) -> None:
        """A part that is more than text."""
        call = part.get("functionCall")
        if type(call) is dict:
            call = camel(call)
            if self._is_piece(call):
                return self._piece(call, part, found)
            part = {**part, "functionCall": call}
        self._close(found)
        name = string(members(call).get("name"))
        block = lenient_part(part, made_id(self._id, self._number, self._calls, name))
        if isinstance(block, ToolCall):
            self._calls += 1
        if block != _EMPTY:
            self._before = self._length
            self._whole(block, found)

    def _whole(self, block: Block, found: list[Event]) -> None:
        """A block that comes all at once: its head, what is in it, and its end."""
        index, number = self._count, self._number
        match block:
            case Text(text):
                self._begin(replace(block, text="", signature="", origin=""), found)
                if text:
                    self._say(text)
                    found.append(TextDelta(index, text, number))
                self._cite(found)
            case Reasoning(text):
                self._begin(replace(block, text="", signature=""), found)
                if text:
                    found.append(ReasoningDelta(index, text, number))
            case ToolCall():
                self._begin(replace(block, arguments=""), found)
                found.append(ArgumentsDelta(index, block.arguments, number))
            case _:
                self._begin(block, found)
        if isinstance(block, Text | Reasoning) and block.signature:
            found.append(Signed(index, block.signature, origin=block.origin, choice=number))
        found.append(BlockStop(index, number))

    def _is_piece(self, call: Json) -> bool:
        """Whether it begins, goes on with or ends a call that comes in pieces."""
        if call.get("willContinue") is True or "partialArgs" in call:
            return True
        return not call.get("name")

    def _piece(self, call: Json, part: Json, found: list[Event]) -> None:
        name = string(call.get("name"))
        if name:
            self._close(found)
            id = string(call.get("id")) or made_id(self._id, self._number, self._calls, name)
            signature = string(part.get("thoughtSignature"))
            origin = GEMINI if signature else ""
            self._begin(ToolCall(id, name, "", "function", signature, origin), found)
            self._calls += 1
            self._open = "call"
            self._partial = Arguments(call.get("args"))
        if self._partial is not None:
            self._partial.add(call.get("partialArgs"))
            if call.get("willContinue") is not True:
                self._close(found)

    def _close(self, found: list[Event]) -> None:
        """End the open block, if there is one."""
        if not self._open:
            return
        if self._open == "text" and self._sources:
            self._cite(found)
        if self._partial is not None:
            found.append(ArgumentsDelta(self._count - 1, self._partial.text, self._number))
            self._partial = None
        found.append(BlockStop(self._count - 1, self._number))
        self._open = ""

    def _cite(self, found: list[Event]) -> None:
        """Give the open text the sources that came."""
        said = "".join(self._said) if self._length <= _KEPT else None
        for each in self._sources:
            citation = in_characters(each, said, self._before)
            found.append(CitationDelta(self._count - 1, citation, self._number))
        self._sources = []


def _logprobs(result: Json) -> tuple[Json, ...]:
    """As Chat spells them."""
    tops = [camel(members(each)) for each in items(result.get("topCandidates"))]
    found = []
    for number, each in enumerate(items(result.get("chosenCandidates"))):
        others = items(tops[number].get("candidates")) if number < len(tops) else []
        found.append({**_logprob(each), "top_logprobs": [_logprob(other) for other in others]})
    return tuple(found)


def _logprob(value: object) -> Json:
    each = camel(members(value))
    token = string(each.get("token"))
    return {
        "token": token,
        "logprob": each.get("logProbability", 0.0),
        "bytes": list(token.encode("utf-8", "replace")),
    }
