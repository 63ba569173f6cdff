"""Responses that a provider keeps itself: who has made one is noted, as nobody else can be asked
for it.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any, cast

from routeur.passage import Passage
from routeur.responses import Stored, has_ours, id_in, without_reasoning

if TYPE_CHECKING:
    from routeur.attempts import Attempts
    from routeur.facts import Facts
    from routeur.routing import Place
    from routeur.server import ClientConnection

SEALED = b'"routeur.1.'  # how reasoning begins that was sealed here for another provider
SEARCHED = 8 * 1024  # bytes of an answer in which its id is looked for


class Noting(Passage):
    """An attempt at a provider with a Responses API of its own."""

    _looks = False  # whether there is still something to note

    def __init__(
        self, attempts: Attempts, place: Place, facts: Facts, client: ClientConnection
    ) -> None:
        super().__init__(attempts, place, facts, client)
        others = facts.recording is not None and bool(facts.recording.after)
        if self.body and (others or SEALED in self.body or has_ours(self.body)):
            self.body = without_reasoning(self.body, all=others)

    def on_start(self) -> None:
        good = self.attempt.status < 300
        self._looks = good and self.facts.doc.get("store") is not False
        self._note()  # it may be asked for, or cancelled, while its stream is under way
        super().on_start()

    def _measure(self, *, whole: bool) -> None:
        super()._measure(whole=whole)
        self._note()

    def _note(self) -> None:
        if not self._looks:
            return
        id = id_in((self.first or b"".join(self.pieces[:4]))[:SEARCHED])
        if not id:
            return
        self._looks = False
        provider, _, _, credential = self.place.shown
        owner, at = self.facts.caller.id, self.call.started_at
        self.attempts.keep(Stored(id, owner, at, provider, credential, pinned=True))


def noted(kind: type[Passage]) -> type[Passage]:
    """The same kind of attempt, noted."""
    found: type[Passage] = _noted(cast(Any, kind))
    return found


@cache
def _noted(kind: Any) -> Any:
    return type(f"Noting{kind.__name__}", (Noting, kind), {})
