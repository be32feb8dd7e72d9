"""Promises about explanations: why something else was tried, and until when a person is awaited."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

from models.stop import AttemptState, StopEvent
from workers.oracle.books import World

Broken = Iterator[tuple[str, str]]
_ENDING = ("stop.closed", "settling", "session.kept")
_GIVEN_UP = (AttemptState.FAILED, AttemptState.GUARDED)


def no_fallback_without_reason(world: World) -> Broken:
    for stop_id in sorted(world.books.timelines):
        failed_with_reason = False
        for event in world.timeline(stop_id):
            if event.type == "attempt.failed":
                failed_with_reason = event.reason is not None
                if event.reason is None:
                    yield stop_id, _unexplained(event)
            elif event.type == "fallback.chosen":
                if event.reason is None and not failed_with_reason:
                    yield stop_id, _unexplained(event)
                failed_with_reason = False
    for view in world.books.views:
        for attempt in view.attempts:
            if attempt.state in _GIVEN_UP and attempt.reason is None:
                yield view.stop_id, f"attempt {attempt.number} is {attempt.state} without a reason code"


def _unexplained(event: StopEvent) -> str:
    return f"event {event.seq} ({event.type}) gives no reason code"


def a_person_has_a_deadline(world: World) -> Broken:
    """Each hand-over says why, and until when (`deadline` in its data), unless the stop ends with it; once
    that has passed, the log goes on."""
    for view in world.books.views:
        timeline = world.timeline(view.stop_id)
        for event, following in pairwise([*timeline, None]):
            if event is None or event.type != "human.requested":
                continue
            if event.reason is None:
                yield view.stop_id, _unexplained(event)
            ends = following is not None and following.type in _ENDING
            if not event.data.get("deadline") and not ends:
                yield view.stop_id, f"event {event.seq} ({event.type}) gives no deadline"
            if following is None and view.awaiting_human_until is None:
                yield view.stop_id, "a person is asked, and the view does not say until when"
        until = view.awaiting_human_until
        if until is not None and until + world.limits.guard < world.books.now:
            yield view.stop_id, f"a person had time until {until:%H:%M:%S}, and nothing happened then"
