"""What the manual and router.yaml say is so: blocks are loaded and run, names are looked up."""

from __future__ import annotations

import importlib.util
import json
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import aiohttp
import pytest
import yaml

import routeur
from routeur import errors
from routeur.__main__ import _parser
from routeur.addressing import spoken, unfit
from routeur.app import Router
from routeur.config import parse
from routeur.conversions import COUNTERS
from routeur.metrics import Metrics, render
from routeur.presets import presets
from routeur.providers import Provider
from tests.clients import HOME, echoing, run

README = (HOME / "README.md").read_text()
REFERENCE = (HOME / "router.yaml").read_text()
SOURCE = {path: path.read_text() for path in sorted((HOME / "routeur").rglob("*.py"))}
KEYS = {name: "sk-of-a-test" for preset in presets().values() for name in preset.keys()}


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


CURL = [text for text in blocks("sh") if text.startswith("curl")]


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
    variables = {name: f"sk-of-a-test-{name}" for name in re.findall(r"\$\{(\w+)", text)}
    config = parse(text, "router.yaml", KEYS | variables)

    assert [rule.name for rule in config.rules] == ["pictures", "trial"]
    assert config.off == {}
    named = set(re.findall(r"^  # ?([a-z]+):", REFERENCE, re.MULTILINE))
    assert {"ollama", "vllm", "example", "azure", "vertex", "bedrock"} <= named
    assert named <= set(config.providers)
    assert set(config.aliases) == {"fast"}


# ── commands and clients


@pytest.mark.parametrize("text", blocks("python"))
async def test_python_block(text: str) -> None:
    async with echoing() as url:
        text = text.replace("http://127.0.0.1:8080", url)
        assert await run(sys.executable, "-c", text) == "Hello!\n"


@pytest.mark.skipif(not shutil.which("curl"), reason="needs curl")
@pytest.mark.parametrize("text", [text for text in CURL if "/api/" not in text])
async def test_curl_block(text: str) -> None:
    async with echoing() as url:
        said = await run("sh", "-c", text.replace("http://127.0.0.1:8080", url))

    assert "".join(re.findall(r'"content":"([^"]+)"', said)) == "Say hello in three languages."


@pytest.mark.skipif(not shutil.which("curl"), reason="needs curl")
async def test_bans() -> None:
    """The commands ban a credential of the first example, show that, and end it."""
    first = section("When a provider fails").partition("```yaml\n")[2].partition("```")[0]
    variables = {name: "sk-of-a-test" for name in re.findall(r"\$\{(\w+)", first)}
    key = "secret-of-managers"
    own = {"ROUTEUR_MANAGEMENT_KEY": key, "ROUTEUR_MASTER_KEY": "secret-of-clients"}
    text = first + "server: {port: 0, drain: 1s}\nlog: {level: error}\n"
    router = Router(parse(text, "README.md", KEYS | variables | own))
    await router.start()
    commands = [text for text in CURL if "/api/" in text]
    try:
        url = f"http://127.0.0.1:{router.port}"
        answers = [
            await run(
                "sh",
                "-c",
                command.replace("http://127.0.0.1:8080", url).replace("curl", "curl -s", 1),
                ROUTEUR_MANAGEMENT_KEY=key,
            )
            for command in commands
        ]
    finally:
        await router.stop()
    shown = json.loads(blocks("json")[0])
    banned, bans, unbanned = map(json.loads, answers)
    now = {name: banned[name] for name in ("since", "until")}

    assert banned == shown | now
    assert bans == {"bans": [banned]}
    assert unbanned == {"credential": "azure.eu", "model": "gpt-4o", "removed": True}


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
    """The table names what an answer has, or may have; the text names no other header of ours."""
    ours = re.compile("X-R|Server-T")
    async with echoing() as url, aiohttp.ClientSession() as session:
        asked = {"model": "echo", "messages": [{"role": "user", "content": "hi"}]}
        async with session.post(f"{url}/v1/chat/completions", json=asked) as answer:
            got = {name.lower() for name in answer.headers if ours.match(name)}
            await answer.read()
    named = {name.lower() for name in first_cells(section("Observing")) if ours.match(name)}
    spoken = {f'"{name}"'.lower() for name in re.findall(r"`(Routeur-[A-Za-z-]+)", README)}
    source = "".join(SOURCE.values()).lower()

    assert named - got == {"x-routeur-trace-dropped", "x-routeur-trace-estimated"}
    assert got <= named
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


def test_losses() -> None:
    """The table is what the code says today; if not: python tools/losses.py README.md."""
    place = HOME / "tools/losses.py"
    spec = importlib.util.spec_from_file_location("losses", place)
    assert spec is not None and spec.loader is not None
    losses = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(losses)
    found = README.partition(losses.START)[2].partition(losses.END)[0]

    assert found.strip() == losses.table()


def test_models_of_losses() -> None:
    """The text names the models that the table is about."""
    source = (HOME / "tools/losses.py").read_text()
    named = re.findall(r"`([a-z]+-[a-z0-9.-]+)`", section("What is lost").partition("<!--")[0])

    assert {"gpt-5", "gpt-4o", "claude-sonnet-4-5", "gemini-2.5-flash"} <= {*named}
    assert [name for name in named if name not in source] == []


def test_who_speaks_with_whom() -> None:
    """The table says of each kind of call what the code says."""
    text = section("Translation").partition("\n| client")[2].partition("\n\n")[0]
    table = [row.split(" | ") for row in text.splitlines()[2:]]
    kinds = {
        "Chat Completions": ("openai", "openai_chat", "answer"),
        "Responses": ("openai", "openai_responses", "answer"),
        "Anthropic Messages": ("anthropic", "anthropic", "answer"),
        "Gemini `generateContent`": ("gemini", "gemini", "answer"),
        "OpenAI embeddings": ("openai", "openai_chat", "embeddings"),
        "Gemini embeddings": ("gemini", "gemini", "embeddings"),
        "Anthropic `count_tokens`": ("anthropic", "anthropic", "count"),
        "Gemini `countTokens`": ("gemini", "gemini", "count"),
    }
    for name, *cells in table[:-1]:
        family, format, purpose = kinds.pop(name.strip("| "))
        for dialect, cell in zip(("openai", "anthropic", "gemini", "bedrock"), cells, strict=True):
            provider = Provider("p", dialect, ())
            there = spoken(provider, "m", format, purpose)
            if unfit(provider, "m", family, format, purpose):
                word = "no"
            elif there == format:
                word = "copied"
            else:
                counts = purpose != "count" or there in COUNTERS
                word = "translated" if counts else "estimated"
            assert cell.strip("| ").startswith(word), (name, dialect)
    assert not kinds


def test_files() -> None:
    for name in re.findall(r"`((?:routeur|tests|tools|examples)/[\w./]*)`", README):
        assert (HOME / name).exists(), name


def test_map_of_modules() -> None:
    """The package's docstring names every module and package, each once; of a dialect no parts."""
    packages = {path.parent for path in SOURCE} - {HOME / "routeur"}
    dialects = {path for path in packages if (path / "requests.py").exists()}
    modules = [path for path in SOURCE if path.parent not in dialects and path.stem != "__init__"]
    known = [f"{path.name}/" for path in packages] + [path.name for path in modules]
    named = re.findall(r"(?<![\w/])\w+(?:\.py|/)(?=\s)", routeur.__doc__ or "")
    assert sorted(named) == sorted(known)


def test_help_names_the_default_file() -> None:
    assert "router.yaml" in _parser().format_help()
