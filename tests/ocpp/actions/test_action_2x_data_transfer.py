"""DataTransfer, 2.x: kept without secrets, and refused; no vendor's extension is known here."""

from __future__ import annotations

import json

import pytest

from models.station import StationEventKind
from tests.ocpp.actions.action_log import V2, bodies
from tests.ocpp.conftest import Site


@pytest.mark.asyncio
@pytest.mark.parametrize("version", V2)
async def test_it_is_kept_and_refused(site: Site, version: str) -> None:
    client = await site.connect(version)
    for body in ({"vendorId": "V"}, {"vendorId": "V", "messageId": "m", "data": "x" * 3_000}):
        assert await client.call("DataTransfer", body) == {"status": "UnknownVendorId"}
    assert await bodies(site, StationEventKind.DATA) == [
        {"vendor_id": "V", "message_id": "m", "data": "x" * 2_000},
        {"vendor_id": "V", "message_id": "", "data": ""},
    ]


@pytest.mark.asyncio
@pytest.mark.parametrize("version", V2)
async def test_a_token_within_is_not_kept(site: Site, version: str) -> None:
    client = await site.connect(version)
    data = json.dumps({"idToken": {"idToken": "S3CRET", "type": "eMAID"}})
    await client.call("DataTransfer", {"vendorId": "org.openchargealliance.iso15118pnc", "data": data})
    (kept,) = await bodies(site, StationEventKind.DATA)
    assert "eMAID" in str(kept["data"])
    assert "S3CRET" not in str(kept)


@pytest.mark.asyncio
@pytest.mark.parametrize("version", V2)
@pytest.mark.parametrize("data", [{"a": [1]}, [1, 2], 5, False, None])
async def test_its_data_may_be_anything(site: Site, version: str, data: object) -> None:
    client = await site.connect(version)
    assert await client.call("DataTransfer", {"vendorId": "V", "data": data}) == {"status": "UnknownVendorId"}
    assert len(await bodies(site, StationEventKind.DATA)) == 1
