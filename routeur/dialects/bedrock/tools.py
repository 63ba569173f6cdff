"""The toolConfig of Amazon Bedrock's Converse, and which tools may be called."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from routeur.dialects import claude, expect
from routeur.dialects.base import Json
from routeur.dialects.bedrock.blocks import NAME, Writing, mark_of, tool_name, write_mark
from routeur.dialects.neutral import Message, Request, Tool, ToolCall, ToolChoice, ToolResult
from routeur.dialects.neutral.aim import Aim, Losses

# Makers whose models know strict tools, beside Claude (Amazon's user guide, structured outputs).
_STRICT = ("qwen", "deepseek", "mistral", "gemma", "nemotron", "minimax", "kimi", "gpt-oss")
_SPEC = ("name", "description", "inputSchema", "strict")


def read_tools(body: Json) -> tuple[Tool, ...]:
    """The tools, with the cachePoints as marks. May: Invalid."""
    found: list[Tool] = []
    for at, raw in expect.records(expect.record(body, "toolConfig"), "tools", "toolConfig"):
        mark = mark_of(raw)
        if mark is None:
            found.append(_read_tool(raw, at))
        elif found and found[-1].cache is None:
            found[-1] = replace(found[-1], cache=mark)
        else:
            raise expect.wrong(at, "a tool before the cachePoint")
    return tuple(found)


def _read_tool(raw: Json, at: str) -> Tool:
    if "toolSpec" not in raw:
        system = expect.record(raw, "systemTool", at)
        name = expect.text(system, "name", f"{at}.systemTool")
        return Tool(name, kind="server", raw=raw, dialect=NAME)
    spec, at = expect.needed_record(raw, "toolSpec", at), f"{at}.toolSpec"
    schema = expect.needed_record(spec, "inputSchema", at)
    return Tool(
        expect.needed_text(spec, "name", at),
        expect.text(spec, "description", at),
        expect.needed_record(schema, "json", f"{at}.inputSchema"),
        expect.truth(spec, "strict", at),
        extra={name: value for name, value in spec.items() if name not in _SPEC},
    )


def read_choice(body: Json) -> ToolChoice | None:
    """toolChoice. May: Invalid."""
    at = "toolConfig.toolChoice"
    said = expect.record(expect.record(body, "toolConfig"), "toolChoice", "toolConfig")
    if not said:
        return None
    if "tool" in said:
        tool = expect.needed_record(said, "tool", at)
        return ToolChoice("named", (expect.needed_text(tool, "name", f"{at}.tool"),))
    if "any" in said:
        return ToolChoice("required")
    if "auto" in said:
        return ToolChoice("auto")
    raise expect.wrong(at, "`auto`, `any` or `tool`")


def write_tools(
    request: Request, aim: Aim, to: Writing, messages: Iterable[Message], *, chosen: bool
) -> Json:
    """toolConfig, or nothing. `chosen`: the model's own fields say which tools may be called.

    A conversation with calls in it wants one, even if there are to be no more of them. May:
    Untranslatable.
    """
    choice = request.tool_choice
    forbidden = choice is not None and choice.mode == "none"
    used = _used(messages)
    if forbidden and not used:
        return {}
    tools: list[Json] = []
    for tool in _allowed(request):
        tools += _write_tool(tool, aim, to)
    if forbidden:
        to.losses.drop("tool_choice")
    tools = tools or [_tool(name, to.losses) for name in used]
    if not tools:
        return {}
    if choice is None or forbidden or not request.tools:
        return {"tools": tools}
    if choice.mode in ("required", "named") and not to.own and not _forced(aim):
        raise to.losses.refuse("tool_choice", f"{aim.model} cannot be made to call a tool")
    if chosen:
        return {"tools": tools}
    return {"tools": tools, "toolChoice": _write_choice(choice)}


def _forced(aim: Aim) -> bool:
    return aim.vendor != "anthropic" or claude.claude(aim.model).forced


def _used(messages: Iterable[Message]) -> list[str]:
    """The names of tools that were called; a result without its call is one, too."""
    found: dict[str, None] = {}
    for message in messages:
        for block in message.blocks:
            if isinstance(block, ToolCall):
                found[block.name] = None
            elif isinstance(block, ToolResult) and not found:
                found[block.name or "tool"] = None
    return list(found)


def _tool(name: str, losses: Losses) -> Json:
    """A tool of which only the name is known."""
    spec = {"name": tool_name(name, losses), "inputSchema": {"json": {"type": "object"}}}
    return {"toolSpec": spec}


def _allowed(request: Request) -> Iterable[Tool]:
    """The tools, or those of them that a choice allows: here others can only be left out."""
    choice = request.tool_choice
    if choice is None or choice.mode not in ("auto", "required") or not choice.names:
        return request.tools
    return [each for each in request.tools if each.name in choice.names]


def _write_tool(tool: Tool, aim: Aim, to: Writing) -> list[Json]:
    if tool.kind == "server" and tool.dialect == NAME:
        written = tool.raw
    elif tool.kind != "function":
        raise to.losses.refuse("tools", f"{tool.name or tool.kind!r} is no function")
    else:
        written = {"toolSpec": _spec(tool, aim, to)}
    mark = [] if tool.cache is None else write_mark(tool.cache, to)
    return [written, *mark]


def _spec(tool: Tool, aim: Aim, to: Writing) -> Json:
    spec: Json = {"name": tool_name(tool.name, to.losses)}
    if tool.description:
        spec["description"] = tool.description
    strict = tool.strict
    if strict and not to.own and not _knows_strict(aim):
        to.losses.drop("tools.strict")
        strict = None
    schema = tool.parameters or {}
    if not to.own:
        schema = claude.schema(schema) if strict else schema
        schema = schema if "type" in schema else {"type": "object", **schema}
    spec["inputSchema"] = {"json": schema}
    if strict or (to.own and strict is not None):
        spec["strict"] = strict
    if to.own:
        return {**spec, **tool.extra}
    for name in tool.extra:
        to.losses.drop(f"tools.{name}")
    return spec


def _knows_strict(aim: Aim) -> bool:
    if aim.vendor == "anthropic":
        return claude.claude(aim.model).strict
    return any(name in aim.model.lower() for name in _STRICT)


def _write_choice(choice: ToolChoice) -> Json:
    if choice.mode == "named" or (choice.mode == "required" and len(choice.names) == 1):
        return {"tool": {"name": choice.names[0]}}
    return {"any": {}} if choice.mode == "required" else {"auto": {}}
