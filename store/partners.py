"""Roaming partners, their objects as received, and what could not be read."""

from __future__ import annotations

import hashlib
from datetime import datetime
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.dialects.postgresql import insert

from models.base import Message, UtcDatetime
from models.ids import TenantId
from models.tables.chargers import PartnerConnectionRow, PartnerObjectRow, QuarantineRow
from store.scope import TenantScope, table_of

_PARTNER = table_of(PartnerConnectionRow)
_OBJECT = table_of(PartnerObjectRow)
_QUARANTINE = table_of(QuarantineRow)


def token_hash(token: str) -> str:
    """How a partner's token is kept and looked up: SHA-256, hex."""
    return hashlib.sha256(token.encode()).hexdigest()


class PartnerConnection(Message):
    """One partner. `body` is the connector's own record (addresses, the token we present)."""

    tenant_id: str
    partner_id: str
    token_ours_hash: str
    body: dict[str, Any] = {}


class PartnerObject(Message):
    partner_id: str
    kind: str
    object_id: str
    last_updated: UtcDatetime | None = None
    body: dict[str, Any]


class PartnerRepository:
    def __init__(self, scope: TenantScope) -> None:
        self._connection = scope.connection
        self._tenant_id: TenantId = scope.tenant_id

    async def save(self, partner: PartnerConnection) -> None:
        values = {
            "tenant_id": self._tenant_id,
            "partner_id": partner.partner_id,
            "token_ours_hash": partner.token_ours_hash,
            "body": partner.body,
        }
        statement = insert(_PARTNER).values(values)
        await self._connection.execute(
            statement.on_conflict_do_update(
                index_elements=["tenant_id", "partner_id"],
                set_={
                    "token_ours_hash": statement.excluded.token_ours_hash,
                    "body": statement.excluded.body,
                },
            )
        )

    async def get(self, partner_id: str) -> PartnerConnection | None:
        found = await self._connection.execute(
            select(_PARTNER).where(
                _PARTNER.c.tenant_id == self._tenant_id, _PARTNER.c.partner_id == partner_id
            )
        )
        row = found.mappings().first()
        return PartnerConnection.model_validate(dict(row)) if row else None

    async def list(self) -> list[PartnerConnection]:
        found = await self._connection.execute(
            select(_PARTNER).where(_PARTNER.c.tenant_id == self._tenant_id).order_by(_PARTNER.c.partner_id)
        )
        return [PartnerConnection.model_validate(dict(row)) for row in found.mappings()]

    async def put_object(
        self,
        partner_id: str,
        kind: str,
        object_id: str,
        body: dict[str, Any],
        last_updated: datetime | None = None,
    ) -> None:
        """Keep the last form of an object, as received. What is last, the caller decides, under its own lock:
        `last_updated` is the partner's clock, or another process's, and is only kept."""
        statement = insert(_OBJECT).values(
            tenant_id=self._tenant_id,
            partner_id=partner_id,
            kind=kind,
            object_id=object_id,
            body=body,
            last_updated=last_updated,
        )
        await self._connection.execute(
            statement.on_conflict_do_update(
                index_elements=["tenant_id", "partner_id", "kind", "object_id"],
                set_={
                    "body": statement.excluded.body,
                    "last_updated": statement.excluded.last_updated,
                    "received_at": func.now(),
                },
            )
        )

    async def get_object(self, partner_id: str, kind: str, object_id: str) -> PartnerObject | None:
        found = await self._connection.execute(
            select(_OBJECT).where(
                _OBJECT.c.tenant_id == self._tenant_id,
                _OBJECT.c.partner_id == partner_id,
                _OBJECT.c.kind == kind,
                _OBJECT.c.object_id == object_id,
            )
        )
        row = found.mappings().first()
        return PartnerObject.model_validate(dict(row)) if row else None

    async def list_objects(self, kind: str, partner_id: str | None = None) -> list[PartnerObject]:
        where = [_OBJECT.c.tenant_id == self._tenant_id, _OBJECT.c.kind == kind]
        if partner_id is not None:
            where.append(_OBJECT.c.partner_id == partner_id)
        found = await self._connection.execute(
            select(_OBJECT).where(*where).order_by(_OBJECT.c.partner_id, _OBJECT.c.object_id)
        )
        return [PartnerObject.model_validate(dict(row)) for row in found.mappings()]


class QuarantinedItem(Message):
    position: int
    source: str
    reason: str
    detail: str
    received_at: UtcDatetime
    raw: bytes


class QuarantineRepository:
    def __init__(self, scope: TenantScope) -> None:
        self._connection = scope.connection
        self._tenant_id: TenantId = scope.tenant_id

    async def keep(self, source: str, reason: str, raw: bytes, detail: str = "") -> None:
        """Keep raw bytes that could not be read. The same bytes of a source, for the same reason, once."""
        mark = hashlib.sha256(raw).hexdigest()
        known = await self._connection.execute(
            select(_QUARANTINE.c.position)
            .where(
                _QUARANTINE.c.tenant_id == self._tenant_id,
                _QUARANTINE.c.source == source,
                _QUARANTINE.c.reason == reason,
                _QUARANTINE.c.fingerprint == mark,
            )
            .limit(1)
        )
        if known.scalar_one_or_none() is None:
            await self._connection.execute(
                insert(_QUARANTINE).values(
                    tenant_id=self._tenant_id,
                    source=source,
                    reason=reason,
                    detail=detail[:2000],
                    fingerprint=mark,
                    raw=raw,
                )
            )

    async def list(self, limit: int) -> list[QuarantinedItem]:
        found = await self._connection.execute(
            select(_QUARANTINE)
            .where(_QUARANTINE.c.tenant_id == self._tenant_id)
            .order_by(_QUARANTINE.c.position.desc())
            .limit(limit)
        )
        return [QuarantinedItem.model_validate(dict(row)) for row in found.mappings()]

    async def counts(self) -> dict[str, int]:
        """How many per `source/reason`."""
        found = await self._connection.execute(
            select(_QUARANTINE.c.source, _QUARANTINE.c.reason, func.count())
            .where(_QUARANTINE.c.tenant_id == self._tenant_id)
            .group_by(_QUARANTINE.c.source, _QUARANTINE.c.reason)
        )
        return {f"{source}/{reason}": int(number) for source, reason, number in found}
