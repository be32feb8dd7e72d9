"""What peers say of one attempt's session, through the real relay."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from connectors.ports import RoutedEvidence
from models.charger import Protocol
from models.commands import ChargerCommand, CommandKind
from models.evidence import Evidence, EvidenceKind, EvidenceSource
from models.money import Money
from models.stop import StopPhase, StopView
from tests.workflows.conftest import Surroundings


async def say(around: Surroundings, command: ChargerCommand, kind: EvidenceKind, **fields: Any) -> None:
    """Evidence of the command's session, delivered."""
    roams = command.charger.protocol is Protocol.OCPI
    plain: dict[str, Any] = {
        "event_id": uuid.uuid4().hex,
        "source": EvidenceSource.OCPI if roams else EvidenceSource.OCPP,
        "kind": kind,
        "observed_at": datetime.now(UTC),
        "attempt_id": command.attempt_id,
        "charger_id": command.charger.charger_id,
        "session_ref": f"tx-{command.attempt_id[:8]}",
    }
    item = Evidence.model_validate({**plain, **fields})
    await around.relay.accept(
        [RoutedEvidence(tenant_id=around.tenant_id, evidence=item, stop_id=command.stop_id)]
    )
    await around.delivered()


def stops_of(around: Surroundings, command: ChargerCommand) -> list[ChargerCommand]:
    sent = around.charger.ledger
    return [c for c in sent if c.kind is CommandKind.STOP and c.attempt_id == command.attempt_id]


async def is_stopped(around: Surroundings, command: ChargerCommand) -> list[ChargerCommand]:
    """Once the charger has been told to end the command's session."""
    await around.charger.until(lambda: bool(stops_of(around, command)))
    return stops_of(around, command)


def fell_back(view: StopView) -> bool:
    return view.phase is StopPhase.EN_ROUTE and view.attempt_number == 1


def euros(amount: str) -> Money:
    return Money(amount=Decimal(amount), currency="EUR")
