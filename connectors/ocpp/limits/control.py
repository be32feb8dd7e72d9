"""Charging limits at one station: set, cleared, read back.

*Accepted is not applied.* A limit counts as applied only once it was seen: in Current.Offered or
Power.Offered, in a meter that shows no more than it allows, or, where nothing charges, in the composite
schedule. What a charging connector shows outranks that: some stations report a profile and do not obey it.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from datetime import UTC, datetime, timedelta
from typing import Literal

import structlog

from connectors.ocpp.limits import profiles
from connectors.ocpp.limits.profiles import RateUnit
from connectors.ocpp.limits.proof import Proof, Seen
from connectors.ocpp.session import StationSession
from connectors.ocpp.truth.meter import samples_of
from connectors.ocpp.v2x import requests as requests_2x
from connectors.ocpp.v16 import requests as requests_16
from connectors.ocpp.wire.rpc import CallError, NoReply, NotSent, Priority, Rpc
from connectors.ocpp.wire.schemas import Invalid, Json, Version
from models.charging_limit import ChargingLimit, LimitPurpose, LimitReply, LimitState, ReadBack

_log = structlog.get_logger(__name__)

_CALL_S = 20.0
_SETTLE_S = 6.0
_METER_ASKS = 3
_COMPOSITE_S = 3600
_STARTS_NOW = timedelta(seconds=5)


class LimitControl:
    """The limits of one connection. `settle_s`: how long a station may take to offer what it was told.

    Limits of one connector follow each other; those of several connectors run side by side."""

    def __init__(self, session: StationSession, rpc: Rpc, settle_s: float = _SETTLE_S) -> None:
        self._session, self._rpc, self._settle_s = session, rpc, settle_s
        self._unit: RateUnit | None = None
        self._unit_asked, self._asking_unit = False, asyncio.Lock()
        self._in_turn: defaultdict[int, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._listeners: set[asyncio.Queue[tuple[int, list[Json]]]] = set()
        self._proof = Proof()
        self._newest: dict[int, str] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        session.on_meter = self._hear

    @property
    def _is_16(self) -> bool:
        return self._rpc.version is Version.V16

    async def apply(self, limit: ChargingLimit) -> LimitReply:
        """Set a limit and look whether it is obeyed. Never raises for what the station does."""
        async with self._in_turn[limit.connector_number]:
            return await self._apply(limit)

    async def clear(self, limit: ChargingLimit) -> LimitReply:
        """Clear the limit of a place and purpose. Where that was a connector's default, its failsafe comes
        back."""
        number = limit.connector_number
        async with self._in_turn[number]:
            traits = self._session.station.settings.traits
            request = profiles.clear_request(limit.purpose, number, traits, self._rpc.version)
            reply = await self._call(limit, *request, done=LimitState.CLEARED)
            if reply.vendor_code.startswith("Unknown"):  # nothing was there: cleared all the same
                reply = reply.model_copy(update={"state": LimitState.CLEARED})
            await self._session.house.limit(limit, reply)
            if reply.state is LimitState.CLEARED:
                self._newest.pop(number, None)
                self._proof.forget(number)
            if reply.state is LimitState.CLEARED and limit.purpose is LimitPurpose.DEFAULT:
                # Of this connector only: the others may hold limits of their own in the failsafe's place.
                for failsafe in self._failsafe():
                    if failsafe.connector_number == number:
                        await self._apply(failsafe)
            return reply

    async def install(self) -> None:
        """After a boot: what was in force is told again, for the station may have lost it. A connector that
        has no default gets its failsafe. Offline with no profile is unlimited."""
        now = datetime.now(UTC)
        kept = [
            limit
            for limit in await self._session.house.limits_in_force(self._session.station)
            if limit.purpose is not LimitPurpose.TRANSACTION and profiles.limit_at(limit, now) != float("inf")
        ]
        states: dict[int, LimitState] = {}
        for limit in kept:
            state = (await self.apply(limit)).state
            if state is LimitState.UNREACHABLE:
                return
            if limit.purpose is LimitPurpose.DEFAULT:
                states[limit.connector_number] = state
        for failsafe in self._failsafe():
            if states.get(failsafe.connector_number, LimitState.REFUSED) is not LimitState.REFUSED:
                continue
            if (await self.apply(failsafe)).state is LimitState.UNREACHABLE:
                return

    def _failsafe(self) -> list[ChargingLimit]:
        station = self._session.station
        settings, connectors = station.settings, sorted(station.connectors)
        if settings.failsafe_kw is None or not connectors:
            return []
        return profiles.failsafe(
            station.station_id, station.tenant_id, connectors, settings.failsafe_kw, _phases(settings.phases)
        )

    async def _apply(self, limit: ChargingLimit) -> LimitReply:
        due = _due(limit, datetime.now(UTC))
        self._newest[limit.connector_number] = limit.limit_id
        reply = await self._set(due)
        if reply.state is LimitState.ACCEPTED:
            reply = await self._read_back(due, reply)
        await self._session.house.limit(limit, reply)
        if reply.state is not LimitState.REFUSED:
            self._proof.begin(due, reply)
        return reply

    async def _set(self, limit: ChargingLimit) -> LimitReply:
        traits, now = self._session.station.settings.traits, datetime.now(UTC)

        def refused(why: str) -> LimitReply:
            return LimitReply(limit_id=limit.limit_id, state=LimitState.REFUSED, detail=why)

        if limit.starts_at is not None and limit.starts_at > now:
            # Installed now it would replace the limit in force, and leave its place open until it starts.
            return refused("it is not its time yet: send it when it starts")
        if limit.purpose is LimitPurpose.TRANSACTION and not await self._runs(limit):
            return refused("its transaction does not run there")
        if limit.phases is not None and traits.unit is None:
            await self._learn_unit()
        try:
            request = profiles.set_request(limit, traits, self._rpc.version, now, self._unit)
        except ValueError as wrong:
            return refused(str(wrong))
        return await self._call(limit, *request, done=LimitState.ACCEPTED)

    async def _runs(self, limit: ChargingLimit) -> bool:
        running = (await self._session.open_transactions()).values()
        place = (limit.connector_number, limit.session_ref)
        return any((one.facts.connector_number, one.facts.session_ref) == place for one in running)

    async def _call(self, limit: ChargingLimit, action: str, payload: Json, done: LimitState) -> LimitReply:
        def said(state: LimitState, vendor_code: str = "", detail: str = "") -> LimitReply:
            return LimitReply(limit_id=limit.limit_id, state=state, vendor_code=vendor_code, detail=detail)

        try:
            reply = await self._rpc.call(action, payload, _CALL_S, Priority.LOAD)
        except NotSent as error:
            return said(LimitState.UNREACHABLE, detail=str(error))
        except NoReply as error:
            return said(LimitState.UNCERTAIN, detail=str(error))
        except CallError as error:
            return said(LimitState.REFUSED, f"CALLERROR {error.code}", error.description)
        except Invalid as wrong:
            return said(LimitState.REFUSED, detail=f"not to be said in {self._rpc.version}: {wrong.keyword}")
        info: Json = reply.get("statusInfo") or {}
        word = f"{reply.get('status')} {info.get('reasonCode') or ''}".strip()
        return said(done if reply.get("status") == "Accepted" else LimitState.REFUSED, word)

    async def _learn_unit(self) -> None:
        """Once per connection. No answer is an answer: then A is taken (OCPP's usual one for AC)."""
        requests = requests_16 if self._is_16 else requests_2x
        async with self._asking_unit:
            if self._unit_asked:
                return
            self._unit_asked = True
            try:
                reply = await self._rpc.call(*requests.ask_rate_unit(), _CALL_S, Priority.LOAD)
            except (CallError, NoReply, NotSent):
                return
        words = {word.strip() for word in requests.read_rate_unit(reply).split(",")}
        self._unit = "A" if words & {"A", "Current"} else "W" if words & {"W", "Power"} else None

    # --- read back --------------------------------------------------------------------------------------

    async def _read_back(self, limit: ChargingLimit, reply: LimitReply) -> LimitReply:
        wanted_kw = profiles.limit_at(limit, datetime.now(UTC))
        if wanted_kw == float("inf"):
            return reply.model_copy(update={"detail": "it is over already: nothing can be seen of it"})
        seen = await self._offered(limit, wanted_kw) or await self._composite(limit)
        if seen is None:
            return reply.model_copy(update={"detail": "the station shows nothing of it"})
        shown_kw, by = seen
        seen_as = {"read_back_kw": round(shown_kw, 3), "read_back_by": by}
        if profiles.keeps(limit, wanted_kw, shown_kw):
            return reply.model_copy(update={**seen_as, "state": LimitState.APPLIED})
        detail = f"asked for {wanted_kw:g} kW, shows {shown_kw:.4g} kW"
        return reply.model_copy(update={**seen_as, "detail": detail})

    async def _offered(self, limit: ChargingLimit, wanted_kw: float) -> Seen | None:
        """What the charging connectors in its reach show, asked for: the first that keeps the limit, or else
        the newest. None where none charges or says anything."""
        reach = await self._charging_in_reach(limit)
        if not reach:
            return None
        heard: asyncio.Queue[tuple[int, list[Json]]] = asyncio.Queue()
        self._listeners.add(heard)
        shown: dict[int, Seen] = {}
        try:
            async with asyncio.timeout(self._settle_s):
                while True:  # asked again: a station takes its time, and its own interval may be a minute
                    for number in reach:
                        await self._ask_for_meter(number)
                    seen = await self._heard(limit, wanted_kw, heard, shown, reach)
                    if seen is not None:
                        return seen
        except TimeoutError:
            return _together(limit, shown, reach)
        finally:
            self._listeners.discard(heard)

    async def _heard(
        self,
        limit: ChargingLimit,
        wanted_kw: float,
        heard: asyncio.Queue[tuple[int, list[Json]]],
        shown: dict[int, Seen],
        reach: list[int],
    ) -> Seen | None:
        """Puts what is heard into `shown`, until it keeps the limit, or it is time to ask again (None)."""
        try:
            async with asyncio.timeout(self._settle_s / _METER_ASKS):
                while True:
                    number, values = await heard.get()
                    found = self._shown(values, limit) if number in reach else None
                    if found is not None:
                        shown[number] = found
                    seen = _together(limit, shown, reach)
                    if seen is not None and profiles.keeps(limit, wanted_kw, seen[0]):
                        return seen
        except TimeoutError:
            return None

    def _hear(self, number: int, values: list[Json]) -> None:
        for listener in self._listeners:
            listener.put_nowait((number, values))
        if self._proof.waits_at(number) and not self._in_turn[number].locked():
            self._prove(number, values)

    def _prove(self, number: int, values: list[Json]) -> None:
        seen = self._shown(values, self._proof.limit_at(number))
        found = self._proof.heard(number, seen, datetime.now(UTC)) if seen is not None else None
        if found is not None:
            task = asyncio.create_task(self._keep(*found))
            self._tasks.add(task)
            task.add_done_callback(self._proved)

    async def _keep(self, limit: ChargingLimit, reply: LimitReply) -> None:
        async with self._in_turn[limit.connector_number]:
            if self._newest.get(limit.connector_number) == limit.limit_id:
                await self._session.house.limit(limit, reply)

    def _proved(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None:
            _log.warning("a limit's proof was not kept", error=type(error).__name__)

    async def _charging_in_reach(self, limit: ChargingLimit) -> list[int]:
        running = (await self._session.open_transactions()).values()
        charging = {one.facts.connector_number for one in running} - {0}
        number = limit.connector_number
        return sorted(charging) if number == 0 else sorted(charging & {number})

    async def _ask_for_meter(self, number: int) -> None:
        body: Json = {"requestedMessage": "MeterValues"}
        body |= {"connectorId": number} if self._is_16 else {"evse": {"id": number}}
        try:
            await self._rpc.call("TriggerMessage", body, self._settle_s, Priority.LOAD)
        except (CallError, NoReply, NotSent):
            return  # its own interval will bring them, or the composite schedule will do

    def _shown(self, values: list[Json], limit: ChargingLimit) -> Seen | None:
        offered = profiles.offered_kw(values, limit.phases, limit.voltage_v)
        if offered is not None:
            return offered
        powers = [s.power_kw for s in samples_of(values, datetime.now(UTC)) if s.power_kw is not None]
        return (powers[-1], ReadBack.METER) if powers else None

    async def _composite(self, limit: ChargingLimit) -> Seen | None:
        traits = self._session.station.settings.traits
        unit = "W" if limit.phases is None else traits.unit or self._unit
        request = profiles.composite_request(limit.connector_number, _COMPOSITE_S, self._rpc.version, unit)
        try:
            reply = await self._rpc.call(*request, _CALL_S, Priority.LOAD)
        except (CallError, NoReply, NotSent):
            return None
        now = datetime.now(UTC)
        found = profiles.read_composite(reply, self._rpc.version, now, limit.phases, limit.voltage_v, now)
        return None if found is None else (found, ReadBack.COMPOSITE_SCHEDULE)


def _due(limit: ChargingLimit, now: datetime) -> ChargingLimit:
    """A start a moment ahead is the caller's clock: it means now."""
    starts_at = limit.starts_at
    is_due = starts_at is not None and now < starts_at <= now + _STARTS_NOW
    return limit.model_copy(update={"starts_at": now}) if is_due else limit


def _together(limit: ChargingLimit, shown: dict[int, Seen], reach: list[int]) -> Seen | None:
    """A station's limit is for the sum of its connectors, a default for each; None until all have spoken."""
    if set(shown) != set(reach):
        return None
    powers_kw = [kw for kw, _ in shown.values()]
    total_kw = sum(powers_kw) if limit.purpose is LimitPurpose.STATION else max(powers_kw)
    weakest = max((by for _, by in shown.values()), key=list(ReadBack).index)
    return total_kw, weakest


def _phases(number: int | None) -> Literal[1, 2, 3] | None:
    return number if number in (1, 2, 3) else None
