"""A credential's place on the wire: where its requests go, and how their heads begin."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from urllib.request import getproxies, proxy_bypass

from routeur.credentials import identify, identity
from routeur.dialects import FIXED_PATHS
from routeur.headers import Inbound
from routeur.local import EchoPool
from routeur.pool import Origin, Pool, ResumingContext, tls_context
from routeur.providers import Credential, Provider, Tls

NOTHING: frozenset[bytes] = frozenset()
NO_LINES: Mapping[bytes, bytes] = {}
SHORTEST = 8  # characters of a key that is looked for


class Endpoint:
    """One credential of one provider, with its connections.

    Everything that can be is computed here once.
    """

    __slots__ = (
        "_addresses",
        "_prefix",
        "_replaced",
        "_starts",
        "_static",
        "_whole",
        "credential",
        "identity",
        "pool",
        "provider",
        "secret",
    )

    def __init__(self, provider: Provider, credential: Credential, pool: Pool) -> None:
        self.provider = provider
        self.credential = credential
        self.pool = pool
        added = {**provider.headers, **identify(provider.auth, credential.api_key)}
        origin = pool.origin
        self.identity = identity(credential)
        key = credential.api_key.reveal().encode("latin-1") if credential.api_key else b""
        self.secret = key if len(key) >= SHORTEST else b""  # which is in no text by chance
        self._replaced = frozenset(name.lower().encode() for name in provider.headers)
        if self.identity is not None:
            self._replaced |= self.identity.names
        lines = [f"Host: {origin.authority}\r\n"]
        lines += [f"{name}: {value}\r\n" for name, value in added.items()]
        if pool.proxy and not origin.secure:
            lines.append(pool.proxy.introduction)
        self._static = "".join(lines).encode("latin-1")
        self._prefix = origin.path
        self._addresses: dict[str, str] = {}
        # A proxy for plain HTTP wants to be told the whole address (RFC 9112, 3.2.2).
        self._whole = f"http://{origin.authority}" if pool.proxy and not origin.secure else ""
        self._addresses = {path: self.address(path) for path in FIXED_PATHS}
        self._starts = {
            target: f"POST {target} HTTP/1.1\r\n".encode() + self._static
            for target in self._addresses.values()
        }

    def address(self, path: str, query: str = "") -> str:
        """The request target for a path of this provider's API.

        The path is what follows `base_url` in the vendor's own SDK; a last segment of `base_url`
        that the path repeats (`/v1`) counts once.
        """
        known = self._addresses.get(path)
        if known is not None and not query:
            return known
        if self.provider.dialect == "openai" and path.startswith("/v1/"):
            path = path[3:]
        prefix = self._prefix
        last = prefix[prefix.rfind("/") :]
        if last and (path == last or path.startswith(last + "/")):
            path = path[len(last) :]
        found = f"{self._whole}{prefix}{path}"
        return f"{found}?{query}" if query else found

    def head(
        self,
        method: str,
        target: str,
        inbound: Inbound,
        without: frozenset[bytes] = NOTHING,
        instead: Mapping[bytes, bytes] = NO_LINES,
    ) -> bytes:
        """A request's head, but for the line that says how its body is framed, and its end.

        `without` names client's headers (lower case) that stay behind, `instead` are those that it
        gets (names in lower case) where the configuration has none.
        """
        start = self._starts.get(target) if method == "POST" else None
        if start is None:
            line = f"{method} {target} HTTP/1.1\r\n".encode("utf-8", "surrogateescape")
            start = line + self._static
        lines = inbound.to_provider(self._replaced | without if without else self._replaced)
        for name, value in instead.items():
            if name not in self._replaced:
                lines += b"%b: %b\r\n" % (name, value)
        return start + lines

    async def identify(self, method: str, target: str, body: bytes) -> bytes:
        """The lines that identify us where they are not always the same; raises UpstreamError."""
        if self.identity is None:
            return b""
        origin = self.pool.origin
        place = target.removeprefix(self._whole)
        url = f"{'https' if origin.secure else 'http'}://{origin.authority}{place}"
        found = await self.identity.headers(method, url, body)
        return "".join(f"{name}: {value}\r\n" for name, value in found).encode("latin-1")


class Endpoints:
    """The endpoints of all providers, and the pools behind them."""

    def __init__(self, providers: Iterable[Provider]) -> None:
        self._contexts: dict[Tls | None, ResumingContext] = {}
        self.by_credential = {
            credential.name: Endpoint(provider, credential, self._pool(provider, credential))
            for provider in providers
            for credential in provider.credentials
        }

    @property
    def pools(self) -> list[Pool]:
        return [endpoint.pool for endpoint in self.by_credential.values()]

    def _pool(self, provider: Provider, credential: Credential) -> Pool:
        if provider.dialect == "echo":
            return EchoPool(provider.timeouts)
        origin = Origin.of(credential.base_url)
        context = self._context(provider.tls) if origin.secure else None
        proxy = _proxy(provider.proxy, origin)
        return Pool(origin, timeouts=provider.timeouts, context=context, proxy=proxy)

    def _context(self, tls: Tls | None) -> ResumingContext:
        """Shared by providers that verify alike: the system's authorities are large."""
        if tls not in self._contexts:
            self._contexts[tls] = tls_context(tls)
        return self._contexts[tls]


def _proxy(setting: str | None, origin: Origin) -> Origin | None:
    """`environment` stands for the usual variables (HTTPS_PROXY, NO_PROXY, …), else it is a URL."""
    if setting == "environment":
        if proxy_bypass(origin.host):
            return None
        setting = getproxies().get("https" if origin.secure else "http")
    return Origin.of(setting) if setting else None
