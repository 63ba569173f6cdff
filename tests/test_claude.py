"""What Anthropic's models take, by their names."""

from __future__ import annotations

from typing import Any

import pytest

from routeur.dialects.claude import EFFORTS, claude, sampling, schema, thinking
from routeur.dialects.neutral import Request, Thinking, Tool, ToolChoice
from routeur.dialects.neutral.aim import Losses

OLD, MIDDLE, NEW = "claude-sonnet-4-5-20250929", "claude-opus-4-6", "claude-opus-5-5"


def asked(**members: Any) -> Request:
    return Request("openai_chat", "any", (), **members)


@pytest.mark.parametrize(
    ("model", "budget", "adaptive", "off"),
    [
        ("claude-2.1", False, False, "disabled"),
        ("anthropic.claude-instant-v1", False, False, "disabled"),
        ("claude-3-5-sonnet-20241022", False, False, "disabled"),
        ("claude-3-7-sonnet-20250219", True, False, "disabled"),
        ("us.anthropic.claude-sonnet-4-5-20250929-v1:0", True, False, "disabled"),
        ("claude-opus-4-1@20250805", True, False, "disabled"),
        ("anthropic/claude-sonnet-4.6", True, True, "disabled"),
        ("claude-opus-4-8", False, True, "disabled"),
        ("claude-sonnet-5", False, True, "disabled"),
        ("claude-sonnet-5-5", False, True, "between_tools"),
        ("claude-haiku-5-5", False, True, "disabled"),
        ("claude-opus-5-5", False, True, ""),
        ("claude-fable-5", False, True, ""),
        ("claude-mythos-preview", False, True, ""),
        ("somebody-elses-model", True, False, "disabled"),
    ],
)
def test_how_models_think(model: str, budget: bool, adaptive: bool, off: str) -> None:
    knows = claude(model)
    assert (knows.budget, knows.adaptive, knows.off) == (budget, adaptive, off)


def test_what_else_models_take() -> None:
    forced = ["claude-opus-5", "claude-haiku-5-5", "claude-opus-5-5", "claude-fable-5-1"]
    assert [claude(each).forced for each in forced] == [True, True, False, False]
    system = ["claude-opus-4-7", "claude-opus-4-8", "claude-sonnet-5", "claude-fable-5"]
    assert [claude(each).system for each in system] == [False, True, False, True]
    prefill = ["claude-haiku-4-5", "claude-opus-4-6", "claude-2.1"]
    assert [claude(each).prefill for each in prefill] == [True, False, True]
    assert [claude(each).strict for each in ("claude-sonnet-4-0", OLD)] == [False, True]


@pytest.mark.parametrize(
    ("model", "wanted", "config", "effort", "dropped"),
    [
        ("claude-3-5-sonnet-20241022", Thinking("on", "low"), {}, "", ("thinking",)),
        ("claude-3-haiku-20240307", Thinking("on", budget=2000), {}, "", ("thinking",)),
        ("claude-3-5-haiku-latest", Thinking("off"), {}, "", ()),
        (OLD, Thinking("on", "low"), {"type": "enabled", "budget_tokens": 4096}, "", ()),
        (OLD, Thinking("on", budget=500), {"type": "enabled", "budget_tokens": 1024}, "", ()),
        (OLD, Thinking("on", "max"), {"type": "enabled", "budget_tokens": 8000}, "", ()),
        (OLD, Thinking("adaptive"), {"type": "enabled", "budget_tokens": 8000}, "", ()),
        (OLD, Thinking("off"), {"type": "disabled"}, "", ()),
        (OLD, Thinking(show=True), {}, "", ()),
        (MIDDLE, Thinking("on", budget=2000), {"type": "enabled", "budget_tokens": 2000}, "", ()),
        (MIDDLE, Thinking("on", "xhigh"), {"type": "adaptive"}, "max", ()),
        (NEW, Thinking("on", "minimal"), {"type": "adaptive"}, "low", ()),
        (NEW, Thinking("on", budget=20_000), {"type": "adaptive"}, "high", ()),
        (NEW, Thinking("", "high", summary="auto"), {"type": "adaptive", "display": "summarized"},
         "high", ()),
        (NEW, Thinking("adaptive", show=False), {"type": "adaptive", "display": "omitted"}, "", ()),
        (NEW, Thinking("off"), {}, "low", ("thinking",)),
    ],
)  # fmt: skip
def test_thinking(
    model: str, wanted: Thinking, config: Any, effort: str, dropped: tuple[str, ...]
) -> None:
    losses = Losses()
    assert thinking(asked(thinking=wanted), model, 10_000, losses) == (config, effort)
    assert losses.dropped == dropped


def test_no_room_to_think() -> None:
    losses = Losses()
    assert thinking(asked(thinking=Thinking("on", "low")), OLD, 1000, losses) == ({}, "")
    assert losses.dropped == ("thinking",)


def test_a_forced_tool_comes_before_thinking() -> None:
    request = asked(
        thinking=Thinking("on", "low"), tools=(Tool("f"),), tool_choice=ToolChoice("required")
    )
    losses = Losses()
    assert thinking(request, OLD, 9000, losses) == ({}, "")
    assert losses.dropped == ("thinking",)


@pytest.mark.parametrize(
    ("model", "thinks", "said", "found", "dropped"),
    [
        (OLD, False, {"temperature": 0.5, "top_k": 5}, {"temperature": 0.5, "top_k": 5}, ()),
        (OLD, False, {"temperature": 1.5}, {"temperature": 1}, ("temperature",)),
        (OLD, False, {"temperature": 0, "top_p": 0.9}, {"temperature": 0}, ("top_p",)),
        (OLD, False, {"temperature": 1.0, "top_p": 0.9}, {"top_p": 0.9}, ()),
        (OLD, True, {"temperature": 0.2, "top_k": 5}, {}, ("temperature", "top_k")),
        (NEW, False, {"temperature": 0.2, "top_p": 1}, {}, ("temperature",)),
        ("claude-3-haiku", False, {"temperature": 0, "top_p": 0.5},
         {"temperature": 0, "top_p": 0.5}, ()),
    ],
)  # fmt: skip
def test_sampling(model: str, thinks: bool, said: Any, found: Any, dropped: Any) -> None:
    losses = Losses()
    assert sampling(asked(**said), model, thinks, losses) == found
    assert losses.dropped == dropped


def test_schemas_are_reduced() -> None:
    given = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "object",
        "properties": {
            "name": {"type": "string", "minLength": 1, "description": "A name"},
            "born": {"type": "string", "format": "date"},
            "tags": {"type": "array", "items": {"$ref": "#/$defs/tag"}, "minItems": 2},
            "kind": {"oneOf": [{"const": 1}, {"type": "null"}]},
            "format": {"type": "integer", "maximum": 9},
            "more": {"type": "object", "additionalProperties": {"type": "integer"}},
        },
        "required": ["name"],
        "$defs": {"tag": {"type": "object", "additionalProperties": True}},
    }
    assert schema(given) == {
        "type": "object",
        "properties": {
            "name": {"type": "string", "description": "A name\n\n{minLength: 1}"},
            "born": {"type": "string", "format": "date"},
            "tags": {
                "type": "array",
                "items": {"$ref": "#/$defs/tag"},
                "description": "{minItems: 2}",
            },
            "kind": {"anyOf": [{"const": 1}, {"type": "null"}]},
            "format": {"type": "integer", "description": "{maximum: 9}"},
            "more": {"type": "object", "additionalProperties": {"type": "integer"}},
        },
        "required": ["name"],
        "$defs": {"tag": {"type": "object", "additionalProperties": False}},
        "additionalProperties": False,
    }
    assert EFFORTS[0] == "low"
