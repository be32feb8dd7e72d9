"""OCPP transactions, roaming partners and what could not be read."""

from __future__ import annotations

import asyncio

import pytest

from models.ids import TenantId
from store.database import Store
from store.partners import PartnerConnection, token_hash
from store.sessions import Transaction
from tests.store.store_samples import NOW, after

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def opened(
    store: Store, tenant: TenantId, reference: str | None = None, meter_start_wh: float = 100
) -> Transaction:
    async with store.tenant(tenant) as unit:
        return await unit.sessions.open_transaction(
            "st-1", 1, "FLEET017", NOW, meter_start_wh, "a1", reference
        )


async def test_a_start_told_twice_is_one_transaction(store: Store, tenant: TenantId) -> None:
    first = await opened(store, tenant)
    again = await opened(store, tenant)
    other = await opened(store, tenant, meter_start_wh=200)
    assert (first.fresh, again.fresh, other.fresh) == (True, False, True)
    assert first.transaction_id == again.transaction_id != other.transaction_id
    assert 0 < first.transaction_id < 2**31  # OCPP 1.6 transactionId is an int32


async def test_a_reference_of_the_station_is_one_transaction(store: Store, tenant: TenantId) -> None:
    """OCPP 2.x: the same transactionId with other figures is still the same transaction."""
    first = await opened(store, tenant, "tx-1")
    again = await opened(store, tenant, "tx-1", meter_start_wh=300)
    assert (first.fresh, again.fresh) == (True, False)
    assert first.transaction_id == again.transaction_id


@pytest.mark.parametrize("reference", [None, "tx-1"])
async def test_told_at_once_over_two_sockets(store: Store, tenant: TenantId, reference: str | None) -> None:
    both = await asyncio.gather(*(opened(store, tenant, reference) for _ in range(4)))
    assert len({each.transaction_id for each in both}) == 1
    assert sum(each.fresh for each in both) == 1


async def test_a_reference_told_at_once_with_other_figures(store: Store, tenant: TenantId) -> None:
    both = await asyncio.gather(*(opened(store, tenant, "tx-1", meter) for meter in (1, 2, 3, 4)))
    assert len({each.transaction_id for each in both}) == 1


async def test_the_first_end_stands(store: Store, tenant: TenantId) -> None:
    made = await opened(store, tenant, "tx-1")
    number = made.transaction_id
    async with store.tenant(tenant) as unit:
        found = await unit.sessions.find("st-1", transaction_ref="tx-1")
        assert found is not None
        assert found.attempt_id == "a1"
        assert await unit.sessions.find("st-1", transaction_id=number) == found
        assert await unit.sessions.find("st-2", transaction_id=number) is None
        assert await unit.sessions.open_of_station("st-1") == [found]
        assert await unit.sessions.close_transaction(number, after(90), 900, "Local")
        assert not await unit.sessions.close_transaction(number, after(99), 999, "PowerLoss")
        found = await unit.sessions.find("st-1", transaction_id=number)
        assert found is not None
        assert (found.ended_at, found.meter_wh, found.reason) == (after(90), 900, "Local")
        assert await unit.sessions.open_of_station("st-1") == []


async def test_an_end_that_we_concluded_gives_way_to_one_that_is_told(store: Store, tenant: TenantId) -> None:
    number = (await opened(store, tenant)).transaction_id
    async with store.tenant(tenant) as unit:
        close = unit.sessions.close_transaction
        assert await close(number, after(60), 500, "ocpp1.6:Lost")
        assert not await close(number, after(90), 900, "ocpp1.6:Local")
        assert await close(number, after(90), 900, "ocpp1.6:Local", instead_of="ocpp1.6:Lost")
        assert not await close(number, after(99), 999, "ocpp1.6:Other", instead_of="ocpp1.6:Lost")
        found = await unit.sessions.find("st-1", transaction_id=number)
    assert found is not None
    assert (found.ended_at, found.meter_wh) == (after(90), 900)


async def test_a_partner_is_found_by_the_token_it_presents(store: Store, tenant: TenantId) -> None:
    partner = PartnerConnection(
        tenant_id=tenant, partner_id="NL-ABC", token_ours_hash=token_hash(f"secret-{tenant}"), body={"a": 1}
    )
    renewed = partner.model_copy(update={"token_ours_hash": token_hash(f"other-{tenant}")})
    async with store.tenant(tenant) as unit:
        await unit.partners.save(partner)
        assert await unit.partners.get("NL-ABC") == partner
        assert await unit.partners.get("NL-XYZ") is None
    async with store.platform() as platform:
        assert await platform.partner_by_token(partner.token_ours_hash) == partner
    async with store.tenant(tenant) as unit:
        await unit.partners.save(renewed)
        assert await unit.partners.list() == [renewed]
    async with store.platform() as platform:
        assert await platform.partner_by_token(partner.token_ours_hash) is None


async def test_the_last_form_of_a_partners_object_is_kept(store: Store, tenant: TenantId) -> None:
    async with store.tenant(tenant) as unit:
        objects = unit.partners
        await objects.put_object("NL-ABC", "session", "s1", {"kwh": 2}, after(60))
        # An earlier time is no reason to refuse it: clocks differ, and the caller holds the lock and decides.
        await objects.put_object("NL-ABC", "session", "s1", {"kwh": 3}, after(30))
        found = await objects.get_object("NL-ABC", "session", "s1")
        assert found is not None
        assert (found.body, found.last_updated) == ({"kwh": 3}, after(30))
        await objects.put_object("NL-XYZ", "session", "s1", {"kwh": 9})
        await objects.put_object("NL-XYZ", "session", "s1", {"kwh": 10})
        assert [each.body for each in await objects.list_objects("session")] == [{"kwh": 3}, {"kwh": 10}]
        assert [each.body for each in await objects.list_objects("session", "NL-XYZ")] == [{"kwh": 10}]
        assert await objects.list_objects("cdr") == []
        assert await objects.get_object("NL-ABC", "cdr", "s1") is None


async def test_the_unreadable_is_kept_raw_once_and_counted(store: Store, tenant: TenantId) -> None:
    async with store.tenant(tenant) as unit:
        for raw in (b"\x00\xff{", b"\x00\xff{", b"[]"):
            await unit.quarantine.keep("ocpp", "not_json", raw, "at byte 0")
        await unit.quarantine.keep("ocpi", "schema", b"{}")
        kept = await unit.quarantine.list(9)
        assert [item.raw for item in kept] == [b"{}", b"[]", b"\x00\xff{"]
        assert await unit.quarantine.counts() == {"ocpp/not_json": 2, "ocpi/schema": 1}
