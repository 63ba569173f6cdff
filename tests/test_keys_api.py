"""Virtual keys as operators and their holders meet them, over HTTP."""

from __future__ import annotations

import time
from typing import Any

import pytest

from routeur.call import rfc3339
from routeur.keys import digest
from routeur.store.base import StoreUnavailable
from tests.conftest import Client, MakeRouter
from tests.fake import Upstream
from tests.stores import CENT, charge, done

MASTER, MANAGEMENT = "sk-master-of-a-test", "sk-management-of-a-test"
CHAT = {"model": "gpt-4o", "messages": [{"role": "user", "content": "Hello"}]}
KEYS = "/api/v1/keys"
FIELDS = """hash name label key_type disabled limit limit_remaining limit_reset allowed_providers
    allowed_models rpm tpm max_parallel usage usage_daily usage_weekly usage_monthly created_at
    updated_at expires_at""".split()


@pytest.fixture
async def router(make_router: MakeRouter) -> Client:
    return await make_router(auth={"master_key": MASTER, "management_key": MANAGEMENT})


async def ask(
    router: Client, method: str, path: str, body: object = None, key: str = MANAGEMENT
) -> tuple[int, Any]:
    """Status and JSON of an answer."""
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    if isinstance(body, bytes):
        answer = await router.request(method, path, data=body, headers=headers)
    else:
        answer = await router.request(method, path, json=body, headers=headers)
    return answer.status, await answer.json()


async def make(router: Client, **given: Any) -> tuple[dict[str, Any], str]:
    """A new key as it is shown, and the key itself."""
    status, said = await ask(router, "POST", KEYS, {"name": "alice", **given})
    assert status == 201, said
    return said["data"], said["key"]


async def chat(router: Client, key: str) -> tuple[int, Any]:
    return await ask(router, "POST", "/v1/chat/completions", CHAT, key)


def code(said: Any) -> str:
    return str(said["error"]["code"])


# ---- making


async def test_a_new_key(router: Client) -> None:
    """The whole answer; what is not said is no limit."""
    shown, key = await make(router)

    assert list(shown) == FIELDS
    assert key.startswith("rtr_live_")
    assert shown["hash"] == digest(router.router.books.secret, key)
    assert shown["label"] == f"{key[:11]}…{key[-2:]}"
    assert (shown["name"], shown["key_type"], shown["disabled"]) == ("alice", "regular", False)
    assert shown["created_at"] == shown["updated_at"]
    assert rfc3339(time.time() - 60) < shown["created_at"] < rfc3339(time.time() + 1)
    for name in (*FIELDS[5:13], "expires_at"):
        assert shown[name] is None
    for name in FIELDS[13:17]:
        assert shown[name] == 0


async def test_a_key_with_everything(router: Client) -> None:
    soon = int(time.time()) + 3600
    given = {
        "limit": 12.345678,
        "limit_reset": "weekly",
        "expires_at": rfc3339(soon),
        "allowed_providers": ["openai", "google", "openai"],
        "allowed_models": ["gpt-*", "gemini-2.5-flash"],
        "rpm": 60,
        "tpm": 100_000,
        "max_parallel": 4,
    }
    shown, _ = await make(router, **given)

    assert {name: shown[name] for name in given} == given | {
        "allowed_providers": ["openai", "google"]
    }
    assert shown["limit_remaining"] == 12.345678


@pytest.mark.parametrize("given", ["2999-12-31T23:30:00-01:00", "3000-01-01", 32503681800])
async def test_when_it_expires(router: Client, given: object) -> None:
    shown, _ = await make(router, expires_at=given)
    assert shown["expires_at"][:7] == "3000-01"


WRONG: list[tuple[dict[str, Any], str, str]] = [
    ({"name": None}, "name", "whose key"),
    ({"name": ""}, "name", "whose key"),
    ({"name": "  "}, "name", "whose key"),
    ({"name": 5}, "name", "printable"),
    ({"name": "a\x1b[2J"}, "name", "printable"),
    ({"name": "a\nb"}, "name", "printable"),
    ({"name": "x" * 513}, "name", "at most 512"),
    ({"name": "master"}, "name", "configuration"),
    ({"name": "management"}, "name", "configuration"),
    ({"key_type": "admin"}, "key_type", "regular or management"),
    ({"key_type": ["regular"]}, "key_type", "regular or management"),
    ({"key_type": False}, "key_type", "regular or management"),
    ({"disabled": True}, "disabled", "unknown member"),
    ({"limits": 5}, "limits", 'did you mean "limit"?'),
    ({"hash": "x"}, "hash", "unknown member"),
    ({"limit": -0.01}, "limit", "dollars"),
    ({"limit": True}, "limit", "dollars"),
    ({"limit": "5"}, "limit", "dollars"),
    ({"limit": 1e300}, "limit", "dollars"),
    ({"limit": 10**25}, "limit", "dollars"),
    ({"limit": 0.0000001}, "limit", "at least"),
    ({"limit_reset": "dayly"}, "limit_reset", 'did you mean "daily"?'),
    ({"limit_reset": 1}, "limit_reset", "daily, weekly or monthly"),
    ({"rpm": 0}, "rpm", "1 or more"),
    ({"rpm": -1}, "rpm", "1 or more"),
    ({"rpm": 1.5}, "rpm", "1 or more"),
    ({"tpm": True}, "tpm", "1 or more"),
    ({"tpm": 10**18}, "tpm", "1 or more"),
    ({"max_parallel": "1"}, "max_parallel", "1 or more"),
    ({"expires_at": 1}, "expires_at", "past"),
    ({"expires_at": "2020-01-01T00:00:00Z"}, "expires_at", "past"),
    ({"expires_at": "soon"}, "expires_at", "moment"),
    ({"expires_at": "2999-02-30T00:00:00Z"}, "expires_at", "moment"),
    ({"expires_at": "2999-01-01T00:00:00"}, "expires_at", "moment"),
    ({"expires_at": 4102444800000}, "expires_at", "moment"),
    ({"expires_at": True}, "expires_at", "moment"),
    ({"expires_at": {}}, "expires_at", "moment"),
    ({"expires_at": "9999-12-31T23:59:59-23:59"}, "expires_at", "moment"),
    ({"expires_at": "0001-01-01T00:00:00+23:59"}, "expires_at", "moment"),
    ({"allowed_providers": []}, "allowed_providers", "null for all"),
    ({"allowed_providers": "openai"}, "allowed_providers", "a list"),
    ({"allowed_providers": [1]}, "allowed_providers", "a list"),
    ({"allowed_providers": ["opnai"]}, "allowed_providers", 'did you mean "openai"?'),
    ({"allowed_providers": ["open*"]}, "allowed_providers", "unknown provider"),
    ({"allowed_models": [""]}, "allowed_models", "a list"),
    ({"allowed_models": [" a"]}, "allowed_models", "a list"),
    ({"allowed_models": ["x" * 513]}, "allowed_models", "a list"),
    ({"allowed_models": ["m"] * 1001}, "allowed_models", "a list"),
    ({"allowed_models": {"a": 1}}, "allowed_models", "a list"),
]


async def test_what_is_refused(router: Client) -> None:
    for given, param, message in WRONG:
        status, said = await ask(router, "POST", KEYS, {"name": "alice", **given})
        assert (status, said["error"]["param"]) == (400, param), (given, said)
        assert message in said["error"]["message"]
    for body in (b"", b"[]", b'{"name": "a", "name": "b"}', b'{"name": "a", "limit": NaN}', b"{}"):
        status, said = await ask(router, "POST", KEYS, body)
        assert (status, code(said)) in ((400, "invalid_request"), (400, "invalid_json"))
    assert await ask(router, "GET", KEYS) == (200, {"data": []})


# ---- looking, changing, deleting


async def test_pages(router: Client) -> None:
    made = [await make(router, name=f"key {n}") for n in range(7)]
    off = made[2][0]["hash"]
    await ask(router, "PATCH", f"{KEYS}/{off}", {"disabled": True})

    async def names(query: str) -> list[str]:
        status, said = await ask(router, "GET", f"{KEYS}?{query}")
        assert status == 200, said
        return [key["name"][-1] for key in said["data"]]

    assert await names("") == [*"013456"]
    assert await names("include_disabled=true") == [*"0123456"]
    assert await names("offset=2&page_size=3") == [*"345"]
    assert await names("offset=2&page_size=3&include_disabled=True") == [*"234"]
    assert await names("offset=7") == []
    for query in ("offset=-1", "offset=x", "page_size=0", "page_size=1001", "page_size=1e3"):
        assert (await ask(router, "GET", f"{KEYS}?{query}"))[0] == 400
    for query in ("include_disabled=maybe", "ofset=1", "offset=1&offset=2", "offset=9" + "9" * 30):
        assert (await ask(router, "GET", f"{KEYS}?{query}"))[0] == 400


async def test_a_change(router: Client) -> None:
    before, key = await make(router, limit=5, rpm=9)
    given = {"name": "bob", "limit": 7.5, "limit_reset": "daily", "tpm": 100, "rpm": None}
    status, said = await ask(router, "PATCH", f"{KEYS}/{before['hash']}", given)
    shown = said["data"]

    assert status == 200
    assert {name: shown[name] for name in given} == given
    assert shown["limit_remaining"] == 7.5
    for name in ("hash", "label", "created_at", "key_type", "max_parallel"):
        assert shown[name] == before[name]
    assert shown["updated_at"] >= before["updated_at"]
    assert await ask(router, "GET", f"{KEYS}/{before['hash']}") == (200, {"data": shown})
    assert router.router.keys.identify(key.encode()).name == "bob"


async def test_null_removes_limits(router: Client) -> None:
    limits: dict[str, Any] = {
        "limit": 5,
        "limit_reset": "daily",
        "expires_at": "2999-01-01",
        "allowed_providers": ["openai"],
        "allowed_models": ["gpt-*"],
        "rpm": 1,
        "tpm": 1,
        "max_parallel": 1,
    }
    shown, key = await make(router, **limits)
    none = dict.fromkeys(limits)
    _, said = await ask(router, "PATCH", f"{KEYS}/{shown['hash']}", none)

    assert {name: said["data"][name] for name in limits} == none
    assert said["data"]["limit_remaining"] is None
    assert not router.router.keys.identify(key.encode()).limited


async def test_changes_that_are_refused(router: Client) -> None:
    shown, _ = await make(router, limit=5)
    for given, param in (
        ({"key_type": "management"}, "key_type"),
        ({"name": None}, "name"),
        ({"disabled": None}, "disabled"),
        ({"disabled": 1}, "disabled"),
        ({"usage": 0}, "usage"),
        ({"limit": -1}, "limit"),
        ({"disabled": True, "limit": "x"}, "limit"),
        ({"expires_at": "2020-01-01"}, "expires_at"),
    ):
        status, said = await ask(router, "PATCH", f"{KEYS}/{shown['hash']}", given)
        assert (status, said["error"]["param"]) == (400, param)
    assert await ask(router, "GET", f"{KEYS}/{shown['hash']}") == (200, {"data": shown})
    assert (await ask(router, "PATCH", f"{KEYS}/{shown['hash']}", {}))[0] == 200


@pytest.mark.parametrize("hash", ["0" * 64, "nothing", "%FF", "%00", "0" * 63, "rtr_live_abc", "*"])
async def test_no_such_key(router: Client, hash: str) -> None:
    await make(router)
    for method, body in (("GET", None), ("PATCH", {"disabled": True}), ("DELETE", None)):
        status, said = await ask(router, method, f"{KEYS}/{hash}", body)
        assert (status, code(said)) == (404, "not_found")
        assert hash not in said["error"]["message"] or hash == "*"


async def test_what_a_key_has_spent_is_shown(router: Client) -> None:
    shown, key = await make(router, limit=0.05, limit_reset="daily")
    now = time.time()
    entry = done("tr_1", charge(2 * CENT), key=shown["hash"], at=now, reserved=False)
    await router.router.books.store.settle([entry])
    _, said = await ask(router, "GET", f"{KEYS}/{shown['hash']}")

    assert said["data"]["limit_remaining"] == 0.03
    for name in ("usage", "usage_daily", "usage_weekly", "usage_monthly"):
        assert said["data"][name] == 0.02
    assert await ask(router, "GET", "/api/v1/key", key=key) == (200, said)


# ---- who may do what


async def test_live_keys_infer_and_do_not_manage(router: Client, upstream: Upstream) -> None:
    upstream.answers(b'{"object": "chat.completion"}')
    shown, key = await make(router)

    assert (await chat(router, key))[0] == 200
    for method, path in (
        ("GET", KEYS),
        ("POST", KEYS),
        ("GET", f"{KEYS}/{shown['hash']}"),
        ("PATCH", f"{KEYS}/{shown['hash']}"),
        ("DELETE", f"{KEYS}/{shown['hash']}"),
        ("GET", "/api/bans"),
        ("POST", "/api/ban"),
    ):
        status, said = await ask(router, method, path, {}, key)
        assert (status, code(said)) == (403, "forbidden")
    assert await ask(router, "GET", "/api/v1/key", key=key) == (200, {"data": shown})


async def test_management_keys_manage_and_do_not_infer(router: Client, upstream: Upstream) -> None:
    shown, key = await make(router, name="operator", key_type="management")

    assert (shown["key_type"], key[:9]) == ("management", "rtr_mgmt_")
    status, said = await chat(router, key)
    assert (status, code(said)) == (403, "forbidden")
    assert (await ask(router, "GET", "/api/bans", key=key))[0] == 200
    status, said = await ask(router, "POST", KEYS, {"name": "made by it"}, key)
    assert status == 201
    assert await ask(router, "GET", "/api/v1/key", key=key) == (200, {"data": shown})
    assert await ask(router, "DELETE", f"{KEYS}/{shown['hash']}", key=key) == (
        200,
        {"data": {"deleted": True}},
    )
    assert (await ask(router, "GET", "/api/bans", key=key))[0] == 401
    assert upstream.requests == []


async def test_the_master_key_manages_where_no_other_is_configured(
    make_router: MakeRouter,
) -> None:
    """A virtual key that manages changes nothing about it."""
    router = await make_router(auth={"master_key": MASTER})
    status, _ = await ask(router, "POST", KEYS, {"name": "m", "key_type": "management"}, MASTER)
    assert status == 201
    assert (await ask(router, "GET", KEYS, key=MASTER))[0] == 200


async def test_own_keys_of_the_configuration(router: Client) -> None:
    """They have no limits and no dates, but figures."""
    now = time.time()
    entry = done("tr_1", charge(3 * CENT), key="master", at=now, reserved=False)
    old = done("tr_2", charge(CENT), key="master", at=now - 40 * 86400, reserved=False)
    await router.router.books.store.settle([entry, old])
    _, said = await ask(router, "GET", "/api/v1/key", key=MASTER)

    assert list(said["data"]) == FIELDS
    assert (said["data"]["hash"], said["data"]["key_type"]) == ("master", "regular")
    assert (said["data"]["usage"], said["data"]["usage_daily"]) == (0.04, 0.03)
    assert (said["data"]["usage_weekly"], said["data"]["usage_monthly"]) == (0.03, 0.03)
    assert said["data"]["limit"] is said["data"]["created_at"] is None
    _, said = await ask(router, "GET", "/api/v1/key")
    assert (said["data"]["hash"], said["data"]["key_type"]) == ("management", "management")


async def test_while_routeur_is_open(make_router: MakeRouter, upstream: Upstream) -> None:
    """Anybody on this machine makes keys; a deleted one is dead all the same."""
    upstream.answers(b'{"object": "chat.completion"}')
    router = await make_router()
    status, said = await ask(router, "POST", KEYS, {"name": "alice"}, key="")
    assert status == 201
    assert (await ask(router, "GET", "/api/v1/key", key=""))[0] == 404
    assert (await chat(router, said["key"]))[0] == 200
    assert (await ask(router, "GET", KEYS, key=said["key"]))[0] == 403
    await ask(router, "DELETE", f"{KEYS}/{said['data']['hash']}", key="")
    status, refused = await chat(router, said["key"])
    assert (status, code(refused)) == (401, "invalid_api_key")
    assert (await chat(router, "sk-whatever"))[0] == 200


# ---- from one request to the next


async def test_disabled_enabled_deleted(router: Client, upstream: Upstream) -> None:
    upstream.answers(b'{"object": "chat.completion"}')
    shown, key = await make(router)
    here = f"{KEYS}/{shown['hash']}"

    for _ in range(2):
        assert (await chat(router, key))[0] == 200
    await ask(router, "PATCH", here, {"disabled": True})
    status, said = await chat(router, key)
    assert (status, code(said)) == (403, "key_disabled")
    status, said = await ask(router, "GET", "/api/v1/key", key=key)
    assert (status, code(said)) == (403, "key_disabled")
    await ask(router, "PATCH", here, {"disabled": False})
    assert (await chat(router, key))[0] == 200
    await ask(router, "DELETE", here)
    status, said = await chat(router, key)
    assert (status, code(said)) == (401, "invalid_api_key")
    assert (await ask(router, "DELETE", here))[0] == 404


@pytest.mark.parametrize("place", ["x-api-key", "x-goog-api-key", "query"])
async def test_wherever_a_key_is_carried(router: Client, upstream: Upstream, place: str) -> None:
    """And it goes on to nobody."""
    upstream.answers(b'{"object": "chat.completion"}')
    _, key = await make(router)
    query = f"?key={key}" if place == "query" else ""
    headers = {} if query else {place: key}
    answer = await router.post("/v1/chat/completions" + query, json=CHAT, headers=headers)
    own = await router.get("/api/v1/key" + query, headers=headers)

    assert (answer.status, own.status) == (200, 200)
    (seen,) = upstream.requests
    assert key not in repr(seen)


async def test_wrong_keys_are_slowed_down(router: Client) -> None:
    """Right ones are not."""
    for n in range(10):
        assert (await ask(router, "GET", KEYS, key=f"rtr_live_{n}"))[0] == 401
    answer = await router.get(KEYS, headers={"x-api-key": "rtr_live_10"})
    assert answer.status == 429
    assert 1 <= int(answer.headers["Retry-After"]) <= 60
    assert (await ask(router, "GET", KEYS))[0] == 200


async def test_no_key_is_seen_again(make_router: MakeRouter) -> None:
    """Not in lists, errors or the log; only its hash is in the store."""
    lines: list[str] = []
    router = await make_router(auth={"master_key": MASTER, "management_key": MANAGEMENT})
    router.router.log.event = lambda *words, **more: lines.append(repr((words, more)))  # type: ignore[method-assign]
    shown, key = await make(router)
    here = f"{KEYS}/{shown['hash']}"
    said = [
        await ask(router, "GET", KEYS),
        await ask(router, "PATCH", here, {"limit": 5}),
        await ask(router, "GET", f"{KEYS}/{key}"),
        await ask(router, "POST", KEYS, {"name": "x", key: 1}, key),
        await ask(router, "GET", KEYS, key=key + "x"),
        await ask(router, "GET", f"{KEYS}?{key}=1&key={MANAGEMENT}"),
        await ask(router, "DELETE", here),
    ]

    assert [status for status, _ in said] == [200, 200, 404, 403, 401, 400, 200]
    known = await router.router.books.store.key_changes(0)
    for text in (*map(repr, said[:5]), *lines, repr(known), repr(router.router.keys)):
        assert key not in text
        assert key[9:] not in text
    assert any("was made by management" in line for line in lines)
    assert any("was deleted by management" in line for line in lines)


async def test_paths(router: Client) -> None:
    assert (await ask(router, "GET", f"{KEYS}/"))[0] == 200
    for method, path, allow in (
        ("PUT", KEYS, "GET, POST, HEAD"),
        ("POST", f"{KEYS}/{'0' * 64}", "GET, PATCH, DELETE, HEAD"),
        ("DELETE", "/api/v1/key", "GET, HEAD"),
    ):
        headers = {"Authorization": f"Bearer {MANAGEMENT}"}
        answer = await router.request(method, path, headers=headers)
        assert (answer.status, answer.headers["Allow"]) == (405, allow)
    status, said = await ask(router, "GET", "/api/v1/kyes")
    assert status == 404 and "/api/v1/keys" in said["error"]["message"]
    assert (await ask(router, "GET", f"{KEYS}/a/b"))[0] == 404


async def test_while_the_store_does_not_work(
    router: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Operators hear so; keys that are known go on."""
    shown, key = await make(router)

    async def broken(*_: object, **__: object) -> None:
        raise StoreUnavailable("the store does not answer")

    for name in ("keys", "key", "add_key", "change_key", "used"):
        monkeypatch.setattr(router.router.books.store, name, broken)
    for method, path in (
        ("GET", KEYS),
        ("POST", KEYS),
        ("PATCH", f"{KEYS}/{shown['hash']}"),
        ("DELETE", f"{KEYS}/{shown['hash']}"),
        ("GET", "/api/usage/summary"),
    ):
        status, said = await ask(router, method, path, {"name": "x"})
        assert (status, code(said)) == (503, "store_unavailable")
    assert router.router.keys.identify(key.encode()).id == shown["hash"]
