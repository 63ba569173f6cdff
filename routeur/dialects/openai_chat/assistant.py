"""An assistant's message of the history, written for a provider of Chat Completions."""

from __future__ import annotations

import re

from routeur.dialects.base import Json
from routeur.dialects.neutral import (
    GEMINI,
    Audio,
    Block,
    File,
    Image,
    Opaque,
    Reasoning,
    Refusal,
    Text,
    ToolCall,
)
from routeur.dialects.openai_chat.parts import Target, text_part, write_content, write_parts
from routeur.dialects.openai_chat.reasoning import (
    format_of,
    google_extra,
    is_sealed,
    write_details,
)

# Whose servers want to see what they thought, in tool loops at least; others (OpenAI, Groq,
# Cerebras) refuse the member.
_WANTS_REASONING = re.compile(r"(?!.*distill)(?:.*/)?(?:deepseek|kimi|minimax|mimo)")


def write_assistant(blocks: tuple[Block, ...], target: Target) -> tuple[Json, list[Json]]:
    """An assistant's message, and parts of it that only a user's message can hold."""
    empty = not blocks
    blocks = tuple(each for block in blocks for each in _sayable(block, target))
    texts = tuple(each for each in blocks if isinstance(each, Text))
    calls = [_write_call(each, target) for each in blocks if isinstance(each, ToolCall)]
    message, thoughts = _write_reasoning(blocks, target)
    content = write_content(texts, target, "") if texts else None
    if thoughts:
        content = thoughts + ([text_part(content)] if isinstance(content, str) else content or [])
    if content is not None:
        message["content"] = content
    message |= {name: value for block in blocks for name, value in _member(block).items()}
    if calls:
        message["tool_calls"] = calls
    if signature := _text_signature(texts, target):
        message["extra_content"] = google_extra(signature)
    if not calls and (message or empty):
        message.setdefault("content", "")
    return {"role": "assistant", **message}, _images(blocks, target)


def _sayable(block: Block, target: Target) -> list[Block]:
    """The block, or what the dialect can say in its place."""
    match block:
        case Audio() if not (target.own and block.id):
            if not block.transcript:
                raise target.losses.refuse("audio", "an assistant's message holds none here")
            return [Text(block.transcript)]
        case Opaque():
            text = target.losses.stand_in(block)
            return [Text(text)] if text else []
    return [block]


def _member(block: Block) -> Json:
    """The member of the message that a block is, if it is one by itself."""
    match block:
        case Refusal():
            return {"refusal": block.text}
        case Audio():
            return {"audio": {"id": block.id}}
    return {}


def _write_call(block: ToolCall, target: Target) -> Json:
    if block.kind == "custom":
        custom = {"name": block.name, "input": block.arguments}
        found: Json = {"id": target.id(block.id), "type": "custom", "custom": custom}
    else:
        function = {"name": block.name, "arguments": block.arguments or "{}"}
        found = {"id": target.id(block.id), "type": "function", "function": function}
    if block.signature:
        if target.own or block.origin == GEMINI == target.aim.origin:
            found["extra_content"] = google_extra(block.signature)
        else:
            target.losses.drop("tool_call.signature")
    return found


def _text_signature(texts: tuple[Text, ...], target: Target) -> str:
    signed = [each for each in texts if each.signature]
    if not signed:
        return ""
    if target.own or signed[-1].origin == GEMINI == target.aim.origin:
        return signed[-1].signature
    target.losses.drop("text.signature")
    return ""


def _write_reasoning(blocks: tuple[Block, ...], target: Target) -> tuple[Json, list[Json]]:
    """Members that hold the reasoning, and parts of the content that do (Mistral)."""
    found: Json = {}
    thoughts: list[Json] = []
    details: list[Json] = []
    shown: list[str] = []
    count = 0  # of what has details
    for place, block in enumerate(blocks):
        if isinstance(block, Reasoning):
            kept = is_sealed(block) and _opens(block, target)
            details += write_details(block, count, place) if kept else []
            count += kept
            shown += [block.shown] if block.shown else []
            if is_sealed(block) and not kept:
                target.losses.drop("reasoning.signature")
        elif isinstance(block, ToolCall) and _by_openrouter(block, target):
            details.append(_google_detail(block, count))
            count += 1
    if details:
        found["reasoning_details"] = details
    if shown and target.mistral and not target.own:
        text = [text_part("\n\n".join(shown))]
        thoughts.append({"type": "thinking", "thinking": text})
    elif shown and (target.own or _WANTS_REASONING.match(target.aim.model.lower())):
        found["reasoning_content"] = "\n\n".join(shown)
    elif shown and not details:
        target.losses.drop("reasoning")
    return found, thoughts


def _opens(block: Reasoning, target: Target) -> bool:
    """Whether the target can open the seal."""
    return target.own or (bool(block.origin) and block.origin == target.aim.origin)


def _by_openrouter(block: ToolCall, target: Target) -> bool:
    signed = block.signature and block.origin == GEMINI == target.aim.origin
    return bool(signed) and target.openrouter and not target.own


def _google_detail(block: ToolCall, index: int) -> Json:
    """Gemini's signature as OpenRouter has it."""
    return {
        "type": "reasoning.encrypted",
        "data": block.signature,
        "id": block.id,
        "format": format_of(GEMINI),
        "index": index,
    }


def _images(blocks: tuple[Block, ...], target: Target) -> list[Json]:
    """Images and files that the model made: the user shows them again."""
    made = write_parts((each for each in blocks if isinstance(each, Image | File)), target)
    return [text_part("What the assistant made:"), *made] if made else []
