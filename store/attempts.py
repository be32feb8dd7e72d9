"""Attempts: the intent before the command, the holds on vehicle and connector, and correlation."""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import IntegrityError

from models.base import Message, UtcDatetime
from models.ids import TenantId
from models.reason_codes import ReasonCode
from models.stop import Attempt, AttemptState
from models.tables.stops import AttemptRow
from store.errors import ConnectorBusy, VehicleBusy
from store.scope import TenantScope, table_of

_ATTEMPT = table_of(AttemptRow)
_CLOCK_SLACK = timedelta(seconds=5)


class AttemptIntent(Message):
    """What is about to be tried; everything evidence is later matched by."""

    stop_id: str
    attempt: Attempt
    vehicle_id: str
    station_id: str
    connector_number: int
    evse_uid: str
    token_uid: str
    remote_start_id: int
    window_ends_at: UtcDatetime


class AttemptMatch(Message):
    attempt_id: str
    stop_id: str
    tenant_id: str
    charger_id: str
    state: AttemptState
    live: bool


class AttemptRepository:
    def __init__(self, scope: TenantScope) -> None:
        self._connection = scope.connection
        self._tenant_id: TenantId = scope.tenant_id

    async def open(self, intent: AttemptIntent) -> None:
        """Write the intent and hold vehicle and connector. Idempotent per attempt id.

        Raises VehicleBusy or ConnectorBusy where another live attempt holds them; the unit of work stays
        usable."""
        attempt = intent.attempt
        row = {
            "attempt_id": attempt.attempt_id,
            "tenant_id": self._tenant_id,
            "stop_id": intent.stop_id,
            "number": attempt.number,
            "vehicle_id": intent.vehicle_id,
            "charger_id": attempt.charger_id,
            "station_id": intent.station_id,
            "evse_uid": intent.evse_uid,
            "connector_number": intent.connector_number,
            "token_uid": intent.token_uid,
            "remote_start_id": intent.remote_start_id,
            "state": str(attempt.state),
            "live": True,
            "opened_at": attempt.opened_at,
            "window_ends_at": intent.window_ends_at,
            "body": attempt.model_dump(mode="json"),
        }
        try:
            async with self._connection.begin_nested():
                await self._connection.execute(
                    insert(_ATTEMPT).values(row).on_conflict_do_nothing(index_elements=["attempt_id"])
                )
        except IntegrityError as error:
            if "uq_attempt_live_vehicle" in str(error.orig):
                raise VehicleBusy(intent.vehicle_id) from error
            if "uq_attempt_live_charger" in str(error.orig):
                raise ConnectorBusy(attempt.charger_id) from error
            raise

    async def close(self, attempt_id: str, state: AttemptState, reason: ReasonCode | None) -> None:
        """Release vehicle and connector. The row stays: late evidence still finds it."""
        await self._connection.execute(
            _ATTEMPT.update()
            .where(_ATTEMPT.c.tenant_id == self._tenant_id, _ATTEMPT.c.attempt_id == attempt_id)
            .values(live=False, state=str(state), reason=str(reason) if reason else None)
        )

    async def find(self, attempt_id: str) -> AttemptMatch | None:
        return await self._newest(_ATTEMPT.c.attempt_id == attempt_id)

    async def find_by_remote_start_id(self, station_id: str, remote_start_id: int) -> AttemptMatch | None:
        """OCPP 2.x: the first TransactionEvent carries our remoteStartId (F02.FR.01)."""
        return await self._newest(
            _ATTEMPT.c.station_id == station_id, _ATTEMPT.c.remote_start_id == remote_start_id
        )

    async def find_for_start(
        self, station_id: str, connector_number: int, token_uid: str, at: datetime
    ) -> AttemptMatch | None:
        """OCPP 1.6 has no reference of ours: connector (0: not said yet), token and time must do. A start
        later than the window still belongs to the attempt if no newer one has begun there since."""
        return await self._newest(
            _ATTEMPT.c.station_id == station_id,
            *([_ATTEMPT.c.connector_number == connector_number] if connector_number > 0 else []),
            _ATTEMPT.c.token_uid == token_uid,
            _ATTEMPT.c.opened_at <= at + _CLOCK_SLACK,
            _ATTEMPT.c.window_ends_at >= at - timedelta(hours=1),
        )

    async def knows_token(self, station_id: str, token_uid: str, since: datetime) -> bool:
        """Whether an attempt of ours at this station carries the token."""
        found = await self._newest(
            _ATTEMPT.c.station_id == station_id,
            _ATTEMPT.c.token_uid == token_uid,
            _ATTEMPT.c.window_ends_at >= since,
        )
        return found is not None

    async def find_for_evse(
        self, station_id: str, evse_uid: str, token_uid: str, at: datetime
    ) -> AttemptMatch | None:
        """OCPI without authorization_reference: token, EVSE and time."""
        return await self._newest(
            _ATTEMPT.c.station_id == station_id,
            _ATTEMPT.c.evse_uid == evse_uid,
            _ATTEMPT.c.token_uid == token_uid,
            _ATTEMPT.c.opened_at <= at + _CLOCK_SLACK,
            _ATTEMPT.c.window_ends_at >= at - timedelta(hours=1),
        )

    async def find_by_session(self, session_ref: str, station_id: str | None = None) -> AttemptMatch | None:
        where = [_ATTEMPT.c.session_ref == session_ref]
        if station_id is not None:
            where.append(_ATTEMPT.c.station_id == station_id)
        return await self._newest(*where)

    async def _newest(self, *where: ColumnElement[bool]) -> AttemptMatch | None:
        found = await self._connection.execute(
            select(
                _ATTEMPT.c.attempt_id,
                _ATTEMPT.c.stop_id,
                _ATTEMPT.c.tenant_id,
                _ATTEMPT.c.charger_id,
                _ATTEMPT.c.state,
                _ATTEMPT.c.live,
            )
            .where(_ATTEMPT.c.tenant_id == self._tenant_id, *where)
            .order_by(_ATTEMPT.c.opened_at.desc())
            .limit(1)
        )
        row = found.mappings().first()
        return AttemptMatch.model_validate(dict(row)) if row else None
