"""What Anthropic's models take, wherever they run: known by their names alone.

Sources: Anthropic's pages on thinking, effort, structured outputs and mid-conversation system
messages, and its migration guides up to Claude 5.5 (November 2026). A name that is not known is
taken for an older model, as which others' models behind this API behave.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from routeur.dialects.base import Json
from routeur.dialects.loose import items, members, string
from routeur.dialects.neutral import (
    ANTHROPIC,
    Block,
    Message,
    Reasoning,
    Request,
    Text,
    Thinking,
    ToolCall,
    ToolResult,
)
from routeur.dialects.neutral.aim import Aim, Losses
from routeur.dialects.neutral.effort import budget_of, effort_of

EFFORTS = ("low", "medium", "high", "xhigh", "max")

_NAME = re.compile(
    r"claude-(?:(opus|sonnet|haiku|fable|mythos|instant)-)?v?(\d+)(?:[-.](\d{1,2})(?!\d))?"
    r"(?:-(opus|sonnet|haiku))?"
)
_ALWAYS_THINK = ("fable", "mythos")
_FOR_ANSWER = 4096  # tokens beside the budget where nobody says how many there may be
_ALL_CAN = 32_000  # tokens that all models that think by a budget may answer
_DYNAMIC = Thinking("on", effort="medium")  # for models that cannot decide themselves

# The subset of JSON Schema of structured outputs, as Anthropic's own SDKs reduce schemas to it.
_FORMATS = frozenset("date-time time date duration email hostname uri ipv4 ipv6 uuid".split())
_KEPT = frozenset("type enum const description title default $ref required".split())
_LISTS = ("anyOf", "allOf")
_MAPS = ("properties", "$defs", "definitions")


@dataclass(frozen=True, slots=True)
class Claude:
    """What a model takes.

    `budget`: thinking with budget_tokens; `adaptive`: thinking that it doses itself, by one of
    `efforts`; `off`: the type that turns thinking off, "" if nothing does. `sampling`: temperature,
    top_p and top_k; `pair`: the first two together; `forced`: a tool choice any or tool; `prefill`:
    an answer begun for it; `system`: role system within the messages; `strict`: tools with strict.
    """

    budget: bool
    adaptive: bool
    off: str
    efforts: tuple[str, ...]
    sampling: bool
    pair: bool
    forced: bool
    prefill: bool
    system: bool
    strict: bool


def claude(model: str) -> Claude:
    """What the model of this name takes (`us.anthropic.claude-opus-4-5-…`, `claude-3-7-sonnet`)."""
    family, version = _parsed(model)
    always = family in _ALWAYS_THINK
    newest = version >= (5, 5)
    off = "disabled"
    if always or (newest and family == "opus"):
        off = ""
    elif newest and family == "sonnet":
        off = "between_tools"
    return Claude(
        budget=version == (0, 0) or (3, 7) <= version < (4, 7),
        adaptive=version >= (4, 6),
        off=off,
        efforts=_efforts(version),
        sampling=version < (4, 7),
        pair=version < (4, 1),
        forced=version < (5, 1) or (not newest and not always) or family == "haiku",
        prefill=version < (4, 6),
        system=version >= (4, 8) and (family, version) != ("sonnet", (5, 0)),
        strict=version >= (4, 1) or version == (0, 0),
    )


def read_cache(raw: Json) -> str | None:
    """The time to live that a block, a tool or a request is marked with, as `Text.cache` has it."""
    mark = raw.get("cache_control")
    return string(mark.get("ttl")) if isinstance(mark, dict) else None


def write_cache(cache: str | None) -> Json:
    """The member that marks a block, a tool or a request. OpenRouter and others take it, too."""
    if cache is None:
        return {}
    mark = {"type": "ephemeral", "ttl": cache} if cache else {"type": "ephemeral"}
    return {"cache_control": mark}


def _parsed(model: str) -> tuple[str, tuple[int, int]]:
    name = model.lower()
    if found := _NAME.search(name):
        before, major, minor, behind = found.groups()
        return before or behind or "", (int(major), int(minor or 0))
    return ("mythos", (5, 0)) if "claude-mythos" in name else ("", (0, 0))


def _efforts(version: tuple[int, int]) -> tuple[str, ...]:
    if version >= (4, 7):
        return EFFORTS
    if version == (4, 6):
        return ("low", "medium", "high", "max")
    return ()


def thinking(request: Request, model: str, max_tokens: int, losses: Losses) -> tuple[Json, str]:
    """A foreign request's reasoning as Claude's `thinking` ({}: none) and effort ("": none)."""
    wanted = request.thinking
    if wanted is None:
        return {}, ""
    knows = claude(model)
    asks = bool(wanted.mode or wanted.effort or wanted.budget)
    if not (knows.budget or knows.adaptive):  # up to 3.5: they do not think, and refuse the member
        losses.drop_all({"thinking": asks and wanted.mode != "off"})
        return {}, ""
    if wanted.mode == "off":
        return _off(knows, losses)
    if not asks:
        return {}, ""
    if _forces(request):
        losses.drop("thinking")  # the API takes only one of the two
        return {}, ""
    show = _shown(wanted) if knows.adaptive else {}
    if knows.adaptive and not (wanted.budget and knows.budget):
        return {"type": "adaptive", **show}, effort_of(wanted, knows.efforts)
    config = {} if _unsigned_loop(request.messages) else _budgeted(wanted, max_tokens)
    if not config:
        losses.drop("thinking")
        return {}, ""
    return {**config, **show}, ""


def room(request: Request, aim: Aim, usual: int) -> int:
    """The max_tokens of a foreign request; what was not said leaves room behind the thoughts."""
    if request.max_tokens is not None:
        return request.max_tokens
    wanted = request.thinking
    if aim.max_output or wanted is None or not claude(aim.model).budget:
        return aim.max_output or usual
    budget = budget_of(wanted)
    if budget is None:
        budget = budget_of(_DYNAMIC) or 0
    return max(usual, min(budget + max(_FOR_ANSWER, -(-budget // 4)), _ALL_CAN))


def remembered(
    messages: Sequence[Message], model: str, config: Json, losses: Losses
) -> tuple[Message, ...]:
    """A foreign history, without its thoughts where Claude is not to think.

    `config` is the request's `thinking`: an answer that holds thoughts may be refused without any.
    """
    thinks = config.get("type", "disabled") != "disabled" or claude(model).off != "disabled"
    if thinks or not any(_is_signed(block) for each in messages for block in each.blocks):
        return tuple(messages)
    losses.drop("reasoning")
    return tuple(
        replace(each, blocks=tuple(one for one in each.blocks if not _is_signed(one)))
        for each in messages
    )


def _is_signed(block: Block) -> bool:
    """Whether Claude would take it as thoughts of its own."""
    if not isinstance(block, Reasoning) or block.origin != ANTHROPIC:
        return False
    return bool(block.signature or block.encrypted)


def _unsigned_loop(messages: Sequence[Message]) -> bool:
    """Whether results go back to calls with no thoughts before them: then budgets are refused.

    A loop of calls and results is one turn, and the thoughts stand at its head or before the last
    calls. It begins behind the user's last message that holds no results.
    """
    if not messages or messages[-1].role == "assistant":
        return False
    loop: list[list[Block]] = []
    previous = ""
    for each in messages:
        if each.role == "user" and not any(isinstance(one, ToolResult) for one in each.blocks):
            loop = loop if previous == "user" else []
        elif each.role == "assistant":
            if previous != "assistant":
                loop.append([])
            loop[-1] += [one for one in each.blocks if _stands(one)]
        previous = previous if each.role == "system" else each.role
    if not loop or not any(isinstance(one, ToolCall) for one in loop[-1]):
        return False
    return not any(blocks and _is_signed(blocks[0]) for blocks in (loop[0], loop[-1]))


def _stands(block: Block) -> bool:
    """Whether it will be written: blank texts and others' thoughts are not."""
    if isinstance(block, Reasoning):
        return _is_signed(block)
    return not isinstance(block, Text) or bool(block.text.strip())


def _off(knows: Claude, losses: Losses) -> tuple[Json, str]:
    if knows.off:
        return {"type": knows.off}, ""
    losses.drop("thinking")
    return {}, "low"  # the nearest there is


def _budgeted(wanted: Thinking, max_tokens: int) -> Json:
    """Thinking by a budget; {} where max_tokens leaves no room for it."""
    budget = budget_of(wanted, max_tokens)
    if budget is None:
        budget = budget_of(_DYNAMIC, max_tokens)
    return {"type": "enabled", "budget_tokens": budget} if budget else {}


def _shown(wanted: Thinking) -> Json:
    if wanted.show is None and not wanted.summary:
        return {}
    return {"display": "summarized" if wanted.show is not False else "omitted"}


def _forces(request: Request) -> bool:
    choice = request.tool_choice
    return bool(request.tools) and choice is not None and choice.mode in ("required", "named")


def sampling(request: Request, model: str, thinks: bool, losses: Losses) -> Json:
    """A foreign request's temperature, top_p and top_k, as far as the model takes them now."""
    found: Json = {}
    said = {
        "temperature": request.temperature,
        "top_p": request.top_p,
        "top_k": request.top_k,
    }
    knows = claude(model)
    for name, value in said.items():
        if value is None or (value == 1 and name != "top_k"):
            continue  # 1 is the default
        second = name == "top_p" and "temperature" in found and not knows.pair
        if thinks or second or not knows.sampling:
            losses.drop(name)
        elif name == "temperature" and value > 1:
            losses.drop(name)  # OpenAI's and Gemini's go up to 2
            found[name] = 1
        else:
            found[name] = value
    return found


def schema(value: Any) -> Any:
    """A JSON Schema within the subset of structured outputs and strict tools.

    Objects are closed. What else cannot be said is put into the description, in words.
    """
    if not isinstance(value, dict):
        return value
    found: Json = {}
    rest: Json = {}
    for name, each in value.items():
        if name in _KEPT or (name == "format" and each in _FORMATS):
            found[name] = each
        elif name == "minItems" and each in (0, 1):
            found[name] = each
        elif name == "items":
            found[name] = schema(each)
        elif name in _LISTS or name == "oneOf":
            found["anyOf" if name == "oneOf" else name] = [schema(one) for one in items(each)]
        elif name in _MAPS:
            found[name] = {key: schema(one) for key, one in members(each).items()}
        elif name not in ("additionalProperties", "strict", "$schema"):
            rest[name] = each
    if value.get("type") == "object" or "properties" in value:
        # A schema here means any names: nothing comes near that, so the API is to refuse it.
        more = value.get("additionalProperties")
        found["additionalProperties"] = more if isinstance(more, dict) else False
    if rest:
        found["description"] = _in_words(found.get("description"), rest)
    return found


def _in_words(description: object, rest: Json) -> str:
    words = "{" + ", ".join(f"{name}: {value}" for name, value in rest.items()) + "}"
    return f"{description}\n\n{words}" if description else words
