"""MeterValues, 2.x: of an EVSE by the clock, beside any transaction; always answered."""

from __future__ import annotations

from typing import Any

import pytest

from models.evidence import EvidenceKind
from models.ids import remote_start_id_for
from tests.ocpp.actions.action_log import V2, ago
from tests.ocpp.conftest import Client, Site


async def started(site: Site, version: str) -> Client:
    attempt_id = await site.attempt()
    client = await site.connect(version)
    sampled = [{"value": 5_000, "measurand": "Energy.Active.Import.Register"}]
    body = {
        "eventType": "Started", "timestamp": ago(120), "triggerReason": "RemoteStart", "seqNo": 0,
        "transactionInfo": {"transactionId": "tx", "remoteStartId": remote_start_id_for(attempt_id)},
        "evse": {"id": 1, "connectorId": 1},
        "meterValue": [{"timestamp": ago(120), "sampledValue": sampled}],
    }  # fmt: skip
    assert await client.call("TransactionEvent", body) == {}
    return client


async def meter(client: Client, value: Any, number: int = 1) -> None:
    assert await client.call("MeterValues", {"evseId": number, "meterValue": value}) == {}


def values(*samples: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"timestamp": ago(5), "sampledValue": list(samples)}]


@pytest.mark.asyncio
@pytest.mark.parametrize("version", V2)
async def test_an_evses_values_are_its_transactions_progress(site: Site, version: str) -> None:
    client = await started(site, version)
    await meter(client, values({"value": 6_000}), 2)
    assert site.sink.of(EvidenceKind.ENERGY_FLOWING) == []
    await meter(client, values({"value": 6.5, "unitOfMeasure": {"unit": "kWh"}}))
    (told,) = site.sink.of(EvidenceKind.ENERGY_FLOWING)
    assert told.energy_kwh == pytest.approx(1.5)


@pytest.mark.asyncio
@pytest.mark.parametrize("version", V2)
@pytest.mark.parametrize("number", [0, 1, 9])
async def test_where_nothing_charges_they_are_answered_and_told_to_nobody(
    site: Site, version: str, number: int
) -> None:
    client = await site.connect(version)
    await meter(client, values({"value": 6_000}), number)
    assert site.sink.heard == {}


@pytest.mark.asyncio
@pytest.mark.parametrize("version", V2)
@pytest.mark.parametrize("value", [[], "none", [5], [{"timestamp": "never", "sampledValue": []}]])
async def test_what_says_nothing_is_answered(site: Site, version: str, value: Any) -> None:
    client = await started(site, version)
    await meter(client, value)
    assert site.sink.of(EvidenceKind.ENERGY_FLOWING) == []
