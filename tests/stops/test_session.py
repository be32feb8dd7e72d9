"""A session's fold: the same evidence in any order, any number of times, gives the same session."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.charger import Charger, Protocol
from models.commands import CommandOutcome, CommandReply
from models.evidence import Evidence, EvidenceKind, EvidenceSource
from models.money import Money
from models.place import Place
from models.reason_codes import ReasonCode
from models.stop import SessionState
from models.vehicle import ConnectorStandard
from stops.session import Session

T0 = datetime(2026, 5, 4, 6, 0, tzinfo=UTC)
CHARGER = Charger(
    charger_id="DE*SIM*E1",
    site_id="site",
    operator="operator",
    network="sim",
    place=Place(latitude=51.0, longitude=6.0),
    protocol=Protocol.OCPP,
    standard=ConnectorStandard.CCS_2,
    power_kw=50.0,
)
TOLD = (
    EvidenceKind.SESSION_STARTED,
    EvidenceKind.ENERGY_FLOWING,
    EvidenceKind.SUSPENDED_BY_VEHICLE,
    EvidenceKind.SUSPENDED_BY_CHARGER,
    EvidenceKind.CONNECTOR_FAULTED,
    EvidenceKind.STATION_OFFLINE,
    EvidenceKind.STATION_ONLINE,
    EvidenceKind.SESSION_PROGRESS,
    EvidenceKind.TARGET_REACHED,
    EvidenceKind.SESSION_SILENT,
    EvidenceKind.SESSION_ENDED,
    EvidenceKind.CHARGE_RECORD,
    EvidenceKind.COMMAND_FAILED,
    EvidenceKind.UNPLUGGED,
)


def a_session() -> Session:
    return Session(attempt_id="attempt-1", number=1, charger=CHARGER, opened_at=T0)


def word(kind: EvidenceKind, at_s: float, **more: Any) -> Evidence:
    more.setdefault("event_id", f"{kind}-{at_s}")
    more.setdefault("source", EvidenceSource.OCPP)
    return Evidence(kind=kind, observed_at=T0 + timedelta(seconds=at_s), attempt_id="attempt-1", **more)


@st.composite
def stories(draw: st.DrawFn) -> list[Evidence]:
    """Each at an instant of its own, as one clock tells them; energy never falls."""
    kinds = draw(st.lists(st.sampled_from(TOLD), min_size=1, max_size=12))
    told: list[Evidence] = []
    kwh = 0.0
    for number, kind in enumerate(kinds):
        kwh += draw(st.floats(0, 5))
        energy = draw(st.sampled_from([None, round(kwh, 3)]))
        told.append(
            word(
                kind,
                60.0 * (number + 1),
                event_id=f"event-{number}",
                energy_kwh=energy,
                session_ref=draw(st.sampled_from([None, "tx-1", "TX-1", "tx-2", "tx-3"])),
                soc_percent=draw(st.sampled_from([None, 40.0, 80.0])),
                reason=draw(
                    st.sampled_from([None, ReasonCode.SUSTAIN_EVSE_FAULT, ReasonCode.START_REJECTED])
                ),
                detail=draw(st.sampled_from(["", "one", "two"])),
                vendor_code=draw(st.sampled_from(["", "E1", "E2"])),
                heard_at=T0 if kind is EvidenceKind.SESSION_SILENT else None,
                cost=Money(amount=Decimal(3)) if kind is EvidenceKind.CHARGE_RECORD else None,
            )
        )
    return told


def conclusions(session: Session) -> dict[str, Any]:
    return {
        "state": session.state,
        "started_at": session.started_at,
        "ended_at": session.ended_at,
        "energy_kwh": session.energy_kwh,
        "reason": session.end_reason,
        "fault": session.fault,
        "refused": session.refused,
        "words": (session.detail, session.vendor_code),
        "ref": session.session_ref,
        "to stop": session.stop_refs,
        "metered": (session.metered_kwh, session.record_kwh),
        "soc": session.soc_percent,
        "suspended_at": session.suspended_at,
        "paused_at": session.paused_at,
        "out_of_contact": session.is_out_of_contact,
        "cost": session.record_cost,
        "idle_s": session.idle_s,
        "silent": (session.silent_at, session.silent_heard_at),
    }


@settings(max_examples=400, deadline=None)
@given(story=stories(), data=st.data())
def test_neither_order_nor_repeats_matter(story: list[Evidence], data: st.DataObject) -> None:
    in_order, shuffled = a_session(), a_session()
    for item in story:
        in_order.take(item)
    repeats = data.draw(st.lists(st.sampled_from(story), max_size=5))
    for item in data.draw(st.permutations([*story, *repeats])):
        shuffled.take(item)
    assert conclusions(shuffled) == conclusions(in_order)


@settings(max_examples=200, deadline=None)
@given(story=stories(), cut=st.integers(0, 12))
def test_what_is_carried_over_is_the_session(story: list[Evidence], cut: int) -> None:
    """A session that is dumped and read back in the middle (continue-as-new, a keeper) goes on as it was."""
    whole, carried = a_session(), a_session()
    for number, item in enumerate(story):
        whole.take(item)
        if number == cut:
            carried = Session.model_validate(carried.model_dump(mode="json"))
        carried.take(item)
    assert conclusions(carried) == conclusions(whole)


def test_an_accepted_stop_command_ends_nothing() -> None:
    session = a_session()
    session.take(word(EvidenceKind.SESSION_STARTED, 10, session_ref="tx-1"))
    session.leave(ReasonCode.SUSTAIN_DRIVER_REPORT, T0)
    session.stop_sent_at = T0
    assert session.is_alive
    assert session.state is SessionState.STOPPING


def test_an_unplugged_vehicle_ends_only_what_the_vehicle_alone_speaks_for() -> None:
    by_vehicle, by_charger = a_session(), a_session()
    for session, ref in ((by_vehicle, None), (by_charger, "tx-1")):
        session.take(word(EvidenceKind.ENERGY_FLOWING, 10, source=EvidenceSource.TELEMATICS, session_ref=ref))
        session.take(word(EvidenceKind.UNPLUGGED, 20, source=EvidenceSource.TELEMATICS))
    assert by_vehicle.ended_at == T0 + timedelta(seconds=20)
    assert by_charger.is_alive


def test_evidence_wins_over_a_refused_start() -> None:
    session = a_session()
    session.sent_at = T0
    session.take_reply(CommandReply(outcome=CommandOutcome.REJECTED), T0)
    assert not session.may_come_alive
    session.take(word(EvidenceKind.SESSION_STARTED, 10))
    assert session.is_alive


def test_a_record_beyond_the_connector_is_not_booked() -> None:
    session = a_session()
    session.take(word(EvidenceKind.SESSION_STARTED, 0))
    session.take(word(EvidenceKind.SESSION_ENDED, 3600, energy_kwh=30.0))
    session.take(word(EvidenceKind.CHARGE_RECORD, 3700, energy_kwh=400.0))
    assert session.energy_kwh == 30.0
    session.take(word(EvidenceKind.CHARGE_RECORD, 3800, energy_kwh=31.0))
    assert session.energy_kwh == 31.0
    assert not session.record_differs


# --- whose clock it was ---------------------------------------------------------------------------------


def durations(session: Session) -> dict[str, Any]:
    return {
        "began_at": session.began_at,
        "suspended_since": session.suspended_since,
        "paused_since": session.paused_since,
        "lost_since": session.lost_since,
        "idle_s": session.idle_s,
        "occupied_s": session.occupied_s,
    }


@settings(max_examples=300, deadline=None)
@given(story=stories(), late_s=st.lists(st.integers(0, 900), min_size=20, max_size=20), data=st.data())
def test_what_we_count_by_our_own_clock_depends_on_no_order(
    story: list[Evidence], late_s: list[int], data: st.DataObject
) -> None:
    told = {item.event_id: item for item in story}
    heard = [
        (item, item.observed_at + timedelta(seconds=late_s[number % 20]))
        for number, item in enumerate(told.values())
    ]
    in_order, shuffled = a_session(), a_session()
    for item, now in heard:
        in_order.take(item, now)
    for item, now in data.draw(st.permutations(heard)):
        shuffled.take(item, now)
    assert durations(shuffled) == durations(in_order)


@pytest.mark.parametrize("off_h", [-24, -1, 0, 1, 12])
def test_a_peers_clock_does_not_change_what_we_count(off_h: int) -> None:
    """Suspended after 50 minutes, out of contact after 60, over after 70: whatever the station calls it."""
    off, session = timedelta(hours=off_h), a_session()
    session.sent_at = T0
    story = (
        (EvidenceKind.SESSION_STARTED, 10),
        (EvidenceKind.SUSPENDED_BY_VEHICLE, 3000),
        (EvidenceKind.SESSION_ENDED, 4200),
    )
    for kind, at_s in story:
        item = word(kind, at_s, energy_kwh=20.0)
        now = item.observed_at + timedelta(seconds=1)
        session.take(item.model_copy(update={"observed_at": item.observed_at + off}), now)
    assert session.started_at == T0 + timedelta(seconds=10) + off  # the record says what was told
    assert abs((session.began_at or T0) - T0) < timedelta(seconds=15)
    assert abs((session.suspended_since or T0) - T0 - timedelta(seconds=3000)) < timedelta(seconds=15)
    assert abs(session.idle_s - 1200) < 5
    assert abs(session.occupied_s - 4190) < 15


@pytest.mark.parametrize("off_h", [-24, 24])
def test_the_line_of_a_station_with_a_wrong_clock_is_lost_and_comes_back(off_h: int) -> None:
    """Our gateway tells by our clock that it is away, the station by its own that it is back."""
    off, session = timedelta(hours=off_h), a_session()
    session.sent_at = T0
    for kind, at_s, clock in (
        (EvidenceKind.SESSION_STARTED, 10, off),
        (EvidenceKind.STATION_OFFLINE, 600, timedelta(0)),
    ):
        item = word(kind, at_s)
        now = item.observed_at + timedelta(seconds=1)
        session.take(item.model_copy(update={"observed_at": item.observed_at + clock}), now)
    assert session.is_out_of_contact
    back = word(EvidenceKind.SESSION_PROGRESS, 1200, energy_kwh=5.0)
    session.take(back.model_copy(update={"observed_at": back.observed_at + off}), back.observed_at)
    assert not session.is_out_of_contact


def test_an_attempt_owns_every_transaction_of_its_start() -> None:
    """It lives while one of them does, which is the one to stop; its energy is that of all."""
    session = a_session()
    for kind, at_s, ref, kwh in (
        (EvidenceKind.SESSION_STARTED, 0, "tx-1", 0.0),
        (EvidenceKind.SESSION_ENDED, 600, "tx-1", 4.0),
        (EvidenceKind.SESSION_STARTED, 700, "tx-2", 0.0),
        (EvidenceKind.SESSION_PROGRESS, 800, "tx-2", 2.5),
    ):
        session.take(word(kind, at_s, session_ref=ref, energy_kwh=kwh))
    assert (session.is_alive, session.energy_kwh, session.stop_refs) == (True, 6.5, ["tx-2"])
    session.take(word(EvidenceKind.SESSION_ENDED, 900, session_ref="tx-2", energy_kwh=6.0))
    assert (session.ended_at, session.energy_kwh) == (T0 + timedelta(seconds=900), 10.0)


def test_a_register_that_goes_on_refutes_the_end() -> None:
    session = a_session()
    session.take(word(EvidenceKind.SESSION_STARTED, 0, session_ref="S1"))
    session.take(word(EvidenceKind.SESSION_ENDED, 60, session_ref="S1", energy_kwh=1.5))
    session.take(word(EvidenceKind.SESSION_PROGRESS, 55, session_ref="S1", energy_kwh=1.5))
    assert not session.is_alive
    session.take(word(EvidenceKind.SESSION_PROGRESS, 600, session_ref="S1", energy_kwh=8.0))
    assert (session.is_alive, session.energy_kwh, session.end_reason) == (True, 8.0, None)
    session.take(word(EvidenceKind.SESSION_ENDED, 900, session_ref="S1", energy_kwh=12.0))
    assert (session.is_alive, session.energy_kwh) == (False, 12.0)


def test_a_session_that_was_dropped_for_the_next_is_over_unless_it_speaks() -> None:
    """One connector feeds one vehicle at a time."""
    session = a_session()
    session.take(word(EvidenceKind.SESSION_STARTED, 0, session_ref="S1"))
    session.take(word(EvidenceKind.SESSION_STARTED, 60, session_ref="S2"))
    assert session.stop_refs == ["S2"]
    session.take(word(EvidenceKind.SESSION_PROGRESS, 90, session_ref="S1", energy_kwh=1.0))
    assert session.stop_refs == ["S2", "S1"]


def test_a_bill_under_another_reference_is_about_the_one_session_there_was() -> None:
    """Two sessions, each with its record, are two bills; and a part of them is no bill."""
    session = a_session()
    session.take(word(EvidenceKind.SESSION_STARTED, 0, session_ref="S1"))
    session.take(word(EvidenceKind.SESSION_ENDED, 3600, session_ref="S1", energy_kwh=30.0))
    euros = Money(amount=Decimal(15))
    session.take(word(EvidenceKind.CHARGE_RECORD, 3700, session_ref="B7", energy_kwh=30.4, cost=euros))
    assert (session.energy_kwh, session.record_cost) == (30.4, euros)
    session.take(word(EvidenceKind.SESSION_STARTED, 3800, session_ref="S2"))
    session.take(word(EvidenceKind.SESSION_ENDED, 3900, session_ref="S2", energy_kwh=2.0))
    assert (session.energy_kwh, session.record_cost) == (32.0, None)
    session.take(word(EvidenceKind.CHARGE_RECORD, 4000, session_ref="S2", energy_kwh=2.0, cost=euros))
    assert (session.energy_kwh, session.record_cost) == (32.4, Money(amount=Decimal(30)))


def test_a_session_carried_by_a_version_that_knew_one_life_goes_on() -> None:
    session = a_session()
    session.take(word(EvidenceKind.SESSION_STARTED, 0, session_ref="tx-1"))
    session.take(word(EvidenceKind.SESSION_ENDED, 600, session_ref="tx-1", energy_kwh=4.0))
    old = session.model_dump(mode="json", exclude={"lives", "lived_at", "last_kwh", "last_kwh_at"})
    carried = Session.model_validate(old)
    assert (carried.state, carried.energy_kwh) == (SessionState.ENDED, 4.0)
    carried.take(word(EvidenceKind.SESSION_STARTED, 700, session_ref="tx-2"))
    assert carried.is_alive
    carried.take(word(EvidenceKind.SESSION_ENDED, 900, session_ref="tx-2", energy_kwh=6.0))
    assert carried.energy_kwh == 10.0
