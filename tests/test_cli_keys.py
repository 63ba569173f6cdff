"""`routeur keys` and `routeur usage`: on the store of a server, whether it runs or not."""

from __future__ import annotations

import asyncio
import json
import re
import shlex
import time
from pathlib import Path
from typing import Any

import pytest

from routeur.__main__ import main
from routeur.keys import PREFIXES, SECRET_FILE
from routeur.store.sqlite import SqliteStore
from tests.program import ECHO, PATIENCE, Connection, Program
from tests.stores import CENT, DAY, charge, done, tokens

FILE = """\
server: {port: 0}
auth: {master_key: "", management_key: ""}
log: {format: json}
store: sqlite:keys.db
providers:
  a: {dialect: openai, base_url: "http://127.0.0.1:1/v1", models: [gpt-4o]}
  off: {preset: openai}
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with a configuration, and no keys in the environment."""
    monkeypatch.chdir(tmp_path)
    for name in ("OPENAI_API_KEY", "ROUTEUR_SECRET", "ROUTEUR_MASTER_KEY"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "router.yaml").write_text(FILE)
    return tmp_path


class Shell:
    """Runs commands here, and keeps what they said."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys
        self.said: list[str] = []

    def __call__(self, *arguments: str) -> tuple[int, str, str]:
        """Exit status, stdout and stderr."""
        try:
            status = main(arguments)
        except SystemExit as end:
            status = int(end.code or 0)
        said = self._capsys.readouterr()
        self.said += [said.out, said.err]
        return status, said.out, said.err

    def ok(self, *arguments: str) -> str:
        status, out, err = self(*arguments)
        assert (status, err) == (0, ""), err
        return out

    def fails(self, *arguments: str) -> str:
        """What is said on stderr: one line."""
        status, out, err = self(*arguments)
        assert (status, out, err.count("\n")) == (2, "", 1), err
        return err

    def create(self, name: str, *options: str) -> str:
        """A new key."""
        status, out, _ = self("keys", "create", name, *options)
        self.said[-2:] = []
        assert status == 0
        return out.strip()

    def keys(self) -> list[dict[str, Any]]:
        found = json.loads(self.ok("keys", "list", "--json", "--include-disabled"))
        data: list[dict[str, Any]] = found["data"]
        return data


@pytest.fixture
def shell(capsys: pytest.CaptureFixture[str]) -> Shell:
    return Shell(capsys)


# ---- words


def test_help_is_complete(shell: Shell) -> None:
    out = shell.ok("--help")
    assert "keys" in out and "usage" in out
    for command in ("create", "list", "disable", "enable", "delete"):
        assert command in shell.ok("keys", "--help")
    out = shell.ok("keys", "create", "--help")
    for (
        option
    ) in "limit limit-reset expires provider model rpm tpm max-parallel management".split():
        assert f"--{option}" in out
    for words in ("NAME", "-c", "USD"):
        assert words in out
    assert "--include-disabled" in shell.ok("keys", "list", "--help")
    assert "HASH" in shell.ok("keys", "disable", "--help")
    out = shell.ok("usage", "--help")
    for option in ("--days", "--since", "--until", "--by", "--json"):
        assert option in out


@pytest.mark.parametrize(
    "arguments",
    [
        ["keys"],
        ["keys", "create"],
        ["keys", "make"],
        ["keys", "create", "x", "--limit", "much"],
        ["keys", "create", "x", "--limit-reset", "yearly"],
        ["keys", "create", "x", "--rpm", "1.5"],
        ["keys", "disable"],
        ["usage", "--by", "hour"],
        ["usage", "--days", "x"],
    ],
)
def test_bad_options(shell: Shell, arguments: list[str]) -> None:
    status, out, err = shell(*arguments)
    (line,) = err.splitlines()
    assert (status, out) == (2, "") and line.endswith("--help")


def test_the_manual(shell: Shell) -> None:
    """Its commands work, and its table has the options that there are."""
    text = (Path(__file__).parents[1] / "README.md").read_text()
    commands = re.findall(r"^routeur ((?:keys|usage) .*)", text, re.MULTILINE)
    assert len(commands) == 2
    for command in commands:
        status, out, err = shell(*shlex.split(command))
        assert status == 0 and out, err
    rows = re.findall(r"^\| \[`routeur ((?:keys )?[a-z]+).*?\| (.*) \|$", text, re.MULTILINE)
    commands = ["models", "keys create", "keys list", "keys disable", "top", "import", "usage"]
    assert [command for command, _ in rows] == commands
    for command, row in rows:
        command = command.replace("import", "import litellm")
        said = shell.ok(*command.split(), "--help")
        known = set(re.findall(r"--[a-z-]+", said)) - {"--help", "--config"}
        assert set(re.findall(r"--[a-z-]+", row)) == known


# ---- create


def test_create(shell: Shell, folder: Path) -> None:
    """Only the key is on stdout; what is said of it on stderr."""
    status, out, err = shell("keys", "create", "alice")
    (shown,) = shell.keys()

    assert status == 0
    assert out.startswith("rtr_live_") and len(out.strip()) == 41
    assert shown["hash"] in err and "alice" in err and out.strip() not in err
    assert str(folder / "keys.db") in err
    assert (shown["name"], shown["key_type"], shown["limit"]) == ("alice", "regular", None)
    assert (folder / SECRET_FILE).stat().st_mode & 0o777 == 0o600
    assert (folder / "keys.db").stat().st_mode & 0o777 == 0o600


def test_create_with_everything(shell: Shell) -> None:
    options = "--limit 2.5 --limit-reset monthly --expires 2999-01-31 --provider a --provider off"
    options += " --model gpt-* --model o3 --rpm 5 --tpm 1000 --max-parallel 2"
    shell.create("alice", *options.split())
    (shown,) = shell.keys()

    expected = {
        "limit": 2.5,
        "limit_reset": "monthly",
        "expires_at": "2999-01-31T00:00:00.000Z",
        "allowed_providers": ["a", "off"],
        "allowed_models": ["gpt-*", "o3"],
        "rpm": 5,
        "tpm": 1000,
        "max_parallel": 2,
    }
    assert {name: shown[name] for name in expected} == expected
    assert shell.create("op", "--management").startswith("rtr_mgmt_")


@pytest.mark.parametrize(("given", "days"), [("30d", 30), ("12h", 0.5)])
def test_expires_from_now(shell: Shell, given: str, days: float) -> None:
    shell.create("alice", "--expires", given)
    at = time.strftime("%Y-%m-%dT%H:%M", time.gmtime(time.time() + days * DAY))
    early = time.strftime("%Y-%m-%dT%H:%M", time.gmtime(time.time() + days * DAY - 60))
    assert shell.keys()[0]["expires_at"][:16] in (at, early)


def test_what_is_refused(shell: Shell) -> None:
    for options, words in (
        (["--limit", "nan"], "`limit` must be dollars"),
        (["--limit", "-1"], "`limit` must be dollars"),
        (["--rpm", "0"], "`rpm` must be a whole number"),
        (["--expires", "2020-01-01"], "`expires_at` is in the past"),
        (["--expires", "soon"], "`expires_at` must be a moment"),
        (["--provider", "oof"], 'did you mean "off"?'),
        (["--model", ""], "`allowed_models` must be a list"),
    ):
        assert words in shell.fails("keys", "create", "x", *options)
    assert "`name` must be" in shell.fails("keys", "create", "")
    assert shell.keys() == []


# ---- the others


def test_list(shell: Shell) -> None:
    shell.create("alice", "--limit", "5", "--limit-reset", "weekly")
    shell.create("a much longer name", "--management")
    shell.create("gone", "--expires", "2999-01-01")
    shell.ok("keys", "disable", "gone")
    head, alice, longer = shell.ok("keys", "list").splitlines()

    assert head.split()[:3] == ["HASH", "NAME", "KEY"]
    assert alice.split()[0] == shell.keys()[0]["hash"][:12]
    for word in ("alice", "rtr_live_", "good", "5.0000 weekly", "never"):
        assert word in alice
    assert "manages" in longer
    assert head.index("KEY") == alice.index("rtr_live_") == longer.index("rtr_mgmt_")
    everything = shell.ok("keys", "list", "--include-disabled")
    assert "disabled" in everything and "2999-01-01T00:00Z" in everything
    assert len(json.loads(shell.ok("keys", "list", "--json"))["data"]) == 2


def test_disable_enable_delete(shell: Shell) -> None:
    """By hash, by how it begins, by name, by the key itself."""
    key = shell.create("alice")
    hash = shell.keys()[0]["hash"]
    for command, given, disabled in (
        ("disable", hash, True),
        ("enable", hash[:4], False),
        ("disable", "alice", True),
        ("enable", key, False),
    ):
        assert f"alice (rtr_live_{key[9:11]}…" in shell.ok("keys", command, given)
        assert shell.keys()[0]["disabled"] is disabled
    assert "is deleted" in shell.ok("keys", "delete", hash)
    assert shell.keys() == []


def test_which_key_is_meant(shell: Shell) -> None:
    key = shell.create("twin")
    shell.create("twin")
    hash = shell.keys()[0]["hash"]

    said = shell.fails("keys", "delete", "twin")
    assert "2 keys are called so" in said and hash[:12] in said
    for unknown in ("nobody", hash[:3], "", hash + "0", key + "x", "rtr_live_", "*", "%"):
        said = shell.fails("keys", "delete", unknown)
        assert "no key has this hash or name" in said
        assert unknown not in said or len(unknown) < 4
    assert len(shell.keys()) == 2
    shell.create(hash)  # whatever others are named, a hash is a hash
    assert "twin" in shell.ok("keys", "delete", hash)


def test_a_store_in_memory(shell: Shell, folder: Path) -> None:
    (folder / "router.yaml").write_text("store: 'memory:'")
    for command in (["keys", "create", "x"], ["keys", "list"], ["usage"]):
        assert "memory: is in the server alone" in shell.fails(*command)


def test_nothing_is_made_where_nothing_is(shell: Shell, folder: Path) -> None:
    for command in (["keys", "list"], ["keys", "delete", "alice"], ["usage"]):
        said = shell.fails(*command)
        assert f"there is no file {folder}/keys.db yet" in said
    assert [each.name for each in folder.iterdir()] == ["router.yaml"]


def test_another_secret_is_noticed(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    """A key made with it would be dead; what needs no secret works all the same."""
    shell.create("alice")
    monkeypatch.setenv("ROUTEUR_SECRET", "another secret that is long enough".replace(" ", "-"))

    assert "another secret" in shell.fails("keys", "create", "bob")
    shell.ok("keys", "delete", "alice")
    assert "another secret" in shell.fails("keys", "create", "bob")


def test_a_corrupt_store(shell: Shell, folder: Path) -> None:
    (folder / "keys.db").write_bytes(b"no database" * 100)
    (folder / "keys.db").chmod(0o600)
    for command in (["keys", "create", "x"], ["keys", "list"], ["usage"]):
        assert "keys.db is corrupt" in shell.fails(*command)


def test_a_file_that_is_named(shell: Shell, folder: Path) -> None:
    (folder / "other.yaml").write_text("store: sqlite:other.db")
    shell.create("alice", "-c", "other.yaml")

    assert "alice" in shell.ok("keys", "list", "-c", "other.yaml")
    assert shell.fails("keys", "list")
    assert (
        shell.fails("keys", "list", "-c", "none.yaml") == "none.yaml: No such file or directory\n"
    )


def test_no_key_is_said_again(shell: Shell, folder: Path) -> None:
    """Nor is it in a file."""
    keys = [shell.create("alice"), shell.create("op", "--management")]
    shell.ok("keys", "list", "--json")
    shell.ok("keys", "disable", keys[0])
    shell("keys", "delete", keys[0] + "x")
    shell("keys", "create", "x", "--provider", "none")
    text = "".join(shell.said).encode() + b"".join(f.read_bytes() for f in folder.iterdir())

    for key in keys:
        assert key[9:].encode() not in text
    secret = (folder / SECRET_FILE).read_text().strip()
    assert secret not in "".join(shell.said)
    assert secret.encode() not in (folder / "keys.db").read_bytes()


# ---- usage

NOW = int(time.time())


async def spend(*entries: Any) -> None:
    store = SqliteStore("a", Path("keys.db"))
    await store.open()
    await store.settle(entries)
    await store.leave("a")
    await store.close()


def used(id: str, at: float = NOW, micro: int | None = CENT, **more: str) -> Any:
    cost = charge(micro, tokens=tokens(input=100, output=20), **more)
    return done(id, cost, key="master", at=at, reserved=False)


def test_usage(shell: Shell) -> None:
    asyncio.run(
        spend(
            used("1"),
            used("2", model="gpt-5"),
            used("3", provider="b", model="m", micro=None),
            used("4", provider="b", model="n"),
            used("5", at=NOW - 40 * DAY),
        )
    )
    rows = [line.split() for line in shell.ok("usage").splitlines()]
    assert rows[0] == ["PROVIDER", "MODEL", "REQUESTS", "INPUT", "OUTPUT", "COST", "$"]
    assert rows[1:] == [
        ["b", "m", "1", "100", "20", "unknown"],
        ["b", "n", "1", "100", "20", "0.0100"],
        ["openai", "gpt-4o", "1", "100", "20", "0.0100"],
        ["openai", "gpt-5", "1", "100", "20", "0.0100"],
        ["total", "4", "400", "80", "0.0300+"],
        "+ and calls whose price is unknown: 1".split(),
    ]
    rows = [line.split() for line in shell.ok("usage", "--by", "provider").splitlines()]
    assert rows[1:4] == [
        ["b", "2", "200", "40", "0.0100+"],
        ["openai", "2", "200", "40", "0.0200"],
        ["total", "4", "400", "80", "0.0300+"],
    ]
    rows = [line.split() for line in shell.ok("usage", "--by", "day", "--days", "60").splitlines()]
    assert [row[1] for row in rows[1:4]] == ["1", "4", "5"]
    assert json.loads(shell.ok("usage", "--json"))["total_requests"] == 4
    by_day = json.loads(shell.ok("usage", "--json", "--by", "day"))
    assert [point["requests"] for point in by_day["data_points"]] == [4]
    since = shell.ok("usage", "--since", str(NOW - 41 * DAY), "--until", str(NOW - DAY))
    assert since.splitlines()[-1].split()[1] == "1"


def test_usage_of_nothing(shell: Shell) -> None:
    shell.create("alice")
    assert shell.ok("usage").splitlines()[-1].split() == ["total", "0", "0", "0", "0.0000"]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--days", "0"], "--days must be 1 or more"),
        (["--days", "5", "--since", "2026-01-01"], "--days goes without"),
        (["--since", "soon"], "`--since` must be a moment"),
        (["--since", "2026-01-02", "--until", "2026-01-02"], "--since must be before"),
    ],
)
def test_usage_refusals(shell: Shell, options: list[str], words: str) -> None:
    shell.create("alice")
    assert words in shell.fails("usage", *options)


def test_days_beyond_all_time(shell: Shell) -> None:
    shell.create("alice")
    assert "total" in shell.ok("usage", "--days", "9999999999")


# ---- beside a running server


def statuses(port: int, key: str, count: int = 6) -> set[int]:
    """Of chats on so many connections: with several workers, of several of them."""
    found = set()
    for _ in range(count):
        with Connection(port) as connection:
            headers = {"Content-Type": "application/json", "Authorization": f"Bearer {key}"}
            connection.request("POST", "/v1/chat/completions", ECHO, headers)
            found.add(connection.getresponse().status)
    return found


def become(port: int, key: str, *wanted: int) -> None:
    """Waits until these are the answers everywhere."""
    deadline = time.monotonic() + PATIENCE
    while not (found := statuses(port, key)) <= {*wanted}:
        assert time.monotonic() < deadline, found


def test_while_the_server_runs(shell: Shell, folder: Path) -> None:
    """What a command changes is so in every worker a moment later."""
    (folder / "router.yaml").write_text(FILE.replace("port: 0", "port: 0, workers: 2"))
    with Program(cwd=folder, ROUTEUR_MASTER_KEY="") as program:
        port = program.port
        program.said("serves on", 2)
        key = shell.create("alice")
        assert PREFIXES["regular"] in key
        become(port, key, 200)
        shell.ok("keys", "disable", "alice")
        become(port, key, 403)
        shell.ok("keys", "enable", "alice")
        become(port, key, 200)
        shell.ok("keys", "delete", "alice")
        become(port, key, 401, 429)  # too many wrong keys
        assert "echo" in shell.ok("usage")


@pytest.mark.parametrize("workers", ["1", pytest.param("2", marks=pytest.mark.full)])
def test_starting_with_a_corrupt_store(folder: Path, workers: str) -> None:
    """Refused, unless it is to be replaced: then it is kept aside."""
    (folder / "keys.db").write_bytes(b"no database" * 100)
    options = ["--workers", workers]
    with Program(*options, cwd=folder) as program:
        assert program.ended() == 2
        assert len(program.err) == 1 and "is corrupt" in program.err[0]
    with Program(*options, "--replace-corrupt-store", cwd=folder) as program:
        assert program.port
        aside = [each for each in folder.iterdir() if ".corrupt-" in each.name]
        assert [each.read_bytes() for each in aside] == [b"no database" * 100]


@pytest.mark.parametrize("workers", ["1", "2"])
def test_starting_with_a_secret_of_everybody(folder: Path, workers: str) -> None:
    (folder / SECRET_FILE).write_text("s" * 64)
    (folder / SECRET_FILE).chmod(0o644)
    with Program("--workers", workers, cwd=folder) as program:
        assert program.ended() == 2
        assert len(program.err) == 1 and "others can read" in program.err[0]
