"""Writes README's table of what is lost between dialects, from the code of their writers.

    python tools/losses.py README.md

A dialect can say what its own writer writes without a loss; what the writer of another one then
drops or refuses is lost between the two.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from routeur.dialects.aim import Aim, Losses, TranslationError
from routeur.dialects.neutral import (
    Audio,
    Block,
    File,
    Image,
    Message,
    Reasoning,
    Refusal,
    Request,
    ResponseFormat,
    Text,
    Thinking,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
)
from routeur.dialects.translate import TRANSLATORS

START, END = "<!-- losses: made by tools/losses.py -->", "<!-- end of losses -->"
NAMES = {
    "openai_chat": "Chat",
    "openai_responses": "Responses",
    "anthropic": "Messages",
    "gemini": "Gemini",
    "bedrock": "Bedrock",
}
# A model of each dialect that takes what its API can say, and whose it is.
AIMS = {
    "openai_chat": Aim("openai_chat", "gpt-4o-audio-preview", "openai", max_output=8192),
    "openai_responses": Aim("openai_responses", "gpt-5", "openai", max_output=8192),
    "anthropic": Aim("anthropic", "claude-sonnet-4-0", "anthropic", max_output=8192),
    "gemini": Aim("gemini", "gemini-2.5-flash", "google", max_output=8192),
    "bedrock": Aim(
        "bedrock", "anthropic.claude-sonnet-4-20250514-v1:0", "anthropic", "bedrock", 8192
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


def user(*blocks: Block) -> Message:
    return Message("user", (Text("look"), *blocks))


def tool_turns(*result: Block, is_error: bool = False) -> tuple[Message, ...]:
    answer = ToolResult("call_1", result, "f", is_error)
    return user(), Message("assistant", (CALL,)), Message("user", (answer,))


def probes(plain: Request) -> Iterator[tuple[str, Request]]:
    """A request for each thing that may be said, with its name for people."""
    fields: dict[str, object] = {
        "top_k": 5,
        "stop": ("END",),
        "seed": 1,
        "n": 2,
        "logprobs": True,
        "presence_penalty": 0.5,
        "frequency_penalty": 0.5,
        "verbosity": "low",
        "user": "u1",
        "safety_identifier": "s1",
        "metadata": {"a": "b"},
        "cache_key": "k",
        "service_tier": "flex",
        "store": False,
    }
    for name, value in fields.items():
        yield name.replace("_", " "), replace(plain, **{name: value})  # type: ignore[arg-type]
    said = {
        "system in mid-conversation": (
            user(),
            Message("assistant", (Text("yes"),)),
            Message("system", (Text("now be brief"),)),
            user(),
        ),
        "image (base64)": (user(Image(data=PNG, media_type="image/png")),),
        "image (URL)": (user(Image(url="https://example.com/a.png")),),
        "image detail": (user(Image(data=PNG, media_type="image/png", detail="high")),),
        "PDF (base64)": (user(File(data=PDF, media_type="application/pdf", name="a.pdf")),),
        "PDF (URL)": (user(File(url="https://example.com/a.pdf", media_type="application/pdf")),),
        "audio": (user(Audio(data="UklGRg==", format="wav")),),
        "cache marks": (user(Text("long", cache="")),),
        "participant's name": (replace(user(), name="ann"),),
        "prefill of the answer": (user(), Message("assistant", (Text("{"),))),
        "refusal in the history": (user(), Message("assistant", (Refusal("no"),)), user()),
    }
    for name, messages in said.items():
        yield name, replace(plain, messages=messages)
    tools = replace(plain, tools=(TOOL,))
    yield "tools", tools
    yield "tool result", replace(tools, messages=tool_turns(Text("ok")))
    yield "tool result: failed", replace(tools, messages=tool_turns(Text("no"), is_error=True))
    picture = Image(data=PNG, media_type="image/png")
    yield "tool result: image", replace(tools, messages=tool_turns(picture))
    yield "tools: strict", replace(plain, tools=(replace(TOOL, parameters=SCHEMA, strict=True),))
    yield "tools: custom", replace(plain, tools=(Tool("g", "free text", kind="custom"),))
    yield "tool choice: none", replace(tools, tool_choice=ToolChoice("none"))
    yield "tool choice: required", replace(tools, tool_choice=ToolChoice("required"))
    yield "tool choice: named", replace(tools, tool_choice=ToolChoice("named", ("f",)))
    yield "tool choice: allowed", replace(tools, tool_choice=ToolChoice("auto", ("f",)))
    yield "one tool at a time", replace(tools, parallel_tools=False)
    yield "JSON mode", replace(plain, format=ResponseFormat("json"))
    schema = ResponseFormat("schema", name="a", schema=SCHEMA, strict=True)
    yield "JSON schema", replace(plain, format=schema)
    yield "reasoning effort", replace(plain, thinking=Thinking("on", effort="low"))
    yield "reasoning budget", replace(plain, thinking=Thinking("on", budget=1024))
    thought = Reasoning("hm", signature="c2ln", origin="anthropic")
    turns = user(), Message("assistant", (thought, Text("yes"))), user()
    on = Thinking("on", budget=1024)
    yield "Claude's signed reasoning", replace(plain, messages=turns, thinking=on)
    sealed = Reasoning(summary=("hm",), encrypted="c2Vh", origin="openai_responses", id="rs_1")
    turns = user(), Message("assistant", (sealed, Text("yes"))), user()
    yield "OpenAI's sealed reasoning", replace(plain, messages=turns)
    signed = replace(CALL, signature="c2ln", origin="gemini")
    turns = user(), Message("assistant", (signed,)), tool_turns(Text("ok"))[-1]
    yield "Gemini's signed calls", replace(tools, messages=turns)


def loss(request: Request, dialect: str) -> str:
    """What becomes of it: `` kept, `dropped` or `refused`."""
    losses = Losses()
    try:
        TRANSLATORS[dialect].requests.write_request(request, AIMS[dialect], losses)
    except TranslationError:
        return "refused"
    return "dropped" if losses.dropped else ""


def rows() -> list[tuple[str, dict[str, str]]]:
    """Each thing that somebody can say, and what becomes of it for each dialect."""
    found = []
    for source in TRANSLATORS:
        plain = Request(source, "m", (user(),), max_tokens=4096)
        for name, request in probes(plain):
            found.append((source, name, {there: loss(request, there) for there in TRANSLATORS}))
    table: dict[str, dict[str, str]] = {}
    for source, name, outcome in found:
        if not outcome[source]:
            table.setdefault(name, outcome)
    return [(name, outcome) for name, outcome in table.items() if any(outcome.values())]


def table() -> str:
    """The table as Markdown: one row for each thing that is lost somewhere."""
    dialects = [name for name in NAMES if name in TRANSLATORS]
    lines = [
        "| said by the client | " + " | ".join(f"to {NAMES[name]}" for name in dialects) + " |",
        "|---|" + "---|" * len(dialects),
    ]
    shown = {"": "·", "dropped": "dropped", "refused": "400"}
    for name, outcome in rows():
        cells = " | ".join(shown[outcome[there]] for there in dialects)
        lines.append(f"| {name} | {cells} |")
    return "\n".join(lines)


def main() -> None:
    path = Path(sys.argv[1])
    text = path.read_text("utf-8")
    before, _, rest = text.partition(START)
    _, _, after = rest.partition(END)
    path.write_text(f"{before}{START}\n\n{table()}\n\n{END}{after}", "utf-8")


if __name__ == "__main__":
    main()
