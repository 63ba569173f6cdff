"""The vendors' own packages in front of providers of other dialects, that answer recorded bytes.

What a client hears is what the provider's own package hears of the same bytes.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import replace

import pytest
import pytest_asyncio

from routeur.app import Router
from tests.conftest import parse
from tests.fake import Upstream
from tests.speakers import ASK, NEW, Heard, close
from tests.targets import (
    ANTHROPIC,
    BEDROCK,
    CHAT,
    CLIENTS,
    GEMINI,
    MODELS,
    PAIRS,
    RESPONSES,
    TARGETS,
    answers,
    settings,
)

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.filterwarnings("ignore:Inheritance class AiohttpClientSession:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:The model .* is deprecated:DeprecationWarning"),
]

RECORDINGS = {
    CHAT: (
        "OpenAICommon-openai-gpt-5-simple",
        "OpenAICommon-openai-gpt-5-simple_streaming",
        "OpenAICommon-openai-gpt-5-multi_tool.0",
        "OpenAICommon-openai-gpt-5-multi_tool_streaming.0",
        "azure-gpt-5-mini-tool_streaming.0",
        "openai-azure-model-router.1",
        "deepseek-reasoning.json",
        "deepseek-tool-call",
        "groq-tool-call",
        "mistral-incremental-tool-call",
        "test_compatible_api_with_tool_calls_without_id.0",
    ),
    RESPONSES: (
        "OpenAIResponsesCommon-openai-gpt-5-simple",
        "OpenAIResponsesCommon-openai-gpt-5-simple_streaming",
        "OpenAIResponsesCommon-openai-gpt-5-multi_tool.0",
        "OpenAIResponsesCommon-openai-gpt-5-multi_tool_streaming.0",
        "test_openai_responses_model_web_search_tool_stream.0",
        "test_openai_responses_thinking_with_tool_calls.1",
        "test_openai_responses_phase_live.0",
        "open-responses-lmstudio-tool-call.1",
        "openai-github-copilot-id-rotation.1",
        "raw_cot_stream_openrouter",
    ),
    ANTHROPIC: (
        "claude-sonnet-4-simple",
        "claude-sonnet-4-multi_tool.0",
        "claude-sonnet-4-multi_tool_streaming.0",
        "test_multiple_parallel_tool_calls.0",
        "test_anthropic_model_thinking_part_stream",
        "test_anthropic_model_thinking_part_redacted.0",
        "test_anthropic_cache_real_api.1",
        "anthropic_completion_stream_cache_read",
        "anthropic-tool-no-args",
        "anthropic-refusal.json",
        "test_prompt_with_prefill_and_stop_sequences",
        "test_anthropic_web_search_tool_stream",
        "streams_citations",
    ),
    GEMINI: (
        "GoogleCommon-gemini-3-pro-preview-simple",
        "GoogleCommon-gemini-3-pro-preview-multi_tool.0",
        "GoogleCommon-gemini-3-pro-preview-multi_tool_streaming.0",
        "test_google_model_thinking_part.0",
        "test_google_model_cached_content.1",
        "test_google_model_max_tokens_thinking_model_empty_response",
        "test_google_streaming_tool_call_thought_signature.0",
        "streaming-failure-prompt-blocked-safety.txt",
        "streaming-failure-recitation-no-content.txt",
        "thought-summary-signature.txt",
        "test_code_execution_stream",
        "google-text",
    ),
    BEDROCK: (
        "test_converse_stream_with_content_tool_call.0",
        "test_bedrock_model_thinking_part_stream",
        "test_bedrock_model_thinking_part_redacted.0",
        "test_bedrock_cache_write_and_read.1",
        "test_bedrock_model_other_parameters",
        "test_bedrock_anthropic_tool_with_thinking.0",
        "test_bedrock_moonshotai_tool_call.0",
        "amazon-bedrock-reasoning",
        "amazon-bedrock-text.json",
        "test_bedrock_model_iter_stream.0",
    ),
}
ROWS = [
    (client, provider, name)
    for provider, names in RECORDINGS.items()
    for name in names
    for client in CLIENTS
    if (client, provider) in PAIRS
]


class Stage:
    """One provider that answers recordings, a routeur before it, and everybody who may ask."""

    def __init__(self, upstream: Upstream, url: str) -> None:
        self.upstream = upstream
        self.through = {name: NEW[name](url) for name in CLIENTS}
        self.direct = {name: NEW[name](upstream.url) for name in NEW}
        self._heard: dict[str, Heard] = {}

    async def heard_at_home(self, provider: str, name: str) -> Heard:
        """What the provider's own package hears."""
        if name not in self._heard:
            stream = answers(self.upstream, name)
            ask = ASK[provider](self.direct[provider], MODELS[provider], stream)
            self._heard[name] = await ask
        return self._heard[name]

    async def heard(self, client: str, provider: str, name: str) -> Heard:
        stream = answers(self.upstream, name)
        return await ASK[client](self.through[client], TARGETS[provider], stream)


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def stage() -> AsyncIterator[Stage]:
    async with AsyncExitStack() as stack:
        upstream = Upstream()
        await upstream.start()
        stack.push_async_callback(upstream.stop)
        router = Router(parse(settings(upstream.url)))
        await router.start()
        stack.push_async_callback(router.stop)
        found = Stage(upstream, f"http://127.0.0.1:{router.port}")
        for client in (*found.through.values(), *found.direct.values()):
            stack.push_async_callback(close, client)
        yield found
    assert upstream.anomalies == []


def as_said(heard: Heard) -> Heard:
    """Without what the client's dialect has to say in numbers even where nobody counted."""
    return replace(
        heard, input=heard.input or 0, output=heard.output or 0, cached=heard.cached or 0
    )


@pytest.mark.parametrize(("client", "provider", "name"), ROWS)
async def test_heard_as_at_home(stage: Stage, client: str, provider: str, name: str) -> None:
    wanted = await stage.heard_at_home(provider, name)
    heard = await stage.heard(client, provider, name)
    assert as_said(heard) == as_said(wanted)
