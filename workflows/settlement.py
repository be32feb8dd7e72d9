"""The end of a stop: nothing wanted any more, the price, the one outcome, an owner for what still lives."""

from __future__ import annotations

from collections.abc import Mapping

from temporalio import workflow
from temporalio.exceptions import ApplicationError, WorkflowAlreadyStartedError

with workflow.unsafe.imports_passed_through():
    from models.activity_messages import KeptSession, SettleRequest
    from models.charger import Protocol
    from models.contract import KEEPER_WORKFLOW, SIGNAL_EVIDENCE, keeper_workflow_id
    from models.evidence import Evidence
    from models.money import Money
    from models.reason_catalogue import entry
    from models.reason_codes import ReasonCode
    from models.stop import StopOutcome, StopPhase, StopResult
    from stops.ledger import result_of
    from stops.session import Session
    from stops.stop import Stop
    from stops.view import last_word

from workflows import calls
from workflows.charging import Charging
from workflows.flow import StopEnds
from workflows.keeper import Keeper
from workflows.recorder import Recorder
from workflows.waits import Waits

_KEEPERS_REST_S = 120.0


class Settlement:
    def __init__(
        self,
        stop: Stop,
        waits: Waits,
        recorder: Recorder,
        charging: Charging,
        keepers: Mapping[str, Keeper],
    ) -> None:
        self._stop = stop
        self._waits = waits
        self._recorder = recorder
        self._charging = charging
        self._keepers = keepers
        self._priced: dict[str, tuple[object, ...]] = {}
        """By attempt: the figures it was priced by."""

    async def close(self, ending: StopEnds) -> StopResult:
        """Leave every session, settle, and write the one outcome."""
        stop = self._stop
        self._leave_all(ending.reason)
        await self._seen_to_end()
        await self._settle()
        await self._seen_to_end()
        stop.is_closing = True
        for keeper in self._keepers.values():
            # Not cancelled: an intent that is being written must be written, and its record with it.
            keeper.retired = True
        if self._recorder.takes_over:
            await self._recorder.flush()  # the keepers of before give back first: one session, one keeper
        await self._price_all()  # what was told since; from here on the figures stand
        await self._hand_to_keepers()
        now, outcome = workflow.now(), _outcome(ending.outcome, stop.energy_kwh())
        stop.waiting.human_until = stop.waiting.approval_until = None
        soc = round(stop.vehicle.state.soc_percent, 1)
        stop.result = result_of(stop.stop_id, stop.tenant_id, outcome, ending.reason, stop.attempts, soc, now)
        stop.reason, stop.next_step = ending.reason, None
        stop.note(
            "stop.closed",
            last_word(stop.result),
            now,
            phase=StopPhase.CLOSED,
            reason=ending.reason,
            passing=True,
        )
        await self._recorder.flush()
        return stop.result

    def _leave_all(self, reason: ReasonCode | None) -> None:
        stop, now = self._stop, workflow.now()
        for session in stop.sessions:
            booking = stop.bookings[session.attempt_id]
            if not booking.closed:
                booking.closed, booking.reason = True, reason
                self._charging.move_vehicle(session)
            session.leave(reason, now)
            session.adopting = False

    async def _seen_to_end(self) -> None:
        """A while for what lives to be seen to end, and for commands under way to be answered. What takes
        longer gets an owner of its own."""
        stop = self._stop

        def rests() -> bool:
            return not stop.alive and not any(keeper.busy for keeper in self._keepers.values())

        if not rests():
            patience_s = stop.policy.uncertain_guard_s
            await self._waits.until(rests, patience_s, "The end of what still runs", even_if_interrupted=True)
        busy = [keeper for keeper in self._keepers.values() if keeper.busy]
        if busy:
            await self._waits.until(
                lambda: not any(keeper.busy for keeper in busy),
                _KEEPERS_REST_S,
                "The answer to a command under way",
                even_if_interrupted=True,
            )

    # --- money ------------------------------------------------------------------------------------------

    async def _settle(self) -> None:
        """Estimated (by tariff) and actual cost (the partner's record, or our meter at our tariff)."""
        for session in filter(_costs, self._stop.sessions):
            if session.charger.protocol is Protocol.OCPI and session.record_cost is None:
                await self._charge_record(session)
            with self._recorder.held():
                await self._price(session)

    async def _price_all(self) -> None:
        """Each session whose figures are not those it was priced by."""
        for session in filter(_costs, self._stop.sessions):
            if self._priced.get(session.attempt_id) != _figures(session):
                await self._price(session)

    async def _price(self, session: Session) -> None:
        booking = self._stop.bookings[session.attempt_id]
        known = self._priced.get(session.attempt_id)
        self._priced[session.attempt_id] = _figures(session)
        booking.cost_estimated = await price_of(session)
        roaming = session.charger.protocol is Protocol.OCPI
        booking.cost_actual = session.record_cost if roaming else booking.cost_estimated
        if not roaming and (not session.is_over or session.is_estimated):
            booking.cost_actual = None  # it still runs, or nobody has metered it: what it costs is not known
        if session.record_differs and (known is None or session.record_kwh not in known):
            title = entry(ReasonCode.SETTLE_ENERGY_DIFFERS).title
            self._stop.note(
                "settle.differs",
                f"{title}: record {session.record_kwh:.1f} kWh, meter {session.metered_kwh:.1f} kWh",
                workflow.now(),
                reason=ReasonCode.SETTLE_ENERGY_DIFFERS,
                passing=True,
                charger_id=session.charger_id,
            )

    async def _charge_record(self, session: Session) -> None:
        stop = self._stop
        text = f"{session.energy_kwh:.1f} kWh taken; waiting for the partner's charge record"
        stop.note("settling", text, workflow.now(), phase=StopPhase.SETTLING)
        await self._waits.until(
            lambda: session.record_at is not None,
            stop.policy.settlement_s,
            "The partner's charge record",
            even_if_interrupted=True,
        )
        if session.record_at is None:
            known = entry(ReasonCode.SETTLE_NO_CDR)
            stop.note("settled", known.title, workflow.now(), reason=ReasonCode.SETTLE_NO_CDR, passing=True)
        else:
            stop.note("settled", f"Charge record: {session.record_cost}", workflow.now())

    async def pass_on_late_evidence(self) -> None:
        """What was heard after the result was fixed amends it: each session's keeper is told."""
        stop = self._stop
        late, stop.late = stop.late, []
        for attempt_id in dict.fromkeys(item.attempt_id for item in late if item.attempt_id):
            items = [item for item in late if item.attempt_id == attempt_id]
            if not await self._tell_keeper(attempt_id, items):
                session = stop.session(attempt_id)
                if session is not None:
                    await self._start_keeper(session, carried=False)
                    await self._tell_keeper(attempt_id, items)

    async def _tell_keeper(self, attempt_id: str, items: list[Evidence]) -> bool:
        keeper = workflow.get_external_workflow_handle(keeper_workflow_id(attempt_id))
        try:
            await keeper.signal(SIGNAL_EVIDENCE, items)
        except ApplicationError:
            return False  # there is none, or it has done its work
        return True

    # --- what outlives the stop -----------------------------------------------------------------------------

    async def _hand_to_keepers(self) -> None:
        """Every session that has not been seen to end goes on with its keeper, in a workflow of its own."""
        stop = self._stop
        for session in stop.alive:
            await self._start_keeper(session, carried=True)
            stop.note(
                "session.kept",
                f"The session at {session.charger_id} has not been seen to end; its keeper goes on",
                workflow.now(),
                reason=ReasonCode.STOP_TIMEOUT,
                passing=True,
                charger_id=session.charger_id,
                attempt_id=session.attempt_id,
            )

    async def _start_keeper(self, session: Session, *, carried: bool) -> None:
        """With what the stop knows of it, or (`carried` False) with what the store has been given."""
        stop = self._stop
        kept = KeptSession(
            tenant_id=stop.tenant_id,
            stop_id=stop.stop_id,
            attempt_id=session.attempt_id,
            carried=session.model_dump(mode="json") if carried else None,
        )
        try:
            await workflow.start_child_workflow(
                KEEPER_WORKFLOW,
                kept,
                id=keeper_workflow_id(session.attempt_id),
                parent_close_policy=workflow.ParentClosePolicy.ABANDON,
                static_summary=f"The session at {session.charger_id} has not been seen to end",
            )
        except WorkflowAlreadyStartedError:
            workflow.logger.info("the session has its keeper already")


def _costs(session: Session) -> bool:
    return session.energy_kwh > 0 or session.record_cost is not None


def _figures(session: Session) -> tuple[object, ...]:
    """What its price follows from."""
    return session.energy_kwh, session.record_kwh, session.record_cost, session.is_over, session.occupied_s


def _outcome(outcome: StopOutcome, energy_kwh: float) -> StopOutcome:
    """By the energy that is known in the end: the last word of a session may come after its judgement."""
    if outcome is StopOutcome.NOT_CHARGED and energy_kwh > 0:
        return StopOutcome.CHARGED_SHORT
    if outcome is StopOutcome.CHARGED_SHORT and energy_kwh <= 0:
        return StopOutcome.NOT_CHARGED
    return outcome


async def price_of(session: Session) -> Money | None:
    """By the charger's tariff; None where there is none."""
    request = SettleRequest(
        charger=session.charger, energy_kwh=session.energy_kwh, occupied_s=session.occupied_s
    )
    text = f"{session.energy_kwh:.1f} kWh at {session.charger_id}, by its tariff"
    priced = await calls.PRICE(request, summary=text)
    return priced.cost
