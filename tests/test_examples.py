"""The examples do what they say: clients are run, what starts routeur is compared with routeur."""

from __future__ import annotations

import configparser
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from routeur.__main__ import _parser
from routeur.config import Server, parse
from routeur.presets import presets
from tests.clients import HOME, echoing, run
from tests.conftest import MakeRouter
from tests.fake import Upstream
from tests.targets import ANTHROPIC, CHAT, GEMINI, MODELS, WHOLES, answers, settings

EXAMPLES = HOME / "examples"
SAID = "Say hello in three languages."
READY = re.compile(r"http://127\.0\.0\.1:(\d+)/health/readiness")
DEFAULT = Server()

needs_curl = pytest.mark.skipif(not shutil.which("curl"), reason="needs curl")


def node_version() -> int:
    node = shutil.which("node")
    if node is None:
        return 0
    said = subprocess.run([node, "--version"], capture_output=True, text=True, check=True)
    return int(said.stdout.lstrip("v").partition(".")[0])


def text(name: str) -> str:
    return (EXAMPLES / name).read_text()


def options(arguments: list[str]) -> dict[str, Any]:
    """What routeur understands of a command line; an unknown option ends the test."""
    return vars(_parser().parse_args(["serve", *arguments]))


# ── clients


@pytest.mark.parametrize("name", ["openai_chat.py", "anthropic_messages.py", "google_genai.py"])
async def test_sdk(name: str) -> None:
    async with echoing() as url:
        assert await run(sys.executable, EXAMPLES / name, ROUTEUR_URL=url) == f"{SAID}\n"


async def test_websocket() -> None:
    async with echoing() as url:
        said = await run(sys.executable, EXAMPLES / "responses_websocket.py", ROUTEUR_URL=url)

    assert said == f"{SAID}\nAnd in a fourth?\n"


async def test_any_client_with_echo() -> None:
    async with echoing() as url:
        said = await run(sys.executable, EXAMPLES / "any_client_any_provider.py", ROUTEUR_URL=url)

    assert said == f"echo: {SAID} (nothing was dropped)\n"


async def test_any_client_any_provider(make_router: MakeRouter, upstream: Upstream) -> None:
    """One package, three providers, each of which answers in its own dialect."""
    for name in (CHAT, ANTHROPIC, GEMINI):
        answers(upstream, WHOLES[name])
    router = await make_router(**settings(upstream.url))
    models = [MODELS[name] for name in (CHAT, ANTHROPIC, GEMINI)]
    program = EXAMPLES / "any_client_any_provider.py"
    said = await run(sys.executable, program, ROUTEUR_URL=router.url, MODEL=" ".join(models))

    assert re.findall(r"^([a-z0-9.-]+):|\((\w+) was dropped\)$", said, re.MULTILINE) == [
        (models[0], ""),
        ("", "nothing"),
        (models[1], ""),
        ("", "seed"),
        (models[2], ""),
        ("", "nothing"),
    ]
    assert [request.path.partition("?")[0] for request in upstream.requests] == [
        "/v1/chat/completions",
        "/v1/messages",
        f"/v1beta/models/{models[2]}:generateContent",
    ]


@pytest.mark.skipif(node_version() < 18, reason="needs node 18 or newer")
async def test_fetch() -> None:
    async with echoing() as url:
        assert await run("node", EXAMPLES / "node_fetch.mjs", ROUTEUR_URL=url) == f"{SAID}\n"


@needs_curl
async def test_curl() -> None:
    async with echoing() as url:
        said = await run("sh", EXAMPLES / "chat.sh", ROUTEUR_URL=url)

    assert "".join(re.findall(r'"content":"([^"]+)"', said)) == SAID
    assert said.rstrip().endswith("data: [DONE]")


async def test_variables_of_clients() -> None:
    """Each takes the address, the key and the model from the variables that the README names."""
    for path in EXAMPLES.iterdir():
        if path.suffix in (".py", ".sh", ".mjs") and path.name != "classifier.py":
            found = {"ROUTEUR_URL", "ROUTEUR_KEY", "MODEL"} - set(
                re.findall(r"\w+", text(path.name))
            )
            assert not found, path.name


def test_readme_lists_every_file() -> None:
    linked = set(re.findall(r"\]\(([^)]+)\)", text("README.md")))

    files = {path.name for path in EXAMPLES.iterdir() if path.is_file()}
    assert linked == files - {"README.md"}


# ── configurations


@pytest.mark.parametrize("name", ["failover.yaml", "bedrock.yaml", "vertex.yaml"])
async def test_configuration(name: str) -> None:
    """With the variables that its first lines name, everything in it is on and has an effect."""
    variables = {word: "sk-of-a-test" for word in re.findall(r"\b([A-Z_]+)=", text(name))}
    said = await run(sys.executable, "-m", "routeur", "check", EXAMPLES / name, **variables)

    assert said.startswith(f"{EXAMPLES / name}: ok")
    assert parse(text(name), name, variables).off == {}


def test_failover() -> None:
    """Each name of one's own has somebody to go on with, and one key is that of the preset."""
    keys = ("OPENAI_API_KEY", "OPENAI_SPARE", "ANTHROPIC_API_KEY")
    config = parse(text("failover.yaml"), "failover.yaml", {name: f"sk-{name}" for name in keys})
    found = {each.name: each for each in config.providers["openai"].credentials}

    assert [key.reveal() for each in found.values() if (key := each.api_key)] == [
        "sk-OPENAI_API_KEY",
        "sk-OPENAI_SPARE",
    ]
    assert len(config.aliases["chat"]) == len(config.rules[0].to) == 2


# ── containers and services


def test_dockerfile() -> None:
    content = text("Dockerfile")
    copied = re.findall(r"^COPY (?!--from)(.+) \S+$", content, re.MULTILINE)

    assert f"EXPOSE {DEFAULT.port}" in content
    assert READY.findall(content) == [str(DEFAULT.port)]
    assert 'ENTRYPOINT ["/opt/routeur/bin/routeur"]' in content
    assert all((HOME / name).exists() for names in copied for name in names.split())


def test_docker_compose() -> None:
    services = yaml.safe_load(text("docker-compose.yaml"))["services"]
    app, router = services["app"], services["routeur"]
    variables = {name for preset in presets().values() for name in preset.keys()}

    assert app["network_mode"] == "service:routeur"
    assert app["environment"]["OPENAI_BASE_URL"] == f"http://127.0.0.1:{DEFAULT.port}/v1"
    assert app["environment"]["ANTHROPIC_BASE_URL"] == f"http://127.0.0.1:{DEFAULT.port}"
    assert set(router["environment"]) <= variables
    assert (EXAMPLES / ".." / router["build"]["dockerfile"]).resolve() == EXAMPLES / "Dockerfile"
    assert seconds(router["stop_grace_period"]) > DEFAULT.drain


@needs_curl
async def test_command_of_docker_compose() -> None:
    """What the stand-in for an app asks is answered."""
    app = yaml.safe_load(text("docker-compose.yaml"))["services"]["app"]
    async with echoing() as url:
        own = f"http://127.0.0.1:{DEFAULT.port}"
        said = await run("curl", *(word.replace(own, url) for word in app["command"]))

    assert "Hello!" in said


def test_kubernetes() -> None:
    found, deployment = yaml.safe_load_all(text("kubernetes-sidecar.yaml"))
    spec = deployment["spec"]["template"]["spec"]
    (router,), (app,) = spec["initContainers"], spec["containers"]
    place = Path(options(router["args"])["config"])
    mounts = {mount["name"]: mount["mountPath"] for mount in router["volumeMounts"]}
    keys = {"OPENAI_API_KEY": "sk-x", "ANTHROPIC_API_KEY": "sk-y"}
    config = parse(found["data"][place.name], place.name, keys)

    assert mounts["routeur"] == str(place.parent)
    assert found["metadata"]["name"] == spec["volumes"][0]["configMap"]["name"]
    assert config.notices == ()
    for probe in ("startupProbe", "readinessProbe"):
        assert READY.findall(router[probe]["exec"]["command"][-1]) == [str(config.server.port)]
    assert app["env"][0]["value"] == f"http://127.0.0.1:{config.server.port}/v1"
    assert spec["terminationGracePeriodSeconds"] > config.server.drain


def test_systemd() -> None:
    unit = configparser.RawConfigParser(strict=False)
    unit.optionxform = str  # type: ignore[assignment]  # keeps capitals
    unit.read_string(text("routeur.service"))
    service = unit["Service"]
    check, serve = (shlex.split(service[name]) for name in ("ExecStartPre", "ExecStart"))

    assert check[:2] == ["/opt/routeur/bin/routeur", "check"]
    assert options(serve[1:])["config"] == Path(check[2])
    assert service["ExecReload"] == "/bin/kill -HUP $MAINPID"
    assert seconds(service["TimeoutStopSec"]) > DEFAULT.drain


def seconds(duration: str) -> float:
    assert duration.endswith("s")
    return float(duration[:-1])
