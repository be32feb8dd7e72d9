"""The one way in which a stop's log, view and search attributes leave the workflow, in order."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager
from typing import Any, TypeVar

from temporalio import workflow
from temporalio.common import SearchAttributeKey, SearchAttributeUpdate
from temporalio.exceptions import ActivityError

with workflow.unsafe.imports_passed_through():
    from models.stop import StopRecord
    from stops.stop import Stop
    from stops.view import card_of, take_record

from workflows import calls

R = TypeVar("R")

_PHASE = SearchAttributeKey.for_keyword("StopPhase")
_OUTCOME = SearchAttributeKey.for_keyword("StopOutcome")
_REASON = SearchAttributeKey.for_keyword("ReasonCode")
_CHARGER = SearchAttributeKey.for_keyword("ChargerId")
_SITE = SearchAttributeKey.for_keyword("SiteId")
_ATTEMPT = SearchAttributeKey.for_int("Attempt")
_PROTOCOL = SearchAttributeKey.for_keyword("ChargerProtocol")
_HUMAN = SearchAttributeKey.for_bool("AwaitingHuman")
_TENANT = SearchAttributeKey.for_keyword("BackstopTenant")
_VEHICLE = SearchAttributeKey.for_keyword("VehicleId")


class Recorder:
    """Records leave one after the other, each as an activity whose input the history holds: an event is
    written only for a decision that cannot be taken back any more."""

    def __init__(self, stop: Stop) -> None:
        self._stop = stop
        self._writing = asyncio.Lock()
        self._held = 0
        self.takes_over = False
        """The workflow was set back: until it has written, the store tells of the run before, and what that
        one left behind (keepers) acts on its own."""
        self._shown = _shown_at_start()

    async def run(self) -> None:
        """Writes whatever is new; news of one moment leave together."""
        while True:
            await workflow.wait_condition(lambda: self._may_write)
            await self.flush()

    @property
    def _may_write(self) -> bool:
        has_news = self._stop.log.has_news or self.takes_over
        return has_news and not self._held and not self._writing.locked()

    @contextmanager
    def held(self) -> Generator[None]:
        """News of the next moment leave together with what is new now: a record each would cost the history
        six events. Only around what is over in seconds."""
        self._held += 1
        try:
            yield
        finally:
            self._held -= 1

    async def flush(self) -> None:
        """Returns once everything that was new when it was called stands in the store."""
        async with self._writing:
            if self._stop.log.has_news or self.takes_over:
                self.takes_over = False
                self._show()
                try:
                    await calls.RECORD(take_record(self._stop), summary=self._stop.log.headline)
                except ActivityError as error:
                    # Refused for good: the activity keeps such a record in quarantine, and never gets here
                    # unless that failed as well. The stop itself must go on.
                    workflow.logger.error("a record was refused: %s", error.cause)

    async def write_with(self, write: Callable[[StopRecord], Awaitable[R]], *, attributes: bool = True) -> R:
        """Something that must become true in the same transaction as the record (an intent and its holds).
        Without `attributes`, what is searched by follows with the next record.

        Raises ActivityError where the store refuses it for good; then the record was not written either, and
        leaves with the next one."""
        async with self._writing:
            self.takes_over = False
            self._show(attributes=attributes)
            record = take_record(self._stop)
            try:
                return await write(record)
            except ActivityError:
                self._stop.log.take_back(record)
                raise

    def _show(self, *, attributes: bool = True) -> None:
        workflow.set_current_details(card_of(self._stop))
        if attributes:
            self._show_attributes()

    def _show_attributes(self) -> None:
        """For lists in the Temporal UI; only what has changed."""
        stop = self._stop
        charger = stop.plan.candidate.charger if stop.plan.candidate else None
        waits_for_a_person = stop.waiting.human_until or stop.waiting.approval_until
        shown: list[tuple[SearchAttributeKey[Any], Any]] = [
            (_TENANT, stop.tenant_id),
            (_VEHICLE, stop.request.vehicle.vehicle_id),
            (_PHASE, str(stop.phase)),
            (_OUTCOME, str(stop.outcome) if stop.outcome else None),
            (_REASON, str(stop.reason) if stop.reason else None),
            (_CHARGER, charger.charger_id if charger else None),
            (_SITE, charger.site_id if charger else None),
            (_ATTEMPT, len(stop.sessions) or None),
            (_PROTOCOL, str(charger.protocol) if charger else None),
            (_HUMAN, True if waits_for_a_person else None),
        ]
        changes: list[SearchAttributeUpdate[Any]] = []
        for key, value in shown:
            if self._shown.get(key.name) != value:
                changes.append(key.value_unset() if value is None else key.value_set(value))
                self._shown[key.name] = value
        if changes:
            workflow.upsert_search_attributes(changes)


def _shown_at_start() -> dict[str, Any]:
    """What the starter has set already needs no event of ours."""
    known: Any = workflow.info().typed_search_attributes
    return {pair.key.name: pair.value for pair in known}
