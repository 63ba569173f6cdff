"""Who is asked, in which order and how often; what the client hears when nobody is left."""

from __future__ import annotations

import asyncio
import errno
import json
import time
from email.utils import formatdate
from itertools import product
from typing import Any

import aiohttp
import pytest

import routeur.attempts
from routeur.spending import MANY
from tests.conftest import Client, MakeRouter
from tests.fake import CLOSE, HOLD, RESET, Upstream, chunked, whole
from tests.recording import HERE

CHAT = "/v1/chat/completions"
ASKED = {"model": "any", "messages": [{"role": "user", "content": "hi"}]}
GOOD = whole(b'{"id":"x","choices":[]}')
BUSY = whole(b'{"error":{"message":"busy"}}', 503)
STREAM = b'data: {"choices":[{"delta":{"content":"a"}}]}\n\n' * 3
NEVER = {"ban": {"after": 1_000_000}}


def configured(upstream: Upstream, *, dialect: str = "openai", **providers: Any) -> dict[str, Any]:
    """`any` is the model `m` at these providers; each has its credentials, by name."""
    url = upstream.url + ("/v1" if dialect == "openai" else "")
    made: dict[str, Any] = {"openai": None, "anthropic": None, "google": None}
    for name, accounts in providers.items():
        found = [
            {"name": account, "base_url": url, "api_key": account} | (more or {})
            for account, more in accounts.items()
        ]
        made[name] = {"dialect": dialect, "models": ["m", "other"], "credentials": found}
    aliases = {"fast": None, "any": [f"{name}/m" for name in providers]}
    return {"providers": made, "aliases": aliases, "retries": {"attempts": 9}}


def once(upstream: Upstream) -> dict[str, Any]:
    """One credential and one attempt."""
    return configured(upstream, p={"a": {}}) | {"retries": {"attempts": 1}}


async def ask(client: Client, path: str = CHAT, **headers: str) -> tuple[int, bytes]:
    body = ASKED | ({"max_tokens": 5} if path == "/v1/messages" else {})
    answer = await client.post(path, json=body, headers=headers)
    return answer.status, await answer.read()


def standing(client: Client, credential: str, model: str = "m", provider: str = "p") -> Any:
    members = client.router.standings.group(provider, model).members
    (found,) = [each for each in members if each.credential.name == f"{provider}.{credential}"]
    return found


def banned(client: Client) -> list[tuple[str, str, int | None]]:
    found = client.router.standings.bans()
    return [(each.credential, each.model, each.error_code) for each in found]


def documented(dialect: str, status: int, number: int = 0) -> bytes:
    """An error of the API's documentation, as an answer."""
    rows = json.loads((HERE / "errors" / "documented-errors.json").read_text())
    rows = next(each for each in rows.values() if isinstance(each, list))
    found = [each for each in rows if (each["dialect"], each.get("status")) == (dialect, status)]
    headers = found[number].get("headers", {})
    return whole(json.dumps(found[number]["body"]).encode(), status, *headers.items())


@pytest.fixture
def no_pause(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """A lone credential is asked again at once; the numbers of the pauses that were due."""
    asked: list[int] = []
    monkeypatch.setattr(routeur.attempts, "pause", lambda n, _: asked.append(n) or 0.0)
    return asked


# ── the order


async def test_targets_then_credentials(make_router: MakeRouter, upstream: Upstream) -> None:
    """All of the first target before the second; fallback ones last within their target."""
    p = {"spare": {"fallback": True}, "a": {}, "b": {}}
    client = await make_router(**configured(upstream, p=p, q={"c": {}, "d": {}}), **NEVER)
    upstream.sends(BUSY)
    assert (await ask(client))[0] == 503
    assert upstream.keys == ["a", "b", "spare", "c", "d"]


@pytest.mark.parametrize("most", [1, 2, 3])
async def test_at_most_so_many(make_router: MakeRouter, upstream: Upstream, most: int) -> None:
    config = configured(upstream, p={"a": {}, "b": {}}, q={"c": {}, "d": {}})
    client = await make_router(**config | {"retries": {"attempts": most}})
    upstream.sends(BUSY)
    await ask(client)
    assert upstream.keys == ["a", "b", "c", "d"][:most]


async def test_weights(make_router: MakeRouter, upstream: Upstream) -> None:
    """Smooth: as often as they weigh, and spread."""
    client = await make_router(
        **configured(upstream, p={"a": {"weight": 3}, "b": {}, "c": {"fallback": True}})
    )
    upstream.sends(GOOD)
    for _ in range(12):
        await ask(client)
    assert "".join(upstream.keys) == "aaba" * 3


async def test_least_busy(make_router: MakeRouter, upstream: Upstream) -> None:
    """`sort: throughput` asks whoever has least to do."""
    config = configured(upstream, p={"a": {}, "b": {}})
    rule = {"name": "r", "match": {"model": "any"}, "to": ["p/m"], "sort": "throughput"}
    client = await make_router(**config, rules=[rule])
    upstream.sends(HOLD, GOOD)
    first = asyncio.create_task(ask(client))
    await upstream.requested()
    upstream.sends(GOOD)
    for _ in range(4):
        await ask(client)
    upstream.release()
    await first
    assert upstream.keys == ["a", "b", "b", "b", "b"]


# ── what providers ask for

GEMINI_WAIT = json.dumps(
    {
        "error": {
            "code": 429,
            "status": "RESOURCE_EXHAUSTED",
            "details": [
                {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "7.5s"}
            ],
        }
    }
).encode()
PAUSES: dict[str, tuple[tuple[tuple[str, str], ...], bytes, float | None]] = {
    "seconds": ((("Retry-After", "7"),), b"{}", 7),
    "a fraction": ((("retry-after", "6.5"),), b"{}", 6.5),
    "a date": ((("Retry-After", "DATE"),), b"{}", 7.5),
    "milliseconds": ((("Retry-After-Ms", "7250"),), b"{}", 7.25),
    "both": ((("retry-after", "60"), ("retry-after-ms", "7250")), b"{}", 7.25),
    "RetryInfo": ((), GEMINI_WAIT, 7.5),
    "garbage and RetryInfo": ((("Retry-After", "soon"),), GEMINI_WAIT, 7.5),
    "too long": ((("Retry-After", "99999999"),), b"{}", 3600),
    "nothing": ((), b"{}", None),
    "garbage": ((("Retry-After", "soon"),), b"{}", None),
    "negative": ((("Retry-After", "-7"),), b"{}", None),
    "not a number": ((("Retry-After", "nan"),), b"{}", None),
    "endless": ((("Retry-After", "1e999"),), b"{}", None),
    "in the past": ((("Retry-After", "Wed, 21 Oct 2015 07:28:00 GMT"),), b"{}", None),
    "zero": ((("Retry-After", "0"),), b"{}", None),
    "empty": ((("Retry-After", ""),), b"{}", None),
}


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize("form", PAUSES)
async def test_retry_after(
    make_router: MakeRouter, upstream: Upstream, form: str, status: int
) -> None:
    """That credential rests for so long, and is not asked; what makes no sense says nothing."""
    headers, body, wait = PAUSES[form]
    began = time.monotonic()
    dated = [
        (k, formatdate(time.time() + 7.5, usegmt=True) if v == "DATE" else v) for k, v in headers
    ]
    upstream.sends_to("a", whole(body, status, *dated))
    upstream.sends_to("b", GOOD)
    client = await make_router(**configured(upstream, p={"a": {}, "b": {}}), **NEVER)
    for _ in range(5):
        assert (await ask(client))[0] == 200
    assert upstream.keys.count("b") == 5
    if wait is None:
        assert upstream.keys.count("a") >= 2
    else:
        assert upstream.keys.count("a") == 1
        ends = standing(client, "a").rest_until
        assert began + wait - 1 < ends <= time.monotonic() + wait  # a date counts whole seconds


async def test_nobody_rests_for_ever(make_router: MakeRouter, upstream: Upstream) -> None:
    upstream.sends_to("a", whole(b"{}", 429, ("retry-after-ms", "150")))
    upstream.sends_to("b", GOOD)
    client = await make_router(**configured(upstream, p={"a": {}, "b": {}}))
    await ask(client)
    upstream.sends_to("a", GOOD)
    await asyncio.sleep(0.16)
    for _ in range(2):
        await ask(client)
    assert sorted(upstream.keys) == ["a", "a", "b", "b"]


async def test_a_lone_one_is_asked_again(
    make_router: MakeRouter, upstream: Upstream, no_pause: list[int]
) -> None:
    """After a pause each time, as long as attempts are left."""
    client = await make_router(**configured(upstream, p={"a": {}}), **NEVER)
    for answer in (BUSY, whole(b"<html></html>"), whole(b"{}", 429), GOOD):
        upstream.sends(answer)
    assert await ask(client) == (200, b'{"id":"x","choices":[]}')
    assert upstream.keys == ["a"] * 4
    assert len(no_pause) == 3


async def test_pauses_grow(make_router: MakeRouter, upstream: Upstream, no_pause: list[int]):
    """100 ms doubling: the pause before the third attempt may be twice that before the second."""
    client = await make_router(**configured(upstream, p={"a": {}}), **NEVER)
    upstream.sends(BUSY)
    assert (await ask(client))[0] == 503
    assert no_pause == [1, 2, 3, 4, 5, 6, 7, 8]


async def test_a_lone_one_that_wants_to_rest(make_router: MakeRouter, upstream: Upstream) -> None:
    """It is asked again when its pause is over, never before."""
    client = await make_router(**configured(upstream, p={"a": {}}))
    upstream.sends(whole(b"{}", 429, ("retry-after-ms", "300")))
    upstream.sends(GOOD)
    began = time.perf_counter()
    assert (await ask(client))[0] == 200
    assert time.perf_counter() - began >= 0.3
    assert upstream.keys == ["a", "a"]


async def test_a_timer_that_fires_early(
    make_router: MakeRouter, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As uvloop's do: a pause that is not quite over yet is no reason to give up."""
    sleep = asyncio.sleep
    monkeypatch.setattr(routeur.attempts, "EARLY", 0.05)
    monkeypatch.setattr(asyncio, "sleep", lambda seconds: sleep(max(0, seconds - 0.04)))
    client = await make_router(**configured(upstream, p={"a": {}}))
    upstream.sends(whole(b"{}", 429, ("retry-after-ms", "100")))
    upstream.sends(GOOD)
    assert (await ask(client))[0] == 200
    assert upstream.keys == ["a", "a"]


async def test_a_lone_one_that_wants_to_rest_for_long(
    make_router: MakeRouter, upstream: Upstream
) -> None:
    """The client hears at once what the provider said, and so does the next."""
    client = await make_router(**configured(upstream, p={"a": {}}))
    upstream.sends(whole(b'{"slow": "down"}', 429, ("Retry-After", "600")))
    assert await ask(client) == (429, b'{"slow": "down"}')
    answer = await client.post(CHAT, json=ASKED)
    assert answer.status == 429
    assert 500 < int(answer.headers["Retry-After"]) <= 600
    assert len(upstream.requests) == 1


# ── the budget


@pytest.mark.parametrize("accounts", [{"a": {}, "b": {}}, {"a": {}}], ids=["two", "lone"])
@pytest.mark.full
async def test_an_outage_is_not_amplified(
    make_router: MakeRouter, upstream: Upstream, no_pause: list[int], accounts: dict[str, Any]
) -> None:
    """1,000 calls, a dead provider: no more than a fifth is asked twice, and no fewer than ten."""
    client = await make_router(**configured(upstream, p=accounts), **NEVER)
    upstream.sends(CLOSE)
    for _ in range(20):
        for status, _ in await asyncio.gather(*(ask(client) for _ in range(50))):
            assert status == 502
    attempts = sum(len(call.attempts) for call in client.router.traces._by_id.values())
    assert 1010 <= attempts <= 1200
    assert len(upstream.requests) == attempts


async def test_a_share_of_nothing(make_router: MakeRouter, upstream: Upstream) -> None:
    """Ten a minute are always allowed, and no more where the share is 0."""
    config = configured(upstream, p={"a": {}, "b": {}})
    client = await make_router(**config | {"retries": {"attempts": 2, "budget": 0}}, **NEVER)
    upstream.sends(BUSY)
    for _ in range(30):
        await ask(client)
    assert len(upstream.requests) == 40


# ── what a request says of itself


@pytest.mark.parametrize(("said", "wanted"), [("0", 1), ("1", 2), ("3", 4), ("99", 4)])
async def test_routeur_retries(
    make_router: MakeRouter, upstream: Upstream, said: str, wanted: int
) -> None:
    """So many after the first, and never more than configured."""
    config = configured(upstream, p={name: {} for name in "abcdef"})
    client = await make_router(**config | {"retries": {"attempts": 4}})
    upstream.sends(BUSY)
    await ask(client, **{"Routeur-Retries": said})
    assert len(upstream.requests) == wanted


async def test_routeur_retries_of_a_lone_one(
    make_router: MakeRouter, upstream: Upstream, no_pause: list[int]
) -> None:
    client = await make_router(**configured(upstream, p={"a": {}}), **NEVER)
    upstream.sends(BUSY)
    await ask(client, **{"Routeur-Retries": "1"})
    assert len(upstream.requests) == 2


GARBAGE = {
    "Routeur-Retries": ["-1", "x", "1.5", "", "1 2", "0x1", "\u0661"],
    "Routeur-Timeout": ["-1s", "soon", "", "10 parsecs", "1e3", "inf", "nan", "1s2", "\u0661s"],
}


@pytest.mark.parametrize(
    ("name", "said"), [(name, said) for name, several in GARBAGE.items() for said in several]
)
async def test_garbage_is_refused(
    make_router: MakeRouter, upstream: Upstream, name: str, said: str
) -> None:
    client = await make_router(**configured(upstream, p={"a": {}}))
    status, got = await ask(client, **{name: said})
    assert status == 400
    error = json.loads(got)["error"]
    assert error["code"] == "invalid_request"
    assert name in error["message"]
    assert upstream.requests == []


@pytest.mark.parametrize("hedge", [None, "5s"])
@pytest.mark.parametrize("said", ["300ms", "0.3", "0.3s"])
async def test_routeur_timeout(
    make_router: MakeRouter, upstream: Upstream, said: str, hedge: str | None
) -> None:
    """504 when the time is over in which an answer had to begin; the provider is let go."""
    config = configured(upstream, p={"a": {}})
    rule = {"name": "r", "match": {"model": "any"}, "to": ["p/m"], "hedge": hedge}
    client = await make_router(**config, rules=[rule] if hedge else [])
    upstream.sends(HOLD)
    began = time.perf_counter()
    status, got = await ask(client, **{"Routeur-Timeout": said})
    assert status == 504
    assert json.loads(got)["error"]["code"] == "upstream_timeout"
    assert 0.25 < time.perf_counter() - began < 5
    await upstream.request.connection.wait_closed()


async def test_routeur_timeout_is_for_the_beginning(
    make_router: MakeRouter, upstream: Upstream
) -> None:
    """An answer that has begun takes as long as it takes."""
    client = await make_router(**configured(upstream, p={"a": {}}))
    upstream.answers(STREAM, chunk_size=len(STREAM) // 3, pause=0.15)
    assert await ask(client, **{"Routeur-Timeout": "200ms"}) == (200, STREAM)


async def test_routeur_timeout_is_for_all_attempts(
    make_router: MakeRouter, upstream: Upstream
) -> None:
    """When it is over nobody else is asked, though there is a connection."""
    client = await make_router(**configured(upstream, p={"a": {}}, q={"b": {}}))
    upstream.sends(GOOD)
    for name in "pq":
        await ask(client, **{"Routeur-Provider": name})
    upstream.sends(HOLD)
    answer = await client.post(CHAT, json=ASKED, headers={"Routeur-Timeout": "100ms"})
    assert answer.status == 504
    assert upstream.keys == ["a", "b", "a"]
    assert [each["target"] for each in (await client.trace(answer))["attempts"]] == ["p/m"]


async def test_routeur_timeout_speaks_against_nobody(
    make_router: MakeRouter, upstream: Upstream
) -> None:
    """A client in a hurry does not get a provider banned that was asked for too much."""
    config = configured(upstream, p={"a": {}, "b": {}})
    client = await make_router(**config)
    upstream.answers(b'{"id":"x","choices":[]}', before=[0.1])
    for _ in range(8):
        assert (await ask(client, **{"Routeur-Timeout": "1ms"}))[0] == 504
    assert banned(client) == []
    assert (await ask(client))[0] == 200


async def test_a_lack_of_files_speaks_against_nobody(
    make_router: MakeRouter, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else 1,000 clients under `ulimit -n 1024` get every credential banned."""
    client = await make_router(**configured(upstream, p={"a": {}, "b": {}}))

    async def none_left(*_: Any, **more: Any) -> None:
        raise OSError(errno.EMFILE, "Too many open files")

    with monkeypatch.context() as patch:
        patch.setattr("routeur.pool.Pool._connect", none_left)
        for _ in range(4):
            assert (await ask(client))[0] == 503
    assert banned(client) == []
    upstream.answers(GOOD)
    assert (await ask(client))[0] == 200


# ── the last word


@pytest.mark.parametrize("last", [(RESET,), (b"HTTP/1.1 2", CLOSE), (whole(b"<html>"),), None])
async def test_an_earlier_answer_is_the_answer(
    make_router: MakeRouter, upstream: Upstream, last: Any
) -> None:
    """The last one that was an answer: as it came, though it was not the last attempt."""
    said = b'{ "error" : {"message": "slow  down"} }'
    config = configured(upstream, p={"a": {}}, q={"b": {}})
    if last is None:
        config["providers"]["q"]["credentials"][0]["base_url"] = "http://127.0.0.1:1"
    else:
        upstream.sends_to("b", *last)
    upstream.sends_to("a", whole(said, 429, ("Retry-After", "17"), ("X-Odd", " kept")))
    client = await make_router(**config)

    answer = await client.post(CHAT, json=ASKED)

    assert (answer.status, await answer.read()) == (429, said)
    shown = answer.headers
    assert (shown["Retry-After"], shown["X-Odd"]) == ("17", "kept")
    assert shown["X-Routeur-Trace-Provider"] == "p"
    assert shown["X-Routeur-Trace-Attempts"] == "2"
    assert shown["X-Routeur-Trace-Status"] == "429"
    trace = await client.trace(answer)
    assert (trace["status_code"], trace["provider"], trace["credential"]) == (429, "p", "p.a")


@pytest.mark.parametrize("large", [100_000, 1_000_000])
@pytest.mark.parametrize("status", [400, 500])
@pytest.mark.parametrize("dialect", ["openai", "anthropic"])
async def test_a_large_error_is_the_answer_too(
    make_router: MakeRouter, upstream: Upstream, dialect: str, status: int, large: int
) -> None:
    """An error is an answer, however much it says."""
    said = json.dumps({"error": {"message": "x" * large}}).encode()
    upstream.answers(said, status)
    client = await make_router(**configured(upstream, dialect=dialect, p={"a": {}}))
    path = CHAT if dialect == "openai" else "/v1/messages"
    got = await ask(client, path, **{"Routeur-Retries": "0"})
    assert got == (status, said)


@pytest.mark.parametrize("statuses", [*product([401, 402, 403], repeat=2)], ids=str)
async def test_our_credential_everywhere(
    make_router: MakeRouter, upstream: Upstream, statuses: tuple[int, int]
) -> None:
    """Both were asked, and neither's words reach the client."""
    for name, status in zip("ab", statuses, strict=True):
        upstream.sends_to(name, whole(b'{"error":{"message":"bad key sk-secret"}}', status))
    client = await make_router(**configured(upstream, p={"a": {}, "b": {}}))
    status, got = await ask(client)
    assert status == 502
    assert json.loads(got)["error"]["code"] == "upstream_auth_error"
    assert b"sk-secret" not in got
    assert upstream.keys == ["a", "b"]


async def test_nobody_can_be_asked(make_router: MakeRouter, upstream: Upstream) -> None:
    """503 that names each credential and why."""
    client = await make_router(**configured(upstream, p={"a": {}, "b": {}}, q={"c": {}}))
    for name in ("p.a", "p.b", "q.c"):
        client.router.standings.ban(name, "m", None, f"because of {name}")
    answer = await client.post(CHAT, json=ASKED)
    error = (await answer.json())["error"]
    assert (answer.status, error["code"]) == (503, "no_provider_available")
    assert "Retry-After" not in answer.headers
    for name in ("p.a", "p.b", "q.c"):
        assert f"{name} (m) is banned: because of {name}" in error["message"]
    assert upstream.requests == []
    assert (await client.trace(answer))["attempts"] == []


@pytest.mark.parametrize(
    ("path", "dialect"), [(CHAT, "openai"), ("/v1/messages", "anthropic")], ids=["openai", "an"]
)
async def test_nobody_can_be_asked_now(
    make_router: MakeRouter, upstream: Upstream, path: str, dialect: str
) -> None:
    """429 with the time after which somebody can be, if any was limited; the others are named."""
    client = await make_router(**configured(upstream, dialect=dialect, p={"a": {}, "b": {}}))
    client.router.standings.ban("p.a", None, 500.0, "holidays")
    upstream.sends(whole(b"{}", 429, ("Retry-After", "50")))
    assert (await ask(client, path))[0] == 429
    answer = await client.post(path, json=ASKED | {"max_tokens": 5})
    got = await answer.json()
    assert answer.status == 429
    assert answer.headers["Retry-After"] in ("49", "50")
    assert got["error"]["type"] == "rate_limit_error"
    assert "p.a (m) is banned: holidays" in got["error"]["message"]
    assert "p.b (m) is resting: " in got["error"]["message"]
    assert len(upstream.requests) == 1


@pytest.mark.parametrize("limit", [{"rpm": 2}, {"tpm": 40}], ids=["rpm", "tpm"])
async def test_limits_of_a_credential(
    make_router: MakeRouter, upstream: Upstream, limit: dict[str, int]
) -> None:
    """Then another one; and when none has room 429 with the time after which one may."""
    upstream.sends(whole(b'{"choices":[],"usage":{"prompt_tokens":20,"completion_tokens":0}}'))
    client = await make_router(**configured(upstream, p={"a": limit, "b": limit}))
    for _ in range(4):
        assert (await ask(client))[0] == 200
    answer = await client.post(CHAT, json=ASKED)
    assert answer.status == 429
    assert 50 <= int(answer.headers["Retry-After"]) <= 60
    assert sorted(upstream.keys) == ["a", "a", "b", "b"]


async def test_limits_of_one_model(make_router: MakeRouter, upstream: Upstream) -> None:
    upstream.sends(GOOD)
    client = await make_router(**configured(upstream, p={"a": {"models": {"m": {"rpm": 1}}}}))
    assert [(await ask(client))[0] for _ in range(2)] == [200, 429]
    answer = await client.post(CHAT, json=ASKED | {"model": "p/other"})
    assert answer.status == 200


# ── bans

FAILURES: dict[str, tuple[Any, ...]] = {
    "503": (BUSY,),
    "401": (whole(b"{}", 401),),
    "close": (CLOSE,),
    "HTML": (whole(b"<html></html>"),),
}


@pytest.mark.parametrize("kind", FAILURES)
async def test_banned_after_three(make_router: MakeRouter, upstream: Upstream, kind: str) -> None:
    """Three of a kind in a row: then others are asked, and nobody waits for it."""
    upstream.sends_to("a", *FAILURES[kind])
    upstream.sends_to("b", GOOD)
    client = await make_router(**configured(upstream, p={"a": {}, "b": {}}))
    for _ in range(10):
        assert (await ask(client))[0] == 200
    assert upstream.keys.count("a") == 3
    ((name, model, status),) = banned(client)
    assert (name, model) == ("p.a", "m")
    assert status == {"503": 503, "401": 401}.get(kind, 502)


async def test_a_call_counts_once(
    make_router: MakeRouter, upstream: Upstream, no_pause: list[int]
) -> None:
    """However often it has asked: what has hurt one client for a moment is no ban for all."""
    client = await make_router(**configured(upstream, p={"a": {}}))
    for answer in (BUSY,) * 9:
        upstream.sends(answer)
    upstream.sends(GOOD)
    assert [(await ask(client))[0] for _ in range(2)] == [503, 200]
    assert banned(client) == []


async def test_a_ban_for_too_many_requests(make_router: MakeRouter, upstream: Upstream) -> None:
    """Clients hear what the provider has said: 429."""
    client = await make_router(**once(upstream))
    upstream.sends(whole(b"{}", 429))
    for _ in range(3):
        assert (await ask(client))[0] == 429
    answer = await client.post(CHAT, json=ASKED)
    assert banned(client) == [("p.a", "m", 429)]
    assert answer.status == 429
    assert 0 < int(answer.headers["Retry-After"]) <= 60


async def test_a_ban_sends_nobody_to_sleep(make_router: MakeRouter, upstream: Upstream) -> None:
    """SDKs would wait as long as `Retry-After` says, where without routeur they fail at once."""
    client = await make_router(**once(upstream))
    upstream.sends(BUSY)
    for _ in range(3):
        assert (await ask(client))[0] == 503
    answer = await client.post(CHAT, json=ASKED)
    assert b"is banned" in await answer.read()
    assert answer.status == 503
    assert "Retry-After" not in answer.headers


async def test_a_success_clears(make_router: MakeRouter, upstream: Upstream) -> None:
    client = await make_router(**once(upstream))
    for _ in range(4):
        for parts in (BUSY, BUSY, GOOD):
            upstream.sends(parts)
            await ask(client)
    assert banned(client) == []
    assert len(upstream.requests) == 12


async def test_counted_per_status(make_router: MakeRouter, upstream: Upstream) -> None:
    client = await make_router(**once(upstream))
    for status in (500, 503, 529, 500, 503, 529):
        upstream.sends(whole(b"{}", status))
        assert (await ask(client))[0] == status
    assert banned(client) == []
    upstream.sends(whole(b"{}", 529))
    await ask(client)
    assert banned(client) == [("p.a", "m", 529)]


async def test_other_models_are_not_banned(make_router: MakeRouter, upstream: Upstream) -> None:
    client = await make_router(**configured(upstream, p={"a": {}}))
    client.router.standings.ban("p.a", "m", None, "test")
    upstream.sends(GOOD)
    assert (await ask(client))[0] == 503
    assert (await client.post(CHAT, json=ASKED | {"model": "p/other"})).status == 200


async def test_the_clients_own_faults_ban_nobody(
    make_router: MakeRouter, upstream: Upstream
) -> None:
    client = await make_router(**configured(upstream, p={"a": {}}))
    for status in (400, 404, 413, 422) * 2:
        upstream.sends(whole(b"{}", status))
        assert (await ask(client))[0] == status
    assert standing(client, "a").clear


EXHAUSTED = {
    "openai": (documented("openai", 429, 1), "insufficient_quota"),
    "anthropic": (documented("anthropic", 429, 1), "spend"),
    "gemini": (whole(b'{"error":{"code":402,"status":"X"}}', 402), ""),
    "402": (whole(b"{}", 402), ""),
}


@pytest.mark.parametrize("kind", EXHAUSTED)
async def test_no_money_left(make_router: MakeRouter, upstream: Upstream, kind: str) -> None:
    """Waiting is of no use: banned at the first time, others are asked."""
    said, why = EXHAUSTED[kind]
    dialect = "anthropic" if kind == "anthropic" else "openai"
    upstream.sends_to("a", said)
    upstream.sends_to("b", GOOD)
    client = await make_router(**configured(upstream, dialect=dialect, p={"a": {}, "b": {}}))
    for _ in range(4):
        await ask(client, "/v1/messages" if dialect == "anthropic" else CHAT)
    assert upstream.keys == ["a", "b", "b", "b", "b"]
    (ban,) = client.router.standings.bans()
    assert (ban.credential, ban.model, ban.origin) == ("p.a", "m", "routeur")
    assert why in ban.reason


async def test_half_open(make_router: MakeRouter, upstream: Upstream) -> None:
    """After a ban one request at a time tries it; others are not made to wait for that."""
    client = await make_router(**once(upstream), ban={"after": 1, "for": "200ms"})
    upstream.sends(BUSY)
    assert (await ask(client))[0] == 503
    assert (await ask(client))[0] == 503
    assert len(upstream.requests) == 1
    await asyncio.sleep(0.21)
    upstream.sends(HOLD, GOOD)
    probe = asyncio.create_task(ask(client))
    await upstream.requested(2)
    status, got = await ask(client)
    assert status == 503
    assert b"one request tries it after its ban" in got
    upstream.release()
    assert (await probe)[0] == 200
    assert standing(client, "a").clear
    assert (await ask(client))[0] == 200
    assert len(upstream.requests) == 3


async def test_half_open_and_shut(make_router: MakeRouter, upstream: Upstream) -> None:
    """A probe that fails: banned again at once."""
    client = await make_router(**once(upstream), ban={"after": 2, "for": "200ms"})
    upstream.sends(BUSY)
    for _ in range(3):
        await ask(client)
    assert len(upstream.requests) == 2
    await asyncio.sleep(0.21)
    for _ in range(3):
        assert (await ask(client))[0] == 503
    assert len(upstream.requests) == 3


async def leave(client: Client, upstream: Upstream) -> None:
    """A client that goes when its request has reached the provider."""
    number = len(upstream.requests) + 1
    _, writer = await client.connect()
    data = json.dumps(ASKED).encode()
    writer.write(
        b"POST %b HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        b"Content-Length: %d\r\n\r\n%b" % (CHAT.encode(), len(data), data)
    )
    request = await upstream.requested(number)
    writer.close()
    await request.connection.wait_closed()


async def test_a_probe_whose_client_leaves(make_router: MakeRouter, upstream: Upstream) -> None:
    """It has said nothing: the next request tries."""
    client = await make_router(**once(upstream), ban={"after": 1, "for": "100ms"})
    upstream.sends(BUSY)
    await ask(client)
    await asyncio.sleep(0.11)
    upstream.sends(HOLD)
    await leave(client, upstream)
    upstream.sends(GOOD)
    assert (await ask(client))[0] == 200


async def test_clients_that_leave_ban_nobody(make_router: MakeRouter, upstream: Upstream) -> None:
    client = await make_router(**configured(upstream, p={"a": {}}))
    upstream.sends(HOLD)
    for _ in range(5):
        await leave(client, upstream)
    assert standing(client, "a").clear
    assert standing(client, "a").inflight == 0


async def test_answers_that_break_off_count(make_router: MakeRouter, upstream: Upstream) -> None:
    """A provider that begins well and never ends well is no provider."""
    client = await make_router(**configured(upstream, p={"a": {}}))
    upstream.sends(chunked(STREAM, end=b""), 0.02, RESET)
    for _ in range(3):
        answer = await client.post(CHAT, json=ASKED | {"stream": True})
        with pytest.raises(aiohttp.ClientError):
            await answer.read()
    assert banned(client) == [("p.a", "m", 502)]


# ── nothing stays counted as under way


async def test_both_ends_die_together(make_router: MakeRouter, upstream: Upstream) -> None:
    """The client and the provider in one turn of the loop: over, once."""
    client = await make_router(**once(upstream), ban={"after": 1, "for": "1ms"})
    upstream.sends(HOLD)
    for number in range(1, 5):
        _, writer = await client.connect()
        data = json.dumps(ASKED).encode()
        writer.write(
            b"POST %b HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n%b"
            % (CHAT.encode(), len(data), data)
        )
        request = await upstream.requested(number)
        ends = [writer.transport.abort, request.connection.reset]
        for end in ends if number % 2 else ends[::-1]:
            end()
        await request.connection.wait_closed()
        await asyncio.sleep(0.02)
        assert standing(client, "a").inflight == 0
        assert standing(client, "a").probe_until == 0


@pytest.mark.parametrize("probe", [False, True], ids=["", "as a probe"])
async def test_a_request_that_breaks_while_it_is_sent(
    make_router: MakeRouter, upstream: Upstream, probe: bool
) -> None:
    """The client's fault: the credential is free again, and nothing speaks against it."""
    client = await make_router(**once(upstream), ban={"after": 1, "for": "1ms"})
    if probe:
        upstream.sends(BUSY)
        await ask(client)
        await asyncio.sleep(0.01)
    upstream.sends(GOOD)
    name = b'--b\r\nContent-Disposition: form-data; name="model"\r\n\r\nany\r\n'
    file = b'--b\r\nContent-Disposition: form-data; name="file"\r\n\r\n' + bytes(500_000) + b"\r\n"

    async def two_models():
        for part in (name, file, name, b"--b--\r\n"):
            yield part

    answer = await client.request(
        "POST",
        "/v1/audio/transcriptions",
        data=two_models(),
        headers={"Content-Type": "multipart/form-data; boundary=b"},
    )
    assert answer.status == 400
    assert standing(client, "a").inflight == 0
    assert banned(client) == []
    assert (await ask(client))[0] == 200


async def test_absurd_numbers_go_to_no_other_process(
    make_router: MakeRouter, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    """JSON has no room for all that may be asked of the parent that keeps the limits."""
    upstream.answers(b"{}")
    router = await make_router(providers={"openai": {"tpm": 10}})
    admission, taken = router.router.proxy.routing.admission, []

    async def take(group: Any, standing: Any, tokens: int) -> bool:
        taken.append(tokens)
        return True

    monkeypatch.setattr(admission, "take", take)
    body = {"model": "gpt-4o", "max_tokens": 2**64 - 1, "messages": []}
    answer = await router.post(CHAT, json=body)
    assert answer.status == 200
    assert taken == [MANY]
