"""router.yaml, checked, as one immutable value.

Everything that is wrong is found at once. What is only worth knowing (providers that are off,
targets skipped, settings without effect) is a notice.
"""

from __future__ import annotations

import ipaddress
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from routeur.classifier import Classifier
from routeur.classifier import load as load_classifier
from routeur.config_providers import Found, read_providers, read_timeouts
from routeur.config_rules import STRATEGIES, read_aliases, read_rules, read_targets, shadows
from routeur.config_values import key_of, secret
from routeur.errors import ConfigError
from routeur.presets import from_environment
from routeur.providers import Provider, Secret, Timeouts
from routeur.rules import Rule, Target
from routeur.yamlfile import (
    File,
    Section,
    Value,
    Wrong,
    boolean,
    choice,
    integer,
    many,
    number,
    seconds,
    size,
    some_seconds,
    text,
)

HEADERS = "headers"  # a commit point: before anything is known of the answer
_SAYS = re.compile(r"^(?!---\s*(?:#.*)?$)[ \t]*[^\s#]", re.MULTILINE)  # more than comments
LITELLM = ("model_list", "litellm_settings", "general_settings", "router_settings")
SHORTEST_KEY = 16  # characters, where others than this machine can try keys; of secrets always
_OBVIOUS = re.compile(
    "(change.?me|sk-?1234|password|your.?|1234|qwerty|letmein|0000)", re.IGNORECASE
)
_WORDS = frozenset(
    "admin api default demo example key llm live management master my password proxy router routeur"
    " rtr secret sk super test testing token".split()
)
# Where keys come from that the file leaves out, as router.yaml shows.
_VARIABLES = {
    "master_key": "ROUTEUR_MASTER_KEY",
    "management_key": "ROUTEUR_MANAGEMENT_KEY",
    "secret": "ROUTEUR_SECRET",
}
_WEIGHTS = {"latency": 0.4, "price": 0.4, "quality": 0.2}
_STORE = re.compile(r"memory:|sqlite:.+|rediss?://[^/\s]+(/\d+)?(\?\S*)?")


@dataclass(frozen=True, slots=True)
class Server:
    """`host` may be `unix:/path`; `max_body` in bytes, `drain` in seconds."""

    host: str = "127.0.0.1"
    port: int = 8080
    workers: int = 1
    max_body: int = 100_000_000
    drain: float = 30.0


@dataclass(frozen=True, slots=True)
class Auth:
    master_key: Secret | None = None
    management_key: Secret | None = None
    secret: Secret | None = None


@dataclass(frozen=True, slots=True)
class Auto:
    """What `auto` chooses from, and how."""

    models: tuple[Target, ...] = ()
    strategy: str = "balanced"
    weights: Mapping[str, float] = field(default_factory=lambda: dict(_WEIGHTS))
    classifier: Classifier | None = None


@dataclass(frozen=True, slots=True)
class Retries:
    """At most `attempts` in all; `budget` is a share of the last minute's calls."""

    attempts: int = 3
    budget: float = 0.2
    statuses: frozenset[int] = frozenset((408, 409, 429, 500, 502, 503, 504, 529))


@dataclass(frozen=True, slots=True)
class Ban:
    """Failures after which a credential rests for a model, and for how long, in seconds."""

    after: int = 3
    seconds: float = 60.0


@dataclass(frozen=True, slots=True)
class Responses:
    """How long (seconds) and how many (bytes) stored responses are kept."""

    keep: float = 30 * 86400.0
    max_size: int = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Limits:
    assumed_output: int = 4096
    unpriced: str = "refuse"
    store_unavailable: str = "refuse"


@dataclass(frozen=True, slots=True)
class Traces:
    """How long (seconds) and how many traces are kept, and whether with bodies."""

    keep: float = 7 * 86400.0
    max: int = 1_000_000
    payloads: bool = False


@dataclass(frozen=True, slots=True)
class Log:
    level: str = "info"
    format: str = "auto"


@dataclass(frozen=True, slots=True)
class Config:
    """All settings. `off` says why a provider is; `file` is None without a file."""

    server: Server
    auth: Auth
    store: str
    timeouts: Timeouts
    providers: Mapping[str, Provider]
    off: Mapping[str, str]
    aliases: Mapping[str, tuple[Target, ...]]
    auto: Auto
    rules: tuple[Rule, ...]
    retries: Retries
    ban: Ban
    responses: Responses
    cache_marks: str
    limits: Limits
    traces: Traces
    log: Log
    notices: tuple[str, ...]
    file: str | None


def load(path: Path | None, environ: Mapping[str, str]) -> Config:
    """The configuration in a file, or without one the defaults.

    Raises ConfigError with all findings.
    """
    if path is None:
        return parse("{}", None, environ)
    try:
        text = path.read_text(encoding="utf-8-sig")
        if not _SAYS.search(text):  # it is just being written: without keys all would be open
            raise ConfigError([f"{path}: the file says nothing; write {{}} for the defaults"])
        return parse(text, str(path), environ)
    except OSError as error:
        raise ConfigError([f"{path}: {error.strerror}"]) from None
    except UnicodeDecodeError as error:
        raise ConfigError([f"{path}: not UTF-8 at byte {error.start}"]) from None


def parse(text: str, file: str | None, environ: Mapping[str, str]) -> Config:
    """The configuration in a text. Raises ConfigError with all findings."""
    source = File(text, file or "environment", environ)
    with source.top as top:
        config = _config(source, top, file)
        for setting, why in problems(config.server, config.auth, config.store):
            section, _, name = setting.rpartition(".")
            (top.section(section) if section else top).finding(name, why)
    source.raise_findings()
    return config


def problems(server: Server, auth: Auth, store: str) -> list[tuple[str, str]]:
    """What must not go together, as (setting, why): also after `--host` and `--workers`."""
    found = []
    if not 0 <= server.port <= 65535:
        found.append(("server.port", f"expected 0 to 65535, not {server.port}"))
    if server.host in ("", "unix:"):  # `--host ""`, too
        found.append(("server.host", f'expected an address or unix:/PATH, found "{server.host}"'))
    if server.host.startswith("["):
        found.append(("server.host", f'expected "{server.host.strip("[]")}", without brackets'))
        return found
    if server.workers < 1:
        found.append(("server.workers", f"expected 1 or more, not {server.workers}"))
    if server.workers > 1 and store == "memory:":
        found.append(("store", "several workers cannot share memory:; expected sqlite: or redis:"))
    if auth.secret is not None and len(auth.secret.reveal()) < SHORTEST_KEY:
        why = f"expected a random secret of {SHORTEST_KEY} or more, as from: openssl rand -hex 32"
        found.append(("auth.secret", f"has {len(auth.secret.reveal())} characters; {why}"))
    if auth.master_key is not None and auth.management_key is not None:
        if auth.master_key.reveal() == auth.management_key.reveal():
            why = "is the master key, too: one infers, the other never does; make another"
            found.append(("auth.management_key", why))
    if loopback(server.host):
        return found
    if auth.master_key is None:
        why = (
            f'"{server.host}" can be reached from elsewhere; set auth.master_key, or use 127.0.0.1'
        )
        found.append(("server.host", why))
    for name, key in (("master_key", auth.master_key), ("management_key", auth.management_key)):
        if why := _weak(key.reveal()) if key else "":
            found.append((f"auth.{name}", why))
    return found


def loopback(host: str) -> bool:
    """Whether only this machine reaches a host to listen on."""
    if host == "localhost" or host.startswith("unix:"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _weak(key: str) -> str:
    """Why a key is too easy to guess, or nothing."""
    if len(key) < SHORTEST_KEY:
        return f"has {len(key)} characters; off loopback a key needs {SHORTEST_KEY} or more"
    words = re.findall("[a-z]+", key.lower())
    if _OBVIOUS.match(key) or (words and _WORDS.issuperset(words)) or len(set(key)) < 6:
        return "is well known; off loopback a key must be random, as from: openssl rand -hex 24"
    return ""


def _config(source: File, top: Section, file: str | None) -> Config:
    for name in filter(top.has, LITELLM):
        top.at(name)
        how = "`routeur import litellm FILE` makes a router.yaml of its file"
        top.finding(name, f"is LiteLLM's: {how}")
    timeouts = read_timeouts(top, Timeouts())
    found = _providers(source, top, timeouts)
    aliases = read_aliases(top, found)
    rules = read_rules(top, found, timeouts)
    auto = _auto(top, found)
    return Config(
        server=_server(top),
        auth=_auth(top),
        store=top.get("store", _store, "sqlite:routeur.db"),
        timeouts=timeouts,
        providers=found.on,
        off=found.off,
        aliases=aliases,
        auto=auto,
        rules=rules,
        retries=_retries(top),
        ban=_ban(top),
        responses=_responses(top),
        cache_marks=top.get("cache_marks", choice("off", "auto"), "off"),
        limits=_limits(top),
        traces=_traces(top),
        log=_log(top),
        # Evaluated last: the calls above add to both.
        notices=(
            *found.notices,
            *shadows(aliases, rules, found.on),
            *_unheard(found.on, rules),
            *_unclassified(auto, rules),
            *([] if found.on else ["nobody can be asked: no provider is on"]),
        ),
        file=file,
    )


def _providers(source: File, top: Section, timeouts: Timeouts) -> Found:
    """Those of the file; where it names none, the presets whose variables are set."""
    if top.at("providers") is not None:
        return read_providers(top, timeouts)
    rows = {name: {"preset": name} for name in from_environment(source.environ)}
    well_known = File(json.dumps({"providers": rows}), "environment", source.environ)
    found = read_providers(well_known.top, timeouts)
    well_known.raise_findings()
    return found


def _unheard(providers: Mapping[str, Provider], rules: Sequence[Rule]) -> list[str]:
    """A notice for each `keepalive` that is never sent: it needs headers that are out already."""
    why = "has no effect without commit: headers"
    early = any(rule.commit == HEADERS for rule in rules)
    found = [
        f"keepalive of provider {name} {why}"
        for name, each in providers.items()
        if each.keepalive is not None and each.commit != HEADERS and not early
    ]
    for rule in rules:
        targets = [*rule.to, *(target for target, _ in rule.split)]
        known = [providers[each.provider] for each in targets if each.provider in providers]
        commits = {rule.commit or provider.commit for provider in known}
        if rule.keepalive is not None and known and HEADERS not in commits:
            found.append(f"keepalive of rule {rule.name} {why}")
    return found


def _unclassified(auto: Auto, rules: Sequence[Rule]) -> list[str]:
    """A notice for each rule that asks what nobody says."""
    asking = [rule.name for rule in rules if rule.match.difficulty and auto.classifier is None]
    return [f"difficulty of rule {name} never holds without auto.classifier" for name in asking]


def _server(top: Section) -> Server:
    default = Server()
    with top.section("server") as given:
        return Server(
            host=given.get("host", text, default.host),
            port=given.get("port", integer(0, 65535), default.port),
            workers=given.get("workers", integer(1), default.workers),
            max_body=given.get("max_body", size, default.max_body),
            drain=given.get("drain", seconds, default.drain),
        )


def _auth(top: Section) -> Auth:
    """Keys; those that are left out come from the variables that router.yaml shows."""
    with top.section("auth") as given:
        return Auth(
            master_key=_key(given, "master_key"),
            management_key=_key(given, "management_key"),
            secret=_key(given, "secret"),
        )


def _key(given: Section, name: str) -> Secret | None:
    if given.has(name):
        return given.get(name, secret, None)
    given.at(name)
    value = given.file.environ.get(_VARIABLES[name])
    try:
        return key_of(value) if value else None
    except Wrong as wrong:
        raise ConfigError([f"{_VARIABLES[name]}: {wrong}"]) from None


def _auto(top: Section, found: Found) -> Auto:
    with top.section("auto") as given:
        models = given.at("models")
        with given.section("weights") as weights:
            shares = {
                name: weights.get(name, number(0, 1), share) for name, share in _WEIGHTS.items()
            }
        return Auto(
            models=read_targets(models, found) if models else (),
            strategy=given.get("strategy", choice(*STRATEGIES), "balanced"),
            weights=shares,
            classifier=given.get("classifier", _classifier, None),
        )


def _retries(top: Section) -> Retries:
    default = Retries()
    with top.section("retries") as given:
        statuses = given.get("statuses", many(integer(400, 599)), tuple(default.statuses))
        return Retries(
            attempts=given.get("attempts", integer(1, 100), default.attempts),
            budget=given.get("budget", number(0, 1), default.budget),
            statuses=frozenset(statuses),
        )


def _ban(top: Section) -> Ban:
    default = Ban()
    with top.section("ban") as given:
        return Ban(
            after=given.get("after", integer(1), default.after),
            seconds=given.get("for", some_seconds, default.seconds),
        )


def _responses(top: Section) -> Responses:
    default = Responses()
    with top.section("responses") as given:
        return Responses(
            keep=given.get("keep", some_seconds, default.keep),
            max_size=given.get("max_size", size, default.max_size),
        )


def _limits(top: Section) -> Limits:
    default = Limits()
    policy = choice("refuse", "allow")
    with top.section("limits") as given:
        return Limits(
            assumed_output=given.get("assumed_output", integer(1), default.assumed_output),
            unpriced=given.get("unpriced", policy, default.unpriced),
            store_unavailable=given.get("store_unavailable", policy, default.store_unavailable),
        )


def _traces(top: Section) -> Traces:
    default = Traces()
    with top.section("traces") as given:
        return Traces(
            keep=given.get("keep", some_seconds, default.keep),
            max=given.get("max", integer(0), default.max),
            payloads=given.get("payloads", boolean, default.payloads),
        )


def _log(top: Section) -> Log:
    default = Log()
    with top.section("log") as given:
        return Log(
            level=given.get("level", choice("debug", "info", "warning", "error"), default.level),
            format=given.get("format", choice("auto", "pretty", "json"), default.format),
        )


def _store(value: Value) -> str:
    got = text(value)
    if got == "memory":  # without its colon YAML needs no quotes
        return "memory:"
    if not _STORE.fullmatch(got):
        raise Wrong("expected memory:, sqlite:FILE or redis://HOST:PORT/DB")
    return got


def _classifier(value: Value) -> Classifier:
    """The function at module:function: the module is looked for beside the file first."""
    folder = Path(value.file.name).parent if value.file.name else Path()
    try:
        return load_classifier(text(value), folder)
    except ValueError as error:
        raise Wrong(str(error)) from None
