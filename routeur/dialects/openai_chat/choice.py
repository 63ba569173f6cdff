"""One choice of a stream of Chat Completions, from its deltas to events."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from routeur.dialects.base import Json
from routeur.dialects.exact import encoded, loads
from routeur.dialects.loose import integer, items, members, string
from routeur.dialects.neutral import (
    GEMINI,
    Audio,
    Block,
    Reasoning,
    Refusal,
    Stop,
    Text,
    ToolCall,
)
from routeur.dialects.neutral.aim import Invalid
from routeur.dialects.neutral.events import (
    ArgumentsDelta,
    AudioDelta,
    BlockStart,
    BlockStop,
    CitationDelta,
    Event,
    LogprobsDelta,
    ReasoningDelta,
    RefusalDelta,
    Signed,
    Stopped,
    SummaryDelta,
    TextDelta,
)
from routeur.dialects.neutral.ids import made_id
from routeur.dialects.openai_chat.blocks import (
    read_arguments,
    read_citations,
    read_images,
    read_part,
    read_stop,
    tokens_of,
)
from routeur.dialects.openai_chat.reasoning import (
    belongs,
    google_signature,
    grown,
    is_google_signature,
    shown_of,
)


@dataclass(slots=True)
class _Call:
    """A call that is open. `pieces` are kept to see whether its arguments are whole."""

    index: int
    id: str
    name: str
    pieces: list[str] = field(default_factory=list)

    def is_whole(self) -> bool:
        """Whether its arguments are JSON by now."""
        try:
            loads(encoded("".join(self.pieces)))
        except ValueError:
            return False
        return True


class ChoiceReader:
    """One choice of a stream: which blocks are open.

    Of texts, refusals, reasoning and audio one is open at a time. Calls stay open until another
    block opens and their arguments are whole: some servers send several side by side.
    """

    __slots__ = (
        "_calls",
        "_current",
        "_head",
        "_id",
        "_number",
        "_place",
        "called",
        "count",
        "stopped",
    )

    def __init__(self, number: int, id: str) -> None:
        self._number = number
        self._id = id
        self._head: Block | None = None  # the block that is open, as it began
        self._current = -1  # and its index
        self._place: object = None  # of reasoning: its `index` in the details
        self._calls: dict[object, _Call] = {}
        self.called = False
        self.count = 0  # blocks opened
        self.stopped = False

    def read(self, raw: Json) -> list[Event]:
        """The events of one chunk's part for this choice."""
        if self.stopped:
            return []
        delta = raw.get("delta") or raw.get("message")
        events: list[Event] = []
        if isinstance(delta, dict):
            self._delta(delta, events)
        if raw.get("logprobs") and (tokens := tokens_of(raw)):
            events.append(LogprobsDelta(tokens, self._number))
        if raw.get("finish_reason"):
            events += self.stop(raw)
        return events

    def stop(self, raw: Json) -> list[Event]:
        """Close what is open, and say why it ended: `raw` does, or nothing."""
        events: list[Event] = []
        self._close(events)
        events += [BlockStop(each.index, self._number) for each in self._calls.values()]
        self._calls.clear()
        self.stopped = True
        reason = read_stop(raw, self.called) if raw else Stop("unknown")
        if not raw and self.called:
            reason = Stop("tool_calls")
        events.append(Stopped(reason, self._number))
        return events

    def _delta(self, delta: Json, events: list[Event]) -> None:
        details = delta.get("reasoning_details")
        if details:
            self._details(delta, items(details), events)
        elif shown := shown_of(delta):
            self._think(shown, events)
        content = delta.get("content")
        if content:
            self._content(content, events)
        for name, read in _MEMBERS.items():
            if delta.get(name):
                read(self, delta, events)
        if "extra_content" in delta and (signature := google_signature(delta)):
            self._sign(signature, delta, events)

    # Blocks of which one is open at a time.

    def _open(self, block: Block, events: list[Event]) -> int:
        """Open a block, and close what is whole by now."""
        self._close(events)
        for key in [key for key, call in self._calls.items() if call.is_whole()]:
            events.append(BlockStop(self._calls.pop(key).index, self._number))
        index = self.count
        self.count += 1
        events.append(BlockStart(index, block, self._number))
        return index

    def _begin(self, block: Block, events: list[Event]) -> None:
        self._current = self._open(block, events)
        self._head = block

    def _close(self, events: list[Event]) -> None:
        if self._head is not None:
            events.append(BlockStop(self._current, self._number))
            self._head = None

    def _content(self, content: Any, events: list[Event]) -> None:
        if isinstance(content, str):
            self._say(content, events)
            return
        for part in items(content):
            try:
                block = read_part(part, "")
            except Invalid:
                continue
            if isinstance(block, Text):
                self._say(block.text, events)
            elif isinstance(block, Reasoning):
                self._think(block.text, events)
            else:
                self._whole(block, events)

    def _say(self, text: str, events: list[Event]) -> None:
        if type(self._head) is not Text:
            self._begin(Text(), events)
        events.append(TextDelta(self._current, text, self._number))

    def _think(self, text: str, events: list[Event]) -> None:
        if type(self._head) is not Reasoning:
            self._begin(Reasoning(), events)
            self._place = None
        events.append(ReasoningDelta(self._current, text, self._number))

    def _whole(self, block: Block, events: list[Event]) -> None:
        index = self._open(block, events)
        events.append(BlockStop(index, self._number))

    def _refuse(self, delta: Json, events: list[Event]) -> None:
        if type(self._head) is not Refusal:
            self._begin(Refusal(), events)
        text = string(delta["refusal"])
        events.append(RefusalDelta(self._current, text, self._number))

    def _speak(self, delta: Json, events: list[Event]) -> None:
        audio = members(delta["audio"])
        if type(self._head) is not Audio:
            self._begin(Audio(id=string(audio.get("id"))), events)
        until = audio.get("expires_at")
        piece = AudioDelta(
            self._current,
            string(audio.get("data")),
            string(audio.get("transcript")),
            integer(until),
            self._number,
        )
        events.append(piece)

    def _show(self, delta: Json, events: list[Event]) -> None:
        for image in read_images(delta):
            self._whole(image, events)

    def _cite(self, delta: Json, events: list[Event]) -> None:
        if type(self._head) is Text:
            for citation in read_citations(delta):
                events.append(CitationDelta(self._current, citation, self._number))

    # Reasoning with seals.

    def _details(self, delta: Json, details: list[Any], events: list[Event]) -> None:
        told = False
        for entry in details:
            if not isinstance(entry, dict):
                continue
            if is_google_signature(entry):
                self._sign_by_id(entry, events)
            else:
                self._detail(entry, events)
                told = told or bool(entry.get("text") or entry.get("summary"))
        if not told and (shown := shown_of(delta)):
            self._think(shown, events)

    def _detail(self, entry: Json, events: list[Event]) -> None:
        """One entry: more of the reasoning that is open, or the beginning of another."""
        place = entry.get("index")
        head = self._head
        if not isinstance(head, Reasoning) or self._place != place or not belongs(head, entry):
            fresh: Json = {name: entry[name] for name in ("format", "id") if name in entry}
            if entry.get("type") == "reasoning.encrypted":
                self._begin(grown(Reasoning(), entry), events)
                self._place = place
                return
            self._begin(grown(Reasoning(), fresh), events)
            self._place = place
        elif not head.encrypted and (sealed := string(entry.get("data"))):
            origin = grown(Reasoning(), entry).origin
            events.append(Signed(self._current, "", sealed, origin, self._number))
        self._grow(entry, events)

    def _grow(self, entry: Json, events: list[Event]) -> None:
        number, index = self._number, self._current
        if text := string(entry.get("text")):
            events.append(ReasoningDelta(index, text, number))
        if summary := string(entry.get("summary")):
            events.append(SummaryDelta(index, 0, summary, number))
        if signature := string(entry.get("signature")):
            head = grown(self._head if isinstance(self._head, Reasoning) else Reasoning(), entry)
            self._head = head
            events.append(Signed(index, signature, "", head.origin, number))

    # Tool calls, and Gemini's signatures.

    def _call(self, delta: Json, events: list[Event]) -> None:
        for raw in items(delta["tool_calls"]):
            if isinstance(raw, dict):
                self._one_call(raw, events)

    def _old_call(self, delta: Json, events: list[Event]) -> None:
        self._one_call({"index": "old", "function": delta["function_call"]}, events)

    def _one_call(self, raw: Json, events: list[Event]) -> None:
        custom = "custom" in raw
        inner = members(raw.get("custom" if custom else "function"))
        name, id, signature = string(inner.get("name")), string(raw.get("id")), ""
        key = raw.get("index", id)
        key = key if isinstance(key, int | str) else 0
        if raw.get("extra_content"):
            signature = google_signature(raw)
        call = self._calls.get(key)
        if call is None or _is_another(call, id, name):
            if call is not None:  # a server that gives all its calls one index
                self._calls[call.id] = self._calls.pop(key)
            elif not name:
                return  # more of a call that is whole: blanks, or its end once more
            call = _Call(self.count, id or made_id(name, self.count, self._id), name)
            block = ToolCall(
                call.id,
                name,
                kind="custom" if custom else "function",
                signature=signature,
                origin=GEMINI if signature else "",
            )
            self._open(block, events)
            self._calls[key] = call
            self.called = True
        elif signature:
            events.append(Signed(call.index, signature, "", GEMINI, self._number))
        if piece := read_arguments(inner):
            call.pieces.append(piece)
            events.append(ArgumentsDelta(call.index, piece, self._number))

    def _sign(self, signature: str, delta: Json, events: list[Event]) -> None:
        """A signature of the delta: of its text, else of its call."""
        index = self._current
        if type(self._head) is not Text:
            signed = any(isinstance(each, Signed) or _is_signed(each) for each in events)
            call = next(reversed(self._calls.values()), None)
            if delta.get("tool_calls") and call:
                if signed:
                    return
                index = call.index
            else:
                self._begin(Text(), events)
                index = self._current
        events.append(Signed(index, signature, "", GEMINI, self._number))

    def _sign_by_id(self, entry: Json, events: list[Event]) -> None:
        """OpenRouter's entry for a call that has come, or for the text."""
        signature, id = string(entry.get("data")), string(entry.get("id"))
        for call in self._calls.values():
            if call.id == id:
                events.append(Signed(call.index, signature, "", GEMINI, self._number))
                return
        self._whole(Text(signature=signature, origin=GEMINI), events)


def _is_another(call: _Call, id: str, name: str) -> bool:
    """Whether a delta under an open call's index begins another call."""
    if id:
        return id != call.id
    return bool(name) and call.is_whole()


def _is_signed(event: Event) -> bool:
    return isinstance(event, BlockStart) and bool(getattr(event.block, "signature", ""))


_MEMBERS = {
    "refusal": ChoiceReader._refuse,
    "audio": ChoiceReader._speak,
    "images": ChoiceReader._show,
    "annotations": ChoiceReader._cite,
    "tool_calls": ChoiceReader._call,
    "function_call": ChoiceReader._old_call,
}
