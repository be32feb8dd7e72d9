"""What a connector's own line adds to its status: offline at once, believed while held, flapping counted."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest
from planning_world import NOW, a_charger, a_request, ids, rejection_of

from models.charger import Charger, ConnectorHealth, ConnectorStatus
from models.decision import RejectionRule
from planning.planner import PLANNER_VERSION, plan, replay
from planning.probability import FLAPPING_PERCENT, StartChances
from planning.status import FLAPPING_CHANGES, LINE_FRESH_S, LINE_GRACE_S, fresh_status, is_flapping
from planning.waiting import expected_wait_s, mean_session_s

LONG_AGO = NOW - timedelta(days=2)
every_status = pytest.mark.parametrize("status", list(ConnectorStatus))


def ago(seconds: float) -> datetime:
    return NOW - timedelta(seconds=seconds)


def held(seen_at: datetime | None = NOW, **more: Any) -> ConnectorHealth:
    return ConnectorHealth(connected=True, seen_at=seen_at, **more)


def chance(charger: Charger, failed_sites: tuple[str, ...] = ()) -> int:
    return StartChances([charger], failed_sites, NOW).of(charger)


class TestStatus:
    @every_status
    @pytest.mark.parametrize("status_at", [NOW, LONG_AGO, None])
    def test_nobody_holds_the_line(self, status: ConnectorStatus, status_at: datetime | None) -> None:
        gone = ConnectorHealth(connected=False, seen_at=ago(LINE_GRACE_S))
        charger = a_charger("x", status=status, status_at=status_at, health=gone)
        assert fresh_status(charger, NOW) is ConnectorStatus.OFFLINE
        verdict = rejection_of(plan(a_request(), [charger], None), "x")
        assert (verdict.rule, verdict.observed) == (RejectionRule.OUT_OF_ORDER, "offline")

    @every_status
    def test_a_line_that_blinks_is_believed(self, status: ConnectorStatus) -> None:
        blinking = ConnectorHealth(connected=False, seen_at=ago(LINE_GRACE_S - 1))
        assert fresh_status(a_charger("x", status=status, status_at=NOW, health=blinking), NOW) is status

    @every_status
    @pytest.mark.parametrize("status_at", [NOW, LONG_AGO, None])
    @pytest.mark.parametrize("seen_s", [0, LINE_FRESH_S - 1, -60])
    def test_a_held_line_is_believed_however_old_its_report(
        self, status: ConnectorStatus, status_at: datetime | None, seen_s: int
    ) -> None:
        charger = a_charger("x", status=status, status_at=status_at, health=held(ago(seen_s)))
        assert fresh_status(charger, NOW) is status

    @every_status
    @pytest.mark.parametrize("seen_at", [None, ago(LINE_FRESH_S), LONG_AGO])
    def test_a_line_of_a_silent_gateway_tells_nothing(
        self, status: ConnectorStatus, seen_at: datetime | None
    ) -> None:
        charger = a_charger("x", status=status, status_at=NOW, health=held(seen_at))
        assert fresh_status(charger, NOW) is ConnectorStatus.UNKNOWN
        assert ids(plan(a_request(), [charger], None)) == ["x"], "unknown is no reason to reject"

    def test_an_old_fault_stands_on_a_held_line_and_fades_elsewhere(self) -> None:
        broken: dict[str, Any] = {"status": ConnectorStatus.FAULTED, "status_at": LONG_AGO}
        watched = a_charger("watched", **broken, health=held(fault_code="mrec:CX017"))
        listed = a_charger("listed", **broken)
        decision = plan(a_request(), [watched, listed], None)
        assert ids(decision) == ["listed"]
        assert rejection_of(decision, "watched").observed == "faulted"

    def test_what_is_believed_raises_the_chance(self) -> None:
        live = a_charger("x", status_at=LONG_AGO, health=held())
        assert chance(live) > chance(a_charger("x", status_at=LONG_AGO))
        assert expected_wait_s(live, NOW, 600) == 0

    def test_a_session_that_still_runs_is_waited_for(self) -> None:
        busy = a_charger("x", status=ConnectorStatus.OCCUPIED, status_at=LONG_AGO, health=held())
        assert expected_wait_s(busy, NOW, 0) == mean_session_s(busy)


class TestFlapping:
    def test_a_flapping_connector_keeps_its_share(self) -> None:
        for changes, share in ((0, 100), (FLAPPING_CHANGES - 1, 100), (FLAPPING_CHANGES, FLAPPING_PERCENT)):
            calm = a_charger("x", start_successes=9, health=held())
            charger = a_charger(
                "x", start_successes=9, health=held(changes_last_hour=changes, state_since=ago(60))
            )
            assert chance(charger) == chance(calm) * share // 100
            assert chance(charger, ("site-x",)) == chance(calm) * share // 100 * 50 // 100

    def test_an_hour_without_a_change_ends_it(self) -> None:
        def flapped(changed_at: datetime | None, status_at: datetime | None = NOW) -> Charger:
            health = held(changes_last_hour=20, state_since=changed_at)
            return a_charger("x", status_at=status_at, health=health)

        assert is_flapping(flapped(ago(3599)), NOW)
        assert not is_flapping(flapped(ago(3600)), NOW)
        assert is_flapping(flapped(None), NOW), "the report's own time where no change is dated"
        assert not is_flapping(flapped(None, None), NOW)

    def test_the_steady_one_goes_first(self) -> None:
        flapping = a_charger("a", health=held(changes_last_hour=9, state_since=NOW))
        steady = a_charger("b", health=held())
        assert ids(plan(a_request(), [flapping, steady], None)) == ["b", "a"]


def test_health_is_part_of_the_receipt() -> None:
    request, charger = a_request(), a_charger("x", health=held(state_since=NOW))
    decision = plan(request, [charger], None)
    assert decision.planner_version == PLANNER_VERSION != "1.0.0"
    assert replay(decision, request, [charger], None)
    other = charger.model_copy(update={"health": held(state_since=NOW, changes_last_hour=1)})
    assert not replay(decision, request, [other], None)
