"""TransactionEvent (OCPP 2.0.1 part 2, E; part 4 section 5.3).

Started, Updated, Ended, in any order and more than once: the first that comes opens the row, the end stands
once told, and the journal keeps them all by sequence number. What is told once only (token, EVSE, our own
remoteStartId) may come in any event."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import cast

import orjson

from connectors.ocpp.ports import EndOfTransaction, StartOfTransaction, Told, TransactionFacts
from connectors.ocpp.session import OpenTransaction, StationSession
from connectors.ocpp.truth.checks import HARD, start_findings, stop_findings
from connectors.ocpp.truth.clock import clamped, instant
from connectors.ocpp.truth.meter import Sample, samples_of
from connectors.ocpp.truth.salvage import meter_values, timestamp, whole
from connectors.ocpp.truth.telling import told_of
from connectors.ocpp.wire.rpc import Answer
from connectors.ocpp.wire.schemas import Json, Version


async def handle(session: StationSession, payload: Json) -> Answer:
    now = datetime.now(UTC)
    info: Json = payload["transactionInfo"]
    reference, kind = str(info["transactionId"]), str(payload["eventType"])
    at, samples = instant(payload["timestamp"], now), samples_of(payload.get("meterValue") or [], now)
    known = await session.by_reference(reference)
    opened = known is None or _says_more(known, kind, payload)
    if opened:
        known = await session.started(_start(session, payload, reference, at, samples, known), [])
    facts = known.facts if isinstance(known, OpenTransaction) else known
    if facts is None:
        raise RuntimeError("a transaction that was opened is not there")
    findings = _start_findings(session, payload, now) if kind == "Started" else []
    for name in HARD.intersection(findings):
        await session.house.keep(session.station, name, orjson.dumps(payload))
    lines = _lines(payload, at, samples, facts, findings)
    if payload["eventType"] == "Ended" and not facts.has_told_end:
        await session.ended(facts, _end(facts, payload, at, now, samples), lines)
    elif isinstance(known, OpenTransaction):
        await _progress(session, known, payload, at, samples, lines, clamped(payload["timestamp"], now))
    else:
        await session.late(facts, lines)
    if session.on_meter is not None and payload.get("meterValue"):
        session.on_meter(facts.connector_number, payload["meterValue"])
    return Answer(_answer(session, payload, facts))


def _says_more(known: OpenTransaction | TransactionFacts, kind: str, payload: Json) -> bool:
    facts = known.facts if isinstance(known, OpenTransaction) else known
    info: Json = payload["transactionInfo"]
    return (
        kind == "Started"
        or (facts.connector_number < 1 and "evse" in payload)
        or (facts.attempt_id is None and ("remoteStartId" in info or "idToken" in payload))
    )


def _start(
    session: StationSession,
    payload: Json,
    reference: str,
    at: datetime,
    samples: list[Sample],
    known: OpenTransaction | TransactionFacts | None,
) -> StartOfTransaction:
    facts = known.facts if isinstance(known, OpenTransaction) else known
    evse: Json = payload.get("evse") or {}
    token: Json = payload.get("idToken") or {}
    remote = payload["transactionInfo"].get("remoteStartId")
    now = datetime.now(UTC)
    only = next(iter(session.station.connectors)) if len(session.station.connectors) == 1 else 0
    in_start = payload["eventType"] == "Started"
    registers = [sample.register_wh for sample in samples if sample.register_wh is not None]
    return StartOfTransaction(
        connector_number=int(evse.get("id") or (facts.connector_number if facts else 0) or only),
        id_tag=str(token.get("idToken") or (facts.id_tag if facts else "")),
        started_at=at if in_start or facts is None else facts.started_at,
        meter_start_wh=registers[0] if in_start and registers else None,
        transaction_ref=reference,
        remote_start_id=int(remote) if remote is not None else None,
        in_start=in_start,
        clock_known=not in_start or not clamped(payload["timestamp"], now),
        may_have_begun_at=[at, now] if in_start and not payload.get("offline") else [],
    )


def _start_findings(session: StationSession, payload: Json, now: datetime) -> list[str]:
    evse: Json = payload.get("evse") or {}  # may come later: when the plug does
    return start_findings(
        at_text=payload["timestamp"],
        now=now,
        is_connector_known=not evse or int(evse.get("id") or 0) in session.station.connectors,
    )


def _lines(
    payload: Json, at: datetime, samples: list[Sample], facts: TransactionFacts, findings: list[str]
) -> list[Told]:
    """The event's own line, then its samples."""
    kind = {"Started": "start", "Ended": "stop"}.get(str(payload["eventType"]), "update")
    info: Json = payload["transactionInfo"]
    sequence, offline = int(payload["seqNo"]), bool(payload.get("offline"))
    body: Json = {"trigger": payload["triggerReason"], "state": info.get("chargingState")}
    first = Told(
        kind,
        facts.connector_number,
        at,
        transaction_id=facts.transaction_id,
        sequence=sequence,
        offline=offline,
        body={**body, "findings": findings} if findings else body,
    )
    return [first, *told_of("meter", facts, samples, sequence=sequence, offline=offline)]


def _end(
    facts: TransactionFacts, payload: Json, at: datetime, now: datetime, samples: list[Sample]
) -> EndOfTransaction:
    info: Json = payload["transactionInfo"]
    registers = [sample.register_wh for sample in samples if sample.register_wh is not None]
    findings = stop_findings(
        at_text=payload["timestamp"],
        now=now,
        started_at=facts.started_at,
        meter_stop=registers[-1] if registers else None,
        same_tag=True,
    )
    reason = f"ocpp2.0.1:{info.get('stoppedReason') or 'Local'}"
    clock_known = not clamped(payload["timestamp"], now)
    return EndOfTransaction(max(at, facts.started_at), None, reason, findings, clock_known)


async def _progress(
    session: StationSession,
    transaction: OpenTransaction,
    payload: Json,
    at: datetime,
    samples: list[Sample],
    lines: list[Told],
    detail: str,
) -> None:
    facts, info = transaction.facts, cast(Json, payload["transactionInfo"])
    state = str(info.get("chargingState") or "")
    await session.metered(transaction, samples, lines, paused=state in ("SuspendedEV", "SuspendedEVSE"))
    if state:
        await session.connectors.charging_state(session.station, facts, state, at, detail)
    if payload["triggerReason"] in _GIVEN_UP:
        await session.given_up(transaction, at, str(payload["triggerReason"]))
    await session.flow_said(transaction, state, at, detail)


def _answer(session: StationSession, payload: Json, facts: TransactionFacts) -> Json:
    """A token is answered where one was shown (E01.FR.06)."""
    if "idToken" not in payload:
        return {}
    return {"idTokenInfo": {"status": "Accepted" if session.accepts(facts) else "Unknown"}}


def repair(payload: Json) -> Json:
    """Essential are the transaction's id and what happened to it."""
    info: Json = payload["transactionInfo"]
    kept_info: Json = {"transactionId": str(info["transactionId"])[:36]}
    for name, words in (("chargingState", _STATES), ("stoppedReason", _STOPPED)):
        if info.get(name) is not None:
            kept_info[name] = info[name] if info[name] in words else words[-1]
    remote = whole(info.get("remoteStartId"))
    if remote is not None:
        kept_info["remoteStartId"] = remote
    kind = str(payload["eventType"])
    if kind not in ("Started", "Updated", "Ended"):
        raise ValueError(kind)
    kept: Json = {
        "eventType": kind,
        "timestamp": timestamp(payload.get("timestamp")),
        "triggerReason": "Trigger",
        "seqNo": max(0, whole(payload.get("seqNo")) or 0),
        "transactionInfo": kept_info,
    }
    if payload.get("offline") is True:
        kept["offline"] = True
    evse = payload.get("evse")
    number = whole(cast(Json, evse).get("id")) if isinstance(evse, dict) else None
    if number is not None and number > 0:
        kept["evse"] = {"id": number}
    token = payload.get("idToken")
    if isinstance(token, dict) and "idToken" in token:
        kept["idToken"] = {"idToken": str(cast(Json, token)["idToken"])[:36], "type": "Central"}
    values = meter_values(payload.get("meterValue"), Version.V201)
    return {**kept, "meterValue": values} if values else kept


_GIVEN_UP = ("Deauthorized", "EVConnectTimeout")
"""With TxStopPoint ParkingBayOccupancy the transaction outlives both (2.0.1 part 2, E06)."""
_STATES = ("Charging", "EVConnected", "SuspendedEV", "SuspendedEVSE", "Idle")
_STOPPED = (
    "DeAuthorized", "EmergencyStop", "EnergyLimitReached", "EVDisconnected", "GroundFault", "ImmediateReset",
    "Local", "LocalOutOfCredit", "MasterPass", "OvercurrentFault", "PowerLoss", "PowerQuality", "Reboot",
    "Remote", "SOCLimitReached", "StoppedByEV", "TimeLimitReached", "Timeout", "Other",
)  # fmt: skip
