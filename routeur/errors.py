"""What can go wrong, by blame: the client's fault, the provider's, ours.

The table of statuses, types and codes is that of the manual's "Errors". Messages go to clients:
they say what to do, and never hold a provider's address, a key or a stack trace.
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


class RouteurError(Exception):
    """A failure that a client is told about: `status` and `code`, in the caller's dialect.

    `retry_after` (seconds) becomes the answer's `Retry-After`, `allow` its `Allow`; `param` names
    the field at fault.
    """

    status = 500
    type = "server_error"
    code = "internal_error"

    def __init__(
        self,
        message: str,
        *,
        code: str = "",
        status: int = 0,
        param: str | None = None,
        retry_after: float | None = None,
        allow: tuple[str, ...] = (),
    ) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        self.retry_after = retry_after
        self.allow = allow
        if code:
            self.code = code
        if status:
            self.status = status


class ClientError(RouteurError):
    """The request cannot be served as it is."""

    status = 400
    type = "invalid_request_error"
    code = "invalid_request"


class Unauthorized(ClientError):
    status = 401
    type = "authentication_error"
    code = "invalid_api_key"


class PaymentRequired(ClientError):
    status = 402
    type = "billing_error"
    code = "insufficient_balance"


class Forbidden(ClientError):
    status = 403
    type = "permission_error"
    code = "forbidden"


class NotFound(ClientError):
    status = 404
    type = "not_found_error"
    code = "not_found"


class TooLarge(ClientError):
    status = 413
    code = "request_too_large"


class LimitExceeded(ClientError):
    status = 429
    type = "rate_limit_error"
    code = "rate_limit_exceeded"


class UpstreamError(RouteurError):
    """A provider did not answer, or not in HTTP."""

    status = 502
    type = "upstream_error"
    code = "upstream_error"


class NoUpstream(UpstreamError):
    status = 503
    code = "no_provider_available"


class OutOfFiles(NoUpstream):
    """This process may not open one more connection, which speaks against no provider."""


class UpstreamTimeout(UpstreamError):
    status = 504
    code = "upstream_timeout"


class ConfigError(Exception):
    """router.yaml cannot be used. Each finding names file, line, path and what was expected."""

    def __init__(self, findings: list[str]) -> None:
        super().__init__("\n".join(findings))
        self.findings = findings


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """`; did you mean "gpt-4o"?`, or nothing when no known word is near."""
    near = get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f'; did you mean "{near[0]}"?' if near else ""
