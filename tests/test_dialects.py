"""Routes, errors, and what requests use."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import orjson
import pytest

from routeur.dialects import FAMILIES, FORMATS, gemini, match, methods
from tests.recording import HERE, Recording, everything

REQUESTS = [each for each in everything() if each.format and each.request[:1] == b"{"]


@pytest.mark.parametrize(
    ("method", "path", "family", "format", "creates"),
    [
        ("POST", "/v1/chat/completions", "openai", "openai_chat", True),
        ("POST", "/chat/completions", "openai", "openai_chat", True),
        ("POST", "/v1/embeddings", "openai", "openai_chat", True),
        ("POST", "/v1/images/generations", "openai", "openai_chat", True),
        ("POST", "/v1/images/edits", "openai", "openai_chat", True),
        ("POST", "/v1/audio/speech", "openai", "openai_chat", True),
        ("POST", "/v1/audio/transcriptions", "openai", "openai_chat", True),
        ("GET", "/v1/audio/voice_consents/x", "openai", None, False),
        ("POST", "/v1/videos", "openai", "openai_chat", True),
        ("POST", "/v1/videos/v1/remix", "openai", None, False),
        ("GET", "/v1/videos/v1/content", "openai", None, False),
        ("POST", "/v1/responses", "openai", "openai_responses", True),
        ("POST", "/v1/responses/compact", "openai", "openai_responses", True),
        ("POST", "/v1/responses/input_tokens", "openai", "openai_responses", True),
        ("GET", "/v1/responses/resp_1", "openai", "openai_responses", False),
        ("DELETE", "/v1/responses/resp_1", "openai", "openai_responses", False),
        ("GET", "/v1/responses/resp_1/input_items", "openai", "openai_responses", False),
        ("POST", "/v1/responses/resp_1/cancel", "openai", "openai_responses", False),
        ("POST", "/v1/messages", "anthropic", "anthropic", True),
        ("POST", "/v1/messages/count_tokens", "anthropic", "anthropic", True),
        ("POST", "/v1beta/models/gemini-2.5-pro:generateContent", "gemini", "gemini", True),
        ("POST", "/v1/models/google%2Fgemini-2.5-pro:predict", "gemini", "gemini", True),
    ],
)
def test_match(method: str, path: str, family: str, format: str | None, creates: bool) -> None:
    found = match(method, path)
    assert found is not None
    assert (found[0], found[1].format, found[1].creates) == (family, format, creates)
    assert method in methods(path)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/v1/files"),
        ("GET", "/v1/models"),
        ("GET", "/v1/models/ft:gpt-4o:me"),
        ("POST", "/v1/messages/batches"),
        ("POST", "/v1/chat/completions/"),
        ("POST", "/v1/responses/a/b/c"),
        ("POST", "/v1/images/"),
        ("POST", "/v1beta/cachedContents"),
        ("POST", "/V1/messages"),
        ("PUT", "/v1/videos/x"),
    ],
)
def test_no_match(method: str, path: str) -> None:
    assert match(method, path) is None


def test_methods() -> None:
    assert methods("/v1/chat/completions") == ("GET", "POST")
    assert methods("/v1/responses/resp_1") == ("DELETE", "GET")
    assert methods("/v1beta/models/x:generateContent") == ("POST",)
    assert methods("/v1/files") == ()


def test_what_can_be_translated() -> None:
    found = {
        route.path.rpartition("/")[2]
        for family in FAMILIES.values()
        for route in family.routes
        if route.purpose == "answer"
    }
    assert found == {
        "completions",
        "responses",
        "messages",
        "{model}:generateContent",
        "{model}:streamGenerateContent",
    }
    assert not match("POST", "/v1/completions")[1].purpose  # type: ignore[index]


PROJECT = "/projects/p/locations/l/publishers/google"


@pytest.mark.parametrize(
    ("path", "parsed", "upstream"),
    [
        (
            "/v1beta/models/gemini-2.5-pro:generateContent",
            ("v1beta", "", "gemini-2.5-pro", "generateContent"),
            "/v1beta/models/NEW:generateContent",
        ),
        (
            "/v1/models/gemini-2.5-pro:countTokens",
            ("v1", "", "gemini-2.5-pro", "countTokens"),
            "/v1/models/NEW:countTokens",
        ),
        (
            f"/v1{PROJECT}/models/gemini-2.5-pro:streamGenerateContent",
            ("v1", PROJECT, "gemini-2.5-pro", "streamGenerateContent"),
            "/v1beta/models/NEW:streamGenerateContent",
        ),
        (
            "/v1beta/google/gemini-x:countTokens",
            ("v1beta", "", "google/gemini-x", "countTokens"),
            "/v1beta/models/NEW:countTokens",
        ),
        (
            "/v1beta1/publishers/google/models/x:embedContent",
            ("v1beta1", "/publishers/google", "x", "embedContent"),
            "/v1beta/models/NEW:embedContent",
        ),
        (
            "/v1beta/models/google/gemini:nitro:generateContent",
            ("v1beta", "", "google/gemini:nitro", "generateContent"),
            "/v1beta/models/NEW:generateContent",
        ),
        (
            "/v1beta/models/google%2Fgemini%3AgenerateContent",
            ("v1beta", "", "google/gemini", "generateContent"),
            "/v1beta/models/NEW:generateContent",
        ),
    ],
)
def test_paths_of_gemini(path: str, parsed: tuple[str, ...], upstream: str) -> None:
    found = gemini.parse_path(path)
    assert found == gemini.GeminiPath(*parsed)
    assert gemini.address(found, "NEW") == upstream


@pytest.mark.parametrize(
    "path",
    [
        "/v1beta/models/x",
        "/v1beta/models/:generateContent",
        "/v1beta/models/x:",
        "/v1beta/models/../x:generateContent",
        "/v1beta/models/%2e%2e/x:generateContent",
        "/v1beta/models/a//b:generateContent",
        "/v1beta/models/x%0d%0a:generateContent",
        "/v1beta/models/x:generate%20Content",
        "/v2/models/x:generateContent",
        "/v1/projects/p/publishers/google/models/x:generateContent",
        "/v1/projects/p/locations/l/publishers/anthropic/models/x:rawPredict",
    ],
)
def test_no_paths_of_gemini(path: str) -> None:
    assert gemini.parse_path(path) is None


def test_names_are_quoted_in_paths() -> None:
    found = gemini.GeminiPath("v1beta", "", "a", "generateContent")
    assert gemini.address(found, "a b?c#d%/é@1") == (
        "/v1beta/models/a%20b%3Fc%23d%25/%C3%A9@1:generateContent"
    )


def error(family: str, status: int) -> Any:
    body = FAMILIES[family].write_error(
        status, "No.", type="kind", code="why", param="model", request_id="req_1"
    )
    return orjson.loads(body)


def test_errors() -> None:
    assert error("openai", 404) == {
        "error": {"message": "No.", "type": "kind", "param": "model", "code": "why"}
    }
    assert error("anthropic", 404) == {
        "type": "error",
        "error": {"type": "not_found_error", "message": "No."},
        "request_id": "req_1",
    }
    assert error("gemini", 404) == {"error": {"code": 404, "message": "No.", "status": "NOT_FOUND"}}


@pytest.mark.parametrize(
    ("status", "anthropic", "google"),
    [
        (400, "invalid_request_error", "INVALID_ARGUMENT"),
        (401, "authentication_error", "UNAUTHENTICATED"),
        (402, "billing_error", "FAILED_PRECONDITION"),
        (403, "permission_error", "PERMISSION_DENIED"),
        (404, "not_found_error", "NOT_FOUND"),
        (405, "invalid_request_error", "INVALID_ARGUMENT"),
        (408, "invalid_request_error", "DEADLINE_EXCEEDED"),
        (413, "request_too_large", "INVALID_ARGUMENT"),
        (429, "rate_limit_error", "RESOURCE_EXHAUSTED"),
        (500, "api_error", "INTERNAL"),
        (502, "api_error", "UNAVAILABLE"),
        (503, "overloaded_error", "UNAVAILABLE"),
        (504, "timeout_error", "DEADLINE_EXCEEDED"),
        (529, "overloaded_error", "INTERNAL"),
    ],
)
def test_names_of_statuses(status: int, anthropic: str, google: str) -> None:
    assert error("anthropic", status)["error"]["type"] == anthropic
    assert error("gemini", status)["error"]["status"] == google


def test_errors_are_worded_as_documented() -> None:
    """Same status, same name as in the providers' own error bodies."""
    documented = json.loads((HERE / "errors" / "documented-errors.json").read_text())["bodies"]
    compared = 0
    for each in documented:
        body, status = each.get("body"), each.get("status", 0)
        if each["dialect"] == "anthropic" and status and isinstance(body, dict):
            assert error("anthropic", status)["error"]["type"] == body["error"]["type"]
            compared += 1
        if each["dialect"] == "gemini" and status and isinstance(body, dict):
            assert error("gemini", status)["error"]["status"] == body["error"]["status"]
            compared += 1
    assert compared > 5


# What recordings' names say that their requests hold.
SAID = {
    "image": "test_image_url_input image_url_input ImageUploadAgent",
    "file": "document_binary_content document_as_binary document_url_input citations_with",
    "tools": "multi_tool tool_choice_matrix parallel_tool_calls",
    "json": "native_output recursive_schema",
    "reasoning": "tool_with_thinking thinking_part_redacted thinking_part_stream",
}


def named(words: str) -> Iterable[Recording]:
    return [each for each in REQUESTS if any(word in each.name for word in words.split())]


@pytest.mark.parametrize("ability", list(SAID))
def test_has(ability: str) -> None:
    found = [each for each in named(SAID[ability]) if ability in has(each)]
    assert len(found) >= 3
    plain = [each for each in REQUESTS if each.name.endswith(("-simple", "-simple_streaming"))]
    assert plain
    assert not any(ability in has(each) for each in plain if ability != "reasoning")


def has(each: Recording) -> frozenset[str]:
    assert each.format
    return FORMATS[each.format].has(orjson.loads(each.request))


def content(*parts: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"role": "user", "content": list(parts)}]


@pytest.mark.parametrize(
    ("format", "body", "expected"),
    [
        ("openai_chat", {"messages": content({"type": "image_url", "image_url": {}})}, "image"),
        ("openai_chat", {"messages": content({"type": "file", "file": {}})}, "file"),
        ("openai_chat", {"messages": content({"type": "input_audio"})}, "audio"),
        ("openai_chat", {"modalities": ["text", "audio"]}, "audio"),
        ("openai_chat", {"functions": [{"name": "f"}]}, "tools"),
        ("openai_chat", {"response_format": {"type": "json_object"}}, "json"),
        ("openai_chat", {"reasoning_effort": "low"}, "reasoning"),
        ("openai_chat", {"reasoning_effort": "none", "tools": [], "response_format": None}, ""),
        ("openai_responses", {"input": content({"type": "input_image"})}, "image"),
        ("openai_responses", {"input": content({"type": "input_file"})}, "file"),
        ("openai_responses", {"text": {"format": {"type": "json_schema"}}}, "json"),
        ("openai_responses", {"reasoning": {"effort": "high"}}, "reasoning"),
        ("openai_responses", {"reasoning": {"effort": "none"}, "input": "x"}, ""),
        ("anthropic", {"messages": content({"type": "image", "source": {"type": "url"}})}, "image"),
        (
            "anthropic",
            {
                "messages": content(
                    {
                        "type": "tool_result",
                        "content": [{"type": "image", "source": {"type": "base64"}}],
                    }
                )
            },
            "image",
        ),
        ("anthropic", {"messages": content({"type": "document", "source": {"type": "text"}})}, ""),
        ("anthropic", {"output_config": {"format": {"type": "json_schema"}}}, "json"),
        ("anthropic", {"thinking": {"type": "adaptive"}}, "reasoning"),
        ("anthropic", {"thinking": {"type": "disabled"}}, ""),
        ("gemini", {"contents": [{"parts": [{"inlineData": {"mimeType": "image/png"}}]}]}, "image"),
        (
            "gemini",
            {"contents": [{"parts": [{"inline_data": {"mime_type": "audio/wav"}}]}]},
            "audio",
        ),
        ("gemini", {"contents": [{"parts": [{"fileData": {"fileUri": "x"}}]}]}, "file"),
        ("gemini", {"generation_config": {"response_mime_type": "application/json"}}, "json"),
        ("gemini", {"generationConfig": {"thinkingConfig": {"thinkingBudget": 0}}}, ""),
        ("gemini", {"generateContentRequest": {"tools": [{"googleSearch": {}}]}}, "tools"),
    ],
)
def test_has_in_detail(format: str, body: dict[str, Any], expected: str) -> None:
    assert FORMATS[format].has(body) == frozenset(filter(None, [expected]))


@pytest.mark.parametrize("each", REQUESTS, ids=str)
def test_prompt_is_of_the_right_size(each: Recording) -> None:
    """Between the text alone and the whole body; attachments are not counted by their bytes."""
    assert each.format
    size = FORMATS[each.format].prompt(orjson.loads(each.request))
    attachments = len(has(each) & {"image", "file", "audio"})
    assert 0 <= size <= len(each.request) + 4 * 4000 * attachments + 4000
    if "/compact" not in each.url and "count" not in each.name:
        assert size > 4


@pytest.mark.parametrize(
    ("format", "body"),
    [
        ("openai_chat", {"messages": [{"content": "x" * 400}]}),
        ("openai_chat", {"prompt": ["x" * 200, "x" * 200]}),
        ("openai_chat", {"input": [[1] * 50, [2] * 50]}),
        ("openai_responses", {"instructions": "x" * 200, "input": "x" * 200}),
        ("anthropic", {"system": [{"text": "x" * 200}], "messages": [{"content": "x" * 200}]}),
        ("gemini", {"contents": [{"parts": [{"text": "x" * 200}, {"text": "x" * 200}]}]}),
        ("gemini", {"requests": [{"content": {"parts": [{"text": "x" * 400}]}}]}),
    ],
)
def test_prompt(format: str, body: dict[str, Any]) -> None:
    assert FORMATS[format].prompt(body) == 400


def test_a_picture_counts_the_same_whatever_its_bytes() -> None:
    for length in (10, 100_000):
        part = {"type": "image_url", "image_url": {"url": "x" * length}}
        assert FORMATS["openai_chat"].prompt({"messages": [{"content": [part]}]}) == 4000


@pytest.mark.parametrize(
    ("text", "tokens"),
    [("word" * 50, 50), ("汉" * 50, 50), ("か" * 50, 50), ("щ" * 50, 31), ("Grüße, " * 20, 50)],
)
def test_other_scripts_need_more_tokens(text: str, tokens: int) -> None:
    assert FORMATS["anthropic"].prompt({"messages": [{"content": text}]}) // 4 == tokens


@pytest.mark.parametrize(
    ("mime", "length", "tokens"),
    [
        ("application/pdf", 100, 1_000),
        ("application/pdf", 640_000, 10_000),
        ("application/pdf", 20_000_000, 50_000),
        ("text/plain", 640_000, 120_000),
        ("audio/mp3", 640_000, 1_000),
        ("audio/mp3", 6_400_000, 6_400),
        ("image/png", 6_400_000, 1_000),
    ],
)
def test_large_files_need_more_tokens(mime: str, length: int, tokens: int) -> None:
    part = {"inlineData": {"mimeType": mime, "data": "x" * length}}

    assert FORMATS["gemini"].prompt({"contents": [{"parts": [part]}]}) // 4 == tokens


@pytest.mark.parametrize("odd", [None, 0, "x", [], {}, [[None]], [{"type": []}], {"type": {}}])
@pytest.mark.parametrize("format", list(FORMATS))
def test_odd_requests(format: str, odd: Any) -> None:
    """A body that the provider will refuse is nothing to fail on."""
    names = (
        "messages input system contents prompt tools functions text reasoning response_format"
        " modalities thinking output_config generationConfig generateContentRequest instructions"
        " reasoning_effort systemInstruction requests"
    )
    for name in names.split():
        body = {name: odd}
        FORMATS[format].has(body)
        assert FORMATS[format].prompt(body) >= 0
