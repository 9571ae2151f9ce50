"""Checks AWS's Signature Version 4 from what arrived, after AWS's own description of it.

docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html
"""

import hashlib
import hmac
import re
from urllib.parse import quote

AUTHORIZATION = re.compile(
    r"AWS4-HMAC-SHA256 Credential=([^/]+)/(\d{8})/([^/]+)/([^/]+)/aws4_request, "
    r"SignedHeaders=([a-z0-9;-]+), Signature=([0-9a-f]{64})"
)


def signature(method, path, query, headers, body, *, secret, scope, signed):
    """The signature of a request whose path stands as it went over the wire."""
    date, region, service = scope
    names = sorted(signed.split(";"))
    canonical = "\n".join(
        [
            method,
            quote(path, safe="/-_.~"),
            query,
            *(f"{name}:{' '.join(headers[name].split())}" for name in names),
            "",
            ";".join(names),
            hashlib.sha256(body).hexdigest(),
        ]
    )
    hashed = hashlib.sha256(canonical.encode()).hexdigest()
    credential_scope = f"{date}/{region}/{service}/aws4_request"
    to_sign = "\n".join(["AWS4-HMAC-SHA256", headers["x-amz-date"], credential_scope, hashed])
    key = f"AWS4{secret}".encode()
    for part in (date, region, service, "aws4_request"):
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    return hmac.new(key, to_sign.encode(), hashlib.sha256).hexdigest()


def scope_of(request, secret):
    """The id of the key, region and service of a signature, which must be right."""
    key_id, date, region, service, signed, claimed = AUTHORIZATION.fullmatch(
        request.headers["authorization"]
    ).groups()
    path, _, query = request.path.partition("?")
    made = signature(
        request.method,
        path,
        query,
        request.headers,
        request.body,
        secret=secret,
        scope=(date, region, service),
        signed=signed,
    )
    assert made == claimed
    assert request.headers["x-amz-date"].startswith(date)
    assert {"host", "x-amz-date"} <= set(signed.split(";"))
    return key_id, region, service
