"""The command `top`: the figures of a running server, live in a terminal, or once."""

from __future__ import annotations

import argparse
import asyncio
import errno
import os
import signal
import ssl
import sys
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from urllib.parse import urlsplit

import aiohttp

from routeur.columns import terminal as terminal_width
from routeur.errors import ConfigError
from routeur.overview import Overview, as_json, overview
from routeur.readings import Course, Look, between, read, refusal
from routeur.screen import Lost, printable, render
from routeur.terminal import Terminal
from routeur.yamlfile import File, integer, text

EVERY = 1.0  # seconds
SHORTEST, LONGEST = 0.1, 3600.0  # of those that may be asked for
PATIENCE = 5.0  # seconds that a server has for an answer
LARGEST = 64 << 20  # bytes of a page
QUOTED = 200  # characters of why a page is refused
ANYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - where to reach who listens there

# What may help whoever gets no answer.
RUNNING = "is routeur running there? --url names another place"
ANOTHER = "--url names another place"
ENCRYPTED = "does it speak https://?"
PLAIN = "does it speak http://?"
CLOSED = (errno.ECONNREFUSED, errno.ENOENT)
GONE = "takes no connections: it drains or has ended"
TO_HTTPS = (301, 302, 307, 308, 400)  # what plain HTTP may get where HTTPS is wanted

NOTE = """\
Rates, errors and times are those of the last interval; RPM and TPM are the requests and tokens of
the last minute, errors of a credential those since the server's processes started (a worker that
is replaced takes its figures along), with (+N) new ones. A time is as exact as the server's
histograms: `<= 250 ms` is the bucket in which that quantile lies.

Keys: q or Ctrl-C ends it. No API key is needed: it asks /health, /health/readiness and /metrics.
"""

Options = argparse.Namespace


class NoAnswer(OSError):
    """Nobody answers, or not as routeur does. `closed`: connections are not taken, as by a server
    that drains, or has ended.
    """

    def __init__(self, why: str, hint: str = RUNNING, *, closed: bool = False) -> None:
        super().__init__(printable(why))
        self.hint = hint
        self.closed = closed


@dataclass(frozen=True, slots=True)
class Place:
    """Where a server is asked: a URL, and the unix socket on which it is reached, if it is one."""

    url: str
    socket: str | None = None

    def __str__(self) -> str:
        return f"unix:{self.socket}" if self.socket else self.url


def add(
    commands: argparse._SubParsersAction[argparse.ArgumentParser],
    add_file: Callable[[argparse.ArgumentParser], None],
    listening: Callable[[Options], tuple[str, int]],
) -> None:
    """Add it to a parser. `listening` says the host and port of the file that options name."""
    help = "watch a running server: requests, tokens, times, credentials"
    parser = commands.add_parser(
        "top",
        help=help,
        description=f"{help[0].upper()}{help[1:]}.",
        epilog=NOTE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_file(parser)
    parser.add_argument(
        "--url",
        type=_place,
        help="where it is: http://HOST:PORT or unix:/PATH (default: as configured)",
    )
    parser.add_argument(
        "--every",
        type=_seconds,
        default=EVERY,
        metavar="SECONDS",
        help="how long an interval is (default: %(default)g)",
    )
    parser.add_argument("--models", action="store_true", help="the models of each credential, too")
    parser.add_argument(
        "--once",
        action="store_true",
        help="print one table after one interval (as it is done where stdout is no terminal)",
    )
    parser.add_argument("--json", action="store_true", help="print that as one JSON object")

    def run(options: Options) -> int:
        place = options.url or place_of(*listening(options))
        try:
            asyncio.run(_top(place, options))
        except KeyboardInterrupt:  # before there was anything to see
            return 130
        return 0

    parser.set_defaults(run=run)


def host_and_port(
    path: Path | None, environ: Mapping[str, str], default: tuple[str, int]
) -> tuple[str, int]:
    """Those of the server in a file, or `default`. Whatever else stands there may be wrong, or
    want variables that only the server has. Raises ConfigError.
    """
    if path is None:
        return default
    try:
        said = path.read_bytes().decode("utf-8-sig", "replace")
    except OSError as error:
        raise ConfigError([f"{path}: {error.strerror}"]) from None
    source = File(said, str(path), environ)
    server = source.top.section("server")
    host = server.get("host", text, default[0])
    port = server.get("port", integer(0, 65535), default[1])
    if source.findings:
        found = [each for _, each in source.findings]
        raise ConfigError([f"{each}; or say with --url where it is" for each in found])
    return host, port


def place_of(host: str, port: int) -> Place:
    """Where to reach a server of this configuration."""
    if host.startswith("unix:"):
        return Place("http://localhost", host.removeprefix("unix:"))
    if port == 0:
        raise ConfigError(["server.port: 0 is any port: say with --url which one it is"])
    host = ANYWHERE.get(host, host)
    return Place(f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}")


def _place(text: str) -> Place:
    """A place as an option names it."""
    if text.startswith("unix:") and text != "unix:":
        return place_of(text, 0)
    try:
        parts = urlsplit(text)
        good = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        good = False
    if not good or not text.isprintable() or any(sign in text for sign in "@?# "):
        raise argparse.ArgumentTypeError(f"expected http://HOST:PORT or unix:/PATH, got {text!r}")
    return Place(text.rstrip("/"))


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not (isfinite(seconds) and SHORTEST <= seconds <= LONGEST):
        raise argparse.ArgumentTypeError(
            f"expected {SHORTEST:g} to {LONGEST:g} seconds, got {text!r}"
        )
    return seconds


# ---- asking


class Server:
    """Its pages, over one connection."""

    def __init__(self, session: aiohttp.ClientSession, place: Place) -> None:
        self._session = session
        self._url = place.url
        plain = place.url.startswith("http:") and place.socket is None
        self._hint = ENCRYPTED if plain else RUNNING

    async def look(self) -> Look:
        """What it says now; raises NoAnswer."""
        try:
            async with asyncio.timeout(PATIENCE):
                readiness = await self._page("/health/readiness", 200, 503)
                health = await self._page("/health", 200, 503)
                metrics = await self._page("/metrics", 200)
            return read(time.monotonic(), readiness, health, metrics)
        except NoAnswer:
            raise
        except TimeoutError:
            raise NoAnswer(f"no answer within {PATIENCE:g} s") from None
        except (aiohttp.ClientError, OSError) as error:
            raise no_answer(error, self._hint) from None
        except (ValueError, RecursionError):
            raise NoAnswer(
                "what answers is not routeur: its pages say other things", ANOTHER
            ) from None

    async def _page(self, path: str, *expected: int) -> bytes:
        async with self._session.get(self._url + path, allow_redirects=False) as answer:
            body = bytearray()
            async for chunk in answer.content.iter_any():
                body += chunk
                if len(body) > LARGEST:
                    raise NoAnswer(f"{path} has more than {LARGEST >> 20} MiB")
            if answer.status not in expected:
                raise self._unexpected(path, answer.status, bytes(body))
            return bytes(body)

    def _unexpected(self, path: str, status: int, body: bytes) -> NoAnswer:
        if said := refusal(body):
            return NoAnswer(f"{path} is answered with status {status}: {said[:QUOTED]}", ANOTHER)
        why = f"what answers is not routeur: {path} has status {status}"
        return NoAnswer(why, self._hint if status in TO_HTTPS else ANOTHER)


@asynccontextmanager
async def asking(place: Place) -> AsyncIterator[Server]:
    connector: aiohttp.BaseConnector = (
        aiohttp.UnixConnector(place.socket, limit=1)
        if place.socket
        else aiohttp.TCPConnector(limit=1)
    )
    async with aiohttp.ClientSession(
        connector=connector, cookie_jar=aiohttp.DummyCookieJar(), trust_env=False
    ) as session:
        yield Server(session, place)


def no_answer(error: aiohttp.ClientError | OSError, hint: str) -> NoAnswer:
    """What became of a question, in few words: aiohttp's own repeat the address. `hint` is the
    one where something else than HTTP seems to be spoken.
    """
    cause = getattr(error, "os_error", error)
    match cause:
        case ssl.SSLCertVerificationError():
            return NoAnswer(f"its certificate is not trusted: {cause.verify_message}", ANOTHER)
        case ssl.SSLError():
            why = (cause.reason or "no TLS").replace("_", " ").lower()
            return NoAnswer(f"it does not speak https: {why}", PLAIN)
        case (
            aiohttp.ServerDisconnectedError()
            | ConnectionResetError()
            | OSError(errno=errno.ECONNRESET)
        ):
            return NoAnswer("it hangs up without an answer", hint, closed=True)
        case aiohttp.ClientResponseError():
            return NoAnswer("what answers does not speak HTTP", hint)
        case aiohttp.ClientPayloadError():
            return NoAnswer("its answer breaks off")
        case OSError() if cause.errno:
            why = os.strerror(cause.errno) if cause.errno > 0 else cause.strerror or str(cause)
            return NoAnswer(why, closed=cause.errno in CLOSED)
    return NoAnswer(str(cause) or type(cause).__name__)


# ---- showing


async def _top(place: Place, options: Options) -> None:
    screen = sys.stdout.isatty() and os.environ.get("TERM") != "dumb"
    async with asking(place) as server:
        try:
            first = await server.look()
            if options.once or options.json or not screen:
                print(await _once(server, first, place, options))
            else:
                await live(server, first, place, options)
        except NoAnswer as error:
            raise NoAnswer(f"{place}: {error} ({error.hint})") from None


async def _once(server: Server, first: Look, place: Place, options: Options) -> str:
    await asyncio.sleep(options.every)
    second = await server.look()
    shown = overview(str(place), second, between(first, second))
    if options.json:
        return as_json(shown, models=options.models)
    lines = render(shown, models=options.models, width=terminal_width())
    encoding = sys.stdout.encoding
    return "\n".join(line.text for line in lines).encode(encoding, "replace").decode(encoding)


async def live(server: Server, first: Look, place: Place, options: Options) -> None:
    """Until somebody ends it."""
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, ended.set)
    keyboard = sys.stdin.fileno() if sys.stdin else -1
    with Terminal(sys.stdout.fileno(), keyboard, sys.stdout.encoding) as terminal:
        view = View(terminal, first, place, options)
        loop.add_signal_handler(signal.SIGWINCH, view.draw)
        loop.add_signal_handler(signal.SIGTSTP, terminal.suspend)
        # Who is continued to be ended hears of the end no later than of the going on.
        loop.add_signal_handler(signal.SIGCONT, loop.call_soon, view.resume, ended)
        keys = terminal.keys
        if keys is not None:
            loop.add_reader(keys, _key, keys, ended.set)
        watching = asyncio.create_task(view.watch(server, options.every))
        waiting = asyncio.create_task(ended.wait())
        try:
            done, _ = await asyncio.wait((watching, waiting), return_when=asyncio.FIRST_COMPLETED)
        finally:
            if keys is not None:
                loop.remove_reader(keys)
            watching.cancel()
            waiting.cancel()
            await asyncio.wait((watching, waiting))
        for each in done:
            each.result()


def _key(keys: int, end: Callable[[], None]) -> None:
    try:
        pressed = os.read(keys, 1024)
    except OSError:  # the terminal is gone
        pressed = b""
    if not pressed or b"q" in pressed.lower():
        end()


class View:
    """What is on the screen; the last figures stay there while nobody answers."""

    def __init__(self, terminal: Terminal, first: Look, place: Place, options: Options) -> None:
        self._terminal = terminal
        self._server = str(place)
        self._models: bool = options.models
        self._coloured = not os.environ.get("NO_COLOR")
        self._begin(first)

    def _begin(self, look: Look) -> None:
        self._course = Course(look)
        self._show(overview(self._server, look, None))

    def _show(self, shown: Overview) -> None:
        self._shown = shown
        self._lost: Lost | None = None
        self._as_of = time.strftime("%H:%M:%S")
        self.draw()

    def draw(self) -> None:
        columns, lines = self._terminal.size()
        # A full line would be a cell shorter: its end is where the rest is erased.
        shown = render(
            self._shown, models=self._models, width=columns - 1, height=lines, lost=self._lost
        )
        self._terminal.draw([line.painted() if self._coloured else line.text for line in shown])

    def resume(self, ended: asyncio.Event) -> None:
        if not ended.is_set():
            self._terminal.take()
            self.draw()

    async def watch(self, server: Server, every: float) -> None:
        """Look again and again."""
        loop = asyncio.get_running_loop()
        due = loop.time()
        while True:
            due = max(due + every, loop.time())
            await asyncio.sleep(due - loop.time())
            try:
                look = await server.look()
            except NoAnswer as error:
                why = GONE if error.closed else str(error)
                self._lost = Lost(why, self._as_of, error.closed)
                self.draw()
                continue
            if self._lost:
                self._begin(look)
            else:
                self._show(overview(self._server, look, self._course.then(look)))
