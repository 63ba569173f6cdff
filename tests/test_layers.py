"""Who may import whom: to the right only, in the order of the list."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

import pytest

import routeur

# The outermost first: a module imports those after it. Modules of one line belong together.
ORDER = """
    __main__
    app explain inventory commands top litellm workers process
    screen terminal
    overview readings
    columns
    front
    own
    express pages admin admin_keys admin_routes admin_usage desk bookkeeping abroad sharing routes
    peers bus watch
    stateful continuation websocket retrieval jobs summaries turns lanes shelf inside
    paths models health outages
    config config_rules config_providers config_models config_clouds config_values presets yamlfile
    proxy payloads realtime turn_passage conversions recorded translated stream asked noting passage
    reasons choosing decision permits attempts routing spending admission
    traced reply answers server lasting log booking traces metrics measure race
    facts multipart
    rules
    words marks score board stickiness verdicts conversation
    matching auto signs names classifier
    standing group bans limits retries
    keys
    call
    recording compaction background responses eventlog
    store
    endpoint addressing rawpredict asking turn_sockets upstream_socket handshake
    body local pool relay upstream framing receiver templates heads frames
    credentials aws google refresh providers catalogue usage calibration
    redaction headers errors
    dialects
    __init__
""".split()

PACKAGES = ("dialects", "litellm", "store")  # their modules may import each other

HOME = Path(routeur.__file__).parent
DIALECTS = HOME / "dialects"
FILES = sorted(HOME.rglob("*.py"))


def module(path: Path) -> str:
    """`rules` for rules.py, `dialects` for all of dialects/."""
    return path.relative_to(HOME).parts[0].removesuffix(".py")


@cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


def imports(tree: ast.Module) -> set[str]:
    """What a file imports of routeur when it runs (for types alone it may look anywhere)."""
    found: set[str] = set()
    for node in tree.body:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports name the whole module: from routeur.x import y"
            names = [alias.name for alias in node.names]
            plain = node.module == "routeur"
            found |= {f"routeur.{name}" for name in names} if plain else {str(node.module)}
    return {name.split(".")[1] for name in found if name.startswith("routeur.")}


@pytest.fixture(params=FILES, ids=lambda path: str(path.relative_to(HOME)))
def path(request: pytest.FixtureRequest) -> Path:
    return request.param


def test_imports_go_to_the_right(path: Path) -> None:
    name = module(path)
    assert name in ORDER, f"routeur/{name} is new: give it a place in ORDER"
    known = imports(parsed(path)) & set(ORDER)
    left = {other for other in known if ORDER.index(other) <= ORDER.index(name)}

    assert left <= ({name} if name in PACKAGES else set())


def test_imports_stand_at_the_top(path: Path) -> None:
    tree = parsed(path)
    everywhere = [node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)]
    inner = [node.lineno for node in everywhere if node not in tree.body]
    allowed = [  # for types alone, or of what need not be installed
        node.lineno
        for block in tree.body
        if isinstance(block, ast.Try)
        or (isinstance(block, ast.If) and ast.unparse(block.test) == "TYPE_CHECKING")
        for node in block.body
    ]

    assert [line for line in inner if line not in allowed] == []


def test_dialects_know_nothing_of_the_rest() -> None:
    for path in FILES:
        if module(path) == "dialects":
            assert imports(parsed(path)) <= {"dialects"}, path


def inner(path: Path) -> set[str]:
    """Which modules of dialects/ a file imports: `anthropic.blocks`, `sse`."""
    found: set[str] = set()
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.ImportFrom) and str(node.module).startswith("routeur.dialects"):
            home = str(node.module).removeprefix("routeur.dialects").lstrip(".")
            for name in (alias.name for alias in node.names):
                part = f"{home}.{name}".lstrip(".")
                is_module = any((DIALECTS / part.replace(".", "/")).parent.glob(f"{name}.py"))
                is_package = (DIALECTS / part.replace(".", "/")).is_dir()
                found.add(part if is_module or is_package else home)
    return found


def test_each_dialect_knows_only_itself() -> None:
    """The light part of Chat Completions serves Responses, too, and its errors are the same."""
    packages = {path.parent.name for path in DIALECTS.glob("*/requests.py")}
    shared = {"openai_chat", "openai_chat.errors"}
    for path in DIALECTS.glob("*/*.py"):
        others = {name for name in inner(path) if name.split(".")[0] in packages}
        others = {name for name in others if name.split(".")[0] != path.parent.name}
        assert others <= (shared if path.parent.name == "openai_responses" else set()), path


def test_what_every_start_reads_is_light() -> None:
    """Paths and facts need no translator."""
    for path in (DIALECTS / "__init__.py", *DIALECTS.glob("*/__init__.py")):
        assert not any("." in name for name in inner(path)), path


def test_only_the_outermost_know_the_configuration() -> None:
    users = {module(path) for path in FILES if "config" in imports(parsed(path))}

    assert users <= {"__main__", "app", "explain"}


def test_an_import_is_recognised_however_it_is_written() -> None:
    for text in (
        "import routeur.rules",
        "from routeur import rules",
        "from routeur.rules import Table",
        "import routeur.rules as table",
    ):
        assert imports(ast.parse(text)) == {"rules"}
