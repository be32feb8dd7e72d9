"""What a station says, as evidence for stops. Pure: the same word gives the same event id, whoever takes it
in and however often."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from connectors.ocpp.ports import StationInfo, TransactionFacts, is_lost
from connectors.ports import RoutedEvidence
from models.evidence import Evidence, EvidenceKind, EvidenceSource
from models.reason_catalogue import from_ocpp16_stop_reason, from_ocpp201_stopped_reason
from models.reason_codes import Phase, ReasonCode

_ONCE = (EvidenceKind.SESSION_STARTED, EvidenceKind.SESSION_ENDED)


def of_transaction(
    station: StationInfo,
    facts: TransactionFacts,
    kind: EvidenceKind,
    at: datetime,
    *,
    energy_kwh: float | None = None,
    power_kw: float | None = None,
    soc: float | None = None,
    reason: ReasonCode | None = None,
    vendor_code: str = "",
    detail: str = "",
    mark: str = "",
) -> list[RoutedEvidence]:
    """Evidence about a transaction that an attempt of ours asked for; others are none of ours. `mark`: names
    the event, where its time does not."""
    if facts.attempt_id is None:
        return []
    name = "" if kind in _ONCE else f":{mark or at.isoformat()}"
    evidence = Evidence(
        event_id=f"ocpp:{station.station_id}:{facts.transaction_id}:{kind}{name}",
        source=EvidenceSource.OCPP,
        kind=kind,
        observed_at=at,
        attempt_id=facts.attempt_id,
        charger_id=station.connectors.get(facts.connector_number),
        session_ref=facts.session_ref,
        energy_kwh=energy_kwh,
        power_kw=power_kw,
        soc_percent=soc,
        reason=reason,
        vendor_code=vendor_code,
        detail=detail,
    )
    return [RoutedEvidence(tenant_id=station.tenant_id, evidence=evidence, stop_id=facts.stop_id)]


def of_end(station: StationInfo, done: TransactionFacts, detail: str) -> list[RoutedEvidence]:
    """The end of a transaction, once there is one."""
    if done.ended_at is None:
        return []
    generation, _, word = done.reason.partition(":")
    reason_of = from_ocpp16_stop_reason if generation == "ocpp1.6" else from_ocpp201_stopped_reason
    lost = ReasonCode.SUSTAIN_CONTACT_LOST if is_lost(done.reason) else None
    return of_transaction(
        station,
        done,
        EvidenceKind.SESSION_ENDED,
        done.ended_at,
        energy_kwh=None if done.energy_wh is None else done.energy_wh / 1000,
        reason=lost or reason_of(word, Phase.SUSTAIN),
        vendor_code=done.reason,
        detail=detail,
    )


def of_connector(
    station: StationInfo,
    number: int,
    kind: EvidenceKind,
    at: datetime,
    *,
    facts: TransactionFacts | None = None,
    reason: ReasonCode | None = None,
    vendor_code: str = "",
    detail: str = "",
    mark: str = "",
) -> list[RoutedEvidence]:
    """Evidence about a connector, for whoever is on the way to it, or (`facts`) charges there. `mark`: names
    the event, where its time does not."""
    charger_id = station.connectors.get(number)
    if charger_id is None:
        return []
    evidence = Evidence(
        event_id=f"ocpp:{station.station_id}:c{number}:{kind}:{mark or at.isoformat()}",
        source=EvidenceSource.OCPP,
        kind=kind,
        observed_at=at,
        attempt_id=facts.attempt_id if facts else None,
        charger_id=charger_id,
        reason=reason,
        vendor_code=vendor_code,
        detail=detail,
    )
    stop_id = facts.stop_id if facts else None
    return [RoutedEvidence(tenant_id=station.tenant_id, evidence=evidence, stop_id=stop_id)]


def of_contact(
    station: StationInfo, under_way: Iterable[TransactionFacts], kind: EvidenceKind, at: datetime, mark: str
) -> list[RoutedEvidence]:
    """The station is away, or back: for our sessions there, and for who is on the way to one of its
    connectors. `mark`: names the absence, so that each is told once and ended once."""
    sessions = [of_transaction(station, facts, kind, at, mark=mark) for facts in under_way]
    connectors = [of_connector(station, n, kind, at, mark=mark) for n in sorted(station.connectors)]
    return [item for items in (*sessions, *connectors) for item in items]
