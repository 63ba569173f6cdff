"""Signed requests: computed again by botocore, with keys from wherever AWS looks for them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from routeur import aws, refresh
from routeur.aws import AwsIdentity
from routeur.dialects.clouds import bedrock_path, bedrock_url
from routeur.errors import UpstreamError
from routeur.providers import Aws, Secret
from tests.aws import signature
from tests.fake import Upstream

REGION = "eu-central-1"
ARN = "arn:aws:bedrock:eu-central-1:123456789012:inference-profile/eu.anthropic.claude-v1:0"
URL = bedrock_url(REGION) + bedrock_path(ARN, stream=True)
BODY = b'{"messages": []}'


class Clock:
    now = 1_700_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Nothing of this machine's own is found."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setattr(refresh, "PAUSE", 0.0)
    return tmp_path


@pytest.fixture
async def container(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Upstream]:
    """Where the keys of a container's role come from."""
    upstream = Upstream()
    await upstream.start()
    monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", f"{upstream.url}/keys")
    yield upstream
    await upstream.stop()


def role(number: int, minutes: float) -> str:
    """The keys of a role, for so long from now."""
    end = datetime.now(UTC) + timedelta(minutes=minutes)
    return json.dumps(
        {
            "AccessKeyId": f"ROLE{number}",
            "SecretAccessKey": f"secret{number}",
            "Token": f"token{number}",
            "Expiration": end.strftime("%Y-%m-%dT%H:%M:%SZ"),
        }
    )


async def signed(identity: AwsIdentity, secret: str = "s", body: bytes = BODY) -> dict[str, str]:
    """The headers for one request, whose signature AWS accepts."""
    headers = dict(await identity.headers("POST", URL, body))
    sent = {"Host": "bedrock-runtime.eu-central-1.amazonaws.com", "X-Other": "1", **headers}
    said = signature("POST", URL, sent, body, secret)
    assert said["valid"] == "yes"
    assert said["Credential"].endswith(f"/{REGION}/bedrock/aws4_request")
    return headers


def key_of(headers: dict[str, str]) -> str:
    return headers["Authorization"].partition("Credential=")[2].partition("/")[0]


async def test_keys_of_the_file() -> None:
    headers = await signed(AwsIdentity(Aws(REGION, None, "AKID", Secret("s"))))

    assert list(headers) == ["X-Amz-Date", "Authorization"]
    assert key_of(headers) == "AKID"
    assert "SignedHeaders=host;x-amz-date," in headers["Authorization"]


async def test_session_token() -> None:
    identity = AwsIdentity(Aws(REGION, None, "AKID", Secret("s"), Secret("t")))
    headers = await signed(identity)

    assert headers["X-Amz-Security-Token"] == "t"
    assert "SignedHeaders=host;x-amz-date;x-amz-security-token," in headers["Authorization"]
    written = {name.lower().encode() for name in headers} - {b"authorization"}
    assert written <= identity.names


@pytest.mark.parametrize("size", [0, 1, aws.LARGE, aws.LARGE + 1, 4 * aws.LARGE])
async def test_bodies(size: int) -> None:
    await signed(AwsIdentity(Aws(REGION, None, "AKID", Secret("s"))), body=b"x" * size)


async def test_another_body_is_noticed() -> None:
    identity = AwsIdentity(Aws(REGION, None, "AKID", Secret("s")))
    headers = dict(await identity.headers("POST", URL, BODY))
    sent = {"Host": "bedrock-runtime.eu-central-1.amazonaws.com", **headers}

    assert signature("POST", URL, sent, BODY + b" ", "s")["valid"] == "no"
    assert signature("POST", URL, sent, BODY, "other")["valid"] == "no"
    assert signature("POST", URL.replace("-stream", ""), sent, BODY, "s")["valid"] == "no"


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("http://127.0.0.1:8000/model/a%3Ab/converse", "127.0.0.1:8000"),
        ("https://h.example:443/base//model/x/converse?b=2&a=1%2F", "h.example"),
    ],
)
async def test_other_addresses(url: str, host: str) -> None:
    """The `Host` that is signed is the one that is sent: without a usual port."""
    identity = AwsIdentity(Aws(REGION, None, "AKID", Secret("s")))
    headers = dict(await identity.headers("GET", url, b""))
    said = signature("GET", url, {"Host": host, **headers}, b"", "s")
    assert said["valid"] == "yes"


async def test_keys_of_the_environment(monkeypatch: pytest.MonkeyPatch, clock: Clock) -> None:
    """They are looked at again each minute, in the background."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "FIRST")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "s")
    identity = AwsIdentity(Aws(REGION), clock)
    assert key_of(await signed(identity)) == "FIRST"

    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "SECOND")
    assert key_of(await signed(identity)) == "FIRST"
    clock.now += aws.RENEWED_EACH
    assert key_of(await signed(identity)) == "FIRST"
    await renewed(identity)
    assert key_of(await signed(identity)) == "SECOND"


async def renewed(identity: AwsIdentity) -> None:
    if identity._sign._fetching is not None:
        await identity._sign._fetching


async def test_profile(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It comes before the environment's keys."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "FIRST")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "x")
    (home / "credentials").write_text(
        "[dev]\naws_access_key_id = DEV\naws_secret_access_key = s\naws_session_token = t\n"
    )
    headers = await signed(AwsIdentity(Aws(REGION, "dev")))

    assert (key_of(headers), headers["X-Amz-Security-Token"]) == ("DEV", "t")


async def test_role_of_a_container(container: Upstream, clock: Clock) -> None:
    """Asked once by all who come at the same time, and without stopping this very loop."""
    container.answers(role(1, 60))
    identity = AwsIdentity(Aws(REGION), clock)
    found = await asyncio.gather(*(signed(identity, "secret1") for _ in range(10)))
    clock.now += aws.GOOD_FOR
    found.append(await signed(identity, "secret1"))

    assert {key_of(headers) for headers in found} == {"ROLE1"}
    assert {headers["X-Amz-Security-Token"] for headers in found} == {"token1"}
    assert len(container.requests) == 1


async def test_a_role_is_renewed_before_its_end(container: Upstream, clock: Clock) -> None:
    container.answers(role(1, 14))
    container.answers(role(2, 60))
    identity = AwsIdentity(Aws(REGION), clock)
    # botocore itself asks again at once for what ends within 15 minutes
    first = await signed(identity, "secret2")
    assert (key_of(first), len(container.requests)) == ("ROLE2", 2)


async def test_a_role_that_cannot_be_renewed(container: Upstream, clock: Clock) -> None:
    """What is there is used as long as it is good, then the provider's turn is over."""
    container.answers(role(1, 60))
    identity = AwsIdentity(Aws(REGION), clock)
    await signed(identity, "secret1")

    def fail() -> None:
        raise OSError

    identity._source.get_frozen_credentials = fail
    clock.now += aws.RENEWED_EACH
    await signed(identity, "secret1")
    await renewed(identity)
    clock.now += aws.GOOD_FOR - aws.RENEWED_EACH
    with pytest.raises(UpstreamError, match="from AWS: OSError"):
        await identity.headers("POST", URL, BODY)


@pytest.mark.parametrize(
    ("profile", "why"), [(None, "NoCredentialsError"), ("absent", "ProfileNotFound")]
)
async def test_no_keys(profile: str | None, why: str) -> None:
    with pytest.raises(UpstreamError) as caught:
        await AwsIdentity(Aws(REGION, profile)).headers("POST", URL, BODY)

    assert caught.value.code == "upstream_auth_error"
    assert caught.value.message == (
        f"routeur could not get credentials for the provider from AWS: {why}"
    )
