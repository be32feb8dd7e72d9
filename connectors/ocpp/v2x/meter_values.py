"""MeterValues (OCPP 2.0.1 part 2, J01): of an EVSE by the clock, beside any transaction."""

from __future__ import annotations

from datetime import UTC, datetime

from connectors.ocpp.session import StationSession
from connectors.ocpp.truth.meter import samples_of
from connectors.ocpp.truth.salvage import meter_values, nothing, whole
from connectors.ocpp.truth.telling import told_of
from connectors.ocpp.wire.rpc import Answer
from connectors.ocpp.wire.schemas import Json, Version


async def handle(session: StationSession, payload: Json) -> Answer:
    number, values = int(payload["evseId"]), payload["meterValue"]
    samples = samples_of(values, datetime.now(UTC))
    transaction = await session.at_connector(number)
    if transaction is not None:
        await session.metered(transaction, samples, told_of("meter", transaction.facts, samples))
    elif samples:
        await session.house.record(session.station, told_of("meter", number, samples), [])
    if session.on_meter is not None:
        session.on_meter(number, values)
    return Answer({})


def repair(payload: Json) -> Json:
    """Nothing is essential: what cannot be read says nothing, and is answered."""
    return {
        "evseId": max(0, whole(payload.get("evseId")) or 0),
        "meterValue": meter_values(payload["meterValue"], Version.V201) or nothing(Version.V201),
    }
