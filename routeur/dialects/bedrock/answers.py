"""Answers of Amazon Bedrock's Converse, whole ones and errors; streams in the modules beside it.

Source of truth: the service's description in botocore 1.44.5 (bedrock-runtime), and recordings.
"""

from __future__ import annotations

from routeur.dialects.base import Json
from routeur.dialects.bedrock.blocks import (
    NAME,
    Writing,
    origin_of,
    read_block,
    write_blocks,
)
from routeur.dialects.bedrock.reader import EventReader
from routeur.dialects.bedrock.values import (
    error_body,
    fault_in,
    read_error,
    read_stop,
    read_usage,
    write_stop,
    write_usage,
)
from routeur.dialects.bedrock.writer import EventWriter
from routeur.dialects.eventstream import Frames
from routeur.dialects.exact import dumps
from routeur.dialects.loose import items, members, string
from routeur.dialects.neutral import Block, Choice, Fault, Opaque, Response, Text, ToolCall
from routeur.dialects.neutral.aim import Caller, Invalid

__all__ = [
    "STREAM_TYPE",
    "EventReader",
    "EventWriter",
    "Frames",
    "read_error",
    "read_response",
    "write_error",
    "write_response",
]

STREAM_TYPE = "application/vnd.amazon.eventstream"

_READ = ("output", "stopReason", "usage", "serviceTier")


def read_response(body: Json, model: str) -> Response:
    """A whole answer; `model` is what was asked, as an answer does not say it."""
    if not isinstance(body.get("output"), dict):
        return Response(NAME, model=model, error=fault_in(body))
    message = members(members(body["output"]).get("message"))
    blocks = _blocks(items(message.get("content")), origin_of(model))
    calls = any(isinstance(each, ToolCall) for each in blocks)
    fields = body.get("additionalModelResponseFields")
    return Response(
        NAME,
        model=model,
        choices=(Choice(blocks, read_stop(string(body.get("stopReason")), fields, calls)),),
        usage=read_usage(body.get("usage")),
        service_tier=string(members(body.get("serviceTier")).get("type")),
        extra={name: value for name, value in body.items() if name not in _READ},
    )


def _blocks(content: list[object], origin: str) -> tuple[Block, ...]:
    """The blocks; what is not as described is kept as it is, and empty texts are none."""
    found: list[Block] = []
    for number, raw in enumerate(content):
        try:
            block = read_block(raw, f"content[{number}]", origin)
        except Invalid:
            if not isinstance(raw, dict):
                continue
            block = Opaque(NAME, raw)
        if not isinstance(block, Text) or block.text or block.citations:
            found.append(block)
    return tuple(found)


def write_response(response: Response, caller: Caller) -> bytes:
    """A whole answer without `error`."""
    own = response.dialect == NAME
    choice = response.choices[0]
    content = write_blocks(choice.blocks, Writing(caller.losses, own))
    written: Json = {
        "output": {"message": {"role": "assistant", "content": content}},
        "stopReason": write_stop(choice.stop),
        "usage": write_usage(response.usage),
        "metrics": {"latencyMs": 0},
        **(response.extra if own else {}),
    }
    if response.service_tier:
        written["serviceTier"] = {"type": response.service_tier}
    return dumps(written)


def write_error(fault: Fault, request_id: str) -> bytes:
    """An error answer's body. (AWS says the request's id and the error's type in headers.)"""
    return dumps(error_body(fault))
