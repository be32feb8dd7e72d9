"""MeterValues (OCPP 1.6 section 4.7): of a transaction, or of a connector by the clock."""

from __future__ import annotations

from datetime import UTC, datetime

from connectors.ocpp.ports import TransactionFacts
from connectors.ocpp.session import OpenTransaction, StationSession
from connectors.ocpp.truth.meter import samples_of
from connectors.ocpp.truth.salvage import meter_values, nothing, whole
from connectors.ocpp.truth.telling import told_of
from connectors.ocpp.wire.rpc import Answer
from connectors.ocpp.wire.schemas import Json, Version


async def handle(session: StationSession, payload: Json) -> Answer:
    connector, values = int(payload["connectorId"]), payload["meterValue"]
    now = datetime.now(UTC)
    samples = samples_of(values, now)
    for sample in samples:
        session.lag.hear(sample.at, now, queued=True)
    transaction = await _which(session, payload.get("transactionId"), connector)
    if isinstance(transaction, TransactionFacts):
        await session.late(transaction, told_of("meter", transaction, samples))
    elif transaction is not None:
        await session.metered(transaction, samples, told_of("meter", transaction.facts, samples))
    elif samples:
        await session.house.record(session.station, told_of("meter", connector, samples), [])
    if session.on_meter is not None:
        session.on_meter(connector, values)
    return Answer({})


async def _which(
    session: StationSession, number: object, connector: int
) -> OpenTransaction | TransactionFacts | None:
    if isinstance(number, int) and number > 0:
        return await session.by_number(number)
    return await session.at_connector(connector)


def repair(payload: Json) -> Json:
    """Nothing is essential: what cannot be read says nothing, and is answered."""
    kept: Json = {
        "connectorId": max(0, whole(payload.get("connectorId")) or 0),
        "meterValue": meter_values(payload["meterValue"], Version.V16) or nothing(Version.V16),
    }
    number = whole(payload.get("transactionId"))
    return kept if number is None else {**kept, "transactionId": number}
