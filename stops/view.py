"""A stop as others see it: the view of the API and the read model, and the card of the Temporal UI."""

from __future__ import annotations

from models.ids import workflow_id_for
from models.reason_catalogue import entry
from models.stop import SessionState, StopRecord, StopResult, StopView
from stops.session import Session
from stops.stop import Stop

_CARD_EVENTS = 8


def view_of(stop: Stop) -> StopView:
    charger = stop.plan.candidate.charger if stop.plan.candidate else None
    advice = entry(stop.reason) if stop.reason else None
    decision, current = stop.plan.decision, stop.current
    return StopView(
        stop_id=stop.stop_id,
        tenant_id=stop.tenant_id,
        business_key=stop.request.business_key,
        workflow_id=workflow_id_for(stop.tenant_id, stop.request.business_key),
        run_id=stop.run_id,
        continued_from_run_id=stop.continued_from_run_id,
        vehicle_id=stop.request.vehicle.vehicle_id,
        phase=stop.phase,
        outcome=stop.outcome,
        reason=stop.reason,
        responsible=advice.responsible if advice else None,
        next_step=stop.next_step,
        headline=stop.log.headline,
        waits_for=stop.waiting.what,
        waits_until=stop.waiting.until,
        driver_advice=advice.driver_advice if advice else "",
        awaiting_human_until=stop.waiting.human_until,
        awaiting_approval_until=stop.waiting.approval_until,
        charger_id=charger.charger_id if charger else None,
        site_id=charger.site_id if charger else None,
        charger_place=charger.place if charger else None,
        attempt_number=len(stop.sessions),
        eta_impact_s=stop.plan.candidate.eta_impact_s if stop.plan.candidate else None,
        arrive_by=stop.plan.arrive_by,
        needed_kwh=round(stop.bookings[current.attempt_id].needed_kwh, 2) if current else None,
        energy_kwh=stop.energy_kwh(),
        options={str(k): v for k, v in decision.options.items()} if decision else {},
        alternatives=tuple(c.charger.charger_id for c in decision.candidates) if decision else (),
        result=stop.result,
        attempts=stop.attempts,
        policy_version=stop.policy_version,
        fingerprint=stop.request.fingerprint,
        telematics_id=stop.request.vehicle.telematics_id,
        created_at=stop.created_at,
        updated_at=stop.log.updated_at,
        version=stop.log.version,
    )


def take_record(stop: Stop) -> StopRecord:
    """What the store has not seen yet, with the view as it is now."""
    first = stop.log.given == 0
    events, decisions = stop.log.give()
    return StopRecord(
        view=view_of(stop), request=stop.request if first else None, events=events, decisions=decisions
    )


def card_of(stop: Stop) -> str:
    """The stop on one Markdown card, for the Temporal UI (current details): where it stands, what it waits
    for and until when, who must act."""
    view = view_of(stop)
    eta = "unknown" if view.eta_impact_s is None else f"{view.eta_impact_s / 60:+.0f} min"
    lines = [
        f"### {view.headline}",
        f"**Phase** {view.phase} · **charger** {view.charger_id or 'none'} · "
        f"**attempt** {view.attempt_number} · **ETA impact** {eta}",
    ]
    if view.waits_for and view.outcome is None:
        until = f" until {view.waits_until:%H:%M:%S} UTC" if view.waits_until else ""
        lines.append(f"**Waits for** {view.waits_for}{until}")
    if view.awaiting_human_until:
        lines.append(f"**A person must act until {view.awaiting_human_until:%H:%M:%S} UTC.**")
    if view.awaiting_approval_until:
        lines.append(f"**The plan must be approved until {view.awaiting_approval_until:%H:%M:%S} UTC.**")
    if stop.reason:
        known = entry(stop.reason)
        lines.append(
            f"**Reason** `{stop.reason}`: {known.title} (responsible: {known.responsible}). "
            f"{known.operator_advice}"
        )
    lines += [_energy_line(session, stop) for session in stop.sessions if session.is_alive]
    if view.attempts:
        lines += ["", "| # | charger | attempt | session | energy | reason |", "|---|---|---|---|---|---|"]
        lines += [
            f"| {a.number} | {a.charger_id} | {a.state} | {a.session} | {a.energy_kwh:.1f} kWh | "
            f"{a.reason or ''} |"
            for a in view.attempts
        ]
    lines += ["", "Latest:"]
    lines += [f"- {event.at:%H:%M:%S} {event.text}" for event in stop.log.events[-_CARD_EVENTS:]]
    return "\n".join(lines)


def _energy_line(session: Session, stop: Stop) -> str:
    needed = stop.bookings[session.attempt_id].needed_kwh
    at = f" at {session.seen_kwh_at:%H:%M:%S}" if session.seen_kwh_at else ""
    soc = f", {session.soc_percent:.0f} %" if session.soc_percent is not None else ""
    state = session.state
    word = "Charging" if state is SessionState.ALIVE else str(state).replace("_", " ").capitalize()
    return f"**{word}** at {session.charger_id}: {session.energy_kwh:.1f} of {needed:.1f} kWh{at}{soc}"


def last_word(result: StopResult) -> str:
    """The outcome in one sentence."""
    words = str(result.outcome).replace("_", " ").capitalize()
    energy = f", {result.energy_kwh:.1f} kWh" if result.energy_kwh else ""
    cost = f", {result.cost_actual}" if result.cost_actual else ""
    why = f": {entry(result.reason).title}" if result.reason else ""
    return f"{words}{energy}{cost}{why}"
