"""Where the clouds put a call: what their own SDKs ask, and what is on record."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import unquote, urlsplit

import anthropic
import botocore.awsrequest
import botocore.config
import botocore.session
import httpx2
import openai
import pytest

from routeur.dialects.clouds import (
    azure_path,
    azure_query,
    bedrock_path,
    bedrock_url,
    claude_on_vertex,
    count_tokens_on_vertex,
    gemini_on_vertex,
    publisher,
    vertex_url,
)
from tests.recording import HERE

ARN = "arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/a.b/c~d_e-f g"


class Asked(Exception):
    """Raised instead of asking; holds the address."""


def botocores(model: str, region: str, *, stream: bool) -> str:
    """The address that botocore asks for a model."""
    client = botocore.session.Session().create_client(
        "bedrock-runtime",
        region_name=region,
        aws_access_key_id="a",
        aws_secret_access_key="s",
    )

    def stop(request: Any, **_: Any) -> None:
        raise Asked(request.url)

    client.meta.events.register("before-send", stop)
    ask = client.converse_stream if stream else client.converse
    with pytest.raises(Asked) as asked:
        ask(modelId=model, messages=[{"role": "user", "content": [{"text": "Hi"}]}])
    client.close()
    return str(asked.value)


@pytest.mark.parametrize("model", ["anthropic.claude-3-haiku-20240307-v1:0", ARN])
def test_bedrock_as_botocore(model: str) -> None:
    for region, stream in (("us-east-1", False), ("eu-central-1", True)):
        address = bedrock_url(region) + bedrock_path(model, stream=stream)
        assert address == botocores(model, region, stream=stream)


def test_bedrock_as_recorded() -> None:
    count = 0
    for file in (HERE / "bedrock").glob("*.json"):
        for each in json.loads(file.read_text())["exchanges"]:
            url = urlsplit(each["request"]["url"])
            model, verb = url.path.split("/")[2:]
            if verb.startswith("converse") and "%3A" in model:
                count += 1
                assert bedrock_path(unquote(model), stream="-" in verb) == url.path
    assert count > 20


@pytest.mark.parametrize("location", ["us-east5", "global", "us", "eu"])
@pytest.mark.parametrize("stream", [False, True])
def test_claude_on_vertex_as_anthropic(location: str, stream: bool) -> None:
    def stop(request: httpx2.Request) -> httpx2.Response:
        raise Asked(str(request.url))

    client = anthropic.AnthropicVertex(
        region=location,
        project_id="p-1",
        access_token="t",
        max_retries=0,
        http_client=httpx2.Client(transport=httpx2.MockTransport(stop)),
    )
    model, turn = "claude-sonnet-4@20250514", {"role": "user", "content": "Hi"}
    ours = claude_on_vertex("p-1", location, model, stream=stream)
    assert vertex_url(location) + ours == asked(
        client.messages.create, model=model, max_tokens=9, messages=[turn], stream=stream
    )
    assert vertex_url(location) + count_tokens_on_vertex("p-1", location) == asked(
        client.messages.count_tokens, model=model, messages=[turn]
    )
    client.close()


def asked(call: Any, **arguments: Any) -> str:
    """The address that a call asks."""
    with pytest.raises(Exception) as raised:
        call(**arguments)
    error = raised.value
    cause = error if isinstance(error, Asked) else error.__cause__
    assert isinstance(cause, Asked), error
    return unquote(str(cause))


def test_vertex_as_recorded() -> None:
    count = 0
    for file in (HERE / "vertex").glob("*.json"):
        for each in json.loads(file.read_text())["exchanges"]:
            url = urlsplit(each["request"]["url"])
            _, version, _, project, _, location, _, owner, _, last = url.path.split("/")
            model, _, verb = last.rpartition(":")
            if "<" in location:  # left out by the recorder
                continue
            count += 1
            if owner == "anthropic":
                path = claude_on_vertex(project, location, model, stream="stream" in verb)
            else:
                path = gemini_on_vertex(project, location, model, verb, version)
            assert (vertex_url(location), path) == (f"https://{url.netloc}", url.path)
    assert count > 10


@pytest.mark.parametrize(
    ("model", "version", "path"),
    [
        ("gemini-3-pro", "v1", "/v1{}google/models/gemini-3-pro:countTokens"),
        ("gemini-3-pro", "v1beta", "/v1beta1{}google/models/gemini-3-pro:countTokens"),
        ("gemini-3-pro", "v1beta1", "/v1beta1{}google/models/gemini-3-pro:countTokens"),
        ("meta/llama-4", "v1", "/v1{}meta/models/llama-4:countTokens"),
        ("a b/c:d/e?f", "v1", "/v1{}a%20b%2Fc%3Ad/models/e%3Ff:countTokens"),
    ],
)
def test_gemini_on_vertex(model: str, version: str, path: str) -> None:
    found = gemini_on_vertex("p", "l", model, "countTokens", version)
    assert found == path.format("/projects/p/locations/l/publishers/")


@pytest.mark.parametrize(
    ("model", "owner"),
    [
        ("claude-opus-5", ("anthropic", "claude-opus-5")),
        ("anthropic/claude-opus-5", ("anthropic", "claude-opus-5")),
        ("gemini-3-pro", ("google", "gemini-3-pro")),
        ("mistralai/codestral", ("mistralai", "codestral")),
    ],
)
def test_publisher(model: str, owner: tuple[str, str]) -> None:
    assert publisher(model) == owner


def test_azure_as_openai() -> None:
    def stop(request: httpx2.Request) -> httpx2.Response:
        raise Asked(str(request.url))

    client = openai.AzureOpenAI(
        azure_endpoint="https://r.openai.azure.com",
        api_version="2024-10-21",
        api_key="k",
        max_retries=0,
        http_client=httpx2.Client(transport=httpx2.MockTransport(stop)),
    )
    chat = asked(client.chat.completions.create, model="my gpt", messages=[])
    responses = asked(client.responses.create, model="my gpt", input="Hi")
    client.close()

    assert chat == unquote(azure("/v1/chat/completions", "my gpt"))
    assert responses == azure("/v1/responses", "my gpt")


def azure(path: str, deployment: str) -> str:
    query = azure_query("", "2024-10-21")
    return f"https://r.openai.azure.com{azure_path(path, deployment)}?{query}"


@pytest.mark.parametrize(
    ("path", "wanted"),
    [
        ("/v1/chat/completions", "/openai/deployments/a%2Fb/chat/completions"),
        ("/chat/completions", "/openai/deployments/a%2Fb/chat/completions"),
        ("/v1/embeddings", "/openai/deployments/a%2Fb/embeddings"),
        ("/v1/files/f_1", "/openai/files/f_1"),
        ("/v1/models", "/openai/models"),
    ],
)
def test_azures_old_paths(path: str, wanted: str) -> None:
    assert azure_path(path, "a/b") == wanted


@pytest.mark.parametrize(
    ("query", "wanted"),
    [
        ("", "api-version=2024-10-21"),
        ("a=b", "a=b&api-version=2024-10-21"),
        ("a=b&api-version=preview", "a=b&api-version=preview"),
    ],
)
def test_azures_version(query: str, wanted: str) -> None:
    assert azure_query(query, "2024-10-21") == wanted
