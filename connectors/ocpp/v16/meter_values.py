"""MeterValues (OCPP 1.6 section 4.7): of a transaction, or of a connector by the clock."""

from __future__ import annotations

from datetime import UTC, datetime

from connectors.ocpp.meter import samples_of
from connectors.ocpp.rpc import Answer
from connectors.ocpp.salvage import meter_values, nothing, whole
from connectors.ocpp.schemas import Json, Version
from connectors.ocpp.session import OpenTransaction, StationSession
from connectors.ocpp.telling import told_of


async def handle(session: StationSession, payload: Json) -> Answer:
    connector, values = int(payload["connectorId"]), payload["meterValue"]
    samples = samples_of(values, datetime.now(UTC))
    transaction = await _which(session, payload.get("transactionId"), connector)
    if transaction is not None:
        await session.metered(transaction, samples, told_of("meter", transaction.facts, samples))
    elif samples:
        # Of an ended or unknown transaction: in the journal it still counts for what comes after.
        number = int(payload.get("transactionId") or 0)
        ended = await session.house.find(session.station, transaction_id=number) if number > 0 else None
        told = told_of("meter", ended or connector, samples)
        if ended is not None and ended.ended_at is not None:
            await session.house.late(session.station, ended, told)
        else:
            await session.house.record(session.station, told, [])
    if session.on_meter is not None:
        session.on_meter(connector, values)
    return Answer({})


async def _which(session: StationSession, number: object, connector: int) -> OpenTransaction | None:
    known = await session.open_transactions()
    if isinstance(number, int) and number > 0:
        return known.get(number)
    return await session.at_connector(connector)


def repair(payload: Json) -> Json:
    """Nothing is essential: what cannot be read says nothing, and is answered."""
    kept: Json = {
        "connectorId": max(0, whole(payload.get("connectorId")) or 0),
        "meterValue": meter_values(payload["meterValue"], Version.V16) or nothing(Version.V16),
    }
    number = whole(payload.get("transactionId"))
    return kept if number is None else {**kept, "transactionId": number}
