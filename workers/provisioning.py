"""Tenants, keys, stations and chargers, as commands and the development stack make them."""

from __future__ import annotations

from api.keys import generate_key
from models.charger import Charger
from models.ids import TenantId
from models.policy import Policy
from store.database import Store


async def create_api_key(database_url: str, tenant_id: str, name: str, scopes: list[str]) -> str:
    """Make a key; returns it in clear, once."""
    store = Store(database_url, pool_size=1)
    try:
        plain, hashed = generate_key()
        async with store.platform() as unit:
            await unit.ensure_tenant(TenantId(tenant_id))
            await unit.add_api_key(TenantId(tenant_id), name, hashed, frozenset(scopes))
        return plain
    finally:
        await store.dispose()


async def provision_chargers(store: Store, tenant_id: str, chargers: list[Charger], policy: Policy) -> None:
    """A tenant with its chargers and policy. Repeatable."""
    async with store.platform() as unit:
        await unit.ensure_tenant(TenantId(tenant_id))
    async with store.tenant(TenantId(tenant_id)) as unit:
        await unit.chargers.upsert(chargers)
        await unit.policies.put(policy)
