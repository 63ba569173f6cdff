"""Makes README's table of what is lost between dialects, from the code of readers and writers.

    python tools/losses.py             prints it
    python tools/losses.py README.md   puts it into the file

Each thing that may be said is written in a client's dialect and read again: what is gone then, its
clients cannot say. What the writer of another dialect drops or refuses of it is lost between them.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from routeur.dialects import FORMATS, exact
from routeur.dialects.neutral import (
    Audio,
    Block,
    File,
    Image,
    Message,
    Reasoning,
    Request,
    ResponseFormat,
    Text,
    Thinking,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
)
from routeur.dialects.neutral.aim import Aim, Losses, TranslationError
from routeur.dialects.translate import TRANSLATORS

START, END = "<!-- losses: made by tools/losses.py -->", "<!-- end of losses -->"
NAMES = {
    "openai_chat": "Chat",
    "openai_responses": "Responses",
    "anthropic": "Messages",
    "gemini": "Gemini",
    "bedrock": "Bedrock",
}
# Models of each dialect that take what its API can say; what one of them takes is not lost.
AIMS = {
    "openai_chat": (
        Aim("openai_chat", "gpt-5", "openai", max_output=8192),
        Aim("openai_chat", "gpt-4o-audio-preview", "openai", max_output=8192),
    ),
    "openai_responses": (
        Aim("openai_responses", "gpt-5", "openai", max_output=8192),
        Aim("openai_responses", "gpt-4o", "openai", max_output=8192),
    ),
    "anthropic": (Aim("anthropic", "claude-sonnet-4-5", "anthropic", max_output=8192),),
    "gemini": (Aim("gemini", "gemini-2.5-flash", "google", max_output=8192),),
    "bedrock": (
        Aim("bedrock", "anthropic.claude-sonnet-4-5-20250929-v1:0", "anthropic", "bedrock", 8192),
    ),
}
PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJ"
PDF = "JVBERi0xLjQK"
TOOL = Tool("f", "does f", {"type": "object", "properties": {"a": {"type": "string"}}})
CALL = ToolCall("call_1", "f", '{"a":"b"}')
SCHEMA = {
    "type": "object",
    "properties": {"a": {"type": "string"}},
    "required": ["a"],
    "additionalProperties": False,
}
KEPT, DROPPED, REFUSED = range(3)
Outcome = tuple[int, str]  # one of these, and the field's name as a client hears it


def user(*blocks: Block) -> Message:
    return Message("user", (Text("look"), *blocks))


def tool_turns(*result: Block, is_error: bool = False) -> tuple[Message, ...]:
    answer = ToolResult("call_1", result, "f", is_error)
    return user(), Message("assistant", (CALL,)), Message("user", (answer,))


def probes(plain: Request) -> Iterator[tuple[str, Request]]:
    """A request for each thing that may be said, with its name for people."""
    for name, messages in conversations():
        yield name, replace(plain, messages=messages)
    yield from tools(plain)
    yield from reasoning(plain)
    yield from settings(plain)


def conversations() -> Iterator[tuple[str, tuple[Message, ...]]]:
    yes = Message("assistant", (Text("yes"),))
    now = Message("system", (Text("now be brief"),))
    picture = Image(data=PNG, media_type="image/png")
    document = File(data=PDF, media_type="application/pdf")
    yield "system in mid-conversation", (user(), yes, now, user())
    yield "the answer's beginning", (user(), Message("assistant", (Text("{"),)))
    yield "a participant's name", (replace(user(), name="ann"),)
    yield "cache marks", (user(Text("long", cache="")),)
    yield "image in base64", (user(picture),)
    yield "image by URL", (user(Image(url="https://example.com/a.png")),)
    yield "image: detail", (user(replace(picture, detail="high")),)
    yield "PDF in base64", (user(document),)
    yield "PDF: file name", (user(replace(document, name="a.pdf")),)
    yield "PDF by URL", (user(File(url="https://example.com/a.pdf", media_type="application/pdf")),)
    yield "audio", (user(Audio(data="UklGRg==", format="wav")),)


def tools(plain: Request) -> Iterator[tuple[str, Request]]:
    has = replace(plain, tools=(TOOL,))
    picture = Image(data=PNG, media_type="image/png")
    yield "tools", has
    yield "tools: strict", replace(plain, tools=(replace(TOOL, parameters=SCHEMA, strict=True),))
    yield "tools: free text", replace(plain, tools=(Tool("g", "free text", kind="custom"),))
    yield "tool choice: none", replace(has, tool_choice=ToolChoice("none"))
    yield "tool choice: required", replace(has, tool_choice=ToolChoice("required"))
    yield "tool choice: named", replace(has, tool_choice=ToolChoice("named", ("f",)))
    yield "tool choice: several", replace(has, tool_choice=ToolChoice("auto", ("f",)))
    yield "one tool at a time", replace(has, parallel_tools=False)
    yield "tool results", replace(has, messages=tool_turns(Text("ok")))
    yield "tool results: images", replace(has, messages=tool_turns(picture))
    yield "tool results: failed", replace(has, messages=tool_turns(Text("no"), is_error=True))


def reasoning(plain: Request) -> Iterator[tuple[str, Request]]:
    yield "reasoning: effort", replace(plain, thinking=Thinking("on", effort="low"))
    budget = Thinking("on", budget=1024)
    yield "reasoning: budget", replace(plain, thinking=budget)
    thought = Reasoning("hm", signature="c2ln", origin="anthropic")
    sealed = Reasoning(summary=("hm",), encrypted="c2Vh", origin="openai_responses", id="rs_1")
    for whose, block, thinking in (("Claude", thought, budget), ("OpenAI", sealed, None)):
        turns = user(), Message("assistant", (block, Text("yes"))), user()
        yield f"{whose}'s own reasoning", replace(plain, messages=turns, thinking=thinking)
    signed = replace(CALL, signature="c2ln", origin="gemini")
    turns = user(), Message("assistant", (signed,)), tool_turns(Text("ok"))[-1]
    yield "Gemini's signature of a call", replace(plain, tools=(TOOL,), messages=turns)


def settings(plain: Request) -> Iterator[tuple[str, Request]]:
    yield (
        "JSON of a schema",
        replace(plain, format=ResponseFormat("schema", name="a", schema=SCHEMA, strict=True)),
    )
    yield "JSON of any kind", replace(plain, format=ResponseFormat("json"))
    said: dict[str, object] = {
        "temperature": 0.5,
        "top_p": 0.5,
        "top_k": 5,
        "stop": ("END",),
        "seed": 1,
        "n": 2,
        "logprobs": True,
        "presence_penalty": 0.5,
        "frequency_penalty": 0.5,
        "verbosity": "low",
        "user": "u1",
        "safety_identifier": "u1",
        "metadata": {"a": "b"},
        "cache_key": "k",
        "service_tier": "flex",
    }
    for name, value in said.items():
        yield name.replace("_", " "), replace(plain, **{name: value})  # type: ignore[arg-type]


def heard(request: Request, client: str) -> Request | None:
    """What is read of it when a client says it in this dialect; None where it cannot be said."""
    translator = TRANSLATORS[client].requests
    for aim in AIMS[client]:
        losses = Losses()
        try:
            body = translator.write_request(request, aim, losses)
            if not losses.dropped:
                return translator.read_request(exact.loads(body), model="m", stream=False)
        except TranslationError:
            continue
    return None


def outcome(request: Request, target: str) -> Outcome:
    """What becomes of a request at the model of a target's that takes most of it."""
    return min(_outcome(request, aim) for aim in AIMS[target])


def _outcome(request: Request, aim: Aim) -> Outcome:
    losses = Losses()
    try:
        TRANSLATORS[aim.dialect].requests.write_request(request, aim, losses)
    except TranslationError as error:
        return REFUSED, error.field
    return (DROPPED, ", ".join(losses.dropped)) if losses.dropped else (KEPT, "")


def rows() -> Iterator[tuple[str, list[str], dict[str, Outcome]]]:
    """Each thing, the dialects of clients that fare alike with it, and what becomes of it where.

    A client's own dialect is not among the targets, unless another client of the row has it.
    """
    plain = {client: Request(client, "m", (user(),), max_tokens=4096) for client in FORMATS}
    silent = {client: heard(plain[client], client) for client in FORMATS}
    asked = {client: dict(probes(plain[client])) for client in FORMATS}
    before = {client: [silent[client]] for client in FORMATS}
    for name in asked["anthropic"]:
        groups: list[tuple[list[str], dict[str, Outcome]]] = []
        for client in FORMATS:
            told = heard(asked[client][name], client)
            if told is None or told in before[client]:
                continue
            before[client].append(told)
            fates = {there: outcome(told, there) for there in NAMES if there != client}
            for clients, known in groups:
                if all(known.get(there, fate) == fate for there, fate in fates.items()):
                    clients.append(client)
                    known.update(fates)
                    break
            else:
                groups.append(([client], fates))
        for clients, known in groups:
            yield name, clients, known


def table() -> str:
    """The table as Markdown, and a sentence on what is lost nowhere."""
    lines = [
        "| said | by clients of | " + " | ".join(f"to {each}" for each in NAMES.values()) + " |",
        "|---|---|" + "---|" * len(NAMES),
    ]
    kept: dict[str, bool] = {}
    for name, clients, fates in rows():
        lost = any(fate for fate, _ in fates.values())
        kept[name] = kept.get(name, True) and not lost
        if lost:
            who = ", ".join(NAMES[client] for client in clients)
            cells = " | ".join(_cell(fates.get(there)) for there in NAMES)
            lines.append(f"| {name} | {who} | {cells} |")
    whole = "; ".join(name for name in kept if kept[name])
    return "\n".join([*lines, "", f"Lost nowhere: {whole}."])


def _cell(outcome: Outcome | None) -> str:
    if outcome is None:
        return ""
    kind, field = outcome
    if kind == KEPT:
        return "·"
    return f"400 `{field}`" if kind == REFUSED else ", ".join(f"`{f}`" for f in field.split(", "))


def main() -> None:
    if len(sys.argv) < 2:
        print(table())
        return
    path = Path(sys.argv[1])
    before, _, rest = path.read_text("utf-8").partition(START)
    _, _, after = rest.partition(END)
    path.write_text(f"{before}{START}\n\n{table()}\n\n{END}{after}", "utf-8")


if __name__ == "__main__":
    main()
