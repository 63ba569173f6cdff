"""How to identify ourselves to a provider."""

from __future__ import annotations

from routeur.providers import Secret

# Configuration's word for `auth` -> the header that carries the key, and how.
HEADERS = {
    "bearer": ("Authorization", "Bearer "),
    "x-api-key": ("x-api-key", ""),
    "api-key": ("api-key", ""),
    "x-goog-api-key": ("x-goog-api-key", ""),
}


def identify(auth: str, key: Secret | None) -> dict[str, str]:
    """The headers that carry a credential's key; none for a provider without one."""
    if key is None:
        return {}
    name, prefix = HEADERS[auth]
    return {name: prefix + key.reveal()}
