"""LiteLLM's settings beside its models: how they are called here, as far as they exist."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from routeur.litellm.given import Given, words
from routeur.litellm.models import TIMES, duration, timeouts
from routeur.litellm.tables import GENERAL, MODULE, RELIABILITY

ATTEMPTS = 3  # the default here

_STRATEGIES = {
    "simple-shuffle": "",
    "least-busy": "throughput",
    "usage-based-routing": "",
    "usage-based-routing-v2": "",
    "latency-based-routing": "latency",
    "cost-based-routing": "price",
}
_KEYS = "virtual keys live in LiteLLM's database: make new ones with routeur keys create NAME"
_WINDOW = (
    "asked when a prompt is longer than the context that is known here, and after failures, too"
)


@dataclass(slots=True)
class Settings:
    """What the file says beside its models. `out` are sections of router.yaml; `fallbacks` are
    names by name, `anyone` is for those that have none; `places` are for findings.
    """

    out: dict[str, Any] = field(default_factory=dict)
    comments: dict[str, list[str]] = field(default_factory=dict)
    sort: str = ""
    fallbacks: dict[str, list[str]] = field(default_factory=dict)
    anyone: list[str] = field(default_factory=list)
    longer: dict[str, list[str]] = field(default_factory=dict)
    aliases: dict[str, str] = field(default_factory=dict)
    places: dict[str, str] = field(default_factory=dict)
    retries: int | None = None
    whole: float | None = None
    stream: float | None = None

    def section(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = self.out.setdefault(name, {})
        return found

    def after(self, name: str) -> list[str]:
        """Whom to ask when nobody behind a name can answer."""
        plain = [each for each in self.fallbacks.get(name, self.anyone) if each != name]
        return list(dict.fromkeys([*plain, *self.longer.get(name, [])]))

    def finish(self, findings: list[str]) -> None:
        """What depends on several settings."""
        if limits := timeouts(self.whole, self.stream):
            self.out["timeouts"] = limits
        chain = [*self.fallbacks.values(), *self.longer.values(), self.anyone]
        longest = max(map(len, chain), default=0)
        wanted = (ATTEMPTS if self.retries is None else self.retries + 1) + longest
        wanted = max(1, min(wanted, 100))
        if wanted != ATTEMPTS:
            self.section("retries")["attempts"] = wanted
        if "retries" in self.places or longest:
            findings.append(self._attempts(wanted, longest))

    def _attempts(self, wanted: int, longest: int) -> str:
        """How often a request is tried, and why."""
        own = f"the usual {ATTEMPTS}" if self.retries is None else f"1 and {self.retries} retries"
        more = f", and {longest} for the longest list of fallbacks" if longest else ""
        place = self.places.get("retries", "fallbacks")
        return (
            f"{place}: became retries.attempts: {wanted}, for a whole request: {own}{more}; "
            "LiteLLM counts them for each model anew"
        )


def read_module(given: Given, settings: Settings) -> None:
    """`litellm_settings`."""
    _reliability(given, settings)
    if given.flag("drop_params"):
        given.finding(
            "drop_params", "translations drop what cannot be said; copies go out as they are"
        )
    if given.flag("json_logs"):
        settings.section("log")["format"] = "json"
    if given.flag("cache") is False:
        given.raw("cache_params")
    elif given.values.get("cache"):
        given.finding("cache", MODULE["cache"])
    _callbacks(given)
    given.close(MODULE)


def read_router(given: Given, settings: Settings) -> None:
    """`router_settings`, which win over `litellm_settings`."""
    _reliability(given, settings)
    strategy = given.text("routing_strategy")
    if strategy and strategy not in _STRATEGIES:
        given.finding("routing_strategy", f'"{strategy}" is unknown here: shares by weight')
    elif strategy:
        settings.sort = _STRATEGIES[strategy]
        if strategy != "simple-shuffle":
            how = f"sort: {settings.sort}" if settings.sort else "shares by weight, within limits"
            given.finding("routing_strategy", f"{strategy} became the nearest there is: {how}")
    aliases = given.section("model_group_alias")
    for alias in aliases.values:
        _alias(aliases, alias, settings)
    _redis(given, settings)
    checks = ("enable_pre_call_checks", "enable_pre_call_check")
    for name in checks:
        if given.flag(name):
            why = "aliases leave out whose context is too short; who is asked for by name is asked"
            given.finding(name, why)
    given.close(RELIABILITY)


def read_general(given: Given, settings: Settings) -> None:
    """`general_settings`."""
    master = given.key("master_key")
    if master:
        settings.section("auth")["master_key"] = master
        why = "manages nothing here: keys and bans want auth.management_key, another key"
        given.finding("master_key", why)
    if given.text("database_url") or master:
        name = "database_url" if given.values.get("database_url") else "master_key"
        given.finding(name, _KEYS)
    if size := given.whole("max_request_size_mb"):
        settings.section("server")["max_body"] = f"{size}MB"
    if given.flag("store_prompts_in_spend_logs"):
        settings.section("traces")["payloads"] = True
    if keep := given.text("maximum_spend_logs_retention_period"):
        if re.fullmatch(r"[1-9]\d*[smhd]", keep):
            settings.section("traces")["keep"] = keep
        else:
            given.finding("maximum_spend_logs_retention_period", f'"{keep}" is no duration here')
    if given.flag("allow_requests_on_db_unavailable"):
        settings.section("limits")["store_unavailable"] = "allow"
    given.close(GENERAL)


# ---- what stands in either


def _reliability(given: Given, settings: Settings) -> None:
    """Retries, bans, time limits and fallbacks."""
    retries = given.whole("num_retries")
    if retries is not None:
        settings.retries = retries
        settings.places["retries"] = given.place("num_retries")
    _policy(given, settings)
    _ban(given, settings)
    for name in ("request_timeout", "timeout"):
        found = given.number(name)
        if found:
            settings.whole = found
            given.finding(name, f"became timeouts.first_byte: {TIMES['first_byte']}")
    stream = given.number("stream_timeout")
    if stream:
        settings.stream = stream
        given.finding("stream_timeout", f"became timeouts.idle: {TIMES['idle']}")
    _fallbacks(given, "fallbacks", settings.fallbacks, settings)
    _fallbacks(given, "context_window_fallbacks", settings.longer, settings)
    if settings.longer and given.values.get("context_window_fallbacks"):
        given.finding("context_window_fallbacks", _WINDOW)
    if names := given.names("default_fallbacks"):
        settings.anyone = names
        settings.places["*"] = f"{given.path}.default_fallbacks"
    if given.flag("set_verbose"):
        settings.section("log")["level"] = "debug"


def _policy(given: Given, settings: Settings) -> None:
    """Retries by kind of failure: LiteLLM asks another group in any case, so none is left out."""
    policy = given.section("retry_policy")
    counts = [count for name in policy.values if (count := policy.whole(name)) is not None]
    if counts:
        settings.retries = max(settings.retries or 0, *counts)
        settings.places["retries"] = policy.path
        why = "one number for all kinds of failures here, the largest: see retries.statuses"
        given.finding("retry_policy", why)


def _ban(given: Given, settings: Settings) -> None:
    fails = given.whole("allowed_fails")
    pause = given.number("cooldown_time")
    if fails is not None:
        settings.section("ban")["after"] = fails + 1
        given.finding("allowed_fails", "became ban.after: failures without a success between")
    if pause:
        settings.section("ban")["for"] = duration(pause)
    if given.flag("disable_cooldowns"):
        settings.section("ban")["after"] = 1_000_000
        given.finding("disable_cooldowns", "bans cannot be switched off: ban.after is a million")


def _fallbacks(given: Given, name: str, found: dict[str, list[str]], settings: Settings) -> None:
    """`[{name: [other, …]}]`; `*` stands for all that have none of their own."""
    for item in given.sections(name):
        for model in item.values:
            value = item.raw(model)
            others = value if isinstance(value, list) else [value]
            if any(isinstance(other, dict) and len(other) > 1 for other in others):
                item.finding(model, "only names are taken over: requests are not changed here")
            names = [other.get("model") if isinstance(other, dict) else other for other in others]
            plain = [words(other) for other in names if isinstance(other, str | int | float)]
            settings.places[model] = f"{item.path}.{model}"
            if model == "*":
                settings.anyone = plain
            else:
                found[model] = plain


def _alias(aliases: Given, alias: str, settings: Settings) -> None:
    """A name, or `{model, hidden}`."""
    if isinstance(aliases.values[alias], dict):
        item = aliases.section(alias)
        target = item.text("model")
        if item.flag("hidden"):
            item.finding("hidden", "GET /v1/models lists all names here")
        item.close({})
    else:
        target = aliases.text(alias)
    if target:
        settings.aliases[alias] = target
        settings.places[alias] = f"{aliases.path}.{alias}"


def _redis(given: Given, settings: Settings) -> None:
    """A Redis that several proxies share: the store here."""
    url, host = given.text("redis_url"), given.text("redis_host")
    port, database = given.text("redis_port"), given.text("redis_db")
    password = given.key("redis_password")
    tls = given.flag("redis_ssl")
    if not (url or host):
        return
    if not url:
        port = re.sub(r"^\$\{(\w+)\}$", r"${\1:-6379}", port or "6379")
        if password and not password.startswith("${"):
            password = quote(password, safe="")
        user = f":{password}@" if password else ""
        url = f"redis{'s' * bool(tls)}://{user}{host}:{port}/{database or 0}"
    settings.out["store"] = url
    settings.comments["store"] = [
        "Needs the extra: pip install 'routeur[redis]'. One machine alone needs no Redis.",
        "Special characters of a password are percent-encoded in a URL.",
    ]
    given.finding(
        "redis_url" if given.values.get("redis_url") else "redis_host",
        "became the store of keys, limits, usage and traces: for several machines; else remove it",
    )


def _callbacks(given: Given) -> None:
    """Prometheus is built in; other receivers have to fetch what they want to know."""
    for name in ("success_callback", "failure_callback", "callbacks", "service_callbacks"):
        if callbacks := given.names(name):
            others = [each for each in callbacks if each != "prometheus"]
            there = " (prometheus is built in: /metrics)" if len(others) < len(callbacks) else ""
            if others:
                given.finding(name, f"{', '.join(others)}: {MODULE[name]}{there}")


def read_environment(given: Given) -> None:
    """`environment_variables`: values stay where they are."""
    if given.values:
        names = ", ".join(given.values)
        given.findings.append(f"{given.path}: not copied; set them where routeur runs: {names}")
