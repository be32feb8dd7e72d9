"""Whose a partner's session is. OCPI 2.2.1: uids, ids and references compare without case (CiString)."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from connectors.ocpi.wire import Instant
from models.evidence import EvidenceKind
from store.database import Store
from tests.ocpi.test_sessions import push, session_body
from tests.ocpi.world import world

pytestmark = pytest.mark.asyncio
K = EvidenceKind


def at(seconds: float) -> str:
    return str(Instant.of(datetime.now(UTC) + timedelta(seconds=seconds)))


def lower_token() -> dict[str, str]:
    return {"uid": "fleet1", "type": "APP_USER", "contract_id": "DE-BST-FLEET1"}


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({}, id="as it was sent"),
        pytest.param({"start_date_time": -10}, id="start of ten seconds before (rounded, or a slow clock)"),
        pytest.param({"start_date_time": -55}, id="start rounded down to the minute"),
        pytest.param({"evse_uid": "e1"}, id="evse uid in lower case"),
        pytest.param({"cdr_token": lower_token()}, id="token uid in lower case"),
        pytest.param({"location_id": "loc1"}, id="location id in lower case"),
    ],
)
async def test_a_session_without_our_reference_is_still_ours(store: Store, changes: dict[str, Any]) -> None:
    async with world(store) as w:
        await w.register()
        start = await w.intend()
        changes = {"start_date_time": 0, **changes}
        body = session_body(None, **changes | {"start_date_time": at(changes["start_date_time"])})
        assert await push(w, "PUT", "sessions/DE/RBX/S1", body) == (200, 1000)
        assert K.SESSION_STARTED in await w.kinds(start)


async def test_a_session_of_before_the_intent_is_not_ours(store: Store) -> None:
    async with world(store) as w:
        await w.register()
        start = await w.intend()
        body = session_body(None, start_date_time=at(-120))
        assert await push(w, "PUT", "sessions/DE/RBX/S1", body) == (200, 1000)
        assert K.SESSION_STARTED not in await w.kinds(start)


async def test_our_reference_in_upper_case_is_our_reference(store: Store) -> None:
    async with world(store) as w:
        await w.register()
        start = await w.intend()
        token = {"uid": "REPLACED", "type": "APP_USER", "contract_id": "DE-BST-FLEET1"}
        body = session_body(start.attempt_id.upper(), cdr_token=token)
        assert await push(w, "PUT", "sessions/DE/RBX/S1", body) == (200, 1000)
        assert K.SESSION_STARTED in await w.kinds(start)


async def test_what_a_partner_tells_after_completed_reaches_the_attempt(store: Store) -> None:
    """COMPLETED, ACTIVE again, and a second session of one reference, are told as the attempt's."""
    async with world(store) as w:
        await w.register()
        start = await w.intend()
        path = "sessions/DE/RBX/S1"
        ours = session_body(start.attempt_id, kwh=1.5, last_updated=at(1))
        await push(w, "PUT", path, ours)
        await push(w, "PATCH", path, {"status": "COMPLETED", "end_date_time": at(2), "last_updated": at(2)})
        await push(w, "PATCH", path, {"status": "ACTIVE", "kwh": 8, "last_updated": at(400)})
        second = session_body(start.attempt_id, id="S2", kwh=3, last_updated=at(500))
        await push(w, "PUT", "sessions/DE/RBX/S2", second)
        told = [(item.kind, item.session_ref, item.energy_kwh) for item in await w.evidence(start)]
        assert (K.METER, "S1", 8.0) in told
        assert (K.SESSION_STARTED, "S2", None) in told
