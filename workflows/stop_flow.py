"""How control leaves a step of the stop: an attempt failed, the driver was sent elsewhere, the stop ends."""

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
    """This attempt is over. `may_come_alive`: the start may still happen, so it stays guarded."""

    def __init__(
        self, reason: ReasonCode, *, vendor_code: str = "", detail: str = "", may_come_alive: bool = False
    ) -> None:
        super().__init__(str(reason))
        self.reason = reason
        self.vendor_code = vendor_code
        self.detail = detail
        self.may_come_alive = may_come_alive


class Redirected(Exception):
    """Driver or dispatcher chose another charger."""

    def __init__(self, candidate: Candidate, by: str) -> None:
        super().__init__(candidate.charger.charger_id)
        self.candidate = candidate
        self.by = by


class StopEnds(Exception):
    """The stop is over with this outcome."""

    def __init__(self, outcome: StopOutcome, reason: ReasonCode | None = None) -> None:
        super().__init__(str(outcome))
        self.outcome = outcome
        self.reason = reason
