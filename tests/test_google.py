"""Access tokens for Google Cloud: an endpoint on loopback, asked by google-auth in a thread."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from urllib.parse import parse_qs

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from routeur import google, refresh
from routeur.errors import UpstreamError
from routeur.google import GoogleIdentity
from routeur.providers import Google
from tests.fake import Upstream

# A warning of files from strangers.
pytestmark = pytest.mark.filterwarnings("ignore:The load_credentials_from_file:DeprecationWarning")

URL = "https://aiplatform.googleapis.com/v1/projects/p"


class Clock:
    """The true time, moved on."""

    ahead = 0.0

    def __call__(self) -> float:
        return time.time() + self.ahead


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(scope="module")
def private_key() -> str:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


@pytest.fixture(autouse=True)
def nothing_of_this_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in ("GOOGLE_APPLICATION_CREDENTIALS", "GOOGLE_CLOUD_PROJECT"):
        monkeypatch.delenv(name, raising=False)
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("CLOUDSDK_CONFIG", str(tmp_path))
    monkeypatch.setenv("NO_GCE_CHECK", "true")
    monkeypatch.setattr(refresh, "PAUSE", 0.0)
    yield


@pytest.fixture
async def tokens() -> AsyncIterator[Upstream]:
    """Google's token endpoint."""
    upstream = Upstream()
    await upstream.start()
    yield upstream
    await upstream.stop()


def token(number: int, seconds: int = 3600) -> str:
    return json.dumps({"access_token": f"t{number}", "expires_in": seconds, "token_type": "Bearer"})


@pytest.fixture
def service_account(tmp_path: Path, tokens: Upstream, private_key: str) -> Path:
    file = tmp_path / "key.json"
    file.write_text(
        json.dumps(
            {
                "type": "service_account",
                "project_id": "p",
                "private_key_id": "k1",
                "private_key": private_key,
                "client_email": "routeur@p.iam.gserviceaccount.com",
                "token_uri": f"{tokens.url}/token",
            }
        )
    )
    return file


async def shown(identity: GoogleIdentity) -> dict[str, str]:
    found = await identity.headers("POST", URL, b"{}")
    return {name.lower(): value for name, value in found}


async def test_service_account(tokens: Upstream, service_account: Path, clock: Clock) -> None:
    tokens.answers(token(1))
    identity = GoogleIdentity(Google("p", "global", str(service_account)), clock)

    assert await shown(identity) == {"authorization": "Bearer t1"}
    assert await shown(identity) == {"authorization": "Bearer t1"}
    (request,) = tokens.requests
    (grant,) = parse_qs(request.body.decode())["grant_type"]
    assert grant == "urn:ietf:params:oauth:grant-type:jwt-bearer"


async def test_all_wait_for_one_token(
    tokens: Upstream, service_account: Path, clock: Clock
) -> None:
    """The endpoint is served by this very loop: a call that blocked it would never end."""
    tokens.answers(token(1))
    identity = GoogleIdentity(Google("p", "global", str(service_account)), clock)
    found = await asyncio.gather(*(shown(identity) for _ in range(20)))

    assert found == [{"authorization": "Bearer t1"}] * 20
    assert len(tokens.requests) == 1


async def test_renewed_before_its_end(
    tokens: Upstream, service_account: Path, clock: Clock
) -> None:
    tokens.answers(token(1))
    tokens.answers(token(2))
    identity = GoogleIdentity(Google("p", "global", str(service_account)), clock)
    await shown(identity)
    clock.ahead = 3600 - google.EARLY - 10
    assert (await shown(identity), len(tokens.requests)) == ({"authorization": "Bearer t1"}, 1)

    clock.ahead += 20
    assert await shown(identity) == {"authorization": "Bearer t1"}
    assert identity._headers._fetching is not None
    await identity._headers._fetching
    assert (await shown(identity), len(tokens.requests)) == ({"authorization": "Bearer t2"}, 2)


async def test_expired(tokens: Upstream, service_account: Path, clock: Clock) -> None:
    tokens.answers(token(1))
    identity = GoogleIdentity(Google("p", "global", str(service_account)), clock)
    await shown(identity)
    tokens.answers(token(2, 7200))
    clock.ahead = 3600

    assert await shown(identity) == {"authorization": "Bearer t2"}


async def test_usual_chain(
    tokens: Upstream, service_account: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the project that pays, where the account names one."""
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(service_account))
    monkeypatch.setenv("GOOGLE_CLOUD_QUOTA_PROJECT", "payer")
    tokens.answers(token(1))
    found = await shown(GoogleIdentity(Google("p", "global"), clock))

    assert found == {"authorization": "Bearer t1", "x-goog-user-project": "payer"}
    written = {name.encode() for name in found} - {b"authorization"}
    assert written <= GoogleIdentity.names


async def test_a_key_that_is_refused(tokens: Upstream, service_account: Path, clock: Clock) -> None:
    tokens.answers('{"error": "invalid_grant", "error_description": "secret words"}', 400)
    identity = GoogleIdentity(Google("p", "global", str(service_account)), clock)
    with pytest.raises(UpstreamError) as caught:
        await identity.headers("POST", URL, b"")

    assert caught.value.code == "upstream_auth_error"
    assert caught.value.message == (
        "routeur could not get credentials for the provider from Google: RefreshError"
    )
    assert "secret words" in str(caught.value.__cause__)
    tokens.answers(token(2))
    assert await shown(identity) == {"authorization": "Bearer t2"}


@pytest.mark.parametrize("text", ["", "{}", '{"type": "service_account"}', '{"type": "x"}'])
async def test_files_that_hold_no_key(text: str, tmp_path: Path, clock: Clock) -> None:
    file = tmp_path / "key.json"
    file.write_text(text)
    with pytest.raises(UpstreamError, match=r"from Google: [A-Za-z]+"):
        await GoogleIdentity(Google("p", "global", str(file)), clock).headers("GET", URL, b"")


async def test_nothing_in_the_usual_chain(clock: Clock) -> None:
    with pytest.raises(UpstreamError, match="from Google: DefaultCredentialsError"):
        await GoogleIdentity(Google("p", "global"), clock).headers("GET", URL, b"")
