"""Azure OpenAI: OpenAI's formats at an address of one's own, with the key in another header."""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import quote

from gateway.dialects.openai_moderations import openai_moderations
from gateway.dialects.openai_responses import openai_responses
from gateway.providers.base import Addressee, Message
from gateway.providers.openai import OpenAI

#: What Azure's pages show as the base URL, in one form or the other.
_FORMS = re.compile(r"/openai(?:/v1)?/?$")
#: A token of Microsoft Entra ID instead of a key: header, claims and signature in base64.
_TOKEN = re.compile(r"eyJ[\w-]+\.[\w-]+\.[\w-]+")


class Azure(OpenAI):
    """A resource of Azure's.

    Without the option "api_version" its v1 API is called, which knows deployments by the
    model's name; with it the older one, where the deployment stands in the path
    (learn.microsoft.com/azure/ai-foundry/openai/api-version-lifecycle).
    """

    kind = "azure"
    paths = {**OpenAI.paths}
    del paths[openai_moderations]

    def url(self, target: Addressee, message: Message) -> str:
        root = _FORMS.sub("", target.base_url) + "/openai"
        path = self.paths[message.dialect]
        version = target.options.get("api_version")
        if not version:
            return f"{root}/v1{path}"
        # The model of a response stands in its body only.
        if message.dialect is not openai_responses:
            path = f"/deployments/{quote(target.upstream_model, safe='')}{path}"
        return f"{root}{path}?api-version={quote(str(version), safe='')}"

    def credentials(self, target: Addressee) -> Mapping[str, str]:
        if _TOKEN.fullmatch(target.api_key):
            return {"authorization": f"Bearer {target.api_key}"}
        return {"api-key": target.api_key} if target.api_key else {}
