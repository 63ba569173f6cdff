"""How to identify ourselves to a provider."""

from __future__ import annotations

from importlib import import_module
from typing import Protocol

from routeur.aws import AwsIdentity
from routeur.google import GoogleIdentity
from routeur.providers import Aws, Credential, Google, Secret

# Configuration's word for `auth` -> the header that carries the key, and how.
HEADERS = {
    "bearer": ("Authorization", "Bearer "),
    "x-api-key": ("x-api-key", ""),
    "api-key": ("api-key", ""),
    "x-goog-api-key": ("x-goog-api-key", ""),
}


class Identity(Protocol):
    """Headers that change, with the request or with time; most credentials have none.

    A client's own headers of these `names` (lower case) stay behind. With `signs_body` the whole
    body has to be known before the head is sent.
    """

    @property
    def names(self) -> frozenset[bytes]: ...

    @property
    def signs_body(self) -> bool: ...

    async def headers(self, method: str, url: str, body: bytes) -> list[tuple[str, str]]:
        """The headers to add to one request; raises UpstreamError where there are none to be had.

        `url` is the whole address, encoded as it is sent.
        """


def identify(auth: str, key: Secret | None) -> dict[str, str]:
    """The headers that carry a credential's key; none for a provider without one."""
    if key is None:
        return {}
    name, prefix = HEADERS[auth]
    return {name: prefix + key.reveal()}


def identity(credential: Credential) -> Identity | None:
    """What a credential shows beside its key, or instead of one."""
    match credential.cloud:
        case Aws() as account if credential.api_key is None:
            return AwsIdentity(account)
        case Google() as account:
            return GoogleIdentity(account)
    return None


def not_installed(cloud: Aws | Google) -> str:
    """What is missing for this kind of identity and how to get it, or nothing."""
    if isinstance(cloud, Aws):
        package, needed, extra = "botocore", "botocore.auth", "bedrock"
    else:
        package, needed, extra = "google-auth", "google.auth.transport.requests", "vertex"
    try:
        import_module(needed)
    except ImportError:
        return f"needs {package}: pip install 'routeur[{extra}]'"
    return ""
