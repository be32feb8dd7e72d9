"""Evidence: kept as heard, matched with whom it concerns, turned into turns, delivered at least once."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import ValidationError
from sqlalchemy import select, text

from models.activity_messages import LookAround
from models.base import Message, UtcDatetime
from models.evidence import Evidence, EvidenceKind
from models.ids import TenantId
from models.stop import SessionState
from models.tables.stops import EvidenceRow
from store.evidence_around import EvidenceAround
from store.evidence_matching import EvidenceMatching
from store.evidence_rows import Heard, append_evidence
from store.progress import ProgressRepository
from store.scope import TenantScope, table_of

_EVIDENCE = table_of(EvidenceRow)

_BOOKED = text(
    """
    SELECT attempt_id, stop_id, body->>'session' AS session, body->>'energy_kwh' AS energy_kwh,
        body->>'ended_at' AS ended_at FROM attempt
    WHERE tenant_id = :tenant AND attempt_id = ANY(CAST(:attempt_ids AS text[]))
    """
)
_SET_ASIDE = text(
    """
    UPDATE evidence SET quarantined_at = now(), quarantine_reason = :reason, claimed_until = NULL
    WHERE tenant_id = :tenant AND position = :position AND delivered_at IS NULL
    """
)
_TRY_AGAIN = text(
    """
    UPDATE evidence SET quarantined_at = NULL, quarantine_reason = '', tries = 0, next_try_at = NULL
    WHERE tenant_id = :tenant AND quarantined_at IS NOT NULL AND delivered_at IS NULL
        AND (CAST(:event_ids AS text[]) IS NULL OR event_id = ANY(CAST(:event_ids AS text[])))
    """
)


class BookedSession(Message):
    """A session as it stands in the books: what is no news to them."""

    attempt_id: str
    stop_id: str
    session: SessionState | None = None
    energy_kwh: float | None = None
    ended_at: UtcDatetime | None = None


class EvidenceRepository:
    def __init__(self, scope: TenantScope) -> None:
        self._scope = scope
        self._connection = scope.connection
        self._tenant_id: TenantId = scope.tenant_id
        self._matching = EvidenceMatching(scope)
        self._progress = ProgressRepository(scope)
        self._around = EvidenceAround(scope)

    # --- writing ------------------------------------------------------------------------------------------

    async def take(self, items: Sequence[Heard]) -> list[str]:
        """What connectors heard: find whom it concerns, keep it, and tell the turns it makes. Returns the
        event ids that are new."""
        if not items:
            return []
        matched = await self._matching.match(items)
        fresh = await append_evidence(self._scope, matched)
        # An end told again may tell more energy than the first time, under the same id.
        is_fresh = {(item.evidence.event_id, item.stop_id) for item in fresh}
        again = [
            item
            for item in matched
            if item.evidence.kind is EvidenceKind.SESSION_ENDED
            and (item.evidence.event_id, item.stop_id) not in is_fresh
        ]
        await append_evidence(self._scope, await self._progress.fold([*fresh, *again]))
        return [item.evidence.event_id for item in fresh]

    async def append(self, items: Sequence[tuple[str | None, Evidence]]) -> list[str]:
        """Keep evidence with the stop it concerns (None: unknown), as it is. Returns the event ids that are
        new."""
        fresh = await append_evidence(self._scope, [Heard(evidence, stop_id) for stop_id, evidence in items])
        return [item.evidence.event_id for item in fresh]

    async def tell_silences(self, listened_s: float) -> int:
        """SESSION_SILENT for the tenant's silent sessions (ProgressRepository.silences). Returns how many."""
        told = await append_evidence(self._scope, await self._progress.silences(listened_s))
        return len(told)

    async def set_aside(self, position: int, reason: str) -> None:
        """It cannot be delivered as it is, and no repeat heals that."""
        await self._connection.execute(
            _SET_ASIDE, {"tenant": self._tenant_id, "position": position, "reason": reason[:200]}
        )

    async def try_again(self, event_ids: Sequence[str] | None = None) -> int:
        """The way back: what was set aside is delivered after all (by a version that can read it, say). None:
        all of it. Returns how many rows."""
        done = await self._connection.execute(
            _TRY_AGAIN,
            {"tenant": self._tenant_id, "event_ids": None if event_ids is None else list(event_ids)},
        )
        return done.rowcount

    # --- reading ------------------------------------------------------------------------------------------

    async def around(self, asked: LookAround) -> list[Evidence]:
        """What still holds around a charger that the stop turns to, and of its vehicle; oldest first."""
        return await self._around.look(asked)

    async def stop_of_vehicle(self, telematics_id: str) -> str | None:
        """The open stop that news of the vehicle is for."""
        return await self._matching.stop_of_vehicle(telematics_id)

    async def booked(self, attempt_ids: Sequence[str]) -> dict[str, BookedSession]:
        """By attempt id; those that nobody opened are missing."""
        found = await self._connection.execute(
            _BOOKED, {"tenant": self._tenant_id, "attempt_ids": sorted(set(attempt_ids))}
        )
        return {row["attempt_id"]: _booked(dict(row)) for row in found.mappings()}

    async def of_stop(self, stop_id: str) -> list[Evidence]:
        """All evidence of a stop in the order in which it was heard."""
        found = await self._connection.execute(
            select(_EVIDENCE.c.body)
            .where(_EVIDENCE.c.tenant_id == self._tenant_id, _EVIDENCE.c.stop_id == stop_id)
            .order_by(_EVIDENCE.c.position)
        )
        return [Evidence.model_validate(body) for body in found.scalars()]

    async def unmatched(self, limit: int) -> list[Evidence]:
        """Evidence that concerns no stop we know, newest first."""
        found = await self._connection.execute(
            select(_EVIDENCE.c.body)
            .where(_EVIDENCE.c.tenant_id == self._tenant_id, _EVIDENCE.c.stop_id.is_(None))
            .order_by(_EVIDENCE.c.position.desc())
            .limit(limit)
        )
        return [Evidence.model_validate(body) for body in found.scalars()]


def _booked(row: dict[str, str | None]) -> BookedSession:
    try:
        return BookedSession.model_validate(row)
    except ValidationError:  # an attempt as an older version wrote it: nothing is known to be booked
        return BookedSession(attempt_id=str(row["attempt_id"]), stop_id=str(row["stop_id"]))
