"""The parts of a content, written for a provider of Chat Completions, and who that is."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from hashlib import blake2s
from typing import Any

from routeur.dialects.base import Json
from routeur.dialects.claude import write_cache
from routeur.dialects.neutral import (
    Audio,
    Block,
    File,
    Image,
    Opaque,
    Reasoning,
    Refusal,
    Text,
    ToolCall,
    ToolResult,
)
from routeur.dialects.neutral.aim import Aim, Losses
from routeur.dialects.neutral.ids import fit_id
from routeur.dialects.neutral.media import file_name, url_of
from routeur.dialects.openai_chat.blocks import PDF

_LONGEST_ID = 40  # characters: "string too long" says OpenAI's own endpoint beyond
_MISTRAL = re.compile("mistral|mixtral|magistral|ministral|codestral|devstral|pixtral")
_NINE = re.compile("[A-Za-z0-9]{9}")  # what Mistral takes as the id of a call


@dataclass(frozen=True, slots=True)
class Target:
    """Whom messages are written for. `own`: the client speaks this dialect itself."""

    aim: Aim
    losses: Losses
    own: bool

    @property
    def openai(self) -> bool:
        """OpenAI's own models, which refuse what others take as an extension."""
        return self.aim.vendor == "openai" or self.aim.platform == "azure"

    @property
    def openrouter(self) -> bool:
        """A name as OpenRouter has them; Vertex has some that look alike."""
        return "/" in self.aim.model and self.aim.platform == ""

    @property
    def mistral(self) -> bool:
        """Mistral's own models, whose API has rules of its own."""
        return bool(_MISTRAL.search(self.aim.model.lower()))

    def id(self, id: str) -> str:
        """A call's id as the target takes it."""
        if self.own:
            return id
        if self.mistral:
            if _NINE.fullmatch(id):
                return id
            return blake2s(id.encode("utf-8", "surrogatepass")).hexdigest()[:9]
        return fit_id(id, _LONGEST_ID)


def write_content(blocks: tuple[Block, ...], target: Target, between: str | None) -> Any:
    """Texts as one string where that says the same, else as parts.

    `between` is what stands between texts that others than our own clients sent; None: parts.
    """
    texts = [each for each in blocks if isinstance(each, Text)]
    if any(_is_marked(each, target) for each in texts):
        return write_parts(blocks, target)
    if len(texts) == len(blocks) == 1:
        return texts[0].text
    if len(blocks) > 1 and (target.own or between is None):
        return write_parts(blocks, target)
    return (between or "").join(each.text for each in texts)


def _is_marked(text: Text, target: Target) -> bool:
    """Whether a text says more than its words; a mark that the target cannot take is dropped."""
    if text.cache is not None and not takes_marks(target):
        target.losses.drop("cache")
        return False
    return text.cache is not None or bool(target.own and text.extra)


def takes_marks(target: Target) -> bool:
    """Whether the target takes marks where a prompt's cached part ends."""
    return target.own or target.aim.vendor == "anthropic"


def write_parts(blocks: Iterable[Block], target: Target) -> list[Json]:
    """The parts of a user's message. May raise Untranslatable."""
    found: list[Json] = []
    for block in blocks:
        found += _PARTS[type(block)](block, target)
    return found


def text_part(text: str) -> Json:
    """A part that is text."""
    return {"type": "text", "text": text}


def _mark(part: Json, block: Text | Image | File, target: Target) -> list[Json]:
    """The part with its mark, where the target takes one."""
    if target.own:
        part |= block.extra
    if block.cache is None or "prompt_cache_breakpoint" in part:
        return [part]
    if takes_marks(target):
        part |= write_cache(block.cache)
    else:
        target.losses.drop("cache")
    return [part]


def _text(block: Text, target: Target) -> list[Json]:
    return _mark(text_part(block.text), block, target)


def _image(block: Image, target: Target) -> list[Json]:
    if block.file_id:
        raise target.losses.refuse("image.file_id", "images are given by URL or data here")
    url = url_of(block, "image/png")
    if not url.startswith(("data:", "http")) and not target.own:
        raise target.losses.refuse("image.url", "expected an http or data URL")
    inner = {"url": url, **({"detail": block.detail} if block.detail else {})}
    return _mark({"type": "image_url", "image_url": inner}, block, target)


def _file(block: File, target: Target) -> list[Json]:
    if block.citations:
        target.losses.drop("file.citations")
    if target.own and (kind := block.extra.get("type")):
        named = {"document_name": block.name} if block.name else {}
        return [
            {"type": kind, kind: block.url if kind != "video_url" else {"url": block.url}} | named
        ]
    words = _words(block)
    if block.text or block.blocks:
        return [
            *words,
            *([text_part(block.text)] if block.text else []),
            *write_parts(block.blocks, target),
        ]
    return [*words, *_mark({"type": "file", "file": _inner(block, target)}, block, target)]


def _words(block: File) -> list[Json]:
    """What is said about a document beside it; a title alone can be its name."""
    plain = bool(block.text or block.blocks)
    title = block.title if plain or block.context else ""
    said = [each for each in (title, block.context) if each]
    return [text_part("\n".join(said))] if said else []


def _inner(block: File, target: Target) -> Json:
    if block.file_id:
        if not target.own:
            raise target.losses.refuse("file.file_id", "files of another provider are unknown here")
        return {"file_id": block.file_id, **({"filename": block.name} if block.name else {})}
    url = url_of(block, PDF)
    if not url.startswith("data:") and not target.own:
        if target.openai or not url.startswith("http"):
            raise target.losses.refuse("file.url", "files are given by their data here")
    if target.own:
        named = {"filename": block.name} if block.name else {}
        return {**named, "file_data": block.data or url}
    return {"filename": file_name(block), "file_data": url}


def _audio(block: Audio, target: Target) -> list[Json]:
    if not block.data:
        return [text_part(block.transcript)] if block.transcript else []
    if target.openai and block.format not in ("wav", "mp3") and not target.own:
        raise target.losses.refuse("audio.format", "expected wav or mp3")
    inner = {"data": block.data, "format": block.format}
    return [{"type": "input_audio", "input_audio": inner}]


def _opaque(block: Opaque, target: Target) -> list[Json]:
    text = target.losses.stand_in(block)
    return [text_part(text)] if text else []


def _refusal(block: Refusal, target: Target) -> list[Json]:
    return [text_part(block.text)]


def _nothing(block: Block, target: Target) -> list[Json]:
    """Reasoning and calls are no parts of a user's message."""
    return []


_PARTS: dict[type, Callable[[Any, Target], list[Json]]] = {
    Text: _text,
    Image: _image,
    File: _file,
    Audio: _audio,
    Opaque: _opaque,
    Refusal: _refusal,
    Reasoning: _nothing,
    ToolCall: _nothing,
    ToolResult: _nothing,
}
