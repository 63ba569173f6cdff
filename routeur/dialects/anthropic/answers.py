"""Answers of Anthropic's Messages API, whole ones and errors; streams are in modules of their own.

Source of truth: Anthropic's OpenAPI description as of its Python package 0.100.0, the types of
package 2.11, and recordings.
"""

from __future__ import annotations

from collections.abc import Mapping

from routeur.dialects.anthropic import NAME
from routeur.dialects.anthropic.block_writer import BlockWriter
from routeur.dialects.anthropic.message import (
    read_extra,
    read_stop,
    read_usage,
    service_tier,
    write_stop,
    write_usage,
)
from routeur.dialects.anthropic.reader import EventReader, read_answer_block, read_fault
from routeur.dialects.anthropic.writer import EventWriter, write_error
from routeur.dialects.base import Json
from routeur.dialects.exact import dumps, loads
from routeur.dialects.loose import items, string
from routeur.dialects.neutral import (
    ANTHROPIC,
    Block,
    Choice,
    Fault,
    Response,
    Stop,
    StopReason,
    ToolCall,
)
from routeur.dialects.neutral.aim import Caller
from routeur.dialects.neutral.ids import own_id
from routeur.dialects.refusals import error_of, retry_after
from routeur.dialects.sse import Frames

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

STREAM_TYPE = "text/event-stream; charset=utf-8"
NO_MESSAGE = Fault(502, "the provider's answer is no message")  # as of a server of another dialect


def read_response(body: Json, model: str) -> Response:
    """A whole answer."""
    if body.get("type") == "error" or isinstance(body.get("error"), dict):
        return Response(NAME, model=model, error=read_fault(body))
    content, usage = body.get("content"), body.get("usage")
    blocks = tuple(read_answer_block(each) for each in items(content))
    return Response(
        NAME,
        string(body.get("id")),
        string(body.get("model")) or model,
        choices=(Choice(blocks, read_stop(body) or _guessed(blocks)),),
        usage=read_usage(usage),
        service_tier=service_tier(usage),
        error=None if isinstance(content, list) else NO_MESSAGE,  # an empty list is an answer
        extra=read_extra(body),
    )


def _guessed(blocks: tuple[Block, ...]) -> Stop:
    calls = any(isinstance(each, ToolCall) for each in blocks)
    reason: StopReason = "tool_calls" if calls else "unknown"
    return Stop(reason)


def write_response(response: Response, caller: Caller) -> bytes:
    """A whole answer: the first choice."""
    own = response.dialect == NAME
    writer = BlockWriter(caller.losses, own, ANTHROPIC, answer=True)
    choice = response.choices[0]
    usage = write_usage(response.usage)
    message: Json = {
        "id": own_id(response.id, "msg_", caller.token),
        "type": "message",
        "role": "assistant",
        "model": response.model or caller.request.model,
        "content": writer.write_all(choice.blocks),
        **write_stop(choice.stop, own=own),
        "container": None,
        "usage": usage,
    }
    if own:
        usage |= response.extra.get("usage", {})
        message |= {name: each for name, each in response.extra.items() if name != "usage"}
        if response.service_tier:
            usage["service_tier"] = response.service_tier
    return dumps(message)


def read_error(status: int, headers: Mapping[str, str], body: bytes) -> Fault:
    """An error answer, whatever it is made of."""
    try:
        document = loads(body)
    except ValueError:
        document = None
    error = error_of(document)
    found = read_fault(document)
    message = string(error.get("message")) or f"the provider answered with status {status}"
    return Fault(status, message, found.type, found.code, retry_after=retry_after(headers))
