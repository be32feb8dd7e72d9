"""Heartbeat, 1.6: our time, in UTC with milliseconds, which stations set their clocks by."""

from __future__ import annotations

import re
from datetime import UTC, datetime

import pytest

from tests.ocpp.actions.action_log import V16
from tests.ocpp.conftest import Site


@pytest.mark.asyncio
async def test_it_tells_the_time(site: Site) -> None:
    client = await site.connect(V16)
    before = datetime.now(UTC)
    answer = await client.call("Heartbeat", {})
    assert list(answer) == ["currentTime"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", answer["currentTime"])
    told = datetime.fromisoformat(answer["currentTime"])
    assert before.replace(microsecond=0) <= told <= datetime.now(UTC)
