"""Images, files and arguments between their spellings, without needless copies.

20 MB of base64 cost three copies beside the body that came: the parsed string, at most one cut out
of a data URL (or one put together), and the body that is written. So blocks keep the string as it
came, nobody decodes base64 or encodes strings before `orjson.dumps`, and a writer converts a block
once.
"""

from __future__ import annotations

import orjson

from routeur.dialects.base import Json
from routeur.dialects.exact import dumps, encoded, loads
from routeur.dialects.neutral import File, Image

_HEAD = 256  # characters in which a data URL's head ends
_URL_SAFE = str.maketrans("-_", "+/")
INVALID_JSON = "INVALID_JSON"  # Anthropic's own name for arguments that are no JSON object

# How base64 of a file begins, for those that nobody named.
_BEGINNINGS = {
    "/9j/": "image/jpeg",
    "iVBORw0KGgo": "image/png",
    "R0lGOD": "image/gif",
    "UklGR": "image/webp",
    "JVBERi0": "application/pdf",
}

# How names of files end, by their media types.
_ENDINGS = {
    "application/pdf": "pdf",
    "application/json": "json",
    "application/msword": "doc",
    "application/vnd.ms-excel": "xls",
    "application/vnd.openxmlformats-officedocument.wordprocessingml.document": "docx",
    "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet": "xlsx",
    "application/vnd.openxmlformats-officedocument.presentationml.presentation": "pptx",
    "text/plain": "txt",
    "text/markdown": "md",
    "text/csv": "csv",
    "text/html": "html",
}

_AUDIO = {"mpeg": "mp3", "x-wav": "wav", "wave": "wav", "vnd.wave": "wav", "l16": "pcm16"}


def is_data_url(url: str) -> bool:
    """Whether the URL has its data in itself, as base64."""
    return url[:5].lower() == "data:" and ";base64," in url[:_HEAD]


def base64_of(block: Image | File) -> tuple[str, str] | None:
    """Media type ("" unknown) and base64, if the block has its data in itself."""
    if block.data:
        return block.media_type, block.data
    if not is_data_url(block.url):
        return None
    comma = block.url.index(",", 0, _HEAD)
    return block.url[5:comma].partition(";")[0].lower(), block.url[comma + 1 :]


def standard_base64(data: str) -> str:
    """Base64 with + and /, as all but Gemini want it: Google's clients may write - and _."""
    if "-" not in data and "_" not in data:
        return data
    data = data.translate(_URL_SAFE)
    return data + "=" * (-len(data) % 4)


def sniffed(data: str) -> str:
    """The media type of base64, by how it begins; "" if that is not known."""
    return next((kind for start, kind in _BEGINNINGS.items() if data.startswith(start)), "")


def url_of(block: Image | File, default: str = "application/octet-stream") -> str:
    """The block as a URL, of its data if need be; "" if it has neither."""
    if block.data:
        return f"data:{block.media_type or default};base64,{standard_base64(block.data)}"
    return block.url


def file_name(block: File) -> str:
    """A name for a file that is given to OpenAI, which looks at its ending, and takes no path."""
    name = (block.name or block.title or "document").replace("/", "_")
    if name.rpartition(".")[2].lower() in _ENDINGS.values() and "." in name:
        return name
    kind = (base64_of(block) or (block.media_type,))[0] or "application/pdf"
    return f"{name}.{_ENDINGS.get(kind, kind.rpartition('/')[2])}"


def audio_format(media_type: str) -> str:
    """`wav`, `mp3` and so on, of a media type such as audio/mpeg; "" if it is no audio."""
    kind, _, name = media_type.partition(";")[0].lower().partition("/")
    return _AUDIO.get(name, name) if kind == "audio" else ""


def audio_type(format: str) -> str:
    """The media type of a format such as `mp3`."""
    names = {"mp3": "mpeg", "pcm16": "l16", "pcm": "l16"}
    return f"audio/{names.get(format, format)}"


def arguments_json(text: str) -> Json | orjson.Fragment:
    """Arguments as a value to write: the model's own text, unchanged, where it is an object.

    Only `orjson.dumps` understands it. None is an empty object; what is no object is wrapped.
    """
    if not text.strip():
        return {}
    raw = encoded(text)
    try:
        is_object = isinstance(loads(raw), dict)
    except ValueError:
        is_object = False
    return orjson.Fragment(raw) if is_object else {INVALID_JSON: text}


def arguments_text(value: object) -> str:
    """Arguments that the wire has as a value, as a string; what was wrapped comes out again."""
    if isinstance(value, dict) and value.keys() == {INVALID_JSON}:
        return str(value[INVALID_JSON])
    return dumps(value).decode() if value is not None else "{}"
