"""Who is calling: reads and checks a client's key, for every path, in this one place."""

from __future__ import annotations

import hmac
import os
import secrets
import stat
from collections import OrderedDict, deque
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv6Address, ip_address, ip_network
from pathlib import Path
from typing import Literal
from urllib.parse import unquote_plus, urlsplit

from routeur.errors import ClientError, ConfigError, Forbidden, Unauthorized
from routeur.providers import Secret
from routeur.store.base import Clock, Key, KeyChanges, Store

Kind = Literal["regular", "management"]

PREFIXES: dict[Kind, str] = {"regular": "rtr_live_", "management": "rtr_mgmt_"}
RESERVED = ("master", "management")  # what the configuration's keys are called
SECRET_FILE = "routeur.secret"  # noqa: S105 - its name
SHORTEST_SECRET = 16  # characters
FAILURES = 10  # wrong keys of one address that are answered at once
WINDOW = 60.0  # seconds within which they are counted
ADDRESSES = 4096  # that are remembered

_MINTED = tuple(prefix.encode() for prefix in PREFIXES.values())
_MARK = "auth.secret"  # under which the store knows which secret its keys were made with


@dataclass(frozen=True, slots=True)
class Caller:
    """Whose key it is, and what it may do.

    `name` is what rules match: None while routeur is open. `id` is what the ledger and traces call
    it: a virtual key's hash, the name of a key of the configuration, or "". `key` is what is
    configured for a virtual key.
    """

    name: str | None
    infers: bool
    manages: bool
    id: str = ""
    key: Key | None = None

    @property
    def limited(self) -> bool:
        """Whether its calls have to be admitted by the store."""
        return self.key is not None and self.key.limited

    @property
    def metered(self) -> bool:
        """Whether it matters to the caller how many tokens its calls use."""
        key = self.key
        return key is not None and (key.limit is not None or key.tpm is not None)


OPEN = Caller(None, infers=True, manages=True)
OPEN_INFERENCE = Caller(None, infers=True, manages=False)


class Keys:
    """The keys of the configuration, and the virtual ones of the store, as this process knows them.

    Without a master key everybody may infer; without any key of the configuration everybody may
    manage. `secret` is what virtual keys are hashed with.
    """

    def __init__(
        self,
        master: Secret | None,
        management: Secret | None,
        secret: bytes = b"",
        clock: Clock | None = None,
    ) -> None:
        self._secret = secret
        self._clock = clock or Clock()
        self._virtual: dict[str, Caller] = {}
        self.since = 0  # the version of the store's keys that are known here
        self.configure(master, management)

    def configure(self, master: Secret | None, management: Secret | None) -> None:
        """Other keys of the configuration; virtual ones stay."""
        known: list[tuple[bytes, Caller]] = []
        if master:
            caller = Caller("master", infers=True, manages=management is None, id="master")
            known.append((master.reveal().encode(), caller))
        if management:
            caller = Caller("management", infers=False, manages=True, id="management")
            known.append((management.reveal().encode(), caller))
        self._known = known
        self._stranger = None if master else OPEN_INFERENCE if management else OPEN

    def update(self, changes: KeyChanges) -> None:
        """Virtual keys that are new, changed or gone; older news than the last are no news."""
        if changes.version < self.since:
            return
        if changes.keys and not self._secret:
            raise ValueError("virtual keys need a secret")
        for hash in changes.gone:
            self._virtual.pop(hash, None)
        for key in changes.keys:
            infers = key.kind == "regular"
            caller = Caller(key.name, infers=infers, manages=not infers, id=key.hash, key=key)
            self._virtual[key.hash] = caller
        self.since = changes.version

    @property
    def open(self) -> bool:
        """Whether a request without a key is served."""
        return self._stranger is not None

    def identify(self, presented: bytes | None) -> Caller:
        """The caller behind a key; raises Unauthorized, and Forbidden for one that is no longer
        good.

        Takes the same time for every wrong key: a virtual one is looked up by a hash that nobody
        can steer.
        """
        if presented is None:
            if self._stranger is None:
                raise Unauthorized(
                    "no API key was given: send `Authorization: Bearer KEY` or `x-api-key: KEY`"
                )
            return self._stranger
        found = None
        for known, caller in self._known:
            if hmac.compare_digest(known, presented):
                found = caller
        if found is None and self._virtual:
            hash = hmac.digest(self._secret, presented, "sha256").hex()
            found = self._virtual.get(hash)
        if found is None:
            if self._stranger is None or presented.startswith(_MINTED):  # a deleted key is dead
                raise Unauthorized("the API key is not known here")
            return self._stranger
        if found.key is not None:
            _require_good(found.key, self._clock)
        return found


def _require_good(key: Key, clock: Clock) -> None:
    if key.disabled:
        raise Forbidden("this API key is disabled", code="key_disabled")
    if key.expires_at is not None and key.expires_at <= clock.wall():
        raise Forbidden("this API key has expired", code="key_expired")


# ---- virtual keys


def mint(kind: Kind) -> str:
    """A new key, of 192 random bits."""
    return PREFIXES[kind] + secrets.token_urlsafe(24)


def digest(secret: bytes, key: str) -> str:
    """What is kept of a key: its HMAC-SHA-256, in hex."""
    if not secret:
        raise ValueError("virtual keys need a secret")
    return hmac.digest(secret, key.encode(), "sha256").hex()


def label(key: str) -> str:
    """What is shown of a key: `rtr_live_ab…yz`."""
    start = len(PREFIXES["regular"])
    return f"{key[: start + 2]}…{key[-2:]}"


# ---- the secret they are hashed with


def read_secret(configured: Secret | None, store_address: str) -> bytes:
    """`auth.secret`, else the file beside the database, else the one in the working directory.

    The file is made if there is none. Raises ConfigError for a secret that others can read, or
    could guess. For `memory:` it lasts as long as the process.
    """
    if configured is not None:
        return _long_enough(configured.reveal().encode(), "auth.secret")
    kind, _, where = store_address.partition(":")
    if kind == "memory":
        return secrets.token_bytes(32)
    path = (Path(where).parent if kind == "sqlite" else Path()) / SECRET_FILE
    try:
        if not os.path.lexists(path):
            _make_secret(path)
        return _secret_in(path)
    except OSError as error:
        if not path.parent.is_dir():
            raise ConfigError([f"store: {path.parent} is no directory; make it first"]) from None
        why = error.strerror or str(error)
        raise ConfigError([f"{path}: {why}; expected a secret there, or auth.secret"]) from None


def _make_secret(path: Path) -> None:
    """Several processes may do so at once: the first to link its file wins."""
    made = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    fd = os.open(made, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(fd, "w") as file:
            file.write(f"{secrets.token_hex(32)}\n")
            file.flush()
            os.fsync(fd)
        with suppress(FileExistsError):
            os.link(made, path)
    finally:
        os.unlink(made)
    home = os.open(path.parent, os.O_RDONLY)
    try:  # without it all keys would be dead after a power failure
        os.fsync(home)
    finally:
        os.close(home)


def _secret_in(path: Path) -> bytes:
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    with os.fdopen(fd, "rb") as file:
        mode = os.fstat(fd).st_mode
        if not stat.S_ISREG(mode):
            raise ConfigError([f"{path}: expected a file that holds a secret"])
        if mode & 0o077:
            raise ConfigError([f"{path}: others can read the secret in it; chmod 600 it"])
        return _long_enough(file.read(4096).strip(), str(path))


def _long_enough(secret: bytes, where: str) -> bytes:
    if len(secret) < SHORTEST_SECRET:
        why = f"has {len(secret)} characters; expected a random secret of {SHORTEST_SECRET} or more"
        raise ConfigError([f"{where}: {why}, as from: openssl rand -hex 32"])
    return secret


async def require_same_secret(store: Store, secret: bytes, *, starting: bool = True) -> None:
    """Raises ConfigError if the keys in a store were made with another secret: none would be known.

    For a server that is `starting` a store without any keys takes another one.
    """
    mark = hmac.digest(secret, b"routeur", "sha256")[:8]
    while True:
        known, version = (await store.values(_MARK)).get(_MARK, (b"", 0))
        if known == mark:
            return
        if known and not (starting and await _is_empty(store)):
            raise ConfigError(
                [
                    "auth.secret: the keys in the store were made with another secret; expected"
                    f" that one, here or in the file {SECRET_FILE} (or delete the keys)"
                ]
            )
        if await store.put(_MARK, mark, version) is not None:  # else another process has done so
            return


async def _is_empty(store: Store) -> bool:
    return not await store.keys(0, 1, include_disabled=True)


# ---- whoever tries keys


class Throttle:
    """Slows down who presents wrong keys. Right ones are never asked about here."""

    def __init__(self) -> None:
        self._failures: OrderedDict[str, deque[float]] = OrderedDict()

    def failed(self, address: str, now: float) -> float | None:
        """An address presented a wrong key: seconds until it may try another, None if at once.

        `now` is in steady seconds.
        """
        network = _network(address)
        moments = self._failures.get(network)
        if moments is None:
            moments = self._failures[network] = deque(maxlen=FAILURES)
            if len(self._failures) > ADDRESSES:
                self._failures.popitem(last=False)
        self._failures.move_to_end(network)
        if len(moments) == FAILURES and moments[0] + WINDOW > now:
            return moments[0] + WINDOW - now
        moments.append(now)
        return None


def _network(address: str) -> str:
    """Who is one and the same: of IPv6 everybody has a whole /64."""
    try:
        ip = ip_address(address.partition("%")[0])
    except ValueError:  # a unix socket
        return address
    if isinstance(ip, IPv6Address):
        if ip.ipv4_mapped is not None:
            return str(ip.ipv4_mapped)
        return str(ip_network((ip.packed[:8] + bytes(8), 64)))
    return str(ip)


# ---- how a key comes, and from where


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
