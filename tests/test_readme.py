"""What the manual and router.yaml say is so: blocks are loaded and run, names are looked up."""

from __future__ import annotations

import re
import shutil
import sys
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path

import aiohttp
import pytest
import yaml

import routeur
from routeur import errors
from routeur.__main__ import _parser
from routeur.config import parse
from routeur.metrics import Metrics, render
from routeur.presets import presets
from tests.clients import HOME, echoing, run

README = (HOME / "README.md").read_text()
REFERENCE = (HOME / "router.yaml").read_text()
SOURCE = {path: path.read_text() for path in sorted((HOME / "routeur").rglob("*.py"))}
KEYS = {name: "sk-of-a-test" for preset in presets().values() for name in preset.keys()}


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


def section(title: str) -> str:
    """The text below a heading, up to the next one of its level."""
    level, rest = re.split(rf"^(#+) {re.escape(title)}$", README, flags=re.MULTILINE)[1:]
    return re.split(rf"^{level} ", rest, flags=re.MULTILINE)[0]


def first_cells(text: str) -> Iterator[str]:
    """The code in the first cells of a table's rows."""
    for row in re.findall(r"^\| (`[^|]*?) \|", text, re.MULTILINE):
        yield from re.findall(r"`([^`]+)`", row)


# ── configurations


@pytest.mark.parametrize("text", blocks("yaml"))
def test_yaml_block(text: str) -> None:
    """All of it is in effect today."""
    variables = {name: "sk-of-a-test" for name in re.findall(r"\$\{(\w+)", text)}

    assert parse(text, "README.md", KEYS | variables).notices == ()


def test_reference_as_it_stands() -> None:
    config = parse(REFERENCE, "router.yaml", {})

    assert list(config.providers) == ["echo"]
    assert all(notice.startswith("provider ") for notice in config.notices)


def test_reference_says_the_defaults() -> None:
    """With its keys set, what the file spells out changes nothing."""
    given = parse(REFERENCE, "router.yaml", KEYS)
    providers = yaml.safe_dump({"providers": yaml.safe_load(REFERENCE)["providers"]})
    plain = parse(providers, "router.yaml", KEYS)

    assert given == plain
    assert given.notices == ()


def test_comments_of_reference(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The settings that are commented out are settings, too."""
    monkeypatch.chdir(tmp_path)
    for name in ("ca.pem", "client.pem", "client.key", "key.json"):
        (tmp_path / name).touch()
    text = REFERENCE.replace("aliases: {}", "aliases:").replace("rules: []", "rules:")
    text = re.sub(r"^( *)# ?( *(?:- )?(?:[{]?[a-z_0-9-]+:(?: .*)?))$", r"\1\2", text, flags=re.M)
    variables = {name: "sk-of-a-test" for name in re.findall(r"\$\{(\w+)", text)}
    config = parse(text, "router.yaml", KEYS | variables)

    assert [rule.name for rule in config.rules] == ["pictures", "trial"]
    assert config.off == {}
    assert {"ollama", "vllm", "example", "azure", "vertex", "bedrock"} <= set(config.providers)
    assert set(config.aliases) == {"fast"}


# ── commands and clients


@pytest.mark.parametrize("text", blocks("python"))
async def test_python_block(text: str) -> None:
    async with echoing() as url:
        text = text.replace("http://127.0.0.1:8080", url)
        assert await run(sys.executable, "-c", text) == "Hello!\n"


@pytest.mark.skipif(not shutil.which("curl"), reason="needs curl")
@pytest.mark.parametrize("text", [text for text in blocks("sh") if text.startswith("curl")])
async def test_curl_block(text: str) -> None:
    async with echoing() as url:
        said = await run("sh", "-c", text.replace("http://127.0.0.1:8080", url))

    assert "".join(re.findall(r'"content":"([^"]+)"', said)) == "Say hello in three languages."


def test_ci_runs_the_second_block() -> None:
    first, second = blocks("sh")[:2]

    assert first.splitlines()[-1] == ".venv/bin/routeur"
    assert ".venv/bin/pytest" in second
    assert second.splitlines()[1] not in (HOME / ".ci/run").read_text()  # it takes it from here


async def test_commands() -> None:
    """Each option in the table is one of that command, and the reverse."""
    for row in re.findall(r"^\| `routeur .*", section("Running"), re.MULTILINE):
        command = re.findall(r"(serve|check|explain)", row)[-1]
        said = await run(sys.executable, "-m", "routeur", command, "--help")
        known = set(re.findall(r"--[a-z]+", said)) - {"--help", "--config"}
        assert set(re.findall(r"--[a-z]+", row)) == known, command


# ── names


async def test_headers() -> None:
    """The table names what an answer has; the text names no other header of ours."""
    ours = re.compile("X-R|Server-T")
    async with echoing() as url, aiohttp.ClientSession() as session:
        asked = {"model": "echo", "messages": [{"role": "user", "content": "hi"}]}
        async with session.post(f"{url}/v1/chat/completions", json=asked) as answer:
            got = {name.lower() for name in answer.headers if ours.match(name)}
            await answer.read()
    named = {name.lower() for name in first_cells(section("Observing")) if ours.match(name)}
    spoken = {f'"{name}"'.lower() for name in re.findall(r"`(Routeur-[A-Za-z-]+)", README)}
    source = "".join(SOURCE.values()).lower()

    assert named == got
    assert [name for name in spoken if name not in source] == []


async def test_paths() -> None:
    """Each page in the table is there, without a key."""
    named = [name for name in first_cells(section("Observing")) if re.fullmatch(r"/[a-z/]+", name)]
    async with echoing() as url, aiohttp.ClientSession() as session:
        for path in [*named, "/vhealth"]:
            async with session.get(url + path) as answer:
                assert answer.status == 200, path

    assert len(named) == 4


def test_metrics() -> None:
    body, _ = render(Metrics({}).snapshot())
    shown = set(re.findall(r"# TYPE (\w+)", body.decode()))

    assert set(re.findall(r"`(routeur_\w+)", README)) == shown


def test_error_codes() -> None:
    """The table has the codes that the source has, each with its status."""
    source = "".join(SOURCE.values())
    raised = set(re.findall(r'\bcode ?= ?"(\w+)"', source))
    table = re.findall(r"^\| (\d{3}) \| `(\w+)` \| (.*?) \|", section("Errors"), re.MULTILINE)
    named = {code for _, _, codes in table for code in re.findall(r"\w+", codes)}
    kinds = [each for each in vars(errors).values() if hasattr(each, "status")]

    assert raised - {errors.PaymentRequired.code} <= named
    assert named <= raised | {"headers_too_large", "request_timeout", "internal_error"}
    for status, kind, codes in table:
        for each in kinds:
            if each.code in re.findall(r"\w+", codes):
                assert (str(each.status), each.type) == (status, kind)


def test_settings() -> None:
    """Settings named as `section.name` are in the reference."""
    reference = yaml.safe_load(REFERENCE)
    sections = "|".join(name for name, value in reference.items() if isinstance(value, dict))
    named = re.findall(rf"`({sections})\.(\w+)`", README)

    assert len(named) > 5
    assert [name for name in named if name[1] not in reference[name[0]]] == []


def test_variables() -> None:
    """Key variables are those of presets; routeur's own are in the reference."""
    named = set(re.findall(r"\b([A-Z]+(?:_[A-Z]+)*_(?:KEY|SECRET))\b", README))

    assert [name for name in named if name not in KEYS and name not in REFERENCE] == [
        "ACME_API_KEY"
    ]


@pytest.mark.parametrize("file", ["README.md", "CHANGELOG.md", "examples/README.md"])
def test_links(file: str) -> None:
    path = HOME / file
    headings = {
        re.sub(r"[^\w -]", "", title).strip().lower().replace(" ", "-")
        for title in re.findall(r"^#+ (.+)$", path.read_text(), re.MULTILINE)
    }
    for link in re.findall(r"\]\(([^)]+)\)", path.read_text()):
        if link.startswith("#"):
            assert link[1:] in headings, link
        elif not link.startswith("https://"):
            assert (path.parent / link).exists(), link


def test_files() -> None:
    for name in re.findall(r"`((?:routeur|tests|tools|examples)/[\w./]*)`", README):
        assert (HOME / name).exists(), name


def test_map_of_modules() -> None:
    """The package's docstring names every module, each once; `x_*.py` are the parts of one."""
    known = {path.relative_to(HOME / "routeur").as_posix() for path in SOURCE}
    known -= {"__init__.py", "dialects/__init__.py"}
    named = re.findall(r"(?<![\w/])\w+\*?\.py", routeur.__doc__ or "")
    meant = [name for name in known for each in named if fnmatch(name.rpartition("/")[2], each)]
    assert sorted(meant) == sorted(known)
    assert [each for each in named if not any(fnmatch(name, f"*{each}") for name in known)] == []


def test_help_names_the_default_file() -> None:
    assert "router.yaml" in _parser().format_help()
