"""The content blocks of Anthropic's messages, read: the same in requests and answers.

Source of truth: Anthropic's OpenAPI description as of its Python package 0.100.0, the types of
package 2.11, and recordings.
"""

from __future__ import annotations

from collections.abc import Callable

from routeur.dialects import expect
from routeur.dialects.anthropic import NAME
from routeur.dialects.base import Json
from routeur.dialects.claude import read_cache
from routeur.dialects.loose import integer, items, members, string, without
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
from routeur.dialects.neutral.media import arguments_text

Path = str  # where a value stands, as the client spelled it: messages[2].content[0].source


def read_block(raw: object, path: Path) -> Block:
    """One content block. Raises Invalid."""
    block = expect.an_object(raw, path)
    kind = expect.needed_text(block, "type", path)
    reader = _READERS.get(kind)
    return reader(block, path) if reader else Opaque(NAME, block, _in_words(block))


def read_content(raw: object, path: Path) -> tuple[Block, ...]:
    """Content: a string, or a list of blocks. Raises Invalid."""
    if isinstance(raw, str):
        return (Text(raw),) if raw else ()
    if not isinstance(raw, list):
        raise expect.wrong(path, "a string or a list of blocks")
    return tuple(read_block(each, f"{path}[{number}]") for number, each in enumerate(raw))


def read_citation(raw: Json) -> Citation:
    """One citation, of any type."""
    source = string(raw.get("url")) or string(raw.get("source"))
    return Citation(
        url=source,
        title=string(raw.get("document_title")) or string(raw.get("title")),
        quote=string(raw.get("cited_text")),
        file_id=string(raw.get("file_id")),
        document=integer(raw.get("document_index")),
        start=integer(raw.get("start_char_index")),
        end=integer(raw.get("end_char_index")),
        raw=raw,
        dialect=NAME,
    )


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
        expect.needed_text(raw, "text", path),
        citations,
        cache=read_cache(raw),
        extra=without(raw, _TEXT),
    )


def _thinking(raw: Json, path: Path) -> Block:
    signature = string(raw.get("signature"))
    return Reasoning(
        expect.needed_text(raw, "thinking", path),
        signature=signature,
        origin=ANTHROPIC if signature else "",
        extra=without(raw, _THINKING),
    )


def _redacted(raw: Json, path: Path) -> Block:
    data = expect.needed_text(raw, "data", path)
    return Reasoning(encrypted=data, origin=ANTHROPIC, extra=without(raw, _REDACTED))


def _image(raw: Json, path: Path) -> Block:
    where = f"{path}.source"
    source = expect.an_object(raw.get("source"), where)
    cache, extra = read_cache(raw), without(raw, _IMAGE)
    match source.get("type"):
        case "base64":
            media_type, data = (
                string(source.get("media_type")),
                expect.needed_text(source, "data", where),
            )
            return Image(data=data, media_type=media_type, cache=cache, extra=extra)
        case "url":
            return Image(url=expect.needed_text(source, "url", where), cache=cache, extra=extra)
        case "file":
            return Image(
                file_id=expect.needed_text(source, "file_id", where), cache=cache, extra=extra
            )
    raise expect.wrong(f"{where}.type", "base64, url or file")


def _document(raw: Json, path: Path) -> Block:
    where = f"{path}.source"
    enabled = members(raw.get("citations")).get("enabled")
    return File(
        **_document_source(expect.an_object(raw.get("source"), where), where),
        title=string(raw.get("title")),
        context=string(raw.get("context")),
        citations=enabled if isinstance(enabled, bool) else None,
        cache=read_cache(raw),
        extra=without(raw, _DOCUMENT),
    )


def _document_source(source: Json, where: Path) -> Json:
    match source.get("type"):
        case "base64":
            data = expect.needed_text(source, "data", where)
            return {"data": data, "media_type": string(source.get("media_type"))}
        case "text":
            return {"text": expect.needed_text(source, "data", where), "media_type": "text/plain"}
        case "url":
            return {"url": expect.needed_text(source, "url", where)}
        case "file":
            return {"file_id": expect.needed_text(source, "file_id", where)}
        case "content":
            return {"blocks": read_content(source.get("content"), f"{where}.content")}
    raise expect.wrong(f"{where}.type", "base64, text, url, file or content")


def _tool_use(raw: Json, path: Path) -> Block:
    return ToolCall(
        expect.needed_text(raw, "id", path),
        expect.needed_text(raw, "name", path),
        arguments_text(raw.get("input")),
        cache=read_cache(raw),
        extra=without(raw, _CALL),
    )


def _tool_result(raw: Json, path: Path) -> Block:
    content = raw.get("content")
    return ToolResult(
        expect.needed_text(raw, "tool_use_id", path),
        () if content is None else read_content(content, f"{path}.content"),
        is_error=raw.get("is_error") is True,
        cache=read_cache(raw),
        extra=without(raw, _RESULT),
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
