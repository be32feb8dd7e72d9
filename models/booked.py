"""What the books of a session prove, in the words in which it was once told: as evidence.

For whoever owns the session again and never heard it: a stop that was set back, a keeper beside one.
"""

from __future__ import annotations

from models.charger import Protocol
from models.evidence import Evidence, EvidenceKind, EvidenceSource
from models.stop import Attempt, SessionState

_SOURCES = {str(Protocol.OCPP): EvidenceSource.OCPP, str(Protocol.OCPI): EvidenceSource.OCPI}


def evidence_of(attempt: Attempt) -> list[Evidence]:
    """Of a session that is booked as ended; nothing else is certain. Told twice, it says the same."""
    ended_at = attempt.ended_at
    if attempt.session is not SessionState.ENDED or ended_at is None:
        return []
    metered_kwh = attempt.energy_kwh if attempt.metered_kwh is None else attempt.metered_kwh
    cost = attempt.cost_actual if attempt.protocol == Protocol.OCPI else None
    billed = attempt.record_kwh is not None or cost is not None

    def told(kind: EvidenceKind, **more: object) -> Evidence:
        fields: dict[str, object] = {
            "event_id": f"booked:{attempt.attempt_id}:{kind}:{metered_kwh}:{attempt.record_kwh}:{cost}",
            "source": _SOURCES.get(attempt.protocol, EvidenceSource.TELEMATICS),
            "kind": kind,
            "observed_at": ended_at,
            "attempt_id": attempt.attempt_id,
            "charger_id": attempt.charger_id,
            "session_ref": attempt.session_ref,
        }
        return Evidence.model_validate({**fields, **more})

    items: list[Evidence] = []
    if attempt.started_at is not None:
        items.append(told(EvidenceKind.SESSION_STARTED, observed_at=attempt.started_at))
    if attempt.started_at is not None or not billed:
        items.append(told(EvidenceKind.SESSION_ENDED, energy_kwh=metered_kwh))
    if billed:
        items.append(told(EvidenceKind.CHARGE_RECORD, energy_kwh=attempt.record_kwh, cost=cost))
    return items
