"""What a message of Amazon Bedrock's Converse is made of, in requests and in answers alike.

A block is an object with one member, named after its kind. A cachePoint is a mark on the block
before it. Claude's sealed reasoning is base64 of the very string that Anthropic's own API has.
"""

from __future__ import annotations

import re
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Any

from routeur.dialects import expect
from routeur.dialects.base import Json
from routeur.dialects.bedrock.media import (
    read_audio,
    read_document,
    read_image,
    read_video,
    write_audio,
    write_file,
    write_image,
)
from routeur.dialects.exact import dumps, encoded
from routeur.dialects.loose import integer, items, members, string
from routeur.dialects.neutral import (
    ANTHROPIC,
    BEDROCK,
    Audio,
    Block,
    Citation,
    File,
    Image,
    Opaque,
    Reasoning,
    Refusal,
    Text,
    ToolCall,
    ToolResult,
)
from routeur.dialects.neutral.aim import Losses, Untranslatable, vendor_of
from routeur.dialects.neutral.ids import fit_id, made_id
from routeur.dialects.neutral.media import arguments_json, arguments_text

NAME = "bedrock"
ATTACHED = "(file attached)"  # documents want a text beside them, and no cachePoint behind them
EMPTY = "(empty)"  # what has to say something, and does not

_ID = re.compile(r"[A-Za-z0-9_.:-]{1,64}")
_TOOL = re.compile(r"[A-Za-z0-9_-]{1,64}")
_MARKED = (Text, Image, File, ToolCall, ToolResult)


def origin_of(model: str) -> str:
    """Whose reasoning a model's is."""
    return ANTHROPIC if vendor_of(model) == "anthropic" else BEDROCK


# ── reading


def read_blocks(raw: list[Any], at: str, origin: str) -> tuple[Block, ...]:
    """Blocks, with the cachePoints as marks. `origin` is whose reasoning it is. May: Invalid."""
    found: list[Block] = []
    for number, each in enumerate(raw):
        if found and (marked := _marked(found[-1], each)):
            found[-1] = marked
        else:
            found.append(read_block(each, f"{at}[{number}]", origin))
    return tuple(found)


def read_block(raw: Any, at: str, origin: str) -> Block:
    """One block; a kind that is not known is kept as it is. May: Invalid."""
    for name, value in expect.an_object(raw, at).items():
        if reader := _READERS.get(name):
            return reader(value, f"{at}.{name}", origin)
    return Opaque(NAME, raw)


def mark_of(raw: Any) -> str | None:
    """The time to live of a cachePoint, "" if it says none; None: it is something else."""
    point = raw.get("cachePoint") if type(raw) is dict else None
    if type(point) is not dict or point.get("type") != "default":
        return None
    return string(point.get("ttl"))


def _marked(block: Block, raw: Any) -> Block | None:
    mark = mark_of(raw)
    if mark is None or not isinstance(block, _MARKED) or block.cache is not None:
        return None
    return replace(block, cache=mark)


def _text(value: Any, at: str, origin: str) -> Block:
    return Text(expect.a_string(value, at))


def _reasoning(value: Any, at: str, origin: str) -> Block:
    value = expect.an_object(value, at)
    if "redactedContent" in value:
        return Reasoning(
            encrypted=unsealed(expect.text(value, "redactedContent", at), origin), origin=origin
        )
    if "reasoningText" not in value:
        return Opaque(NAME, {"reasoningContent": value})
    said = expect.record(value, "reasoningText", at)
    at = f"{at}.reasoningText"
    return Reasoning(
        expect.text(said, "text", at), signature=expect.text(said, "signature", at), origin=origin
    )


def unsealed(data: str, origin: str) -> str:
    """redactedContent as the neutral form has it: Claude's as Anthropic's own API spells it."""
    if origin != ANTHROPIC:
        return data
    try:
        return b64decode(data, validate=True).decode("ascii")
    except ValueError:
        return data


def sealed(block: Reasoning) -> str:
    """The reverse of `unsealed`."""
    if block.origin != ANTHROPIC:
        return block.encrypted
    return b64encode(encoded(block.encrypted)).decode()


def _tool_use(value: Any, at: str, origin: str) -> Block:
    value = expect.an_object(value, at)
    if value.get("type") == "server_tool_use":
        return Opaque(NAME, {"toolUse": value})
    name = expect.needed_text(value, "name", at)
    id = expect.text(value, "toolUseId", at) or made_id(name, at)
    return ToolCall(id, name, arguments_text(value.get("input")))


def _tool_result(value: Any, at: str, origin: str) -> Block:
    value = expect.an_object(value, at)
    if value.get("type"):  # a server's tool
        return Opaque(NAME, {"toolResult": value})
    content = expect.listing(value, "content", at)
    return ToolResult(
        expect.needed_text(value, "toolUseId", at),
        read_blocks(content, f"{at}.content", origin),
        is_error=value.get("status") == "error",
    )


def _json(value: Any, at: str, origin: str) -> Block:
    """A tool's result as a value: others get it as text."""
    return Text(dumps(value).decode(), extra={"json": value})


def _guard(value: Any, at: str, origin: str) -> Block:
    return Opaque(
        NAME, {"guardContent": value}, string(members(members(value).get("text")).get("text"))
    )


def _search_result(value: Any, at: str, origin: str) -> Block:
    value = expect.an_object(value, at)
    texts = [string(members(each).get("text")) for each in items(value.get("content"))]
    head = [string(value.get("title")), string(value.get("source"))]
    return Opaque(NAME, {"searchResult": value}, "\n".join(line for line in head + texts if line))


def _cited(value: Any, at: str, origin: str) -> Block:
    value = expect.an_object(value, at)
    texts = [
        expect.text(expect.an_object(each, f"{at}.content[{n}]"), "text", f"{at}.content[{n}]")
        for n, each in enumerate(expect.listing(value, "content", at))
    ]
    cited = [
        read_citation(expect.an_object(each, at)) for each in expect.listing(value, "citations", at)
    ]
    return Text("".join(texts), tuple(cited))


_Reader = Callable[[Any, str, str], Block]
_READERS: dict[str, _Reader] = {
    "text": _text,
    "json": _json,
    "reasoningContent": _reasoning,
    "toolUse": _tool_use,
    "toolResult": _tool_result,
    "citationsContent": _cited,
    "guardContent": _guard,
    "searchResult": _search_result,
    "image": lambda value, at, origin: read_image(expect.an_object(value, at), at),
    "document": lambda value, at, origin: read_document(expect.an_object(value, at), at),
    "video": lambda value, at, origin: read_video(expect.an_object(value, at), at),
    "audio": lambda value, at, origin: read_audio(expect.an_object(value, at), at),
}


def read_citation(raw: Json) -> Citation:
    """A source; what it does not say as expected is left out."""
    quotes = (string(members(each).get("text")) for each in items(raw.get("sourceContent")))
    source, place = string(raw.get("source")), members(raw.get("location"))
    within = members(place.get("documentChar"))
    indexes = [members(each).get("documentIndex") for each in place.values()]
    return Citation(
        url=string(members(place.get("web")).get("url")) or (source if "://" in source else ""),
        title=string(raw.get("title")),
        quote="".join(quotes),
        document=next((each for each in indexes if type(each) is int), None),
        start=integer(within.get("start")),
        end=integer(within.get("end")),
        raw=raw,
        dialect=NAME,
    )


# ── writing


@dataclass(slots=True)
class Writing:
    """For whom blocks are written.

    `own`: they came in this dialect, and go on as they came. `origin`: whose reasoning the model
    understands; None: this is an answer, in which what cannot be said is left out. `caches`:
    whether the model knows cachePoints, and `ttl` whether these may last longer. `names`: those of
    documents so far.
    """

    losses: Losses
    own: bool = False
    origin: str | None = None
    caches: bool = True
    ttl: bool = True
    names: set[str] = field(default_factory=set)


def write_blocks(blocks: Iterable[Block], to: Writing) -> list[Json]:
    """The blocks, each with the cachePoint that marks it. May, in requests: Untranslatable."""
    found: list[Json] = []
    for block in blocks:
        try:
            found += _WRITERS[type(block)](block, to)
        except Untranslatable as lost:
            if to.origin is not None:
                raise
            to.losses.drop(lost.field)
        mark = getattr(block, "cache", None)
        if mark is None:
            continue
        if found and not to.own and ("document" in found[-1] or "video" in found[-1]):
            found.append({"text": ATTACHED})
        if found and "cachePoint" not in found[-1]:
            found += write_mark(mark, to)
    return found


def write_mark(mark: str, to: Writing) -> list[Json]:
    """A cachePoint, or nothing where the model knows none."""
    if not to.caches:
        to.losses.drop("cache")
        return []
    point: Json = {"type": "default"}
    if mark and (to.ttl or mark != "5m"):
        if to.ttl:
            point["ttl"] = mark
        else:
            to.losses.drop("cache.ttl")
    return [{"cachePoint": point}]


def _write_text(block: Text, to: Writing) -> list[Json]:
    if block.signature:
        to.losses.drop("text.signature")
    if to.own and "json" in block.extra:
        return [{"json": block.extra["json"]}]
    if not block.citations:
        return [{"text": block.text}] if block.text or to.own else []
    if not to.own and to.origin is not None:  # a request: the model knows only its own
        to.losses.drop("citations")
        return [{"text": block.text}]
    content = [{"text": block.text}] if block.text else []
    citations = [write_citation(each) for each in block.citations]
    return [{"citationsContent": {"content": content, "citations": citations}}]


def write_citation(citation: Citation) -> Json:
    """A source as this dialect says it, with what is known of it."""
    if citation.dialect == NAME:
        return citation.raw
    place: Json = {}
    if citation.url:
        place = {"web": {"url": citation.url}}
    elif citation.document is not None:
        within = {"documentIndex": citation.document, "start": citation.start, "end": citation.end}
        place = {"documentChar": {name: at for name, at in within.items() if at is not None}}
    written: Json = {"title": citation.title, "sourceContent": [{"text": citation.quote}]}
    written = {name: value for name, value in written.items() if value not in ("", [{"text": ""}])}
    return {**written, "location": place} if place else written


def _write_reasoning(block: Reasoning, to: Writing) -> list[Json]:
    """Reasoning goes back to where it came from only: a model refuses what it has not signed."""
    if to.origin is not None and not understood(block, to):
        to.losses.drop("reasoning")
        return []
    if block.origin not in (ANTHROPIC, BEDROCK) and (block.signature or block.encrypted):
        to.losses.drop("reasoning.signature")
        block = replace(block, signature="", encrypted="")
    if not block.encrypted and not block.shown and not block.signature and not to.own:
        return []
    if block.encrypted and not block.shown:
        return [{"reasoningContent": {"redactedContent": sealed(block)}}]
    said = {"text": block.shown}
    if block.signature:
        said["signature"] = block.signature
    return [{"reasoningContent": {"reasoningText": said}}]


def understood(block: Reasoning, to: Writing) -> bool:
    """Whether the model takes this reasoning back; Claude wants its own signature on it."""
    signed = block.signature or block.encrypted or block.origin != ANTHROPIC
    return block.origin == to.origin and bool(to.own or signed)


def _write_call(block: ToolCall, to: Writing) -> list[Json]:
    if block.signature:
        to.losses.drop("tool_call.signature")
    text = block.arguments
    call = {
        "toolUseId": tool_id(block.id),
        "name": tool_name(block.name, to.losses) if to.origin is not None else block.name,
        "input": {"input": text} if block.kind == "custom" else arguments_json(text),
    }
    return [{"toolUse": call}]


def _write_result(block: ToolResult, to: Writing) -> list[Json]:
    content = write_blocks(block.blocks if to.own else spoken(block.blocks), to)
    if not content and not to.own:
        content = [{"text": EMPTY}]
    result: Json = {"toolUseId": tool_id(block.id), "content": content}
    if block.is_error:
        result["status"] = "error"
    return [{"toolResult": result}]


def _write_audio(block: Audio, to: Writing) -> list[Json]:
    """What a model said aloud goes back as its words."""
    if block.transcript and not block.data:
        return [{"text": block.transcript}]
    return [{"audio": write_audio(block, to.losses)}]


def _write_opaque(block: Opaque, to: Writing) -> list[Json]:
    if block.dialect == NAME:
        return [block.raw]
    if to.origin is not None and (text := to.losses.stand_in(block)):
        return [{"text": text}]
    to.losses.drop_all({block.kind: to.origin is None})
    return []


def tool_name(name: str, losses: Losses) -> str:
    """A tool's name, if it may be one here. May: Untranslatable."""
    if _TOOL.fullmatch(name):
        return name
    raise losses.refuse("tools.name", f"{name!r} is not 1 to 64 of A-Z, a-z, 0-9, _ and -")


def tool_id(id: str) -> str:
    """A call's id, or one in its place that is taken here."""
    return id if _ID.fullmatch(id) else fit_id(id)


_WRITERS: dict[type, Callable[[Any, Writing], list[Json]]] = {
    Text: _write_text,
    Reasoning: _write_reasoning,
    Image: lambda block, to: [{"image": write_image(block, to.losses, to.own)}],
    File: lambda block, to: [write_file(block, to.losses, to.own, to.names)],
    Audio: _write_audio,
    ToolCall: _write_call,
    ToolResult: _write_result,
    Refusal: lambda block, to: [{"text": block.text}],
    Opaque: _write_opaque,
}


def spoken(blocks: Iterable[Block]) -> list[Block]:
    """The blocks without blank texts, which are refused; blanks go to the text before them."""
    found: list[Block] = []
    for block in blocks:
        if not isinstance(block, Text | Refusal) or block.text.strip():
            found.append(block)
        elif isinstance(block, Text) and found and isinstance(found[-1], Text):
            last = found[-1]
            if last.cache is None:
                found[-1] = replace(last, text=last.text + block.text, cache=block.cache)
    return found
