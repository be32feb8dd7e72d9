"""What ranking learns of a charger, over whole stops."""

from __future__ import annotations

from contextlib import suppress

import pytest
from temporalio.client import Client, WorkflowUpdateFailedError

from models.evidence import EvidenceKind
from models.ids import TenantId
from models.stop import SessionState
from store.database import Store
from tests.workflows.conftest import patient_policy, surroundings
from tests.workflows.stop_words import arrive, cancel


@pytest.mark.asyncio
async def test_a_start_that_came_late_is_not_learned_as_a_failure(
    temporal_client: Client, store: Store
) -> None:
    """Given up without a sign of life, then it came alive and charged: the charger can start."""
    policy = patient_policy(confirmation_s=1, attempts_per_connector=1)
    async with surroundings(temporal_client, store, policy=policy) as around:
        around.charger.silent = {"c1"}
        stop = await around.start()
        await arrive(stop)
        command = await stop.command(1)
        await stop.until(lambda v: v.attempt_number == 1 and v.attempts[0].reason is not None)
        await stop.stored(lambda v: v.attempt_number == 1 and v.attempts[0].reason is not None)
        await around.charger.say(command, EvidenceKind.SESSION_STARTED)
        await around.charger.say(command, EvidenceKind.SESSION_PROGRESS, energy_kwh=1.0)
        await around.charger.say(command, EvidenceKind.SESSION_ENDED, energy_kwh=30.0)
        await stop.until(lambda v: v.attempts[0].session is SessionState.ENDED)
        with suppress(WorkflowUpdateFailedError):  # it closes by itself in this moment
            await cancel(stop)
        await stop.result()
        await stop.stored(lambda v: v.outcome is not None)
        async with store.tenant(TenantId(around.tenant_id)) as unit:
            charger = await unit.chargers.get("c1")
        assert charger is not None
        assert (charger.start_successes, charger.start_failures) == (1, 0)
