"""What passes in a call is kept with its trace where that is asked for, without secrets."""

from __future__ import annotations

import asyncio
import gzip
import json
from base64 import b64decode, b64encode
from pathlib import Path
from typing import Any
from urllib.parse import quote

import aiohttp
import pytest

from routeur import payloads
from routeur.endpoint import Endpoints
from routeur.payloads import MOST
from routeur.providers import Secret
from tests.conftest import KEYS, Client, MakeRouter, parse
from tests.fake import CLOSE, HOLD, Upstream, head
from tests.program import Program, ask
from tests.recording import recording
from tests.redis_server import Server
from tests.targets import ANTHROPIC, CHAT, TARGETS, answers, maker
from tests.targets import KEYS as TARGET_KEYS
from tests.targets import request as request_in
from tests.virtual import PRICED, bearer, give, until

MASTER, MANAGEMENT = "master-key/of+tests-0001", "management-key-of-tests-0002"
SALT = "salt-of-tests-0123456789"
AUTH = {"master_key": MASTER, "management_key": MANAGEMENT, "secret": SALT}
ON = {"payloads": True}
LAYERS = ["caller_request", "upstream_request", "upstream_response", "caller_response"]
ANSWER = b'{"choices":[{"message":{"content":"Hi \xc3\xa9"}}],"usage":{"prompt_tokens":1}}'
STREAM = recording("OpenAICommon-openai-gpt-5-simple_streaming").body
PATH = "/v1/chat/completions"


@pytest.fixture
async def router(make_router: MakeRouter) -> Client:
    return await make_router(bearer(MASTER), auth=AUTH, traces=ON, providers=PRICED)


def chat(content: str = "Hello", **more: Any) -> bytes:
    words = [{"role": "user", "content": content}]
    return json.dumps({"model": "gpt-4o", "messages": words, **more}).encode()


async def fetched(router: Client, id: str, key: str = MANAGEMENT) -> dict[str, Any]:
    """The payload of a call, where its trace says."""
    trace = await router.get(f"/v1/traces/{id}", headers=bearer(key))
    url = (await trace.json())["payload_url"]
    assert url == f"/v1/traces/{id}/payload"
    answer = await router.get(url, headers=bearer(key))
    assert (answer.status, answer.content_type) == (200, "application/json")
    found: dict[str, Any] = await answer.json()
    return found


async def kept(router: Client, answer: aiohttp.ClientResponse) -> dict[str, Any]:
    await answer.read()
    return await fetched(router, answer.headers["X-Routeur-Trace-Id"])


def bodies(found: dict[str, Any]) -> list[Any]:
    return [found[name].get("body") for name in found]


# ---- the four layers


async def test_a_copied_answer(router: Client, upstream: Upstream) -> None:
    upstream.answers(ANSWER, headers={"X-Provider": "p", "Set-Cookie": "a=b"})
    body = chat(model="openai/gpt-4o")
    answer = await router.post(PATH, data=body, headers={"X-App": "app"})

    found = await kept(router, answer)

    assert list(found) == LAYERS
    there = body.replace(b"openai/", b"").decode()
    assert bodies(found) == [body.decode(), there, ANSWER.decode(), ANSWER.decode()]
    headers = [found[name]["headers"] for name in LAYERS]
    assert headers[0]["x-app"] == headers[1]["x-app"] == "app"
    assert headers[0]["authorization"] == headers[1]["authorization"] == "***"
    assert headers[2]["x-provider"] == headers[3]["x-provider"] == "p"
    assert headers[3]["x-routeur-trace-id"] == answer.headers["X-Routeur-Trace-Id"]
    assert "host" not in headers[1] and "set-cookie" not in headers[2]


async def test_a_head_says_so(router: Client, upstream: Upstream) -> None:
    upstream.answers(ANSWER)
    id = (await router.post(PATH, data=chat())).headers["X-Routeur-Trace-Id"]

    answer = await router.head(f"/v1/traces/{id}")

    assert answer.headers["X-Routeur-Trace-Payload"] == "true"


@pytest.mark.parametrize("size", [7, 4096])
async def test_a_copied_stream(router: Client, upstream: Upstream, size: int) -> None:
    """Without the framing of its chunks, but whole."""
    upstream.answers(STREAM, chunk_size=size)
    answer = await router.post(PATH, data=chat(stream=True))
    text = await answer.text()

    found = await kept(router, answer)

    assert found["upstream_response"]["body"] == found["caller_response"]["body"] == text
    assert found["caller_request"]["body"] == chat(stream=True).decode()


async def test_the_second_of_two_alike(router: Client, upstream: Upstream) -> None:
    """The short cut for heads that were seen before is not taken."""
    upstream.answers(ANSWER)
    for _ in range(3):
        answer = await router.post(PATH, data=chat())
        assert list(await kept(router, answer)) == LAYERS


@pytest.mark.parametrize("stream", [False, True])
async def test_a_compressed_answer(router: Client, upstream: Upstream, stream: bool) -> None:
    """It is kept as it reads, as secrets could not be seen in it; the client gets it as it came."""
    plain = STREAM if stream else ANSWER.replace(b"Hi", KEYS["openai"].encode())
    headers = {"Content-Encoding": "gzip", "Content-Type": "text/event-stream"}
    if not stream:
        headers["Content-Type"] = "application/json"
    upstream.answers(gzip.compress(plain), headers=headers)

    answer = await router.post(PATH, data=chat(stream=stream), headers={"Accept-Encoding": "gzip"})
    found = await kept(router, answer)

    assert gzip.decompress(await answer.read()) == plain
    assert found["upstream_response"]["headers"]["content-encoding"] == "gzip"
    text = plain.decode().replace(KEYS["openai"], "***")
    assert found["upstream_response"]["body"] == found["caller_response"]["body"] == text


async def test_an_answer_in_a_coding_that_cannot_be_read(
    router: Client, upstream: Upstream
) -> None:
    upstream.answers(b"\x8b\x00", headers={"Content-Encoding": "br", "Content-Type": "text/plain"})

    found = await kept(router, await router.post(PATH, data=chat()))

    for layer in ("upstream_response", "caller_response"):
        assert [*found[layer]] == ["headers", "omitted"]
        assert found[layer]["omitted"] == "encoded"


@pytest.mark.parametrize("stream", [False, True])
async def test_a_translated_answer(
    make_router: MakeRouter, upstream: Upstream, stream: bool
) -> None:
    make = maker(make_router, upstream)
    router = await make(traces=ON, retries={"attempts": 1})
    name = "claude-sonnet-4-simple" + "_streaming" * stream
    answers(upstream, name)

    path, body = request_in(CHAT, TARGETS[ANTHROPIC], stream=stream)
    answer = await router.post(path, json=body)
    text = await answer.text()
    found = await fetched(router, answer.headers["X-Routeur-Trace-Id"])

    assert '"max_tokens"' in found["upstream_request"]["body"]
    assert '"max_tokens"' not in found["caller_request"]["body"]
    assert found["upstream_request"]["headers"]["x-api-key"] == "***"
    assert found["upstream_response"]["body"] == recording(name).body.decode()
    assert found["caller_response"]["body"] == text
    assert TARGET_KEYS[ANTHROPIC] not in json.dumps(found)


async def test_a_traced_answer(router: Client, upstream: Upstream) -> None:
    """Its block is the client's only."""
    upstream.answers(ANSWER)
    answer = await router.post(PATH, data=chat(), headers={"Routeur-Trace": "true"})

    found = await kept(router, answer)

    assert found["upstream_response"]["body"] == ANSWER.decode()
    assert found["caller_response"]["body"] == await answer.text() != ANSWER.decode()


async def test_a_stream_that_is_asked_for_usage(
    make_router: MakeRouter, upstream: Upstream
) -> None:
    """Also where the provider refuses the question first; what it says is withheld."""
    router = await make_router(traces=ON, providers={"openai": {"usage": "ask"}})
    usage = b'data: {"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":7}}\n\n'
    start = b'data: {"choices":[{"delta":{"content":"Hi"},"finish_reason":"stop"}]}\n\n'
    upstream.answers(start + usage + b"data: [DONE]\n\n")

    answer = await router.post(PATH, data=chat(stream=True))
    found = await kept(router, answer)

    assert "include_usage" in found["upstream_request"]["body"]
    assert "include_usage" not in found["caller_request"]["body"]
    assert usage.decode() in found["upstream_response"]["body"]
    assert found["caller_response"]["body"] == start.decode() + "data: [DONE]\n\n"

    upstream.answers(b'{"error":{"message":"Unrecognized argument: stream_options"}}', 400)
    upstream.answers(start + b"data: [DONE]\n\n")
    found = await kept(router, await router.post(PATH, data=chat(stream=True)))

    assert bodies(found)[:2] == [chat(stream=True).decode()] * 2
    assert bodies(found)[2] == bodies(found)[3] == start.decode() + "data: [DONE]\n\n"


async def test_of_two_side_by_side(make_router: MakeRouter, upstream: Upstream) -> None:
    rule = {"name": "r", "match": {"model": "any"}, "to": ["p/m", "q/m"], "hedge": "50ms"}
    here = {"dialect": "openai", "base_url": f"{upstream.url}/v1", "models": ["m"]}
    both = {name: {**here, "api_key": f"sk-at-{name}"} for name in "pq"}
    router = await make_router(traces=ON, providers=both, rules=[rule], retries={"attempts": 2})
    upstream.sends_to("sk-at-p", HOLD)
    upstream.sends_to("sk-at-q", head(200, [("Content-Length", str(len(ANSWER)))]) + ANSWER)

    answer = await router.post(PATH, data=chat(model="any"))
    assert answer.headers["X-Routeur-Trace-Provider"] == "q"
    found = await kept(router, answer)

    assert list(found) == LAYERS
    assert bodies(found)[2:] == [ANSWER.decode()] * 2
    upstream.release()


async def test_a_signed_request(make_router: MakeRouter, upstream: Upstream) -> None:
    """What identifies us at a cloud is a secret, too."""
    keys = {
        "access_key_id": "AKIA-of-tests-0001",
        "secret_access_key": "secret/access+key",
        "session_token": "token/of+a+session",
    }
    bedrock = {"dialect": "bedrock", "base_url": upstream.url, "region": "us-east-1", **keys}
    router = await make_router(traces=ON, providers={"aws": {**bedrock, "models": ["m"]}})
    words = " ".join(keys.values())
    upstream.answers(recording("test_bedrock_cache_write_and_read.1").body)

    answer = await router.post(PATH, data=chat(words, model="aws/m"))
    assert answer.status == 200
    found = await kept(router, answer)

    headers = found["upstream_request"]["headers"]
    assert headers["authorization"] == headers["x-amz-security-token"] == "***"
    assert "*** *** ***" in found["upstream_request"]["body"]
    for secret in keys.values():
        assert traces_of(secret, json.dumps(found)) == []


def test_secrets_of_the_configuration() -> None:
    """The proxy's password, and what is in no header of a request."""
    (provider,) = parse(
        {
            "providers": {
                "echo": "off",
                "p": {
                    "dialect": "openai",
                    "base_url": "https://h.example/v1",
                    "api_key": "sk-of-the-provider",
                    "proxy": "http://user:password-of-a-proxy@proxy:3128",
                    "headers": {"X-Team": "a-secret-of-sixteen", "X-Title": "My app"},
                },
            }
        }
    ).providers.values()
    endpoints = Endpoints([provider]).by_credential.values()
    found = payloads.redactor(endpoints, (Secret("master-key"), None), b"salt-of-tests")

    text = b"sk-of-the-provider password-of-a-proxy a-secret-of-sixteen master-key salt-of-tests"
    assert found.clean(text + b" My app") == b"*** *** *** *** *** My app"


async def test_layers_are_of_the_attempt_that_answers(
    make_router: MakeRouter, upstream: Upstream
) -> None:
    router = await make_router(traces=ON, retries={"attempts": 3}, ban={"after": 9})
    upstream.sends_to(KEYS["openai"], head(500, [("Content-Length", "5")]) + b"first")
    upstream.answers(recording("claude-sonnet-4-simple").body)

    answer = await router.post(PATH, data=chat(model="fast"))
    assert answer.status == 200
    found = await kept(router, answer)

    assert found["upstream_request"]["headers"]["x-api-key"] == "***"
    assert "claude-haiku" in found["upstream_request"]["body"]
    assert "first" not in json.dumps(found)


async def test_an_error_that_is_passed_on(make_router: MakeRouter, upstream: Upstream) -> None:
    """Nobody has done better than the last but one, which could not be reached."""
    router = await make_router(traces=ON, retries={"attempts": 2}, ban={"after": 9})
    error = b'{"error":{"message":"busy"}}'
    upstream.answers(error, 500)
    upstream.sends(CLOSE)

    answer = await router.post(PATH, data=chat())
    assert answer.status == 500
    found = await kept(router, answer)

    assert found["upstream_response"]["body"] == error.decode()
    assert found["caller_response"]["body"] == await answer.text() == error.decode()


# ---- without an answer of a provider's


@pytest.mark.parametrize("body", [b"{", chat(model="gpt-none"), chat(max_tokens="x", n=1)[:-1]])
async def test_an_own_error(router: Client, upstream: Upstream, body: bytes) -> None:
    answer = await router.post(PATH, data=body)
    assert answer.status in (400, 404)

    found = await kept(router, answer)

    assert list(found) == ["caller_request", "caller_response"]
    assert bodies(found) == [body.decode(), await answer.text()]
    assert found["caller_response"]["headers"]["x-request-id"] == answer.headers["X-Request-Id"]


async def test_a_key_without_money(router: Client, upstream: Upstream) -> None:
    secret, _ = await give(router, limit=1)
    answer = await router.post(PATH, data=chat(max_tokens=99), headers=bearer(secret))
    assert answer.status == 402

    found = await kept(router, answer)

    assert list(found) == ["caller_request", "caller_response"]
    assert "insufficient_balance" in found["caller_response"]["body"]
    assert secret not in json.dumps(found)


async def test_an_own_error_after_an_attempt(router: Client, upstream: Upstream) -> None:
    upstream.answers(b'{"error":{"message":"our key"}}', 401)

    answer = await router.post(PATH, data=chat())
    assert answer.status == 502
    found = await kept(router, answer)

    assert list(found) == LAYERS
    assert "our key" in found["upstream_response"]["body"]
    assert found["caller_response"]["body"] == await answer.text()


async def test_a_dry_run(router: Client, upstream: Upstream) -> None:
    answer = await router.post(PATH, data=chat(), headers={"Routeur-Dry-Run": "true"})

    found = await kept(router, answer)

    assert list(found) == ["caller_request", "caller_response"]
    assert found["caller_response"]["body"] == await answer.text()


@pytest.mark.parametrize("begun", [False, True])
async def test_a_client_that_leaves(router: Client, upstream: Upstream, begun: bool) -> None:
    """What has passed until then; not the beginning of a secret."""
    start = b'data: {"choices":[{"delta":{"content":"' + KEYS["openai"][:8].encode()
    upstream.answers(start + STREAM, **({"hold": len(start)} if begun else {"before": [HOLD]}))
    body = chat(stream=True)
    _, writer = await router.connect()
    lines = f"POST {PATH} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {MASTER}\r\n"
    lines += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    writer.write(lines.encode() + body)
    request = await upstream.requested()
    await request.done.wait()
    if begun:
        await asyncio.sleep(0.05)
    writer.transport.abort()
    await request.connection.wait_closed()

    async def over() -> bool:
        return len(router.router.traces) == 1

    await until(over)
    (id,) = router.router.traces._by_id
    found = await fetched(router, id)

    assert found["upstream_request"]["body"] == body.decode()
    assert ("upstream_response" in found) == begun
    if begun:
        assert found["upstream_response"]["body"] == start.decode()[:-8] + "***"


# ---- bodies of other kinds


async def test_a_binary_answer(router: Client, upstream: Upstream) -> None:
    sound = b"\xff\xfb\x90\x00" * 99 + KEYS["openai"].encode() + b"\x00\xff"
    upstream.answers(sound, headers={"Content-Type": "audio/mpeg"})

    answer = await router.post("/v1/audio/speech", data=chat(model="whisper-1"))
    found = await kept(router, answer)

    assert await answer.read() == sound
    for layer in ("upstream_response", "caller_response"):
        text = b64decode(found[layer]["body_base64"])
        assert text == sound.replace(KEYS["openai"].encode(), b"***")
        assert "body" not in found[layer]


async def test_a_form(router: Client, upstream: Upstream) -> None:
    """It is streamed, and not kept."""
    upstream.answers(b'{"text":"hi"}')
    form = b'--b\r\nContent-Disposition: form-data; name="model"\r\n\r\nwhisper-1\r\n--b--\r\n'
    answer = await router.post(
        "/v1/audio/transcriptions",
        data=form,
        headers={"Content-Type": "multipart/form-data; boundary=b"},
    )
    assert answer.status == 200

    found = await kept(router, answer)

    for layer in ("caller_request", "upstream_request"):
        assert [*found[layer]] == ["headers", "omitted"]
        assert found[layer]["omitted"] == "streamed"
    assert found["caller_response"]["body"] == '{"text":"hi"}'


@pytest.mark.parametrize("over", [0, 1, 9_000, 200_000])
async def test_large_bodies_are_cut(router: Client, upstream: Upstream, over: int) -> None:
    """Never within a secret, and never within a character."""
    key = KEYS["openai"]
    fill = MOST + over - len(b'{"a":""}')
    said = b'{"a":"' + b"x" * (fill % 2) + "é".encode() * (fill // 2) + b'"}'
    upstream.answers(said)
    body = chat("x" * (MOST - len(chat("")) - 6) + key + "x" * over)

    found = await kept(router, await router.post(PATH, data=body))

    for layer in ("upstream_response", "caller_response"):
        assert ("truncated" in found[layer]) == (over > 0)
        text = found[layer]["body"]
        assert said.decode().startswith(text) and len(text.encode()) in (MOST, MOST - 1)
    asked = found["caller_request"]["body"]
    assert len(asked) <= MOST and "sk-" not in asked


async def test_many_secrets_and_a_cut(router: Client, upstream: Upstream) -> None:
    """What is taken out moves the end: a part of a secret must not come into view."""
    said = json.dumps({"a": KEYS["openai"] * (MOST // 4)}).encode()
    upstream.answers(said)

    found = await kept(router, await router.post(PATH, data=chat()))

    assert found["upstream_response"]["truncated"]
    assert "sk-" not in json.dumps(found) and "at-o" not in json.dumps(found)


# ---- secrets


def spellings(secret: str) -> list[str]:
    raw = secret.encode()
    coded = [b64encode(b"{'a"[:n] + raw).decode() for n in range(3)]
    escaped = "".join(f"\\u{byte:04x}" for byte in raw)
    return [secret, quote(secret, safe=""), secret.replace("/", "\\/"), escaped, *coded]


def traces_of(secret: str, text: str) -> list[str]:
    """What of a secret is in a text; of base64 only what does not depend on what is around it."""
    plain = json.dumps(text) + text
    return [each for each in spellings(secret) if each[4:-4] in plain]


@pytest.mark.parametrize("stream", [False, True])
async def test_planted_secrets(make_router: MakeRouter, upstream: Upstream, stream: bool) -> None:
    """In each place, in each spelling."""
    header, other = "of-a-configured-header-0003", "cookie-of-tests/0004"
    changes = {"openai": {**PRICED["openai"], "headers": {"X-Team": header}}}
    router = await make_router(auth=AUTH, traces=ON, providers=changes)
    virtual, _ = await give(router)
    secrets = [*KEYS.values(), MASTER, MANAGEMENT, SALT, header, virtual, other]
    planted = " ".join(each for secret in secrets for each in spellings(secret))
    said = json.dumps({"choices": [{"message": {"content": planted}}]})
    if stream:
        said = f"data: {said}\n\ndata: [DONE]\n\n"
    upstream.answers(said, headers={"X-Echo": quote(planted)})
    headers = {"X-Said": quote(planted), "Cookie": f"session={other}", **bearer(virtual)}

    answer = await router.post(
        f"{PATH}?key={quote(virtual)}", data=chat(planted, stream=stream), headers=headers
    )
    assert answer.status == 200
    found = json.dumps(await kept(router, answer), ensure_ascii=False)

    for secret in secrets:
        assert traces_of(secret, found) == []
        assert traces_of(secret, json.loads(json.dumps(found))) == []
    assert found.count("***") > 100


async def test_a_key_that_nobody_knows(make_router: MakeRouter, upstream: Upstream) -> None:
    """While routeur is open any will do; in an address, too."""
    router = await make_router(traces=ON)
    upstream.answers(recording("GoogleCommon-gemini-3-pro-preview-simple").body)
    said = {"contents": [{"role": "user", "parts": [{"text": "AIza-of-a-client and ?key=x-y-z"}]}]}

    answer = await router.post(
        "/v1beta/models/gemini-2.5-flash:generateContent?key=AIza-of-a-client", json=said
    )
    assert answer.status == 200
    found = json.dumps(await kept(router, answer))

    assert "AIza-of-a-client" not in found and "x-y-z" not in found
    assert "*** and ?key=***" in found


# ---- who sees it, and for how long


async def test_whose_it_is(router: Client, upstream: Upstream) -> None:
    upstream.answers(ANSWER)
    mine, _ = await give(router, "mine")
    other, _ = await give(router, "other")
    id = (await router.post(PATH, data=chat(), headers=bearer(mine))).headers["X-Routeur-Trace-Id"]
    path = f"/v1/traces/{id}/payload"

    async def status(key: str, path: str = path) -> int:
        return (await router.get(path, headers=bearer(key))).status

    assert await status(mine) == await status(MANAGEMENT) == 200
    assert await status(other) == await status(MASTER) == 404
    assert await status("wrong-key-of-tests") == 401
    assert await status(MANAGEMENT, "/v1/traces/tr_none/payload") == 404
    assert await status(MANAGEMENT, path + "s") == await status(MANAGEMENT, path + "/x") == 404


async def test_off_by_default(make_router: MakeRouter, upstream: Upstream) -> None:
    router = await make_router(bearer(MASTER), auth=AUTH)
    upstream.answers(ANSWER)
    id = (await router.post(PATH, data=chat())).headers["X-Routeur-Trace-Id"]

    trace = await router.get(f"/v1/traces/{id}")
    answer = await router.head(f"/v1/traces/{id}")

    assert "payload_url" not in await trace.json()
    assert answer.headers["X-Routeur-Trace-Payload"] == "false"
    assert (await router.get(f"/v1/traces/{id}/payload")).status == 404
    assert router.router.traces._by_id[id].payload is None


@pytest.mark.parametrize("store", ["memory:", "sqlite:", "redis:"])
async def test_in_each_store(
    make_router: MakeRouter,
    upstream: Upstream,
    tmp_path: Path,
    request: pytest.FixtureRequest,
    store: str,
) -> None:
    """Also when it is no longer in memory, if there is another place."""
    address = f"sqlite:{tmp_path}/routeur.db" if store == "sqlite:" else store
    if store == "redis:":
        server: Server = request.getfixturevalue("redis_server")
        server.say("FLUSHALL")
        address = server.url
    router = await make_router(bearer(MASTER), auth=AUTH, traces=ON, store=address)
    upstream.answers(ANSWER)
    answer = await router.post(PATH, data=chat())
    id = answer.headers["X-Routeur-Trace-Id"]
    found = await kept(router, answer)

    if store != "memory:":

        async def stored() -> bool:
            return await router.router.books.payload(id) is not None

        await until(stored)
        call = router.router.traces._by_id.pop(id)
        assert call.payload is not None and json.loads(call.payload.text) == found

    assert await fetched(router, id) == found
    assert json.loads(await router.router.books.payload(id) or "{}") in ({}, found)


async def test_memory_is_bounded(
    make_router: MakeRouter, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The oldest payloads go, and their traces stay."""
    monkeypatch.setattr(payloads, "HERE", 10_000)
    router = await make_router(traces=ON)
    upstream.answers(ANSWER)
    ids = []
    for _ in range(8):
        answer = await router.post(PATH, data=chat("x" * 1000))
        ids.append(answer.headers["X-Routeur-Trace-Id"])

    calls = [router.router.traces._by_id[id] for id in ids]

    assert [call.payload is not None for call in calls] == [False] * 5 + [True] * 3
    trace = await router.get(f"/v1/traces/{ids[0]}")
    assert trace.status == 200 and "payload_url" not in await trace.json()


async def test_a_store_gets_no_more_than_it_can_take(
    make_router: MakeRouter, upstream: Upstream, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Calls are booked all the same."""
    monkeypatch.setattr(payloads, "AT_ONCE", 100)
    router = await make_router(traces=ON, store=f"sqlite:{tmp_path}/routeur.db")
    upstream.answers(ANSWER)
    answer = await router.post(PATH, data=chat())
    id = answer.headers["X-Routeur-Trace-Id"]

    async def stored() -> bool:
        return await router.router.books.trace(id) is not None

    await until(stored)
    assert "payload_url" not in await router.trace_of(id)
    assert (await router.get(f"/v1/traces/{id}/payload")).status == 404


async def test_a_reload_turns_it_on(make_router: MakeRouter, upstream: Upstream) -> None:
    """Heads that were seen before are read again."""
    off = await make_router()
    on = await make_router(traces=ON)
    upstream.answers(ANSWER)
    for _ in range(3):
        await (await off.post(PATH, data=chat())).read()

    off.router.reload(on.router.config)
    answer = await off.post(PATH, data=chat())

    assert list(await kept(off, answer)) == LAYERS


async def test_a_fault_of_ours_loses_no_call(
    router: Client, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    upstream.answers(ANSWER)
    monkeypatch.setattr(payloads.Payload, "finish", lambda self: 1 / 0)

    answer = await router.post(PATH, data=chat())
    await answer.read()

    id = answer.headers["X-Routeur-Trace-Id"]
    trace = await router.get(f"/v1/traces/{id}", headers=bearer(MANAGEMENT))
    assert trace.status == 200 and "payload_url" not in await trace.json()


@pytest.mark.full
def test_whichever_worker_served_it(tmp_path: Path) -> None:
    file = "server: {port: 0, workers: 2}\nproviders: {}\ntraces: {payloads: true}\n"
    (tmp_path / "router.yaml").write_text(file)
    said = json.dumps({"model": "echo", "messages": [{"role": "user", "content": "one two"}]})
    with Program(cwd=tmp_path) as program:
        program.said("serves on", 2)
        for _ in range(6):  # each on a connection of its own, and so at either worker
            status, headers, _ = ask("POST", PATH, said, port=program.port)
            assert status == 200
            path = f"/v1/traces/{headers['X-Routeur-Trace-Id']}/payload"
            for _ in range(4):
                status, _, body = ask("GET", path, port=program.port)
                assert status == 200
                assert json.loads(body)["caller_request"]["body"] == said
