"""A credential's place on the wire: where its requests go, and how their heads begin."""

from __future__ import annotations

from collections.abc import Iterable
from urllib.request import getproxies, proxy_bypass

from routeur.credentials import identify
from routeur.dialects import FIXED_PATHS
from routeur.headers import Inbound
from routeur.local import EchoPool
from routeur.pool import Origin, Pool, ResumingContext, tls_context
from routeur.providers import Credential, Provider, Tls

NOTHING: frozenset[bytes] = frozenset()


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
        "pool",
        "provider",
    )

    def __init__(self, provider: Provider, credential: Credential, pool: Pool) -> None:
        self.provider = provider
        self.credential = credential
        self.pool = pool
        added = {**provider.headers, **identify(provider.auth, credential.api_key)}
        origin = pool.origin
        self._replaced = frozenset(name.lower().encode() for name in provider.headers)
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
        length: int | None,
        without: frozenset[bytes] = NOTHING,
    ) -> bytes:
        """A request's head.

        `length` is the body's size, None for chunks, -1 for no body; `without` names client's
        headers (lower case) that stay behind.
        """
        if length is None:
            framing = b"Transfer-Encoding: chunked\r\n\r\n"
        else:
            framing = b"Content-Length: %d\r\n\r\n" % length if length >= 0 else b"\r\n"
        start = self._starts.get(target) if method == "POST" else None
        if start is None:
            line = f"{method} {target} HTTP/1.1\r\n".encode("utf-8", "surrogateescape")
            start = line + self._static
        lines = inbound.to_provider(self._replaced | without if without else self._replaced)
        return b"".join((start, lines, framing))


class Endpoints:
    """The endpoints of all providers, and the pools behind them."""

    def __init__(self, providers: Iterable[Provider]) -> None:
        self._contexts: dict[Tls | None, ResumingContext] = {}
        self.by_provider: dict[str, tuple[Endpoint, ...]] = {}
        for provider in providers:
            # Those marked `fallback` are asked last.
            credentials = sorted(provider.credentials, key=lambda each: each.fallback)
            self.by_provider[provider.name] = tuple(
                Endpoint(provider, credential, self._pool(provider, credential))
                for credential in credentials
            )

    @property
    def pools(self) -> list[Pool]:
        return [each.pool for endpoints in self.by_provider.values() for each in endpoints]

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
