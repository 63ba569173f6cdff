"""The section `providers`: settings and presets become providers, credentials and models."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from routeur import config_clouds as clouds
from routeur.config_models import is_glob, listed, read_models
from routeur.config_values import base_url, file, key_of, proxy, secret
from routeur.errors import did_you_mean
from routeur.headers import FRAMING, HOP_BY_HOP
from routeur.presets import Preset, presets
from routeur.providers import (
    Aws,
    Credential,
    CredentialModel,
    Google,
    Provider,
    Secret,
    Timeouts,
    Tls,
)
from routeur.yamlfile import (
    Section,
    Value,
    Wrong,
    boolean,
    choice,
    integer,
    one_of,
    some_seconds,
    text,
)

DIALECTS = ("openai", "anthropic", "gemini", "bedrock", "echo")
COMMITS = ("headers", "first_event", "first_token")

# Dialect -> the header that carries the key, unless `auth` names another.
_AUTH = {"anthropic": "x-api-key", "gemini": "x-goog-api-key"}
# These would hide our own paths.
_OURS = frozenset("v1 v1beta api chat health healthz vhealth metrics ui".split())
# What has a dialect of its own, as the catalogue calls it.
_KNOWN_AS = {"vertex": "google-vertex", "bedrock": "amazon-bedrock"}
_NO_PRESET = Preset("", "", "", (), False, True, ())
_TOKEN = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+", re.ASCII)


@dataclass(slots=True)
class Found:
    """What the section holds: providers that are on, and why others are off."""

    on: dict[str, Provider] = field(default_factory=dict)
    off: dict[str, str] = field(default_factory=dict)
    #: All that stand there, wrong ones included.
    places: dict[str, Value] = field(default_factory=dict)
    notices: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Account:
    """What a credential is made of; `*_waits` are the variables that are missing for it."""

    base_url: str = ""
    url_waits: tuple[str, ...] = ()
    key: Secret | None = None
    key_waits: tuple[str, ...] = ()
    cloud: Aws | Google | None = None
    weight: int = 1
    rpm: int = -1
    tpm: int = -1

    def waits(self) -> str:
        """Why the credential cannot be used, or nothing."""
        names = self.url_waits + self.key_waits
        return (
            f"{' and '.join(names)} {'is' if len(names) == 1 else 'are'} not set" if names else ""
        )


def read_providers(top: Section, timeouts: Timeouts) -> Found:
    """All providers in the file's order, and `echo` last unless it is placed or switched off."""
    found = Found()
    for name, value in top.entries("providers").items():
        found.places[name] = value
        if why := _refused(name):
            value.finding(why)
        elif value.raw() is not None and not value.empty():
            _switch(name, value, found)
        elif value.is_mapping() or value.empty():
            _one(name, value, timeouts, found)
        else:
            value.finding(f"expected settings, or off; found {value.what()}")
    if "echo" not in found.places:
        found.on["echo"] = _echo()
    if list(found.on) == ["echo"] and found.on["echo"].dialect == "echo":
        found.on["echo"] = replace(found.on["echo"], any_name=True)
    _unique(found)
    return found


def _refused(name: str) -> str:
    if name in _OURS:
        return f'"{name}" is a path of routeur\'s own; choose another name'
    if name in ("", ".", "..") or any(s in "/:?#% " or not s.isprintable() for s in name):
        return "expected a name that can stand in a path, without any of / : ? # % and spaces"
    return ""


def _switch(name: str, value: Value, found: Found) -> None:
    """`openai: off`, and for the built-in one also `echo: on`."""
    on = value.read(boolean, None)
    if on is False:
        found.off[name] = "switched off in the configuration"
    elif on and name == "echo":
        found.on[name] = _echo()
    elif on:
        value.finding(f"expected settings, or off; to switch it on: {{preset: {name}}}")


def _echo() -> Provider:
    return Provider("echo", "echo", (Credential("echo", "echo", ""),), models=listed(("echo",)))


def _unique(found: Found) -> None:
    """Credentials of two providers may come to the same name: `a.b`, and `b` of `a`."""
    seen: dict[str, str] = {}
    for provider in found.on.values():
        for credential in provider.credentials:
            other = seen.setdefault(credential.name, provider.name)
            if other != provider.name:
                said = f'"{credential.name}" is also a credential of {other}; rename one'
                found.places[provider.name].finding(said)


def _one(name: str, value: Value, timeouts: Timeouts, found: Found) -> None:
    """Read a provider; it is on, or off with a reason, or wrong."""
    before = len(value.file.findings)
    with Section.of(value) as section:
        dialect, preset = _kind(name, section)
        provider = _settings(name, dialect, preset, section, timeouts)
        credentials, waits = _credentials(provider, dialect, preset or _NO_PRESET, section, found)
    if len(value.file.findings) > before:
        return
    if credentials:
        found.on[name] = replace(provider, credentials=credentials)
    else:
        found.off[name] = waits
        found.notices.append(f"provider {name} is off: {waits}")


def _kind(name: str, section: Section) -> tuple[str, Preset | None]:
    """The dialect, `vertex` among them, and the preset."""
    known = presets()
    wanted = section.get("preset", text, None)
    preset = known.get(wanted) if wanted else None
    dialect = section.get("dialect", choice(*DIALECTS), "")
    if wanted == "vertex":
        return "vertex", None
    if wanted and not preset:
        near = did_you_mean(wanted, [*known, "vertex"])
        section.finding("preset", f'unknown preset "{wanted}"{near}')
    elif preset and dialect not in ("", preset.dialect) and not section.has("base_url"):
        section.finding("dialect", f"preset {wanted} speaks {preset.dialect}; give a base_url, too")
    elif not (dialect or preset or section.has("dialect") or name == "echo"):
        section.finding("", f"expected a preset, or a dialect ({one_of(DIALECTS)})")
    return dialect or (preset.dialect if preset else "echo" if name == "echo" else ""), preset


def _settings(
    name: str, dialect: str, preset: Preset | None, section: Section, timeouts: Timeouts
) -> Provider:
    """The provider without its credentials."""
    row = preset or _NO_PRESET
    literal, globs, any_name = read_models(section, row.models)
    if name == dialect == "echo" and not section.has("models"):
        literal, any_name = listed(("echo",)), False
    return Provider(
        name=name,
        dialect="gemini" if dialect == "vertex" else dialect,
        credentials=(),
        preset=section.get("preset", text, None),
        known_as=_KNOWN_AS.get(dialect) or section.get("preset", text, None),
        models=literal,
        globs=globs,
        any_name=any_name,
        auth=section.get(
            "auth",
            choice("bearer", "x-api-key", "api-key", "x-goog-api-key"),
            "api-key" if section.has("api_version") else _AUTH.get(dialect, "bearer"),
        ),
        headers=_headers(section),
        timeouts=read_timeouts(section, timeouts),
        responses=section.get("responses", boolean, row.responses),
        speak=section.get("speak", choice("chat", "responses"), "chat"),
        usage_ask=section.get("usage", choice("ask"), None) is not None,
        websocket=section.get("websocket", boolean, False),
        commit=section.get("commit", choice(*COMMITS), "first_event"),
        keepalive=section.get("keepalive", some_seconds, None),
        api_version=section.get("api_version", text, None),
        data_url_files=row.data_url_files,
        catalogued=section.at("models") is None and bool(row.models),
        default=row.default,
        tls=_tls(section),
        proxy=section.get("proxy", proxy, None),
    )


def read_timeouts(section: Section, base: Timeouts) -> Timeouts:
    with section.section("timeouts") as given:
        return Timeouts(
            connect=given.get("connect", some_seconds, base.connect),
            first_byte=given.get("first_byte", some_seconds, base.first_byte),
            idle=given.get("idle", some_seconds, base.idle),
        )


def _credentials(
    provider: Provider, dialect: str, preset: Preset, section: Section, found: Found
) -> tuple[tuple[Credential, ...], str]:
    """The credentials that can be used, and what the others wait for."""
    name, environ = provider.name, section.file.environ
    key = preset.key(environ) or clouds.key_in(dialect, environ)
    try:
        given = key_of(key) if key else None
    except Wrong as wrong:
        return (), f"the variable {one_of(preset.keys())}: {wrong}"
    account = _account(
        section,
        _Account(
            base_url=preset.address(environ),
            url_waits=preset.missing(environ),
            key=given,
            key_waits=() if key or not preset.env else (one_of(preset.keys()),),
            cloud=clouds.from_environment(dialect, environ),
        ),
    )
    items = section.at("credentials")
    if items is None:
        if _lacks_address(dialect, account, section):
            section.finding("", "expected a base_url, or a preset")
        _check_cloud(account, section)
        waits = account.waits()
        return (() if waits else (_credential(name, name, account),)), waits
    return _several(provider, dialect, account, items, found)


def _several(
    provider: Provider, dialect: str, base: _Account, items: Value, found: Found
) -> tuple[tuple[Credential, ...], str]:
    name = provider.name
    usable: dict[str, Credential] = {}
    shares: list[Mapping[str, CredentialModel]] = []
    waiting: list[str] = []
    seen: dict[str, int] = {}
    for item in items.mappings():
        with Section.of(item) as section:
            own = section.get("name", _credential_name, "")
            account = _account(section, base)
            fallback = section.get("fallback", boolean, False)
            shares.append(models := _shares(section, provider))
            if not own and not section.has("name"):
                item.finding("expected a name")
            if own in seen:
                section.finding("name", f'"{own}" stands twice; first in line {seen[own]}')
            if _lacks_address(dialect, account, section):
                item.finding("expected a base_url")
            _check_cloud(account, section)
        seen.setdefault(own, item.line)
        if waits := account.waits():
            waiting.append(waits)
            found.notices.append(f"{item.place()}: credential {own} is left out: {waits}")
        else:
            credential = _credential(f"{name}.{own}", name, account)
            usable[own] = replace(credential, fallback=fallback, models=models)
    if not items.read(Value.items, []):
        items.finding("expected at least one credential")
    for model in dict.fromkeys(model for models in shares for model in models):
        if all(model in models and models[model].weight == 0 for models in shares):
            items.finding(f'no credential serves "{model}": the weight of each is 0')
    return tuple(usable.values()), "; ".join(dict.fromkeys(waiting))


def _shares(section: Section, provider: Provider) -> Mapping[str, CredentialModel]:
    """Weights and limits of a credential for single models."""
    found = {}
    for name, value in section.entries("models").items():
        if is_glob(name):
            value.finding("a pattern takes no settings; name the model")
        elif not (provider.any_name or provider.lists(name)):
            near = did_you_mean(name, provider.models)
            value.finding(f'{provider.name} lists no model "{name}"{near}')
        with Section.of(value) as given:
            found[name] = CredentialModel(
                weight=given.get("weight", integer(0), None),
                rpm=given.get("rpm", _limit, -1),
                tpm=given.get("tpm", _limit, -1),
            )
    return found


def _limit(value: Value) -> int:
    """A number a minute; -1: none."""
    got = integer(-1)(value)
    if got == 0:
        raise Wrong("expected a whole number of at least 1, or -1 for no limit, found 0")
    return got


def _account(section: Section, base: _Account) -> _Account:
    """The settings of a credential; what is left out is as in `base`."""
    waits = tuple(dict.fromkeys(section.unset("api_key")))
    if section.has("api_key"):
        key = None if waits else section.get("api_key", secret, None)
        base = replace(base, key=key, key_waits=waits)
    if cloud := base.cloud:
        if clouds.replaces_key(cloud, section):
            base = replace(base, key=None, key_waits=())
        cloud, names = clouds.read_cloud(cloud, section)
        base = replace(base, cloud=cloud, key_waits=base.key_waits + names)
    url = section.get("base_url", base_url, "")
    if section.has("base_url"):
        base = replace(base, base_url=url, url_waits=())
    return replace(
        base,
        weight=section.get("weight", integer(1), base.weight),
        rpm=section.get("rpm", _limit, base.rpm),
        tpm=section.get("tpm", _limit, base.tpm),
    )


def _lacks_address(dialect: str, account: _Account, section: Section) -> bool:
    """Whether a base URL is needed and left out."""
    needed = dialect in ("openai", "anthropic", "gemini")
    return needed and not account.base_url and section.at("base_url") is None


def _check_cloud(account: _Account, section: Section) -> None:
    if account.cloud is not None and not account.waits():
        why = clouds.problem(account.cloud, account.key, account.base_url, section)
        if why:
            section.finding("", why)


def _credential(name: str, provider: str, account: _Account) -> Credential:
    return Credential(
        name=name,
        provider=provider,
        base_url=(account.base_url or clouds.address(account.cloud)).rstrip("/"),
        api_key=account.key,
        weight=account.weight,
        rpm=account.rpm,
        tpm=account.tpm,
        cloud=account.cloud,
    )


def _credential_name(value: Value) -> str:
    name = text(value)
    if why := _refused(name):
        raise Wrong(why)
    return name


def _headers(section: Section) -> Mapping[str, str]:
    found = {}
    for name, value in section.entries("headers").items():
        content = value.read(text, "")
        if not _TOKEN.fullmatch(name):
            value.finding(f'"{name}" cannot be the name of a header')
        elif name.lower().encode() in FRAMING | HOP_BY_HOP:
            value.finding(f"header {name} is written by routeur itself")
        elif not content.isascii() or not content.isprintable():
            value.finding("expected printable ASCII")
        found[name] = content
    return found


def _tls(section: Section) -> Tls | None:
    if not section.has("tls"):
        return None
    with section.section("tls") as given:
        tls = Tls(*(given.get(name, file, None) for name in ("ca", "cert", "key")))
        if tls.key and not given.has("cert"):
            given.finding("key", "expected a cert beside the key")
    return tls
