"""SignCertificate (all versions share the handler): answered first, signed and sent afterwards."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from connectors.ocpp.ports import StationInfo
from models.station import StationEventKind
from tests.ocpp.actions.action_log import V2, V16, bodies
from tests.ocpp.conftest import Site
from tests.ocpp.rpc_peer import until

CHAIN = "-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n"


def signs(site: Site, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The house signs everything; what it was asked to sign."""
    asked: list[str] = []

    async def sign(station: StationInfo, csr_pem: str) -> str:
        asked.append(csr_pem)
        return CHAIN

    house = site.gateway._house
    monkeypatch.setattr(house, "sign", sign)
    return asked


async def until_logged(site: Site, number: int) -> list[dict[str, object]]:
    async with asyncio.timeout(5):
        while len(found := await bodies(site, StationEventKind.CERTIFICATE)) < number:
            await asyncio.sleep(0.01)
    return found


@pytest.mark.asyncio
@pytest.mark.parametrize("version", [V16, *V2])
@pytest.mark.parametrize("verdict", ["Accepted", "Rejected"])
async def test_signed_and_sent_after_the_answer(
    site: Site, monkeypatch: pytest.MonkeyPatch, version: str, verdict: str
) -> None:
    asked = signs(site, monkeypatch)
    client = await site.connect(version)
    body: dict[str, Any] = {"csr": "a signing request"}
    if version != V16:
        body["certificateType"] = "ChargingStationCertificate"
    assert await client.call("SignCertificate", body) == {"status": "Accepted"}
    sent = await client.frame()
    expected = {"certificateChain": CHAIN} | {k: v for k, v in body.items() if k != "csr"}
    assert sent == [2, sent[1], "CertificateSigned", expected]
    await client.socket.send(json.dumps([3, sent[1], {"status": verdict}]))
    assert await until_logged(site, 1) == [{"status": verdict}]
    assert asked == ["a signing request"]


@pytest.mark.asyncio
@pytest.mark.parametrize("version", [V16, *V2])
async def test_refused_where_there_is_no_authority(site: Site, version: str) -> None:
    client = await site.connect(version)
    assert await client.call("SignCertificate", {"csr": "a signing request"}) == {"status": "Rejected"}
    assert await bodies(site, StationEventKind.CERTIFICATE) == [{"status": "refused"}]


@pytest.mark.asyncio
async def test_the_request_id_of_21_comes_back(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    signs(site, monkeypatch)
    client = await site.connect("ocpp2.1")
    await client.call("SignCertificate", {"csr": "a signing request", "requestId": 7})
    assert (await client.frame())[3] == {"certificateChain": CHAIN, "requestId": 7}


@pytest.mark.asyncio
@pytest.mark.parametrize("version", V2)
async def test_another_authoritys_certificate_is_not_signed(
    site: Site, monkeypatch: pytest.MonkeyPatch, version: str
) -> None:
    """Was a bug: a V2G request was signed as the station's own."""
    asked = signs(site, monkeypatch)
    client = await site.connect(version)
    body = {"csr": "a signing request", "certificateType": "V2GCertificate"}
    assert await client.call("SignCertificate", body) == {"status": "Rejected"}
    assert asked == []


@pytest.mark.asyncio
@pytest.mark.parametrize("version", [V16, *V2])
async def test_a_station_that_says_nothing_to_it_is_served_on(
    site: Site, monkeypatch: pytest.MonkeyPatch, version: str
) -> None:
    signs(site, monkeypatch)
    client = await site.connect(version)
    await client.call("SignCertificate", {"csr": "a signing request"})
    sent = await client.frame()
    await client.socket.send(json.dumps([4, sent[1], "InternalError", "", {}]))
    assert "currentTime" in await client.call("Heartbeat", {})
    await until(lambda: site.gateway.counts["afterwards CallError"] == 1)
