"""Choosing among targets: what a request needs, and which targets can serve it."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from routeur.addressing import spoken, unfit
from routeur.names import misplaced
from routeur.providers import Model, Provider
from routeur.signs import may_use

_REMEMBERED = 256  # subsets of some targets
_QUICK = 64 * 1024  # bytes of a body that are looked through for signs of what it uses
_NOTHING: frozenset[str] = frozenset()


class Target(NamedTuple):
    """A provider and a model there, by the name the configuration gives it."""

    provider: str
    model: str

    def __str__(self) -> str:
        return f"{self.provider}/{self.model}"


class Facts(Protocol):
    """What is known of a request before it is sent.

    `dialect` is `openai`, `anthropic` or `gemini`, `format` that of the route, `purpose` what
    providers of other dialects can be asked for, too; `key` is the key's name; `headers` finds
    names in any case; `raw` is the body. `has` (its parts), `tokens` (an estimate of the prompt)
    and `difficulty` (what a classifier says) are computed when first asked for, `output` is the
    most tokens that may come out, 0 where it does not say.
    """

    model: str | None
    stream: bool
    dialect: str
    format: str | None
    key: str | None
    path: str
    raw: bytes

    @property
    def purpose(self) -> str: ...

    @property
    def headers(self) -> Mapping[str, str]: ...

    def has(self) -> frozenset[str]: ...

    def tokens(self) -> int: ...

    def output(self) -> int: ...

    def difficulty(self) -> str | None: ...


class Choice:
    """What is left of some targets (`kept`, in order) for one dialect and format, and maybe less.

    `rejected` are the others and why; without `models` nothing is known of their abilities. Whoever
    works something out that holds for all requests with these targets keeps it in `notes`.
    """

    __slots__ = (
        "_abilities",
        "_models",
        "_outputs",
        "_rooms",
        "_subsets",
        "kept",
        "notes",
        "rejected",
    )

    def __init__(
        self,
        kept: Iterable[Target],
        rejected: tuple[tuple[str, str], ...],
        models: Callable[[Target], Model] | None = None,
    ) -> None:
        self.kept = tuple(kept)
        self.rejected = rejected
        self.notes: dict[Hashable, Any] = {}
        self._models = models
        self._subsets: dict[Hashable, Choice] = {}
        known = [models(target) for target in self.kept] if models else []
        self._rooms = sorted({model.room for model in known if model.room is not None})
        self._outputs = sorted({model.output for model in known if model.output is not None})
        abilities = [model.has for model in known if model.has is not None]
        self._abilities = frozenset.intersection(*abilities) if abilities else None

    @property
    def sized(self) -> bool:
        """Whether it depends on the request who can take it."""
        return bool(self._rooms or self._outputs) or self._abilities is not None

    def fits(self, facts: Facts) -> bool:
        """Whether all can take a request by its parts and its size; mostly seen at a glance."""
        if self._outputs and facts.output() > self._outputs[0]:
            return False
        abilities, room = self._abilities, self._rooms[0] if self._rooms else None
        size = len(facts.raw)
        if 0 < size < _QUICK:
            signs = may_use(facts.raw)
            if abilities is not None and signs <= abilities:
                abilities = None
            # A token has a byte at least, where nothing is attached.
            if room is not None and size < room and not signs & _ATTACHED:
                room = None
        if abilities is not None and not facts.has() <= abilities:
            return False
        return room is None or facts.tokens() <= room

    def able(self, facts: Facts) -> Choice:
        """Those that can take the request's parts and size."""
        if self.fits(facts):
            return self
        has = facts.has() if self._abilities is not None else _NOTHING
        tokens = facts.tokens() if self._rooms else 0
        output = facts.output() if self._outputs else 0
        models = self._models
        assert models is not None  # it would fit
        # All requests between the same two sizes can be taken by the same targets.
        sizes = bisect_left(self._rooms, tokens), bisect_left(self._outputs, output)
        return self.subset(
            (has, *sizes), lambda target: unable(models(target), has, tokens, output)
        )

    def subset(self, key: Hashable, against: Callable[[Target], str]) -> Choice:
        """Those of which `against` has nothing to say; worked out once for each `key`."""
        found = self._subsets.get(key)
        if found is None:
            why = {target: against(target) for target in self.kept}
            kept = (target for target in self.kept if not why[target])
            more = ((str(target), reason) for target, reason in why.items() if reason)
            found = Choice(kept, (*self.rejected, *more), self._models)
            if len(self._subsets) >= _REMEMBERED:
                self._subsets.clear()
            self._subsets[key] = found
        return found


_ATTACHED = frozenset(("image", "file", "audio"))


class Candidates:
    """The targets of one rule, alias or name; sifted once per dialect and format.

    `anyone`: nobody lists the name; then those come first that need no translation. `unnamed`:
    nobody has named them for this; then their own names say what they are for.
    """

    __slots__ = ("_anyone", "_at", "_choices", "_providers", "_unnamed", "targets")

    def __init__(
        self,
        targets: Iterable[Target],
        providers: Mapping[str, Provider],
        *,
        anyone: bool = False,
        unnamed: bool = False,
    ) -> None:
        self.targets = tuple(dict.fromkeys(targets))
        self._anyone = anyone
        self._unnamed = unnamed
        self._providers = providers
        self._at: dict[tuple[str, ...], Candidates] = {}
        self._choices: dict[tuple[str, str | None, str], Choice] = {}

    def at(self, pins: tuple[str, ...]) -> Candidates:
        """The targets at these providers."""
        found = self._at.get(pins)
        if found is None:
            here = (target for target in self.targets if target.provider in pins)
            found = self._at[pins] = Candidates(here, self._providers, unnamed=self._unnamed)
        return found

    def choice(self, facts: Facts) -> Choice:
        """Those that can be asked in the request's dialect and format."""
        kind = facts.dialect, facts.format, facts.purpose
        choice = self._choices.get(kind)
        if choice is None:
            choice = self._choices[kind] = self._sift(*kind)
        return choice

    def _sift(self, dialect: str, format: str | None, purpose: str) -> Choice:
        why = {target: self._unfit(target, dialect, format, purpose) for target in self.targets}
        kept = [target for target in self.targets if not why[target]]
        if self._anyone:
            kept.sort(key=lambda target: self._translates(target, format, purpose))
        rejected = tuple((str(target), reason) for target, reason in why.items() if reason)
        return Choice(kept, rejected, self._model)

    def _unfit(self, target: Target, dialect: str, format: str | None, purpose: str) -> str:
        provider = self._providers[target.provider]
        id = provider.id_of(target.model)
        why = misplaced(target.model, purpose) if self._unnamed else ""
        return why or unfit(provider, id, dialect, format, purpose)

    def _translates(self, target: Target, format: str | None, purpose: str) -> bool:
        provider = self._providers[target.provider]
        return spoken(provider, provider.id_of(target.model), format, purpose) != format

    def _model(self, target: Target) -> Model:
        return self._providers[target.provider].model(target.model)


def unable(model: Model, has: frozenset[str], tokens: int, output: int) -> str:
    """Why a model cannot take a request, by what is known of it, or nothing."""
    if model.has is not None and not has <= model.has:
        return "cannot take " + ", ".join(sorted(has - model.has))
    if model.room is not None and tokens > model.room:
        return f"takes {model.room} tokens, and the prompt has more"
    if model.output is not None and output > model.output:
        return f"answers with {model.output} tokens at most, and more are asked for"
    return ""


def draw(split: Sequence[tuple[Target, int]], random: Callable[[], float]) -> tuple[Target, ...]:
    """One target drawn by weight, then the others, heaviest first."""
    point = random() * sum(weight for _, weight in split)
    drawn = 0
    for place, (_, weight) in enumerate(split):
        if point < weight:
            drawn = place
            break
        point -= weight
    rest = sorted((*split[:drawn], *split[drawn + 1 :]), key=lambda part: -part[1])
    return (split[drawn][0], *(target for target, _ in rest))
