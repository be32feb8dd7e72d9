"""The roaming connector's ports over the store: partners, their objects, the address book, correlation.

Rows live in partner_object under partner_id = partner. The address book (which partner has a charger of ours,
and under which ids) stands under a name that no partner can have, because a charger names no partner.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any, Final

from sqlalchemy import text

from connectors.ocpi.ports import AttemptOwner, ChargerAddress, PartnerLink, StoredObject
from models.charger import Charger
from models.ids import TenantId
from store.attempts import AttemptMatch
from store.database import Store, TenantUnit
from store.partners import PartnerConnection

_ADDRESS_BOOK: Final = "*address-book"
_ADDRESS: Final = "charger_address"


def _owner(match: AttemptMatch | None) -> AttemptOwner | None:
    return None if match is None else AttemptOwner(attempt_id=match.attempt_id, stop_id=match.stop_id)


class _StoreUnit:
    """PartnerUnit over one tenant transaction."""

    def __init__(self, link: PartnerLink, unit: TenantUnit) -> None:
        self._link = link
        self._unit = unit

    async def lock(self, name: str) -> None:
        # Transaction-scoped: released by commit, rollback or the death of this process.
        key = f"ocpi:{self._link.tenant_id}:{self._link.partner_id}:{name}"
        await self._unit.connection.execute(
            text("SELECT pg_advisory_xact_lock(hashtextextended(:key, 0))"), {"key": key}
        )

    async def get(self, kind: str, object_id: str) -> StoredObject | None:
        found = await self._unit.partners.get_object(self._link.partner_id, kind, object_id)
        return None if found is None else StoredObject(body=found.body, last_updated=found.last_updated)

    async def put(
        self, kind: str, object_id: str, body: dict[str, Any], last_updated: datetime | None = None
    ) -> None:
        await self._unit.partners.put_object(self._link.partner_id, kind, object_id, body, last_updated)

    async def all(self, kind: str) -> list[StoredObject]:
        rows = await self._unit.partners.list_objects(kind, self._link.partner_id)
        return [StoredObject(body=row.body, last_updated=row.last_updated) for row in rows]

    async def set_aside(self, reason: str, raw: bytes, detail: str) -> None:
        await self._unit.quarantine.keep(f"ocpi:{self._link.partner_id}", reason, raw, detail)

    async def put_address(self, charger_id: str, address: ChargerAddress) -> None:
        known = await self._unit.partners.get_object(_ADDRESS_BOOK, _ADDRESS, charger_id)
        body = address.model_dump(mode="json")
        if known is None or known.body != body:  # status changes come often, addresses hardly ever
            await self._unit.partners.put_object(_ADDRESS_BOOK, _ADDRESS, charger_id, body)

    async def owner_by_reference(self, attempt_id: str) -> AttemptOwner | None:
        # A CiString: partners give it back in other case. Ours is the hex of a UUID, in lower case.
        return _owner(await self._unit.attempts.find(attempt_id.lower()))

    async def owner_by_start(
        self, location_id: str, evse_uid: str, token_uid: str, at: datetime
    ) -> AttemptOwner | None:
        return _owner(await self._unit.attempts.find_for_evse(location_id, evse_uid, token_uid, at))

    async def owner_by_session(self, session_ref: str, location_id: str) -> AttemptOwner | None:
        return _owner(await self._unit.attempts.find_by_session(session_ref, location_id))


class StoreRoaming:
    """RoamingStore over the store."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def by_token_hash(self, token_hash: str) -> PartnerLink | None:
        async with self._store.platform() as unit:
            found = await unit.partner_by_token(token_hash)
        return None if found is None else PartnerLink.model_validate(found.body)

    async def link(self, tenant_id: str, partner_id: str) -> PartnerLink | None:
        async with self._store.tenant(TenantId(tenant_id)) as unit:
            found = await unit.partners.get(partner_id)
        return None if found is None else PartnerLink.model_validate(found.body)

    async def links(self, tenant_id: str) -> list[PartnerLink]:
        async with self._store.tenant(TenantId(tenant_id)) as unit:
            return [PartnerLink.model_validate(row.body) for row in await unit.partners.list()]

    async def save(self, link: PartnerLink) -> None:
        async with self._store.tenant(TenantId(link.tenant_id)) as unit:
            await unit.partners.save(
                PartnerConnection(
                    tenant_id=link.tenant_id,
                    partner_id=link.partner_id,
                    token_ours_hash=link.token_ours_hash,
                    body=link.model_dump(mode="json"),
                )
            )

    @asynccontextmanager
    async def unit(self, link: PartnerLink) -> AsyncGenerator[_StoreUnit]:
        async with self._store.tenant(TenantId(link.tenant_id)) as tenant_unit:
            yield _StoreUnit(link, tenant_unit)

    async def address(self, tenant_id: str, charger_id: str) -> ChargerAddress | None:
        async with self._store.tenant(TenantId(tenant_id)) as unit:
            found = await unit.partners.get_object(_ADDRESS_BOOK, _ADDRESS, charger_id)
        return None if found is None else ChargerAddress.model_validate(found.body)


class StoreCatalogue:
    """ChargerCatalogue over the store."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def upsert(self, tenant_id: str, chargers: list[Charger]) -> int:
        if not chargers:
            return 0
        async with self._store.tenant(TenantId(tenant_id)) as unit:
            return await unit.chargers.upsert(chargers)


class StoreQuarantine:
    """Quarantine over the store."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def keep(self, tenant_id: str, source: str, reason: str, raw: bytes, detail: str = "") -> None:
        async with self._store.tenant(TenantId(tenant_id)) as unit:
            await unit.quarantine.keep(source, reason, raw, detail)
