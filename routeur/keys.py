"""Who is calling: reads and checks a client's key, for every path, in this one place."""

from __future__ import annotations

import hmac
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import ip_address
from urllib.parse import unquote_plus, urlsplit

from routeur.errors import ClientError, Forbidden, Unauthorized
from routeur.providers import Secret


@dataclass(frozen=True, slots=True)
class Caller:
    """Whose key it is, by name (None while routeur is open), and what it may do."""

    name: str | None
    infers: bool
    manages: bool


OPEN = Caller(None, infers=True, manages=True)
OPEN_INFERENCE = Caller(None, infers=True, manages=False)


class Keys:
    """The keys of the configuration.

    Without a master key everybody may infer, without any manage.
    """

    def __init__(self, master: Secret | None, management: Secret | None) -> None:
        self._known: list[tuple[bytes, Caller]] = []
        if master:
            caller = Caller("master", infers=True, manages=management is None)
            self._known.append((master.reveal().encode(), caller))
        if management:
            caller = Caller("management", infers=False, manages=True)
            self._known.append((management.reveal().encode(), caller))
        self._stranger = None if master else OPEN_INFERENCE if management else OPEN

    @property
    def open(self) -> bool:
        """Whether a request without a key is served."""
        return self._stranger is not None

    def identify(self, presented: bytes | None) -> Caller:
        """The caller behind a key; raises Unauthorized. Takes the same time for every wrong key."""
        found = self._stranger
        if presented is not None and self._known:
            for known, caller in self._known:
                if hmac.compare_digest(known, presented):
                    found = caller
        if found is None:
            raise Unauthorized(
                "no API key was given: send `Authorization: Bearer KEY` or `x-api-key: KEY`"
                if presented is None
                else "the API key is not known here"
            )
        return found


def presented(carried: list[bytes], query: str) -> bytes | None:
    """The key that a request carries: `carried` are the values of the headers that may hold one.

    Raises ClientError for two different ones.
    """
    found = None
    for value in carried:
        key = value[7:].strip() if value[:7].lower() == b"bearer " else value.strip()
        if found is not None and key != found:
            raise ClientError("the request carries two different keys: send one")
        found = key
    if "key=" in query:
        for part in query.split("&"):
            name, _, text = part.partition("=")
            if unquote_plus(name) == "key":
                key = unquote_plus(text).encode("utf-8", "surrogateescape")
                if found is not None and key != found:
                    raise ClientError("the request carries two different keys: send one")
                found = key
    return found or None


def without_key(query: str) -> str:
    """A query string without `key`; every other byte stays."""
    if "key=" not in query and "%" not in query:
        return query
    kept = [p for p in query.split("&") if unquote_plus(p.partition("=")[0]) != "key"]
    return "&".join(kept)


def require_local(host: str, origin: str | None) -> None:
    """While no key is set: refuse what a website could make a browser send here (DNS rebinding,
    CSRF).
    """
    if not _is_loopback(host):
        raise Forbidden(
            "without a master key only requests to localhost are served: set auth.master_key"
        )
    if origin is not None and not _is_local_origin(origin):
        raise Forbidden("without a master key no website may call: set auth.master_key")


@lru_cache(maxsize=256)
def _is_local_origin(origin: str) -> bool:
    try:
        parts = urlsplit(origin)
    except ValueError:
        return False
    return bool(parts.hostname) and "@" not in parts.netloc and _is_loopback(parts.netloc)


@lru_cache(maxsize=256)
def _is_loopback(authority: str) -> bool:
    if not authority:
        return True
    host, _, port = authority.lower().partition(":")
    if authority.startswith("["):
        host, _, port = authority[1:].partition("]")
        port = port.removeprefix(":")
    if port and not port.isdecimal():
        return False
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
