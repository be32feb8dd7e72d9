"""Attempts hold vehicle and connector, and evidence finds them; commands are sent once."""

from __future__ import annotations

import asyncio

import pytest

from models.commands import CommandOutcome, CommandReply
from models.ids import TenantId
from models.reason_codes import ReasonCode
from models.stop import Attempt, AttemptState
from store.database import Store
from store.errors import ConnectorBusy, UnknownAttempt, VehicleBusy
from tests.store.store_samples import after, attempt, command, intent, newer, record, view

pytestmark = pytest.mark.asyncio(loop_scope="session")


def tried(tenant: TenantId, name: str, charger_id: str) -> Attempt:
    return attempt(f"{tenant}-{name}", charger_id=charger_id)


async def test_opened_twice_is_opened_once(store: Store, tenant: TenantId) -> None:
    one = tried(tenant, "a", "ch-1")
    for _ in range(2):
        async with store.tenant(tenant) as unit:
            await unit.attempts.open(intent(one, "stop-a"))
    async with store.tenant(tenant) as unit:
        found = await unit.attempts.find(one.attempt_id)
    assert found is not None
    assert (found.stop_id, found.tenant_id, found.charger_id) == ("stop-a", tenant, "ch-1")
    assert (found.holds_vehicle, found.holds_charger) == (True, True)


async def test_one_live_attempt_per_vehicle_and_per_connector(store: Store, tenant: TenantId) -> None:
    one, same_van, same_place = (tried(tenant, *of) for of in (("a", "ch-1"), ("b", "ch-2"), ("c", "ch-1")))
    async with store.tenant(tenant) as unit:
        await unit.attempts.open(intent(one, "stop-a"))
        with pytest.raises(VehicleBusy):
            await unit.attempts.open(intent(same_van, "stop-b"))
        with pytest.raises(ConnectorBusy):
            await unit.attempts.open(intent(same_place, "stop-c", vehicle_id="van-2"))
        await unit.attempts.close(one.attempt_id, AttemptState.FAILED, ReasonCode.STOP_TIMEOUT)
        await unit.attempts.open(intent(same_van, "stop-b"))
        await unit.attempts.open(intent(same_place, "stop-c", vehicle_id="van-2"))
    async with store.tenant(tenant) as unit:  # the refusals left the unit usable: all of it was committed
        for opened, live in ((one, False), (same_van, True), (same_place, True)):
            found = await unit.attempts.find(opened.attempt_id)
            assert found is not None
            assert (found.holds_vehicle, found.holds_charger) == (live, live)


async def test_opening_a_closed_attempt_again_does_not_revive_it(store: Store, tenant: TenantId) -> None:
    one = tried(tenant, "a", "ch-1")
    async with store.tenant(tenant) as unit:
        await unit.attempts.open(intent(one, "stop-a"))
        await unit.attempts.close(one.attempt_id, AttemptState.GUARDED, None)
        await unit.attempts.open(intent(one, "stop-a"))
        found = await unit.attempts.find(one.attempt_id)
    assert found is not None
    assert (found.state, found.holds_vehicle, found.holds_charger) == (AttemptState.GUARDED, False, False)


async def test_of_many_at_once_one_gets_the_vehicle(store: Store, tenant: TenantId) -> None:
    async def open_one(number: int) -> bool:
        try:
            async with store.tenant(tenant) as unit:
                await unit.attempts.open(intent(tried(tenant, str(number), f"ch-{number}"), f"stop-{number}"))
        except VehicleBusy:
            return False
        return True

    assert sum(await asyncio.gather(*(open_one(number) for number in range(5)))) == 1


async def test_tenants_do_not_hold_each_others_vehicles(store: Store, tenant: TenantId) -> None:
    other = TenantId(f"{tenant}-b")
    for name in (tenant, other):
        async with store.tenant(name) as unit:
            await unit.attempts.open(intent(tried(name, "a", "ch-1"), f"stop-{name}"))


async def test_a_start_finds_its_attempt_by_connector_token_and_time(store: Store, tenant: TenantId) -> None:
    one, two = tried(tenant, "a", "ch-1"), tried(tenant, "b", "ch-1")
    later = two.model_copy(update={"opened_at": after(600)})
    async with store.tenant(tenant) as unit:
        await unit.attempts.open(intent(one, "stop-a"))
        await unit.attempts.close(one.attempt_id, AttemptState.GUARDED, None)
        await unit.attempts.open(intent(later, "stop-b", window_ends_at=after(720)))

        async def found(
            at_s: float, station: str = "st-1", connector: int = 1, token: str = "FLEET017"
        ) -> str:
            match = await unit.attempts.find_for_start(station, connector, token, after(at_s))
            return match.stop_id if match else ""

        assert await found(-60) == ""  # before anybody asked
        assert await found(-3) == "stop-a"  # the station's clock may run behind
        assert await found(60) == "stop-a"
        assert await found(300) == "stop-a"  # a start after the window is still ours: it must be ended
        assert await found(610) == "stop-b"
        assert await found(610, station="st-2") == ""
        assert await found(610, connector=2) == ""
        assert await found(610, token="OTHER") == ""
        assert await found(720 + 2 * 3600) == ""


async def test_a_partners_start_is_rounded_and_a_session_has_one_attempt(
    store: Store, tenant: TenantId
) -> None:
    """A start of a moment before the intent is the attempt's, unless that has a session already."""
    stop = view(tenant)
    one = attempt(stop.stop_id)
    async with store.tenant(tenant) as unit:
        await unit.attempts.open(intent(one, stop.stop_id, evse_uid="EVSE-1"))

        async def found(at_s: float, evse: str = "EVSE-1", token: str = "FLEET017") -> bool:
            return await unit.attempts.find_for_evse("st-1", evse, token, after(at_s)) is not None

        assert [await found(at_s) for at_s in (1, -4, -59, -70)] == [True, True, True, False]
        assert await found(1, "evse-1", "Fleet017")
        running = one.model_copy(update={"session_ref": "tx-1"})
        await unit.stops.record(record(newer(stop, attempts=(running,)), 1))
        assert [await found(at_s) for at_s in (1, -4, -59)] == [True, True, False]
        assert await unit.attempts.find_by_session("TX-1", "ST-1") is not None


async def test_finds_by_our_own_references(store: Store, tenant: TenantId) -> None:
    stop = view(tenant)
    one = attempt(stop.stop_id)
    wanted = intent(one, stop.stop_id, evse_uid="EVSE-1")
    async with store.tenant(tenant) as unit:
        await unit.attempts.open(wanted)
        running = one.model_copy(update={"session_ref": "tx-1"})
        await unit.stops.record(record(newer(stop, attempts=(running,)), 1))
        expected = await unit.attempts.find(one.attempt_id)
        assert expected is not None
        assert await unit.attempts.find_by_remote_start_id("st-1", wanted.remote_start_id) == expected
        assert await unit.attempts.find_by_remote_start_id("st-2", wanted.remote_start_id) is None
        assert await unit.attempts.find_for_evse("st-1", "EVSE-1", "FLEET017", after(1)) == expected
        assert await unit.attempts.find_by_session("tx-1") == expected
        assert await unit.attempts.find_by_session("tx-1", "st-1") == expected
        assert await unit.attempts.find_by_session("tx-1", "st-2") is None


async def test_a_command_is_begun_once_and_keeps_its_reply(store: Store, tenant: TenantId) -> None:
    sent = command(tenant, f"{tenant}-start")
    reply = CommandReply(outcome=CommandOutcome.ACCEPTED, vendor_code="Accepted")
    async with store.tenant(tenant) as unit:
        assert (await unit.commands.begin(sent)).fresh
    async with store.tenant(tenant) as unit:
        again = await unit.commands.begin(sent)
        assert (again.fresh, again.reply) == (False, None)  # sent, and nobody knows what came of it
        await unit.commands.finish(sent.command_id, reply)
        await unit.commands.unsent(sent.command_id)  # too late: it has a reply, so it was sent
        again = await unit.commands.begin(sent)
        assert (again.fresh, again.reply) == (False, reply)


async def test_an_unsent_command_may_be_sent_later(store: Store, tenant: TenantId) -> None:
    sent = command(tenant, f"{tenant}-start")
    async with store.tenant(tenant) as unit:
        await unit.commands.begin(sent)
        await unit.commands.unsent(sent.command_id)
        assert (await unit.commands.begin(sent)).fresh


async def test_of_many_at_once_one_may_send(store: Store, tenant: TenantId) -> None:
    async def begin() -> bool:
        async with store.tenant(tenant) as unit:
            return (await unit.commands.begin(command(tenant, f"{tenant}-start"))).fresh

    assert sum(await asyncio.gather(*(begin() for _ in range(5)))) == 1


async def holds(store: Store, tenant: TenantId, of: Attempt) -> tuple[bool, bool]:
    async with store.tenant(tenant) as unit:
        found = await unit.attempts.find(of.attempt_id)
    assert found is not None
    return found.holds_vehicle, found.holds_charger


async def test_an_earlier_attempt_of_the_stop_hands_its_holds_over(store: Store, tenant: TenantId) -> None:
    """The vehicle is held by the one wanted attempt; a connector by any whose session may occupy it."""
    stop_id = f"{tenant}-a"
    first, elsewhere, again = (attempt(stop_id, n, charger_id=f"ch-{c}") for n, c in ((1, 1), (2, 2), (3, 1)))
    async with store.tenant(tenant) as unit:
        await unit.attempts.open(intent(first, stop_id))
        await unit.attempts.open(intent(elsewhere, stop_id))
    assert await holds(store, tenant, first) == (False, True)  # its late start would find the connector ours
    assert await holds(store, tenant, elsewhere) == (True, True)
    async with store.tenant(tenant) as unit:
        await unit.attempts.open(intent(again, stop_id))
        await unit.attempts.open(intent(elsewhere, stop_id))  # a late repeat takes nothing
    assert await holds(store, tenant, first) == (False, False)
    assert await holds(store, tenant, elsewhere) == (False, True)
    assert await holds(store, tenant, again) == (True, True)


async def test_a_refused_attempt_takes_nothing_from_its_own_stop(store: Store, tenant: TenantId) -> None:
    mine, other = f"{tenant}-a", f"{tenant}-b"
    first, second = attempt(mine, 1, charger_id="ch-1"), attempt(mine, 2, charger_id="ch-2")
    async with store.tenant(tenant) as unit:
        await unit.attempts.open(intent(first, mine))
        await unit.attempts.open(intent(attempt(other, charger_id="ch-2"), other, vehicle_id="van-2"))
        with pytest.raises(ConnectorBusy):
            await unit.attempts.open(intent(second, mine))
    assert await holds(store, tenant, first) == (True, True)


async def test_an_adopted_attempt_takes_its_holds_back_or_is_refused(store: Store, tenant: TenantId) -> None:
    mine, other = f"{tenant}-a", f"{tenant}-b"
    first, second = attempt(mine, 1, charger_id="ch-1"), attempt(mine, 2, charger_id="ch-2")
    async with store.tenant(tenant) as unit:
        await unit.attempts.open(intent(first, mine))
        await unit.attempts.open(intent(second, mine))
        await unit.attempts.take_back(first.attempt_id)
        await unit.attempts.take_back(first.attempt_id)
    assert await holds(store, tenant, first) == (True, True)
    assert await holds(store, tenant, second) == (False, True)
    async with store.tenant(tenant) as unit:
        await unit.attempts.close(first.attempt_id, AttemptState.GUARDED, None)
        await unit.attempts.open(intent(attempt(other, charger_id="ch-1"), other, vehicle_id="van-2"))
        with pytest.raises(ConnectorBusy):
            await unit.attempts.take_back(first.attempt_id)
        with pytest.raises(UnknownAttempt):
            await unit.attempts.take_back("nobody")
    assert await holds(store, tenant, first) == (False, False)


async def test_what_came_of_a_start_is_counted_once(store: Store, tenant: TenantId) -> None:
    one = tried(tenant, "a", "ch-1")
    async with store.tenant(tenant) as unit:
        await unit.attempts.open(intent(one, "stop-a"))
        assert await unit.attempts.count_once(one.attempt_id)
    async with store.tenant(tenant) as unit:
        assert not await unit.attempts.count_once(one.attempt_id)
        assert not await unit.attempts.count_once("nobody")
