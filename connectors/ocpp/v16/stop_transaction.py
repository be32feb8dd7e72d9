"""StopTransaction (OCPP 1.6 section 4.10): unknown and repeated stops are answered all the same.

On an error the station would tell them again for ever (or drop them). What matches nothing is kept aside."""

from __future__ import annotations

from datetime import UTC, datetime

import orjson

from connectors.ocpp.ports import EndOfTransaction, Told, TransactionFacts
from connectors.ocpp.session import OpenTransaction, StationSession
from connectors.ocpp.truth.checks import HARD, stop_findings
from connectors.ocpp.truth.clock import clamped, instant
from connectors.ocpp.truth.meter import samples_of
from connectors.ocpp.truth.salvage import integer, meter_values, register, timestamp
from connectors.ocpp.truth.telling import told_of
from connectors.ocpp.wire.rpc import Answer
from connectors.ocpp.wire.schemas import Json, Version


async def handle(session: StationSession, payload: Json) -> Answer:
    answer: Json = {"idTagInfo": {"status": "Accepted"}} if payload.get("idTag") else {}
    now, raw = datetime.now(UTC), orjson.dumps(payload)
    at, tag = instant(payload["timestamp"], now), str(payload.get("idTag") or "")
    facts = await _which(session, int(payload["transactionId"]), at if at != now else None, tag)
    if facts is None:
        await session.house.keep(session.station, "stop_unknown", raw)
        return Answer(answer)
    at, meter = max(at, facts.started_at), float(payload["meterStop"])
    told = told_of("meter", facts, samples_of(payload.get("transactionData") or [], now))
    meter_stop = meter if meter >= 0 else None
    reason = f"ocpp1.6:{payload.get('reason') or 'Local'}"
    if facts.has_told_end:
        findings: tuple[str, ...] = () if at == facts.ended_at else ("stop_repeated",)
        body = {"reason": reason, "findings": list(findings)}
        told.append(Told("stop", facts.connector_number, at, register_wh=meter_stop, body=body))
    else:
        findings = stop_findings(
            at_text=payload["timestamp"],
            now=now,
            started_at=facts.started_at,
            meter_stop=meter,
            same_tag=not tag or tag == facts.id_tag,
        )
    for name in HARD.intersection(findings):
        await session.house.keep(session.station, name, raw)
    if facts.has_told_end:
        await session.late(facts, told)
    else:
        clock_known = not clamped(payload["timestamp"], now)
        await session.ended(facts, EndOfTransaction(at, meter_stop, reason, findings, clock_known), told)
    return Answer(answer)


async def _which(
    session: StationSession, number: int, at: datetime | None, tag: str
) -> TransactionFacts | None:
    """-1 and 0 mean "none" to some stations. Then it is the one that ended at that very time (the stop is
    told again), or the only connector's that has an open one, or the only one with that tag."""
    known = await session.open_transactions()
    if number > 0:
        found = await session.by_number(number)
        return found.facts if isinstance(found, OpenTransaction) else found
    ended = await session.house.find(session.station, ended_at=at) if at is not None else None
    if ended is not None and tag in ("", ended.id_tag):
        return ended
    newest = [await session.at_connector(n) for n in {one.facts.connector_number for one in known.values()}]
    candidates = [one.facts for one in newest if one is not None]
    if len(candidates) > 1:
        candidates = [facts for facts in candidates if facts.id_tag == tag]
    return candidates[0] if len(candidates) == 1 else None


def repair(payload: Json) -> Json:
    """Essential is the transaction; what else cannot be read is left out."""
    kept: Json = {
        "transactionId": _number(payload["transactionId"]),
        "meterStop": register(payload.get("meterStop")),
        "timestamp": timestamp(payload.get("timestamp")),
    }
    if isinstance(payload.get("idTag"), str):
        kept["idTag"] = payload["idTag"][:20]
    if payload.get("reason") is not None:
        kept["reason"] = payload["reason"] if payload["reason"] in _REASONS else "Other"
    values = meter_values(payload.get("transactionData"), Version.V16)
    return {**kept, "transactionData": values} if values else kept


def _number(value: object) -> int:
    """What is no number means "none"; what is no number of ours, a transaction that nobody knows."""
    try:
        found = integer(value)
    except (TypeError, ValueError):
        return -1
    return found if abs(found) <= _NOBODYS else _NOBODYS


_NOBODYS = 2**31 - 1
_REASONS = (
    "EmergencyStop", "EVDisconnected", "HardReset", "Local", "Other", "PowerLoss", "Reboot", "Remote",
    "SoftReset", "UnlockCommand", "DeAuthorized",
)  # fmt: skip
