"""The live picture of the morning: one line per stop, from what the API says and nothing else."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from models.stop import StopEvent, StopOutcome, StopPhase, StopView
from workers.stack.chaos import Blow

_PHASE_STYLES: dict[StopPhase, str] = {
    StopPhase.PLANNING: "magenta",
    StopPhase.EN_ROUTE: "blue",
    StopPhase.ARRIVED: "blue",
    StopPhase.STARTING: "yellow",
    StopPhase.CONFIRMING: "yellow",
    StopPhase.CHARGING: "bold green",
    StopPhase.SETTLING: "cyan",
    StopPhase.CLOSED: "dim",
    StopPhase.UNKNOWN: "dim",
}
_OUTCOME_STYLES: dict[StopOutcome, str] = {
    StopOutcome.CHARGED: "green",
    StopOutcome.CHARGED_SHORT: "yellow",
    StopOutcome.CANCELLED: "dim",
    StopOutcome.NO_SHOW: "yellow",
    StopOutcome.HANDED_TO_HUMAN: "bold red",
    StopOutcome.NOT_CHARGED: "bold red",
    StopOutcome.NOT_NEEDED: "dim",
}
_FRAME_LINES = 6
_BLOWS_SHOWN = 3
_LEAST_ROWS = 5


@dataclass(frozen=True)
class Row:
    """One stop's line; `view` is None until the API knows it."""

    vehicle_id: str
    view: StopView | None = None


def words(value: str) -> str:
    """An identifier as a person reads it."""
    return value.replace("_", " ")


def minutes(seconds: float | None) -> str:
    return "" if seconds is None else f"{seconds / 60:+.0f} min"


def status_line(rows: Sequence[Row], elapsed_s: float, api_away: bool = False) -> Text:
    """How many stand where, in one line."""
    views = [row.view for row in rows if row.view is not None]
    phases = Counter(view.phase for view in views)
    waiting = sum(1 for view in views if view.awaiting_human_until is not None)
    again = sum(1 for view in views if view.attempt_number > 1)
    line = Text(f" {elapsed_s:4.0f} s  ", style="bold")
    parts = [(f"{len(rows) - len(views)} to come", "dim")] if len(views) < len(rows) else []
    parts += [
        (f"{phases[phase]} {words(phase)}", style) for phase, style in _PHASE_STYLES.items() if phases[phase]
    ]
    parts += [(f"{again} tried again", "yellow")] if again else []
    parts += [(f"{waiting} wait for a person", "bold red")] if waiting else []
    parts += [("the API is away, nothing is lost", "bold yellow")] if api_away else []
    for index, (text, style) in enumerate(parts):
        line.append(" · " if index else "", style="dim")
        line.append(text, style=style)
    return line


def board(
    rows: Sequence[Row],
    *,
    width: int,
    height: int,
    elapsed_s: float,
    api_away: bool = False,
    blows: Sequence[Blow] = (),
) -> RenderableType:
    """The table, sized to the terminal: where not all fit, those that still move come first. Under chaos the
    latest blows stand above it."""
    struck = [_blow_line(blow) for blow in blows[-_BLOWS_SHOWN:]]
    room = max(_LEAST_ROWS, height - _FRAME_LINES - len(struck))
    shown = _fitting(rows, room)
    wide, narrow = width >= 130, width < 90
    table = Table(box=None, expand=True, padding=(0, 1, 0, 0), header_style="bold", width=width)
    table.add_column(" van", no_wrap=True, min_width=8)
    table.add_column("phase", no_wrap=True, min_width=15 if wide else 13)
    table.add_column("charger", no_wrap=True, min_width=17)
    table.add_column("try", no_wrap=True, justify="right")
    table.add_column("code", no_wrap=True, min_width=24 if wide else 20, max_width=24)
    table.add_column("ETA", no_wrap=True, justify="right", min_width=7)
    if not narrow:
        table.add_column("what happens", no_wrap=True, overflow="ellipsis", ratio=1)
    for row in shown:
        table.add_row(*_cells(row)[: len(table.columns)])
    hidden = len(rows) - len(shown)
    foot = Text(f" and {hidden} more" if hidden else "", style="dim")
    return Group(status_line(rows, elapsed_s, api_away), *struck, table, foot)


def _blow_line(blow: Blow) -> Text:
    style = "dim red" if blow.back_s is not None else "bold red"
    return Text(f" {blow.line()}", style=style, no_wrap=True, overflow="ellipsis")


def _fitting(rows: Sequence[Row], room: int) -> list[Row]:
    if len(rows) <= room:
        return list(rows)

    def urgency(row: Row) -> tuple[int, float]:
        if row.view is None:
            return (2, 0.0)
        moving = 0 if row.view.outcome is None else 1
        return (moving, -row.view.updated_at.timestamp())

    kept = {row.vehicle_id for row in sorted(rows, key=urgency)[:room]}
    return [row for row in rows if row.vehicle_id in kept]


def _cells(row: Row) -> list[Text]:
    view = row.view
    if view is None:
        return [Text(f" {row.vehicle_id}", style="dim"), *(Text("") for _ in range(6))]
    if view.outcome is not None:
        style = _OUTCOME_STYLES[view.outcome]
        phase = Text(words(view.outcome), style=style)
    else:
        style = _PHASE_STYLES[view.phase]
        phase = Text(words(view.phase), style=style)
    human = view.awaiting_human_until is not None
    # An earlier failure stays in sight: it is why the stop stands where it stands.
    last_failure = next((a.reason for a in reversed(view.attempts) if a.reason is not None), None)
    code = view.reason or last_failure
    return [
        Text(f" {row.vehicle_id}", style="dim" if view.outcome else ""),
        phase,
        Text(view.charger_id or "", style="dim" if view.outcome else ""),
        Text(str(view.attempt_number or ""), style="yellow" if view.attempt_number > 1 else ""),
        Text(str(code) if code else "", style="dim yellow" if view.outcome else "yellow"),
        Text(minutes(view.eta_impact_s), style="dim" if view.outcome else ""),
        Text(view.headline, style="bold red" if human else ("dim" if view.outcome else "")),
    ]


def transition(vehicle_id: str, event: StopEvent) -> str:
    """One event on one line, for output that nobody watches live."""
    attempt = f"try {event.attempt_number}" if event.attempt_number else ""
    cells = (
        f"{event.at:%H:%M:%S}",
        f"{vehicle_id:<8}",
        f"{words(event.phase):<10}",
        f"{event.charger_id or '':<17}",
        f"{attempt:<5}",
        f"{event.reason or '':<22}",
        f"{minutes(event.eta_impact_s):>7}",
        event.text,
    )
    return "  ".join(cells)
