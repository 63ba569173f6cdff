"""Marks for prompt caches, where a client has set none: Claude caches only what is marked.

Three places are marked, a fourth is left: the end of the system prompt (tools come before it, so
they are cached with it; without a system prompt the last tool), and the last two turns of the user,
of which the earlier one is where the request before had its last mark. A short prompt gets none, as
nothing would be cached. Neither does a single turn without tools, as nobody may come back to it:
writing to a cache costs a quarter more than reading a prompt.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import msgspec

from routeur import body
from routeur.dialects import anthropic
from routeur.dialects.base import Json
from routeur.dialects.loose import items, json_size, members, objects, size, string
from routeur.dialects.neutral import (
    Audio,
    Block,
    File,
    Image,
    Message,
    Opaque,
    Reasoning,
    Refusal,
    Request,
    Text,
    ToolCall,
    ToolResult,
)

MARK = b'"cache_control":{"type":"ephemeral"}'
TURNS = 2  # of the user, counted from the end

_CHARACTERS = 3  # of a token, at the least: rather a mark too many than one too few
# Tokens from which on a prompt is cached (Anthropic's page on prompt caching, October 2026).
_LEAST = (
    (re.compile(r"haiku-4-5|opus-4-[567]"), 4096),
    (re.compile(r"haiku-3|3-5-haiku|3-haiku"), 2048),
    (re.compile(r"(?:opus|fable|mythos)-5"), 512),
)
_USUALLY = 1024
_TAKES_MARK = frozenset("text image document tool_result search_result".split())
_MARKED = Text | Image | ToolResult  # Bedrock wants more text between a file and a mark
_ELEMENTS = msgspec.json.Decoder(list[msgspec.Raw]).decode
_BETWEEN = b", \t\n\r"  # elements of a list

Edit = tuple[int, int, bytes]  # from, to, what stands there instead


def least(model: str) -> int:
    """From how many tokens on a model caches a prompt, by its name."""
    name = model.lower().replace(".", "-")
    return next((tokens for pattern, tokens in _LEAST if pattern.search(name)), _USUALLY)


def mark_body(raw: bytes, doc: Json, model: str) -> bytes:
    """An Anthropic body with marks; every other byte stays. `raw` has passed `body.parse` as `doc`.

    One that has marks, or is too short for any, comes back as it is.
    """
    enough = least(model) * _CHARACTERS
    if len(raw) < enough or _has_marks(raw, doc):
        return raw
    fixed = size(doc.get("system"), anthropic.kind) + json_size(doc.get("tools"))
    turns = _turns(doc)
    edits: list[Edit] = []
    spans = {name: (start, end) for name, start, end in body.members(raw)}
    if fixed >= enough:
        edits += _mark_fixed(raw, doc, spans)
    if turns and fixed + size(doc.get("messages"), anthropic.kind) >= enough:
        edits += _mark_turns(raw, items(doc.get("messages")), spans["messages"], turns)
    return _edited(raw, edits)


def mark_request(request: Request, model: str) -> Request:
    """The same for a request that is written for Claude or Nova, by its name there.

    Others know no marks: they come back as they are.
    """
    claude = "claude" in model
    if not (claude or "nova" in model) or _marked(request):
        return request
    enough = least(model) * _CHARACTERS
    leading = [each for each in request.messages if each.role == "system"]
    fixed = sum(map(_length, leading)) + sum(
        json_size(tool.parameters) + len(tool.description) for tool in request.tools
    )
    whole = fixed + sum(_length(each) for each in request.messages if each.role != "system")
    messages, tools = list(request.messages), list(request.tools)
    if fixed >= enough and not _mark_one(messages, "system") and tools and claude:
        tools[-1] = replace(tools[-1], cache="")
    several = any(each.role == "assistant" for each in messages) or bool(tools)
    if several and whole >= enough:
        _mark_one(messages, "user", TURNS)
    return replace(request, messages=tuple(messages), tools=tuple(tools))


# ---- the body of Anthropic's own clients


def _has_marks(raw: bytes, doc: Json) -> bool:
    """Whether the client has set any mark, however it spells that."""
    if b'"cache_control"' in raw:
        return True
    return b"\\u00" in raw and any("cache_control" in each for each in objects(doc))


def _turns(doc: Json) -> list[int]:
    """Which messages are the last turns of the user, if there are or will be several."""
    roles = [members(each).get("role") for each in items(doc.get("messages"))]
    users = [place for place, role in enumerate(roles) if role == "user"]
    return users[-TURNS:] if "assistant" in roles or doc.get("tools") else []


def _mark_fixed(raw: bytes, doc: Json, spans: dict[str, tuple[int, int]]) -> list[Edit]:
    """A mark at the end of the system prompt, or else of the tools."""
    if "system" in spans:
        start, end = spans["system"]
        if edits := _mark_content(raw, doc["system"], start, end):
            return edits
    tools = items(doc.get("tools"))
    # what is loaded later is no part of the prompt
    last = _last(tools, lambda tool: not tool.get("defer_loading"))
    if last is None:
        return []
    return [_closing(_elements(raw, spans["tools"], last)[last][1])]


def _mark_turns(
    raw: bytes, messages: Sequence[Any], span: tuple[int, int], turns: list[int]
) -> list[Edit]:
    edits: list[Edit] = []
    elements = _elements(raw, span, turns[0])
    for turn in turns:
        begins, ends = elements[turn]
        inner = {name: span for name, *span in body.members(raw[begins:ends])}
        at, until = inner["content"] if "content" in inner else (0, 0)
        content = members(messages[turn]).get("content")
        edits += _mark_content(raw, content, begins + at, begins + until)
    return edits


def _mark_content(raw: bytes, content: Any, start: int, end: int) -> list[Edit]:
    """A mark on the last block of a content that can have one; a string becomes a block."""
    if isinstance(content, str):
        if not content.strip():
            return []
        opens = (start, start, b'[{"type":"text","text":')
        return [opens, (end, end, b",%b}]" % MARK)]
    last = _last(items(content), _takes_mark)
    return [] if last is None else [_closing(_elements(raw, (start, end), last)[last][1])]


def _takes_mark(block: Json) -> bool:
    kind = string(block.get("type"))
    if kind == "text":
        return bool(str(block.get("text") or "").strip())
    return kind in _TAKES_MARK


def _last(values: Sequence[Any], fits: Callable[[Json], bool]) -> int | None:
    """The place of the last object that fits."""
    for place in range(len(values) - 1, -1, -1):
        if isinstance(values[place], dict) and values[place] and fits(values[place]):
            return place
    return None


def _closing(end: int) -> Edit:
    """The mark as an object's last member; the object ends at `end`."""
    return end - 1, end - 1, b"," + MARK


def _elements(raw: bytes, span: tuple[int, int], first: int) -> dict[int, tuple[int, int]]:
    """Where the elements of a list start and end in a valid body, from the `first` one on."""
    start, end = span
    lengths = [*map(len, _ELEMENTS(raw[start:end]))]
    found = {}
    position = end - 1
    for place in range(len(lengths) - 1, first - 1, -1):
        while raw[position - 1] in _BETWEEN:
            position -= 1
        found[place] = position - lengths[place], position
        position -= lengths[place]
    return found


def _edited(raw: bytes, edits: list[Edit]) -> bytes:
    parts: list[bytes] = []
    done = 0
    for start, end, text in sorted(edits, key=lambda edit: edit[0]):
        parts += (raw[done:start], text)
        done = end
    return b"".join((*parts, raw[done:])) if edits else raw


# ---- requests in nobody's format


def _marked(request: Request) -> bool:
    """Whether the client has set any mark."""
    if request.cache is not None or any(tool.cache is not None for tool in request.tools):
        return True
    return any(getattr(block, "cache", None) is not None for block in _blocks(request))


def _blocks(request: Request) -> Iterator[Block]:
    for message in request.messages:
        for block in message.blocks:
            yield block
            if isinstance(block, ToolResult):
                yield from block.blocks


def _length(message: Message) -> int:
    return sum(map(_size, message.blocks))


def _size(block: Block) -> int:
    """Characters of a block; those of a picture or file count as one of some size."""
    match block:
        case Text() | Reasoning() | Refusal():
            return len(block.text)
        case ToolCall():
            return len(block.arguments)
        case ToolResult():
            return sum(map(_size, block.blocks))
        case Image() | File() | Audio():
            return 4000
        case Opaque():
            return json_size(block.raw)


def _mark_one(messages: list[Message], role: str, most: int = 1) -> int:
    """Mark the last messages of a role, so many at most; returns how many could be."""
    done = 0
    for place in range(len(messages) - 1, -1, -1):
        if done == most:
            break
        if messages[place].role != role:
            continue
        blocks = list(messages[place].blocks)
        for number in range(len(blocks) - 1, -1, -1):
            block = blocks[number]
            if isinstance(block, _MARKED) and (not isinstance(block, Text) or block.text.strip()):
                blocks[number] = replace(block, cache="")
                messages[place] = replace(messages[place], blocks=tuple(blocks))
                done += 1
                break
    return done
