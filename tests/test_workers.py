"""Several processes that look like one: real ones, with real signals."""

from __future__ import annotations

import asyncio
import http.client
import json
import os
import signal
import socket
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any, ClassVar

import orjson
import pytest

from routeur import bus, peers
from routeur.bus import Bus
from routeur.metrics import Metrics
from routeur.peers import Peers
from routeur.workers import Parent, Worker
from tests.program import ECHO, PATIENCE, Connection, Program, ask, chat, stream

FILE = "server: {port: 0, workers: 2}\nlog: {format: json}\nproviders: {}\n"
TRIES = 300  # connections until both of two workers have had one, which is a matter of chance


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    """For tests that leave it as it was."""
    folder = tmp_path_factory.mktemp("workers")
    (folder / "router.yaml").write_text(FILE)
    with Program(cwd=folder) as program:
        program.said("serves on", 2)
        yield program


@pytest.fixture
def program(tmp_path: Path) -> Iterator[Program]:
    (tmp_path / "router.yaml").write_text(FILE)
    with Program(cwd=tmp_path) as program:
        yield program


def worker(trace: str) -> str:
    """What of a trace's id belongs to the process."""
    return trace[:-10]


def one_of_each(**place: object) -> dict[str, str]:
    """A trace of each of two workers."""
    found: dict[str, str] = {}
    for _ in range(TRIES):
        trace = chat(**place)
        found[worker(trace)] = trace
        if len(found) == 2:
            break
    assert len(found) == 2
    return found


def broken_off(answer: http.client.HTTPResponse) -> bool:
    """Whether an answer ends without its last chunk."""
    try:
        while line := answer.readline():
            if line == b"data: [DONE]\n":
                return False
    except (OSError, http.client.HTTPException, ValueError):
        pass
    return True


def count(port: int) -> float:
    """The calls of all workers."""
    _, _, page = ask("GET", "/metrics", port=port)
    lines = [x for x in page.decode().splitlines() if x.startswith("routeur_requests_total{")]
    return sum(float(line.rpartition(" ")[2]) for line in lines)


def test_both_serve_on_one_port(shared: Program) -> None:
    ports = {line.partition("serves on ")[2].split()[0] for line in shared.said("serves on", 2)}
    assert len(ports) == 1
    one_of_each(port=shared.port)


def test_figures_are_of_all(shared: Program) -> None:
    """Whoever is asked knows what all have done."""
    before = count(shared.port)
    one_of_each(port=shared.port)
    calls = 10
    for _ in range(calls):
        chat(port=shared.port)
    after = {count(shared.port) for _ in range(10)}
    assert len(after) == 1
    assert after.pop() >= before + calls + 2


def test_traces_are_found_by_all(shared: Program) -> None:
    for trace in one_of_each(port=shared.port).values():
        for _ in range(10):
            status, _, body = ask("GET", f"/v1/traces/{trace}", port=shared.port)
            assert (status, trace.encode() in body) == (200, True)
            assert ask("HEAD", f"/v1/traces/{trace}", port=shared.port)[0] == 200
    assert ask("GET", "/v1/traces/tr_none", port=shared.port)[0] == 404


def said(method: str, path: str, port: int, **body: object) -> Any:
    """The JSON of an answer that went well."""
    status, _, answer = ask(method, path, json.dumps(body) if body else None, port=port)
    assert status == 200, answer
    return json.loads(answer)


def statuses(port: int, times: int = 20) -> set[int]:
    """Of so many chats, on connections of their own: of whichever worker."""
    return {ask("POST", "/v1/chat/completions", ECHO, port=port)[0] for _ in range(times)}


def test_a_ban_is_in_force_in_all(shared: Program) -> None:
    """As soon as the answer is there; so is its end."""
    port = shared.port
    one_of_each(port=port)
    said("POST", "/api/ban", port, credential="echo", ttl="60s")
    assert statuses(port) == {503}
    assert {ask("GET", "/health", port=port)[0] for _ in range(10)} == {503}
    lists = [said("GET", "/api/bans", port) for _ in range(10)]
    assert all(each == lists[0] for each in lists)
    assert said("POST", "/api/unban", port, credential="echo")["removed"] is True
    assert statuses(port) == {200}
    assert said("GET", "/api/bans", port) == {"bans": []}


@pytest.mark.full
def test_a_new_one_knows_of_bans(program: Program) -> None:
    program.said("serves on", 2)
    port = program.port
    said("POST", "/api/ban", port, credential="echo")
    for number, victim in enumerate(program.children(2), 3):
        os.kill(victim, signal.SIGKILL)
        program.said("serves on", number)
    assert statuses(port) == {503}


def test_limits_are_of_all(tmp_path: Path) -> None:
    """Ten a minute are ten a minute, however many workers there are."""
    (tmp_path / "router.yaml").write_text(
        "server: {port: 0, workers: 4}\nlog: {format: json}\n"
        "providers: {echo: off, limited: {dialect: echo, models: [echo], rpm: 10}}\n"
    )
    with Program(cwd=tmp_path) as program, ThreadPoolExecutor(40) as pool:
        program.said("serves on", 4)
        port = program.port
        asked = [
            pool.submit(ask, "POST", "/v1/chat/completions", ECHO, port=port) for _ in range(40)
        ]
        answers = [each.result() for each in asked]
        assert Counter(status for status, _, _ in answers) == {200: 10, 429: 30}
        assert len({worker(headers["X-Routeur-Trace-Id"]) for _, headers, _ in answers}) > 1
        refused = [headers for status, headers, _ in answers if status == 429]
        assert all(50 <= int(headers["Retry-After"]) <= 60 for headers in refused)
        assert said("GET", "/health", port)["credentials"]["limited"]["current_rpm"] == 10


class Failing(BaseHTTPRequestHandler):
    """A provider that takes its time to say that it fails, or does not any more."""

    asked: ClassVar[list[float]] = []
    status: ClassVar[int] = 503

    def do_POST(self) -> None:
        self.asked.append(time.monotonic())
        self.rfile.read(int(self.headers["Content-Length"]))
        time.sleep(0.3)
        self.send_response(self.status)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """The port of a provider that fails."""
    Failing.asked.clear()
    monkeypatch.setattr(Failing, "status", 503)
    with ThreadingHTTPServer(("127.0.0.1", 0), Failing) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


@pytest.mark.full
def test_one_probe_of_all(tmp_path: Path, failing: int) -> None:
    """When a ban is over, one worker asks once; what comes of it holds for all."""
    (tmp_path / "router.yaml").write_text(
        "server: {port: 0, workers: 4}\nlog: {format: json}\n"
        "ban: {after: 1, for: 500ms}\nretries: {attempts: 1}\n"
        "providers: {echo: off, p: {dialect: openai, models: [echo], "
        f"base_url: 'http://127.0.0.1:{failing}/v1'}}}}\n"
    )
    with Program(cwd=tmp_path) as program, ThreadPoolExecutor(20) as pool:
        program.said("serves on", 4)
        port = program.port
        assert statuses(port, 1) == {503}  # the provider's own, which bans it
        until_no_ban(port)
        asked = [pool.submit(statuses, port, 1) for _ in range(40)]
        assert [each.result() for each in asked] == [{503}] * 40
        assert len(Failing.asked) == 2
        until_no_ban(port)
        Failing.status = 200
        asked = [pool.submit(statuses, port, 1) for _ in range(20)]
        assert set().union(*[each.result() for each in asked]) <= {200, 503}
        assert all(when >= Failing.asked[2] + 0.3 for when in Failing.asked[3:])
        until_all_answer(pool, port)
        assert said("GET", "/api/bans", port) == {"bans": []}


def until_all_answer(pool: ThreadPoolExecutor, port: int) -> None:
    """The last worker has heard that the probe went well."""
    deadline = time.monotonic() + PATIENCE
    while any(each != {200} for each in pool.map(lambda _: statuses(port, 1), range(20))):
        assert time.monotonic() < deadline


def until_no_ban(port: int) -> None:
    deadline = time.monotonic() + PATIENCE
    while said("GET", "/api/bans", port)["bans"]:
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_dead_one_is_replaced(program: Program) -> None:
    """Its streams die visibly; the others' go on, and so does the service.

    What it has counted stays: less than before would be a new beginning to Prometheus.
    """
    program.said("serves on", 2)
    port = program.port
    one_of_each(port=port)
    before = count(port)
    with Connection(port) as connection:
        under_way = stream(connection, 10_000)
        victim, other = program.children(2)
        os.kill(victim, signal.SIGKILL)
        program.said(f"worker {victim} ended with status -9")
        program.said("serves on", 3)
        assert len(program.children(2)) == 2
        assert count(port) == before
        one_of_each(port=port)
        os.kill(other, signal.SIGKILL)
        assert broken_off(under_way)  # whosever it was
    program.said("serves on", 4)
    one_of_each(port=port)
    program.signal(signal.SIGTERM)
    assert program.ended() == 0


@pytest.mark.parametrize(
    "number", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.full)]
)
def test_drain(program: Program, number: signal.Signals) -> None:
    """What is under way ends as it should, then so do all."""
    program.said("serves on", 2)
    with Connection(program.port) as connection:
        under_way = stream(connection, 50)
        program.signal(number)
        program.said("draining", 2)
        assert under_way.read().endswith(b"data: [DONE]\n\n")
    assert program.ended() == 0
    assert not [line for line in program.err if '"error"' in line and '"error":null' not in line]


@pytest.mark.full
def test_the_second_signal_does_not_wait(program: Program) -> None:
    program.said("serves on", 2)
    with Connection(program.port) as connection:
        under_way = stream(connection, 100_000)
        program.signal(signal.SIGINT)
        program.said("draining", 2)
        program.signal(signal.SIGINT)
        assert program.ended() == 0
        assert broken_off(under_way)


def test_hang_up_reads_the_file_again(program: Program, tmp_path: Path) -> None:
    """In all of them, changed or not."""
    program.said("serves on", 2)
    program.signal(signal.SIGHUP)
    program.said("the new configuration is in force", 2)
    (tmp_path / "router.yaml").write_text(FILE + "aliases: {nick: [echo/echo]}\n")
    program.signal(signal.SIGHUP)
    program.said("the new configuration is in force", 4)
    for _ in range(10):
        assert chat('{"model": "nick", "messages": []}', port=program.port)


@pytest.mark.full
def test_hang_up_at_birth(program: Program) -> None:
    """Workers that do not know yet what to do with the signal live all the same."""
    program.children(2)
    program.signal(signal.SIGHUP)
    program.said("the new configuration is in force")
    program.said("serves on", 2)
    assert not [line for line in program.err if "ended with status" in line]


def test_the_end_at_birth(program: Program) -> None:
    """However early it comes, nobody is left over."""
    program.children(1)
    program.signal(signal.SIGTERM)
    assert program.ended() == 0


async def test_one_that_dies_in_the_midst_of_a_line() -> None:
    """What it has said before is over with it: nothing of it is under way for ever."""
    counted = Metrics({})
    counted.started()
    line = orjson.dumps({"keep": counted.snapshot()}) + b"\n"
    heard = asyncio.StreamReader()
    heard.feed_data(line + line[:100])
    heard.feed_eof()
    parent = Parent([], 1, lambda *_: None)
    await parent._hear(Worker(1, None, None, 0.0), heard)  # type: ignore[arg-type]
    assert parent._figures.sum()["inflight"] == 0


async def test_a_parent_that_stands_still(monkeypatch: pytest.MonkeyPatch) -> None:
    """As after Ctrl-Z: what it is to be told does not pile up in those that go on."""
    monkeypatch.setattr(bus, "PATIENCE", 0.01)
    monkeypatch.setattr(peers, "KEPT", 0.0)
    ours, theirs = socket.socketpair()
    line = Bus(ours.detach(), lambda _: None, lambda _: None, lambda: None)
    await line.start()
    known: Any = None  # what is not looked at here
    nobody: Any = Unbanned()
    one = Peers({}, Metrics({}), known, nobody, known, lambda: None)
    await one.join(line)
    await asyncio.sleep(0.5)
    assert line._writer is not None
    assert 0 < line._writer.transport.get_write_buffer_size() < 4096
    one.close()
    theirs.close()


class Unbanned:
    """Credentials of which nothing is known."""

    def bans(self) -> list[Any]:
        return []

    known = bans


def test_orphans_end(program: Program) -> None:
    """Without their parent, workers drain and end."""
    program.said("serves on", 2)
    children = program.children(2)
    program.process.kill()
    program.said("draining", 2)
    program.ended()
    deadline = time.monotonic() + PATIENCE
    while not all(gone(pid) for pid in children):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def gone(pid: int) -> bool:
    """Dead, even if whoever adopted it has not looked yet."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


def test_unix_socket(tmp_path: Path) -> None:
    """Shared by inheritance; it is there until the last one has gone, and then not any more."""
    path = tmp_path / "routeur.sock"
    path.touch()
    path.unlink()
    with Program("--host", f"unix:{path}", "--workers", "2", cwd=tmp_path) as program:
        program.said("serves on", 2)
        one_of_each(path=path)
        program.signal(signal.SIGTERM)
        assert program.ended() == 0
    assert not path.exists()


def test_a_file_is_no_socket(tmp_path: Path) -> None:
    """What stands at the place of a unix socket is not removed, unless it is one."""
    path = tmp_path / "precious"
    path.write_text("data")
    with Program("--host", f"unix:{path}", "--workers", "2", cwd=tmp_path) as program:
        assert program.ended() == 2
    assert path.read_text() == "data"


@pytest.mark.parametrize("share", [False, True])
def test_port_in_use(tmp_path: Path, share: bool) -> None:
    """One line, also where the other one would share."""
    with socket.create_server(("127.0.0.1", 0), reuse_port=share) as taken:
        port = taken.getsockname()[1]
        with Program("--port", str(port), "--workers", "2", cwd=tmp_path) as program:
            assert program.ended() == 2
    (line,) = program.err
    assert line.startswith(f"routeur: cannot listen on 127.0.0.1:{port}: ")


def test_workers_that_do_not_start(tmp_path: Path) -> None:
    """Are not begun for ever."""
    (tmp_path / "router.yaml").write_text(
        "server: {port: 0, workers: 2}\n"
        "providers: {p: {dialect: openai, base_url: 'https://h', tls: {ca: missing.pem}}}\n"
    )
    with Program(cwd=tmp_path) as program:
        assert program.ended() != 0
    assert len([line for line in program.err if "ended with status" in line]) <= 4


def test_a_served_unix_socket_is_not_taken(tmp_path: Path) -> None:
    host = ("--host", f"unix:{tmp_path}/r.sock", "--workers", "2")
    with Program(*host, cwd=tmp_path) as first:
        first.said("serves on", 2)
        with Program(*host, cwd=tmp_path) as second:
            assert second.ended() == 2
            assert "in use" in second.err[0]
