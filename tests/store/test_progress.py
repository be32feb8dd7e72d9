"""Progress: meters become live figures and turns, once each; silence is told, and is never our own."""

from __future__ import annotations

import asyncio
import uuid
from datetime import UTC, datetime, timedelta

import pytest

from models.activity_messages import SessionGoal
from models.evidence import Evidence, EvidenceKind, EvidenceSource
from models.ids import TenantId
from models.reason_codes import ReasonCode
from models.stop import SessionState
from store.database import Store
from store.evidence_rows import Heard
from tests.store.conftest import Raw
from tests.store.store_samples import after, attempt, evidence, intent, record, view

pytestmark = pytest.mark.asyncio(loop_scope="session")

FLOWING, PROGRESS, REACHED, SILENT = (
    EvidenceKind.ENERGY_FLOWING,
    EvidenceKind.SESSION_PROGRESS,
    EvidenceKind.TARGET_REACHED,
    EvidenceKind.SESSION_SILENT,
)
ENDED, PAUSED = EvidenceKind.SESSION_ENDED, EvidenceKind.SUSPENDED_BY_CHARGER
LONG_S = 10_000.0


class Session:
    """A followed session of one stop."""

    def __init__(self, store: Store, tenant: TenantId, **goal: float) -> None:
        self.store, self.tenant = store, tenant
        self.stop = view(tenant)
        self.attempt = attempt(self.stop.stop_id, charger_id=f"ch-{uuid.uuid4().hex[:6]}")
        self.goal = SessionGoal(
            tenant_id=tenant,
            stop_id=self.stop.stop_id,
            attempt_id=self.attempt.attempt_id,
            **{"target_kwh": 24.0, "target_soc_percent": 80.0, "stall_s": 600.0, **goal},
        )

    async def opened(self) -> Session:
        async with self.store.tenant(self.tenant) as unit:
            await unit.stops.record(record(self.stop, 1))
            named = {"vehicle_id": f"van-{uuid.uuid4().hex[:6]}"}
            await unit.attempts.open(intent(self.attempt, self.stop.stop_id, **named))
            await unit.progress.follow(self.goal)
        return self

    def item(
        self,
        second: float,
        kind: EvidenceKind = EvidenceKind.METER,
        name: str | None = None,
        **figures: object,
    ) -> Evidence:
        fields: dict[str, object] = {
            "kind": kind,
            "observed_at": after(second),
            "attempt_id": self.attempt.attempt_id,
            "charger_id": self.attempt.charger_id,
            **figures,
        }
        return evidence(name or f"{kind}-{second}-{self.attempt.attempt_id}", **fields)

    def meter(self, second: float, energy_kwh: float | None, **figures: object) -> Evidence:
        return self.item(second, energy_kwh=energy_kwh, **figures)

    async def hears(self, *items: Evidence) -> list[Evidence]:
        """The turns that these make."""
        before = {turn.event_id for turn in await self.told()}
        async with self.store.tenant(self.tenant) as unit:
            await unit.evidence.take([Heard(item, self.stop.stop_id) for item in items])
        return [turn for turn in await self.told() if turn.event_id not in before]

    async def told(self) -> list[Evidence]:
        async with self.store.tenant(self.tenant) as unit:
            heard = await unit.evidence.of_stop(self.stop.stop_id)
        return [item for item in heard if item.event_id.startswith("progress:")]

    async def silences(self, listened_s: float = LONG_S) -> list[Evidence]:
        before = {turn.event_id for turn in await self.told()}
        async with self.store.tenant(self.tenant) as unit:
            await unit.evidence.tell_silences(listened_s)
        return [turn for turn in await self.told() if turn.event_id not in before]

    def ages(self, raw: Raw, seconds: float) -> None:
        """As if so much time had passed since all that is known of the session."""
        with raw() as connection:
            connection.execute(
                """UPDATE session_progress SET progress_at = progress_at - %(by)s,
                began_at = began_at - %(by)s,
                heard_at = heard_at - %(by)s, silent_told_at = silent_told_at - %(by)s
                WHERE attempt_id = %(attempt)s""",
                {"by": timedelta(seconds=seconds), "attempt": self.attempt.attempt_id},
            )


def kinds(turns: list[Evidence]) -> list[EvidenceKind]:
    return [turn.kind for turn in turns]


async def test_a_long_charge_of_a_meter_a_minute_makes_three_turns(
    store: Store, tenant: TenantId, raw: Raw
) -> None:
    """Where nobody told a start: it flows, half, reached. A short charge is not told half-way."""
    session = await Session(store, tenant).opened()
    turns: list[Evidence] = []
    for minute in range(46):
        if minute == 15:
            session.ages(raw, 1860)
        turns += await session.hears(session.meter(60 * minute, 0.6 * minute, power_kw=36, soc_percent=30))
    assert kinds(turns) == [FLOWING, PROGRESS, REACHED]
    assert [turn.energy_kwh for turn in turns] == [0.6, 12.0, 24.0]
    assert [turn.observed_at for turn in turns] == [after(60 * n) for n in (1, 20, 40)]
    first = turns[0]
    assert (first.attempt_id, first.charger_id, first.power_kw, first.soc_percent) == (
        session.attempt.attempt_id,
        session.attempt.charger_id,
        36,
        30,
    )
    async with store.tenant(tenant) as unit:
        live = await unit.progress.live([session.attempt.attempt_id, "no-such"])
    assert set(live) == {session.attempt.attempt_id}
    figures = live[session.attempt.attempt_id]
    assert (figures.energy_kwh, figures.soc_percent, figures.power_kw) == (27.0, 30, 36)
    assert figures.heard_at is not None


async def test_meters_are_kept_and_only_turns_wait_for_delivery(
    store: Store, tenant: TenantId, raw: Raw
) -> None:
    session = await Session(store, tenant).opened()
    await session.hears(session.meter(60, 3.0), session.meter(120, 7.0))
    other = view(tenant)
    async with store.tenant(tenant) as unit:
        await unit.stops.record(record(other, 1))
        alone = evidence("of-nobody-followed", attempt_id="a-2", energy_kwh=1.0)
        await unit.evidence.take([Heard(alone, other.stop_id)])
    with raw() as connection:
        found = connection.execute(
            "SELECT kind, delivered_at IS NULL FROM evidence WHERE tenant_id = %s ORDER BY position", [tenant]
        ).fetchall()
    assert found == [
        ("meter", False),
        ("meter", False),
        ("energy_flowing", True),
        ("meter", True),
    ]


async def test_a_repeat_makes_no_turn_twice(store: Store, tenant: TenantId) -> None:
    session = await Session(store, tenant).opened()
    meters = [session.meter(60, 3.0), session.meter(120, 13.0), session.meter(180, 24.5)]
    turns = await session.hears(*meters)
    # Nothing half-way where the goal itself is reached.
    assert kinds(turns) == [FLOWING, REACHED]
    assert [turn.observed_at for turn in turns] == [after(60), after(180)]
    assert await session.hears(*meters) == []
    assert await session.hears(session.meter(240, 24.6), session.meter(200, 24.55)) == []


async def test_energy_only_grows_and_the_newest_sample_says_power(store: Store, tenant: TenantId) -> None:
    session = await Session(store, tenant).opened()
    await session.hears(session.meter(120, 5.0, power_kw=40, soc_percent=41))
    await session.hears(session.meter(60, 2.0, power_kw=11, soc_percent=35))
    async with store.tenant(tenant) as unit:
        figures = (await unit.progress.live([session.attempt.attempt_id]))[session.attempt.attempt_id]
    assert (figures.energy_kwh, figures.power_kw, figures.soc_percent) == (5.0, 40, 41)


async def test_half_is_told_once_and_not_of_a_short_charge(store: Store, tenant: TenantId, raw: Raw) -> None:
    session = await Session(store, tenant).opened()
    await session.hears(session.meter(60, 1.0))
    assert await session.hears(session.meter(90, 12.05)) == []
    session.ages(raw, 1860)
    turns = await session.hears(session.meter(120, 12.1), session.meter(180, 12.5))
    assert (kinds(turns), turns[0].energy_kwh, turns[0].observed_at) == ([PROGRESS], 12.1, after(120))
    assert await session.hears(session.meter(240, 20.0)) == []


@pytest.mark.parametrize("soc_percent", [None, 85.0])
@pytest.mark.parametrize("energy_kwh", [None, 0.0, 13.0, 30.0])
async def test_any_first_word_is_taken(
    store: Store, tenant: TenantId, energy_kwh: float | None, soc_percent: float | None
) -> None:
    """We were away: what comes first may be the middle of the charge, or its end. Where it cannot be written,
    its sender says it again for ever, and nothing that follows."""
    first = (
        EvidenceKind.METER, EvidenceKind.SESSION_STARTED, FLOWING, PAUSED, ENDED,
        EvidenceKind.SUSPENDED_BY_VEHICLE, EvidenceKind.CHARGE_RECORD, EvidenceKind.STATION_ONLINE,
    )  # fmt: skip
    for kind in first:
        session = await Session(store, tenant).opened()
        await session.hears(session.item(60, kind, energy_kwh=energy_kwh, soc_percent=soc_percent))
        await session.hears(session.meter(120, 30.0))
        async with store.tenant(tenant) as unit:
            shown = (await unit.progress.live([session.attempt.attempt_id]))[session.attempt.attempt_id]
        assert shown.energy_kwh == 30.0, kind


async def test_the_first_flow_after_a_told_start_is_no_turn(store: Store, tenant: TenantId) -> None:
    session = await Session(store, tenant).opened()
    await session.hears(session.item(1, EvidenceKind.SESSION_STARTED))
    assert await session.hears(session.meter(60, 1.0)) == []
    await session.hears(session.item(120, EvidenceKind.SUSPENDED_BY_VEHICLE))
    assert kinds(await session.hears(session.meter(180, 2.0))) == [FLOWING]


async def test_an_end_without_a_figure_is_told_with_what_the_meters_have_shown(
    store: Store, tenant: TenantId
) -> None:
    session = await Session(store, tenant).opened()
    await session.hears(session.item(1, EvidenceKind.SESSION_STARTED), session.meter(60, 5.0))
    turns = await session.hears(session.item(90, EvidenceKind.SESSION_ENDED))
    assert [(turn.kind, turn.energy_kwh) for turn in turns] == [(PROGRESS, 5.0)]
    again = await session.hears(session.item(91, EvidenceKind.SESSION_ENDED))
    assert again == []


async def test_another_goal_is_reached_anew(store: Store, tenant: TenantId) -> None:
    session = await Session(store, tenant).opened()
    assert REACHED in kinds(await session.hears(session.meter(60, 24.0)))
    async with store.tenant(tenant) as unit:
        await unit.progress.follow(session.goal.model_copy(update={"target_kwh": 30.0}))
        await unit.progress.follow(session.goal.model_copy(update={"target_kwh": 30.0}))
    assert await session.hears(session.meter(120, 29.0)) == []  # what had flowed before the goal is no news
    assert kinds(await session.hears(session.meter(180, 30.0))) == [REACHED]
    assert await session.hears(session.meter(240, 31.0)) == []
    async with store.tenant(tenant) as unit:  # a goal that is reached already is told at once
        await unit.progress.follow(session.goal.model_copy(update={"target_kwh": 28.0}))
    assert kinds(await session.told())[-1] is REACHED
    assert len(await session.told()) == 4


async def test_the_soc_reaches_the_goal_too(store: Store, tenant: TenantId) -> None:
    session = await Session(store, tenant).opened()
    turns = await session.hears(
        session.meter(60, 2.0, soc_percent=79.5), session.meter(120, 2.5, soc_percent=80)
    )
    assert kinds(turns) == [FLOWING, REACHED]
    assert (turns[1].soc_percent, turns[1].observed_at) == (80, after(120))


async def test_a_vehicles_meter_belongs_to_its_stops_session(
    store: Store, tenant: TenantId, raw: Raw
) -> None:
    session = await Session(store, tenant).opened()
    says = {"source": EvidenceSource.TELEMATICS, "attempt_id": None, "charger_id": None}
    assert await session.hears(session.meter(60, None, power_kw=0.3, soc_percent=40, **says)) == []
    turns = await session.hears(session.meter(90, None, power_kw=22, soc_percent=40.4, **says))
    assert kinds(turns) == [FLOWING]
    assert turns[0].source is EvidenceSource.TELEMATICS
    assert (turns[0].attempt_id, turns[0].charger_id) == (
        session.attempt.attempt_id,
        session.attempt.charger_id,
    )
    with raw() as connection:
        waiting = connection.execute(
            "SELECT kind FROM evidence WHERE tenant_id = %s AND delivered_at IS NULL", [tenant]
        ).fetchall()
    assert waiting == [("energy_flowing",)]


async def test_a_vehicles_late_meter_brings_no_earlier_attempt_to_life(
    store: Store, tenant: TenantId, raw: Raw
) -> None:
    """Its charge has ended by the time its own meter reaches us. An earlier attempt (refused, or accepted and
    given up) has nothing to do with it: that would be a session that nobody ever saw."""
    first = await Session(store, tenant).opened()
    second = Session(store, tenant)
    second.stop = first.stop
    second.attempt = attempt(first.stop.stop_id, 2, charger_id=f"ch-{uuid.uuid4().hex[:6]}")
    second.goal = first.goal.model_copy(update={"attempt_id": second.attempt.attempt_id})
    with raw() as connection:
        connection.execute(
            "UPDATE session_progress SET followed_at = now() - interval '1 minute' WHERE attempt_id = %s",
            [first.attempt.attempt_id],
        )
    async with store.tenant(tenant) as unit:
        await unit.attempts.open(intent(second.attempt, first.stop.stop_id, vehicle_id="another-row"))
        await unit.progress.follow(second.goal)
    says = {"source": EvidenceSource.TELEMATICS, "attempt_id": None, "charger_id": None}
    turns = await second.hears(second.meter(60, None, power_kw=22, soc_percent=40, **says))
    assert [turn.attempt_id for turn in turns] == [second.attempt.attempt_id]
    await second.hears(second.item(90, ENDED, energy_kwh=5.0))
    assert await second.hears(second.meter(80, None, power_kw=22, soc_percent=41, **says)) == []
    async with store.tenant(tenant) as unit:
        assert (await unit.progress.live([first.attempt.attempt_id])) == {}


async def test_what_the_station_tells_itself_is_not_told_twice(store: Store, tenant: TenantId) -> None:
    session = await Session(store, tenant).opened()
    said = session.item(30, FLOWING, energy_kwh=0.2)
    assert await session.hears(session.item(0, EvidenceKind.SESSION_STARTED, energy_kwh=0.0), said) == []
    assert await session.hears(session.meter(60, 1.0)) == []


async def test_it_flows_again_after_a_pause(store: Store, tenant: TenantId) -> None:
    session = await Session(store, tenant).opened()
    assert kinds(await session.hears(session.meter(60, 1.0))) == [FLOWING]
    assert await session.hears(session.item(120, PAUSED)) == []
    assert await session.hears(session.meter(180, 1.02)) == []  # a heater
    assert await session.hears(session.meter(110, 1.5)) == []  # from before the pause
    again = await session.hears(session.meter(240, 2.5))
    assert kinds(again) == [FLOWING]
    assert (again[0].energy_kwh, again[0].observed_at) == (2.5, after(240))
    assert await session.hears(session.item(70, PAUSED)) == []  # history
    assert await session.hears(session.meter(300, 3.0)) == []


async def test_nothing_is_told_of_what_has_ended(store: Store, tenant: TenantId, raw: Raw) -> None:
    session = await Session(store, tenant).opened()
    await session.hears(session.meter(60, 1.0))
    assert await session.hears(session.item(120, ENDED, energy_kwh=24.1)) == []
    session.ages(raw, 700)
    assert await session.silences() == []
    assert await session.hears(session.meter(100, 20.0)) == []


async def test_an_end_told_again_with_more_energy_is_told_again(store: Store, tenant: TenantId) -> None:
    """The connector repeats it under the id of the first: without the turn, the books keep the lesser."""
    session = await Session(store, tenant).opened()
    await session.hears(
        session.item(120, ENDED, name="end", energy_kwh=5.0, reason=ReasonCode.SUSTAIN_STOPPED_REMOTELY)
    )
    assert await session.hears(session.item(120, ENDED, name="end", energy_kwh=5.0)) == []
    more = session.item(120, ENDED, name="end", energy_kwh=7.5, reason=ReasonCode.SUSTAIN_STOPPED_REMOTELY)
    turns = await session.hears(more)
    assert kinds(turns) == [ENDED]
    assert (turns[0].energy_kwh, turns[0].reason) == (7.5, more.reason)
    assert await session.hears(more) == []
    late = await session.hears(session.meter(110, 7.6))
    assert [(turn.kind, turn.energy_kwh) for turn in late] == [(PROGRESS, 7.6)]


async def test_silence_is_told_once_until_there_is_news(store: Store, tenant: TenantId, raw: Raw) -> None:
    session = await Session(store, tenant).opened()
    assert await session.silences() == []  # nothing began
    await session.hears(session.meter(60, 4.0, soc_percent=50))
    assert await session.silences() == []
    session.ages(raw, 700)
    began = datetime.now(UTC)
    told = await session.silences()
    assert kinds(told) == [SILENT]
    assert (told[0].energy_kwh, told[0].attempt_id) == (4.0, session.attempt.attempt_id)
    assert told[0].observed_at >= began - timedelta(seconds=5)
    assert told[0].heard_at is not None
    assert told[0].observed_at - told[0].heard_at >= timedelta(seconds=690)
    assert await session.silences() == []
    session.ages(raw, 700)
    assert kinds(await session.silences()) == [SILENT]
    assert kinds(await session.hears(session.meter(2000, 4.5))) == [FLOWING]  # it goes on
    session.ages(raw, 700)
    assert kinds(await session.silences()) == [SILENT]


async def test_words_without_energy_are_silence_too(store: Store, tenant: TenantId, raw: Raw) -> None:
    session = await Session(store, tenant).opened()
    await session.hears(session.meter(60, 4.0))
    session.ages(raw, 700)
    await session.hears(session.meter(700, 4.0))
    told = await session.silences()
    assert kinds(told) == [SILENT]
    assert told[0].heard_at is not None
    assert told[0].observed_at - told[0].heard_at < timedelta(seconds=60)


async def test_a_pause_is_silent_only_without_any_word(store: Store, tenant: TenantId, raw: Raw) -> None:
    session = await Session(store, tenant).opened()
    await session.hears(session.meter(60, 4.0), session.item(120, PAUSED))
    session.ages(raw, 700)
    await session.hears(session.meter(800, 4.0))
    assert await session.silences() == []
    session.ages(raw, 700)
    assert kinds(await session.silences()) == [SILENT]


async def test_our_own_absence_is_no_silence(store: Store, tenant: TenantId, raw: Raw) -> None:
    session = await Session(store, tenant).opened()
    await session.hears(session.meter(60, 4.0))
    session.ages(raw, 5000)
    assert await session.silences(listened_s=100) == []
    async with store.platform() as unit:
        assert tenant not in await unit.progress.tenants_with_silence(100)
        assert tenant in await unit.progress.tenants_with_silence(LONG_S)
    assert kinds(await session.silences(listened_s=601)) == [SILENT]


@pytest.mark.parametrize("state", [SessionState.ENDED, SessionState.UNKNOWN, SessionState.NEVER_BEGAN])
async def test_what_is_settled_in_the_books_is_given_up_until_it_is_heard_of(
    store: Store, tenant: TenantId, raw: Raw, state: SessionState
) -> None:
    session = await Session(store, tenant).opened()
    await session.hears(session.meter(60, 4.0))
    with raw() as connection:
        connection.execute(
            "UPDATE attempt SET body = body || jsonb_build_object('session', %s::text) WHERE attempt_id = %s",
            [str(state), session.attempt.attempt_id],
        )
    session.ages(raw, 700)
    assert await session.silences() == []
    async with store.platform() as unit:
        assert tenant not in await unit.progress.tenants_with_silence(LONG_S)
    assert kinds(await session.hears(session.meter(900, 5.0))) == [FLOWING]  # it lives


async def test_folds_of_one_session_follow_each_other(store: Store, tenant: TenantId) -> None:
    """Lanes of one gateway, and the vehicle's vendor: whoever is second sees what the first has told."""
    sessions = [await Session(store, tenant).opened() for _ in range(4)]

    async def batch(lane: int) -> None:
        items = [
            Heard(session.meter(60 * step + lane, 1.0 * step), session.stop.stop_id)
            for step in range(1, 26)
            for session in (sessions if lane % 2 else reversed(sessions))
        ]
        for start in range(0, len(items), 10):
            async with store.tenant(tenant) as unit:
                await unit.evidence.take(items[start : start + 10])

    await asyncio.gather(*(batch(lane) for lane in range(5)))
    for session in sessions:
        told = await session.told()
        assert sorted(kinds(told)) == sorted([FLOWING, REACHED])
        async with store.tenant(tenant) as unit:
            figures = (await unit.progress.live([session.attempt.attempt_id]))[session.attempt.attempt_id]
        assert figures.energy_kwh == 25.0


async def test_another_tenants_session_is_not_followed_here(store: Store, tenant: TenantId) -> None:
    session = await Session(store, tenant).opened()
    other = TenantId(f"{tenant}-b")
    async with store.tenant(other) as unit:
        await unit.evidence.take([Heard(session.meter(60, 3.0), None)])
        assert await unit.progress.live([session.attempt.attempt_id]) == {}
    assert await session.told() == []
    async with store.tenant(tenant) as unit:
        assert await unit.progress.live([session.attempt.attempt_id]) == {}
