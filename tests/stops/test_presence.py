"""What counts as arrival, here and now, and whether a vehicle that was told to leave is still there."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from models.evidence import Evidence, EvidenceKind, EvidenceSource
from stops.presence import Heading, Presence

T0 = datetime(2026, 5, 4, 6, 0, tzinfo=UTC)
HERE, NEIGHBOUR, ELSEWHERE = "DE*SIM*E1", "DE*SIM*E2", "DE*SIM*E9"
ETA_S = 1800.0


def at(seconds: float) -> datetime:
    return T0 + timedelta(seconds=seconds)


def heading(*, private: bool = False, since_s: float = 0.0) -> Heading:
    return Heading(
        charger_id=HERE, private=private, since=at(since_s), expected_at=at(ETA_S), neighbours=[NEIGHBOUR]
    )


def plug(seconds: float, charger_id: str = HERE) -> Evidence:
    return heard(EvidenceKind.PLUGGED_IN, seconds, EvidenceSource.OCPP, charger_id=charger_id)


def freed(seconds: float, charger_id: str = HERE) -> Evidence:
    return heard(EvidenceKind.CONNECTOR_AVAILABLE, seconds, EvidenceSource.OCPP, charger_id=charger_id)


def own(kind: EvidenceKind, seconds: float, **more: Any) -> Evidence:
    return heard(kind, seconds, EvidenceSource.TELEMATICS, **more)


def heard(kind: EvidenceKind, seconds: float, source: EvidenceSource, **more: Any) -> Evidence:
    return Evidence(
        event_id=f"{kind}-{source}-{seconds}", kind=kind, source=source, observed_at=at(seconds), **more
    )


def arrival_after(*told: Evidence, private: bool = False, since_s: float = 0.0) -> str | None:
    presence = Presence()
    for item in told:
        presence.see(item)
    found = presence.arrival(heading(private=private, since_s=since_s))
    return found.charger_id if found else None


_P = EvidenceKind.PLUGGED_IN


@pytest.mark.parametrize(
    ("told", "private", "where"),
    [
        ([plug(60)], False, None),
        ([plug(60)], True, HERE),
        ([plug(ETA_S)], False, HERE),
        ([plug(60), own(_P, 100)], False, HERE),
        ([plug(60), own(_P, 1000)], False, None),
        ([plug(ETA_S), own(EvidenceKind.VEHICLE_PROGRESS, ETA_S, distance_km=8.0)], False, None),
        ([plug(60), own(EvidenceKind.VEHICLE_PROGRESS, 90, distance_km=8.0)], True, None),
        ([own(_P, 60, distance_km=0.05)], False, HERE),
        ([own(_P, 60)], False, None),
        ([own(EvidenceKind.ARRIVED, 60, charger_id=HERE)], False, HERE),
        ([own(EvidenceKind.ARRIVED, 60, charger_id=ELSEWHERE)], False, None),
        ([plug(60, NEIGHBOUR), own(_P, 100)], False, NEIGHBOUR),
        ([plug(60, ELSEWHERE), own(_P, 100)], False, None),
        ([heard(EvidenceKind.UNPLUGGED, 60, EvidenceSource.OCPP, charger_id=HERE)], True, None),
    ],
    ids=[
        "anybody's plug at a public charger",
        "a plug at a private site",
        "a plug when it is due, of a vehicle without a feed",
        "charger and vehicle tell one plug",
        "charger and vehicle tell two plugs",
        "a plug when it is due, while the vehicle still drives",
        "a plug at a private site, while the vehicle still drives",
        "the vehicle is plugged in inside the geofence",
        "the vehicle is plugged in, nobody knows where",
        "the vehicle's own geofence",
        "another geofence",
        "a plug next door, and the vehicle's word",
        "a plug somewhere else, and the vehicle's word",
        "no plug at all",
    ],
)
def test_what_counts_as_arrival(told: list[Evidence], private: bool, where: str | None) -> None:
    assert arrival_after(*told, private=private) == where
    assert arrival_after(*reversed(told), private=private) == where


def test_what_was_said_before_the_stop_turned_here_is_about_another_place() -> None:
    assert arrival_after(plug(60), own(_P, 100), since_s=600) is None


def test_the_driver_is_believed_alone() -> None:
    presence = Presence()
    presence.told_by_driver(HERE, at(60))
    found = presence.arrival(heading())
    assert found is not None
    assert found.witnesses == ["driver"]


def test_what_the_driver_said_before_his_choice_does_not_undo_it() -> None:
    presence = Presence()
    presence.told_by_driver(NEIGHBOUR, at(59))
    assert presence.arrival(heading(since_s=60)) is None
    presence.told_by_driver(NEIGHBOUR, at(60))
    assert presence.arrival(heading(since_s=60)) is not None


def _stood_here() -> Presence:
    presence = Presence()
    presence.stand_at(HERE, at(100))
    return presence


@pytest.mark.parametrize(
    ("told", "asked_s", "still"),
    [
        ([], 300, True),
        ([], 2000, False),
        ([own(_P, 250)], 2000, True),
        ([own(EvidenceKind.ENERGY_FLOWING, 250)], 2000, True),
        ([own(EvidenceKind.UNPLUGGED, 250)], 300, False),
        ([own(EvidenceKind.VEHICLE_PROGRESS, 250, distance_km=4.0)], 300, False),
        ([own(EvidenceKind.VEHICLE_PROGRESS, 250, distance_km=0.2)], 300, True),
        ([own(EvidenceKind.ARRIVED, 250, charger_id=ELSEWHERE)], 300, False),
        ([plug(250)], 2000, False),
        ([freed(250)], 300, False),
        ([freed(250), plug(251)], 300, False),
        ([freed(150)], 300, True),
        ([own(_P, 240), freed(250)], 300, False),
        ([freed(250), own(_P, 251)], 300, True),
        ([freed(250, ELSEWHERE)], 300, True),
    ],
)
def test_whether_it_is_still_there(told: list[Evidence], asked_s: float, still: bool) -> None:
    presence = _stood_here()
    for item in told:
        presence.see(item)
    assert presence.is_still_at(HERE, at(200), at(asked_s), 600) is still
    assert not presence.is_still_at(ELSEWHERE, at(200), at(asked_s), 600)


def test_a_vehicle_that_left_before_it_was_told_to_is_not_there() -> None:
    presence = _stood_here()
    presence.see(own(EvidenceKind.UNPLUGGED, 150))
    assert not presence.is_still_at(HERE, at(200), at(210), 600)


def test_a_second_attempt_at_the_same_charger_does_not_make_it_arrive_anew() -> None:
    """It was taken for arrived when it was not there; what its feed said of that comes after the next try."""
    presence = _stood_here()
    presence.stand_at(HERE, at(130))
    presence.see(own(EvidenceKind.VEHICLE_PROGRESS, 120, distance_km=14.3))
    assert presence.stands_at is None
    assert not presence.is_still_at(HERE, at(200), at(210), 600)


def test_two_plugs_minutes_apart_are_two_vehicles() -> None:
    """A stranger's plug that still stands, and our vehicle's own, made later at another connector."""
    presence = Presence()
    presence.see(plug(0), standing=True)
    presence.see(plug(700, ELSEWHERE), standing=True)
    presence.see(own(_P, 700), standing=True)
    assert presence.arrival(heading(since_s=900)) is None


def test_a_plug_made_before_the_plan_counts_where_both_tell_it() -> None:
    presence = Presence()
    presence.see(plug(0), standing=True)
    presence.see(own(_P, 60), standing=True)
    found = presence.arrival(heading(since_s=900))
    assert found is not None
    assert found.charger_id == HERE


def test_a_distance_to_another_charger_is_no_arrival() -> None:
    """What the vehicle said before the stop turned here was about the charger that was planned then."""
    presence = Presence()
    presence.see(own(_P, 700, distance_km=0.05), standing=True)
    assert presence.arrival(heading(since_s=900)) is None


_AWAY, _OFF = EvidenceKind.VEHICLE_PROGRESS, EvidenceKind.UNPLUGGED


@pytest.mark.parametrize(
    ("since", "standing", "arrived"),
    [
        ([], True, True),
        ([own(_AWAY, 90, distance_km=30.0)], True, False),
        ([own(_AWAY, 90, distance_km=30.0)], False, False),
        ([own(_AWAY, 90, distance_km=30.0, charger_id=ELSEWHERE)], True, True),
        ([own(_AWAY, 90, distance_km=0.2)], True, True),
        ([own(_OFF, 90)], True, False),
        ([own(_OFF, 90)], False, True),
        ([own(_AWAY, 30, distance_km=30.0), own(_OFF, 30)], True, True),
    ],
)
def test_a_visit_that_is_over_is_no_arrival(since: list[Evidence], standing: bool, arrived: bool) -> None:
    """`standing`: the geofence was told before the stop turned here."""
    presence = Presence()
    for item in [own(EvidenceKind.ARRIVED, 60, charger_id=HERE), *since]:
        presence.see(item, standing=standing)
    assert (presence.arrival(heading()) is not None) is arrived


def test_after_a_plug_elsewhere_only_a_word_that_names_this_place_says_that_it_is_here() -> None:
    """A stranger's plug was taken for ours; ours came a moment later at the charger that was meant."""
    presence = _stood_here()
    presence.see(plug(120, ELSEWHERE))
    assert not presence.is_still_at(HERE, at(200), at(210), 600)
    presence.see(own(_P, 240))  # it is plugged in, and does not say where
    assert not presence.is_still_at(HERE, at(200), at(300), 600)
    presence.see(own(EvidenceKind.ARRIVED, 250, charger_id=HERE))
    assert presence.is_still_at(HERE, at(200), at(300), 600)
