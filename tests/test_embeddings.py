"""Embeddings between OpenAI and Gemini."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from openai.types import CreateEmbeddingResponse

from routeur.dialects.embeddings import (
    GEMINI,
    OPENAI,
    Embeddings,
    EmbedRequest,
    address,
    read_request,
    read_response,
    write_request,
    write_response,
)
from routeur.dialects.neutral.aim import Aim, Invalid, Losses, Untranslatable
from tests.recording import recording
from tests.schemas import breaks

MODEL = "gemini-embedding-001"
TO_GEMINI = Aim(GEMINI, MODEL, "google")
TO_VERTEX = Aim(GEMINI, MODEL, "google", "vertex")
TO_PREDICT = Aim(GEMINI, "text-embedding-005", "", "vertex")
TO_OPENAI = Aim(OPENAI, "text-embedding-3-small")


def from_openai(**members: Any) -> EmbedRequest:
    return read_request(OPENAI, {"model": "m", **members}, model="m")


def from_gemini(**body: Any) -> EmbedRequest:
    return read_request(GEMINI, body, model="m")


def content(text: str) -> Any:
    return {"content": {"parts": [{"text": text}]}}


def written(request: EmbedRequest, aim: Aim, losses: Losses | None = None) -> Any:
    return orjson.loads(write_request(request, aim, losses or Losses()))


@pytest.mark.parametrize("asked", ["a", ["a"], ["a", "b"]])
def test_openai_to_gemini(asked: Any) -> None:
    request = from_openai(input=asked, dimensions=256, user="u")
    losses = Losses()
    body = written(request, TO_GEMINI, losses)
    assert body == {
        "requests": [
            {"model": f"models/{MODEL}", "outputDimensionality": 256, **content(text)}
            for text in asked
        ]
    }
    assert breaks("gemini-v1beta-openapi", "BatchEmbedContentsRequest", body) == []
    assert losses.dropped == ("user",)
    assert address(TO_GEMINI) == f"/v1beta/models/{MODEL}:batchEmbedContents"


def test_openai_to_vertex() -> None:
    request = from_openai(input="a", dimensions=256)
    (one,) = written(request, TO_VERTEX)["requests"]
    assert one["embedContentConfig"] == {"outputDimensionality": 256}
    assert address(TO_PREDICT) == "/v1beta/models/text-embedding-005:predict"
    assert written(request, TO_PREDICT) == {
        "instances": [{"content": "a"}],
        "parameters": {"outputDimensionality": 256},
    }


@pytest.mark.parametrize(
    ("members", "field", "kind"),
    [
        ({}, "input", Invalid),
        ({"input": []}, "input", Invalid),
        ({"input": ["a", None]}, "input[1]", Invalid),
        ({"input": [1, 2]}, "input", Untranslatable),
        ({"input": [[1, 2]]}, "input", Untranslatable),
        ({"input": "a", "encoding_format": "hex"}, "encoding_format", Invalid),
        ({"input": "a", "dimensions": "many"}, "dimensions", Invalid),
    ],
)
def test_mistakes_of_openai_clients(members: Any, field: str, kind: type[Exception]) -> None:
    with pytest.raises((Invalid, Untranslatable)) as found:
        from_openai(**members)
    assert type(found.value) is kind
    assert found.value.field == field


def test_gemini_to_openai() -> None:
    request = from_gemini(
        requests=[
            {"model": "models/m", **content("a"), "output_dimensionality": 8},
            {**content("b"), "embedContentConfig": {"outputDimensionality": 8}},
        ]
    )
    assert request == EmbedRequest(GEMINI, "m", ("a", "b"), 8)
    body = written(request, TO_OPENAI)
    assert body == {
        "model": "text-embedding-3-small",
        "input": ["a", "b"],
        "encoding_format": "float",
        "dimensions": 8,
    }
    assert breaks("openai-openapi", "CreateEmbeddingRequest", body) == []
    assert address(TO_OPENAI) == "/v1/embeddings"


def test_what_openai_cannot_do() -> None:
    losses = Losses()
    request = from_gemini(**content("a"), taskType="CLUSTERING", title="t", autoTruncate=True)
    written(request, TO_OPENAI, losses)
    assert losses.dropped == ("autoTruncate", "taskType", "title")
    assert written(request, TO_PREDICT)["instances"] == [
        {"content": "a", "task_type": "CLUSTERING", "title": "t"}
    ]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "content"),
        ({"requests": []}, "requests"),
        ({"content": {"parts": [{"inlineData": {}}]}}, "content.parts[0]"),
        ({"requests": [content("a"), {**content("b"), "taskType": "X"}]}, "requests[1]"),
    ],
)
def test_mistakes_of_gemini_clients(body: Any, field: str) -> None:
    with pytest.raises(Invalid) as found:
        from_gemini(**body)
    assert found.value.field == field


@pytest.mark.parametrize("name", ["dimensions", "encoding_format"])
def test_recorded_answers(name: str) -> None:
    """OpenAI's, for a client of Gemini's, and back again as OpenAI's SDK reads it."""
    each = recording(f"test_embeddings_with_{name}")
    found = read_response(OPENAI, orjson.loads(each.body))
    assert found.tokens
    assert len(found.vectors[0]) in (512, 1536)

    body = orjson.loads(write_response(found, from_gemini(**content("a"))))
    assert breaks("gemini-v1beta-openapi", "EmbedContentResponse", body) == []

    again = read_response(GEMINI, body)
    assert again.vectors == found.vectors
    assert again.tokens == found.tokens
    for packed in ("float", "base64"):
        request = from_openai(input="a", encoding_format=packed)
        answer = write_response(again, request)
        if packed == "float":  # the SDK unpacks base64 before it makes its model
            CreateEmbeddingResponse.model_validate_json(answer)
        assert read_response(OPENAI, orjson.loads(answer)).vectors[0] == pytest.approx(
            found.vectors[0]
        )


def test_answers_of_gemini() -> None:
    batch = {"embeddings": [{"values": [3.0, 4.0]}, {"values": [0, 0]}]}
    found = read_response(GEMINI, batch)
    assert found == Embeddings(([3.0, 4.0], [0, 0]))
    request = from_openai(input=["12345", "1"], dimensions=2)
    assert orjson.loads(write_response(found, request)) == {
        "object": "list",
        "data": [
            {"object": "embedding", "index": 0, "embedding": [0.6, 0.8]},
            {"object": "embedding", "index": 1, "embedding": [0, 0]},
        ],
        "model": "m",
        "usage": {"prompt_tokens": 3, "total_tokens": 3},
    }
    statistics = {"values": [1], "statistics": {"token_count": 2}}
    predicted = {"predictions": [{"embeddings": statistics}] * 2}
    assert read_response(GEMINI, predicted) == Embeddings(([1], [1]), tokens=4)
    many = from_gemini(requests=[content("a"), content("b")])
    assert orjson.loads(write_response(found, many)) == batch


@pytest.mark.parametrize("dialect", [OPENAI, GEMINI])
def test_no_vectors(dialect: str) -> None:
    broken = {"data": [{"embedding": None}], "embeddings": [{"values": ["a"]}]}
    with pytest.raises(ValueError, match="list of numbers"):
        read_response(dialect, broken)
