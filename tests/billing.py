"""A provider that keeps books: answers in four formats, with usage in every form, and with faults.

What it is asked for is named in the prompt (`case-000017`); what it has sent it remembers.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from routeur.dialects.base import Usage
from tests.fake import CLOSE, EVENTS, HOLD, RESET, Part, Request, Upstream, head, split, whole

FORMS = ("plain", "detailed", "repeated", "absent", "absurd")
# Before the first byte, and after it; `slow` is for races.
FAULTS = ("500", "429", "reset", "error event", "cut", "closed")
DEEDS = ("whole", "slow", *FAULTS)
ABSURD = (-5, 10**15, "many", 1e300)
WORD = "word "

_CASE = re.compile(rb"case-(\d{6})")


@dataclass(frozen=True)
class Sent:
    """An answer to one attempt: `usage` is what it says it has cost, None where it does not.

    `words` are those in the text, as far as it was to be sent; `body` is the request's size.
    """

    provider: str
    deed: str
    form: str
    usage: Usage | None
    words: int
    body: int


@dataclass
class Order:
    """What the provider does with the attempts of one case, by number; then all is well."""

    form: str
    deeds: list[str] = field(default_factory=list)

    def deed(self, number: int) -> str:
        return self.deeds[number] if number < len(self.deeds) else "whole"


class Biller(Upstream):
    """All three providers. `orders` says what becomes of cases, `sent` what it has come to."""

    def __init__(self, orders: dict[int, Order], seed: int) -> None:
        super().__init__()
        self.orders = orders
        self.sent: dict[int, list[Sent]] = {}
        self._chance = random.Random(seed)

    def _next(self, request: Request) -> list[Part]:
        # The body has come: routeur sends it with the head.
        body = request.body
        found = _CASE.search(body)
        assert found, body
        case = int(found[1])
        before = self.sent.setdefault(case, [])
        order = self.orders[case]
        sent, parts = self._answer(request, order.form, order.deed(len(before)))
        before.append(sent)
        return parts

    def _answer(self, request: Request, form: str, deed: str) -> tuple[Sent, list[Part]]:
        chance, doc = self._chance, json.loads(request.body)
        name, streams = format_of(request.path, doc)
        provider = PROVIDERS[name]
        if deed == "never":
            return Sent(provider, deed, form, None, 0, request.size), [HOLD]
        if deed in ("500", "429", "reset"):
            parts: list[Part] = [RESET] if deed == "reset" else [whole(b"{}", int(deed))]
            return Sent(provider, deed, form, None, 0, request.size), parts
        if deed == "error event" and not streams:
            deed = "cut"
        words = chance.randint(1, 40)
        usage = figures(name, form, chance, words)
        if name == "chat" and streams and form != "repeated":
            if not (doc.get("stream_options") or {}).get("include_usage"):
                usage = None
        pieces = [*ANSWERS[name](words, usage, form, streams=streams)]
        told = None if "absurd" in form else usage
        if deed == "error event":
            pieces = [event({"error": {"type": "overloaded_error", "message": "full"}}, "error")]
        parts = self._parts(pieces, streams=streams, deed=deed)
        return Sent(provider, deed, form, told, words, request.size), parts

    def _parts(self, pieces: list[bytes], *, streams: bool, deed: str) -> list[Part]:
        body, chance = b"".join(pieces), self._chance
        slow: list[Part] = [0.08] if deed == "slow" else []
        cut = deed in ("cut", "closed")
        if not streams:
            answer = whole(body)
            if not cut:
                return [*slow, answer]
            return [answer[: len(answer) - len(body) // 2], RESET if deed == "cut" else CLOSE]
        if chance.random() < 0.3:
            pieces = split(body, chance.randint(1, 400))
        if cut:
            pieces = pieces[: 1 + len(pieces) * 2 // 3]
        made: list[Part] = [*slow, STREAM_HEAD]
        for piece in pieces:
            made.append(b"%x\r\n%b\r\n" % (len(piece), piece))
            if chance.random() < 0.1:
                made.append(0.001)
        return [*made, (RESET if deed == "cut" else CLOSE) if cut else b"0\r\n\r\n"]


STREAM_HEAD = head(200, [("Content-Type", EVENTS), ("Transfer-Encoding", "chunked")])
PROVIDERS = {
    "chat": "openai",
    "responses": "openai",
    "anthropic": "anthropic",
    "gemini": "google",
}


def format_of(path: str, doc: dict[str, Any]) -> tuple[str, bool]:
    """Which format a request is in, and whether it is to be answered with a stream."""
    if ":" in path:
        return "gemini", "stream" in path
    name = "chat" if "chat" in path else "responses" if "responses" in path else "anthropic"
    return name, doc.get("stream") is True


def figures(name: str, form: str, chance: random.Random, words: int) -> Usage | None:
    """What an answer of so many words has cost."""
    if form == "absent":
        return None
    usage = Usage(input=chance.randint(1, 5000), output=words)
    if form == "detailed":
        usage.cache_read = chance.randint(0, 3000)
        if name == "anthropic":
            usage.cache_write = chance.randint(0, 3000)
        else:
            usage.reasoning = chance.randint(0, 500)
    if form == "half absurd":
        usage.input = -5
    if form == "absurd":
        usage.input = chance.choice(ABSURD)  # type: ignore[assignment]
        usage.output = chance.choice(ABSURD)  # type: ignore[assignment]
    return usage


def event(document: dict[str, Any], name: str = "") -> bytes:
    data = json.dumps(document).encode()
    return (b"event: %b\n" % name.encode() if name else b"") + b"data: %b\n\n" % data


def so_far(usage: Usage, share: float) -> Usage:
    """Cumulative figures: what goes in is known at once."""
    return Usage(usage.input, usage.cache_read, usage.cache_write, output=int(usage.output * share))


# ---- Chat Completions


def chat_usage(usage: Usage) -> dict[str, Any]:
    absurd = not isinstance(usage.input, int) or not 0 <= usage.input < 10**9
    went_in = usage.input if absurd else usage.input + usage.cache_read
    came_out = usage.output if absurd else usage.output + usage.reasoning
    said: dict[str, Any] = {"prompt_tokens": went_in, "completion_tokens": came_out}
    if not absurd:
        said["total_tokens"] = went_in + came_out
    if usage.cache_read or usage.reasoning:
        said["prompt_tokens_details"] = {"cached_tokens": usage.cache_read}
        said["completion_tokens_details"] = {"reasoning_tokens": usage.reasoning}
    return said


def chat(words: int, usage: Usage | None, form: str, *, streams: bool) -> Iterator[bytes]:
    base = {"id": "chatcmpl-1", "created": 1, "model": "gpt-4o"}
    if not streams:
        message = {"role": "assistant", "content": WORD * words}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        said = {"usage": chat_usage(usage)} if usage else {}
        yield json.dumps(base | {"object": "chat.completion", "choices": [choice]} | said).encode()
        return
    base["object"] = "chat.completion.chunk"
    for number in range(words):
        choice = {"index": 0, "delta": {"content": WORD}, "finish_reason": None}
        said = {}
        if form == "repeated" and usage:
            said = {"usage": chat_usage(so_far(usage, number / words))}
        yield event(base | {"choices": [choice]} | said)
    yield event(base | {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
    if usage:
        yield event(base | {"choices": [], "usage": chat_usage(usage)})
    yield b"data: [DONE]\n\n"


# ---- Responses


def responses_usage(usage: Usage) -> dict[str, Any]:
    said = chat_usage(usage)
    made: dict[str, Any] = {
        "input_tokens": said["prompt_tokens"],
        "output_tokens": said["completion_tokens"],
        "total_tokens": said.get("total_tokens", 0),
    }
    if "prompt_tokens_details" in said:
        made["input_tokens_details"] = said["prompt_tokens_details"]
        made["output_tokens_details"] = said["completion_tokens_details"]
    return made


def responses(words: int, usage: Usage | None, form: str, *, streams: bool) -> Iterator[bytes]:
    text = {"type": "output_text", "text": WORD * words, "annotations": []}
    message = {"id": "msg_1", "type": "message", "role": "assistant", "status": "completed"}
    base = {"id": "resp_1", "object": "response", "created_at": 1, "model": "gpt-4o"}
    done = base | {"status": "completed", "output": [message | {"content": [text]}]}
    done["usage"] = responses_usage(usage) if usage else None
    if not streams:
        yield json.dumps(done).encode()
        return
    begun = base | {"status": "in_progress", "output": [], "usage": None}
    place = {"output_index": 0, "item_id": "msg_1", "content_index": 0}
    events: list[dict[str, Any]] = [
        {"type": "response.created", "response": begun},
        {
            "type": "response.output_item.added",
            "output_index": 0,
            "item": message | {"content": []},
        },
        {"type": "response.content_part.added", "part": text | {"text": ""}} | place,
        *[{"type": "response.output_text.delta", "delta": WORD} | place for _ in range(words)],
        {"type": "response.output_text.done", "text": WORD * words} | place,
        {"type": "response.content_part.done", "part": text} | place,
        {"type": "response.output_item.done", "output_index": 0, "item": done["output"][0]},
        {"type": "response.completed", "response": done},
    ]
    for number, each in enumerate(events):
        yield event(each | {"sequence_number": number}, each["type"])


# ---- Anthropic


def anthropic_usage(usage: Usage) -> dict[str, Any]:
    return {
        "input_tokens": usage.input,
        "cache_read_input_tokens": usage.cache_read,
        "cache_creation_input_tokens": usage.cache_write,
        "output_tokens": usage.output,
    }


def anthropic(words: int, usage: Usage | None, form: str, *, streams: bool) -> Iterator[bytes]:
    base: dict[str, Any] = {"id": "msg_1", "type": "message", "role": "assistant"}
    base |= {"model": "claude-x", "stop_sequence": None}
    said = {"usage": anthropic_usage(usage)} if usage else {}
    if not streams:
        content = [{"type": "text", "text": WORD * words}]
        yield json.dumps(base | said | {"content": content, "stop_reason": "end_turn"}).encode()
        return
    start = said
    if usage and form != "absurd":
        start = {"usage": anthropic_usage(usage) | {"output_tokens": 1}}
    begun = base | start | {"content": [], "stop_reason": None}
    yield event({"type": "message_start", "message": begun}, "message_start")
    block = {"type": "text", "text": ""}
    opens = {"type": "content_block_start", "index": 0, "content_block": block}
    yield event(opens, "content_block_start")
    for _ in range(words):
        delta = {"type": "text_delta", "text": WORD}
        named = "content_block_delta"
        yield event({"type": named, "index": 0, "delta": delta}, named)
    yield event({"type": "content_block_stop", "index": 0}, "content_block_stop")
    end = {"stop_reason": "end_turn", "stop_sequence": None}
    if form == "repeated" and usage:
        half = anthropic_usage(so_far(usage, 0.5))
        yield event({"type": "message_delta", "delta": {}, "usage": half}, "message_delta")
    last = {"usage": {"output_tokens": usage.output}} if usage else {}
    if form == "repeated":
        last = said
    yield event({"type": "message_delta", "delta": end} | last, "message_delta")
    yield event({"type": "message_stop"}, "message_stop")


# ---- Gemini


def gemini_usage(usage: Usage) -> dict[str, Any]:
    said = chat_usage(usage)
    made: dict[str, Any] = {
        "promptTokenCount": said["prompt_tokens"],
        "candidatesTokenCount": usage.output,
    }
    if usage.cache_read or usage.reasoning:
        made["cachedContentTokenCount"] = usage.cache_read
        made["thoughtsTokenCount"] = usage.reasoning
    return made | {"totalTokenCount": said.get("total_tokens", 0)}


def gemini(words: int, usage: Usage | None, form: str, *, streams: bool) -> Iterator[bytes]:
    def answer(text: str, used: Usage | None, *, last: bool) -> dict[str, Any]:
        candidate: dict[str, Any] = {"content": {"role": "model", "parts": [{"text": text}]}}
        if last:
            candidate["finishReason"] = "STOP"
        said = {"usageMetadata": gemini_usage(used)} if used else {}
        return {"candidates": [candidate | {"index": 0}], "modelVersion": "gemini-x"} | said

    if not streams:
        yield json.dumps(answer(WORD * words, usage, last=True)).encode()
        return
    for number in range(words):
        last = number == words - 1
        used = usage if last else None
        if form == "repeated" and usage and not last:
            used = so_far(usage, number / words)
        yield event(answer(WORD, used, last=last))


ANSWERS: dict[str, Callable[..., Iterator[bytes]]] = {
    "chat": chat,
    "responses": responses,
    "anthropic": anthropic,
    "gemini": gemini,
}
