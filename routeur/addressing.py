"""Where a call goes at its target: in which format, by which path, with what change of its body."""

from __future__ import annotations

from routeur import rawpredict
from routeur.dialects import clouds, gemini
from routeur.dialects.translate import TRANSLATORS
from routeur.providers import Credential, Google, Provider

ANTHROPIC = "anthropic"
# What can be translated, by purpose, and between which formats.
TRANSLATED = {
    "answer": frozenset(TRANSLATORS),
    "embeddings": frozenset(["openai_chat", "gemini"]),
    "count": frozenset(TRANSLATORS),
}
COUNT_TOKENS = "/v1/messages/count_tokens"


def spoken(provider: Provider, id: str, format: str | None, purpose: str = "") -> str | None:
    """The format in which a provider is asked for what the client asks in `format`.

    `id` is the model's name there: Vertex AI serves several vendors' APIs.
    """
    match provider.dialect:
        case "openai" if purpose == "embeddings":
            return "openai_chat"
        case "openai":
            if format == "openai_chat" or (format == "openai_responses" and provider.responses):
                return format
            return "openai_responses" if provider.speak == "responses" else "openai_chat"
        case "gemini" if on_vertex(provider) and clouds.publisher(id)[0] == ANTHROPIC:
            return ANTHROPIC
        case "echo" if format == "openai_responses" and purpose == "answer":
            return "openai_chat"  # it keeps nothing: routeur does
        case "echo":
            return format
    return provider.dialect


def on_vertex(provider: Provider) -> bool:
    return any(isinstance(each.cloud, Google) for each in provider.credentials)


def unfit(provider: Provider, id: str, dialect: str, format: str | None, purpose: str) -> str:
    """Why a provider cannot take requests of this dialect and format, or nothing."""
    if provider.dialect == "echo":
        return ""
    there = spoken(provider, id, format, purpose)
    family = "openai" if there in ("openai_chat", "openai_responses") else there
    if family == dialect and (format != "openai_responses" or there == format):
        return ""
    if {format, there} <= TRANSLATED.get(purpose, frozenset()):
        return ""
    if family == dialect:
        return "has no Responses API (responses: false)"
    return f"speaks {family}, and this path is not translated"


def place_of(
    provider: Provider, credential: Credential, id: str, format: str | None, path: str, stream: bool
) -> str:
    """The path to ask for, as the vendor's own SDK has it below `base_url`.

    `path` is the one that a client of `format` would ask; Azure, Vertex AI and Bedrock have theirs.
    """
    if provider.api_version:
        return clouds.azure_path(path, id)
    if provider.dialect == "bedrock" and format == "bedrock":
        return clouds.bedrock_path(id, stream=stream)
    cloud = credential.cloud
    if isinstance(cloud, Google):
        if format == ANTHROPIC and path == COUNT_TOKENS:
            return clouds.count_tokens_on_vertex(cloud.project, cloud.location)
        if format == ANTHROPIC:
            return clouds.claude_on_vertex(cloud.project, cloud.location, id, stream=stream)
        parsed = gemini.parse_path(path)
        if parsed is not None:
            return clouds.gemini_on_vertex(
                cloud.project, cloud.location, id, parsed.verb, parsed.version
            )
        return path
    parsed = gemini.parse_path(path) if format == "gemini" else None
    return gemini.address(parsed, id) if parsed is not None else path


def query_of(provider: Provider, query: str) -> str:
    return clouds.azure_query(query, provider.api_version) if provider.api_version else query


def body_for(credential: Credential, format: str | None, path: str, raw: bytes) -> bytes:
    """The body where it differs from that of the vendor's own API: Claude on Vertex AI."""
    if format == ANTHROPIC and isinstance(credential.cloud, Google):
        if path == COUNT_TOKENS:
            return rawpredict.count_for_vertex(raw)
        return rawpredict.for_vertex(raw)
    return raw
