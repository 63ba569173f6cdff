"""From the input items of a Responses request to a conversation's messages.

A turn of the model is many items here: its reasoning, what it said, its calls. They become one
message, unless it said several things, as each message item has an id and a status of its own.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from mimetypes import guess_type

from routeur.dialects import expect
from routeur.dialects.base import Json
from routeur.dialects.loose import members
from routeur.dialects.neutral import (
    Audio,
    Block,
    File,
    Image,
    Message,
    Opaque,
    Reasoning,
    Role,
    Text,
    ToolCall,
    ToolResult,
)
from routeur.dialects.neutral.media import is_data_url
from routeur.dialects.openai_responses import NAME
from routeur.dialects.openai_responses.items import (
    CALLS,
    IMAGE,
    read_call,
    read_image,
    read_output_part,
    read_reasoning,
    rest,
    unknown_part,
)
from routeur.dialects.openai_responses.sealed import is_sealed, unseal

# Items that nobody but OpenAI can make sense of, and without which the answer would be another.
ESSENTIAL = frozenset(("item_reference", "additional_tools", "compaction_trigger"))

_ROLES: dict[str, Role] = {
    "user": "user",
    "assistant": "assistant",
    "system": "system",
    "developer": "system",
}
_MESSAGE_FIELDS = frozenset("type role content id".split())
_RESULT_FIELDS = frozenset("type call_id output name".split())
_FILE_FIELDS = frozenset("type file_id filename file_data file_url prompt_cache_breakpoint".split())
_IMAGE_FIELDS = frozenset("type image_url file_id detail prompt_cache_breakpoint".split())
# Of unknown items, those that a client wrote.
_FROM_CLIENT = ("_output", "_response")


@dataclass(slots=True)
class _Turn:
    """A message that is not whole. `worded`: a message item is in it, with its id."""

    role: Role
    blocks: list[Block] = field(default_factory=list)
    developer: bool = False
    worded: bool = False
    id: str = ""
    extra: Json = field(default_factory=dict)

    def whole(self) -> Message:
        """The message."""
        return Message(self.role, tuple(self.blocks), self.developer, id=self.id, extra=self.extra)


class History:
    """Takes input items one by one."""

    __slots__ = ("_seals", "_turns", "essential")

    def __init__(self) -> None:
        self._turns: list[_Turn] = []
        self._seals: dict[str, Json] = {}  # of calls, by their ids
        self.essential: set[str] = set()  # which of ESSENTIAL came

    def add(self, item: Json, at: str) -> None:
        """One item; a message may leave out its type, a reference too."""
        kind = expect.text(item, "type", at)
        if not kind:
            kind = "message" if "role" in item else "item_reference" if "id" in item else ""
        if not kind:
            raise expect.wrong(at, "an item with a `type`")
        add = _ITEMS.get(kind, History._opaque)
        add(self, {**item, "type": kind}, at)

    def messages(self) -> tuple[Message, ...]:
        """All that came."""
        if self._seals:
            for turn in self._turns:
                turn.blocks = [self._signed(each) for each in turn.blocks]
        return tuple(each.whole() for each in self._turns)

    def _signed(self, block: Block) -> Block:
        if isinstance(block, ToolCall) and (seal := self._seals.get(block.id)):
            return replace(block, signature=seal["signature"], origin=seal["origin"])
        return block

    def _message(self, item: Json, at: str) -> None:
        name = expect.needed_text(item, "role", at)
        role = _ROLES.get(name)
        if role is None:
            raise expect.wrong(f"{at}.role", "one of " + ", ".join(_ROLES))
        blocks = _content(item.get("content"), f"{at}.content", role == "assistant")
        turn = self._turns[-1] if self._turns else None
        if turn is None or turn.role != role or turn.worded or role != "assistant":
            turn = _Turn(role, developer=name == "developer")
            self._turns.append(turn)
        turn.blocks += blocks
        turn.worded = True
        turn.id = expect.text(item, "id", at)
        turn.extra = rest(item, _MESSAGE_FIELDS)

    def _call(self, item: Json, at: str) -> None:
        for name in ("call_id", "name", CALLS[item["type"]]):
            expect.needed_text(item, name, at)
        expect.text(item, "id", at)
        self._append("assistant", read_call(item))

    def _result(self, item: Json, at: str) -> None:
        block = ToolResult(
            id=expect.needed_text(item, "call_id", at),
            blocks=tuple(_content(item.get("output"), f"{at}.output", False)),
            name=expect.text(item, "name", at),
            kind="custom" if item["type"] == "custom_tool_call_output" else "function",
            extra=rest(item, _RESULT_FIELDS),
        )
        self._append("user", block)

    def _reasoning(self, item: Json, at: str) -> None:
        content = expect.text(item, "encrypted_content", at)
        for name in ("summary", "content"):
            for where, part in expect.records(item, name, at):
                expect.text(part, "text", where)
        block = read_reasoning(item)
        if not is_sealed(content):
            self._append("assistant", block)
            return
        seal = unseal(content) or {}
        if "call" in seal:
            self._seals[seal["call"]] = {"signature": "", **seal}
        elif "after" in seal:
            self._sign_text(seal)
        else:
            self._append("assistant", _unsealed(block, seal))

    def _sign_text(self, seal: Json) -> None:
        """A signature of the text before, or of an empty one if there is none."""
        signed = {"signature": seal.get("signature", ""), "origin": seal["origin"]}
        if self._turns and self._turns[-1].role == "assistant" and self._turns[-1].blocks:
            blocks = self._turns[-1].blocks
            if isinstance(last := blocks[-1], Text):
                blocks[-1] = replace(last, **signed)
                return
        self._append("assistant", Text(**signed))

    def _image(self, item: Json, at: str) -> None:
        self._append("assistant", read_image(item) or Opaque(NAME, item))

    def _opaque(self, item: Json, at: str) -> None:
        """What we do not know stays as it is."""
        kind = item["type"]
        if kind in ESSENTIAL:
            self.essential.add(kind)
        of_client = kind.endswith(_FROM_CLIENT) or kind == "compaction" or kind in ESSENTIAL
        self._append("user" if of_client else "assistant", Opaque(NAME, item))

    def _append(self, role: Role, block: Block) -> None:
        """A block that is an item by itself: it joins its turn, but no message of a client's."""
        last = self._turns[-1] if self._turns else None
        if last is None or last.role != role or (last.worded and role == "user"):
            last = _Turn(role)
            self._turns.append(last)
        last.blocks.append(block)


def _unsealed(block: Reasoning, seal: Json) -> Reasoning:
    """What was sealed, with its own text; without a seal (it was broken), what can be read."""
    if not seal:
        return replace(block, encrypted="", origin="", id="")
    return Reasoning(
        text=seal.get("text", ""),
        summary=() if seal.get("text") else block.summary,
        signature=seal.get("signature", ""),
        encrypted=seal.get("encrypted", ""),
        origin=seal["origin"],
    )


_ITEMS: dict[str, Callable[[History, Json, str], None]] = {
    "message": History._message,
    "function_call": History._call,
    "custom_tool_call": History._call,
    "function_call_output": History._result,
    "custom_tool_call_output": History._result,
    "reasoning": History._reasoning,
    IMAGE: History._image,
}


# Content parts of a client's.


def _content(content: object, at: str, of_model: bool) -> list[Block]:
    """The blocks of a content: a string, or a list of parts."""
    if isinstance(content, str):
        return [Text(content)]
    if not isinstance(content, list):
        raise expect.wrong(at, "a string or a list of content parts")
    return [_part(each, where, of_model) for where, each in expect.records({at: content}, at)]


def _part(part: Json, at: str, of_model: bool) -> Block:
    kind = expect.needed_text(part, "type", at)
    if of_model or kind in ("output_text", "refusal"):
        expect.text(part, "text", at)
        expect.text(part, "refusal", at)
        return read_output_part(part, {})
    read = _PARTS.get(kind)
    return read(part, at) if read else unknown_part(part)


def _text(part: Json, at: str) -> Text:
    return Text(expect.needed_text(part, "text", at), cache=_cache(part))


def _image_part(part: Json, at: str) -> Image:
    image = Image(
        url=expect.text(part, "image_url", at),
        file_id=expect.text(part, "file_id", at),
        detail=expect.text(part, "detail", at),
        cache=_cache(part),
        extra=rest(part, _IMAGE_FIELDS),
    )
    if not (image.url or image.file_id):
        raise expect.wrong(at, "an `image_url` or a `file_id`")
    return image


def _file(part: Json, at: str) -> File:
    data = expect.text(part, "file_data", at)
    url = expect.text(part, "file_url", at)
    name = expect.text(part, "filename", at)
    bare = bool(data) and not is_data_url(data)
    found = File(
        url=url if bare or not data else data,
        data=data if bare else "",
        media_type=(guess_type(name)[0] or "application/pdf") if bare else "",
        file_id=expect.text(part, "file_id", at),
        name=name,
        cache=_cache(part),
        extra=rest(part, _FILE_FIELDS),
    )
    if not (found.url or found.data or found.file_id):
        raise expect.wrong(at, "a `file_id`, `file_data` or `file_url`")
    return found


def _audio(part: Json, at: str) -> Audio:
    sound = expect.record(part, "input_audio", at)
    return Audio(
        data=expect.needed_text(sound, "data", f"{at}.input_audio"),
        format=expect.text(sound, "format", f"{at}.input_audio"),
    )


def _cache(part: Json) -> str | None:
    """A breakpoint: the API knows but one time to live."""
    return "" if members(part.get("prompt_cache_breakpoint")) else None


_PARTS: dict[str, Callable[[Json, str], Block]] = {
    "input_text": _text,
    "text": _text,
    "input_image": _image_part,
    "input_file": _file,
    "input_audio": _audio,
}
