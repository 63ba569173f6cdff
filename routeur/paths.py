"""What a path says: whose dialect it is, what it may hold, and which methods it has."""

from __future__ import annotations

import re
from dataclasses import replace
from urllib.parse import unquote

from aiohttp import web

from routeur.dialects import match, methods
from routeur.dialects.base import Route
from routeur.errors import ClientError
from routeur.headers import Inbound
from routeur.providers import Provider

ANY = Route("*", "*", body="any", creates=False)  # of which only bytes are copied
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")
_MODELS = ("/v1/models/", "/v1beta/models/")
_BASES = re.compile(r"(?:/(?:api|v1|v1beta)(?=/))*")  # what a base URL may end in


def raw(request: web.BaseRequest, provider: Provider, path: str) -> tuple[str, Route, str]:
    """The dialect and route of `/{provider}/{path}`: the provider's own API, as it stands."""
    known = match(request.method, path)
    family = provider.dialect if provider.dialect in ("anthropic", "gemini") else "openai"
    if known is not None and known[1].body == "socket" and family == "openai":
        return family, known[1], path
    if known is not None and known[0] == family:
        return family, replace(ANY, format=known[1].format), path
    return family, ANY, path


def meant(path: str) -> str:
    """The path that a client with another base URL would have asked for, or nothing: there is a
    slash too many, or `/v1` is missing or stands twice.
    """
    plain = "/" + "/".join(filter(None, path.split("/")))
    rest = _BASES.sub("", plain, count=1)
    ways = (plain, f"/v1{rest}", f"/v1beta{rest}")
    return next((way for way in ways if way != path and methods(way)), "")


def is_model(method: str, path: str) -> bool:
    """Whether it is that of a model such as llama3:latest, and no verb of Gemini's."""
    if method not in ("GET", "HEAD", "DELETE") or not path.startswith(_MODELS):
        return False
    found = match("POST", path)
    return found is None or (found[0] == "gemini" and not found[1].purpose)


def refuse_websocket(path: str, inbound: Inbound) -> None:
    """Raises ClientError for whoever wants to speak by WebSocket where that cannot be."""
    wanted = (inbound.word(b"upgrade") or "").lower() == "websocket"
    if wanted and not may_be_realtime(path):
        message = "this path is not a WebSocket's: use HTTP"
        raise ClientError(message, status=426, code="upgrade_required")


def may_be_realtime(path: str) -> bool:
    """Whether it is that of a WebSocket at a provider's own API."""
    return path.endswith("/v1/realtime")


def refuse_climbing(path: str) -> None:
    """A path must stay below the provider's base URL, however another server may read it."""
    if path.startswith("//"):
        raise ClientError("a path that begins with // is not passed on")
    for part in re.split(r"[/\\]", unquote(unquote(path))):
        if part.partition(";")[0] in (".", ".."):
            raise ClientError("a path with `..` is not passed on")


def family_of(request: web.BaseRequest) -> str:
    """The dialect of a path; where it is nobody's, what else the request says of it."""
    path = request.raw_path.partition("?")[0]
    if path.startswith("/api/"):  # management speaks like OpenAI, whatever else is said
        return "openai"
    if not is_model(request.method, path):
        found = match("POST", path) or match("POST", meant(path))
        if found is not None:
            return found[0]
    if path.startswith(("/v1beta", "/upload/")) or "x-goog-api-key" in request.headers:
        return "gemini"
    if "anthropic-version" in request.headers:
        return "anthropic"
    return "openai"


def only_get(request: web.BaseRequest) -> None:
    if request.method not in ("GET", "HEAD"):
        raise wrong_method(request.method, ("GET", "HEAD"))


def wrong_method(method: str, known: tuple[str, ...]) -> ClientError:
    return ClientError(
        f"{method} is not allowed at this path: use {' or '.join(known)}",
        status=405,
        code="method_not_allowed",
        allow=known,
    )
