"""Requests for responses that depend on others, or on how they are made: what becomes of them
before it is decided who answers.

One that goes on from a response is given what was said before. One that a provider has to answer is
pinned to the account that keeps its past. What a provider without a Responses API cannot do (work
in the background, make a conversation short) is done here, by requests inside.
"""

from __future__ import annotations

from collections.abc import Callable
from copy import copy
from dataclasses import dataclass, replace

from aiohttp import web

from routeur import answers
from routeur.addressing import spoken
from routeur.call import Call
from routeur.choosing import Chooser
from routeur.compaction import MARKED, threshold, with_summaries
from routeur.decision import RESPONSES
from routeur.dialects import exact
from routeur.dialects.openai_responses import ROUTES
from routeur.errors import ClientError, NotFound, UpstreamError
from routeur.facts import Facts
from routeur.inside import Inside, Serve, fields_of
from routeur.jobs import Jobs
from routeur.lanes import Refusal
from routeur.responses import REFERENCE, continued, empty, previous_not_found
from routeur.retrieval import send
from routeur.shelf import STATEFUL, Shelf
from routeur.summaries import Ask, compact, shortened

ANSWER, COMPACT = ROUTES[0], ROUTES[1]


@dataclass(frozen=True, slots=True)
class Continuation:
    """`key` seals summaries, `serve` is the door for requests inside, `malformed` is told of
    mistakes of ours there.
    """

    shelf: Shelf
    jobs: Jobs
    key: bytes
    chooser: Callable[[], Chooser]
    serve: Serve
    malformed: Callable[..., None]

    async def prepare(self, facts: Facts, call: Call) -> web.StreamResponse | None:
        """Make a request one that can be answered by itself; the answer, if that is made here.

        Raises ClientError, StoreUnavailable.
        """
        compacts = facts.route is COMPACT
        raw = facts.raw
        if not (compacts or facts.doc.keys() & STATEFUL or MARKED in raw or REFERENCE in raw):
            return None
        await self._go_on(facts)
        dry = facts.inbound.steers and facts.inbound.asks(b"routeur-dry-run")
        told = None
        try:
            if compacts:
                told = await self._compact(facts, call, dry=dry)
            elif facts.route is ANSWER and not dry:
                told = await self._background(facts, call)
                if told is None:
                    await self._shorten(facts, call)
        except Refusal as error:
            call.error = str(error)
            told = answers.own(call, error.status, answers.json({"error": error.error}))
        if told is None and MARKED in facts.raw:
            facts.retake(with_summaries(facts.raw, self.key))
        return told

    # ---- where it comes from

    async def _go_on(self, facts: Facts) -> None:
        """Put what was said before into the body, or find out who knows it."""
        raw, doc = facts.raw, facts.doc
        ready = await self.shelf.prepare(raw, doc, facts.caller.id, facts.max_body)
        facts.recording = ready.recording
        if ready.raw is not raw:
            facts.retake(ready.raw)
        if ready.place is not None or ready.unknown:
            self._pin(facts, doc["previous_response_id"], ready.place)

    def _pin(self, facts: Facts, id: str, place: tuple[str, str] | None) -> None:
        """Nobody but the provider that keeps a response can go on from it."""
        providers = self.chooser().table.providers
        if place is None:
            name = self.only_keeper()
            place = None if name is None else (name, "")
        known = providers.get(place[0]) if place is not None else None
        if place is None or known is None:
            raise previous_not_found(id)
        if place[1] and place[1] not in [each.name for each in known.credentials]:
            raise previous_not_found(id)
        named, slash, _ = (facts.model or "").partition("/")
        asked = [facts.inbound.word(b"routeur-provider"), named if slash else None]
        if any(name in providers and name != place[0] for name in asked):
            raise previous_not_found(id)
        facts.place = place
        try:
            native = self._native(facts)
        except NotFound:
            native = False
        if not native:
            raise previous_not_found(id)

    def only_keeper(self) -> str | None:
        """The provider with a Responses API of its own, if there is exactly one."""
        found = [
            name
            for name, each in self.chooser().table.providers.items()
            if spoken(each, "", RESPONSES, ANSWER.purpose) == RESPONSES
        ]
        return found[0] if len(found) == 1 else None

    def _native(self, facts: Facts) -> bool:
        """Whether who is asked first has a Responses API of its own."""
        probe = copy(facts)
        probe.route = ANSWER
        chooser = self.chooser()
        target = chooser.plan(probe).targets[0]
        provider = chooser.table.providers[target.provider]
        id = provider.id_of(target.model)
        return spoken(provider, id, RESPONSES, ANSWER.purpose) == RESPONSES

    # ---- what is done here

    async def _compact(self, facts: Facts, call: Call, *, dry: bool) -> web.StreamResponse | None:
        if facts.place is not None or self._native(facts):
            return None
        if dry:  # it is the model that is asked
            facts.route = ANSWER
            return None
        return answers.own(call, 200, await compact(facts.raw, self.key, self._ask(facts)))

    async def _background(self, facts: Facts, call: Call) -> web.StreamResponse | None:
        """Begin a response that nobody waits for, and say so."""
        doc, recording = facts.doc, facts.recording
        if doc.get("background") is not True or self._is_left_to_it(facts):
            return None
        assert recording is not None
        if not recording.keeps:
            raise ClientError("`background` cannot go with `store: false`", param="background")
        if doc.get("conversation") is not None:
            raise ClientError(
                "`conversation` exists only at providers with a Responses API of their own",
                code="unsupported_parameter",
                param="conversation",
            )
        id = response_id(call)
        queued = empty(facts.raw, id, recording.after)
        readable = with_summaries(facts.raw, self.key)
        raw = continued(readable, (), background=None, stream=True, store=False)
        ask = self._ask(facts)
        stored = recording.asked(id, call.started_at)
        told = await self.jobs.begin(stored, queued, lambda: ask(raw))
        if not facts.stream:
            return answers.own(call, 200, exact.dumps(told))
        frames = self.jobs.follow(id, stored.owner, -1)
        return await send(facts.request, frames, answers.own(call, 200, b"").headers)

    def _is_left_to_it(self, facts: Facts) -> bool:
        """Whether the provider works in the background itself; raises ClientError.

        What that costs it never says to whom has asked for it: so not for keys that are metered.
        """
        if facts.place is None:
            return not facts.caller.metered and self._native(facts)
        if facts.caller.metered:
            raise ClientError(
                "a key with a limit of money or tokens cannot go on in the background from a "
                "response that the provider keeps: leave `background` out",
                code="unsupported_parameter",
                param="background",
            )
        return True

    async def _shorten(self, facts: Facts, call: Call) -> None:
        """Put a summary in the place of what has become longer than the client wants it to be."""
        if facts.doc.get("context_management") is None:
            return
        if facts.place is not None or self._native(facts):
            return
        most = threshold(facts.doc)
        if most is None:
            return
        if facts.tokens() <= most:
            return facts.retake(continued(facts.raw, (), context_management=None))
        try:
            found = await shortened(facts.raw, response_id(call), self.key, self._ask(facts))
        except (Refusal, UpstreamError):
            return  # the answer says that this was left undone, among what it has dropped
        if found is None:
            return facts.retake(continued(facts.raw, (), context_management=None))
        facts.retake(found.raw)
        assert facts.recording is not None
        facts.recording = replace(
            facts.recording, new=found.said, previous=None, before=(), item=found.item
        )

    def _ask(self, facts: Facts) -> Ask:
        """How to ask for a response inside, as the same caller."""
        fields = facts.request.raw_headers
        _, mark, query = facts.request.raw_path.partition("?")  # which may have the key

        def ask(raw: bytes) -> Inside:
            target, given = ANSWER.path + mark + query, fields_of(fields, raw)
            return Inside(self.serve, "POST", target, given, raw, self.malformed)

        return ask


def response_id(call: Call) -> str:
    """The id of a response that is made here."""
    return f"resp_{call.id[3:]:0<24}"
