"""StatusNotification, 1.6: a connector's state, its faults, and what both say to a stop."""

from __future__ import annotations

from typing import Any

import pytest

from models.charger import ConnectorStatus
from models.evidence import EvidenceKind
from models.reason_codes import ReasonCode
from models.station import StationEventKind
from tests.ocpp.actions.action_log import V16, ago, at, bodies, status
from tests.ocpp.conftest import Client, Site


async def says(client: Client, word: str, number: int = 1, when: str = "", **more: Any) -> None:
    body = {"connectorId": number, "errorCode": "NoError", "status": word, "timestamp": when or ago(), **more}
    assert await client.call("StatusNotification", body) == {}


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("word", "known"),
    [
        ("Available", ConnectorStatus.AVAILABLE),
        ("Preparing", ConnectorStatus.OCCUPIED),
        ("Charging", ConnectorStatus.OCCUPIED),
        ("SuspendedEVSE", ConnectorStatus.OCCUPIED),
        ("SuspendedEV", ConnectorStatus.OCCUPIED),
        ("Finishing", ConnectorStatus.OCCUPIED),
        ("Reserved", ConnectorStatus.RESERVED),
        ("Unavailable", ConnectorStatus.FAULTED),
        ("Faulted", ConnectorStatus.FAULTED),
    ],
)
async def test_every_word_has_a_meaning(site: Site, word: str, known: ConnectorStatus) -> None:
    client = await site.connect(V16)
    await says(client, word)
    assert await status(site) is known
    assert await status(site, 2) is not known or known is ConnectorStatus.UNKNOWN


@pytest.mark.asyncio
async def test_the_station_itself_and_unknown_connectors_say_nothing_about_a_plug(site: Site) -> None:
    client = await site.connect(V16)
    await says(client, "Faulted", 0, errorCode="GroundFailure")
    await says(client, "Available", 9)
    assert [await status(site, number) for number in (1, 2)] == [ConnectorStatus.UNKNOWN] * 2
    assert len(await bodies(site, StationEventKind.FAULT)) == 1
    assert site.sink.heard == {}


@pytest.mark.asyncio
async def test_a_warning_is_kept_and_faults_nothing(site: Site) -> None:
    client = await site.connect(V16)
    await says(
        client, "Charging", errorCode="WeakSignal", info="-110 dBm", vendorErrorCode="77", vendorId="V"
    )
    assert await status(site) is ConnectorStatus.OCCUPIED
    assert await bodies(site, StationEventKind.FAULT) == [
        {
            "connector": 1, "status": "Charging", "error_code": "WeakSignal", "vendor_id": "V",
            "vendor_code": "77", "info": "-110 dBm",
        }
    ]  # fmt: skip
    assert site.sink.of(EvidenceKind.CONNECTOR_FAULTED) == []


@pytest.mark.asyncio
async def test_a_fault_is_told_once_with_its_reason(site: Site) -> None:
    client, when = await site.connect(V16), ago()
    for _ in range(2):
        await says(client, "Faulted", when=when, errorCode="ConnectorLockFailure")
    (fault,) = site.sink.of(EvidenceKind.CONNECTOR_FAULTED)
    assert isinstance(fault.reason, ReasonCode)
    assert fault.vendor_code == "ocpp1.6:ConnectorLockFailure"
    assert fault.charger_id == f"{site.station_id}-1"


@pytest.mark.asyncio
async def test_what_is_older_than_what_is_known_changes_nothing(site: Site) -> None:
    client = await site.connect(V16)
    await says(client, "Preparing", when=ago(10))
    await says(client, "Available", when=ago(20))
    assert await status(site) is ConnectorStatus.OCCUPIED
    assert len(site.sink.of(EvidenceKind.PLUGGED_IN)) == 1


@pytest.mark.asyncio
async def test_a_suspension_says_whose_it_is(site: Site) -> None:
    attempt_id = await site.attempt()
    client = await site.connect(V16)
    start = {"connectorId": 1, "idTag": "TAG1", "meterStart": 0, "timestamp": at()}
    await client.call("StartTransaction", start)
    await says(client, "SuspendedEV", when=at(5))
    await says(client, "SuspendedEVSE", when=at(6))
    for kind in (EvidenceKind.SUSPENDED_BY_VEHICLE, EvidenceKind.SUSPENDED_BY_CHARGER):
        (told,) = site.sink.of(kind)
        assert told.attempt_id == attempt_id
