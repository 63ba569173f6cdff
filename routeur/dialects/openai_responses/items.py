"""The items and content parts that requests and answers of the Responses API share.

Readers take what providers wrote and are never strict: who reads a request checks before.
"""

from __future__ import annotations

from collections.abc import Iterable

from routeur.dialects.base import Json
from routeur.dialects.loose import integer, items, members, string
from routeur.dialects.neutral import (
    RESPONSES,
    Citation,
    Image,
    Opaque,
    Reasoning,
    Refusal,
    Text,
    ToolCall,
)
from routeur.dialects.neutral.ids import made_id
from routeur.dialects.openai_responses import NAME

# The types of items that are calls of a client's tools, and where their arguments are.
CALLS = {"function_call": "arguments", "custom_tool_call": "input"}
IMAGE = "image_generation_call"

_CALL_FIELDS = frozenset("type id call_id name arguments input status".split())
_REASONING_FIELDS = frozenset("type id summary content encrypted_content status".split())


def rest(raw: Json, known: frozenset[str]) -> Json:
    """What was said beside the members that are known."""
    return {name: each for name, each in raw.items() if name not in known and each is not None}


# Content parts.


def read_output_part(part: Json, message: Json) -> Text | Refusal | Opaque:
    """A part of what the model said; `message` tells, in its `extra`, which item it stood in."""
    extra = {"message": message} if message else {}
    match part.get("type"):
        case "output_text" | "text" | "input_text":
            citations = tuple(
                read_citation(members(each)) for each in items(part.get("annotations"))
            )
            return Text(string(part.get("text")), citations, extra=extra)
        case "refusal":
            return Refusal(string(part.get("refusal")), extra)
    return unknown_part(part)


def message_of(item: Json) -> Json:
    """What a message's item says beside its content: its id, and its phase."""
    names = ("id", "phase")
    return {name: item[name] for name in names if isinstance(item.get(name), str)}


def unknown_part(part: Json) -> Opaque:
    """A part of a kind that we do not know."""
    return Opaque(NAME, {"part": part})  # items have types, so it cannot be taken for one


def part_of(block: Opaque) -> Json | None:
    """The part, if the block is one of ours; else it is an item, or another dialect's."""
    if block.dialect == NAME and block.raw.keys() == {"part"}:
        return members(block.raw.get("part"))
    return None


def read_citation(raw: Json) -> Citation:
    """An annotation of any type."""
    return Citation(
        url=string(raw.get("url")),
        title=string(raw.get("title")) or string(raw.get("filename")),
        file_id=string(raw.get("file_id")),
        text_start=integer(raw.get("start_index")),
        text_end=integer(raw.get("end_index")),
        raw=raw,
        dialect=NAME,
    )


def write_citation(citation: Citation, start: int, end: int) -> Json | None:
    """The annotation, over the text from `start` to `end` unless it says itself; None: has none."""
    if citation.dialect == NAME:
        return citation.raw
    begin = citation.text_start
    until = citation.text_end
    span = {
        "start_index": start if begin is None else start + begin,
        "end_index": end if until is None else start + until,
    }
    if citation.url:
        return {"type": "url_citation", "url": citation.url, "title": citation.title, **span}
    if citation.file_id:
        return {
            "type": "file_citation",
            "file_id": citation.file_id,
            "filename": citation.title,
            "index": citation.document or 0,
        }
    return None


def write_logprob(token: Json) -> Json:
    """A token as this API has it: `bytes` and `top_logprobs` are always lists."""
    top = [members(each) for each in items(token.get("top_logprobs"))]
    return {**_weight(token), "top_logprobs": [_weight(each) for each in top]}


def _weight(token: Json) -> Json:
    return {
        "token": string(token.get("token")),
        "logprob": token.get("logprob") or 0.0,
        "bytes": items(token.get("bytes")),
    }


# Items.


def read_call(item: Json) -> ToolCall:
    """A function_call or custom_tool_call."""
    kind = string(item.get("type"))
    name = string(item.get("name"))
    id = string(item.get("id"))
    return ToolCall(
        id=string(item.get("call_id")) or id or made_id(name),
        name=name,
        arguments=string(item.get(CALLS.get(kind, "arguments"))),
        kind="custom" if kind == "custom_tool_call" else "function",
        item_id=id,
        extra=rest(item, _CALL_FIELDS),
    )


def write_call(block: ToolCall, id: str, call_id: str, extra: Json) -> Json:
    """The item of a call, as far as it goes; `id` may be ""."""
    kind = "custom_tool_call" if block.kind == "custom" else "function_call"
    item = {"type": kind, "call_id": call_id, "name": block.name, CALLS[kind]: block.arguments}
    return {**item, **extra, **({"id": id} if id else {})}


def read_reasoning(item: Json) -> Reasoning:
    """A reasoning item: its content, its summary's parts, and what is sealed in it."""
    encrypted = string(item.get("encrypted_content"))
    return Reasoning(
        text="".join(_texts(item.get("content"))),
        summary=tuple(_texts(item.get("summary"))),
        encrypted=encrypted,
        origin=RESPONSES if encrypted else "",
        id=string(item.get("id")),
        extra=rest(item, _REASONING_FIELDS),
    )


def write_reasoning(block: Reasoning, id: str, encrypted: str, extra: Json) -> Json:
    """The item of a reasoning; `id` and `encrypted` may be ""."""
    item: Json = {"type": "reasoning", "summary": summary_parts(block.summary)}
    if block.text:
        item["content"] = [{"type": "reasoning_text", "text": block.text}]
    if encrypted:
        item["encrypted_content"] = encrypted
    return {**item, **extra, **({"id": id} if id else {})}


def summary_parts(texts: Iterable[str]) -> list[Json]:
    """The parts of a summary."""
    return [{"type": "summary_text", "text": text} for text in texts]


def read_image(item: Json) -> Image | None:
    """What an image_generation_call made, if it is there."""
    data = string(item.get("result"))
    if not data:
        return None
    kind = string(item.get("output_format")) or "png"
    extra = {name: each for name, each in item.items() if name != "result"}
    return Image(data=data, media_type=f"image/{kind}", extra=extra)


def _texts(parts: object) -> list[str]:
    return [string(members(each).get("text")) for each in items(parts)]
