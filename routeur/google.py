"""Access tokens for Google Cloud, by google-auth: the extra `vertex`."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC
from functools import partial
from importlib import import_module
from typing import Any

from routeur.providers import Google
from routeur.refresh import Lease, Refreshed

SCOPE = "https://www.googleapis.com/auth/cloud-platform"
TIMEOUT = 8.0  # seconds for one answer of Google's
# Seconds before a token's end. Google's metadata server repeats its token until about then.
EARLY = 225.0

Headers = list[tuple[str, str]]


class GoogleIdentity:
    """The access token of one account, and the project that pays, where the account names one."""

    names = frozenset([b"x-goog-user-project", b"x-allowed-locations"])
    signs_body = False

    def __init__(self, account: Google, clock: Callable[[], float] = time.time) -> None:
        self._account = account
        self._headers = Refreshed(self._fetch, "Google", clock)

    async def headers(self, method: str, url: str, body: bytes) -> Headers:
        """The headers to add to any request; raises UpstreamError where there is no token."""
        return await self._headers.get()

    def _fetch(self) -> Lease[Headers]:
        """Blocks: asks files, and Google. Found anew each time: a key's file may have changed."""
        found = self._find()
        transport = import_module("google.auth.transport.requests").Request()
        found.refresh(partial(transport, timeout=TIMEOUT))
        headers: dict[str, str] = {}
        found.apply(headers)
        if found.expiry is None:
            return Lease(list(headers.items()))
        end = found.expiry.replace(tzinfo=UTC).timestamp()
        return Lease(list(headers.items()), end - EARLY, end)

    def _find(self) -> Any:
        """The file's credentials, or those of Google's usual chain."""
        auth = import_module("google.auth")
        file = self._account.credentials_file
        if file is None:
            return auth.default(scopes=[SCOPE])[0]
        # Deprecated as a warning of files from strangers; this one is the configuration's.
        return auth.load_credentials_from_file(file, scopes=[SCOPE])[0]
