"""Tenants, keys, stations and chargers, as commands and the development stack make them."""

from __future__ import annotations

from api.keys import generate_key
from models.charger import Charger
from models.ids import TenantId
from models.policy import Policy
from models.station_passwords import hash_password
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


async def provision_stations(store: Store, tenant_id: str, passwords: dict[str, str]) -> None:
    """Charge points that may connect, by station id. Repeatable."""
    async with store.platform() as unit:
        for station_id, password in passwords.items():
            await unit.add_station(TenantId(tenant_id), station_id, hash_password(password))
