"""Who answers one request: by strategy, by conversation, by the words of its body."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from aiohttp import ClientResponse

from routeur.app import Router
from routeur.auto import Target
from routeur.conversation import id_after
from routeur.dialects import match
from routeur.errors import Forbidden
from routeur.express import Express
from routeur.facts import Facts
from routeur.headers import Inbound
from routeur.keys import OPEN, Caller
from routeur.reasons import lines
from routeur.server import ClientConnection
from routeur.store.base import Key
from tests.conftest import KEYS, Client, MakeRouter
from tests.fake import HOLD, PATIENCE, Upstream, whole
from tests.running import completion

CHAT = "/v1/chat/completions"
OK = b'{"id":"x","choices":[],"usage":{"prompt_tokens":100,"completion_tokens":30}}'
FAILED = whole(b'{"error":{"message":"down"}}', 503)
FIRST = {"role": "user", "content": "Tell me a story."}
SECOND = [FIRST, {"role": "assistant", "content": "Once."}, {"role": "user", "content": "And?"}]
LOOP = [
    FIRST,
    {"role": "assistant", "tool_calls": [{"id": "c", "type": "function", "function": {}}]},
    {"role": "tool", "tool_call_id": "c", "content": "9"},
]


def place(upstream: Upstream, name: str, **more: Any) -> dict[str, Any]:
    """A provider of Chat Completions whose requests are told apart by their key."""
    return {"dialect": "openai", "base_url": f"{upstream.url}/v1", "api_key": name, **more}


def priced(input: float, **more: Any) -> dict[str, Any]:
    return {"price": {"input": input, "output": 4 * input}, **more}


@pytest.fixture(autouse=True)
def bugs(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[BaseException]]:
    found: list[BaseException] = []
    monkeypatch.setattr(Router, "_bug", lambda _, bug: found.append(bug))
    yield found
    assert found == []


@pytest.fixture(autouse=True)
def taken(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """The requests that the express has served."""
    found: list[bytes] = []
    take = Express.take

    def counting(self: Express, client: ClientConnection, data: bytes) -> bool:
        taken = take(self, client, data)
        if taken:
            found.append(data)
        return taken

    monkeypatch.setattr(Express, "take", counting)
    return found


@pytest.fixture
async def three(make_router: MakeRouter, upstream: Upstream) -> Client:
    """Three places, of which b is the cheapest and c the best."""
    return await make_router(
        **{
            "retries": {"attempts": 3},
            "providers": {
                **dict.fromkeys(KEYS),
                "a": place(upstream, "at-a", models={"m": priced(3, quality=0.5)}),
                "b": place(upstream, "at-b", models={"m": priced(1, quality=0.4)}),
                "c": place(upstream, "at-c", models={"m": priced(9, quality=0.9)}),
            },
            "aliases": {"fast": None, "own": ["a/m", "b/m", "c/m"], "any": []},
            "auto": {"strategy": "price"},
            "rules": [
                {"name": "sorted", "match": {"model": "s"}, "to": ["a/m", "b/m"], "sort": "price"},
                {
                    "name": "scored",
                    "match": {"model": "t"},
                    "to": ["a/m", "c/m"],
                    "strategy": "quality",
                },
                {"name": "drawn", "match": {"model": "d"}, "split": {"a/m": 1, "b/m": 1}},
            ],
        }
    )


@pytest.fixture(autouse=True)
def steady(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody is tried only to be known."""
    monkeypatch.setattr("routeur.score.EXPLORED", 0.0)


async def ask(
    client: Client, model: str = "auto", messages: Any = (FIRST,), headers: Any = (), **more: Any
) -> ClientResponse:
    body = {"model": model, "messages": list(messages), **more}
    answer = await client.post(CHAT, json=body, headers=dict(headers))
    await answer.read()
    return answer


async def who(client: Client, *asked: Any, **more: Any) -> str:
    answer = await ask(client, *asked, **more)
    assert answer.status == 200, await answer.text()
    return answer.headers["X-Routeur-Trace-Provider"]


async def told(client: Client, *asked: Any, headers: Any = (), **more: Any) -> dict[str, Any]:
    """What a dry run says."""
    headers = {**dict(headers), "Routeur-Dry-Run": "true"}
    answer = await ask(client, *asked, headers=headers, **more)
    assert answer.status == 200, await answer.text()
    said: dict[str, Any] = (await answer.json())["routeur"]
    return said


# ---- strategies


@pytest.mark.parametrize(
    ("model", "headers", "more", "expected"),
    [
        ("auto", {}, {}, "bac"),
        ("any", {}, {}, "bac"),
        ("auto:quality", {}, {}, "cab"),
        ("own", {}, {}, "abc"),
        ("own:price", {}, {}, "bac"),
        ("own:floor", {}, {}, "bac"),
        ("own", {"Routeur-Strategy": "quality"}, {}, "cab"),
        ("auto:price", {"Routeur-Strategy": "quality"}, {}, "cab"),
        ("m", {}, {}, "abc"),
        ("m:floor", {}, {}, "bac"),
        ("m", {"Routeur-Strategy": "price"}, {}, "bac"),
        ("s", {}, {}, "ba"),
        ("t", {}, {}, "ca"),
        ("t:price", {}, {}, "ac"),
        ("own", {}, {"provider": {"sort": "price"}}, "bac"),
        ("auto", {}, {"provider": {"order": ["c"]}}, "cab"),
        ("auto", {}, {"provider": {"ignore": ["b"]}}, "ac"),
        ("auto", {}, {"provider": {"sort": "price", "allow_fallbacks": False}}, "b"),
        ("auto", {}, {"provider": {"max_price": {"prompt": 3}}}, "ba"),
        ("c/m", {}, {"models": ["a/m", "b/m"], "route": "fallback"}, "cab"),
        ("c/m", {}, {"models": ["nobody/x", "b/m"]}, "cb"),
        ("a/m", {"Routeur-Model": "b/m"}, {"models": ["c/m"]}, "b"),
    ],
)
async def test_order(
    three: Client, model: str, headers: dict[str, str], more: dict[str, Any], expected: str
) -> None:
    said = await told(three, model, headers=headers, **more)

    assert "".join(target[0] for target in said["targets"]) == expected


async def test_an_unknown_strategy(three: Client) -> None:
    answer = await ask(three, headers={"Routeur-Strategy": "best"})

    assert answer.status == 400
    assert "Routeur-Strategy: expected one of balanced" in await answer.text()


async def test_what_was_measured(three: Client, upstream: Upstream) -> None:
    """A call's outcome is noted for its target, once anybody has asked for scores."""
    upstream.answers(OK)
    router = three.router
    for _ in range(6):
        await ask(three, "c/m")
    router._count()
    assert router.board.record(Target("c", "m")).calls == 0

    assert await who(three, "auto") == "b"
    for _ in range(6):
        await ask(three, "c/m")
    router._count()

    record = router.board.record(Target("c", "m"))
    assert (record.calls, record.output.value) == (6, 30.0)
    assert record.rate.value


async def test_failures_count_and_others_blame_does_not(three: Client, upstream: Upstream) -> None:
    router = three.router
    await who(three, "auto")
    router._count()
    calls = router.board.record(Target("b", "m")).calls
    for status, errors in ((400, 0), (422, 0), (503, 1), (404, 2)):
        upstream.answers(b'{"error":{"message":"x"}}', status)
        await ask(three, "b/m", headers={"Routeur-Retries": "0"})
        router._count()
        record = router.board.record(Target("b", "m"))
        assert record.calls == calls + errors, status
    assert record.trust(record.seen_at) < 0.5


async def test_a_failing_target_is_left_at_once(three: Client, upstream: Upstream) -> None:
    assert await who(three, "auto") == "b"
    upstream.sends(FAILED)
    upstream.answers(OK)
    assert await who(three, "auto") == "a"
    three.router._count()
    await asyncio.sleep(0.02)  # a failure shakes the order that was worked out before

    assert await who(three, "auto") == "a"


async def test_those_that_are_banned_come_last(three: Client) -> None:
    three.router.standings.ban("b", None, None, "for the test")

    said = await told(three, "auto")
    assert said["targets"] == ["a/m", "c/m", "b/m"]
    assert said["unavailable"] == [{"target": "b/m", "why": "b is banned"}]
    assert await who(three, "auto") == "a"


async def test_a_dry_run_names_who_would_answer(three: Client) -> None:
    """Where an order is given, too: those that cannot be asked are passed over."""
    first, second, *_ = (await told(three, "own"))["targets"]
    three.router.standings.ban(first[0], None, None, "for the test")

    said = await told(three, "own")
    assert said["targets"][:2] == [first, second]
    assert f"{said['provider']}/{said['model']}" == second
    assert said["why"] == "is the first that can be asked now"
    shown = [line.split() for line in lines({"routeur": said})]
    assert ["answers", second] in shown
    assert ["then", first] not in shown
    assert await who(three, "own") == second[0]


# ---- eligibility


@pytest.mark.parametrize(
    ("model", "more", "why"),
    [
        ({"context": 20}, {}, "takes 20 tokens, and the prompt has more"),
        ({"output": 50}, {"max_tokens": 51}, "answers with 50 tokens at most, and more are"),
        ({"has": ["json"]}, {"tools": [{"type": "function"}]}, "cannot take tools"),
        ({"has": []}, {"response_format": {"type": "json_schema"}}, "cannot take json"),
        ({"has": []}, {"reasoning_effort": "high"}, "cannot take reasoning"),
    ],
)
async def test_who_cannot_take_it_is_left_out(
    make_router: MakeRouter,
    upstream: Upstream,
    model: dict[str, Any],
    more: dict[str, Any],
    why: str,
) -> None:
    providers = {
        "small": place(upstream, "s", models={"m": model}),
        "large": place(upstream, "l", models=["m"]),
    }
    router = await make_router(providers=providers, aliases={"both": ["small/m", "large/m"]})
    message = [{"role": "user", "content": "x" * 200}]

    said = await told(router, "both", message, **more)
    assert said["targets"] == ["large/m"]
    (rejected,) = said["rejected"]
    assert rejected["target"] == "small/m"
    assert rejected["why"].startswith(why)
    # Who asks by name gets it, whatever is known of it.
    assert (await told(router, "small/m", message, **more))["targets"] == ["small/m"]
    answer = await ask(router, "both", message, **more)
    trace = await router.trace(answer)
    assert trace["choice"]["rejected"] == said["rejected"]


# ---- the short cut


async def test_small_requests_to_aliases_take_the_short_cut(
    make_router: MakeRouter, upstream: Upstream, taken: list[bytes]
) -> None:
    """Whoever is known to fit is not looked at closely; whoever may not, is."""
    providers = {
        "small": place(upstream, "s", models={"m": {"context": 1000, "has": ["tools"]}}),
        "large": place(upstream, "l", models=["m"]),
    }
    router = await make_router(providers=providers, aliases={"both": ["small/m", "large/m"]})
    upstream.answers(OK)
    for _ in range(3):
        assert await who(router, "both", tools=[{"type": "function"}]) == "small"
    assert len(taken) >= 2
    taken.clear()
    assert await who(router, "both", [{"role": "user", "content": "x" * 8000}]) == "large"
    assert await who(router, "both", response_format={"type": "json_object"}) == "large"
    assert taken == []


async def test_the_short_cut_leaves_conversations_where_they_are(
    three: Client, upstream: Upstream, taken: list[bytes]
) -> None:
    for _ in range(3):
        assert await who(three, "own") == "a"
    assert taken
    session = {"X-Session-Id": "s1"}
    assert await who(three, "own", headers=session) == "a"
    upstream.sends(FAILED)
    upstream.answers(OK)
    assert await who(three, "own", headers=session) == "b"
    assert await who(three, "own") == "a"  # the failed one has recovered
    taken.clear()
    for _ in range(3):
        assert await who(three, "own", headers=session) == "b"
    assert taken == []


@pytest.mark.parametrize("model", ["auto", "d", "own:price", "m:floor", "t"])
async def test_what_has_to_be_chosen_never_takes_it(
    three: Client, taken: list[bytes], model: str
) -> None:
    for _ in range(3):
        await ask(three, model)

    assert taken == []


# ---- stickiness


async def test_a_conversation_stays(three: Client, upstream: Upstream) -> None:
    """Although another one is better by now."""
    upstream.sends(FAILED)
    upstream.answers(OK)
    assert await who(three) == "a"
    three.router._count()  # what is noted later would speak against b again
    three.router.board._records.clear()
    three.router.board.failures += 1
    await asyncio.sleep(0.02)

    assert await who(three, "auto", SECOND) == "a"
    said = await told(three, "auto", SECOND)
    assert (said["targets"][0], said["why"]) == ("a/m", "stays with a/m")
    assert said["facts"]["conversation"] == "opening"
    assert (await told(three, "auto"))["targets"][0] == "b/m"  # another one that begins alike
    assert (await told(three, "auto:price", SECOND))["targets"][0] == "b/m"  # another name


@pytest.mark.parametrize(
    ("headers", "more"),
    [
        ({"X-Session-Id": "s"}, {}),
        ({"x-claude-code-session-id": "s"}, {}),
        ({}, {"prompt_cache_key": "s"}),
        ({}, {"user": "s"}),
    ],
)
async def test_whoever_names_a_conversation(
    three: Client, upstream: Upstream, headers: dict[str, str], more: dict[str, Any]
) -> None:
    upstream.sends(FAILED)
    upstream.answers(OK)
    assert await who(three, headers=headers, **more) == "a"

    others = [{"role": "user", "content": "Something else."}]
    assert (await told(three, "auto", others, headers=headers, **more))["targets"][0] == "a/m"


async def test_a_conversation_leaves_who_failed(three: Client, upstream: Upstream) -> None:
    session = {"X-Session-Id": "s"}
    assert await who(three, headers=session) == "b"
    upstream.sends(FAILED)
    upstream.answers(OK)
    assert await who(three, headers=session) == "a"
    assert (await told(three, headers=session))["why"] == "stays with a/m"
    three.router.standings.ban("a", None, None, "for the test")
    said = await told(three, headers=session)
    assert said["targets"][0] != "a/m"
    assert said["why"] == "leaves a/m, which cannot be asked now"


async def test_a_loop_of_tools_is_not_taken_elsewhere(
    make_router: MakeRouter, upstream: Upstream
) -> None:
    providers = {
        "small": place(upstream, "s", models={"m": {"context": 400}}),
        "large": place(upstream, "l", models=["m"]),
    }
    router = await make_router(
        providers=providers,
        rules=[{"name": "r", "match": {"model": "both"}, "to": ["small/m", "large/m"]}],
    )
    upstream.answers(OK)
    long = {"role": "system", "content": "x" * 4000}
    assert await who(router, "both", headers={"X-Session-Id": "s"}) == "small"
    assert await who(router, "both", [long, *SECOND], headers={"X-Session-Id": "t"}) == "large"
    assert await who(router, "both", [long, *LOOP], headers={"X-Session-Id": "s"}) == "small"
    assert await who(router, "both", [long, *SECOND], headers={"X-Session-Id": "s"}) == "large"


@pytest.mark.parametrize(
    ("headers", "more"),
    [
        ({"Routeur-Provider": "b"}, {}),
        ({"vendor": "b"}, {}),
        ({}, {"provider": {"only": ["b"]}}),
        ({}, {"provider": {"ignore": ["a"]}}),
        ({}, {"provider": {"order": ["b"]}}),
    ],
)
async def test_what_a_request_says_comes_before_its_conversation(
    three: Client, upstream: Upstream, headers: dict[str, str], more: dict[str, Any]
) -> None:
    """In a loop of tools, too."""
    upstream.sends(FAILED)
    upstream.answers(OK)
    session = {"X-Session-Id": "s"}
    assert await who(three, headers=session) == "a"
    said = await told(three, "auto", LOOP, headers={**session, **headers}, **more)

    assert said["targets"][0] == "b/m"
    assert (await told(three, "auto", LOOP, headers=session))["targets"][0] == "a/m"


async def test_the_credential_stays_too(make_router: MakeRouter, upstream: Upstream) -> None:
    accounts = [{"name": name, "api_key": name} for name in ("x", "y", "z")]
    many = {"dialect": "openai", "base_url": f"{upstream.url}/v1", "credentials": accounts}
    router = await make_router(
        providers={"p": {**many, "models": ["m", "n"]}, "q": place(upstream, "q", models=["m"])},
        aliases={"own": ["p/m", "q/m"]},
    )
    upstream.answers(OK)
    for model in ("own", "p/n"):  # of an explicit target the account is kept as well
        upstream.requests.clear()
        for _ in range(3):  # conversations that begin go round
            await ask(router, model)
        assert sorted(upstream.keys) == ["x", "y", "z"]
        for session in "123456":
            upstream.requests.clear()
            for _ in range(3):
                await ask(router, model, headers={"X-Session-Id": session})
            assert len(set(upstream.keys)) == 1


async def test_an_answer_of_the_responses_api_is_gone_on_from(
    make_router: MakeRouter, upstream: Upstream
) -> None:
    providers = {name: place(upstream, name, models=["m"]) for name in "ab"}
    router = await make_router(
        providers=providers, aliases={"own": ["a/m", "b/m"]}, retries={"attempts": 2}
    )
    upstream.sends(FAILED)
    upstream.answers(b'{"id":"resp_7","object":"response","status":"completed","output":[]}')
    body = {"model": "own", "input": "Hello", "store": True}
    answer = await router.post("/v1/responses", json=body)
    assert answer.headers["X-Routeur-Trace-Provider"] == "b"
    sticky = router.router.sticky
    binding = sticky.find(id_after("resp_7", None, "own"), 0.0)
    assert binding is not None
    assert binding.target == Target("b", "m")


async def test_an_answer_that_has_won_a_race_is_gone_on_from(
    make_router: MakeRouter, upstream: Upstream
) -> None:
    providers = {name: place(upstream, name, models=["m"]) for name in "ab"}
    hedged = {"name": "h", "match": {"model": "own"}, "to": ["a/m", "b/m"], "hedge": "10ms"}
    router = await make_router(providers=providers, rules=[hedged], retries={"attempts": 2})
    upstream.sends_to("a", HOLD)
    upstream.answers(b'{"id":"resp_7","object":"response","status":"completed","output":[]}')
    answer = await router.post("/v1/responses", json={"model": "own", "input": "Hello"})
    assert answer.headers["X-Routeur-Trace-Provider"] == "b"
    sticky, id = router.router.sticky, id_after("resp_7", None, "own")
    async with asyncio.timeout(PATIENCE):
        while (binding := sticky.find(id, 0)) is None:  # noqa: ASYNC110 - the loser is seen off
            await asyncio.sleep(0)
    assert binding.target == Target("b", "m")


async def test_one_that_is_translated_is_gone_on_from_too(
    make_router: MakeRouter, upstream: Upstream
) -> None:
    """What was said is put into the body, which has another opening then."""
    providers = {name: place(upstream, name, models=["m"], responses=False) for name in "ab"}
    router = await make_router(
        providers=providers, aliases={"own": ["a/m", "b/m"]}, retries={"attempts": 2}
    )
    upstream.sends(FAILED)
    upstream.answers(completion(10, 5))
    body = {"model": "own", "input": "Hello", "instructions": "Be brief."}
    answer = await router.post("/v1/responses", json=body)
    assert answer.headers["X-Routeur-Trace-Provider"] == "b"
    body = {"model": "own", "input": "And?", "previous_response_id": (await answer.json())["id"]}
    dry = await router.post("/v1/responses", json=body, headers={"Routeur-Dry-Run": "true"})
    said = (await dry.json())["routeur"]
    assert said["targets"] == ["b/m", "a/m"]
    assert said["facts"]["conversation"] == "previous_response_id"


async def test_conversations_are_told_to_others(three: Client, upstream: Upstream) -> None:
    router = three.router
    router.sticky.tells = True
    upstream.sends(FAILED)
    upstream.answers(OK)
    await ask(three, "auto", headers={"X-Session-Id": "s"})
    batch = router.sticky.outgoing(router.books.clock.wall())
    assert batch is not None
    router.sticky._known.clear()
    assert (await told(three, headers={"X-Session-Id": "s"}))["why"] != "stays with a/m"

    clock = router.books.clock
    assert router.sticky.learn(batch, clock.steady(), clock.wall()) == 1
    assert (await told(three, headers={"X-Session-Id": "s"}))["why"] == "stays with a/m"


async def test_a_reload_leaves_conversations_where_they_are(
    three: Client, upstream: Upstream
) -> None:
    upstream.sends(FAILED)
    upstream.answers(OK)
    session = {"X-Session-Id": "s"}
    assert await who(three, headers=session) == "a"
    config = three.router.config
    three.router.reload(replace(config, auto=replace(config.auto, strategy="quality")))

    assert (await told(three))["targets"][0] == "c/m"
    assert (await told(three, headers=session))["targets"][0] == "a/m"
    left = {name: each for name, each in config.providers.items() if name != "a"}
    aliases = {name: () for name in ("any",)}
    three.router.reload(replace(config, providers=left, aliases=aliases, rules=()))
    said = await told(three, "auto", LOOP, headers=session)
    assert said["targets"][0] == "b/m"
    assert said["why"] == "leaves a/m, which cannot be asked now"


# ---- words of the body


async def test_words_are_taken_out(three: Client, upstream: Upstream, taken: list[bytes]) -> None:
    raw = (
        b'{ "model":"own" ,"provider":{"order":["c"]}, "route":"fallback",'
        b'"models":["own"], "x": [1.50] }'
    )
    for _ in range(2):
        answer = await three.post(CHAT, data=raw)
        assert answer.headers["X-Routeur-Trace-Provider"] == "c"
        assert upstream.request.body == b'{ "model":"m", "x": [1.50] }'
    assert taken == []


async def test_names_one_after_the_other(three: Client, upstream: Upstream) -> None:
    upstream.sends(FAILED)
    upstream.answers(OK)
    body = {"models": ["c/m", "a/m"], "messages": [FIRST]}

    answer = await three.post(CHAT, json=body)

    assert answer.headers["X-Routeur-Trace-Provider"] == "a"
    assert json.loads(upstream.request.body) == {"model": "m", "messages": [FIRST]}


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"provider": {"sorted": "price"}}, "unknown `provider.sorted`; did you mean"),
        ({"provider": {"sort": "best"}}, "`provider.sort` must be price or"),
        ({"provider": {"only": ["nobody"]}}, "no target is left by the words of the body"),
        ({"provider": {"max_price": {"prompt": 0.1}}}, "costs 9 USD, more than"),
        ({"provider": {"data_collection": "deny"}}, "cannot promise provider.data_collection"),
    ],
)
async def test_words_that_cannot_be_heeded(three: Client, more: dict[str, Any], said: str) -> None:
    answer = await ask(three, "c/m", **more)

    assert answer.status == 400
    assert said in (await answer.json())["error"]["message"]


async def test_openrouter_gets_its_words(make_router: MakeRouter, upstream: Upstream) -> None:
    upstream.answers(OK)
    router = await make_router(
        providers={
            "openrouter": {
                "preset": "openrouter",
                "api_key": "k",
                "base_url": f"{upstream.url}/v1",
                "models": {"x/y": {}, "z": {"id": "x/z"}},
            }
        }
    )
    for asked, sent in (("x/y", b'"x/y"'), ("z", b'"x/z"')):
        raw = b'{"model":"%b", "provider":{"sort":"price","quantizations":["fp8"]}}'
        answer = await router.post(CHAT, data=raw % asked.encode())
        assert answer.status == 200
        assert upstream.request.body == raw.replace(b'"%b"', b"%b") % sent
    raw = b'{"models":["x/y","z"],"messages":[]}'
    assert (await router.post(CHAT, data=raw)).status == 200
    assert upstream.request.body == raw


async def test_words_that_only_openrouter_knows_leave_a_conversations_own_target(
    make_router: MakeRouter, upstream: Upstream
) -> None:
    """Even within a loop of tools: it is the words that rule it out, and no mistake."""
    providers = {
        "or": {"preset": "openrouter", "api_key": "o", "base_url": upstream.url, "models": ["x"]},
        "a": place(upstream, "at-a", models=["m"]),
    }
    router = await make_router(
        providers=providers, aliases={"own": ["or/x", "a/m"]}, retries={"attempts": 2}
    )
    upstream.sends(FAILED)
    upstream.answers(OK)
    assert await who(router, "own", user="u") == "a"
    said = await told(router, "own", LOOP, user="u", provider={"new_word": 1})
    assert said["targets"] == ["or/x"]
    assert said["why"] == "leaves a/m within a tool loop, as it does not know provider.new_word"


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("openai", ["openai/m"]),  # the others speak its dialect, and are somebody else
        ("OpenAI", ["openai/m"]),
        ("deepseek", ["d/m"]),
        ("anthropic", ["x/m", "y/m"]),  # nobody else is called so
        ("x/turbo", ["x/m"]),
    ],
)
async def test_words_mean_who_the_header_would(
    make_router: MakeRouter, upstream: Upstream, word: str, expected: list[str]
) -> None:
    one = {"models": ["m"], "api_key": "k", "base_url": upstream.url}
    router = await make_router(
        providers={
            **dict.fromkeys(KEYS),
            "d": {"preset": "deepseek", **one},
            "openai": {"dialect": "openai", **one},
            "other": {"dialect": "openai", **one},
            "x": {"dialect": "anthropic", **one},
            "y": {"dialect": "anthropic", **one},
        },
        aliases={"fast": None},
    )
    assert (await told(router, "m", provider={"only": [word]}))["targets"] == expected
    said = await told(router, "m", provider={"ignore": [word]})
    assert not set(said["targets"]) & set(expected)
    assert len(said["targets"]) == 5 - len(expected)


async def test_a_name_that_a_key_may_use_allows_no_other(
    make_router: MakeRouter, upstream: Upstream
) -> None:
    master = "m-" + "0" * 30
    providers = {name: place(upstream, name, models=[f"m{name}"]) for name in "ab"}
    router = await make_router(
        providers=providers, auth={"master_key": master, "management_key": "x-" + "1" * 30}
    )
    upstream.answers(OK)
    made = await router.post(
        "/api/v1/keys",
        json={"name": "k", "allowed_models": ["ma"]},
        headers={"Authorization": "Bearer x-" + "1" * 30},
    )
    key = {"Authorization": f"Bearer {(await made.json())['key']}"}
    await router.router.books.learn_keys()

    said = await told(router, "ma", headers=key, models=["ma", "mb"])
    assert said["targets"] == ["a/ma"]
    assert "may not use" in said["rejected"][0]["why"]
    answer = await ask(router, "ma", headers={**key, "Routeur-Model": "mb"})
    assert answer.status == 403


async def test_an_order_is_no_other_model(make_router: MakeRouter, upstream: Upstream) -> None:
    any_name = place(upstream, "any")
    router = await make_router(
        providers={"a": place(upstream, "at-a", models=["m"]), "any": any_name},
        aliases={"fast": ["a/m"]},
    )
    allowed = Key("h", "k", "l", allowed_models=("auto", "fast", "x"))
    caller = Caller("k", infers=True, manages=False, id="h", key=allowed)
    chooser, found = router.router.proxy.routing.chooser, match("POST", CHAT)
    assert found is not None

    def asked(model: str) -> tuple[Target, ...]:
        facts = Facts(Inbound(()), *found, CHAT, "", caller)
        facts.take(json.dumps({"model": model}).encode())
        return chooser.plan(facts).targets

    for model in ("auto:price", "fast:quality", "fast:floor", "x:nitro"):
        assert asked(model)
    for model in ("fast:other", "m:price", "y:nitro"):
        with pytest.raises(Forbidden):
            asked(model)


# ---- marks for caches


async def test_marks(make_router: MakeRouter, upstream: Upstream) -> None:
    router = await make_router(cache_marks="auto")
    system = "You are careful. " * 2000
    body = {"model": "claude-sonnet-4-5", "max_tokens": 9, "system": system, "messages": [FIRST]}
    upstream.answers(b'{"type":"message","content":[],"usage":{"input_tokens":1}}')
    for _ in range(2):
        answer = await router.post("/v1/messages", json=body)
        assert answer.status == 200
        assert b'"cache_control":{"type":"ephemeral"}' in upstream.request.body
    answer = await router.post("/v1/messages", json={**body, "system": "Short."})
    assert b"cache_control" not in upstream.request.body
    chat = {"model": "claude-sonnet-4-5", "messages": [{"role": "system", "content": system}]}
    chat["messages"].append(FIRST)
    await router.post(CHAT, json=chat)
    assert upstream.request.path == "/v1/messages"
    assert "cache_control" in json.loads(upstream.request.body)["system"][-1]


async def test_no_marks_by_default(router: Client, upstream: Upstream) -> None:
    body = {"model": "claude-x", "system": "Be careful. " * 2000, "messages": [FIRST]}
    raw = json.dumps(body).encode()
    await router.post("/v1/messages", data=raw)

    assert upstream.request.body == raw


# ---- difficulty


CLASSIFIER = """
def difficulty(view):
    if view.text == "fail":
        raise ValueError("secret")
    return "hard" if "prove" in view.text else "easy"
"""


async def test_difficulty(
    make_router: MakeRouter,
    upstream: Upstream,
    tmp_path: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "mine.py").write_text(CLASSIFIER)
    monkeypatch.chdir(tmp_path)
    router = await make_router(
        auto={"classifier": "mine:difficulty", "models": ["openai/gpt-4o-mini"]},
        rules=[{"name": "hard", "match": {"difficulty": ["hard"]}, "to": ["openai/gpt-5"]}],
    )
    upstream.answers(OK)
    for text, expected in (("prove it", "rule:hard"), ("hello", "auto"), ("fail", "auto")):
        said = await told(router, "auto", [{"role": "user", "content": text}])
        assert said["route_reason"] == expected
    logged: list[str] = []
    monkeypatch.setattr(router.router.log, "counted", lambda name, text: logged.append(text))
    for _ in range(3):
        await ask(router, "auto", [{"role": "user", "content": "fail"}])
    router.router._count()
    assert set(logged) == {"auto.classifier has failed: ValueError"}
    logged.clear()
    router.router._count()
    assert logged == []


# ---- explained


async def test_the_trace_keeps_why(three: Client) -> None:
    answer = await ask(three, "auto:quality", headers={"X-Session-Id": "s"})
    choice = (await three.trace(answer))["choice"]

    assert choice["strategy"] == "quality"
    assert choice["why"] == "has the best score"
    assert choice["conversation"] == "x-session-id"
    assert [score["target"] for score in choice["scores"]] == ["c/m", "a/m", "b/m"]
    assert choice["rejected"] == []
    assert (await three.trace(await ask(three, "a/m")))["choice"] is None


async def test_a_dry_run_tells_all(three: Client) -> None:
    said = await told(three, "auto", LOOP, max_tokens=1000, stream=True)

    assert said["strategy"] == "price"
    assert said["route_reason"] == "auto"
    assert [score["target"] for score in said["scores"]] == ["b/m", "a/m", "c/m"]
    assert (
        said["facts"].items()
        >= {
            "stream": True,
            "has": [],
            "output": 1000,
            "conversation": "opening",
            "tool_loop": True,
        }.items()
    )
    tokens = said["facts"]["tokens"]
    assert said["estimate"] == {
        "input_tokens": tokens,
        "most_output_tokens": 1000,
        "cost_usd": pytest.approx(tokens / 1e6),
        "most_cost_usd": pytest.approx((tokens + 4000) / 1e6),
    }


# ---- many


async def test_five_hundred_targets_cost_no_more(
    make_router: MakeRouter, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is done for each target while what was worked out holds."""
    upstream.answers(OK)
    counts = {}
    for many in (5, 500):
        models = {f"m{n}": priced(1 + n / 100, context=1000 + n) for n in range(many)}
        router = await make_router(providers={"p": place(upstream, "p", models=models)})
        monkeypatch.setattr("routeur.score.FRESH", 60.0)
        tools = [{"type": "function"}]
        for _ in range(2):
            await ask(router, "auto", SECOND, tools=tools)
        counts[many] = await _opcodes(router, tools)

    assert counts[500] < 1.1 * counts[5]


async def _opcodes(router: Client, tools: Any) -> int:
    """Of the decisions about one request, by the size of a body that not all can take."""
    found = match("POST", CHAT)
    assert found is not None
    body = {"model": "auto", "messages": SECOND, "tools": tools, "max_tokens": 10}
    chooser = router.router.proxy.routing.chooser
    count = 0

    def tracer(frame: Any, event: str, argument: Any) -> Any:
        nonlocal count
        frame.f_trace_opcodes = True
        count += event == "opcode"
        return tracer

    for turn in range(2):
        facts = Facts(Inbound(()), *found, CHAT, "", OPEN)
        facts.take(json.dumps(body).encode())
        old = sys.gettrace()
        if turn:
            sys.settrace(tracer)
        try:
            decision = chooser.decide(chooser.plan(facts), facts)
        finally:
            sys.settrace(old)
    assert decision is not None
    return count
