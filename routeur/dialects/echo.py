"""A built-in answerer without a network: the last user message back, word by word, in any dialect.

A word counts as a token. Embeddings are unit vectors that depend on nothing but the text.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from secrets import token_hex
from typing import Any

import orjson

from routeur.dialects import FAMILIES, gemini
from routeur.dialects.base import Json
from routeur.dialects.loose import either, items, members, string
from routeur.dialects.vectors import DIMENSIONS, is_size, openai_body, vector, wrong_size

NOTHING = "The last user message has no text."

JSON = ("Content-Type", "application/json")
SSE = ("Content-Type", "text/event-stream; charset=utf-8")

_WORD = re.compile(r"\s*\S+(?:\s+\Z)?")
# Where text stands in a message, in any dialect.
_TEXT = ("text", "content", "parts", "output", "thinking")


@dataclass(frozen=True, slots=True)
class Answer:
    """What to send; `chunks` are the body, one for each word of a stream."""

    status: int
    headers: list[tuple[str, str]]
    chunks: list[bytes]


def answer(family: str, path: str, body: Json, stream: bool) -> Answer:
    """The answer to a request. `path` may have its query, which says how Gemini streams."""
    plain, _, query = path.partition("?")
    if family == "gemini":
        return _gemini(plain, query, body)
    reply = _REPLIES.get((family, plain))
    if reply is None:
        return _refuse(family, 404, f"echo does not answer {plain}")
    return reply(body, stream)


def _refuse(family: str, status: int, message: str) -> Answer:
    code = "not_found" if status == 404 else "invalid_request"
    write = FAMILIES[family].write_error
    error = write(status, message, type=f"{code}_error", code=code, param=None, request_id="")
    return Answer(status, [JSON], [error])


def _whole(value: Json) -> Answer:
    return Answer(200, [JSON], [orjson.dumps(value)])


def _stream(chunks: Iterable[bytes]) -> Answer:
    return Answer(200, [SSE, ("Cache-Control", "no-cache")], list(chunks))


def _data(value: Json) -> bytes:
    return b"data: " + orjson.dumps(value) + b"\n\n"


def _event(value: Json) -> bytes:
    return b"event: " + string(value["type"]).encode() + b"\n" + _data(value)


def _id(prefix: str) -> str:
    return prefix + token_hex(12)


# ---- what a request says


def text_of(value: Any) -> str:
    """The text of a message, a part or a list of them."""
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        return "\n".join(filter(None, map(text_of, value)))
    if isinstance(value, dict):
        return text_of([value[name] for name in _TEXT if name in value])
    return ""


def _last_of_user(messages: Any) -> str:
    """The text of the last message with the role of a user."""
    if isinstance(messages, str):
        return messages or NOTHING
    for each in reversed(items(messages)):
        if members(each).get("role", "user") == "user" and (text := text_of(each)):
            return text
    return NOTHING


def _words(text: str) -> list[str]:
    """The text in pieces of one word each; joined they are the text."""
    return _WORD.findall(text) or [text]


def _count(*values: Any) -> int:
    """How many words are in the text of these."""
    return sum(len(text_of(value).split()) for value in values)


# ---- OpenAI: Chat Completions and completions


def _chat(body: Json, stream: bool) -> Answer:
    text = _last_of_user(body.get("messages"))
    usage = _usage(_count(body.get("messages")), len(text.split()))
    if not stream:
        message = {"role": "assistant", "content": text, "refusal": None}
        return _whole(_completion("chat.completion", body, {"message": message}, usage))
    first: Json = {"delta": {"role": "assistant", "content": ""}}
    words: list[Json] = [{"delta": {"content": word}} for word in _words(text)]
    return _chunks("chat.completion.chunk", body, [first, *words, {"delta": {}}], usage)


def _complete(body: Json, stream: bool) -> Answer:
    asked = body.get("prompt")
    text = (text_of(items(asked)[-1:]) if isinstance(asked, list) else string(asked)) or NOTHING
    usage = _usage(_count(asked), len(text.split()))
    if not stream:
        return _whole(_completion("text_completion", body, {"text": text}, usage))
    choices: list[Json] = [{"text": word} for word in _words(text)]
    return _chunks("text_completion", body, [*choices, {"text": ""}], usage)


def _usage(prompt: int, completion: int) -> Json:
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 0, "audio_tokens": 0},
    }


def _completion(
    kind: str, body: Json, choice: Json, usage: Json | None, finish: str | None = "stop"
) -> Json:
    return {
        "id": _id("chatcmpl-" if kind.startswith("chat") else "cmpl-"),
        "object": kind,
        "created": int(time.time()),
        "model": body.get("model"),
        "choices": [{"index": 0, **choice, "logprobs": None, "finish_reason": finish}],
        "usage": usage,
    }


def _chunks(kind: str, body: Json, choices: list[Json], usage: Json) -> Answer:
    """A stream; with `include_usage` a last chunk has it, and all others say null."""
    asked = members(body.get("stream_options")).get("include_usage") is True
    frame = _completion(kind, body, {}, None)
    if not asked:
        del frame["usage"]

    def chunk(choice: Json, finish: str | None) -> bytes:
        whole = {"index": 0, **choice, "logprobs": None, "finish_reason": finish}
        return _data({**frame, "choices": [whole]})

    chunks = [chunk(choice, None) for choice in choices[:-1]]
    chunks.append(chunk(choices[-1], "stop"))
    if asked:
        chunks.append(_data({**frame, "choices": [], "usage": usage}))
    return _stream([*chunks, b"data: [DONE]\n\n"])


# ---- OpenAI: Responses


def _responses(body: Json, stream: bool) -> Answer:
    text = _last_of_user(body.get("input"))
    item = {
        "id": _id("msg_"),
        "type": "message",
        "status": "completed",
        "role": "assistant",
        "content": [_output_text(text)],
    }
    prompt, output = _count(body.get("instructions"), body.get("input")), len(text.split())
    begun = _resource(body)
    done = {
        **begun,
        "status": "completed",
        "completed_at": int(time.time()),
        "output": [item],
        "usage": {
            "input_tokens": prompt,
            "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
            "output_tokens": output,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": prompt + output,
        },
    }
    if not stream:
        return _whole(done)
    events = _response_events(begun, done, item, text)
    return _stream(_event({**each, "sequence_number": n}) for n, each in enumerate(events))


def _response_events(begun: Json, done: Json, item: Json, text: str) -> list[Json]:
    here: Json = {"item_id": item["id"], "output_index": 0, "content_index": 0}
    empty = {**item, "status": "in_progress", "content": []}
    part = "response.content_part"
    words = (
        {"type": "response.output_text.delta", **here, "delta": word, "logprobs": []}
        for word in _words(text)
    )
    return [
        {"type": "response.created", "response": begun},
        {"type": "response.in_progress", "response": begun},
        {"type": "response.output_item.added", "output_index": 0, "item": empty},
        {"type": f"{part}.added", **here, "part": _output_text("")},
        *words,
        {"type": "response.output_text.done", **here, "text": text, "logprobs": []},
        {"type": f"{part}.done", **here, "part": _output_text(text)},
        {"type": "response.output_item.done", "output_index": 0, "item": item},
        {"type": "response.completed", "response": done},
    ]


def _output_text(text: str) -> Json:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


def _resource(body: Json) -> Json:
    """A response that has begun: what was asked for, or the API's defaults."""
    defaults: Json = {
        "background": False,
        "frequency_penalty": 0.0,
        "instructions": None,
        "max_output_tokens": None,
        "max_tool_calls": None,
        "metadata": {},
        "parallel_tool_calls": True,
        "presence_penalty": 0.0,
        "previous_response_id": None,
        "reasoning": {"effort": None, "summary": None},
        "safety_identifier": None,
        "service_tier": "default",
        "store": False,
        "temperature": 1.0,
        "text": {"format": {"type": "text"}},
        "tool_choice": "auto",
        "tools": [],
        "top_logprobs": 0,
        "top_p": 1.0,
        "truncation": "disabled",
        "user": None,
    }
    asked = {name: body[name] for name in defaults if body.get(name) is not None}
    return {
        "id": _id("resp_"),
        "object": "response",
        "created_at": int(time.time()),
        "status": "in_progress",
        "error": None,
        "incomplete_details": None,
        "model": body.get("model"),
        "output": [],
        "usage": None,
        **defaults,
        **asked,
        "store": False,  # nothing is kept
    }


def _input_tokens(body: Json, _: bool) -> Answer:
    count = _count(body.get("instructions"), body.get("input"))
    return _whole({"object": "response.input_tokens", "input_tokens": count})


# ---- Anthropic


def _messages(body: Json, stream: bool) -> Answer:
    text = _last_of_user(body.get("messages"))
    message: Json = {
        "id": _id("msg_"),
        "type": "message",
        "role": "assistant",
        "model": body.get("model"),
        "content": [{"type": "text", "text": text}],
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": {
            "input_tokens": _count(body.get("system"), body.get("messages")),
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": 0,
            "output_tokens": len(text.split()),
        },
    }
    if not stream:
        return _whole(message)
    return _stream(map(_event, _message_events(message, text)))


def _message_events(message: Json, text: str) -> list[Json]:
    usage = message["usage"]
    start = {
        **message,
        "content": [],
        "stop_reason": None,
        "usage": {**usage, "output_tokens": 1},  # as Anthropic does, before it knows
    }
    block = {"type": "text", "text": ""}
    words = (
        {
            "type": "content_block_delta",
            "index": 0,
            "delta": {"type": "text_delta", "text": word},
        }
        for word in _words(text)
    )
    return [
        {"type": "message_start", "message": start},
        {"type": "content_block_start", "index": 0, "content_block": block},
        {"type": "ping"},
        *words,
        {"type": "content_block_stop", "index": 0},
        {
            "type": "message_delta",
            "delta": {"stop_reason": "end_turn", "stop_sequence": None},
            "usage": usage,
        },
        {"type": "message_stop"},
    ]


def _count_tokens(body: Json, _: bool) -> Answer:
    return _whole({"input_tokens": _count(body.get("system"), body.get("messages"))})


# ---- Gemini


def _gemini(path: str, query: str, body: Json) -> Answer:
    parsed = gemini.parse_path(path)
    verb = parsed.verb if parsed else ""
    model = parsed.model if parsed else ""
    if verb == "generateContent":
        return _whole(_contents(model, body)[-1])
    if verb == gemini.STREAM:
        chunks = [orjson.dumps(each) for each in _contents(model, body)[:-1]]
        if "alt=sse" in query.split("&"):
            return _stream(b"data: " + chunk + b"\r\n\r\n" for chunk in chunks)
        opened = [(b",\r\n" if n else b"[") + chunk for n, chunk in enumerate(chunks)]
        return Answer(200, [JSON], [*opened, b"]\n"])
    if verb == "countTokens":
        return _whole({"totalTokens": _gemini_count(body)})
    if verb == "embedContent":
        return _gemini_embeddings([body], lambda found: {"embedding": found[0]})
    if verb == "batchEmbedContents":
        return _gemini_embeddings(body.get("requests"), lambda found: {"embeddings": found})
    return _refuse("gemini", 404, f"echo does not answer {path}")


def _contents(model: str, body: Json) -> list[Json]:
    """The chunks of a stream, and at last the whole answer."""
    text = _last_of_user(body.get("contents"))
    words = _words(text)
    prompt = _gemini_count(body)
    identity = _id("")

    def content(text: str, output: int, finish: str | None) -> Json:
        candidate: Json = {"content": {"parts": [{"text": text}], "role": "model"}, "index": 0}
        if finish:
            candidate["finishReason"] = finish
        usage = {
            "promptTokenCount": prompt,
            "candidatesTokenCount": output,
            "totalTokenCount": prompt + output,
            "promptTokensDetails": [{"modality": "TEXT", "tokenCount": prompt}],
        }
        return {
            "candidates": [candidate],
            "usageMetadata": usage,
            "modelVersion": model,
            "responseId": identity,
        }

    total = len(text.split())
    pieces = [content(word, n, None) for n, word in enumerate(words[:-1], 1)]
    return [*pieces, content(words[-1], total, "STOP"), content(text, total, "STOP")]


def _gemini_count(body: Json) -> int:
    request = members(body.get("generateContentRequest")) or body
    system = either(request, "systemInstruction", "system_instruction")
    return _count(system, request.get("contents"))


def _gemini_embeddings(requests: Any, shape: Callable[[list[Json]], Json]) -> Answer:
    found: list[Json] = []
    for each in map(members, items(requests)):
        config = members(each.get("embedContentConfig"))
        size = either({**config, **each}, "outputDimensionality", "output_dimensionality")
        size = DIMENSIONS if size is None else size
        if not is_size(size):
            return _refuse("gemini", 400, wrong_size("outputDimensionality"))
        found.append({"values": vector(text_of(each.get("content")), size)})
    if not found:
        return _refuse("gemini", 400, "requests must be a list of embedContent requests")
    return _whole(shape(found))


# ---- embeddings


def _embeddings(body: Json, _: bool) -> Answer:
    asked = body.get("input")
    size = DIMENSIONS if body.get("dimensions") is None else body["dimensions"]
    if not asked or not isinstance(asked, str | list):
        return _refuse("openai", 400, "`input` must be a text, tokens, or a list of them")
    if not is_size(size):
        return _refuse("openai", 400, wrong_size("dimensions"))
    # one list of numbers is one input, given as tokens
    single = isinstance(asked, str) or isinstance(asked[0], int)
    inputs = [asked] if single else asked
    texts = [each if isinstance(each, str) else orjson.dumps(each).decode() for each in inputs]
    vectors = [vector(text, size) for text in texts]
    packed = body.get("encoding_format") == "base64"
    count = sum(len(text.split()) for text in texts)
    return _whole(openai_body(vectors, string(body.get("model")), count, packed=packed))


_REPLIES: dict[tuple[str, str], Callable[[Json, bool], Answer]] = {
    ("openai", "/v1/chat/completions"): _chat,
    ("openai", "/chat/completions"): _chat,
    ("openai", "/v1/completions"): _complete,
    ("openai", "/v1/embeddings"): _embeddings,
    ("openai", "/v1/responses"): _responses,
    ("openai", "/v1/responses/input_tokens"): _input_tokens,
    ("anthropic", "/v1/messages"): _messages,
    ("anthropic", "/v1/messages/count_tokens"): _count_tokens,
}
