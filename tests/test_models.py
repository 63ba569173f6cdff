from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import anthropic
import openai
import orjson
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from anthropic.types import ModelInfo
from google.genai import Client
from google.genai.types import HttpOptions
from openai.types import Model as OpenAIModel

from routeur.errors import ClientError, NotFound
from routeur.models import Entry, entries, find, listing, one
from routeur.providers import Model, Provider
from routeur.rules import Match, Rule, Table, Target
from routeur.usage import Price

GPT = Model(
    "gpt-4o",
    "gpt-4o",
    Price(input=2.5, cache_read=1.25, output=10.0, audio_in=40.0),
    context=128_000,
    output=16_384,
    has=frozenset(["tools", "image"]),
)


def provider(name: str, *models: Model, **more: Any) -> Provider:
    known = {model.name: model for model in models}
    return Provider(name, more.pop("dialect", "openai"), (), models=known, **more)


def router() -> Table:
    """Two providers list the same id, one takes any name; one of the aliases is a rule's."""
    providers = [
        provider("openai", GPT, Model("o3", "o3")),
        provider("azure", Model("gpt-4o", "deployment-7"), any_name=True),
        provider("anthropic", dialect="anthropic", globs=("claude-*",)),
    ]
    rules = [Rule("r", Match(model=("cheap", "gpt-4o", "x-*")), to=(MINI,))]
    return Table({each.name: each for each in providers}, {"fast": (MINI,)}, rules)


MINI = Target("openai", "o3")
IDS = ["auto", "fast", "cheap", "gpt-4o", "o3"]


def test_entries() -> None:
    auto, fast, cheap, *rest = entries(router())
    assert [each.id for each in (auto, fast, cheap)] == ["auto", "fast", "cheap"]
    assert {each.owner for each in (auto, fast, cheap)} == {"routeur"}
    assert list(map(str, auto.targets)) == ["openai/gpt-4o", "openai/o3", "azure/gpt-4o"]
    assert fast.targets == (MINI,)
    assert cheap.targets == (MINI,)
    assert rest == [Entry("gpt-4o", "openai", GPT), Entry("o3", "openai", Model("o3", "o3"))]


def test_an_alias_takes_what_any_of_its_targets_takes() -> None:
    small = Model("s", "s", context=100, output=50, has=frozenset(["file"]))
    tight = Model("t", "t", context=900_000, input=200, has=frozenset())
    providers = {"a": provider("a", GPT, small, tight, Model("u", "u"))}
    names = {"all": ("gpt-4o", "s"), "tight": ("t", "s"), "unknown": ("u", "s"), "none": ("u",)}
    aliases = {name: tuple(Target("a", each) for each in ids) for name, ids in names.items()}
    table = Table(providers, aliases, [])

    shown = {name: orjson.loads(one(table, "openai", name)) for name in names}
    assert shown["all"] == {
        "id": "all",
        "object": "model",
        "created": 0,
        "owned_by": "routeur",
        "context_length": 128_000,
        "max_output_tokens": 16_384,
        "abilities": ["file", "image", "tools"],
        "alias": True,
        "targets": ["a/gpt-4o", "a/s"],
    }
    assert (shown["tight"]["context_length"], shown["tight"]["abilities"]) == (900_000, ["file"])
    assert orjson.loads(one(table, "anthropic", "tight"))["max_input_tokens"] == 200
    assert shown["unknown"]["context_length"] == 100 and "abilities" not in shown["unknown"]
    assert not {"context_length", "max_output_tokens", "abilities"} & set(shown["none"])


@pytest.mark.parametrize(
    ("matches", "targets"),
    [
        ({}, ["openai/o3"]),
        ({"stream": True}, ["openai/gpt-4o", "openai/o3", "azure/gpt-4o"]),
    ],
)
def test_a_rule_for_all_requests_leaves_nothing_to_auto(
    matches: dict[str, Any], targets: list[str]
) -> None:
    rules = [
        Rule("first", Match(model=("quick",), **matches), to=(MINI,)),
        Rule("never", Match(model=("qu*",), has=frozenset(["image"])), to=(Target("azure", "x"),)),
    ]
    table = Table(router().providers, {}, rules[: 2 if not matches else 1])
    assert list(map(str, find(table, "quick").targets)) == targets


@pytest.mark.parametrize(
    ("id", "owner"),
    [
        ("auto", "routeur"),
        ("cheap", "routeur"),
        ("gpt-4o", "openai"),
        ("azure/gpt-4o", "azure"),
        ("azure/whatever", "azure"),
        ("claude-next", "anthropic"),
        ("anthropic/claude-next", "anthropic"),
    ],
)
def test_find(id: str, owner: str) -> None:
    found = find(router(), id)

    assert (found.id, found.owner) == (id, owner)


def test_find_nothing() -> None:
    with pytest.raises(NotFound, match='unknown model "gpt-4p"; did you mean "gpt-4o"') as caught:
        find(router(), "gpt-4p")

    assert caught.value.code == "model_not_found"


def test_openai() -> None:
    answer = orjson.loads(listing(router(), "openai"))

    assert answer["object"] == "list"
    assert [OpenAIModel(**model).id for model in answer["data"]] == IDS
    assert orjson.loads(one(router(), "openai", "gpt-4o")) == {
        "id": "gpt-4o",
        "object": "model",
        "created": 0,
        "owned_by": "openai",
        "context_length": 128_000,
        "max_output_tokens": 16_384,
        "pricing": {
            "prompt": "0.0000025",
            "completion": "0.00001",
            "input_cache_read": "0.00000125",
            "internal_reasoning": "0.00001",
        },
        "abilities": ["image", "tools"],
    }


@pytest.mark.parametrize(
    ("usd", "shown"),
    [(0.0, "0"), (1e-06, "0.000000000001"), (1_000_000.0, "1"), (0.1, "0.0000001")],
)
def test_prices_are_exact(usd: float, shown: str) -> None:
    model = Model("m", "m", Price(input=usd))
    table = Table({"a": provider("a", model)}, {}, [])
    assert orjson.loads(one(table, "openai", "m"))["pricing"] == {"prompt": shown}


def test_anthropic() -> None:
    answer = orjson.loads(listing(router(), "anthropic"))

    models = [ModelInfo.model_validate(model) for model in answer.pop("data")]
    assert [model.id for model in models] == IDS
    assert (models[3].max_input_tokens, models[3].max_tokens) == (128_000, 16_384)
    assert answer == {"has_more": False, "first_id": "auto", "last_id": "o3"}
    assert [model.id for model in models if (model.model_extra or {}).get("alias")] == IDS[:3]
    fast = orjson.loads(one(router(), "anthropic", "fast"))
    assert (fast["display_name"], fast["targets"]) == ("fast", ["openai/o3"])


def test_gemini() -> None:
    answer = orjson.loads(listing(router(), "gemini"))

    assert [model["name"] for model in answer["models"]] == [f"models/{id}" for id in IDS]
    shown = orjson.loads(one(router(), "gemini", "gpt-4o"))
    assert (shown["inputTokenLimit"], shown["outputTokenLimit"]) == (128_000, 16_384)
    assert shown["thinking"] is False and "description" not in shown
    assert "inputTokenLimit" not in answer["models"][1]
    assert answer["models"][1]["description"] == "An alias: openai/o3"


@pytest.mark.parametrize(
    ("page", "ids", "has_more"),
    [
        ({"limit": 2}, ["auto", "fast"], True),
        ({"limit": 5}, IDS, False),
        ({"limit": 99}, IDS, False),
        ({"limit": 2, "after_id": "fast"}, ["cheap", "gpt-4o"], True),
        ({"limit": 2, "after_id": "cheap"}, ["gpt-4o", "o3"], False),
        ({"after_id": "o3"}, [], False),
        ({"limit": 1, "after_id": "gone"}, ["auto"], True),
        ({"limit": 2, "before_id": "gpt-4o"}, ["fast", "cheap"], True),
        ({"before_id": "cheap"}, ["auto", "fast"], False),
        ({"before_id": "auto"}, [], False),
    ],
)
def test_pages(page: dict[str, Any], ids: list[str], has_more: bool) -> None:
    answer = orjson.loads(listing(router(), "anthropic", **page))

    assert [model["id"] for model in answer["data"]] == ids
    assert answer["has_more"] is has_more
    assert answer["first_id"] == (ids[0] if ids else None)
    assert answer["last_id"] == (ids[-1] if ids else None)


@pytest.mark.parametrize(
    ("page", "message"),
    [
        ({"limit": 0}, "limit: expected 1 to 1000, not 0"),
        ({"limit": 1001}, "limit: expected 1 to 1000, not 1001"),
    ],
)
def test_wrong_pages(page: dict[str, Any], message: str) -> None:
    with pytest.raises(ClientError) as caught:
        listing(router(), "anthropic", **page)

    assert (caught.value.status, caught.value.message) == (400, message)
    assert caught.value.param == next(iter(page))


def test_only_what_is_allowed() -> None:
    def only_azure(name: str, target: Target) -> bool:
        return target.provider == "azure" or name == "fast"

    found = orjson.loads(listing(router(), "openai", only_azure))["data"]
    assert [(each["id"], each.get("targets")) for each in found] == [
        ("auto", ["azure/gpt-4o"]),
        ("fast", ["openai/o3"]),
    ]
    assert "context_length" not in found[0]  # nothing is known of what is left
    assert orjson.loads(one(router(), "openai", "auto", only_azure)) == found[0]
    with pytest.raises(NotFound, match='this key may not use the model "o3"'):
        one(router(), "openai", "o3", only_azure)
    plain = Table(router().providers, {}, [])
    assert orjson.loads(one(plain, "openai", "gpt-4o", only_azure))["owned_by"] == "azure"


def test_no_models_at_all() -> None:
    answer = orjson.loads(listing(router(), "anthropic", lambda name, target: False))

    assert answer == {"data": [], "has_more": False, "first_id": None, "last_id": None}


async def answer(request: web.Request) -> web.Response:
    name, query = request.match_info.get("id"), request.query
    signs = {"anthropic-version": "anthropic", "x-goog-api-key": "gemini"}
    dialect = next((signs[sign] for sign in signs if sign in request.headers), "openai")
    page = {"limit": int(query["limit"])} if "limit" in query else {}
    body = (
        one(router(), dialect, name)
        if name
        else listing(router(), dialect, **page, after_id=query.get("after_id"))
    )
    return web.Response(body=body, content_type="application/json")


@pytest.fixture
async def url() -> AsyncIterator[str]:
    app = web.Application()
    app.router.add_get("/{version}/models", answer)
    app.router.add_get("/{version}/models/{id}", answer)
    async with TestServer(app) as server:
        yield str(server.make_url("")).rstrip("/")


async def test_the_openai_sdk_reads_it(url: str) -> None:
    async with openai.AsyncOpenAI(api_key="k", base_url=f"{url}/v1") as client:
        assert [model.id async for model in client.models.list()] == IDS
        assert (await client.models.retrieve("gpt-4o")).owned_by == "openai"
        extra = (await client.models.retrieve("fast")).model_extra
        assert extra == {"alias": True, "targets": ["openai/o3"]}


async def test_the_anthropic_sdk_turns_the_pages(url: str) -> None:
    async with anthropic.AsyncAnthropic(api_key="k", base_url=url) as client:
        assert [model.id async for model in client.models.list(limit=2)] == IDS
        assert (await client.models.retrieve("gpt-4o")).max_tokens == 16_384
        assert (await client.models.retrieve("fast")).lifecycle == "active"


# google-genai derives from aiohttp's session, which aiohttp discourages
@pytest.mark.filterwarnings("ignore:Inheritance class AiohttpClientSession:DeprecationWarning")
async def test_the_gemini_sdk_reads_it(url: str) -> None:
    async with Client(api_key="k", http_options=HttpOptions(base_url=url)).aio as client:
        pager = await client.models.list()
        assert [model.name async for model in pager] == [f"models/{id}" for id in IDS]
        found = await client.models.get(model="gpt-4o")
        assert (found.input_token_limit, found.thinking) == (128_000, False)
        assert (await client.models.get(model="fast")).description == "An alias: openai/o3"
