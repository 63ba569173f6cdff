"""Requests of Gemini's generateContent and streamGenerateContent, also on Vertex AI.

Source of truth: Google's v1beta protos and Vertex AI's discovery document. The model and whether to
stream stand in the path.
"""

from __future__ import annotations

from urllib.parse import quote

from routeur.dialects import exact, expect
from routeur.dialects.base import Json
from routeur.dialects.gemini import NAME
from routeur.dialects.gemini.blocks import Parts, read_part, unnumbered
from routeur.dialects.gemini.config import (
    put_extras,
    read_config,
    read_tool_config,
    write_config,
    write_tool_config,
)
from routeur.dialects.gemini.results import Calls, read_result, write_result
from routeur.dialects.gemini.signatures import SKIP
from routeur.dialects.gemini.tools import read_tools, write_tools
from routeur.dialects.gemini.wire import a_list, a_string, a_word, an_object, generation
from routeur.dialects.neutral import (
    GEMINI,
    Block,
    Message,
    Reasoning,
    Request,
    Role,
    Text,
    ToolCall,
    ToolResult,
)
from routeur.dialects.neutral.aim import Aim, Losses
from routeur.dialects.neutral.ids import is_made, made_id
from routeur.dialects.neutral.turns import alternate, call_names, inline_system, split_system

_ROLES: dict[str, Role] = {"": "user", "user": "user", "function": "user", "model": "assistant"}
_READ = frozenset(
    "model contents systemInstruction tools toolConfig generationConfig serviceTier".split()
)
# Without these, another prompt would be answered, or not checked or kept as its sender wants.
_ESSENTIAL = frozenset("cachedContent modelArmorConfig outputConfig continuationToken".split())
_TIERS = {"default": "standard", "standard": "standard", "flex": "flex", "priority": "priority"}
_OPENING = "."  # what a user says who has said nothing
_USUAL_TIERS = ("auto", "default", "standard", "standard_only")


# ── wire → neutral


def read_request(body: Json, *, model: str, stream: bool) -> Request:
    """A client's body. Raises Invalid."""
    body = an_object(body, "body")
    contents = a_list(body.get("contents"), "contents")
    if not contents:
        raise expect.wrong("contents", "a list with at least one content")
    fields, extra, essential = read_config(body.get("generationConfig"))
    choice, more = read_tool_config(body.get("toolConfig"))
    tier = a_word(body.get("serviceTier"), "serviceTier").lower()
    rest = {name: each for name, each in body.items() if name not in _READ and each is not None}
    return Request(
        NAME,
        model,
        (*_system(body.get("systemInstruction")), *_messages(contents)),
        read_tools(body.get("tools")),
        choice,
        service_tier="" if tier == "unspecified" else tier,
        stream=stream,
        extra={**rest, **extra, **more},
        essential=_ESSENTIAL | essential,
        **fields,
    )


def _system(value: object) -> list[Message]:
    path = "systemInstruction"
    parts = a_list(an_object(value, path).get("parts"), f"{path}.parts")
    blocks = tuple(
        read_part(an_object(each, f"{path}.parts[{i}]"), f"{path}.parts[{i}]")
        for i, each in enumerate(parts)
    )
    return [Message("system", blocks)] if blocks else []


def _messages(contents: list[object]) -> list[Message]:
    calls = Calls()
    return [_message(each, f"contents[{i}]", calls) for i, each in enumerate(contents)]


def _message(value: object, path: str, calls: Calls) -> Message:
    content = an_object(value, path)
    role = _ROLES.get(a_string(content.get("role"), f"{path}.role").lower())
    if role is None:
        raise expect.wrong(f"{path}.role", "user or model")
    blocks: list[Block] = []
    for number, each in enumerate(a_list(content.get("parts"), f"{path}.parts")):
        inner = f"{path}.parts[{number}]"
        part = an_object(each, inner)
        if part.get("functionResponse") is not None:
            blocks.append(read_result(part, f"{inner}.functionResponse", calls))
            continue
        blocks.append(block := read_part(part, inner, made_id(inner)))
        if isinstance(block, ToolCall):
            calls.add(block)
    return Message(role, tuple(blocks))


# ── neutral → wire


def write_request(request: Request, aim: Aim, losses: Losses) -> bytes:
    """The body for a target. Raises Untranslatable."""
    return exact.dumps(written(request, aim, losses))


def written(request: Request, aim: Aim, losses: Losses) -> Json:
    """The same as an object, in which arguments may be `orjson.Fragment`s."""
    own = request.dialect == NAME
    _drop(request, losses)
    parts = Parts(losses, own, aim.origin == GEMINI, aim.platform == "vertex")
    body: Json = {}
    system, messages = split_system(request.messages)
    if system and not messages:
        system, messages = [], [Message("user", each.blocks) for each in system]
    if system:
        blocks = [block for each in system for block in each.blocks]
        found = [part for block in blocks if own or block != Text() for part in parts.write(block)]
        if found:
            body["systemInstruction"] = {"parts": found}
    body["contents"] = _Contents(parts, aim).write(messages)
    if tools := write_tools(request, losses):
        body["tools"] = tools
    if calling := write_tool_config(request, aim, losses):
        body["toolConfig"] = {"functionCallingConfig": calling}
    if config := write_config(request, aim, losses):
        body["generationConfig"] = config
    if tier := _tier(request.service_tier, aim, losses):
        body["serviceTier"] = tier
    put_extras(body, losses.extras(request, NAME))
    return body


def address(model: str, stream: bool) -> str:
    """Path and query as Google's SDK has them."""
    name = quote(model, safe="/@:~")
    verb = "streamGenerateContent?alt=sse" if stream else "generateContent"
    return f"/v1beta/models/{name}:{verb}"


def _drop(request: Request, losses: Losses) -> None:
    losses.drop_all(
        {
            "user": request.user,
            "safety_identifier": request.safety_identifier,
            "metadata": request.metadata,
            "cache_key": request.cache_key,
            "verbosity": request.verbosity,
            "store": request.store,
            "messages.name": any(each.name for each in request.messages),
        }
    )
    if request.cache is not None:
        losses.drop("cache")
    if request.parallel_tools is False:
        losses.drop("parallel_tools")


def _tier(said: str, aim: Aim, losses: Losses) -> str:
    """Vertex AI has its tiers in a header."""
    found = _TIERS.get(said, "")
    if aim.platform != "vertex" and found:
        return found
    if said and said not in _USUAL_TIERS:
        losses.drop("service_tier")
    return ""


class _Contents:
    """Writes messages as contents."""

    def __init__(self, parts: Parts, aim: Aim) -> None:
        age = generation(aim.model)
        self._parts = parts
        # what newer models than Gemini 2.5 know and want
        self._newer = aim.vendor == "google" and (age is None or age >= 3)
        self._names: dict[str, str] = {}
        self._order: dict[str, int] = {}

    def write(self, messages: list[Message]) -> list[Json]:
        """All contents. Raises Untranslatable."""
        if not self._parts.own:
            messages = alternate(inline_system(messages))
        self._names = call_names(messages)
        self._order = {id: number for number, id in enumerate(self._names)}
        contents = [self._content(each) for each in messages]
        contents = [each for each in contents if each["parts"] or self._parts.own]
        if not contents:
            contents = [{"role": "user", "parts": [{"text": _OPENING}]}]
        if self._newer and not self._parts.own:
            _skip_validation(contents)
        return contents

    def _content(self, message: Message) -> Json:
        """One message: results in the order of their calls, as some are paired by it."""
        blocks = message.blocks
        if not self._parts.own:
            blocks = tuple(sorted(blocks, key=self._place))
        parts: list[Json] = []
        late: list[Json] = []
        for block in blocks:
            if isinstance(block, ToolResult):
                part, after = self._result(block)
                parts.append(part)
                late += after
            else:
                parts += late + self._block(block)
                late = []
        return {"role": "model" if message.role == "assistant" else "user", "parts": parts + late}

    def _place(self, block: Block) -> int:
        if isinstance(block, ToolResult):
            return self._order.get(block.id, len(self._order)) - len(self._order) - 1
        return 0

    def _result(self, block: ToolResult) -> tuple[Json, list[Json]]:
        name = block.name or self._names.get(block.id)
        if not name:
            why = f"no call with the id {block.id!r} stands before its result, to name the tool"
            raise self._parts.losses.refuse("messages", why)
        images = self._newer or self._parts.own
        return write_result(block, name, self._parts, images=images)

    def _block(self, block: Block) -> list[Json]:
        match block:
            case Reasoning():
                return self._reasoning(block)
            case ToolCall() if is_made(block.id):
                return self._parts.write(unnumbered(block))
            case Text("", signature="") if not self._parts.own:
                return []
        return self._parts.write(block)

    def _reasoning(self, block: Reasoning) -> list[Json]:
        if block.origin != GEMINI or not self._parts.signs:
            self._parts.losses.drop("reasoning")
            return []
        part: Json = {"text": block.text, "thought": True}
        if block.signature:
            part["thoughtSignature"] = block.signature
        return [part | block.extra if self._parts.own else part]


def _skip_validation(contents: list[Json]) -> None:
    """Sign what other models called in the current turn, which Gemini 3 wants signed.

    The turn begins after the user's last words; of calls made at once only the first is signed.
    """
    for content in reversed(contents):
        if content["role"] == "model":
            calls = [part for part in content["parts"] if "functionCall" in part]
            if calls and "thoughtSignature" not in calls[0]:
                calls[0]["thoughtSignature"] = SKIP
        elif not any("functionResponse" in part for part in content["parts"]):
            return
