"""Whose records count: runs, resets, accepted rows, amendments; and text that cannot be kept."""

from __future__ import annotations

import asyncio
from decimal import Decimal

import pytest
from sqlalchemy.event import listen

from models.activity_messages import Amendment
from models.ids import TenantId
from models.money import Money
from models.reason_codes import NextStep, ReasonCode
from models.stop import AttemptState, CancelRequest, StopOutcome, StopPhase, StopView
from store.database import Store
from store.errors import OtherRequest, OtherRun, StillOpen
from store.json_text import json_text
from tests.store.conftest import Raw
from tests.store.store_samples import (
    after,
    attempt,
    closed,
    decision,
    event,
    intent,
    newer,
    record,
    request,
    view,
)

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def log_of(store: Store, tenant: TenantId, stop: StopView) -> list[tuple[int, str]]:
    async with store.tenant(tenant) as unit:
        return [(e.seq, e.type) for e in await unit.stops.timeline(stop.stop_id)]


async def test_a_foreign_run_writes_nothing(store: Store, tenant: TenantId) -> None:
    stop = view(tenant, run_id="run-1", version=3)
    late = stop.model_copy(update={"run_id": "run-0", "version": 9, "phase": StopPhase.CHARGING})
    async with store.tenant(tenant) as unit:
        await unit.stops.record(record(stop, 1))
    with pytest.raises(OtherRun) as refused:
        async with store.tenant(tenant) as unit:
            await unit.stops.record(record(late, 2, 3))
    assert refused.value.run_id == "run-1"
    async with store.tenant(tenant) as unit:
        assert await unit.stops.get(stop.stop_id) == stop
    assert await log_of(store, tenant, stop) == [(1, "stop.planned")]


async def test_a_run_that_goes_on_from_the_rows_is_followed(store: Store, tenant: TenantId) -> None:
    stop = view(tenant, run_id="run-1", version=7)
    follows = stop.model_copy(
        update={
            "run_id": "run-2",
            "continued_from_run_id": "run-1",
            "version": 1,
            "phase": StopPhase.CHARGING,
        }
    )
    async with store.tenant(tenant) as unit:
        await unit.stops.record(record(stop, 1, 2))
        await unit.stops.record(record(follows, 3))
    with pytest.raises(OtherRun):
        async with store.tenant(tenant) as unit:
            await unit.stops.record(record(newer(stop), 4))
    assert [seq for seq, _ in await log_of(store, tenant, stop)] == [1, 2, 3]


async def test_runs_that_had_nothing_to_write_make_no_reset(store: Store, tenant: TenantId) -> None:
    stop = view(tenant, run_id="run-1", version=7)
    third = stop.model_copy(
        update={
            "run_id": "run-3",
            "continued_from_run_id": "run-2",
            "former_run_ids": ("run-0", "run-1", "run-2"),
            "version": 8,
        }
    )
    async with store.tenant(tenant) as unit:
        await unit.stops.record(record(stop, 1, 2))
        assert await unit.stops.record(record(third, 3))
        assert await unit.stops.get(stop.stop_id) == third
    # Another run of the same past is no continuation of the one that the row follows.
    reset = third.model_copy(update={"run_id": "run-4", "version": 9})
    with pytest.raises(OtherRun):
        async with store.tenant(tenant) as unit:
            await unit.stops.record(record(reset, 4))
    assert await log_of(store, tenant, stop) == [(seq, "stop.planned") for seq in (1, 2, 3)]


async def test_after_a_reset_the_log_goes_on_and_takes_nothing_back(
    store: Store, tenant: TenantId, raw: Raw
) -> None:
    stop = view(tenant, run_id="run-1", version=5, phase=StopPhase.CLOSED, outcome=StopOutcome.NO_SHOW)
    async with store.tenant(tenant) as unit:
        await unit.stops.record(record(stop, 1, 2, 3, 4))
    # Set back to after its second event: the new run says its own third, fourth and fifth.
    reset = view(tenant, stop.business_key, run_id="run-2", version=3, phase=StopPhase.EN_ROUTE)
    for _ in range(2):  # a repeat changes nothing
        async with store.tenant(tenant) as unit:
            await unit.stops.record(record(reset, 3), takes_over=True)
    async with store.tenant(tenant) as unit:
        await unit.stops.record(record(newer(reset), 4, 5))
        assert await unit.stops.get(stop.stop_id) == newer(reset)
    told = await log_of(store, tenant, stop)
    assert [seq for seq, _ in told] == list(range(1, 9))
    assert told[4] == (5, "stop.reset")
    with raw() as connection:
        sent = connection.execute("SELECT topic FROM outbox WHERE tenant_id = %s", [tenant]).fetchall()
    assert len(sent) == 8
    with pytest.raises(OtherRun):
        async with store.tenant(tenant) as unit:
            await unit.stops.record(record(newer(stop), 5))


async def test_a_run_that_takes_over_without_an_event_is_numbered_by_its_first(
    store: Store, tenant: TenantId
) -> None:
    stop = view(tenant, run_id="run-1", version=5)
    reset = view(tenant, stop.business_key, run_id="run-2", version=2)
    async with store.tenant(tenant) as unit:
        await unit.stops.record(record(stop, 1, 2, 3))
        await unit.stops.record(record(reset), takes_over=True)
        await unit.stops.record(record(newer(reset), 2, 3))
    assert [seq for seq, _ in await log_of(store, tenant, stop)] == [1, 2, 3, 4, 5, 6]


async def test_another_request_writes_nothing_into_somebodys_row(store: Store, tenant: TenantId) -> None:
    stop = view(tenant, run_id="run-1", fingerprint="a")
    other = stop.model_copy(update={"run_id": "run-2", "fingerprint": "b", "version": 9})
    async with store.tenant(tenant) as unit:
        await unit.stops.record(record(stop, 1))
    with pytest.raises(OtherRequest):
        async with store.tenant(tenant) as unit:
            await unit.stops.record(record(other, 2), takes_over=True)
    assert len(await log_of(store, tenant, stop)) == 1


async def test_a_row_is_accepted_once_and_then_belongs_to_its_workflow(
    store: Store, tenant: TenantId, raw: Raw
) -> None:
    wish = request("tour-1")
    stop = view(tenant, "tour-1", version=0, fingerprint=wish.fingerprint)

    async def accept(key: StopView) -> bool:
        async with store.tenant(tenant) as unit:
            return (await unit.stops.intake.accept(key, wish)).fresh

    assert sorted(await asyncio.gather(*(accept(stop) for _ in range(6)))) == [False] * 5 + [True]
    async with store.tenant(tenant) as unit:
        known = await unit.stops.intake.accept(stop.model_copy(update={"fingerprint": "other"}), wish)
        assert (known.fresh, known.fingerprint, known.view) == (False, wish.fingerprint, stop)
        assert await unit.stops.request_of(stop.stop_id) == wish
        assert await unit.stops.timeline(stop.stop_id) == []
        begun = newer(stop, run_id="run-1", created_at=after(9))
        await unit.stops.record(record(begun, 1))
        await unit.stops.intake.withdraw(stop.stop_id)  # too late: it has begun
        found = await unit.stops.get(stop.stop_id)
    assert found == begun.model_copy(update={"created_at": stop.created_at})
    with raw() as connection:
        began = connection.execute("SELECT began_at FROM stop WHERE stop_id = %s", [stop.stop_id]).fetchone()
    assert began is not None
    assert began[0] is not None


async def test_a_cancel_is_kept_until_it_is_taken(store: Store, tenant: TenantId) -> None:
    stop = view(tenant)
    async with store.tenant(tenant) as unit:
        await unit.stops.intake.accept(stop, request(stop.business_key))
        assert await unit.stops.intake.want_cancel(stop.stop_id, CancelRequest(event_id="first"))
        assert await unit.stops.intake.want_cancel(stop.stop_id, CancelRequest(event_id="second"))
    async with store.platform() as unit:
        found = await unit.stops.find(stop.stop_id)
    assert found is not None
    assert found.cancel_wanted is not None
    assert found.cancel_wanted["event_id"] == "first"
    async with store.tenant(tenant) as unit:
        await unit.stops.intake.cancel_taken(stop.stop_id)
        await unit.stops.record(record(newer(stop, outcome=StopOutcome.CANCELLED), 1))
        assert not await unit.stops.intake.want_cancel(stop.stop_id, CancelRequest(event_id="third"))
    async with store.platform() as unit:
        found = await unit.stops.find(stop.stop_id)
    assert found is not None
    assert found.cancel_wanted is None


NUL = "a\x00b"
HALF = "a\ud800b"


@pytest.mark.parametrize("unfit", [NUL, HALF], ids=["NUL", "half a surrogate pair"])
async def test_text_that_postgres_cannot_hold_is_kept_readable(
    store: Store, tenant: TenantId, raw: Raw, unfit: str
) -> None:
    stop = view(tenant).model_copy(update={"headline": unfit, "telematics_id": unfit})
    said = event(stop, 1).model_copy(update={"text": unfit, "data": {unfit: [unfit, {"deep": unfit}, 1e999]}})
    wish = request(stop.business_key).model_copy(update={"contract": unfit})
    tried = attempt(stop.stop_id, session_ref=None)
    async with store.tenant(tenant) as unit:
        await unit.attempts.open(intent(tried, stop.stop_id, token_uid=unfit))
        recorded = record(stop.model_copy(update={"attempts": (tried,)})).model_copy(
            update={"events": (said,), "request": wish}
        )
        await unit.stops.record(recorded)
        told = (await unit.stops.timeline(stop.stop_id))[0]
        assert told.text == "a\ufffdb"
        assert told.data == {"a\ufffdb": ["a\ufffdb", {"deep": "a\ufffdb"}, None]}
        assert await unit.attempts.knows_token("st-1", unfit, after(0))
    with raw() as connection:
        kept = connection.execute("SELECT telematics_id FROM stop WHERE tenant_id = %s", [tenant]).fetchall()
    assert kept == [("a\ufffdb",)]


async def test_what_only_looks_like_a_nul_is_left_alone() -> None:
    assert json_text({"a": "\\u0000"}) == '{"a": "\\\\u0000"}'
    assert json_text([1, 2.5, "x", None, True]) == '[1,2.5,"x",null,true]'
    assert json_text({"n": 2**70, "huge": 10**5000}) == '{"n": 1180591620717411303424, "huge": null}'


def amendment(stop: StopView, name: str, cost: str | None) -> Amendment:
    late = stop.attempts[1].model_copy(
        update={
            "energy_kwh": 2.5,
            "holds_vehicle": False,
            "holds_charger": False,
            "cost_actual": Money(amount=Decimal(cost)) if cost else None,
        }
    )
    return Amendment(
        tenant_id=stop.tenant_id,
        stop_id=stop.stop_id,
        amendment_id=name,
        at=after(900),
        type="session.ended",
        text="A late session has ended.",
        attempt=late,
    )


async def test_an_amendment_changes_the_result_once(store: Store, tenant: TenantId, raw: Raw) -> None:
    stop = closed(tenant)
    second = stop.attempts[1]
    async with store.tenant(tenant) as unit:
        await unit.attempts.open(intent(second, stop.stop_id))
        await unit.stops.record(record(stop, 1, 2))
    for _ in range(2):
        async with store.tenant(tenant) as unit:
            await unit.stops.changes.amend(amendment(stop, "late-1", None))
    async with store.tenant(tenant) as unit:
        found = await unit.stops.get(stop.stop_id)
        assert found is not None
        assert found.result is not None
        assert (found.energy_kwh, found.result.energy_kwh) == (7.5, 7.5)
        assert found.result.cost_actual is None  # 5 of 7.5 kWh: a part is no cost
        assert (found.version, found.updated_at) == (stop.version + 1, after(900))
        held = await unit.attempts.find(second.attempt_id)
        assert held is not None
        assert (held.holds_vehicle, held.holds_charger) == (False, False)
        assert await unit.stops.changes.amend(amendment(stop, "record-1", "1.50"))
        assert not await unit.stops.record(record(stop, 1, 2))  # the closing record, told again, late
        found = await unit.stops.get(stop.stop_id)
    assert found is not None
    assert found.result is not None
    assert found.result.cost_actual == Money(amount=Decimal("4.50"))
    told = await log_of(store, tenant, stop)
    assert told == [(1, "stop.planned"), (2, "stop.planned"), (3, "session.ended"), (4, "session.ended")]
    with raw() as connection:
        sent = connection.execute("SELECT count(*) FROM outbox WHERE tenant_id = %s", [tenant]).fetchone()
    assert sent == (4,)


async def test_an_amendment_keeps_what_the_stop_had_judged(store: Store, tenant: TenantId) -> None:
    """Its keeper had read the attempt before the stop's last record was written."""
    stop = closed(tenant)
    judged = stop.attempts[1].model_copy(
        update={
            "state": AttemptState.FAILED,
            "reason": ReasonCode.STOP_CANCELLED_BY_FLEET,
            "vendor_code": "PowerLoss",
            "start_proven": True,
            "fallback": NextStep.NONE,
            "queue_s": 60.0,
        }
    )
    stop = stop.model_copy(update={"attempts": (stop.attempts[0], judged)})
    late = amendment(stop, "late-1", None)
    unknown = {"state": AttemptState.OPEN, "reason": None, "vendor_code": "", "start_proven": None}
    stale = late.attempt.model_copy(update={**unknown, "fallback": None, "queue_s": 0.0})
    async with store.tenant(tenant) as unit:
        await unit.stops.record(record(stop, 1, 2))
        assert await unit.stops.changes.amend(late.model_copy(update={"attempt": stale}))
        found = await unit.stops.get(stop.stop_id)
    assert found is not None
    assert found.attempts[1] == late.attempt


async def test_an_open_stop_is_not_amended(store: Store, tenant: TenantId) -> None:
    stop = closed(tenant)
    still = stop.model_copy(update={"outcome": None, "result": None})
    async with store.tenant(tenant) as unit:
        await unit.stops.record(record(still, 1))
    with pytest.raises(StillOpen):
        async with store.tenant(tenant) as unit:
            await unit.stops.changes.amend(amendment(stop, "late-1", None))
    assert len(await log_of(store, tenant, stop)) == 1


async def test_stops_that_are_due_are_claimed_once_and_fairly(
    store: Store, tenant: TenantId, raw: Raw
) -> None:
    other = TenantId(f"{tenant}-b")
    many, one = [view(tenant) for _ in range(50)], view(other)
    for name, stops in ((tenant, many), (other, [one])):
        async with store.tenant(name) as unit:
            for stop in stops:
                await unit.stops.intake.accept(stop, request(stop.business_key))
    with raw() as connection:  # long due, and before what other tests have left, of any number of tenants
        connection.execute(
            "UPDATE stop SET seen_at = seen_at - interval '1 day' WHERE tenant_id = ANY(%s)",
            [[tenant, other]],
        )

    async def claim() -> set[str]:
        async with store.platform() as unit:
            due = await unit.stops.claim(most=20, start_s=60, check_s=3600, cancel_s=3600, closed_s=3600)
        return {stop.stop_id for stop in due if stop.tenant_id in (tenant, other)}

    first, second = await asyncio.gather(claim(), claim())
    assert not first & second
    assert one.stop_id in first | second  # fifty of another tenant came before it: more than both took


async def test_a_record_is_one_statement(store: Store, tenant: TenantId) -> None:
    stop = view(tenant, attempts=(attempt("x"),))
    said: list[str] = []
    async with store.tenant(tenant) as unit:
        listened = unit.connection.sync_connection
        listen(listened, "before_cursor_execute", lambda *about: said.append(str(about[2])))
        await unit.stops.record(record(stop, 1, 2, decisions=(decision(stop),)))
    assert len(said) == 1
