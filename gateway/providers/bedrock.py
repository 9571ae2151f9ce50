"""Amazon Bedrock: Converse, signed with an access key (Signature Version 4) or by an API key."""

from __future__ import annotations

import re
from collections.abc import Mapping

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from gateway import errors
from gateway.dialects.bedrock_converse import bedrock_converse
from gateway.errors import UpstreamError
from gateway.providers.base import Addressee, Message, Provider, UpstreamRequest, retry_after

SERVICE = "bedrock"
#: An access key's id, its secret, and the token of a session if it has one.
_ACCESS_KEY = re.compile(r"([A-Z0-9]{16,128}):([^:]+)(?::([^:]+))?")
#: What AWS calls a key that is no good; all else with status 403 may be of the model.
_BAD_KEYS = ("UnrecognizedClient", "ExpiredToken", "InvalidSignature", "InvalidClientTokenId")
#: Bedrock's own hosts name their region, private endpoints (VPC) included.
_REGION_IN_HOST = re.compile(r"//(?:[^/]+\.)?bedrock-runtime(?:-fips)?\.([a-z0-9-]+)\.")


class Bedrock(Provider):
    kind = "bedrock"
    paths = {bedrock_converse: "/model/{model}/converse"}

    def url(self, target: Addressee, message: Message) -> str:
        url = super().url(target, message)
        return f"{url}-stream" if message.streams else url

    def request(self, target: Addressee, message: Message) -> UpstreamRequest:
        request = super().request(target, message)
        access_key = _ACCESS_KEY.fullmatch(target.api_key)
        if access_key is None:
            return request
        return _signed(request, Credentials(*access_key.groups()), _region_of(target))

    def credentials(self, target: Addressee) -> Mapping[str, str]:
        """Of an API key. An access key signs the whole request instead."""
        return {} if _ACCESS_KEY.fullmatch(target.api_key) else super().credentials(target)

    def error(
        self, target: Addressee, status: int, headers: Mapping[str, str], content: bytes
    ) -> UpstreamError:
        name = target.provider_name
        if status == 424:
            return errors.UpstreamUnavailable(f"The model at provider {name!r} failed.")
        kind = headers.get("x-amzn-errortype", "")
        if kind.startswith(_BAD_KEYS):
            return errors.UpstreamAuthFailed(f"Provider {name!r} refused Courier's own key.")
        if kind.startswith("ServiceQuotaExceeded"):
            return errors.UpstreamRateLimited(
                f"Provider {name!r} has used up its quota.", retry_after=retry_after(headers)
            )
        return super().error(target, status, headers, content)


def _region_of(target: Addressee) -> str:
    """The region that is signed for: as it is configured, or as the host's name says."""
    told = target.options.get("region")
    if isinstance(told, str) and told:
        return told
    found = _REGION_IN_HOST.search(target.base_url)
    if found is None:
        raise errors.NoAvailableTarget(
            f"Provider {target.provider_name!r} needs its region among its options."
        )
    return found[1]


def _signed(request: UpstreamRequest, by: Credentials, region: str) -> UpstreamRequest:
    """`request` with the headers of its signature. Its URL and body may not change any more."""
    # Only what no proxy changes on the way is signed, beside the host and the body.
    told = {"content-type": request.headers["content-type"]}
    unsigned = AWSRequest("POST", request.url, headers=told, data=request.body)
    SigV4Auth(by, SERVICE, region).add_auth(unsigned)
    signature = {name.lower(): value for name, value in unsigned.headers.items()}
    return UpstreamRequest(request.url, {**request.headers, **signature}, request.body)
