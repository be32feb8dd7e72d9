"""The state of a running stop, beside its book: what was said to it and what evidence adds up to."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from models.decision import Candidate
    from models.policy import Policy
    from models.stop import Approval, AttemptState, CancelRequest, ChargingStopInput, ProblemReport
    from workflows.evidence_fold import SessionTrack
    from workflows.stop_book import StopBook


class StopState:
    """Made in `@workflow.init`, because handlers may run before the run's first line."""

    def set_up(self, stop: ChargingStopInput) -> None:
        self.book = StopBook(stop, workflow.info().run_id, workflow.now())
        self.policy = Policy()
        self.vehicle = stop.request.vehicle
        self.tracks: dict[str, SessionTrack] = {}
        self.candidates: dict[str, Candidate] = {}
        self.at_charger_id: str | None = None
        self.arrived_early = False
        self.arrival_sources: list[str] = []
        self.cancel: CancelRequest | None = None
        self.problem: ProblemReport | None = None
        self.choice: Candidate | None = None
        self.choice_by = "fleet"
        self.approval: Approval | None = None
        self.stray_evidence = 0
        self.disowned: list[str] = []
        self._arrived_at: datetime | None = None
        self.seen: dict[str, None] = {}

    # --- reading state --------------------------------------------------------------------------------

    @property
    def interrupted(self) -> bool:
        """Somebody said something that the current step must give way to."""
        return self.cancel is not None or self.problem is not None or self.choice is not None

    @property
    def planned_charger_id(self) -> str | None:
        return self.book.candidate.charger.charger_id if self.book.candidate else None

    def late_start(self) -> str | None:
        """The id of an attempt that we gave up and that lives all the same."""
        for attempt in self.book.attempts:
            given_up = attempt.state in (AttemptState.FAILED, AttemptState.GUARDED)
            if given_up and attempt.attempt_id not in self.disowned and self.tracks[attempt.attempt_id].alive:
                return attempt.attempt_id
        return None

    def live_tracks(self) -> Iterable[str]:
        return [attempt_id for attempt_id, track in self.tracks.items() if track.alive]
