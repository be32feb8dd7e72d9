"""StartTransaction, 1.6: cannot be refused, only recorded; one start is one transaction."""

from __future__ import annotations

from typing import Any

import pytest

from models.evidence import EvidenceKind
from tests.ocpp.actions.action_log import V16, ago, settle
from tests.ocpp.conftest import Client, Site
from tests.ocpp.truth_site import kept_aside, row, rows


async def start(client: Client, **changes: Any) -> tuple[int, str]:
    body = {"connectorId": 1, "idTag": "TAG1", "meterStart": 5_000, "timestamp": ago(5), **changes}
    answer = await client.call("StartTransaction", body)
    return int(answer["transactionId"]), answer["idTagInfo"]["status"]


@pytest.mark.asyncio
async def test_a_start_of_ours_opens_a_transaction_and_tells_the_stop(site: Site) -> None:
    attempt_id = await site.attempt()
    client = await site.connect(V16)
    number, status = await start(client)
    found = await row(site, number)
    assert (status, number > 0) == ("Accepted", True)
    assert (found.connector_number, found.meter_start_wh, found.attempt_id) == (1, 5_000.0, attempt_id)
    (told,) = site.sink.of(EvidenceKind.SESSION_STARTED)
    assert (told.attempt_id, told.session_ref, told.energy_kwh) == (attempt_id, str(number), 0.0)


@pytest.mark.asyncio
@pytest.mark.parametrize(("foreign", "status"), [(False, "Invalid"), (True, "Accepted")])
async def test_a_strangers_start_is_recorded_and_is_no_session_of_ours(
    site: Site, foreign: bool, status: str
) -> None:
    await settle(site, foreign_tokens=foreign)
    client = await site.connect(V16)
    assert await start(client, idTag="STRANGER") == ((await row(site)).transaction_id, status)
    told = [(e.kind, e.charger_id, e.attempt_id) for e in site.sink.heard.values()]
    on_the_way = (EvidenceKind.CONNECTOR_OCCUPIED, site.charger().charger_id, None)
    assert told == ([on_the_way] if foreign else []), "one that is refused may be over in a moment"


@pytest.mark.asyncio
async def test_the_same_start_again_is_the_same_transaction(site: Site) -> None:
    client, when = await site.connect(V16), ago(60)
    first = await start(client, timestamp=when)
    again = await site.connect(V16)
    assert await start(again, timestamp=when) == first
    other = await start(again, timestamp=ago(30), connectorId=2)
    assert other[0] != first[0]
    assert len(await rows(site)) == 2


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("changes", "raw_kept"),
    [
        ({"idTag": "T" * 30}, True),
        ({"idTag": None}, True),
        ({"meterStart": "5000.7"}, True),
        ({"meterStart": None}, True),
        ({"timestamp": "yesterday"}, True),
        ({"vendorField": {"a": 1}}, False),
        ({"meterStart": 2**40}, False),
    ],
)
async def test_what_can_be_read_of_it_is_answered(
    site: Site, changes: dict[str, Any], raw_kept: bool
) -> None:
    client = await site.connect(V16)
    number, _ = await start(client, **changes)
    assert (await row(site)).transaction_id == number
    await site.gateway.stop()
    assert await kept_aside(site) == (["repaired StartTransaction"] if raw_kept else [])


@pytest.mark.asyncio
async def test_without_a_connector_it_is_refused(site: Site) -> None:
    client = await site.connect(V16)
    refused = await client.raw('[2, "a", "StartTransaction", {"idTag": "T", "meterStart": 1}]')
    assert refused[:3] == [4, "a", "OccurenceConstraintViolation"]
    assert await rows(site) == []
