"""Images, documents, video and sound as Amazon Bedrock's Converse spells them.

Source of truth: the service's description in botocore 1.44.5. In JSON its bytes are base64.
"""

from __future__ import annotations

import re

from routeur.dialects import expect
from routeur.dialects.base import Json
from routeur.dialects.neutral import Audio, File, Image, Opaque, Text
from routeur.dialects.neutral.aim import Losses
from routeur.dialects.neutral.media import base64_of, sniffed

IMAGES = {f"image/{name}": name for name in ("png", "jpeg", "gif", "webp")}
_IMAGE_NAMES = {**IMAGES, "image/jpg": "jpeg"}
_DOCUMENTS = {
    "application/pdf": "pdf",
    "text/csv": "csv",
    "application/msword": "doc",
    "application/vnd.openxmlformats-officedocument.wordprocessingml.document": "docx",
    "application/vnd.ms-excel": "xls",
    "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet": "xlsx",
    "text/html": "html",
    "text/plain": "txt",
    "text/markdown": "md",
}
_TYPES = {name: media_type for media_type, name in _DOCUMENTS.items()}
_TEXTS = ("application/json", "application/xml", "application/yaml", "application/x-yaml")
_VIDEOS = {
    "video/x-matroska": "mkv",
    "video/quicktime": "mov",
    "video/mov": "mov",
    "video/mp4": "mp4",
    "video/webm": "webm",
    "video/x-flv": "flv",
    "video/mpeg": "mpeg",
    "video/mpg": "mpg",
    "video/x-ms-wmv": "wmv",
    "video/wmv": "wmv",
    "video/3gpp": "three_gp",
}
_VIDEO_TYPES = {name: media_type for media_type, name in reversed(_VIDEOS.items())}
_SOUNDS = frozenset("mp3 opus wav aac flac mp4 ogg mkv mka x-aac m4a mpeg mpga pcm webm".split())

_NO_NAME = re.compile(r"[^A-Za-z0-9()\[\]\s-]+|\s\s+")
_LONGEST_NAME = 200
_ENDING = re.compile(r"\.([A-Za-z]{2,4})$")


def read_image(raw: Json, at: str) -> Image:
    """ImageBlock. What it says beside format and source is kept."""
    kind = expect.text(raw, "format", at)
    rest = {name: value for name, value in raw.items() if name not in ("format", "source")}
    media_type = f"image/{kind}" if kind else ""
    data, url, owner = _source(raw, at)
    return Image(url=url, data=data, media_type=media_type, extra={**rest, **owner})


def read_document(raw: Json, at: str) -> File:
    """DocumentBlock."""
    kind = expect.text(raw, "format", at)
    source = expect.needed_record(raw, "source", at)
    data = url = text = ""
    blocks: tuple[Text, ...] = ()
    owner: Json = {}
    if "text" in source:
        text = expect.text(source, "text", f"{at}.source")
    elif "content" in source:
        blocks = tuple(Text(part) for part in _texts(source, f"{at}.source"))
    else:
        data, url, owner = _source(raw, at)
    citations = expect.needed_record(raw, "citations", at) if "citations" in raw else {}
    return File(
        url=url,
        data=data,
        media_type=_TYPES.get(kind, kind and f"application/x-{kind}"),
        text=text,
        blocks=blocks,
        name=expect.text(raw, "name", at),
        context=expect.text(raw, "context", at),
        citations=expect.truth(citations, "enabled", f"{at}.citations"),
        extra=owner,
    )


def read_video(raw: Json, at: str) -> File:
    """VideoBlock: a file whose type is a video's."""
    kind = expect.text(raw, "format", at)
    data, url, owner = _source(raw, at)
    return File(url=url, data=data, media_type=_VIDEO_TYPES.get(kind, f"video/{kind}"), extra=owner)


def read_audio(raw: Json, at: str) -> Audio | Opaque:
    """AudioBlock; nobody else knows one in S3."""
    kind = expect.text(raw, "format", at)
    data, url, _ = _source(raw, at)
    if url:
        return Opaque("bedrock", {"audio": raw})
    return Audio(data=data, format="pcm16" if kind == "pcm" else kind)


def _source(raw: Json, at: str) -> tuple[str, str, Json]:
    """Base64, or an address in S3 and what belongs to it."""
    source = expect.needed_record(raw, "source", at)
    at = f"{at}.source"
    if "bytes" in source:
        return expect.needed_text(source, "bytes", at), "", {}
    if "s3Location" not in source:
        raise expect.wrong(at, "`bytes` or `s3Location`")
    place = expect.needed_record(source, "s3Location", at)
    owner = {"bucketOwner": place["bucketOwner"]} if "bucketOwner" in place else {}
    return "", expect.needed_text(place, "uri", f"{at}.s3Location"), owner


def _texts(source: Json, at: str) -> list[str]:
    parts = source["content"]
    if not isinstance(parts, list) or not all(isinstance(each, dict) for each in parts):
        raise expect.wrong(f"{at}.content", "a list of texts")
    return [expect.needed_text(each, "text", f"{at}.content[{n}]") for n, each in enumerate(parts)]


def write_image(block: Image, losses: Losses, own: bool) -> Json:
    """ImageBlock. Raises Untranslatable: the provider fetches nothing but from S3."""
    held = base64_of(block)
    source = _written_source(block, held, losses, own)
    format = _IMAGE_NAMES.get(_type_of(block, held))
    if format is None and not (own and block.media_type):
        raise losses.refuse("image.media_type", "it takes images as png, jpeg, gif or webp")
    written: Json = {"format": format or block.media_type.partition("/")[2], "source": source}
    if own:
        written |= {name: value for name, value in block.extra.items() if name != "bucketOwner"}
    return written


def write_file(block: File, losses: Losses, own: bool, names: set[str]) -> Json:
    """A whole block, `video` or `document`; `names` are those that the request has used."""
    held = base64_of(block)
    media_type = _type_of(block, held)
    if media_type.startswith("video/"):
        kind = _VIDEOS.get(media_type) or (media_type[6:] if own else None)
        if kind is None:
            raise losses.refuse("file.media_type", f"it takes no {media_type}")
        return {"video": {"format": kind, "source": _written_source(block, held, losses, own)}}
    document = _document(block, media_type, losses, own, names)
    if "source" not in document:
        document["source"] = _written_source(block, held, losses, own)
    return {"document": document}


def _document(block: File, media_type: str, losses: Losses, own: bool, names: set[str]) -> Json:
    format = _document_format(block, media_type, losses, own)
    written: Json = {"format": format} if format else {}
    written["name"] = block.name if own else _name(block, names)
    if block.text:
        written["source"] = {"text": block.text}
    elif block.blocks:
        written["source"] = {"content": _content(block, losses)}
    if block.context:
        written["context"] = block.context
    if block.citations is not None:
        written["citations"] = {"enabled": block.citations}
    return written


def _document_format(block: File, media_type: str, losses: Losses, own: bool) -> str:
    if own:
        return _DOCUMENTS.get(media_type) or media_type.removeprefix("application/x-")
    if block.text or block.blocks:
        return "txt"
    ending = _ENDING.search(block.name)
    if not media_type and ending and ending[1].lower() in _TYPES:
        return ending[1].lower()
    if known := _DOCUMENTS.get(media_type):
        return known
    if media_type.startswith("text/") or media_type in _TEXTS:
        return "txt"
    kind = media_type or "file of an unknown type"
    raise losses.refuse("file.media_type", f"it takes {', '.join(_TYPES)}; this is {kind}")


def _content(block: File, losses: Losses) -> list[Json]:
    found = []
    for each in block.blocks:
        if not isinstance(each, Text):
            raise losses.refuse("file.blocks", "its documents consist of texts only")
        found.append({"text": each.text})
    return found


def _name(block: File, names: set[str]) -> str:
    """A name of the characters that are allowed, which no other document of the request has."""
    given = block.title or _ENDING.sub("", block.name)
    base = " ".join(_NO_NAME.sub(" ", given).split())[: _LONGEST_NAME - 5].strip() or "Document"
    name, number = base, 1
    while name in names:
        number += 1
        name = f"{base} {number}"
    names.add(name)
    return name


def write_audio(block: Audio, losses: Losses) -> Json:
    """AudioBlock."""
    kind = "pcm" if block.format == "pcm16" else block.format
    if kind not in _SOUNDS or not block.data:
        raise losses.refuse(
            "audio", f"it takes sound as data in one of {', '.join(sorted(_SOUNDS))}"
        )
    return {"format": kind, "source": {"bytes": block.data}}


def _type_of(block: Image | File, held: tuple[str, str] | None) -> str:
    """The media type, in lower case; where none was said, that of how the data begins."""
    media_type, data = held or (block.media_type, "")
    if media_type and media_type != "application/octet-stream":
        return media_type.partition(";")[0].strip().lower()
    return sniffed(data)


def _written_source(
    block: Image | File, held: tuple[str, str] | None, losses: Losses, own: bool
) -> Json:
    """`held` is the data that the block has in itself, with its type."""
    if held:
        return {"bytes": held[1]}
    if block.url.startswith("s3://"):
        owner = block.extra.get("bucketOwner") if own else None
        return {"s3Location": {"uri": block.url, **({"bucketOwner": owner} if owner else {})}}
    kind = "image" if isinstance(block, Image) else "file"
    name = "file_id" if block.file_id else "url"
    raise losses.refuse(f"{kind}.{name}", "it fetches nothing but s3:// URLs; send the data")
