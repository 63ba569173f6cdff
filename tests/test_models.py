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

GPT = Model("gpt-4o", "gpt-4o", context=128_000, output=16_384)


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
    mini = Target("openai", "o3")
    rules = [Rule("r", Match(model=("cheap", "gpt-4o", "x-*")), to=(mini,))]
    return Table({each.name: each for each in providers}, {"fast": (mini,)}, rules)


IDS = ["auto", "fast", "cheap", "gpt-4o", "o3"]


def test_entries() -> None:
    assert entries(router()) == [
        Entry("auto", "routeur"),
        Entry("fast", "routeur"),
        Entry("cheap", "routeur"),
        Entry("gpt-4o", "openai", GPT),
        Entry("o3", "openai", Model("o3", "o3")),
    ]


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
    }


def test_anthropic() -> None:
    answer = orjson.loads(listing(router(), "anthropic"))

    models = [ModelInfo.model_validate(model) for model in answer.pop("data")]
    assert [model.id for model in models] == IDS
    assert (models[3].max_input_tokens, models[3].max_tokens) == (128_000, 16_384)
    assert answer == {"has_more": False, "first_id": "auto", "last_id": "o3"}
    assert orjson.loads(one(router(), "anthropic", "fast"))["display_name"] == "fast"


def test_gemini() -> None:
    answer = orjson.loads(listing(router(), "gemini"))

    assert [model["name"] for model in answer["models"]] == [f"models/{id}" for id in IDS]
    shown = orjson.loads(one(router(), "gemini", "gpt-4o"))
    assert (shown["inputTokenLimit"], shown["outputTokenLimit"]) == (128_000, 16_384)
    assert "inputTokenLimit" not in answer["models"][0]


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
    answer = listing(router(), "openai", lambda entry: entry.owner == "routeur")

    assert [model["id"] for model in orjson.loads(answer)["data"]] == ["auto", "fast", "cheap"]


def test_no_models_at_all() -> None:
    answer = orjson.loads(listing(router(), "anthropic", lambda entry: False))

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


async def test_the_anthropic_sdk_turns_the_pages(url: str) -> None:
    async with anthropic.AsyncAnthropic(api_key="k", base_url=url) as client:
        assert [model.id async for model in client.models.list(limit=2)] == IDS
        assert (await client.models.retrieve("gpt-4o")).max_tokens == 16_384


# google-genai derives from aiohttp's session, which aiohttp discourages
@pytest.mark.filterwarnings("ignore:Inheritance class AiohttpClientSession:DeprecationWarning")
async def test_the_gemini_sdk_reads_it(url: str) -> None:
    async with Client(api_key="k", http_options=HttpOptions(base_url=url)).aio as client:
        pager = await client.models.list()
        assert [model.name async for model in pager] == [f"models/{id}" for id in IDS]
        assert (await client.models.get(model="gpt-4o")).input_token_limit == 128_000
