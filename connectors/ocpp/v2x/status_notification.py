"""StatusNotification (OCPP 2.0.1 part 2, G01). What is wrong with a connector comes in NotifyEvent."""

from __future__ import annotations

from datetime import UTC, datetime

from connectors.ocpp.connectors import Report
from connectors.ocpp.session import StationSession
from connectors.ocpp.truth.clock import clamped, instant
from connectors.ocpp.truth.faults import known_fault
from connectors.ocpp.wire.rpc import Answer
from connectors.ocpp.wire.schemas import Json
from models.reason_codes import Phase


async def handle(session: StationSession, payload: Json) -> Answer:
    number, word = int(payload["evseId"]), str(payload["connectorStatus"])
    if number < 1:
        return Answer({})
    now, when = datetime.now(UTC), payload.get("timestamp")
    at, said = instant(when, now), f"ocpp2.0.1:{word}"
    fault, words = None, ""
    if word == "Faulted":
        transaction = await session.at_connector(number)
        # The event with its code may have come first.
        words = session.track(number).fault_code or said
        fault = known_fault(words, Phase.SUSTAIN if transaction else Phase.CONFIRM)
    await session.connector(number, Report(word, at, said, fault, words, clamped(when, now)))
    return Answer({})
