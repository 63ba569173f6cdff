"""The recordings under tests/recordings, as bytes."""

from __future__ import annotations

import gzip
import json
import struct
from base64 import b64decode
from binascii import crc32
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import orjson
import yaml

HERE = Path(__file__).parent / "recordings"

# Which module's shapes a recorded dialect has.
FORMATS = {
    "anthropic": "anthropic",
    "vertex-anthropic": "anthropic",
    "openai-chat": "openai_chat",
    "azure-openai-chat": "openai_chat",
    "openai-compatible": "openai_chat",
    "openai-embeddings": "openai_chat",
    "openai-responses": "openai_responses",
    "compat-responses": "openai_responses",
    "gemini": "gemini",
    "vertex-gemini": "gemini",
    "vertex": "gemini",
}
SSE = "text/event-stream"
AWS = "application/vnd.amazon.eventstream"
JSON = "application/json"


@dataclass(frozen=True, eq=False)
class Recording:
    """One exchange. `exact` says that the answer's bytes are those that were sent.

    `dialect` is the recorder's name, `format` the dialects' module (None: no format of its own).
    """

    name: str
    dialect: str
    body: bytes
    exact: bool = True
    status: int = 200
    content_type: str = JSON
    headers: dict[str, str] = field(default_factory=dict)
    method: str = "POST"
    url: str = ""
    request_headers: dict[str, str] = field(default_factory=dict)
    request: bytes = b""

    @property
    def format(self) -> str | None:
        return FORMATS.get(self.dialect)

    @property
    def path(self) -> str:
        return urlsplit(self.url).path

    @property
    def streamed(self) -> bool:
        return self.content_type.startswith(SSE)

    def __str__(self) -> str:
        return self.name


@cache
def everything() -> list[Recording]:
    """All recorded exchanges and raw files, in a fixed order. Not to be changed."""
    found = []
    for file in sorted(HERE.rglob("*")):
        folder = file.relative_to(HERE).parts[0]
        if not file.is_file() or folder in ("hostile", "errors", "specs", "README.md"):
            continue
        found += _raw(file, folder) if file.parent.name == "raw" else _exchanges(file)
    return found


def streams() -> list[Recording]:
    """The answers that are event streams."""
    return [each for each in everything() if each.streamed]


def answers() -> list[Recording]:
    """The answers that are not."""
    return [each for each in everything() if not each.streamed]


def recording(name: str) -> Recording:
    """The one recording whose name ends so, as in `anthropic-text`."""
    (found,) = [each for each in everything() if each.name.endswith(name)]
    return found


def hostile(name: str) -> dict[str, Any]:
    """One of the sets of bad input."""
    found: dict[str, Any] = json.loads((HERE / "hostile" / f"{name}.json").read_text())
    return found


def _exchanges(file: Path) -> Iterator[Recording]:
    exchanges = json.loads(file.read_text()).get("exchanges", [])  # some files are requests only
    for number, each in enumerate(exchanges):
        request, response = each["request"], each["response"]
        headers = {name.lower(): value for name, value in response["headers"].items()}
        yield Recording(
            name=f"{file.parent.name}/{file.stem}" + (f".{number}" if len(exchanges) > 1 else ""),
            dialect=each["dialect"],
            body=_bytes(response),
            exact="json" not in response,
            status=response["status"],
            content_type=headers.get("content-type", JSON),
            headers=headers,
            method=request["method"],
            url=request["url"],
            request_headers=request["headers"],
            request=_bytes(request),
        )


def _bytes(message: dict[str, Any]) -> bytes:
    if "text" in message:
        text: str = message["text"]
        return text.encode()
    if "base64" in message:
        return b64decode(message["base64"])
    return orjson.dumps(message["json"]) if message.get("json") is not None else b""


def _raw(file: Path, folder: str) -> Iterator[Recording]:
    """A file as it stands in its source; one payload a line becomes the stream it came from."""
    name = f"{folder}/{file.name.removesuffix('.chunks.txt')}"
    body = file.read_bytes()
    if file.name.endswith(".chunks.txt"):
        lines = [line for line in body.split(b"\n") if line.strip()]
        kind = AWS if folder == "bedrock" else SSE
        yield Recording(name, folder, _framed(lines, folder), content_type=kind)
    elif file.suffix in (".txt", ".sse"):
        yield Recording(name, folder, body, content_type=SSE)
    else:
        kind = "text/html" if file.suffix == ".html" else JSON
        yield Recording(name, folder, body, content_type=kind)


def _framed(lines: list[bytes], folder: str) -> bytes:
    if folder in ("openai-chat", "openai-compatible"):
        return b"".join(b"data: %s\n\n" % line for line in [*lines, b"[DONE]"])
    if folder == "gemini":
        return b"".join(b"data: %s\r\n\r\n" % line for line in lines)
    if folder == "bedrock":
        return b"".join(aws_frame(*event) for line in lines for event in orjson.loads(line).items())
    return b"".join(b"event: %s\ndata: %s\n\n" % (_type(line), line) for line in lines)


def _type(payload: bytes) -> bytes:
    try:
        kind: str = orjson.loads(payload)["type"]
    except orjson.JSONDecodeError:  # two payloads lack their last brace
        return payload.split(b'"')[3]
    return kind.encode()


def aws_frame(event: str, payload: object, kind: str = "event") -> bytes:
    """One message of an AWS event stream: lengths, headers, JSON, and both checksums.

    `kind` may be `exception`: then `event` is the exception's name.
    """
    names = {f":{kind}-type": event, ":content-type": JSON, ":message-type": kind}
    headers = b"".join(
        struct.pack("!B", len(name)) + name.encode() + struct.pack("!BH", 7, len(value)) + value
        for name, value in ((name, value.encode()) for name, value in names.items())
    )
    body = orjson.dumps(payload)
    prelude = struct.pack("!II", 16 + len(headers) + len(body), len(headers))
    message = prelude + struct.pack("!I", crc32(prelude)) + headers + body
    return message + struct.pack("!I", crc32(message))


@cache
def spec(name: str) -> dict[str, Any]:
    """An API description by the start of its file's name, as in `anthropic`."""
    (file,) = (HERE / "specs").glob(f"{name}*.gz")
    text = gzip.decompress(file.read_bytes())
    loaded: dict[str, Any] = (
        yaml.load(text, yaml.CSafeLoader) if ".yml" in file.name else orjson.loads(text)
    )
    return loaded
