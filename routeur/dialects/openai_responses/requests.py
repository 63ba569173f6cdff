"""Requests of the Responses API, to and from the neutral form.

Source of truth: OpenAI's OpenAPI description as of its Python package 3.3.1, the Open Responses
specification of 2026-04-24, and recordings.
"""

from __future__ import annotations

from routeur.dialects import exact, expect
from routeur.dialects.base import Json
from routeur.dialects.neutral import Message, Request, Text, Thinking
from routeur.dialects.neutral.aim import Aim, Losses
from routeur.dialects.neutral.effort import effort_of
from routeur.dialects.openai_responses import NAME
from routeur.dialects.openai_responses.history import ESSENTIAL, History
from routeur.dialects.openai_responses.input import INSTRUCTIONS, is_instructions, write_input
from routeur.dialects.openai_responses.items import rest
from routeur.dialects.openai_responses.options import (
    kinds_of,
    read_format,
    read_thinking,
    read_tier,
    read_tool,
    read_tool_choice,
    write_format,
    write_tool,
    write_tool_choice,
)

LEAST_TOKENS = 16  # that max_output_tokens may ask for
_LONGEST_USER = 64  # characters

_SEALED = "reasoning.encrypted_content"
_LOGPROBS = "message.output_text.logprobs"

# Members that have a field, or are made of several.
_FIELDS = frozenset(
    """
    model stream input instructions tools tool_choice parallel_tool_calls max_output_tokens
    temperature top_p top_logprobs presence_penalty frequency_penalty text reasoning include
    metadata user safety_identifier prompt_cache_key service_tier store
    """.split()
)
_TEXT_FIELDS = frozenset("format verbosity".split())
_REASONING_FIELDS = frozenset("effort summary generate_summary".split())
# Without these the answer would be another. The tool choice is there only if it is a hosted tool's.
_ESSENTIAL = ESSENTIAL | frozenset(
    """
    previous_response_id conversation background prompt moderation tool_choice text.format
    """.split()
)
_DEFAULTS = {"truncation": "disabled", "background": False}
_FOREIGN_EFFORTS = ("low", "medium", "high")
_THOUGHTLESS = ("gpt-3", "gpt-4", "gpt-5", "chatgpt")  # unless `Aim.openai_reasoning`


# From a client.


def read_request(body: Json, *, model: str, stream: bool) -> Request:
    """A client's body. Raises Invalid, naming the member by its path."""
    history = _history(body)
    text = expect.record(body, "text")
    reasoning = expect.record(body, "reasoning")
    include = [
        expect.needed_text({"include": each}, "include") for each in expect.listing(body, "include")
    ]
    wanted = expect.record(text, "format", "text")
    form = read_format(wanted) if wanted else None
    chosen = body.get("tool_choice")
    choice = None if chosen is None else read_tool_choice(chosen)
    extra = {
        **_extra(body, text, reasoning),
        **_said(
            {
                "include": [each for each in include if each not in (_SEALED, _LOGPROBS)],
                "text.format": None if form else wanted,
                "tool_choice": None if choice else chosen,
            }
        ),
        **dict.fromkeys(history.essential, True),
    }
    return Request(
        NAME,
        model,
        _instructions(body) + history.messages(),
        tools=tuple(read_tool(each, at) for at, each in expect.records(body, "tools")),
        tool_choice=choice,
        parallel_tools=expect.truth(body, "parallel_tool_calls"),
        max_tokens=expect.whole(body, "max_output_tokens"),
        temperature=expect.number(body, "temperature"),
        top_p=expect.number(body, "top_p"),
        logprobs=True if _LOGPROBS in include else None,
        top_logprobs=expect.whole(body, "top_logprobs"),
        presence_penalty=expect.number(body, "presence_penalty"),
        frequency_penalty=expect.number(body, "frequency_penalty"),
        format=form,
        thinking=read_thinking(reasoning, _SEALED in include),
        verbosity=expect.text(text, "verbosity", "text"),
        user=expect.text(body, "user"),
        safety_identifier=expect.text(body, "safety_identifier"),
        metadata=expect.record(body, "metadata"),
        cache_key=expect.text(body, "prompt_cache_key"),
        service_tier=expect.text(body, "service_tier"),
        store=expect.truth(body, "store"),
        stream=stream,
        extra=extra,
        essential=_ESSENTIAL & extra.keys(),
    )


def _history(body: Json) -> History:
    history = History()
    given = body.get("input")
    if isinstance(given, str):
        history.add({"type": "message", "role": "user", "content": given}, "input")
        return history
    if given is not None and not isinstance(given, list):
        raise expect.wrong("input", "a string or a list of items")
    for at, item in expect.records(body, "input"):
        history.add(item, at)
    return history


def _instructions(body: Json) -> tuple[Message, ...]:
    text = expect.text(body, "instructions")
    return (Message("system", (Text(text),), extra=INSTRUCTIONS),) if text else ()


def _extra(body: Json, text: Json, reasoning: Json) -> Json:
    """Members without a field; those within `text` and `reasoning` by their paths."""
    found = rest(body, _FIELDS)
    for name, default in _DEFAULTS.items():
        if found.get(name) == default:
            del found[name]
    for name, inner, known in (
        ("text", text, _TEXT_FIELDS),
        ("reasoning", reasoning, _REASONING_FIELDS),
    ):
        found |= {f"{name}.{key}": value for key, value in rest(inner, known).items()}
    return found


def _said(members: Json) -> Json:
    return {name: each for name, each in members.items() if each}


# To a provider.


def write_request(request: Request, aim: Aim, losses: Losses) -> bytes:
    """The body. Raises Untranslatable, by `losses`."""
    extra = dict(losses.extras(request, NAME))
    own = request.dialect == NAME
    for name in ESSENTIAL:
        extra.pop(name, None)  # the items themselves are in the input
    _refuse(request, losses)
    body: Json = {"model": aim.model}
    instructions = [each for each in request.messages if is_instructions(each)]
    if instructions:
        body["instructions"] = "".join(
            each.text for message in instructions for each in message.blocks if type(each) is Text
        )
    items = write_input(request, aim, losses)
    if items or not own:
        body["input"] = items
    body |= _tools(request, losses, own)
    body |= _sampling(request, aim, losses, own)
    body |= _form(request, extra, own)
    body |= _reasoning(request, aim, extra, losses)
    body |= _account(request, losses, own)
    return exact.dumps({**body, **extra, **({"stream": True} if request.stream else {})})


def _refuse(request: Request, losses: Losses) -> None:
    """What would change the answer, and cannot be said."""
    if request.stop:
        raise losses.refuse("stop", "the Responses API knows no stop sequences")
    losses.only_one_text(request)
    losses.drop_all(
        {
            "top_k": request.top_k,
            "seed": request.seed,
            "audio": request.audio,
            "cache": None if request.cache is None else True,
        }
    )


def _tools(request: Request, losses: Losses, own: bool) -> Json:
    told: Json = {}
    for number, tool in enumerate(request.tools):
        if tool.kind == "server" and tool.dialect != NAME:
            raise losses.refuse(f"tools[{number}]", f"it runs only at {tool.dialect}'s providers")
        losses.drop_all({"cache": None if tool.cache is None else True})
    if request.tools:
        told["tools"] = [write_tool(each, own) for each in request.tools]
    if request.tool_choice and (request.tools or own):
        told["tool_choice"] = write_tool_choice(request.tool_choice, kinds_of(request.tools))
    if request.parallel_tools is not None:
        told["parallel_tool_calls"] = request.parallel_tools
    return told


def _sampling(request: Request, aim: Aim, losses: Losses, own: bool) -> Json:
    told: Json = {
        "max_output_tokens": request.max_tokens,
        "top_logprobs": request.top_logprobs,
        "temperature": request.temperature,
        "top_p": request.top_p,
    }
    penalties: Json = {
        "presence_penalty": request.presence_penalty,
        "frequency_penalty": request.frequency_penalty,
    }
    if own:
        told |= penalties
    else:
        losses.drop_all({name: each for name, each in penalties.items() if each != 0})
        if request.max_tokens is not None and request.max_tokens < LEAST_TOKENS:
            losses.drop("max_tokens")
            told["max_output_tokens"] = LEAST_TOKENS
        if aim.openai_reasoning and not _is_off(request.thinking):
            for name in ("temperature", "top_p"):
                if told[name] != 1:  # the default, and the only value that is taken
                    losses.drop_all({name: told[name]})
                told[name] = None
    return {name: each for name, each in told.items() if each is not None}


def _form(request: Request, extra: Json, own: bool) -> Json:
    text: Json = {}
    if request.format:
        text["format"] = write_format(request.format, own)
    if request.verbosity:
        text["verbosity"] = request.verbosity
    text |= _inner(extra, "text.")
    return {"text": text} if text else {}


def _reasoning(request: Request, aim: Aim, extra: Json, losses: Losses) -> Json:
    """`reasoning` and `include`."""
    own = request.dialect == NAME
    thinking = request.thinking or Thinking()
    told = _inner(extra, "reasoning.")
    if own or thinking.mode or thinking.effort:
        told |= _wanted(request, thinking, aim, losses)
    include = list(extra.pop("include", ()))
    if thinking.encrypted or (not own and aim.openai_reasoning):
        include.append(_SEALED)  # others have no other place to keep it than the history
    if request.logprobs:
        include.append(_LOGPROBS)
    found: Json = {"reasoning": told} if told else {}
    return {**found, "include": include} if include else found


def _wanted(request: Request, thinking: Thinking, aim: Aim, losses: Losses) -> Json:
    told: Json = {}
    own = request.dialect == NAME
    if not own and _name(aim).startswith(_THOUGHTLESS) and not aim.openai_reasoning:
        if not _is_off(thinking):
            losses.drop("thinking")
        return told
    same = own or request.dialect == "openai_chat"
    allowed = (thinking.effort,) if same else _FOREIGN_EFFORTS
    if effort := effort_of(thinking, allowed):
        told["effort"] = effort if same else _effort(effort, aim)
    summary = thinking.summary or ("auto" if thinking.show else "")
    if summary:
        told["summary"] = summary
    return told


def _effort(effort: str, aim: Aim) -> str:
    """The first reasoning models cannot be told not to: the least that they take."""
    if effort != "none" or aim.vendor != "openai":
        return effort
    name = _name(aim)
    if name.startswith("o"):
        return "low"
    return "minimal" if name.startswith("gpt-5") and not name.startswith("gpt-5.") else effort


def _name(aim: Aim) -> str:
    return aim.model.rpartition("/")[2].lower()


def _account(request: Request, losses: Losses, own: bool) -> Json:
    """Who asks, and what is kept."""
    user = request.user
    if not own and len(user) > _LONGEST_USER:
        losses.drop("user")
        user = ""
    store = request.store if own else bool(request.store)  # elsewhere nothing is kept unasked
    told: Json = {
        "metadata": request.metadata,
        "user": user,
        "safety_identifier": request.safety_identifier,
        "prompt_cache_key": request.cache_key,
        "service_tier": _tier(request, losses, own),
    }
    found = _said(told)
    return found if store is None else {**found, "store": store}


def _tier(request: Request, losses: Losses, own: bool) -> str:
    tier = request.service_tier
    if own or not tier:
        return tier
    word = read_tier(tier)
    if not word:
        losses.drop("service_tier")
    return word


def _is_off(thinking: Thinking | None) -> bool:
    return thinking is not None and thinking.mode == "off"


def _inner(extra: Json, prefix: str) -> Json:
    """Takes out the members whose paths begin so."""
    names = [name for name in extra if name.startswith(prefix)]
    return {name.removeprefix(prefix): extra.pop(name) for name in names}


def address(model: str, stream: bool) -> str:
    """Path and query as a client has them: the model and the stream are in the body."""
    return "/v1/responses"
