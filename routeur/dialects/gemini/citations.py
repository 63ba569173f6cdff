"""Sources of a text: Gemini's groundingMetadata and citationMetadata, both ways.

Gemini counts a text's positions in bytes of UTF-8, the neutral form in characters.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from routeur.dialects.base import Json
from routeur.dialects.gemini import NAME
from routeur.dialects.gemini.wire import camel
from routeur.dialects.loose import either, items, members, string, tokens
from routeur.dialects.neutral import Citation

_KINDS = ("web", "retrievedContext", "maps", "image")


def citations_of(candidate: Json) -> list[Citation]:
    """What a candidate rests on; positions still in bytes."""
    grounding = members(either(candidate, "groundingMetadata", "grounding_metadata"))
    recited = members(either(candidate, "citationMetadata", "citation_metadata"))
    found = list(_grounding(camel(grounding))) if grounding else []
    for each in items(either(recited, "citationSources", "citation_sources", "citations")):
        source = camel(members(each))
        found.append(_citation(source, source, source))
    return found


def _grounding(metadata: Json) -> Iterator[Citation]:
    """One citation for each passage and source; sources of no passage are left out."""
    chunks = [members(each) for each in items(metadata.get("groundingChunks"))]
    for support in map(members, items(metadata.get("groundingSupports"))):
        support = camel(support)
        segment = camel(members(support.get("segment")))
        for number in items(support.get("groundingChunkIndices")):
            if type(number) is int and 0 <= number < len(chunks):
                chunk = camel(chunks[number])
                source = next((members(chunk[kind]) for kind in _KINDS if kind in chunk), {})
                yield _citation(camel(source), segment, {"chunk": chunk, "support": support})


def _citation(source: Json, segment: Json, raw: Json) -> Citation:
    end = segment.get("endIndex")
    return Citation(
        url=string(source.get("uri")) or string(source.get("sourceUri")),
        title=string(source.get("title")),
        quote=string(source.get("text")),
        text_start=None if end is None else tokens(segment.get("startIndex")),
        text_end=None if end is None else tokens(end),
        raw=raw,
        dialect=NAME,
    )


def in_characters(citation: Citation, said: str | None, before: int) -> Citation:
    """The citation with its positions in characters of its block, which begins after `before`.

    `said` is the whole text, or None where it is not known: then positions are left out.
    """
    if citation.text_start is None or citation.text_end is None:
        return citation
    if said is None:
        return replace(citation, text_start=None, text_end=None)
    start, end = citation.text_start, citation.text_end
    if not said.isascii():
        data = said.encode("utf-8", "replace")
        start, end = (len(data[:place].decode("utf-8", "ignore")) for place in (start, end))
    if start < before:
        return replace(citation, text_start=None, text_end=None)
    return replace(citation, text_start=start - before, text_end=end - before)


class Grounding:
    """Collects what a candidate's texts rest on, to be written as its groundingMetadata."""

    __slots__ = ("_chunks", "_size", "_supports")

    def __init__(self) -> None:
        self._size = 0  # bytes of all texts so far
        self._chunks: dict[tuple[str, str], int] = {}
        self._supports: list[Json] = []

    def add(self, text: str, citations: list[Citation]) -> None:
        """One more text, with its sources."""
        for each in citations:
            if each.url or each.title:
                number = self._chunks.setdefault((each.url, each.title), len(self._chunks))
                segment = self._segment(text, each)
                self._supports.append({"segment": segment, "groundingChunkIndices": [number]})
        self._size += len(text.encode("utf-8", "replace"))

    def _segment(self, text: str, citation: Citation) -> Json:
        start, end = citation.text_start or 0, citation.text_end
        passage = text[start:end]
        begin = self._size + len(text[:start].encode("utf-8", "replace"))
        size = len(passage.encode("utf-8", "replace"))
        return {"startIndex": begin, "endIndex": begin + size, "text": passage}

    def metadata(self) -> Json:
        """The groundingMetadata; an empty object if there is none."""
        if not self._chunks:
            return {}
        chunks = [{"web": {"uri": url, "title": title}} for url, title in self._chunks]
        return {"groundingChunks": chunks, "groundingSupports": self._supports}
