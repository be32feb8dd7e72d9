"""The one judge: what any end, fault, silence or report of a session means for its stop.

Every way out of a charge passes here, so that 29.7 of 30 kWh is enough whoever ended it, and a pause by load
management is no stall whoever noticed it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from models.policy import Policy
from models.reason_catalogue import entry
from models.reason_codes import NextStep, Party, Phase, ReasonCode
from models.stop import SessionState
from stops.base import seconds_between
from stops.session import Session

_OUR_SIDE = (Party.DRIVER, Party.VEHICLE, Party.FLEET)
_TINY_KWH = 0.05
_SOC_TOLERANCE_PERCENT = 0.5
_FRESH = timedelta(minutes=2)
_LOOK_AGAIN = timedelta(minutes=1)
_SOC_SLACK, _SOC_SLACK_PERCENT = 2.0, 5.0
"""Gauges are coarse, meters late and batteries old; beyond this one of both is wrong."""


class Means(StrEnum):
    """What an end means for the stop."""

    ENOUGH = "enough"
    FALLBACK = "fallback"
    """The charger's side failed: another charger helps."""
    SHORT = "short"
    """Driver, vehicle or a limit ended it: that is the outcome."""


@dataclass(frozen=True)
class Verdict:
    means: Means
    reason: ReasonCode | None = None


@dataclass(frozen=True)
class Need:
    """What the stop is for. `kwh`: for the session judged, counted from its own start. `battery_kwh`: None
    where unknown."""

    kwh: float
    target_soc_percent: float
    tolerance_percent: float
    battery_kwh: float | None = None
    most_kwh: float | None = None
    """However much the vehicle says it lacks, no more than this: a wrong gauge must not charge for ever."""

    @property
    def enough_kwh(self) -> float:
        return self.kwh * (1 - self.tolerance_percent / 100)


def is_enough(session: Session, need: Need) -> bool:
    """By energy; and by what the vehicle itself measured while it charged, where it says so and the energy
    explains it."""
    full_percent = need.target_soc_percent - _SOC_TOLERANCE_PERCENT
    full = session.is_measured and (session.soc_percent or 0.0) >= full_percent
    if full and soc_is_explained(session, need.battery_kwh):
        return True
    if session.delivered_kwh < need.enough_kwh:
        return False
    return not _still_lacks(session, need)


def soc_is_explained(session: Session, battery_kwh: float | None) -> bool:
    """The charge did not rise by more than what was metered can have brought, or nothing meters it."""
    if session.seen_kwh_at is None or session.soc_percent is None or not battery_kwh:
        return True
    gained_percent = session.soc_percent - (session.first_soc_percent or 0.0)
    flowed_percent = session.energy_kwh / battery_kwh * 100
    return gained_percent <= flowed_percent * _SOC_SLACK + _SOC_SLACK_PERCENT


def missing_by_soc(session: Session, need: Need) -> float:
    """kWh that the vehicle lacks by its own measure during this session, less what has flowed since; 0 where
    it has not measured."""
    if not session.is_measured or not need.battery_kwh:
        return 0.0
    gap_percent = need.target_soc_percent - (session.soc_percent or 0.0)
    return max(0.0, gap_percent / 100 * need.battery_kwh - session.unmeasured_kwh)


def _still_lacks(session: Session, need: Need) -> bool:
    """The energy came, and yet the vehicle, measured as late as the meter, lacks more than the tolerance:
    losses, or it consumed while it charged. Bounded, so that a wrong gauge cannot charge for ever."""
    if session.soc_at is None:
        return False
    missing_kwh = missing_by_soc(session, need)
    fresh = session.seen_kwh_at is None or session.soc_at >= session.seen_kwh_at - _FRESH
    lacks = missing_kwh > max(1.0, need.kwh * need.tolerance_percent / 100)
    return fresh and lacks and session.delivered_kwh < (need.most_kwh or need.kwh)


def judge_end(session: Session, need: Need, ended_because: ReasonCode | None = None) -> Verdict:
    """`ended_because`: why we ended it (a stall, a report, a limit), or None where the other side did."""
    if is_enough(session, need):
        return Verdict(Means.ENOUGH)
    told = sustained(session.fault) if session.fault else session.end_reason
    reason = ended_because or told or _nobody_said(session)
    if calls_for_fallback(reason):
        return Verdict(Means.FALLBACK, reason)
    return Verdict(Means.SHORT, reason)


def _nobody_said(session: Session) -> ReasonCode:
    """An end without a reason. If the vehicle was seen to take no more, that is why; else it is unknown."""
    if session.suspended_at is not None:
        return ReasonCode.SUSTAIN_VEHICLE_STOPPED
    if session.ended_at is not None and session.told_end_at is None and session.record_at is None:
        return ReasonCode.SUSTAIN_UNPLUGGED_EARLY  # the vehicle alone spoke for it, and it was unplugged
    return ReasonCode.SUSTAIN_END_UNKNOWN


def calls_for_fallback(reason: ReasonCode) -> bool:
    """Another try helps where the charger's side failed, or the charge never really began; not where the
    vehicle or driver ended it."""
    known = entry(reason)
    never_began = reason.phase in (Phase.AUTHORISE, Phase.START, Phase.CONFIRM)
    return known.next_step is not NextStep.NONE and (never_began or known.responsible not in _OUR_SIDE)


def sustained(fault: ReasonCode | None) -> ReasonCode:
    """A fault reported for the connector, said of a charge that was running."""
    own_words = (Phase.SUSTAIN, Phase.CONFIRM)
    is_own = fault is not None and fault.phase in own_words and fault is not ReasonCode.CONFIRM_EVSE_FAULT
    return fault if fault is not None and is_own else ReasonCode.SUSTAIN_EVSE_FAULT


class Pause(StrEnum):
    """What a running session that makes no progress is doing."""

    NONE = "none"
    PAUSED = "paused"
    """By the charger: load management. It goes on by itself."""
    OUT_OF_CONTACT = "out_of_contact"
    """The uplink is lost, or nothing was heard. The charge may well go on."""
    VEHICLE_DONE = "vehicle_done"
    STALLED = "stalled"
    TIME_LIMIT = "time_limit"


@dataclass(frozen=True)
class Stillness:
    """`reason`: its code. `over`: patience has run out, the session is to be left."""

    pause: Pause
    reason: ReasonCode | None = None
    over: bool = False


def judge_stillness(session: Session, policy: Policy, now: datetime) -> Stillness:
    """Silence is not evidence. What a session without progress means, by what else is known, now."""
    if seconds_between(session.began_at, now) >= policy.max_charging_s:
        return Stillness(Pause.TIME_LIMIT, ReasonCode.SUSTAIN_TIME_LIMIT, over=True)
    if session.suspended_at is not None:
        over = seconds_between(session.suspended_since, now) >= policy.idle_grace_s
        return Stillness(Pause.VEHICLE_DONE, ReasonCode.SUSTAIN_VEHICLE_STOPPED, over)
    if session.is_out_of_contact:
        over = seconds_between(session.lost_since, now) >= policy.silence_s
        return Stillness(Pause.OUT_OF_CONTACT, ReasonCode.SUSTAIN_CONTACT_LOST, over)
    if session.paused_at is not None:
        over = seconds_between(session.paused_since, now) >= policy.pause_s
        return Stillness(Pause.PAUSED, ReasonCode.SUSTAIN_PAUSED, over)
    return _judge_silence(session, policy, now)


def _judge_silence(session: Session, policy: Policy, now: datetime) -> Stillness:
    """No turn was told, and the store says that no energy has come for the stall's patience."""
    silent_at, progressed_at = session.silent_at, session.progressed_at
    if silent_at is None or (progressed_at is not None and progressed_at >= silent_at):
        return Stillness(Pause.NONE)
    heard_at = session.silent_heard_at
    moved_at = progressed_at or session.began_at or session.opened_at
    if heard_at is None or heard_at < moved_at + timedelta(seconds=policy.stall_s / 2):
        # No sample came well after the last progress: a slow sampling interval, or the uplink. The charge may
        # well go on.
        since = heard_at or session.began_at
        over = seconds_between(since, now) >= policy.silence_s
        return Stillness(Pause.OUT_OF_CONTACT, ReasonCode.SUSTAIN_CONTACT_LOST, over)
    stalled = ReasonCode.SUSTAIN_STALLED if session.flowed else ReasonCode.CONFIRM_NO_ENERGY
    return Stillness(Pause.STALLED, stalled, over=True)


def due_at(session: Session, policy: Policy, now: datetime) -> datetime:
    """When the stillness of a session has to be judged again, if nothing is heard of it until then."""
    limits = [(session.began_at or session.opened_at) + timedelta(seconds=policy.max_charging_s)]
    if session.suspended_since is not None:
        limits.append(session.suspended_since + timedelta(seconds=policy.idle_grace_s))
    elif session.is_out_of_contact and session.lost_since is not None:
        limits.append(session.lost_since + timedelta(seconds=policy.silence_s))
    elif session.paused_since is not None:
        limits.append(session.paused_since + timedelta(seconds=policy.pause_s))
    elif judge_stillness(session, policy, now).pause is Pause.OUT_OF_CONTACT:
        since = session.silent_heard_at or session.began_at or session.opened_at
        limits.append(since + timedelta(seconds=policy.silence_s))
    # What is past has been judged just now, and was not over: waiting for it would be a loop without a pause.
    return min((at for at in limits if at > now), default=now + _LOOK_AGAIN)


def start_proven(session: Session, reason: ReasonCode | None) -> bool | None:
    """What ranking may learn: True where energy flowed, False where charger, operator or partner failed to
    start it, None where neither is proven."""
    if session.flowed and session.energy_kwh >= _TINY_KWH:
        return True
    if reason is ReasonCode.CONFIRM_CONTACT_LOST:
        return None  # silence proves nothing
    if reason is None or reason.phase.value not in ("start", "confirm", "authorise"):
        return None
    blamed = entry(reason).responsible in (Party.CHARGER, Party.OPERATOR, Party.PARTNER)
    return False if blamed and session.state is not SessionState.INTENDED else None
