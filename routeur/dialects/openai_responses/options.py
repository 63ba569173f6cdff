"""Tools, tool choice, text format and reasoning of the Responses API: read, written and echoed."""

from __future__ import annotations

from collections.abc import Mapping

from routeur.dialects import expect
from routeur.dialects.base import Json
from routeur.dialects.loose import members
from routeur.dialects.neutral import ResponseFormat, Thinking, Tool, ToolChoice
from routeur.dialects.openai_responses import NAME
from routeur.dialects.openai_responses.items import rest

_TOOL_FIELDS = frozenset("type name description parameters strict format".split())
_FORMAT_FIELDS = frozenset("type name description schema strict".split())
_MODES = ("none", "auto", "required")
_TIERS = frozenset("auto default flex scale priority fast ultrafast".split())
_TIERS_ELSEWHERE = {"standard_only": "default", "standard": "default"}


def read_tier(word: str) -> str:
    """Another dialect's service tier in OpenAI's words; "" if there is none like it."""
    tier = _TIERS_ELSEWHERE.get(word.lower(), word.lower())
    return tier if tier in _TIERS else ""


# Tools.


def read_tool(raw: Json, at: str) -> Tool:
    """A tool of any type: what is neither a function nor custom runs at the provider."""
    kind = expect.needed_text(raw, "type", at)
    if kind not in ("function", "custom"):
        return Tool(kind="server", raw=raw, dialect=NAME)
    name = expect.needed_text(raw, "name", at)
    description = expect.text(raw, "description", at)
    extra = rest(raw, _TOOL_FIELDS)
    if kind == "custom":
        form = expect.record(raw, "format", at) or None
        return Tool(name, description, kind="custom", format=form, extra=extra)
    given = raw.get("parameters") is not None
    return Tool(
        name,
        description,
        parameters=expect.record(raw, "parameters", at) if given else None,
        strict=expect.truth(raw, "strict", at),
        extra=extra,
    )


def write_tool(tool: Tool, own: bool) -> Json:
    """A tool that runs at the client, or one of the API's own."""
    if tool.kind == "server":
        return tool.raw
    told: Json = {"type": tool.kind, "name": tool.name}
    if tool.description:
        told["description"] = tool.description
    if tool.kind == "custom":
        if tool.format:
            told["format"] = tool.format
    else:
        told["parameters"] = tool.parameters
        if tool.strict is not None:
            told["strict"] = tool.strict
        elif not own:
            told["strict"] = False  # the default is true here, and false everywhere else
    return {**told, **tool.extra} if own else told


def echo_tool(tool: Tool) -> Json:
    """A tool as an answer repeats it."""
    if tool.kind != "function":
        return write_tool(tool, own=True)
    required = {"description": None, "parameters": None, "strict": tool.strict}
    return {**required, **write_tool(tool, own=True)}


# Which of them.


def read_tool_choice(value: object) -> ToolChoice | None:
    """The choice; None if it is one of a tool that runs at the provider."""
    if value in _MODES:
        return ToolChoice(value)  # type: ignore[arg-type]
    if not isinstance(value, dict):
        raise expect.wrong("tool_choice", "none, auto, required, or an object")
    kind = expect.needed_text(value, "type", "tool_choice")
    if kind in ("function", "custom"):
        return ToolChoice("named", (expect.needed_text(value, "name", "tool_choice"),))
    if kind == "allowed_tools":
        return _allowed(value)
    return None


def _allowed(value: Json) -> ToolChoice | None:
    mode = expect.needed_text(value, "mode", "tool_choice")
    if mode not in ("auto", "required"):
        raise expect.wrong("tool_choice.mode", "auto or required")
    tools = expect.records(value, "tools", "tool_choice")
    if not tools or any(each.get("type") not in ("function", "custom") for _, each in tools):
        return None
    names = tuple(expect.needed_text(each, "name", at) for at, each in tools)
    return ToolChoice(mode, names)  # type: ignore[arg-type]


def write_tool_choice(choice: ToolChoice, kinds: Mapping[str, str]) -> str | Json:
    """The choice; `kinds` tells of each tool by its name whether it is custom."""
    named = [{"type": kinds.get(name, "function"), "name": name} for name in choice.names]
    if choice.mode == "named":
        return named[0]
    if named and choice.mode != "none":
        return {"type": "allowed_tools", "mode": choice.mode, "tools": named}
    return choice.mode


def kinds_of(tools: tuple[Tool, ...]) -> dict[str, str]:
    """Which tools are custom, for `write_tool_choice`."""
    return {each.name: each.kind for each in tools if each.kind != "server"}


# How the text is to look.


def read_format(raw: Json) -> ResponseFormat | None:
    """`text.format`; None if it is of a type that we do not know."""
    at = "text.format"
    match expect.needed_text(raw, "type", at):
        case "text":
            return ResponseFormat("text")
        case "json_object":
            return ResponseFormat("json")
        case "json_schema":
            return ResponseFormat(
                "schema",
                name=expect.needed_text(raw, "name", at),
                description=expect.text(raw, "description", at),
                schema=expect.record(raw, "schema", at),
                strict=expect.truth(raw, "strict", at),
                extra=rest(raw, _FORMAT_FIELDS),
            )
    return None


def write_format(form: ResponseFormat, own: bool) -> Json:
    """`text.format`."""
    if form.kind != "schema":
        return {"type": "json_object" if form.kind == "json" else "text"}
    told: Json = {"type": "json_schema", "name": form.name or "answer", "schema": form.schema or {}}
    if form.description:
        told["description"] = form.description
    if form.strict is not None:
        told["strict"] = form.strict
    return {**told, **form.extra} if own else told


def echo_format(form: ResponseFormat | None) -> Json:
    """The format as an answer repeats it."""
    told = write_format(form or ResponseFormat("text"), own=True)
    if told["type"] == "json_schema":
        told = {"description": None, "strict": False, **told}
    return told


# Reasoning.


def read_thinking(raw: Json, encrypted: bool) -> Thinking | None:
    """`reasoning`, and whether sealed reasoning is to be in the answer."""
    effort = expect.text(raw, "effort", "reasoning").lower()
    summary = expect.text(raw, "summary", "reasoning")
    summary = summary or expect.text(raw, "generate_summary", "reasoning")
    if not (effort or summary or encrypted):
        return None
    off = effort == "none"
    return Thinking(
        mode="off" if off else "on" if effort else "",
        effort="" if off else effort,
        show=True if summary else None,
        summary=summary,
        encrypted=encrypted,
    )


def echo_thinking(thinking: Thinking | None, extra: Json) -> Json:
    """The reasoning as an answer repeats it."""
    told = thinking or Thinking()
    effort = "none" if told.mode == "off" else told.effort or None
    return {"effort": effort, "summary": told.summary or None, **members(extra)}
