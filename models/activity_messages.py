"""Inputs and results of activities: one model per message, additive fields only."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from models.base import Message, UtcDatetime
from models.charger import Charger
from models.evidence import Evidence
from models.money import Money
from models.policy import Policy
from models.reason_codes import NextStep, ReasonCode
from models.stop import Attempt, ChargingStopInput, StopRecord
from models.vehicle import VehicleState


class OpenStop(Message):
    """Asks for the policy in force and marks the stop's row as begun (writes it where nobody has)."""

    input: ChargingStopInput
    record: StopRecord


class OpenedStop(Message):
    """`problem` says what in the request does not exist here (an unknown vehicle model, say)."""

    policy: Policy
    vehicle: VehicleState
    problem: str = ""


class SessionGoal(Message):
    """What a session is to reach: store.progress turns its meters into turns by this. `stall_s`: silence
    for so long is told. Energy counts from the session's own start."""

    tenant_id: str
    stop_id: str
    attempt_id: str
    target_kwh: float
    target_soc_percent: float
    stall_s: float


class PrepareStart(Message):
    """Writes the intent of one attempt (before any command), holds vehicle and connector, and looks up who
    can reach the charger."""

    tenant_id: str
    stop_id: str
    attempt: Attempt
    charger: Charger
    vehicle_id: str
    token_uid: str
    remote_start_id: int
    window_ends_at: UtcDatetime
    goal: SessionGoal
    record: StopRecord


class TakeBack(Message):
    """A given-up attempt is wanted again: it must get vehicle and connector back, in the transaction that
    records the adoption, or it is not adopted."""

    tenant_id: str
    stop_id: str
    attempt_id: str
    record: StopRecord


class RouteRequest(Message):
    tenant_id: str
    charger: Charger


class Route(Message):
    """The task queue of the process that can reach the charger; None when nobody holds it now.
    `refused`: vehicle or connector is held by another live attempt; nothing was opened."""

    task_queue: str | None = None
    refused: ReasonCode | None = None
    detail: str = ""


class LookAround(Message):
    """What was heard about a charger (and its neighbours at the site) and the vehicle before the stop turned
    to them: a plug that was made before, say."""

    tenant_id: str
    stop_id: str
    charger_id: str
    site_id: str
    telematics_id: str | None = None
    since: UtcDatetime


class Surroundings(Message):
    """Oldest first; only what still holds (a plug that was pulled again is not among it)."""

    evidence: tuple[Evidence, ...] = ()
    missed: Annotated[bool, Field(description="Our store did not answer: nothing is known yet.")] = False


class SettleRequest(Message):
    """What the session cost by the charger's tariff; excl. VAT."""

    charger: Charger
    energy_kwh: float
    occupied_s: float


class Settlement(Message):
    cost: Money | None = None
    detail: str = ""


class FindCharger(Message):
    tenant_id: str
    charger_id: str


class FoundCharger(Message):
    """`charger` is None where there is none of that id, or the store did not answer."""

    charger: Charger | None = None


class KeptSession(Message):
    """Input of a session keeper's workflow: a session that its stop has left, or that came alive after it.
    `carried`: the session as its stop knew it (stops.session.Session); without, the store is asked."""

    tenant_id: str
    stop_id: str
    attempt_id: str
    carried: dict[str, Any] | None = None


class SessionFacts(Message):
    """What a keeper needs to end a session and to book it. `attempt` is None when it is unknown."""

    attempt: Attempt | None = None
    charger: Charger | None = None
    token_uid: str = ""
    vehicle_telematics_id: str | None = None
    policy: Policy = Policy()
    goal: SessionGoal | None = None


class Amendment(Message):
    """A late fact about a stop that has closed: one event, and the attempt as it is now. The store gives the
    event its number, and sums the result anew. The same `amendment_id` changes nothing twice."""

    tenant_id: str
    stop_id: str
    amendment_id: str
    at: UtcDatetime
    type: Annotated[str, Field(examples=["session.ended", "charge_record.came"])]
    text: str
    attempt: Attempt
    reason: ReasonCode | None = None
    next_step: NextStep | None = None
    vendor_code: str = ""
    data: dict[str, Any] = {}
