"""Bedrock, Vertex AI and Azure's old paths on real sockets: who we are there, and what is asked."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from routeur import refresh
from routeur.aws import LARGE
from tests.aws import signature
from tests.conftest import Client, MakeRouter
from tests.fake import Request, Upstream
from tests.recording import recording
from tests.targets import ANTHROPIC, BEDROCK, CHAT, GEMINI, STREAMS, WHOLES, answers, ask, request

# A warning of files from strangers.
pytestmark = pytest.mark.filterwarnings("ignore:The load_credentials_from_file:DeprecationWarning")

NONE = {"openai": None, "anthropic": None, "google": None}
CLAUDE = "claude-sonnet-4@20250514"
ON_BEDROCK = "us.anthropic.claude-sonnet-4-5-v1:0"
ARN = "arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/a.b"


async def started(make_router: MakeRouter, provider: dict[str, Any], **changes: Any) -> Client:
    """A routeur whose only provider is `p`."""
    changes = {"providers": {**NONE, "p": provider}, "aliases": {"fast": None}} | changes
    return await make_router(**changes)


# ── Bedrock


def bedrock(upstream: Upstream, **more: Any) -> dict[str, Any]:
    return {"dialect": "bedrock", "region": "us-east-1", "base_url": upstream.url, **more}


KEYS = {"access_key_id": "AKID", "secret_access_key": "s3cret"}


def signed(upstream: Upstream, asked: Request, secret: str = "s3cret") -> dict[str, str]:
    """What a request says of its signature, which AWS would accept."""
    headers = {name.decode(): value.decode("latin-1") for name, value in asked.headers}
    assert len({name.lower() for name in headers}) == len(asked.headers)
    said = signature(asked.method, upstream.url + asked.path, headers, asked.body, secret)
    assert said["valid"] == "yes"
    return said


@pytest.mark.parametrize("model", [ON_BEDROCK, ARN])
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("client", [CHAT, ANTHROPIC, GEMINI])
async def test_signed_calls(
    make_router: MakeRouter, upstream: Upstream, client: str, stream: bool, model: str
):
    """AWS computes the same signature of what it receives."""
    router = await started(make_router, bedrock(upstream, **KEYS, models={"m": {"id": model}}))
    answers(upstream, (STREAMS if stream else WHOLES)[BEDROCK])
    path, body = request(client, "p/m", stream=stream)
    sent = {"X-Amz-Date": "20200101T000000Z", "x-amz-security-token": "theirs", "x-api-key": "k"}
    answer = await router.post(path, json=body, headers=sent)
    assert (answer.status, bool(await answer.read())) == (200, True)

    said = signed(upstream, upstream.request)
    assert "AKID/" in said["Credential"]
    assert said["Credential"].endswith("/us-east-1/bedrock/aws4_request")
    assert upstream.request.header("x-amz-security-token") is None
    encoded = model.replace(":", "%3A").replace("/", "%2F")
    verb = "converse-stream" if stream else "converse"
    assert upstream.request.path == f"/model/{encoded}/{verb}"


async def test_a_session_and_a_large_body(make_router: MakeRouter, upstream: Upstream):
    router = await started(make_router, bedrock(upstream, **KEYS, session_token="t0ken"))
    answers(upstream, WHOLES[BEDROCK])
    said = [{"role": "user", "content": "ü" * 150_000}]
    answer, _ = await ask(router, CHAT, f"p/{ON_BEDROCK}", messages=said)
    assert answer.status == 200
    assert upstream.request.size > LARGE
    assert upstream.request.header("x-amz-security-token") == "t0ken"
    assert "x-amz-security-token" in signed(upstream, upstream.request)["SignedHeaders"]


async def test_each_attempt_is_signed_by_its_account(make_router: MakeRouter, upstream: Upstream):
    accounts = [
        {"name": "a", "access_key_id": "AKA", "secret_access_key": "sa"},
        {"name": "b", "access_key_id": "AKB", "secret_access_key": "sb", "fallback": True},
    ]
    router = await started(
        make_router, bedrock(upstream, credentials=accounts), retries={"attempts": 2}
    )
    upstream.answers('{"message":"slow down"}', 429, {"x-amzn-ErrorType": "ThrottlingException"})
    answers(upstream, WHOLES[BEDROCK])
    answer, _ = await ask(router, CHAT, f"p/{ON_BEDROCK}")
    assert answer.status == 200
    for asked, key, secret in zip(upstream.requests, ("AKA", "AKB"), ("sa", "sb"), strict=True):
        assert signed(upstream, asked, secret)["Credential"].startswith(key)


async def test_an_api_key_of_bedrocks(make_router: MakeRouter, upstream: Upstream):
    router = await started(make_router, bedrock(upstream, api_key="bedrock-key"))
    answers(upstream, WHOLES[BEDROCK])
    answer, _ = await ask(router, CHAT, f"p/{ON_BEDROCK}")
    assert answer.status == 200
    assert upstream.request.header("authorization") == "Bearer bedrock-key"
    assert not any(name.startswith("x-amz") for name in upstream.request.names())


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
async def test_bedrocks_own_path_is_signed_too(
    make_router: MakeRouter, upstream: Upstream, stream: bool
):
    """The raw path: the client's bytes both ways."""
    router = await started(make_router, bedrock(upstream, **KEYS))
    name = (STREAMS if stream else WHOLES)[BEDROCK]
    answers(upstream, name)
    body = b'{"messages" : [{"role":"user","content":[{"text":"hi"}]}]}'
    path = f"/model/us.anthropic.claude-v1%3A0/converse{'-stream' if stream else ''}"
    answer = await router.post(f"/p{path}", data=body)
    assert await answer.read() == recording(name).body
    assert (upstream.request.path, upstream.request.body) == (path, body)
    signed(upstream, upstream.request)


async def test_no_keys_for_aws(
    make_router: MakeRouter, upstream: Upstream, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    """The next target is asked, and if there is none the client hears why."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setattr(refresh, "PAUSE", 0.0)
    second = {"dialect": "anthropic", "base_url": upstream.url, "api_key": "k"}
    router = await started(
        make_router,
        bedrock(upstream),
        providers={**NONE, "p": bedrock(upstream), "q": second},
        aliases={"fast": None, "any": [f"p/{ON_BEDROCK}", "q/claude-x"]},
        retries={"attempts": 2},
    )
    answers(upstream, WHOLES[ANTHROPIC])
    answer, _ = await ask(router, CHAT, "any")
    assert (answer.status, upstream.request.path) == (200, "/v1/messages")

    answer, said = await ask(router, CHAT, f"p/{ON_BEDROCK}")
    assert (answer.status, said["error"]["code"]) == (502, "upstream_auth_error")
    assert len(upstream.requests) == 1


# ── Vertex AI


@pytest.fixture
async def tokens() -> AsyncIterator[Upstream]:
    """Google's token endpoint."""
    endpoint = Upstream()
    await endpoint.start()
    endpoint.answers('{"access_token":"t1","expires_in":3600,"token_type":"Bearer"}')
    yield endpoint
    await endpoint.stop()


@pytest.fixture(scope="module")
def private_key() -> str:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


@pytest.fixture
def key_file(
    tmp_path: Path, tokens: Upstream, private_key: str, monkeypatch: pytest.MonkeyPatch
) -> str:
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(refresh, "PAUSE", 0.0)
    file = tmp_path / "key.json"
    account = {
        "type": "service_account",
        "project_id": "p-1",
        "private_key_id": "k1",
        "private_key": private_key,
        "client_email": "routeur@p-1.iam.gserviceaccount.com",
        "token_uri": f"{tokens.url}/token",
    }
    file.write_text(json.dumps(account))
    return str(file)


@pytest.fixture
async def vertex(make_router: MakeRouter, upstream: Upstream, key_file: str) -> Client:
    settings = {
        "preset": "vertex",
        "project": "p-1",
        "location": "europe-west4",
        "base_url": upstream.url,
        "credentials_file": key_file,
        "models": ["gemini-*", "claude-*"],
    }
    return await started(make_router, settings)


PLACE = "/projects/p-1/locations/europe-west4/publishers"


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
async def test_gemini_on_vertex(vertex: Client, upstream: Upstream, stream: bool):
    """Copied, both ways."""
    name = (STREAMS if stream else WHOLES)[GEMINI]
    answers(upstream, name)
    path, body = request(GEMINI, "gemini-2.5-pro", stream=stream)
    data = json.dumps(body).encode()
    answer = await vertex.post(path, data=data, headers={"x-goog-api-key": "theirs"})

    assert await answer.read() == recording(name).body
    asked = upstream.request
    verb = "streamGenerateContent?alt=sse" if stream else "generateContent"
    assert asked.path == f"/v1beta1{PLACE}/google/models/gemini-2.5-pro:{verb}"
    assert asked.body == data
    assert asked.header("authorization") == "Bearer t1"
    assert asked.header("x-goog-api-key") is None


async def test_a_path_of_vertexs_own(vertex: Client, upstream: Upstream):
    """The client's project and place are not the ones that are asked."""
    answers(upstream, WHOLES[GEMINI])
    path = "/v1/projects/x/locations/y/publishers/google/models/gemini-2.5-pro:generateContent"
    answer = await vertex.post(path, json=request(GEMINI, "")[1])
    assert answer.status == 200
    assert upstream.request.path == f"/v1{PLACE}/google/models/gemini-2.5-pro:generateContent"


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
async def test_claude_on_vertex(vertex: Client, upstream: Upstream, stream: bool):
    """The answer is copied; the model stands in the path, and a version in its place."""
    name = "claude-3-7-sonnet-simple" + "_streaming" * stream
    answers(upstream, name)
    path, body = request(ANTHROPIC, CLAUDE, stream=stream, new_field=[1])
    sent = {"anthropic-version": "2023-06-01", "anthropic-beta": "b-1", "x-api-key": "theirs"}
    answer = await vertex.post(path, json=body, headers=sent)

    assert await answer.read() == recording(name).body
    asked = upstream.request
    verb = "streamRawPredict" if stream else "rawPredict"
    assert asked.path == f"/v1{PLACE}/anthropic/models/{CLAUDE}:{verb}"
    said = json.loads(asked.body)
    assert said.pop("anthropic_version") == "vertex-2023-10-16"
    assert "model" not in said
    assert said["new_field"] == [1]
    assert said["messages"] == body["messages"]
    assert asked.header("authorization") == "Bearer t1"
    assert asked.header("x-api-key") is None
    trace = await vertex.trace(answer)
    assert trace["usage"]["output_total"] == 16


async def test_counting_claudes_tokens_on_vertex(vertex: Client, upstream: Upstream):
    upstream.answers('{"input_tokens": 12}')
    body = {"model": CLAUDE, "messages": [{"role": "user", "content": "hi"}]}
    answer = await vertex.post("/v1/messages/count_tokens", json=body)
    assert await answer.json() == {"input_tokens": 12}
    assert upstream.request.path == f"/v1{PLACE}/anthropic/models/count-tokens:rawPredict"
    assert json.loads(upstream.request.body)["model"] == CLAUDE


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("client", [CHAT, GEMINI])
async def test_claude_on_vertex_translated(
    vertex: Client, upstream: Upstream, client: str, stream: bool
):
    answers(upstream, "claude-3-7-sonnet-simple" + "_streaming" * stream)
    path, body = request(client, CLAUDE, stream=stream)
    answer = await vertex.post(path, json=body)
    assert (answer.status, bool(await answer.read())) == (200, True)

    asked = upstream.request
    verb = "streamRawPredict" if stream else "rawPredict"
    assert asked.path == f"/v1{PLACE}/anthropic/models/{CLAUDE}:{verb}"
    said = json.loads(asked.body)
    assert said["anthropic_version"] == "vertex-2023-10-16"
    assert "model" not in said
    assert said["messages"][0]["role"] == "user"
    assert asked.header("authorization") == "Bearer t1"
    assert asked.header("anthropic-version") is None
    assert (await vertex.trace(answer))["usage"]["output_total"] == 16


@pytest.mark.parametrize("client", [CHAT, ANTHROPIC])
async def test_gemini_on_vertex_translated(vertex: Client, upstream: Upstream, client: str):
    answers(upstream, WHOLES[GEMINI])
    answer, _ = await ask(vertex, client, "gemini-2.5-pro")
    assert answer.status == 200
    asked = upstream.request.path
    assert asked == f"/v1beta1{PLACE}/google/models/gemini-2.5-pro:generateContent"


async def test_one_token_for_all(vertex: Client, upstream: Upstream, tokens: Upstream):
    answers(upstream, WHOLES[GEMINI])
    for _ in range(3):
        answer, _ = await ask(vertex, GEMINI, "gemini-2.5-pro")
        assert answer.status == 200
    assert len(tokens.requests) == 1


async def test_no_token(make_router: MakeRouter, upstream: Upstream, tmp_path: Path):
    file = tmp_path / "key.json"
    file.write_text("{}")
    settings = {"preset": "vertex", "project": "p-1", "location": "global"}
    settings |= {"base_url": upstream.url, "credentials_file": str(file)}
    router = await started(make_router, settings)
    answer, said = await ask(router, ANTHROPIC, f"p/{CLAUDE}")
    assert (answer.status, said["error"]["type"]) == (502, "api_error")
    assert "credentials" in said["error"]["message"]
    assert upstream.requests == []


# ── Azure's old paths


@pytest.fixture
async def azure(make_router: MakeRouter, upstream: Upstream) -> Client:
    settings = {
        "dialect": "openai",
        "base_url": upstream.url,
        "api_key": "azure-key",
        "api_version": "2024-10-21",
        "models": {"gpt-4o": {"id": "my deployment"}},
    }
    return await started(make_router, settings)


@pytest.mark.parametrize("client", [CHAT, ANTHROPIC, GEMINI])
async def test_azure(azure: Client, upstream: Upstream, client: str):
    answers(upstream, WHOLES[CHAT])
    headers = {"api-key": "theirs", "Authorization": "Bearer theirs"}
    answer, _ = await ask(azure, client, "gpt-4o", headers=headers)
    assert answer.status == 200
    asked = upstream.request
    version = "api-version=2024-10-21"
    assert asked.path == f"/openai/deployments/my%20deployment/chat/completions?{version}"
    assert asked.header("api-key") == "azure-key"
    assert asked.header("authorization") is None
    if client == CHAT:
        assert await answer.read() == recording(WHOLES[CHAT]).body


@pytest.mark.parametrize("client", [ANTHROPIC, GEMINI])
async def test_a_stream_of_azures(azure: Client, upstream: Upstream, client: str):
    """Its first chunk has no choices, and a late one only figures."""
    answers(upstream, "openai-azure-model-router.1", chunk_size=333)
    path, body = request(client, "gpt-4o", stream=True)
    answer = await azure.post(path, json=body)
    assert answer.status == 200
    assert b"error" not in await answer.read()
    assert (await azure.trace(answer))["usage"]["output_total"] == 78


async def test_embeddings_and_responses_at_azure(azure: Client, upstream: Upstream):
    """Paths that name a deployment, and those that do not."""
    upstream.answers('{"object":"list","data":[],"usage":{"prompt_tokens":1,"total_tokens":1}}')
    await azure.post("/v1/embeddings", json={"model": "gpt-4o", "input": "a"})
    version = "api-version=2024-10-21"
    assert upstream.request.path == f"/openai/deployments/my%20deployment/embeddings?{version}"
    upstream.answers("{}")
    await azure.post("/v1/responses", json={"model": "gpt-4o", "input": "a"})
    assert upstream.request.path == f"/openai/responses?{version}"
    assert json.loads(upstream.request.body)["model"] == "my deployment"
