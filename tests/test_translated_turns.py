"""What the vendors' own packages send: pictures, papers, tools, and a second turn.

The second turn holds what came in the first, so that a provider gets back what it said.
"""

from __future__ import annotations

import json
from base64 import b64encode, urlsafe_b64decode
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from typing import Any

import pytest
import pytest_asyncio
from google.genai import types

from routeur.app import Router
from routeur.dialects.neutral import Reasoning, ToolCall
from routeur.dialects.neutral.collect import collect
from tests.conftest import parse
from tests.fake import Upstream
from tests.recording import recording
from tests.speakers import NEW, close
from tests.targets import (
    ANTHROPIC,
    BEDROCK,
    CHAT,
    CLIENTS,
    GEMINI,
    PAIRS,
    RESPONSES,
    TARGETS,
    WHOLES,
    answers,
    settings,
)
from tests.translations import is_stream, read_whole, recorded_events

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.filterwarnings("ignore:Inheritance class AiohttpClientSession:DeprecationWarning"),
]

PNG = b"\x89PNG\r\n\x1a\n" + bytes(range(256))
PDF = b"%PDF-1.4\n" + bytes(range(256)) + b"\n%%EOF\n"
IMAGE, PAPER = b64encode(PNG).decode(), b64encode(PDF).decode()


class Stage:
    """One provider, a routeur before it, and the packages that ask."""

    def __init__(self, upstream: Upstream, url: str) -> None:
        self.upstream = upstream
        self.clients = {name: NEW[name](url) for name in CLIENTS}

    @property
    def asked(self) -> Any:
        """The latest request's body."""
        return json.loads(self.upstream.request.body)


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
        for client in found.clients.values():
            stack.push_async_callback(close, client)
        yield found
    assert upstream.anomalies == []


# ── images and PDFs


async def show(client: str, sdk: Any, model: str) -> None:
    """Ask about an image and a PDF."""
    url, file = f"data:image/png;base64,{IMAGE}", f"data:application/pdf;base64,{PAPER}"
    match client:
        case "openai_chat":
            paper = {"filename": "a.pdf", "file_data": file}
            content: list[Any] = [
                {"type": "text", "text": "what are these?"},
                {"type": "image_url", "image_url": {"url": url}},
                {"type": "file", "file": paper},
            ]
            messages = [{"role": "user", "content": content}]
            await sdk.chat.completions.create(model=model, messages=messages)
        case "openai_responses":
            content = [
                {"type": "input_text", "text": "what are these?"},
                {"type": "input_image", "image_url": url, "detail": "auto"},
                {"type": "input_file", "filename": "a.pdf", "file_data": file},
            ]
            await sdk.responses.create(model=model, input=[{"role": "user", "content": content}])
        case "anthropic":
            content = [
                {"type": kind, "source": {"type": "base64", "media_type": media, "data": data}}
                for kind, media, data in (
                    ("image", "image/png", IMAGE),
                    ("document", "application/pdf", PAPER),
                )
            ]
            content.insert(0, {"type": "text", "text": "what are these?"})
            messages = [{"role": "user", "content": content}]
            await sdk.messages.create(model=model, max_tokens=99, messages=messages)
        case _:
            parts = [
                types.Part.from_text(text="what are these?"),
                types.Part.from_bytes(data=PNG, mime_type="image/png"),
                types.Part.from_bytes(data=PDF, mime_type="application/pdf"),
            ]
            await sdk.aio.models.generate_content(model=model, contents=parts)


def shown(provider: str, body: Any) -> list[str]:
    """Text, image and PDF in the provider's own places, as one string each."""
    match provider:
        case "openai_chat":
            text, image, paper = body["messages"][0]["content"]
            assert paper["file"]["filename"]
            return [text["text"], image["image_url"]["url"], paper["file"]["file_data"]]
        case "openai_responses":
            text, image, paper = body["input"][0]["content"]
            assert paper["filename"]
            return [text["text"], image["image_url"], paper["file_data"]]
        case "anthropic":
            text, *files = body["messages"][0]["content"]
            assert [file["type"] for file in files] == ["image", "document"]
            sources = [file["source"] for file in files]
            urls = [f"data:{each['media_type']};base64,{each['data']}" for each in sources]
            return [text["text"], *urls]
        case "gemini":
            text, *files = body["contents"][0]["parts"]
            sources = [file["inlineData"] for file in files]
            return [
                text["text"],
                *(
                    f"data:{each['mimeType']};base64,{b64encode(decoded(each['data'])).decode()}"
                    for each in sources
                ),
            ]
    text, image, paper = body["messages"][0]["content"]
    assert (image["image"]["format"], paper["document"]["format"]) == ("png", "pdf")
    assert paper["document"]["name"]
    return [
        text["text"],
        "data:image/png;base64," + image["image"]["source"]["bytes"],
        "data:application/pdf;base64," + paper["document"]["source"]["bytes"],
    ]


def decoded(data: str) -> bytes:
    return urlsafe_b64decode(data.replace("+", "-").replace("/", "_"))


@pytest.mark.parametrize(("client", "provider"), PAIRS)
async def test_images_and_pdfs(stage: Stage, client: str, provider: str) -> None:
    answers(stage.upstream, WHOLES[provider])
    await show(client, stage.clients[client], TARGETS[provider])
    assert shown(provider, stage.asked) == [
        "what are these?",
        f"data:image/png;base64,{IMAGE}",
        f"data:application/pdf;base64,{PAPER}",
    ]


# ── a schema for the answer

SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string"}},
    "required": ["city"],
    "additionalProperties": False,
}


async def ask_for_json(client: str, sdk: Any, model: str) -> None:
    messages: Any = [{"role": "user", "content": "where?"}]
    match client:
        case "openai_chat":
            described = {"name": "place", "schema": SCHEMA, "strict": True}
            wanted: Any = {"type": "json_schema", "json_schema": described}
            await sdk.chat.completions.create(
                model=model, messages=messages, response_format=wanted
            )
        case "openai_responses":
            wanted = {"type": "json_schema", "name": "place", "schema": SCHEMA, "strict": True}
            await sdk.responses.create(model=model, input="where?", text={"format": wanted})
        case "anthropic":
            wanted = {"format": {"type": "json_schema", "schema": SCHEMA}}
            asked = {"model": model, "max_tokens": 99, "messages": messages}
            await sdk.messages.create(**asked, output_config=wanted)
        case _:
            config = types.GenerateContentConfig(
                response_mime_type="application/json", response_json_schema=SCHEMA
            )
            await sdk.aio.models.generate_content(model=model, contents="where?", config=config)


def schema_in(provider: str, body: Any) -> Any:
    match provider:
        case "openai_chat":
            return body["response_format"]["json_schema"]["schema"]
        case "openai_responses":
            return body["text"]["format"]["schema"]
        case "anthropic":
            return body["output_config"]["format"]["schema"]
        case "gemini":
            config = body["generationConfig"]
            assert config["responseMimeType"] == "application/json"
            return config["responseJsonSchema"]
    found = body["outputConfig"]["textFormat"]["structure"]["jsonSchema"]["schema"]
    return json.loads(found)


@pytest.mark.parametrize(("client", "provider"), PAIRS)
async def test_json_by_a_schema(stage: Stage, client: str, provider: str) -> None:
    answers(stage.upstream, WHOLES[provider])
    await ask_for_json(client, stage.clients[client], TARGETS[provider])
    assert schema_in(provider, stage.asked) == SCHEMA


# ── tools, and what was thought

ADD = "Adds two numbers"
NUMBERS = {
    "type": "object",
    "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}},
    "required": ["a", "b"],
}
TEXT = "what is 2 + 3 and 10 + 15?"


async def talk_chat(sdk: Any, model: str, stream: bool) -> Any:
    described = {"name": "add", "description": ADD, "parameters": NUMBERS}
    asked: dict[str, Any] = {"model": model, "tools": [{"type": "function", "function": described}]}
    asked["reasoning_effort"] = "low"  # what was thought goes back only where that goes on
    messages: list[Any] = [{"role": "user", "content": TEXT}]
    if stream:
        async with sdk.chat.completions.stream(**asked, messages=messages) as events:
            said = await events.get_final_completion()
    else:
        said = await sdk.chat.completions.create(**asked, messages=messages)
    message = said.choices[0].message.to_dict()
    for call in message.get("tool_calls", []):
        call["function"].pop("parsed_arguments", None)
    messages.append(message | {"role": "assistant"})
    for number, call in enumerate(message["tool_calls"]):
        result = {"role": "tool", "tool_call_id": call["id"], "content": f"result-{number}"}
        messages.append(result)
    await sdk.chat.completions.create(**asked, messages=messages)


async def talk_responses(sdk: Any, model: str, stream: bool) -> Any:
    tool = {"type": "function", "name": "add", "description": ADD, "parameters": NUMBERS}
    asked: dict[str, Any] = {"model": model, "tools": [tool | {"strict": False}], "store": False}
    asked |= {"include": ["reasoning.encrypted_content"], "reasoning": {"effort": "low"}}
    items: list[Any] = [{"role": "user", "content": TEXT}]
    if stream:
        async with sdk.responses.stream(**asked, input=items) as events:
            said = await events.get_final_response()
    else:
        said = await sdk.responses.create(**asked, input=items)
    items += [item.to_dict() for item in said.output]
    calls = [item for item in said.output if item.type == "function_call"]
    for item in items:
        item.pop("parsed_arguments", None)
    for number, call in enumerate(calls):
        result = {"call_id": call.call_id, "output": f"result-{number}"}
        items.append({"type": "function_call_output", **result})
    await sdk.responses.create(**asked, input=items)


async def talk_anthropic(sdk: Any, model: str, stream: bool) -> Any:
    tool = {"name": "add", "description": ADD, "input_schema": NUMBERS}
    asked: dict[str, Any] = {"model": model, "max_tokens": 2000, "tools": [tool]}
    asked["thinking"] = {"type": "enabled", "budget_tokens": 1024}
    messages: list[Any] = [{"role": "user", "content": TEXT}]
    if stream:
        async with sdk.messages.stream(**asked, messages=messages) as events:
            said = await events.get_final_message()
    else:
        said = await sdk.messages.create(**asked, messages=messages)
    calls = [block for block in said.content if block.type == "tool_use"]
    content = [block.to_dict() for block in said.content]
    for block in content:
        block.pop("parsed_output", None)
    messages.append({"role": "assistant", "content": content})
    results = [
        {"type": "tool_result", "tool_use_id": call.id, "content": f"result-{number}"}
        for number, call in enumerate(calls)
    ]
    messages.append({"role": "user", "content": results})
    await sdk.messages.create(**asked, messages=messages)


async def talk_gemini(sdk: Any, model: str, stream: bool) -> Any:
    tool = types.FunctionDeclaration(name="add", description=ADD, parameters_json_schema=NUMBERS)
    config = types.GenerateContentConfig(
        tools=[types.Tool(function_declarations=[tool])],
        thinking_config=types.ThinkingConfig(include_thoughts=True, thinking_budget=1024),
    )
    asked: dict[str, Any] = {"model": model, "config": config}
    contents = [types.Content(role="user", parts=[types.Part.from_text(text=TEXT)])]
    models = sdk.aio.models
    if stream:
        streamed = await models.generate_content_stream(**asked, contents=contents)
        chunks = [chunk async for chunk in streamed]
    else:
        chunks = [await models.generate_content(**asked, contents=contents)]
    candidates = [each for chunk in chunks for each in chunk.candidates or []]
    parts = [part for each in candidates if each.content for part in each.content.parts or []]
    contents.append(types.Content(role="model", parts=parts))
    calls = [part.function_call for part in parts if part.function_call]
    results = [
        types.Part(
            function_response=types.FunctionResponse(
                id=call.id, name=call.name, response={"result": f"result-{number}"}
            )
        )
        for number, call in enumerate(calls)
    ]
    contents.append(types.Content(role="user", parts=results))
    await models.generate_content(**asked, contents=contents)


TALK = {
    CHAT: talk_chat,
    RESPONSES: talk_responses,
    ANTHROPIC: talk_anthropic,
    GEMINI: talk_gemini,
}
CALLS = {  # answers that call tools, some of them signed
    CHAT: (
        "OpenAICommon-openai-gpt-5-multi_tool.0",
        "OpenAICommon-openai-gpt-5-multi_tool_streaming.0",
        "deepseek-tool-call",
    ),
    RESPONSES: (
        "OpenAIResponsesCommon-openai-gpt-5-multi_tool.0",
        "OpenAIResponsesCommon-openai-gpt-5-multi_tool_streaming.0",
        "openai-o4-mini-thinking.0",
    ),
    ANTHROPIC: (
        "test_anthropic_tool_with_thinking.0",
        "claude-sonnet-4-multi_tool.0",
        "claude-sonnet-4-multi_tool_streaming.0",
    ),
    GEMINI: (
        "GoogleCommon-gemini-3-pro-preview-multi_tool.0",
        "GoogleCommon-gemini-3-pro-preview-multi_tool_streaming.0",
        "thinking-function-call-thought-summary-signature.txt",
    ),
    BEDROCK: (
        "test_bedrock_anthropic_tool_with_thinking.0",
        "test_converse_stream_with_content_tool_call.0",
    ),
}
# Anthropic's clients have no place for what others sign: it is left out, and named.
CANNOT_CARRY = ((ANTHROPIC, RESPONSES), (ANTHROPIC, GEMINI))
ROWS = [(client, provider, name) for client, provider in PAIRS for name in CALLS[provider]]


def called(provider: str, body: Any) -> Iterator[tuple[str, str, Any]]:
    """The calls in a request's history: id, name and arguments."""
    match provider:
        case "openai_chat":
            for message in body["messages"]:
                for call in message.get("tool_calls") or []:
                    function = call["function"]
                    yield call["id"], function["name"], json.loads(function["arguments"])
        case "openai_responses":
            for item in body["input"]:
                if item.get("type") == "function_call":
                    yield item["call_id"], item["name"], json.loads(item["arguments"])
        case "anthropic":
            for block in blocks(body["messages"], "content"):
                if block.get("type") == "tool_use":
                    yield block["id"], block["name"], block["input"]
        case "gemini":
            for part in blocks(body["contents"], "parts"):
                if call := part.get("functionCall"):
                    yield call.get("id", ""), call["name"], call.get("args", {})
        case _:
            for block in blocks(body["messages"], "content"):
                if call := block.get("toolUse"):
                    yield call["toolUseId"], call["name"], call["input"]


def resulted(provider: str, body: Any) -> Iterator[tuple[str, Any]]:
    """The results in a request's history: id, and what holds the result's words."""
    match provider:
        case "openai_chat":
            for message in body["messages"]:
                if message["role"] == "tool":
                    yield message["tool_call_id"], message["content"]
        case "openai_responses":
            for item in body["input"]:
                if item.get("type") == "function_call_output":
                    yield item["call_id"], item["output"]
        case "anthropic":
            for block in blocks(body["messages"], "content"):
                if block.get("type") == "tool_result":
                    yield block["tool_use_id"], block["content"]
        case "gemini":
            for part in blocks(body["contents"], "parts"):
                if result := part.get("functionResponse"):
                    yield result.get("id", ""), result["response"]
        case _:
            for block in blocks(body["messages"], "content"):
                if result := block.get("toolResult"):
                    yield result["toolUseId"], result["content"]


def blocks(turns: Any, member: str) -> Iterator[Any]:
    for turn in turns:
        if isinstance(turn[member], list):
            yield from turn[member]


def recorded(provider: str, name: str) -> tuple[list[ToolCall], list[Any]]:
    """The calls of a recorded answer, and its blocks that are signed."""
    found = recording(name)
    if is_stream(found):
        response = collect(recorded_events(found))
    else:
        response = read_whole(provider, found.body)
    said = response.choices[0].blocks
    calls = [block for block in said if isinstance(block, ToolCall)]
    return calls, [block for block in said if getattr(block, "signature", "") or sealed(block)]


def sealed(block: Any) -> str:
    return block.encrypted if isinstance(block, Reasoning) else ""


@pytest.mark.parametrize(("client", "provider", "name"), ROWS)
async def test_a_second_turn(stage: Stage, client: str, provider: str, name: str) -> None:
    """Calls come back as they were said, each with its result, and signed blocks with theirs."""
    stream = answers(stage.upstream, name)
    answers(stage.upstream, WHOLES[provider])
    await TALK[client](stage.clients[client], TARGETS[provider], stream)

    calls, signed = recorded(provider, name)
    first, second = stage.upstream.requests[-2:]
    body = json.loads(second.body)
    wanted = [(call.id, call.name, json.loads(call.arguments or "{}")) for call in calls]
    got = list(called(provider, body))
    assert [each[1:] for each in got] == [each[1:] for each in wanted]
    if calls[0].id.encode() in recording(name).body:  # else it was made up on the way
        assert [each[0] for each in got] == [each[0] for each in wanted]
    results = list(resulted(provider, body))
    assert [id for id, _ in results] == [id for id, _, _ in got]
    for number, (_, said) in enumerate(results):
        assert f"result-{number}" in json.dumps(said)
    assert b"add" in first.body
    for block in signed:
        seal = sealed(block) or block.signature
        assert (seal.encode() in second.body) is ((client, provider) not in CANNOT_CARRY)


WORDS = {  # where a turn's blocks stand, in the recorded answer and in the next request
    ANTHROPIC: (lambda said: said["content"], lambda asked: asked["messages"][1]["content"]),
    GEMINI: (
        lambda said: said["candidates"][0]["content"]["parts"],
        lambda asked: asked["contents"][1]["parts"],
    ),
    BEDROCK: (
        lambda said: said["output"]["message"]["content"],
        lambda asked: asked["messages"][1]["content"],
    ),
}


@pytest.mark.parametrize(
    ("client", "provider"),
    [pair for pair in PAIRS if pair[1] in WORDS and pair not in CANNOT_CARRY],
)
async def test_a_signed_turn_is_not_changed(stage: Stage, client: str, provider: str) -> None:
    """In their order, with every member: a provider refuses a turn that is not what it said."""
    name = CALLS[provider][0]
    answers(stage.upstream, name)
    answers(stage.upstream, WHOLES[provider])
    await TALK[client](stage.clients[client], TARGETS[provider], False)
    said, asked = WORDS[provider]
    assert asked(stage.asked) == said(json.loads(recording(name).body))
