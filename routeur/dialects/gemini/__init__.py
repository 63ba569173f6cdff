"""Google's Gemini API: generateContent and the other verbs, in all forms of their paths.

Source of truth: Google's v1beta protos and discovery documents, and recordings. Both camelCase and
snake_case are understood, as Google does.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import quote, unquote

from routeur.dialects.base import Json, Route, Usage
from routeur.dialects.exact import dumps
from routeur.dialects.loose import (
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

NAME = "gemini"

ROUTES = (
    Route("POST", "/v1beta/models/{model}:generateContent", NAME, purpose="answer"),
    Route("POST", "/v1beta/models/{model}:streamGenerateContent", NAME, purpose="answer"),
    Route("POST", "/v1beta/models/{model}:countTokens", NAME, purpose="count"),
    Route("POST", "/v1beta/models/{model}:embedContent", NAME, purpose="embeddings"),
    Route("POST", "/v1beta/models/{model}:batchEmbedContents", NAME, purpose="embeddings"),
    Route("POST", "/v1beta/models/{model}:{verb}", NAME),
)

FIRST_TOKEN = re.compile(
    rb'"text"\s*:\s*"[^"]|"(?:functionCall|inlineData|executableCode|codeExecutionResult)"\s*:'
)
PIECE = re.compile(rb'"text"\s*:\s*"((?:[^"\\]++|\\.)++)"')
WHOLE_PIECE = PIECE
USAGE_FROM_START = False

STREAM = "streamGenerateContent"

_PATH = re.compile(
    r"/(?P<version>v1|v1beta|v1beta1|v1alpha)"
    r"(?P<project>(?:/projects/[^/]+/locations/[^/]+)?/publishers/google)?"
    r"/models/(?P<model>.+):(?P<verb>[A-Za-z]+)"
)
# The AI SDK leaves `models/` out where a name has a slash, as `provider/model` has.
_NAMED = re.compile(
    r"/(?P<version>v1|v1beta)(?P<project>)"
    r"/(?P<model>(?!(?:models|tunedModels|projects|publishers|v1|v1beta)/)[^/]+/.+)"
    r":(?P<verb>generateContent|streamGenerateContent|countTokens|embedContent|batchEmbedContents)"
)
_STATUS = {
    401: "UNAUTHENTICATED",
    402: "FAILED_PRECONDITION",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    408: "DEADLINE_EXCEEDED",
    409: "ABORTED",
    429: "RESOURCE_EXHAUSTED",
    499: "CANCELLED",
    501: "UNIMPLEMENTED",
    502: "UNAVAILABLE",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}


@dataclass(frozen=True, slots=True)
class GeminiPath:
    """A parsed path. `project` is Vertex AI's part: `/projects/p/locations/l/publishers/google`."""

    version: str
    project: str
    model: str
    verb: str


def parse_path(path: str) -> GeminiPath | None:
    """What a raw path (percent-encoded, without query) asks for; None: it is none of Gemini's."""
    # what is not UTF-8 becomes U+FFFD, which no model's name has
    path = unquote(path) if "%" in path else path
    match = _PATH.fullmatch(path) or _NAMED.fullmatch(path)
    if match is None:
        return None
    model = match["model"]
    if not model.isprintable() or {"", ".", ".."} & set(model.split("/")):
        return None
    return GeminiPath(match["version"], match["project"] or "", model, match["verb"])


def address(parsed: GeminiPath, model: str) -> str:
    """The path at generativelanguage.googleapis.com, which knows no projects.

    Vertex AI's v1 has fields that only v1beta has here.
    """
    version = "v1beta" if parsed.project or parsed.version == "v1beta1" else parsed.version
    return f"/{version}/models/{quote(model, safe='/@:~')}:{parsed.verb}"


def route_of(path: str) -> Route | None:
    """The route of a raw path."""
    parsed = parse_path(path) if ":" in path or "%" in path else None
    if parsed is None:
        return None
    return next((route for route in ROUTES if route.path.endswith(f":{parsed.verb}")), ROUTES[-1])


def kind(part: Json) -> str | None:
    """What a part is, if it is not text."""
    data = either(part, "inlineData", "inline_data", "fileData", "file_data")
    if not isinstance(data, dict):
        return None
    family = string(either(data, "mimeType", "mime_type")).partition("/")[0]
    return family if family in ("image", "audio") else "file"


def has(body: Json) -> frozenset[str]:
    """Which of `image file audio tools json reasoning` a request uses."""
    request = _request(body)
    found = {kind(each) for each in objects(_text(request))}
    config = members(either(request, "generationConfig", "generation_config"))
    thinking = members(either(config, "thinkingConfig", "thinking_config"))
    if request.get("tools"):
        found.add("tools")
    if _wants_json(config):
        found.add("json")
    if thinking and either(thinking, "thinkingBudget", "thinking_budget") != 0:
        found.add("reasoning")
    return frozenset(each for each in found if each)


def _wants_json(config: Json) -> bool:
    schema = either(
        config, "responseSchema", "response_schema", "responseJsonSchema", "response_json_schema"
    )
    mime = either(config, "responseMimeType", "response_mime_type")
    return schema is not None or mime == "application/json"


def prompt(body: Json) -> int:
    """The size of the prompt in characters of text; an estimate of tokens is a fourth of it."""
    request = _request(body)
    return size(_text(request), kind) + json_size(request.get("tools"))


def _request(body: Json) -> Json:
    """countTokens may wrap the request whose tokens it counts."""
    inner = either(body, "generateContentRequest", "generate_content_request")
    return inner if isinstance(inner, dict) else body


def _text(request: Json) -> list[object]:
    """All that is read by the model; the last three are embeddings' and predict's."""
    return [
        either(request, "systemInstruction", "system_instruction"),
        *(request.get(name) for name in ("contents", "content", "requests", "instances")),
    ]


def usage(body: Json) -> Usage | None:
    """Usage from a whole answer, or from one event of a stream (None: this event has none).

    The prompt includes what came from a cache; thoughts and what tools brought in stand beside.
    """
    raw = members(either(body, "usageMetadata", "usage_metadata"))
    went_in = either(raw, "promptTokenCount", "prompt_token_count")
    came_out = either(raw, "candidatesTokenCount", "candidates_token_count")
    if not are_counts(went_in, came_out):
        return None
    ins = _modalities(either(raw, "promptTokensDetails", "prompt_tokens_details"))
    cached = _modalities(either(raw, "cacheTokensDetails", "cache_tokens_details"))
    outs = _modalities(either(raw, "candidatesTokensDetails", "candidates_tokens_details"))
    found = Usage()
    found.input, found.cache_read, found.audio_in, found.image_in = shares(
        tokens(went_in),
        tokens(either(raw, "cachedContentTokenCount", "cached_content_token_count")),
        max(0, ins.get("AUDIO", 0) - cached.get("AUDIO", 0)),
        max(0, ins.get("IMAGE", 0) - cached.get("IMAGE", 0)),
    )
    found.input += tokens(either(raw, "toolUsePromptTokenCount", "tool_use_prompt_token_count"))
    found.output, found.audio_out, found.image_out = shares(
        tokens(came_out), outs.get("AUDIO", 0), outs.get("IMAGE", 0)
    )
    found.reasoning = tokens(either(raw, "thoughtsTokenCount", "thoughts_token_count"))
    return found


def _modalities(details: object) -> dict[str, int]:
    """Tokens by modality (`TEXT`, `IMAGE`, `AUDIO`, `VIDEO`, `DOCUMENT`)."""
    found: dict[str, int] = {}
    for each in map(members, items(details)):
        name = string(each.get("modality"))
        found[name] = found.get(name, 0) + tokens(either(each, "tokenCount", "token_count"))
    return found


def write_error(
    status: int, message: str, *, type: str, code: str, param: str | None, request_id: str
) -> bytes:
    """An error as Google words it: with its names of statuses."""
    name = _STATUS.get(status, "INVALID_ARGUMENT" if status < 500 else "INTERNAL")
    return dumps({"error": {"code": status, "message": message, "status": name}})
