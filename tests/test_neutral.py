"""The neutral form: answers and their events, blocks in a row, losses, and the small helpers."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from routeur.dialects import neutral as n
from routeur.dialects.base import Usage
from routeur.dialects.neutral.aim import Aim, Losses, Untranslatable, vendor_of
from routeur.dialects.neutral.collect import OneAtATime, collect, events_of
from routeur.dialects.neutral.effort import budget_of, effort_of
from routeur.dialects.neutral.events import (
    ArgumentsDelta,
    BlockStart,
    BlockStop,
    Done,
    Event,
    Failed,
    Ping,
    ReasoningDelta,
    Signed,
    Start,
    Stopped,
    SummaryDelta,
    TextDelta,
    UsageUpdate,
)
from routeur.dialects.neutral.ids import fit_id, is_made, made_id, own_id
from routeur.dialects.neutral.media import (
    arguments_json,
    arguments_text,
    audio_format,
    base64_of,
    file_name,
    url_of,
)
from routeur.dialects.neutral.turns import alternate, call_names, inline_system, split_system
from routeur.dialects.translate import TRANSLATORS
from tests.translations import check_order

RICH = n.Response(
    "anthropic",
    id="msg_1",
    model="claude",
    created=5,
    choices=(
        n.Choice(
            (
                n.Reasoning("hm", signature="c2ln", origin=n.ANTHROPIC),
                n.Reasoning(encrypted="eHg=", origin=n.ANTHROPIC),
                n.Reasoning(summary=("a", "b"), id="rs_1", origin=n.RESPONSES, encrypted="z"),
                n.Text("Hi", citations=(n.Citation(url="https://a.example", title="A"),)),
                n.Text("", signature="sig", origin=n.GEMINI),
                n.ToolCall("call_1", "f", '{"a": 1.0}', signature="s", origin=n.GEMINI),
                n.Image(data="aGk=", media_type="image/png"),
                n.Audio("aGk=", "wav", "audio_1", "hi", 7),
                n.Refusal("no"),
                n.Opaque("anthropic", {"type": "server_tool_use"}),
            ),
            n.Stop("tool_calls", raw="tool_use"),
        ),
        n.Choice((n.Text("two"),), n.Stop("length"), ({"token": "two"},)),
    ),
    usage=Usage(input=3, output=4),
    service_tier="flex",
    fingerprint="fp",
    extra={"container": None},
)


def test_an_answer_is_its_events() -> None:
    check_order(events_of(RICH))
    assert collect(events_of(RICH)) == RICH


def test_an_answer_that_failed() -> None:
    failed = n.Response("gemini", error=n.Fault(503, "later"))
    assert collect(events_of(failed)) == failed


def test_a_cut_stream_has_an_error() -> None:
    found = collect([Start("anthropic"), BlockStart(0, n.Text("He")), TextDelta(0, "llo")])
    assert found.error is not None
    assert found.error.status == 502
    assert found.choices == (n.Choice((n.Text("Hello"),), n.Stop("error")),)


def test_pieces_come_together() -> None:
    events: list[Event] = [
        Start("openai_responses", usage=Usage(input=1)),
        BlockStart(0, n.Reasoning()),
        SummaryDelta(0, 0, "a"),
        SummaryDelta(0, 1, "b"),
        BlockStart(1, n.ToolCall("c", "f")),
        ArgumentsDelta(1, '{"x"'),
        SummaryDelta(0, 0, "A"),
        ReasoningDelta(0, "raw"),
        Signed(0, encrypted="first", origin=n.RESPONSES),
        Signed(0, encrypted="last"),
        ArgumentsDelta(1, ": 1}"),
        TextDelta(9, "of no block"),
        BlockStop(0),
        BlockStop(1),
        Ping(),
        UsageUpdate(Usage(input=1, output=2)),
        Stopped(n.Stop("tool_calls")),
        Done(),
    ]
    found = collect(events)
    assert found.choices[0].blocks == (
        n.Reasoning("raw", ("aA", "b"), encrypted="last", origin=n.RESPONSES),
        n.ToolCall("c", "f", '{"x": 1}'),
    )
    assert found.usage == Usage(input=1, output=2)


def test_blocks_in_a_row() -> None:
    events: list[Event] = [
        Start("openai_responses"),
        BlockStart(0, n.Reasoning()),
        BlockStart(1, n.Text()),
        TextDelta(1, "a"),
        BlockStart(2, n.ToolCall("c", "f")),
        ReasoningDelta(0, "hm"),
        BlockStop(1),
        Ping(),
        BlockStop(0),
        ArgumentsDelta(2, "{}"),
        BlockStart(0, n.Text("other"), choice=1),
        Stopped(n.Stop("end"), choice=1),
        Stopped(n.Stop("tool_calls")),
        Done(),
    ]
    line = OneAtATime()
    found = [ready for event in events for ready in line.feed(event)]

    check_order(found)
    assert found == [
        Start("openai_responses"),
        BlockStart(0, n.Reasoning()),
        ReasoningDelta(0, "hm"),
        Ping(),
        BlockStop(0),
        BlockStart(1, n.Text()),
        TextDelta(1, "a"),
        BlockStop(1),
        BlockStart(2, n.ToolCall("c", "f")),
        ArgumentsDelta(2, "{}"),
        BlockStop(2),
        Stopped(n.Stop("tool_calls")),
        Done(),
    ]


def test_blocks_still_open_are_closed_before_a_failure() -> None:
    line = OneAtATime()
    line.feed(BlockStart(3, n.Text()))
    failed = Failed(n.Fault(502, "cut"))
    assert line.feed(failed) == [BlockStop(0), failed]


def test_losses() -> None:
    losses = Losses()
    losses.drop_all({"seed": 7, "top_k": None, "stop": (), "temperature": 0, "logprobs": False})
    losses.drop("seed")
    assert losses.dropped == ("seed", "temperature")
    with pytest.raises(Untranslatable, match="Routeur-Strict") as refused:
        Losses(strict=True).drop("seed")
    assert refused.value.field == "seed"


def test_extras_go_home_only() -> None:
    request = n.Request("openai_chat", "m", (), extra={"logit_bias": {}, "web_search_options": {}})
    assert Losses().extras(request, "openai_chat") == request.extra
    losses = Losses()
    assert losses.extras(request, "gemini") == {}
    assert losses.dropped == ("logit_bias", "web_search_options")


def test_essential_extras_are_refused() -> None:
    request = n.Request(
        "openai_chat",
        "m",
        (),
        extra={"web_search_options": {}},
        essential=frozenset({"web_search_options"}),
    )
    with pytest.raises(Untranslatable, match="web_search_options"):
        Losses().extras(request, "gemini")


@pytest.mark.parametrize(
    ("dialect", "model", "origin"),
    [
        ("anthropic", "claude-opus-4-5", n.ANTHROPIC),
        ("bedrock", "us.anthropic.claude-sonnet-4-v1:0", n.ANTHROPIC),
        ("bedrock", "amazon.nova-pro-v1:0", n.BEDROCK),
        ("gemini", "gemini-3-pro", n.GEMINI),
        ("openai_responses", "gpt-5", n.RESPONSES),
        ("openai_chat", "gpt-4o", ""),
    ],
)
def test_whose_signatures_are_understood(dialect: str, model: str, origin: str) -> None:
    assert Aim(dialect, model, vendor=vendor_of(model)).origin == origin


def test_openai_reasoning_models() -> None:
    names = ["o1", "o3-mini", "gpt-5", "openai/gpt-5-mini", "gpt-4o", "gpt-5-chat-latest", "claude"]
    assert [Aim("openai_chat", name).openai_reasoning for name in names] == [True] * 4 + [False] * 3


def test_ids() -> None:
    assert made_id("f", 1) == made_id("f", 1) != made_id("f", 2)
    assert is_made(made_id("f", 1))
    assert fit_id("toolu_1") == "toolu_1"
    assert fit_id("a:b") == fit_id("a:b") != fit_id("a;b")
    assert len(fit_id("x" * 65)) <= 64
    assert own_id("msg_1", "msg_", "t") == "msg_1"
    assert own_id("resp_1", "msg_", "t") == "msg_t"


def test_data_urls() -> None:
    image = n.Image(url="data:image/PNG;charset=x;base64,aGk=")
    assert base64_of(image) == ("image/png", "aGk=")
    assert url_of(n.Image(data="aGk=", media_type="image/png")) == "data:image/png;base64,aGk="
    assert base64_of(n.Image(url="https://a.example/x.png")) is None
    assert audio_format("audio/mpeg; rate=1") == "mp3"


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("", "{}"),
        ('{"b": 1.0, "a": 12345678901234567890123}', '{"b": 1.0, "a": 12345678901234567890123}'),
        ("[1]", '{"INVALID_JSON":"[1]"}'),
        ('{"a": ', '{"INVALID_JSON":"{\\"a\\": "}'),
    ],
)
def test_arguments(text: str, written: str) -> None:
    assert orjson.dumps(arguments_json(text)).decode() == written
    if "INVALID" in written:
        assert arguments_text(orjson.loads(written)) == text


def test_efforts_and_budgets() -> None:
    assert budget_of(n.Thinking("on", effort="low")) == 4096
    assert budget_of(n.Thinking("on", budget=500)) == 1024
    assert budget_of(n.Thinking("on", budget=5000), max_tokens=2000) == 1600
    assert budget_of(n.Thinking("on", budget=5000), max_tokens=1280) == 1024
    assert budget_of(n.Thinking("on", budget=5000), max_tokens=1279) == 0
    assert budget_of(n.Thinking("adaptive")) is None
    assert budget_of(n.Thinking("off", budget=5000)) == 0
    assert effort_of(n.Thinking("on", budget=1024)) == "low"
    assert effort_of(n.Thinking("on", budget=10_000)) == "medium"
    assert effort_of(n.Thinking("on", effort="max")) == "high"
    assert effort_of(n.Thinking("on", effort="xhigh"), ("low", "high", "xhigh")) == "xhigh"
    assert effort_of(n.Thinking("off")) == "none"
    assert effort_of(n.Thinking("adaptive")) == ""


def test_turns() -> None:
    call, result = n.ToolCall("c", "f", "{}"), n.ToolResult("c", (n.Text("1"),))
    messages = [
        n.Message("system", (n.Text("be kind"),)),
        n.Message("assistant", (call,)),
        n.Message("user", (n.Text("and"),)),
        n.Message("user", (result,)),
        n.Message("system", (n.Text("later"),)),
    ]
    system, rest = split_system(messages)
    assert system == messages[:1]
    assert alternate(inline_system(rest)) == [
        n.Message("assistant", (call,)),
        n.Message("user", (result, n.Text("and"), n.Text("<system>\nlater\n</system>"))),
    ]
    assert call_names(messages) == {"c": "f"}


# ── what other dialects say in place of a block


def test_a_stand_in_for_a_block() -> None:
    losses = Losses()
    assert losses.stand_in(n.Opaque("anthropic", {"type": "compaction"}, "so far")) == "so far"
    assert losses.stand_in(n.Opaque("gemini", {"executableCode": {}})) == ""
    assert losses.stand_in(n.Opaque("gemini", {})) == ""
    assert losses.dropped == ("executableCode", "block")


@pytest.mark.parametrize("target", TRANSLATORS)
@pytest.mark.parametrize("role", ["user", "assistant"])
def test_a_history_that_cannot_be_read_is_refused(target: str, role: Any) -> None:
    """A compaction holds all that was said before."""
    item = {"type": "compaction", "id": "cmp_1", "encrypted_content": "x"}
    dialect = "anthropic" if target == "openai_responses" else "openai_responses"
    before = n.Message(role, (n.Opaque(dialect, item),))
    request = n.Request(dialect, "m", (before, n.Message("user", (n.Text("Go on"),))))
    with pytest.raises(Untranslatable, match="compaction"):
        TRANSLATORS[target].requests.write_request(request, Aim(target, "m"), Losses())


@pytest.mark.parametrize(
    ("dialect", "field", "told"),
    [
        ("openai_chat", "format", "response_format"),
        ("openai_responses", "format", "text.format"),
        ("anthropic", "stop", "stop_sequences"),
        ("gemini", "n", "generationConfig.candidateCount"),
        ("gemini", "stop", "generationConfig.stopSequences"),
        ("gemini", "format", "generationConfig.responseSchema"),
        ("gemini", "tools[1]", "tools[1]"),
        ("", "stop", "stop"),
    ],
)
def test_what_is_refused_is_named_as_the_client_spells_it(
    dialect: str, field: str, told: str
) -> None:
    error = Losses(dialect=dialect).refuse(field, "it has none")
    assert error.field == told
    assert error.message.startswith(f"`{told}` ")


def test_names_of_files() -> None:
    def named(**members: str) -> str:
        return file_name(n.File(data="aGk=", **members))

    assert named(title="Report", media_type="application/pdf") == "Report.pdf"
    assert named(title="a/b v1.2", media_type="text/plain") == "a_b v1.2.txt"
    assert named(name="x.PDF", title="y") == "x.PDF"
    assert named() == "document.pdf"
    assert file_name(n.File("data:text/csv;base64,aGk=", title="t")) == "t.csv"
