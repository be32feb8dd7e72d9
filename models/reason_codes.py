"""The closed catalogue of reason codes: why a plan, an attempt or a stop did not go as wished.

A code is a pair (phase, cause). The catalogue is versioned; codes are never reused or renamed. Mappings:
MREC = ChargeX Minimum Required Error Codes (INL, 2023), OCPP 1.6 ed. 2 ChargePointErrorCode and Reason,
OCPP 2.0.1 ed. 3 ReasonEnumType and reasonCode, OCPI 2.2.1 CommandResultType and session status.
"""

from __future__ import annotations

from enum import StrEnum

from models.base import Message

CATALOGUE_VERSION = "1.1"


class Phase(StrEnum):
    """Where in a stop's life the cause struck."""

    PLAN = "plan"
    REACH = "reach"
    AUTHORISE = "authorise"
    START = "start"
    CONFIRM = "confirm"
    SUSTAIN = "sustain"
    STOP = "stop"
    SETTLE = "settle"


class Party(StrEnum):
    """Who can cure it."""

    DRIVER = "driver"
    FLEET = "fleet"
    VEHICLE = "vehicle"
    CHARGER = "charger"
    OPERATOR = "charge_point_operator"
    PARTNER = "roaming_partner"
    PLATFORM = "platform"
    NOBODY = "nobody"


class NextStep(StrEnum):
    """What to try next, as the catalogue advises."""

    NONE = "none"
    SAME_CONNECTOR = "same_connector"
    OTHER_CONNECTOR = "other_connector"
    OTHER_SITE = "other_site"
    HUMAN = "human"


class ReasonCode(StrEnum):
    PLAN_NO_CANDIDATE = "plan.no_candidate"
    PLAN_POLICY_FORBIDS_ALL = "plan.policy_forbids_all"
    PLAN_UNREACHABLE = "plan.unreachable"
    PLAN_UNAVAILABLE = "plan.planner_unavailable"
    PLAN_NOT_APPROVED = "plan.not_approved"
    PLAN_BAD_REQUEST = "plan.bad_request"
    PLAN_NOTHING_NEEDED = "plan.nothing_needed"
    REACH_NO_SHOW = "reach.no_show"
    REACH_OCCUPIED = "reach.occupied"
    REACH_BLOCKED = "reach.access_blocked"
    REACH_CLOSED = "reach.site_closed"
    REACH_STATION_FAULTED = "reach.station_faulted"
    REACH_OFFLINE = "reach.station_offline"
    REACH_REMOVED = "reach.charger_removed"
    REACH_WILL_NOT_MAKE_IT = "reach.will_not_make_it"
    REACH_CANCELLED = "reach.cancelled"
    REACH_REDIRECTED = "reach.redirected"
    AUTHORISE_DENIED = "authorise.denied"
    AUTHORISE_TOKEN_UNKNOWN = "authorise.token_unknown"  # noqa: S105  a reason, not a secret
    AUTHORISE_CONCURRENT = "authorise.concurrent_session"
    START_REJECTED = "start.rejected"
    START_OCCUPIED = "start.occupied"
    START_INOPERATIVE = "start.inoperative"
    START_OFFLINE = "start.charger_offline"
    START_TIMEOUT = "start.command_timeout"
    START_PARTNER_ERROR = "start.partner_error"
    START_PARTNER_TIMEOUT = "start.partner_timeout"
    START_NOT_SUPPORTED = "start.not_supported"
    START_NOT_SENT = "start.not_sent"
    START_VEHICLE_BUSY = "start.vehicle_busy"
    START_CONNECTOR_BUSY = "start.connector_busy"
    START_VEHICLE_REFUSED = "start.vehicle_refused"
    CONFIRM_NEVER_STARTED = "confirm.never_started"
    CONFIRM_CONTACT_LOST = "confirm.contact_lost"
    CONFIRM_NOT_PLUGGED = "confirm.not_plugged"
    CONFIRM_NO_ENERGY = "confirm.no_energy"
    CONFIRM_DEAUTHORISED = "confirm.deauthorised"
    CONFIRM_SESSION_INVALID = "confirm.session_invalid"
    CONFIRM_EVSE_FAULT = "confirm.evse_fault"
    CONFIRM_LATE_START = "confirm.late_start"
    SUSTAIN_EVSE_FAULT = "sustain.evse_fault"
    SUSTAIN_POWER_LOSS = "sustain.power_loss"
    SUSTAIN_EMERGENCY_STOP = "sustain.emergency_stop"
    SUSTAIN_STALLED = "sustain.stalled"
    SUSTAIN_VEHICLE_STOPPED = "sustain.vehicle_stopped"
    SUSTAIN_UNPLUGGED_EARLY = "sustain.unplugged_early"
    SUSTAIN_STOPPED_REMOTELY = "sustain.stopped_remotely"
    SUSTAIN_DEAUTHORISED = "sustain.deauthorised"
    SUSTAIN_CONTACT_LOST = "sustain.contact_lost"
    SUSTAIN_PAUSED = "sustain.paused_by_charger"
    SUSTAIN_END_UNKNOWN = "sustain.end_unknown"
    SUSTAIN_TIME_LIMIT = "sustain.time_limit"
    SUSTAIN_DRIVER_REPORT = "sustain.driver_report"
    STOP_REJECTED = "stop.rejected"
    STOP_TIMEOUT = "stop.timeout"
    STOP_END_UNKNOWN = "stop.end_unknown"
    STOP_WORKFLOW_LOST = "stop.workflow_lost"
    SETTLE_NO_CDR = "settle.no_cdr"
    SETTLE_ENERGY_DIFFERS = "settle.energy_differs"
    SETTLE_COST_UNKNOWN = "settle.cost_unknown"
    STOP_CANCELLED_BY_DRIVER = "stop.cancelled_by_driver"
    STOP_CANCELLED_BY_FLEET = "stop.cancelled_by_fleet"
    STOP_ATTEMPTS_EXHAUSTED = "stop.attempts_exhausted"
    STOP_HUMAN_DEADLINE = "stop.human_deadline_missed"

    @property
    def phase(self) -> Phase:
        return Phase(self.value.split(".", 1)[0])

    @property
    def cause(self) -> str:
        return self.value.split(".", 1)[1]


class ReasonEntry(Message):
    """One row of the catalogue, as `GET /v1/reason-codes` serves it."""

    code: ReasonCode
    phase: Phase
    cause: str
    title: str
    responsible: Party
    next_step: NextStep
    driver_advice: str
    operator_advice: str
    mrec: tuple[str, ...] = ()
    ocpp16: tuple[str, ...] = ()
    ocpp201: tuple[str, ...] = ()
    ocpi: tuple[str, ...] = ()
