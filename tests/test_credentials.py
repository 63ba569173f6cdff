"""Which identity a credential has: headers that never change, or those of AWS and Google."""

from __future__ import annotations

import pytest

from routeur import credentials
from routeur.aws import AwsIdentity
from routeur.credentials import identify, identity, not_installed
from routeur.google import GoogleIdentity
from routeur.headers import IDENTITY
from routeur.providers import Aws, Credential, Google, Secret

AWS = Aws("eu-central-1")
GOOGLE = Google("p", "global")


@pytest.mark.parametrize(
    ("auth", "headers"),
    [
        ("bearer", {"Authorization": "Bearer k"}),
        ("x-api-key", {"x-api-key": "k"}),
        ("api-key", {"api-key": "k"}),
        ("x-goog-api-key", {"x-goog-api-key": "k"}),
    ],
)
def test_key(auth: str, headers: dict[str, str]) -> None:
    assert identify(auth, Secret("k")) == headers
    assert {name.lower().encode() for name in headers} <= IDENTITY  # the client's stay behind


def test_no_key() -> None:
    assert identify("bearer", None) == {}


@pytest.mark.parametrize(
    ("cloud", "key", "kind"),
    [
        (None, None, None),
        (None, "k", None),
        (AWS, "k", None),  # a key of Bedrock's own is a header like any other
        (AWS, None, AwsIdentity),
        (GOOGLE, None, GoogleIdentity),
    ],
)
def test_identity(cloud: Aws | Google | None, key: str | None, kind: type | None) -> None:
    credential = Credential("c", "p", "https://h", Secret(key) if key else None, cloud=cloud)
    found = identity(credential)

    assert (None if found is None else type(found)) is kind
    if found is not None:
        assert found.signs_body is (kind is AwsIdentity)
        assert all(name == name.lower() for name in found.names)


def test_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    assert [not_installed(AWS), not_installed(GOOGLE)] == ["", ""]

    def absent(name: str) -> None:
        raise ModuleNotFoundError(name)

    monkeypatch.setattr(credentials, "import_module", absent)
    assert not_installed(AWS) == "needs botocore: pip install 'routeur[bedrock]'"
    assert not_installed(GOOGLE) == "needs google-auth: pip install 'routeur[vertex]'"
