"""How well the credentials are doing: `/health` as JSON, and `/vhealth` as a page for people."""

from __future__ import annotations

import time
from base64 import b64encode
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from hashlib import sha256
from html import escape
from importlib.resources import files
from itertools import chain, groupby
from math import ceil
from operator import attrgetter
from string import Template
from typing import Any

from routeur.bans import EVERY_MODEL, Ban
from routeur.call import Call, ended_well
from routeur.outages import Outages
from routeur.providers import Credential, Provider

# A credential, a model, requests and tokens of the last minute, `[status, count]` of its errors.
Load = list[Any]

WINDOW = 60  # seconds, one slot each
OTHER = "other"  # models that the configuration does not name
REMEMBERED = 4096  # names of windows, whoever made them up


_attempts = attrgetter("attempts")
_result = attrgetter("credential", "target", "status", "error")


def _second(call: Call) -> int:
    return int(call.ended)


class Window:
    """What happened in the last 60 seconds, and which errors there were since the start."""

    __slots__ = ("_seconds", "errors", "requests", "tokens")

    def __init__(self) -> None:
        self._seconds = [-WINDOW] * WINDOW  # which second each slot is about
        self.requests = [0] * WINDOW
        self.tokens = [0] * WINDOW
        self.errors: dict[int, int] = {}

    def add(self, second: int, requests: int, tokens: int) -> None:
        slot = second % WINDOW
        if self._seconds[slot] != second:
            self._seconds[slot] = second
            self.requests[slot] = self.tokens[slot] = 0
        self.requests[slot] += requests
        self.tokens[slot] += tokens

    def totals(self, now: float) -> tuple[int, int]:
        """Requests and tokens of the 60 seconds before `now`."""
        oldest = int(now) - WINDOW
        fresh = [slot for slot, second in enumerate(self._seconds) if second > oldest]
        return sum(self.requests[slot] for slot in fresh), sum(self.tokens[slot] for slot in fresh)


class Rates:
    """Requests, tokens and errors per credential and model.

    Every attempt counts as a request at its credential; the tokens are those of the one that
    answered. Models that the configuration does not name count together, so clients cannot make
    this grow.
    """

    def __init__(self, providers: Mapping[str, Provider]) -> None:
        self._windows: dict[tuple[str, str], Window] = {}
        self._bound: dict[tuple[str, str], Window] = {}
        self.configure(providers)

    def configure(self, providers: Mapping[str, Provider]) -> None:
        """Use another configuration's names from now on; what was counted stays."""
        self._providers = providers
        self._bound.clear()

    def count(self, calls: Sequence[Call]) -> None:
        """Count calls that are over."""
        for second, ended in groupby(calls, _second):
            self._count(second, [*ended])

    def _count(self, second: int, calls: Sequence[Call]) -> None:
        """Count calls that have ended within a second."""
        attempts = [*chain.from_iterable(map(_attempts, calls))]
        for (credential, target, status, error), count in Counter(map(_result, attempts)).items():
            window = self._window(credential, target)
            window.add(second, count, 0)
            status = _counted_as(status, error)
            if status >= 400:
                window.errors[status] = window.errors.get(status, 0) + count
        used = [(call.attempts[-1], call.usage) for call in calls if call.usage and call.attempts]
        used += [(each, each.usage) for each in attempts if each.usage]
        tokens: dict[tuple[str, str], int] = {}
        for each, usage in used:
            at = each.credential, each.target
            tokens[at] = tokens.get(at, 0) + usage.total
        for (credential, target), count in tokens.items():
            self._window(credential, target).add(second, 0, count)

    def snapshot(self, now: float | None = None) -> list[Load]:
        """What happened in this process, as JSON can carry it; `now` is on `Call.ended`'s clock."""
        now = time.perf_counter() if now is None else now
        return [
            [*at, *window.totals(now), [*window.errors.items()]]
            for at, window in self._windows.items()
        ]

    def _window(self, credential: str, target: str) -> Window:
        at = (credential, target)
        window = self._bound.get(at)
        if window is None:
            provider, _, model = target.partition("/")
            configured = self._providers.get(provider)
            named = configured is not None and model in configured.models
            window = self._windows.setdefault((credential, model if named else OTHER), Window())
            if len(self._bound) >= REMEMBERED:
                self._bound.clear()
            self._bound[at] = window
        return window


def _counted_as(status: int, error: str | None) -> int:
    """The status to count: 502 where the provider brought none, or broke off."""
    return status if status >= 400 or ended_well(error) else 502


def health(
    providers: Mapping[str, Provider], loads: Iterable[Load], outages: Outages
) -> tuple[int, dict[str, Any]]:
    """The status of `/health` and what it says; `loads` are those of all workers."""
    total = _total(loads)
    credentials: dict[str, Any] = {}
    models: dict[str, Any] = {}
    for provider in providers.values():
        for credential in provider.credentials:
            of_models = [
                _model_facts(credential, model, total, outages)
                for model in (*provider.models, OTHER)
                if model != OTHER or (credential.name, OTHER) in total
            ]
            models.update({f"{credential.name}:{facts['model']}": facts for facts in of_models})
            credentials[credential.name] = {
                "type": provider.dialect,
                "is_fallback": credential.fallback,
                "is_banned": outages.out(provider, credential),
                "weight": credential.weight,
                "current_rpm": sum(facts["current_rpm"] for facts in of_models),
                "current_tpm": sum(facts["current_tpm"] for facts in of_models),
                "limit_rpm": credential.rpm,
                "limit_tpm": credential.tpm,
            }
    banned = sum(credential["is_banned"] for credential in credentials.values())
    available = len(credentials) - banned
    return 200 if available else 503, {
        "status": "healthy" if available else "unhealthy",
        "credentials_available": available,
        "credentials_banned": banned,
        "total_credentials": len(credentials),
        "credentials": credentials,
        "models": models,
    }


_Total = dict[tuple[str, str], tuple[int, int, Counter[int]]]


def _total(loads: Iterable[Load]) -> _Total:
    """Requests, tokens and errors of credentials with models."""
    total: _Total = {}
    for credential, model, requests, tokens, errors in loads:
        at = (credential, model)
        before = total.get(at, (0, 0, Counter()))
        counted = before[2] + Counter(dict(errors))
        total[at] = before[0] + requests, before[1] + tokens, counted
    return total


def _model_facts(
    credential: Credential, model: str, total: _Total, outages: Outages
) -> dict[str, Any]:
    name = credential.name
    requests, tokens, errors = total.get((name, model), (0, 0, Counter()))
    # What holds for `other` holds for all of them: an operator's ban of every model.
    ban = outages.ban(name, EVERY_MODEL if model == OTHER else model)
    own = credential.models.get(model)
    return {
        "credential": name,
        "model": model,
        "is_banned": ban is not None,
        "ban": ban and _ban_facts(ban, outages),
        "resting": round(outages.rest(name, model), 3),
        "current_rpm": requests,
        "current_tpm": tokens,
        "limit_rpm": own.rpm if own else -1,
        "limit_tpm": own.tpm if own else -1,
        "error_code_counts": {str(status): count for status, count in sorted(errors.items())},
    }


def _ban_facts(ban: Ban, outages: Outages) -> dict[str, Any]:
    """Why, and for how many seconds more; null: for good."""
    left = outages.left(ban)
    return {
        "origin": ban.origin,
        "reason": ban.reason,
        "error_code": ban.error_code,
        "seconds_left": None if left is None else round(left, 3),
    }


SHOWN_BANS = 50

_BANS = Template("""\
<h2>Bans</h2>
<div class="table bans"><table>
<thead><tr><th>credential</th><th>model</th><th>why</th><th class="n">for how long</th></tr></thead>
<tbody>
$rows</tbody>
</table></div>
""")
_PAGE = Template(files("routeur").joinpath("data/vhealth.html").read_text("utf-8"))
_STYLE = _PAGE.template.partition("<style>")[2].partition("</style>")[0]

# The page holds no script and loads nothing; this says so to the browser as well.
PAGE_POLICY = (
    f"default-src 'none'; style-src 'sha256-{b64encode(sha256(_STYLE.encode()).digest()).decode()}'"
    "; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


def page(report: Mapping[str, Any], outages: Outages, *, inflight: int, uptime: float) -> str:
    """What `health` says, as HTML; `uptime` in seconds. To be sent with PAGE_POLICY."""
    credentials, models = report["credentials"], report["models"]
    busy = {name: model for name, model in models.items() if _has_news(model)}
    status = _status(report, outages)
    partly = Counter(ban.credential for ban in outages.bans)
    return _PAGE.substitute(
        state={"healthy": "ok", "degraded": "warn"}.get(status, "bad"),
        status=status,
        available=f"{report['credentials_available']}",
        total=f"{report['total_credentials']}",
        banned=f"{report['credentials_banned']}",
        banned_state="bad" if report["credentials_banned"] else "quiet",
        rpm=_number(sum(each["current_rpm"] for each in credentials.values())),
        tpm=_number(sum(each["current_tpm"] for each in credentials.values())),
        inflight=_number(inflight),
        uptime=_duration(uptime),
        bans=_bans(outages),
        credentials="".join(
            _credential(name, facts, partly[name]) for name, facts in credentials.items()
        )
        or _empty(6, "No provider is on. Set a key variable, or add one to router.yaml."),
        models="".join(map(_model, busy.values()))
        or _empty(5, "No requests in the last minute, and no errors since the start."),
        idle=_idle([model for name, model in models.items() if name not in busy]),
    )


def _status(report: Mapping[str, Any], outages: Outages) -> str:
    if report["credentials_available"] and outages.bans:
        return "degraded"
    return str(report["status"])


def _has_news(model: Mapping[str, Any]) -> bool:
    return bool(
        model["current_rpm"]
        or model["current_tpm"]
        or model["error_code_counts"]
        or model["is_banned"]
        or model["resting"]
    )


def _bans(outages: Outages) -> str:
    """The section that says who is banned, empty where nobody is."""
    if not outages.bans:
        return ""
    rows = "".join(_ban(ban, outages.left(ban)) for ban in outages.bans[:SHOWN_BANS])
    if more := len(outages.bans) - SHOWN_BANS:
        rows += _empty(4, f"and {_number(more)} more") if more > 0 else ""
    return _BANS.substitute(rows=rows)


def _ban(ban: Ban, left: float | None) -> str:
    model = "all models" if ban.model == EVERY_MODEL else ban.model or "no model"
    until = "until it is lifted" if left is None else f"{_duration(ceil(left))} left"
    by = " <i>operator</i>" if ban.origin == "admin" else ""
    return (
        f"<tr><td><strong>{escape(ban.credential)}</strong></td><td>{escape(model)}</td>"
        f'<td class="why">{escape(ban.reason)}{by}</td>'
        f'<td class="n">{until}</td></tr>\n'
    )


def _credential(name: str, facts: Mapping[str, Any], bans: int) -> str:
    if facts["is_banned"]:
        state = '<b class="bad">banned</b>'
    elif bans:
        plural = "ban" if bans == 1 else "bans"
        state = f'<b class="warn">available<small> &middot; {bans} {plural}</small></b>'
    else:
        state = '<b class="ok">available</b>'
    role = " <i>fallback</i>" if facts["is_fallback"] else ""
    return (
        f"<tr><td><strong>{escape(name)}</strong>{role}</td><td>{escape(facts['type'])}</td>"
        f'<td>{state}</td><td class="n">{facts["weight"]}</td>'
        f"{_load(facts['current_rpm'], facts['limit_rpm'])}"
        f"{_load(facts['current_tpm'], facts['limit_tpm'])}</tr>\n"
    )


def _load(current: int, limit: int) -> str:
    """A table cell: a number, and how much of its limit that is."""
    if limit <= 0:
        return f'<td class="n">{_number(current)}</td>'
    meter = f'<meter max="{limit}" high="{limit * 0.8:g}" value="{min(current, limit)}"></meter>'
    return f'<td class="n">{_number(current)}<small> / {_number(limit)}</small>{meter}</td>'


def _model(facts: Mapping[str, Any]) -> str:
    errors = "".join(
        f'<b class="{"bad" if status >= "500" else "warn"}">{escape(status)}'
        f"<small> &times; {_number(count)}</small></b>"
        for status, count in facts["error_code_counts"].items()
    )
    state = ""
    if facts["is_banned"]:
        state = ' <b class="bad">banned</b>'
    elif facts["resting"]:
        state = f' <b class="warn">rests {_duration(ceil(facts["resting"]))}</b>'
    return (
        f"<tr><td><strong>{escape(facts['model'])}</strong>{state}</td>"
        f"<td>{escape(facts['credential'])}</td>"
        f"{_load(facts['current_rpm'], facts['limit_rpm'])}"
        f"{_load(facts['current_tpm'], facts['limit_tpm'])}"
        f'<td class="errors">{errors or "<span>none</span>"}</td></tr>\n'
    )


def _idle(models: list[Mapping[str, Any]]) -> str:
    if not models:
        return ""
    names = "".join(
        f"<li>{escape(each['model'])}<small> {escape(each['credential'])}</small></li>"
        for each in models
    )
    plural = "model" if len(models) == 1 else "models"
    return f"<details><summary>{len(models)} idle {plural}</summary><ul>{names}</ul></details>"


def _empty(columns: int, text: str) -> str:
    return f'<tr><td class="empty" colspan="{columns}">{text}</td></tr>'


def _number(value: int) -> str:
    return f"{value:,}".replace(",", "\N{NARROW NO-BREAK SPACE}")


def _duration(seconds: float) -> str:
    """The two largest units: `3d 4h`, `12m 5s`."""
    minutes, seconds = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days:
        return f"{days}d {hours}h"
    if hours:
        return f"{hours}h {minutes}m"
    return f"{minutes}m {seconds}s" if minutes else f"{seconds}s"
