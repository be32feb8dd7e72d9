"""Who is calling: a bearer key gives tenant and scopes. The tenant never comes from the body."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from enum import StrEnum
from typing import Annotated

from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from api.keys import hash_of
from api.problems import Problem
from models.base import Message
from models.ids import TenantId
from store.database import Store
from store.platform import ApiKeyInfo

_bearer = HTTPBearer(auto_error=False, description="An API key: `bsk_...`", scheme_name="ApiKey")


class Scope(StrEnum):
    STOPS_WRITE = "stops:write"
    STOPS_READ = "stops:read"
    DRIVER = "driver"
    CHARGERS_READ = "chargers:read"
    STATIONS_WRITE = "stations:write"
    """Settings of stations, their connectors, passwords and certificates."""
    STATIONS_COMMAND = "stations:command"
    """Commands and limits to stations, and a look at their messages."""
    POLICIES_WRITE = "policies:write"
    ADMIN = "admin"


class Caller(Message):
    """An authenticated caller."""

    tenant_id: TenantId
    key_name: str
    scopes: frozenset[str]


class Authenticator:
    """Looks keys up, with a cache of a few seconds: a revoked key stops working within that."""

    def __init__(self, store: Store, cache_s: float) -> None:
        self._store = store
        self._cache_s = cache_s
        self._known: dict[str, tuple[float, ApiKeyInfo]] = {}

    async def caller(self, plain: str) -> Caller | None:
        mark = hash_of(plain)
        now = time.monotonic()
        held = self._known.get(mark)
        if held is None or held[0] < now:
            async with self._store.platform() as unit:
                found = await unit.api_key(mark)
            if found is None:
                self._known.pop(mark, None)
                return None
            if len(self._known) > 10_000:
                self._known.clear()
            held = self._known[mark] = (now + self._cache_s, found)
        info = held[1]
        return Caller(tenant_id=info.tenant_id, key_name=info.name, scopes=info.scopes)


def needs(*any_of: Scope) -> Callable[..., Awaitable[Caller]]:
    """A dependency: the caller, who holds one of these scopes (or `admin`)."""

    async def dependency(
        request: Request,
        credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)],
    ) -> Caller:
        if credentials is None or not credentials.credentials:
            raise Problem(401, "auth.missing", "Send an API key.", {"WWW-Authenticate": "Bearer"})
        authenticator: Authenticator = request.app.state.authenticator
        caller = await authenticator.caller(credentials.credentials)
        if caller is None:
            raise Problem(401, "auth.invalid", "This API key is not known.", {"WWW-Authenticate": "Bearer"})
        if Scope.ADMIN not in caller.scopes and not any(scope in caller.scopes for scope in any_of):
            wanted = " or ".join(any_of)
            raise Problem(403, "auth.scope_missing", f"This needs the scope {wanted}.")
        return caller

    return dependency


Reader = Annotated[Caller, Depends(needs(Scope.STOPS_READ, Scope.STOPS_WRITE, Scope.DRIVER))]
Writer = Annotated[Caller, Depends(needs(Scope.STOPS_WRITE))]
DriverOrWriter = Annotated[Caller, Depends(needs(Scope.DRIVER, Scope.STOPS_WRITE))]
ChargerReader = Annotated[Caller, Depends(needs(Scope.CHARGERS_READ, Scope.STOPS_READ))]
StationWriter = Annotated[Caller, Depends(needs(Scope.STATIONS_WRITE))]
StationCommander = Annotated[Caller, Depends(needs(Scope.STATIONS_COMMAND))]
StationReader = Annotated[Caller, Depends(needs(Scope.CHARGERS_READ))]
PolicyWriter = Annotated[Caller, Depends(needs(Scope.POLICIES_WRITE))]
Admin = Annotated[Caller, Depends(needs(Scope.ADMIN))]
