"""Gemini's tools: functions that clients run, and what Google runs itself."""

from __future__ import annotations

from routeur.dialects import expect
from routeur.dialects.base import Json
from routeur.dialects.gemini import NAME
from routeur.dialects.gemini.schemas import adapted, is_empty, to_json_schema
from routeur.dialects.gemini.wire import a_list, a_string, an_object
from routeur.dialects.neutral import Request, Tool
from routeur.dialects.neutral.aim import Losses

_FUNCTIONS = "functionDeclarations"
_READ = frozenset(("name", "description", "parameters", "parametersJsonSchema"))


def read_tools(value: object) -> tuple[Tool, ...]:
    """All tools: each function is one, and so is each of Google's own."""
    found: list[Tool] = []
    for number, each in enumerate(a_list(value, "tools")):
        path = f"tools[{number}]"
        for name, inner in an_object(each, path).items():
            if name == _FUNCTIONS:
                found += _functions(inner, f"{path}.{name}")
            else:
                found.append(Tool(name, kind="server", raw={name: inner}, dialect=NAME))
    return tuple(found)


def _functions(value: object, path: str) -> list[Tool]:
    return [
        _function(an_object(each, f"{path}[{number}]"), f"{path}[{number}]")
        for number, each in enumerate(a_list(value, path))
    ]


def _function(each: Json, path: str) -> Tool:
    name = a_string(each.get("name"), f"{path}.name")
    if not name:
        raise expect.wrong(f"{path}.name", "the name of a function")
    return Tool(
        name,
        a_string(each.get("description"), f"{path}.description"),
        _parameters(each, path),
        extra={key: inner for key, inner in each.items() if key not in _READ},
    )


def _parameters(each: Json, path: str) -> Json | None:
    schema = each.get("parametersJsonSchema")
    if schema is None:
        # not in camelCase: a schema's own members may not be touched twice
        schema = each.get("parameters")
        if isinstance(schema, dict):
            schema = to_json_schema(schema)
    if schema is not None and not isinstance(schema, dict):
        raise expect.wrong(f"{path}.parameters", "an object")
    return None if is_empty(schema) else schema


def write_tools(request: Request, losses: Losses) -> list[Json]:
    """Functions that stand in a row are declared together."""
    found: list[Json] = []
    for number, tool in enumerate(request.tools):
        if tool.cache is not None:
            losses.drop("cache")
        if tool.kind == "server" and tool.dialect == NAME:
            found.append(tool.raw)
        elif tool.kind != "function":
            name = tool.raw.get("type") or tool.name
            why = f"the tool {name} exists only elsewhere: leave it out"
            raise losses.refuse(f"tools[{number}]", why)
        elif found and _FUNCTIONS in found[-1]:
            found[-1][_FUNCTIONS].append(_declaration(tool, request.dialect == NAME))
        else:
            found.append({_FUNCTIONS: [_declaration(tool, request.dialect == NAME)]})
    return found


def _declaration(tool: Tool, own: bool) -> Json:
    """Functions without parameters have no schema: Gemini refuses objects without properties."""
    found: Json = {"name": tool.name, "description": tool.description}
    if tool.parameters and not is_empty(tool.parameters):
        found["parametersJsonSchema"] = tool.parameters if own else _root(adapted(tool.parameters))
    return found | tool.extra if own else found


def _root(schema: Json) -> Json:
    """The whole has to be an object, and to say so."""
    return schema if schema.keys() & {"type", "$ref", "anyOf"} else {"type": "object", **schema}
