"""Requests to Amazon Bedrock's Converse and ConverseStream, read and written.

Source of truth: the service's description in botocore 1.44.5 (bedrock-runtime), and recordings.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from routeur.dialects import expect
from routeur.dialects.base import Json
from routeur.dialects.bedrock.blocks import (
    ATTACHED,
    NAME,
    Writing,
    origin_of,
    read_blocks,
    spoken,
    write_blocks,
    write_mark,
)
from routeur.dialects.bedrock.params import ESSENTIAL, read_params, write_params
from routeur.dialects.bedrock.tools import read_choice, read_tools, write_tools
from routeur.dialects.bedrock.turns import fitting
from routeur.dialects.claude import remembered
from routeur.dialects.clouds import bedrock_path
from routeur.dialects.exact import dumps
from routeur.dialects.neutral import (
    Message,
    Opaque,
    Request,
    Role,
    Text,
)
from routeur.dialects.neutral.aim import Aim, Losses
from routeur.dialects.neutral.turns import split_system

_ROLES: dict[str, Role] = {"user": "user", "assistant": "assistant", "system": "system"}
_READ = frozenset(
    "messages system inferenceConfig toolConfig additionalModelRequestFields requestMetadata"
    " serviceTier outputConfig modelId".split()
)


def address(model: str, stream: bool) -> str:
    """The path, in which the model stands."""
    return bedrock_path(model, stream=stream)


# ── reading


def read_request(body: Json, *, model: str, stream: bool) -> Request:
    """A client's request. Raises Invalid where it breaks the service's description."""
    origin = origin_of(model)
    fields = read_params(body)
    rest = {name: value for name, value in body.items() if name not in _READ}
    extra = {**rest, **fields.pop("extra")}
    choice = fields.pop("tool_choice", None)
    return Request(
        NAME,
        model,
        (*_read_system(body, origin), *_read_messages(body, origin)),
        tools=read_tools(body),
        tool_choice=choice or read_choice(body),
        stream=stream,
        extra=extra,
        essential=ESSENTIAL & extra.keys(),
        **fields,
    )


def _read_system(body: Json, origin: str) -> list[Message]:
    blocks = read_blocks(expect.listing(body, "system"), "system", origin)
    return [Message("system", blocks)] if blocks else []


def _read_messages(body: Json, origin: str) -> list[Message]:
    found = []
    for number, raw in enumerate(expect.listing(body, "messages")):
        at = f"messages[{number}]"
        role = _ROLES.get(str(expect.an_object(raw, at).get("role")))
        if role is None:
            raise expect.wrong(f"{at}.role", "`user`, `assistant` or `system`")
        content = expect.a_list(raw.get("content"), f"{at}.content")
        found.append(Message(role, read_blocks(content, f"{at}.content", origin)))
    return found


# ── writing


def write_request(request: Request, aim: Aim, losses: Losses) -> bytes:
    """The body; the model stands in the path. May raise Untranslatable, by `losses`."""
    own = request.dialect == NAME
    claude = aim.vendor == "anthropic"
    nova = "nova" in aim.model
    to = Writing(losses, own, aim.origin, caches=own or claude or nova, ttl=own or claude)
    system, rest = split_system(request.messages)
    if system and not rest and not own:
        rest = [Message("user", system.pop().blocks)]
    params = write_params(request, aim, losses)
    if claude and not own:
        config = params.get("additionalModelRequestFields", {}).get("thinking", {})
        rest = list(remembered(rest, aim.model, config, losses))
    messages = rest if own else fitting(rest, aim, to)
    chosen = "tool_choice" in params.get("additionalModelRequestFields", {})
    for_tools = replace(to, caches=own or claude)  # Nova takes no marks on them
    written = {
        "messages": [_write_message(each, to) for each in messages],
        "system": _write_system(system, to),
        "toolConfig": write_tools(request, aim, for_tools, messages, chosen=chosen),
        **params,
        **_stop_sequence(request, claude and not own),
    }
    if request.cache is not None:
        _mark_last(written["messages"], request.cache, to)
    return dumps({name: value for name, value in written.items() if value or name == "messages"})


def _write_message(message: Message, to: Writing) -> Json:
    return {"role": message.role, "content": write_blocks(message.blocks, to)}


def _write_system(messages: Sequence[Message], to: Writing) -> list[Json]:
    """The system's blocks: only texts are taken there, and own ones as they came."""
    found: list[Json] = []
    for message in messages:
        for block in message.blocks if to.own else spoken(message.blocks):
            if not isinstance(block, Text | Opaque):
                raise to.losses.refuse("system", "it takes only texts there")
            found += write_blocks([block], to)
    return found


def _stop_sequence(request: Request, asks: bool) -> Json:
    """Claude says which of several stop sequences it met only if it is asked to."""
    if not asks or len(request.stop) < 2:
        return {}
    where = "/delta/stop_sequence" if request.stream else "/stop_sequence"
    return {"additionalModelResponseFieldPaths": [where]}


def _mark_last(messages: list[Json], mark: str, to: Writing) -> None:
    """A mark on the whole request is one at its end."""
    content = messages[-1]["content"] if messages else []
    if not content or "cachePoint" in content[-1]:
        return
    if "document" in content[-1] or "video" in content[-1]:
        content.append({"text": ATTACHED})
    content += write_mark(mark, to)
