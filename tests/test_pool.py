"""Connections over real sockets: verified, resumed, tried side by side, through proxies, aged."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import threading
import tracemalloc
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import trustme

from routeur.errors import UpstreamError, UpstreamTimeout
from routeur.pool import IDLE, MAX_AGE, RESOLVED_FOR, Origin, Pool, ResumingContext, tls_context
from routeur.providers import Timeouts, Tls
from routeur.relay import Chunks
from routeur.upstream import Connection
from tests.conftest import MakeRouter
from tests.fake import PATIENCE, Upstream, tls, whole
from tests.test_upstream import Sink

try:
    import uvloop
except ImportError:  # an extra
    uvloop = None

LIMITS = Timeouts(connect=1, first_byte=2, idle=2)
REQUEST = b"GET / HTTP/1.1\r\nHost: h\r\n\r\n"
MakePool = Callable[..., Pool]
RUNNERS: dict[str, Callable[..., Any]] = {"asyncio": asyncio.run}
if uvloop is not None:
    RUNNERS["uvloop"] = uvloop.run


class Waiting(Sink):
    """A sink whose end can be waited for."""

    def __init__(self) -> None:
        super().__init__()
        self.over = asyncio.Event()

    def takes(self, head: object, answer: bytes) -> bool:
        return False

    def ending(self) -> None:
        pass

    def ended(self) -> None:
        super().ended()
        self.over.set()

    def failed(self, error: UpstreamError) -> None:
        super().failed(error)
        self.over.set()


async def ask(pool: Pool, connection: Connection | None = None) -> tuple[Connection, Waiting]:
    """One request over a connection, a new one if none is given, and its whole answer."""
    connection = connection or await pool.connect(1)
    sink = Waiting()
    connection.send(sink, REQUEST, b"", limits=LIMITS)
    await asyncio.wait_for(sink.over.wait(), PATIENCE)
    return connection, sink


@pytest.fixture
async def make_pool() -> AsyncIterator[MakePool]:
    pools = []

    def make(url: str, **options: Any) -> Pool:
        pool = Pool(Origin.of(url), timeouts=LIMITS, **options)
        pools.append(pool)
        return pool

    yield make
    for pool in pools:
        pool.close()
    await asyncio.sleep(0)


@pytest.fixture
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
async def secure(authority: trustme.CA) -> AsyncIterator[Upstream]:
    """A provider whose certificate says `localhost`."""
    provider = Upstream(tls("localhost", authority))
    await provider.start()
    provider.sends(whole(b"{}"))
    yield provider
    await provider.stop()


def context(authority: trustme.CA, tmp_path: Path) -> ResumingContext:
    file = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(file)
    return tls_context(Tls(ca=str(file)))


# ── TLS


async def test_right_host(
    make_pool: MakePool, secure: Upstream, authority: trustme.CA, tmp_path: Path
) -> None:
    """Verified, told the name it is asked by, in TLS 1.2 or newer, for HTTP/1.1 only."""
    names = []
    assert secure.tls
    secure.tls.sni_callback = lambda _socket, name, _context: names.append(name)
    secure.tls.set_alpn_protocols(["h2", "http/1.1"])
    pool = make_pool(f"https://localhost:{secure.port}", context=context(authority, tmp_path))
    connection, sink = await ask(pool)
    assert sink.data == b"{}"
    assert names == ["localhost"]
    assert connection.transport
    there = connection.transport.get_extra_info("ssl_object")
    assert there.version() in ("TLSv1.2", "TLSv1.3")
    assert there.selected_alpn_protocol() == "http/1.1"


@pytest.mark.parametrize("wrong", ["host", "authority"])
async def test_wrong_server(
    make_pool: MakePool, secure: Upstream, authority: trustme.CA, tmp_path: Path, wrong: str
) -> None:
    known = context(trustme.CA() if wrong == "authority" else authority, tmp_path)
    host = "127.0.0.1" if wrong == "host" else "localhost"
    pool = make_pool(f"https://{host}:{secure.port}", context=known)
    with pytest.raises(UpstreamError, match="could not be verified") as caught:
        await pool.connect(1)
    assert str(secure.port) not in caught.value.message
    assert secure.requests == []


async def test_system_authorities_do_not_know_it(make_pool: MakePool, secure: Upstream) -> None:
    pool = make_pool(f"https://localhost:{secure.port}", context=tls_context(None))
    with pytest.raises(UpstreamError, match="could not be verified"):
        await pool.connect(1)


async def test_old_tls_is_not_spoken(
    make_pool: MakePool, secure: Upstream, authority: trustme.CA, tmp_path: Path
) -> None:
    context_ = context(authority, tmp_path)
    assert context_.minimum_version == ssl.TLSVersion.TLSv1_2
    assert context_.check_hostname
    assert context_.verify_mode == ssl.CERT_REQUIRED


async def test_our_own_certificate(
    make_pool: MakePool, secure: Upstream, authority: trustme.CA, tmp_path: Path
) -> None:
    """A provider that wants to know who we are is shown the configured certificate."""
    assert secure.tls
    secure.tls.verify_mode = ssl.CERT_REQUIRED
    authority.configure_trust(secure.tls)
    ours = authority.issue_cert("routeur.example")
    ours.private_key_and_cert_chain_pem.write_to_path(tmp_path / "cert.pem")
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    known = tls_context(Tls(str(tmp_path / "ca.pem"), str(tmp_path / "cert.pem")))
    pool = make_pool(f"https://localhost:{secure.port}", context=known)
    _, sink = await ask(pool)
    assert sink.data == b"{}"


async def test_sessions_are_resumed(
    make_pool: MakePool, secure: Upstream, authority: trustme.CA, tmp_path: Path
) -> None:
    """The second connection is spared half of the handshake."""
    pool = make_pool(f"https://localhost:{secure.port}", context=context(authority, tmp_path))
    reused = []
    for _ in range(3):
        connection, _ = await ask(pool)
        assert connection.transport
        reused.append(connection.transport.get_extra_info("ssl_object").session_reused)
    assert reused == [False, True, True]


async def test_sessions_are_looked_at_seldom(
    make_pool: MakePool, secure: Upstream, authority: trustme.CA, tmp_path: Path
) -> None:
    """Memory that a look loses does not come back, and a provider may resume none."""
    assert secure.tls
    secure.tls.num_tickets = 0
    now, shared = [0.0], context(authority, tmp_path)
    url = f"https://localhost:{secure.port}"
    pool = make_pool(url, context=shared, clock=lambda: now[0])
    looks = []
    for now[0] in (1.0, 2.0, 300.0, 302.0, 303.0):
        await ask(pool)
        looks.append(shared.looked_at["localhost"])
    assert looks == [1.0, 1.0, 1.0, 302.0, 302.0]


async def test_an_idle_one_is_small(
    make_pool: MakePool, secure: Upstream, authority: trustme.CA, tmp_path: Path
) -> None:
    """asyncio's buffers at both ends, of which one is ours: at most 96 KiB for each."""
    pool = make_pool(f"https://localhost:{secure.port}", context=context(authority, tmp_path))
    await ask(pool)
    tracemalloc.start()
    try:
        some = [await pool.connect(1) for _ in range(20)]
        size, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert size / len(some) < 2 * 96 * 1024
    for connection in some:
        pool.give(connection)


@pytest.mark.parametrize("loop", RUNNERS)
def test_an_end_without_a_word(authority: trustme.CA, tmp_path: Path, loop: str) -> None:
    """A provider has sent all and is gone, while its answer waits for a slow client."""
    body, last = bytes(200_000), bytes(50_000)
    waits = threading.Event()

    def provide(listener: socket.socket) -> None:
        with listener.accept()[0] as bare:
            wire = tls("localhost", authority).wrap_socket(bare, server_side=True)
            wire.recv(65536)
            length = len(body) + len(last)
            wire.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (length, body))
            waits.wait(PATIENCE)
            wire.sendall(last)
            wire.close()  # without close_notify

    async def take(port: int) -> bytes:
        origin = Origin.of(f"https://localhost:{port}")
        pool = Pool(origin, timeouts=LIMITS, context=context(authority, tmp_path))
        connection = await pool.connect(PATIENCE)
        chunks = Chunks(connection)
        connection.send(chunks, REQUEST, b"", limits=LIMITS)
        while not connection.paused:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        waits.set()
        await asyncio.sleep(0.2)
        return b"".join([chunk async for chunk in chunks])

    with socket.create_server(("127.0.0.1", 0)) as listener:
        provider = threading.Thread(target=provide, args=(listener,))
        provider.start()
        try:
            assert RUNNERS[loop](take(listener.getsockname()[1])) == body + last
        finally:
            provider.join()


async def test_a_session_is_one_hosts(
    make_pool: MakePool, secure: Upstream, authority: trustme.CA, tmp_path: Path
) -> None:
    """Who proved to be `localhost` has not proved to be anybody else: a session skips the proof."""
    shared = context(authority, tmp_path)
    await ask(make_pool(f"https://localhost:{secure.port}", context=shared))
    other = make_pool(f"https://127.0.0.1:{secure.port}", context=shared)
    with pytest.raises(UpstreamError, match="could not be verified"):
        await other.connect(1)
    assert len(secure.requests) == 1


# ── reaching a provider


def addresses(*places: tuple[str, int]) -> list[tuple[Any, ...]]:
    return [
        (
            socket.AF_INET6 if ":" in host else socket.AF_INET,
            socket.SOCK_STREAM,
            6,
            "",
            (host, port, 0, 0) if ":" in host else (host, port),
        )
        for host, port in places
    ]


@pytest.fixture
def resolve(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[str]]:
    """Makes names lead to the given addresses; the list has what was asked."""

    def to(*places: tuple[str, int]) -> list[str]:
        asked: list[str] = []

        async def getaddrinfo(host: str, port: int, **_: Any) -> list[tuple[Any, ...]]:
            asked.append(host)
            await asyncio.sleep(0)
            return addresses(*places)

        monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", getaddrinfo)
        return asked

    return to


@pytest.fixture
def silent() -> Any:
    """A port whose listener never accepts: its queue is full, so that connecting takes forever."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(3):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(listener.getsockname())
        yield listener.getsockname()[1]


async def test_dead_address(
    make_pool: MakePool, upstream: Upstream, resolve: Callable[..., list[str]]
) -> None:
    """A refused IPv6 address beside a live one does not matter."""
    resolve(("::1", 1), ("127.0.0.1", upstream.port))
    upstream.sends(whole(b"{}"))
    _, sink = await ask(make_pool(f"http://two.example:{upstream.port}"))
    assert sink.data == b"{}"


async def test_silent_address(
    make_pool: MakePool, upstream: Upstream, resolve: Callable[..., list[str]], silent: int
) -> None:
    """One that does not answer at all is not waited for."""
    resolve(("127.0.0.1", silent), ("127.0.0.1", upstream.port))
    upstream.sends(whole(b"{}"))
    _, sink = await ask(make_pool(f"http://two.example:{upstream.port}"))
    assert sink.data == b"{}"


async def test_nobody_answers(make_pool: MakePool, silent: int) -> None:
    pool = make_pool(f"http://127.0.0.1:{silent}")
    with pytest.raises(UpstreamTimeout, match="in time"):
        await pool.connect(0.05)


async def test_refused(make_pool: MakePool) -> None:
    with pytest.raises(UpstreamError, match="refused") as caught:
        await make_pool("http://127.0.0.1:1").connect(1)
    assert "127.0.0.1" not in caught.value.message


async def test_all_addresses_refuse(make_pool: MakePool, resolve: Callable[..., list[str]]) -> None:
    resolve(("::1", 1), ("127.0.0.1", 1))
    with pytest.raises(UpstreamError) as caught:
        await make_pool("http://two.example:1").connect(1)
    assert "127.0.0.1" not in caught.value.message
    assert "::1" not in caught.value.message


async def test_names_are_resolved_now_and_then(
    make_pool: MakePool, upstream: Upstream, resolve: Callable[..., list[str]]
) -> None:
    """Not for every connection, and not once for ever; a crowd asks once."""
    asked = resolve(("127.0.0.1", upstream.port))
    now = 0.0
    pool = make_pool(f"http://h.example:{upstream.port}", clock=lambda: now)
    made = await asyncio.gather(*[pool.connect(1) for _ in range(20)])
    assert asked == ["h.example"]
    now = RESOLVED_FOR + 1
    made.append(await pool.connect(1))
    assert asked == ["h.example"] * 2
    for connection in made:
        assert connection.transport
        connection.transport.abort()


async def test_a_failed_look_up_is_not_kept(
    make_pool: MakePool, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = [socket.gaierror(-3, "later"), addresses(("127.0.0.1", upstream.port))]

    async def getaddrinfo(*_: Any, **__: Any) -> Any:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", getaddrinfo)
    pool = make_pool("http://h.example")
    with pytest.raises(UpstreamError, match="resolved"):
        await pool.connect(1)
    connection = await pool.connect(1)
    assert connection.transport
    connection.transport.abort()


async def test_who_gives_up_leaves_the_look_up_to_others(
    make_pool: MakePool, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A client that leaves while its provider's name is looked up takes nobody with it."""
    go = asyncio.Event()

    async def getaddrinfo(*_: Any, **__: Any) -> Any:
        await go.wait()
        return addresses(("127.0.0.1", upstream.port))

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", getaddrinfo)
    pool = make_pool("http://h.example")
    leaves = asyncio.create_task(pool.connect(1))
    stays = asyncio.create_task(pool.connect(1))
    await asyncio.sleep(0)
    leaves.cancel()
    await asyncio.sleep(0)
    go.set()
    connection = await stays
    assert leaves.cancelled()
    assert connection.transport
    connection.transport.abort()


async def test_giving_up_leaves_no_socket(make_pool: MakePool, silent: int) -> None:
    """Cancelled while connecting: nothing stays open (warnings are errors)."""
    task = asyncio.create_task(make_pool(f"http://127.0.0.1:{silent}").connect(1))
    await asyncio.sleep(0.05)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


# ── keeping


async def test_the_newest_is_reused(make_pool: MakePool, upstream: Upstream) -> None:
    upstream.sends(whole(b"{}"))
    pool = make_pool(upstream.url)
    first, second = await pool.connect(1), await pool.connect(1)
    await ask(pool, first)
    await ask(pool, second)
    assert pool.take() is second
    assert pool.take() is first
    assert pool.take() is None


async def test_one_that_the_provider_closed_is_not_taken(
    make_pool: MakePool, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Even if the pool has not been told."""
    upstream.sends(whole(b"{}"))
    pool = make_pool(upstream.url)
    connection, _ = await ask(pool)
    lost = asyncio.Event()
    monkeypatch.setattr(pool, "forget", lambda _: lost.set())
    await upstream.drop()
    await asyncio.wait_for(lost.wait(), PATIENCE)
    assert pool.idle == [connection]
    assert pool.take() is None


async def test_idle_and_age(make_pool: MakePool, upstream: Upstream) -> None:
    """Closed after a while without use, and after ten minutes of it."""
    upstream.sends(whole(b"{}"))
    now = 0.0
    pool = make_pool(upstream.url, clock=lambda: now)
    await ask(pool)
    pool.sweep(IDLE + 1)
    await upstream.connections[0].wait_closed()
    aged = await pool.connect(1)
    now = MAX_AGE + 1
    await ask(pool, aged)
    await upstream.connections[1].wait_closed()
    assert pool.take() is None


async def test_close_leaves_what_is_under_way(make_pool: MakePool, upstream: Upstream) -> None:
    upstream.answers(b"{}", hold=1)
    pool = make_pool(upstream.url)
    connection = await pool.connect(1)
    sink = Waiting()
    connection.send(sink, REQUEST, b"", limits=LIMITS)
    await upstream.requested()
    pool.close()
    upstream.release()
    await asyncio.wait_for(sink.over.wait(), PATIENCE)
    assert sink.end == "ended"


# ── proxies


class Tunnels:
    """A small proxy: notes what it is asked, and connects as it is told to, or refuses."""

    def __init__(self, answer: bytes = b"HTTP/1.1 200 Connection established\r\n\r\n") -> None:
        self.answer = answer
        self.asked: list[bytes] = []
        self.port = 0

    async def __aenter__(self) -> Tunnels:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()

    @property
    def origin(self) -> Origin:
        return Origin.of(f"http://127.0.0.1:{self.port}")

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.asked.append(await reader.readuntil(b"\r\n\r\n"))
        for byte in self.answer:  # however it is cut
            writer.write(bytes([byte]))
            await asyncio.sleep(0)
        if self.answer.split()[1:2] == [b"200"]:
            place = self.asked[-1].split()[1].decode()
            there, to = await asyncio.open_connection(*place.rsplit(":", 1))
            await asyncio.gather(self._copy(reader, to), self._copy(there, writer))
        writer.close()

    @staticmethod
    async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(65536):
                writer.write(data)
            writer.close()


async def test_tunnel(
    make_pool: MakePool, secure: Upstream, authority: trustme.CA, tmp_path: Path
) -> None:
    """HTTPS goes through a proxy sealed: the certificate is the provider's."""
    async with Tunnels() as proxy:
        pool = make_pool(
            f"https://localhost:{secure.port}",
            context=context(authority, tmp_path),
            proxy=proxy.origin,
        )
        connection, sink = await ask(pool)
        assert sink.data == b"{}"
        place = f"localhost:{secure.port}"
        assert proxy.asked == [f"CONNECT {place} HTTP/1.1\r\nHost: {place}\r\n\r\n".encode()]
        assert connection.transport
        connection.transport.abort()
        await secure.connections[0].wait_closed()


@pytest.mark.parametrize(
    "answer",
    [b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n", b"HTTP/1.1 503 No\r\n\r\n", b"", b"no"],
)
async def test_refused_tunnel(
    make_pool: MakePool, authority: trustme.CA, tmp_path: Path, answer: bytes
) -> None:
    async with Tunnels(answer) as proxy:
        pool = make_pool(
            "https://localhost:1", context=context(authority, tmp_path), proxy=proxy.origin
        )
        with pytest.raises(UpstreamError, match="proxy"):
            await pool.connect(1)


async def test_tunnel_to_an_ipv6_address(make_pool: MakePool) -> None:
    async with Tunnels(b"HTTP/1.1 403 No\r\n\r\n") as proxy:
        pool = make_pool("https://[::1]:7", context=tls_context(None), proxy=proxy.origin)
        with pytest.raises(UpstreamError, match="proxy"):
            await pool.connect(1)
        assert proxy.asked[0].startswith(b"CONNECT [::1]:7 HTTP/1.1\r\nHost: [::1]:7\r\n")


async def test_dead_proxy(make_pool: MakePool) -> None:
    pool = make_pool("https://localhost:7", proxy=Origin.of("http://127.0.0.1:1"))
    with pytest.raises(UpstreamError):
        await pool.connect(1)


async def test_plain_http_through_a_proxy(make_router: MakeRouter, upstream: Upstream) -> None:
    """The proxy is asked for the whole address."""
    upstream.answers(b"{}")
    elsewhere = {"base_url": "http://provider.example/v1", "proxy": upstream.url}
    router = await make_router(providers={"openai": elsewhere})
    answer = await router.post("/v1/chat/completions", json={"model": "gpt-4o", "messages": []})
    assert answer.status == 200
    assert upstream.request.target == b"http://provider.example/v1/chat/completions"
    assert upstream.request.header("host") == "provider.example"


async def test_given_up_when_it_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    """uvloop says no word of a connection that is cancelled then: nothing of it stays."""
    pool = Pool(Origin.of("http://127.0.0.1:9"), timeouts=LIMITS)
    made = asyncio.Event()

    async def connect(self: Pool, make: Callable[[], Connection]) -> None:
        self.open.add(make())
        made.set()
        await asyncio.Event().wait()

    monkeypatch.setattr(Pool, "_connect", connect)
    task = asyncio.create_task(pool.connect(5))
    await made.wait()
    assert (len(pool.open), pool.connecting) == (1, 1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (len(pool.open), pool.connecting) == (0, 0)
