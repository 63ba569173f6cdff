"""How every credential is doing with every model: what attempts, operators and other workers say.

`bans.py` has what is said of one, `group.py` who is asked next.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from routeur.bans import EVERY_MODEL, Ban, Refusal, from_carried, longer
from routeur.group import Group, Standing
from routeur.limits import Limits
from routeur.providers import Provider

__all__ = ["Ban", "Group", "Refusal", "Standing", "Standings"]

REMEMBERED = 4096  # groups; clients invent names, so there has to be an end
PROBE = 600.0  # seconds; a probe of which nothing is heard for so long is given up
# Failures whatever `retries.statuses` says: those of our own credential, and what broken
# connections and timeouts count as.
ALWAYS = frozenset((401, 402, 403, 502, 504))

News = dict[str, Any]


class Standings:
    """The standings of all credentials.

    After `after` failures of one status without a success in between, a credential is banned for a
    model for `seconds`; then one request at a time probes it. `clock` is monotonic, `wall` Unix
    time. `tell` gets every change that other workers have to know, for their `apply`, as something
    that JSON can carry; `on_ban` gets the bans that failures here have led to.
    """

    def __init__(
        self,
        after: int,
        seconds: float,
        statuses: frozenset[int],
        *,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
        tell: Callable[[News], None] | None = None,
        limits: Limits | None = None,
        on_ban: Callable[[Ban], None] | None = None,
    ) -> None:
        self._on_ban = on_ban
        self.limits = limits or Limits()
        self._clock = clock
        self._wall = wall
        self._tell = tell
        self._groups: dict[tuple[str, str], Group] = {}
        self.forgotten = 0  # how often groups have been forgotten: who keeps one looks at it
        self._admin: dict[tuple[str, str], Ban] = {}
        self.configure({}, after, seconds, statuses)

    def configure(
        self,
        providers: Mapping[str, Provider],
        after: int,
        seconds: float,
        statuses: frozenset[int],
    ) -> None:
        """Use another configuration; accounts that stay keep their state.

        Groups that requests hold stay as they are.
        """
        self._after = after
        self._seconds = seconds
        self.counted = statuses | ALWAYS  # statuses that are failures
        self._providers = providers
        self._home = {
            credential.name: provider.name
            for provider in providers.values()
            for credential in provider.credentials
        }
        known = {(each.credential.name, each.model): each for each in self.known()}
        self._groups = {
            (provider, model): self._made(providers[provider], model, known)
            for provider, model in self._groups
            if provider in providers
        }

    def group(self, provider: str, model: str) -> Group:
        """A provider's credentials for a model; nobody, where the provider is gone.

        Not to be kept for later: beyond 4096 groups the oldest are forgotten, first those of which
        there is nothing to remember.
        """
        found = self._groups.get((provider, model))
        if found is None:
            if provider not in self._providers:
                return Group((), self)
            if len(self._groups) >= REMEMBERED:
                self._forget()
            found = self._made(self._providers[provider], model, {})
            self._groups[provider, model] = found
        return found

    def begin(self, standing: Standing) -> None:
        """Count an attempt as under way; `choose` and `pick` do it, too.

        Whoever began it takes it off `inflight` when it is over, and says how it went with
        `succeeded` (which may be left out where the standing is clear), `failed` or `left`.
        """
        standing.inflight += 1
        if standing.ban is not None:  # it is over, or nobody would be asked
            standing.probe_until = self._clock() + PROBE
            self._say("probe", standing)

    def succeeded(self, standing: Standing, now: float) -> None:
        if not standing.clear and standing.succeed(now):
            self._say("succeeded", standing)

    def failed(
        self, standing: Standing, status: int, now: float, *, at_once: str | None = None
    ) -> bool:
        """Count a failure; returns whether the credential is banned now.

        A broken connection is a 502, a timeout a 504. `at_once` is a reason to ban it for the first
        one. A status that is no failure is no verdict.
        """
        if status not in self.counted and not at_once:
            self.left(standing)
        else:
            at, before = self._wall(), standing.ban
            self._fail(standing, status, at_once, at, now)
            if self._on_ban is not None and standing.ban is not None and standing.ban is not before:
                self._on_ban(standing.ban)
            self._say("failed", standing, status=status, at_once=at_once, at=at)
        return standing.banned(now) is not None

    def left(self, standing: Standing) -> None:
        """An attempt has ended without a verdict: the client left. If it was a probe, so has it."""
        if standing.probe_until:
            standing.probe_until = 0.0
            self._say("left", standing)

    def rest(self, standing: Standing, seconds: float, now: float) -> None:
        """Do not ask it for so long: the provider said so."""
        if seconds > 0:
            standing.rest(now + seconds)
            self._say("rest", standing, seconds=seconds)

    def settle(self, standing: Standing, estimated: int, used: int, at: float) -> None:
        """What was taken from its limits in this process at `at` has used so many tokens."""
        if standing.wants:
            names = [name for name, _, _ in standing.wants]
            self.limits.settle(names, estimated, used, at, self._clock())

    def ban(self, credential: str, model: str | None, ttl: float | None, reason: str) -> Ban:
        """Ban a credential for a model (`*`, "", None: for all) for `ttl` seconds (None: for good).

        Returns the ban that holds: where an operator's lasts longer already, that one.
        """
        model, now = model or EVERY_MODEL, self._clock()
        ban = Ban(credential, model, "admin", reason, None, self._wall(), None).lasting(ttl, now)
        held = self._ban(ban, now)
        if self._tell is not None:
            self._tell({"do": "ban", "ban": held.carried(now)})
        return held

    def unban(self, credential: str, model: str | None) -> bool:
        """End a credential's bans for a model, or for every one and all (`*`, "", None).

        Returns whether one was in force.
        """
        model = model or EVERY_MODEL
        if self._tell is not None:
            self._tell({"do": "unban", "credential": credential, "model": model})
        return self._unban(credential, model, self._clock())

    def bans(self) -> list[Ban]:
        """Those in force, the oldest first."""
        now = self._clock()
        found = [*self._admin.values(), *(each.ban for each in self.known() if each.ban)]
        return sorted((ban for ban in found if now < ban.ends), key=lambda ban: ban.since)

    def known(self) -> Iterator[Standing]:
        """Every credential with every model that it may have been asked for."""
        for group in self._groups.values():
            yield from group.members

    def apply(self, news: News) -> None:
        """Do what another worker told, or what its `state` was, without telling it on."""
        now = self._clock()
        match news:
            case {"do": "state", "news": several}:
                for each in several:
                    self.apply(each)
            case {"do": "ban", "ban": carried}:
                self._ban(from_carried(carried, now), now)
            case {"do": "unban", "credential": credential, "model": model}:
                self._unban(credential, model, now)
            case {"credential": credential, "model": model}:
                standing = self._find(credential, model)
                if standing is not None:
                    self._replay(standing, news, now)

    def state(self) -> News:
        """All there is to know, as news for a worker that starts."""
        now = self._clock()
        in_force = [ban for ban in self._admin.values() if now < ban.ends]
        known = [each for each in self.known() if each.troubled(now)]
        return {
            "do": "state",
            "news": [
                *({"do": "ban", "ban": ban.carried(now)} for ban in in_force),
                *(_snapshot(each, now) for each in known),
            ],
        }

    def _say(self, do: str, standing: Standing, **more: Any) -> None:
        if self._tell is not None:
            name = standing.credential.name
            self._tell({"do": do, "credential": name, "model": standing.model, **more})

    def _replay(self, standing: Standing, news: News, now: float) -> None:
        match news["do"]:
            case "failed":
                self._fail(standing, news["status"], news["at_once"], news["at"], now)
            case "succeeded":
                standing.succeed(now)
            case "rest":
                standing.rest(now + news["seconds"])
            case "probe":
                standing.probe_until = now + PROBE
            case "left":
                standing.probe_until = 0.0
            case "is":
                _merge(standing, news, now)

    def _fail(
        self, standing: Standing, status: int, at_once: str | None, at: float, now: float
    ) -> None:
        reason = at_once or standing.fail(status, self._after, now)
        if reason:
            name, model = standing.credential.name, standing.model
            ban = Ban(name, model, "routeur", reason, status, at, None)
            standing.banish(ban.lasting(self._seconds, now), now)

    def _ban(self, ban: Ban, now: float) -> Ban:
        self._admin = {key: each for key, each in self._admin.items() if now < each.ends}
        key = ban.credential, ban.model
        held = self._admin[key] = longer(self._admin.get(key), ban, now)
        self._look_at(ban.credential)
        return held

    def _unban(self, credential: str, model: str, now: float) -> bool:
        every = model == EVERY_MODEL
        gone = [key for key in self._admin if key[0] == credential and (every or key[1] == model)]
        removed = any([now < self._admin.pop(key).ends for key in gone])
        for each in self._of(credential):
            if every or each.model == model:
                removed |= each.lift(now)
        self._look_at(credential)
        return removed

    def _look_at(self, credential: str) -> None:
        """Let a credential's standings know what operators have said."""
        for each in self._of(credential):
            each.admin = self._admins(credential, each.model)
            each.look()

    def _admins(self, credential: str, model: str) -> Ban | None:
        """An operator's ban; the one that lasts longer where the model has one of its own."""
        found = [self._admin.get((credential, each)) for each in (model, EVERY_MODEL)]
        return max((ban for ban in found if ban), key=lambda ban: ban.ends, default=None)

    def _of(self, credential: str) -> Iterator[Standing]:
        return (each for each in self.known() if each.credential.name == credential)

    def _find(self, credential: str, model: str) -> Standing | None:
        provider = self._home.get(credential)
        members = self.group(provider, model).members if provider else ()
        return next((each for each in members if each.credential.name == credential), None)

    def _made(
        self, provider: Provider, model: str, known: Mapping[tuple[str, str], Standing]
    ) -> Group:
        members = []
        for credential in provider.credentials:
            if not credential.weight_for(model):
                continue
            standing = known.get((credential.name, model))
            if standing is not None and standing.credential.account == credential.account:
                standing.fit(credential)
            else:
                standing = Standing(credential, model)
            standing.admin = self._admins(credential.name, model)
            standing.look()
            members.append(standing)
        return Group(members, self)

    def _forget(self) -> None:
        """Make room for more groups; among equals the oldest go, as sorting is stable."""
        self.forgotten += 1
        now = self._clock()
        worth = {
            key: max((each.worth(now) for each in group.members), default=0)
            for key, group in self._groups.items()
        }
        for key in sorted(worth, key=worth.__getitem__)[: REMEMBERED // 8]:
            del self._groups[key]


def _snapshot(standing: Standing, now: float) -> News:
    """How a credential is doing with a model, as news: JSON has no numbers as keys."""
    return {
        "do": "is",
        "credential": standing.credential.name,
        "model": standing.model,
        "failures": list(standing.failures.items()),
        "ban": standing.ban.carried(now) if standing.ban else None,
        "rest": max(standing.rest_until - now, 0.0),
        "probe": max(standing.probe_until - now, 0.0),
    }


def _merge(standing: Standing, news: News, now: float) -> None:
    """Take over what a snapshot says, as far as it is worse than what is known."""
    for status, count in news["failures"]:
        standing.failures[status] = max(count, standing.failures.get(status, 0))
    if news["ban"]:
        ban = from_carried(news["ban"], now)
        if standing.ban is None or standing.ban.ends < ban.ends:
            standing.ban = ban
    if news["probe"]:
        standing.probe_until = max(standing.probe_until, now + news["probe"])
    if news["rest"]:
        standing.rest(now + news["rest"])
    standing.look()
