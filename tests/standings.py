"""Standings with clocks that a test moves, and what they told."""

from __future__ import annotations

import json
from typing import Any

from routeur.providers import Credential, Provider
from routeur.standing import Group, Standing, Standings

STATUSES = frozenset((429, 500, 503))


class Time:
    """A monotonic clock and a wall clock that go together unless one is turned."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.turned = 1_700_000_000.0 - 1000.0

    def clock(self) -> float:
        return self.now

    def wall(self) -> float:
        return self.now + self.turned


def credential(name: str, **more: Any) -> Credential:
    return Credential(name, name.split(".")[0], "http://127.0.0.1", **more)


def provider(name: str, *credentials: Credential) -> Provider:
    return Provider(name, "openai", credentials or (credential(name),), any_name=True)


def standings(
    *credentials: Credential, time: Time | None = None, after: int = 3, **more: Any
) -> Standings:
    """Of one provider `p` (and another one, `q`)."""
    time = time or Time()
    made = Standings(after, 60.0, STATUSES, clock=time.clock, wall=time.wall, **more)
    configure(made, *credentials, after=after)
    return made


def configure(made: Standings, *credentials: Credential, after: int = 3) -> None:
    providers = (provider("p", *(credentials or [credential("p")])), provider("q"))
    made.configure({each.name: each for each in providers}, after, 60.0, STATUSES)


def workers(*credentials: Credential, time: Time, count: int = 2) -> list[Standings]:
    """Several that tell each other at once, in JSON."""
    made: list[Standings] = []

    def telling(number: int) -> Any:
        def tell(news: dict[str, Any]) -> None:
            for other in made[:number] + made[number + 1 :]:
                other.apply(json.loads(json.dumps(news)))

        return tell

    made += [standings(*credentials, time=time, tell=telling(number)) for number in range(count)]
    return made


def ended(made: Standings, standing: Standing, how: str, now: float, status: int = 500) -> bool:
    """Let an attempt end; whether the credential is banned then."""
    standing.inflight -= 1
    match how:
        case "succeed":
            made.succeeded(standing, now)
        case "leave":
            made.left(standing)
        case "fail":
            return made.failed(standing, status, now)
    return standing.banned(now) is not None


def chosen(group: Group, count: int, now: float = 1000.0, **more: Any) -> list[str]:
    """Names of so many choices, `-` for nobody."""
    found = [group.choose(now, 0, **more) for _ in range(count)]
    return [each.credential.name.partition(".")[2] if each else "-" for each in found]
