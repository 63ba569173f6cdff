"""The command line as its users meet it: words, exit statuses, signals, a file that changes."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from routeur import __version__
from routeur.__main__ import main
from routeur.watch import Watch
from tests.program import PATIENCE, ROOT, Connection, Program, ask, chat, stream
from tests.test_workers import broken_off

FILE = """\
server: {port: 0}
log: {format: json}
providers:
  a: {dialect: openai, base_url: "http://127.0.0.1:1/v1", models: [gpt-4o, gpt-4o-mini]}
  b: {dialect: anthropic, base_url: "http://127.0.0.1:1", models: ["claude-*"]}
aliases: {fast: [a/gpt-4o-mini]}
rules:
  - {name: pictures, match: {model: fast, has: [image]}, to: [a/gpt-4o, a/gpt-4o-mini]}
  - {name: gold, match: {model: fast, headers: {x-tier: gold}}, to: [a/gpt-4o]}
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory, and no provider's key."""
    monkeypatch.chdir(tmp_path)
    for name in [*os.environ]:
        if name.endswith(("_KEY", "_TOKEN")):
            monkeypatch.delenv(name)
    return tmp_path


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    """Exit status, stdout and stderr."""
    try:
        status = main(arguments)
    except SystemExit as end:
        status = int(end.code or 0)
    said = capsys.readouterr()
    return status, said.out, said.err


# ── words


def test_a_locale_without_these_characters(folder: Path) -> None:
    with Program("--help", cwd=folder, PYTHONIOENCODING="latin-1") as program:
        assert program.ended() == 0


def test_serves_without_stderr(folder: Path) -> None:
    start = ["sh", "-c", 'exec "$0" -m routeur --host unix:r.sock 2>&-', sys.executable]
    with subprocess.Popen(start, cwd=folder, env=os.environ | {"PYTHONPATH": ROOT}) as process:
        try:
            deadline = time.monotonic() + PATIENCE
            while not Path("r.sock").exists() and time.monotonic() < deadline:
                time.sleep(0.05)
            process.send_signal(signal.SIGTERM)
            assert process.wait(PATIENCE) == 0
        finally:
            process.kill()


def test_help_is_complete(capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = run(capsys, "--help")
    assert status == 0
    for word in ("serve", "check", "explain", "--version", "router.yaml", "SIGTERM", "SIGHUP"):
        assert word in out
    options = {
        "serve": ("-c", "--config", "--host", "--port", "--workers"),
        "check": ("file", "-c"),
        "explain": ("-c", "--model", "--header", "--body", "--path", "--json"),
    }
    for command, expected in options.items():
        status, out, _ = run(capsys, command, "--help")
        assert status == 0
        assert all(each in out for each in expected), out


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys, "--version") == (0, f"routeur {__version__}\n", "")


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["--nonsense"], "--nonsense"),
        (["nonsense"], "nonsense"),
        (["--port", "many"], "many"),
        (["--port", "-1"], "65535"),
        (["--port", "65536"], "65535"),
        (["serve", "--workers", "1.5"], "1.5"),
        (["--workers", "0"], "1 or more"),
        (["explain"], "--model"),
        (["check", "a", "b"], "b"),
        (["check", "-c", "a", "b"], "not allowed with"),
    ],
)
def test_bad_options(capsys: pytest.CaptureFixture[str], arguments: list[str], word: str) -> None:
    status, out, err = run(capsys, *arguments)
    assert (status, out) == (2, "")
    (line,) = err.splitlines()
    assert word in line and line.endswith("--help")


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["-c", "missing.yaml"], "missing.yaml"),
        (["check"], "router.yaml"),
        (["explain", "-c", "missing.yaml", "--model", "m"], "missing.yaml"),
        (["explain", "--model", "m", "--body", "missing.json"], "routeur: missing.json: No such"),
        (["--host", "0.0.0.0"], "master_key"),
        (["--host", "not a host"], "not a host"),
    ],
)
def test_one_line_per_error(
    capsys: pytest.CaptureFixture[str], arguments: list[str], word: str
) -> None:
    status, _, err = run(capsys, *arguments)
    assert status == 2
    (line,) = err.splitlines()
    assert word in line
    assert "Traceback" not in err


# ── check


def test_check(capsys: pytest.CaptureFixture[str], folder: Path) -> None:
    (folder / "router.yaml").write_text(FILE)
    status, out, err = run(capsys, "check")
    assert (status, err) == (0, "")
    assert "router.yaml: ok" in out
    assert run(capsys, "check", "router.yaml")[0] == 0
    assert run(capsys, "check", "-c", "router.yaml")[0] == 0


def test_check_prints_all_findings(capsys: pytest.CaptureFixture[str], folder: Path) -> None:
    """With file and line, and what was meant."""
    (folder / "bad.yaml").write_text(
        "server: {prot: 80}\nproviders:\n  p: {dialect: opnai, base_url: 'ftp://h'}\n"
        "aliases: {fast: [q/x]}\nrules: [{name: r, to: []}]\n"
    )
    status, out, err = run(capsys, "check", "bad.yaml")
    assert (status, out) == (2, "")
    lines = err.splitlines()
    assert len(lines) >= 4
    assert all(line.startswith("bad.yaml:") for line in lines)
    assert 'did you mean "port"?' in lines[0]


# ── explain


def test_explain(capsys: pytest.CaptureFixture[str], folder: Path) -> None:
    (folder / "router.yaml").write_text(FILE)
    status, out, _ = run(capsys, "explain", "--model", "fast", "--header", "X-Tier: gold")
    assert status == 0
    assert "rule:gold" in out
    assert "a/gpt-4o" in out
    assert all(f"\n{word}" in out for word in ("facts", "strategy", "why", "estimate"))
    assert "{" not in out


def test_explain_a_body(capsys: pytest.CaptureFixture[str], folder: Path) -> None:
    """All targets in their order; the body decides."""
    (folder / "router.yaml").write_text(FILE)
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}
    body = {"model": "fast", "messages": [{"role": "user", "content": [image]}]}
    (folder / "body.json").write_text(json.dumps(body))
    arguments = ("explain", "--model", "fast", "--body", "body.json")
    _, out, _ = run(capsys, *arguments)
    assert out.index("rule:pictures") < out.index("a/gpt-4o\n") < out.index("a/gpt-4o-mini")
    status, out, _ = run(capsys, *arguments, "--json")
    said = json.loads(out)["routeur"]
    assert status == 0
    assert said["targets"] == ["a/gpt-4o", "a/gpt-4o-mini"]
    assert said["route_reason"] == "rule:pictures"
    assert said.keys() >= {"requested_model", "provider", "model", "rejected", "estimate"}


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["--model", "gpt-4x"], "gpt-4o"),
        (["--model", "gpt-4o", "--header", "no colon"], "K: V"),
        (["--model", "gpt-4o", "--header", "Routeur-Provider: nobody"], "nobody"),
        (["--model", "gpt-4o", "--path", "/nowhere"], "/nowhere"),
        (["--model", "claude-x", "--path", "/v1/embeddings"], "b/claude-x"),
    ],
)
def test_explain_refusals(
    capsys: pytest.CaptureFixture[str], folder: Path, arguments: list[str], word: str
) -> None:
    """As the request itself would be refused."""
    (folder / "router.yaml").write_text(FILE)
    status, out, err = run(capsys, "explain", *arguments)
    assert (status, out) == (2, "")
    (line,) = err.splitlines()
    assert word in line


def test_explain_other_dialects(capsys: pytest.CaptureFixture[str], folder: Path) -> None:
    (folder / "router.yaml").write_text(FILE)
    status, out, _ = run(capsys, "explain", "--model", "claude-x", "--path", "/v1/messages")
    assert status == 0
    assert "b/claude-x" in out


# ── serve


def test_the_first_minute(folder: Path) -> None:
    """No file, no key, no network: an answer all the same, and one line that says where."""
    with Program("--port", "0", cwd=folder) as program:
        assert program.said("serves on")[0].count("http://127.0.0.1:") == 1
        chat(port=program.port)
        program.signal(signal.SIGTERM)
        assert program.ended() == 0
    assert program.out == []
    assert {each.name for each in folder.iterdir()} == {
        "routeur.db",
        "routeur.db-spool",
        "routeur.db-turn",
        "routeur.secret",
    }


def test_the_file_here_is_read(folder: Path) -> None:
    (folder / "router.yaml").write_text(FILE)
    with Program(cwd=folder) as program:
        _, _, page = ask("GET", "/v1/models", port=program.port)
        assert {"gpt-4o", "fast"} <= {each["id"] for each in json.loads(page)["data"]}


def test_port_in_use(folder: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with Program("--port", str(port), cwd=folder) as program:
            assert program.ended() == 2
    (line,) = program.err
    assert line == f"routeur: cannot listen on 127.0.0.1:{port}: Address already in use"


def test_a_missing_certificate(folder: Path) -> None:
    (folder / "router.yaml").write_text(
        "server: {port: 0}\n"
        "providers: {p: {dialect: openai, base_url: 'https://h', tls: {ca: missing.pem}}}\n"
    )
    with Program(cwd=folder) as program:
        assert program.ended() == 2
    (line,) = program.err
    assert "missing.pem" in line


def refuses(port: int) -> bool:
    """Whether connecting is refused, after the moment that it takes."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        try:
            ask("GET", "/healthz", port=port)
        except ConnectionError:
            return True
    return False


@pytest.mark.parametrize(
    "number", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.full)]
)
def test_drain(folder: Path, number: signal.Signals) -> None:
    """Not ready any more, nobody new; what is under way ends as it should."""
    with Program("--port", "0", cwd=folder) as program, Connection(program.port) as connection:
        under_way = stream(connection, 60)
        program.signal(number)
        program.said("draining")
        assert refuses(program.port)
        assert under_way.read().endswith(b"data: [DONE]\n\n")
        assert program.ended() == 0
    assert not [line for line in program.err if "Traceback" in line]


def test_the_second_ctrl_c_does_not_wait(folder: Path) -> None:
    with Program("--port", "0", cwd=folder) as program, Connection(program.port) as connection:
        under_way = stream(connection, 100_000)
        program.signal(signal.SIGINT)
        program.said("draining")
        program.signal(signal.SIGINT)
        assert program.ended() == 0
        assert broken_off(under_way)
    assert not [line for line in program.err if "Traceback" in line]
    (call,) = (line for line in map(json.loads, program.err) if line["event"] == "call")
    assert call["aborted_by"] == "routeur"


def test_hang_up_with_an_invalid_file(folder: Path) -> None:
    """The old one stays in force, and every finding is said; streams do not notice."""
    file = folder / "router.yaml"
    file.write_text(FILE)
    with Program(cwd=folder) as program, Connection(program.port) as connection:
        under_way = stream(connection, 100)
        file.write_text("server: {prot: 1}\nnonsense: true\n")
        program.signal(signal.SIGHUP)
        program.said("the old one stays in force")
        program.said("prot")
        program.said("nonsense")
        _, _, page = ask("GET", "/v1/models", port=program.port)
        assert b'"fast"' in page
        assert under_way.read().endswith(b"data: [DONE]\n\n")


def test_a_file_that_is_being_written(folder: Path) -> None:
    """Cut off first, then written, as `cp` does: without a key all would be open in between."""
    file = folder / "router.yaml"
    key = "auth: {master_key: master-key-of-tests-0001}\n"
    file.write_text(FILE + key)
    with Program(cwd=folder) as program:
        assert ask("GET", "/v1/models", port=program.port)[0] == 401
        with file.open("w") as being_written:
            program.said("the file says nothing")
            assert ask("GET", "/v1/models", port=program.port)[0] == 401
            being_written.write(FILE + key)
        program.said("is in force")
        assert ask("GET", "/v1/models", port=program.port)[0] == 401


async def test_a_change_is_over_before_it_counts(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("0")
    told: list[str] = []
    watch = Watch(file, lambda: told.append(file.read_text()), PATIENCE)
    for text in ("", "ab", "abc"):
        file.write_text(text)
        watch._look()
    assert told == []
    watch._look()
    watch._look()
    watch.close()
    assert told == ["abc"]


def test_hang_up_with_a_missing_certificate(folder: Path) -> None:
    """What the configuration alone does not show is no end either."""
    file = folder / "router.yaml"
    file.write_text(FILE)
    with Program(cwd=folder) as program:
        program.said("serves on")
        bad = '"http://127.0.0.1:1", tls: {ca: missing.pem}'
        file.write_text(FILE.replace('"http://127.0.0.1:1"', bad.replace("http:", "https:")))
        program.signal(signal.SIGHUP)
        program.said("stays in force")
        file.write_text(FILE)
        program.signal(signal.SIGHUP)
        program.said("is in force")
        assert not [line for line in program.err if "Traceback" in line]


def test_a_changed_file_is_noticed(folder: Path) -> None:
    """Without a signal, twice; also when the file is another one of this name."""
    file = folder / "router.yaml"
    file.write_text(FILE)
    with Program(cwd=folder) as program:
        program.said("serves on")
        file.write_text(FILE.replace("fast", "nonsense: ["))
        program.said("the old one stays in force")
        new = folder / "new.yaml"
        new.write_text(FILE.replace("fast", "swift"))
        new.replace(file)
        program.said("the new configuration is in force")
        _, _, page = ask("GET", "/v1/models", port=program.port)
        assert b'"swift"' in page
