"""What peers say of one attempt's session, through the real relay."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from connectors.ports import RoutedEvidence
from models.commands import ChargerCommand, CommandKind
from models.evidence import Evidence, EvidenceKind, EvidenceSource
from models.money import Money
from models.stop import StopPhase, StopView
from tests.workflows.conftest import Surroundings


async def say(around: Surroundings, command: ChargerCommand, kind: EvidenceKind, **fields: Any) -> None:
    """Evidence of the command's session, delivered."""
    plain: dict[str, Any] = {
        "event_id": uuid.uuid4().hex,
        "source": EvidenceSource(command.charger.protocol),
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


async def told_to_stop(around: Surroundings, command: ChargerCommand) -> None:
    """Until the charger has been told to end the command's session."""
    await around.charger.until(
        lambda: any(
            told.kind is CommandKind.STOP and told.attempt_id == command.attempt_id
            for told in around.charger.ledger
        )
    )


def fell_back(view: StopView) -> bool:
    return view.phase is StopPhase.EN_ROUTE and view.attempt_number == 1


def euros(amount: str) -> Money:
    return Money(amount=Decimal(amount), currency="EUR")
