"""Whole answers of Chat Completions.

Source of truth: OpenAI's API description as of its Python package 3.3.1 and recordings, also of
compatible servers.
"""

from __future__ import annotations

from typing import Any

from routeur.dialects.base import Json, Usage
from routeur.dialects.exact import dumps
from routeur.dialects.loose import items, members, string
from routeur.dialects.neutral import (
    GEMINI,
    Audio,
    Block,
    Choice,
    Fault,
    Image,
    Opaque,
    Reasoning,
    Refusal,
    Response,
    Stop,
    StopReason,
    Text,
    ToolCall,
)
from routeur.dialects.neutral.aim import Caller
from routeur.dialects.neutral.ids import own_id
from routeur.dialects.neutral.media import url_of
from routeur.dialects.openai_chat import NAME
from routeur.dialects.openai_chat import usage as read_usage
from routeur.dialects.openai_chat.blocks import read_assistant, read_stop, tokens_of, write_citation
from routeur.dialects.openai_chat.errors import read_fault
from routeur.dialects.openai_chat.reasoning import google_extra, is_sealed, write_details
from routeur.dialects.openai_chat.tools import is_old

_FINISH: dict[StopReason, str] = {
    "length": "length",
    "tool_calls": "tool_calls",
    "refusal": "content_filter",
    "content_filter": "content_filter",
    "error": "error",  # OpenRouter's word: OpenAI has none, and "stop" would look like success
}
_TIERS = {"standard": "default", "on_demand": "default"}
EMPTY = Fault(502, "the provider's answer is empty")


# Reading.


def read_response(body: Json, model: str) -> Response:
    """A whole answer; `error` is set where it holds one."""
    error = fault_in(body)
    choices = [_read_choice(each, body) for each in items(body.get("choices"))]
    created = body.get("created")
    if not choices and error is None:
        error = EMPTY
    return Response(
        NAME,
        string(body.get("id")),
        string(body.get("model")) or model,
        created if isinstance(created, int) else 0,
        tuple(choices) or (Choice(),),
        read_usage(body),
        string(body.get("service_tier")),
        string(body.get("system_fingerprint")),
        error,
    )


def _read_choice(raw: Any, body: Json) -> Choice:
    choice = members(raw)
    blocks = read_assistant(members(choice.get("message")), string(body.get("id")))
    called = any(isinstance(each, ToolCall) for each in blocks)
    return Choice(blocks, read_stop(choice, called), tokens_of(choice))


def fault_in(body: Json) -> Fault | None:
    """The error that a 200 holds: its own, or OpenRouter's in a choice."""
    error = body.get("error")
    for choice in items(body.get("choices")):
        error = error or members(choice).get("error")
    if not error:
        return None
    return read_fault({"error": error if isinstance(error, dict) else {"message": str(error)}})


# Writing.


def write_response(response: Response, caller: Caller) -> bytes:
    """A whole answer."""
    body: Json = {
        "id": own_id(response.id, "chatcmpl-", caller.token),
        "object": "chat.completion",
        "created": response.created or caller.created,
        "model": response.model or caller.request.model,
        "choices": [
            _write_choice(choice, number, caller) for number, choice in enumerate(response.choices)
        ],
    }
    if response.usage:
        body["usage"] = write_usage(response.usage)
    body |= write_meta(response.service_tier, response.fingerprint)
    return dumps(body)


def write_meta(service_tier: str, fingerprint: str) -> Json:
    """What else is said of an answer, if it is known."""
    found: Json = {}
    if service_tier:
        found["service_tier"] = _TIERS.get(service_tier, service_tier)
    if fingerprint:
        found["system_fingerprint"] = fingerprint
    return found


def write_usage(usage: Usage) -> Json:
    """Usage as OpenAI counts: input with what came from a cache, output with reasoning."""
    written = usage.cache_write + usage.cache_write_1h
    ins = {"cached_tokens": usage.cache_read, "audio_tokens": usage.audio_in}
    outs = {
        "reasoning_tokens": usage.reasoning,
        "audio_tokens": usage.audio_out,
        "accepted_prediction_tokens": 0,
        "rejected_prediction_tokens": 0,
    }
    ins |= {"cache_write_tokens": written} if written else {}
    ins |= {"image_tokens": usage.image_in} if usage.image_in else {}
    outs |= {"image_tokens": usage.image_out} if usage.image_out else {}
    return {
        "prompt_tokens": usage.input_total,
        "completion_tokens": usage.output_total,
        "total_tokens": usage.input_total + usage.output_total,
        "prompt_tokens_details": ins,
        "completion_tokens_details": outs,
    }


def finish_of(stop: Stop, caller: Caller) -> str:
    """OpenAI's word for why it ended."""
    if stop.reason == "tool_calls" and is_old(caller.request):
        return "function_call"
    return _FINISH.get(stop.reason, "stop")


def hides_reasoning(caller: Caller) -> bool:
    """Whether the client asked not to see it."""
    thinking = caller.request.thinking
    return thinking is not None and thinking.show is False


def _write_choice(choice: Choice, number: int, caller: Caller) -> Json:
    message = _write_message(choice, caller)
    logprobs: Json | None = None
    if choice.logprobs:
        only_refusal = message["content"] is None and message["refusal"] is not None
        tokens = list(choice.logprobs)
        logprobs = {
            "content": None if only_refusal else tokens,
            "refusal": tokens if only_refusal else None,
        }
    return {
        "index": number,
        "message": message,
        "logprobs": logprobs,
        "finish_reason": finish_of(choice.stop, caller),
    }


def _write_message(choice: Choice, caller: Caller) -> Json:
    blocks = choice.blocks
    texts = [each for each in blocks if isinstance(each, Text)]
    refusals = [each.text for each in blocks if isinstance(each, Refusal)]
    said = "".join(each.text for each in texts)
    calls = [each for each in blocks if isinstance(each, ToolCall)]
    if choice.stop.reason == "refusal" and not refusals and choice.stop.detail:
        refusals = [choice.stop.detail]
    message: Json = {
        "role": "assistant",
        "content": said if said or not (calls or refusals) else None,
        "refusal": "".join(refusals) if refusals else None,
        "annotations": _write_annotations(texts, caller),
    }
    if not hides_reasoning(caller):
        message |= _write_reasoning(blocks)
    signed = [each for each in texts if each.signature and each.origin == GEMINI]
    if signed:
        message["extra_content"] = google_extra(signed[-1].signature)
    message |= _write_calls(calls, caller)
    for block in blocks:
        match block:
            case Audio():
                message["audio"] = write_audio(block, caller)
            case Image():
                message.setdefault("images", []).append(write_image(block))
            case Opaque():
                caller.losses.drop(block.kind)
    return message


def _write_annotations(texts: list[Text], caller: Caller) -> list[Json]:
    found = []
    start = 0
    for text in texts:
        end = start + len(text.text)
        for citation in text.citations:
            written = write_citation(citation, start, end)
            if written is None:
                caller.losses.drop("citations")
            else:
                found.append(written)
        start = end
    return found


def _write_reasoning(blocks: tuple[Block, ...]) -> Json:
    thoughts = [(n, each) for n, each in enumerate(blocks) if isinstance(each, Reasoning)]
    shown = [each.shown for _, each in thoughts if each.shown]
    found: Json = {"reasoning_content": "\n\n".join(shown)} if shown else {}
    if any(is_sealed(each) for _, each in thoughts):
        found["reasoning_details"] = [
            entry
            for number, (place, each) in enumerate(thoughts)
            for entry in write_details(each, number, place)
        ]
    return found


def _write_calls(calls: list[ToolCall], caller: Caller) -> Json:
    if not calls:
        return {}
    if is_old(caller.request):
        if len(calls) > 1:
            caller.losses.drop("tool_calls")
        return {"function_call": _function(calls[0])}
    return {"tool_calls": [write_call(each) for each in calls]}


def write_call(call: ToolCall) -> Json:
    """A tool call of an answer, signed if it is Gemini's."""
    if call.kind == "custom":
        custom = {"name": call.name, "input": call.arguments}
        found: Json = {"id": call.id, "type": "custom", "custom": custom}
    else:
        found = {"id": call.id, "type": "function", "function": _function(call)}
    if call.signature and call.origin == GEMINI:
        found["extra_content"] = google_extra(call.signature)
    return found


def _function(call: ToolCall) -> Json:
    return {"name": call.name, "arguments": call.arguments or "{}"}


def write_audio(block: Audio, caller: Caller) -> Json:
    """What the model said aloud."""
    return {
        "id": block.id or f"audio_{caller.token}",
        "data": block.data,
        "expires_at": block.expires_at or caller.created,
        "transcript": block.transcript,
    }


def write_image(block: Image) -> Json:
    """An image that the model made, as OpenRouter gives it."""
    return {"type": "image_url", "image_url": {"url": url_of(block, "image/png")}}
