"""OpenAI's Responses API.

Source of truth: OpenAI's OpenAPI description as of the Python package openai 3.3.1, and recordings.
"""

from __future__ import annotations

import re

from routeur.dialects.base import Json, Route, Usage
from routeur.dialects.loose import json_size, members, objects, size, string
from routeur.dialects.openai_chat import read_usage

NAME = "openai_responses"

ROUTES = (
    # a stored prompt or a conversation can name the model
    Route("POST", "/v1/responses", NAME, needs_model=False, purpose="answer"),
    Route("POST", "/v1/responses/compact", NAME),
    Route("POST", "/v1/responses/input_tokens", NAME, needs_model=False),
    Route("GET", "/v1/responses/{id}", NAME, body="any", creates=False),
    Route("DELETE", "/v1/responses/{id}", NAME, body="any", creates=False),
    Route("GET", "/v1/responses/{id}/input_items", NAME, body="any", creates=False),
    Route("POST", "/v1/responses/{id}/cancel", NAME, body="any", creates=False),
)

FIRST_TOKEN = re.compile(rb'"type"\s*:\s*"response\.[a-z_.]+\.(?:delta|partial_image)"')
PIECE = re.compile(rb'"delta"\s*:\s*"((?:[^"\\]++|\\.)++)"')
WHOLE_PIECE = re.compile(rb'"(?:text|arguments|refusal)"\s*:\s*"((?:[^"\\]++|\\.)++)"')
USAGE_FROM_START = False

_KINDS = {"input_image": "image", "input_file": "file", "input_audio": "audio"}


def kind(part: Json) -> str | None:
    """What a content part is, if it is not text."""
    return _KINDS.get(string(part.get("type")))


def has(body: Json) -> frozenset[str]:
    """Which of `image file audio tools json reasoning` a request uses."""
    found = {kind(each) for each in objects(body.get("input"))}
    if body.get("tools"):
        found.add("tools")
    if string(members(members(body.get("text")).get("format")).get("type")).startswith("json"):
        found.add("json")
    if members(body.get("reasoning")).get("effort") != "none" and body.get("reasoning"):
        found.add("reasoning")
    return frozenset(each for each in found if each)


def prompt(body: Json) -> int:
    """The size of the prompt in characters of text; an estimate of tokens is a fourth of it."""
    return size([body.get("instructions"), body.get("input")], kind) + json_size(body.get("tools"))


def usage(body: Json) -> Usage | None:
    """Usage from a whole answer, or from one event of a stream (None: this event has none)."""
    raw = body.get("usage") or members(body.get("response")).get("usage")
    return read_usage(raw) if isinstance(raw, dict) else None
