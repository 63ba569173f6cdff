"""`routeur models`: what a configuration has to offer, for people and as JSON."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import routeur
from routeur import columns, inventory
from routeur.__main__ import main
from routeur.inventory import NOTE

FILE = """
providers:
  openai: {preset: openai, api_key: sk-of-a-test, models: [gpt-4o, o3, "gpt-*"]}
  anthropic: {preset: anthropic}
  bedrock: off
  local: {dialect: openai, base_url: "http://10.1.2.3:9/v1"}
  mine:
    dialect: openai
    base_url: http://10.1.2.3:9/v1
    models:
      gpt-m: {id: deployed-7, price: {input: 1, over: {1000: {input: 2}}}, has: [], quality: 0.5}
aliases: {fast: [openai/gpt-4o, mine/gpt-m], any: []}
rules:
  - {name: parts, match: {model: [fast, new]}, split: {openai/gpt-4o: 1, mine/gpt-m: 2}}
  - {name: seen, match: {has: image}, to: mine/gpt-m, priority: 5}
  - {name: cheap, match: {model: fast}, strategy: price}
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ANTHROPIC_API_KEY", raising=False)
    (tmp_path / "router.yaml").write_text(FILE)


@pytest.fixture
def said(capsys: pytest.CaptureFixture[str]) -> Any:
    def say(*arguments: str) -> str:
        assert main(["models", *arguments]) == 0
        out, err = capsys.readouterr()
        assert err == "" and "sk-of-a-test" not in out and "10.1.2.3" not in out
        return out

    return say


def names(found: dict[str, Any], kind: str = "models") -> list[str]:
    return [each["name"] for each in found[kind]]


def test_tables(said: Any) -> None:
    models, aliases, rules, note = said().split("\n\n")
    lines = models.splitlines()
    assert lines[0].split("  ")[0] == "MODEL" and "IN $" in lines[0]
    rows = {line.split()[0]: line.split()[1:] for line in lines[1:]}
    assert list(rows) == [
        "openai/gpt-4o",
        "openai/o3",
        "mine/gpt-m",
        "echo/echo",
        "openai/gpt-*",
        "local/*",
        "anthropic",
        "bedrock",
    ]
    expected = "2.5 1.25 10 128000 16384 0.22 file image json tools on".split()
    assert rows["openai/gpt-4o"][:5] == expected[:5] and rows["openai/gpt-4o"][6:] == expected[6:]
    assert rows["mine/gpt-m"] == ["1+", "-", "-", "-", "-", "0.5", "text", "on"]
    assert rows["anthropic"][7:] == "off: ANTHROPIC_API_KEY is not set".split()
    assert rows["bedrock"][7:] == "off: switched off in the configuration".split()
    assert [line.split(maxsplit=1) for line in aliases.splitlines()[1:]] == [
        ["auto", "auto chooses"],
        ["fast", "openai/gpt-4o mine/gpt-m"],
        ["any", "auto chooses"],
    ]
    assert [line.split(maxsplit=2) for line in rules.splitlines()[1:]] == [
        ["seen", "5", "any alias  mine/gpt-m"],
        ["parts", "0", "fast new   openai/gpt-4o mine/gpt-m"],
        ["cheap", "0", "fast       those of the alias"],
    ]
    assert note == f"{NOTE}\n"


def test_json(said: Any) -> None:
    found = json.loads(said("--json"))
    assert list(found) == ["models", "patterns", "off", "aliases", "rules", "note"]
    (mine,) = [each for each in found["models"] if each["provider"] == "mine"]
    assert mine == {
        "name": "mine/gpt-m",
        "provider": "mine",
        "id": "deployed-7",
        "price": {"input": 1.0, "over": {"1000": {"input": 2.0}}},
        "context": None,
        "input": None,
        "output": None,
        "abilities": [],
        "quality": 0.5,
        "released": None,
        "state": "on",
    }
    assert names(found, "patterns") == ["openai/gpt-*", "local/*"]
    assert found["rules"][1] == {
        "name": "parts",
        "priority": 0,
        "model": ["fast", "new"],
        "targets": ["openai/gpt-4o", "mine/gpt-m"],
    }


@pytest.mark.parametrize(
    ("pattern", "models"),
    [
        ("gpt", ["openai/gpt-4o", "mine/gpt-m"]),
        ("GPT-4", ["openai/gpt-4o"]),
        ("gpt-*", ["openai/gpt-4o", "mine/gpt-m"]),
        ("openai/*", ["openai/gpt-4o", "openai/o3"]),
        ("[om]*", ["openai/gpt-4o", "openai/o3", "mine/gpt-m"]),
        ("nothing", []),
    ],
)
def test_a_pattern(said: Any, pattern: str, models: list[str]) -> None:
    assert names(json.loads(said("--json", pattern))) == models


def test_a_pattern_finds_aliases_and_rules_and_what_is_off(said: Any) -> None:
    assert names(json.loads(said("--json", "fast")), "aliases") == ["fast"]
    assert names(json.loads(said("--json", "cheap")), "rules") == ["cheap"]
    assert names(json.loads(said("--json", "anthropic")), "off") == ["anthropic"]
    assert said("cheap").splitlines()[0].startswith("RULE")
    assert said("nothing-at-all") == "Nothing has such a name.\n"


def test_without_a_file(said: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("router.yaml").unlink()
    for name in [name for name in os.environ if name.endswith(("_KEY", "_TOKEN", "_PAT"))]:
        monkeypatch.delenv(name)
    assert said().splitlines()[1:3] == [
        "echo/echo     -         -      -        -       -        -  -      on",
        "echo/*        -         -      -        -       -        -  -      on",
    ]
    monkeypatch.setenv("MISTRAL_API_KEY", "sk-of-a-test")
    found = json.loads(said("--json", "mistral/*"))
    assert len(found["models"]) > 10 and names(found, "patterns") == ["mistral/*"]


def test_what_is_wrong_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    Path("router.yaml").write_text("providers: {x: {dialect: openai}}")
    assert main(["models"]) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1 and "router.yaml:1" in err
    assert main(["models", "-c", "gone.yaml"]) == 2


def test_help_says_what_it_cannot_know(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["models", "--help"])
    out = " ".join(capsys.readouterr().out.split())
    assert "known to the running server alone" in out and "PATTERN" in out and "--json" in out
    with pytest.raises(SystemExit):
        main(["--help"])
    assert "routeur models" in capsys.readouterr().out


def test_a_narrow_terminal_cuts_words_before_names(
    said: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inventory, "terminal", lambda: 90)
    lines = said().splitlines()
    assert max(map(len, lines)) == 90
    assert any(line.startswith("openai/gpt-4o ") and "…" in line for line in lines)


def test_on_a_real_terminal() -> None:
    """As people see it: by the width that the terminal has."""
    parent, child = pty.openpty()
    environ = {k: v for k, v in os.environ.items() if k != "COLUMNS"} | {"COLUMNS": "80"}
    environ["PYTHONPATH"] = str(Path(routeur.__file__).parents[1])
    command = [sys.executable, "-m", "routeur", "models"]
    with subprocess.Popen(command, stdout=child, env=environ) as program:
        os.close(child)
        said = b""
        while b"alone." not in said:
            said += os.read(parent, 65536)
        assert program.wait(10) == 0
    os.close(parent)
    lines = said.decode().splitlines()
    first = [line for line in lines if line.startswith(("MODEL", "openai/"))]
    assert first and max(map(len, first)) <= 80
    assert columns.MORE in said.decode()
