"""Pages of a server as `routeur top` sees them."""

from __future__ import annotations

import json
from typing import Any

from routeur.metrics import ANSWER, Histogram, Metrics, render
from routeur.readings import Look, read

QUIET = {"is_banned": False, "current_rpm": 0, "current_tpm": 0, "limit_rpm": -1, "limit_tpm": -1}
BAN = {"origin": "routeur", "reason": "status 401", "error_code": 401, "seconds_left": 41.2}


def credential(**facts: Any) -> dict[str, Any]:
    return {**QUIET, "type": "openai", "is_fallback": False, **facts}


def model(name: str, credential: str, **facts: Any) -> dict[str, Any]:
    return {**QUIET, "credential": credential, "model": name, **facts}


def health(*models: dict[str, Any], **credentials: dict[str, Any]) -> dict[str, Any]:
    return {
        "credentials_available": sum(not each["is_banned"] for each in credentials.values()),
        "total_credentials": len(credentials),
        "credentials": credentials,
        "models": {f"{each['credential']}:{each['model']}": each for each in models},
    }


def metrics(took: tuple[float, ...] = (), tokens: int = 0, **statuses: int) -> bytes:
    """As a server writes it, whose answers took so many seconds, with `s200=2` of this status."""
    shot = Metrics({}).snapshot()
    histogram = Histogram(ANSWER)
    histogram.observe(took)
    shot["histograms"]["routeur_request_duration_seconds"]["counts"] = histogram.counts
    shot["tokens"]["input"] = tokens
    shot["requests"] = [
        ["none", 'mo"del}\\ {', "openai", status[1:], count] for status, count in statuses.items()
    ]
    return render(shot)[0]


def look(at: float = 0.0, page: bytes | None = None, state: dict[str, Any] | None = None) -> Look:
    shown = health(openai=credential()) if state is None else state
    return read(at, b'{"status": "ready"}', json.dumps(shown).encode(), page or metrics())
