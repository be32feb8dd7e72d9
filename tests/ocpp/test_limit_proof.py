"""When a charge proves a limit that only a schedule has shown, and when it says nothing."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from connectors.ocpp.limits.proof import Proof
from models.charging_limit import ChargingLimit, LimitPeriod, LimitPurpose, LimitReply, LimitState, ReadBack

NOW = datetime(2026, 3, 1, 6, 0, tzinfo=UTC)
OFFERED, METER = ReadBack.CURRENT_OFFERED, ReadBack.METER


def limit(**changes: Any) -> ChargingLimit:
    fields: dict[str, Any] = {
        "limit_id": "l",
        "tenant_id": "t",
        "station_id": "s",
        "connector_number": 1,
        "purpose": LimitPurpose.DEFAULT,
        "periods": (LimitPeriod(limit_kw=11),),
        "phases": 3,
        "starts_at": NOW,
    }
    return ChargingLimit.model_validate({**fields, **changes})


def reply(by: ReadBack = ReadBack.COMPOSITE_SCHEDULE, state: LimitState = LimitState.APPLIED) -> LimitReply:
    return LimitReply(limit_id="l", state=state, read_back_by=by, read_back_kw=11)


def begun(**changes: Any) -> Proof:
    proof = Proof()
    proof.begin(limit(**changes), reply())
    return proof


@pytest.mark.parametrize(
    "told",
    [
        (limit(), reply(METER)),
        (limit(), reply(state=LimitState.ACCEPTED)),
        (limit(connector_number=0, purpose=LimitPurpose.STATION), reply()),
        (limit(purpose=LimitPurpose.TRANSACTION, session_ref="7"), reply()),
    ],
)
def test_only_a_default_that_a_schedule_alone_has_shown_waits(told: tuple[ChargingLimit, LimitReply]) -> None:
    proof = begun()
    proof.begin(*told)
    assert not proof.waits_at(0)
    assert proof.waits_at(1) is (told[0].connector_number == 0), "a newer limit of the place ends the wait"


def test_one_high_sample_is_a_ramp_and_two_are_a_habit() -> None:
    proof = begun()
    assert proof.heard(1, (22.0, METER), NOW) is None
    found = proof.heard(1, (22.0, METER), NOW)
    assert found is not None
    assert (found[1].state, found[1].read_back_kw) == (LimitState.ACCEPTED, 22.0)
    assert not proof.waits_at(1)


def test_a_vehicle_that_takes_little_proves_nothing() -> None:
    proof = begun()
    assert proof.heard(1, (22.0, METER), NOW) is None
    assert proof.heard(1, (3.6, METER), NOW) is None
    assert proof.waits_at(1)
    found = proof.heard(1, (10.8, METER), NOW)
    assert found is not None
    assert (found[1].state, found[1].read_back_by) == (LimitState.APPLIED, METER)


def test_what_is_offered_proves_it_at_once() -> None:
    found = begun().heard(1, (10.9, OFFERED), NOW)
    assert found is not None
    assert (found[1].state, found[1].read_back_by, found[1].read_back_kw) == (
        LimitState.APPLIED,
        OFFERED,
        10.9,
    )


def test_a_limit_that_is_over_is_not_looked_for() -> None:
    proof = begun(duration_s=60)
    assert proof.heard(1, (22.0, OFFERED), NOW + timedelta(seconds=61)) is None
    assert not proof.waits_at(1)
