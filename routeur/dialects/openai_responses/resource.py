"""The response resource: every field of it, most of them repeating the request."""

from __future__ import annotations

from routeur.dialects.base import Json, Usage
from routeur.dialects.loose import members, string
from routeur.dialects.neutral import Request, Stop, StopReason, Text
from routeur.dialects.openai_responses import NAME
from routeur.dialects.openai_responses.input import is_instructions
from routeur.dialects.openai_responses.options import (
    echo_format,
    echo_thinking,
    echo_tool,
    kinds_of,
    write_tool_choice,
)

# Why an answer is not whole. OpenAI knows the first two; the others would look whole if not named.
INCOMPLETE = {
    "length": "max_output_tokens",
    "content_filter": "content_filter",
    "refusal": "content_filter",
    "malformed": "malformed_output",
    "error": "error",
}
_REASONS: dict[str, StopReason] = {
    "max_output_tokens": "length",
    "content_filter": "content_filter",
    "malformed_output": "malformed",
    "error": "error",
}
# What an answer may say beside, if the request did.
_OPTIONAL = ("prompt", "prompt_cache_options")


def echo(request: Request) -> Json:
    """What an answer repeats of its request, with the defaults where nothing was asked."""
    extra = request.extra if request.dialect == NAME else {}
    conversation = extra.get("conversation")
    if isinstance(conversation, str):
        conversation = {"id": conversation}
    text: Json = {"format": echo_format(request.format)}
    text["verbosity"] = request.verbosity or "medium"
    told: Json = {
        "background": extra.get("background") or False,
        "conversation": conversation,
        "instructions": _instructions(request),
        "max_output_tokens": request.max_tokens,
        "max_tool_calls": extra.get("max_tool_calls"),
        "metadata": request.metadata,
        "moderation": None,
        "parallel_tool_calls": request.parallel_tools is not False,
        "previous_response_id": extra.get("previous_response_id"),
        "prompt_cache_key": request.cache_key or None,
        "prompt_cache_retention": extra.get("prompt_cache_retention"),
        "reasoning": echo_thinking(request.thinking, _inner(extra)),
        "safety_identifier": request.safety_identifier or None,
        "store": request.store is not False,
        "text": text,
        "tools": [echo_tool(each) for each in request.tools],
        "tool_choice": _tool_choice(request, extra),
        "truncation": extra.get("truncation") or "disabled",
        "user": request.user or None,
        **_sampling(request),
    }
    return told | {name: extra[name] for name in _OPTIONAL if name in extra}


def _sampling(request: Request) -> Json:
    told = {
        "temperature": (request.temperature, 1.0),
        "top_p": (request.top_p, 1.0),
        "top_logprobs": (request.top_logprobs, 0),
        "presence_penalty": (request.presence_penalty, 0.0),
        "frequency_penalty": (request.frequency_penalty, 0.0),
    }
    return {name: default if said is None else said for name, (said, default) in told.items()}


def _instructions(request: Request) -> str | None:
    said = [
        each for message in request.messages if is_instructions(message) for each in message.blocks
    ]
    return "".join(each.text for each in said if isinstance(each, Text)) or None


def _tool_choice(request: Request, extra: Json) -> str | Json:
    if request.tool_choice:
        return write_tool_choice(request.tool_choice, kinds_of(request.tools))
    return extra.get("tool_choice") or "auto"


def _inner(extra: Json) -> Json:
    start = "reasoning."
    return {
        name.removeprefix(start): each for name, each in extra.items() if name.startswith(start)
    }


def outcome(stop: Stop, refused: bool) -> tuple[str, Json | None]:
    """Status and incomplete_details; `refused`: the answer has a refusal, which says it all."""
    reason = INCOMPLETE.get(stop.reason)
    if reason is None or (stop.reason == "refusal" and refused):
        return "completed", None
    return "incomplete", {"reason": reason}


def created_of(resource: Json) -> int:
    """When it began, in Unix seconds; 0 if it does not say."""
    value: object = resource.get("created_at")
    return int(value) if isinstance(value, int | float) and 0 < value < 1e12 else 0


def stop_of(resource: Json, called: bool, refused: bool) -> Stop:
    """Why an answer ended, by its resource and by whether it has calls or a refusal in it."""
    status = string(resource.get("status"))
    if status == "incomplete":
        word = string(members(resource.get("incomplete_details")).get("reason"))
        return Stop(_REASONS.get(word, "unknown"), raw=word)
    if status in ("failed", "cancelled"):
        return Stop("error", raw=status)
    if refused:
        return Stop("refusal", raw=status)
    if called:
        return Stop("tool_calls", raw=status)
    return Stop("end" if status in ("completed", "") else "unknown", raw=status)


def write_usage(usage: Usage | None) -> Json | None:
    """Usage, whose input has what was cached in it, and whose output has the reasoning."""
    if usage is None:
        return None
    ins = {
        "cached_tokens": usage.cache_read,
        "cache_write_tokens": usage.cache_write + usage.cache_write_1h,
        **_said(audio_tokens=usage.audio_in, image_tokens=usage.image_in),
    }
    outs = {
        "reasoning_tokens": usage.reasoning,
        **_said(audio_tokens=usage.audio_out, image_tokens=usage.image_out),
    }
    return {
        "input_tokens": usage.input_total,
        "input_tokens_details": ins,
        "output_tokens": usage.output_total,
        "output_tokens_details": outs,
        "total_tokens": usage.input_total + usage.output_total,
    }


def _said(**tokens: int) -> dict[str, int]:
    return {name: count for name, count in tokens.items() if count}


def read_extra(resource: Json) -> Json:
    """What a provider said beside all this."""
    return {
        name: each for name, each in resource.items() if name not in _KNOWN and each is not None
    }


_KNOWN = frozenset(echo(Request(NAME, "", ()))) | frozenset(
    """
    id object created_at completed_at status model output output_text error incomplete_details
    usage service_tier prompt prompt_cache_options
    """.split()
)
