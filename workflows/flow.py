"""How control leaves a step of the stop: an attempt failed, another charger was chosen, the stop ends."""

from __future__ import annotations

from models.decision import Candidate
from models.reason_codes import ReasonCode
from models.stop import ProblemKind, StopOutcome

PROBLEM_REASONS: dict[ProblemKind, ReasonCode] = {
    ProblemKind.OCCUPIED: ReasonCode.REACH_OCCUPIED,
    ProblemKind.BLOCKED: ReasonCode.REACH_BLOCKED,
    ProblemKind.CLOSED: ReasonCode.REACH_CLOSED,
    ProblemKind.BROKEN: ReasonCode.REACH_STATION_FAULTED,
    ProblemKind.CABLE: ReasonCode.REACH_STATION_FAULTED,
    ProblemKind.OTHER: ReasonCode.SUSTAIN_DRIVER_REPORT,
}


class AttemptFailed(Exception):
    """The planned charger will not do. `may_stay`: the vehicle may still be charged there, should the start
    come alive after all."""

    def __init__(
        self,
        reason: ReasonCode,
        *,
        vendor_code: str = "",
        detail: str = "",
        before_arrival: bool = False,
        may_stay: bool = False,
    ) -> None:
        super().__init__(str(reason))
        self.reason = reason
        self.vendor_code = vendor_code
        self.detail = detail
        self.before_arrival = before_arrival
        self.may_stay = may_stay


class Redirected(Exception):
    """Driver or dispatcher chose another charger, or the vehicle plugged in at a neighbour of the planned."""

    def __init__(self, candidate: Candidate, by: str, decision_id: str = "") -> None:
        super().__init__(candidate.charger.charger_id)
        self.candidate = candidate
        self.by = by
        self.decision_id = decision_id


class StopEnds(Exception):
    """The stop is over with this outcome."""

    def __init__(self, outcome: StopOutcome, reason: ReasonCode | None = None) -> None:
        super().__init__(str(outcome))
        self.outcome = outcome
        self.reason = reason


class GoesOn(Exception):
    """The history has grown long: the stop goes on in a new run, with all it knows."""
