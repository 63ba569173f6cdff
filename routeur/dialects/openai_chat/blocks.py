"""What messages are made of in Chat Completions, the same in requests and in answers.

Readers raise Invalid where a part breaks the dialect; who reads an answer leaves such parts out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from mimetypes import guess_type
from typing import Any

from routeur.dialects import expect
from routeur.dialects.base import Json
from routeur.dialects.claude import read_cache
from routeur.dialects.exact import dumps
from routeur.dialects.loose import integer, items, members, string, without
from routeur.dialects.neutral import (
    GEMINI,
    Audio,
    Block,
    Citation,
    File,
    Image,
    Reasoning,
    Refusal,
    Stop,
    StopReason,
    Text,
    ToolCall,
)
from routeur.dialects.neutral.aim import Invalid
from routeur.dialects.neutral.ids import made_id
from routeur.dialects.openai_chat import NAME
from routeur.dialects.openai_chat.reasoning import google_signature, read_details, shown_of

PDF = "application/pdf"

_REASONS: dict[str, StopReason] = {
    "stop": "end",
    "length": "length",
    "tool_calls": "tool_calls",
    "function_call": "tool_calls",
    "content_filter": "content_filter",
    # beyond OpenAI: Mistral, Zhipu, DeepSeek, OpenRouter, TGI, Together
    "model_length": "length",
    "max_tokens": "length",
    "eos": "end",
    "eos_token": "end",
    "end_turn": "end",
    "stop_sequence": "stop_sequence",
    "sensitive": "content_filter",
    "insufficient_system_resource": "error",
    "network_error": "error",
    "error": "error",
}


# Parts of a content.


def read_content(content: Any, path: str) -> list[Block]:
    """The blocks of a content, a string or a list of parts."""
    if isinstance(content, str):
        return [Text(content)]
    if not isinstance(content, list):
        raise expect.wrong(path, "a string or a list of content parts")
    return [read_part(part, f"{path}[{number}]") for number, part in enumerate(content)]


def read_part(part: Any, path: str) -> Block:
    """One part. Raises Invalid if it is of no kind that we know."""
    if isinstance(part, str):  # vLLM and others take bare strings in a list
        return Text(part)
    if not isinstance(part, dict):
        raise expect.wrong(path, "an object with a `type`")
    read = _PARTS.get(string(part.get("type")))
    if read is None:
        known = ", ".join(_PARTS)
        raise expect.wrong(f"{path}.type", f"one of {known}")
    return read(part, path)


def _text(part: Json, path: str) -> Block:
    mark = read_cache(part)
    if "prompt_cache_breakpoint" in part:
        mark = mark or ""
    return Text(
        _string_in(part, "text", path),
        cache=mark,
        extra=without(part, ("type", "text", "cache_control")),
    )


def _image(part: Json, path: str) -> Block:
    found = part.get("image_url")
    inner: Json = {"url": found} if isinstance(found, str) else members(found)
    url = _string_in(inner, "url", f"{path}.image_url")
    return Image(
        url=url,
        detail=string(inner.get("detail")),
        cache=read_cache(part),
        extra=without(part, ("type", "image_url", "cache_control", "index")),
    )


def _audio(part: Json, path: str) -> Block:
    inner = members(part.get("input_audio"))
    inside = f"{path}.input_audio"
    format = _string_in(inner, "format", inside)
    return Audio(_string_in(inner, "data", inside), format)


def _file(part: Json, path: str) -> Block:
    inner = members(part.get("file"))
    name, data, id = (string(inner.get(each)) for each in ("filename", "file_data", "file_id"))
    if not data and not id:
        raise expect.wrong(f"{path}.file", "`file_data` or `file_id`")
    extra = without(part, ("type", "file", "cache_control"))
    found = File(file_id=id, name=name, cache=read_cache(part), extra=extra)
    if data[:5].lower() == "data:" or data[:8].lower().startswith(("http://", "https://")):
        return replace(found, url=data)
    if data:
        return replace(found, data=data, media_type=guess_type(name)[0] or PDF)
    return found


def _refusal(part: Json, path: str) -> Block:
    return Refusal(_string_in(part, "refusal", path))


def _thinking(part: Json, path: str) -> Block:
    """Mistral's: a list of text parts, or a string."""
    inner = part.get("thinking")
    texts = [string(members(each).get("text")) for each in items(inner)]
    return Reasoning(string(inner) or "".join(texts))


def _link(part: Json, path: str) -> Block:
    """A document or video by its URL (Mistral, vLLM, OpenRouter)."""
    kind = str(part["type"])
    found = part.get(kind)
    url = string(found) or string(members(found).get("url"))
    if not url:
        raise expect.wrong(f"{path}.{kind}", "a URL")
    return File(url=url, name=string(part.get("document_name")), extra={"type": kind})


_PARTS: dict[str, Callable[[Json, str], Block]] = {
    "text": _text,
    "image_url": _image,
    "input_audio": _audio,
    "file": _file,
    "refusal": _refusal,
    "thinking": _thinking,
    "document_url": _link,
    "video_url": _link,
}


def _string_in(part: Json, name: str, path: str) -> str:
    value = part.get(name)
    if not isinstance(value, str):
        raise expect.wrong(f"{path}.{name}", "a string")
    return value


# An assistant's message.


def read_assistant(message: Json, salt: str, path: str = "") -> tuple[Block, ...]:
    """All blocks of an assistant's message, in a fixed order: the wire has none.

    With a `path` a part that is no part raises Invalid; without, it is left out. `salt` tells
    calls without ids from those of other messages.
    """
    said = [*_said(message, path), *_refused(message), *_spoken(message), *_shown(message)]
    details = read_details(message.get("reasoning_details"))
    calls = read_calls(message, salt, details.signatures)
    said = _signed(said, google_signature(message) or details.signatures.get("", ""), calls)
    shown = shown_of(message)
    if shown and not any(each.shown for each in details.blocks):
        said.insert(0, Reasoning(shown))
    return details.among([*said, *calls])


def _said(message: Json, path: str) -> list[Block]:
    content = message.get("content")
    if not content:
        return []
    if isinstance(content, str):
        return [Text(content, citations=read_citations(message))]
    if path:
        return read_content(content, f"{path}.content")
    found: list[Block] = []
    for part in items(content):
        try:
            found.append(read_part(part, ""))
        except Invalid:
            continue
    return found


def _refused(message: Json) -> list[Block]:
    refusal = string(message.get("refusal"))
    return [Refusal(refusal)] if refusal else []


def _spoken(message: Json) -> list[Block]:
    audio = message.get("audio")
    return [read_audio(audio)] if isinstance(audio, dict) and audio else []


def read_audio(audio: Json) -> Audio:
    """What the model said aloud; in a request only its id."""
    until = audio.get("expires_at")
    return Audio(
        data=string(audio.get("data")),
        id=string(audio.get("id")),
        transcript=string(audio.get("transcript")),
        expires_at=integer(until),
    )


def _shown(message: Json) -> list[Block]:
    return list(read_images(message))


def read_images(holder: Json) -> Iterable[Image]:
    """Images that a model made, as OpenRouter gives them."""
    for part in items(holder.get("images")):
        url = string(members(members(part).get("image_url")).get("url"))
        if url:
            yield Image(url=url)


def _signed(said: list[Block], signature: str, calls: list[ToolCall]) -> list[Block]:
    """A message's signature is its last text's, else its first call's."""
    if not signature:
        return said
    for number in range(len(said) - 1, -1, -1):
        text = said[number]
        if isinstance(text, Text):
            said[number] = replace(text, signature=signature, origin=GEMINI)
            return said
    if not calls:
        return [*said, Text(signature=signature, origin=GEMINI)]
    if not calls[0].signature:
        calls[0] = replace(calls[0], signature=signature, origin=GEMINI)
    return said


def read_citations(holder: Json) -> tuple[Citation, ...]:
    """The sources of a message's text."""
    return tuple(
        _citation(each) for each in items(holder.get("annotations")) if isinstance(each, dict)
    )


def _citation(raw: Json) -> Citation:
    found = members(raw.get("url_citation"))
    start, end = found.get("start_index"), found.get("end_index")
    return Citation(
        url=string(found.get("url")),
        title=string(found.get("title")),
        quote=string(found.get("content")),
        text_start=integer(start),
        text_end=integer(end),
        raw=raw,
        dialect=NAME,
    )


def write_citation(citation: Citation, start: int, end: int) -> Json | None:
    """An annotation; None where the source is no URL. `start` and `end` are the text's it is on."""
    if citation.dialect == NAME:
        return citation.raw
    if not citation.url:
        return None
    if citation.text_start is not None and citation.text_end is not None:
        start, end = start + citation.text_start, start + citation.text_end
    found = {
        "start_index": start,
        "end_index": end,
        "url": citation.url,
        "title": citation.title or citation.url,
    }
    return {"type": "url_citation", "url_citation": found}


# Tool calls.


def read_calls(message: Json, salt: str, signatures: dict[str, str]) -> list[ToolCall]:
    """The calls of a message, the one of the old `function_call`, too."""
    found = [
        read_call(call, (number, salt), signatures)
        for number, call in enumerate(items(message.get("tool_calls")))
        if isinstance(call, dict)
    ]
    old = message.get("function_call")
    if isinstance(old, dict):
        found.append(read_call({"function": old}, (len(found), salt), signatures))
    return found


def read_call(call: Json, place: tuple[int, str], signatures: dict[str, str]) -> ToolCall:
    """One call; where it has no id, one is made of its name and place."""
    custom = call.get("type") == "custom"
    inner = members(call.get("custom" if custom else "function"))
    name = string(inner.get("name"))
    id = string(call.get("id"))
    signature = google_signature(call) or (id and signatures.get(id, ""))
    return ToolCall(
        id or made_id(name, *place),
        name,
        read_arguments(inner),
        kind="custom" if custom else "function",
        signature=signature,
        origin=GEMINI if signature else "",
    )


def read_arguments(inner: Json) -> str:
    """Arguments as a string: some servers send the object itself."""
    value = inner.get("arguments", inner.get("input"))
    if isinstance(value, str):
        return value
    return "" if value is None else dumps(value).decode()


# Ends.


def read_stop(choice: Json, called: bool) -> Stop:
    """Why a choice ended; `called`: there are tool calls in it."""
    raw = string(choice.get("finish_reason"))
    sequence = choice.get("stop_reason")  # vLLM's: the sequence, or a token's number
    reason = _REASONS.get(raw.lower(), "unknown")
    if called and reason in ("end", "unknown"):
        return Stop("tool_calls", raw=raw)  # many servers say stop
    if reason == "tool_calls" and not called:
        return Stop("end", raw=raw)
    if reason == "end" and isinstance(sequence, str) and sequence:
        return Stop("stop_sequence", sequence, raw)
    return Stop(reason, raw=raw)


def tokens_of(choice: Json) -> tuple[Json, ...]:
    """The logprobs of a choice, or of one delta of it."""
    found = choice.get("logprobs")
    if not isinstance(found, dict):
        return ()
    tokens = items(found.get("content")) or items(found.get("refusal"))
    return tuple(each for each in tokens if isinstance(each, dict))
