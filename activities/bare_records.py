"""What is left of a record that the store refuses: codes, figures and our own short texts, no free data and
no vendor's words. The whole of it is kept raw, in quarantine."""

from __future__ import annotations

from models.activity_messages import Amendment
from models.stop import StopEvent, StopRecord

_KEPT_CHARACTERS = 200


def bare_record(record: StopRecord) -> StopRecord:
    """The record with only what is ours in it: no data, no vendor's words, short texts."""
    view = record.view
    attempts = tuple(one.model_copy(update={"vendor_code": "", "detail": ""}) for one in view.attempts)
    changes = {
        "headline": view.headline[:_KEPT_CHARACTERS],
        "driver_advice": view.driver_advice[:_KEPT_CHARACTERS],
        "waits_for": view.waits_for[:_KEPT_CHARACTERS],
        "attempts": attempts,
        "result": view.result.model_copy(update={"attempts": attempts}) if view.result else None,
    }
    return StopRecord(
        view=view.model_copy(update=changes),
        request=record.request,
        events=tuple(_bare(event) for event in record.events),
    )


def _bare(event: StopEvent) -> StopEvent:
    return event.model_copy(
        update={"text": event.text[:_KEPT_CHARACTERS], "vendor_code": "", "data": {"degraded": True}}
    )


def bare_amendment(amendment: Amendment) -> Amendment:
    """The amendment without what is free in it; its figures stand."""
    return amendment.model_copy(
        update={
            "text": amendment.text[:_KEPT_CHARACTERS],
            "vendor_code": "",
            "data": {"degraded": True},
            "attempt": amendment.attempt.model_copy(update={"vendor_code": "", "detail": ""}),
        }
    )
