"""Requests signed as AWS wants it (Signature Version 4), by botocore: the extra `bedrock`."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from importlib import import_module
from typing import Any

from routeur.providers import Aws
from routeur.refresh import Lease, Refreshed

SERVICE = "bedrock"  # as signatures call it; the host says bedrock-runtime
LARGE = 256 * 1024  # bytes: to hash more takes a thread, so that others need not wait
# Keys are asked for again each minute, in the background: those in files may have changed, others
# are renewed by botocore 15 minutes before their end. It gives none away that end within ten.
RENEWED_EACH = 60.0
GOOD_FOR = 600.0

Sign = Callable[[str, str, bytes], list[tuple[str, str]]]


class AwsIdentity:
    """Signs requests with the keys of one account.

    Only the host, the time and the body are signed: other headers may change on the way.
    """

    names = frozenset([b"x-amz-date", b"x-amz-security-token", b"x-amz-content-sha256"])
    signs_body = True

    def __init__(self, account: Aws, clock: Callable[[], float] = time.time) -> None:
        self._account = account
        self._clock = clock
        self._sign = Refreshed(self._fetch, "AWS", clock)
        self._source: Any = None  # botocore's credentials, which know how to renew themselves

    async def headers(self, method: str, url: str, body: bytes) -> list[tuple[str, str]]:
        """The headers to add; raises UpstreamError where there are no keys."""
        sign = await self._sign.get()
        if len(body) > LARGE:
            return await asyncio.to_thread(sign, method, url, body)
        return sign(method, url, body)

    def _fetch(self) -> Lease[Sign]:
        """Blocks: the chain asks files, programs and other machines, and botocore is large."""
        account = self._account
        if account.access_key_id and account.secret_access_key:
            token = account.session_token and account.session_token.reveal()
            keys = import_module("botocore.credentials").ReadOnlyCredentials(
                account.access_key_id, account.secret_access_key.reveal(), token
            )
            return Lease(_signer(keys, account.region))
        if not hasattr(self._source, "refresh_needed"):  # it does not renew itself
            self._source = self._find()
        signer = _signer(self._source.get_frozen_credentials(), account.region)
        now = self._clock()
        return Lease(signer, now + RENEWED_EACH, now + GOOD_FOR)

    def _find(self) -> Any:
        """Keys from the profile, or AWS's usual chain: environment, files, roles."""
        session = import_module("botocore.session").Session(profile=self._account.profile)
        session.set_config_variable("region", self._account.region)
        found = session.get_credentials()
        if found is None:
            raise import_module("botocore.exceptions").NoCredentialsError
        return found


def _signer(keys: Any, region: str) -> Sign:
    request_of = import_module("botocore.awsrequest").AWSRequest
    auth = import_module("botocore.auth").SigV4Auth(keys, SERVICE, region)

    def sign(method: str, url: str, body: bytes) -> list[tuple[str, str]]:
        request = request_of(method, url, data=body)
        auth.add_auth(request)
        return [(name, value) for name, value in request.headers.items()]

    return sign
