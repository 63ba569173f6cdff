"""A provider's credentials for one model: how each is doing, and whose turn it is."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

from routeur.bans import Ban, Refusal, longer
from routeur.limits import Want
from routeur.providers import Credential

if TYPE_CHECKING:
    from routeur.standing import Standings


class Standing:
    """One credential with one model.

    `inflight` are requests under way. `clear` is True while there is nothing to ask about: no ban,
    no rest, no limit, no failure. `wants` are the limits to take. Times are on a monotonic clock.
    """

    __slots__ = (
        "admin",
        "ban",
        "clear",
        "credential",
        "failures",
        "full_until",
        "inflight",
        "model",
        "probe_until",
        "rest_until",
        "turn",
        "wants",
        "weight",
    )

    def __init__(self, credential: Credential, model: str) -> None:
        self.model = model
        self.inflight = 0
        self.turn = 0  # what nginx calls the current weight
        self.failures: dict[int, int] = {}  # by status, since the last success
        self.ban: Ban | None = None  # routeur's own; half-open while it is over and still here
        self.admin: Ban | None = None
        self.rest_until = self.probe_until = self.full_until = 0.0
        self.fit(credential)

    def fit(self, credential: Credential) -> None:
        """Use what the configuration says of it now."""
        self.credential = credential
        self.weight = credential.weight_for(self.model)
        wants = [(credential.name, credential.rpm, credential.tpm)]
        if own := credential.models.get(self.model):
            wants.append((f"{credential.name}:{self.model}", own.rpm, own.tpm))
        self.wants: tuple[Want, ...] = tuple(want for want in wants if max(want[1:]) >= 0)
        self.look()

    def look(self) -> None:
        """See whether it is clear."""
        self.clear = not (self.wants or self.failures or self.ban or self.admin or self.rest_until)

    def askable(self, now: float) -> bool:
        """Whether it can be asked, its limits aside; what is over is forgotten."""
        if self.admin is not None and self.admin.ends <= now:
            self.admin = None
        if self.rest_until <= now:
            self.rest_until = 0.0
        self.look()
        return not (self.rest_until or self.banned(now) or self.probing(now))

    def banned(self, now: float) -> Ban | None:
        """The ban in force, the one that lasts longer where there are two."""
        bans = [ban for ban in (self.admin, self.ban) if ban is not None and now < ban.ends]
        return max(bans, key=lambda ban: ban.ends, default=None)

    def half_open(self, now: float) -> bool:
        """Whether routeur's own ban is over, and no success has come since."""
        return self.ban is not None and self.ban.ends <= now

    def probing(self, now: float) -> bool:
        return self.ban is not None and now < self.probe_until

    def refusal(self, now: float) -> Refusal | None:
        """Why it cannot be asked, None if it can."""
        name, model = self.credential.name, self.model
        if ban := self.banned(now):
            return Refusal(name, model, "banned", ban.reason, ban.left(now), ban.error_code)
        if now < self.rest_until:
            detail = "the provider asked for a pause"
            return Refusal(name, model, "resting", detail, self.rest_until - now)
        if self.probing(now):
            detail = "one request tries it after its ban"
            return Refusal(name, model, "probing", detail, None)
        if now < self.full_until:
            return Refusal(name, model, "rate limited", self._limits(), self.full_until - now)
        return None

    def _limits(self) -> str:
        """`rpm 600, tpm 200000; for this model rpm 60`."""
        found = []
        for name, rpm, tpm in self.wants:
            given = [f"{word} {n}" for word, n in (("rpm", rpm), ("tpm", tpm)) if n >= 0]
            of_model = name != self.credential.name
            found.append(f"{'for this model ' if of_model else ''}{', '.join(given)}")
        return "; ".join(found)

    def rest(self, until: float) -> None:
        self.rest_until = max(self.rest_until, until)
        self.look()

    def succeed(self, now: float) -> bool:
        """Forget failures, and a ban that is over; whether there was any.

        A ban in force stays: the request went out before it.
        """
        half_open = self.half_open(now)
        changed = half_open or bool(self.failures)
        self.failures.clear()
        if half_open:
            self.ban, self.probe_until = None, 0.0
        self.look()
        return changed

    def fail(self, status: int, after: int, now: float) -> str:
        """Count a failure; returns why it has to be banned for that, or nothing."""
        if self.half_open(now):
            return f"status {status} again after a ban"
        count = self.failures[status] = self.failures.get(status, 0) + 1
        self.look()
        if count < after:
            return ""
        times = f", {count} times since the last success" if count > 1 else ""
        return f"status {status}{times}"

    def banish(self, ban: Ban, now: float) -> None:
        """Ban it on routeur's own behalf; what led to that is forgotten."""
        self.ban, self.probe_until = longer(self.ban, ban, now), 0.0
        self.failures.clear()
        self.look()

    def lift(self, now: float) -> bool:
        """Forget routeur's own ban and what leads to one; whether it was in force."""
        banned = self.ban is not None and now < self.ban.ends
        self.ban, self.probe_until = None, 0.0
        self.failures.clear()
        self.look()
        return banned

    def worth(self, now: float) -> int:
        """How much would be lost if it were forgotten; 0: nothing."""
        if self.ban is not None and now < self.ban.ends:
            return 3
        if self.inflight:
            return 2
        return 1 if self.troubled(now) else 0

    def troubled(self, now: float) -> bool:
        """Whether there is more to say of it than what operators said."""
        return bool(self.failures or self.ban or now < self.rest_until)


class Group:
    """A provider's credentials for one model, in the configuration's order.

    `lone` is the only one, where there is only one; `limited` says whether any has limits to take.
    """

    __slots__ = ("_fallback", "_regular", "_standings", "limited", "lone", "members")

    def __init__(self, members: Sequence[Standing], standings: Standings) -> None:
        self.members = tuple(members)
        self.lone = self.members[0] if len(self.members) == 1 else None
        self.limited = any(each.wants for each in members)
        self._regular = [each for each in members if not each.credential.fallback]
        self._fallback = [each for each in members if each.credential.fallback]
        self._standings = standings

    def choose(
        self,
        now: float,
        tokens: int,
        without: Collection[Standing] = (),
        *,
        least_busy: bool = False,
    ) -> Standing | None:
        """The next one to ask, begun and its limits taken; None if nobody can be asked now."""
        while standing := self.pick(now, without, least_busy=least_busy):
            if not standing.wants or not self.take(standing, tokens, now):
                return standing
            without = (*without, standing)
        return None

    def pick(
        self,
        now: float,
        without: Collection[Standing] = (),
        *,
        least_busy: bool = False,
        prefer: str | None = None,
    ) -> Standing | None:
        """The same without its limits: those that it `wants` are to be taken next.

        Smooth weighted round-robin, nginx's; `least_busy`: among those with the fewest requests
        under way for their weight. Fallback ones when no other can be asked. The credential that is
        called `prefer` comes before all, if it can be asked.
        """
        if prefer is not None:
            for each in self.members:
                if each.credential.name == prefer and each not in without and each.askable(now):
                    self._standings.begin(each)
                    return each
        for members in (self._regular, self._fallback):
            able = [
                each
                for each in members
                if (each.clear or each.askable(now)) and each not in without
            ]
            if able:
                standing = _next(_idlest(able) if least_busy else able)
                self._standings.begin(standing)
                return standing
        return None

    def take(self, standing: Standing, tokens: int, now: float) -> float:
        """Take its limits in this process: 0.0, or the seconds for which it is put back."""
        seconds = self._standings.limits.take(standing.wants, tokens, now)
        if seconds:
            self.put_back(standing, seconds, now)
        return seconds

    def put_back(self, standing: Standing, seconds: float, now: float) -> None:
        """It has been picked and is not asked: its limits have no room for so many seconds."""
        standing.inflight -= 1
        standing.full_until = now + seconds
        self._standings.left(standing)

    def open(self, now: float) -> bool:
        """Whether anybody can be asked now, as far as is known."""
        return any(each.clear or each.refusal(now) is None for each in self.members)

    @property
    def load(self) -> float:
        """Requests under way, for their weight."""
        weight = sum(each.weight for each in self.members)
        return sum(each.inflight for each in self.members) / weight if weight else 0.0

    def refusals(self, now: float) -> list[Refusal]:
        """Why members cannot be asked now; those that can be are left out."""
        found = [each.refusal(now) for each in self.members]
        return [refusal for refusal in found if refusal is not None]


def _next(able: Sequence[Standing]) -> Standing:
    """Each gains its weight; it is the turn of the first that has most, which pays for all."""
    best, total = able[0], 0
    for each in able:
        each.turn += each.weight
        total += each.weight
        if each.turn > best.turn:
            best = each
    best.turn -= total
    return best


def _idlest(able: Sequence[Standing]) -> list[Standing]:
    least = min(each.inflight / each.weight for each in able)
    return [each for each in able if each.inflight / each.weight == least]
