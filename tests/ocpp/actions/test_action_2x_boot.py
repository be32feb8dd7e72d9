"""BootNotification, 2.x: who the station is, and whether it may speak."""

from __future__ import annotations

import json
from typing import Any

import pytest

from models.station import Admission, StationEventKind, StationIdentity
from tests.ocpp.actions.action_log import V2, bodies, record, settle, told_of_boot
from tests.ocpp.conftest import Site


def boot(**more: str) -> dict[str, Any]:
    return {"reason": "PowerUp", "chargingStation": {"vendorName": "V", "model": "M", **more}}


@pytest.mark.asyncio
@pytest.mark.parametrize("version", V2)
@pytest.mark.parametrize("more", [{}, {"serialNumber": "S1", "firmwareVersion": "1.2"}])
async def test_its_identity_is_kept_and_told(site: Site, version: str, more: dict[str, str]) -> None:
    client = await site.connect(version)
    answer = await client.call("BootNotification", boot(**more))
    assert (answer["status"], answer["interval"]) == ("Accepted", 60)
    found = await record(site)
    assert found.identity == StationIdentity(
        vendor="V",
        model="M",
        serial_number=more.get("serialNumber", ""),
        firmware_version=more.get("firmwareVersion", ""),
    )
    assert await told_of_boot(site) == [{"version": version, **found.identity.model_dump()}]


@pytest.mark.asyncio
@pytest.mark.parametrize("version", V2)
@pytest.mark.parametrize(("admission", "word"), [("pending", "Pending"), ("rejected", "Rejected")])
async def test_until_it_is_accepted_it_may_only_boot(
    site: Site, version: str, admission: str, word: str
) -> None:
    await settle(site, admission=Admission(admission))
    client = await site.connect(version)
    answer = await client.call("BootNotification", boot())
    assert (answer["status"], answer["interval"]) == (word, 30)
    refused = await client.raw(json.dumps([2, "a", "Heartbeat", {}]))
    assert refused[:3] == [4, "a", "SecurityError"]
    assert (await client.call("BootNotification", boot()))["status"] == word
    assert await bodies(site, StationEventKind.BOOT) == []
