"""The command `import litellm`: a LiteLLM proxy's config.yaml becomes a router.yaml."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from routeur.errors import ConfigError
from routeur.litellm.given import LITERAL, Given
from routeur.litellm.groups import Arranged, arrange
from routeur.litellm.models import Deployment, read_deployments
from routeur.litellm.settings import (
    Settings,
    read_environment,
    read_general,
    read_module,
    read_router,
)
from routeur.litellm.tables import SECTIONS
from routeur.litellm.yamltext import block, items

Options = argparse.Namespace
# What `check` would say of a text with this name.
Check = Callable[[str, str], list[str]]

_OWN = ("providers", "rules", "aliases")  # sections that only router.yaml has
_THEIRS = (
    "model_list litellm_settings router_settings general_settings environment_variables"
    " credential_list include"
).split()
_HEAD = """\
# From {name}, by routeur import litellm: its findings say what could not be taken over, and what
# is not quite the same. `routeur check` checks this file, `routeur explain --model NAME` says who
# would answer.
"""
_KEY = "general_settings.master_key"
_LISTEN = "LiteLLM listens on all addresses, port 4000, if nothing else is said."


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser], check: Check) -> None:
    """Add it to a parser."""
    help = "make a router.yaml from another proxy's configuration"
    parser = commands.add_parser("import", help=help)
    sources = parser.add_subparsers(metavar="SOURCE", required=True)
    litellm = sources.add_parser(
        "litellm",
        help="of a LiteLLM proxy: its config.yaml",
        description="Write the router.yaml that does what a LiteLLM proxy's config.yaml does. What "
        "could not be taken over, or is not quite the same, is said on stderr, a line each. Of the "
        "environment nothing is copied: variables stay variables.",
    )
    litellm.add_argument("file", type=Path, metavar="FILE", help="LiteLLM's config.yaml")
    litellm.add_argument("-o", "--output", type=Path, metavar="FILE", help="default: stdout")
    litellm.add_argument("--force", action="store_true", help="replace an output that is there")
    litellm.set_defaults(run=lambda options: run(options, check))


def run(options: Options, check: Check) -> int:
    """Write the configuration, say the findings; raises ConfigError where there is nothing."""
    output: Path | None = options.output
    if output and (why := _taken(output, options.file, options.force)):
        raise ConfigError([f"{output}: {why}"])
    text, findings, count = imported(options.file)
    name = str(output or "router.yaml")
    findings += [*_exposed(text, check), *check(text, name)]
    if output:
        _write(output, text, options.file, secret=any(LITERAL in each for each in findings))
    else:
        print(text, end="", flush=True)
    for finding in dict.fromkeys(findings):
        print(_one_line(finding), file=sys.stderr)
    print(f"{count}; findings: {len(dict.fromkeys(findings))}", file=sys.stderr)
    return 0


def _exposed(text: str, check: Check) -> list[str]:
    """What would be wrong with the master key where others than this machine can try it."""
    auth = yaml.safe_load(text).get("auth", {})
    alone = "\n".join(['server: {host: "0.0.0.0"}', *block("auth", auth)])
    why = "with it routeur starts on 127.0.0.1 only, and LiteLLM on any address"
    found = [each.partition("auth.master_key: ")[2] for each in check(alone, "")]
    return [f"{_KEY}: {each}: {why}" for each in found if each and "is not set" not in each]


def _taken(output: Path, source: Path, force: bool) -> str:
    """Why nothing can be written there."""
    if output.is_dir():
        return "is a directory; expected the name of a file"
    if not output.exists():
        return ""
    if source.exists() and output.samefile(source):
        return "is the input itself, which is never replaced; name another file"
    return "" if force else "is there already; --force replaces it"


def imported(path: Path) -> tuple[str, list[str], str]:
    """router.yaml's text, findings, and what was taken over. Raises ConfigError."""
    findings: list[str] = []
    documents = list(_documents(path, findings))
    settings = Settings()
    readers = {
        "litellm_settings": read_module,
        "router_settings": read_router,
        "general_settings": read_general,
    }
    credentials = {
        name: each.section("credential_values")
        for document in documents
        for each in document.sections("credential_list")
        if (name := each.text("credential_name"))
    }
    deployments: list[Deployment] = []
    entries = 0
    for document in documents:
        for entry in document.sections("model_list"):
            entries += 1
            deployments += read_deployments(entry, credentials)
        for section, read in readers.items():
            read(document.section(section), settings)
        read_environment(document.section("environment_variables"))
        document.close(SECTIONS)
    settings.finish(findings)
    arranged = arrange(deployments, settings, findings)
    if not arranged.taken:
        raise ConfigError([_nothing(path, entries, findings)])
    findings.append(f"server.host: {_LISTEN} Here it is 127.0.0.1: set it as you need it")
    return _text(path.name, arranged, settings), findings, _count(arranged, entries)


def _nothing(path: Path, entries: int, findings: Iterable[str]) -> str:
    """Why nothing is written where there is no model."""
    shown = _one_line(str(path))
    if first := next((each for each in findings if "model_list" in each), ""):
        none = f"none of {entries} deployments" if entries else "no deployment"
        return f"{shown}: {none} could be taken over: {_one_line(first)}"
    return (
        f"{shown}: model_list has no deployment; what LiteLLM keeps in its database, and not in "
        "this file, has to be written by hand"
    )


def _count(arranged: Arranged, entries: int) -> str:
    counts = {
        "providers": len(arranged.providers),
        "aliases": len(arranged.aliases),
        "rules": len(arranged.rules),
    }
    made = ", ".join(f"{name}: {count}" for name, count in counts.items())
    return f"deployments taken over: {len(arranged.taken)} of {entries}; {made}"


def _one_line(text: str) -> str:
    return "".join(sign if sign.isprintable() else "?" for sign in text)


# ---- reading


def _documents(path: Path, findings: list[str]) -> Iterator[Given]:
    """The file, and those that it includes; their findings begin with their names."""
    top = _load(path, findings, "")
    if top is None or not set(_THEIRS) & {str(name) for name in top}:
        raise ConfigError([f"{path}: {_mistaken(top)}"])
    given = Given(top, "", findings)
    yield given
    for name in given.names("include"):
        other = path.parent / name
        found = _load(other, findings, f"{name}: ") or {}
        yield Given(found, f"{name}: ", findings)


def _mistaken(top: Mapping[Any, Any] | None) -> str:
    if top is None:
        return "is empty; expected a LiteLLM configuration"
    if set(_OWN) & {str(name) for name in top}:
        return "is a configuration of routeur's already: see routeur check"
    return f"is no LiteLLM configuration; expected one of {', '.join(_THEIRS[:4])}"


def _load(path: Path, findings: list[str], prefix: str) -> Mapping[Any, Any] | None:
    """The mapping in a file; None where it is empty. Raises ConfigError."""
    shown = _one_line(str(path))
    try:
        text = path.read_text(encoding="utf-8-sig")
        loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)(text)
        node = loader.get_single_node()
        top = None if node is None else loader.construct_document(node)
    except OSError as error:
        raise ConfigError([f"{shown}: {error.strerror}"]) from None
    except UnicodeDecodeError as error:
        raise ConfigError([f"{shown}: not UTF-8 at byte {error.start}"]) from None
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        what = ", ".join(part for part in (error.context, error.problem) if part)
        raise ConfigError([f"{shown}:{line}: not YAML: {what}"]) from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        what = (str(error) or type(error).__name__).splitlines()[0]
        raise ConfigError([f"{shown}: not YAML: {what}"]) from None
    if top is not None and not isinstance(top, dict):
        raise ConfigError([f"{shown}: is no LiteLLM configuration; expected a mapping"])
    if node is not None:
        findings += [
            f"{prefix}{place}: stands twice; the last one counts" for place in _twice(node)
        ]
    return top


def _twice(root: yaml.Node) -> list[str]:
    """Names that stand twice in a mapping, of which YAML keeps the last one."""
    found = []
    waiting = [(root, "")]
    seen: set[int] = set()
    while waiting:
        node, path = waiting.pop()
        if id(node) in seen:  # an anchor's, and so read already
            continue
        seen.add(id(node))
        if isinstance(node, yaml.SequenceNode):
            waiting += [(item, f"{path}[{index}]") for index, item in enumerate(node.value)]
        elif isinstance(node, yaml.MappingNode):
            names = set()
            for key, value in node.value:
                place = f"{path}.{key.value}".strip(".")
                if key.value in names and key.value != "<<":
                    found.append(place)
                names.add(key.value if isinstance(key, yaml.ScalarNode) else "?")
                waiting.append((value, place))
    return found


# ---- writing


def _write(output: Path, text: str, source: Path, *, secret: bool) -> None:
    """As readable for others as the source is, and for nobody if there are keys in it; a file that
    is there stays as readable as it is.
    """
    mode = 0o600 if secret else source.stat().st_mode & 0o666
    try:
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
        with open(os.open(output, flags, mode), "w", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        raise ConfigError([f"{output}: {error.strerror}"]) from None


def _text(name: str, arranged: Arranged, settings: Settings) -> str:
    """router.yaml."""
    out = settings.out
    server = {"host": "127.0.0.1", "port": 4000, **out.get("server", {})}
    lines = [*_HEAD.format(name=_one_line(name)).splitlines(), ""]
    lines += [*block("server", server, comments=[_LISTEN]), ""]
    for section in ("auth", "store", "timeouts"):
        if section in out:
            lines += [*block(section, out[section], 0, settings.comments.get(section, ())), ""]
    lines += [f"# {comment}" for comment in arranged.comments.get("providers", ())]
    lines.append("providers:")
    for provider, given in arranged.providers.items():
        lines += block(provider, given, 2, arranged.comments.get(provider, ()))
    lines += ["  echo: off", ""]
    if arranged.aliases:
        lines.append("aliases:")
        for alias, targets in arranged.aliases.items():
            lines += block(alias, targets, 2)
        lines.append("")
    if arranged.rules:
        lines.append("rules:")
        for rule in arranged.rules:
            lines += [
                f"  # {comment}" for comment in arranged.comments.get(f"rule {rule['name']}", ())
            ]
            lines += items([rule], 2)
        lines.append("")
    for section in ("retries", "ban", "limits", "traces", "log"):
        if section in out:
            lines += block(section, out[section])
    return "\n".join(lines).rstrip() + "\n"
