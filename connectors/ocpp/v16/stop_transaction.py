"""StopTransaction (OCPP 1.6 section 4.10): unknown and repeated stops are answered all the same.

On an error the station would tell them again for ever (or drop them). What matches nothing is kept aside."""

from __future__ import annotations

from datetime import UTC, datetime

import orjson

from connectors.ocpp.checks import stop_findings
from connectors.ocpp.clock import instant
from connectors.ocpp.meter import samples_of
from connectors.ocpp.ports import EndOfTransaction, TransactionFacts
from connectors.ocpp.rpc import Answer
from connectors.ocpp.salvage import integer, meter_values, register, timestamp
from connectors.ocpp.schemas import Json, Version
from connectors.ocpp.session import OpenTransaction, StationSession
from connectors.ocpp.telling import told_of
from models.reason_catalogue import from_ocpp16_stop_reason
from models.reason_codes import Phase


async def handle(session: StationSession, payload: Json) -> Answer:
    answer: Json = {"idTagInfo": {"status": "Accepted"}} if payload.get("idTag") else {}
    facts = await _which(session, int(payload["transactionId"]))
    if facts is None:
        await session.house.keep(session.station, "stop_unknown", orjson.dumps(payload))
        return Answer(answer)
    now = datetime.now(UTC)
    if facts.ended_at is not None:
        told = told_of("meter", facts, samples_of(payload.get("transactionData") or [], now))
        await session.house.late(session.station, facts, told)
        return Answer(answer)
    tag, meter = str(payload.get("idTag") or ""), float(payload["meterStop"])
    meter_stop = meter if meter >= 0 else None
    findings = stop_findings(
        at_text=payload["timestamp"],
        now=now,
        started_at=facts.started_at,
        meter_stop=meter_stop,
        same_tag=not tag or tag == facts.id_tag,
    )
    at = max(instant(payload["timestamp"], now), facts.started_at)
    samples = samples_of(payload.get("transactionData") or [], now)
    told = told_of("meter", facts, samples)
    word = str(payload.get("reason") or "Local")
    await session.ended(
        facts,
        EndOfTransaction(at, meter_stop, f"ocpp1.6:{word}", findings),
        told,
        from_ocpp16_stop_reason(word, Phase.SUSTAIN),
        f"ocpp1.6:{word}",
    )
    return Answer(answer)


async def _which(session: StationSession, number: int) -> TransactionFacts | None:
    """-1 and 0 mean "none" to some stations: the one that is open is meant, where it is one."""
    known = await session.open_transactions()
    if number > 0:
        mine = known.get(number)
        return mine.facts if mine else await session.house.find(session.station, transaction_id=number)
    open_ones: list[OpenTransaction] = list(known.values())
    return open_ones[0].facts if len(open_ones) == 1 else None


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
