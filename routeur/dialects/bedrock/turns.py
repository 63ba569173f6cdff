"""A foreign conversation as Amazon Bedrock's Converse wants it in a row.

The user begins, turns alternate, nothing is blank, a document has a text beside it, and the results
of all calls of a turn stand in the next one.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import replace

from routeur.dialects import claude
from routeur.dialects.bedrock.blocks import ATTACHED, EMPTY, Writing, spoken, understood
from routeur.dialects.neutral import (
    Block,
    File,
    Image,
    Message,
    Opaque,
    Reasoning,
    Text,
    ToolCall,
    ToolResult,
)
from routeur.dialects.neutral.aim import Aim, Losses
from routeur.dialects.neutral.turns import alternate, inline_system


def fitting(messages: Sequence[Message], aim: Aim, to: Writing) -> list[Message]:
    """The messages behind the system's first ones. May: Untranslatable."""
    for each in messages:
        if each.name:
            to.losses.drop("messages.name")
        if each.role == "assistant" and any(isinstance(one, Image | File) for one in each.blocks):
            raise to.losses.refuse("messages", "the assistant's turns hold no files here")
    found = alternate(
        replace(each, blocks=tuple(_kept(each.blocks, to))) for each in inline_system(messages)
    )
    if not found or found[0].role == "assistant":
        found.insert(0, Message("user", (Text(EMPTY),)))
    found = alternate(_paired(found, to.losses))
    if found and found[-1].role == "assistant" and aim.vendor == "anthropic":
        found[-1] = _begun(found[-1], aim, to.losses)
    return [_with_text(each) if each.role == "user" else each for each in found]


def _kept(blocks: Sequence[Block], to: Writing) -> list[Block]:
    """The blocks of which something will be written."""
    found: list[Block] = []
    for block in spoken(blocks):
        if isinstance(block, Reasoning) and not understood(block, to):
            to.losses.drop("reasoning")
        elif not isinstance(block, Opaque) or to.losses.stand_in(block):
            found.append(block)
    return found


def _paired(messages: list[Message], losses: Losses) -> list[Message]:
    """Every call's result in the turn behind it; late ones move there."""
    waiting: dict[str, deque[ToolResult]] = {}
    for message in messages:
        for block in message.blocks:
            if isinstance(block, ToolResult):
                waiting.setdefault(block.id, deque()).append(block)
    used: set[str] = set()
    taken: set[int] = set()
    found: list[Message] = []
    for message in messages:
        rest = tuple(each for each in message.blocks if id(each) not in taken)
        for block in rest:
            if isinstance(block, ToolResult):
                waiting[block.id].popleft()  # of no call that came before it
        asked, results = _answered(rest, waiting, used, losses)
        taken |= {id(each) for each in results}
        found.append(replace(message, blocks=asked))
        renamed = tuple(
            replace(result, id=call.id) for call, result in zip(_calls(asked), results, strict=True)
        )
        found.append(Message("user", renamed))
    return found


def _answered(
    blocks: tuple[Block, ...],
    waiting: dict[str, deque[ToolResult]],
    used: set[str],
    losses: Losses,
) -> tuple[tuple[Block, ...], list[ToolResult]]:
    """The blocks with each call's id its own, and the results in the order of the calls."""
    found: list[Block] = []
    results: list[ToolResult] = []
    for block in blocks:
        if isinstance(block, ToolCall):
            if not waiting.get(block.id):
                raise losses.refuse("messages", f"the call {block.id} has no result")
            results.append(waiting[block.id].popleft())
            if block.id in used:
                block = replace(block, id=f"{block.id[:48]}_{len(used)}")
            used.add(block.id)
        found.append(block)
    return tuple(found), results


def _calls(blocks: tuple[Block, ...]) -> list[ToolCall]:
    return [each for each in blocks if isinstance(each, ToolCall)]


def _begun(message: Message, aim: Aim, losses: Losses) -> Message:
    """An answer begun for Claude: only older models go on, and without white space at its end."""
    if not claude.claude(aim.model).prefill:
        raise losses.refuse("messages", f"{aim.model} does not go on with an answer begun for it")
    if not isinstance(last := message.blocks[-1], Text):
        return message
    return replace(message, blocks=(*message.blocks[:-1], replace(last, text=last.text.rstrip())))


def _with_text(message: Message) -> Message:
    """A document wants a text beside it."""
    if not any(isinstance(each, File) for each in message.blocks):
        return message
    if any(isinstance(each, Text | Opaque) for each in message.blocks):
        return message
    return replace(message, blocks=(*message.blocks, Text(ATTACHED)))
