"""Chat Completions' messages: read from a client's request, and written for a provider's."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from routeur.dialects import expect
from routeur.dialects.base import Json
from routeur.dialects.loose import string
from routeur.dialects.neutral import Block, Message, Request, Text, ToolCall, ToolResult
from routeur.dialects.neutral.ids import made_id
from routeur.dialects.openai_chat.assistant import write_assistant
from routeur.dialects.openai_chat.blocks import read_assistant, read_content
from routeur.dialects.openai_chat.parts import Target, text_part, write_content, write_parts

_OPENING = "."  # what a user says who has said nothing
_KNOWN = {
    "system": {"role", "content", "name"},
    "user": {"role", "content", "name"},
    "assistant": set(
        """role content name refusal audio images tool_calls function_call annotations
        reasoning_content reasoning reasoning_details extra_content""".split()
    ),
}


# Reading.


def read_messages(value: Any) -> tuple[Message, ...]:
    """All messages. Tool messages in a row are one message of results."""
    if not isinstance(value, list):
        raise expect.wrong("messages", "a list of messages")
    found: list[Message] = []
    old: dict[str, str] = {}  # ids that we gave to calls of the old `function_call`, by name
    results = False
    for number, raw in enumerate(value):
        path = f"messages[{number}]"
        if not isinstance(raw, dict):
            raise expect.wrong(path, "an object with `role` and `content`")
        message = _read_message(raw, number, path, old)
        is_result = raw["role"] in ("tool", "function")
        if is_result and results:
            found[-1] = replace(found[-1], blocks=found[-1].blocks + message.blocks)
        else:
            found.append(message)
        results = is_result
    return tuple(found)


def _read_message(raw: Json, number: int, path: str, old: dict[str, str]) -> Message:
    match raw.get("role"):
        case "system" | "developer" as role:
            return _plain(raw, "system", path, developer=role == "developer")
        case "user":
            return _plain(raw, "user", path)
        case "assistant":
            _check_assistant(raw, path)
            blocks = read_assistant(raw, str(number), path)
            for call in (each for each in blocks if isinstance(each, ToolCall)):
                old[call.name] = call.id
            extra = _extra(raw, "assistant")
            return Message("assistant", blocks, name=string(raw.get("name")), extra=extra)
        case "tool":
            id = raw.get("tool_call_id")
            if not isinstance(id, str) or not id:
                raise expect.wrong(f"{path}.tool_call_id", "the id of the call that this answers")
            return _result(raw, id, path)
        case "function":
            name = string(raw.get("name"))
            return _result(raw, old.get(name) or made_id(name, number), path)
        case _:
            raise expect.wrong(
                f"{path}.role", "system, developer, user, assistant, tool or function"
            )


def _plain(raw: Json, role: Any, path: str, developer: bool = False) -> Message:
    blocks = tuple(read_content(raw.get("content"), f"{path}.content"))
    extra = _extra(raw, role)
    return Message(role, blocks, developer, string(raw.get("name")), extra=extra)


def _result(raw: Json, id: str, path: str) -> Message:
    blocks = tuple(read_content(raw.get("content"), f"{path}.content"))
    return Message("user", (ToolResult(id, blocks, string(raw.get("name"))),))


def _check_assistant(raw: Json, path: str) -> None:
    """Raise Invalid where an assistant's message breaks the dialect."""
    calls = raw.get("tool_calls")
    if calls is not None and not isinstance(calls, list):
        raise expect.wrong(f"{path}.tool_calls", "a list of calls")
    for number, call in enumerate(calls or ()):
        where = f"{path}.tool_calls[{number}]"
        kind = "custom" if isinstance(call, dict) and call.get("type") == "custom" else "function"
        inner = call.get(kind) if isinstance(call, dict) else None
        if not isinstance(inner, dict) or not isinstance(inner.get("name"), str):
            raise expect.wrong(f"{where}.{kind}", "an object with a `name`")
    content = raw.get("content")
    if content is not None and not isinstance(content, str | list):
        raise expect.wrong(f"{path}.content", "a string, a list or null")


def _extra(raw: Json, role: str) -> Json:
    known = _KNOWN[role]
    return {name: value for name, value in raw.items() if name not in known and value is not None}


# Writing.


def write_messages(request: Request, target: Target) -> list[Json]:
    """All messages: results straight after their calls, and their images after them."""
    writer = _Writer(target, request.messages)
    for message in request.messages:
        writer.add(message)
    writer.flush()
    if not writer.written and not target.own:
        return [{"role": "user", "content": _OPENING}]
    return writer.written


class _Writer:
    """Puts messages in the order that the API wants."""

    __slots__ = ("_carried", "_results", "_target", "_used", "written")

    def __init__(self, target: Target, messages: Iterable[Message]) -> None:
        self.written: list[Json] = []
        self._target = target
        self._carried: list[Json] = []  # parts that only a user's message can hold
        self._used: set[int] = set()  # results that have been written, as identities
        self._results: dict[str, deque[ToolResult]] = {}
        for message in messages:
            for block in message.blocks:
                if isinstance(block, ToolResult):
                    self._results.setdefault(block.id, deque()).append(block)

    def add(self, message: Message) -> None:
        """Write one message, and what has to follow it at once."""
        match message.role:
            case "assistant":
                self.flush()
                self._assistant(message)
            case "system":
                self.flush()
                self._system(message)
            case "user":
                self._user(message)

    def flush(self) -> None:
        """Write a user's message of what is carried, if anything is."""
        if self._carried:
            self.written.append({"role": "user", "content": self._carried})
            self._carried = []

    def _system(self, message: Message) -> None:
        content = write_content(message.blocks, self._target, "\n\n")
        if not content and not self._target.own:
            return
        role = "developer" if message.developer else "system"
        self.written.append(_named({"role": role, "content": content}, message, self._target))

    def _user(self, message: Message) -> None:
        rest: list[Block] = []
        for block in message.blocks:
            if not isinstance(block, ToolResult):
                rest.append(block)
            elif id(block) not in self._used:
                self._result(block)
        if not rest and message.blocks:
            return
        if not self._carried and all(isinstance(each, Text) for each in rest):
            content = write_content(tuple(rest), self._target, None)
        else:
            content = self._carried + write_parts(rest, self._target)
            self._carried = []
        if content or not rest:
            self.written.append(_named({"role": "user", "content": content}, message, self._target))

    def _assistant(self, message: Message) -> None:
        written, images = write_assistant(message.blocks, self._target)
        if len(written) > 1 or not message.blocks:
            self.written.append(_named(written, message, self._target))
        for block in message.blocks:
            if isinstance(block, ToolCall) and (waiting := self._results.get(block.id)):
                result = waiting.popleft()
                self._used.add(id(result))
                self._result(result)
        self._carried += images

    def _result(self, block: ToolResult) -> None:
        """A tool message; what is no text in it goes into the user's message that follows."""
        target = self._target
        id = target.id(block.id)
        texts = [each for each in block.blocks if isinstance(each, Text)]
        others = write_parts((b for b in block.blocks if not isinstance(b, Text)), target)
        content = write_content(tuple(texts), target, "\n")
        if others:
            content = content or "The output follows in the user's next message."
            self._carried += [text_part(f"Output of the tool call {id}:"), *others]
        if block.is_error:
            target.losses.drop("tool_result.is_error")
        message: Json = {"role": "tool", "tool_call_id": id, "content": content}
        if target.own and block.name:
            message["name"] = block.name
        self.written.append(message)


def _named(written: Json, message: Message, target: Target) -> Json:
    named = {"name": message.name} if message.name else {}
    return {**written, **named, **(message.extra if target.own else {})}
