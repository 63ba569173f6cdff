"""How a connection becomes a WebSocket (RFC 6455, 4): what a client asks, and the answer."""

from __future__ import annotations

import binascii
import os
from base64 import b64decode, b64encode
from hashlib import sha1
from urllib.parse import parse_qsl, quote, unquote_plus

from routeur.body import MODEL_LENGTH
from routeur.errors import ClientError, UpstreamError
from routeur.frames import DEFLATE
from routeur.headers import Inbound
from routeur.heads import Head, read_head

PROTOCOL, EXTENSIONS = b"sec-websocket-protocol", b"sec-websocket-extensions"
UPGRADE = b"Connection: Upgrade\r\nUpgrade: websocket\r\n"
WORDS_FOR_MODEL = ("model", "deployment")  # the latter in Azure's old paths
SWITCHING = b"HTTP/1.1 101"
VERSION = "13"
_MAGIC = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


# ---- a client's


def is_wanted(inbound: Inbound) -> bool:
    """Whether a request asks for a WebSocket."""
    return (inbound.word(b"upgrade") or "").lower() == "websocket"


def require(inbound: Inbound) -> bytes:
    """The client's key; raises ClientError for what is no handshake."""
    if not is_wanted(inbound):
        raise ClientError(
            "this path is a WebSocket's: send `Upgrade: websocket`",
            status=426,
            code="upgrade_required",
        )
    headers = inbound.headers
    connection = [word.strip().lower() for word in headers.get("Connection", "").split(",")]
    if "upgrade" not in connection or headers.get("Sec-WebSocket-Version") != VERSION:
        raise ClientError(f"this is no WebSocket handshake of version {VERSION}")
    key = headers.get("Sec-WebSocket-Key", "").encode("utf-8", "replace")
    try:
        if len(b64decode(key, validate=True)) == 16:
            return key
    except binascii.Error:
        pass
    raise ClientError("header Sec-WebSocket-Key: expected 16 bytes in base64")


def offers(inbound: Inbound) -> bytes:
    """The lines for a provider that say what the client can do: protocols, and compression."""
    protocols, extensions = inbound.word(PROTOCOL), inbound.word(EXTENSIONS) or ""
    known = [each.strip() for each in extensions.split(",")]
    known = [each for each in known if each.partition(";")[0].strip().lower() == DEFLATE]
    lines = f"Sec-WebSocket-Protocol: {protocols}\r\n" if protocols else ""
    if known:
        lines += f"Sec-WebSocket-Extensions: {', '.join(known)}\r\n"
    return lines.encode("latin-1", "replace")


def model_of(query: str) -> str | None:
    """The model that a path's query names, by OpenAI's word or Azure's; raises ClientError for two,
    of which routeur and a provider could take another one.
    """
    asked = {value for name, value in parse_qsl(query) if name in WORDS_FOR_MODEL}
    if len(asked) > 1:
        raise ClientError("the query names two different models: name one", param="model")
    named = asked.pop() if asked else None
    if named is not None and len(named) > MODEL_LENGTH:
        raise ClientError(f"`model` is longer than {MODEL_LENGTH} characters", param="model")
    return named


def with_model(query: str, name: str, word: str = "model") -> str:
    """The query with another name for the model, under this word; all else stays as it is."""
    told: str | None = f"{word}={quote(name, safe='')}"
    found = []
    for part in query.split("&") if query else ():
        if unquote_plus(part.partition("=")[0]) not in WORDS_FOR_MODEL:
            found.append(part)
        elif told is not None:
            found.append(told)
            told = None
    return "&".join(found if told is None else [*found, told])


# ---- a provider's


def new_key() -> bytes:
    return b64encode(os.urandom(16))


def accept(key: bytes) -> bytes:
    """What a server answers to a client's key."""
    return b64encode(sha1(key + _MAGIC, usedforsecurity=False).digest())


def read_switch(raw: bytes, key: bytes) -> tuple[Head, str]:
    """A provider's 101, and the extensions that it has agreed to; raises UpstreamError."""
    if raw.count(b"\n") != raw.count(b"\r\n"):
        raise UpstreamError("the provider did not answer in HTTP")
    head = read_head(101, raw, no_body=True)
    fields: dict[bytes, bytes] = {}
    for line in raw.split(b"\r\n")[1:]:
        name, _, value = line.partition(b":")
        known = fields.get(name.lower())
        fields[name.lower()] = value.strip() if known is None else known + b", " + value.strip()
    if (
        fields.get(b"upgrade", b"").lower() != b"websocket"
        or b"upgrade" not in fields.get(b"connection", b"").lower()
        or fields.get(b"sec-websocket-accept") != accept(key)
    ):
        raise UpstreamError("the provider's answer to a WebSocket handshake is none")
    return head, fields.get(EXTENSIONS, b"").decode("latin-1")
