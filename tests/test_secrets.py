"""Secrets are planted wherever there is a place for one: none is in anything that comes out."""

from __future__ import annotations

import asyncio
import base64
import json
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_plus

import aiohttp
import pytest
import yaml
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from yarl import URL

import routeur
from tests.fake import PATIENCE, Part, Request, Upstream, whole
from tests.program import Program
from tests.running import completion

ODD = "+/%\"'=&"  # what encodings change
HIDDEN = {
    "openai": f"sk-planted-openai-0001{ODD}a",
    "anthropic": f"sk-ant-planted-0002{ODD}b",
    "google": f"AIza-planted-0003{ODD}c",
    "header": f"planted-header-0004{ODD}d",
    "master": f"planted-master-key-0005{ODD}e",
    "management": f"planted-management-0006{ODD}f",
    "secret": f"planted-auth-secret-0007{ODD}g",
    "aws": f"planted-aws-secret-0008{ODD}h",
    "session": f"planted-aws-session-0009{ODD}i",
    "token": f"ya29.planted-token-0010{ODD}j",
    "proxy": "planted-proxy-password-0011",
    "wrong": f"rtr_live_planted-wrong-0012{ODD}k",
    "base_url": "planted-url-password-0013",
}
CHAT = "/v1/chat/completions"
KINDS = {"Content-Type": "application/json"}


def forms(secret: str) -> Iterator[bytes]:
    """How a secret may look in what comes out."""
    yield secret.encode()
    yield quote(secret, safe="").encode()
    yield quote(secret).encode()
    yield quote_plus(secret).encode()
    yield json.dumps(secret)[1:-1].encode()
    yield json.dumps(json.dumps(secret))[3:-3].encode()
    yield secret.encode().hex().encode()
    for before in range(3):  # wherever it begins within the text that is encoded
        for encode in (base64.b64encode, base64.urlsafe_b64encode):
            text = encode(bytes(before) + secret.encode())
            yield text[4 if before else 0 : -4]


def found_in(data: bytes, secrets: dict[str, str]) -> set[str]:
    return {
        name for name, secret in secrets.items() if any(form in data for form in {*forms(secret)})
    }


def test_they_would_be_found() -> None:
    """Whatever is around them, and however they are written."""
    secret = HIDDEN["openai"]
    wrapped = [
        secret,
        quote(secret),
        json.dumps({"key": secret}),
        base64.b64encode(f"user:{secret}".encode()).decode(),
        base64.b64encode(f'{{"a":"{secret}"}}'.encode()).decode(),
    ]
    for text in wrapped:
        assert found_in(b"x" + text.encode() + b"y", HIDDEN) == {"openai"}


class Parrot(Upstream):
    """Repeats the credential it was given, as some providers do; what it says is in the prompt."""

    def _next(self, request: Request) -> list[Part]:
        if request.path == "/token":
            token = {"access_token": HIDDEN["token"], "expires_in": 3600, "token_type": "Bearer"}
            return [whole(json.dumps(token).encode())]
        if b"well" in request.body:
            return [whole(completion(3, 4))]
        status = 403 if b"forbidden" in request.body else 401
        said = {"error": {"message": f"Incorrect API key provided: {request.key}", "type": "x"}}
        return [whole(json.dumps(said).encode(), status, ("WWW-Authenticate", request.key))]


@pytest.fixture
async def parrot() -> AsyncIterator[Parrot]:
    made = Parrot()
    await made.start()
    yield made
    await made.stop()


def account(folder: Path, parrot: Parrot) -> Path:
    """A service account's file; its private key is a secret as well."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    file = folder / "account.json"
    known = {"type": "service_account", "project_id": "p-1", "private_key_id": "k1"}
    known |= {"private_key": pem, "client_email": "routeur@p-1.iam.gserviceaccount.com"}
    file.write_text(json.dumps(known | {"token_uri": f"{parrot.url}/token"}))
    return file


def configured(folder: Path, parrot: Parrot) -> dict[str, Any]:
    url = parrot.url
    models = ["gpt-4o", "gpt-4o-mini"]
    headers = {"x-tenant": HIDDEN["header"]}
    openai = {"dialect": "openai", "base_url": f"{url}/v1", "models": models, "headers": headers}
    aws = {"access_key_id": "AKIDPLAIN", "secret_access_key": HIDDEN["aws"]}
    vertex = {"preset": "vertex", "project": "p-1", "location": "global", "base_url": url}
    proxy = f"http://user:{HIDDEN['proxy']}@127.0.0.1:9"
    return {
        "server": {"port": 0, "drain": "1s"},
        "auth": {
            "master_key": HIDDEN["master"],
            "management_key": HIDDEN["management"],
            "secret": HIDDEN["secret"],
        },
        "store": "sqlite:routeur.db",
        "log": {"level": "debug", "format": "json"},
        "retries": {"attempts": 1},
        "providers": {
            "openai": openai | {"api_key": HIDDEN["openai"]},
            "claude": {
                "dialect": "anthropic",
                "base_url": url,
                "api_key": HIDDEN["anthropic"],
                "models": ["claude-*"],
            },
            "google": {
                "dialect": "gemini",
                "base_url": url,
                "api_key": HIDDEN["google"],
                "models": ["gemini-*"],
            },
            "aws": {
                "dialect": "bedrock",
                "region": "us-east-1",
                "base_url": url,
                "models": ["nova"],
                **aws,
                "session_token": HIDDEN["session"],
            },
            "vertex": vertex
            | {"models": ["gemini-v"], "credentials_file": str(account(folder, parrot))},
            "behind": {
                "dialect": "openai",
                "base_url": "http://nowhere.example/v1",
                "api_key": HIDDEN["openai"],
                "proxy": proxy,
                "models": ["far"],
            },
        },
    }


@dataclass
class Ear:
    """Hears everything that a client can: heads and bodies of answers."""

    port: int
    session: aiohttp.ClientSession
    heard: list[bytes] = field(default_factory=list)

    async def ask(
        self, method: str, path: str, key: str = "", body: Any = None, **headers: str
    ) -> tuple[int, bytes]:
        if key:
            headers["Authorization"] = f"Bearer {key}"
        url = URL(f"http://127.0.0.1:{self.port}{path}", encoded=True)
        data = None if body is None else json.dumps(body).encode()
        async with self.session.request(method, url, data=data, headers=KINDS | headers) as answer:
            said = await answer.read()
            self.heard += [b"%b: %b" % pair for pair in answer.raw_headers] + [said]
            return answer.status, said


def bodies(word: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """A request in every dialect, to every provider."""
    said = [{"role": "user", "content": f"all is {word}"}]
    for model in ("gpt-4o", "claude-x", "gemini-x", "nova", "gemini-v", "far"):
        for stream in (False, True):
            more = {"model": model, "stream": stream}
            yield CHAT, {"messages": said, **more}
            yield "/v1/messages", {"messages": said, "max_tokens": 9, **more}
        parts = {"contents": [{"role": "user", "parts": [{"text": f"all is {word}"}]}]}
        yield f"/v1beta/models/{model}:generateContent", parts
    yield "/openai/models", {"say": word}


async def use(ear: Ear) -> str:
    """Everything that there is to ask for, with good and with wrong keys; the virtual key."""
    master, management = HIDDEN["master"], HIDDEN["management"]
    wrong = quote(HIDDEN["wrong"], safe="")
    made = {"name": "team", "limit": 5}
    async with ear.session.post(
        f"http://127.0.0.1:{ear.port}/api/v1/keys",
        json=made,
        headers={"Authorization": f"Bearer {management}"},
    ) as answer:
        shown = await answer.json()  # the only time that it is shown
    live: str = shown["key"]
    for word in ("well", "unauthorized", "forbidden"):
        asked = [(path, key, body) for path, body in bodies(word) for key in (master, live)]
        await asyncio.gather(*[ear.ask("POST", *each) for each in asked])
    query = quote(master, safe="")
    await ear.ask("POST", f"{CHAT}?key={query}", "", next(bodies("well"))[1])
    await ear.ask("GET", f"/nothing?key={query}", master)
    await ear.ask("GET", f"/v1/models?key={query}&k=1")
    for headers in ({"Authorization": f"Bearer {HIDDEN['wrong']}"}, {"x-api-key": HIDDEN["wrong"]}):
        await ear.ask("POST", CHAT, "", next(bodies("well"))[1], **headers)
    await ear.ask("GET", f"/v1/models?key={wrong}")
    await ear.ask("GET", f"/v1/models?key={wrong}", master)  # two different ones
    await ear.ask("POST", CHAT, live, {"model": "gpt-4o", "messages": 5})
    await ear.ask("POST", CHAT, live, next(bodies("well"))[1], **{"Routeur-Dry-Run": "true"})
    await ear.ask("POST", CHAT, live, next(bodies("well"))[1], **{"Routeur-Trace": "true"})
    await ear.ask("POST", CHAT, live, next(bodies("well"))[1], **{"Routeur-Timeout": "soon"})
    for path in ("/health", "/vhealth", "/healthz", "/health/readiness", "/metrics"):
        await ear.ask("GET", path)
    hash = shown["data"]["hash"]
    for path in (
        "/api/v1/keys",
        f"/api/v1/keys/{hash}",
        "/api/v1/key",
        "/api/usage/summary",
        "/api/usage/timeseries",
        "/api/bans",
        "/v1/models",
        "/v1/routes",
    ):
        for key in (management, live, HIDDEN["wrong"]):
            await ear.ask("GET", path, key)
    return live


SAY = "import json, sys, routeur.__main__ as r; [r.main(each) for each in json.loads(sys.argv[1])]"


def commands(folder: Path, *arguments: list[str]) -> bytes:
    """What commands say."""
    done = subprocess.run(
        [sys.executable, "-c", SAY, json.dumps(arguments)],
        cwd=folder,
        env={"PYTHONPATH": str(Path(routeur.__file__).parents[1]), "PATH": ""},
        capture_output=True,
        timeout=30,
    )
    assert done.returncode == 0
    return done.stdout + done.stderr


def wrong_file(folder: Path, config: dict[str, Any]) -> None:
    """A configuration in which everything that holds a secret is wrong."""
    broken = json.loads(json.dumps(config))
    broken["auth"]["master_key"] = [HIDDEN["master"]]
    broken["auth"]["secret"] = HIDDEN["secret"][:9] + "\n" + HIDDEN["secret"]
    broken["auth"]["managment_key"] = HIDDEN["management"]
    providers = broken["providers"]
    providers["openai"]["base_url"] = f"https://user:{HIDDEN['base_url']}@host/v1"
    providers["openai"]["api_key"] = HIDDEN["openai"] + " \u00e9"
    providers["openai"]["headers"] = {"bad name": HIDDEN["header"]}
    providers["behind"]["proxy"] = f"ftp://user:{HIDDEN['proxy']}@127.0.0.1:9"
    providers["aws"]["secret_access_key"] = {"a": HIDDEN["aws"]}
    providers["aws"]["session_token"] = 5
    (folder / "broken.yaml").write_text(yaml.safe_dump(broken))


def kept_files(folder: Path) -> dict[str, bytes]:
    """The store, and what waits for it."""
    found = [*folder.glob("routeur.db*"), *(folder / "routeur.db-spool").rglob("*")]
    return {each.name: each.read_bytes() for each in found if each.is_file()}


def traced(path: Path) -> list[str]:
    """The ids of calls in the store."""
    with closing(sqlite3.connect(path)) as db:
        return [id for (id,) in db.execute("SELECT id FROM traces")]


async def test_none_comes_out(tmp_path: Path, parrot: Parrot) -> None:
    config = configured(tmp_path, parrot)
    (tmp_path / "router.yaml").write_text(yaml.safe_dump(config))
    wrong_file(tmp_path, config)
    out: dict[str, bytes] = {}
    async with AsyncExitStack() as stack:
        program = Program(cwd=tmp_path)
        stack.push_async_callback(asyncio.to_thread, program.kill)
        session = await stack.enter_async_context(aiohttp.ClientSession())
        ear = Ear(await asyncio.to_thread(getattr, program, "port"), session)
        live = await use(ear)
        async with asyncio.timeout(PATIENCE):
            while len(traces := traced(tmp_path / "routeur.db")) < 51:  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        for id in traces:
            status, _ = await ear.ask("GET", f"/v1/traces/{id}", HIDDEN["management"])
            assert status == 200
            await ear.ask("GET", f"/api/v1/generation?id={id}", HIDDEN["management"])
        out |= kept_files(tmp_path)
        key = f"Authorization: Bearer {live}"
        out["commands"] = await asyncio.to_thread(
            commands,
            tmp_path,
            ["check"],
            ["check", "broken.yaml"],
            ["-c", "broken.yaml"],
            ["explain", "--model", "gpt-4o", "--header", key],
            ["explain", "--model", "gpt-4o", "--json"],
            ["keys", "list"],
        )
    assert any(b"routeur.db" in name.encode() for name in out)
    out["answers"] = b"\n".join(ear.heard)
    out["log"] = "\n".join([*program.out, *program.err]).encode()
    assert len(out["answers"]) > 20_000 and b"unauthorized" in out["log"]
    pem = json.loads((tmp_path / "account.json").read_text())["private_key"]
    secrets = HIDDEN | {"live": live, "private": pem.splitlines()[5]}
    asked = b"".join(request.key.encode() for request in parrot.requests)
    assert {"openai", "anthropic", "google", "token"} <= found_in(asked, secrets)
    assert {name: found for name, data in out.items() if (found := found_in(data, secrets))} == {}
