"""Requests of Chat Completions, from clients and for providers, OpenAI's and compatible ones.

Source of truth: `CreateChatCompletionRequest` in OpenAI's API description as of its Python package
3.3.1, recordings, and what OpenRouter, vLLM, DeepSeek, Groq and Mistral document beyond it.
"""

from __future__ import annotations

from typing import Any

from routeur.dialects import expect
from routeur.dialects.base import Json
from routeur.dialects.claude import read_cache
from routeur.dialects.exact import dumps
from routeur.dialects.loose import members, string
from routeur.dialects.neutral import Request, Thinking
from routeur.dialects.neutral.aim import Aim, Losses
from routeur.dialects.neutral.effort import effort_of
from routeur.dialects.openai_chat import NAME
from routeur.dialects.openai_chat.messages import read_messages, write_messages
from routeur.dialects.openai_chat.parts import Target
from routeur.dialects.openai_chat.tools import (
    read_format,
    read_tool_choice,
    read_tools,
    write_format,
    write_tools,
)

_KNOWN = frozenset(
    """
    model messages stream stream_options tools tool_choice parallel_tool_calls functions
    function_call max_tokens max_completion_tokens temperature top_p top_k stop seed n logprobs
    top_logprobs presence_penalty frequency_penalty response_format reasoning_effort reasoning
    include_reasoning thinking enable_thinking thinking_budget verbosity user safety_identifier
    metadata prompt_cache_key service_tier store modalities audio cache_control
    """.split()
)
# Without these the answer would be another, or unguarded.
_ESSENTIAL = frozenset(
    """
    logit_bias web_search_options moderation plugins search_parameters grammar guided_json
    guided_regex guided_choice guided_grammar structured_outputs
    """.split()
)
# Sampling that OpenAI's reasoning models refuse: "Unsupported parameter".
_NOT_REASONING = (
    "temperature",
    "top_p",
    "presence_penalty",
    "frequency_penalty",
    "logprobs",
    "top_logprobs",
)
_TIERS = {
    "auto": "auto",
    "default": "default",
    "standard": "default",
    "standard_only": "default",
    "flex": "flex",
    "priority": "priority",
}
_STOPS = 4  # stop sequences at most, at OpenAI


def address(model: str, stream: bool) -> str:
    """Path and query as a client has them; the model is in the body."""
    return "/v1/chat/completions"


# Reading.


def read_request(body: Json, *, model: str, stream: bool) -> Request:
    """A client's body. Raises Invalid."""
    limit = expect.whole(body, "max_completion_tokens")
    options = members(body.get("stream_options"))
    extra = {
        name: value for name, value in body.items() if name not in _KNOWN and value is not None
    }
    return Request(
        dialect=NAME,
        model=model,
        messages=read_messages(body.get("messages")),
        tools=read_tools(body),
        tool_choice=read_tool_choice(body),
        parallel_tools=expect.truth(body, "parallel_tool_calls"),
        max_tokens=limit if limit is not None else expect.whole(body, "max_tokens"),
        temperature=expect.number(body, "temperature"),
        top_p=expect.number(body, "top_p"),
        top_k=expect.whole(body, "top_k"),
        stop=_stop(body.get("stop")),
        seed=expect.whole(body, "seed"),
        n=expect.whole(body, "n"),
        logprobs=expect.truth(body, "logprobs"),
        top_logprobs=expect.whole(body, "top_logprobs"),
        presence_penalty=expect.number(body, "presence_penalty"),
        frequency_penalty=expect.number(body, "frequency_penalty"),
        format=read_format(body.get("response_format")),
        thinking=_read_thinking(body),
        verbosity=expect.text(body, "verbosity"),
        user=expect.text(body, "user"),
        safety_identifier=expect.text(body, "safety_identifier"),
        metadata=members(body.get("metadata")),
        cache_key=expect.text(body, "prompt_cache_key"),
        cache=read_cache(body),
        service_tier=expect.text(body, "service_tier"),
        store=expect.truth(body, "store"),
        modalities=_modalities(body.get("modalities")),
        audio=members(body.get("audio")) or None,
        stream=stream,
        include_usage=options.get("include_usage") is True,
        extra=extra,
        essential=frozenset(name for name in extra if name in _ESSENTIAL and extra[name] != {})
        | ({"web_search_options"} & extra.keys()),
    )


def _stop(value: Any) -> tuple[str, ...]:
    if value is None:
        return ()
    if isinstance(value, str):
        return (value,)
    if isinstance(value, list) and all(isinstance(each, str) for each in value):
        return tuple(value)
    raise expect.wrong("stop", "a string or a list of strings")


def _modalities(value: Any) -> tuple[str, ...]:
    if value is None:
        return ()
    if isinstance(value, list) and all(isinstance(each, str) for each in value):
        return tuple(each.lower() for each in value)
    raise expect.wrong("modalities", "a list of strings")


def _read_thinking(body: Json) -> Thinking | None:
    """OpenAI's `reasoning_effort`, OpenRouter's `reasoning`, `thinking` of DeepSeek and Anthropic's
    endpoint, and Qwen's `enable_thinking`."""
    reasoning, thinking = members(body.get("reasoning")), members(body.get("thinking"))
    effort = (expect.text(body, "reasoning_effort") or string(reasoning.get("effort"))).lower()
    budget = expect.whole(reasoning, "max_tokens")
    for holder, name in ((thinking, "budget_tokens"), (body, "thinking_budget")):
        budget = budget if budget is not None else expect.whole(holder, name)
    show = None
    if reasoning.get("exclude") is not None or body.get("include_reasoning") is not None:
        show = reasoning.get("exclude") is not True and body.get("include_reasoning") is not False
    kind = string(thinking.get("type"))
    switches = (reasoning.get("enabled"), body.get("enable_thinking"))
    if effort == "none" or kind == "disabled" or False in switches:
        return Thinking("off", show=show)
    if kind in ("adaptive", "auto"):
        return Thinking("adaptive", effort, budget, show)
    if effort or budget is not None or kind == "enabled" or True in switches:
        return Thinking("on", effort, budget, show)
    return Thinking(show=show) if show is not None else None


# Writing.


def write_request(request: Request, aim: Aim, losses: Losses) -> bytes:
    """The body for a provider. Raises Untranslatable."""
    target = Target(aim, losses, request.dialect == NAME)
    _refuse(request, target)
    body: Json = {"model": aim.model, "messages": write_messages(request, target)}
    body |= _write_limits(request, target)
    body |= _write_sampling(request, target)
    body |= write_tools(request, target)
    body |= write_format(request.format, target)
    body |= _write_thinking(request, target)
    body |= _write_hints(request, target)
    body |= _write_voice(request, target)
    body |= losses.extras(request, NAME)
    if request.stream:
        body["stream"] = True
        if request.include_usage or not target.own:
            body["stream_options"] = {"include_usage": True}  # what was used is to be known
    return dumps(body)


def _refuse(request: Request, target: Target) -> None:
    """Raise Untranslatable for what no member can say."""
    last = request.messages[-1].role if request.messages else ""
    if last == "assistant" and target.openai and request.dialect in ("anthropic", "bedrock"):
        why = "it does not go on with an answer that has been begun for it"
        raise target.losses.refuse("messages", why)
    if len(request.stop) > _STOPS and target.openai:
        raise target.losses.refuse("stop", f"expected at most {_STOPS} sequences")


def _write_limits(request: Request, target: Target) -> Json:
    found: Json = {}
    if request.max_tokens is not None:
        # OpenAI's reasoning models refuse the old name, most compatible servers the new one.
        name = "max_completion_tokens" if target.aim.openai_reasoning else "max_tokens"
        found[name] = request.max_tokens
    if request.stop:
        found["stop"] = list(request.stop)
    if request.n is not None and (request.n != 1 or target.own):
        found["n"] = request.n
    return found


def _write_sampling(request: Request, target: Target) -> Json:
    found: Json = {"seed": request.seed}
    found |= {name: getattr(request, name) for name in _NOT_REASONING}
    if target.aim.openai_reasoning:
        for name in _NOT_REASONING:
            if found[name] is True or found[name] != 1:  # 1 is what they do anyway
                target.losses.drop_all({name: found[name]})
        found = {"seed": request.seed}
    if request.top_k is not None:
        if target.own and not target.openai:
            found["top_k"] = request.top_k
        else:
            target.losses.drop("top_k")
    return {name: value for name, value in found.items() if value is not None}


def _write_thinking(request: Request, target: Target) -> Json:
    thinking, losses = request.thinking, target.losses
    if thinking is None:
        return {}
    losses.drop_all(
        {"thinking.summary": thinking.summary, "thinking.encrypted": thinking.encrypted}
    )
    if target.own:
        return _as_asked(thinking)
    if thinking.mode in ("", "adaptive") and not thinking.effort and thinking.budget is None:
        return {}  # the model decides, as reasoning models do anyway
    if target.openai and not target.aim.openai_reasoning:
        if thinking.mode != "off":
            losses.drop("thinking")
        return {}
    if thinking.budget and target.openrouter and target.aim.vendor in ("anthropic", "google"):
        return {"reasoning": {"max_tokens": thinking.budget}}
    effort = effort_of(thinking, _efforts(target))
    if effort == "none" and "none" not in _efforts(target):
        losses.drop("thinking")  # these cannot be told not to think
        effort = _efforts(target)[0]
    return {"reasoning_effort": effort} if effort else {}


def _as_asked(thinking: Thinking) -> Json:
    """For a client of this very dialect: in the words that mean the same."""
    effort = "none" if thinking.mode == "off" else thinking.effort
    found: Json = {"effort": effort} if effort else {}
    if thinking.budget is not None:
        found["max_tokens"] = thinking.budget
    if thinking.show is not None:
        found["exclude"] = not thinking.show
    if thinking.mode == "adaptive":
        return {"thinking": {"type": "adaptive"}, **({"reasoning": found} if found else {})}
    if found.keys() == {"effort"}:
        return {"reasoning_effort": effort}
    if thinking.mode == "on" and not effort and thinking.budget is None:
        found["enabled"] = True
    return {"reasoning": found} if found else {}


def _efforts(target: Target) -> tuple[str, ...]:
    """The efforts that a model knows, weakest first."""
    name = target.aim.model.rpartition("/")[2].lower()
    if not target.aim.openai_reasoning:
        return ("none", "minimal", "low", "medium", "high")
    if not name.startswith("gpt"):
        return ("low", "medium", "high")
    if name.startswith("gpt-5."):
        return ("none", "low", "medium", "high", "xhigh")
    return ("minimal", "low", "medium", "high")


def _write_hints(request: Request, target: Target) -> Json:
    """What changes no answer: dropped where the target may not know it."""
    found: Json = {"user": request.user}
    hints: Json = {
        "safety_identifier": request.safety_identifier,
        "prompt_cache_key": request.cache_key,
        "verbosity": request.verbosity,
        "service_tier": request.service_tier,
        "metadata": request.metadata,
        "store": request.store,
    }
    if target.own:
        mark = {"type": "ephemeral", **({"ttl": request.cache} if request.cache else {})}
        found |= hints | {"cache_control": mark if request.cache is not None else None}
    else:
        losses = target.losses
        if not (target.openai and target.aim.openai_reasoning):
            losses.drop_all({"verbosity": hints.pop("verbosity")})
        # metadata is for stored answers only, and nobody else's `store` means these
        losses.drop_all({"metadata": hints.pop("metadata")})
        losses.drop_all({"cache": request.cache is not None})
        hints.pop("store")
        tier = hints["service_tier"] = _TIERS.get(request.service_tier.lower(), "")
        if not tier or not target.openai:
            losses.drop_all({"service_tier": request.service_tier})
        if target.openai:
            found |= hints
        else:
            names = {"prompt_cache_key": "cache_key"}
            hints.pop("service_tier")
            losses.drop_all({names.get(name, name): value for name, value in hints.items()})
    return {name: value for name, value in found.items() if value not in (None, "", {})}


def _write_voice(request: Request, target: Target) -> Json:
    """Answers in other forms than text."""
    wanted = set(request.modalities) - {"text"}
    if not target.own:
        if "audio" in wanted and not request.audio:
            raise target.losses.refuse("modalities", "`audio` with voice and format is missing")
        if wanted - {"audio"} and target.openai:
            raise target.losses.refuse("modalities", "expected text, or text and audio")
        if not wanted:
            return {}
    found: Json = {}
    if request.modalities:
        found["modalities"] = list(request.modalities)
    if request.audio is not None:
        found["audio"] = request.audio
    return found
