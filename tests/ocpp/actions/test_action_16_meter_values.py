"""MeterValues, 1.6: of a transaction, or of a connector by the clock; always answered."""

from __future__ import annotations

from typing import Any

import pytest

from models.evidence import EvidenceKind
from tests.ocpp.actions.action_log import V16, at
from tests.ocpp.conftest import Client, Site


async def started(site: Site) -> tuple[Client, int]:
    await site.attempt()
    client = await site.connect(V16)
    body = {"connectorId": 1, "idTag": "TAG1", "meterStart": 5_000, "timestamp": at()}
    return client, int((await client.call("StartTransaction", body))["transactionId"])


async def meter(client: Client, *samples: dict[str, Any], **more: Any) -> None:
    values = [{"timestamp": at(5), "sampledValue": list(samples)}]
    assert await client.call("MeterValues", {"connectorId": 1, "meterValue": values, **more}) == {}


@pytest.mark.asyncio
async def test_a_transactions_progress_is_told_to_the_stop(site: Site) -> None:
    client, number = await started(site)
    await meter(
        client,
        {"value": "6.5", "unit": "kWh"},
        {"value": "11000", "unit": "W", "measurand": "Power.Active.Import"},
        {"value": "40", "unit": "Percent", "measurand": "SoC"},
        transactionId=number,
    )
    (told,) = site.sink.of(EvidenceKind.ENERGY_FLOWING)
    assert (told.energy_kwh, told.power_kw, told.soc_percent) == (1.5, 11.0, 40.0)


@pytest.mark.asyncio
async def test_without_a_transaction_id_it_is_the_connectors_own(site: Site) -> None:
    client, _ = await started(site)
    await meter(client, {"value": "6000"}, connectorId=2)
    assert site.sink.of(EvidenceKind.ENERGY_FLOWING) == []
    await meter(client, {"value": "6000"})
    assert len(site.sink.of(EvidenceKind.ENERGY_FLOWING)) == 1


@pytest.mark.asyncio
@pytest.mark.parametrize("number", [999_999_999, 0, -1])
async def test_of_an_unknown_transaction_they_are_answered_and_told_to_nobody(
    site: Site, number: int
) -> None:
    client = await site.connect(V16)
    await meter(client, {"value": "6000"}, transactionId=number)
    assert site.sink.heard == {}


@pytest.mark.asyncio
async def test_a_sample_that_cannot_be_read_takes_no_other_with_it(site: Site) -> None:
    client, number = await started(site)
    await meter(
        client,
        {"value": "6000"},
        {"value": "much", "unit": "W", "measurand": "Power.Active.Import"},
        {"value": 5, "measurand": "Nonsense"},
        transactionId=number,
    )
    (told,) = site.sink.of(EvidenceKind.ENERGY_FLOWING)
    assert told.energy_kwh == 1.0


@pytest.mark.asyncio
@pytest.mark.parametrize("value", [[], "none", [5], [{"timestamp": "never", "sampledValue": []}]])
async def test_what_says_nothing_is_answered(site: Site, value: Any) -> None:
    client, number = await started(site)
    body = {"connectorId": 1, "transactionId": number, "meterValue": value}
    assert await client.call("MeterValues", body) == {}
