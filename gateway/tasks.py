"""What of the gateway runs in the background; when, is decided in `courier_site.celery`."""

from __future__ import annotations

from celery import shared_task

from gateway import certification

#: Seconds after which a queued run is forgotten; it is handed out again.
QUEUED_FOR_S = 10


@shared_task(ignore_result=True)
def take_up_certifications() -> None:
    """Queue whatever certification waits for a worker, or has lost its own."""
    if (pk := certification.take_up()) is not None:
        certify.apply_async((pk,), expires=QUEUED_FOR_S)


@shared_task(ignore_result=True)
def certify(pk: int) -> None:
    """Run the conformance suite."""
    certification.certify(pk)


@shared_task(ignore_result=True)
def certify_nightly() -> None:
    """Order the runs of the night, where a setting asks for them."""
    certification.order_nightly()
