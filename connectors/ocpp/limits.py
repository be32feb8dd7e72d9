"""Charging limits at one station: set, cleared, read back.

*Accepted is not applied.* A limit counts as applied once it was seen: in Current.Offered or Power.Offered, in
the composite schedule, or in a meter that shows no more than it allows.
"""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Literal

from connectors.ocpp import charging_profiles as profiles
from connectors.ocpp.charging_profiles import RateUnit
from connectors.ocpp.meter import samples_of
from connectors.ocpp.rpc import CallError, NoReply, NotSent, Priority, Rpc
from connectors.ocpp.schemas import Invalid, Json, Version
from connectors.ocpp.session import StationSession
from connectors.ocpp.v2x import requests as requests_2x
from connectors.ocpp.v16 import requests as requests_16
from models.charging_limit import ChargingLimit, LimitPurpose, LimitReply, LimitState, ReadBack

_CALL_S = 20.0
_METER_WAIT_S = 5.0
_COMPOSITE_S = 3600


class LimitControl:
    """The limits of one connection. `settle_s`: how long a station may take to offer what it was told."""

    def __init__(self, session: StationSession, rpc: Rpc, settle_s: float = _METER_WAIT_S) -> None:
        self._session, self._rpc, self._settle_s = session, rpc, settle_s
        self._unit: RateUnit | None = None
        self._unit_asked = False

    @property
    def _is_16(self) -> bool:
        return self._rpc.version is Version.V16

    async def apply(self, limit: ChargingLimit) -> LimitReply:
        """Set a limit and look whether it is obeyed. Never raises for what the station does."""
        reply = await self._set(limit)
        if reply.state is LimitState.ACCEPTED:
            reply = await self._read_back(limit, reply)
        await self._session.house.limit(limit, reply)
        return reply

    async def clear(self, limit: ChargingLimit) -> LimitReply:
        """Clear the limit of a place and purpose. Where that was the default, the failsafe comes back."""
        traits = self._session.station.settings.traits
        request = profiles.clear_request(limit.purpose, limit.connector_number, traits, self._rpc.version)
        reply = await self._call(limit, *request, done=LimitState.CLEARED)
        if "Unknown" in reply.vendor_code:  # nothing was there: cleared all the same
            reply = reply.model_copy(update={"state": LimitState.CLEARED})
        await self._session.house.limit(limit, reply)
        if reply.state is LimitState.CLEARED and limit.purpose is LimitPurpose.DEFAULT:
            await self.install_failsafe()
        return reply

    async def install_failsafe(self) -> None:
        """What connectors may draw when nobody tells them anything. Offline with no profile is unlimited."""
        station = self._session.station
        failsafe_kw, connectors = station.settings.failsafe_kw, sorted(station.connectors)
        if failsafe_kw is None or not connectors:
            return
        for limit in profiles.failsafe(
            station.station_id, station.tenant_id, connectors, failsafe_kw, _phases(station.settings.phases)
        ):
            if (await self.apply(limit)).state is LimitState.UNREACHABLE:
                return

    async def _set(self, limit: ChargingLimit) -> LimitReply:
        traits = self._session.station.settings.traits
        if limit.phases is not None and traits.unit is None:
            await self._learn_unit()
        try:
            request = profiles.set_request(limit, traits, self._rpc.version, datetime.now(UTC), self._unit)
        except ValueError as wrong:
            return LimitReply(limit_id=limit.limit_id, state=LimitState.REFUSED, detail=str(wrong))
        return await self._call(limit, *request, done=LimitState.ACCEPTED)

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
        if self._unit_asked:
            return
        self._unit_asked = True
        requests = requests_16 if self._is_16 else requests_2x
        try:
            reply = await self._rpc.call(*requests.ask_rate_unit(), _CALL_S, Priority.LOAD)
        except (CallError, NoReply, NotSent):
            return
        words = requests.read_rate_unit(reply)
        if "A" in words.split(",") or "Current" in words:
            self._unit = "A"
        elif "W" in words.split(",") or "Power" in words:
            self._unit = "W"

    # --- read back --------------------------------------------------------------------------------------

    async def _read_back(self, limit: ChargingLimit, reply: LimitReply) -> LimitReply:
        wanted_kw = profiles.limit_at(limit, datetime.now(UTC))
        if wanted_kw == float("inf"):
            return reply.model_copy(update={"detail": "its time has not come: nothing to be seen yet"})
        seen = await self._offered(limit, wanted_kw)
        if seen is None or not profiles.is_obeyed(wanted_kw, seen[0]):
            composite_kw = await self._composite(limit)
            seen = (composite_kw, ReadBack.COMPOSITE_SCHEDULE) if composite_kw is not None else seen
        if seen is None:
            return reply.model_copy(update={"detail": "the station shows nothing of it"})
        shown_kw, by = seen
        seen_as = {"read_back_kw": round(shown_kw, 3), "read_back_by": by}
        if profiles.is_obeyed(wanted_kw, shown_kw):
            return reply.model_copy(update={**seen_as, "state": LimitState.APPLIED})
        detail = f"asked for {wanted_kw:g} kW, shows {shown_kw:g} kW"
        return reply.model_copy(update={**seen_as, "detail": detail})

    async def _offered(self, limit: ChargingLimit, wanted_kw: float) -> tuple[float, ReadBack] | None:
        """Meter values of the connector, asked for; the first that keep the limit, or else the newest."""
        if limit.connector_number < 1 or await self._session.at_connector(limit.connector_number) is None:
            return None
        heard: asyncio.Queue[list[Json]] = asyncio.Queue(16)

        def listen(number: int, values: list[Json]) -> None:
            if number == limit.connector_number and not heard.full():
                heard.put_nowait(values)

        self._session.on_meter, last = listen, None
        try:
            async with asyncio.timeout(self._settle_s):
                await self._ask_for_meter(limit.connector_number)
                while True:
                    last = self._shown(await heard.get(), limit) or last
                    if last is not None and profiles.is_obeyed(wanted_kw, last[0]):
                        return last
        except TimeoutError:
            return last
        finally:
            self._session.on_meter = None

    async def _ask_for_meter(self, number: int) -> None:
        body: Json = {"requestedMessage": "MeterValues"}
        body |= {"connectorId": number} if self._is_16 else {"evse": {"id": number}}
        try:
            await self._rpc.call("TriggerMessage", body, self._settle_s, Priority.LOAD)
        except (CallError, NoReply, NotSent):
            return  # its own interval will bring them, or the composite schedule will do

    def _shown(self, values: list[Json], limit: ChargingLimit) -> tuple[float, ReadBack] | None:
        offered = profiles.offered_kw(values, limit.phases, limit.voltage_v)
        if offered is not None:
            return offered
        powers = [s.power_kw for s in samples_of(values, datetime.now(UTC)) if s.power_kw is not None]
        return (powers[-1], ReadBack.METER) if powers else None

    async def _composite(self, limit: ChargingLimit) -> float | None:
        request = profiles.composite_request(
            limit.connector_number, _COMPOSITE_S, self._rpc.version, self._unit
        )
        try:
            reply = await self._rpc.call(*request, _CALL_S, Priority.LOAD)
        except (CallError, NoReply, NotSent):
            return None
        now = datetime.now(UTC)
        return profiles.read_composite(reply, self._rpc.version, now, limit.phases, limit.voltage_v, now)


def _phases(number: int | None) -> Literal[1, 2, 3] | None:
    return number if number in (1, 2, 3) else None
