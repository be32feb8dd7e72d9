"""What ranking learns from starts: the truth, once, when nothing can change it any more."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from models.ids import TenantId
from models.stop import Attempt, SessionState
from store.database import Store
from store.start_counts import count_starts
from tests.store.store_samples import attempt, charger, intent

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def counted(store: Store, tenant: TenantId, *told: Mapping[str, object]) -> tuple[int, int]:
    """Successes and failures after an attempt was told with these fields, one after the other."""
    tried = attempt(f"{tenant}-a")
    async with store.tenant(tenant) as unit:
        await unit.chargers.upsert([charger()])
        await unit.attempts.open(intent(tried, "stop-a"))
        for fields in told:
            await count_starts(unit, [Attempt.model_validate({**tried.model_dump(), **fields})])
        known = await unit.chargers.get("ch-1")
    assert known is not None
    return known.start_successes, known.start_failures


GIVEN_UP = {"session": SessionState.ACCEPTED, "start_proven": False}


async def test_a_start_that_was_given_up_and_may_come_yet_is_no_failure(
    store: Store, tenant: TenantId
) -> None:
    assert await counted(store, tenant, GIVEN_UP, {**GIVEN_UP, "session": SessionState.ALIVE}) == (0, 0)


async def test_a_start_that_charged_after_all_is_a_success_once(store: Store, tenant: TenantId) -> None:
    late = {**GIVEN_UP, "session": SessionState.ENDED, "energy_kwh": 12.0}
    assert await counted(store, tenant, GIVEN_UP, late, {**late, "start_proven": True}) == (1, 0)


async def test_a_start_that_never_began_is_a_failure_once(store: Store, tenant: TenantId) -> None:
    never = {**GIVEN_UP, "session": SessionState.NEVER_BEGAN}
    assert await counted(store, tenant, GIVEN_UP, never, never) == (0, 1)


async def test_nobody_is_blamed_where_nothing_is_proven(store: Store, tenant: TenantId) -> None:
    assert await counted(store, tenant, {"session": SessionState.NEVER_BEGAN}) == (0, 0)
