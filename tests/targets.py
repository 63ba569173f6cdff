"""A provider of each dialect, all of them the fake one; clients' requests, recorded answers."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import aiohttp

from tests.conftest import Client, MakeRouter
from tests.fake import Upstream
from tests.recording import AWS, recording

CHAT, RESPONSES, ANTHROPIC, GEMINI, BEDROCK = (
    "openai_chat",
    "openai_responses",
    "anthropic",
    "gemini",
    "bedrock",
)
CLIENTS = (CHAT, RESPONSES, ANTHROPIC, GEMINI)  # Bedrock is nobody's dialect in front
PROVIDERS = (*CLIENTS, BEDROCK)
MODELS = {
    CHAT: "gpt-4o",
    RESPONSES: "gpt-4.1",
    ANTHROPIC: "claude-sonnet-4-5",
    GEMINI: "gemini-2.5-pro",
    BEDROCK: "us.anthropic.claude-sonnet-4-5-v1:0",
}
TARGETS = {name: f"{name}/{model}" for name, model in MODELS.items()}
KEYS = {name: f"sk-at-{name}" for name in MODELS}
# Whose clients are translated for whom. Chat is copied to a provider with `speak: responses`, too.
PAIRS = [
    (client, provider)
    for client in CLIENTS
    for provider in PROVIDERS
    if client != provider and (client, provider) != (CHAT, RESPONSES)
]
WHOLES = {
    CHAT: "OpenAICommon-openai-gpt-5-simple",
    RESPONSES: "OpenAIResponsesCommon-openai-gpt-5-simple",
    ANTHROPIC: "claude-sonnet-4-simple",
    GEMINI: "GoogleCommon-gemini-3-pro-preview-simple",
    BEDROCK: "test_bedrock_cache_write_and_read.1",
}
STREAMS = {
    CHAT: "OpenAICommon-openai-gpt-5-simple_streaming",
    RESPONSES: "OpenAIResponsesCommon-openai-gpt-5-simple_streaming",
    ANTHROPIC: "claude-sonnet-4-simple_streaming",
    GEMINI: "GoogleCommon-gemini-3-pro-preview-simple_streaming",
    BEDROCK: "test_bedrock_model_stream",
}


def providers(url: str) -> dict[str, Any]:
    """Settings of the five, each named as its dialect."""
    openai = {"dialect": "openai", "base_url": f"{url}/v1"}
    found: dict[str, dict[str, Any]] = {
        CHAT: openai | {"responses": False},
        RESPONSES: openai | {"speak": "responses"},
        ANTHROPIC: {"dialect": "anthropic", "base_url": url},
        GEMINI: {"dialect": "gemini", "base_url": url},
        BEDROCK: {"dialect": "bedrock", "base_url": url, "region": "us-east-1"},
    }
    return {
        name: {**found[name], "api_key": KEYS[name], "models": [MODELS[name]]} for name in found
    }


def settings(url: str, **changes: Any) -> dict[str, Any]:
    """A configuration in which only the five are."""
    return {
        "server": {"port": 0, "drain": "1s"},
        "store": "memory:",
        "retries": {"attempts": 1},
        "providers": providers(url),
        **changes,
    }


Make = Callable[..., Awaitable[Client]]


def maker(make_router: MakeRouter, upstream: Upstream) -> Make:
    """Starts a routeur whose only providers are the five; `more` are settings of some of them."""

    async def make(more: Mapping[str, Any] | None = None, **changes: Any) -> Client:
        found: dict[str, Any] = {"openai": None, "google": None, **providers(upstream.url)}
        for name, added in (more or {}).items():
            found[name] = found[name] | added
        changes["aliases"] = {"fast": None, **changes.get("aliases", {})}
        return await make_router(providers=found, **changes)

    return make


def answers(upstream: Upstream, name: str, **options: Any) -> bool:
    """The provider's next answer is this recording; whether it is a stream."""
    found = recording(name)
    streamed = found.streamed or found.content_type.startswith(AWS)
    options = {"framing": "chunked" if streamed else "length"} | options
    headers = {"Content-Type": found.content_type} | options.pop("headers", {})
    upstream.answers(found.body, headers=headers, **options)
    return streamed


def request(
    client: str, model: str, *, stream: bool = False, **members: Any
) -> tuple[str, dict[str, Any]]:
    """Path and body of a simple question in this dialect, with these members added."""
    said = {"role": "user", "content": "hi"}
    asked: dict[str, Any] = {"model": model} | ({"stream": True} if stream else {})
    match client:
        case "openai_chat":
            return "/v1/chat/completions", asked | {"messages": [said]} | members
        case "openai_responses":
            return "/v1/responses", asked | {"input": "hi"} | members
        case "anthropic":
            return "/v1/messages", asked | {"max_tokens": 99, "messages": [said]} | members
    verb = "streamGenerateContent?alt=sse" if stream else "generateContent"
    contents = [{"role": "user", "parts": [{"text": "hi"}]}]
    return f"/v1beta/models/{model}:{verb}", {"contents": contents, **members}


async def ask(
    router: Client, client: str, model: str, *, headers: Mapping[str, str] = {}, **options: Any
) -> tuple[aiohttp.ClientResponse, Any]:
    """The answer to a question in this dialect, and its JSON."""
    path, body = request(client, model, **options)
    answer = await router.post(path, json=body, headers=headers)
    return answer, await answer.json()


def raw(path: str, body: Mapping[str, Any], *headers: str, version: str = "1.1") -> bytes:
    """The request's bytes."""
    data = json.dumps(body).encode()
    lines = [
        f"POST {path} HTTP/{version}",
        "Host: localhost",
        "Content-Type: application/json",
        f"Content-Length: {len(data)}",
        *headers,
    ]
    return "\r\n".join([*lines, "", ""]).encode() + data
