"""What was said to the stop: repeats by content and kind, wishes not yet acted upon, how much may be said."""

from __future__ import annotations

import hashlib
from enum import StrEnum
from typing import TypeVar

from models.decision import Candidate
from models.ids import fingerprint
from models.stop import Approval, ArrivalReport, CancelRequest, ChooseCharger, ProblemReport
from stops.base import State

K = TypeVar("K")

_KEPT_EVIDENCE_IDS, _KEPT_WORDS = 4000, 1500
"""The oldest are forgotten: they are carried into the next run, whose input has a limit."""


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


MOST_JUDGED = 2
"""Choices that wait for the planner at a time. Temporal takes ten Updates at once: what waits must leave room
for arrival and cancel, which never do."""

Word = ArrivalReport | ProblemReport | ChooseCharger | Approval | CancelRequest


def content_of(word: Word) -> str:
    """What tells a repeat from another word under the same id: not when it was said, nor a note beside it.
    The charger stands apart: a word that names none may repeat one that does."""
    said = fingerprint(word.model_dump(mode="json", exclude={"event_id", "at", "note", "charger_id"}))
    charger_id: str | None = getattr(word, "charger_id", None)
    return f"{said[:12]}:{_short(charger_id) if charger_id else ''}"


class Inbox(State):
    """Ids are remembered by kind and content, as short hashes (they may be long, and there may be many), and
    only when what they said took effect: a refused one may be used again."""

    taken: dict[str, str | None] = {}
    heard: dict[str, None] = {}
    counts: dict[str, int] = {}
    judging: int = 0
    """Choices that the planner is being asked about."""

    def is_known(self, kind: Said, event_id: str) -> bool:
        return _short(f"{kind}:{event_id}") in self.taken

    def differs(self, kind: Said, word: Word) -> bool:
        """Whether its id is known, with other content."""
        known = self.taken.get(_short(f"{kind}:{word.event_id}"))
        if known is None:
            return False
        (said, charger_id), (now, now_at) = known.split(":", 1), content_of(word).split(":", 1)
        return said != now or (charger_id != now_at and "" not in (charger_id, now_at))

    def remember(self, kind: Said, event_id: str, content: str | None = None) -> None:
        _keep(self.taken, _short(f"{kind}:{event_id}"), _KEPT_WORDS, content)

    def count(self, kind: Said) -> None:
        self.counts[kind] = self.counts.get(kind, 0) + 1

    def is_full(self, kind: Said) -> bool:
        return self.counts.get(kind, 0) >= MOST[kind]

    def hears(self, event_id: str) -> bool:
        """Evidence: False where it was heard before."""
        short = _short(event_id)
        if short in self.heard:
            return False
        _keep(self.heard, short, _KEPT_EVIDENCE_IDS, None)
        return True


def _short(event_id: str) -> str:
    return hashlib.blake2b(event_id.encode(errors="replace"), digest_size=10).hexdigest()


def _keep(ids: dict[str, K], short: str, most: int, content: K) -> None:
    while len(ids) >= most:
        del ids[next(iter(ids))]
    ids[short] = content


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
