"""Calls of keys with limits: reserved before each attempt, settled when they end."""

from __future__ import annotations

import asyncio
import json

import pytest

from routeur.calibration import FIRST_OUTPUT
from routeur.store.base import StoreUnavailable
from tests.fake import CLOSE, HOLD, PATIENCE, chunked, whole
from tests.virtual import AUTH, CENT, MASTER, PRICED, balance, bearer, give, settled, until

OK = json.dumps(
    {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "model": "gpt-4o",
        "choices": [
            {"index": 0, "message": {"role": "assistant", "content": "Hi"}, "finish_reason": "stop"}
        ],
        "usage": {"prompt_tokens": 10, "completion_tokens": 20, "total_tokens": 30},
    }
).encode()
COST = 10 + 2 * 20


def chat(model="gpt-4o", content="Hello!", **more):
    body = {"model": model, "messages": [{"role": "user", "content": content}], **more}
    return json.dumps(body).encode()


@pytest.fixture
async def bare(make_router):
    """A routeur whose provider has no answer yet."""
    return await make_router(auth=AUTH, providers=PRICED)


@pytest.fixture
async def router(bare, upstream):
    upstream.answers(OK)
    return bare


async def ask(router, secret, body=None, path="/v1/chat/completions"):
    answer = await router.post(path, data=body or chat(max_tokens=20), headers=bearer(secret))
    return answer, json.loads(await answer.read())


# ---- money


async def test_the_true_cost_is_booked(router):
    secret, key = await give(router, limit=CENT)
    answer, _ = await ask(router, secret)
    assert answer.status == 200

    found = await settled(router, key)
    assert (found.usage, found.usage_daily, found.reserved) == (COST, COST, 0)


async def test_the_highest_cost_is_reserved_meanwhile(bare, upstream):
    upstream.sends(HOLD, *[whole(OK)])
    secret, key = await give(bare, limit=CENT)
    asking = asyncio.create_task(ask(bare, secret, chat(max_tokens=1000)))
    await upstream.requested()

    found = await balance(bare, key)
    assert found.reserved >= 2 * 1000
    assert found.parallel == 1
    upstream.release()
    assert (await asking)[0].status == 200
    assert (await settled(bare, key)).usage == COST


async def test_what_does_not_fit_is_not_asked(router, upstream):
    secret, key = await give(router, limit=100)
    answer, said = await ask(router, secret, chat(max_tokens=1000))

    assert answer.status == 402
    assert said["error"]["code"] == "insufficient_balance"
    assert said["error"]["type"] == "billing_error"
    assert upstream.requests == []
    fits = int(said["error"]["message"].split("at most ")[1].split()[0])
    assert (await ask(router, secret, chat(max_tokens=fits + 1)))[0].status == 402
    assert (await ask(router, secret, chat(max_tokens=fits)))[0].status == 200
    assert (await settled(router, key)).usage == COST


async def test_a_cheaper_target_is_asked_instead(make_router, upstream):
    upstream.answers(OK)
    router = await make_router(
        auth=AUTH, providers=PRICED, aliases={"two": ["openai/gpt-4o", "openai/gpt-4o-mini"]}
    )
    secret, _ = await give(router, limit=1500)
    answer, _ = await ask(router, secret, chat("two", max_tokens=1000))

    assert answer.status == 200
    assert answer.headers["X-Routeur-Trace-Model"] == "gpt-4o-mini"


async def test_n_answers_are_reserved(router):
    secret, _ = await give(router, limit=1000)

    assert (await ask(router, secret, chat(max_tokens=400)))[0].status == 200
    assert (await ask(router, secret, chat(max_tokens=400, n=2)))[0].status == 402


async def test_without_a_price(router, upstream):
    secret, _ = await give(router, limit=CENT)
    for path, body in (
        ("/v1/chat/completions", chat("unpriced")),
        ("/openai/chat/completions", chat()),
        ("/v1/images/generations", chat()),
        ("/v1/files", b"{}"),
    ):
        answer, said = await ask(router, secret, body, path)
        assert (answer.status, said["error"]["code"]) == (403, "price_unknown"), path
    assert upstream.requests == []


async def test_without_a_price_where_that_is_allowed(make_router, upstream):
    upstream.answers(OK)
    router = await make_router(auth=AUTH, providers=PRICED, limits={"unpriced": "allow"})
    secret, key = await give(router, limit=CENT)

    assert (await ask(router, secret, chat("unpriced")))[0].status == 200
    assert (await settled(router, key)).usage == 0


async def test_counting_tokens_costs_nothing(bare, upstream):
    upstream.answers(b'{"input_tokens": 3}')
    secret, _ = await give(bare, limit=1)
    body = json.dumps({"model": "claude-x", "messages": [{"role": "user", "content": "Hi"}]})

    answer, _ = await ask(bare, secret, body.encode(), "/v1/messages/count_tokens")
    assert answer.status == 200


@pytest.mark.parametrize(
    ("path", "told"),
    [
        ("/v1/messages/count_tokens", {"totalTokens": 30_000}),
        ("/v1beta/models/claude-x:countTokens", {"input_tokens": 30_000}),
    ],
)
async def test_counting_tokens_in_another_dialect_costs_nothing(make_router, upstream, path, told):
    upstream.answers(json.dumps(told).encode())
    models = {"google": "gemini-x", "anthropic": "claude-x"}
    priced = {name: {"models": {m: {"price": {"input": 1}}}} for name, m in models.items()}
    router = await make_router(auth=AUTH, providers=priced)
    secret, key = await give(router, limit=1)
    said = "word " * 20_000
    body = {"model": "gemini-x", "messages": [{"role": "user", "content": said}]}
    if "v1beta" in path:
        body = {"contents": [{"role": "user", "parts": [{"text": said}]}]}

    answer, _ = await ask(router, secret, json.dumps(body).encode(), path)
    assert answer.status == 200
    assert len(upstream.requests) == 1
    assert (await settled(router, key)).usage == 0


async def test_many_at_once_never_pass_the_limit(bare, upstream):
    """As many as are covered are admitted, and no more, however many come at once."""
    usage = {"prompt_tokens": 90, "completion_tokens": 40, "total_tokens": 130}
    upstream.answers(json.dumps({**json.loads(OK), "usage": usage}).encode())
    body = chat(content="word " * 80, max_tokens=40)
    poor, _ = await give(bare, "poor", limit=1)
    _, said = await ask(bare, poor, body)
    most = round(float(said["error"]["message"].split("may cost $")[1].split(",")[0]) * 1e6)
    secret, key = await give(bare, limit=7 * most)
    answers = await asyncio.gather(*(ask(bare, secret, body) for _ in range(40)))

    assert sorted({answer.status for answer, _ in answers}) == [200, 402]
    assert sum(answer.status == 200 for answer, _ in answers) == 7
    assert (await settled(bare, key)).usage == 7 * 170


# ---- requests and tokens a minute, calls at the same time


async def test_requests_a_minute(router):
    secret, _ = await give(router, rpm=2)
    first, _ = await ask(router, secret)
    second, _ = await ask(router, secret)
    third, said = await ask(router, secret)

    assert first.headers["X-Routeur-RateLimit-Requests-Remaining"] == "1"
    assert second.headers["X-Routeur-RateLimit-Requests-Remaining"] == "0"
    assert "X-Routeur-RateLimit-Tokens-Remaining" not in first.headers
    assert (third.status, said["error"]["code"]) == (429, "rate_limit_exceeded")
    assert 50 <= int(third.headers["Retry-After"]) <= 60


async def test_tokens_a_minute(router):
    secret, _ = await give(router, tpm=100)
    first, _ = await ask(router, secret)
    refused, said = await ask(router, secret, chat(max_tokens=90))

    assert first.headers["X-Routeur-RateLimit-Tokens-Remaining"].isdecimal()
    assert refused.status == 429
    assert "tokens a minute" in said["error"]["message"]


async def test_calls_at_the_same_time(bare, upstream):
    upstream.sends(HOLD, *[whole(OK)])
    secret, key = await give(bare, max_parallel=1)
    asking = asyncio.create_task(ask(bare, secret))
    await upstream.requested()
    refused, said = await ask(bare, secret)
    assert refused.status == 429
    assert "same time" in said["error"]["message"]

    upstream.release()
    await asking
    await settled(bare, key)
    assert (await ask(bare, secret))[0].status == 200


# ---- faults


async def test_a_failed_attempt_costs_nothing(make_router, upstream):
    upstream.sends(whole(b"{}", 500))
    upstream.sends(whole(OK))
    router = await make_router(
        auth=AUTH,
        providers=PRICED,
        retries={"attempts": 2},
        aliases={"two": ["openai/gpt-4o", "openai/gpt-4o-mini"]},
    )
    secret, key = await give(router, limit=CENT)
    answer, _ = await ask(router, secret, chat("two", max_tokens=20))

    assert answer.status == 200
    assert (await settled(router, key)).usage == COST // 2


async def test_a_client_that_leaves_pays_for_what_came(bare, upstream):
    frame = b'data: {"choices":[{"index":0,"delta":{"content":"word word "}}]}\n\n'
    upstream.sends(chunked(frame * 4, len(frame), end=b""), HOLD)
    secret, key = await give(bare, limit=CENT)
    answer = await bare.post(
        "/v1/chat/completions", data=chat(stream=True, max_tokens=50), headers=bearer(secret)
    )
    await answer.content.readany()
    answer.close()

    found = await settled(bare, key)
    assert 0 < found.usage < 2 * 50 + 20


async def test_a_store_that_does_not_work(make_router, upstream, monkeypatch):
    async def fails(_):
        raise StoreUnavailable("the store does not answer")

    upstream.answers(OK)
    router = await make_router(auth=AUTH, providers=PRICED)
    secret, _ = await give(router, rpm=5)
    monkeypatch.setattr(router.router.books.store, "reserve", fails)
    answer, said = await ask(router, secret)

    assert (answer.status, said["error"]["code"]) == (503, "store_unavailable")
    assert (await ask(router, MASTER))[0].status == 200
    router.router.books.treasury.terms = type(router.router.books.treasury.terms)(offline=True)
    assert (await ask(router, secret))[0].status == 200


async def test_an_unlimited_key_reserves_nothing(router, monkeypatch):
    async def explode(_):
        raise AssertionError

    monkeypatch.setattr(router.router.books.store, "reserve", explode)
    secret, key = await give(router)

    for _ in range(3):  # also on the express
        assert (await ask(router, secret))[0].status == 200

    async def all_are_booked() -> bool:
        return (await balance(router, key)).usage == 3 * COST

    await until(all_are_booked)


# ---- what a key may use


async def test_allowed_models(router):
    secret, _ = await give(router, allowed_models=("gpt-4o-*",))
    refused, said = await ask(router, secret)

    assert (refused.status, said["error"]["code"]) == (403, "model_not_allowed")
    assert (await ask(router, secret, chat("gpt-4o-mini")))[0].status == 200
    listed = await (await router.get("/v1/models", headers=bearer(secret))).json()
    assert [each["id"] for each in listed["data"]] == ["auto", "fast", "gpt-4o-mini"]


async def test_allowed_providers(router):
    secret, _ = await give(router, allowed_providers=("anthropic",))
    refused, said = await ask(router, secret)

    assert (refused.status, said["error"]["code"]) == (403, "provider_not_allowed")


async def test_targets_that_a_key_may_not_use_are_left_out(make_router, upstream):
    upstream.answers(OK)
    router = await make_router(
        auth=AUTH, providers=PRICED, aliases={"two": ["openai/gpt-4o", "openai/gpt-4o-mini"]}
    )
    secret, _ = await give(router, allowed_models=("openai/gpt-4o-mini",))
    answer, _ = await ask(router, secret, chat("two"))

    assert answer.headers["X-Routeur-Trace-Model"] == "gpt-4o-mini"


async def test_a_change_of_a_key_reaches_the_express(router):
    secret, key = await give(router)
    for _ in range(3):
        assert (await ask(router, secret))[0].status == 200
    await router.router.books.store.change_key(key.hash, {"disabled": True})

    async def refused() -> bool:
        return (await ask(router, secret))[0].status != 200

    await until(refused)
    answer, said = await ask(router, secret)
    assert (answer.status, said["error"]["code"]) == (403, "key_disabled")


async def test_wrong_keys_slow_down(router):
    for _ in range(10):
        assert (await ask(router, "rtr_live_wrong"))[0].status == 401
    answer, said = await ask(router, "rtr_live_wrong")

    assert (answer.status, said["error"]["code"]) == (429, "rate_limit_exceeded")
    assert int(answer.headers["Retry-After"]) > 0
    assert (await ask(router, MASTER))[0].status == 200


async def test_a_broken_answer_is_billed(bare, upstream):
    upstream.sends(whole(OK)[:-20], CLOSE)
    secret, key = await give(bare, limit=CENT)
    answer, _ = await ask(bare, secret)

    assert answer.status == 502
    await settled(bare, key)


async def test_what_was_made_before_names_no_model(router, upstream):
    secret, _ = await give(router, allowed_models=("gpt-4o",))

    found = await router.get("/v1/responses/resp_1", headers=bearer(secret))
    assert found.status == 200
    for path in ("/openai/models", "/v1/files"):
        answer = await router.get(path, headers=bearer(secret))
        assert (await answer.json())["error"]["code"] == "model_not_allowed"


# ---- limits that requests try to get around


@pytest.mark.parametrize(
    "more",
    [
        {"max_tokens": "5000"},
        {"max_tokens": 5000.0},
        {"max_tokens": 10**30},
        {"max_tokens": 2**64 - 1, "n": 2**64 - 1},
        {"max_tokens": 100, "n": "100"},
        {"max_tokens": 100, "n": 100.0},
        {"max_output_tokens": 1},  # what other APIs call it
        {"generationConfig": {"maxOutputTokens": 1}},
    ],
)
async def test_odd_words_do_not_hide_what_a_request_may_cost(router, upstream, more):
    """The store gets numbers that every store has."""
    reserve, asked = router.router.books.store.reserve, []

    def noting(reservation):
        asked.append(reservation)
        return reserve(reservation)

    router.router.books.store.reserve = noting
    secret, _ = await give(router, limit=8000)
    answer, said = await ask(router, secret, chat(**more))

    assert (answer.status, said["error"]["code"]) == (402, "insufficient_balance")
    assert upstream.requests == []
    assert all(max(each.micro, each.input, each.output) < 1 << 53 for each in asked)


@pytest.mark.parametrize("odd", [0, -1, "many", "nan", "-5", True, None, [5], "9" * 99])
async def test_what_is_no_number_is_not_heeded(router, odd):
    secret, _ = await give(router, limit=CENT)
    answer, _ = await ask(router, secret, chat(max_tokens=odd, n=odd))
    assert answer.status == 200


@pytest.mark.parametrize(
    "config",
    [
        {"generationConfig": {"maxOutputTokens": 100, "candidateCount": 8}},
        {"generation_config": {"max_output_tokens": 100, "candidate_count": 8}},
    ],
)
async def test_gemini_has_two_spellings(make_router, upstream, config):
    upstream.answers(b"{}")
    models = {"gemini-x": {"price": {"input": 1, "output": 2}}}
    router = await make_router(auth=AUTH, providers={"google": {"models": models}})
    path, body = "/v1beta/models/gemini-x:generateContent", json.dumps({"contents": [], **config})
    poor, _ = await give(router, limit=1500)
    secret, _ = await give(router, limit=1700)

    assert (await ask(router, poor, body.encode(), path))[0].status == 402
    assert (await ask(router, secret, body.encode(), path))[0].status == 200


@pytest.mark.parametrize("effort", [{}, {"reasoning_effort": "high"}])
async def test_nobody_says_how_long_an_answer_may_be(make_router, upstream, effort):
    """Neither the request nor the catalogue: then it has the room that is reserved for it."""
    upstream.sends(HOLD, whole(b"{}", 500))
    models = {"claude-next": {"price": {"input": 0, "output": 1}}}
    terms = {"assumed_output": 3000}
    router = await make_router(auth=AUTH, providers={"anthropic": {"models": models}}, limits=terms)
    secret, key = await give(router, limit=100 * CENT)
    asking = asyncio.create_task(ask(router, secret, chat("claude-next", **effort)))
    sent = json.loads((await upstream.requested()).body)

    assert sent["max_tokens"] == (await balance(router, key)).reserved == 3000
    upstream.release()
    await asking


@pytest.mark.parametrize(
    "kept",
    [{"previous_response_id": "resp_x"}, {"conversation": "conv_x"}, {"prompt": {"id": "p"}}],
)
async def test_what_the_provider_keeps_may_be_long(make_router, upstream, kept):
    upstream.answers(b'{"usage": {"input_tokens": 7900, "output_tokens": 5}}')
    models = {"gpt-4o": {"context": 8000, "price": {"input": 1, "output": 2}}}
    router = await make_router(auth=AUTH, providers={"openai": {"models": models}})
    secret, key = await give(router, limit=9000)
    body = {"model": "gpt-4o", "input": "Go on.", "max_output_tokens": 100, **kept}
    path = "/v1/responses"

    assert (await ask(router, secret, json.dumps(body).encode(), path))[0].status == 200
    answer, said = await ask(router, secret, json.dumps(body).encode(), path)
    assert (answer.status, "would fit" in said["error"]["message"]) == (402, False)
    assert (await settled(router, key)).usage == 7910


async def test_a_speed_however_it_is_spelled(make_router, upstream):
    """What reaches the provider is what is paid for."""
    upstream.answers(OK)
    openai = {"preset": "openai", "dialect": None, "models": ["gpt-5.4"]}
    router = await make_router(auth=AUTH, providers={"openai": openai})
    spent = []
    for tier in ({}, {"serviceTier": "priority"}, {"serviceTier": "PRIORITY"}):
        secret, key = await give(router, str(tier), limit=100 * CENT)
        config = {"maxOutputTokens": 20}
        body = {"contents": [{"parts": [{"text": "Hi"}]}], "generationConfig": config, **tier}
        path = "/v1beta/models/gpt-5.4:generateContent"
        assert (await ask(router, secret, json.dumps(body).encode(), path))[0].status == 200
        assert json.loads(upstream.request.body).get("service_tier", "") == "priority" * bool(tier)
        spent.append((await settled(router, key)).usage)
    assert spent[1] == spent[2] > spent[0] > 0


@pytest.mark.parametrize("hour", ["1h", "\\u0031h", "1\\u0068"])
async def test_a_cache_for_an_hour_however_it_is_spelled(make_router, upstream, hour):
    upstream.answers(b"{}")
    price = {"input": 1, "output": 2, "cache_write_1h": 1000}
    router = await make_router(
        auth=AUTH, providers={"anthropic": {"models": {"claude-x": {"price": price}}}}
    )
    secret, _ = await give(router, limit=5000)
    mark = f'{{"type":"ephemeral","ttl":"{hour}"}}'
    body = (
        '{"model":"claude-x","max_tokens":9,"messages":[{"role":"user","content":[{"type":"text",'
        f'"text":"{"word " * 20}","cache_control":{mark}}}]}}]}}'
    )
    assert (await ask(router, secret, body.encode(), "/v1/messages"))[0].status == 402
    plain = body.replace(hour, "5m").encode()
    assert (await ask(router, secret, plain, "/v1/messages"))[0].status == 200


async def test_a_coding_does_not_hide_the_usage(router, upstream):
    """Providers that were asked for `br` would say what was used in a way that is not read."""
    secret, _ = await give(router, limit=CENT)
    free, _ = await give(router, max_parallel=9)
    for key, expected in ((secret, None), (free, "br")):
        headers = bearer(key) | {"Accept-Encoding": "br"}
        answer = await router.post("/v1/chat/completions", data=chat(), headers=headers)
        assert answer.status == 200
        assert upstream.request.header("accept-encoding") == expected


async def test_embeddings_need_no_price_of_output(router):
    secret, _ = await give(router, limit=CENT)
    body = json.dumps({"model": "text-embedding-3-small", "input": "Hello!"}).encode()
    assert (await ask(router, secret, body, "/v1/embeddings"))[0].status == 200


async def test_videos_of_videos_cost_something(router, upstream):
    secret, _ = await give(router, limit=CENT)
    answer, said = await ask(router, secret, b"{}", "/v1/videos/video_1/remix")
    assert (answer.status, said["error"]["code"]) == (403, "price_unknown")
    assert "this path" in said["error"]["message"]
    found = await router.get("/v1/videos/video_1", headers=bearer(secret))
    assert found.status == 200


async def test_who_is_refused_hears_that_nothing_is_left(router):
    secret, _ = await give(router, rpm=1)
    assert (await ask(router, secret))[0].status == 200
    answer, _ = await ask(router, secret)
    assert answer.status == 429
    assert answer.headers["X-Routeur-RateLimit-Requests-Remaining"] == "0"


# ---- attempts that are reserved too late


async def hedging(make_router):
    models = {name: {"price": {"input": 1, "output": 2}} for name in ("one", "two")}
    rule = {"name": "r", "match": {"model": "any"}, "to": ["openai/one", "openai/two"]}
    return await make_router(
        auth=AUTH,
        providers={"openai": {"models": models}},
        rules=[rule | {"hedge": "10ms"}],
        retries={"attempts": 2},
    )


async def test_a_rival_that_comes_too_late_holds_nothing(make_router, upstream):
    """The first answers, and is booked, while the store is asked for the second."""
    router = await hedging(make_router)
    upstream.sends(HOLD, whole(OK))
    secret, key = await give(router, limit=CENT)
    reserve = router.router.books.store.reserve

    asked_twice = asyncio.Event()

    async def late(asked):
        if asked.attempt == 1:
            return await reserve(asked)
        upstream.release()
        await settled(router, key)
        try:
            return await reserve(asked)
        finally:
            asked_twice.set()

    router.router.books.store.reserve = late
    answer, _ = await ask(router, secret, chat("any", max_tokens=20))

    assert answer.status == 200
    await asyncio.wait_for(asked_twice.wait(), PATIENCE)
    assert len(upstream.requests) == 1
    assert (await settled(router, key)).usage == COST
    assert router.router.books.treasury.open == {}


async def test_estimates_get_better_of_the_model_that_has_answered(make_router, upstream):
    router = await hedging(make_router)
    upstream.sends(HOLD, whole(OK))
    upstream.sends(HOLD)
    secret, key = await give(router, limit=CENT)
    asking = asyncio.create_task(ask(router, secret, chat("any", max_tokens=20)))
    await upstream.requested(2)
    (first,) = [each for each in upstream.requests if b'"one"' in each.body]
    first.connection.transport.write(whole(OK))
    assert (await asking)[0].status == 200
    await settled(router, key)

    calibration = router.router.books.treasury.calibration
    assert calibration.usual_output("openai/one") == 20
    assert calibration.usual_output("openai/two") == FIRST_OUTPUT


# ---- a store that does not work


async def test_what_only_a_credential_limits_goes_on(make_router, upstream, monkeypatch):
    """Several machines share a credential's limits; without the store each counts its own."""
    upstream.answers(OK)
    router = await make_router(auth=AUTH, providers={"openai": {**PRICED["openai"], "tpm": 10**6}})
    books = router.router.books
    monkeypatch.setattr(books.treasury, "shares", True)

    async def broken(asked):
        raise StoreUnavailable("the store does not answer")

    monkeypatch.setattr(books.store, "reserve", broken)
    plain, _ = await give(router)
    limited, _ = await give(router, limit=CENT)
    assert (await ask(router, plain))[0].status == 200
    assert (await ask(router, limited))[0].status == 503
