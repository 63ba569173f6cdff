"""The parameters of a request to Amazon Bedrock's Converse, beside its messages and tools.

What only some models know stands in additionalModelRequestFields, in their own words: Claude's as
`claude.py` has them, others' as their pages in Amazon's user guide.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

from routeur.dialects import claude, expect
from routeur.dialects.base import Json
from routeur.dialects.exact import dumps, encoded, loads
from routeur.dialects.loose import members, without
from routeur.dialects.neutral import Request, ResponseFormat, Thinking, ToolChoice
from routeur.dialects.neutral.aim import Aim, Losses
from routeur.dialects.neutral.effort import effort_of

# Members that no other dialect has: without the first the answer would be another.
ESSENTIAL = frozenset(("guardrailConfig", "promptVariables"))

_USUAL = 4096  # tokens that Claude may answer where nothing else is known, beside its thoughts
_INFERENCE = ("maxTokens", "temperature", "topP", "stopSequences")
_SHOWN = {None: None, "summarized": True, "omitted": False}
_MODES = {"enabled": "on", "adaptive": "adaptive", "disabled": "off"}
_TYPES = {mode: type for type, mode in _MODES.items()}
_CHOICES = {"auto": "auto", "any": "required", "tool": "named"}
_TIERS = {"standard_only": "default", "default": "default", "flex": "flex", "priority": "priority"}
_METADATA = re.compile(r"[a-zA-Z0-9\s:_@$#=/+,.-]{0,256}")
_EFFORTS = ("low", "medium", "high")


# ── reading


def read_params(body: Json) -> Json:
    """The fields of a neutral Request, and `extra` with what is left. May: Invalid."""
    inference = expect.record(body, "inferenceConfig")
    fields: Json = {
        "max_tokens": expect.whole(inference, "maxTokens", "inferenceConfig"),
        "temperature": expect.number(inference, "temperature", "inferenceConfig"),
        "top_p": expect.number(inference, "topP", "inferenceConfig"),
        "stop": expect.texts(inference, "stopSequences", "inferenceConfig"),
        "metadata": dict(expect.record(body, "requestMetadata")),
        "service_tier": expect.text(expect.record(body, "serviceTier"), "type", "serviceTier"),
    }
    extra: Json = {"inferenceConfig": without(inference, _INFERENCE)}
    model_fields = dict(expect.record(body, "additionalModelRequestFields"))
    fields["thinking"] = _read_thinking(model_fields)
    if type(model_fields.get("top_k")) is int:
        fields["top_k"] = model_fields.pop("top_k")
    fields |= _read_output(expect.record(body, "outputConfig"), fields["thinking"], extra)
    fields |= _read_parallel(model_fields, body)
    extra["additionalModelRequestFields"] = model_fields
    fields["extra"] = {name: value for name, value in extra.items() if value}
    return fields


def _read_thinking(fields: Json) -> Thinking | None:
    """Claude's, taken out of the model's fields if it is one that we know."""
    said = members(fields.get("thinking"))
    mode = _MODES.get(str(said.get("type")))
    budget, display = said.get("budget_tokens"), said.get("display")
    known = not without(said, ("type", "budget_tokens", "display")) and display in tuple(_SHOWN)
    if mode is None or not known or (budget is not None and type(budget) is not int):
        return None
    del fields["thinking"]
    return Thinking(mode, budget=budget, show=_SHOWN[display])  # type: ignore[arg-type]


def _read_output(config: Json, thinking: Thinking | None, extra: Json) -> Json:
    """`format` and `thinking`, with its effort."""
    found: Json = {}
    if "textFormat" in config:
        found["format"] = _read_format(expect.record(config, "textFormat", "outputConfig"))
    if effort := expect.text(config, "effort", "outputConfig"):
        found["thinking"] = replace(thinking or Thinking(), effort=effort)
    extra["outputConfig"] = without(config, ("textFormat", "effort"))
    return found


def _read_format(said: Json) -> ResponseFormat:
    at = "outputConfig.textFormat.structure.jsonSchema"
    structure = expect.record(said, "structure", "outputConfig.textFormat")
    definition = expect.record(structure, "jsonSchema", "outputConfig.textFormat.structure")
    try:
        schema = loads(encoded(expect.needed_text(definition, "schema", at)))
    except ValueError:
        schema = None
    if type(schema) is not dict:
        raise expect.wrong(f"{at}.schema", "a JSON Schema as a string")
    return ResponseFormat(
        "schema",
        expect.text(definition, "name", at),
        expect.text(definition, "description", at),
        schema,
    )


def _read_parallel(fields: Json, body: Json) -> Json:
    """Claude's own tool choice, which can say what Bedrock's cannot."""
    said = members(fields.get("tool_choice"))
    mode = _CHOICES.get(str(said.get("type")))
    single = said.get("disable_parallel_tool_use")
    known = not without(said, ("type", "name", "disable_parallel_tool_use"))
    if mode is None or not known or type(single) is not bool:
        return {}
    if "toolChoice" in expect.record(body, "toolConfig"):
        return {}
    del fields["tool_choice"]
    found: Json = {"parallel_tools": not single}
    if mode != "auto":
        names = (expect.needed_text(said, "name", "tool_choice"),) if mode == "named" else ()
        found["tool_choice"] = ToolChoice(mode, names)  # type: ignore[arg-type]
    return found


# ── writing


def write_params(request: Request, aim: Aim, losses: Losses) -> Json:
    """The members beside messages, system and tools. May: Untranslatable."""
    own = request.dialect == aim.dialect
    extra = losses.extras(request, aim.dialect)
    said = _as_said(request) if own else _adapted(request, aim, losses)
    inference, fields, output = said
    inference |= members(extra.get("inferenceConfig"))
    fields |= members(extra.get("additionalModelRequestFields"))
    output |= members(extra.get("outputConfig"))
    if request.format is not None and request.format.kind != "text":
        output["textFormat"] = _write_format(request.format, losses, own)
    if not own:
        _refuse_others(request, losses)
    written: Json = {
        **{name: value for name, value in extra.items() if name not in _COMPOSED},
        "inferenceConfig": inference,
        "additionalModelRequestFields": fields,
        "outputConfig": output,
        "requestMetadata": request.metadata if own else _metadata(request, losses),
    }
    if tier := request.service_tier if own else _tier(request, losses):
        written["serviceTier"] = {"type": tier}
    return {name: value for name, value in written.items() if value not in ({}, None)}


_COMPOSED = ("inferenceConfig", "additionalModelRequestFields", "outputConfig")


def _inference(request: Request, temperature: float | None, top_p: float | None) -> Json:
    stops = [each for each in request.stop if each]
    said = (request.max_tokens, temperature, top_p, stops or None)
    return {name: value for name, value in zip(_INFERENCE, said, strict=True) if value is not None}


def _as_said(request: Request) -> tuple[Json, Json, Json]:
    """A request of this dialect: inferenceConfig, the model's fields, outputConfig."""
    fields: Json = {}
    output: Json = {}
    thinking = request.thinking
    if thinking and thinking.mode:
        fields["thinking"] = {"type": _TYPES[thinking.mode]}
        if thinking.budget is not None:
            fields["thinking"]["budget_tokens"] = thinking.budget
        if thinking.show is not None:
            fields["thinking"]["display"] = "summarized" if thinking.show else "omitted"
    if thinking and thinking.effort:
        output["effort"] = thinking.effort
    if request.top_k is not None:
        fields["top_k"] = request.top_k
    if request.parallel_tools is not None:
        fields["tool_choice"] = one_call(request)
    return _inference(request, request.temperature, request.top_p), fields, output


def one_call(request: Request) -> Json:
    """Claude's own tool choice, for whether it may call several tools at once."""
    choice = request.tool_choice or ToolChoice("auto")
    names = {mode: name for name, mode in _CHOICES.items()}
    written: Json = {"type": names.get(choice.mode, "auto")}
    if choice.mode == "named":
        written["name"] = choice.names[0]
    return {**written, "disable_parallel_tool_use": not request.parallel_tools}


def _adapted(request: Request, aim: Aim, losses: Losses) -> tuple[Json, Json, Json]:
    """The same of a foreign request, as the model takes it."""
    if aim.vendor == "anthropic":
        return _for_claude(request, aim, losses)
    fields = _effort(request, aim.model.lower(), losses)
    temperature = request.temperature
    if temperature is not None and temperature > 1:
        losses.drop("temperature")  # OpenAI's and Gemini's go up to 2
        temperature = 1
    if request.top_k is not None and "nova" in aim.model:
        fields["inferenceConfig"] = {"topK": request.top_k}
    else:
        losses.drop_all({"top_k": request.top_k})
    if request.tools and request.parallel_tools is False:
        losses.drop("parallel_tools")
    return _inference(request, temperature, request.top_p), fields, {}


def _for_claude(request: Request, aim: Aim, losses: Losses) -> tuple[Json, Json, Json]:
    room = claude.room(request, aim, _USUAL)
    thinking, effort = claude.thinking(request, aim.model, room, losses)
    thinks = thinking.get("type") in ("enabled", "adaptive")
    sampling = claude.sampling(request, aim.model, thinks, losses)
    inference = _inference(request, sampling.pop("temperature", None), sampling.pop("top_p", None))
    if "budget_tokens" in thinking:
        inference["maxTokens"] = room  # the default may be below the budget
    fields: Json = {**sampling, **({"thinking": thinking} if thinking else {})}
    if request.tools and request.parallel_tools is False and _may_call(request):
        fields["tool_choice"] = one_call(request)
    return inference, fields, {"effort": effort} if effort else {}


def _may_call(request: Request) -> bool:
    return request.tool_choice is None or request.tool_choice.mode != "none"


def _effort(request: Request, model: str, losses: Losses) -> Json:
    """Reasoning in the words of the models beside Claude that have some."""
    wanted = request.thinking
    if wanted is None or not (wanted.mode or wanted.effort or wanted.budget):
        return {}
    word = effort_of(wanted, _EFFORTS) or "medium"
    if "nova-2" in model:
        if word == "none":
            return {"reasoningConfig": {"type": "disabled"}}
        return {"reasoningConfig": {"type": "enabled", "maxReasoningEffort": word}}
    if word != "none" and ("gpt-oss" in model or "kimi" in model):
        return {"reasoning_effort": word}
    if "openai.gpt-" in model and "gpt-oss" not in model:
        return {"reasoning": {"effort": word}}
    losses.drop("thinking")
    return {}


def _write_format(format: ResponseFormat, losses: Losses, own: bool) -> Json:
    if format.kind == "json" or format.schema is None:
        raise losses.refuse("format", "it answers in JSON only by a schema")
    schema = format.schema if own else claude.schema(format.schema)
    definition = {"schema": dumps(schema).decode()}
    if format.name:
        definition["name"] = format.name
    if format.description:
        definition["description"] = format.description
    return {"type": "json_schema", "structure": {"jsonSchema": definition}}


def _refuse_others(request: Request, losses: Losses) -> None:
    """What has no place here: refused if the answer would be another, else dropped."""
    losses.only_one_text(request)
    if request.max_tokens is not None and request.max_tokens < 1:
        raise losses.refuse("max_tokens", "it is at least 1 here")
    if request.logprobs:
        raise losses.refuse("logprobs", "it has none")
    losses.drop_all(
        {
            "seed": request.seed,
            "presence_penalty": request.presence_penalty or None,
            "frequency_penalty": request.frequency_penalty or None,
            "verbosity": request.verbosity,
            "user": request.user,
            "safety_identifier": request.safety_identifier,
            "cache_key": request.cache_key,
            "store": request.store,
            "audio": request.audio,
        }
    )


def _metadata(request: Request, losses: Losses) -> Json:
    """What fits into the invocation log; the rest is dropped."""
    found = {
        name: value
        for name, value in request.metadata.items()
        if name and _METADATA.fullmatch(name) and _fits(value)
    }
    if len(found) < len(request.metadata) or len(found) > 16:
        losses.drop("metadata")
    return dict(list(found.items())[:16])


def _fits(value: Any) -> bool:
    return isinstance(value, str) and _METADATA.fullmatch(value) is not None


def _tier(request: Request, losses: Losses) -> str:
    if request.service_tier in ("", "auto"):
        return ""
    tier = _TIERS.get(request.service_tier, "")
    if not tier:
        losses.drop("service_tier")
    return tier
