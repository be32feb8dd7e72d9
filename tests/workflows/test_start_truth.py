"""Every row of docs/start-truth.md, run on the real server; and the page says what the rows say."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from temporalio.client import Client

from connectors.ports import RoutedEvidence
from models.commands import ChargerCommand, CommandOutcome
from models.evidence import Evidence, EvidenceKind, EvidenceSource
from models.reason_codes import ReasonCode
from models.stop import StopOutcome, StopPhase, StopView
from store.database import Store
from tests.workflows.conftest import StopHandle, Surroundings, patient_policy, surroundings
from tests.workflows.start_truth import TABLE, Heard, Row, Then
from tests.workflows.stop_words import arrive, cancel
from tools.start_truth_doc import PAGE, page

_NEVER = (Then.FALLBACK, ReasonCode.CONFIRM_NEVER_STARTED)


def policy_for(row: Row) -> dict[str, float]:
    """Short only where the row waits for that very clock to run out."""
    silent = not row.evidence and row.reply.outcome is not CommandOutcome.REJECTED
    ends_idle = row.evidence and row.evidence[-1].kind is EvidenceKind.SUSPENDED_BY_VEHICLE
    return {
        "confirmation_s": 1.5 if silent else 30,
        "idle_grace_s": 0.5 if ends_idle else 300,
        "settlement_s": 0.2,
        "offline_patience_s": 1,
    }


async def say(around: Surroundings, command: ChargerCommand, heard: Heard, at: datetime) -> None:
    item = Evidence(
        event_id=f"{command.attempt_id}:{heard.kind}:{at.isoformat()}",
        source=EvidenceSource.OCPI if command.charger.protocol == "ocpi" else EvidenceSource.OCPP,
        kind=heard.kind,
        observed_at=at,
        attempt_id=command.attempt_id,
        charger_id=command.charger.charger_id,
        session_ref="tx",
        energy_kwh=heard.energy_kwh,
        reason=heard.reason,
        heard_at=at - timedelta(seconds=heard.heard_s) if heard.heard_s is not None else None,
    )
    await around.relay.accept(
        [RoutedEvidence(tenant_id=around.tenant_id, evidence=item, stop_id=command.stop_id)]
    )


@pytest.mark.asyncio
@pytest.mark.parametrize(
    "row", TABLE, ids=lambda row: f"{row.partner}-{row.phase}-{row.fault}".replace(" ", "_")
)
async def test_a_row_is_true(row: Row, temporal_client: Client, store: Store) -> None:
    policy = patient_policy(**policy_for(row))
    async with surroundings(temporal_client, store, policy=policy, protocol=row.partner) as around:
        around.charger.silent = {"c1", "c2", "c3", "c4"}
        around.charger.replies["c1"] = [row.reply] * 40
        stop = await around.start()
        await arrive(stop)
        command = await stop.command(1)
        at = datetime.now(UTC)
        for number, heard in enumerate(row.evidence):
            late = heard.kind is EvidenceKind.SESSION_SILENT  # patience is a matter of minutes
            await say(around, command, heard, at + timedelta(seconds=number, minutes=20 if late else 0))
        await _comes_true(row, stop)


async def _comes_true(row: Row, stop: StopHandle) -> None:
    if row.then in (Then.CHARGED, Then.SHORT):
        result = await stop.result()
        expected = StopOutcome.CHARGED if row.then is Then.CHARGED else StopOutcome.CHARGED_SHORT
        assert (result.outcome, result.reason) == (expected, row.code)
        assert result.energy_kwh == pytest.approx(row.energy_kwh)
        return
    if row.then is Then.WAITS:
        view = await stop.until(lambda v: v.phase is StopPhase.CHARGING and v.reason is row.code)
        assert view.attempts[0].reason is None
        assert not stop.around.charger.stops()
    else:
        view = await stop.until(_fell_back)
        assert view.attempts[0].reason is row.code
    await cancel(stop)
    await stop.result()


def _fell_back(view: StopView) -> bool:
    return bool(view.attempts) and view.attempts[0].reason is not None


def test_the_page_says_what_the_rows_say() -> None:
    assert Path(PAGE).read_text() == page(), "run: python -m tools.start_truth_doc"


@pytest.mark.asyncio
async def test_negative_control_a_row_that_lies_is_noticed(temporal_client: Client, store: Store) -> None:
    lie = next(row for row in TABLE if row.then is Then.SHORT)
    wrong = Row(
        lie.fault, lie.phase, lie.partner, lie.reply, lie.evidence, Then.CHARGED, None, lie.energy_kwh
    )
    with pytest.raises((AssertionError, asyncio.TimeoutError)):
        await test_a_row_is_true(wrong, temporal_client, store)
