"""The charging stop: what a caller asks for, what is going on, and how it ended."""

from __future__ import annotations

from decimal import Decimal
from enum import StrEnum
from typing import Annotated, Any

from pydantic import Field

from models.base import Message, NoteText, PlannedInstant, StrictMessage, UtcDatetime
from models.decision import Decision
from models.ids import BusinessKey, ExternalId, TenantKey, fingerprint
from models.money import Money
from models.place import Place
from models.reason_codes import NextStep, Party, ReasonCode
from models.vehicle import VehicleState


class StopPhase(StrEnum):
    """The phases of a stop, in the order in which a calm one passes them."""

    PLANNING = "planning"
    EN_ROUTE = "en_route"
    ARRIVED = "arrived"
    STARTING = "starting"
    CONFIRMING = "confirming"
    CHARGING = "charging"
    SETTLING = "settling"
    CLOSED = "closed"
    UNKNOWN = "unknown"
    """Read from a newer version's row, which has a phase that this version has not. No stop is ever in it."""


class StopOutcome(StrEnum):
    """How a stop ended; exactly one of these."""

    CHARGED = "charged"
    CHARGED_SHORT = "charged_short"
    CANCELLED = "cancelled"
    NO_SHOW = "no_show"
    HANDED_TO_HUMAN = "handed_to_human"
    NOT_CHARGED = "not_charged"
    NOT_NEEDED = "not_needed"


class StopMode(StrEnum):
    AUTO = "auto"
    ASSISTED = "assisted"
    SHADOW = "shadow"


class StopRequest(StrictMessage):
    """What a fleet backend asks for."""

    business_key: BusinessKey
    vehicle: VehicleState
    target_soc_percent: Annotated[float, Field(gt=0, le=100, examples=[80.0])] = 80.0
    destination: Place | None = None
    latest_arrival: Annotated[PlannedInstant | None, Field(description="End of the arrival window.")] = None
    latest_departure: PlannedInstant | None = None
    token_uid: Annotated[
        str,
        Field(
            pattern=r"^[A-Za-z0-9*._:~-]{1,20}$",
            description="Charging token (OCPP idTag, OCPI token uid) of vehicle or badge; opaque to us.",
            examples=["FLEET017"],
        ),
    ]
    contract: Annotated[str, Field(max_length=64)] = ""
    policy_id: Annotated[
        str | None, Field(pattern=r"^[a-z0-9._-]{1,64}$", description="Default: the tenant's default policy.")
    ] = None
    excluded_charger_ids: Annotated[tuple[ExternalId, ...], Field(max_length=200)] = ()
    mode: StopMode = StopMode.AUTO

    @property
    def fingerprint(self) -> str:
        """Hash of the whole request: the same key with another fingerprint is refused."""
        return fingerprint(self.model_dump(mode="json"))


class ChargingStopInput(Message):
    """Input of the workflow. A backend in any language can start it: see docs/workflow-contract.md."""

    tenant_id: TenantKey
    request: StopRequest


class AttemptState(StrEnum):
    """`guarded`: given up, but it may still come alive; a late start is stopped and booked."""

    OPEN = "open"
    FAILED = "failed"
    GUARDED = "guarded"
    CHARGED = "charged"


class SessionState(StrEnum):
    """A session's life, from the intent to its proven end (stops/session.py says how it moves)."""

    INTENDED = "intended"
    SENT = "sent"
    ACCEPTED = "accepted"
    ALIVE = "alive"
    SUSPENDED_BY_VEHICLE = "suspended_by_vehicle"
    SUSPENDED_BY_CHARGER = "suspended_by_charger"
    OUT_OF_CONTACT = "out_of_contact"
    STOPPING = "stopping"
    ENDED = "ended"
    NEVER_BEGAN = "never_began"
    UNKNOWN = "unknown"
    """It lived, and nobody has proved that it ended: held, and shown to a person."""


SESSION_OVER = (SessionState.ENDED, SessionState.NEVER_BEGAN)
"""Proven: nothing is alive, and nothing will be."""


class Attempt(Message):
    """One try at one connector."""

    attempt_id: str
    number: int
    charger_id: str
    site_id: str
    operator: str
    protocol: str
    state: AttemptState = AttemptState.OPEN
    session: SessionState = SessionState.INTENDED
    holds_vehicle: Annotated[bool, Field(description="It is the one that is wanted.")] = True
    holds_charger: Annotated[bool, Field(description="A session of ours may occupy the connector.")] = True
    opened_at: UtcDatetime
    accepted_at: UtcDatetime | None = None
    started_at: UtcDatetime | None = None
    ended_at: UtcDatetime | None = None
    session_ref: str | None = None
    energy_kwh: float = 0.0
    energy_estimated: Annotated[
        bool, Field(description="Nothing meters it: the energy is what the vehicle's charge has risen by.")
    ] = False
    metered_kwh: Annotated[float | None, Field(description="What charger or session showed.")] = None
    record_kwh: Annotated[float | None, Field(description="What the partner's charge record says.")] = None
    cost_estimated: Money | None = None
    cost_actual: Money | None = None
    queue_s: float = 0.0
    idle_s: float = 0.0
    start_proven: Annotated[
        bool | None, Field(description="True: energy flowed. False: charger or partner failed to start.")
    ] = None
    reason: ReasonCode | None = None
    vendor_code: str = ""
    detail: str = ""
    fallback: NextStep | None = None
    eta_impact_s: float | None = None


class StopResult(Message):
    """The typed result of the workflow; the stop's last word."""

    stop_id: str
    tenant_id: str
    outcome: StopOutcome
    reason: ReasonCode | None = None
    energy_kwh: float = 0.0
    cost_estimated: Money | None = None
    cost_actual: Money | None = None
    queue_minutes: Decimal = Decimal("0")
    idle_minutes: Decimal = Decimal("0")
    soc_percent: float | None = None
    attempts: tuple[Attempt, ...] = ()
    closed_at: UtcDatetime | None = None


class StopView(Message):
    """The status of a stop: the answer of the status query, of the API, and the row of the read model."""

    stop_id: str
    tenant_id: str
    business_key: str
    workflow_id: str
    run_id: str = ""
    vehicle_id: str
    phase: StopPhase
    outcome: StopOutcome | None = None
    reason: ReasonCode | None = None
    responsible: Party | None = None
    next_step: NextStep | None = None
    headline: Annotated[str, Field(description="One sentence for a person.")] = ""
    waits_for: Annotated[str, Field(description="What has to happen next.")] = ""
    waits_until: UtcDatetime | None = None
    needed_kwh: float | None = None
    energy_kwh: Annotated[float, Field(description="So far, over all sessions of the stop.")] = 0.0
    driver_advice: str = ""
    awaiting_human_until: UtcDatetime | None = None
    awaiting_approval_until: UtcDatetime | None = None
    charger_id: str | None = None
    site_id: str | None = None
    charger_place: Place | None = None
    attempt_number: int = 0
    eta_impact_s: float | None = None
    arrive_by: UtcDatetime | None = None
    options: dict[str, str] = {}
    alternatives: tuple[str, ...] = ()
    result: StopResult | None = None
    attempts: tuple[Attempt, ...] = ()
    policy_version: str = ""
    fingerprint: str = ""
    telematics_id: str | None = None
    created_at: UtcDatetime
    updated_at: UtcDatetime
    version: int = 0
    continued_from_run_id: str = ""
    """The run before this one, where a long stop was continued as new."""
    former_run_ids: tuple[str, ...] = ()
    """All runs before this one, as far as they matter: each may be the last that had something to write."""


class StopEvent(Message):
    """One transition of a stop. (stop_id, seq) is unique: a repeat of the same event changes nothing."""

    stop_id: str
    seq: int
    at: UtcDatetime
    type: Annotated[str, Field(examples=["attempt.failed"])]
    phase: StopPhase
    text: Annotated[str, Field(description="One sentence for a person; no personal data.")]
    attempt_number: int | None = None
    charger_id: str | None = None
    reason: ReasonCode | None = None
    vendor_code: str = ""
    next_step: NextStep | None = None
    eta_impact_s: float | None = None
    data: dict[str, Any] = {}


class StopRecord(Message):
    """What one `record` writes in one transaction: the view, new events, and new decisions."""

    view: StopView
    request: StopRequest | None = None
    events: tuple[StopEvent, ...] = ()
    decisions: tuple[Decision, ...] = ()


# Messages of the workflow (Updates and Signals).


class ArrivalReport(StrictMessage):
    """The driver (or the driver's app) says that the vehicle stands at the charger."""

    event_id: Annotated[str, Field(min_length=1, max_length=100, examples=["app-7f31"])]
    charger_id: Annotated[ExternalId | None, Field(description="Default: the charger of the plan.")] = None
    at: PlannedInstant | None = None


class ProblemKind(StrEnum):
    OCCUPIED = "occupied"
    BLOCKED = "blocked"
    CLOSED = "closed"
    BROKEN = "broken"
    CABLE = "cable"
    OTHER = "other"


class ProblemReport(StrictMessage):
    """The driver says that something is wrong at the charger."""

    event_id: Annotated[str, Field(min_length=1, max_length=100)]
    kind: ProblemKind
    charger_id: ExternalId | None = None
    note: Annotated[
        NoteText, Field(max_length=500, description="Kept in the event log; no personal data.")
    ] = ""


class CancelRequest(StrictMessage):
    event_id: Annotated[str, Field(min_length=1, max_length=100)]
    by: Annotated[str, Field(pattern=r"^(driver|fleet)$")] = "fleet"
    note: Annotated[NoteText, Field(max_length=500)] = ""


class SessionReleased(StrictMessage):
    """A person has seen that a session has ended which nobody could prove. `energy_kwh` None: as far as it
    was metered. For its keeper's workflow, not for a stop."""

    event_id: Annotated[str, Field(min_length=1, max_length=100)]
    by: Annotated[NoteText, Field(min_length=1, max_length=100, description="No personal data.")] = "operator"
    energy_kwh: Annotated[float | None, Field(ge=0, le=5_000)] = None


class ChooseCharger(StrictMessage):
    """Driver or dispatcher wants another charger (or picks one for an open hand-over)."""

    event_id: Annotated[str, Field(min_length=1, max_length=100)]
    charger_id: ExternalId
    by: Annotated[str, Field(pattern=r"^(driver|fleet)$")] = "fleet"


class Approval(StrictMessage):
    """Answer to an assisted plan."""

    event_id: Annotated[str, Field(min_length=1, max_length=100)]
    approved: bool
    charger_id: ExternalId | None = None


class Receipt(Message):
    """Answer to an Update: where the stop stands after it. `duplicate` marks a repeat of an event id;
    `unchanged`, the choice of the charger that the stop is about already; `pending`, what is kept until a
    worker can take it."""

    stop_id: str
    phase: StopPhase
    charger_id: str | None = None
    duplicate: bool = False
    unchanged: bool = False
    pending: bool = False
