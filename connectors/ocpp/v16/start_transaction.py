"""StartTransaction (OCPP 1.6 section 4.8): a start cannot be refused, only recorded.

Repeats get the same transaction id. An unknown tag gets one too, and is answered Invalid: whether the session
ends by that is the station's setting (StopTransactionOnInvalidId)."""

from __future__ import annotations

from datetime import UTC, datetime

import orjson

from connectors.ocpp.ports import StartOfTransaction, Told
from connectors.ocpp.session import OpenTransaction, StationSession
from connectors.ocpp.truth.checks import HARD, start_findings
from connectors.ocpp.truth.clock import instant
from connectors.ocpp.truth.salvage import integer, register, timestamp
from connectors.ocpp.wire.rpc import Answer
from connectors.ocpp.wire.schemas import Json


async def handle(session: StationSession, payload: Json) -> Answer:
    now = datetime.now(UTC)
    number, meter, at = int(payload["connectorId"]), float(payload["meterStart"]), payload["timestamp"]
    started_at = instant(at, now)
    session.lag.hear(started_at, now, queued=True)
    start = StartOfTransaction(
        connector_number=number,
        id_tag=str(payload["idTag"]),
        started_at=started_at,
        meter_start_wh=meter if meter >= 0 else None,
        clock_known=started_at != now,
        may_have_begun_at=session.lag.when(started_at, now),
    )
    findings = start_findings(
        at_text=at, now=now, is_connector_known=number in session.station.connectors, meter_start=meter
    )
    for name in HARD.intersection(findings):
        await session.house.keep(session.station, name, orjson.dumps(payload))
    body: Json | None = {"findings": findings} if findings else None
    told = Told("start", number, start.started_at, register_wh=start.meter_start_wh, body=body)
    found = await session.started(start, [told])
    facts = found.facts if isinstance(found, OpenTransaction) else found
    status = "Accepted" if session.accepts(facts) else "Invalid"
    return Answer({"transactionId": facts.transaction_id, "idTagInfo": {"status": status}})


def repair(payload: Json) -> Json:
    """Essential is the connector; a meter that is not said is read from the first sample."""
    return {
        "connectorId": integer(payload["connectorId"]),
        "idTag": str(payload.get("idTag") or "")[:20],
        "meterStart": register(payload.get("meterStart")),
        "timestamp": timestamp(payload.get("timestamp")),
    }
