from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase as fits
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict

from routeur import matching
from routeur.errors import ClientError, NotFound
from routeur.matching import Row
from routeur.names import misplaced
from routeur.providers import Model, Provider
from routeur.rules import Match, Plan, Rule, Table, Target


@dataclass
class Request:
    """The facts of a request; counts how often the costly ones are asked for."""

    model: str | None = "auto"
    stream: bool = False
    dialect: str = "openai"
    format: str | None = "openai_chat"
    key: str | None = None
    path: str = "/v1/chat/completions"
    purpose: str = ""
    headers: Mapping[str, str] = field(default_factory=CIMultiDict)
    raw: bytes = b""
    parts: frozenset[str] = frozenset()
    size: int = 10
    most: int = 0
    word: str | None = None
    asked: list[str] = field(default_factory=list)

    def has(self) -> frozenset[str]:
        self.asked.append("has")
        return self.parts

    def tokens(self) -> int:
        self.asked.append("tokens")
        return self.size

    def output(self) -> int:
        return self.most

    def difficulty(self) -> str | None:
        self.asked.append("difficulty")
        return self.word


def provider(name: str, *models: str | Model, **more: Any) -> Provider:
    """A provider that speaks OpenAI's dialect; a name with a sign is a glob, `*` any name."""
    known = [model if isinstance(model, Model) else Model(model, model) for model in models]
    listed = {model.name: model for model in known if "*" not in model.name}
    globs = tuple(model.name for model in known if "*" in model.name and model.name != "*")
    settings = {"dialect": "openai", "any_name": "*" in models, **more}
    return Provider(name, credentials=(), models=listed, globs=globs, **settings)


def target(text: str) -> Target:
    return Target(*text.split("/", 1))


def targets(*texts: str) -> tuple[Target, ...]:
    return tuple(map(target, texts))


def rule(name: str, *to: str, **more: Any) -> Rule:
    settings = {
        key: more.pop(key) for key in ("priority", "split", "sort", "strategy") if key in more
    }
    return Rule(name, Match(**more), to=targets(*to), **settings)


def table(
    *providers: Provider,
    aliases: Mapping[str, Sequence[str]] | None = None,
    rules: Sequence[Rule] = (),
    auto: Sequence[str] = (),
    **more: Any,
) -> Table:
    return Table(
        {each.name: each for each in providers},
        {name: targets(*texts) for name, texts in (aliases or {}).items()},
        rules,
        targets(*auto),
        **more,
    )


def shown(plan: Plan) -> str:
    """`reason: provider/model provider/model`."""
    return f"{plan.reason}: {' '.join(map(str, plan.targets))}"


OPENAI = provider("openai", "gpt-4o", "gpt-4o-mini", preset="openai")
AZURE = provider("azure", "gpt-4o")
CLAUDE = provider("anthropic", "claude-*", dialect="anthropic", preset="anthropic")
GOOGLE = provider("vertex", "gemini-*", dialect="gemini", preset="vertex")
OLLAMA = provider("ollama", "llama3:8b", "foo:floor", "foo")
ROUTER = provider("openrouter", "openai/gpt-4o", "openai/gpt-oss", "meta/llama")
LOCAL = provider("vllm", "*")
ECHO = provider("echo", "echo", dialect="echo")

ALL = table(
    OPENAI,
    AZURE,
    CLAUDE,
    GOOGLE,
    OLLAMA,
    ROUTER,
    LOCAL,
    ECHO,
    aliases={"fast": ["openai/gpt-4o-mini", "anthropic/claude-haiku-4-5"], "any": []},
    rules=[
        rule(
            "pictures", "azure/gpt-4o", "openai/gpt-4o", model=("auto",), has=frozenset({"image"})
        ),
        rule("cheap", "openai/gpt-4o-mini", model=("cheap",)),
        rule("team", "ollama/foo", model=("team-*",), stream=True),
        rule("mini", "azure/gpt-4o", model=("gpt-4o-mini",), stream=True),
    ],
    auto=["openai/gpt-4o", "openai/gpt-4o-mini", "vllm/big"],
)


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        ("gpt-4o", "model: openai/gpt-4o azure/gpt-4o"),
        ("azure/gpt-4o", "model: azure/gpt-4o"),
        ("openai/gpt-4o", "model: openai/gpt-4o"),  # and not OpenRouter's id of that name
        ("openai/gpt-oss", "model: openrouter/openai/gpt-oss"),
        ("openrouter/meta/llama", "model: openrouter/meta/llama"),
        ("meta/llama", "model: openrouter/meta/llama"),
        ("llama3:8b", "model: ollama/llama3:8b"),
        ("gpt-4o:floor", "model: openai/gpt-4o azure/gpt-4o"),
        ("gpt-4o:nitro", "model: openai/gpt-4o azure/gpt-4o"),
        ("foo:floor", "model: ollama/foo:floor"),
        ("foo:nitro", "model: ollama/foo"),
        ("llama3:8b:floor", "model: ollama/llama3:8b"),
        ("auto", "auto: openai/gpt-4o openai/gpt-4o-mini vllm/big"),
        ("auto:price", "auto: openai/gpt-4o openai/gpt-4o-mini vllm/big"),
        ("auto:balanced", "auto: openai/gpt-4o openai/gpt-4o-mini vllm/big"),
        ("any", "auto: openai/gpt-4o openai/gpt-4o-mini vllm/big"),
        ("fast", "alias:fast: openai/gpt-4o-mini"),
        ("fast:floor", "alias:fast: openai/gpt-4o-mini"),
        ("cheap", "rule:cheap: openai/gpt-4o-mini"),
        ("gpt-4o-mini", "model: openai/gpt-4o-mini"),  # its rule wants a stream
        ("team-7", "model: vllm/team-7"),  # its rule wants a stream
        ("vllm/some", "model: vllm/some"),
        ("vllm/a/b", "model: vllm/a/b"),
        ("new", "model: vllm/new"),
        ("new:price", "model: vllm/new:price"),
        ("new/er", "model: vllm/new/er"),
        ("openai", "model: vllm/openai"),
        ("echo", "model: echo/echo"),
    ],
)
def test_names(model: str, expected: str) -> None:
    for _ in range(2):
        assert shown(ALL.plan(Request(model))) == expected


@pytest.mark.parametrize(
    ("request_", "expected"),
    [
        (Request(parts=frozenset({"image"})), "rule:pictures: azure/gpt-4o openai/gpt-4o"),
        (Request("auto:price", parts=frozenset({"image", "json"})), "rule:pictures: azure/gpt-4o"),
        (Request("team-7", stream=True), "rule:team: ollama/foo"),
        (Request("gpt-4o-mini", stream=True), "rule:mini: azure/gpt-4o"),
        (Request("fast", dialect="anthropic"), "alias:fast: anthropic/claude-haiku-4-5"),
        (Request("claude-x", dialect="anthropic"), "model: anthropic/claude-x"),
        (Request("echo", dialect="gemini", format="gemini"), "model: echo/echo"),
    ],
)
def test_facts_decide(request_: Request, expected: str) -> None:
    assert shown(ALL.plan(request_)).startswith(expected)


@pytest.mark.parametrize(
    ("model", "headers", "expected"),
    [
        ("gpt-4o", {"provider": "azure"}, "header: azure/gpt-4o"),
        ("azure/gpt-4o", {"provider": "azure"}, "header: azure/gpt-4o"),
        ("gpt-4o", {"provider": "vllm"}, "header: vllm/gpt-4o"),
        ("vllm/x", {"provider": "vllm"}, "header: vllm/x"),
        ("openai/x", {"provider": "vllm"}, "header: vllm/openai/x"),
        ("gpt-4o:floor", {"provider": "azure"}, "header: azure/gpt-4o"),
        ("x:floor", {"provider": "vllm"}, "header: vllm/x"),
        ("gpt-4o", {"vendor": "azure"}, "vendor: azure/gpt-4o"),
        ("gpt-4o", {"vendor": "openai"}, "vendor: openai/gpt-4o"),
        ("gpt-4o", {"vendor": "auto"}, "model: openai/gpt-4o azure/gpt-4o"),
        ("gpt-4o", {"vendor": ""}, "model: openai/gpt-4o azure/gpt-4o"),
        ("gpt-4o", {"provider": "azure", "vendor": "nobody"}, "header: azure/gpt-4o"),
        ("gpt-4o", {"model": "foo"}, "header: ollama/foo"),
        ("gpt-4o", {"model": "new"}, "header: vllm/new"),
        ("gpt-4o", {"model": "fast"}, "alias:fast: openai/gpt-4o-mini"),
        ("gpt-4o", {"model": "cheap"}, "rule:cheap: openai/gpt-4o-mini"),
        ("fast", {"model": "gpt-4o", "provider": "azure"}, "header: azure/gpt-4o"),
        ("gpt-4o", {"model": "foo", "vendor": "ollama"}, "vendor: ollama/foo"),
        (None, {"model": "gpt-4o"}, "header: openai/gpt-4o azure/gpt-4o"),
        # names that stand for several: what they have at that provider
        ("fast", {"provider": "openai"}, "header: openai/gpt-4o-mini"),
        ("cheap", {"provider": "openai"}, "header: openai/gpt-4o-mini"),
        ("auto", {"provider": "openai"}, "header: openai/gpt-4o openai/gpt-4o-mini"),
        ("auto:price", {"provider": "vllm"}, "header: vllm/big"),
        ("any", {"vendor": "vllm"}, "vendor: vllm/big"),
        ("gpt-4o-mini", {"provider": "openai"}, "header: openai/gpt-4o-mini"),
    ],
)
def test_headers(model: str | None, headers: dict[str, str], expected: str) -> None:
    for _ in range(2):
        assert shown(ALL.plan(Request(model), **headers)) == expected


def test_rules_hold_at_a_pinned_provider() -> None:
    request = Request(parts=frozenset({"image"}))

    plan = ALL.plan(request, provider="openai")

    assert shown(plan) == "header: openai/gpt-4o"
    assert plan.rule and plan.rule.name == "pictures"
    # the rule has nothing at this provider: the next one, or auto's own
    assert shown(ALL.plan(request, provider="vllm")) == "header: vllm/big"


def test_a_vendor_is_a_name_else_a_preset_else_a_dialect() -> None:
    own = provider("deep", "a", preset="deepseek")
    first = provider("groq-eu", "a", preset="groq")
    second = provider("groq-us", "a", "b", preset="groq")
    gemini = provider("g", "a", dialect="gemini")
    router = table(own, first, second, gemini)

    assert shown(router.plan(Request("a"), vendor="deep")) == "vendor: deep/a"
    assert shown(router.plan(Request("a"), vendor="deepseek")) == "vendor: deep/a"
    assert shown(router.plan(Request("a"), vendor="groq")) == "vendor: groq-eu/a groq-us/a"
    assert shown(router.plan(Request("b"), vendor="groq")) == "vendor: groq-us/b"
    assert shown(router.plan(Request("b"), vendor="openai")) == "vendor: groq-us/b"
    google = router.plan(Request("a", dialect="gemini", format="gemini"), vendor="google")
    assert shown(google) == "vendor: g/a"


@pytest.mark.parametrize(
    ("model", "headers", "code", "message"),
    [
        (
            "gpt-4o",
            {"provider": "opnai"},
            "provider_not_found",
            'header Routeur-Provider: unknown provider "opnai"; did you mean "openai"?',
        ),
        (
            "gpt-4o",
            {"provider": "gemini"},
            "provider_not_found",
            'header Routeur-Provider: unknown provider "gemini"',
        ),
        (
            "gpt-4o",
            {"vendor": "antropic"},
            "provider_not_found",
            'header vendor: unknown provider "antropic"; did you mean "anthropic"?',
        ),
        (
            "gpt-4o-mni",
            {"provider": "openai"},
            "model_not_found",
            'openai does not serve "gpt-4o-mni"; did you mean "gpt-4o-mini"?',
        ),
        ("azure/gpt-4o", {"provider": "openai"}, "model_not_found", "openai does not serve"),
        ("fast", {"provider": "azure"}, "model_not_found", 'azure does not serve "fast"'),
        ("fast", {"provider": "vllm"}, "model_not_found", 'vllm does not serve "fast"'),
        ("auto", {"provider": "ollama"}, "model_not_found", 'ollama does not serve "auto"'),
        (
            "openai/gpt-4p",
            {},
            "model_not_found",
            'unknown model "openai/gpt-4p"; did you mean "openai/gpt-4o"?',
        ),
        (
            "y" * 600,
            {},
            "model_not_found",
            f'unknown model "{"y" * 100}…"; GET /v1/models lists those there are',
        ),
    ],
)
def test_not_found(model: str, headers: dict[str, str], code: str, message: str) -> None:
    with pytest.raises(NotFound) as caught:
        ALL.plan(Request(model), **headers)

    assert (caught.value.status, caught.value.code) == (404, code)
    assert caught.value.message.startswith(message)
    assert caught.value.param == ("model" if code == "model_not_found" else None)


@pytest.mark.parametrize("model", [None, ""])
def test_a_request_names_a_model(model: str | None) -> None:
    with pytest.raises(ClientError, match='names no model; expected "model"') as caught:
        ALL.plan(Request(model), provider="openai")

    assert (caught.value.status, caught.value.param) == (400, "model")


def test_unknown_names_where_nobody_takes_any() -> None:
    router = table(
        OPENAI, AZURE, rules=[rule("team", "azure/gpt-4o", model=("team-*",), stream=True)]
    )

    for name in ("gpt-4", "team-1"):
        with pytest.raises(NotFound) as caught:
            router.plan(Request(name))
        assert caught.value.code == "model_not_found"
    with pytest.raises(NotFound, match='unknown model "gpt4o"; did you mean "gpt-4o"'):
        router.plan(Request("gpt4o"))


def test_near_matches_among_thousands() -> None:
    router = table(provider("big", *(f"model-{number:05}-chat" for number in range(5000))))

    with pytest.raises(NotFound, match='did you mean "model-0312'):
        router.plan(Request("model-03123-chad"))


def test_an_alias_beats_a_list() -> None:
    router = table(OPENAI, AZURE, aliases={"gpt-4o": ["azure/gpt-4o"]})

    assert shown(router.plan(Request("gpt-4o"))) == "alias:gpt-4o: azure/gpt-4o"
    assert shown(router.plan(Request("openai/gpt-4o"))) == "model: openai/gpt-4o"
    # this provider has no target of the alias, but the model of that name
    assert shown(router.plan(Request("gpt-4o"), provider="openai")) == "header: openai/gpt-4o"


def test_auto_without_a_list_is_all_that_is_listed() -> None:
    assert shown(table(OPENAI, AZURE, ECHO).plan(Request())) == (
        "auto: openai/gpt-4o openai/gpt-4o-mini azure/gpt-4o"
    )
    assert shown(table(ECHO).plan(Request())) == "auto: echo/echo"
    assert shown(table(OPENAI, ECHO).plan(Request(), provider="echo")) == "header: echo/echo"
    with pytest.raises(NotFound, match='unknown model "auto"'):
        table(LOCAL).plan(Request())


def test_auto_takes_nobody_for_what_a_model_is_not_made_for() -> None:
    """By the names of those that nobody has named for it."""
    models = ("gpt-4o", "text-embedding-3-small", "whisper-1", "gpt-4o-mini-tts", "bge-m3", "tts-1")
    router = table(provider("p", *models), aliases={"named": ["p/whisper-1"]})

    assert shown(router.plan(Request(purpose="answer"))) == "auto: p/gpt-4o"
    plan = router.plan(Request(purpose="embeddings"))
    assert shown(plan) == "auto: p/text-embedding-3-small p/bge-m3"
    assert ("p/tts-1", "makes no embeddings, by its name") in plan.rejected
    assert shown(router.plan(Request("named", purpose="answer"))) == "alias:named: p/whisper-1"
    assert len(router.plan(Request()).targets) == 6
    chosen = table(provider("p", *models), auto=["p/tts-1"])
    assert shown(chosen.plan(Request(purpose="answer"))) == "auto: p/tts-1"


@pytest.mark.parametrize(
    "name", ["gemini-2.5-flash-image", "claude-opus-4-5", "llama3:8b", "gpt-4o-audio-preview", "e5"]
)
def test_names_of_models_that_chat(name: str) -> None:
    assert misplaced(name, "answer") == ""


def test_auto_may_have_a_list_as_any_alias() -> None:
    router = table(OPENAI, AZURE, aliases={"auto": ["azure/gpt-4o"]})

    assert shown(router.plan(Request())) == "alias:auto: azure/gpt-4o"


def test_globs_and_literal_names_count_alike_in_the_order_of_the_file() -> None:
    glob, literal = provider("one", "gpt-*"), provider("two", "gpt-4o")

    assert shown(table(glob, literal).plan(Request("gpt-4o"))) == "model: one/gpt-4o two/gpt-4o"
    assert shown(table(literal, glob).plan(Request("gpt-4o"))) == "model: two/gpt-4o one/gpt-4o"


@pytest.mark.parametrize(
    ("match", "request_", "holds"),
    [
        ({}, Request(), True),
        ({"model": ("auto",)}, Request("auto"), True),
        ({"model": ("au*", "x")}, Request("auto"), True),
        ({"model": ("x*",)}, Request("auto"), False),
        ({"has": frozenset({"image"})}, Request(parts=frozenset({"image", "tools"})), True),
        ({"has": frozenset({"image", "json"})}, Request(parts=frozenset({"image"})), False),
        ({"tokens_gt": 10}, Request(size=11), True),
        ({"tokens_gt": 10}, Request(size=10), False),
        ({"tokens_lt": 10}, Request(size=9), True),
        ({"tokens_lt": 10}, Request(size=10), False),
        ({"tokens_gt": 5, "tokens_lt": 10}, Request(size=7), True),
        ({"stream": True}, Request(stream=True), True),
        ({"stream": True}, Request(), False),
        ({"stream": False}, Request(), True),
        ({"key": ("team-*",)}, Request(key="team-a"), True),
        ({"key": ("team-*",)}, Request(key="other"), False),
        ({"key": ("a", "b")}, Request(key="b"), True),
        ({"key": ("a", "b")}, Request(key="c"), False),
        ({"key": ("*",)}, Request(key=None), False),
        ({"key": ("a",)}, Request(key=None), False),
        ({"headers": {"x-tier": "gold"}}, Request(headers=CIMultiDict({"X-Tier": "gold"})), True),
        ({"headers": {"x-tier": "g*"}}, Request(headers=CIMultiDict({"X-Tier": "gold"})), True),
        ({"headers": {"x-tier": "gold"}}, Request(headers=CIMultiDict({"X-Tier": "tin"})), False),
        ({"headers": {"x-tier": "*"}}, Request(), False),
        (
            {"headers": {"x-a": "*", "x-b": "1"}},
            Request(headers=CIMultiDict({"x-b": "1"})),
            False,
        ),
        ({"path": ("/v1/chat/*",)}, Request(), True),
        ({"path": ("/v1/chat/completions",)}, Request(), True),
        ({"path": ("/v1/messages", "/v1/responses")}, Request(), False),
    ],
)
def test_match(match: dict[str, Any], request_: Request, holds: bool) -> None:
    router = table(
        OPENAI, AZURE, auto=["openai/gpt-4o"], rules=[rule("r", "azure/gpt-4o", **match)]
    )

    expected = "rule:r: azure/gpt-4o" if holds else "auto: openai/gpt-4o"
    assert shown(router.plan(request_)) == expected


def test_a_rule_without_targets_takes_the_names_own() -> None:
    router = table(OPENAI, AZURE, aliases={"a": ["azure/gpt-4o"]}, rules=[rule("r", stream=True)])

    plan = router.plan(Request("a", stream=True))

    assert shown(plan) == "rule:r: azure/gpt-4o"
    assert plan.rule and plan.rule.name == "r"
    assert shown(router.plan(Request("a"))) == "alias:a: azure/gpt-4o"


@pytest.mark.parametrize(
    ("model", "strategy", "explores"),
    [
        ("gpt-4o", None, False),
        ("gpt-4o:floor", "price", False),
        ("gpt-4o:nitro", "throughput", False),
        ("auto", "quality", True),
        ("auto:price", "price", True),
        ("any", "quality", True),
        ("any:nitro", "throughput", True),
        ("fast", None, False),
        ("fast:latency", "latency", True),
        ("sorted", "price", False),
        ("scored", "latency", True),
        ("scored:floor", "price", True),
        ("drawn", None, False),
    ],
)
def test_strategies(model: str, strategy: str | None, explores: bool) -> None:
    """An own list keeps its order, unless one is asked for; `auto` is scored."""
    both = ("openai/gpt-4o", "azure/gpt-4o")
    parts = tuple((target(each), 1) for each in both)
    router = table(
        OPENAI,
        AZURE,
        aliases={"fast": both, "any": []},
        rules=[
            rule("r1", *both, model=("sorted",), sort="price"),
            rule("r2", *both, model=("scored",), strategy="latency"),
            rule("r3", model=("drawn",), split=parts),
        ],
        strategy="quality",
    )

    plan = router.plan(Request(model))

    assert (plan.strategy, plan.explores) == (strategy, explores)
    assert plan.alias == (not model.startswith("gpt"))
    assert len(plan.targets) >= 2


def split_table(*draws: float) -> Table:
    parts = ((target("openai/gpt-4o"), 1), (target("azure/gpt-4o"), 2), (target("vllm/x"), 7))
    rules = [rule("s", model=("s",), split=parts)]
    return table(OPENAI, AZURE, LOCAL, rules=rules, random=iter(draws).__next__)


@pytest.mark.parametrize(
    ("drawn", "expected"),
    [
        (0.0, "openai/gpt-4o vllm/x azure/gpt-4o"),
        (0.09, "openai/gpt-4o vllm/x azure/gpt-4o"),
        (0.1, "azure/gpt-4o vllm/x openai/gpt-4o"),
        (0.29, "azure/gpt-4o vllm/x openai/gpt-4o"),
        (0.3, "vllm/x azure/gpt-4o openai/gpt-4o"),
        (0.9999, "vllm/x azure/gpt-4o openai/gpt-4o"),
    ],
)
def test_split(drawn: float, expected: str) -> None:
    assert shown(split_table(drawn).plan(Request("s"))) == f"rule:s: {expected}"


def test_split_is_drawn_each_time_and_among_those_that_can() -> None:
    router = split_table(0.0, 0.9, 0.9)

    assert router.plan(Request("s")).targets[0] == target("openai/gpt-4o")
    assert router.plan(Request("s")).targets[0] == target("vllm/x")
    assert shown(router.plan(Request("s"), provider="azure")) == "header: azure/gpt-4o"


def test_priority_then_the_order_of_the_file() -> None:
    rules = [
        rule("late", "openai/gpt-4o", priority=-1),
        rule("first", "openai/gpt-4o", stream=True),
        rule("second", "openai/gpt-4o"),
        rule("high", "openai/gpt-4o", priority=5, key=("vip",)),
    ]
    router = table(OPENAI, rules=rules)

    assert router.plan(Request(stream=True)).reason == "rule:first"
    assert router.plan(Request()).reason == "rule:second"
    assert router.plan(Request(stream=True, key="vip")).reason == "rule:high"


NO_IMAGES = Model("small", "small", context=100, has=frozenset({"tools"}))


@pytest.mark.parametrize(
    ("router", "request_", "why"),
    [
        (
            table(CLAUDE),
            Request("claude-x"),
            "anthropic/claude-x speaks anthropic, and this path is not translated",
        ),
        (
            table(provider("old", "m", responses=False)),
            Request("m", format="openai_responses"),
            "old/m has no Responses API (responses: false)",
        ),
        (
            table(provider("p", NO_IMAGES)),
            Request(size=200),
            "p/small takes 100 tokens, and the prompt has more (it has about 200)",
        ),
        (
            table(provider("p", NO_IMAGES)),
            Request(parts=frozenset({"image", "file", "tools"})),
            "p/small cannot take file, image",
        ),
        (
            table(CLAUDE, provider("p", NO_IMAGES), aliases={"a": ["anthropic/c", "p/small"]}),
            Request("a", size=200),
            "anthropic/c speaks anthropic, and this path is not translated; "
            "p/small takes 100 tokens, and the prompt has more (it has about 200)",
        ),
    ],
)
def test_nobody_can(router: Table, request_: Request, why: str) -> None:
    with pytest.raises(ClientError) as caught:
        router.plan(request_)

    assert (caught.value.status, caught.value.code) == (400, "no_eligible_target")
    assert caught.value.message == f"no target can serve this request: {why}"


def test_a_long_list_of_reasons_is_cut() -> None:
    router = table(*(provider(f"p{number}", "m", dialect="gemini") for number in range(30)))

    with pytest.raises(ClientError, match=r"p9/m speaks .*; and 20 more$"):
        router.plan(Request("m"))


def test_what_was_left_out_is_told() -> None:
    plan = table(
        CLAUDE,
        provider("p", NO_IMAGES),
        provider("q", "big"),
        aliases={"a": ["anthropic/c", "p/small", "q/big"]},
    ).plan(Request("a", size=200))

    assert shown(plan) == "alias:a: q/big"
    assert plan.rejected == (
        ("anthropic/c", "speaks anthropic, and this path is not translated"),
        ("p/small", "takes 100 tokens, and the prompt has more"),
    )


def test_whoever_asks_by_name_gets_it_whatever_its_size() -> None:
    router = table(provider("p", NO_IMAGES))
    request = Request("small", size=10**6, parts=frozenset({"image"}))

    assert shown(router.plan(request)) == "model: p/small"
    assert request.asked == []


def test_costly_facts_are_asked_for_only_where_they_decide() -> None:
    router = table(
        OPENAI,
        rules=[rule("r", "openai/gpt-4o", stream=True, tokens_gt=5, has=frozenset({"image"}))],
    )
    for request, asked in (
        (Request(), []),
        (Request(stream=True), ["has"]),
        (Request(stream=True, parts=frozenset({"image"})), ["has", "tokens"]),
    ):
        router.plan(request)
        assert request.asked == asked


def test_one_plan_for_all_requests_that_name_a_model() -> None:
    first = ALL.plan(Request("gpt-4o"))

    assert ALL.plan(Request("gpt-4o", stream=True, size=9)) is first
    assert ALL.plan(Request("gpt-4o"), provider="openai") is not first
    assert ALL.plan(Request("gpt-4o"), provider="openai") is ALL.plan(
        Request("gpt-4o"), provider="openai"
    )


def test_memory_of_invented_names_is_bounded() -> None:
    router = table(LOCAL)

    for number in range(10_000):
        router.plan(Request(f"invented-{number}"))
    with pytest.raises(NotFound):
        router.plan(Request("x" * 1_000_000))
    router.plan(Request("x" * 1_000_000), model="some")

    assert len(router._plans) <= 4096
    assert len(router._names) <= 4096
    assert max(len(str(key)) for key in router._plans) < 1000


def test_values_that_were_seen_are_remembered_within_bounds() -> None:
    router = table(OPENAI, rules=[rule("r", "openai/gpt-4o", headers={"x-id": "a*"})])

    for number in range(5000):
        request = Request(headers=CIMultiDict({"X-Id": f"a{number}"}))
        assert router.plan(request).reason == "rule:r"
    assert router.plan(Request(headers=CIMultiDict({"X-Id": "a" * 9000}))).reason == "rule:r"
    seen = router._name("auto").rows._fitting
    assert 0 < len(seen) <= 1024
    assert max(len(value) for _, value in seen) <= 512


def many(count: int) -> dict[str, list[Rule]]:
    """Tables with a rule per customer, told apart by one thing each."""
    return {
        "model": [rule(f"r{n}", "openai/gpt-4o", model=(f"m{n}",)) for n in range(count)],
        "key": [rule(f"r{n}", "openai/gpt-4o", key=(f"k{n}",)) for n in range(count)],
        "header": [rule(f"r{n}", "openai/gpt-4o", headers={"x-id": f"{n}"}) for n in range(count)],
        "path": [rule(f"r{n}", "openai/gpt-4o", path=(f"/{n}",)) for n in range(count)],
        "keys": [rule(f"r{n}", "openai/gpt-4o", key=(f"k{n}-*",)) for n in range(count)],
        "headers": [
            rule(f"r{n}", "openai/gpt-4o", headers={"x-id": f"{n}-*"}) for n in range(count)
        ],
        "paths": [rule(f"r{n}", "openai/gpt-4o", path=(f"/{n}/*",)) for n in range(count)],
    }


KINDS = [
    ("model", Request("m5000")),
    ("key", Request(key="k5000")),
    ("header", Request(headers=CIMultiDict({"X-Id": "5000"}))),
    ("path", Request(path="/5000")),
    ("keys", Request(key="k5000-x")),
    ("headers", Request(headers=CIMultiDict({"X-Id": "5000-x"}))),
    ("paths", Request(path="/5000/x")),
]


@pytest.mark.parametrize(
    ("kind", "request_"),
    [KINDS[0], *(pytest.param(*each, marks=pytest.mark.full) for each in KINDS[1:])],
)
def test_ten_thousand_rules_cost_no_more_than_one(
    kind: str, request_: Request, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked_at: list[str] = []
    matches = matching.matches

    def spy(row: Row, facts: matching.Facts) -> bool:
        looked_at.append(row.rule.name)
        return matches(row, facts)

    monkeypatch.setattr(matching, "matches", spy)
    last = rule("last", "openai/gpt-4o", priority=-1)
    router = table(OPENAI, rules=[*many(10_000)[kind], last])

    assert router.plan(request_).reason == "rule:r5000"
    assert looked_at == ["r5000"]
    looked_at.clear()
    assert router.plan(Request()).reason == "rule:last"
    assert looked_at == ["last"]


NAMES = st.sampled_from(["auto", "a", "b", "m1", "p1/m1", "p2/m2", "x", "m1:floor", "b:price"])
TARGETS = st.sampled_from(targets("p1/m1", "p1/m2", "p2/m2", "p3/any"))
LISTS = st.lists(TARGETS, max_size=3).map(tuple)
RULES = st.builds(
    Rule,
    name=st.uuids().map(str),
    match=st.builds(
        Match,
        model=st.lists(st.sampled_from(["auto", "a", "*", "x*"]), max_size=2).map(tuple),
        stream=st.none() | st.booleans(),
        key=st.lists(st.sampled_from(["k", "l", "k*"]), max_size=2).map(tuple),
        headers=st.dictionaries(st.just("x-a"), st.sampled_from(["1", "2", "*"])),
        path=st.lists(st.sampled_from(["/p", "/*"]), max_size=1).map(tuple),
    ),
    priority=st.integers(-2, 2),
    to=LISTS,
    sort=st.sampled_from([None, "price"]),
)
PLACES = [
    provider("p1", "m1", "m2"),
    provider("p2", "m2", dialect="anthropic"),
    provider("p3", "*", dialect="echo"),
]


@given(
    rules=st.lists(RULES, max_size=6),
    own=LISTS,
    name=NAMES,
    stream=st.booleans(),
    key=st.sampled_from([None, "k", "l", "kk"]),
    header=st.sampled_from(["", "1", "2"]),
    pin=st.sampled_from([None, "p1", "p2", "p3"]),
)
def test_whatever_the_table(
    rules: list[Rule],
    own: tuple[Target, ...],
    name: str,
    stream: bool,
    key: str | None,
    header: str,
    pin: str | None,
) -> None:
    """Targets are configured, pinned if asked for, and able; the first matching rule decides."""
    providers = {each.name: each for each in PLACES}
    router = Table(providers, {"b": own}, rules)
    request = Request(name, stream, key=key, path="/p", headers=CIMultiDict({"X-A": header}))
    try:
        plan = router.plan(request, provider=pin)
    except ClientError as error:
        assert error.code in ("model_not_found", "no_eligible_target")
        return

    assert plan.targets
    for each in plan.targets:
        assert each.provider == (pin or each.provider)
        assert providers[each.provider].dialect in ("openai", "echo")
        assert providers[each.provider].any_name or each.model in providers[each.provider].models
    if plan.rule:
        earlier = [
            other
            for place, other in enumerate(rules)
            if (-other.priority, place) < (-plan.rule.priority, rules.index(plan.rule))
        ]
        base = name.partition(":")[0]
        known = base in router.aliases
        assert simply_matches(plan.rule, base, known, request)
        assert pin or not any(simply_matches(other, base, known, request) for other in earlier)


def simply_matches(rule: Rule, name: str, alias: bool, request: Request) -> bool:
    """The meaning of a match, without any index."""
    match = rule.match
    return (
        (any(fits(name, glob) for glob in match.model) or (alias and not match.model))
        and match.stream in (None, request.stream)
        and (not match.key or any(fits(request.key or "", glob) for glob in match.key))
        and all(fits(request.headers[name], glob) for name, glob in match.headers.items())
        and (not match.path or any(fits(request.path, glob) for glob in match.path))
    )


@pytest.mark.parametrize(
    ("router", "dialect", "headers", "expected"),
    [
        (table(OPENAI, CLAUDE, ECHO), "openai", {}, "openai"),
        (table(OPENAI, CLAUDE, ECHO), "anthropic", {}, "anthropic"),
        (table(ECHO), "openai", {}, "echo"),
        (table(OPENAI, AZURE), "openai", {"provider": "azure"}, "azure"),
        (table(OPENAI, AZURE), "openai", {"vendor": "openai"}, "openai"),
        (table(OPENAI, CLAUDE), "openai", {"provider": "anthropic"}, "anthropic"),
    ],
)
def test_owner(router: Table, dialect: str, headers: dict[str, str], expected: str) -> None:
    assert router.owner(dialect, **headers).name == expected


@pytest.mark.parametrize(
    ("router", "headers", "message"),
    [
        (
            table(OPENAI, AZURE, CLAUDE),
            {},
            "this path names no model, and several providers speak openai: openai, azure; "
            "choose one with the header Routeur-Provider",
        ),
        (
            table(CLAUDE, ECHO),
            {},
            "this path names no model, and no provider here speaks openai",
        ),
        (table(CLAUDE), {}, "this path names no model, and no provider here speaks openai"),
        (table(OPENAI), {"provider": "azure"}, 'header Routeur-Provider: unknown provider "azure"'),
    ],
)
def test_no_owner(router: Table, headers: dict[str, str], message: str) -> None:
    with pytest.raises(NotFound) as caught:
        router.owner("openai", **headers)

    assert (caught.value.code, caught.value.message) == ("provider_not_found", message)


def test_serve() -> None:
    assert ALL.serve("azure") is AZURE
    assert ALL.serve("gpt-4o") is None
