"""Is this process up, and can it do its work?"""

from __future__ import annotations

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel
from sqlalchemy.exc import DBAPIError
from temporalio.service import RPCError

from api.engine import Engine
from api.stops import store_of

router = APIRouter(tags=["health"])


class Health(BaseModel):
    status: str


class Readiness(BaseModel):
    """`status`: ready, degraded (no stop worker: stops are accepted and wait) or unavailable."""

    status: str
    store: bool
    temporal: bool
    stop_workers: int


@router.get("/healthz")
async def healthz() -> Health:
    """This process runs."""
    return Health(status="ok")


@router.get("/readyz", responses={503: {"model": Readiness}})
async def readyz(request: Request, response: Response) -> Readiness:
    """Whether the store, the engine and a stop worker answer. No worker is 503, never 500."""
    engine: Engine = request.app.state.engine
    try:
        await store_of(request).ping()
        store = True
    except (DBAPIError, OSError, TimeoutError):
        store = False
    temporal = await engine.healthy()
    workers = 0
    if temporal:
        try:
            workers = await engine.workers()
        except RPCError:
            temporal = False
    ready = store and temporal and workers > 0
    response.status_code = 200 if ready else 503
    status = "ready" if ready else ("degraded" if store and temporal else "unavailable")
    return Readiness(status=status, store=store, temporal=temporal, stop_workers=workers)
