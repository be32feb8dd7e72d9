"""The one judge: what ends, faults and silences mean, by table."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from models.evidence import EvidenceKind
from models.policy import Policy
from models.reason_codes import ReasonCode
from stops.judge import Means, Need, Pause, due_at, judge_end, judge_stillness
from stops.session import Session
from tests.stops.test_session import T0, a_session, word

POLICY = Policy()
NEED = Need(kwh=30.0, target_soc_percent=80.0, tolerance_percent=5.0, battery_kwh=60.0, most_kwh=37.5)


def charging(kwh: float = 0.0, **more: Any) -> Session:
    session = a_session()
    session.take(word(EvidenceKind.SESSION_STARTED, 0, session_ref="tx-1"))
    if kwh:
        session.take(word(EvidenceKind.SESSION_PROGRESS, 3600, energy_kwh=kwh, **more))
    return session


@pytest.mark.parametrize(
    ("kwh", "reason", "ours", "means"),
    [
        (29.7, ReasonCode.SUSTAIN_EVSE_FAULT, None, Means.ENOUGH),
        (28.5, None, None, Means.ENOUGH),
        (28.4, None, None, Means.FALLBACK),
        (1.5, None, None, Means.FALLBACK),
        (1.5, ReasonCode.SUSTAIN_EVSE_FAULT, None, Means.FALLBACK),
        (1.5, ReasonCode.SUSTAIN_UNPLUGGED_EARLY, None, Means.SHORT),
        (1.5, ReasonCode.SUSTAIN_VEHICLE_STOPPED, None, Means.SHORT),
        (29.7, None, ReasonCode.SUSTAIN_STALLED, Means.ENOUGH),
        (20.0, None, ReasonCode.SUSTAIN_STALLED, Means.FALLBACK),
        (29.7, None, ReasonCode.SUSTAIN_DRIVER_REPORT, Means.ENOUGH),
        (20.0, ReasonCode.SUSTAIN_UNPLUGGED_EARLY, ReasonCode.SUSTAIN_STALLED, Means.FALLBACK),
    ],
)
def test_what_an_end_means(
    kwh: float, reason: ReasonCode | None, ours: ReasonCode | None, means: Means
) -> None:
    session = charging(kwh)
    session.take(word(EvidenceKind.SESSION_ENDED, 4000, energy_kwh=kwh, reason=reason))
    verdict = judge_end(session, NEED, ours)
    assert verdict.means is means
    assert (verdict.reason is None) == (means is Means.ENOUGH)
    if means is not Means.ENOUGH:
        assert verdict.reason == (ours or reason or ReasonCode.SUSTAIN_END_UNKNOWN)


def test_an_end_without_a_reason_of_a_full_vehicle_is_the_vehicles() -> None:
    session = charging(20.0)
    session.take(word(EvidenceKind.SUSPENDED_BY_VEHICLE, 3700))
    session.take(word(EvidenceKind.SESSION_ENDED, 4000, energy_kwh=20.0))
    verdict = judge_end(session, NEED)
    assert (verdict.means, verdict.reason) == (Means.SHORT, ReasonCode.SUSTAIN_VEHICLE_STOPPED)


def test_what_the_vehicle_measured_is_enough() -> None:
    assert judge_end(charging(20.0, soc_percent=80.0), NEED).means is Means.ENOUGH


@pytest.mark.parametrize(
    ("first_percent", "kwh", "soc_percent", "means"),
    [
        (31.0, 2.0, 100.0, Means.FALLBACK),
        (31.0, 10.0, 80.0, Means.FALLBACK),
        (0.0, 20.0, 80.0, Means.FALLBACK),
        (75.0, 2.0, 80.0, Means.ENOUGH),
        (50.0, 13.0, 80.0, Means.ENOUGH),
        (30.0, 29.0, 100.0, Means.ENOUGH),
    ],
)
def test_a_charge_that_rises_beyond_what_flowed_is_not_believed(
    first_percent: float, kwh: float, soc_percent: float, means: Means
) -> None:
    session = charging()
    session.take(word(EvidenceKind.METER, 60, energy_kwh=0.5, soc_percent=first_percent))
    session.take(word(EvidenceKind.SESSION_PROGRESS, 3600, energy_kwh=kwh, soc_percent=soc_percent))
    assert judge_end(session, NEED).means is means


def test_the_energy_that_came_is_not_enough_while_the_vehicle_measures_less() -> None:
    session = charging(30.0, soc_percent=70.0)
    session.take(word(EvidenceKind.SESSION_ENDED, 3700, energy_kwh=30.0))
    assert judge_end(session, NEED).means is not Means.ENOUGH


STALL = POLICY.stall_s
Told = list[tuple[EvidenceKind, float, dict[str, Any]]]
NOTHING: Told = []


@pytest.mark.parametrize(
    ("told", "now_s", "pause", "over"),
    [
        (NOTHING, 600, Pause.NONE, False),
        ([(EvidenceKind.SUSPENDED_BY_CHARGER, 100, {})], 2000, Pause.PAUSED, False),
        ([(EvidenceKind.SUSPENDED_BY_CHARGER, 100, {})], 100 + POLICY.pause_s, Pause.PAUSED, True),
        ([(EvidenceKind.SUSPENDED_BY_VEHICLE, 100, {})], 200, Pause.VEHICLE_DONE, False),
        (
            [(EvidenceKind.SUSPENDED_BY_VEHICLE, 100, {})],
            100 + POLICY.idle_grace_s,
            Pause.VEHICLE_DONE,
            True,
        ),
        ([(EvidenceKind.STATION_OFFLINE, 100, {})], 2000, Pause.OUT_OF_CONTACT, False),
        ([(EvidenceKind.STATION_OFFLINE, 100, {})], 100 + POLICY.silence_s, Pause.OUT_OF_CONTACT, True),
        (
            [(EvidenceKind.STATION_OFFLINE, 100, {}), (EvidenceKind.STATION_ONLINE, 200, {})],
            2000,
            Pause.NONE,
            False,
        ),
        (
            [
                (EvidenceKind.SUSPENDED_BY_CHARGER, 100, {}),
                (EvidenceKind.ENERGY_FLOWING, 300, {"energy_kwh": 1.0}),
            ],
            2000,
            Pause.NONE,
            False,
        ),
        (NOTHING, POLICY.max_charging_s, Pause.TIME_LIMIT, True),
    ],
)
def test_what_stillness_means(told: Told, now_s: float, pause: Pause, over: bool) -> None:
    session = charging()
    for kind, at_s, more in told:
        session.take(word(kind, at_s, **more))
    still = judge_stillness(session, POLICY, T0 + timedelta(seconds=now_s))
    assert (still.pause, still.over) == (pause, over)


@pytest.mark.parametrize("heard_s", [0.0, 6.0, 60.0])
def test_a_slow_sampling_interval_is_no_stall(heard_s: float) -> None:
    """Nothing was sampled since the start but a word in its first minute: that is silence, not evidence."""
    session = charging()
    heard_at = T0 + timedelta(seconds=heard_s)
    session.take(word(EvidenceKind.SESSION_SILENT, STALL + 3, heard_at=heard_at))
    still = judge_stillness(session, POLICY, T0 + timedelta(seconds=STALL + 4))
    assert (still.pause, still.over) == (Pause.OUT_OF_CONTACT, False)


def test_samples_without_energy_are_a_stall() -> None:
    session = charging()
    heard_at = T0 + timedelta(seconds=STALL)
    session.take(word(EvidenceKind.SESSION_SILENT, STALL + 3, heard_at=heard_at))
    still = judge_stillness(session, POLICY, T0 + timedelta(seconds=STALL + 4))
    assert (still.pause, still.reason) == (Pause.STALLED, ReasonCode.CONFIRM_NO_ENERGY)


def test_it_is_always_known_when_to_judge_again() -> None:
    """No wait is without a deadline, and at the deadline the judgement is another, or over."""
    for kind in (
        EvidenceKind.SUSPENDED_BY_CHARGER,
        EvidenceKind.SUSPENDED_BY_VEHICLE,
        EvidenceKind.STATION_OFFLINE,
    ):
        session = charging()
        session.take(word(kind, 100))
        now = T0 + timedelta(seconds=200)
        assert not judge_stillness(session, POLICY, now).over
        assert judge_stillness(session, POLICY, due_at(session, POLICY, now)).over
