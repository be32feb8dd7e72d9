"""What is done at stations: commands, limits, passwords, certificates. Each once per Idempotency-Key."""

from __future__ import annotations

import uuid
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Path, Query, Request, Response
from pydantic import ValidationError

from api.auth import Caller, StationCommander, StationWriter
from api.problems import Problem
from api.station_bodies import CommandBody, CommandView, LimitBody, StationPathId, TaskBody
from api.station_engine import StationEngine
from api.stations import station_in
from api.stops import TheStore, refusals
from models.charging_limit import ChargingLimit, LimitPeriod, LimitPurpose
from models.station_commands import StationTask, StationTaskKind
from store.database import Store

router = APIRouter(prefix="/v1/stations/{station_id}", tags=["station commands"])

_COMMAND_ID = r"^[A-Za-z0-9._:-]{1,100}$"
_LIMIT_TIMEOUT_S = 60.0
"""A limit is several messages: the unit, the profile, the look whether it is obeyed."""


def station_engine_of(request: Request) -> StationEngine:
    return request.app.state.station_engine


TheStationEngine = Annotated[StationEngine, Depends(station_engine_of)]
IdempotencyKey = Annotated[
    str | None,
    Header(
        description="Names the command: a repeat sends nothing and gives the first reply. Without it every "
        "request is a new command.",
        pattern=_COMMAND_ID,
    ),
]
ConnectorNumber = Annotated[int, Path(ge=0, le=100, description="0 is the whole station.")]
_ANSWERS: Any = {202: {"model": CommandView}, **refusals(404, 409, 422)}


async def _run(
    engine: StationEngine, response: Response, task: StationTask, said: dict[str, Any]
) -> CommandView:
    view = await engine.run(task, said)
    if view.status == "running":
        response.status_code = 202
    response.headers["Location"] = f"/v1/stations/{view.station_id}/commands/{view.command_id}"
    return view


async def _task(
    store: Store, caller: Caller, station_id: str, key: str | None, kind: StationTaskKind, **more: Any
) -> StationTask:
    """Raises Problem 404 for a station that is not the tenant's."""
    async with store.tenant(caller.tenant_id) as unit:
        await station_in(unit, station_id)
    return StationTask.model_validate(
        {
            "command_id": key or _new_id(),
            "tenant_id": caller.tenant_id,
            "station_id": station_id,
            "kind": kind,
            "actor": caller.key_name,
            **more,
        }
    )


def _new_id() -> str:
    return f"cmd_{uuid.uuid4().hex}"


@router.post("/commands", responses=_ANSWERS)
async def send_command(
    station_id: StationPathId,
    body: CommandBody,
    caller: StationCommander,
    store: TheStore,
    engine: TheStationEngine,
    response: Response,
    idempotency_key: IdempotencyKey = None,
) -> CommandView:
    """Send one OCPP CALL. 200 with the station's answer (also where it refused, or could not be reached: see
    `reply.outcome`), 202 where it takes longer: then read the command. What the gateway's own books depend on
    (remote starts, passwords, lower security profiles) is refused, see docs/api.md."""
    task = await _task(store, caller, station_id, idempotency_key, StationTaskKind.CALL, **body.model_dump())
    return await _run(engine, response, task, {"action": body.action, "payload": body.payload})


@router.get("/commands/{command_id}", responses=refusals(404, 422))
async def read_command(
    station_id: StationPathId,
    command_id: Annotated[str, Path(pattern=_COMMAND_ID)],
    caller: StationCommander,
    engine: TheStationEngine,
) -> CommandView:
    """How far a command has come; kept as long as the engine keeps histories."""
    return await engine.read(caller.tenant_id, station_id, command_id)


@router.put("/connectors/{number}/limit", responses=_ANSWERS)
async def set_limit(
    station_id: StationPathId,
    number: ConnectorNumber,
    body: LimitBody,
    caller: StationCommander,
    store: TheStore,
    engine: TheStationEngine,
    response: Response,
    idempotency_key: IdempotencyKey = None,
) -> CommandView:
    """Limit what a connector, a transaction or the whole station draws, and look whether it is obeyed:
    `reply.limit.state` is `applied` only where that was seen."""
    async with store.tenant(caller.tenant_id) as unit:
        record = await station_in(unit, station_id)
        await _connector_in(unit.stations.connectors_of, station_id, number)
    limit = _limit(
        {
            "limit_id": idempotency_key or _new_id(),
            "tenant_id": caller.tenant_id,
            "station_id": station_id,
            "connector_number": number,
            "purpose": body.purpose or _purpose_at(number),
            "periods": body.periods or (LimitPeriod(limit_kw=body.limit_kw or 0.0),),
            "phases": body.phases if "phases" in body.model_fields_set else record.settings.phases,
            **body.model_dump(include={"voltage_v", "starts_at", "duration_s", "session_ref"}),
        }
    )
    task = await _task(
        store,
        caller,
        station_id,
        limit.limit_id,
        StationTaskKind.SET_LIMIT,
        limit=limit,
        timeout_s=_LIMIT_TIMEOUT_S,
    )
    return await _run(engine, response, task, {"limit": limit.model_dump(mode="json", exclude={"limit_id"})})


@router.delete("/connectors/{number}/limit", responses=_ANSWERS)
async def clear_limit(
    station_id: StationPathId,
    number: ConnectorNumber,
    caller: StationCommander,
    store: TheStore,
    engine: TheStationEngine,
    response: Response,
    purpose: LimitPurpose | None = None,
    session_ref: Annotated[str | None, Query(max_length=64)] = None,
    idempotency_key: IdempotencyKey = None,
) -> CommandView:
    """Clear the limit of a connector and purpose. Where that was the default, the failsafe comes back."""
    async with store.tenant(caller.tenant_id) as unit:
        await station_in(unit, station_id)
        await _connector_in(unit.stations.connectors_of, station_id, number)
        known = await unit.stations.limits(station_id)
    wanted = purpose or _purpose_at(number)
    former = next(
        (one.limit for one in known if (one.limit.connector_number, one.limit.purpose) == (number, wanted)),
        None,
    )
    # Which one is cleared is said by connector and purpose; what it was stays readable in the books.
    limit = _limit(
        {
            **(former.model_dump() if former else {"periods": (LimitPeriod(limit_kw=0.0),)}),
            "limit_id": idempotency_key or _new_id(),
            "tenant_id": caller.tenant_id,
            "station_id": station_id,
            "connector_number": number,
            "purpose": wanted,
            "session_ref": session_ref or (former.session_ref if former else None),
        }
    )
    task = await _task(
        store,
        caller,
        station_id,
        limit.limit_id,
        StationTaskKind.CLEAR_LIMIT,
        limit=limit,
        timeout_s=_LIMIT_TIMEOUT_S,
    )
    said = {"connector_number": number, "purpose": str(wanted), "session_ref": session_ref}
    return await _run(engine, response, task, said)


@router.post("/password", responses=_ANSWERS)
async def rotate_password(
    station_id: StationPathId,
    caller: StationWriter,
    store: TheStore,
    engine: TheStationEngine,
    response: Response,
    body: TaskBody | None = None,
    idempotency_key: IdempotencyKey = None,
) -> CommandView:
    """Give the station a new password over its own connection. Nobody sees it. Both open until it has said
    yes; where its answer is lost, until it shows the new one. For a lost password see `replace_password`."""
    return await _upkeep(
        StationTaskKind.ROTATE_PASSWORD, station_id, body, caller, store, engine, response, idempotency_key
    )


@router.post("/certificate", responses=_ANSWERS)
async def renew_certificate(
    station_id: StationPathId,
    caller: StationWriter,
    store: TheStore,
    engine: TheStationEngine,
    response: Response,
    body: TaskBody | None = None,
    idempotency_key: IdempotencyKey = None,
) -> CommandView:
    """Ask the station to send a signing request for a new certificate; the log tells what became of it."""
    return await _upkeep(
        StationTaskKind.RENEW_CERTIFICATE, station_id, body, caller, store, engine, response, idempotency_key
    )


async def _upkeep(
    kind: StationTaskKind,
    station_id: str,
    body: TaskBody | None,
    caller: Caller,
    store: Store,
    engine: StationEngine,
    response: Response,
    key: str | None,
) -> CommandView:
    timeout_s = (body or TaskBody()).timeout_s
    return await _run(
        engine, response, await _task(store, caller, station_id, key, kind, timeout_s=timeout_s), {}
    )


def _purpose_at(number: int) -> LimitPurpose:
    return LimitPurpose.DEFAULT if number else LimitPurpose.STATION


def _limit(fields: dict[str, Any]) -> ChargingLimit:
    """Raises Problem 422 with the words of the rule that it breaks."""
    try:
        return ChargingLimit.model_validate(fields)
    except ValidationError as error:
        text = "; ".join(str(one["msg"]).removeprefix("Value error, ") for one in error.errors())
        raise Problem(422, "limit.impossible", text) from error


async def _connector_in(connectors_of: Any, station_id: str, number: int) -> None:
    if number and number not in (await connectors_of([station_id]))[station_id]:
        raise Problem(404, "connector.unknown", "The station has no such connector.")
