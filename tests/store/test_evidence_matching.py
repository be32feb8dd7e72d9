"""Whom evidence concerns: not the newest stop of the van, but the one it is about; not anybody's plug."""

from __future__ import annotations

import uuid
from datetime import datetime, timedelta

import pytest
import pytest_asyncio

from models.evidence import EvidenceKind, EvidenceSource
from models.ids import TenantId
from models.reason_codes import ReasonCode
from models.stop import AttemptState, StopOutcome, StopPhase, StopView
from store.database import Store
from store.evidence_rows import Heard
from tests.store.conftest import Raw
from tests.store.store_samples import NOW, after, attempt, charger, evidence, intent, newer, record, view

pytestmark = pytest.mark.asyncio(loop_scope="session")

PLUGGED, UNPLUGGED, FAULTED = (
    EvidenceKind.PLUGGED_IN,
    EvidenceKind.UNPLUGGED,
    EvidenceKind.CONNECTOR_FAULTED,
)
PLANNING, EN_ROUTE, ARRIVED, CHARGING, SETTLING = (
    StopPhase.PLANNING,
    StopPhase.EN_ROUTE,
    StopPhase.ARRIVED,
    StopPhase.CHARGING,
    StopPhase.SETTLING,
)


class Fleet:
    """Chargers ch-1 and ch-2 at one site, ch-3 at another; stops as a test needs them."""

    def __init__(self, store: Store, tenant: TenantId) -> None:
        self.store, self.tenant = store, tenant

    async def built(self) -> Fleet:
        async with self.store.tenant(self.tenant) as unit:
            await unit.chargers.upsert(
                [
                    charger("ch-1"),
                    charger("ch-2", connector_number=2),
                    charger("ch-3", site_id="site-2", station_id="st-2"),
                ]
            )
        return self

    async def stop(self, phase: StopPhase, *, tries: bool = False, **changes: object) -> StopView:
        stop = view(self.tenant, phase=phase, vehicle_id=f"van-{uuid.uuid4().hex[:6]}", **changes)
        async with self.store.tenant(self.tenant) as unit:
            await unit.stops.record(record(stop, 1))
            if tries:
                wanted = attempt(stop.stop_id, charger_id=f"ch-{uuid.uuid4().hex[:6]}")
                await unit.attempts.open(intent(wanted, stop.stop_id, vehicle_id=stop.vehicle_id))
        return stop

    async def goes_to(self, stop: StopView, charger_id: str) -> None:
        async with self.store.tenant(self.tenant) as unit:
            await unit.stops.record(record(newer(stop, charger_id=charger_id), 2))

    async def tried(self, stop: StopView, charger_id: str, at: datetime) -> None:
        """It was there and is not any more: the attempt holds nothing."""
        tried = attempt(stop.stop_id, charger_id=charger_id, opened_at=at)
        async with self.store.tenant(self.tenant) as unit:
            await unit.attempts.open(intent(tried, stop.stop_id, vehicle_id=stop.vehicle_id))
            await unit.attempts.close(tried.attempt_id, AttemptState.FAILED, ReasonCode.START_REJECTED)

    async def hears(
        self,
        kind: EvidenceKind,
        *,
        charger_id: str | None = None,
        car: str | None = None,
        at: datetime | None = None,
        stop_id: str | None = None,
        attempt_id: str | None = None,
        event_id: str | None = None,
    ) -> set[str | None]:
        """The stops that one piece of evidence was kept for."""
        source = EvidenceSource.TELEMATICS if car else EvidenceSource.OCPP
        item = evidence(
            event_id or f"e-{uuid.uuid4().hex}",
            kind=kind,
            source=source,
            charger_id=charger_id,
            attempt_id=attempt_id,
            observed_at=at or after(60),
        )
        async with self.store.tenant(self.tenant) as unit:
            await unit.evidence.take([Heard(item, stop_id, car)])
            found = await unit.connection.exec_driver_sql(
                "SELECT stop_id FROM evidence WHERE event_id = %(id)s", {"id": item.event_id}
            )
            return set(found.scalars())


@pytest_asyncio.fixture(loop_scope="session")
async def fleet(store: Store, tenant: TenantId) -> Fleet:
    return await Fleet(store, tenant).built()


async def test_the_stop_that_was_told_wins(fleet: Fleet) -> None:
    other = await fleet.stop(EN_ROUTE, telematics_id="car-1", charger_id="ch-1")
    assert await fleet.hears(PLUGGED, charger_id="ch-1", car="car-1", stop_id="told") == {"told"}
    assert await fleet.hears(PLUGGED, charger_id="ch-1") == {other.stop_id}


async def test_by_attempt_and_never_past_it(fleet: Fleet) -> None:
    stop = await fleet.stop(CHARGING, tries=True, charger_id="ch-1")
    mine = attempt(stop.stop_id).attempt_id
    assert await fleet.hears(EvidenceKind.SESSION_STARTED, attempt_id=mine) == {stop.stop_id}
    assert await fleet.hears(PLUGGED, attempt_id="somebody-elses", charger_id="ch-1") == {None}


async def test_a_vans_news_is_for_the_stop_that_charges_not_for_the_newest(fleet: Fleet) -> None:
    charging = await fleet.stop(CHARGING, tries=True, telematics_id="car-1", created_at=after(0))
    await fleet.stop(ARRIVED, telematics_id="car-1", created_at=after(1))
    await fleet.stop(EN_ROUTE, telematics_id="car-1", created_at=after(2))
    await fleet.stop(PLANNING, telematics_id="car-1", created_at=after(3))
    assert await fleet.hears(EvidenceKind.ENERGY_FLOWING, car="car-1") == {charging.stop_id}


async def test_then_the_one_it_is_at_then_the_next_it_drives_to(fleet: Fleet) -> None:
    newest = await fleet.stop(PLANNING, telematics_id="car-1", created_at=after(5))
    oldest = await fleet.stop(PLANNING, telematics_id="car-1", created_at=after(4))
    assert await fleet.hears(PLUGGED, car="car-1") == {oldest.stop_id}
    late = await fleet.stop(EN_ROUTE, telematics_id="car-1", created_at=after(1), arrive_by=after(9000))
    assert await fleet.hears(PLUGGED, car="car-1") == {late.stop_id}
    soon = await fleet.stop(EN_ROUTE, telematics_id="car-1", created_at=after(3), arrive_by=after(900))
    assert await fleet.hears(PLUGGED, car="car-1") == {soon.stop_id}
    there = await fleet.stop(ARRIVED, telematics_id="car-1", created_at=after(6))
    assert await fleet.hears(PLUGGED, car="car-1") == {there.stop_id}
    assert newest.stop_id != oldest.stop_id


async def test_who_is_settling_hears_of_the_unplug_and_not_of_the_next_plug(fleet: Fleet) -> None:
    settling = await fleet.stop(SETTLING, telematics_id="car-1")
    driving = await fleet.stop(EN_ROUTE, telematics_id="car-1", created_at=after(5))
    assert await fleet.hears(UNPLUGGED, car="car-1") == {settling.stop_id}
    assert await fleet.hears(PLUGGED, car="car-1") == {driving.stop_id}


async def test_what_a_van_did_before_its_stop_is_not_about_it(fleet: Fleet) -> None:
    await fleet.stop(EN_ROUTE, telematics_id="car-1", created_at=after(600))
    assert await fleet.hears(PLUGGED, car="car-1", at=after(60)) == {None}
    assert await fleet.hears(PLUGGED, car="car-9", at=after(700)) == {None}


async def test_a_plug_goes_to_the_one_stop_it_can_belong_to(fleet: Fleet) -> None:
    one = await fleet.stop(EN_ROUTE, charger_id="ch-1")
    assert await fleet.hears(PLUGGED, charger_id="ch-1") == {one.stop_id}
    await fleet.stop(PLANNING, charger_id="ch-1")
    assert await fleet.hears(PLUGGED, charger_id="ch-1") == {None}
    assert await fleet.hears(PLUGGED, charger_id="ch-3") == {None}
    assert await fleet.hears(PLUGGED, charger_id="no-such-charger") == {None}


async def test_a_plug_of_long_ago_is_not_for_a_new_stop(fleet: Fleet) -> None:
    await fleet.stop(EN_ROUTE, charger_id="ch-1", created_at=after(3600))
    assert await fleet.hears(PLUGGED, charger_id="ch-1", at=after(60)) == {None}


async def test_a_plug_at_the_neighbouring_connector_finds_the_stop(fleet: Fleet) -> None:
    one = await fleet.stop(ARRIVED, charger_id="ch-1")
    assert await fleet.hears(PLUGGED, charger_id="ch-2") == {one.stop_id}
    assert await fleet.hears(PLUGGED, charger_id="ch-3") == {None}
    async with fleet.store.tenant(fleet.tenant) as unit:
        heard = await unit.evidence.of_stop(one.stop_id)
    assert [item.charger_id for item in heard] == ["ch-2"]  # so the stop sees that it is the neighbour
    exact = await fleet.stop(EN_ROUTE, charger_id="ch-2")
    assert await fleet.hears(PLUGGED, charger_id="ch-2") == {exact.stop_id}


async def test_of_several_the_vehicles_own_feed_names_the_plugs(fleet: Fleet) -> None:
    one = await fleet.stop(ARRIVED, charger_id="ch-1", telematics_id="car-1")
    await fleet.stop(ARRIVED, charger_id="ch-1", telematics_id="car-2")
    assert await fleet.hears(PLUGGED, charger_id="ch-1", at=after(100)) == {None}
    assert await fleet.hears(PLUGGED, car="car-1", at=after(90)) == {one.stop_id}
    assert await fleet.hears(PLUGGED, charger_id="ch-1", at=after(101)) == {one.stop_id}
    await fleet.hears(UNPLUGGED, car="car-1", at=after(200))
    assert await fleet.hears(PLUGGED, charger_id="ch-1", at=after(201)) == {None}
    assert await fleet.hears(PLUGGED, charger_id="ch-1", at=after(90) + timedelta(hours=1)) == {None}


@pytest.mark.parametrize(
    "kind",
    [
        FAULTED,
        EvidenceKind.CONNECTOR_OCCUPIED,
        EvidenceKind.STATION_OFFLINE,
        EvidenceKind.STATION_ONLINE,
        EvidenceKind.CHARGER_REMOVED,
        EvidenceKind.CONNECTOR_AVAILABLE,
    ],
)
async def test_what_befell_a_charger_concerns_all_who_head_for_it(fleet: Fleet, kind: EvidenceKind) -> None:
    """Three stops, one event id: each hears it."""
    stops = [await fleet.stop(phase, charger_id="ch-1") for phase in (PLANNING, EN_ROUTE, ARRIVED)]
    await fleet.stop(EN_ROUTE, charger_id="ch-2")
    await fleet.stop(SETTLING, charger_id="ch-1")
    assert await fleet.hears(kind, charger_id="ch-1", event_id=f"one-{kind}") == {s.stop_id for s in stops}
    assert len(await fleet.hears(kind, charger_id="ch-1", event_id=f"one-{kind}")) == 3


async def test_a_fault_in_one_stops_session_is_news_for_the_next(fleet: Fleet) -> None:
    inside = await fleet.stop(CHARGING, tries=True, charger_id="ch-1")
    coming = await fleet.stop(EN_ROUTE, charger_id="ch-1")
    mine = attempt(inside.stop_id).attempt_id
    heard = await fleet.hears(FAULTED, charger_id="ch-1", attempt_id=mine, stop_id=inside.stop_id)
    assert heard == {inside.stop_id, coming.stop_id}
    async with fleet.store.tenant(fleet.tenant) as unit:
        assert [item.attempt_id for item in await unit.evidence.of_stop(inside.stop_id)] == [mine]
        assert [item.attempt_id for item in await unit.evidence.of_stop(coming.stop_id)] == [None]


async def test_a_repeat_does_not_wander_to_another_stop(fleet: Fleet) -> None:
    one = await fleet.stop(EN_ROUTE, charger_id="ch-1")
    assert await fleet.hears(PLUGGED, charger_id="ch-1", event_id="p") == {one.stop_id}
    async with fleet.store.tenant(fleet.tenant) as unit:
        await unit.stops.record(record(one.model_copy(update={"version": 2, "charger_id": "ch-3"}), 2))
    await fleet.stop(EN_ROUTE, charger_id="ch-1")
    assert await fleet.hears(PLUGGED, charger_id="ch-1", event_id="p") == {one.stop_id}


async def test_a_repeat_of_what_nobody_could_be_told_may_find_its_stop(fleet: Fleet) -> None:
    assert await fleet.hears(PLUGGED, charger_id="ch-1", event_id="p") == {None}
    one = await fleet.stop(EN_ROUTE, charger_id="ch-1")
    assert await fleet.hears(PLUGGED, charger_id="ch-1", event_id="p") == {None, one.stop_id}


async def test_another_tenants_stop_hears_nothing(fleet: Fleet, store: Store) -> None:
    one = await fleet.stop(EN_ROUTE, charger_id="ch-1", telematics_id="car-1")
    other = await Fleet(store, TenantId(f"{fleet.tenant}-b")).built()
    assert await other.hears(PLUGGED, charger_id="ch-1") == {None}
    assert await other.hears(PLUGGED, car="car-1") == {None}
    async with store.tenant(fleet.tenant) as unit:
        assert await unit.evidence.of_stop(one.stop_id) == []


async def test_a_vehicles_stop_is_found_for_its_connector(fleet: Fleet) -> None:
    driving = await fleet.stop(EN_ROUTE, telematics_id="car-1", arrive_by=after(900))
    await fleet.stop(PLANNING, telematics_id="car-1", created_at=after(5))
    async with fleet.store.tenant(fleet.tenant) as unit:
        assert await unit.evidence.stop_of_vehicle("car-1") == driving.stop_id
        assert await unit.evidence.stop_of_vehicle("car-9") is None


async def test_an_instant_that_cannot_be_read_does_not_stop_matching(fleet: Fleet, raw: Raw) -> None:
    one = await fleet.stop(EN_ROUTE, telematics_id="car-1", arrive_by=NOW)
    with raw() as connection:
        connection.execute(
            "UPDATE stop SET view = view || jsonb_build_object('arrive_by', 'soon') WHERE stop_id = %s",
            [one.stop_id],
        )
    assert await fleet.hears(PLUGGED, car="car-1") == {one.stop_id}


@pytest.mark.parametrize("closed", [False, True], ids=["drives on", "closed"])
async def test_the_plug_of_who_was_refused_there_a_moment_ago_is_not_the_next_ones(
    fleet: Fleet, closed: bool
) -> None:
    """Its driver plugs in all the same, before he has read where to go. The next van of ours, still on its
    way, must not be started for it; its own vehicle's word, or a plug after that one, counts."""
    refused = await (
        fleet.stop(StopPhase.CLOSED, outcome=StopOutcome.HANDED_TO_HUMAN)
        if closed
        else fleet.stop(PLANNING, charger_id="ch-3")
    )
    await fleet.tried(refused, "ch-1", after(50))
    coming = await fleet.stop(EN_ROUTE, telematics_id="car-2", charger_id="ch-1")
    assert await fleet.hears(PLUGGED, charger_id="ch-1", at=after(60)) == {None}
    assert await fleet.hears(EvidenceKind.CONNECTOR_AVAILABLE, charger_id="ch-1", at=after(90)) == {
        coming.stop_id
    }
    assert await fleet.hears(PLUGGED, charger_id="ch-1", at=after(120)) == {coming.stop_id}


async def test_who_left_before_that_van_came_says_nothing_of_its_plug(fleet: Fleet) -> None:
    await fleet.hears(PLUGGED, charger_id="ch-1", at=after(-600))  # a stranger
    await fleet.hears(EvidenceKind.CONNECTOR_AVAILABLE, charger_id="ch-1", at=after(-120))
    refused = await fleet.stop(EN_ROUTE, charger_id="ch-3")
    await fleet.tried(refused, "ch-1", after(50))
    await fleet.stop(EN_ROUTE, telematics_id="car-2", charger_id="ch-1")
    assert await fleet.hears(PLUGGED, charger_id="ch-1", at=after(60)) == {None}


async def test_a_van_that_was_heard_to_plug_in_does_not_do_so_again(fleet: Fleet) -> None:
    refused = await fleet.stop(EN_ROUTE, charger_id="ch-1")
    assert await fleet.hears(PLUGGED, charger_id="ch-1", at=after(40)) == {refused.stop_id}
    await fleet.tried(refused, "ch-1", after(50))
    await fleet.goes_to(refused, "ch-3")
    coming = await fleet.stop(EN_ROUTE, charger_id="ch-1")
    assert await fleet.hears(PLUGGED, charger_id="ch-1", at=after(120)) == {coming.stop_id}


async def test_a_van_whose_own_word_says_so_has_plugged_in_where_another_was_refused(fleet: Fleet) -> None:
    refused = await fleet.stop(EN_ROUTE, charger_id="ch-3")
    await fleet.tried(refused, "ch-1", after(50))
    coming = await fleet.stop(EN_ROUTE, telematics_id="car-2", charger_id="ch-1")
    assert await fleet.hears(PLUGGED, car="car-2", at=after(59)) == {coming.stop_id}
    assert await fleet.hears(PLUGGED, charger_id="ch-1", at=after(60)) == {coming.stop_id}


async def test_who_tried_long_ago_or_stands_there_takes_no_plug_away(fleet: Fleet) -> None:
    long_ago = await fleet.stop(EN_ROUTE, charger_id="ch-3")
    await fleet.tried(long_ago, "ch-1", after(60) - timedelta(minutes=11))
    coming = await fleet.stop(EN_ROUTE, charger_id="ch-1")
    assert await fleet.hears(PLUGGED, charger_id="ch-1", at=after(60)) == {coming.stop_id}
    there = await fleet.stop(ARRIVED, charger_id="ch-2")
    lately = await fleet.stop(EN_ROUTE, charger_id="ch-3")
    await fleet.tried(lately, "ch-2", after(50))
    assert await fleet.hears(PLUGGED, charger_id="ch-2", at=after(60)) == {there.stop_id}
