"""Stations: commissioned, changed, looked at."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Response

from api.auth import StationReader, StationWriter
from api.problems import Problem
from api.station_bodies import (
    ConnectorBody,
    LimitList,
    LogLine,
    StationBody,
    StationCredentials,
    StationDetail,
    StationLog,
    StationPage,
    StationPathId,
    StationWritten,
    TransactionPage,
    VendorFieldList,
)
from api.stops import TheStore, refusals
from models.charger import Charger
from models.station import StationEventKind, StationRecord, StationSettings
from models.station_passwords import first_password, hash_password
from store.database import TenantUnit
from store.errors import StationTaken

router = APIRouter(prefix="/v1", tags=["stations"])


@router.put(
    "/stations/{station_id}",
    responses={201: {"model": StationWritten}, **refusals(409, 422)},
)
async def put_station(
    station_id: StationPathId, body: StationBody, caller: StationWriter, store: TheStore, response: Response
) -> StationWritten:
    """Commission a station, or change it. A new one (201) gets a password, shown in this reply and never
    again. A connected station takes changed settings at its next connection."""
    async with store.tenant(caller.tenant_id) as unit:
        await unit.stations.change_alone(station_id)
        known = await unit.stations.get(station_id)
        settings = _changed(known, station_id, body)
        password = first_password() if known is None or body.replace_password else None
        try:
            await unit.stations.put(settings, hash_password(password) if password else None)
        except StationTaken as error:
            raise Problem(409, "station.taken", "This station id is taken.") from error
        chargers = await _connectors(unit, station_id, body.connectors)
        before = await unit.chargers.by_station(station_id)
        await unit.chargers.upsert(chargers)
        detail = await _detail(unit, station_id)
    response.status_code = 201 if known is None else 200
    rewired = {c.connector_number for c in chargers} - {c.connector_number for c in before}
    return StationWritten(
        **dict(detail),
        created=known is None,
        credentials=_shown(station_id, password) if password else None,
        reconnect_needed=bool(
            known and known.connected and (rewired or settings != known.settings or password)
        ),
    )


def _changed(known: StationRecord | None, station_id: str, body: StationBody) -> StationSettings:
    """Raises Problem 409 where the security profile would be lowered unasked."""
    former = known.settings.model_dump() if known else {}
    settings = StationSettings.model_validate({**former, "station_id": station_id, **body.settings()})
    lowered = known is not None and settings.security_profile < known.settings.security_profile
    if lowered and not body.allow_downgrade:
        text = "The security profile would be lowered; send allow_downgrade if that is meant."
        raise Problem(409, "station.security_downgrade", text)
    return settings


async def _connectors(unit: TenantUnit, station_id: str, bodies: tuple[ConnectorBody, ...]) -> list[Charger]:
    """Raises Problem 409 where a connector has another charger id, or the id is another connector's."""
    known = (await unit.stations.connectors_of([station_id]))[station_id]
    chargers = [body.charger(station_id, known.get(body.number)) for body in bodies]
    for charger in chargers:
        number, name = charger.connector_number, charger.charger_id
        if known.get(number, name) != name:
            raise Problem(409, "connector.taken", f"Connector {number} is charger {known[number]}.")
        other = await unit.chargers.get(name)
        if other is not None and (other.station_id, other.connector_number) != (station_id, number):
            raise Problem(409, "charger.taken", f"Charger {name} is another connector.")
    return chargers


def _shown(station_id: str, password: str) -> StationCredentials:
    return StationCredentials(username=station_id, password=password, password_hex=password.encode().hex())


async def _detail(unit: TenantUnit, station_id: str) -> StationDetail:
    return StationDetail(
        station=await station_in(unit, station_id),
        connectors=sorted(
            await unit.chargers.by_station(station_id), key=lambda charger: charger.connector_number
        ),
        open_transactions=await unit.stations.transactions(station_id, 100, is_open=True),
    )


async def station_in(unit: TenantUnit, station_id: str) -> StationRecord:
    """Raises Problem 404 for what is not the tenant's."""
    found = await unit.stations.get(station_id)
    if found is None:
        raise Problem(404, "station.unknown", "There is no such station.")
    return found


@router.get("/stations", responses=refusals(422))
async def stations(
    caller: StationReader,
    store: TheStore,
    limit: Annotated[int, Query(ge=1, le=200)] = 100,
    after: str | None = None,
) -> StationPage:
    """Stations by id: settings, what they said of themselves, whether they are connected."""
    async with store.tenant(caller.tenant_id) as unit:
        found = await unit.stations.list(limit + 1, after)
    page = found[:limit]
    return StationPage(data=page, next_after=page[-1].settings.station_id if len(found) > limit else None)


@router.get("/stations/{station_id}", responses=refusals(404, 422))
async def station(station_id: StationPathId, caller: StationReader, store: TheStore) -> StationDetail:
    """One station, its connectors with their health, and its open transactions."""
    async with store.tenant(caller.tenant_id) as unit:
        return await _detail(unit, station_id)


@router.get("/stations/{station_id}/events", responses=refusals(404, 422))
async def station_events(
    station_id: StationPathId,
    caller: StationReader,
    store: TheStore,
    kind: StationEventKind | None = None,
    limit: Annotated[int, Query(ge=1, le=500)] = 100,
    before: Annotated[int | None, Query(ge=1)] = None,
) -> StationLog:
    """The station's log: boots, faults, security, commands and who sent them, limits, connections."""
    async with store.tenant(caller.tenant_id) as unit:
        await station_in(unit, station_id)
        found = await unit.stations.log(station_id, limit + 1, kind, before)
    data = [LogLine(position=position, event=event) for position, event in found[:limit]]
    more = data[-1].position if len(found) > limit else None
    return StationLog(station_id=station_id, kind=kind, data=data, next_before=more)


@router.get("/stations/{station_id}/limits", responses=refusals(404, 422))
async def station_limits(station_id: StationPathId, caller: StationReader, store: TheStore) -> LimitList:
    """Charging limits, each with what the station was seen to do."""
    async with store.tenant(caller.tenant_id) as unit:
        await station_in(unit, station_id)
        return LimitList(station_id=station_id, data=await unit.stations.limits(station_id))


@router.get("/stations/{station_id}/transactions", responses=refusals(404, 422))
async def station_transactions(
    station_id: StationPathId,
    caller: StationReader,
    store: TheStore,
    limit: Annotated[int, Query(ge=1, le=500)] = 100,
    before: Annotated[int | None, Query(ge=1)] = None,
) -> TransactionPage:
    """Charging transactions as the station told them, with the checks that they did not pass."""
    async with store.tenant(caller.tenant_id) as unit:
        await station_in(unit, station_id)
        found = await unit.stations.transactions(station_id, limit + 1, before)
    data = found[:limit]
    more = data[-1].transaction_id if len(found) > limit else None
    return TransactionPage(station_id=station_id, data=data, next_before=more)


@router.get("/vendor-fields", responses=refusals(422))
async def vendor_fields(
    caller: StationReader, store: TheStore, limit: Annotated[int, Query(ge=1, le=500)] = 100
) -> VendorFieldList:
    """Fields that stations send and no specification knows, by model: inconsistent firmware made visible."""
    async with store.tenant(caller.tenant_id) as unit:
        return VendorFieldList(data=await unit.stations.vendor_fields(limit))
