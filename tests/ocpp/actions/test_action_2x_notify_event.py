"""NotifyEvent, 2.x: every event is in the log; an MREC problem of a connector is a fault."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pytest

from connectors.ocpp.wire.schemas import Json
from models.charger import ConnectorStatus
from models.evidence import EvidenceKind
from models.reason_codes import ReasonCode
from models.station import StationEventKind
from tests.ocpp.actions.action_log import V2, ago, bodies, log_of, status
from tests.ocpp.conftest import Client, Site


def event(number: int | None = 1, variable: str = "Problem", value: str = "true", **more: Any) -> Json:
    component: Json = {"name": "Connector"}
    if number is not None:
        component["evse"] = {"id": number, "connectorId": 1}
    return {
        "eventId": 1, "timestamp": ago(5), "trigger": "Delta", "actualValue": value,
        "eventNotificationType": "HardWiredNotification", "component": component,
        "variable": {"name": variable}, **more,
    }  # fmt: skip


async def notify(client: Client, *events: Json) -> None:
    body = {"generatedAt": ago(), "seqNo": 0, "eventData": list(events)}
    assert await client.call("NotifyEvent", body) == {}


@pytest.mark.asyncio
@pytest.mark.parametrize("version", V2)
async def test_every_event_is_in_the_log_with_its_own_time(site: Site, version: str) -> None:
    client = await site.connect(version)
    first = event(None, "Temperature", "81", techInfo="x" * 500, cleared=True)
    await notify(client, first, event(techCode="CX002"))
    fault, report = await log_of(site)
    assert (fault.kind, report.kind) == (StationEventKind.FAULT, StationEventKind.REPORT)
    assert report.observed_at == datetime.fromisoformat(first["timestamp"])
    assert report.body == {
        "connector": 0, "component": "Connector", "variable": "Temperature", "value": "81",
        "trigger": "Delta", "code": "", "info": "x" * 500, "cleared": True,
    }  # fmt: skip


@pytest.mark.asyncio
@pytest.mark.parametrize("version", V2)
async def test_a_coded_problem_of_a_connector_is_a_fault(site: Site, version: str) -> None:
    client = await site.connect(version)
    await notify(client, event(techCode="CX002"))
    (fault,) = site.sink.of(EvidenceKind.CONNECTOR_FAULTED)
    assert isinstance(fault.reason, ReasonCode)
    assert fault.vendor_code == "mrec:CX002"
    assert (await status(site), await status(site, 2)) == (ConnectorStatus.FAULTED, ConnectorStatus.UNKNOWN)


@pytest.mark.asyncio
@pytest.mark.parametrize("version", V2)
@pytest.mark.parametrize(
    "harmless",
    [
        event(None, techCode="CX002"),
        event(techCode="CX002", cleared=True),
        event(value="false", techCode="CX002"),
        event(techCode="vendor-77"),
        event(variable="Temperature", techCode="CX002"),
        event(),
    ],
    ids=["no EVSE", "cleared", "not raised", "vendor's code", "another variable", "no code"],
)
async def test_what_is_no_fault_is_kept_only(site: Site, version: str, harmless: Json) -> None:
    client = await site.connect(version)
    await notify(client, harmless)
    assert site.sink.heard == {}
    assert await status(site) is ConnectorStatus.UNKNOWN
    assert len(await log_of(site)) == 1


@pytest.mark.asyncio
@pytest.mark.parametrize("version", V2)
async def test_a_status_may_come_as_an_event(site: Site, version: str) -> None:
    client = await site.connect(version)
    await notify(client, event(2, "AvailabilityState", "Occupied"))
    assert await status(site, 2) is ConnectorStatus.OCCUPIED
    assert len(await bodies(site, StationEventKind.REPORT)) == 1


@pytest.mark.asyncio
@pytest.mark.parametrize("version", V2)
async def test_a_monitored_password_is_not_in_the_log(site: Site, version: str) -> None:
    client = await site.connect(version)
    await notify(client, event(None, "BasicAuthPassword", "a-very-secret-word-1"))
    assert "a-very-secret-word-1" not in str(await log_of(site))
