"""Tools, their choice and the answer's format in Chat Completions, both ways."""

from __future__ import annotations

import re
from typing import Any, Literal

from routeur.dialects import expect
from routeur.dialects.base import Json
from routeur.dialects.claude import read_cache, write_cache
from routeur.dialects.loose import items, members, string
from routeur.dialects.neutral import Request, ResponseFormat, Tool, ToolChoice
from routeur.dialects.openai_chat import NAME
from routeur.dialects.openai_chat.parts import Target, takes_marks

#: What `Tool.raw` of a tool holds that came as one of the old `functions`: the answer's writer
#: then says `function_call`.
OLD = {"functions": True}

_NAMES = re.compile("[A-Za-z0-9_-]{1,64}")  # OpenAI's, for tools and formats
_MODES: dict[str, Literal["auto", "none", "required"]] = {
    "auto": "auto",
    "none": "none",
    "required": "required",
    "any": "required",  # Mistral's word
}


# Tools.


def read_tools(body: Json) -> tuple[Tool, ...]:
    """The tools, those of the old `functions`, too."""
    found = []
    for name in ("tools", "functions"):
        value = body.get(name)
        if value is not None and not isinstance(value, list):
            raise expect.wrong(name, "a list")
        for number, raw in enumerate(value or ()):
            path = f"{name}[{number}]"
            if not isinstance(raw, dict):
                raise expect.wrong(path, "an object")
            found.append(_read_tool(raw, path) if name == "tools" else _read_old(raw, path))
    return tuple(found)


def is_old(request: Request) -> bool:
    """Whether the client speaks of `functions`, and understands no tool calls."""
    return any(each.raw == OLD for each in request.tools)


def _read_tool(raw: Json, path: str) -> Tool:
    match raw.get("type"):
        case "function" | None:
            return _read_function(raw, f"{path}.function")
        case "custom":
            return _read_custom(raw, f"{path}.custom")
        case str():
            return Tool(kind="server", raw=raw, dialect=NAME)
        case _:
            raise expect.wrong(f"{path}.type", "function or custom")


def _read_function(raw: Json, path: str) -> Tool:
    inner = members(raw.get("function"))
    strict = inner.get("strict")
    known = ("name", "description", "parameters", "strict")
    return Tool(
        name=_name(inner, path),
        description=string(inner.get("description")),
        parameters=_parameters(inner, path),
        strict=strict if isinstance(strict, bool) else None,
        cache=read_cache(raw),
        extra={key: value for key, value in inner.items() if key not in known},
    )


def _read_old(raw: Json, path: str) -> Tool:
    description = string(raw.get("description"))
    parameters = _parameters(raw, path)
    return Tool(_name(raw, path), description, parameters, raw=OLD, dialect=NAME)


def _read_custom(raw: Json, path: str) -> Tool:
    inner = members(raw.get("custom"))
    format = members(inner.get("format")) or None
    if format and isinstance(format.get("grammar"), dict):
        format = {"type": "grammar", **format["grammar"]}  # Responses has it flat
    description = string(inner.get("description"))
    return Tool(_name(inner, path), description, kind="custom", format=format)


def _name(inner: Json, path: str) -> str:
    name = inner.get("name")
    if not isinstance(name, str) or not name:
        raise expect.wrong(f"{path}.name", "the tool's name")
    return name


def _parameters(inner: Json, path: str) -> Json | None:
    value = inner.get("parameters")
    if value is None or isinstance(value, dict):
        return value
    raise expect.wrong(f"{path}.parameters", "a JSON Schema")


def write_tools(request: Request, target: Target) -> Json:
    """`tools`, `tool_choice` and `parallel_tool_calls`, as far as there is anything to say."""
    tools = request.tools
    choice = request.tool_choice
    if choice and choice.names and choice.mode != "named" and not (target.openai or target.own):
        # No others than OpenAI know allowed_tools: they do not get to see the rest.
        tools = tuple(each for each in tools if each.name in choice.names)
        choice = ToolChoice(choice.mode)
    if not tools:
        return {}
    found: Json = {"tools": [_write_tool(each, n, target) for n, each in enumerate(tools)]}
    if choice:
        found["tool_choice"] = _write_choice(choice, tools)
    if request.parallel_tools is not None:
        if target.aim.openai_reasoning and "gpt" not in target.aim.model and not target.own:
            target.losses.drop("parallel_tools")  # the o-series refuses it
        else:
            found["parallel_tool_calls"] = request.parallel_tools
    return found


def _write_tool(tool: Tool, number: int, target: Target) -> Json:
    path = f"tools[{number}]"
    if tool.kind == "server":
        if tool.dialect != NAME:
            kind = string(tool.raw.get("type")) or tool.name
            raise target.losses.refuse(path, f"the tool {kind} exists only elsewhere: leave it out")
        return tool.raw
    if target.openai and not _NAMES.fullmatch(tool.name):
        why = "expected 1 to 64 letters, digits, `_` and `-` as a tool's name"
        raise target.losses.refuse(f"{path}.name", why)
    if tool.kind == "custom":
        if not (target.openai or target.own):
            raise target.losses.refuse(path, "it takes only tools with a JSON Schema")
        return {"type": "custom", "custom": _write_custom(tool)}
    function: Json = {"name": tool.name}
    if tool.description or target.own:
        function["description"] = tool.description
    if tool.parameters is not None:
        function["parameters"] = tool.parameters
    if tool.strict is not None:
        function["strict"] = tool.strict
    if target.own:
        function |= tool.extra
    return {"type": "function", "function": function, **_write_mark(tool, target)}


def _write_mark(tool: Tool, target: Target) -> Json:
    if tool.cache is None:
        return {}
    if takes_marks(target):
        return write_cache(tool.cache)
    target.losses.drop("cache")
    return {}


def _write_custom(tool: Tool) -> Json:
    found: Json = {"name": tool.name}
    if tool.description:
        found["description"] = tool.description
    if tool.format:
        kind = string(tool.format.get("type"))
        rest = {name: value for name, value in tool.format.items() if name != "type"}
        found["format"] = {"type": kind, "grammar": rest} if kind == "grammar" else tool.format
    return found


# Tool choice.


def read_tool_choice(body: Json) -> ToolChoice | None:
    """The choice, also of the old `function_call`."""
    value = body.get("tool_choice")
    path = "tool_choice"
    if value is None:
        value = body.get("function_call")
        path = "function_call"
        if isinstance(value, dict):
            value = {"type": "function", "function": value}
    if value is None:
        return None
    if isinstance(value, str) and value in _MODES:
        return ToolChoice(_MODES[value])
    if isinstance(value, dict):
        kind = string(value.get("type")) or "function"
        if kind == "allowed_tools":
            return _read_allowed(members(value.get("allowed_tools")), f"{path}.allowed_tools")
        name = string(members(value.get(kind)).get("name"))
        if name:
            return ToolChoice("named", (name,))
    raise expect.wrong(path, "none, auto, required, or a tool by its name")


def _read_allowed(allowed: Json, path: str) -> ToolChoice:
    mode = _MODES.get(string(allowed.get("mode")))
    names = []
    for each in items(allowed.get("tools")):
        kind = string(members(each).get("type"))
        names.append(string(members(members(each).get(kind)).get("name")))
    if mode is None or not names or not all(names):
        raise expect.wrong(path, "a `mode` and `tools` with their names")
    return ToolChoice(mode, tuple(names))


def _write_choice(choice: ToolChoice, tools: tuple[Tool, ...]) -> Any:
    kinds = {each.name: each.kind for each in tools}
    named = [_reference(name, kinds.get(name, "function")) for name in choice.names]
    if choice.mode == "named" and named:
        return named[0]
    if named:
        return {"type": "allowed_tools", "allowed_tools": {"mode": choice.mode, "tools": named}}
    return choice.mode


def _reference(name: str, kind: str) -> Json:
    return {"type": kind, kind: {"name": name}}


# The answer's format.


def read_format(value: Any) -> ResponseFormat | None:
    """The `response_format`."""
    if value is None:
        return None
    path = "response_format"
    match members(value).get("type"):
        case "text":
            return ResponseFormat("text")
        case "json_object":
            return ResponseFormat("json")
        case "json_schema":
            return _read_schema(members(value.get("json_schema")), f"{path}.json_schema")
    raise expect.wrong(f"{path}.type", "text, json_object or json_schema")


def _read_schema(inner: Json, path: str) -> ResponseFormat:
    schema, strict = inner.get("schema"), inner.get("strict")
    if schema is not None and not isinstance(schema, dict):
        raise expect.wrong(f"{path}.schema", "a JSON Schema")
    return ResponseFormat(
        "schema",
        name=_name(inner, path),
        description=string(inner.get("description")),
        schema=schema,
        strict=strict if isinstance(strict, bool) else None,
    )


def write_format(format: ResponseFormat | None, target: Target) -> Json:
    """`response_format`, as far as there is anything to say."""
    if format is None or (format.kind == "text" and not target.own):
        return {}
    if format.kind != "schema":
        kind = "text" if format.kind == "text" else "json_object"
        return {"response_format": {"type": kind}}
    name = format.name if target.own or _NAMES.fullmatch(format.name) else "answer"
    found: Json = {"name": name}
    if format.description:
        found["description"] = format.description
    if format.schema is not None:
        found["schema"] = format.schema
    if format.strict is not None:
        found["strict"] = format.strict
    return {"response_format": {"type": "json_schema", "json_schema": found}}
