"""OpenAI's Chat Completions, and its kin: completions, embeddings, images, audio, videos.

Source of truth: OpenAI's OpenAPI description as of its Python package 3.3.1, and recordings of it
and of compatible servers (DeepSeek, Groq, Mistral).
"""

from __future__ import annotations

import re

from routeur.dialects.base import Json, Route, Usage
from routeur.dialects.exact import dumps
from routeur.dialects.loose import (
    HIGHEST,
    are_counts,
    either,
    items,
    json_size,
    members,
    objects,
    shares,
    size,
    string,
    tokens,
)

NAME = "openai_chat"
_PLAIN = {"prompt_tokens", "completion_tokens", "total_tokens"}

ROUTES = (
    Route("POST", "/v1/chat/completions", NAME, purpose="answer"),
    Route("POST", "/chat/completions", NAME, purpose="answer"),
    Route("GET", "/v1/chat/completions", body="any", creates=False),  # the stored ones
    Route("POST", "/v1/completions", NAME),
    Route("POST", "/v1/embeddings", NAME, purpose="embeddings"),
    Route("POST", "/v1/moderations", NAME, needs_model=False),
    # JSON or a form, as the Content-Type says
    Route("POST", "/v1/images/*", NAME, needs_model=False),
    Route("POST", "/v1/audio/speech", NAME),
    Route("POST", "/v1/audio/transcriptions", NAME, body="form"),
    Route("POST", "/v1/audio/translations", NAME, body="form"),
    # voices and consents belong to an account, not to a model
    Route("POST", "/v1/audio/*", body="any", creates=False),
    Route("GET", "/v1/audio/*", body="any", creates=False),
    Route("DELETE", "/v1/audio/*", body="any", creates=False),
    Route("POST", "/v1/videos", NAME, needs_model=False),
    Route("GET", "/v1/videos", body="any", creates=False),
    # remix and the like: they go where the video is
    Route("POST", "/v1/videos/*", body="any", creates=False),
    Route("GET", "/v1/videos/*", body="any", creates=False),
    Route("DELETE", "/v1/videos/*", body="any", creates=False),
    # the model is in the query; a call or a transcription names none
    Route("GET", "/v1/realtime", body="socket", needs_model=False),
)

FIRST_TOKEN = re.compile(
    rb'"(?:content|reasoning_content|reasoning|text|arguments|refusal|transcript|delta|audio|b64_json)"'
    rb'\s*:\s*"[^"]|"(?:content|tool_calls)"\s*:\s*\[\s*\{'
)
PIECE = re.compile(
    rb'"(?:content|reasoning_content|reasoning|text|arguments|refusal|transcript|delta)"'
    rb'\s*:\s*"((?:[^"\\]++|\\.)++)"'
)
WHOLE_PIECE = PIECE
USAGE_FROM_START = False

_KINDS = {"image_url": "image", "file": "file", "input_audio": "audio"}


def kind(part: Json) -> str | None:
    """What a content part is, if it is not text."""
    return _KINDS.get(string(part.get("type")))


def has(body: Json) -> frozenset[str]:
    """Which of `image file audio tools json reasoning` a request uses."""
    found = {kind(each) for each in objects([body.get("messages"), body.get("input")])} - {None}
    if "audio" in items(body.get("modalities")):
        found.add("audio")
    if body.get("tools") or body.get("functions"):
        found.add("tools")
    if string(members(body.get("response_format")).get("type")).startswith("json"):
        found.add("json")
    if body.get("reasoning_effort") not in (None, "none") or body.get("reasoning"):
        found.add("reasoning")
    return frozenset(each for each in found if each)


def prompt(body: Json) -> int:
    """The size of the prompt in characters of text; an estimate of tokens is a fourth of it."""
    text = [body.get("messages"), body.get("prompt"), body.get("input")]
    return size(text, kind) + json_size(body.get("tools")) + json_size(body.get("functions"))


def usage(body: Json) -> Usage | None:
    """Usage from a whole answer, or from one event of a stream (None: this event has none)."""
    raw = body.get("usage")
    if type(raw) is dict and raw.keys() == _PLAIN and "choices" in body:  # nothing to take apart
        went_in, came_out = raw.get("prompt_tokens"), raw.get("completion_tokens")
        if type(went_in) is int is type(came_out) and 0 <= went_in <= HIGHEST >= came_out >= 0:
            return Usage(went_in, 0, 0, 0, came_out)
    raw = raw or members(body.get("x_groq")).get("usage")
    if not isinstance(raw, dict):
        return None
    event = string(body.get("type"))
    if event.startswith("image_") or "data" in body:
        return read_usage(raw, "image_out")  # images; embeddings have no output
    return read_usage(raw, "audio_out" if event == "speech.audio.done" else "output")


def read_usage(raw: Json, bucket: str = "output") -> Usage | None:
    """Usage in either of OpenAI's spellings; `bucket` takes the output that no detail explains.

    Input includes what came from a cache, output includes reasoning. xAI counts reasoning beside
    the output: then the total says so.
    """
    went_in = either(raw, "prompt_tokens", "input_tokens")
    came_out = either(raw, "completion_tokens", "output_tokens")
    if not are_counts(went_in, came_out):
        return None
    ins = members(
        either(raw, "prompt_tokens_details", "input_tokens_details", "input_token_details")
    )
    outs = members(either(raw, "completion_tokens_details", "output_tokens_details"))
    # DeepSeek and Moonshot have the cached tokens beside the details, too
    cached = either(ins, "cached_tokens") or either(raw, "prompt_cache_hit_tokens", "cached_tokens")
    reasoning = tokens(outs.get("reasoning_tokens"))
    output = tokens(came_out)
    if reasoning and tokens(raw.get("total_tokens")) >= tokens(went_in) + output + reasoning:
        output += reasoning
    found = Usage()
    found.input, found.cache_read, found.cache_write, found.audio_in, found.image_in = shares(
        tokens(went_in),
        tokens(cached),
        tokens(ins.get("cache_write_tokens")),
        tokens(ins.get("audio_tokens")),
        tokens(ins.get("image_tokens")),
    )
    rest, found.reasoning, found.audio_out, found.image_out = shares(
        output, reasoning, tokens(outs.get("audio_tokens")), tokens(outs.get("image_tokens"))
    )
    bucket = "output" if outs else bucket
    setattr(found, bucket, getattr(found, bucket) + rest)
    return found


def write_error(
    status: int, message: str, *, type: str, code: str, param: str | None, request_id: str
) -> bytes:
    """An error as OpenAI words it."""
    error = {"message": message, "type": type, "param": param, "code": code}
    return dumps({"error": error})
