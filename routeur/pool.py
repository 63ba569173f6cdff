"""The connections of one credential: made, reused, swept.

Addresses are tried as RFC 8305 says (happy eyeballs), TLS is verified and resumed, an idle
connection is closed after a while, and none lives so long that a provider's change of address goes
unnoticed.
"""

from __future__ import annotations

import asyncio
import errno
import math
import os
import socket
import ssl
import time
from asyncio.sslproto import SSLProtocol
from base64 import b64encode
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol
from urllib.parse import unquote, urlsplit

import aiohappyeyeballs

from routeur.errors import OutOfFiles, UpstreamError, UpstreamTimeout
from routeur.providers import Timeouts, Tls
from routeur.templates import Templates
from routeur.upstream import Connection

IDLE = 55.0  # seconds: below the 60 after which many servers close
MAX_AGE = 600.0
OURS = frozenset((errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM))  # not the provider's
RENEWED = 300.0  # seconds between two looks at a TLS session
RESOLVED_FOR = 10.0
KEEPALIVE = socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1
SWEEP = 0.25  # seconds, how often silence may be counted
SELDOM = 2.0  # seconds, how often it is where nothing is urgent
EXACT = 16  # limits are kept to that part of themselves

# asyncio gives every connection over TLS a buffer of that size for what it reads: 256 KiB, if
# nobody says otherwise.
SSLProtocol.max_size = 32 * 1024

Addresses = list[tuple[Any, Any, int, str, Any]]


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a base URL leads: scheme, host and port are fixed from here on."""

    secure: bool
    host: str
    port: int
    path: str
    user: str = field(default="", repr=False)  # of a proxy: `name:password`

    @classmethod
    def of(cls, url: str) -> Origin:
        parts = urlsplit(url)
        secure = parts.scheme == "https"
        return cls(
            secure,
            parts.hostname or "",
            parts.port or (443 if secure else 80),
            parts.path.rstrip("/"),
            unquote(f"{parts.username}:{parts.password or ''}") if parts.username else "",
        )

    @property
    def introduction(self) -> str:
        """The header that a proxy wants to see, or nothing."""
        if not self.user:
            return ""
        return f"Proxy-Authorization: Basic {b64encode(self.user.encode()).decode()}\r\n"

    @property
    def authority(self) -> str:
        """The `Host` header's value."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == (443 if self.secure else 80) else f"{host}:{self.port}"


class ResumingContext(ssl.SSLContext):
    """Verifies as the default context does, and resumes the last session with the same host.

    Only with the same: a resumed session is not verified again.
    """

    sessions: dict[str, ssl.SSLSession]
    looked_at: dict[str, float]

    def wrap_bio(self, *args: Any, **kwargs: Any) -> ssl.SSLObject:
        kwargs.setdefault("session", self.sessions.get(kwargs["server_hostname"]))
        try:
            return super().wrap_bio(*args, **kwargs)
        except ValueError:  # a session of another context, after a reload
            kwargs["session"] = None
            return super().wrap_bio(*args, **kwargs)

    def remember(self, host: str, secured: ssl.SSLObject, now: float) -> None:
        """Take a connection's session, once its first answer is there: TLS 1.3 sends it late.

        Only if it was not resumed itself, and seldom: before Python 3.12.8 every look at a session
        loses 6 KiB of memory for good (python/cpython#116810).
        """
        last = self.looked_at.get(host, -math.inf)
        if not secured.session_reused and now - last > RENEWED:
            self.looked_at[host] = now
            if (session := secured.session) is not None:
                self.sessions[host] = session


def tls_context(tls: Tls | None) -> ResumingContext:
    """A verifying client context; `tls` names other authorities, or a certificate of ours."""
    context = ResumingContext(ssl.PROTOCOL_TLS_CLIENT)
    context.sessions, context.looked_at = {}, {}
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    if tls and tls.ca:
        context.load_verify_locations(tls.ca)
    else:
        context.load_default_certs()
    if tls and tls.cert:
        context.load_cert_chain(tls.cert, tls.key)
    return context


class Connections(Protocol):
    """Where attempts take their connections from."""

    def take(self) -> Connection | None:
        """An idle one, or None."""

    async def connect(self, seconds: float) -> Connection:
        """A new one; raises UpstreamError."""

    def give(self, connection: Connection) -> None:
        """One that is not in use any more."""


class Pool:
    """Connections to one origin on behalf of one credential.

    Idle ones are reused, the newest first.
    """

    def __init__(
        self,
        origin: Origin,
        *,
        timeouts: Timeouts,
        context: ResumingContext | None = None,
        proxy: Origin | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.origin = origin
        self.timeouts = timeouts
        self.proxy = proxy
        self.clock = clock
        self.idle_limit = IDLE
        self.idle: list[Connection] = []
        self.open: set[Connection] = set()
        self.connecting = 0  # how many are on their way
        self.templates = Templates()
        self._step = SELDOM
        self._passed = 0.0  # seconds since silence was counted
        self._context = context
        self.heed(timeouts)
        self._resolved: Addresses = []
        self._resolved_at = -math.inf
        self._looking_up: asyncio.Task[None] | None = None

    def heed(self, limits: Timeouts) -> None:
        """Attempts may have these limits, so silence has to be counted often enough for them."""
        self._step = min(self._step, limits.first_byte / EXACT, limits.idle / EXACT)

    @property
    def active(self) -> list[Connection]:
        """Those whose answers are under way."""
        return [each for each in self.open if each.receiver is not None]

    def take(self) -> Connection | None:
        """An idle connection, or None."""
        while self.idle:
            connection = self.idle.pop()
            if connection.transport is not None and not connection.transport.is_closing():
                return connection
        return None

    def give(self, connection: Connection) -> None:
        """Keep a connection whose answer is complete for the next request."""
        if self.clock() - connection.born > MAX_AGE and connection.transport is not None:
            connection.transport.close()
            return
        if not connection.reused:
            connection.reused = True
            if self._context is not None:
                assert connection.transport is not None
                secured = connection.transport.get_extra_info("ssl_object")
                if secured is not None:  # over http a context is of no use
                    self._context.remember(self.origin.host, secured, self.clock())
        connection.idle_for = 0.0
        self.idle.append(connection)

    def forget(self, connection: Connection) -> None:
        """A connection has ended."""
        self.open.discard(connection)
        if connection in self.idle:
            self.idle.remove(connection)

    async def connect(
        self, seconds: float, make: Callable[[Pool], Connection] = Connection
    ) -> Connection:
        """A new connection; raises UpstreamError (refused, no such host, TLS), UpstreamTimeout."""
        made: list[Connection] = []  # of which uvloop may not tell that they are lost

        def making() -> Connection:
            made.append(make(self))
            return made[-1]

        self.connecting += 1
        try:
            async with asyncio.timeout(seconds):
                connection = await self._connect(making)
            made.clear()
            return connection
        except TimeoutError:
            raise UpstreamTimeout("the provider could not be reached in time") from None
        except ssl.SSLCertVerificationError:
            raise UpstreamError("the provider's certificate could not be verified") from None
        except ssl.SSLError:
            raise UpstreamError("the provider could not be reached over TLS") from None
        except socket.gaierror:
            raise UpstreamError("the provider's host name could not be resolved") from None
        except OSError as error:
            if error.errno in OURS:
                raise OutOfFiles("routeur has too many connections open: try again") from None
            raise UpstreamError(f"the provider could not be reached ({_why(error)})") from None
        finally:
            self.connecting -= 1
            self.open.difference_update(made)

    async def _connect(self, make: Callable[[], Connection]) -> Connection:
        loop = asyncio.get_running_loop()
        tunnels = self.proxy is not None and self.origin.secure
        context = self._context if self.origin.secure else None
        name = self.origin.host if context else None
        addresses = await self._addresses(self.proxy or self.origin)
        host, port, *scope = addresses[0][4]
        if len(addresses) == 1 and not tunnels and not any(scope):  # no race: uvloop does it in C
            transport, connection = await loop.create_connection(
                make, host, port, ssl=context, server_hostname=name
            )
            transport.get_extra_info("socket").setsockopt(*KEEPALIVE)
            return connection
        sock = await aiohappyeyeballs.start_connection(
            addresses, happy_eyeballs_delay=0.25, interleave=1
        )
        try:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.setsockopt(*KEEPALIVE)
            if tunnels:
                await self._tunnel(sock)
            _, connection = await loop.create_connection(
                make, sock=sock, ssl=context, server_hostname=name
            )
        except BaseException:
            sock.close()
            raise
        return connection

    async def _addresses(self, hop: Origin) -> Addresses:
        """The host's addresses; all who want them at the same time wait for one look-up."""
        if self._looking_up is None and self.clock() - self._resolved_at > RESOLVED_FOR:
            self._looking_up = asyncio.create_task(self._look_up(hop))
            self._looking_up.add_done_callback(_seen)
        if self._looking_up is not None:
            await asyncio.shield(self._looking_up)  # who gives up leaves it to the others
        return self._resolved

    async def _look_up(self, hop: Origin) -> None:
        try:
            self._resolved = await asyncio.get_running_loop().getaddrinfo(
                hop.host, hop.port, type=socket.SOCK_STREAM
            )
            self._resolved_at = self.clock()
        finally:
            self._looking_up = None

    async def _tunnel(self, sock: socket.socket) -> None:
        """Ask a proxy for a way to the origin (RFC 9110, 9.3.6)."""
        loop = asyncio.get_running_loop()
        host = self.origin.host
        place = f"{f'[{host}]' if ':' in host else host}:{self.origin.port}"
        user = self.proxy.introduction if self.proxy else ""
        asked = f"CONNECT {place} HTTP/1.1\r\nHost: {place}\r\n{user}\r\n"
        await loop.sock_sendall(sock, asked.encode())
        head = b""
        while b"\r\n\r\n" not in head and len(head) < 8192:
            block = await loop.sock_recv(sock, 1024)
            if not block:
                break
            head += block
        status = head.split(b" ", 2)[1:2]
        if not (status and status[0].startswith(b"2")):
            raise UpstreamError("the proxy refused the way to the provider")

    def sample(self, tell: Callable[[float], None]) -> None:
        """Have one block of one answer timed."""
        for connection in self.open:
            if connection.receiver is not None and connection.time_next_block(tell):
                return

    def tick(self, seconds: float) -> None:
        """`seconds` have passed: `sweep`, if that is often enough."""
        self._passed += seconds
        if self._passed >= self._step:
            passed, self._passed = self._passed, 0.0
            self.sweep(passed)

    def sweep(self, seconds: float) -> None:
        """`seconds` have passed: end what has been silent or idle for too long."""
        for connection in self.active:
            if connection.paused or connection.waits_for_client:
                continue
            limits = connection.limits
            connection.silent += seconds
            if connection.answering and connection.silent > limits.idle:
                connection.timeout("the provider sent nothing for too long")
            elif not connection.answering and connection.silent > limits.first_byte:
                connection.timeout("the provider did not answer in time")
        for connection in [*self.idle]:
            connection.idle_for += seconds
            if connection.idle_for > self.idle_limit and connection.transport is not None:
                self.idle.remove(connection)
                connection.transport.close()

    def close(self) -> None:
        """Close what is idle; what is under way goes on to its end."""
        for connection in self.idle:
            if connection.transport is not None:
                connection.transport.close()
        self.idle = []


def _why(error: OSError) -> str:
    """The system's words, without the address that they may come with."""
    return os.strerror(error.errno).lower() if error.errno else "connection failed"


def _seen(task: asyncio.Task[None]) -> None:
    """A look-up that failed when nobody waited for it any more is no news."""
    if not task.cancelled():
        task.exception()
