"""StopTransaction, 1.6: always answered; the first end stands."""

from __future__ import annotations

from typing import Any

import pytest

from models.evidence import EvidenceKind
from models.reason_codes import ReasonCode
from tests.ocpp.actions.action_log import V16, at
from tests.ocpp.conftest import Client, Site
from tests.ocpp.truth_site import kept_aside, row


async def started(site: Site) -> tuple[Client, int]:
    await site.attempt()
    client = await site.connect(V16)
    body = {"connectorId": 1, "idTag": "TAG1", "meterStart": 5_000, "timestamp": at()}
    return client, int((await client.call("StartTransaction", body))["transactionId"])


def stop(number: int, **changes: Any) -> dict[str, Any]:
    return {"transactionId": number, "meterStop": 9_000, "timestamp": at(5), **changes}


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("word", "reason"),
    [
        ({}, None),
        ({"reason": "EVDisconnected"}, ReasonCode.SUSTAIN_UNPLUGGED_EARLY),
        ({"reason": "Local", "idTag": "TAG1"}, None),
    ],
)
async def test_an_end_books_the_energy_and_tells_the_stop(
    site: Site, word: dict[str, str], reason: ReasonCode | None
) -> None:
    client, number = await started(site)
    answer = await client.call("StopTransaction", stop(number, **word))
    assert answer == ({"idTagInfo": {"status": "Accepted"}} if "idTag" in word else {})
    assert (await row(site)).energy_wh == 4_000
    (told,) = site.sink.of(EvidenceKind.SESSION_ENDED)
    assert told.energy_kwh == 4.0
    assert told.vendor_code == f"ocpp1.6:{word.get('reason', 'Local')}"
    if reason is not None:
        assert told.reason is reason


@pytest.mark.asyncio
async def test_the_first_end_stands(site: Site) -> None:
    client, number = await started(site)
    for meter in (9_000, 9_000, 99_000):
        assert await client.call("StopTransaction", stop(number, meterStop=meter)) == {}
    first = site.sink.of(EvidenceKind.SESSION_ENDED)[0]
    assert first.energy_kwh == 4.0
    assert (await row(site)).reason == "ocpp1.6:Local"


@pytest.mark.asyncio
@pytest.mark.parametrize("number", [999_999_999, 0, -1])
async def test_what_matches_nothing_is_answered_and_kept_aside(site: Site, number: int) -> None:
    client = await site.connect(V16)
    assert await client.call("StopTransaction", stop(number)) == {}
    assert await kept_aside(site) == ["stop_unknown"]


@pytest.mark.asyncio
@pytest.mark.parametrize(
    "changes",
    [
        {"meterStop": None},
        {"timestamp": None},
        {"idTag": "T" * 30},
        {"reason": "BecauseISaySo"},
        {"transactionData": "none"},
        {"transactionData": [{"timestamp": at(2), "sampledValue": [{"value": 6_000}, 5]}]},
    ],
)
async def test_what_can_be_read_of_it_ends_the_transaction(site: Site, changes: dict[str, Any]) -> None:
    client, number = await started(site)
    await client.call("StopTransaction", stop(number, **changes))
    assert (await row(site)).ended_at is not None
