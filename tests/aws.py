"""AWS's part in signatures: computed again by botocore from what was received."""

from __future__ import annotations

from collections.abc import Mapping

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials


def signature(
    method: str, url: str, headers: Mapping[str, str], body: bytes, secret: str
) -> dict[str, str]:
    """What a request says of its signature (`Credential`, `SignedHeaders`), and whether it holds.

    `url` is the whole address, `headers` are all that were received; `valid` is `yes` or `no`.
    """
    received = {name.lower(): value for name, value in headers.items()}
    scheme, _, rest = received["authorization"].partition(" ")
    assert scheme == "AWS4-HMAC-SHA256"
    said = dict(part.strip().split("=", 1) for part in rest.split(","))
    key_id, date, region, service, _ = said["Credential"].split("/")
    signed = {name: received[name] for name in said["SignedHeaders"].split(";")}
    assert received["x-amz-date"].startswith(date)

    request = AWSRequest(method, url, headers=signed, data=body)
    request.context["timestamp"] = received["x-amz-date"]
    auth = SigV4Auth(Credentials(key_id, secret), service, region)
    text = auth.string_to_sign(request, auth.canonical_request(request))
    valid = auth.signature(text, request) == said["Signature"]
    return {**said, "valid": "yes" if valid else "no"}
