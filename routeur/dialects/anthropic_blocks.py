"""The content blocks of Anthropic's messages, read: the same in requests and answers.

Source of truth: Anthropic's OpenAPI description as of its Python package 0.100.0, the types of
package 2.11, and recordings.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from routeur.dialects.aim import Invalid
from routeur.dialects.base import Json
from routeur.dialects.loose import items, members, string
from routeur.dialects.media import arguments_text
from routeur.dialects.neutral import (
    ANTHROPIC,
    Block,
    Citation,
    File,
    Image,
    Opaque,
    Reasoning,
    Text,
    ToolCall,
    ToolResult,
)

NAME = "anthropic"
Path = str  # where a value stands, as the client spelled it: messages[2].content[0].source


def read_block(raw: object, path: Path) -> Block:
    """One content block. Raises Invalid."""
    block = an_object(raw, path)
    kind = a_string(block, "type", path)
    reader = _READERS.get(kind)
    return reader(block, path) if reader else Opaque(NAME, block, _in_words(block))


def read_content(raw: object, path: Path) -> tuple[Block, ...]:
    """Content: a string, or a list of blocks. Raises Invalid."""
    if isinstance(raw, str):
        return (Text(raw),) if raw else ()
    if not isinstance(raw, list):
        raise Invalid(path, f"`{path}` must be a string or a list of blocks")
    return tuple(read_block(each, f"{path}[{number}]") for number, each in enumerate(raw))


def read_cache(raw: Json) -> str | None:
    """The cache mark of a block, a tool or a request."""
    mark = raw.get("cache_control")
    return string(mark.get("ttl")) if isinstance(mark, dict) else None


def read_citation(raw: Json) -> Citation:
    """One citation, of any type."""
    source = string(raw.get("url")) or string(raw.get("source"))
    return Citation(
        url=source,
        title=string(raw.get("document_title")) or string(raw.get("title")),
        quote=string(raw.get("cited_text")),
        file_id=string(raw.get("file_id")),
        document=_number(raw.get("document_index")),
        start=_number(raw.get("start_char_index")),
        end=_number(raw.get("end_char_index")),
        raw=raw,
        dialect=NAME,
    )


def others(raw: Json, known: frozenset[str]) -> Json:
    """The members that have no field."""
    if raw.keys() <= known:
        return {}
    return {name: value for name, value in raw.items() if name not in known}


def an_object(raw: object, path: Path) -> Json:
    if not isinstance(raw, dict):
        raise Invalid(path, f"`{path}` must be an object")
    return raw


def a_list(raw: object, path: Path) -> list[Any]:
    if not isinstance(raw, list):
        raise Invalid(path, f"`{path}` must be a list")
    return raw


def a_string(raw: Json, name: str, path: Path) -> str:
    value = raw.get(name)
    if not isinstance(value, str):
        raise Invalid(f"{path}.{name}", f"`{path}.{name}` must be a string")
    return value


def _number(value: object) -> int | None:
    return value if type(value) is int else None


_TEXT = frozenset("type text citations cache_control".split())
_THINKING = frozenset("type thinking signature".split())
_REDACTED = frozenset("type data".split())
_IMAGE = frozenset("type source cache_control".split())
_DOCUMENT = frozenset("type source title context citations cache_control".split())
_CALL = frozenset("type id name input cache_control".split())
_RESULT = frozenset("type tool_use_id content is_error cache_control".split())


def _text(raw: Json, path: Path) -> Block:
    citations = tuple(read_citation(members(each)) for each in items(raw.get("citations")))
    return Text(
        a_string(raw, "text", path), citations, cache=read_cache(raw), extra=others(raw, _TEXT)
    )


def _thinking(raw: Json, path: Path) -> Block:
    signature = string(raw.get("signature"))
    return Reasoning(
        a_string(raw, "thinking", path),
        signature=signature,
        origin=ANTHROPIC if signature else "",
        extra=others(raw, _THINKING),
    )


def _redacted(raw: Json, path: Path) -> Block:
    data = a_string(raw, "data", path)
    return Reasoning(encrypted=data, origin=ANTHROPIC, extra=others(raw, _REDACTED))


def _image(raw: Json, path: Path) -> Block:
    where = f"{path}.source"
    source = an_object(raw.get("source"), where)
    cache, extra = read_cache(raw), others(raw, _IMAGE)
    match source.get("type"):
        case "base64":
            media_type, data = string(source.get("media_type")), a_string(source, "data", where)
            return Image(data=data, media_type=media_type, cache=cache, extra=extra)
        case "url":
            return Image(url=a_string(source, "url", where), cache=cache, extra=extra)
        case "file":
            return Image(file_id=a_string(source, "file_id", where), cache=cache, extra=extra)
    raise Invalid(f"{where}.type", f"`{where}.type` must be base64, url or file")


def _document(raw: Json, path: Path) -> Block:
    where = f"{path}.source"
    enabled = members(raw.get("citations")).get("enabled")
    return File(
        **_document_source(an_object(raw.get("source"), where), where),
        title=string(raw.get("title")),
        context=string(raw.get("context")),
        citations=enabled if isinstance(enabled, bool) else None,
        cache=read_cache(raw),
        extra=others(raw, _DOCUMENT),
    )


def _document_source(source: Json, where: Path) -> Json:
    match source.get("type"):
        case "base64":
            data = a_string(source, "data", where)
            return {"data": data, "media_type": string(source.get("media_type"))}
        case "text":
            return {"text": a_string(source, "data", where), "media_type": "text/plain"}
        case "url":
            return {"url": a_string(source, "url", where)}
        case "file":
            return {"file_id": a_string(source, "file_id", where)}
        case "content":
            return {"blocks": read_content(source.get("content"), f"{where}.content")}
    raise Invalid(f"{where}.type", f"`{where}.type` must be base64, text, url, file or content")


def _tool_use(raw: Json, path: Path) -> Block:
    return ToolCall(
        a_string(raw, "id", path),
        a_string(raw, "name", path),
        arguments_text(raw.get("input")),
        cache=read_cache(raw),
        extra=others(raw, _CALL),
    )


def _tool_result(raw: Json, path: Path) -> Block:
    content = raw.get("content")
    return ToolResult(
        a_string(raw, "tool_use_id", path),
        () if content is None else read_content(content, f"{path}.content"),
        is_error=raw.get("is_error") is True,
        cache=read_cache(raw),
        extra=others(raw, _RESULT),
    )


def _in_words(raw: Json) -> str:
    """What other dialects are told of a block that only this one knows."""
    if raw.get("type") == "compaction":
        return string(raw.get("content"))
    if raw.get("type") == "search_result":
        texts = (string(members(each).get("text")) for each in items(raw.get("content")))
        return "\n".join((string(raw.get("title")), string(raw.get("source")), *texts))
    return ""


_READERS: dict[str, Callable[[Json, Path], Block]] = {
    "text": _text,
    "thinking": _thinking,
    "redacted_thinking": _redacted,
    "image": _image,
    "document": _document,
    "tool_use": _tool_use,
    "tool_result": _tool_result,
}
