"""What was said to the stop: repeats by content and kind, wishes not yet acted upon, how much may be said."""

from __future__ import annotations

from enum import StrEnum

from models.decision import Candidate
from models.stop import Approval, CancelRequest, ProblemReport
from stops.base import State

_KEPT_EVIDENCE_IDS = 4000


class Said(StrEnum):
    ARRIVAL = "arrival"
    PROBLEM = "problem"
    CHOICE = "choice"
    APPROVAL = "approval"
    CANCEL = "cancel"


MOST: dict[Said, int] = {
    Said.ARRIVAL: 300,
    Said.PROBLEM: 300,
    Said.CHOICE: 200,
    Said.APPROVAL: 100,
    Said.CANCEL: 200,
}
"""Updates of each kind per run. Temporal takes 2,000 in total: the sum stays below, so that there is always
room to cancel."""


class Inbox(State):
    """Ids are remembered by kind, and only when what they said took effect: a refused one may be used
    again."""

    taken: dict[str, None] = {}
    heard: dict[str, None] = {}
    counts: dict[str, int] = {}

    def is_known(self, kind: Said, event_id: str) -> bool:
        return f"{kind}:{event_id}" in self.taken

    def remember(self, kind: Said, event_id: str) -> None:
        self.taken[f"{kind}:{event_id}"] = None

    def count(self, kind: Said) -> None:
        self.counts[kind] = self.counts.get(kind, 0) + 1

    def is_full(self, kind: Said) -> bool:
        return self.counts.get(kind, 0) >= MOST[kind]

    def hears(self, event_id: str) -> bool:
        """Evidence: False where it was heard before."""
        if event_id in self.heard:
            return False
        if len(self.heard) >= _KEPT_EVIDENCE_IDS:
            del self.heard[next(iter(self.heard))]
        self.heard[event_id] = None
        return True


class Wishes(State):
    """What people want and the stop has not acted upon yet."""

    cancel: CancelRequest | None = None
    problem: ProblemReport | None = None
    choice: Candidate | None = None
    choice_by: str = "fleet"
    choice_decision_id: str = ""
    approval: Approval | None = None

    @property
    def pending(self) -> bool:
        """Somebody said something that the current step must give way to."""
        return self.cancel is not None or self.problem is not None or self.choice is not None

    def choose(self, candidate: Candidate, by: str, decision_id: str = "") -> None:
        self.choice, self.choice_by, self.choice_decision_id = candidate, by, decision_id
