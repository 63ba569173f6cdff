"""From a conversation's messages to the input items of a Responses request."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from routeur.dialects.base import Json
from routeur.dialects.neutral import (
    Audio,
    Block,
    File,
    Image,
    Message,
    Opaque,
    Reasoning,
    Refusal,
    Request,
    Text,
    ToolCall,
    ToolResult,
)
from routeur.dialects.neutral.aim import Aim, Losses
from routeur.dialects.neutral.ids import fit_id
from routeur.dialects.neutral.media import file_name, is_data_url, url_of
from routeur.dialects.openai_responses import NAME
from routeur.dialects.openai_responses.items import (
    part_of,
    write_call,
    write_citation,
    write_reasoning,
)

_OPENAI = ("openai_chat", NAME)  # whose file ids and cache marks are the same
_REACHED = ("http://", "https://")
_BREAKPOINT = {"prompt_cache_breakpoint": {"mode": "explicit"}}
_OF_MODEL = ("reasoning", "function_call", "custom_tool_call")
# What a user says who has said nothing.
_OPENING = {
    "type": "message",
    "role": "user",
    "content": [{"type": "input_text", "text": "."}],
}
_PREFILL = "they end with the model's own words, and the Responses API would not go on with them"


@dataclass(slots=True)
class Input:
    """Writes the messages of one request. `items` fills up."""

    request: Request
    aim: Aim
    losses: Losses
    items: list[Json]
    kinds: Mapping[str, str]  # of calls, by their ids

    @property
    def own(self) -> bool:
        """Whether the client speaks this dialect itself."""
        return self.request.dialect == NAME

    def message(self, message: Message) -> None:
        """All items of a message: one for each run of content, and those of other blocks."""
        self.losses.drop_all({"messages.name": message.name})
        run: list[Block] = []
        for block in message.blocks:
            if not _is_item(block, message):
                run.append(block)
                continue
            if run:
                self._content(message, run)
                run = []
            self._item(block)
        if run or (self.own and not message.blocks):
            self._content(message, run)

    # Items of their own.

    def _item(self, block: Block) -> None:
        match block:
            case ToolCall():
                self.items.append(self._call(block))
            case ToolResult():
                self.items.append(self._result(block))
            case Reasoning():
                self._reasoning(block)
            case Image():
                self.items.append({**block.extra, "result": block.data})
            case Opaque():
                self.items.append(block.raw)

    def _call(self, block: ToolCall) -> Json:
        self.losses.drop_all({"tool_call.signature": block.signature, "cache": _mark(block.cache)})
        if self.own:
            return write_call(block, block.item_id, block.id, block.extra)
        id = block.item_id if block.item_id.startswith(("fc_", "ctc_")) else ""
        item = write_call(block, id, fit_id(block.id), {})
        if block.kind == "function" and not block.arguments.strip():
            item["arguments"] = "{}"
        return item

    def _result(self, block: ToolResult) -> Json:
        self.losses.drop_all({"tool_result.is_error": block.is_error, "cache": _mark(block.cache)})
        custom = self.kinds.get(block.id, block.kind) == "custom"
        item: Json = {
            "type": "custom_tool_call_output" if custom else "function_call_output",
            "call_id": block.id if self.own else fit_id(block.id),
            "output": self._output(block.blocks),
        }
        if not self.own:
            return item
        return {**item, **({"name": block.name} if block.name else {}), **block.extra}

    def _output(self, blocks: tuple[Block, ...]) -> str | list[Json]:
        """What a tool said: a string, if it is no more than a text."""
        parts = self._parts(blocks)
        if not parts:
            return ""
        if len(parts) == 1 and parts[0].keys() == {"type", "text"}:
            text: str = parts[0]["text"]
            return text
        return parts

    def _reasoning(self, block: Reasoning) -> None:
        """A seal goes back only to who can read it, and nothing else from another API's client."""
        readable = block.origin == self.aim.origin if block.origin else self.own
        if not readable or block.signature or not (self.own or block.encrypted):
            self.losses.drop("reasoning")
            return
        extra = block.extra if self.own else {}
        self.items.append(write_reasoning(block, block.id, block.encrypted, extra))

    # Messages.

    def _content(self, message: Message, run: list[Block]) -> None:
        """The message item of a run of content."""
        parts: str | list[Json]
        if message.role == "assistant":
            parts = self._said(message, run)
        else:
            parts = self._parts(run)
        if not parts and not self.own:
            return
        role = "developer" if message.developer else message.role
        item: Json = {"type": "message", "role": role, "content": parts}
        if self.own:
            item |= message.extra
            if message.id:
                item["id"] = message.id
        self.items.append(item)

    def _said(self, message: Message, run: list[Block]) -> str | list[Json]:
        """What the model said. Without the id of an item it has to be a string."""
        if self.own and (message.id or len(run) > 1 or not _is_plain(run)):
            return [part for block in run if (part := self._said_part(block))]
        texts = [self._words(block) for block in run]
        return "".join(texts)

    def _said_part(self, block: Block) -> Json | None:
        match block:
            case Text():
                self.losses.drop_all({"text.signature": block.signature})
                end = len(block.text)
                notes = [write_citation(each, 0, end) for each in block.citations]
                told = [each for each in notes if each]
                return {"type": "output_text", "text": block.text, "annotations": told}
            case Refusal():
                return {"type": "refusal", "refusal": block.text}
            case Opaque():
                return part_of(block)
        return None

    def _words(self, block: Block) -> str:
        """A block of the model's as text, and nothing else."""
        match block:
            case Text():
                self.losses.drop_all(
                    {
                        "text.signature": block.signature,
                        "citations": block.citations,
                        "cache": _mark(block.cache),
                    }
                )
                return block.text
            case Refusal():
                return block.text
            case Audio():
                self.losses.drop("audio")
                return block.transcript
            case Opaque():
                return self.losses.stand_in(block)
        raise self.losses.refuse(
            type(block).__name__.lower(), "the Responses API takes it from users only"
        )

    # Content parts of users and tools.

    def _parts(self, blocks: tuple[Block, ...] | list[Block]) -> list[Json]:
        return [part for block in blocks for part in self._part(block)]

    def _part(self, block: Block) -> list[Json]:
        match block:
            case Text():
                self.losses.drop_all({"text.signature": block.signature})
                if not block.text and not self.own and block.cache is None:
                    return []
                part = {"type": "input_text", "text": block.text}
                return [{**part, **self._mark(block.cache)}]
            case Image():
                return [{**self._image(block), **self._mark(block.cache)}]
            case File():
                return self._file(block)
            case Audio():
                return [self._audio(block)]
            case Refusal():
                return [{"type": "refusal", "refusal": block.text}]
            case Opaque():
                return self._opaque(block)
        raise self.losses.refuse("input", f"a {type(block).__name__} cannot stand there")

    def _opaque(self, block: Opaque) -> list[Json]:
        if part := part_of(block):
            return [part]
        text = self.losses.stand_in(block)
        return [{"type": "input_text", "text": text}] if text else []

    def _image(self, block: Image) -> Json:
        part: Json = {"type": "input_image"}
        if block.detail or not self.own:
            part["detail"] = block.detail or "auto"
        if block.file_id:
            part["file_id"] = self._file_id(block.file_id, "image")
        else:
            part["image_url"] = self._reachable(url_of(block, "image/png"), "image")
        return {**part, **block.extra} if self.own else part

    def _file(self, block: File) -> list[Json]:
        self.losses.drop_all({"file.citations": block.citations})
        told = "\n".join(each for each in (block.title, block.context) if each)
        words = [{"type": "input_text", "text": told}] if told and not self.own else []
        if block.blocks:
            return [*words, *self._parts(block.blocks)]
        if block.text:
            text = {"type": "input_text", "text": block.text}
            return [*words, {**text, **self._mark(block.cache)}]
        return [*words, {**self._file_part(block), **self._mark(block.cache)}]

    def _file_part(self, block: File) -> Json:
        part: Json = {"type": "input_file"}
        if block.name:
            part["filename"] = block.name
        if block.file_id:
            part["file_id"] = self._file_id(block.file_id, "file")
        elif block.data and self.own:
            part["file_data"] = block.data  # it came without a data URL's head
        elif block.data or is_data_url(block.url):
            part["filename"] = block.name if self.own and block.name else file_name(block)
            part["file_data"] = self._document(block)
        else:
            part["file_url"] = self._reachable(block.url, "file")
        return {**part, **block.extra} if self.own else part

    def _document(self, block: File) -> str:
        url = url_of(block, "application/pdf")
        if not self.own and url[5:11].lower() in ("video/", "audio/"):
            raise self.losses.refuse("file", "the Responses API takes neither video nor audio")
        return url

    def _audio(self, block: Audio) -> Json:
        if not self.own:
            raise self.losses.refuse("audio", "the Responses API does not listen")
        sound = {"data": block.data, **({"format": block.format} if block.format else {})}
        return {"type": "input_audio", "input_audio": sound}

    def _file_id(self, id: str, field: str) -> str:
        if self.request.dialect not in _OPENAI:
            raise self.losses.refuse(field, "the file was given to another provider")
        return id

    def _reachable(self, url: str, field: str) -> str:
        if not self.own and not is_data_url(url) and not url.lower().startswith(_REACHED):
            raise self.losses.refuse(field, "only http, https and data URLs can be read there")
        return url

    def _mark(self, cache: str | None) -> Json:
        if cache is None:
            return {}
        if self.request.dialect in _OPENAI:
            return _BREAKPOINT
        self.losses.drop("cache")
        return {}


def write_input(request: Request, aim: Aim, losses: Losses) -> list[Json]:
    """The items of all messages but the instructions'."""
    kinds = {
        block.id: block.kind
        for message in request.messages
        for block in message.blocks
        if isinstance(block, ToolCall)
    }
    writer = Input(request, aim, losses, [], kinds)
    if request.dialect not in _OPENAI and _is_prefill(request):
        raise losses.refuse("messages", _PREFILL)
    for message in request.messages:
        if not is_instructions(message):
            writer.message(message)
    if writer.own:
        return writer.items
    return _without_stranded(writer.items, losses) or [_OPENING]


INSTRUCTIONS = {"type": "instructions"}  # marks, as a message's `extra`, the member of this name


def is_instructions(message: Message) -> bool:
    """Whether a message was the request's `instructions`."""
    return message.extra == INSTRUCTIONS


def _is_item(block: Block, message: Message) -> bool:
    if isinstance(block, Opaque):
        return block.dialect == NAME and part_of(block) is None
    if isinstance(block, Image):
        return message.role == "assistant" and "id" in block.extra
    return isinstance(block, ToolCall | ToolResult | Reasoning)


def _is_plain(run: list[Block]) -> bool:
    return all(isinstance(each, Text) and not each.citations for each in run)


def _is_prefill(request: Request) -> bool:
    last = request.messages[-1] if request.messages else None
    if last is None or last.role != "assistant":
        return False
    return isinstance(last.blocks[-1] if last.blocks else None, Text)


def _without_stranded(items: list[Json], losses: Losses) -> list[Json]:
    """The API refuses a reasoning item without the item that followed it (recorded)."""
    found: list[Json] = []
    follows = False  # whether what comes next in the row is the model's
    for item in reversed(items):
        if item["type"] == "reasoning" and not follows:
            losses.drop("reasoning")
            continue
        found.append(item)
        follows = item["type"] in _OF_MODEL or item.get("role") == "assistant"
    return found[::-1]


def _mark(cache: str | None) -> bool | None:
    return None if cache is None else True
