"""Activities on our own store: exactly once, for the run that lives, and never for ever."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest
import pytest_asyncio
from temporalio.client import Client
from temporalio.exceptions import ApplicationError
from temporalio.testing import ActivityEnvironment

from activities.stop_records import BAD_DATA, OTHER_RUN, STILL_OPEN, StopRecords
from api.engine import begin_workflow
from models.activity_messages import (
    Amendment,
    KeptSession,
    OpenStop,
    PrepareStart,
    SessionGoal,
    TakeBack,
)
from models.ids import TenantId, remote_start_id_for
from models.policy import Policy
from models.reason_codes import ReasonCode
from models.stop import Attempt, ChargingStopInput, StopOutcome, StopPhase, StopRecord, StopRequest, StopView
from store.database import Store
from tests.store.store_samples import (
    NOW,
    after,
    attempt,
    charger,
    closed,
    event,
    intent,
    newer,
    record,
    request,
    view,
)

pytestmark = pytest.mark.asyncio(loop_scope="session")


@pytest_asyncio.fixture(loop_scope="session")
async def tenant(store: Store) -> TenantId:
    name = TenantId(f"t-{uuid.uuid4().hex[:12]}")
    async with store.platform() as unit:
        await unit.ensure_tenant(name)
    async with store.tenant(name) as unit:
        await unit.policies.put(Policy())
        await unit.chargers.upsert([charger()])
    return name


@pytest.fixture
def records(store: Store) -> StopRecords:
    return StopRecords(store, {})


async def run(client: Client, what: Callable[..., Awaitable[Any]], argument: object) -> Any:
    return await ActivityEnvironment(client=client).run(what, argument)


async def stop_of(store: Store, tenant: TenantId, stop_id: str) -> StopView:
    async with store.tenant(tenant) as unit:
        found = await unit.stops.get(stop_id)
    assert found is not None
    return found


def goal_of(tenant: TenantId, of: Attempt, stop_id: str) -> SessionGoal:
    return SessionGoal(
        tenant_id=tenant,
        stop_id=stop_id,
        attempt_id=of.attempt_id,
        target_kwh=20.0,
        target_soc_percent=80.0,
        stall_s=600.0,
    )


def start_of(tenant: TenantId, stop: StopView, of: Attempt, vehicle_id: str = "van-1") -> PrepareStart:
    return PrepareStart(
        tenant_id=tenant,
        stop_id=stop.stop_id,
        attempt=of,
        charger=charger(of.charger_id),
        vehicle_id=vehicle_id,
        token_uid="FLEET017",
        remote_start_id=remote_start_id_for(of.attempt_id),
        window_ends_at=after(120),
        goal=goal_of(tenant, of, stop.stop_id),
        record=record(stop, 1),
    )


def late_word(stop: StopView, of: Attempt, **data: Any) -> Amendment:
    return Amendment(
        tenant_id=stop.tenant_id,
        stop_id=stop.stop_id,
        amendment_id="late-1",
        at=NOW,
        type="session.ended",
        text="A late session has ended.",
        attempt=of,
        data=data,
    )


async def test_an_attempt_is_opened_once_and_a_busy_one_only_recorded(
    store: Store, tenant: TenantId, temporal_client: Client, records: StopRecords
) -> None:
    one, two = view(tenant), view(tenant)
    first, second = attempt(one.stop_id), attempt(two.stop_id)
    for _ in range(2):
        route = await run(temporal_client, records.open_attempt, start_of(tenant, one, first))
        assert route.refused is None
    facts = await run(
        temporal_client,
        records.session_facts,
        KeptSession(tenant_id=tenant, stop_id=one.stop_id, attempt_id=first.attempt_id),
    )
    assert facts.goal == goal_of(tenant, first, one.stop_id)
    assert facts.token_uid == "FLEET017"
    same_place = start_of(tenant, two, second, vehicle_id="van-2")
    assert (await run(temporal_client, records.open_attempt, same_place)).refused is (
        ReasonCode.START_CONNECTOR_BUSY
    )
    async with store.tenant(tenant) as unit:
        assert await unit.attempts.find(second.attempt_id) is None
        assert [one.seq for one in await unit.stops.timeline(two.stop_id)] == [1]


async def test_what_waited_until_its_stop_closed_holds_nothing(
    store: Store, tenant: TenantId, temporal_client: Client, records: StopRecords
) -> None:
    """The store was away: the intent's turn comes after the close, which its record brings along."""
    stop, given_up = closed(tenant), view(tenant)
    waited, left = attempt(stop.stop_id, 2, charger_id="ch-2"), attempt(given_up.stop_id, charger_id="ch-3")
    refused = await run(temporal_client, records.open_attempt, start_of(tenant, stop, waited))
    assert refused.refused is ReasonCode.STOP_WORKFLOW_LOST
    async with store.tenant(tenant) as unit:
        assert await unit.attempts.find(waited.attempt_id) is None
        await unit.attempts.open(intent(left, given_up.stop_id))
        free = left.model_copy(update=_NOTHING)
        await unit.stops.record(record(newer(given_up, attempts=(free,)), 1))
    ended = newer(newer(given_up, attempts=(free,)), phase=StopPhase.CLOSED, outcome=StopOutcome.CANCELLED)
    back = TakeBack(
        tenant_id=tenant, stop_id=ended.stop_id, attempt_id=left.attempt_id, record=record(ended, 2)
    )
    refused = await run(temporal_client, records.take_back_holds, back)
    assert refused.refused is ReasonCode.STOP_WORKFLOW_LOST
    async with store.tenant(tenant) as unit:
        held = await unit.attempts.find(left.attempt_id)
        assert [one.seq for one in await unit.stops.timeline(ended.stop_id)] == [1, 2]
    assert held is not None
    assert (held.holds_vehicle, held.holds_charger) == (False, False)


async def test_an_adoption_without_holds_is_refused_and_loses_no_event(
    store: Store, tenant: TenantId, temporal_client: Client, records: StopRecords
) -> None:
    stop, other = view(tenant), view(tenant)
    given_up, thief = attempt(stop.stop_id), attempt(other.stop_id)
    async with store.tenant(tenant) as unit:
        await unit.attempts.open(intent(given_up, stop.stop_id))
        left = given_up.model_copy(update={"holds_vehicle": False, "holds_charger": False})
        await unit.stops.record(record(newer(stop, attempts=(left,)), 1))
        await unit.attempts.open(intent(thief, other.stop_id, vehicle_id="van-2"))
    wanted = newer(newer(stop), attempts=(given_up,))
    back = TakeBack(
        tenant_id=tenant, stop_id=stop.stop_id, attempt_id=given_up.attempt_id, record=record(wanted, 2)
    )
    refused = await run(temporal_client, records.take_back_holds, back)
    assert refused.refused is ReasonCode.START_CONNECTOR_BUSY
    async with store.tenant(tenant) as unit:
        held = await unit.attempts.find(given_up.attempt_id)
        assert held is not None
        assert (held.holds_vehicle, held.holds_charger) == (False, False)
        assert [one.seq for one in await unit.stops.timeline(stop.stop_id)] == [1, 2]
        await unit.stops.record(record(newer(other, attempts=(thief.model_copy(update=_NOTHING),)), 1))
    for _ in range(2):
        assert (await run(temporal_client, records.take_back_holds, back)).refused is None
    async with store.tenant(tenant) as unit:
        held = await unit.attempts.find(given_up.attempt_id)
    assert held is not None
    assert (held.holds_vehicle, held.holds_charger) == (True, True)


_NOTHING = {"holds_vehicle": False, "holds_charger": False}


async def test_a_start_counts_once(
    store: Store, tenant: TenantId, temporal_client: Client, records: StopRecords
) -> None:
    one = attempt(f"{tenant}-a")
    async with store.tenant(tenant) as unit:
        await unit.attempts.open(intent(one, "stop-a"))
    done = one.model_copy(update={"start_proven": True, **_NOTHING})
    told = view(tenant, attempts=(done,))
    await asyncio.gather(
        *(run(temporal_client, records.record_stop, StopRecord(view=told)) for _ in range(4))
    )
    async with store.tenant(tenant) as unit:
        known = await unit.chargers.get("ch-1")
    assert known is not None
    assert (known.start_successes, known.start_failures) == (1, 0)


# --- runs -------------------------------------------------------------------------------------------------


async def begun(client: Client, tenant: TenantId, wish: StopRequest) -> str:
    """A workflow that no worker runs: it lives, and that is enough."""
    return await begin_workflow(client, tenant, wish, f"nobody-{tenant}", 5)


async def test_the_run_that_lives_takes_over_and_a_dead_one_says_nothing(
    store: Store, tenant: TenantId, temporal_client: Client, records: StopRecords
) -> None:
    wish = request(f"tour-{uuid.uuid4().hex[:8]}")
    run_id = await begun(temporal_client, tenant, wish)
    dead = view(tenant, wish.business_key, run_id="run-0", version=8)
    tried = attempt(dead.stop_id)
    async with store.tenant(tenant) as unit:
        await unit.stops.record(record(dead, 1, 2, 3))
        await unit.attempts.open(intent(tried, dead.stop_id))
        await unit.attempts.close(tried.attempt_id, tried.state, None)  # as a release does
    lives = view(tenant, wish.business_key, run_id=run_id, version=2, attempts=(tried,))
    await run(temporal_client, records.record_stop, record(lives, 2))
    await run(temporal_client, records.record_stop, record(newer(dead), 4))
    async with store.tenant(tenant) as unit:
        told = [(one.seq, one.type) for one in await unit.stops.timeline(dead.stop_id)]
        held = await unit.attempts.find(tried.attempt_id)
    assert told[3:] == [(4, "stop.reset"), (5, "stop.planned")]
    assert (await stop_of(store, tenant, dead.stop_id)).run_id == run_id
    assert held is not None
    assert (held.holds_vehicle, held.holds_charger) == (True, True)  # it charges on where it charged
    with pytest.raises(ApplicationError) as refused:
        await run(
            temporal_client, records.open_attempt, start_of(tenant, newer(dead), attempt(dead.stop_id, 2))
        )
    assert (refused.value.type, refused.value.non_retryable) == (OTHER_RUN, True)


async def test_a_terminated_run_does_not_take_its_stop_back(
    store: Store, tenant: TenantId, temporal_client: Client, records: StopRecords
) -> None:
    """Its last record may come after its stop was released."""
    wish = request(f"tour-{uuid.uuid4().hex[:8]}")
    run_id = await begun(temporal_client, tenant, wish)
    stop = view(tenant, wish.business_key, run_id="released:" + run_id, outcome=StopOutcome.NOT_CHARGED)
    async with store.tenant(tenant) as unit:
        await unit.stops.record(record(stop, 1, 2))
    await temporal_client.get_workflow_handle(stop.workflow_id).terminate()
    late = view(tenant, wish.business_key, run_id=run_id, version=5)
    await run(temporal_client, records.record_stop, record(late, 2, 3))
    assert await stop_of(store, tenant, stop.stop_id) == stop
    async with store.tenant(tenant) as unit:
        assert len(await unit.stops.timeline(stop.stop_id)) == 2


@pytest.mark.parametrize(
    ("unknown", "named"),
    [
        ({"battery_usable_kwh": None}, "battery"),
        ({"connectors": ()}, "connectors"),
        ({"model_id": "x"}, "model x"),
    ],
)
async def test_a_stop_that_was_started_directly_is_checked_the_same_way(
    store: Store,
    tenant: TenantId,
    temporal_client: Client,
    records: StopRecords,
    unknown: dict[str, object],
    named: str,
) -> None:
    usual = request(f"tour-{uuid.uuid4().hex[:8]}")
    vehicle = usual.vehicle.model_copy(update=unknown)
    wish = usual.model_copy(update={"vehicle": vehicle})
    stop = view(tenant, wish.business_key, run_id="run-1", fingerprint=wish.fingerprint)
    order = ChargingStopInput(tenant_id=tenant, request=wish)
    opened = await run(
        temporal_client, records.open_stop, OpenStop(input=order, record=StopRecord(view=stop, request=wish))
    )
    assert named in opened.problem  # it is ours, and only that is unknown
    assert await stop_of(store, tenant, stop.stop_id) == stop
    other = wish.model_copy(update={"target_soc_percent": 50.0})
    again = stop.model_copy(update={"run_id": "run-2", "fingerprint": other.fingerprint})
    refused = await run(
        temporal_client,
        records.open_stop,
        OpenStop(
            input=ChargingStopInput(tenant_id=tenant, request=other),
            record=StopRecord(view=again, request=other),
        ),
    )
    assert refused.problem == "This business key was used with another request"
    await run(temporal_client, records.record_stop, record(newer(again), 1))
    assert await stop_of(store, tenant, stop.stop_id) == stop


# --- data that cannot be kept -----------------------------------------------------------------------------


@contextmanager
def picky(database_url: str, schema: str) -> Generator[None]:
    """PostgreSQL refuses what is marked, as it would refuse data that nobody has thought of."""
    with psycopg.connect(database_url, options=f"-csearch_path={schema}", autocommit=True) as connection:
        for table in ("stop_event", "attempt"):
            connection.execute(
                f"""CREATE FUNCTION picky_{table}() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
                    IF NEW.body::text LIKE '%poison%' THEN RAISE SQLSTATE '22000'; END IF;
                    RETURN NEW; END $$"""  # pyright: ignore[reportArgumentType]
            )
            connection.execute(
                f"""CREATE TRIGGER picky BEFORE INSERT ON {table} FOR EACH ROW
                    EXECUTE FUNCTION picky_{table}()"""  # pyright: ignore[reportArgumentType]
            )
        try:
            yield
        finally:
            for table in ("stop_event", "attempt"):
                connection.execute(f"DROP FUNCTION picky_{table} CASCADE")  # pyright: ignore[reportArgumentType]


async def test_a_record_that_the_store_refuses_is_written_bare_and_kept_raw(
    store: Store,
    tenant: TenantId,
    temporal_client: Client,
    records: StopRecords,
    database_url: str,
    schema: str,
) -> None:
    stop = view(tenant, phase=StopPhase.EN_ROUTE)
    said = event(stop, 1).model_copy(update={"data": {"note": "poison"}})
    with picky(database_url, schema):
        await run(temporal_client, records.record_stop, StopRecord(view=stop, events=(said,)))
        # And where even that does not help: nothing blocks, nothing is lost.
        worse = event(stop, 2).model_copy(update={"text": "poison"})
        await run(temporal_client, records.record_stop, StopRecord(view=newer(stop), events=(worse,)))
        with pytest.raises(ApplicationError) as refused:
            await run(
                temporal_client,
                records.open_attempt,
                start_of(tenant, newer(stop), attempt(stop.stop_id, detail="poison")),
            )
    assert (refused.value.type, refused.value.non_retryable) == (BAD_DATA, True)
    async with store.tenant(tenant) as unit:
        told = await unit.stops.timeline(stop.stop_id)
        kept = await unit.quarantine.list(10)
    assert [(one.seq, one.text, one.data) for one in told] == [(1, "It moved.", {"degraded": True})]
    assert [(item.source, item.reason) for item in kept] == [("record_stop", BAD_DATA)] * 2
    assert b"poison" in kept[0].raw


async def test_an_amendment_that_the_store_refuses_is_written_bare_and_kept_raw(
    store: Store,
    tenant: TenantId,
    temporal_client: Client,
    records: StopRecords,
    database_url: str,
    schema: str,
) -> None:
    """Its keeper has a session to end: it must not fail for a word of a vendor."""
    stop = closed(tenant)
    async with store.tenant(tenant) as unit:
        await unit.stops.record(record(stop, 1))
    late = late_word(stop, attempt(stop.stop_id, energy_kwh=3.0), note="poison")
    with picky(database_url, schema):
        for _ in range(2):
            await run(temporal_client, records.amend_stop, late)
        # And where even that does not help: nothing blocks, nothing is lost.
        worse = late.model_copy(update={"amendment_id": "late-2", "text": "poison"})
        await run(temporal_client, records.amend_stop, worse)
    async with store.tenant(tenant) as unit:
        told = await unit.stops.timeline(stop.stop_id)
        kept = await unit.quarantine.list(10)
    assert [(one.seq, one.text, one.data) for one in told[1:]] == [
        (2, "A late session has ended.", {"degraded": True, "amendment_id": "late-1"})
    ]
    assert (await stop_of(store, tenant, stop.stop_id)).energy_kwh == 3.0
    assert [(item.source, item.reason) for item in kept] == [("amend_stop", BAD_DATA)] * 2
    assert all(b"poison" in item.raw for item in kept)


async def test_a_nul_from_anywhere_stops_nobody(
    store: Store, tenant: TenantId, temporal_client: Client, records: StopRecords
) -> None:
    stop = view(tenant)
    said = event(stop, 1).model_copy(update={"text": "a\x00b", "vendor_code": "\x00"})
    await run(temporal_client, records.record_stop, StopRecord(view=stop, events=(said,)))
    async with store.tenant(tenant) as unit:
        assert [one.text for one in await unit.stops.timeline(stop.stop_id)] == ["a\ufffdb"]
        assert await unit.quarantine.list(1) == []


async def test_an_amendment_waits_for_the_close(
    store: Store, tenant: TenantId, temporal_client: Client, records: StopRecords
) -> None:
    stop = view(tenant)
    async with store.tenant(tenant) as unit:
        await unit.stops.record(record(stop, 1))
    late = late_word(stop, attempt(stop.stop_id))
    with pytest.raises(ApplicationError) as refused:
        await run(temporal_client, records.amend_stop, late)
    assert (refused.value.type, refused.value.non_retryable) == (STILL_OPEN, False)
