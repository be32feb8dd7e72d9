"""What the demo prints: figures that are right, pages that fit the terminal."""

from __future__ import annotations

import io
from datetime import UTC, datetime

import pytest
from demo_samples import Sample, samples
from rich.console import Console, RenderableType

from models.reason_codes import ReasonCode
from models.stop import StopOutcome
from workers.demo.board import Row, board, transition
from workers.demo.summary import Summary, print_links, query_links, report, summarise
from workers.oracle import Violation
from workers.stack.chaos import Blow, BlowKind, PlannedBlow

LINKS = query_links("http://127.0.0.1:8233/namespaces/default/workflows") | {
    "API docs": "http://127.0.0.1:8080/docs"
}


def rendered(page: RenderableType, width: int, height: int = 50) -> list[str]:
    console = Console(width=width, height=height, record=True, file=io.StringIO(), force_terminal=True)
    console.print(page)
    return console.export_text(styles=False).splitlines()


def rows(stops: list[Sample]) -> list[Row]:
    return [Row(stop.vehicle_id, stop.view()) for stop in stops]


def summary_of(stops: list[Sample]) -> Summary:
    return summarise([s.view() for s in stops], {s.stop_id: s.events for s in stops}, requested=len(stops))


def test_every_stop_is_counted_once_and_in_the_right_place() -> None:
    summary = summary_of(samples())
    assert (summary.first_time, summary.by_fallback, summary.otherwise_charged) == (25, 9, 1)
    assert summary.outcomes[StopOutcome.CHARGED] == 34
    assert summary.outcomes[StopOutcome.CHARGED_SHORT] == 1
    assert summary.adopted == 1
    assert sorted(summary.unfinished) == ["van-039", "van-040"]
    assert summary.fallbacks[ReasonCode.START_REJECTED] == 2
    assert [h.fate for h in summary.hand_overs] == ["nobody answered in time", "still waits"]
    assert summary.to_fallback_s == pytest.approx([1.4] * 10)
    assert summary.energy_kwh == pytest.approx(sum(a.energy_kwh for s in samples() for a in s.attempts))
    assert f"{summary.costs['EUR']:.2f}" == f"{sum(_cost(s) for s in samples()):.2f}"


def _cost(stop: Sample) -> float:
    return round(sum(a.energy_kwh for a in stop.attempts) * 0.46, 2) if stop.outcome else 0.0


@pytest.mark.parametrize("width", [80, 100, 160])
def test_the_board_has_one_line_per_stop_and_fits(width: int) -> None:
    stops = samples()
    lines = rendered(board(rows(stops), width=width, height=50, elapsed_s=41), width)
    assert max(len(line) for line in lines) <= width
    assert len(lines) <= 50
    for stop in stops:
        assert sum(stop.vehicle_id in line for line in lines) == 1
    line = next(line for line in lines if "van-025" in line)
    assert "charged" in line
    assert "start.rejected" in line
    assert "+30 min" in line


def test_a_small_terminal_shows_those_that_still_move() -> None:
    lines = rendered(board(rows(samples()), width=100, height=24, elapsed_s=41), 100, 24)
    assert len(lines) <= 24
    text = "\n".join(lines)
    assert "van-039" in text
    assert "van-040" in text
    assert "and 22 more" in text


@pytest.mark.parametrize("width", [80, 100, 160])
def test_the_closing_page_reads_well(width: int) -> None:
    stops = [s for s in samples() if s.outcome]
    page = report(summary_of(stops), [], elapsed_s=71.2, ledger_entries=212)
    lines = rendered(page, width)
    text = "\n".join(lines)
    assert max(len(line) for line in lines) <= width
    assert "35 of 38 vans were charged, 9 of them because a fallback was found in time." in text
    assert "25  charged at the first try" in text
    assert "The charger refused to start" in text
    assert "Fleet to act." in text
    assert "from failure to fallback" in text
    assert "All kept" in text


def test_what_went_wrong_is_said_first_and_promises_broken_by_name() -> None:
    broken = [Violation(invariant="a start is never effective twice", subject="stop_1", text="2 starts")]
    page = report(summary_of(samples()), broken, elapsed_s=110, ledger_entries=10)
    text = " ".join(" ".join(rendered(page, 100)).split())
    assert "Without an outcome: van-039, van-040." in text
    assert "1 broken, 2 stops without an outcome" in text
    assert "a start is never effective twice: 2 starts (stop_1)" in text
    assert "All kept" not in text


def test_blows_are_shown_while_they_last_and_listed_at_the_end() -> None:
    kill, pair = (
        PlannedBlow(2.0, BlowKind.KILL, ("worker",)),
        PlannedBlow(2.0, BlowKind.PAIR, ("api", "temporal")),
    )
    stall = PlannedBlow(2.0, BlowKind.FREEZE, ("postgres",), 3.5)
    at = datetime(2026, 3, 2, 8, 14, 3, tzinfo=UTC)
    blows = [
        Blow(at, kill, back_s=0.31, settled=True),
        Blow(at, stall, back_s=3.62, settled=True),
        Blow(at, pair),
    ]
    lines = rendered(board(rows(samples()), width=100, height=30, elapsed_s=41, blows=blows), 100, 30)
    assert len(lines) <= 30
    assert " 08:14:03 worker killed (kill -9), back after 0.3 s" in "\n".join(lines)
    assert "08:14:03 api and temporal killed (kill -9), not back yet" in "\n".join(lines)
    page = report(summary_of(samples()), [], elapsed_s=110, ledger_entries=10, blows=blows)
    text = "\n".join(rendered(page, 100))
    assert "Blows (3)" in text
    assert "08:14:03 postgres frozen (SIGSTOP) for 3.5 s, back after 3.6 s" in text


def test_a_transition_is_one_line_that_greps() -> None:
    stop = samples()[24]
    line = transition(stop.vehicle_id, stop.events[2])
    assert "\n" not in line
    for part in ("van-025", "start.rejected", "try 1", "+22 min", "failed: The charger refused to start"):
        assert part in line


def test_links_are_whole_on_a_narrow_terminal() -> None:
    console = Console(width=60, record=True, file=io.StringIO())
    print_links(console, LINKS)
    lines = [line.split() for line in console.export_text().splitlines() if "http" in line]
    assert [line[-1] for line in lines] == list(LINKS.values())
    assert LINKS["stops that fell back"].endswith("/workflows?query=Attempt%20%3E%201")
