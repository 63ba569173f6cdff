"""`routeur top`: whom it asks, and what it does to a terminal."""

from __future__ import annotations

import argparse
import asyncio
import fcntl
import json
import os
import pty
import re
import select
import signal
import ssl
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import trustme

import routeur
from routeur import top
from routeur.__main__ import main
from routeur.app import Router
from routeur.errors import ConfigError
from routeur.overview import overview
from routeur.readings import Look, between
from routeur.terminal import Terminal
from routeur.top import NoAnswer, Place, View, asking, place_of
from tests.conftest import MakeRouter, merged, parse, settings
from tests.fake import Upstream
from tests.looks import look, metrics
from tests.program import PATIENCE

CHAT = b'{"model": "gpt-4o", "messages": [{"role": "user", "content": "Hi"}]}'
ANSWERED = b'{"object": "chat.completion", "usage": {"prompt_tokens": 7, "completion_tokens": 2}}'


# ── where


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("127.0.0.1", "http://127.0.0.1:80"),
        ("0.0.0.0", "http://127.0.0.1:80"),
        ("::", "http://[::1]:80"),
        ("fe80::1", "http://[fe80::1]:80"),
        ("unix:/run/r.sock", "unix:/run/r.sock"),
    ],
)
def test_where_it_is_by_the_configuration(host: str, url: str) -> None:
    assert str(place_of(host, 80)) == url


def test_any_port_is_nowhere() -> None:
    with pytest.raises(ConfigError, match="--url"):
        place_of("127.0.0.1", 0)


HERE = ("127.0.0.1", 8080)
FILE = """\
server: {host: "${HOST:-::1}", port: "${PORT:-81}", unheard: of}
auth: {master_key: "${NOWHERE_SET}"}
providers: {openai: {preset: what, api_key: "${NOR_THIS}"}}
"""


def test_of_a_file_only_host_and_port_matter(tmp_path: Path) -> None:
    file = tmp_path / "r.yaml"
    file.write_text(FILE)
    assert top.host_and_port(file, {}, HERE) == ("::1", 81)
    assert top.host_and_port(file, {"HOST": "10.0.0.1", "PORT": "82"}, HERE) == ("10.0.0.1", 82)
    for empty in ("", "server:", "providers: {}"):
        file.write_text(empty)
        assert top.host_and_port(file, {}, HERE) == top.host_and_port(None, {}, HERE) == HERE


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("server: {port: '${PORT}'}", r"r.yaml:1: server.port: PORT is not set; .*--url where"),
        ("server: {host: '${HOST}'}", r"r.yaml:1: server.host: HOST is not set; .*--url where"),
        ("server: {port: x}", r"expected a whole number from 0 to 65535.*--url where"),
        ("server: 7", r"server: expected a mapping.*--url where"),
        ("server: {", r"r.yaml:2: not YAML"),
        (None, r"r.yaml: No such file or directory"),
    ],
)
def test_a_file_that_does_not_say_where(written: str | None, said: str, tmp_path: Path) -> None:
    file = tmp_path / "r.yaml"
    if written is not None:
        file.write_text(written)
    with pytest.raises(ConfigError, match=said):
        top.host_and_port(file, {}, HERE)


def test_where_it_is_by_an_option() -> None:
    assert top._place("https://a.example:1/under/") == Place("https://a.example:1/under")
    assert top._place("unix:/run/r.sock").socket == "/run/r.sock"
    for wrong in (
        "host:80",
        "",
        "unix:",
        "http://",
        "http://a:x",
        "ftp://a",
        "http://u:p@a",
        "a b",
    ):
        with pytest.raises(argparse.ArgumentTypeError, match="expected http://HOST:PORT"):
            top._place(wrong)


@pytest.mark.parametrize("wrong", ["0", "-1", "nan", "inf", "x", ""])
def test_wrong_intervals(wrong: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(["top", "--every", wrong])
    assert end.value.code == 2
    assert "expected 0.1 to 3600 seconds" in capsys.readouterr().err


# ── asking


async def test_a_running_server(make_router: MakeRouter, upstream: Upstream) -> None:
    """It needs no key, whatever the server asks of others."""
    router = await make_router(auth={"master_key": "master-key-of-tests-0001"})
    upstream.answers(ANSWERED)
    async with asking(Place(router.url)) as server:
        before = await server.look()
        bearer = {"Authorization": "Bearer master-key-of-tests-0001"}
        assert (await router.post("/v1/chat/completions", data=CHAT, headers=bearer)).status == 200
        after = await server.look()
    shown = overview(router.url, after, between(before, after))

    assert (shown.ready, shown.requests, shown.tokens, shown.inflight) == ("ready", 1, 9, 0)
    assert shown.interval_requests == {"200": 1} and shown.duration.count == 1
    first = shown.credentials[0]
    assert (first.name, first.rpm, first.tpm) == ("openai", 1, 9)
    assert [each.name for each in first.models if not each.is_idle] == ["gpt-4o"]


async def test_over_a_unix_socket(upstream: Upstream, tmp_path: Path) -> None:
    host = f"unix:{tmp_path}/routeur.sock"
    router = Router(parse(merged(settings(upstream), {"server": {"host": host}})))
    await router.start()
    try:
        async with asking(place_of(host, 0)) as server:
            assert (await server.look()).health.total_credentials == 4
    finally:
        await router.stop()


def http(status: int, body: bytes, length: int | None = None) -> bytes:
    size = len(body) if length is None else length
    return b"HTTP/1.1 %d Well\r\nLocation: /x\r\nContent-Length: %d\r\n\r\n%s" % (
        status,
        size,
        body,
    )


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (http(403, b'{"error": {"message": "no\\u001b[2J!"}}'), "status 403: no�[2J! (--url names"),
        (http(404, b"<html>no"), "is not routeur: /health/readiness has status 404 (--url names"),
        (http(400, b"<html>no"), "is not routeur: /health/readiness has status 400 (does it speak"),
        (http(302, b""), "is not routeur: /health/readiness has status 302 (does it speak https"),
        (http(200, b"<html>hi"), "what answers is not routeur: its pages say other things (--url"),
        (http(200, b"hi", 9), "its answer breaks off (is routeur running there"),
        (b"", "it hangs up without an answer (does it speak https://?)"),
        (b"SSH-2.0-x\x1b\r\n", "what answers does not speak HTTP (does it speak https://?)"),
        (b"\x15\x03\x01\x00\x02\x02\x46", "what answers does not speak HTTP (does it speak"),
    ],
)
async def test_who_answers_is_not_routeur(answer: bytes, said: str) -> None:
    async def speak(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        writer.close()
        await writer.wait_closed()

    async with await asyncio.start_server(speak, "127.0.0.1", 0) as listener:
        port = listener.sockets[0].getsockname()[1]
        async with asking(Place(f"http://127.0.0.1:{port}")) as server:
            with pytest.raises(NoAnswer) as found:
                await server.look()

    told = f"{found.value} ({found.value.hint})"
    assert said in told and told.isprintable() and "<" not in told


async def test_http_is_spoken_instead_of_https(make_router: MakeRouter) -> None:
    router = await make_router()
    async with asking(Place(router.url.replace("http:", "https:"))) as server:
        with pytest.raises(NoAnswer, match="it does not speak https") as found:
            await server.look()
    assert found.value.hint == "does it speak http://?"


@pytest.mark.parametrize(
    ("scheme", "said", "hint"),
    [
        ("http", "it hangs up without an answer", "does it speak https://?"),
        ("https", "its certificate is not trusted: unable to get", "--url names another place"),
    ],
)
async def test_https_is_spoken(scheme: str, said: str, hint: str) -> None:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(context)
    accept = lambda _, writer: writer.close()  # noqa: E731
    async with await asyncio.start_server(accept, "127.0.0.1", 0, ssl=context) as listener:
        port = listener.sockets[0].getsockname()[1]
        async with asking(Place(f"{scheme}://127.0.0.1:{port}")) as server:
            with pytest.raises(NoAnswer, match=said) as found:
                await server.look()
    assert found.value.hint == hint


def test_nobody_is_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "r.yaml").write_text(f"server: {{host: 'unix:{tmp_path}/r.sock'}}")
    for place in (["--url", "http://127.0.0.1:1"], ["-c", str(tmp_path / "r.yaml")]):
        assert main(["top", *place]) == 2
        out, err = capsys.readouterr()
        assert out == "" and err.count("\n") == 1
        assert "Connection refused (is" in err or "No such file or directory (is" in err


# ── on a screen


class Screen:
    """Stands for a terminal of 80 columns; a frame per drawing."""

    def __init__(self) -> None:
        self.frames: list[list[str]] = []

    def size(self) -> tuple[int, int]:
        return 80, 24

    def draw(self, lines: list[str]) -> None:
        self.frames.append(lines)


class Script:
    """Stands for a server that says this, then nothing more."""

    def __init__(self, *said: Look | NoAnswer) -> None:
        self._said = iter(said)

    async def look(self) -> Look:
        found = next(self._said, None)
        if found is None:
            await asyncio.Event().wait()
        if isinstance(found, NoAnswer):
            raise found
        assert found is not None
        return found


async def frames(first: Look, *said: Look | NoAnswer) -> list[list[str]]:
    screen = Screen()
    options = argparse.Namespace(models=False)
    view = View(screen, first, Place("http://here"), options)  # type: ignore[arg-type]
    watching = asyncio.create_task(view.watch(Script(*said), 0.0))  # type: ignore[arg-type]
    async with asyncio.timeout(PATIENCE):
        while len(screen.frames) <= len(said):  # noqa: ASYNC110
            await asyncio.sleep(0)
    watching.cancel()
    return screen.frames


async def test_a_server_that_goes_away_and_comes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    gone = NoAnswer("Connection refused", closed=True)
    found = await frames(
        look(0.0, metrics(s200=5)),
        look(1.0, metrics(s200=7)),
        gone,
        NoAnswer("no answer within 5 s"),
        look(9.0, metrics(s200=1)),
        look(10.0, metrics(s200=2)),
    )

    assert [frame[0].partition("here: ")[2] for frame in found] == [
        "ready, 1 of 1 credentials available",
        "ready, 1 of 1 credentials available",
        "takes no connections: it drains or has ended",
        "no answer within 5 s",
        "ready, 1 of 1 credentials available",
        "ready, 1 of 1 credentials available",
    ]
    assert re.fullmatch(r"trying again; what .* as of \d\d:\d\d:\d\d", found[3][1])
    assert found[3][2] == found[1][1] == "requests     2.0/s, 0 under way, 7 so far"
    assert found[4][1] == "requests     0 under way, 1 so far"
    assert found[5][1] == "requests     1.0/s, 0 under way, 2 so far"


@pytest.mark.parametrize(("value", "coloured"), [("1", False), ("", True), (None, True)])
async def test_colours_can_be_switched_off(
    value: str | None, coloured: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    if value is not None:
        monkeypatch.setenv("NO_COLOR", value)

    assert ("\x1b[" in "".join((await frames(look()))[0])) == coloured


@contextmanager
def a_terminal(lines: int = 24, columns: int = 80) -> Iterator[tuple[int, int]]:
    """Whoever looks at it, and the terminal: it has to be left as it was."""
    parent, child = pty.openpty()
    fcntl.ioctl(child, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
    before = termios.tcgetattr(child)
    try:
        yield parent, child
        assert termios.tcgetattr(child) == before
    finally:
        os.close(parent)
        os.close(child)


def seen(parent: int, enough: Callable[[bytes], object]) -> bytes:
    """What is written to a terminal until it is enough."""
    said = b""
    deadline = time.monotonic() + PATIENCE
    while not enough(said):
        assert time.monotonic() < deadline, said
        if select.select([parent], [], [], 0.1)[0]:
            said += os.read(parent, 65536)
    return said


def test_a_terminal_gets_back_as_it_was_after_a_bug() -> None:
    with a_terminal() as (parent, child):
        with pytest.raises(RuntimeError), Terminal(child, child, "ascii") as terminal:
            assert not termios.tcgetattr(child)[3] & (termios.ECHO | termios.ICANON)
            assert terminal.size() == (80, 24)
            terminal.draw(["Zürich", "two"])
            raise RuntimeError
        said = seen(parent, lambda said: said.endswith(b"\x1b[?1049l"))

    assert b"\x1b[HZ?rich\x1b[K\r" in said and b"two\x1b[K\x1b[J" in said
    assert said.count(b"\x1b[?25h") == said.count(b"\x1b[?7h") == 1


def test_a_screen_without_keys() -> None:
    with a_terminal() as (parent, child), open(os.devnull, "rb") as nothing:
        with Terminal(child, nothing.fileno(), "utf-8") as terminal:
            assert terminal.keys is None
        seen(parent, lambda said: said.endswith(b"\x1b[?1049l"))


def test_keys() -> None:
    ended: list[bool] = []
    with a_terminal() as (parent, child), Terminal(child, child, "utf-8") as terminal:
        assert terminal.keys is not None
        for pressed, ends in ((b"x", 0), (b"\x13", 0), (b"Q", 1)):
            os.write(parent, pressed)
            top._key(terminal.keys, lambda: ended.append(True))
            assert len(ended) == ends
    with open(os.devnull, "rb") as gone:
        top._key(gone.fileno(), lambda: ended.append(True))
    assert len(ended) == 2


def started(url: str, out: Any, *more: str) -> subprocess.Popen[bytes]:
    environ = {**os.environ, "TERM": "xterm", "PYTHONPATH": str(Path(routeur.__file__).parents[1])}
    command = [sys.executable, "-m", "routeur", "top", "--url", url, "--every", "0.1", *more]
    stdin = subprocess.DEVNULL if out == subprocess.PIPE else out
    return subprocess.Popen(command, stdin=stdin, stdout=out, stderr=out, env=environ)


def use(url: str) -> None:
    """One is ended by a key after its window was made smaller, one by a signal; one prints."""
    with a_terminal() as (parent, child), a_terminal() as (other, terminal):
        piped = started(url, subprocess.PIPE)
        with started(url, child) as keyed, started(url, terminal) as signalled, piped:
            seen(parent, lambda said: said.count(b"\x1b[H") > 1)
            fcntl.ioctl(child, termios.TIOCSWINSZ, struct.pack("HHHH", 4, 20, 0, 0))
            keyed.send_signal(signal.SIGWINCH)
            small = seen(parent, lambda said: b"lines\x1b[K\x1b[J" in said)
            os.write(parent, b"q")
            assert seen(parent, lambda said: said.endswith(b"\x1b[?25h\x1b[?1049l"))
            assert keyed.wait(PATIENCE) == 0

            seen(other, lambda said: b"CREDENTIAL" in said)
            signalled.send_signal(signal.SIGTERM)
            assert seen(other, lambda said: said.endswith(b"\x1b[?25h\x1b[?1049l"))
            assert signalled.wait(PATIENCE) == 0

            assert piped.stdout is not None
            table = piped.stdout.read().decode()
            assert piped.wait(PATIENCE) == 0
    assert b"routeur at http://1\x1b" in small
    assert table.startswith(f"routeur at {url}: ready, 4 of 4 credentials") and "\x1b" not in table


@pytest.mark.full  # three processes, 3 s
async def test_in_real_terminals(make_router: MakeRouter) -> None:
    router = await make_router()
    await asyncio.to_thread(use, router.url)


async def test_once_as_json(make_router: MakeRouter, capsys: pytest.CaptureFixture[str]) -> None:
    router = await make_router()
    arguments = ["top", "--url", router.url, "--every", "0.1", "--json"]
    assert await asyncio.to_thread(main, arguments) == 0
    said = json.loads(capsys.readouterr().out)

    assert said["server"] == router.url and said["total_credentials"] == 4
    assert 0.1 <= said["interval_seconds"] < PATIENCE
