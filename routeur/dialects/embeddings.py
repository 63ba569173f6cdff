"""Embeddings of text, between OpenAI's /v1/embeddings and Gemini's embedContent and its kin.

Source of truth: both APIs' descriptions, and which verb google-genai takes for which model. Vertex
AI knows `batchEmbedContents` for Gemini's models only, `predict` for all others.
"""

from __future__ import annotations

import struct
from base64 import b64decode
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import orjson

from routeur.dialects import expect
from routeur.dialects.base import Json
from routeur.dialects.gemini.wire import a_list, a_string, an_integer, an_object, camel
from routeur.dialects.loose import is_count, items, members, tokens
from routeur.dialects.neutral.aim import Aim, Losses, Untranslatable
from routeur.dialects.vectors import openai_body, unit

OPENAI = "openai_chat"  # the format of /v1/embeddings
GEMINI = "gemini"

_CHARACTERS = 4  # to a token, where nobody counted


@dataclass(frozen=True, slots=True)
class EmbedRequest:
    """Texts to embed. `dimensions` None: as many as the model has.

    `packed`: OpenAI's base64 is wanted; `batch`: a list, even if it is of one; `task` and `title`:
    Gemini's; `unknown`: names of members that have no field.
    """

    dialect: str
    model: str
    texts: tuple[str, ...]
    dimensions: int | None = None
    packed: bool = False
    batch: bool = True
    task: str = ""
    title: str = ""
    user: str = ""
    unknown: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Embeddings:
    """One vector for each text, in their order; `tokens` None: nobody counted them."""

    vectors: tuple[list[float], ...]
    model: str = ""
    tokens: int | None = None


def read_request(dialect: str, body: Json, *, model: str) -> EmbedRequest:
    """A client's body. Raises Invalid."""
    return _read_openai(body, model) if dialect == OPENAI else _read_gemini(body, model)


def write_request(request: EmbedRequest, aim: Aim, losses: Losses) -> bytes:
    """The body for a target; `aim.dialect` is OPENAI or GEMINI. Raises Untranslatable."""
    for name in request.unknown:
        losses.drop(name)
    if aim.dialect == OPENAI:
        return orjson.dumps(_to_openai(request, aim, losses))
    losses.drop_all({"user": request.user})
    if _predicts(aim):
        return orjson.dumps(_to_predict(request))
    return orjson.dumps({"requests": [_to_gemini(request, text, aim) for text in request.texts]})


def address(aim: Aim) -> str:
    """The path as a client of the target's dialect has it."""
    if aim.dialect == OPENAI:
        return "/v1/embeddings"
    verb = "predict" if _predicts(aim) else "batchEmbedContents"
    return f"/v1beta/models/{quote(aim.model, safe='/@:~')}:{verb}"


def read_response(dialect: str, body: Json) -> Embeddings:
    """A whole answer. Raises ValueError if it is none."""
    return _from_openai(body) if dialect == OPENAI else _from_gemini(body)


def write_response(found: Embeddings, request: EmbedRequest) -> bytes:
    """The answer for the client of this request."""
    if request.dialect == OPENAI:
        return orjson.dumps(_as_openai(found, request))
    vectors: list[Json] = [{"values": vector} for vector in found.vectors]
    body: Json = {"embeddings": vectors} if request.batch else {"embedding": vectors[0]}
    if found.tokens is not None:
        body["usageMetadata"] = {"promptTokenCount": found.tokens}
    return orjson.dumps(body)


# ── OpenAI


def _read_openai(body: Json, model: str) -> EmbedRequest:
    asked = body.get("input")
    texts: list[Any] = asked if isinstance(asked, list) else [asked]
    if not texts:
        raise expect.wrong("input", "a text, or a list of texts")
    for number, each in enumerate(texts):
        field = f"input[{number}]" if isinstance(asked, list) else "input"
        if isinstance(each, int | list):
            raise Untranslatable("input", "`input` must be texts: other APIs take no tokens")
        if not isinstance(each, str):
            raise expect.wrong(field, "a text")
    encoding = a_string(body.get("encoding_format"), "encoding_format")
    if encoding not in ("", "float", "base64"):
        raise expect.wrong("encoding_format", "float or base64")
    return EmbedRequest(
        OPENAI,
        model,
        tuple(texts),
        an_integer(body.get("dimensions"), "dimensions"),
        encoding == "base64",
        user=a_string(body.get("user"), "user"),
        unknown=_unknown(body, "model input encoding_format dimensions user"),
    )


def _to_openai(request: EmbedRequest, aim: Aim, losses: Losses) -> Json:
    losses.drop_all({"taskType": request.task, "title": request.title})
    found: Json = {"model": aim.model, "input": list(request.texts), "encoding_format": "float"}
    if request.dimensions is not None:
        found["dimensions"] = request.dimensions
    if request.user:
        found["user"] = request.user
    return found


def _from_openai(body: Json) -> Embeddings:
    data = [members(each) for each in items(body.get("data"))]
    data.sort(key=lambda each: tokens(each.get("index")))
    count = members(body.get("usage")).get("prompt_tokens")
    return Embeddings(
        tuple(_unpacked(each.get("embedding")) for each in data),
        str(body.get("model") or ""),
        tokens(count) if is_count(count) else None,
    )


def _unpacked(value: object) -> list[float]:
    if isinstance(value, str):
        data = b64decode(value)
        return list(struct.unpack(f"<{len(data) // 4}f", data[: len(data) // 4 * 4]))
    return _numbers(value)


def _as_openai(found: Embeddings, request: EmbedRequest) -> Json:
    vectors = found.vectors
    if request.dimensions is not None:
        # OpenAI's have the length 1; Gemini's have not, once they are shortened
        vectors = tuple(map(unit, vectors))
    count = found.tokens
    if count is None:
        count = sum(-(-len(text) // _CHARACTERS) for text in request.texts)
    return openai_body(vectors, found.model or request.model, count, packed=request.packed)


# ── Gemini


def _read_gemini(body: Json, model: str) -> EmbedRequest:
    body = camel(body)
    batch = "requests" in body
    each = a_list(body.get("requests"), "requests") if batch else [body]
    if not each:
        raise expect.wrong("requests", "a list of embedContent requests")
    found = [
        _read_one(an_object(one, f"requests[{n}]"), f"requests[{n}]." if batch else "")
        for n, one in enumerate(each)
    ]
    first = found[0][1]
    for number, (_, options) in enumerate(found):
        if options != first:
            field = f"requests[{number}]"
            raise expect.wrong(field, "the same options as in the first one")
    return EmbedRequest(
        GEMINI,
        model,
        tuple(text for text, _ in found),
        an_integer(first.get("outputDimensionality"), "outputDimensionality"),
        batch=batch,
        task=a_string(first.get("taskType"), "taskType"),
        title=a_string(first.get("title"), "title"),
        unknown=_unknown(first, "outputDimensionality taskType title"),
    )


def _read_one(request: Json, path: str) -> tuple[str, Json]:
    """Its text, and its options, which newer clients put in an object of their own."""
    content = an_object(request.get("content"), f"{path}content")
    texts = []
    for number, each in enumerate(a_list(content.get("parts"), f"{path}content.parts")):
        field = f"{path}content.parts[{number}]"
        part = an_object(each, field)
        if part.keys() != {"text"}:
            raise expect.wrong(field, "a text: nothing else can be embedded here")
        texts.append(a_string(part["text"], field))
    if not texts:
        raise expect.wrong(f"{path}content", "a part with a text")
    inner = an_object(request.get("embedContentConfig"), f"{path}embedContentConfig")
    outer = {name: each for name, each in request.items() if name not in _NO_OPTIONS}
    return "\n".join(texts), {**outer, **inner}


_NO_OPTIONS = ("model", "content", "embedContentConfig")


def _predicts(aim: Aim) -> bool:
    return aim.platform == "vertex" and "gemini" not in aim.model and "maas" not in aim.model


def _options(request: EmbedRequest) -> Json:
    told = {
        "taskType": request.task,
        "title": request.title,
        "outputDimensionality": request.dimensions,
    }
    return {name: each for name, each in told.items() if each}


def _to_gemini(request: EmbedRequest, text: str, aim: Aim) -> Json:
    found: Json = {"model": f"models/{aim.model}", "content": {"parts": [{"text": text}]}}
    options = _options(request)
    if aim.platform != "vertex":
        return found | options
    return found | ({"embedContentConfig": options} if options else {})


def _to_predict(request: EmbedRequest) -> Json:
    told = {"task_type": request.task, "title": request.title}
    named = {name: each for name, each in told.items() if each}
    found: Json = {"instances": [{"content": text, **named} for text in request.texts]}
    if request.dimensions is not None:
        found["parameters"] = {"outputDimensionality": request.dimensions}
    return found


def _from_gemini(body: Json) -> Embeddings:
    predictions = [members(members(each).get("embeddings")) for each in _list(body, "predictions")]
    each = predictions or [members(one) for one in _list(body, "embeddings")]
    if not each and isinstance(body.get("embedding"), dict):
        each = [body["embedding"]]
    counts = [members(one.get("statistics")).get("token_count") for one in predictions]
    usage = members(body.get("usageMetadata")).get("promptTokenCount")
    count = tokens(usage) if is_count(usage) else None
    if predictions and all(map(is_count, counts)):
        count = sum(map(tokens, counts))
    return Embeddings(tuple(_numbers(one.get("values")) for one in each), tokens=count)


def _list(body: Json, name: str) -> list[object]:
    return items(body.get(name))


# ── both


def _numbers(value: object) -> list[float]:
    if not isinstance(value, list) or not all(type(each) in (int, float) for each in value):
        raise ValueError("an embedding must be a list of numbers")
    return value


def _unknown(body: Json, known: str) -> tuple[str, ...]:
    read = known.split()
    return tuple(name for name, each in body.items() if name not in read and each is not None)
