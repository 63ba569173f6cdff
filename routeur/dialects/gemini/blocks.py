"""Parts: what Gemini's contents are made of, in requests and answers alike.

Source of truth: `Part` in content.proto, and the same of Vertex AI, which knows more members. A
block's `extra` has those that have no field, camelCase; `displayName` and `mimeType` in it belong
to the data, all others to the part.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from routeur.dialects import expect
from routeur.dialects.base import Json
from routeur.dialects.gemini import NAME
from routeur.dialects.gemini.signatures import thought
from routeur.dialects.gemini.wire import a_string, an_object, camel
from routeur.dialects.neutral import (
    GEMINI,
    Audio,
    Block,
    File,
    Image,
    Opaque,
    Reasoning,
    Refusal,
    Text,
    ToolCall,
)
from routeur.dialects.neutral.aim import Invalid, Losses
from routeur.dialects.neutral.media import (
    arguments_json,
    arguments_text,
    audio_format,
    audio_type,
    base64_of,
    standard_base64,
)

_FILES = "https://generativelanguage.googleapis.com/"  # where files live that only Gemini can read
_UNREADABLE = ("s3:", "data:", "file:")
_UNKNOWN = "application/octet-stream"
_OWN = frozenset(("thought", "thoughtSignature"))  # members of a part that have fields
_IN_DATA = frozenset(("displayName", "mimeType"))
_KINDS = ("text", "functionCall", "inlineData", "fileData")  # those with a block of their own

# Of files that are named by a URL alone, whose type other APIs do not say.
_TYPES = {
    ".png": "image/png",
    ".jpg": "image/jpeg",
    ".jpeg": "image/jpeg",
    ".webp": "image/webp",
    ".gif": "image/gif",
    ".heic": "image/heic",
    ".heif": "image/heif",
    ".pdf": "application/pdf",
    ".txt": "text/plain",
    ".md": "text/markdown",
    ".html": "text/html",
    ".csv": "text/csv",
    ".json": "application/json",
    ".mp4": "video/mp4",
    ".mov": "video/quicktime",
    ".webm": "video/webm",
    ".mp3": "audio/mpeg",
    ".wav": "audio/wav",
}


# ── wire → neutral


def read_part(part: Json, path: str, id: str = "") -> Block:
    """A part in camelCase, as a block; `id` is for a call that has none. Raises Invalid.

    Not for function responses (`results.py`), which need to know the calls before them.
    """
    if not part:
        raise expect.wrong(path, "a member such as `text` or `inlineData`")
    if not part.keys() - _OWN:
        part = {"text": "", **part}  # a signature alone
    kind = next((name for name in _KINDS if part.get(name) is not None), "")
    if not kind or (part.get("thought") is True and kind != "text"):
        return Opaque(NAME, part)
    extra = {name: each for name, each in part.items() if name not in _OWN and name != kind}
    signature = a_string(part.get("thoughtSignature"), f"{path}.thoughtSignature")
    if kind == "text":
        return _text(part, path, signature, extra)
    data = an_object(part[kind], f"{path}.{kind}")
    return _READERS[kind](data, f"{path}.{kind}", _Context(signature, extra, id))


@dataclass(frozen=True, slots=True)
class _Context:
    """What a part says beside its data."""

    signature: str
    extra: Json
    id: str

    @property
    def origin(self) -> str:
        """Whose signature it is."""
        return GEMINI if self.signature else ""


def _text(part: Json, path: str, signature: str, extra: Json) -> Text | Reasoning:
    text = a_string(part["text"], f"{path}.text")
    if part.get("thought") is True:
        return thought(text, signature, extra)
    return Text(text, signature=signature, origin=GEMINI if signature else "", extra=extra)


def _inline(data: Json, path: str, context: _Context) -> Block:
    kind = a_string(data.get("mimeType"), f"{path}.mimeType")
    base64 = standard_base64(a_string(data.get("data"), f"{path}.data"))
    if format := audio_format(kind):
        named = {} if audio_type(format) == kind else {"mimeType": kind}
        return Audio(base64, format, extra={**context.extra, **named})
    return _media("", base64, kind, data, context)


def _file(data: Json, path: str, context: _Context) -> Block:
    url = a_string(data.get("fileUri"), f"{path}.fileUri")
    if not url:
        raise expect.wrong(f"{path}.fileUri", "the URI of a file")
    return _media(url, "", a_string(data.get("mimeType"), f"{path}.mimeType"), data, context)


def _media(url: str, base64: str, kind: str, data: Json, context: _Context) -> Image | File:
    """A file of Gemini's own is a `file_id`: nobody else can read it, whatever its URL."""
    own, url = (url, "") if url.startswith(_FILES) else ("", url)
    name = data.get("displayName")
    if kind.startswith("image/"):
        extra = {**context.extra, **({"displayName": name} if name else {})}
        signed = (context.signature, context.origin)
        return Image(url, base64, kind, own, "", *signed, extra=extra)
    return File(url, base64, kind, own, name=str(name or ""), extra=context.extra)


def _call(data: Json, path: str, context: _Context) -> ToolCall:
    name = a_string(data.get("name"), f"{path}.name")
    if not name:
        raise expect.wrong(f"{path}.name", "the name of a function")
    return ToolCall(
        a_string(data.get("id"), f"{path}.id") or context.id,
        name,
        arguments_text(data.get("args")),
        signature=context.signature,
        origin=context.origin,
        extra=context.extra,
    )


_READERS: dict[str, Callable[[Json, str, _Context], Block]] = {
    "functionCall": _call,
    "inlineData": _inline,
    "fileData": _file,
}


def lenient_part(value: object, id: str) -> Block:
    """A part of an answer, where nothing is a mistake."""
    part = camel(value) if isinstance(value, dict) else {}
    try:
        return read_part(part, "part", id)
    except Invalid:
        return Opaque(NAME, part)


# ── neutral → wire


@dataclass(frozen=True, slots=True)
class Parts:
    """Writes blocks as parts. Not reasoning and tool results, which differ by who is to read.

    `own`: what is written came from this dialect, so that `extra` and file ids mean something.
    `signs`: who reads it understands Gemini's signatures. `named`: Vertex AI, where data has names.
    """

    losses: Losses
    own: bool = False
    signs: bool = True
    named: bool = False

    def write(self, block: Block) -> list[Json]:
        """The parts of one block; none where it is left out."""
        if getattr(block, "cache", None) is not None:
            self.losses.drop("cache")
        match block:
            case Text():
                return [self._signed({"text": block.text}, block, "text.signature")]
            case ToolCall():
                return [self._signed(call_part(block), block, "tool_call.signature")]
            case Image():
                if block.detail not in ("", "auto"):
                    self.losses.drop("image.detail")
                return [self._signed(self._media(block, "image"), block, "image.signature")]
            case File():
                return self._file(block)
            case Audio():
                return self._audio(block)
            case Refusal():
                return [{"text": block.text}] if block.text else []
            case Opaque():
                return self._opaque(block)
        return []

    def _signed(self, part: Json, block: Text | Image | ToolCall, name: str) -> Json:
        if block.signature:
            if self.signs and block.origin == GEMINI:
                part["thoughtSignature"] = block.signature
            else:
                self.losses.drop(name)
        return self._extra(part, block.extra)

    def _extra(self, part: Json, extra: Json) -> Json:
        if self.own:
            part |= {name: each for name, each in extra.items() if name not in _IN_DATA}
        return part

    def _file(self, block: File) -> list[Json]:
        if block.citations:
            self.losses.drop("file.citations")
        about = "\n".join(each for each in (block.title, block.context) if each)
        parts: list[Json] = [{"text": about}] if about else []
        if block.blocks:
            return parts + [part for each in block.blocks for part in self.write(each)]
        if block.text:
            return [*parts, {"text": block.text}]
        return [*parts, self._extra(self._media(block, "file"), block.extra)]

    def _media(self, block: Image | File, kind: str) -> Json:
        """The data, or where it lies."""
        if found := base64_of(block):
            data = {"mimeType": found[0] or _guess(block) or _UNKNOWN, "data": found[1]}
            return {"inlineData": self._name(data, block)}
        if block.file_id and not self.own:
            raise self.losses.refuse(f"{kind}.file_id", "it names a file of another provider")
        data = {"fileUri": block.file_id or block.url}
        if data["fileUri"].startswith(_UNREADABLE) or not data["fileUri"]:
            raise self.losses.refuse(kind, "it has neither base64 data nor a URL that Google reads")
        if media_type := block.media_type or _guess(block):
            data["mimeType"] = media_type
        return {"fileData": self._name(data, block)}

    def _name(self, data: Json, block: Image | File) -> Json:
        name = block.name if isinstance(block, File) else block.extra.get("displayName", "")
        if name and (self.named or self.own):
            data["displayName"] = name
        elif isinstance(block, File) and name:
            self.losses.drop("file.name")
        return data

    def _audio(self, block: Audio) -> list[Json]:
        if not block.data:
            return [{"text": block.transcript}] if block.transcript else self._left("audio")
        kind = block.extra.get("mimeType") if self.own else None
        data = {"mimeType": kind or audio_type(block.format), "data": block.data}
        return [self._extra({"inlineData": data}, block.extra)]

    def _opaque(self, block: Opaque) -> list[Json]:
        if block.dialect == NAME:
            return [dict(block.raw)]
        text = self.losses.stand_in(block)
        return [{"text": text}] if text else []

    def _left(self, name: str) -> list[Json]:
        self.losses.drop(name)
        return []


def call_part(block: ToolCall) -> Json:
    """The part of a call, with its id if it has one."""
    text = block.arguments
    if block.kind == "custom":
        args: object = {"input": text}
    else:
        args = arguments_json(text)
    call: Json = {"name": block.name, "args": args}
    return {"functionCall": {"id": block.id, **call} if block.id else call}


def unnumbered(block: ToolCall) -> ToolCall:
    """The call without the id that nobody but us has given it."""
    return replace(block, id="")


def _guess(block: Image | File) -> str:
    """The media type that a name ends with."""
    url = "" if block.url[:5] == "data:" else block.url.partition("?")[0].partition("#")[0]
    name = url or (block.name if isinstance(block, File) else "")
    return _TYPES.get("." + name.rpartition(".")[2].lower(), "")
