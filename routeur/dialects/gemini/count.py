"""Counting tokens before a request: Gemini's countTokens, also on Vertex AI."""

from __future__ import annotations

from urllib.parse import quote

import orjson

from routeur.dialects import exact
from routeur.dialects.base import Json
from routeur.dialects.gemini.requests import read_request, written
from routeur.dialects.gemini.wire import an_object
from routeur.dialects.loose import either, is_count, tokens
from routeur.dialects.neutral import Request
from routeur.dialects.neutral.aim import Aim, Losses

_WRAPPER = "generateContentRequest"
# What Vertex AI's countTokens takes, unwrapped.
_COUNTED = ("contents", "systemInstruction", "tools", "generationConfig")


def read_count_request(body: Json, *, model: str) -> Request:
    """A client's request whose tokens are to be counted. Raises Invalid."""
    body = an_object(body, "body")
    inner = body.get(_WRAPPER)
    return read_request(inner if isinstance(inner, dict) else body, model=model, stream=False)


def write_count_request(request: Request, aim: Aim, losses: Losses) -> bytes:
    """The body that counts a request's tokens. Raises Untranslatable."""
    body = written(request, aim, losses)
    if aim.platform == "vertex":
        return exact.dumps({name: body[name] for name in _COUNTED if name in body})
    return exact.dumps({_WRAPPER: {"model": f"models/{aim.model}", **body}})


def count_address(model: str) -> str:
    """The path as Google's SDK has it."""
    return f"/v1beta/models/{quote(model, safe='/@:~')}:countTokens"


def read_count(body: Json) -> int | None:
    """How many tokens there are; None if the answer does not say."""
    found = either(body, "totalTokens", "total_tokens")
    return tokens(found) if is_count(found) else None


def write_count(count: int) -> bytes:
    """The answer to a client."""
    return orjson.dumps({"totalTokens": count})
