"""The vehicle's charge, and with it the need of the next attempt: from what was measured and what flowed."""

from __future__ import annotations

import pytest
from temporalio.client import Client

from models.evidence import EvidenceKind
from store.database import Store
from tests.workflows.conftest import patient_policy, surroundings
from tests.workflows.peer_words import fell_back, say, told_to_stop
from tests.workflows.stop_words import arrive, cancel


@pytest.mark.asyncio
async def test_the_charge_of_another_vehicle_at_a_late_start_is_not_ours(
    temporal_client: Client, store: Store
) -> None:
    """c1 comes alive after we gave it up and went on, under a stranger's car at 85 %. Ours has 30 %."""
    async with surroundings(temporal_client, store, policy=patient_policy(confirmation_s=1.5)) as around:
        around.charger.silent = {"c1"}
        stop = await around.start()
        await arrive(stop)
        first = await stop.command(1)
        await stop.until(fell_back)
        await arrive(stop)
        await stop.command(2)
        await say(around, first, EvidenceKind.SESSION_STARTED, soc_percent=85.0)
        await told_to_stop(around, first)
        await cancel(stop)
        assert (await stop.result()).soc_percent == pytest.approx(30, abs=2)
