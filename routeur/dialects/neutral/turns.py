"""A conversation's messages as each API wants them in a row."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from routeur.dialects.neutral import Block, Message, Text, ToolCall, ToolResult


def split_system(messages: Sequence[Message]) -> tuple[list[Message], list[Message]]:
    """The system messages at the head, and all that follows."""
    count = 0
    while count < len(messages) and messages[count].role == "system":
        count += 1
    return list(messages[:count]), list(messages[count:])


def inline_system(messages: Iterable[Message]) -> list[Message]:
    """System messages in the middle become tagged text of the user, where they stand."""
    return [_as_user(each) if each.role == "system" else each for each in messages]


def alternate(messages: Iterable[Message]) -> list[Message]:
    """Messages of one role in a row become one, tool results first in it; empty ones go."""
    merged: list[Message] = []
    for each in messages:
        if not each.blocks:
            continue
        if merged and merged[-1].role == each.role:
            merged[-1] = replace(merged[-1], blocks=merged[-1].blocks + each.blocks)
        else:
            merged.append(each)
    return [replace(each, blocks=results_first(each.blocks)) for each in merged]


def results_first(blocks: tuple[Block, ...]) -> tuple[Block, ...]:
    """Tool results before everything else, each group in its order."""
    results = tuple(each for each in blocks if isinstance(each, ToolResult))
    return results + tuple(each for each in blocks if not isinstance(each, ToolResult))


def call_names(messages: Iterable[Message]) -> dict[str, str]:
    """Tool names by the ids of their calls, for wires whose results have to name the tool."""
    return {
        block.id: block.name
        for message in messages
        for block in message.blocks
        if isinstance(block, ToolCall)
    }


def text_of(blocks: Iterable[Block]) -> str:
    """All text of the blocks, run together."""
    return "".join(each.text for each in blocks if isinstance(each, Text))


def _as_user(message: Message) -> Message:
    text = f"<system>\n{text_of(message.blocks)}\n</system>"
    return Message("user", (Text(text),))
