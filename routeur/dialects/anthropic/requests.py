"""Requests to Anthropic's Messages API, and to count their tokens.

Source of truth: Anthropic's OpenAPI description as of its Python package 0.100.0, the types of
package 2.11, and recordings. What is written holds under API version 2023-06-01, and without
temperature, top_p and top_k under 2026-10-21, too.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

from routeur.dialects import expect
from routeur.dialects.anthropic import NAME
from routeur.dialects.anthropic.block_writer import BlockWriter
from routeur.dialects.anthropic.blocks import read_content
from routeur.dialects.anthropic.turns import turns
from routeur.dialects.base import Json
from routeur.dialects.claude import (
    claude,
    read_cache,
    remembered,
    room,
    sampling,
    schema,
    thinking,
    write_cache,
)
from routeur.dialects.exact import dumps
from routeur.dialects.loose import members, string, without
from routeur.dialects.neutral import (
    Message,
    Request,
    ResponseFormat,
    Role,
    Thinking,
    Tool,
    ToolChoice,
)
from routeur.dialects.neutral.aim import Aim, Losses

MAX_TOKENS = 4096  # where neither the client nor the catalogue says it: all models can

_TOOL_NAME = re.compile(r"[a-zA-Z0-9_-]{1,128}")
_LONGEST_USER = 512  # characters

_ROLES: dict[str, Role] = {"user": "user", "assistant": "assistant", "system": "system"}
_KNOWN = frozenset(
    """
    model messages system max_tokens stream temperature top_p top_k stop_sequences tools tool_choice
    thinking output_config output_format metadata service_tier cache_control
    """.split()
)
# Without these the answer would be another, or come from elsewhere.
_ESSENTIAL = frozenset("container mcp_servers inference_geo thread compaction".split())
_MESSAGE = frozenset("role content".split())
_TOOL = frozenset("type name description input_schema strict cache_control".split())
_MODES = {"enabled": "on", "adaptive": "adaptive", "disabled": "off", "between_tools": "off"}
_COUNTED = frozenset(
    "model messages system tools tool_choice thinking output_config cache_control".split()
)
_TIERS = {"auto": "auto", "default": "standard_only", "standard": "standard_only"}


def address(model: str, stream: bool) -> str:
    """Path and query; the model stands in the body."""
    return "/v1/messages"


# ── reading


def read_request(body: Json, *, model: str, stream: bool) -> Request:
    """A request for a message, or to count its tokens. Raises Invalid."""
    choice, parallel = _read_choice(body.get("tool_choice"))
    config = expect.record(body, "output_config")
    extra = without(body, _KNOWN)
    extra |= _halves(body, config)
    return Request(
        NAME,
        model,
        (*_read_system(body), *_read_messages(body)),
        tools=tuple(_read_tools(body)),
        tool_choice=choice,
        parallel_tools=parallel,
        max_tokens=expect.whole(body, "max_tokens"),
        temperature=expect.number(body, "temperature"),
        top_p=expect.number(body, "top_p"),
        top_k=expect.whole(body, "top_k"),
        stop=expect.texts(body, "stop_sequences"),
        format=_read_format(config.get("format") or body.get("output_format")),
        thinking=_read_thinking(expect.record(body, "thinking"), config),
        user=string(expect.record(body, "metadata").get("user_id")),
        cache=read_cache(body),
        service_tier=string(body.get("service_tier")),
        stream=stream,
        extra=extra,
        essential=_ESSENTIAL,
    )


def _halves(body: Json, config: Json) -> Json:
    """What has no field of members of which the rest has: `output_config.task_budget` and so on."""
    reasoning = expect.record(body, "thinking")
    rest = {
        "output_config": without(config, frozenset(("format", "effort"))),
        "metadata": without(expect.record(body, "metadata"), frozenset(("user_id",))),
        "thinking": without(reasoning, frozenset(("type", "budget_tokens", "display"))),
    }
    if reasoning.get("type") == "between_tools":
        rest["thinking"]["type"] = "between_tools"
    return {name: value for name, value in rest.items() if value}


def _read_system(body: Json) -> list[Message]:
    system = body.get("system")
    if system is None:
        return []
    blocks = read_content(system, "system")
    return [Message("system", blocks)] if blocks else []


def _read_messages(body: Json) -> list[Message]:
    found = []
    for number, each in enumerate(expect.a_list(body.get("messages"), "messages")):
        path = f"messages[{number}]"
        raw = expect.an_object(each, path)
        role = _ROLES.get(expect.needed_text(raw, "role", path))
        if role is None:
            raise expect.wrong(f"{path}.role", "user, assistant or system")
        blocks = read_content(raw.get("content"), f"{path}.content")
        found.append(Message(role, blocks, extra=without(raw, _MESSAGE)))
    return found


def _read_tools(body: Json) -> list[Tool]:
    raw = body.get("tools")
    return [
        _read_tool(expect.an_object(each, f"tools[{number}]"), f"tools[{number}]")
        for number, each in enumerate(expect.a_list(raw, "tools") if raw is not None else [])
    ]


def _read_tool(raw: Json, path: str) -> Tool:
    """One tool. Those with types of Anthropic's own are `server`, also where the client runs it."""
    if raw.get("type") not in (None, "custom"):
        name = string(raw.get("name"))
        return Tool(name, kind="server", raw=raw, dialect=NAME, cache=read_cache(raw))
    strict = raw.get("strict")
    return Tool(
        expect.needed_text(raw, "name", path),
        string(raw.get("description")),
        expect.an_object(raw.get("input_schema"), f"{path}.input_schema"),
        strict if isinstance(strict, bool) else None,
        read_cache(raw),
        extra=without(raw, _TOOL),
    )


def _read_choice(raw: Any) -> tuple[ToolChoice | None, bool | None]:
    """The tool choice, and whether calls may be parallel."""
    if raw is None:
        return None, None
    choice = expect.an_object(raw, "tool_choice")
    single = choice.get("disable_parallel_tool_use")
    parallel = not single if isinstance(single, bool) else None
    match choice.get("type"):
        case "auto":
            return ToolChoice("auto"), parallel
        case "any":
            return ToolChoice("required"), parallel
        case "none":
            return ToolChoice("none"), parallel
        case "tool":
            return ToolChoice(
                "named", (expect.needed_text(choice, "name", "tool_choice"),)
            ), parallel
    raise expect.wrong("tool_choice.type", "auto, any, tool or none")


def _read_format(raw: Any) -> ResponseFormat | None:
    if raw is None:
        return None
    path = "output_config.format"
    if expect.an_object(raw, path).get("type") != "json_schema":
        raise expect.wrong(f"{path}.type", "json_schema")
    found = expect.an_object(raw.get("schema"), f"{path}.schema")
    extra = without(raw, frozenset(("type", "schema")))
    return ResponseFormat("schema", schema=found, extra=extra)


def _read_thinking(raw: Json, config: Json) -> Thinking | None:
    effort = string(config.get("effort")).lower()
    if not raw:
        return Thinking(effort=effort) if effort else None
    mode = _MODES.get(expect.needed_text(raw, "type", "thinking"))
    if mode is None:
        raise expect.wrong("thinking.type", "enabled, adaptive, disabled or between_tools")
    show = {"summarized": True, "omitted": False}.get(string(raw.get("display")))
    budget = expect.whole(raw, "budget_tokens", "thinking")
    return Thinking(mode, effort, budget, show)  # type: ignore[arg-type]


# ── writing


def write_request(request: Request, aim: Aim, losses: Losses) -> bytes:
    """The body for a message. Raises Untranslatable."""
    return dumps(_written(request, aim, losses))


def write_count_request(request: Request, aim: Aim, losses: Losses) -> bytes:
    """The body of /v1/messages/count_tokens for the same. Raises Untranslatable."""
    body = _written(request, aim, losses)
    return dumps({name: value for name, value in body.items() if name in _COUNTED})


def _written(request: Request, aim: Aim, losses: Losses) -> Json:
    own = request.dialect == NAME
    writer = BlockWriter(losses, own, aim.origin)
    _refuse(request, losses)
    extra = dict(losses.extras(request, NAME))
    body: Json = {"model": aim.model}
    if own:
        limit = request.max_tokens
        body["max_tokens"] = aim.max_output or MAX_TOKENS if limit is None else limit
        thoughts = _own_thinking(request)
    else:
        body["max_tokens"] = room(request, aim, MAX_TOKENS)
        thoughts = _thinking(request, aim, body["max_tokens"], losses)
        config = thoughts.get("thinking", {})
        kept = remembered(request.messages, aim.model, config, losses)
        request = replace(request, messages=kept)
    system, messages = turns(request, aim, writer)
    if system:
        body["system"] = system
    body["messages"] = messages
    body |= _settings(request, losses)
    body |= _tools(request, aim, losses)
    body |= thoughts
    _add_format(body, request, losses)
    for name, value in extra.items():
        known = body.get(name)
        body[name] = {**known, **value} if isinstance(known, dict) else value
    if request.stream:
        body["stream"] = True
    return body


def _refuse(request: Request, losses: Losses) -> None:
    """What cannot be said here, and what can be left out."""
    losses.only_one_text(request)
    if request.logprobs or request.top_logprobs:
        raise losses.refuse("logprobs", "it has none")
    if any(not each.strip() for each in request.stop):
        raise losses.refuse("stop", "a stop sequence must be more than white space here")
    losses.drop_all(
        {
            "seed": request.seed,
            "presence_penalty": request.presence_penalty or None,
            "frequency_penalty": request.frequency_penalty or None,
            "verbosity": request.verbosity,
            "metadata": request.metadata,
            "cache_key": request.cache_key,
            "store": request.store,
            "audio": request.audio,
        }
    )


def _settings(request: Request, losses: Losses) -> Json:
    body: Json = {}
    if request.stop:
        body["stop_sequences"] = list(request.stop)
    user = request.user or request.safety_identifier
    if user:
        body["metadata"] = {"user_id": user[:_LONGEST_USER]}
    if request.user and request.safety_identifier:
        losses.drop("safety_identifier")
    body |= write_cache(request.cache)
    tier = request.service_tier
    if tier and request.dialect != NAME:
        tier = _TIERS.get(tier, "")
        losses.drop_all({"service_tier": "" if tier else request.service_tier})
    if tier:
        body["service_tier"] = tier
    return body


def _own_thinking(request: Request) -> Json:
    """Thinking and sampling as the client said them, for its own API to judge."""
    body: Json = {}
    for name in ("temperature", "top_p", "top_k"):
        if (value := getattr(request, name)) is not None:
            body[name] = value
    wanted = request.thinking
    if wanted is None:
        return body
    if wanted.mode:
        names = {mode: name for name, mode in reversed(_MODES.items())}
        body["thinking"] = {"type": names[wanted.mode]}
        if wanted.budget is not None:
            body["thinking"]["budget_tokens"] = wanted.budget
        if wanted.show is not None:
            body["thinking"]["display"] = "summarized" if wanted.show else "omitted"
    if wanted.effort:
        body["output_config"] = {"effort": wanted.effort}
    return body


def _thinking(request: Request, aim: Aim, max_tokens: int, losses: Losses) -> Json:
    body: Json = {}
    config, effort = thinking(request, aim.model, max_tokens, losses)
    thinks = config.get("type") in ("enabled", "adaptive")
    body |= sampling(request, aim.model, thinks, losses)
    if config:
        body["thinking"] = config
    if effort:
        body["output_config"] = {"effort": effort}
    return body


def _add_format(body: Json, request: Request, losses: Losses) -> None:
    wanted = request.format
    if wanted is None or wanted.kind == "text":
        return
    if wanted.kind == "json" or wanted.schema is None:
        raise losses.refuse("format", "it answers in JSON only by a schema")
    own = request.dialect == NAME
    losses.drop_all({"format.description": wanted.description})
    written = {"type": "json_schema", "schema": wanted.schema if own else schema(wanted.schema)}
    config = body.setdefault("output_config", {})
    config["format"] = written | wanted.extra if own else written


def _tools(request: Request, aim: Aim, losses: Losses) -> Json:
    choice = request.tool_choice
    tools = [_write_tool(each, request.dialect == NAME, aim, losses) for each in request.tools]
    if choice and choice.names and not _names_one(choice):
        tools = [each for each in tools if each.get("name") in choice.names]
    if not tools:
        return {}
    found: Json = {"tools": tools}
    if written := _write_choice(request, aim, losses):
        found["tool_choice"] = written
    return found


def _write_tool(tool: Tool, own: bool, aim: Aim, losses: Losses) -> Json:
    if tool.kind == "server" and tool.dialect == NAME:
        return tool.raw
    if tool.kind != "function":
        kind = string(tool.raw.get("type")) or tool.kind
        name = tool.name or kind
        raise losses.refuse("tools", f"the tool {name} exists only elsewhere: leave it out")
    if not own and not _TOOL_NAME.fullmatch(tool.name):
        raise losses.refuse(
            "tools", f"{tool.name!r} is no name here: up to 128 letters, digits, _ and -"
        )
    raw: Json = {"name": tool.name}
    if tool.description:
        raw["description"] = tool.description
    parameters = tool.parameters or {}
    strict = tool.strict
    if not own:
        parameters = {"type": "object", **parameters}
        if strict and not claude(aim.model).strict:
            losses.drop("strict")
            strict = None
        if strict:
            parameters = schema(parameters)
    raw["input_schema"] = parameters
    if strict is not None:
        raw["strict"] = strict
    raw |= write_cache(tool.cache)
    return raw | tool.extra if own else raw


def _write_choice(request: Request, aim: Aim, losses: Losses) -> Json:
    choice, parallel = request.tool_choice, request.parallel_tools
    if choice is None:
        return {"type": "auto", "disable_parallel_tool_use": True} if parallel is False else {}
    if choice.mode == "none":
        return {"type": "none"}
    if choice.mode != "auto" and request.dialect != NAME and not claude(aim.model).forced:
        raise losses.refuse("tool_choice", f"{aim.model} cannot be made to call a tool")
    found: Json = {"type": "any" if choice.mode == "required" else "auto"}
    if _names_one(choice):
        found = {"type": "tool", "name": choice.names[0]}
    if parallel is not None:
        found["disable_parallel_tool_use"] = not parallel
    return found


def _names_one(choice: ToolChoice) -> bool:
    """Whether one tool must be called; else `names` are those that may be, so the others go."""
    return choice.mode in ("named", "required") and len(choice.names) == 1


# ── counting tokens


def read_count(body: Json) -> int:
    """The tokens that an answer of count_tokens says."""
    value = members(body).get("input_tokens")
    return value if type(value) is int else 0


def write_count(tokens: int) -> bytes:
    """An answer of count_tokens."""
    return dumps({"input_tokens": tokens})
