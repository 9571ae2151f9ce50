"""What Courier itself reads of a form with sound to write down."""

from __future__ import annotations

from pydantic import InstanceOf

from gateway.forms import FormFile
from gateway.schemas.form import FormIn


class TranscriptionIn(FormIn):
    file: InstanceOf[FormFile]
