"""What the morning came to, in words that a person understands; and whether every promise was kept."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from statistics import median
from urllib.parse import quote

from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from models.contract import KEEPER_WORKFLOW
from models.reason_catalogue import entry
from models.reason_codes import NextStep, ReasonCode
from models.stop import StopEvent, StopOutcome, StopView
from workers.demo.board import words
from workers.oracle import PROMISES, Violation
from workers.stack.chaos import Blow

_CHARGED = (StopOutcome.CHARGED, StopOutcome.CHARGED_SHORT)
_STEP_WORDS: dict[NextStep, str] = {
    NextStep.SAME_CONNECTOR: "same plug again",
    NextStep.OTHER_CONNECTOR: "next plug there",
    NextStep.OTHER_SITE: "another site",
}


@dataclass(frozen=True)
class HandOver:
    """A stop that asked for a person, and what came of it."""

    vehicle_id: str
    reason: ReasonCode | None
    outcome: StopOutcome | None

    @property
    def fate(self) -> str:
        if self.outcome is None:
            return "still waits"
        unanswered = self.outcome is StopOutcome.HANDED_TO_HUMAN
        return "nobody answered in time" if unanswered else f"settled: {words(self.outcome)}"

    @property
    def urgent(self) -> bool:
        return self.outcome in (None, StopOutcome.HANDED_TO_HUMAN)


@dataclass
class Summary:
    """Figures of a morning. Each stop is counted once in `outcomes`; late starts and hand-overs beside it."""

    stops: int = 0
    first_time: int = 0
    by_fallback: int = 0
    otherwise_charged: int = 0
    outcomes: Counter[StopOutcome] = field(default_factory=lambda: Counter())
    unfinished: list[str] = field(default_factory=lambda: [])
    fallbacks: Counter[ReasonCode] = field(default_factory=lambda: Counter())
    fallback_steps: defaultdict[ReasonCode, Counter[NextStep]] = field(
        default_factory=lambda: defaultdict(Counter)
    )
    adopted: int = 0
    late_stopped: int = 0
    hand_overs: list[HandOver] = field(default_factory=lambda: [])
    to_fallback_s: list[float] = field(default_factory=lambda: [])
    fallback_impact_s: list[float] = field(default_factory=lambda: [])
    energy_kwh: float = 0.0
    costs: defaultdict[str, Decimal] = field(default_factory=lambda: defaultdict(Decimal))
    estimated: int = 0
    queue_minutes: Decimal = Decimal(0)
    idle_minutes: Decimal = Decimal(0)
    events: int = 0


def summarise(
    views: Sequence[StopView], timelines: Mapping[str, Sequence[StopEvent]], requested: int
) -> Summary:
    """Figures from the API's views and timelines. `requested`: how many stops were asked for."""
    summary = Summary(stops=requested)
    for view in views:
        timeline = sorted(timelines.get(view.stop_id, ()), key=lambda event: event.seq)
        summary.events += len(timeline)
        _count_outcome(summary, view, timeline)
        _count_events(summary, view, timeline)
    return summary


def _count_outcome(summary: Summary, view: StopView, timeline: Sequence[StopEvent]) -> None:
    if view.outcome is None or view.result is None:
        summary.unfinished.append(view.vehicle_id)
        return
    summary.outcomes[view.outcome] += 1
    if view.outcome in _CHARGED:
        types = {event.type for event in timeline}
        turned = types & {"late_start.adopted", "charger.chosen"}
        if "fallback.chosen" in types and not turned:
            summary.by_fallback += 1
        elif len(view.attempts) <= 1 and not turned:
            summary.first_time += 1
        else:
            summary.otherwise_charged += 1
    result = view.result
    # The attempts, not the result: a session that came alive after the stop closed is booked there.
    summary.energy_kwh += sum(attempt.energy_kwh for attempt in view.attempts)
    cost = result.cost_actual or result.cost_estimated
    if cost is not None:
        summary.costs[cost.currency] += cost.amount
        summary.estimated += result.cost_actual is None
    summary.queue_minutes += result.queue_minutes
    summary.idle_minutes += result.idle_minutes


def _count_events(summary: Summary, view: StopView, timeline: Sequence[StopEvent]) -> None:
    failed_at = None
    for event in timeline:
        if event.type == "attempt.failed":
            failed_at = event.at
        elif event.type == "fallback.chosen":
            if event.reason is not None:
                summary.fallbacks[event.reason] += 1
                summary.fallback_steps[event.reason][event.next_step or NextStep.NONE] += 1
            if failed_at is not None:
                summary.to_fallback_s.append((event.at - failed_at).total_seconds())
            if event.eta_impact_s is not None:
                summary.fallback_impact_s.append(event.eta_impact_s)
        elif event.type == "late_start.adopted":
            summary.adopted += 1
        elif event.type == "late_start.stopped":
            summary.late_stopped += 1
        elif event.type == "human.requested":
            summary.hand_overs.append(HandOver(view.vehicle_id, event.reason, view.outcome))


def report(
    summary: Summary,
    violations: Sequence[Violation],
    *,
    elapsed_s: float,
    ledger_entries: int,
    workflows: int | None = None,
    blows: Sequence[Blow] = (),
    notes: Sequence[str] = (),
) -> RenderableType:
    """The closing page, but for its links. `workflows`: how many told their own story; None: not asked."""
    parts: list[RenderableType] = [Rule("The morning"), _headline(summary), _outcomes(summary)]
    if summary.fallbacks:
        parts += [_title("Why a fallback was needed"), _fallbacks(summary)]
    if summary.hand_overs:
        parts += [_title("Went to a person"), _hand_overs(summary)]
    parts += [_title("Figures"), _figures(summary, elapsed_s)]
    if blows:
        parts += [_title(f"Blows ({len(blows)})"), _blows(blows)]
    parts += [_title("Promises"), _promises(summary, violations, ledger_entries, workflows)]
    parts += [Padding(Text(note, style="yellow"), (0, 2)) for note in notes]
    return Group(*parts)


def print_links(console: Console, links: Mapping[str, str]) -> None:
    """Never wrapped or cut, so that they stay links wherever they are printed."""
    console.print(_title("To look at"))
    width = max((len(label) for label in links), default=0)
    for label, url in links.items():
        line = Text(f"  {label:<{width}}  ")
        line.append(url, style="cyan")
        console.print(line, soft_wrap=True)
    console.print()


def _title(text: str) -> RenderableType:
    return Padding(Text(text, style="bold"), (1, 1, 0, 1))


def _headline(summary: Summary) -> RenderableType:
    charged = sum(summary.outcomes[outcome] for outcome in _CHARGED)
    style = "bold green" if not summary.unfinished else "bold red"
    text = Text(f"{charged} of {summary.stops} vans were charged", style=style)
    if summary.by_fallback:
        text.append(f", {summary.by_fallback} of them because a fallback was found in time")
    text.append(".")
    if summary.unfinished:
        text.append(f" Without an outcome: {', '.join(summary.unfinished)}.")
    return Padding(text, (1, 1))


def _outcomes(summary: Summary) -> RenderableType:
    table = _grid()
    rows: list[tuple[str, int, str, str]] = [
        ("charged at the first try", summary.first_time, "green", ""),
        (
            "saved by a fallback",
            summary.by_fallback,
            "green",
            "the first charger failed, another one charged",
        ),
        (
            "charged after other turns",
            summary.otherwise_charged,
            "green",
            "a person chose, or a given-up start came alive",
        ),
        (
            "of these: less than asked for",
            summary.outcomes[StopOutcome.CHARGED_SHORT],
            "yellow",
            "vehicle, driver or a limit ended it",
        ),
        (
            "went to a person",
            summary.outcomes[StopOutcome.HANDED_TO_HUMAN],
            "red",
            "nobody answered in time; see below",
        ),
        ("no show", summary.outcomes[StopOutcome.NO_SHOW], "yellow", "the van never came"),
        (
            "cancelled",
            summary.outcomes[StopOutcome.CANCELLED],
            "yellow",
            "whatever ran was stopped and booked",
        ),
        ("not needed", summary.outcomes[StopOutcome.NOT_NEEDED], "dim", "the van had enough"),
        ("not charged", summary.outcomes[StopOutcome.NOT_CHARGED], "red", ""),
        (
            "late starts caught",
            summary.adopted + summary.late_stopped,
            "cyan",
            f"given up, then alive: {summary.adopted} adopted, {summary.late_stopped} stopped and booked",
        ),
    ]
    for label, count, style, note in rows:
        if count or label in ("charged at the first try", "saved by a fallback", "went to a person"):
            table.add_row(
                Text(str(count), style=f"bold {style}" if count else "dim"), label, Text(note, style="dim")
            )
    return table


def _grid() -> Table:
    table = Table(box=None, show_header=False, padding=(0, 1))
    table.add_column(justify="right", min_width=5, no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    return table


def _fallbacks(summary: Summary) -> RenderableType:
    table = _grid()
    for reason, count in sorted(summary.fallbacks.items(), key=lambda item: (-item[1], item[0])):
        steps = summary.fallback_steps[reason]
        went = ", ".join(f"{steps[step]}x {name}" for step, name in _STEP_WORDS.items() if steps[step])
        table.add_row(
            str(count), entry(reason).title, Text(f"{reason} -> {went}" if went else reason, style="dim")
        )
    return table


def _hand_overs(summary: Summary) -> RenderableType:
    table = Table(box=None, show_header=False, padding=(0, 1))
    table.add_column(no_wrap=True, min_width=7, style="bold")
    table.add_column(overflow="fold")
    for hand_over in summary.hand_overs:
        known = entry(hand_over.reason) if hand_over.reason else None
        text = Text(known.title if known else "No reason was given", style="red" if hand_over.urgent else "")
        text.append(f" ({hand_over.fate})", style="dim")
        if known is not None:
            text.append(
                f"\n{words(known.responsible).capitalize()} to act. {known.operator_advice}", style="dim"
            )
        table.add_row(hand_over.vehicle_id, text)
    return table


def _figures(summary: Summary, elapsed_s: float) -> RenderableType:
    table = Table(box=None, show_header=False, padding=(0, 1))
    table.add_column(no_wrap=True, min_width=28)
    table.add_column(overflow="fold")
    cost = ", ".join(f"{amount:.2f} {currency}" for currency, amount in sorted(summary.costs.items()))
    table.add_row("energy", f"{summary.energy_kwh:.1f} kWh")
    table.add_row(
        "cost, excl. VAT",
        (cost or "none") + (f" ({summary.estimated} estimated)" if summary.estimated else ""),
    )
    if summary.to_fallback_s:
        times = f"median {median(summary.to_fallback_s):.1f} s, worst {max(summary.to_fallback_s):.1f} s"
        table.add_row("from failure to fallback", times)
    if summary.fallback_impact_s:
        impact = f"median {median(summary.fallback_impact_s) / 60:+.0f} min"
        table.add_row("ETA impact of the fallbacks", f"{impact}, charging included")
    table.add_row("queue and idle", f"{summary.queue_minutes:.1f} min, {summary.idle_minutes:.1f} min")
    table.add_row("the morning took", f"{elapsed_s:.0f} s, {summary.events} transitions")
    return table


def _blows(blows: Sequence[Blow]) -> RenderableType:
    lines = [Text(blow.line(), style="" if blow.back_s is not None else "bold red") for blow in blows]
    return Padding(Group(*lines), (0, 2))


def _promises(
    summary: Summary, violations: Sequence[Violation], ledger_entries: int, workflows: int | None
) -> RenderableType:
    if not violations and not summary.unfinished:
        text = Text("All kept", style="bold green")
        text.append(f" ({len(PROMISES)}): ", style="")
        text.append("; ".join(PROMISES), style="")
        text.append(f". Checked against {ledger_entries} entries of the chargers' own ledgers", style="")
        more = f", {workflows} workflows and our own rows." if workflows is not None else "."
        text.append(more, style="")
        return Padding(text, (0, 2))
    lines = [
        Text(f"{len(violations)} broken, {len(summary.unfinished)} stops without an outcome", "bold red")
    ]
    for violation in violations[:30]:
        line = Text(f"{violation.invariant}: ", style="red")
        line.append(f"{violation.text} ({violation.subject})", style="")
        lines.append(line)
    return Padding(Group(*lines), (0, 2))


def query_links(workflows_url: str) -> dict[str, str]:
    """Ready lists of the Temporal UI. `workflows_url`: its list of a namespace's workflows."""
    queries = {
        "Temporal UI, all stops": 'WorkflowType="ChargingStop"',
        "stops that fell back": "Attempt > 1",
        "stops left to a person": 'StopOutcome="handed_to_human"',
        "sessions kept beyond their stop": f'WorkflowType="{KEEPER_WORKFLOW}"',
    }
    return {label: f"{workflows_url}?query={quote(query)}" for label, query in queries.items()}
