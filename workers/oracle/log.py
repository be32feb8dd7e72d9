"""Promises about the record: log, view and result, as the store has them and as the workflow has them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

from models.reason_codes import ReasonCode
from models.stop import Attempt, StopEvent, StopPhase, StopResult, StopView
from workers.oracle.books import AMENDMENT, RESET, WorkflowBook, World

_CENT_KWH = 0.01
Broken = Iterator[tuple[str, str]]


def log_is_the_workflows_log(world: World) -> Broken:
    """Event by event and word by word. A stop that was reset goes on in its log where a former run had left
    it, under other numbers; one whose workflow was ended from outside goes on without it."""
    if world.books.workflows is None:
        return
    for view in world.books.views:
        stored = world.timeline(view.stop_id)
        book = world.books.workflows.get(view.stop_id)
        if book is None:
            yield view.stop_id, f"{view.business_key}: Temporal knows no workflow {view.workflow_id}"
            continue
        ours = [event for event in stored if AMENDMENT not in event.data]
        theirs = sorted(book.timeline, key=lambda event: event.seq)
        # The run of a long stop tells the end of the log; what came before, former runs had written.
        tells_end = bool(view.continued_from_run_id and theirs and theirs[0].seq > 1)
        reset = any(event.type == RESET for event in ours)
        if tells_end and not reset:
            ours = [event for event in ours if event.seq >= theirs[0].seq]
        if _lost(stored):
            ours = ours[: len(theirs)]
        if reset:
            difference = _difference_since_reset(ours, theirs, tells_end)
        else:
            difference = _first_difference(ours, theirs)
        if difference:
            yield view.stop_id, f"{view.business_key}: {difference}"


def _difference_since_reset(stored: Sequence[StopEvent], told: Sequence[StopEvent], tells_end: bool) -> str:
    """The end of both, but for the numbers; and what the run still knows from before stands in the log."""
    since = max(index for index, event in enumerate(stored) if event.type == RESET) + 1
    before = [_unnumbered(event) for event in stored[:since]]
    tail = stored[since:][-len(told) :] if tells_end else stored[since:]
    cut = len(told) - len(tail)
    for event in told[: max(0, cut)]:
        if _unnumbered(event) not in before:
            return f"{event.type} '{event.text}' of before the reset is in the workflow only"
    return _first_difference([_unnumbered(e) for e in tail], [_unnumbered(e) for e in told[max(0, cut) :]])


def _unnumbered(event: StopEvent) -> StopEvent:
    return event.model_copy(update={"seq": 0})


def _lost(stored: Sequence[StopEvent]) -> bool:
    """Somebody terminated the workflow, and the reconciler has closed the stop."""
    return any(e.type == "stop.closed" and e.reason is ReasonCode.STOP_WORKFLOW_LOST for e in stored)


def _first_difference(stored: Sequence[StopEvent], told: Sequence[StopEvent]) -> str:
    for ours, theirs in zip(stored, told, strict=False):
        if ours != theirs:
            fields = ", ".join(_differing(ours.model_dump(mode="json"), theirs.model_dump(mode="json")))
            return (
                f"event {ours.seq} is {ours.type} '{ours.text}' in the store, {theirs.seq} {theirs.type} "
                f"'{theirs.text}' in the workflow ({fields or 'type of a value'})"
            )
    if len(stored) != len(told):
        more, where = (stored, "store") if len(stored) > len(told) else (told, "workflow")
        first = more[min(len(stored), len(told))]
        counts = f"{len(stored)} events in the store, {len(told)} in the workflow"
        return f"{counts}; {first.seq} {first.type} is in the {where} only"
    return ""


def _differing(ours: dict[str, Any], theirs: dict[str, Any]) -> list[str]:
    return [name for name in ours if ours[name] != theirs.get(name)]


def log_without_gaps(world: World) -> Broken:
    for view in world.books.views:
        numbers = [event.seq for event in world.timeline(view.stop_id)]
        gap = next((after for before, after in pairwise([0, *numbers]) if after != before + 1), None)
        if gap is not None or not numbers:
            yield view.stop_id, f"{len(numbers)} events; broken at number {gap}" if numbers else "no events"


def feed_in_order(world: World) -> Broken:
    """The tenant's feed tells each stop's whole log, in its order, each event once."""
    if world.books.feed is None:
        return
    fed: dict[str, list[StopEvent]] = {view.stop_id: [] for view in world.books.views}
    for _, event in sorted(world.books.feed, key=lambda item: item[0]):
        if event.stop_id in fed:
            fed[event.stop_id].append(event)
    for stop_id, events in fed.items():
        if events != world.timeline(stop_id):
            numbers = " ".join(str(event.seq) for event in events) or "nothing"
            yield stop_id, f"the feed tells {numbers}, the log has {len(world.timeline(stop_id))} events"


def one_outcome_per_stop(world: World) -> Broken:
    for view in world.books.views:
        timeline = world.timeline(view.stop_id)
        since = max((event.seq for event in timeline if event.type == RESET), default=0)
        closed = sum(1 for event in timeline if event.type == "stop.closed" and event.seq > since)
        if view.outcome is None or view.result is None or closed != 1:
            outcome = f"outcome {view.outcome or 'none'}, phase {view.phase}"
            yield view.stop_id, f"{view.business_key}: {outcome}, {closed} times closed"


def amendments_follow_the_close(world: World) -> Broken:
    """After `stop.closed` comes only what keepers amend, and they amend nothing that is open; each once."""
    for view in world.books.views:
        timeline = world.timeline(view.stop_id)
        reset_at = max((e.seq for e in timeline if e.type == RESET), default=0)
        closed_at: int | None = None
        seen: set[str] = set()
        for event in timeline:
            if event.seq <= reset_at:
                continue  # what a reset has left behind: the stop closes anew
            amendment = event.data.get(AMENDMENT)
            if amendment is None and closed_at is not None:
                yield view.stop_id, f"event {event.seq} ({event.type}) follows the close"
            elif amendment is not None and closed_at is None:
                yield view.stop_id, f"event {event.seq} ({event.type}) amends a stop that is open"
            elif amendment is not None and str(amendment) in seen:
                yield view.stop_id, f"event {event.seq} ({event.type}) amends the same again"
            seen.add(str(amendment))
            if event.type == "stop.closed":
                closed_at = event.seq


def view_is_the_last_event(world: World) -> Broken:
    """Phase, and at the end outcome, reason and time: the read model against the log."""
    for view in world.books.views:
        timeline = world.timeline(view.stop_id)
        own = [event for event in timeline if AMENDMENT not in event.data]
        if not own:
            continue
        last = own[-1]
        for what, shown, logged in _last_words(view, last, timeline):
            if shown != logged:
                text = f"the view says {what} {shown}, its last event {logged} ({last.seq} {last.type})"
                yield view.stop_id, f"{view.business_key}: {text}"


def _last_words(
    view: StopView, last: StopEvent, timeline: Sequence[StopEvent]
) -> Iterator[tuple[str, object, object]]:
    yield "phase", view.phase, last.phase
    if last.type != "stop.closed":
        yield "outcome", view.outcome, None
        return
    yield "phase", view.phase, StopPhase.CLOSED
    yield "outcome", view.outcome, last.data.get("outcome", view.outcome)
    later = {event.reason for event in timeline if AMENDMENT in event.data}
    yield "reason", view.reason, view.reason if view.reason in later else last.reason
    if view.result is not None:
        yield "outcome", view.outcome, view.result.outcome
        yield "closing time", view.result.closed_at, last.at


def result_is_the_workflows_result(world: World) -> Broken:
    """What the workflow returned, and what keepers amended since; nothing else may differ."""
    if world.books.workflows is None:
        return
    for view in world.books.views:
        timeline = world.timeline(view.stop_id)
        book = world.books.workflows.get(view.stop_id)
        if book is None or _lost(timeline):
            continue
        closed = view.outcome is not None
        if closed != (book.status == "completed"):
            words = "closed" if closed else "open"
            yield view.stop_id, f"{view.business_key}: {words} in the store, its workflow is {book.status}"
        elif closed:
            amended = [event for event in timeline if AMENDMENT in event.data]
            for text in _result_differences(view, book, amended):
                yield view.stop_id, f"{view.business_key}: {text}"


def _result_differences(view: StopView, book: WorkflowBook, amended: Sequence[StopEvent]) -> Iterator[str]:
    stored, told = view.result, book.result
    if stored is None or told is None:
        yield f"no result in the {'store' if stored is None else 'workflow'}"
        return
    if not amended:
        names = _differing(stored.model_dump(mode="json"), told.model_dump(mode="json"))
        if names:
            yield f"stored result and workflow's result differ in {', '.join(names)}"
        return
    for name in ("outcome", "closed_at", "soc_percent"):
        if getattr(stored, name) != getattr(told, name):
            yield f"an amendment changed {name} from {getattr(told, name)} to {getattr(stored, name)}"
    touched = {event.data.get("attempt_id") for event in amended}
    numbers = {event.attempt_number for event in amended}
    before = {attempt.attempt_id: attempt for attempt in told.attempts}
    for attempt in stored.attempts:
        if attempt.attempt_id in touched or attempt.number in numbers:
            continue
        if before.get(attempt.attempt_id) != attempt:
            yield f"attempt {attempt.number} has changed, and no amendment says so"


def result_is_the_sum_of_its_attempts(world: World) -> Broken:
    for view in world.books.views:
        result = view.result
        if result is None:
            continue
        booked = sum(attempt.energy_kwh for attempt in result.attempts)
        if abs(result.energy_kwh - booked) > _CENT_KWH:
            yield view.stop_id, f"result {result.energy_kwh:.2f} kWh, its attempts {booked:.2f} kWh"
        if _energies(result) != _energies(view):
            yield view.stop_id, "the attempts of the result are not those of the view"


def _energies(of: StopResult | StopView) -> dict[str, tuple[float, str]]:
    """By attempt: energy, and the state of its session."""
    attempts: tuple[Attempt, ...] = of.attempts
    return {attempt.attempt_id: (attempt.energy_kwh, attempt.session) for attempt in attempts}
