"""The vendors' own packages, each asking a question; what they heard, in nobody's words.

A speaker of a dialect asks whoever is at a URL: a provider of its own, or routeur.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any

import anthropic
import botocore.config
import botocore.session
import openai
from google import genai
from google.genai import types

from tests.targets import ANTHROPIC, BEDROCK, CHAT, GEMINI, RESPONSES

HI = "hi there"
# Why an answer ended, of those words that some dialect has no other word for.
FINISHES = {
    "tool_calls": "tools",
    "tool_use": "tools",
    "length": "length",
    "max_tokens": "length",
    "max_output_tokens": "length",
    "MAX_TOKENS": "length",
    "content_filter": "filter",
    "content_filtered": "filter",
    "refusal": "filter",
    "SAFETY": "filter",
    "RECITATION": "filter",
}


@dataclass(frozen=True)
class Heard:
    """An answer: `calls` are names with parsed arguments; tokens are None where nothing is said."""

    text: str
    thought: str
    calls: tuple[tuple[str, Any], ...]
    finish: str
    input: int | None
    output: int | None
    cached: int | None


Ask = Callable[[Any, str, bool], Coroutine[Any, Any, Heard]]


def finished(word: Any) -> str:
    return FINISHES.get(getattr(word, "value", word), "end")


# ── OpenAI


def new_openai(url: str) -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="anything", max_retries=0)


async def ask_chat(client: openai.AsyncOpenAI, model: str, stream: bool) -> Heard:
    asked: dict[str, Any] = {"model": model, "messages": [{"role": "user", "content": HI}]}
    if not stream:
        said = await client.chat.completions.create(**asked)
        (choice,) = said.choices
        message = choice.message
        called = [each.function for each in message.tool_calls or []]
        calls = [(each.name, each.arguments) for each in called]
        text, thought = message.content or "", _thought(message)
        return _heard_chat(text, thought, calls, choice.finish_reason, said.usage)
    asked |= {"stream": True, "stream_options": {"include_usage": True}}
    text, thought, finish, usage, growing = "", "", None, None, {}
    async for chunk in await client.chat.completions.create(**asked):
        usage = chunk.usage or usage
        for choice in chunk.choices:
            text += choice.delta.content or ""
            thought += _thought(choice.delta)
            finish = choice.finish_reason or finish
            for call in choice.delta.tool_calls or []:
                name, arguments = growing.get(call.index, ("", ""))
                name += call.function.name or ""
                growing[call.index] = (name, arguments + (call.function.arguments or ""))
    return _heard_chat(text, thought, [*growing.values()], finish, usage)


def _thought(message: Any) -> str:
    """What DeepSeek and others say beside the content."""
    return (message.model_extra or {}).get("reasoning_content") or ""


def _heard_chat(
    text: str, thought: str, calls: list[tuple[str, str]], finish: str | None, usage: Any
) -> Heard:
    assert finish is not None
    parsed = tuple((name, json.loads(arguments or "{}")) for name, arguments in calls)
    if usage is None:
        return Heard(text, thought, parsed, finished(finish), None, None, None)
    details = usage.prompt_tokens_details
    cached = (details and details.cached_tokens) or 0
    counts = usage.prompt_tokens, usage.completion_tokens
    return Heard(text, thought, parsed, finished(finish), *counts, cached)


async def ask_responses(client: openai.AsyncOpenAI, model: str, stream: bool) -> Heard:
    if not stream:
        return _heard_response(await client.responses.create(model=model, input=HI))
    grown, ended = "", None
    async for event in await client.responses.create(model=model, input=HI, stream=True):
        if event.type == "response.output_text.delta":
            grown += event.delta
        if event.type in ("response.completed", "response.incomplete"):
            ended = event.response
    assert ended is not None
    heard = _heard_response(ended)
    assert heard.text == grown
    return heard


def _heard_response(said: Any) -> Heard:
    calls, text, thoughts = [], "", []
    for item in said.output:
        if item.type == "reasoning":
            thoughts += [part.text for part in item.content or item.summary]
        if item.type == "function_call":
            calls.append((item.name, json.loads(item.arguments or "{}")))
        if item.type == "message":
            text += "".join(getattr(part, "text", "") for part in item.content)
    why = said.incomplete_details.reason if said.status == "incomplete" else None
    finish = why or ("tool_calls" if calls else "stop")
    usage = said.usage
    counts = (usage.input_tokens, usage.output_tokens) if usage else (None, None)
    details = usage and usage.input_tokens_details
    cached = ((details and details.cached_tokens) or 0) if usage else None
    thought = "\n\n".join(thoughts)
    return Heard(text, thought, tuple(calls), finished(finish), *counts, cached)


# ── Anthropic


def new_anthropic(url: str) -> anthropic.AsyncAnthropic:
    return anthropic.AsyncAnthropic(base_url=url, api_key="anything", max_retries=0)


async def ask_anthropic(client: anthropic.AsyncAnthropic, model: str, stream: bool) -> Heard:
    asked: dict[str, Any] = {
        "model": model,
        "max_tokens": 2048,
        "messages": [{"role": "user", "content": HI}],
    }
    if stream:
        async with client.messages.stream(**asked) as events:
            said = await events.get_final_message()
    else:
        said = await client.messages.create(**asked)
    calls = [(block.name, block.input) for block in said.content if block.type == "tool_use"]
    text = "".join(block.text for block in said.content if block.type == "text")
    thought = "".join(block.thinking for block in said.content if block.type == "thinking")
    usage = said.usage
    cached = usage.cache_read_input_tokens or 0
    put_in = usage.input_tokens + cached + (usage.cache_creation_input_tokens or 0)
    finish = finished(said.stop_reason)
    return Heard(text, thought, tuple(calls), finish, put_in, usage.output_tokens, cached)


# ── Gemini


def new_gemini(url: str) -> genai.Client:
    return genai.Client(api_key="anything", http_options=types.HttpOptions(base_url=url))


async def ask_gemini(client: genai.Client, model: str, stream: bool) -> Heard:
    models = client.aio.models
    thinking = types.ThinkingConfig(include_thoughts=True)
    asked: dict[str, Any] = {
        "model": model,
        "contents": HI,
        "config": types.GenerateContentConfig(thinking_config=thinking),
    }
    if stream:
        chunks = [each async for each in await models.generate_content_stream(**asked)]
    else:
        chunks = [await models.generate_content(**asked)]
    text, thought, calls, finish, usage = "", "", [], None, None
    for chunk in chunks:
        usage = chunk.usage_metadata or usage
        if chunk.prompt_feedback is not None and chunk.prompt_feedback.block_reason:
            finish = "content_filter"
        for candidate in chunk.candidates or []:
            finish = candidate.finish_reason or finish
            for part in (candidate.content and candidate.content.parts) or []:
                text += "" if part.thought else part.text or ""
                thought += (part.text or "") if part.thought else ""
                if part.function_call is not None:
                    calls.append((part.function_call.name, part.function_call.args or {}))
    assert finish is not None
    word = "tools" if calls and finished(finish) == "end" else finished(finish)
    if usage is None:
        return Heard(text, thought, tuple(calls), word, None, None, None)
    put_in = (usage.prompt_token_count or 0) + (usage.tool_use_prompt_token_count or 0)
    came_out = (usage.candidates_token_count or 0) + (usage.thoughts_token_count or 0)
    cached = usage.cached_content_token_count or 0
    return Heard(text, thought, tuple(calls), word, put_in, came_out, cached)


# ── Bedrock


def new_bedrock(url: str) -> Any:
    return botocore.session.Session().create_client(
        "bedrock-runtime",
        region_name="us-east-1",
        aws_access_key_id="a",
        aws_secret_access_key="s",
        endpoint_url=url,
        config=botocore.config.Config(retries={"max_attempts": 0}),
    )


async def ask_bedrock(client: Any, model: str, stream: bool) -> Heard:
    return await asyncio.to_thread(_converse_stream if stream else _converse, client, model)


def _asked(model: str) -> dict[str, Any]:
    return {"modelId": model, "messages": [{"role": "user", "content": [{"text": HI}]}]}


def _converse(client: Any, model: str) -> Heard:
    said = client.converse(**_asked(model))
    blocks = said["output"]["message"]["content"]
    calls = [each["toolUse"] for each in blocks if "toolUse" in each]
    found = [(call["name"], call["input"]) for call in calls]
    text = "".join(each.get("text", "") for each in blocks)
    thoughts = [each["reasoningContent"] for each in blocks if "reasoningContent" in each]
    thought = "".join(each.get("reasoningText", {}).get("text", "") for each in thoughts)
    return _heard_bedrock(text, thought, found, said["stopReason"], said["usage"])


def _converse_stream(client: Any, model: str) -> Heard:
    text, thought, names, growing, finish, usage = "", "", {}, {}, "", None
    for event in client.converse_stream(**_asked(model))["stream"]:
        for kind, body in event.items():
            at = body.get("contentBlockIndex", 0)
            if kind == "contentBlockStart" and "toolUse" in body["start"]:
                names[at], growing[at] = body["start"]["toolUse"]["name"], ""
            if kind == "contentBlockDelta":
                text += body["delta"].get("text", "")
                thought += body["delta"].get("reasoningContent", {}).get("text", "")
                if "toolUse" in body["delta"] and at in growing:
                    growing[at] += body["delta"]["toolUse"]["input"]
            finish = body.get("stopReason", finish)
            usage = body.get("usage", usage)
    calls = [(names[at], json.loads(grown or "{}")) for at, grown in growing.items()]
    return _heard_bedrock(text, thought, calls, finish, usage)


def _heard_bedrock(
    text: str, thought: str, calls: list[tuple[str, Any]], finish: str, usage: Any
) -> Heard:
    if usage is None:
        return Heard(text, thought, tuple(calls), finished(finish), None, None, None)
    cached = usage.get("cacheReadInputTokens", 0)
    put_in = usage["inputTokens"] + cached + usage.get("cacheWriteInputTokens", 0)
    came_out = usage["outputTokens"]
    return Heard(text, thought, tuple(calls), finished(finish), put_in, came_out, cached)


NEW: dict[str, Callable[[str], Any]] = {
    CHAT: new_openai,
    RESPONSES: new_openai,
    ANTHROPIC: new_anthropic,
    GEMINI: new_gemini,
    BEDROCK: new_bedrock,
}
ASK: dict[str, Ask] = {
    CHAT: ask_chat,
    RESPONSES: ask_responses,
    ANTHROPIC: ask_anthropic,
    GEMINI: ask_gemini,
    BEDROCK: ask_bedrock,
}


async def close(client: Any) -> None:
    """Close a client of any of the packages."""
    if isinstance(client, genai.Client):
        await client.aio.aclose()
        client.close()
    elif isinstance(client, openai.AsyncOpenAI | anthropic.AsyncAnthropic):
        await client.close()
    else:
        client.close()
