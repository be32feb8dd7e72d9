"""BootNotification, 1.6: who the station is, and whether it may speak."""

from __future__ import annotations

import json

import pytest

from models.station import Admission, StationEventKind, StationIdentity
from tests.ocpp.actions.action_log import V16, bodies, record, settle, told_of_boot
from tests.ocpp.conftest import Site

BOOT = {"chargePointVendor": "V", "chargePointModel": "M"}


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("more", "serial"),
    [
        ({}, ""),
        ({"chargePointSerialNumber": "S1", "chargeBoxSerialNumber": "S2"}, "S1"),
        ({"chargeBoxSerialNumber": "S2", "firmwareVersion": "1.2"}, "S2"),
    ],
)
async def test_its_identity_is_kept_and_told(site: Site, more: dict[str, str], serial: str) -> None:
    client = await site.connect(V16)
    answer = await client.call("BootNotification", {**BOOT, **more})
    assert (answer["status"], answer["interval"]) == ("Accepted", 60)
    found = await record(site)
    assert found.identity == StationIdentity(
        vendor="V", model="M", serial_number=serial, firmware_version=more.get("firmwareVersion", "")
    )
    assert found.booted_at is not None
    assert await told_of_boot(site) == [{"version": V16, **found.identity.model_dump()}]


@pytest.mark.asyncio
@pytest.mark.parametrize(("admission", "word"), [("pending", "Pending"), ("rejected", "Rejected")])
async def test_until_it_is_accepted_it_may_only_boot(site: Site, admission: str, word: str) -> None:
    await settle(site, admission=Admission(admission))
    client = await site.connect(V16)
    answer = await client.call("BootNotification", BOOT)
    assert (answer["status"], answer["interval"]) == (word, 30)
    refused = await client.raw(json.dumps([2, "a", "Heartbeat", {}]))
    assert refused[:3] == [4, "a", "SecurityError"]
    assert (await client.call("BootNotification", BOOT))["status"] == word
    assert await bodies(site, StationEventKind.BOOT) == []
