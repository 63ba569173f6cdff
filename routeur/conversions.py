"""What is translated beside answers: embeddings, and counts of a request's tokens."""

from __future__ import annotations

from aiohttp import web

from routeur import answers
from routeur.addressing import ANTHROPIC, COUNT_TOKENS
from routeur.call import Call
from routeur.dialects import embeddings
from routeur.dialects.anthropic import requests as anthropic_requests
from routeur.dialects.base import Json, Usage
from routeur.dialects.gemini import count as gemini_count
from routeur.dialects.neutral import Request
from routeur.dialects.neutral.aim import Aim, Losses, TranslationError
from routeur.errors import ClientError, UpstreamError
from routeur.facts import Facts
from routeur.translated import TranslatedPassage

COUNTERS = frozenset([ANTHROPIC, "gemini"])  # dialects that have a path for it


class WholePassage(TranslatedPassage):
    """What is never streamed."""

    def _read_stream(self) -> None:
        raise UpstreamError("the provider sent a stream that nobody has asked for")


class EmbeddingsPassage(WholePassage):
    """Embeddings, between OpenAI's and Gemini's dialects."""

    def _write_request(self, facts: Facts, aim: Aim, losses: Losses) -> tuple[str, bytes]:
        assert facts.format is not None
        self._asked = embeddings.read_request(facts.format, facts.doc, model=facts.model or "")
        return embeddings.address(aim), embeddings.write_request(self._asked, aim, losses)

    def _take_whole(self, body: Json) -> None:
        try:
            found = embeddings.read_response(self.manner.speaks or "", body)
        except ValueError:
            raise UpstreamError("the provider sent an answer without embeddings") from None
        self.used = None if found.tokens is None else Usage(input=found.tokens)
        self._send(embeddings.write_response(found, self._asked))


class CountPassage(WholePassage):
    """A count of a request's tokens, between Anthropic's and Gemini's dialects."""

    def _write_request(self, facts: Facts, aim: Aim, losses: Losses) -> tuple[str, bytes]:
        request = counted(facts)
        if aim.dialect == ANTHROPIC:
            body = anthropic_requests.write_count_request(request, aim, losses)
            return COUNT_TOKENS, body
        return gemini_count.count_address(aim.model), gemini_count.write_count_request(
            request, aim, losses
        )

    def _take_whole(self, body: Json) -> None:
        anthropic = self.manner.speaks == ANTHROPIC
        found = anthropic_requests.read_count(body) if anthropic else gemini_count.read_count(body)
        self._send(write_count(self.facts, found or self.facts.tokens()))

    def so_far(self) -> Usage:
        return Usage()  # nobody charges for it

    def _measure(self, *, whole: bool) -> None:
        self._tell_losses()


def counted(facts: Facts) -> Request:
    """The request whose tokens a client wants to be counted; raises Invalid."""
    if facts.format == ANTHROPIC:
        return anthropic_requests.read_request(facts.doc, model=facts.model or "", stream=False)
    return gemini_count.read_count_request(facts.doc, model=facts.model or "")


def write_count(facts: Facts, tokens: int) -> bytes:
    """The answer to a client that has its tokens counted."""
    if facts.format == ANTHROPIC:
        return anthropic_requests.write_count(tokens)
    return gemini_count.write_count(tokens)


PASSAGES = {
    "answer": TranslatedPassage,
    "embeddings": EmbeddingsPassage,
    "count": CountPassage,
}


def estimate(facts: Facts, call: Call) -> web.StreamResponse:
    """A count by our own estimate, for a target that has no such path; marked as one."""
    try:
        counted(facts)
    except TranslationError as error:
        raise ClientError(error.message, param=error.field) from None
    call.status, call.estimated = 200, True
    answer = answers.own(call, 200, write_count(facts, facts.tokens()))
    answer.headers["X-Routeur-Trace-Estimated"] = "true"
    return answer
