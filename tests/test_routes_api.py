"""Routes as operators meet them, over HTTP, and what they do to requests."""

from __future__ import annotations

import asyncio
import json
import re
import time
from pathlib import Path
from typing import Any

import pytest

from routeur import routes
from routeur.call import rfc3339
from routeur.routes import EVERY
from routeur.store.base import StoreUnavailable
from tests.conftest import Client, MakeRouter, merged, parse, settings
from tests.fake import Upstream
from tests.redis_server import Server

MASTER, MANAGEMENT = "sk-master-of-a-test", "sk-management-of-a-test"
AUTH = {"master_key": MASTER, "management_key": MANAGEMENT}
ROUTES = "/v1/routes"
FIELDS = """id name priority enabled action_kind match action source skipped created_at
    updated_at""".split()
RULE = {"name": "of-the-file", "priority": 5, "match": {"model": "cheap"}, "to": "google/gemini-x"}
PIN = {
    "name": "r",
    "action_kind": "pin",
    "match": {"requested_model": "fast"},
    "action": {"provider": "openai", "model": "gpt-4o"},
}


@pytest.fixture
async def router(make_router: MakeRouter) -> Client:
    return await make_router(auth=AUTH, rules=[RULE])


async def ask(
    router: Client, method: str, path: str, body: object = None, key: str = MANAGEMENT
) -> tuple[int, Any]:
    """Status and JSON of an answer."""
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    data = {"data": body} if isinstance(body, bytes) else {"json": body}
    answer = await router.request(method, path, headers=headers, **data)
    return answer.status, await answer.json()


async def make(router: Client, **given: Any) -> dict[str, Any]:
    status, said = await ask(router, "POST", ROUTES, PIN | given)
    assert status == 201, said
    assert list(said) == FIELDS
    return dict(said)


async def plan(router: Client, model: str, **more: Any) -> dict[str, Any]:
    """What a dry run says."""
    headers = {"Authorization": f"Bearer {MASTER}", "Routeur-Dry-Run": "true"}
    body = {"model": model, "messages": [], **more}
    answer = await router.post("/v1/chat/completions", json=body, headers=headers)
    said = await answer.json()
    return said.get("routeur") or {"targets": [said["error"]["code"]], "route_reason": ""}


async def who(router: Client, model: str, **more: Any) -> tuple[Any, Any]:
    """Who would answer, and why."""
    said = await plan(router, model, **more)
    return said["targets"][0], said["route_reason"]


# ---- making


async def test_a_new_route(router: Client) -> None:
    made = await make(router)
    assert made["id"].startswith("route_")
    assert {name: made[name] for name in PIN} == PIN
    assert (made["priority"], made["enabled"], made["skipped"]) == (0, True, None)
    assert made["source"] == "api"
    assert made["created_at"] == made["updated_at"]
    assert rfc3339(time.time() - 60) < made["created_at"] < rfc3339(time.time() + 1)
    assert await ask(router, "GET", f"{ROUTES}/{made['id']}") == (200, made)


async def test_it_is_in_force_at_once(router: Client) -> None:
    assert await who(router, "fast") == ("openai/gpt-4o-mini", "alias:fast")
    made = await make(router, name="new one")
    assert await who(router, "fast") == ("openai/gpt-4o", "rule:new one")
    await ask(router, "DELETE", f"{ROUTES}/{made['id']}")
    assert await who(router, "fast") == ("openai/gpt-4o-mini", "alias:fast")


async def test_heads_that_were_seen_before_know_it_too(router: Client, upstream: Upstream) -> None:
    """The short cut holds plans: it must not outlive a change."""

    async def called() -> str:
        upstream.answers(b'{"object": "chat.completion", "choices": []}')
        headers = {"Authorization": f"Bearer {MASTER}"}
        body = {"model": "fast", "messages": []}
        answer = await router.post("/v1/chat/completions", json=body, headers=headers)
        assert answer.status == 200
        return str(json.loads(upstream.requests[-1].body)["model"])

    assert [await called() for _ in range(4)] == ["gpt-4o-mini"] * 4
    await make(router)
    assert [await called() for _ in range(2)] == ["gpt-4o"] * 2


async def test_a_name_that_only_a_route_knows_is_an_alias(router: Client) -> None:
    assert (await who(router, "tiny"))[0] == "model_not_found"
    await make(router, match={"requested_model": "tiny"})
    assert await who(router, "tiny") == ("openai/gpt-4o", "rule:r")
    _, models = await ask(router, "GET", "/v1/models", key=MASTER)
    assert "tiny" in [each["id"] for each in models["data"]]


async def test_its_match_is_a_rules(router: Client) -> None:
    await make(router, match={"requested_model": ["fast", "slow"], "stream": True})
    assert await who(router, "fast", stream=True) == ("openai/gpt-4o", "rule:r")
    assert await who(router, "fast") == ("openai/gpt-4o-mini", "alias:fast")
    assert await who(router, "slow", stream=True) == ("openai/gpt-4o", "rule:r")


async def test_auto_chooses(router: Client) -> None:
    """Among all models, also where the name is one that a provider lists."""
    given = {"action_kind": "auto", "action": None, "match": {"requested_model": "gpt-5"}}
    made = await make(router, **given)
    assert (made["action_kind"], made["action"]) == ("auto", {})
    said, auto = await plan(router, "gpt-5"), await plan(router, "auto")
    assert said["route_reason"] == "rule:r" and len(said["targets"]) > 1
    assert sorted(said["targets"]) == sorted(auto["targets"])


async def test_priorities(router: Client) -> None:
    """Higher first; at the same one the file's, then the older."""
    match = {"requested_model": "cheap"}
    await make(router, name="low", match=match, priority=4)
    second = await make(router, name="second", match=match, priority=5)
    await make(router, name="third", match=match, priority=5)
    assert await who(router, "cheap") == ("google/gemini-x", "rule:of-the-file")
    _, said = await ask(router, "GET", ROUTES)
    order = [each["name"] for each in said["data"]]
    assert order == ["of-the-file", "second", "third", "low"]
    await ask(router, "PATCH", f"{ROUTES}/{second['id']}", {"priority": 6})
    assert (await who(router, "cheap"))[1] == "rule:second"


WRONG: list[tuple[dict[str, Any], int, str, str]] = [
    ({"name": None}, 400, "name", "missing"),
    ({"name": ""}, 400, "name", "names the route"),
    ({"name": "a\x1bb"}, 400, "name", "printable"),
    ({"name": "of-the-file"}, 409, "name", "configuration's file"),
    ({"priority": "high"}, 400, "priority", "whole number"),
    ({"priority": True}, 400, "priority", "whole number"),
    ({"priority": 10**10}, 400, "priority", "whole number"),
    ({"enabled": "yes"}, 400, "enabled", "true or false"),
    ({"enabled": 1}, 400, "enabled", "true or false"),
    ({"action_kind": None}, 400, "action_kind", "missing"),
    ({"action_kind": "pinn"}, 400, "action_kind", "pin or auto"),
    ({"action_kind": "auto"}, 400, "action", "must be {}"),
    ({"action": None}, 400, "action.provider", "missing"),
    ({"action": {"provider": "opnai", "model": "x"}}, 404, "action.provider", 'mean "openai"?'),
    ({"match": None}, 400, "match", "missing"),
    ({"match": []}, 400, "match", "an object"),
    ({"match": {"has": "imag"}}, 400, "match.has", 'did you mean "image"?'),
    ({"id": "route_1"}, 400, "id", "unknown member"),
    ({"enable": True}, 400, "enable", 'did you mean "enabled"?'),
]


@pytest.mark.parametrize(("given", "status", "param", "text"), WRONG)
async def test_what_is_refused(
    router: Client, given: dict[str, Any], status: int, param: str, text: str
) -> None:
    got, said = await ask(router, "POST", ROUTES, PIN | given)
    assert (got, said["error"]["param"]) == (status, param), said
    assert text in said["error"]["message"]
    codes = {400: "invalid_request", 404: "provider_not_found", 409: "conflict"}
    assert said["error"]["code"] == codes[status]
    assert len((await ask(router, "GET", ROUTES))[1]["data"]) == 1


@pytest.mark.parametrize(
    "body", [b"", b"[]", b'{"name": "a", "name": "b"}', b'{"match": {"stream": NaN}}', b"\xff"]
)
async def test_bodies_that_are_none(router: Client, body: bytes) -> None:
    assert (await ask(router, "POST", ROUTES, body))[0] == 400


async def test_names_are_unique(router: Client) -> None:
    await make(router)
    other = await make(router, name="other")
    for method, path, body in (
        ("POST", ROUTES, PIN),
        ("PATCH", f"{ROUTES}/{other['id']}", {"name": "r"}),
        ("PATCH", f"{ROUTES}/{other['id']}", {"name": "of-the-file"}),
    ):
        status, said = await ask(router, method, path, body)
        assert (status, said["error"]["code"], said["error"]["param"]) == (409, "conflict", "name")
    made = await asyncio.gather(
        *(ask(router, "POST", ROUTES, PIN | {"name": "new"}) for _ in range(5))
    )
    assert sorted(status for status, _ in made) == [201, 409, 409, 409, 409]


# ---- changing


async def test_every_member_can_be_changed(router: Client) -> None:
    made = await make(router)
    changes: dict[str, Any] = {
        "name": "renamed",
        "priority": -3,
        "enabled": False,
        "action_kind": "auto",
        "action": {},
        "match": {"key": "team-*", "stream": None},
    }
    status, said = await ask(router, "PATCH", f"{ROUTES}/{made['id']}", changes)
    assert status == 200
    assert said == made | changes | {
        "match": {"key": "team-*"},
        "updated_at": said["updated_at"],
    }
    assert said["updated_at"] >= made["updated_at"]
    assert await ask(router, "GET", f"{ROUTES}/{made['id']}") == (200, said)


async def test_one_member_leaves_the_others(router: Client) -> None:
    made = await make(router)
    path = f"{ROUTES}/{made['id']}"
    _, said = await ask(router, "PATCH", path, {"enabled": False, "name": "r"})
    assert said == made | {"enabled": False, "updated_at": said["updated_at"]}
    assert (await who(router, "fast"))[1] == "alias:fast"
    _, said = await ask(router, "PATCH", path, {"action_kind": "auto"})
    assert (said["action_kind"], said["action"]) == ("auto", {})
    status, said = await ask(router, "PATCH", path, {"action_kind": "pin"})
    assert (status, said["error"]["param"]) == (400, "action.provider")
    _, said = await ask(router, "PATCH", path, {})
    assert said["action_kind"] == "auto"


@pytest.mark.parametrize(
    "changes", [{"action_kind": None}, {"action": None}, {"name": None}, {"match": None}]
)
async def test_what_must_be_there_stays(router: Client, changes: dict[str, Any]) -> None:
    made = await make(router)
    assert (await ask(router, "PATCH", f"{ROUTES}/{made['id']}", changes))[0] == 400


async def test_unknown_ids(router: Client) -> None:
    for method in ("GET", "PATCH", "DELETE"):
        body = {} if method == "PATCH" else None
        status, said = await ask(router, method, f"{ROUTES}/route_none", body)
        assert (status, said["error"]["code"]) == (404, "not_found")
    made = await make(router)
    deleted = {"id": made["id"], "deleted": True}
    assert await ask(router, "DELETE", f"{ROUTES}/{made['id']}") == (200, deleted)
    assert (await ask(router, "DELETE", f"{ROUTES}/{made['id']}"))[0] == 404


# ---- the file's


async def test_rules_of_the_file_are_shown_and_left_alone(make_router: MakeRouter) -> None:
    rules: list[dict[str, Any]] = [
        RULE,
        {
            "name": "parts",
            "match": {"has": ["tools", "image"], "tokens": {"gt": 5}, "headers": {"X-A": "b"}},
            "split": {"openai/gpt-4o": 9, "google/gemini-x": 1},
        },
        {"name": "many", "match": {"model": ["a", "b*"]}, "to": ["openai/gpt-4o", "openai/gpt-5"]},
    ]
    router = await make_router(rules=rules)
    _, said = await ask(router, "GET", ROUTES, key="")
    assert all(list(each) == FIELDS and each["source"] == "file" for each in said["data"])
    shown = {each["name"]: (each["match"], each["action"]) for each in said["data"]}
    assert shown == {
        "of-the-file": (
            {"requested_model": "cheap"},
            {"provider": "google", "model": "gemini-x"},
        ),
        "parts": (
            {"has": ["image", "tools"], "tokens": {"gt": 5}, "headers": {"x-a": "b"}},
            {
                "provider": "openai",
                "model": "gpt-4o",
                "targets": ["openai/gpt-4o", "google/gemini-x"],
                "split": {"openai/gpt-4o": 9, "google/gemini-x": 1},
            },
        ),
        "many": (
            {"requested_model": ["a", "b*"]},
            {
                "provider": "openai",
                "model": "gpt-4o",
                "targets": ["openai/gpt-4o", "openai/gpt-5"],
            },
        ),
    }
    path = f"{ROUTES}/{said['data'][0]['id']}"
    assert await ask(router, "GET", path, key="") == (200, said["data"][0])
    for method in ("PATCH", "DELETE"):
        status, refused = await ask(router, method, path, {}, key="")
        assert (status, refused["error"]["code"]) == (409, "conflict")
        assert "file" in refused["error"]["message"]


async def test_reloads_keep_routes(router: Client, upstream: Upstream) -> None:
    """One whose provider has gone is skipped and says so; it can be changed, and comes back."""
    made = await make(router)
    path = f"{ROUTES}/{made['id']}"
    base = merged(settings(upstream), {"auth": AUTH})
    router.router.reload(parse(base))
    assert await who(router, "fast") == ("openai/gpt-4o", "rule:r")

    gone = {"providers": {"openai": None}, "aliases": {"fast": ["google/gemini-x"]}}
    router.router.reload(parse(merged(base, gone)))
    assert await who(router, "fast") == ("google/gemini-x", "alias:fast")
    _, said = await ask(router, "GET", path)
    assert said == made | {"skipped": "provider openai is not configured"}
    status, said = await ask(router, "PATCH", path, {"priority": 7})
    assert (status, said["priority"]) == (200, 7)

    router.router.reload(parse(merged(base, {"providers": {"openai": "off"}} | gone_alias())))
    _, said = await ask(router, "GET", path)
    assert said["skipped"] == "provider openai is off: switched off in the configuration"
    assert (await ask(router, "PATCH", path, {"action": PIN["action"]}))[0] == 200

    router.router.reload(parse(base | {"rules": [RULE | {"name": "r"}]}))
    _, said = await ask(router, "GET", path)
    assert said["skipped"] == "a rule of the configuration's file has this name"
    router.router.reload(parse(base))
    assert await who(router, "fast") == ("openai/gpt-4o", "rule:r")


def gone_alias() -> dict[str, Any]:
    return {"aliases": {"fast": ["google/gemini-x"]}}


# ---- who may


async def test_keys_that_do_not_manage(router: Client) -> None:
    made = await make(router)
    _, said = await ask(router, "POST", "/api/v1/keys", {"name": "alice"})
    for key, status in ((said["key"], 403), (MASTER, 403), ("sk-wrong", 401), ("", 401)):
        for method, path in (
            ("GET", ROUTES),
            ("POST", ROUTES),
            ("GET", f"{ROUTES}/{made['id']}"),
            ("PATCH", f"{ROUTES}/{made['id']}"),
            ("DELETE", f"{ROUTES}/{made['id']}"),
        ):
            body = PIN if method in ("POST", "PATCH") else None
            assert (await ask(router, method, path, body, key))[0] == status
    assert (await ask(router, "GET", f"{ROUTES}/{made['id']}"))[1] == made


async def test_methods_and_paths(router: Client) -> None:
    for method, path, allow in (
        ("PUT", ROUTES, "GET, POST, HEAD"),
        ("DELETE", ROUTES, "GET, POST, HEAD"),
        ("POST", f"{ROUTES}/x", "GET, PATCH, DELETE, HEAD"),
    ):
        headers = {"Authorization": f"Bearer {MANAGEMENT}"}
        answer = await router.request(method, path, headers=headers)
        assert (answer.status, answer.headers["Allow"]) == (405, allow)
    assert (await ask(router, "GET", f"{ROUTES}?limit=5"))[0] == 400
    assert (await ask(router, "GET", f"{ROUTES}/a/b"))[0] == 404
    assert (await ask(router, "GET", f"{ROUTES}/"))[0] == 200


async def test_what_is_logged(router: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[tuple[str, ...]] = []
    monkeypatch.setattr(router.router.log, "event", lambda *given, **_: said.append(given))
    made = await make(router)
    await ask(router, "PATCH", f"{ROUTES}/{made['id']}", {"priority": 1, "enabled": True})
    await ask(router, "DELETE", f"{ROUTES}/{made['id']}")
    assert [text.partition(") ")[2] for _, event, text in said if event == "route"] == [
        "was made by management",
        "was changed (priority, enabled) by management",
        "was deleted by management",
    ]


# ---- everywhere


@pytest.fixture(params=["sqlite", "redis"])
def store(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The address of a store that several can share."""
    monkeypatch.chdir(tmp_path)
    if request.param == "sqlite":
        return "sqlite:routeur.db"
    server: Server = request.getfixturevalue("redis_server")
    server.say("FLUSHALL")
    return server.url


async def test_it_is_known_everywhere_within_a_second_and_after_a_restart(
    store: str, make_router: MakeRouter
) -> None:
    here = await make_router(auth=AUTH, store=store)
    there = await make_router(auth=AUTH, store=store)
    made = await make(here)
    begun = time.monotonic()
    while (await who(there, "fast"))[1] != "rule:r":
        assert time.monotonic() - begun < 10 * EVERY
        await asyncio.sleep(0.02)
    assert await ask(there, "GET", f"{ROUTES}/{made['id']}") == (200, made)

    # A list is never behind, whoever made what is in it.
    other = await make(there, name="other", priority=1)
    _, said = await ask(here, "GET", ROUTES)
    assert said["data"] == [other, made]

    later = await make_router(auth=AUTH, store=store)
    assert await who(later, "fast") == ("openai/gpt-4o", "rule:other")


async def test_while_the_store_does_not_answer(
    router: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is known is in force and shown; what would change it is refused."""
    made = await make(router)

    async def fail(*given: Any) -> Any:
        raise StoreUnavailable("the store does not answer")

    for name in ("values", "put"):
        monkeypatch.setattr(router.router.books.store, name, fail)
    assert await ask(router, "GET", f"{ROUTES}/{made['id']}") == (200, made)
    assert await who(router, "fast") == ("openai/gpt-4o", "rule:r")
    for method, path in (("POST", ROUTES), ("DELETE", f"{ROUTES}/{made['id']}")):
        status, said = await ask(router, method, path, PIN if method == "POST" else None)
        assert (status, said["error"]["code"]) == (503, "store_unavailable")


async def test_the_manuals_example(router: Client) -> None:
    text = (Path(__file__).parents[1] / "README.md").read_text()
    found = re.search(r"curl \S+/v1/routes [^']*'([^']*)'", text)
    assert found
    made = await make(router, **json.loads(found[1]))
    assert (made["name"], made["priority"]) == ("pictures", 100)
    for name in routes.MATCHES:
        assert f"`{name}`" in text
