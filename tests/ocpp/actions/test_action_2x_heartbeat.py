"""Heartbeat, 2.x: our time, in UTC with milliseconds, which stations set their clocks by."""

from __future__ import annotations

import re
from datetime import UTC, datetime

import pytest

from tests.ocpp.actions.action_log import V2
from tests.ocpp.conftest import Site


@pytest.mark.asyncio
@pytest.mark.parametrize("version", V2)
async def test_it_tells_the_time(site: Site, version: str) -> None:
    client = await site.connect(version)
    before = datetime.now(UTC)
    answer = await client.call("Heartbeat", {})
    assert list(answer) == ["currentTime"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", answer["currentTime"])
    told = datetime.fromisoformat(answer["currentTime"])
    assert before.replace(microsecond=0) <= told <= datetime.now(UTC)
