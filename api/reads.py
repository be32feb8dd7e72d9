"""What is looked up beside stops: reason codes, the event feed, chargers, policies, quarantine."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Query, Request, Response
from pydantic import BaseModel

from api.auth import Admin, ChargerReader, PolicyWriter, Reader
from api.problems import Problem
from api.stops import TheStore, refusals
from models.base import UtcDatetime
from models.charger import Charger
from models.ids import fingerprint
from models.policy import Policy
from models.reason_catalogue import CATALOGUE
from models.reason_codes import CATALOGUE_VERSION, ReasonEntry
from models.stop import StopEvent
from store.errors import PolicyConflict

router = APIRouter(prefix="/v1")

PolicyId = Annotated[str, Path(pattern=r"^[a-z0-9._-]{1,64}$")]


class ReasonCatalogue(BaseModel):
    object: str = "reason_catalogue"
    version: str = CATALOGUE_VERSION
    data: list[ReasonEntry]


class FeedItem(BaseModel):
    position: int
    event: StopEvent


class Feed(BaseModel):
    """Events in the order in which they were written. Ask again with `after` = `last_position`."""

    object: str = "feed"
    data: list[FeedItem]
    last_position: int


class ChargerPage(BaseModel):
    object: str = "list"
    data: list[Charger]
    next_after: str | None = None


class Quarantined(BaseModel):
    position: int
    source: str
    reason: str
    detail: str
    received_at: UtcDatetime


class QuarantinePage(BaseModel):
    object: str = "list"
    counts: dict[str, int]
    data: list[Quarantined]


_REASONS = ReasonCatalogue(data=list(CATALOGUE.values()))
_REASONS_TAG = f'"{fingerprint(_REASONS.model_dump(mode="json"))[:16]}"'


@router.get("/reason-codes", tags=["reason codes"], responses=refusals())
async def reason_codes(caller: Reader, request: Request, response: Response) -> ReasonCatalogue:
    """The closed catalogue: what went wrong, who can cure it, what to try next."""
    response.headers["ETag"] = _REASONS_TAG
    response.headers["Cache-Control"] = "private, max-age=3600"
    return _REASONS


@router.get("/events", tags=["events"], responses=refusals(422))
async def events(
    caller: Reader,
    store: TheStore,
    after: Annotated[int, Query(ge=0)] = 0,
    limit: Annotated[int, Query(ge=1, le=500)] = 100,
) -> Feed:
    """The tenant's event feed, for those who would rather ask than be called."""
    async with store.tenant(caller.tenant_id) as unit:
        found = await unit.stops.events_after(after, limit)
    data = [FeedItem(position=position, event=event) for position, event in found]
    return Feed(data=data, last_position=data[-1].position if data else after)


@router.get("/chargers", tags=["chargers"], responses=refusals(422))
async def chargers(
    caller: ChargerReader,
    store: TheStore,
    limit: Annotated[int, Query(ge=1, le=200)] = 100,
    after: str | None = None,
) -> ChargerPage:
    """Chargers by id."""
    async with store.tenant(caller.tenant_id) as unit:
        found = await unit.chargers.list(limit + 1, after)
    page = found[:limit]
    return ChargerPage(data=page, next_after=page[-1].charger_id if len(found) > limit else None)


@router.get("/chargers/{charger_id}", tags=["chargers"], responses=refusals(404))
async def charger(charger_id: str, caller: ChargerReader, store: TheStore) -> Charger:
    async with store.tenant(caller.tenant_id) as unit:
        found = await unit.chargers.get(charger_id)
    if found is None:
        raise Problem(404, "charger.unknown", "There is no such charger.")
    return found


@router.get("/policies/{policy_id}", tags=["policies"], responses=refusals(422))
async def policy(policy_id: PolicyId, caller: Reader, store: TheStore) -> Policy:
    """The revision in force; the built-in default where the tenant has set none."""
    async with store.tenant(caller.tenant_id) as unit:
        return await unit.policies.active(policy_id)


@router.put("/policies", tags=["policies"], responses=refusals(409, 422))
async def put_policy(body: Policy, caller: PolicyWriter, store: TheStore) -> Policy:
    """Add a revision. Running stops keep the one they began with."""
    try:
        async with store.tenant(caller.tenant_id) as unit:
            await unit.policies.put(body)
    except PolicyConflict as error:
        raise Problem(409, "policy.revision_exists", str(error)) from error
    return body


@router.get("/quarantine", tags=["quarantine"], responses=refusals())
async def quarantine(
    caller: Admin, store: TheStore, limit: Annotated[int, Query(ge=1, le=500)] = 100
) -> QuarantinePage:
    """What partners and files sent that could not be read, newest first."""
    async with store.tenant(caller.tenant_id) as unit:
        items, counts = await unit.quarantine.list(limit), await unit.quarantine.counts()
    data = [Quarantined.model_validate(item.model_dump(exclude={"raw"})) for item in items]
    return QuarantinePage(counts=counts, data=data)
