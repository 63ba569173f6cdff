"""The Responses API whole, over HTTP: stored, continued, resumed, in the background, compacted.

The provider is the fake one, the client OpenAI's own package.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import openai
import orjson
import pydantic
import pytest

from routeur.app import Router
from routeur.config import Config
from routeur.errors import NotFound
from routeur.responses import pin, unpack
from routeur.store.base import StoreUnavailable
from tests.conftest import ANY_NAME, Client, MakeRouter, merged, parse, settings
from tests.fake import HOLD, Upstream
from tests.recording import recording
from tests.redis_server import Server
from tests.virtual import AUTH, MASTER, balance, bearer, give, until

CLAUDE = "anthropic/claude-x"
NATIVE = "openai/gpt-5"
STREAM = "anthropic-text"
KEPT = "openai-responses/pydantic-ai__test_openai_previous_response_id."

SDK = Callable[..., Awaitable[openai.AsyncOpenAI]]


def message(*content: dict[str, Any], stop: str = "end_turn") -> bytes:
    """What Claude answers."""
    usage = {"input_tokens": 3, "output_tokens": 4}
    told = {"id": "msg_1", "type": "message", "role": "assistant", "model": "claude-x"}
    return orjson.dumps({**told, "content": content, "stop_reason": stop, "usage": usage})


def text(words: str) -> bytes:
    return message({"type": "text", "text": words})


CALL = message(
    {"type": "tool_use", "id": "toolu_1", "name": "look", "input": {"at": "x"}}, stop="tool_use"
)
TOOLS: list[Any] = [{"type": "function", "name": "look", "parameters": {"type": "object"}}]


def said(upstream: Upstream, number: int = -1) -> list[tuple[str, str]]:
    """Roles and texts of what Claude was sent."""
    found = []
    for each in orjson.loads(upstream.requests[number].body)["messages"]:
        content = each["content"]
        blocks = [{"text": content}] if isinstance(content, str) else content
        parts = [part.get("text") or part["type"] for part in blocks]
        found.append((each["role"], " ".join(parts)))
    return found


@pytest.fixture
async def sdk() -> AsyncIterator[SDK]:
    async with AsyncExitStack() as stack:

        async def make(client: Client, key: str = "anything") -> openai.AsyncOpenAI:
            made = openai.AsyncOpenAI(base_url=f"{client.url}/v1", api_key=key, max_retries=0)
            return await stack.enter_async_context(made)

        yield make


@pytest.fixture
async def client(make_router: MakeRouter) -> Client:
    return await make_router(providers=ANY_NAME)


@pytest.fixture
async def ai(client: Client, sdk: SDK) -> openai.AsyncOpenAI:
    return await sdk(client)


# ---- stored, and continued


@pytest.mark.parametrize("stream", [True, False])
async def test_references_to_items(
    ai: openai.AsyncOpenAI, upstream: Upstream, stream: bool
) -> None:
    """As Vercel's AI SDK goes on: with the ids of what was said."""
    upstream.answers(text("It is red."))
    upstream.answers(text("Because of you."))
    first = await ai.responses.create(model=CLAUDE, input="Look at x")
    refers: list[Any] = [
        {"role": "user", "content": "Look at x"},
        {"type": "item_reference", "id": first.output[0].id},
        {"role": "user", "content": "Why?"},
    ]
    again = await ai.responses.create(model=CLAUDE, input=refers, stream=stream)
    if stream:
        _ = [each async for each in again]
    assert said(upstream) == [("user", "Look at x"), ("assistant", "It is red."), ("user", "Why?")]


async def test_references_to_what_nobody_knows(ai: openai.AsyncOpenAI, upstream: Upstream) -> None:
    """A provider with a Responses API gets them as they are; of others nobody can make sense."""
    upstream.answers(recording(f"{KEPT}0").body)
    refers: list[Any] = [{"type": "item_reference", "id": "msg_0123"}]
    await ai.responses.create(model=NATIVE, input=refers)
    assert orjson.loads(upstream.request.body)["input"] == refers
    with pytest.raises(openai.BadRequestError, match="item_reference"):
        await ai.responses.create(model=CLAUDE, input=refers)


async def test_thoughts_of_others_without_a_seal(ai: openai.AsyncOpenAI, upstream: Upstream):
    """OpenAI would look their ids up, and refuse the request; its own it gets."""
    said: list[Any] = [{"role": "user", "content": "Hi"}]
    ours, own = [
        {"type": "reasoning", "id": f"rs_{'0a' * size}", "summary": []} for size in (13, 25)
    ]
    upstream.answers(recording(f"{KEPT}0").body)
    await ai.responses.create(model=NATIVE, input=[ours, own, *said])
    assert orjson.loads(upstream.request.body)["input"] == [own, *said]


async def test_references_of_another_key(make_router: MakeRouter, upstream: Upstream, sdk: SDK):
    client = await make_router(providers=ANY_NAME, auth=AUTH)
    mine, yours = [await sdk(client, (await give(client))[0]) for _ in range(2)]
    upstream.answers(text("It is red."))
    first = await mine.responses.create(model=CLAUDE, input="Look at x")
    refers: list[Any] = [{"type": "item_reference", "id": first.output[0].id}]
    with pytest.raises(openai.BadRequestError, match="item_reference"):
        await yours.responses.create(model=CLAUDE, input=refers)


async def test_three_turns_with_a_tool(ai: openai.AsyncOpenAI, upstream: Upstream) -> None:
    upstream.answers(CALL)
    upstream.answers(text("It is red."))
    upstream.answers(text("Because of you."))
    first = await ai.responses.create(model=CLAUDE, input="Look at x", tools=TOOLS)
    (call,) = (each for each in first.output if each.type == "function_call")
    result: Any = {"type": "function_call_output", "call_id": call.call_id, "output": "red"}
    second = await ai.responses.create(
        model=CLAUDE, previous_response_id=first.id, tools=TOOLS, input=[result]
    )
    third = await ai.responses.create(model=CLAUDE, previous_response_id=second.id, input="Why?")

    assert second.output_text == "It is red."
    assert (second.previous_response_id, second.store) == (first.id, True)
    assert said(upstream) == [
        ("user", "Look at x"),
        ("assistant", "tool_use"),
        ("user", "tool_result"),
        ("assistant", "It is red."),
        ("user", "Why?"),
    ]
    items = await ai.responses.input_items.list(third.id, order="asc")
    kinds = "message function_call function_call_output message message".split()
    assert [each.type async for each in items] == kinds


async def test_to_retrieve_and_delete(ai: openai.AsyncOpenAI, upstream: Upstream) -> None:
    upstream.answers(text("Yes."))
    made = await ai.responses.create(model=CLAUDE, input="Is it?")

    assert await ai.responses.retrieve(made.id) == made
    await ai.responses.delete(made.id)
    upstream.answers(b'{"error":{"message":"no"}}', status=404)
    with pytest.raises(openai.NotFoundError):
        await ai.responses.retrieve(made.id)


async def test_what_is_not_stored(client: Client, sdk: SDK, upstream: Upstream) -> None:
    ai = await sdk(client)
    upstream.answers(text("Yes."))
    made = await ai.responses.create(model=CLAUDE, input="Is it?", store=False)

    assert made.store is False
    with pytest.raises(NotFound):
        await client.router.stateful.shelf.get(made.id, "")


async def test_a_parsed_answer_is_stored_too(ai: openai.AsyncOpenAI, upstream: Upstream) -> None:
    class Sky(pydantic.BaseModel):
        colour: str

    upstream.answers(text('{"colour":"blue"}'))
    made = await ai.responses.parse(model=CLAUDE, input="The sky?", text_format=Sky)
    again = await ai.responses.retrieve(made.id)

    assert made.output_parsed == Sky(colour="blue")
    assert again.output_text == '{"colour":"blue"}'


async def test_a_stream_is_taken_up_again(client: Client, sdk: SDK, upstream: Upstream) -> None:
    """With the same bytes."""
    ai = await sdk(client)
    upstream.answers(recording(STREAM).body)
    answer = await client.post("/v1/responses", json=dict(model=CLAUDE, input="Hi", stream=True))
    whole = await answer.read()
    id = orjson.loads(whole.partition(b"data: ")[2].partition(b"\n")[0])["response"]["id"]

    for number in (-1, 0, 3):
        asked = f"/v1/responses/{id}?stream=true&starting_after={number}"
        before, mark, _ = whole.partition(b'"sequence_number":%d' % number)
        rest = whole[len(before) :].partition(b"\n\n")[2] if mark else whole
        assert await (await client.get(asked)).read() == rest
    events = [each async for each in await ai.responses.retrieve(id, stream=True)]
    assert (events[-1].type, len(events)) == ("response.completed", whole.count(b"\ndata: "))


async def test_an_unstreamed_answer_of_a_stream(ai: openai.AsyncOpenAI, upstream: Upstream) -> None:
    """What the SDK makes of events is what is kept."""
    upstream.answers(recording(STREAM).body)
    async with ai.responses.stream(model=CLAUDE, input="Hi") as events:
        made = await events.get_final_response()

    assert (await ai.responses.retrieve(made.id)).output_text == made.output_text != ""


async def test_an_answer_that_broke_off_is_not_stored(client: Client, upstream: Upstream) -> None:
    upstream.answers(recording(STREAM).body[:900])
    answer = await client.post("/v1/responses", json=dict(model=CLAUDE, input="Hi", stream=True))
    assert (await answer.read()).count(b"event: error") == 1

    assert client.router.stateful.shelf._waiting == {}


@pytest.mark.parametrize("stream", [False, True])
async def test_echo_is_continued(make_router: MakeRouter, sdk: SDK, stream: bool) -> None:
    """It keeps nothing: routeur does."""
    ai = await sdk(await make_router())
    first = await ai.responses.create(model="echo", input="one")
    if stream:
        events = [
            each
            async for each in await ai.responses.create(
                model="echo", input="two", previous_response_id=first.id, stream=True
            )
        ]
        id = events[-1].response.id  # type: ignore[union-attr]
    else:
        id = (
            await ai.responses.create(model="echo", input="two", previous_response_id=first.id)
        ).id
    items = await ai.responses.input_items.list(id, order="asc")

    assert [each.type async for each in items] == ["message"] * 3
    assert (await ai.responses.retrieve(id)).output_text == "two"


async def test_with_rivals(make_router: MakeRouter, sdk: SDK, upstream: Upstream) -> None:
    """What is kept is the answer that the client got, not the loser's."""
    rule = {"match": {"model": "any"}, "to": [CLAUDE, "google/gemini-x"], "hedge": "20ms"}
    rules = [{"name": "r", **rule}]
    client = await make_router(providers=ANY_NAME, rules=rules, retries={"attempts": 2})
    ai = await sdk(client)
    upstream.answers(recording(STREAM).body, before=[HOLD])
    found = recording("GoogleCommon-gemini-3-pro-preview-simple_streaming")
    upstream.answers(found.body, headers={"Content-Type": found.content_type})
    async with ai.responses.stream(model="any", input="Hi") as events:
        made = await events.get_final_response()

    assert (await ai.responses.retrieve(made.id)).output_text == made.output_text
    kept = await client.router.stateful.shelf.previous(made.id, "")
    assert kept is not None and kept.provider == "google"


# ---- a provider with a Responses API of its own


def accounts(upstream: Upstream, **more: Any) -> dict[str, Any]:
    """A provider with two of them, and no other with Responses."""
    keys = [{"name": name, "api_key": f"sk-{name}"} for name in "ab"]
    own = {"dialect": "openai", "base_url": f"{upstream.url}/v1", "credentials": keys, **more}
    return {"openai": None, "two": own, **{k: v for k, v in ANY_NAME.items() if k != "openai"}}


@pytest.mark.parametrize("stream", [False, True])
async def test_it_is_asked_at_the_account_that_made_it(
    make_router: MakeRouter, upstream: Upstream, stream: bool
) -> None:
    client = await make_router(aliases={"fast": None}, providers=accounts(upstream))
    upstream.answers(
        recording("OpenAIResponsesCommon-openai-gpt-5-simple_streaming").body
        if stream
        else recording(KEPT + "0").body
    )
    body = {"model": "two/gpt-5", "input": "Hi", "stream": stream}
    answer = await (await client.post("/v1/responses", json=body)).read()
    made_by = upstream.requests[0].key
    id = answer.partition(b'"id": "' if b'"id": "' in answer else b'"id":"')[2]
    name = id.partition(b'"')[0].decode()
    assert name.startswith("resp_")

    for method, path in (
        ("GET", f"/v1/responses/{name}"),
        ("GET", f"/v1/responses/{name}/input_items?limit=3"),
        ("POST", f"/v1/responses/{name}/cancel"),
        ("DELETE", f"/v1/responses/{name}"),
    ):
        for _ in range(3):
            assert (await client.request(method, path)).status == 200
            assert (upstream.request.key, upstream.request.path) == (made_by, path)
    for _ in range(3):
        again = {"model": "two/gpt-5", "input": "And?", "previous_response_id": name}
        answered = await client.post("/v1/responses", json=again)
        assert answered.status == 200
        assert answered.headers["X-Routeur-Trace-Reason"] == "response"
        assert upstream.request.key == made_by
        assert orjson.loads(upstream.request.body)["previous_response_id"] == name


async def test_one_that_is_under_way_is_found(make_router: MakeRouter, upstream: Upstream) -> None:
    """A background response can be cancelled while its stream is read."""
    client = await make_router(aliases={"fast": None}, providers=accounts(upstream))
    found = recording("OpenAIResponsesCommon-openai-gpt-5-simple_streaming").body
    upstream.answers(found, cuts=[len(found) // 2], hold=len(found) // 2)
    upstream.answers(b"{}")
    body = {"model": "two/gpt-5", "input": "Hi", "stream": True, "background": True}
    answer = await client.post("/v1/responses", json=body)
    start = await answer.content.readany()
    id = start.partition(b'"id":"')[2].partition(b'"')[0].decode()
    await client.post(f"/v1/responses/{id}/cancel")

    assert upstream.requests[1].path == f"/v1/responses/{id}/cancel"
    assert upstream.requests[1].key == upstream.requests[0].key
    upstream.release()
    await answer.read()


async def test_what_nobody_knows_goes_to_the_only_one(
    client: Client, sdk: SDK, upstream: Upstream
) -> None:
    ai = await sdk(client)
    upstream.answers(recording(KEPT + "1").body)
    await ai.responses.create(model=NATIVE, input="And?", previous_response_id="resp_old")
    assert orjson.loads(upstream.request.body)["previous_response_id"] == "resp_old"
    await ai.responses.retrieve("resp_old")
    assert upstream.request.path == "/v1/responses/resp_old"

    with pytest.raises(openai.BadRequestError) as caught:  # Claude cannot go on from it
        await ai.responses.create(model=CLAUDE, input="And?", previous_response_id="resp_old")
    assert caught.value.code == "previous_response_not_found"
    assert len(upstream.requests) == 2


async def test_what_nobody_knows_where_several_could(
    make_router: MakeRouter, sdk: SDK, upstream: Upstream
) -> None:
    other = {"other": {"dialect": "openai", "base_url": f"{upstream.url}/v1"}}
    ai = await sdk(await make_router(providers=ANY_NAME | other))
    with pytest.raises(openai.NotFoundError, match="resp_old"):
        await ai.responses.retrieve("resp_old")
    with pytest.raises(openai.BadRequestError, match="resp_old") as caught:
        await ai.responses.create(model=NATIVE, input="And?", previous_response_id="resp_old")

    assert caught.value.code == "previous_response_not_found"
    assert upstream.requests == []


@pytest.mark.parametrize(
    "provider, credential, headers",
    [
        ("gone", "gone", {}),
        ("openai", "openai.gone", {}),
        ("anthropic", "anthropic", {}),
        ("openai", "openai", {"Routeur-Provider": "anthropic"}),
    ],
)
async def test_one_that_cannot_be_asked_any_more(
    client: Client,
    sdk: SDK,
    upstream: Upstream,
    provider: str,
    credential: str,
    headers: dict[str, str],
) -> None:
    """The configuration has changed, or the client wants to go on elsewhere."""
    ai = await sdk(client)
    client.router.stateful.shelf.add(unpack(pin("resp_1", "", 1e10, provider, credential)))
    with pytest.raises(openai.BadRequestError) as caught:
        await ai.responses.create(
            model="gpt-5", input="x", previous_response_id="resp_1", extra_headers=headers
        )

    assert caught.value.code == "previous_response_not_found"
    assert upstream.requests == []


@pytest.mark.parametrize("traced", [True, False])
async def test_it_is_noted_in_every_kind_of_attempt(
    make_router: MakeRouter, upstream: Upstream, traced: bool
) -> None:
    client = await make_router(providers=ANY_NAME, traces={"payloads": not traced})
    upstream.answers(recording(KEPT + "0").body)
    headers = {"Routeur-Trace": "true"} if traced else {}
    body = {"model": NATIVE, "input": "Hi"}
    answer = await client.post("/v1/responses", json=body, headers=headers)
    told = await answer.json()
    found = await client.router.stateful.shelf.get(told["id"], "")

    assert ("routeur" in told) is traced
    assert (found.pinned, found.provider, found.credential) == (True, "openai", "openai")


async def test_what_is_not_stored_there_is_not_noted(client: Client, upstream: Upstream) -> None:
    upstream.answers(recording(KEPT + "0").body)
    for _ in range(3):  # the short cut, too
        body = {"model": NATIVE, "input": "Hi", "store": False}
        await (await client.post("/v1/responses", json=body)).read()

    assert client.router.stateful.shelf._waiting == {}


async def test_untouched(client: Client, upstream: Upstream) -> None:
    """A request that a provider has to answer is copied byte for byte, unknown items too."""
    client.router.stateful.shelf.add(unpack(pin("resp_1", "", 1e10, "openai", "openai")))
    body = (
        b'{ "model": "gpt-5",  "previous_response_id":"resp_1", "include":["x"], '
        b'"input":[{"type":"custom_tool_call_output","call_id":"c","output":"1.0"},{"type":"new"}]}'
    )
    upstream.answers(recording(KEPT + "1").body)
    answer = await client.post("/v1/responses", data=body)

    assert await answer.read() == recording(KEPT + "1").body
    assert upstream.request.body == body


@pytest.mark.parametrize("id", ["resp_1", "resp_of_nobody_here"])
@pytest.mark.parametrize("path", ["/v1/responses", "/v1/responses/input_tokens"])
async def test_what_contradicts_itself(
    client: Client, upstream: Upstream, path: str, id: str
) -> None:
    """Is for the provider to say that has to answer."""
    client.router.stateful.shelf.add(unpack(pin("resp_1", "", 1e10, "openai", "openai")))
    body = b'{"model":"gpt-5","input":"x","conversation":"c","previous_response_id":"%b"}'
    upstream.answers(b'{"error":{"message":"not both"}}', 400)
    answer = await client.post(path, data=body % id.encode())

    assert (answer.status, await answer.read()) == (400, b'{"error":{"message":"not both"}}')
    assert upstream.request.body == body % id.encode()


async def test_context_management_of_another_kind(client: Client, upstream: Upstream) -> None:
    """The provider knows more of it, or refuses it in its own words."""
    body = b'{"model":"gpt-5","input":"x","context_management":[{"type":"new"}]}'
    upstream.answers(recording(KEPT + "0").body)
    answer = await client.post("/v1/responses", data=body)

    assert await answer.read() == recording(KEPT + "0").body
    assert upstream.request.body == body


async def test_a_conversation_is_passed_on_or_refused(
    ai: openai.AsyncOpenAI, upstream: Upstream
) -> None:
    upstream.answers(recording(KEPT + "0").body)
    await ai.responses.create(model=NATIVE, input="Hi", conversation="conv_1")
    assert orjson.loads(upstream.request.body)["conversation"] == "conv_1"

    for more in ({}, {"background": True}):
        with pytest.raises(openai.BadRequestError) as caught:
            await ai.responses.create(model=CLAUDE, input="Hi", conversation="conv_1", **more)
        assert (caught.value.param, caught.value.code) == ("conversation", "unsupported_parameter")


async def test_both_at_once(ai: openai.AsyncOpenAI, upstream: Upstream) -> None:
    """A conversation that began at Claude goes on at OpenAI, and stays there."""
    upstream.answers(text("Blue."))
    upstream.answers(recording(KEPT + "0").body)
    first = await ai.responses.create(model=CLAUDE, input="The sky?")
    second = await ai.responses.create(model=NATIVE, input="Sure?", previous_response_id=first.id)
    sent = orjson.loads(upstream.request.body)

    assert "previous_response_id" not in sent
    assert [each["role"] for each in sent["input"]] == ["user", "assistant", "user"]
    await ai.responses.retrieve(second.id)
    assert upstream.request.path == f"/v1/responses/{second.id}"


async def test_reasoning_of_others_stays_behind(ai: openai.AsyncOpenAI, upstream: Upstream) -> None:
    """OpenAI takes only what it has made itself, whoever keeps the conversation."""
    thought = {"type": "thinking", "thinking": "hm", "signature": "c2lnbmVk"}
    upstream.answers(message(thought, {"type": "text", "text": "Blue."}))
    upstream.answers(recording(KEPT + "0").body)
    first = await ai.responses.create(
        model=CLAUDE, input="The sky?", include=["reasoning.encrypted_content"]
    )
    assert [each.type for each in first.output] == ["reasoning", "message"]
    history: list[Any] = [each.model_dump(exclude_none=True) for each in first.output]
    more: Any = {"role": "user", "content": "Sure?"}
    await ai.responses.create(model=NATIVE, input="Sure?", previous_response_id=first.id)
    await ai.responses.create(model=NATIVE, input=[*history, more])

    for request in upstream.requests[1:]:
        kinds = [each.get("type") for each in orjson.loads(request.body)["input"]]
        assert "reasoning" not in kinds
        assert "message" in kinds


# ---- whose it is


@pytest.mark.parametrize(
    "body",
    [
        b'{ "model" : "gpt-5", "input":"what is \\"routeur.1.e30\\"?" }',
        b'{"model":"gpt-5","input":[ {"role":"user","content":"routeur.1.e30"} ],"x":1,"x":2}',
        b'{"model":"gpt-5","prompt":{"id":"p"},"metadata":{"a":"routeur.1.e30"}}',
    ],
)
async def test_who_talks_about_sealed_reasoning(
    client: Client, upstream: Upstream, body: bytes
) -> None:
    """Nothing of it stays behind: then every byte goes on."""
    upstream.answers(b'{"id":"resp_1","output":[]}')
    for _ in range(2):
        assert (await client.post("/v1/responses", data=body)).status == 200
        assert upstream.request.body == body


async def test_anothers_is_not_there(make_router: MakeRouter, sdk: SDK, upstream: Upstream) -> None:
    client = await make_router(providers=ANY_NAME, auth=AUTH)
    (one, _), (two, _) = await give(client, "one"), await give(client, "two")
    mine, theirs = await sdk(client, one), await sdk(client, two)
    upstream.answers(text("Yes."))
    upstream.answers(recording(KEPT + "0").body)
    ids = [(await mine.responses.create(model=model, input="x")).id for model in (CLAUDE, NATIVE)]
    asked = len(upstream.requests)

    for id in ids:
        for other in (theirs, await sdk(client, MASTER)):
            for ask in (
                other.responses.retrieve,
                other.responses.delete,
                other.responses.cancel,
                other.responses.input_items.list,
            ):
                with pytest.raises(openai.NotFoundError, match=id):
                    await ask(id)
            with pytest.raises(openai.BadRequestError) as caught:
                await other.responses.create(model=CLAUDE, input="x", previous_response_id=id)
            assert caught.value.code == "previous_response_not_found"
    assert len(upstream.requests) == asked
    assert (await mine.responses.retrieve(ids[0])).output_text == "Yes."


async def test_a_key_that_manages(make_router: MakeRouter, sdk: SDK) -> None:
    client = await make_router(auth=AUTH)
    secret, _ = await give(client, "boss", kind="management")
    ai = await sdk(client, secret)

    with pytest.raises(openai.PermissionDeniedError):
        await ai.responses.retrieve("resp_1")
    answer = await client.get("/v1/responses", headers=bearer(secret) | UPGRADE)
    assert answer.status == 403


UPGRADE = {
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
}


# ---- in other processes


async def test_after_a_restart(sdk: SDK, upstream: Upstream, tmp_path: Path) -> None:
    """What was stored, and which account of a provider keeps what it has made."""
    changes = {"store": f"sqlite:{tmp_path / 'routeur.db'}", "aliases": {"fast": None}}
    config = parse(merged(settings(upstream), {**changes, "providers": accounts(upstream)}))
    async with running(config) as client:
        ai = await sdk(client)
        upstream.answers(text("Blue."))
        upstream.answers(recording(KEPT + "0").body)
        here = await ai.responses.create(model=CLAUDE, input="The sky?")
        there = await ai.responses.create(model="two/gpt-5", input="Hi")
        made_by = upstream.request.key
        item: Any = (await compacted(ai, upstream))[-1]

    async with running(config) as client:
        ai = await sdk(client)
        upstream.answers(text("Sure."))
        assert (await ai.responses.retrieve(here.id)).output_text == "Blue."
        more = [item, {"role": "user", "content": "?"}]
        await ai.responses.create(model=CLAUDE, previous_response_id=here.id, input=more)
        assert said(upstream)[:2] == [("user", "The sky?"), ("assistant", "Blue.")]
        assert "A SUMMARY" in said(upstream)[2][1]
        upstream.answers(b"{}")
        for _ in range(3):
            await ai.responses.retrieve(there.id)
            assert upstream.request.key == made_by


@asynccontextmanager
async def running(config: Config) -> AsyncIterator[Client]:
    router = Router(config)
    await router.start()
    async with aiohttp.ClientSession() as session:
        yield Client(router, session)
    await router.stop()


async def compacted(ai: openai.AsyncOpenAI, upstream: Upstream) -> list[Any]:
    upstream.answers(text("A SUMMARY"))
    asked = {"model": CLAUDE, "input": "Launch on Tuesday"}
    raw: Any = await ai.post("/responses/compact", body=asked, cast_to=object)
    return list(raw["output"])


async def test_at_another_machine(
    make_router: MakeRouter, sdk: SDK, upstream: Upstream, redis_server: Server
) -> None:
    """At once, and a background response is seen and cancelled there, too."""
    own = {"store": redis_server.url, "auth": {"secret": "a-secret-of-both-0123456789"}}
    here = await make_router(aliases={"fast": None}, providers=accounts(upstream), **own)
    there = await make_router(aliases={"fast": None}, providers=accounts(upstream), **own)
    mine, theirs = await sdk(here), await sdk(there)
    upstream.answers(text("Blue."))
    upstream.answers(text("Sure."))
    first = await mine.responses.create(model=CLAUDE, input="The sky?")
    second = await theirs.responses.create(
        model=CLAUDE, input="Sure?", previous_response_id=first.id
    )
    assert [role for role, _ in said(upstream)] == ["user", "assistant", "user"]
    assert (await mine.responses.retrieve(second.id)).output_text == "Sure."

    upstream.answers(recording(STREAM).body, cuts=[700], hold=700)
    begun = await mine.responses.create(model=CLAUDE, input="Hi", background=True)
    assert (await theirs.responses.retrieve(begun.id)).status in ("queued", "in_progress")
    assert (await theirs.responses.cancel(begun.id)).status == "cancelled"
    assert (await mine.responses.retrieve(begun.id)).status in ("cancelled", "in_progress")
    upstream.release()
    await until(status(mine, begun.id, "cancelled"))


def status(ai: openai.AsyncOpenAI, id: str, wanted: str) -> Callable[[], Awaitable[bool]]:
    """Whether a response has it."""

    async def has() -> bool:
        return (await ai.responses.retrieve(id)).status == wanted

    return has


# ---- in the background


async def test_a_background_response(ai: openai.AsyncOpenAI, upstream: Upstream) -> None:
    upstream.answers(recording(STREAM).body, cuts=[700], hold=700)
    begun = await ai.responses.create(model=CLAUDE, input="Hi", background=True)
    assert (begun.status, begun.background, begun.store) == ("queued", True, True)
    await upstream.requested()
    upstream.release()
    await until(status(ai, begun.id, "completed"))
    now = await ai.responses.retrieve(begun.id)
    events = [each async for each in await ai.responses.retrieve(begun.id, stream=True)]
    rest = await ai.responses.retrieve(begun.id, stream=True, starting_after=4)
    upstream.answers(text("More."))
    await ai.responses.create(model=CLAUDE, input="Go on", previous_response_id=begun.id)

    assert now.output_text
    assert [each.type for each in events[:2]] == ["response.created", "response.queued"]
    assert [each async for each in rest] == events[5:]
    assert [role for role, _ in said(upstream)] == ["user", "assistant", "user"]


async def test_a_background_stream_that_is_left_and_cancelled(
    client: Client, sdk: SDK, upstream: Upstream
) -> None:
    """Its client may go: it is made all the same, until somebody cancels it."""
    ai = await sdk(client)
    upstream.answers(recording(STREAM).body, cuts=[700], hold=700)
    stream = await ai.responses.create(model=CLAUDE, input="Hi", background=True, stream=True)
    first = await anext(aiter(stream))
    await stream.close()
    await upstream.requested()
    assert not upstream.connections[-1].closed.is_set()
    id = first.response.id  # type: ignore[union-attr]
    assert (await ai.responses.cancel(id)).status == "cancelled"
    await upstream.connections[-1].wait_closed()

    assert (await ai.responses.cancel(id)).status == "cancelled"


async def test_a_background_response_that_fails(ai: openai.AsyncOpenAI, upstream: Upstream) -> None:
    upstream.answers(b'{"type":"error","error":{"type":"x","message":"bad"}}', status=400)
    stream = await ai.responses.create(model=CLAUDE, input="Hi", background=True, stream=True)
    last = [each async for each in stream][-1]

    assert last.type == "response.failed"
    assert last.response.error is not None
    with pytest.raises(openai.BadRequestError, match="store"):
        await ai.responses.create(model=CLAUDE, input="Hi", background=True, store=False)


async def test_the_end_of_the_process_waits_for_it(
    make_router: MakeRouter, sdk: SDK, upstream: Upstream
) -> None:
    client = await make_router(providers=ANY_NAME, server={"drain": "5s"})
    ai = await sdk(client)
    upstream.answers(recording(STREAM).body, cuts=[700], hold=700)
    begun = await ai.responses.create(model=CLAUDE, input="Hi", background=True)
    await upstream.requested()
    asyncio.get_running_loop().call_later(0.1, upstream.release)
    await client.router.stop()

    kept = await client.router.books.store.kept(begun.id)
    assert kept is not None
    assert unpack(kept).status == "completed"


async def test_where_the_provider_does_it(ai: openai.AsyncOpenAI, upstream: Upstream) -> None:
    upstream.answers(recording(KEPT + "0").body)
    await ai.responses.create(model=NATIVE, input="Hi", background=True)

    assert orjson.loads(upstream.request.body)["background"] is True


@pytest.mark.parametrize("first, makes", [(NATIVE, False), (CLAUDE, True)])
async def test_where_several_could(
    make_router: MakeRouter, sdk: SDK, upstream: Upstream, first: str, makes: bool
) -> None:
    """Who is asked first decides."""
    names = [first, CLAUDE if first == NATIVE else NATIVE]
    ai = await sdk(await make_router(providers=ANY_NAME, aliases={"any": names}))
    upstream.answers(recording(KEPT + "0").body)
    made = await ai.responses.create(model="any", input="Hi", background=True)

    assert (made.status == "queued") is makes
    await upstream.requested()


async def test_what_it_costs_in_the_background(
    make_router: MakeRouter, sdk: SDK, upstream: Upstream
) -> None:
    """A provider does not say it, so routeur does it for keys with a limit."""
    priced = {"gpt-5": {"price": {"input": 1, "output": 2}}}
    client = await make_router(providers={"openai": {"models": priced}}, auth=AUTH)
    secret, key = await give(client, limit=1_000_000)
    ai = await sdk(client, secret)
    upstream.answers(recording("OpenAIResponsesCommon-openai-gpt-5-simple_streaming").body)
    begun = await ai.responses.create(
        model="gpt-5", input="Hi", background=True, max_output_tokens=100
    )
    await until(status(ai, begun.id, "completed"))
    assert "background" not in orjson.loads(upstream.request.body)

    async def paid() -> bool:
        found = await balance(client, key)
        return found.usage > 0 and found.reserved == 0

    await until(paid)
    client.router.stateful.shelf.add(unpack(pin("resp_1", key.hash, 1e10, "openai", "openai")))
    with pytest.raises(openai.BadRequestError, match="background"):
        await ai.responses.create(
            model="gpt-5", input="Hi", background=True, previous_response_id="resp_1"
        )


async def test_payloads_of_what_is_made_inside(
    make_router: MakeRouter, sdk: SDK, upstream: Upstream
) -> None:
    client = await make_router(providers=ANY_NAME, traces={"payloads": True})
    ai = await sdk(client)
    upstream.answers(recording(STREAM).body)
    begun = await ai.responses.with_raw_response.create(model=CLAUDE, input="Hi", background=True)
    await until(status(ai, begun.parse().id, "completed"))
    trace = begun.headers["X-Routeur-Trace-Id"]
    payload = await (await client.get(f"/v1/traces/{trace}/payload")).json()

    assert payload["caller_request"]["body"]
    assert "queued" in payload["caller_response"]["body"]


# ---- made short


async def test_compacted(client: Client, sdk: SDK, upstream: Upstream) -> None:
    """By the model that is named; what comes of it can be read by every provider."""
    ai = await sdk(client)
    upstream.answers(text("A SUMMARY"))
    asked: list[Any] = [
        {"role": "user", "content": "Launch on Tuesday"},
        {"role": "assistant", "content": "Noted."},
    ]
    made = await ai.responses.compact(model=CLAUDE, input=asked)
    assert [each.type for each in made.output] == ["message", "compaction"]
    assert made.usage.total_tokens == 7
    output = await compacted(ai, upstream)

    for model, answer in ((CLAUDE, text("On Tuesday.")), (NATIVE, recording(KEPT + "0").body)):
        upstream.answers(answer)
        await ai.responses.create(
            model=model, input=[*output, {"role": "user", "content": "When?"}], store=False
        )
        assert b"A SUMMARY" in upstream.request.body
        assert b"routeur.c1" not in upstream.request.body
    with pytest.raises(openai.BadRequestError, match="model"):
        await ai.post("/responses/compact", body={"input": []}, cast_to=object)


async def test_what_is_stored_is_compacted(ai: openai.AsyncOpenAI, upstream: Upstream) -> None:
    upstream.answers(text("Blue."))
    first = await ai.responses.create(model=CLAUDE, input="The sky?")
    upstream.answers(text("A SUMMARY"))
    made = await ai.responses.compact(model=CLAUDE, previous_response_id=first.id)

    assert b"The sky?" in upstream.request.body
    assert b"Blue." in upstream.request.body
    assert [each.type for each in made.output] == ["message", "compaction"]


async def test_where_the_provider_compacts(ai: openai.AsyncOpenAI, upstream: Upstream) -> None:
    theirs = {"type": "compaction", "id": "cmp_1", "encrypted_content": "gAAAAAB"}
    upstream.answers(orjson.dumps({"id": "resp_1", "object": "response.compaction", "output": []}))
    await ai.responses.compact(model=NATIVE, input="x")
    assert upstream.request.path == "/v1/responses/compact"
    upstream.answers(recording(KEPT + "0").body)
    await ai.responses.create(model=NATIVE, input=[theirs])  # type: ignore[list-item]
    assert b"gAAAAAB" in upstream.request.body

    asked = len(upstream.requests)
    for ask in (ai.responses.create, ai.responses.compact):
        with pytest.raises(openai.BadRequestError, match="read"):
            await ask(model=CLAUDE, input=[theirs])  # type: ignore[operator]
    assert len(upstream.requests) == asked


LONG: list[Any] = [
    {"role": "user", "content": "x" * 6000},
    {"role": "assistant", "content": "Noted."},
    {"role": "user", "content": "And now?"},
]
AT: list[Any] = [{"type": "compaction", "compact_threshold": 1000}]


@pytest.mark.parametrize("stream", [False, True])
async def test_a_long_conversation_is_compacted_by_itself(
    ai: openai.AsyncOpenAI, upstream: Upstream, stream: bool
) -> None:
    upstream.answers(text("A SUMMARY"))
    upstream.answers(recording(STREAM).body if stream else text("Now this."))
    asked = {"model": CLAUDE, "input": LONG, "context_management": AT}
    if stream:
        async with ai.responses.stream(**asked) as events:
            seen = [each async for each in events]
            made: Any = await events.get_final_response()
        added = [each for each in seen if each.type == "response.output_item.added"]
        assert [each.item.type for each in added] == ["compaction", "message"]
        numbers = [each.sequence_number for each in seen if hasattr(each, "sequence_number")]
        assert numbers == sorted(numbers)
    else:
        made = await ai.responses.create(**asked)

    assert [each.type for each in made.output] == ["compaction", "message"]
    assert [role for role, _ in said(upstream)] == ["user"]
    assert "A SUMMARY" in said(upstream)[0][1]
    kept = (await ai.responses.retrieve(made.id)).output
    assert [each.id for each in kept] == [each.id for each in made.output]
    upstream.answers(text("Fine."))
    await ai.responses.create(model=CLAUDE, input="Go on", previous_response_id=made.id)
    assert upstream.request.body.count(b"A SUMMARY") == 2  # where it began, and in the answer


async def test_a_short_one_stays_as_it_is(client: Client, upstream: Upstream) -> None:
    upstream.answers(text("Hello."))
    body = {"model": CLAUDE, "input": "Hi", "context_management": AT}
    answer = await client.post("/v1/responses", json=body)

    assert answer.status == 200
    assert "X-Routeur-Trace-Dropped" not in answer.headers
    assert len(upstream.requests) == 1


async def test_a_summary_that_fails(client: Client, upstream: Upstream) -> None:
    """The answer may be possible all the same; it says what was not done."""
    upstream.answers(b'{"type":"error","error":{"type":"x","message":"no"}}', status=500)
    upstream.answers(text("Hello."))
    body = {"model": CLAUDE, "input": LONG, "context_management": AT}
    answer = await client.post("/v1/responses", json=body)

    assert answer.status == 200
    assert answer.headers["X-Routeur-Trace-Dropped"] == "context_management"


async def test_where_the_provider_watches_itself(
    ai: openai.AsyncOpenAI, upstream: Upstream
) -> None:
    upstream.answers(recording(KEPT + "0").body)
    await ai.responses.create(model=NATIVE, input=LONG, context_management=AT)

    assert b'"compact_threshold":1000' in upstream.request.body.replace(b": ", b":")


# ---- beside


async def test_a_dry_run_does_nothing(client: Client, upstream: Upstream) -> None:
    dry = {"Routeur-Dry-Run": "true"}
    for path, more in (
        ("", {"background": True}),
        ("", {"context_management": AT}),
        ("/compact", {}),
    ):
        body = {"model": CLAUDE, "input": LONG, **more}
        answer = await client.post(f"/v1/responses{path}", json=body, headers=dry)
        assert (await answer.json())["routeur"]["provider"] == "anthropic"
    assert upstream.requests == []


async def test_a_key_in_the_address(make_router: MakeRouter, upstream: Upstream) -> None:
    """Requests inside have it, too."""
    client = await make_router(providers=ANY_NAME, auth=AUTH)
    upstream.answers(text("A SUMMARY"))
    body = {"model": CLAUDE, "input": "Hi"}
    answer = await client.post(f"/v1/responses/compact?key={MASTER}", json=body)

    assert answer.status == 200
    assert MASTER.encode() not in upstream.request.body + upstream.request.target


async def test_a_store_that_is_out_of_order(
    client: Client, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(id: str) -> None:
        raise StoreUnavailable("out of order")

    monkeypatch.setattr(client.router.stateful.shelf._store, "kept", broken)
    body = {"model": CLAUDE, "input": "Hi", "previous_response_id": "resp_1"}
    answers = [
        await client.post("/v1/responses", json=body),
        await client.get("/v1/responses/resp_1"),
    ]

    for answer in answers:
        assert answer.status == 503
        assert (await answer.json())["error"]["code"] == "store_unavailable"


async def test_words_about_who_may_answer(client: Client, sdk: SDK, upstream: Upstream) -> None:
    """They hold for a summary, too."""
    upstream.answers(text("A SUMMARY"))
    body = {
        "model": "gemini-x",
        "models": [CLAUDE],
        "input": "Hi",
        "provider": {"only": ["anthropic"]},
    }
    answer = await client.post("/v1/responses/compact", json=body)

    assert answer.status == 200, await answer.text()
    assert upstream.request.path == "/v1/messages"
