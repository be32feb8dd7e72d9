"""Attempts: the intent before the command, the holds on vehicle and connector, and correlation."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable
from contextlib import asynccontextmanager, suppress
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, and_, func, or_, select, true
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import IntegrityError

from models.activity_messages import SessionGoal
from models.base import Message, UtcDatetime
from models.ids import TenantId
from models.reason_codes import ReasonCode
from models.stop import SESSION_OVER, Attempt, AttemptState
from models.tables.stops import AttemptRow, SessionProgressRow
from store.errors import ConnectorBusy, UnknownAttempt, VehicleBusy
from store.scope import TenantScope, table_of

_ATTEMPT = table_of(AttemptRow)
_PROGRESS = table_of(SessionProgressRow)
_CLOCK_SLACK = timedelta(seconds=5)
_ROUNDED = timedelta(seconds=60)
"""Partners tell starts to the minute."""


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
    holds_vehicle: bool
    holds_charger: bool


class AttemptRepository:
    def __init__(self, scope: TenantScope) -> None:
        self._connection = scope.connection
        self._tenant_id: TenantId = scope.tenant_id

    async def open(self, intent: AttemptIntent) -> None:
        """Write the intent and hold vehicle and connector. Idempotent per attempt id: a repeat neither writes
        nor holds. What an earlier attempt of the same stop holds is handed over.

        Raises VehicleBusy or ConnectorBusy where the attempt of another stop (or a later one of this stop)
        holds them; the unit of work stays usable, and nothing has changed hands."""
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
            "holds_vehicle": True,
            "holds_charger": True,
            "opened_at": attempt.opened_at,
            "window_ends_at": intent.window_ends_at,
            "body": attempt.model_dump(mode="json"),
        }
        if await self.find(attempt.attempt_id) is not None:
            return
        async with self._holding(intent.vehicle_id, attempt.charger_id):
            await self._hand_over(intent.stop_id, intent.vehicle_id, attempt.charger_id, attempt.number)
            await self._connection.execute(
                insert(_ATTEMPT).values(row).on_conflict_do_nothing(index_elements=["attempt_id"])
            )

    async def take_back(self, attempt_id: str) -> None:
        """Hold vehicle and connector again: a given-up attempt is wanted after all. Other attempts of its
        stop hand over what they hold of it. Idempotent.

        Raises VehicleBusy or ConnectorBusy where another stop's attempt holds them (nothing has changed hands
        then, and the unit stays usable), UnknownAttempt where there is no such attempt."""
        found = await self._connection.execute(
            select(_ATTEMPT.c.stop_id, _ATTEMPT.c.vehicle_id, _ATTEMPT.c.charger_id).where(
                self._is(attempt_id)
            )
        )
        row = found.one_or_none()
        if row is None:
            raise UnknownAttempt(attempt_id)
        async with self._holding(row.vehicle_id, row.charger_id):
            await self._hand_over(row.stop_id, row.vehicle_id, row.charger_id, None, besides=attempt_id)
            await self._connection.execute(
                _ATTEMPT.update().where(self._is(attempt_id)).values(holds_vehicle=True, holds_charger=True)
            )

    async def regain(self, attempts: Iterable[Attempt]) -> None:
        """A run that took over goes on from where these attempts held vehicle and connector: they hold them
        again, where nobody else does by now."""
        for attempt in attempts:
            for held, column in (
                (attempt.holds_vehicle, _ATTEMPT.c.holds_vehicle),
                (attempt.holds_charger, _ATTEMPT.c.holds_charger),
            ):
                if not held:
                    continue
                with suppress(IntegrityError):
                    async with self._connection.begin_nested():
                        await self._connection.execute(
                            _ATTEMPT.update().where(self._is(attempt.attempt_id)).values({column: True})
                        )

    async def hold_what_lives(self, attempts: Iterable[Attempt]) -> list[str]:
        """Those that are not wanted any more, and live, hold their connectors (again); returns the ones that
        go without, because another attempt holds theirs by now."""
        without: list[str] = []
        for attempt in attempts:
            if not attempt.holds_charger or attempt.holds_vehicle:
                continue
            try:
                async with self._connection.begin_nested():
                    await self._connection.execute(
                        _ATTEMPT.update()
                        .where(self._is(attempt.attempt_id), _ATTEMPT.c.holds_charger.is_(False))
                        .values(holds_charger=True)
                    )
            except IntegrityError:
                without.append(attempt.attempt_id)
        return without

    async def close(self, attempt_id: str, state: AttemptState, reason: ReasonCode | None) -> None:
        """Release vehicle and connector. The row stays: late evidence still finds it."""
        await self._connection.execute(
            _ATTEMPT.update()
            .where(self._is(attempt_id))
            .values(
                holds_vehicle=False,
                holds_charger=False,
                state=str(state),
                reason=str(reason) if reason else None,
            )
        )

    async def unproven(self, stop_id: str) -> list[Attempt]:
        """The stop's attempts of which nobody has proved that their session is over, or never began."""
        session = _ATTEMPT.c.body["session"].astext
        found = await self._connection.execute(
            select(_ATTEMPT.c.body)
            .where(
                _ATTEMPT.c.tenant_id == self._tenant_id,
                _ATTEMPT.c.stop_id == stop_id,
                or_(_ATTEMPT.c.holds_charger, session.not_in([str(state) for state in SESSION_OVER])),
            )
            .order_by(_ATTEMPT.c.number)
        )
        return [Attempt.model_validate(body) for body in found.scalars()]

    async def count_once(self, attempt_id: str) -> bool:
        """True for the one caller who may count what came of its start."""
        done = await self._connection.execute(
            _ATTEMPT.update()
            .where(self._is(attempt_id), _ATTEMPT.c.start_counted.is_(False))
            .values(start_counted=True)
        )
        return done.rowcount > 0

    async def goal_of(self, attempt_id: str) -> SessionGoal | None:
        """What the attempt's session is to reach, where it is followed."""
        found = await self._connection.execute(
            select(
                _PROGRESS.c.tenant_id,
                _PROGRESS.c.stop_id,
                _PROGRESS.c.attempt_id,
                _PROGRESS.c.target_kwh,
                _PROGRESS.c.target_soc_percent,
                _PROGRESS.c.stall_s,
            ).where(_PROGRESS.c.tenant_id == self._tenant_id, _PROGRESS.c.attempt_id == attempt_id)
        )
        row = found.mappings().first()
        return SessionGoal.model_validate(dict(row)) if row else None

    def _is(self, attempt_id: str) -> ColumnElement[bool]:
        return and_(_ATTEMPT.c.tenant_id == self._tenant_id, _ATTEMPT.c.attempt_id == attempt_id)

    async def _hand_over(
        self, stop_id: str, vehicle_id: str, charger_id: str, before: int | None, *, besides: str = ""
    ) -> None:
        """Attempts of the stop (those `before` this number) give this vehicle and this connector free."""
        of_stop = and_(
            _ATTEMPT.c.tenant_id == self._tenant_id,
            _ATTEMPT.c.stop_id == stop_id,
            _ATTEMPT.c.attempt_id != besides,
            _ATTEMPT.c.number < before if before is not None else true(),
        )
        vehicle = and_(_ATTEMPT.c.holds_vehicle, _ATTEMPT.c.vehicle_id == vehicle_id)
        charger = and_(_ATTEMPT.c.holds_charger, _ATTEMPT.c.charger_id == charger_id)
        await self._connection.execute(
            _ATTEMPT.update()
            .where(of_stop, or_(vehicle, charger))
            .values(
                holds_vehicle=and_(_ATTEMPT.c.holds_vehicle, _ATTEMPT.c.vehicle_id != vehicle_id),
                holds_charger=and_(_ATTEMPT.c.holds_charger, _ATTEMPT.c.charger_id != charger_id),
            )
        )

    @asynccontextmanager
    async def _holding(self, vehicle_id: str, charger_id: str) -> AsyncGenerator[None]:
        """What is done inside is undone where a hold is not to be had."""
        try:
            async with self._connection.begin_nested():
                yield
        except IntegrityError as error:
            if "uq_attempt_holds_vehicle" in str(error.orig):
                raise VehicleBusy(vehicle_id) from error
            if "uq_attempt_holds_charger" in str(error.orig):
                raise ConnectorBusy(charger_id) from error
            raise

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
            _same(_ATTEMPT.c.station_id, station_id),
            *([_ATTEMPT.c.connector_number == connector_number] if connector_number > 0 else []),
            _same(_ATTEMPT.c.token_uid, token_uid),
            _ATTEMPT.c.opened_at <= at + _CLOCK_SLACK,
            _ATTEMPT.c.window_ends_at >= at - timedelta(hours=1),
        )

    async def knows_token(self, station_id: str, token_uid: str, since: datetime) -> bool:
        """Whether an attempt of ours at this station carries the token."""
        found = await self._newest(
            _same(_ATTEMPT.c.station_id, station_id),
            _same(_ATTEMPT.c.token_uid, token_uid),
            _ATTEMPT.c.window_ends_at >= since,
        )
        return found is not None

    async def find_for_evse(
        self, station_id: str, evse_uid: str, token_uid: str, at: datetime
    ) -> AttemptMatch | None:
        """OCPI without authorization_reference: token, EVSE and time. A start of a moment before the intent
        is the attempt's, if it has no session yet: times are rounded, and clocks differ."""
        no_session_yet = and_(
            _ATTEMPT.c.opened_at <= at + _ROUNDED + _CLOCK_SLACK, _ATTEMPT.c.session_ref.is_(None)
        )
        return await self._newest(
            _same(_ATTEMPT.c.station_id, station_id),
            _same(_ATTEMPT.c.evse_uid, evse_uid),
            _same(_ATTEMPT.c.token_uid, token_uid),
            or_(_ATTEMPT.c.opened_at <= at + _CLOCK_SLACK, no_session_yet),
            _ATTEMPT.c.window_ends_at >= at - timedelta(hours=1),
        )

    async def find_by_session(self, session_ref: str, station_id: str | None = None) -> AttemptMatch | None:
        where = [_same(_ATTEMPT.c.session_ref, session_ref)]
        if station_id is not None:
            where.append(_same(_ATTEMPT.c.station_id, station_id))
        return await self._newest(*where)

    async def _newest(self, *where: ColumnElement[bool]) -> AttemptMatch | None:
        found = await self._connection.execute(
            select(
                _ATTEMPT.c.attempt_id,
                _ATTEMPT.c.stop_id,
                _ATTEMPT.c.tenant_id,
                _ATTEMPT.c.charger_id,
                _ATTEMPT.c.state,
                _ATTEMPT.c.holds_vehicle,
                _ATTEMPT.c.holds_charger,
            )
            .where(_ATTEMPT.c.tenant_id == self._tenant_id, *where)
            .order_by(_ATTEMPT.c.opened_at.desc())
            .limit(1)
        )
        row = found.mappings().first()
        return AttemptMatch.model_validate(dict(row)) if row else None


def _same(column: ColumnElement[Any], word: str) -> ColumnElement[bool]:
    """Peers' identifiers are CiStrings: they compare without case."""
    return func.lower(column) == func.lower(word)
