"""Samples of what the store keeps, with only what a test cares about left to say."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from models.charger import Charger, ConnectorStatus, Protocol
from models.commands import ChargerCommand, CommandKind
from models.decision import Decision
from models.evidence import Evidence, EvidenceKind, EvidenceSource
from models.ids import attempt_id_for, remote_start_id_for, stop_id_for, workflow_id_for
from models.money import Money
from models.place import Place
from models.stop import (
    Attempt,
    StopEvent,
    StopOutcome,
    StopPhase,
    StopRecord,
    StopRequest,
    StopResult,
    StopView,
)
from models.vehicle import ConnectorStandard, VehicleState
from store.attempts import AttemptIntent

NOW = datetime(2026, 11, 21, 8, 0, tzinfo=UTC)
HOME = Place(latitude=51.22, longitude=6.77)


def after(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


def view(tenant_id: str, key: str | None = None, **changes: object) -> StopView:
    key = key or f"tour-{uuid.uuid4().hex[:8]}"
    fields: dict[str, object] = {
        "stop_id": stop_id_for(tenant_id, key),
        "tenant_id": tenant_id,
        "business_key": key,
        "workflow_id": workflow_id_for(tenant_id, key),
        "vehicle_id": "van-1",
        "phase": StopPhase.PLANNING,
        "created_at": NOW,
        "updated_at": NOW,
        "version": 1,
    }
    return StopView.model_validate({**fields, **changes})


def newer(before: StopView, **changes: object) -> StopView:
    return before.model_copy(update={"version": before.version + 1, **changes})


def request(key: str) -> StopRequest:
    vehicle = VehicleState(
        vehicle_id="van-1",
        battery_usable_kwh=60.0,
        connectors=(ConnectorStandard.CCS_2,),
        soc_percent=30.0,
        position=HOME,
    )
    return StopRequest(business_key=key, vehicle=vehicle, token_uid="FLEET017")


def event(stop: StopView, seq: int, type_: str = "stop.planned") -> StopEvent:
    return StopEvent(
        stop_id=stop.stop_id, seq=seq, at=after(seq), type=type_, phase=stop.phase, text="It moved."
    )


def decision(stop: StopView, name: str = "d1") -> Decision:
    return Decision(
        decision_id=f"{stop.stop_id}-{name}",
        candidates=(),
        inputs_hash="0" * 64,
        policy_version="default@1",
        planner_version="1",
    )


def record(stop: StopView, *seqs: int, decisions: tuple[Decision, ...] = ()) -> StopRecord:
    return StopRecord(
        view=stop,
        request=request(stop.business_key),
        events=tuple(event(stop, seq) for seq in seqs),
        decisions=decisions,
    )


def attempt(stop_id: str, number: int = 1, **changes: object) -> Attempt:
    fields: dict[str, object] = {
        "attempt_id": attempt_id_for(stop_id, number),
        "number": number,
        "charger_id": "ch-1",
        "site_id": "site-1",
        "operator": "Operator",
        "protocol": "ocpp",
        "opened_at": NOW,
    }
    return Attempt.model_validate({**fields, **changes})


def intent(of: Attempt, stop_id: str, **changes: object) -> AttemptIntent:
    fields: dict[str, object] = {
        "stop_id": stop_id,
        "attempt": of,
        "vehicle_id": "van-1",
        "station_id": "st-1",
        "connector_number": 1,
        "evse_uid": "",
        "token_uid": "FLEET017",
        "remote_start_id": remote_start_id_for(of.attempt_id),
        "window_ends_at": after(120),
    }
    return AttemptIntent.model_validate({**fields, **changes})


def charger(charger_id: str = "ch-1", north_km: float = 0.0, **changes: object) -> Charger:
    fields: dict[str, object] = {
        "charger_id": charger_id,
        "site_id": "site-1",
        "operator": "Operator",
        "network": "net-a",
        "place": Place(latitude=HOME.latitude + north_km / 111.2, longitude=HOME.longitude),
        "protocol": Protocol.OCPP,
        "station_id": "st-1",
        "standard": ConnectorStandard.CCS_2,
        "power_kw": 50.0,
        "status": ConnectorStatus.AVAILABLE,
    }
    return Charger.model_validate({**fields, **changes})


def command(tenant_id: str, command_id: str) -> ChargerCommand:
    return ChargerCommand(
        command_id=command_id,
        tenant_id=tenant_id,
        stop_id="stop-1",
        attempt_id="attempt-1",
        kind=CommandKind.START,
        charger=charger(),
        token_uid="FLEET017",
        remote_start_id=1,
    )


def evidence(event_id: str, **changes: object) -> Evidence:
    fields: dict[str, object] = {
        "event_id": event_id,
        "source": EvidenceSource.OCPP,
        "kind": EvidenceKind.METER,
        "observed_at": NOW,
    }
    return Evidence.model_validate({**fields, **changes})


def closed(tenant: str) -> StopView:
    """A stop that took 5 kWh at its first attempt, nothing at its second, and closed short."""
    stop = view(tenant, run_id="run-1", phase=StopPhase.CLOSED, outcome=StopOutcome.CHARGED_SHORT)
    eur = Money(amount=Decimal("3.00"))
    tried = (
        attempt(stop.stop_id, 1, energy_kwh=5.0, cost_actual=eur, cost_estimated=eur),
        attempt(stop.stop_id, 2, charger_id="ch-2"),
    )
    result = StopResult(
        stop_id=stop.stop_id,
        tenant_id=tenant,
        outcome=StopOutcome.CHARGED_SHORT,
        energy_kwh=5.0,
        cost_actual=eur,
        attempts=tried,
    )
    return stop.model_copy(update={"attempts": tried, "result": result, "energy_kwh": 5.0})
