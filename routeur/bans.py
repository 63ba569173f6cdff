"""A ban of a credential, by an operator or by routeur, and other reasons not to ask one now."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from datetime import UTC, datetime
from typing import Any, Literal

EVERY_MODEL = "*"
LONGEST = 100 * 365 * 86400.0  # seconds; a ban that is to last longer is one for good


@dataclass(frozen=True, slots=True)
class Ban:
    """A credential is not asked for a model (`*`: for any).

    `since` and `until` are Unix seconds, for people; `until` is None where it is for good. `ends`
    is what counts: on this process's monotonic clock, so that no change of the time ends a ban.
    """

    credential: str
    model: str
    origin: Literal["admin", "routeur"]
    reason: str
    error_code: int | None
    since: float
    until: float | None
    ends: float = field(default=math.inf, repr=False, compare=False)

    def lasting(self, seconds: float | None, now: float) -> Ban:
        """The same for so long, None for good."""
        if seconds is None or seconds > LONGEST:
            return replace(self, until=None, ends=math.inf)
        return replace(self, until=self.since + seconds, ends=now + seconds)

    def left(self, now: float) -> float | None:
        """Seconds until it ends, None if it does not by itself."""
        return None if self.until is None else self.ends - now

    def as_dict(self) -> dict[str, Any]:
        """As the management API shows it."""
        return {
            "credential": self.credential,
            "model": self.model,
            "origin": self.origin,
            "reason": self.reason,
            "error_code": self.error_code,
            "since": _rfc3339(self.since),
            "until": None if self.until is None else _rfc3339(self.until),
            "permanent": self.until is None,
        }

    def carried(self, now: float) -> dict[str, Any]:
        """As one worker tells another: `left` seconds of it are left, whatever their clocks say."""
        names = [each.name for each in fields(self) if each.name != "ends"]
        return {**{name: getattr(self, name) for name in names}, "left": self.left(now)}


def from_carried(carried: Mapping[str, Any], now: float) -> Ban:
    """What `Ban.carried` made."""
    known = {name: value for name, value in carried.items() if name != "left"}
    left = carried["left"]
    return Ban(**known, ends=math.inf if left is None else now + left)


def longer(old: Ban | None, new: Ban, now: float) -> Ban:
    """Of two that overlap the one that ends later, since the first of them began."""
    if old is None or old.ends <= now:
        return new
    return old if old.ends >= new.ends else replace(new, since=old.since)


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a credential cannot be asked for a model now, and for how many seconds, if it is known.

    `why` is `banned`, `resting`, `rate limited` or `probing`; `status` is what it was banned for.
    """

    credential: str
    model: str
    why: Literal["banned", "resting", "rate limited", "probing"]
    detail: str
    seconds: float | None
    status: int | None = None

    @property
    def limited(self) -> bool:
        """Whether it was asked more than it wants to be."""
        return self.why in ("resting", "rate limited") or self.status == 429


def _rfc3339(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")[:-6] + "Z"
