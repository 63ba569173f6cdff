"""Recordings as a request that a client sends to routeur, and what the provider answers."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from urllib.parse import urlsplit

from tests.fake import guess_type
from tests.recording import Recording, everything

PATHS = {  # where the files without a request belong
    "anthropic": "/v1/messages",
    "openai-chat": "/v1/chat/completions",
    "openai-compatible": "/v1/chat/completions",
    "openai-responses": "/v1/responses",
    "gemini": "/v1beta/models/gemini-x:streamGenerateContent?alt=sse",
}


@dataclass(frozen=True)
class Exchange:
    """`path` is routeur's, `body` what the client sends, `answer` what the provider sends back."""

    name: str
    method: str
    path: str
    body: bytes
    content_type: str
    status: int
    answer: bytes
    answer_type: str

    @property
    def streamed(self) -> bool:
        return "event-stream" in self.answer_type


@cache
def exchanges(folder: str) -> tuple[Exchange, ...]:
    """All that was recorded of a dialect, files without a request of their own included."""
    return tuple(_exchange(each) for each in everything() if each.name.startswith(f"{folder}/"))


def exchange(folder: str, name: str, number: int = 0) -> Exchange:
    """The one whose file's name ends so; of several in a file the one with this number."""
    ends = (name, f"{name}.{number}")
    (found,) = [one for one in exchanges(folder) if one.name.endswith(ends)]
    return found


def routeur_path(url: str) -> str:
    """Where a client that spoke to this URL speaks to routeur: the same path, or the raw one."""
    parts = urlsplit(url)
    path = parts.path
    for prefix in ("/openai/v1/", "/v1beta/openai/", "/api/v1/"):
        path = path.replace(prefix, "/v1/")
    if path.startswith("/v1beta/") and ":" not in path:
        path = f"/google{path}"
    return f"{path}?{parts.query}" if parts.query else path


def _exchange(recorded: Recording) -> Exchange:
    body = recorded.request
    if not recorded.url:
        body = json.dumps({"model": "any", "stream": recorded.streamed}).encode()
    return Exchange(
        recorded.name,
        recorded.method,
        routeur_path(recorded.url) if recorded.url else PATHS[recorded.name.partition("/")[0]],
        body,
        recorded.request_headers.get("Content-Type") or guess_type(body),
        recorded.status,
        recorded.body,
        recorded.content_type,
    )
