"""DataTransfer, 1.6: kept without secrets, and refused; no vendor's extension is known here."""

from __future__ import annotations

import json

import pytest

from models.station import StationEventKind
from tests.ocpp.actions.action_log import V16, bodies
from tests.ocpp.conftest import Site


@pytest.mark.asyncio
async def test_it_is_kept_and_refused(site: Site) -> None:
    client = await site.connect(V16)
    for body in ({"vendorId": "V"}, {"vendorId": "V", "messageId": "m", "data": "x" * 3_000}):
        assert await client.call("DataTransfer", body) == {"status": "UnknownVendorId"}
    assert await bodies(site, StationEventKind.DATA) == [
        {"vendor_id": "V", "message_id": "m", "data": "x" * 2_000},
        {"vendor_id": "V", "message_id": "", "data": ""},
    ]


@pytest.mark.asyncio
async def test_a_token_within_is_not_kept(site: Site) -> None:
    client = await site.connect(V16)
    data = json.dumps({"idToken": {"idToken": "S3CRET", "type": "eMAID"}})
    await client.call("DataTransfer", {"vendorId": "org.openchargealliance.iso15118pnc", "data": data})
    (kept,) = await bodies(site, StationEventKind.DATA)
    assert "eMAID" in str(kept["data"])
    assert "S3CRET" not in str(kept)
