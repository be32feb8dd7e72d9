"""SecurityEventNotification (all versions share the handler): every one is kept, with its own time."""

from __future__ import annotations

from datetime import datetime

import pytest

from models.station import StationEventKind
from tests.ocpp.actions.action_log import V2, V16, ago, log_of
from tests.ocpp.conftest import Site


@pytest.mark.asyncio
@pytest.mark.parametrize("version", [V16, *V2])
async def test_every_event_is_kept(site: Site, version: str) -> None:
    client, when = await site.connect(version), ago(3600)
    for more in ({}, {"techInfo": "y" * 255}):
        body = {"type": "TamperDetectionActivated", "timestamp": when, **more}
        assert await client.call("SecurityEventNotification", body) == {}
    events = await log_of(site, StationEventKind.SECURITY)
    assert [event.body for event in events] == [
        {"type": "TamperDetectionActivated", "info": "y" * 255},
        {"type": "TamperDetectionActivated", "info": ""},
    ]
    assert {event.observed_at for event in events} == {datetime.fromisoformat(when)}


@pytest.mark.asyncio
@pytest.mark.parametrize("version", [V16, *V2])
async def test_a_type_that_nobody_knows_is_kept_too(site: Site, version: str) -> None:
    client = await site.connect(version)
    body = {"type": "VendorsOwnAlarm", "timestamp": "2044-01-01T00:00:00Z"}
    assert await client.call("SecurityEventNotification", body) == {}
    (event,) = await log_of(site, StationEventKind.SECURITY)
    assert event.body["type"] == "VendorsOwnAlarm"
    assert event.observed_at.year < 2044, "a wrong clock does not hide it in the future"
