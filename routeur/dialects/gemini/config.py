"""Gemini's generationConfig and toolConfig: how to answer, think, and call tools.

What has no field is kept in `Request.extra` under its path, as in `generationConfig.imageConfig`.
"""

from __future__ import annotations

from typing import Any

from routeur.dialects import expect
from routeur.dialects.base import Json
from routeur.dialects.gemini import NAME
from routeur.dialects.gemini.schemas import adapted, to_json_schema
from routeur.dialects.gemini.wire import (
    a_bool,
    a_list,
    a_number,
    a_word,
    an_integer,
    an_object,
    generation,
    strings,
)
from routeur.dialects.neutral import Request, ResponseFormat, Thinking, ToolChoice
from routeur.dialects.neutral.aim import Aim, Losses
from routeur.dialects.neutral.effort import budget_of, effort_of

_CONFIG = "generationConfig"
_JSON = "application/json"
_MODES = ("MODE_UNSPECIFIED", "AUTO", "ANY", "NONE", "VALIDATED")
_MOST_STOPS = 5
_MOST_SEED = 2**31
# Of the answer's whole shape: without them it would be another.
_ESSENTIAL = frozenset(
    "speechConfig imageConfig translationConfig audioTranscriptionConfig responseFormat"
    " responseMimeType".split()
)
# The range of thinking budgets (ai.google.dev/gemini-api/docs/thinking), by words of the name.
_BUDGETS = {"pro": (128, 32_768), "lite": (512, 24_576), "": (1, 24_576)}

_NUMBERS = {
    "temperature": "temperature",
    "topP": "top_p",
    "presencePenalty": "presence_penalty",
    "frequencyPenalty": "frequency_penalty",
}
_INTEGERS = {
    "maxOutputTokens": "max_tokens",
    "topK": "top_k",
    "seed": "seed",
    "candidateCount": "n",
    "logprobs": "top_logprobs",
}
_FORMAT = (
    "responseMimeType",
    "responseSchema",
    "responseJsonSchema",
    "responseFormat",
)
_READ = {
    *_NUMBERS,
    *_INTEGERS,
    *_FORMAT,
    "stopSequences",
    "responseLogprobs",
    "responseModalities",
    "thinkingConfig",
}


# ── wire → neutral


def read_config(value: object) -> tuple[dict[str, Any], Json, frozenset[str]]:
    """The fields of a Request that a generationConfig has, its extras, and which are essential."""
    config = an_object(value, _CONFIG)
    fields: dict[str, Any] = {}
    for name, field in _NUMBERS.items():
        fields[field] = a_number(config.get(name), f"{_CONFIG}.{name}")
    for name, field in _INTEGERS.items():
        fields[field] = an_integer(config.get(name), f"{_CONFIG}.{name}")
    fields["logprobs"] = a_bool(config.get("responseLogprobs"), f"{_CONFIG}.responseLogprobs")
    fields["stop"] = strings(config.get("stopSequences"), f"{_CONFIG}.stopSequences")
    modalities = strings(config.get("responseModalities"), f"{_CONFIG}.responseModalities")
    fields["modalities"] = tuple(each.lower() for each in modalities)
    fields["thinking"] = _thinking(config.get("thinkingConfig"))
    rest = {name: each for name, each in config.items() if name not in _READ}
    fields["format"] = _format(config, rest)
    extra = {f"{_CONFIG}.{name}": each for name, each in rest.items() if each is not None}
    return fields, extra, frozenset(f"{_CONFIG}.{name}" for name in _ESSENTIAL)


def _thinking(value: object) -> Thinking | None:
    if value is None:
        return None
    path = f"{_CONFIG}.thinkingConfig"
    config = an_object(value, path)
    budget = an_integer(config.get("thinkingBudget"), f"{path}.thinkingBudget")
    level = a_word(config.get("thinkingLevel"), f"{path}.thinkingLevel").lower()
    show = a_bool(config.get("includeThoughts"), f"{path}.includeThoughts")
    if budget == 0:
        return Thinking("off", show=show)
    if budget is not None and budget < 0:
        return Thinking("adaptive", show=show)
    if level == "thinking_level_unspecified":
        level = ""
    return Thinking("on" if level or budget else "", level, budget, show)


def _format(config: Json, rest: Json) -> ResponseFormat | None:
    """How the text is to look; what cannot be said so is put into `rest`."""
    kind = config.get("responseMimeType")
    schema = config.get("responseJsonSchema")
    if schema is None and isinstance(config.get("responseSchema"), dict):
        schema = to_json_schema(config["responseSchema"])
    if newer := config.get("responseFormat"):
        text = _text_format(newer)
        if text is None:
            rest["responseFormat"] = newer
            return None
        kind, schema = text.get("mimeType"), text.get("schema")
    kind = {"APPLICATION_JSON": _JSON, "TEXT_PLAIN": "text/plain"}.get(str(kind), kind)
    if kind not in (None, "", _JSON, "text/plain"):
        rest["responseMimeType"] = kind  # text/x.enum
        if schema is not None:
            rest["responseJsonSchema"] = schema
        return None
    if schema is not None:
        if not isinstance(schema, dict):
            path = f"{_CONFIG}.responseJsonSchema"
            raise expect.wrong(path, "an object")
        return ResponseFormat("schema", schema=schema)
    if kind == _JSON:
        return ResponseFormat("json")
    return ResponseFormat("text") if kind else None


def _text_format(value: object) -> Json | None:
    """What the newer `responseFormat` says of text, if it says nothing else."""
    found = a_list(value, f"{_CONFIG}.responseFormat")
    if len(found) == 1 and isinstance(found[0], dict) and found[0].keys() == {"text"}:
        return an_object(found[0]["text"], f"{_CONFIG}.responseFormat.text")
    return None


def read_tool_config(value: object) -> tuple[ToolChoice | None, Json]:
    """The choice of a toolConfig, and its extras."""
    config = an_object(value, "toolConfig")
    path = "toolConfig.functionCallingConfig"
    calling = an_object(config.get("functionCallingConfig"), path)
    mode = a_word(calling.get("mode"), f"{path}.mode", _MODES)
    names = strings(calling.get("allowedFunctionNames"), f"{path}.allowedFunctionNames")
    read = ("mode", "allowedFunctionNames")
    extra = {f"{path}.{name}": each for name, each in calling.items() if name not in read}
    extra |= {
        f"toolConfig.{name}": each
        for name, each in config.items()
        if name != "functionCallingConfig"
    }
    if mode == "VALIDATED":
        extra[f"{path}.mode"] = mode
    return _choice(mode, names, f"{path}.mode"), extra


def _choice(mode: str, names: tuple[str, ...], path: str) -> ToolChoice | None:
    match mode:
        case "ANY":
            return ToolChoice("named" if len(names) == 1 else "required", names)
        case "NONE":
            return ToolChoice("none")
        case "AUTO" | "VALIDATED":
            return ToolChoice("auto", names)
        case "" | "MODE_UNSPECIFIED":
            return ToolChoice("auto", names) if names else None
    raise expect.wrong(path, "AUTO, ANY, NONE or VALIDATED")


# ── neutral → wire


def write_config(request: Request, aim: Aim, losses: Losses) -> Json:
    """The generationConfig, without extras."""
    own = request.dialect == NAME
    if len(request.stop) > _MOST_STOPS and not own:
        raise losses.refuse("stop", f"it takes at most {_MOST_STOPS} stop sequences")
    found: Json = {name: getattr(request, field) for name, field in _NUMBERS.items()}
    found |= {name: getattr(request, field) for name, field in _INTEGERS.items()}
    found["responseLogprobs"] = request.logprobs
    found["stopSequences"] = list(request.stop) or None
    found["responseModalities"] = _modalities(request, losses, own) or None
    found["thinkingConfig"] = _write_thinking(request, aim, losses) or None
    if not own and request.seed is not None:
        found["seed"] = request.seed % _MOST_SEED  # 32 bits here; as good a seed as any
    if not request.top_logprobs and not own:
        found.pop("logprobs")
    found |= _write_format(request.format, own)
    return {name: each for name, each in found.items() if each is not None}


def _modalities(request: Request, losses: Losses, own: bool) -> list[str]:
    if not own and (request.audio is not None or "audio" in request.modalities):
        raise losses.refuse("modalities", "its voices and formats of audio are others")
    if not own and request.modalities == ("text",):
        return []
    return [each.upper() for each in request.modalities]


def _write_format(format: ResponseFormat | None, own: bool) -> Json:
    match format:
        case ResponseFormat("schema"):
            schema = format.schema or {}
            if not own:
                schema = adapted(schema)
                if format.description and "description" not in schema:
                    schema["description"] = format.description
            return {"responseMimeType": _JSON, "responseJsonSchema": schema}
        case ResponseFormat("json"):
            return {"responseMimeType": _JSON}
        case ResponseFormat("text") if own:
            return {"responseMimeType": "text/plain"}
    return {}


def _write_thinking(request: Request, aim: Aim, losses: Losses) -> Json:
    thinking = request.thinking
    if thinking is None:
        return {}
    if request.dialect == NAME:
        return _as_it_was(thinking)
    age = generation(aim.model)
    if aim.vendor != "google" or (age is not None and age < 2.5):
        if thinking.mode not in ("", "off") or thinking.effort:
            losses.drop("thinking")
        return {}
    found: Json = {}
    if age is None or age >= 3:
        if level := _level(thinking, aim.model.lower(), losses):
            found["thinkingLevel"] = level.upper()
    elif (budget := _budget(thinking, request.max_tokens, aim.model.lower(), losses)) is not None:
        found["thinkingBudget"] = budget
    wanted = thinking.mode in ("on", "adaptive") or bool(thinking.effort or thinking.summary)
    if thinking.mode != "off" and (wanted if thinking.show is None else thinking.show):
        found["includeThoughts"] = True
    return found


def _as_it_was(thinking: Thinking) -> Json:
    found: Json = {}
    if thinking.mode in ("off", "adaptive"):
        found["thinkingBudget"] = 0 if thinking.mode == "off" else -1
    elif thinking.budget is not None:
        found["thinkingBudget"] = thinking.budget
    if thinking.effort:
        found["thinkingLevel"] = thinking.effort.upper()
    if thinking.show is not None:
        found["includeThoughts"] = thinking.show
    return found


def _level(thinking: Thinking, model: str, losses: Losses) -> str:
    """Gemini 3 cannot be told not to think; its Pro models know no MINIMAL."""
    levels: tuple[str, ...] = ("minimal", "low", "medium", "high")
    if "pro" in model:
        levels = ("low", "high") if "gemini-3-pro" in model else levels[1:]
    if thinking.mode != "off":
        return effort_of(thinking, levels)
    if levels[0] != "minimal":
        losses.drop("thinking.mode")
    return levels[0]


def _budget(thinking: Thinking, limit: int | None, model: str, losses: Losses) -> int | None:
    kind = next(kind for kind in _BUDGETS if kind in model)
    least, most = _BUDGETS[kind]
    budget = budget_of(thinking, limit)
    if budget is None:
        return -1 if thinking.mode == "adaptive" else None
    if budget:
        return min(max(budget, least), most)
    if kind != "pro":
        losses.drop_all({"thinking": thinking.mode != "off" and thinking.effort != "none"})
        return 0
    losses.drop("thinking.mode")
    return least


def write_tool_config(request: Request, aim: Aim, losses: Losses) -> Json:
    """The functionCallingConfig. Names may only stand beside ANY and VALIDATED.

    Both of them hold calls to their schemas, as `strict` tools want it; AUTO does not.
    """
    own = request.dialect == NAME
    choice = request.tool_choice
    functions = [tool for tool in request.tools if tool.kind == "function"]
    strict = [tool for tool in functions if tool.strict]
    if (choice is None and not strict) or (not request.tools and not own):
        return {}
    choice = choice or ToolChoice("auto")
    found: Json = {"mode": {"none": "NONE", "auto": "AUTO"}.get(choice.mode, "ANY")}
    if found["mode"] == "AUTO" and (choice.names or strict):
        age = generation(aim.model)
        if choice.names or (len(strict) == len(functions) and (age is None or age >= 2.5)):
            found["mode"] = "VALIDATED"
        else:
            losses.drop("tools.strict")
    if choice.names:
        found["allowedFunctionNames"] = list(choice.names)
    return found


def put_extras(body: Json, extra: Json) -> None:
    """Put members back where their paths say."""
    for path, value in extra.items():
        *outer, name = path.split(".")
        place = body
        for each in outer:
            place = place.setdefault(each, {})
        place[name] = value
