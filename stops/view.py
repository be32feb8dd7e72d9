"""A stop as others see it: the view of the API and the read model, and the card of the Temporal UI."""

from __future__ import annotations

from datetime import datetime

from models.ids import workflow_id_for
from models.reason_catalogue import entry
from models.stop import Attempt, SessionState, StopOutcome, StopRecord, StopResult, StopView
from stops.session import Session
from stops.stop import Stop

_CARD_EVENTS = 8
_OUTCOMES = {StopOutcome.HANDED_TO_HUMAN: "Handed to a person"}


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
        former_run_ids=stop.former_run_ids,
        vehicle_id=stop.request.vehicle.vehicle_id,
        phase=stop.phase,
        outcome=stop.outcome,
        reason=stop.reason,
        responsible=advice.responsible if advice else None,
        next_step=stop.next_step,
        headline=stop.log.headline,
        waits_for=stop.waiting.what,
        waits_until=stop.waiting.until,
        driver_advice=_driver_advice(stop),
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


def _driver_advice(stop: Stop) -> str:
    """What to do now. What was wrong at a charger that was left is no advice at the next."""
    if stop.reason is None:
        return ""
    if _is_behind(stop):
        return f"Go to {stop.plan.charger_id}."
    return entry(stop.reason).driver_advice


def _is_behind(stop: Stop) -> bool:
    """The reason of now is about a charger that the stop has left for another."""
    heads_to, failed_at = stop.plan.charger_id, stop.reason_at
    if stop.outcome is not None or stop.waiting.human_until is not None:
        return False
    return heads_to is not None and failed_at is not None and heads_to != failed_at


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
        f"**Phase** {_words(view.phase)} · **charger** {view.charger_id or 'none'} · "
        f"**attempts so far** {view.attempt_number} · **ETA impact** {eta}",
    ]
    if view.awaiting_human_until:
        lines.append(f"**A person must act until {_moment(view.awaiting_human_until, stop)}.**")
    elif view.awaiting_approval_until:
        lines.append(f"**The plan must be approved until {_moment(view.awaiting_approval_until, stop)}.**")
    elif view.waits_for and view.outcome is None:
        until = f" until {_moment(view.waits_until, stop)}" if view.waits_until else ""
        lines.append(f"**Waits for** {view.waits_for[0].lower()}{view.waits_for[1:]}{until}")
    if stop.reason:
        known, at = entry(stop.reason), f" at {stop.reason_at}" if stop.reason_at else ""
        word = "Came from" if _is_behind(stop) else "Reason"
        lines.append(
            f"**{word}** `{stop.reason}`{at}: {known.title} (responsible: {_words(known.responsible)}). "
            f"{known.operator_advice}"
        )
    lines += [_energy_line(session, stop) for session in stop.sessions if session.is_alive]
    if view.attempts:
        lines += ["", "Attempts:"]
        lines += [_attempt_line(attempt) for attempt in view.attempts]
    lines += ["", "Latest:"]
    lines += [f"- {event.at:%H:%M:%S} {event.text}" for event in stop.log.events[-_CARD_EVENTS:]]
    return "\n".join(lines)


def _words(code: str) -> str:
    return str(code).replace("_", " ")


def _moment(at: datetime, stop: Stop) -> str:
    """With the date where it is not today's."""
    today = stop.log.updated_at.date() == at.date()
    return f"{at:%H:%M:%S} UTC" if today else f"{at:%d %b %H:%M} UTC"


def _attempt_line(attempt: Attempt) -> str:
    """The UI draws tables without any space between cells: a sentence it is."""
    why = f" ({attempt.reason})" if attempt.reason else ""
    return (
        f"- {attempt.number}. {attempt.charger_id}: {attempt.state}, session {_words(attempt.session)}, "
        f"{attempt.energy_kwh:.1f} kWh{why}"
    )


def _energy_line(session: Session, stop: Stop) -> str:
    needed = stop.bookings[session.attempt_id].needed_kwh
    at = f" at {session.seen_kwh_at:%H:%M:%S}" if session.seen_kwh_at else ""
    soc = f", {session.soc_percent:.0f} %" if session.soc_percent is not None else ""
    state = session.state
    word = "Charging" if state is SessionState.ALIVE else _words(state).capitalize()
    return f"**{word}** at {session.charger_id}: {session.energy_kwh:.1f} of {needed:.1f} kWh{at}{soc}"


def last_word(result: StopResult) -> str:
    """The outcome in one sentence."""
    if result.outcome is StopOutcome.CANCELLED and result.reason:
        return entry(result.reason).title
    words = _OUTCOMES.get(result.outcome, _words(result.outcome).capitalize())
    energy = f", {result.energy_kwh:.1f} kWh" if result.energy_kwh else ""
    cost = f", {result.cost_actual}" if result.cost_actual else ""
    why = f": {entry(result.reason).title}" if result.reason else ""
    return f"{words}{energy}{cost}{why}"
