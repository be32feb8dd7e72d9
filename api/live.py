"""Live energy of running sessions: meters stay out of a stop's history; its row follows the turns only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from models.stop import Attempt, SessionState, StopView
from store.database import TenantUnit
from store.progress import LiveFigures

_RUNNING = frozenset(
    {
        SessionState.SENT,
        SessionState.ACCEPTED,
        SessionState.ALIVE,
        SessionState.SUSPENDED_BY_VEHICLE,
        SessionState.SUSPENDED_BY_CHARGER,
        SessionState.OUT_OF_CONTACT,
        SessionState.STOPPING,
    }
)


async def with_live_energy(unit: TenantUnit, views: Sequence[StopView]) -> list[StopView]:
    """The same stops, open ones with what their meters show now. What a stop has booked is never lowered; a
    closed stop says what is booked."""
    running = [one.attempt_id for view in views for one in _running(view)]
    figures = await unit.progress.live(running)
    return [_live(view, figures) for view in views]


def _running(view: StopView) -> list[Attempt]:
    return [one for one in view.attempts if one.session in _RUNNING] if view.outcome is None else []


def _live(view: StopView, figures: Mapping[str, LiveFigures]) -> StopView:
    shown = {
        one.attempt_id: figures[one.attempt_id].energy_kwh
        for one in _running(view)
        if one.attempt_id in figures and figures[one.attempt_id].energy_kwh > one.energy_kwh
    }
    if not shown:
        return view
    attempts = tuple(
        one.model_copy(update={"energy_kwh": round(shown.get(one.attempt_id, one.energy_kwh), 4)})
        for one in view.attempts
    )
    energy_kwh = round(sum(one.energy_kwh for one in attempts), 4)
    return view.model_copy(update={"attempts": attempts, "energy_kwh": energy_kwh})
