"""Every action that is kept and answered, and changes nothing: an answer that fits, and a line in the log."""

from __future__ import annotations

import json
from typing import Any

import pytest

from connectors.ocpp.connection import TABLES
from connectors.ocpp.wire.schemas import Version, schemas_of
from tests.ocpp.actions.action_log import log_of
from tests.ocpp.conftest import Client, Site
from tests.ocpp.schema_samples import sample

KEPT = [
    (version, action)
    for version, table in TABLES.items()
    for action, row in table.items()
    if row.handle.__qualname__.startswith("kept.")
]


async def tell(client: Client, version: Version, action: str, payload: dict[str, Any]) -> None:
    """Say it, as a SEND where it is one, and see that the answer fits."""
    if not schemas_of(version).answers(action):
        await client.socket.send(json.dumps([6, "s", action, payload]))
        assert "currentTime" in await client.call("Heartbeat", {})
        return
    answer = await client.call(action, payload)
    schemas_of(version).check(action, answer, response=True)


def test_all_rows_are_found() -> None:
    found = {version: sum(1 for of, _ in KEPT if of is version) for version in Version}
    assert found == {Version.V16: 4, Version.V201: 13, Version.V21: 18}


@pytest.mark.asyncio
@pytest.mark.parametrize("full", [False, True], ids=["least", "full"])
@pytest.mark.parametrize(("version", "action"), KEPT)
async def test_it_is_answered_and_in_the_log(site: Site, version: Version, action: str, full: bool) -> None:
    payload = sample(version, action, full=full)
    await tell(await site.connect(version), version, action, payload)
    (event,) = await log_of(site)
    body = dict(event.body)
    assert body.pop("message") == action
    assert body.items() <= payload.items(), "what is kept is as it came"
    if full:
        assert body or action == "ClearedChargingLimit"


@pytest.mark.asyncio
@pytest.mark.parametrize("version", [Version.V201, Version.V21])
async def test_no_password_of_a_report_is_kept(site: Site, version: Version) -> None:
    payload = sample(version, "NotifyReport", full=True)
    payload["reportData"][0]["variable"]["name"] = "BasicAuthPassword"
    payload["reportData"][0]["variableAttribute"][0]["value"] = "S3CRET"
    await tell(await site.connect(version), version, "NotifyReport", payload)
    (event,) = await log_of(site)
    assert "BasicAuthPassword" in str(event.body)
    assert "S3CRET" not in str(event.body)


@pytest.mark.asyncio
@pytest.mark.parametrize("version", [Version.V201, Version.V21])
async def test_a_customers_data_is_not_kept(site: Site, version: Version) -> None:
    body = {"data": "Jane Doe", "seqNo": 0, "generatedAt": "2026-11-21T08:00:00Z", "requestId": 1}
    await tell(await site.connect(version), version, "NotifyCustomerInformation", body)
    (event,) = await log_of(site)
    assert "Jane Doe" not in str(event.body)
