"""Which credentials are not asked for which models now, and why: for people and for metrics."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from routeur.bans import EVERY_MODEL, Ban
from routeur.group import Standing
from routeur.providers import Credential, Provider


class Outages:
    """The bans in force, and what else `standings` say, at `now` on their clock."""

    def __init__(self, bans: Iterable[Ban], standings: Iterable[Standing], now: float) -> None:
        self.bans = latest(bans, now)
        self._now = now
        self._by_place: dict[tuple[str, str], Ban] = {}
        for ban in sorted(self.bans, key=lambda ban: ban.ends):
            self._by_place[ban.credential, ban.model] = ban
        self._rests: dict[tuple[str, str], float] = {}
        self._asked: dict[str, list[str]] = {}
        for each in standings:
            name, model = each.credential.name, each.model
            self._rests[name, model] = max(each.rest_until - now, 0.0)
            self._asked.setdefault(name, []).append(model)

    def ban(self, credential: str, model: str) -> Ban | None:
        """The ban of a credential for a model; where it has several, the one that lasts longest."""
        found = [self._by_place.get((credential, each)) for each in (model, EVERY_MODEL)]
        return max((ban for ban in found if ban), key=lambda ban: ban.ends, default=None)

    def left(self, ban: Ban) -> float | None:
        """Seconds until it ends, None if it does not by itself."""
        return ban.left(self._now)

    def rest(self, credential: str, model: str) -> float:
        """Seconds for which the provider wants to be left alone."""
        return self._rests.get((credential, model), 0.0)

    def out(self, provider: Provider, credential: Credential) -> bool:
        """Whether a credential is banned for all its models.

        These are the ones that the configuration names, else those that it was asked for.
        """
        name = credential.name
        if (name, EVERY_MODEL) in self._by_place:
            return True
        models = [] if provider.catalogued else [*filter(credential.weight_for, provider.models)]
        models = models or self._asked.get(name, [])
        return bool(models) and all((name, model) in self._by_place for model in models)

    def names(self, providers: Mapping[str, Provider]) -> list[str]:
        """The credentials that are out."""
        return [
            credential.name
            for provider in providers.values()
            for credential in provider.credentials
            if self.out(provider, credential)
        ]


def latest(bans: Iterable[Ban], now: float) -> list[Ban]:
    """Those in force, the oldest first; of what several workers say of the same, the longest."""
    found: dict[tuple[str, str, str], Ban] = {}
    for ban in bans:
        key = ban.credential, ban.model, ban.origin
        if now < ban.ends and (key not in found or found[key].ends < ban.ends):
            found[key] = ban
    return sorted(found.values(), key=lambda ban: (ban.since, ban.credential, ban.model))
