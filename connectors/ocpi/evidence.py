"""From sessions, charge records and command results to evidence. Pure: the same object gives the same
evidence with the same event ids, so that a partner's retry, or ours, doubles nothing."""

from __future__ import annotations

import hashlib
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Final

from connectors.ocpi.enums import CommandResultType, SessionStatus
from connectors.ocpi.mapping import charger_id_for
from connectors.ocpi.objects import Cdr, ChargingPeriod, CommandResult, Session, said
from connectors.ocpi.ports import SentCommand
from models.base import FIRST_INSTANT
from models.evidence import Evidence, EvidenceKind, EvidenceSource
from models.money import Money
from models.reason_catalogue import from_ocpi_command_result
from models.reason_codes import Phase, ReasonCode

_EVENT_ID_LENGTH: Final = 200
_UNIT_SLIP: Final = 500
AHEAD: Final = timedelta(days=1)
"""Local time that is called UTC is at most 14 hours ahead; what is further ahead is no time."""
CLAMPED: Final = "the partner's time cannot be right: this is when it was told"


def told_at(at: datetime, otherwise: datetime) -> tuple[datetime, str]:
    """A partner's time, or `otherwise` and a detail that says so where it cannot be right."""
    return (at, "") if FIRST_INSTANT <= at <= otherwise + AHEAD else (otherwise, CLAMPED)


def _event_id(*parts: str) -> str:
    text = ":".join(("ocpi", *parts))
    if len(text) <= _EVENT_ID_LENGTH:
        return text
    return f"ocpi:{hashlib.sha256(text.encode()).hexdigest()}"


def unit_slip(periods: list[ChargingPeriod] | None, total_kwh: Decimal) -> bool:
    """Whether the periods' ENERGY is off from the total by about a thousand: one of them is in Wh."""
    volumes = [d.volume for p in periods or [] for d in p.dimensions if d.type == "ENERGY"]
    summed = sum(volumes, Decimal(0))
    if summed <= 0 or total_kwh <= 0:
        return False
    return summed > total_kwh * _UNIT_SLIP or total_kwh > summed * _UNIT_SLIP


def _parked_at_end(periods: list[ChargingPeriod] | None) -> bool:
    """Whether the last period was parked without charging: the vehicle stood there when it had ended."""
    last = max(periods or [], key=lambda period: period.start_date_time.at, default=None)
    volumes = {d.type: d.volume for d in last.dimensions} if last is not None else {}
    return volumes.get("PARKING_TIME", Decimal(0)) > 0 and not volumes.get("ENERGY")


def of_session(session: Session, attempt_id: str | None, meter_interval_s: float) -> list[Evidence]:
    """What a session object proves. METER evidence comes at most once per `meter_interval_s` of the
    partner's clock (each becomes an event in the stop's history); `kwh` is the session's total.

    OCPI has no word for why a session ended: `reason` stays open, and the vendor code adds "parked" where the
    last period says that the vehicle stood there without charging.

    ACTIVE and COMPLETED both prove the start: partners skip states, and states overtake each other."""
    party = f"{session.country_code}{session.party_id}".upper()
    changed, kwh = session.last_updated.at, float(session.kwh)
    charger_id = charger_id_for(
        session.country_code, session.party_id, session.evse_uid, session.connector_id
    )

    def one(
        kind: EvidenceKind,
        at: datetime,
        *mark: str,
        energy: bool = True,
        cost: Money | None = None,
        reason: ReasonCode | None = None,
    ) -> Evidence:
        observed_at, detail = told_at(at, changed)
        return Evidence(
            event_id=_event_id(party, session.id, *mark),
            source=EvidenceSource.OCPI,
            kind=kind,
            observed_at=observed_at,
            attempt_id=attempt_id,
            charger_id=charger_id,
            session_ref=session.id,
            energy_kwh=kwh if energy else None,
            cost=cost,
            reason=reason,
            vendor_code=f"session:{session.status}{parked}"[:80],
            detail=detail,
        )

    status, stamp = session.status, str(session.last_updated)
    is_parked = status == SessionStatus.COMPLETED and _parked_at_end(session.charging_periods)
    parked = " parked" if is_parked else ""
    if status == SessionStatus.PENDING:
        return [one(EvidenceKind.SESSION_PENDING, changed, "pending", energy=False)]
    if status == SessionStatus.INVALID:
        reason = ReasonCode.CONFIRM_SESSION_INVALID
        return [one(EvidenceKind.SESSION_INVALID, changed, "invalid", stamp, reason=reason)]
    if status not in (SessionStatus.ACTIVE, SessionStatus.COMPLETED):
        return []
    found: list[Evidence] = []
    completed = status == SessionStatus.COMPLETED
    if not completed or kwh > 0:
        began = session.start_date_time.at if completed else changed
        found.append(one(EvidenceKind.SESSION_STARTED, began, "started", energy=False))
    if kwh > 0:
        # Without energy: it would be taken for progress made at this moment.
        flowing = session.start_date_time.at if completed else changed
        found.append(one(EvidenceKind.ENERGY_FLOWING, flowing, "energy", energy=False))
    if completed:
        ended = session.end_date_time.at if session.end_date_time else changed
        cost = (
            Money(amount=session.total_cost.excl_vat, currency=session.currency)
            if session.total_cost
            else None
        )
        found.append(one(EvidenceKind.SESSION_ENDED, ended, "ended", stamp, cost=cost))
    elif kwh > 0:
        bucket = int(changed.timestamp() / meter_interval_s)
        found.append(one(EvidenceKind.METER, changed, "meter", str(bucket)))
    return found


def of_charge_record(cdr: Cdr, attempt_id: str | None, received_at: datetime) -> Evidence:
    """The charge record: energy, cost excl. VAT, and idle time, final. Its remark may say why it ended."""
    place = cdr.cdr_location
    parking_h = cdr.total_parking_time
    if parking_h is None:
        volumes = [d.volume for p in cdr.charging_periods for d in p.dimensions if d.type == "PARKING_TIME"]
        parking_h = sum(volumes, Decimal(0)) if volumes else None
    slip = unit_slip(cdr.charging_periods, cdr.total_energy)
    at, clamped = told_at(cdr.last_updated.at, received_at)
    details = ("energy of periods and total differ by a unit" if slip else "", clamped, cdr.remark or "")
    parked = " parked" if _parked_at_end(cdr.charging_periods) else ""
    return Evidence(
        event_id=_event_id(f"{cdr.country_code}{cdr.party_id}".upper(), "cdr", cdr.id),
        source=EvidenceSource.OCPI,
        kind=EvidenceKind.CHARGE_RECORD,
        observed_at=at,
        attempt_id=attempt_id,
        charger_id=charger_id_for(cdr.country_code, cdr.party_id, place.evse_uid, place.connector_id),
        session_ref=cdr.session_id,
        energy_kwh=float(cdr.total_energy),
        cost=Money(amount=cdr.total_cost.excl_vat, currency=cdr.currency),
        idle_minutes=None if parking_h is None else parking_h * 60,
        vendor_code=f"cdr:{cdr.id}"[:70] + parked,
        detail="; ".join(detail for detail in details if detail)[:400],
    )


def of_command_result(sent: SentCommand, result: CommandResult, received_at: datetime) -> Evidence:
    """The asynchronous answer to a start. A failure here does not prove that nothing will happen: after
    TIMEOUT, sessions have started minutes later (ocpi #475)."""
    accepted = result.result == CommandResultType.ACCEPTED
    reason = from_ocpi_command_result(str(result.result), Phase.START)
    return Evidence(
        event_id=_event_id("command", sent.command_id, str(result.result)[:40]),
        source=EvidenceSource.OCPI,
        kind=EvidenceKind.COMMAND_ACCEPTED if accepted else EvidenceKind.COMMAND_FAILED,
        observed_at=received_at,
        attempt_id=sent.attempt_id,
        charger_id=sent.charger_id,
        reason=None if accepted else (reason or ReasonCode.START_PARTNER_ERROR),
        vendor_code=f"commandResult:{result.result}"[:80],
        detail=said(result.message),
    )


def of_connector(
    country_code: str,
    party_id: str,
    evse_uid: str,
    connector_id: str,
    kind: EvidenceKind,
    status: str,
    changed: datetime,
    *,
    detail: str = "",
) -> Evidence:
    """A connector turned: for who is on the way to it, or charges there."""
    charger_id = charger_id_for(country_code, party_id, evse_uid, connector_id)
    return Evidence(
        event_id=_event_id(charger_id, status, changed.isoformat()),
        source=EvidenceSource.OCPI,
        kind=kind,
        observed_at=changed,
        charger_id=charger_id,
        vendor_code=f"evse:{status}"[:80],
        detail=detail,
    )
