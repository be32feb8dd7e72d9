"""Who may connect to a gateway, and which gateway holds whom: the half of its house at the door."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

from connectors.ocpp.door.certificates import CsrRefused, StationAuthority
from connectors.ocpp.ports import Credentials, LastSeen, StationInfo
from models.ids import TenantId
from models.station import StationIdentity, StationSettings
from models.station_passwords import NOBODY, hash_password, matches
from store.chargers import KnownConnector
from store.database import Store, TenantUnit
from store.platform import Station
from workers.gateway.absence import away_since, expects_start
from workers.gateway.group_commit import GroupCommit

_LANES = 2
_UNITS_AT_ONCE = 6
"""Units of work of single stations. The rest of the pool is for groups: in a herd thousands wait here for
their turn, and not in the pool for its time-out."""


class StationAdmission:
    """`queue`: where commands for the stations of this gateway are taken from. `operator`: the O of station
    certificates. `open_door`: security profile 0 counts (development only)."""

    def __init__(
        self,
        store: Store,
        queue: str,
        *,
        operator: str = "Backstop",
        authority: StationAuthority | None = None,
        open_door: bool = False,
    ) -> None:
        self._store, self._queue = store, queue
        self._operator, self._authority, self._open_door = operator, authority, open_door
        self._lookups = GroupCommit[str, Station | None](self._look_up, lanes=_LANES)
        self._connectors = GroupCommit[Station, dict[int, KnownConnector]](self._connectors_of, lanes=_LANES)
        self._claims = GroupCommit[tuple[str, str, str, str, str], datetime | None](self._claim_all)
        self._releases = GroupCommit[tuple[str, str], None](self._release_all)
        self._units = asyncio.Semaphore(_UNITS_AT_ONCE)

    @asynccontextmanager
    async def _unit(self, station: StationInfo) -> AsyncGenerator[TenantUnit, None]:
        async with self._units, self._store.tenant(TenantId(station.tenant_id)) as unit:
            yield unit

    async def authenticate(self, shown: Credentials) -> StationInfo | None:
        # Known or not, with a password or not: one look and two hashes, so that the time tells nothing.
        station = await self._lookups.submit(shown.station_id)
        fits = matches((station and station.password_hash) or NOBODY, shown.password)
        renewed = matches((station and station.next_password_hash) or NOBODY, shown.password)
        if station is None or not self._opens(station, shown, fits or renewed):
            return None
        if renewed and not fits:
            async with self._store.tenant(station.tenant_id) as unit:
                await unit.stations.take_password(station.station_id)
        return _info(station, await self._connectors.submit(station))

    async def refreshed(self, station: StationInfo) -> StationInfo:
        found = await self._lookups.submit(station.station_id)
        if found is None or found.tenant_id != station.tenant_id:
            return station
        return _info(found, await self._connectors.submit(found))

    def _opens(self, station: Station, shown: Credentials, password_fits: bool) -> bool:
        """The agreed profile or a better one, never a lesser one (OCPP 2.0.1 part 2, A05)."""
        by_name = shown.user == station.station_id and password_fits
        match station.security_profile:
            case 0:
                return self._open_door or by_name
            case 1:
                return by_name
            case 2:
                return by_name and shown.encrypted
            case _:
                return shown.encrypted and shown.subject == (station.station_id, self._operator)

    async def _look_up(self, station_ids: list[str]) -> list[Station | None]:
        async with self._store.platform() as unit:
            stations = await unit.stations_of(station_ids)
        return [stations.get(name) for name in station_ids]

    async def _connectors_of(self, stations: list[Station]) -> list[dict[int, KnownConnector]]:
        found: dict[str, dict[int, KnownConnector]] = {}
        for tenant_id in {station.tenant_id for station in stations}:
            mine = [station.station_id for station in stations if station.tenant_id == tenant_id]
            async with self._store.tenant(tenant_id) as unit:
                found |= await unit.chargers.of_stations(mine)
        return [found[station.station_id] for station in stations]

    async def claim(self, station: StationInfo, generation: str, version: str) -> datetime | None:
        claim = (station.tenant_id, station.station_id, self._queue, generation, version)
        return await self._claims.submit(claim)

    async def _claim_all(self, claims: list[tuple[str, str, str, str, str]]) -> list[datetime | None]:
        async with self._store.platform() as unit:
            await unit.claim_routes(claims)
            # After the claim: who tells an absence looks at the route first, under its lock.
            stations = await unit.stations_of([claim[1] for claim in claims])
        return [away_since(stations.get(claim[1])) for claim in claims]

    async def release(self, station: StationInfo, generation: str) -> None:
        await self._releases.submit((station.station_id, generation))

    async def _release_all(self, releases: list[tuple[str, str]]) -> list[None]:
        async with self._store.platform() as unit:
            await unit.release_routes(releases)
        return [None] * len(releases)

    async def expects_start(self, station: StationInfo, connector_number: int, at: datetime) -> bool:
        async with self._unit(station) as unit:
            return await expects_start(unit, station.tenant_id, station.station_id, connector_number, at)

    async def begin(self) -> None:
        """What a forerunner of this gateway held is not held any more."""
        async with self._store.platform() as unit:
            await unit.drop_routes(self._queue)

    async def hold(self, generations: list[str]) -> None:
        """Say again what is held; called once in a while, planning believes a line only so long."""
        async with self._store.platform() as unit:
            await unit.hold_routes(self._queue, generations)

    # --- secrets ----------------------------------------------------------------------------------------

    async def sign(self, station: StationInfo, csr_pem: str) -> str | None:
        if self._authority is None:
            return None
        now = datetime.now(UTC)
        try:
            signed = self._authority.sign(csr_pem, station.station_id, self._operator, now)
        except (CsrRefused, ValueError):
            return None
        async with self._unit(station) as unit:
            await unit.stations.add_certificate(
                station.station_id, signed.serial_hex, signed.fingerprint_sha256, signed.not_after
            )
        return signed.chain_pem

    @property
    def signs_certificates(self) -> bool:
        return self._authority is not None

    async def offer_password(self, station: StationInfo, password: bytes) -> None:
        async with self._unit(station) as unit:
            await unit.stations.offer_password(station.station_id, hash_password(password))

    async def password_answered(self, station: StationInfo, accepted: bool) -> None:
        async with self._unit(station) as unit:
            if accepted:
                await unit.stations.take_password(station.station_id)
            else:
                await unit.stations.withdraw_password(station.station_id)


def _info(station: Station, connectors: dict[int, KnownConnector]) -> StationInfo:
    body: dict[str, Any] = station.body or {}
    settings = body.get("settings") or {
        "station_id": station.station_id,
        "security_profile": station.security_profile,
        "admission": station.admission,
        "protocol_pin": station.protocol_pin,
    }
    return StationInfo(
        tenant_id=station.tenant_id,
        station_id=station.station_id,
        settings=StationSettings.model_validate(settings),
        identity=StationIdentity.model_validate(body.get("identity") or {}),
        connectors={number: known.charger_id for number, known in connectors.items()},
        seen={
            number: LastSeen(
                status=known.status,
                status_at=known.status_at,
                state_since=known.state_since,
                changes_last_hour=known.changes_last_hour,
                fault_code=known.fault_code,
            )
            for number, known in connectors.items()
            if known.state_since is not None
        },
    )
