"""The content blocks of Anthropic's messages, written: for its API, or for its clients.

Source of truth: as in `blocks.py`.
"""

from __future__ import annotations

import binascii
from base64 import b64decode
from dataclasses import dataclass

from routeur.dialects.anthropic import NAME
from routeur.dialects.base import Json
from routeur.dialects.claude import write_cache
from routeur.dialects.neutral import (
    ANTHROPIC,
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
from routeur.dialects.neutral.aim import Losses
from routeur.dialects.neutral.ids import fit_id
from routeur.dialects.neutral.media import arguments_json, base64_of, sniffed, standard_base64

PDF = "application/pdf"

_IMAGES = frozenset("image/jpeg image/png image/gif image/webp".split())
_TEXTS = ("text/", "application/json", "application/xml", "application/yaml", "application/x-yaml")
_LONGEST_TITLE = 500  # characters


def write_citation(citation: Citation) -> Json | None:
    """A citation for a client to read; None where this dialect cannot say it."""
    if citation.dialect == NAME:
        return citation.raw
    if citation.url:
        return {
            "type": "web_search_result_location",
            "url": citation.url,
            "title": citation.title or None,
            "cited_text": citation.quote,
            "encrypted_index": "",  # so that a request knows it for one that we made
        }
    if citation.document is None or citation.start is None or citation.end is None:
        return None
    return {
        "type": "char_location",
        "cited_text": citation.quote,
        "document_index": citation.document,
        "document_title": citation.title or None,
        "file_id": citation.file_id or None,
        "start_char_index": citation.start,
        "end_char_index": citation.end,
    }


@dataclass(frozen=True, slots=True)
class BlockWriter:
    """Writes blocks.

    `own`: their extras are this dialect's. `origin`: whose signatures the reader understands.
    `answer`: a client reads it, so that nothing is refused; else the API does.
    """

    losses: Losses
    own: bool
    origin: str
    answer: bool = False

    def write(self, block: Block) -> Json | None:
        """One block; None where there is nothing to say, or no way to say it."""
        match block:
            case Text():
                return self._text(block)
            case Reasoning():
                return self._reasoning(block)
            case ToolCall():
                return self._call(block)
            case ToolResult():
                return self._result(block)
            case Image():
                return self._image(block)
            case File():
                return self._file(block)
            case Audio():
                return self._audio(block)
            case Refusal():
                return self._text(Text(block.text))
            case Opaque():
                return self._opaque(block)

    def write_all(self, blocks: tuple[Block, ...]) -> list[Json]:
        """All blocks of which there is anything to say."""
        return [found for each in blocks if (found := self.write(each)) is not None]

    def _with(self, raw: Json, block: Text | Image | File | ToolCall | ToolResult) -> Json:
        """What all blocks may have, added to one."""
        raw |= write_cache(block.cache)
        if self.own:
            raw |= block.extra
        return raw

    def _text(self, block: Text) -> Json | None:
        self.losses.drop_all({"text.signature": block.signature})
        if not (block.text if self.answer else block.text.strip()):
            self.losses.drop_all({"cache": block.cache})
            return None
        raw: Json = {"type": "text", "text": block.text}
        citations = self._citations(block)
        if citations:
            raw["citations"] = citations
        return self._with(raw, block)

    def _citations(self, block: Text) -> list[Json]:
        """In a request only those that the API has made: it checks them."""
        if self.answer:
            written = (write_citation(each) for each in block.citations)
            return [each for each in written if each is not None]
        mine = [each.raw for each in block.citations if each.dialect == NAME]
        found = [each for each in mine if each.get("encrypted_index") != ""]
        if len(found) < len(block.citations):
            self.losses.drop("citations")
        return found

    def _reasoning(self, block: Reasoning) -> Json | None:
        if block.origin == ANTHROPIC == self.origin:
            if block.signature:
                raw = {"type": "thinking", "thinking": block.text, "signature": block.signature}
                return raw | block.extra if self.own else raw
            if block.encrypted and not block.text:
                return {"type": "redacted_thinking", "data": block.encrypted}
        if self.answer and block.shown:
            self.losses.drop_all({"reasoning.signature": block.signature or block.encrypted})
            return {"type": "thinking", "thinking": block.shown, "signature": ""}
        self.losses.drop_all({"reasoning": block.shown or block.signature or block.encrypted})
        return None

    def _call(self, block: ToolCall) -> Json:
        self.losses.drop_all({"tool_call.signature": block.signature})
        text = block.arguments
        raw = {
            "type": "tool_use",
            "id": block.id if self.answer else fit_id(block.id),
            "name": block.name,
            "input": {"input": text} if block.kind == "custom" else arguments_json(text),
        }
        return self._with(raw, block)

    def _result(self, block: ToolResult) -> Json:
        raw: Json = {"type": "tool_result", "tool_use_id": fit_id(block.id)}
        content = self.write_all(block.blocks)
        if len(content) == 1 and content[0].keys() == {"type", "text"}:
            raw["content"] = content[0]["text"]
        elif content:
            raw["content"] = content
        if block.is_error:
            raw["is_error"] = True
            raw.setdefault("content", "Error")  # the API wants some
        return self._with(raw, block)

    def _image(self, block: Image) -> Json | None:
        if self.answer:
            self.losses.drop("image")
            return None
        self.losses.drop_all({"image.signature": block.signature})
        self.losses.drop_all({"image.detail": block.detail if block.detail != "auto" else ""})
        return self._with({"type": "image", "source": self._image_source(block)}, block)

    def _image_source(self, block: Image | File) -> Json:
        if found := base64_of(block):
            return self._image_data(found[0], standard_base64(found[1]))
        return self._reference(block, "image")

    def _image_data(self, media_type: str, data: str) -> Json:
        kind = "image/jpeg" if media_type == "image/jpg" else media_type
        if kind not in _IMAGES:
            kind = sniffed(data)
        if kind not in _IMAGES:
            raise self.losses.refuse("image", "it reads only JPEG, PNG, GIF and WebP")
        return {"type": "base64", "media_type": kind, "data": data}

    def _reference(self, block: Image | File, field: str) -> Json:
        """A source that is somewhere else."""
        if block.url.startswith(("http://", "https://")):
            return {"type": "url", "url": block.url}
        if block.file_id and self.own:
            return {"type": "file", "file_id": block.file_id}
        if block.file_id:
            raise self.losses.refuse(f"{field}.file_id", "the file is at another provider")
        raise self.losses.refuse(f"{field}.url", "it reads only base64 and http URLs")

    def _file(self, block: File) -> Json | None:
        if self.answer:
            self.losses.drop("file")
            return None
        if block.media_type.startswith("image/"):
            return self._with({"type": "image", "source": self._image_source(block)}, block)
        raw: Json = {"type": "document", "source": self._document_source(block)}
        if title := block.title or block.name:
            raw["title"] = title[:_LONGEST_TITLE]
        if block.context:
            raw["context"] = block.context
        if block.citations is not None:
            raw["citations"] = {"enabled": block.citations}
        return self._with(raw, block)

    def _document_source(self, block: File) -> Json:
        if block.blocks:
            return {"type": "content", "content": self.write_all(block.blocks)}
        if block.text:
            return {"type": "text", "media_type": "text/plain", "data": block.text}
        if found := base64_of(block):
            return self._document_data(found[0], standard_base64(found[1]))
        if block.media_type not in ("", PDF) and not block.file_id:
            raise self.losses.refuse("file", f"it reads PDF and text, not {block.media_type}")
        return self._reference(block, "file")

    def _document_data(self, media_type: str, data: str) -> Json:
        kind = media_type if media_type not in ("", "application/octet-stream") else ""
        kind = kind or sniffed(data)
        if kind == PDF:
            return {"type": "base64", "media_type": PDF, "data": data}
        if not kind.startswith(_TEXTS):
            raise self.losses.refuse("file", f"it reads PDF and text, not {kind or 'this'}")
        try:
            text = b64decode(data, validate=True).decode()
        except (binascii.Error, UnicodeDecodeError) as error:
            raise self.losses.refuse("file", "it is said to be text, and is none") from error
        return {"type": "text", "media_type": "text/plain", "data": text}

    def _audio(self, block: Audio) -> Json | None:
        if not block.transcript and not self.answer:
            raise self.losses.refuse("audio", "it hears no sound")
        self.losses.drop("audio")
        return self._text(Text(block.transcript))

    def _opaque(self, block: Opaque) -> Json | None:
        if block.dialect == NAME:
            return block.raw
        if not self.answer:
            return self._text(Text(self.losses.stand_in(block)))
        self.losses.drop(block.kind)
        return None
