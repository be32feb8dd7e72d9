"""The promises of a charging stop, checked from outside: what one part of the house wrote is held against
what another part wrote, or against the simulated partners' own ledgers. Pure but for `reader`; used by the
demo, the drills and the soak.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

from workers.oracle.books import Books as Books
from workers.oracle.books import HeldAttempt as HeldAttempt
from workers.oracle.books import KeptEvidence as KeptEvidence
from workers.oracle.books import Limits as Limits
from workers.oracle.books import SentCommand as SentCommand
from workers.oracle.books import Violation as Violation
from workers.oracle.books import WorkflowBook as WorkflowBook
from workers.oracle.books import World, sessions_of
from workers.oracle.holds import evidence_arrives, holds_follow_the_sessions
from workers.oracle.intents import (
    command_ledgers_agree,
    no_start_without_an_intent,
    one_effective_start_per_intent,
)
from workers.oracle.log import (
    amendments_follow_the_close,
    feed_in_order,
    log_is_the_workflows_log,
    log_without_gaps,
    one_outcome_per_stop,
    result_is_the_sum_of_its_attempts,
    result_is_the_workflows_result,
    view_is_the_last_event,
)
from workers.oracle.reasons import a_person_has_a_deadline, no_fallback_without_reason
from workers.oracle.sessions import (
    ended_is_booked_as_ended,
    energy_agrees,
    every_session_accounted,
    one_wanted_session,
    running_sessions_have_an_owner,
)

__all__ = [
    "PROMISES",
    "Books",
    "HeldAttempt",
    "KeptEvidence",
    "Limits",
    "SentCommand",
    "Violation",
    "WorkflowBook",
    "check_invariants",
    "sessions_of",
]

PROMISES: Final[dict[str, Callable[[World], Iterable[tuple[str, str]]]]] = {
    "the stored log is the workflow's log": log_is_the_workflows_log,
    "the event log has no gaps": log_without_gaps,
    "the feed gives a stop's events in order": feed_in_order,
    "exactly one outcome per stop": one_outcome_per_stop,
    "what is amended follows the close": amendments_follow_the_close,
    "the view is the last event": view_is_the_last_event,
    "the result is the workflow's result": result_is_the_workflows_result,
    "the result is the sum of its attempts": result_is_the_sum_of_its_attempts,
    "one wanted session per vehicle and stop": one_wanted_session,
    "a start is never effective twice": one_effective_start_per_intent,
    "no start without an intent": no_start_without_an_intent,
    "our command ledger is the charger's": command_ledgers_agree,
    "every session is accounted for": every_session_accounted,
    "booked energy is delivered energy": energy_agrees,
    "ended is booked as ended, and nothing else": ended_is_booked_as_ended,
    "no session runs without an owner": running_sessions_have_an_owner,
    "holds follow the sessions": holds_follow_the_sessions,
    "no fallback without a reason": no_fallback_without_reason,
    "a person has a deadline": a_person_has_a_deadline,
    "evidence arrives": evidence_arrives,
}
"""Every promise by name; each check gives (whose, what was seen) for each time it is broken."""


def check_invariants(books: Books, limits: Limits | None = None) -> list[Violation]:
    """Every promise that the books show broken; an empty list is the good answer. Promises about a book that
    is missing (None) are not judged."""
    world = World(books, limits or Limits())
    return [
        Violation(invariant=name, subject=subject, text=text)
        for name, check in PROMISES.items()
        for subject, text in check(world)
    ]
