"""The built-in answerer, read with the official SDKs' own types."""

from __future__ import annotations

import base64
import math
import struct
from typing import Any

import anthropic.types as claude
import openai.types as gpt
import orjson
import pytest
from anthropic.types import RawMessageStreamEvent
from google.genai import types as google
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import TypeAdapter

from routeur.dialects import FORMATS, echo, sse
from routeur.dialects.base import Usage
from routeur.dialects.usage_tail import streamed_usage
from routeur.dialects.vectors import DIMENSIONS
from tests.recording import everything

TEXT = "Say  hello,\nwörld 🥌 "
MESSAGES = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "first"},
    {"role": "assistant", "content": "no"},
    {"role": "user", "content": [{"type": "text", "text": TEXT}]},
]
CHAT = {"model": "echo", "messages": MESSAGES}
CLAUDE = {"model": "echo", "system": "Be brief.", "messages": MESSAGES[1:], "max_tokens": 9}
INPUT = [*MESSAGES[:3], {"role": "user", "content": [{"type": "input_text", "text": TEXT}]}]
RESPONSE = {"model": "echo", "instructions": "Hm.", "input": INPUT, "metadata": {"a": "b"}}
GEMINI = {
    "systemInstruction": {"parts": [{"text": "Be brief."}]},
    "contents": [
        {"role": "user", "parts": [{"text": "first"}]},
        {"role": "model", "parts": [{"text": "no"}]},
        {"role": "user", "parts": [{"text": TEXT}]},
    ],
}


def ask(family: str, path: str, body: dict[str, Any], stream: bool = False) -> Any:
    """The whole answer's JSON."""
    found = echo.answer(family, path, body, stream)
    assert found.headers == [echo.JSON]
    assert found.status == 200
    return orjson.loads(b"".join(found.chunks))


def events(family: str, path: str, body: dict[str, Any]) -> list[Any]:
    """The data of a stream; one chunk is one event."""
    found = echo.answer(family, path, body, True)
    assert found.status == 200
    assert echo.SSE in found.headers
    frames = sse.Frames().feed(b"".join(found.chunks))
    assert frames == found.chunks
    data = [sse.data(frame) or b"" for frame in frames]
    return [orjson.loads(each) if each != b"[DONE]" else "[DONE]" for each in data]


def test_chat() -> None:
    found = ChatCompletion.model_validate(ask("openai", "/v1/chat/completions", CHAT))
    assert found.choices[0].message.content == TEXT
    assert found.choices[0].finish_reason == "stop"
    assert found.usage is not None
    assert (found.usage.prompt_tokens, found.usage.completion_tokens) == (8, 4)
    assert found.usage.total_tokens == 12


@pytest.mark.parametrize("asked", [True, False])
def test_chat_stream(asked: bool) -> None:
    body = {**CHAT, "stream_options": {"include_usage": asked}}
    found = events("openai", "/chat/completions", body)
    assert found.pop() == "[DONE]"
    chunks = [ChatCompletionChunk.model_validate(each) for each in found]
    if asked:
        last = chunks.pop()
        assert (last.choices, last.usage and last.usage.total_tokens) == ([], 12)
        assert all(each["usage"] is None for each in found[:-1])
    else:
        assert not any("usage" in each for each in found)
    assert "".join(each.choices[0].delta.content or "" for each in chunks) == TEXT
    assert len(chunks) == 4 + 2  # role, words, finish
    assert [each.choices[0].finish_reason for each in chunks] == [None] * 5 + ["stop"]
    assert len({each.id for each in chunks}) == 1


def test_completions() -> None:
    body = {"model": "echo", "prompt": TEXT}
    found = gpt.Completion.model_validate(ask("openai", "/v1/completions", body))
    assert found.choices[0].text == TEXT
    chunks = events("openai", "/v1/completions", body)
    assert chunks.pop() == "[DONE]"
    assert "".join(each["choices"][0]["text"] for each in chunks) == TEXT
    assert gpt.Completion.model_validate(chunks[-1]).choices[0].finish_reason == "stop"


def test_responses() -> None:
    found = Response.model_validate(ask("openai", "/v1/responses", RESPONSE))
    assert (found.output_text, found.status, found.instructions) == (TEXT, "completed", "Hm.")
    assert found.metadata == {"a": "b"}
    assert found.usage is not None
    assert (found.usage.input_tokens, found.usage.output_tokens) == (9, 4)
    assert ask("openai", "/v1/responses", {"model": "m", "input": "hi"})["output"]


def test_responses_stream() -> None:
    found = events("openai", "/v1/responses", RESPONSE)
    reader: TypeAdapter[Any] = TypeAdapter(ResponseStreamEvent)
    typed = [reader.validate_python(each) for each in found]
    assert [each.sequence_number for each in typed] == list(range(len(typed)))
    assert [each.type for each in typed] == [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.content_part.added",
        *["response.output_text.delta"] * 4,
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.completed",
    ]
    assert "".join(each.delta for each in typed[4:8]) == TEXT
    assert typed[-1].response.output_text == TEXT
    assert len({each.response.id for each in (typed[0], typed[1], typed[-1])}) == 1


def test_the_resource_has_what_recorded_ones_have() -> None:
    recorded = next(
        orjson.loads(each.body)
        for each in everything()
        if each.format == "openai_responses" and b'"object": "response"' in each.body
    )
    missing = recorded.keys() - ask("openai", "/v1/responses", RESPONSE).keys()
    assert missing <= {"billing", "prompt_cache_key", "prompt_cache_retention", "moderation"}


def test_messages() -> None:
    found = claude.Message.model_validate(ask("anthropic", "/v1/messages", CLAUDE))
    assert found.content[0].type == "text"
    assert (found.content[0].text, found.stop_reason) == (TEXT, "end_turn")
    assert (found.usage.input_tokens, found.usage.output_tokens) == (8, 4)
    assert ask("anthropic", "/v1/messages/count_tokens", CLAUDE) == {"input_tokens": 8}


def test_messages_stream() -> None:
    found = events("anthropic", "/v1/messages", CLAUDE)
    assert found.pop(2) == {"type": "ping"}
    reader: TypeAdapter[Any] = TypeAdapter(RawMessageStreamEvent)
    typed = [reader.validate_python(each) for each in found]
    assert [each.type for each in typed] == [
        "message_start",
        "content_block_start",
        *["content_block_delta"] * 4,
        "content_block_stop",
        "message_delta",
        "message_stop",
    ]
    assert "".join(each.delta.text for each in typed[2:6]) == TEXT
    assert typed[-2].usage.output_tokens == 4


def test_gemini() -> None:
    found = ask("gemini", "/v1beta/models/echo:generateContent", GEMINI)
    typed = google.GenerateContentResponse.model_validate(found)
    assert typed.text == TEXT
    assert typed.model_version == "echo"
    usage = typed.usage_metadata
    assert usage is not None
    assert (usage.prompt_token_count, usage.candidates_token_count) == (8, 4)
    assert ask("gemini", "/v1beta/models/echo:countTokens", GEMINI) == {"totalTokens": 8}
    wrapped = {"generateContentRequest": {"model": "models/echo", **GEMINI}}
    assert ask("gemini", "/v1beta/models/echo:countTokens", wrapped) == {"totalTokens": 8}


@pytest.mark.parametrize("prefix", ["/v1beta", "/v1/projects/p/locations/l/publishers/google"])
def test_gemini_streams(prefix: str) -> None:
    path = f"{prefix}/models/echo:streamGenerateContent"
    framed = events("gemini", f"{path}?alt=sse&key=x", GEMINI)
    listed = ask("gemini", path, GEMINI, True)
    for found in (framed, listed):
        chunks = [google.GenerateContentResponse.model_validate(each) for each in found]
        assert "".join(each.text or "" for each in chunks) == TEXT
        assert len(chunks) == 4
        finishes = [each.candidates[0].finish_reason for each in chunks if each.candidates]
        assert finishes == [None, None, None, google.FinishReason.STOP]
    assert len(echo.answer("gemini", path, GEMINI, True).chunks) == 4 + 1


@pytest.mark.parametrize(
    ("family", "path", "format", "body", "expected"),
    [
        ("openai", "/v1/responses", "openai_responses", RESPONSE, Usage(9, output=4)),
        ("anthropic", "/v1/messages", "anthropic", CLAUDE, Usage(8, output=4)),
        ("gemini", "/v1/models/e:streamGenerateContent", "gemini", GEMINI, Usage(8, output=4)),
        (
            "openai",
            "/v1/chat/completions",
            "openai_chat",
            {**CHAT, "stream_options": {"include_usage": True}},
            Usage(8, output=4),
        ),
    ],
)
def test_usage_is_read(
    family: str, path: str, format: str, body: dict[str, Any], expected: Usage
) -> None:
    chunks = echo.answer(family, path, body, True).chunks
    assert streamed_usage(FORMATS[format], b"", b"".join(chunks), whole=True) == expected
    matching = [each for each in chunks if FORMATS[format].FIRST_TOKEN.search(each)]
    assert b"Say" in matching[0]


def test_embeddings() -> None:
    body = {"model": "echo", "input": ["one", "two words", "one"]}
    found = gpt.CreateEmbeddingResponse.model_validate(ask("openai", "/v1/embeddings", body))
    one, two, again = [each.embedding for each in found.data]
    assert (one == again, one != two, len(one)) == (True, True, DIMENSIONS)
    assert math.isclose(math.hypot(*two), 1)
    assert (found.usage.prompt_tokens, found.usage.total_tokens) == (4, 4)

    packed = {**body, "input": "one", "encoding_format": "base64", "dimensions": 3}
    data = ask("openai", "/v1/embeddings", packed)["data"]
    values = struct.unpack("<3f", base64.b64decode(data[0]["embedding"]))
    assert math.isclose(math.hypot(*values), 1, rel_tol=1e-6)


@pytest.mark.parametrize(("given", "count"), [([1, 2, 3], 1), ([[1, 2], [3]], 2), (["a"], 1)])
def test_embeddings_of_tokens(given: list[Any], count: int) -> None:
    assert len(ask("openai", "/v1/embeddings", {"input": given})["data"]) == count


def test_embeddings_of_gemini() -> None:
    body = {"content": {"parts": [{"text": "one"}]}, "outputDimensionality": 5}
    found = ask("gemini", "/v1beta/models/echo:embedContent", body)
    assert len(found["embedding"]["values"]) == 5
    many = ask("gemini", "/v1beta/models/echo:batchEmbedContents", {"requests": [body, body]})
    typed = google.EmbedContentResponse.model_validate(many)
    assert typed.embeddings is not None
    assert [each.values for each in typed.embeddings] == [found["embedding"]["values"]] * 2


@pytest.mark.parametrize(
    ("family", "path", "body", "status"),
    [
        ("openai", "/v1/images/generations", {}, 404),
        ("openai", "/v1/responses/compact", {}, 404),
        ("anthropic", "/v1/messages/batches", {}, 404),
        ("gemini", "/v1beta/models/echo:predict", {}, 404),
        ("gemini", "/v1beta/files", {}, 404),
        ("openai", "/v1/embeddings", {}, 400),
        ("openai", "/v1/embeddings", {"input": 5}, 400),
        ("openai", "/v1/embeddings", {"input": "x", "dimensions": 0}, 400),
        ("openai", "/v1/embeddings", {"input": "x", "dimensions": "many"}, 400),
        ("gemini", "/v1/models/e:embedContent", {"outputDimensionality": 10**9}, 400),
        ("gemini", "/v1/models/e:batchEmbedContents", {"requests": None}, 400),
    ],
)
def test_refusals(family: str, path: str, body: dict[str, Any], status: int) -> None:
    found = echo.answer(family, path, body, False)
    assert found.status == status
    error = orjson.loads(found.chunks[0])
    assert error["error"]["message"]
    assert (error.get("type") == "error") == (family == "anthropic")


@pytest.mark.parametrize("odd", [None, 5, "", [], [None], [{}], {}, [{"role": "user"}], [[[]]]])
def test_odd_requests(odd: Any) -> None:
    """Whatever is asked, there is an answer."""
    chat = ask("openai", "/v1/chat/completions", {"messages": odd})
    assert chat["choices"][0]["message"]["content"] == echo.NOTHING
    for family, path in echo._REPLIES:
        body = {"messages": odd, "input": odd, "prompt": odd, "system": odd, "metadata": odd}
        assert echo.answer(family, path, body, True).status in (200, 400)
    for verb in ("generateContent", "streamGenerateContent", "countTokens", "embedContent"):
        body = {"contents": odd, "content": odd, "requests": odd, "systemInstruction": odd}
        assert echo.answer("gemini", f"/v1/models/e:{verb}", body, True).status == 200


def test_tool_results_are_not_the_users_words() -> None:
    messages = [{"role": "user", "content": "hi"}, {"role": "tool", "content": "42"}]
    found = ask("openai", "/v1/chat/completions", {"messages": messages})
    assert found["choices"][0]["message"]["content"] == "hi"
