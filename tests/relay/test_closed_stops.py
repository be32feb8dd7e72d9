"""What is heard after a stop has closed: its session's keeper is told, or nobody where the books know it."""

from __future__ import annotations

import pytest

from models.activity_messages import KeptSession
from models.contract import keeper_workflow_id
from models.evidence import EvidenceKind
from models.ids import attempt_id_for
from models.stop import SessionState
from tests.relay.conftest import NewTown
from tests.relay.town import Town, Trouble
from tests.store.store_samples import after
from workers.evidence_relay import EvidenceRelay

pytestmark = pytest.mark.asyncio(loop_scope="session")

STARTED, FLOWING, ENDED, RECORD = (
    EvidenceKind.SESSION_STARTED,
    EvidenceKind.ENERGY_FLOWING,
    EvidenceKind.SESSION_ENDED,
    EvidenceKind.CHARGE_RECORD,
)


async def test_a_session_that_comes_alive_after_its_stop_gets_a_keeper(
    town: Town, relay: EvidenceRelay
) -> None:
    stop = await town.stop(runs=False)
    tried = await town.try_at(stop, SessionState.ACCEPTED)
    await town.close(stop)
    await town.hear(
        stop,
        town.item("flow", 20, FLOWING, attempt_id=tried.attempt_id),
        town.item("start", 10, STARTED, attempt_id=tried.attempt_id),
        town.item("plug", 5, EvidenceKind.PLUGGED_IN),
    )
    await relay.deliver()
    session, signals = await town.kept(tried)
    assert session == KeptSession(tenant_id=town.tenant, stop_id=stop.stop_id, attempt_id=tried.attempt_id)
    assert [[item.event_id for item in signal] for signal in signals] == [["start", "flow"]]
    assert town.waiting() == 0
    # The next word finds the keeper running.
    await town.hear(stop, town.item("end", 30, ENDED, attempt_id=tried.attempt_id, energy_kwh=1.0))
    await relay.deliver()
    _, signals = await town.kept(tried)
    assert [[item.event_id for item in signal] for signal in signals] == [["start", "flow"], ["end"]]


async def test_a_keeper_that_has_ended_is_followed_by_another(town: Town, relay: EvidenceRelay) -> None:
    stop = await town.stop(runs=False)
    tried = await town.try_at(stop)
    await town.close(stop)
    for name in ("one", "two"):
        await town.hear(stop, town.item(name, 10, FLOWING, attempt_id=tried.attempt_id))
        await relay.deliver()
        _, signals = await town.kept(tried)
        assert [[item.event_id for item in signal] for signal in signals] == [[name]]
        await town.client.get_workflow_handle(keeper_workflow_id(tried.attempt_id)).terminate()


async def test_a_terminated_stops_session_gets_a_keeper_too(town: Town, relay: EvidenceRelay) -> None:
    stop = await town.stop()
    tried = await town.try_at(stop)
    await town.client.get_workflow_handle(stop.workflow_id).terminate()
    await town.hear(stop, town.item("flow", 20, FLOWING, attempt_id=tried.attempt_id))
    await relay.deliver()
    session, _ = await town.kept(tried)
    assert session is not None
    assert session.attempt_id == tried.attempt_id


@pytest.mark.parametrize(
    "kind",
    [
        EvidenceKind.METER,
        EvidenceKind.COMMAND_ACCEPTED,
        EvidenceKind.SESSION_PENDING,
        EvidenceKind.PLUGGED_IN,
        EvidenceKind.CONNECTOR_AVAILABLE,
        EvidenceKind.CONNECTOR_FAULTED,
        EvidenceKind.CONNECTOR_OCCUPIED,
    ],
)
async def test_an_echo_starts_no_keeper(town: Town, relay: EvidenceRelay, kind: EvidenceKind) -> None:
    stop = await town.stop(runs=False)
    tried = await town.try_at(stop)
    await town.close(stop)
    await town.hear(stop, town.item("echo", 20, kind, attempt_id=tried.attempt_id))
    await relay.deliver()
    assert await town.kept(tried) == (None, [])
    assert town.waiting() == 0


async def test_only_what_the_books_do_not_know_is_news(town: Town, relay: EvidenceRelay) -> None:
    stop = await town.stop(runs=False)
    tried = await town.try_at(stop, SessionState.ENDED, energy_kwh=12.5, ended_at=after(100))
    await town.close(stop)
    mine = {"attempt_id": tried.attempt_id}
    await town.hear(
        stop,
        town.item("same-end", 100, ENDED, energy_kwh=12.5004, **mine),
        town.item("bare-end", 100, ENDED, **mine),
        town.item("start", 1, STARTED, **mine),
        town.item("quarter", 90, EvidenceKind.SESSION_PROGRESS, energy_kwh=12.0, **mine),
        town.item("line", 300, EvidenceKind.STATION_ONLINE, **mine),
    )
    await relay.deliver()
    assert await town.kept(tried) == (None, [])
    assert town.waiting() == 0
    await town.hear(
        stop,
        town.item("more", 100, ENDED, energy_kwh=13.0, **mine),
        town.item("alive", 200, FLOWING, **mine),
        town.item("record", 150, RECORD, energy_kwh=12.5, **mine),
    )
    await relay.deliver()
    _, signals = await town.kept(tried)
    assert [item.event_id for signal in signals for item in signal] == ["more", "record", "alive"]


async def test_what_names_no_session_of_ours_ends_there(town: Town, relay: EvidenceRelay) -> None:
    stop = await town.stop(runs=False)
    await town.close(stop)
    stranger = attempt_id_for(stop.stop_id, 7)
    await town.hear(
        stop,
        town.item("of-vehicle", 20, FLOWING),
        town.item("of-stranger", 20, FLOWING, attempt_id=stranger),
    )
    await relay.deliver()
    assert town.waiting() == 0
    assert await town.signals(keeper_workflow_id(stranger)) == []


async def test_a_failing_keeper_rolls_nothing_back_and_tells_nobody_twice(
    new_town: NewTown, relay: EvidenceRelay, trouble: Trouble
) -> None:
    town, other = new_town(), new_town()
    closed = await town.stop(runs=False)
    first, second = await town.try_at(closed), attempt_id_for(closed.stop_id, 2)
    town.sql(
        "INSERT INTO attempt SELECT (jsonb_populate_record(a, jsonb_build_object('attempt_id', %s::text, "
        "'number', 2, 'vehicle_id', 'v', 'charger_id', 'c'))).* FROM attempt AS a WHERE attempt_id = %s",
        second,
        first.attempt_id,
    )
    await town.close(closed)
    running, theirs = await town.stop(), await other.stop()
    await town.hear(
        closed,
        town.item("one", 1, FLOWING, attempt_id=first.attempt_id),
        town.item("two", 2, FLOWING, attempt_id=second),
        town.item("plug", 3, EvidenceKind.PLUGGED_IN),
    )
    await town.hear(running, town.item("mine"))
    await other.hear(theirs, other.item("theirs"))
    trouble.failing.add(keeper_workflow_id(first.attempt_id))
    for _ in range(3):
        await relay.deliver()
        town.no_delay()
    assert await town.told(running) == ["mine"]
    assert await other.told(theirs) == ["theirs"]
    told = await town.signals(keeper_workflow_id(second))
    assert [[item.event_id for item in signal] for signal in told] == [["two"]]
    assert town.waiting() == 1
    trouble.failing.clear()
    await relay.deliver()
    _, signals = await town.kept(first)
    assert [[item.event_id for item in signal] for signal in signals] == [["one"]]
    assert town.waiting() == 0
