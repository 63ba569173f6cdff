"""What stands beside the path: health, models, keys, dry run, traces, reload, drain."""

from __future__ import annotations

import asyncio
import json

import aiohttp
import pytest

import routeur.app
from routeur.errors import ConfigError
from tests.conftest import Client, MakeRouter, merged, parse, settings
from tests.fake import PATIENCE, Upstream

KEY = "a-master-key-of-some-length"
MANAGE = "a-management-key-of-some-length"
CHAT = "/v1/chat/completions"
BODY = {"model": "gpt-4o", "messages": [{"role": "user", "content": "hi"}]}
GEMINI = "/v1beta/models/gemini-2.5-flash:generateContent"
STREAM = b"".join(b'data: {"choices":[{"delta":{"content":"%d"}}]}\n\n' % n for n in range(9))

# ── health


async def test_healthz(router):
    assert (await router.get("/healthz")).status == 200
    assert (await router.get("/health/readiness")).status == 200


@pytest.mark.parametrize(
    "path", ["/healthz", "/health", "/health/readiness", "/vhealth", "/metrics"]
)
async def test_health_needs_no_key(make_router, path):
    router = await make_router(auth={"master_key": KEY})
    assert (await router.get(path)).status == 200


async def test_health(router):
    said = await (await router.get("/health")).json()
    assert said["credentials_available"] == said["total_credentials"] == 4  # echo is the fourth
    assert said["credentials_banned"] == 0
    assert {"openai", "anthropic", "google"} <= said["credentials"].keys()
    assert said["credentials"]["openai"].keys() >= {
        "type",
        "is_fallback",
        "is_banned",
        "weight",
        "current_rpm",
        "current_tpm",
        "limit_rpm",
        "limit_tpm",
    }


async def test_health_shows_no_secret(router, upstream):
    for path in ("/health", "/vhealth", "/metrics", "/v1/models"):
        said = await (await router.get(path)).text()
        assert "sk-at-" not in said
        assert str(upstream.port) not in said


async def test_vhealth_is_a_page(router):
    answer = await router.get("/vhealth")
    assert answer.content_type == "text/html"
    assert "openai" in await answer.text()


async def test_metrics(router, upstream):
    upstream.answers(b'{"usage":{"prompt_tokens":3,"completion_tokens":4}}')
    await (await router.post(CHAT, json=BODY)).read()
    said = await (await router.get("/metrics")).text()
    requests = [line for line in said.splitlines() if line.startswith("routeur_requests_total{")]
    assert any('provider="openai"' in line and 'status="200"' in line for line in requests)
    for name in (
        "routeur_request_duration_seconds",
        "routeur_overhead_seconds",
        "routeur_inflight",
    ):
        assert name in said


async def test_whoever_has_no_valid_key_is_counted(make_router):
    router = await make_router(auth={"master_key": "m" * 32})
    for path in (CHAT, "/v1/models", "/nobody/x"):
        assert (await router.post(path, json=BODY)).status == 401
    assert (await router.get("/v1/traces/x", headers={"x-api-key": "m" * 32})).status == 404
    said = await (await router.get("/metrics")).text()
    requests = [line for line in said.splitlines() if line.startswith("routeur_requests_total{")]
    assert requests == [
        'routeur_requests_total{dialect="openai",model="none",provider="none",status="401"} 3.0'
    ]


async def test_names_that_clients_invent_are_no_labels(router, upstream):
    for number in range(5):
        await router.post(CHAT, json=BODY | {"model": f"invented-{number}"})
    assert "invented" not in await (await router.get("/metrics")).text()


# ── models


async def test_models_as_openai(router):
    said = await (await router.get("/v1/models")).json()
    assert said["object"] == "list"
    ids = [model["id"] for model in said["data"]]
    assert {"gpt-4o", "fast"} <= {*ids}
    assert all(model["object"] == "model" for model in said["data"])


async def test_models_as_anthropic(router):
    answer = await router.get("/v1/models", headers={"anthropic-version": "2023-06-01"})
    said = await answer.json()
    assert said.keys() >= {"data", "has_more", "first_id", "last_id"}
    assert all(model["type"] == "model" for model in said["data"])


async def test_models_as_gemini(router):
    said = await (await router.get("/v1beta/models")).json()
    assert all(model["name"].startswith("models/") for model in said["models"])


async def test_one_model(router):
    assert (await (await router.get("/v1/models/gpt-4o")).json())["id"] == "gpt-4o"
    missing = await router.get("/v1/models/nothing")
    assert missing.status == 404
    assert (await missing.json())["error"]["code"] == "model_not_found"


async def test_models_need_a_key(make_router):
    router = await make_router(auth={"master_key": KEY})
    assert (await router.get("/v1/models")).status == 401
    assert (await router.get("/v1/models", headers={"x-api-key": KEY})).status == 200


# ── keys

WAYS = {
    "bearer": ({"Authorization": f"Bearer {KEY}"}, ""),
    "lower-case bearer": ({"authorization": f"bearer {KEY}"}, ""),
    "x-api-key": ({"x-api-key": KEY}, ""),
    "x-goog-api-key": ({"x-goog-api-key": KEY}, ""),
    "query": ({}, f"?key={KEY}"),
}
ASKED = {
    "openai": (CHAT, BODY),
    "anthropic": ("/v1/messages", {"model": "claude-x", "messages": []}),
    "gemini": (GEMINI, {"contents": []}),
    "raw": ("/openai/v1/anything", {}),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("dialect", ASKED)
async def test_four_ways_of_a_key(make_router, upstream, dialect, way):
    """All of them open every path, and none reaches the provider, which gets its own key."""
    upstream.answers(b"{}")
    router = await make_router(auth={"master_key": KEY})
    headers, query = WAYS[way]
    path, body = ASKED[dialect]

    answer = await router.post(path + query, json=body, headers=headers)

    assert answer.status == 200
    sent = upstream.request
    assert KEY not in repr((sent.target, sent.headers, sent.body))
    assert "sk-at-" in repr(sent.headers)


@pytest.mark.parametrize("given", [None, "wrong", KEY[:-1], KEY + "x", ""])
@pytest.mark.parametrize("dialect", ASKED)
async def test_wrong_key(make_router, upstream, dialect, given):
    router = await make_router(auth={"master_key": KEY})
    path, body = ASKED[dialect]
    headers = {} if given is None else {"Authorization": f"Bearer {given}"}

    answer = await router.post(path, json=body, headers=headers)

    assert answer.status == 401
    error = (await answer.json())["error"]
    if dialect == "gemini":
        assert (error["code"], error["status"]) == (401, "UNAUTHENTICATED")
    else:
        assert error["type"] == "authentication_error"
    assert upstream.requests == []


async def test_odd_keys(make_router, upstream):
    """Nothing that can stand in a header is more than a wrong key."""
    router = await make_router(auth={"master_key": KEY})
    for given in ("Basic YTpi", "Bearer", "Bearer  ", KEY * 100, "Bearer \xff\xfe", "' OR 1=1 --"):
        answer = await router.raw(
            b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
            b"Content-Length: 0\r\nAuthorization: " + given.encode("latin-1") + b"\r\n\r\n"
        )
        assert answer.startswith((b"HTTP/1.1 401", b"HTTP/1.1 400")), (given, answer)


async def test_connection_cannot_take_the_key_away(make_router, upstream):
    """`Connection: authorization` is between two hops; who calls is read before."""
    upstream.answers(b"{}")
    router = await make_router(auth={"master_key": KEY})
    headers = {"Authorization": f"Bearer {KEY}", "Connection": "authorization, keep-alive"}
    assert (await router.post(CHAT, json=BODY, headers=headers)).status == 200
    assert upstream.request.header("authorization") == "Bearer sk-at-openai"


async def test_management_key_does_not_infer(make_router, upstream):
    router = await make_router(auth={"master_key": KEY, "management_key": MANAGE})
    for path, body in ASKED.values():
        answer = await router.post(path, json=body, headers={"x-api-key": MANAGE})
        assert answer.status == 403
    assert upstream.requests == []


async def test_who_may_see_traces(make_router, upstream):
    """The key that made the call, and management."""
    upstream.answers(b"{}")
    router = await make_router(auth={"master_key": KEY, "management_key": MANAGE})
    answer = await router.post(CHAT, json=BODY, headers={"x-api-key": KEY})
    path = f"/v1/traces/{answer.headers['X-Routeur-Trace-Id']}"
    assert (await router.get(path)).status == 401
    assert (await router.get(path, headers={"x-api-key": KEY})).status == 200
    assert (await router.get(path, headers={"x-api-key": MANAGE})).status == 200


# ── traces


async def test_trace(router, upstream):
    upstream.answers(
        b'{"usage":{"prompt_tokens":9,"completion_tokens":4,"prompt_tokens_details":'
        b'{"cached_tokens":5}}}'
    )
    answer = await router.post(CHAT, json=BODY | {"model": "fast"})
    await answer.read()
    trace = await router.trace(answer)
    assert trace["request_id"] == answer.headers["X-Request-Id"]
    assert (trace["provider"], trace["model"]) == ("openai", "gpt-4o-mini")
    assert trace["requested_model"] == "fast"
    assert trace["route_reason"] == "alias:fast"
    assert (trace["dialect_in"], trace["dialect_out"]) == ("openai", "openai")
    assert (trace["status_code"], trace["stream"]) == (200, False)
    assert [attempt["status"] for attempt in trace["attempts"]] == [200]
    assert trace["usage"]["input"] == 4
    assert trace["usage"]["cache_read"] == 5
    assert (trace["usage"]["input_total"], trace["usage"]["output_total"]) == (9, 4)
    assert trace["cost_usd"] is None or trace["cost_usd"] > 0
    assert 0 < trace["first_byte_ms"] <= trace["latency_ms"]


async def test_head_of_a_trace(router, upstream):
    upstream.answers(b"{}")
    answer = await router.post(CHAT, json=BODY)
    known = await router.head(f"/v1/traces/{answer.headers['X-Routeur-Trace-Id']}")
    assert known.status == 200
    assert known.headers["X-Routeur-Trace-Status"] == "200"
    assert known.headers["X-Routeur-Trace-Provider"] == "openai"
    assert (await router.head("/v1/traces/tr_nothing")).status == 404
    assert (await router.get("/v1/traces/tr_nothing")).status == 404


async def test_no_secret_is_in_a_trace_or_log(make_router, upstream, capfd):
    upstream.answers(b"{}")
    router = await make_router(auth={"master_key": KEY})
    answer = await router.post(f"{CHAT}?key={KEY}", json=BODY)
    trace = await router.get(
        f"/v1/traces/{answer.headers['X-Routeur-Trace-Id']}", headers={"x-api-key": KEY}
    )
    logged = "".join(capfd.readouterr())
    for place in (await trace.text(), logged, str(answer.headers)):
        assert KEY not in place
        assert "sk-at-" not in place


async def test_routeur_trace_block(router, upstream):
    """Only asked for is an answer touched: one block more, and everything else as it was."""
    upstream.answers(b'{ "id": "x",\n "big": 12345678901234567890123, "odd": 1.0 }')
    answer = await router.post(CHAT, json=BODY, headers={"Routeur-Trace": "true"})
    raw = await answer.read()
    said = json.loads(raw)
    assert said["routeur"]["provider"] == "openai"
    assert b"12345678901234567890123" in raw
    assert said["id"] == "x"


async def test_no_routeur_trace_block(router, upstream):
    body = b'{ "id": "x" }'
    upstream.answers(body)
    answer = await router.post(CHAT, json=BODY, headers={"Routeur-Trace": "false"})
    assert await answer.read() == body


# ── who answers


@pytest.mark.parametrize("dialect", ["openai", "anthropic", "gemini"])
async def test_dry_run(router, upstream, dialect):
    """Says who would answer, and asks nobody."""
    path, body = ASKED[dialect]
    answer = await router.post(path, json=body, headers={"Routeur-Dry-Run": "true"})
    assert answer.status == 200
    said = (await answer.json())["routeur"]
    assert said["targets"] == [f"{said['provider']}/{said['model']}"]
    assert said["route_reason"] == "model"
    assert said.keys() >= {"request_id", "requested_model", "rejected", "estimate"}
    assert upstream.requests == []


async def test_dry_run_names_the_rejected(router):
    headers = {"Routeur-Dry-Run": "true"}
    asked = {"model": "fast", "prompt": "hi"}
    answer = await router.post("/v1/completions", json=asked, headers=headers)
    said = (await answer.json())["routeur"]
    assert said["targets"] == ["openai/gpt-4o-mini"]
    assert {each["target"] for each in said["rejected"]} == {
        "anthropic/claude-haiku-4-5",
        "google/gemini-2.5-flash",
    }
    assert all(each["why"] for each in said["rejected"])


@pytest.mark.parametrize(
    ("headers", "reason"),
    [
        ({"Routeur-Provider": "openai"}, "header"),
        ({"Routeur-Model": "gpt-4o"}, "header"),
        ({"vendor": "openai"}, "vendor"),
        ({"vendor": "auto"}, "model"),
        ({}, "model"),
    ],
)
async def test_reasons(router, upstream, headers, reason):
    upstream.answers(b"{}")
    answer = await router.post(CHAT, json=BODY, headers=headers)
    assert answer.headers["X-Routeur-Trace-Reason"] == reason


@pytest.mark.parametrize("dialect", ["openai", "anthropic", "gemini"])
async def test_unknown_model(router, upstream, dialect):
    path, body = ASKED[dialect]
    path = path.replace("gemini-2.5-flash", "gpd-4o")
    answer = await router.post(path, json=body | {"model": "gpd-4o"})
    assert answer.status == 404
    error = (await answer.json())["error"]
    assert "gpd-4o" in error["message"]
    if dialect == "openai":
        assert error["code"] == "model_not_found"
        assert "gpt-4o" in error["message"]  # the near match
    assert upstream.requests == []


async def test_unknown_provider(router):
    answer = await router.post(CHAT, json=BODY, headers={"Routeur-Provider": "opnai"})
    assert answer.status == 404
    assert (await answer.json())["error"]["code"] == "provider_not_found"


async def test_unknown_path(router, upstream):
    for path in ("/", "/nothing", "/nothing/at/all", "/v2/chat/completions"):
        assert (await router.post(path, json=BODY)).status == 404
    assert upstream.requests == []


async def test_an_unknown_path_is_logged(make_router, capsys):
    """Else who looks for calls that do not come finds nothing; the query may hold a key."""
    router = await make_router(log={"level": "info", "format": "json"})
    await router.post("/responses?key=hidden", json=BODY)
    (line,) = (each for each in capsys.readouterr().err.splitlines() if "not_found" in each)
    assert "POST /responses" in line and "hidden" not in line


@pytest.mark.parametrize(
    ("asked", "meant"),
    [
        ("/responses", "/v1/responses"),
        ("/embeddings", "/v1/embeddings"),
        ("/v1/chat/completions/", "/v1/chat/completions"),
        ("//v1/chat/completions", "/v1/chat/completions"),
        ("/v1/v1/chat/completions", "/v1/chat/completions"),
        ("/api/v1/chat/completions", "/v1/chat/completions"),
        ("/v1/v1/messages", "/v1/messages"),
        ("/messages", "/v1/messages"),
        ("/v1beta/v1beta/models/m:generateContent", "/v1/models/m:generateContent"),
        ("/models/m:generateContent", "/v1/models/m:generateContent"),
    ],
)
async def test_another_base_url_is_told(router, upstream, asked, meant):
    """In the client's dialect, and by nobody's provider."""
    said = await (await router.post(asked, json=BODY)).json()
    assert f'did you mean "{meant}"' in said["error"]["message"]
    assert ("request_id" in said) == ("messages" in asked)
    assert (said["error"].get("status") == "NOT_FOUND") == ("models" in asked)
    assert not upstream.requests


async def test_a_provider_may_be_called_like_a_path(make_router, upstream):
    upstream.answers(b"{}")
    images = {"dialect": "openai", "base_url": upstream.url, "api_key": "k"}
    router = await make_router(providers={"images": images})
    assert (await router.post("/images/generations", json=BODY)).status == 200
    assert upstream.request.target == b"/generations"


async def test_several_owners_of_a_path(make_router, upstream):
    """A path without a model belongs to the only provider of its dialect; of two neither."""
    second = {"dialect": "openai", "base_url": f"{upstream.url}/v1"}
    router = await make_router(providers={"second": second})
    answer = await router.get("/v1/files")
    assert answer.status == 404
    assert "openai" in (await answer.json())["error"]["message"]
    upstream.answers(b"{}")
    pinned = await router.get("/v1/files", headers={"Routeur-Provider": "second"})
    assert pinned.status == 200


async def test_echo_answers_when_nobody_else_is_there(make_router):
    """No provider configured at all: the built-in one serves any name."""
    router = await make_router(providers=None, aliases=None)
    answer = await router.post(CHAT, json=BODY)
    assert answer.status == 200
    assert "hi" in (await answer.json(content_type=None))["choices"][0]["message"]["content"]


async def test_echo_answers_no_get(make_router):
    router = await make_router(providers=None, aliases=None)
    listed = await router.get(CHAT)
    assert listed.status == 404
    said = (await listed.json())["error"]["message"]
    assert said == "echo does not answer GET /v1/chat/completions"


# ── reload


async def test_reload(router, upstream):
    """New requests see the new table; the answers under way end as they began."""
    upstream.answers(STREAM, hold=100)
    upstream.answers(b"{}")
    under_way = await router.post(CHAT, json=BODY)
    assert (await router.post(CHAT, json=BODY | {"model": "new"})).status == 404

    changes = {"aliases": {"new": ["openai/gpt-4o"]}}
    router.router.reload(parse(merged(settings(upstream), changes)))

    assert (await router.post(CHAT, json=BODY | {"model": "new"})).status == 200
    upstream.release()
    assert await under_way.read() == STREAM


async def test_reload_without_the_provider_under_way(router, upstream):
    """A stream of a provider that the new configuration does not have goes on to its end."""
    upstream.answers(STREAM, hold=100)
    under_way = await router.post(CHAT, json=BODY)

    without = merged(settings(upstream), {"providers": {"openai": None}, "aliases": None})
    router.router.reload(parse(without))

    assert (await router.post(CHAT, json=BODY)).status == 404
    upstream.release()
    assert await under_way.read() == STREAM


async def test_reload_changes_keys(router, upstream):
    upstream.answers(b"{}")
    changes = {"auth": {"master_key": KEY}}
    assert (await router.post(CHAT, json=BODY)).status == 200  # and the connection stays open
    router.router.reload(parse(merged(settings(upstream), changes)))
    assert (await router.post(CHAT, json=BODY)).status == 401
    assert (await router.post(CHAT, json=BODY, headers={"x-api-key": KEY})).status == 200


async def test_reload_does_not_open_what_a_key_guards(make_router, upstream):
    """Where it listens stays as it is, so a file that would do for loopback may not do here."""
    router = await make_router(server={"host": "0.0.0.0"}, auth={"master_key": KEY})
    with pytest.raises(ConfigError, match="reached from elsewhere"):
        router.router.reload(parse(settings(upstream)))
    assert (await router.post(CHAT, json=BODY)).status == 401


async def test_reload_changes_the_log(router, upstream, capfd):
    router.router.reload(parse(merged(settings(upstream), {"log": {"level": "error"}})))
    await router.post(CHAT, json={})
    await router.get("/metrics")
    assert '"event":"call"' not in capfd.readouterr().err


# ── the end


async def test_drain(make_router, upstream):
    """A stream under way ends as it should; nobody new is let in."""
    upstream.answers(STREAM, hold=100)
    router = await make_router(server={"drain": "5s"})
    under_way = await router.post(CHAT, json=BODY)
    idle = await router.connect()

    stopping = asyncio.create_task(router.router.stop())
    async with asyncio.timeout(PATIENCE):
        assert await idle[0].read() == b""
    with pytest.raises(aiohttp.ClientConnectorError):
        async with aiohttp.ClientSession() as session:
            await session.get(f"{router.url}/healthz")
    assert not stopping.done()

    upstream.release()
    assert await under_way.read() == STREAM
    await asyncio.wait_for(stopping, PATIENCE)
    idle[1].close()
    await upstream.request.connection.wait_closed()


async def test_drain_has_an_end(make_router, upstream):
    """What is not over by then is broken off visibly."""
    upstream.answers(STREAM, hold=100)
    router = await make_router(server={"drain": "100ms"})
    under_way = await router.post(CHAT, json=BODY)

    await asyncio.wait_for(router.router.stop(), PATIENCE)

    with pytest.raises(aiohttp.ClientError):
        await under_way.read()
    await upstream.request.connection.wait_closed()


async def test_stop_twice(make_router: MakeRouter):
    router = await make_router()
    await router.router.stop()
    await router.router.stop()


async def test_unix_socket(upstream: Upstream, tmp_path):
    path = tmp_path / "routeur.sock"
    config = merged(settings(upstream), {"server": {"host": f"unix:{path}"}})
    upstream.answers(STREAM)
    router = routeur.app.Router(parse(config))
    await router.start()
    async with aiohttp.ClientSession(connector=aiohttp.UnixConnector(str(path))) as session:
        answer = await session.post(f"http://localhost{CHAT}", json=BODY)
        assert await answer.read() == STREAM
    await router.stop()
    assert not path.exists()


async def test_a_served_unix_socket_is_not_taken(upstream: Upstream, tmp_path):
    config = merged(settings(upstream), {"server": {"host": f"unix:{tmp_path}/routeur.sock"}})
    first, second = routeur.app.Router(parse(config)), routeur.app.Router(parse(config))
    await first.start()
    with pytest.raises(OSError, match="in use"):
        await second.start()
    await first.stop()


async def test_a_draining_one_leaves_its_unix_socket_to_the_next(upstream: Upstream, tmp_path):
    path = tmp_path / "routeur.sock"
    config = merged(settings(upstream), {"server": {"host": f"unix:{path}"}})
    first, second = routeur.app.Router(parse(config)), routeur.app.Router(parse(config))
    upstream.answers(STREAM, before=[0.5])
    await first.start()
    async with aiohttp.ClientSession(connector=aiohttp.UnixConnector(str(path))) as session:
        asked = asyncio.create_task(session.post(f"http://localhost{CHAT}", json=BODY))
        await upstream.requested()
        stopping = asyncio.create_task(first.stop())
        while path.exists():  # noqa: ASYNC110
            await asyncio.sleep(0)
        await second.start()
        assert await (await asked).read() == STREAM
        await stopping
    assert path.exists()
    await second.stop()
    assert not path.exists()


async def test_two_at_once(make_router: MakeRouter, upstream: Upstream):
    """Two routeurs in one process share nothing."""
    upstream.answers(b"{}")
    first: Client = await make_router(auth={"master_key": KEY})
    second: Client = await make_router()
    assert (await first.post(CHAT, json=BODY)).status == 401
    assert (await second.post(CHAT, json=BODY)).status == 200
