"""A request's form, read as far as it has to be before it is sent on."""

from __future__ import annotations

from typing import TypeVar

from gateway import judgment
from gateway.api.request import STEERING, read_as, refuse_steering
from gateway.dialects.base import ClientDialect
from gateway.errors import UnsupportedEncoding
from gateway.front_door import GatewayRequest
from gateway.question import Question
from gateway.schemas.form import FormIn
from gateway.upload import Upload

F = TypeVar("F", bound=FormIn)


async def form_of(request: GatewayRequest, dialect: ClientDialect, schema: type[F]) -> Question:
    """What the form asks. Raises BadRequest, and whatever keeps a body from being read."""
    judgment.check_operation(request.principal, dialect)
    if request.incoming is None:
        raise UnsupportedEncoding("Send the fields and the file as multipart/form-data.")
    upload = request.upload = Upload(request.incoming, schema.needed, STEERING)
    await upload.take_in()
    refuse_steering(upload.fields)
    payload = read_as(schema, upload.fields)
    body = upload.fields | {name: getattr(payload, name) for name in schema.model_fields}
    return Question(dialect, payload.model, b"", body, payload.stream, upload=upload)
