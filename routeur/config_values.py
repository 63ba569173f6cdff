"""Values that several sections read: keys, addresses, files."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import urlsplit

from routeur.providers import Secret
from routeur.yamlfile import Value, Wrong, text

# Ends of addresses that SDKs add by themselves.
_PATHS = ("/chat/completions", "/completions", "/responses", "/messages", "/embeddings")
# What ${NAME} is called by a shell and LiteLLM: a key of which only its provider would complain.
_ELSEWHERE = re.compile(r"(?:\$|os\.environ/)[A-Z_][A-Z0-9_]*")


def secret(value: Value) -> Secret:
    """A key that fits into a header."""
    given = text(value)
    if _ELSEWHERE.fullmatch(given):
        raise Wrong("expected a key, or ${NAME} for a variable: with braces")
    return key_of(given)


def key_of(given: str) -> Secret:
    """The same from elsewhere, as from the environment; raises Wrong."""
    key = given.strip()
    if not key.isascii() or not key.isprintable() or " " in key:
        raise Wrong("expected a key of printable ASCII without spaces")
    if key[:1] in ('"', "'") and key[:1] == key[-1:]:  # as from docker run --env-file
        raise Wrong("expected a key without quotes around it")
    return Secret(key)


def base_url(value: Value) -> str:
    """What the vendor's own SDK takes, without a trailing slash."""
    url = text(value)
    problem = _url_problem(url)
    if not problem and "@" in urlsplit(url).netloc:
        problem = "without a user; the key goes into api_key"
    if not problem and ("?" in url or "#" in url):
        problem = "without a query"
    path = next((each for each in _PATHS if url.rstrip("/").endswith(each)), "")
    if not problem and path:
        problem = f"without {path}, which is added to it"
    if problem:
        raise Wrong(f"expected a URL {problem}")
    return url.rstrip("/")


def proxy(value: Value) -> str:
    """`environment`, or the address of a proxy that is spoken to in plain HTTP."""
    url = text(value)
    if url == "environment":
        return url
    problem = _url_problem(url)
    if not problem and not url.startswith("http://"):
        problem = "such as http://HOST:PORT, or the word environment"
    if problem:
        raise Wrong(f"expected a URL {problem}")
    return url


def _url_problem(url: str) -> str:
    """What is wrong with an http URL, never the URL itself: it may hold a password."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return "with a port from 1 to 65535"
    if parts.scheme not in ("http", "https"):
        return "that begins with http:// or https://"
    if not parts.hostname:
        return "with a host"
    if port == 0:
        return "with a port from 1 to 65535"
    if not url.isascii() or not url.isprintable() or " " in url:
        return "of printable ASCII without spaces"
    return ""


def file(value: Value) -> str:
    path = text(value)
    if not Path(path).is_file():
        raise Wrong(f'no such file: "{path}"')
    return path
