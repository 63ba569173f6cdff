"""Results of tools: Gemini's function responses, which name the function and may lack an id.

A response is an object. `output` or `result` alone is what the tool said, `error` alone that it
failed; any other object is read as its JSON, and text that is an object is written as one.
"""

from __future__ import annotations

import orjson

from routeur.dialects import exact, expect
from routeur.dialects.base import Json
from routeur.dialects.gemini.blocks import Parts, read_part
from routeur.dialects.gemini.wire import a_list, a_string, an_object
from routeur.dialects.neutral import Block, Text, ToolCall, ToolResult
from routeur.dialects.neutral.ids import is_made, made_id

_MEMBERS = frozenset(("id", "name", "response", "parts"))  # those that have fields


class Calls:
    """The calls of a conversation that wait for results, to pair both by id, or else by name."""

    __slots__ = ("_waiting",)

    def __init__(self) -> None:
        self._waiting: list[ToolCall] = []

    def add(self, call: ToolCall) -> None:
        """One more call."""
        self._waiting.append(call)

    def take(self, id: str, name: str, path: str) -> str:
        """The id of the call that this is the result of."""
        for call in self._waiting:
            if id == call.id or (call.name == name and not id):
                self._waiting.remove(call)
                return call.id
        return id or made_id(path, name)


def read_result(part: Json, path: str, calls: Calls) -> ToolResult:
    """A part with a `functionResponse`, in camelCase."""
    data = an_object(part["functionResponse"], path)
    name = a_string(data.get("name"), f"{path}.name")
    if not name:
        raise expect.wrong(f"{path}.name", "the name of a function")
    an_object(data.get("response"), f"{path}.response")
    failed, text = _said(data.get("response") or {})
    blocks: list[Block] = [Text(text)] if text else []
    for number, each in enumerate(a_list(data.get("parts"), f"{path}.parts")):
        inner = f"{path}.parts[{number}]"
        blocks.append(read_part(an_object(each, inner), inner))
    return ToolResult(
        calls.take(a_string(data.get("id"), f"{path}.id"), name, path),
        tuple(blocks),
        name,
        failed,
        extra={key: each for key, each in data.items() if key not in _MEMBERS},
    )


def _said(response: Json) -> tuple[bool, str]:
    """Whether the tool failed, and what it said."""
    if len(response) == 1:
        ((name, value),) = response.items()
        if name == "error":
            return True, _text(value)
        if name in ("output", "result") and isinstance(value, str):
            return False, value
    return False, _text(response) if response else ""


def _text(value: object) -> str:
    return value if isinstance(value, str) else exact.dumps(value).decode()


def write_result(
    block: ToolResult, name: str, parts: Parts, *, images: bool
) -> tuple[Json, list[Json]]:
    """The response's part, and the parts that have to stand after it, outside.

    `images`: whether a response may hold them (Gemini 3).
    """
    if block.cache is not None:
        parts.losses.drop("cache")
    data: Json = {} if is_made(block.id) else {"id": block.id}
    data |= {"name": name, "response": _response(block)}
    rest = [each for each in block.blocks if not isinstance(each, Text)]
    media = [part for each in rest for part in parts.write(each)]
    inside = [part for part in media if images and "inlineData" in part]
    if inside:
        data["parts"] = inside
    if parts.own:
        data |= block.extra
    return {"functionResponse": data}, [part for part in media if part not in inside]


def _response(block: ToolResult) -> Json | orjson.Fragment:
    text = "\n".join(each.text for each in block.blocks if isinstance(each, Text))
    value: object = orjson.Fragment(text) if _is_object(text) else text
    if block.is_error:
        return {"error": value}
    return value if isinstance(value, orjson.Fragment) else {"output": value}


def _is_object(text: str) -> bool:
    if not text.lstrip().startswith("{"):
        return False
    try:
        return isinstance(orjson.loads(text), dict)
    except orjson.JSONDecodeError:
        return False
