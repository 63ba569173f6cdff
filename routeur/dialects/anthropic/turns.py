"""A conversation as the Messages API wants it in a row.

Source of truth: Anthropic's pages on tool use, errors and mid-conversation system messages.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator

from routeur.dialects.anthropic.block_writer import BlockWriter
from routeur.dialects.base import Json
from routeur.dialects.claude import claude
from routeur.dialects.neutral import File, Image, Message, Request, Text
from routeur.dialects.neutral.aim import Aim, Losses
from routeur.dialects.neutral.turns import split_system

_OPENING = "."  # what a user says who has said nothing: the API wants some text
_THOUGHTS = ("thinking", "redacted_thinking")

Turn = Json  # {"role", "content": blocks}


def turns(request: Request, aim: Aim, writer: BlockWriter) -> tuple[list[Json], list[Turn]]:
    """The system prompt's blocks, and the messages. Raises Untranslatable.

    A request of this dialect keeps what it says: its own API judges it.
    """
    head, rest = split_system(request.messages)
    if head and not rest:
        rest = [Message("user", head.pop().blocks)]
    system = [block for message in head for block in _system_blocks(message, writer)]
    spoken = _merged(_turn(each, writer) for each in rest)
    spoken = _merged(_placed(spoken, aim))
    if not writer.own:
        spoken = _paired(_user_first(spoken), writer.losses)
        _finish(spoken, aim, writer.losses)
    return system, [_shortened(each) for each in spoken]


def _turn(message: Message, writer: BlockWriter) -> Turn:
    if message.role == "system":
        return {"role": "system", "content": _system_blocks(message, writer)}
    if message.role == "assistant" and not writer.own:
        for block in message.blocks:
            if isinstance(block, Image | File):
                raise writer.losses.refuse("messages", "the assistant's turns hold no files here")
    writer.losses.drop_all({"messages.name": message.name})
    turn: Turn = {"role": message.role, "content": writer.write_all(message.blocks)}
    return turn | message.extra if writer.own else turn


def _system_blocks(message: Message, writer: BlockWriter) -> list[Json]:
    if not writer.own and not all(isinstance(each, Text) for each in message.blocks):
        raise writer.losses.refuse("messages", "a system prompt can only be text here")
    return writer.write_all(message.blocks)


def _merged(turns: Iterable[Turn]) -> list[Turn]:
    """Turns of one role in a row become one, tool results first in it; empty ones go."""
    found: list[Turn] = []
    for each in turns:
        if not each["content"]:
            continue
        if found and found[-1]["role"] == each["role"]:
            content = found[-1]["content"] + each["content"]
            found[-1] = {**found[-1], "content": content}
        else:
            found.append(each)
    for each in found:
        if each["role"] == "user":
            each["content"].sort(key=lambda block: block["type"] != "tool_result")
    return found


def _placed(turns: list[Turn], aim: Aim) -> Iterator[Turn]:
    """System messages where the API takes them; else they become tagged text of the user.

    They stand behind a user's turn, and before an assistant's or at the end.
    """
    takes = claude(aim.model).system and not aim.platform
    for number, each in enumerate(turns):
        behind = number > 0 and turns[number - 1]["role"] == "user"
        before = number + 1 == len(turns) or turns[number + 1]["role"] == "assistant"
        if each["role"] != "system" or (takes and behind and before):
            yield each
        else:
            text = "".join(block["text"] for block in each["content"])
            tagged = {"type": "text", "text": f"<system>\n{text}\n</system>"}
            yield {"role": "user", "content": [tagged]}


def _user_first(turns: list[Turn]) -> list[Turn]:
    if turns and turns[0]["role"] == "user":
        return turns
    return [{"role": "user", "content": [{"type": "text", "text": _OPENING}]}, *turns]


def _paired(turns: list[Turn], losses: Losses) -> list[Turn]:
    """Every call's result stands at the head of the turn that follows it; late ones move there."""
    waiting: dict[str, deque[Json]] = {}
    for turn in turns:
        for block in turn["content"]:
            if block["type"] == "tool_result":
                waiting.setdefault(block["tool_use_id"], deque()).append(block)
    used: set[str] = set()
    owed = [_results(turn, waiting, used, losses) for turn in turns]
    taken = {id(block) for results in owed for block in results}
    found: list[Turn] = []
    for number, turn in enumerate(turns):
        content = [block for block in turn["content"] if id(block) not in taken]
        if turn["role"] == "user" and number:
            content = owed[number - 1] + content
        found.append({**turn, "content": content})
    if owed[-1]:
        found.append({"role": "user", "content": owed[-1]})
    return [each for each in found if each["content"]]


def _results(
    turn: Turn, waiting: dict[str, deque[Json]], used: set[str], losses: Losses
) -> list[Json]:
    """The results of a turn's calls. An id that came before gets another: the API wants that."""
    found = []
    for call in turn["content"]:
        if call["type"] != "tool_use":
            continue
        results = waiting.get(call["id"])
        if not results:
            raise losses.refuse("messages", f"the call {call['id']} has no result")
        result = results.popleft()
        if call["id"] in used:
            call["id"] = result["tool_use_id"] = f"{call['id']}_{len(used)}"
        used.add(call["id"])
        found.append(result)
    return found


def _finish(turns: list[Turn], aim: Aim, losses: Losses) -> None:
    """An answer begun for the model ends without white space, and not with thoughts."""
    last = turns[-1]
    if last["role"] != "assistant":
        return
    while last["content"] and last["content"][-1]["type"] in _THOUGHTS:
        last["content"].pop()
    if not last["content"]:
        turns.pop()
        return
    block = last["content"][-1]
    if block["type"] != "text":
        return
    if not claude(aim.model).prefill:
        raise losses.refuse("messages", f"{aim.model} does not go on with an answer begun for it")
    block["text"] = block["text"].rstrip()


def _shortened(turn: Turn) -> Turn:
    """A text alone as a string."""
    content = turn["content"]
    if len(content) == 1 and content[0].keys() == {"type", "text"}:
        return {**turn, "content": content[0]["text"]}
    return turn
