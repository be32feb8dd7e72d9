"""Inputs and results of activities: one model per message, additive fields only."""

from __future__ import annotations

from datetime import datetime

from models.base import Message, UtcDatetime
from models.charger import Charger
from models.money import Money
from models.policy import Policy
from models.reason_codes import ReasonCode
from models.stop import Attempt, ChargingStopInput, StopRecord
from models.vehicle import VehicleState


class OpenStop(Message):
    """Asks for the policy in force and writes the stop's first row."""

    input: ChargingStopInput
    record: StopRecord


class OpenedStop(Message):
    """`problem` says what in the request does not exist here (an unknown vehicle model, say)."""

    policy: Policy
    vehicle: VehicleState
    problem: str = ""


class PrepareStart(Message):
    """Writes the intent of one attempt (before any command) and looks up who can reach the charger."""

    tenant_id: str
    stop_id: str
    attempt: Attempt
    charger: Charger
    vehicle_id: str
    token_uid: str
    remote_start_id: int
    window_ends_at: UtcDatetime
    record: StopRecord


class RouteRequest(Message):
    tenant_id: str
    charger: Charger


class Route(Message):
    """The task queue of the process that can reach the charger; None when nobody holds it now."""

    task_queue: str | None = None
    refused: ReasonCode | None = None
    detail: str = ""


class SettleRequest(Message):
    """What the session cost by the charger's tariff; excl. VAT."""

    charger: Charger
    energy_kwh: float
    occupied_s: float


class Settlement(Message):
    cost: Money | None = None
    detail: str = ""


class LateSession(Message):
    """A session of an attempt that its stop gave up, alive after the stop had closed."""

    tenant_id: str
    stop_id: str
    attempt_id: str


class LateSessionFacts(Message):
    """What the guard needs to stop such a session. `charger` is None when the attempt is unknown."""

    charger: Charger | None = None
    token_uid: str = ""
    policy: Policy = Policy()


class LateSessionBooking(Message):
    """Books what a guard found and did on the stop that had closed."""

    tenant_id: str
    stop_id: str
    attempt_id: str
    at: datetime
    session_ref: str | None = None
    energy_kwh: float = 0.0
    stopped: bool = False
    detail: str = ""
