"""StatusNotification, 2.x: five words; what is wrong comes in NotifyEvent."""

from __future__ import annotations

import pytest

from models.charger import ConnectorStatus
from models.evidence import EvidenceKind
from tests.ocpp.actions.action_log import V2, ago, status
from tests.ocpp.conftest import Client, Site


async def says(client: Client, word: str, number: int = 1, when: str = "") -> None:
    body = {"evseId": number, "connectorId": 1, "connectorStatus": word, "timestamp": when or ago()}
    assert await client.call("StatusNotification", body) == {}


@pytest.mark.asyncio
@pytest.mark.parametrize("version", V2)
@pytest.mark.parametrize(
    ("word", "known"),
    [
        ("Available", ConnectorStatus.AVAILABLE),
        ("Occupied", ConnectorStatus.OCCUPIED),
        ("Reserved", ConnectorStatus.RESERVED),
        ("Unavailable", ConnectorStatus.FAULTED),
        ("Faulted", ConnectorStatus.FAULTED),
    ],
)
async def test_every_word_has_a_meaning(site: Site, version: str, word: str, known: ConnectorStatus) -> None:
    client = await site.connect(version)
    await says(client, word)
    assert (await status(site), await status(site, 2)) == (known, ConnectorStatus.UNKNOWN)
    assert len(site.sink.of(EvidenceKind.PLUGGED_IN)) == (1 if word == "Occupied" else 0)
    assert len(site.sink.of(EvidenceKind.CONNECTOR_FAULTED)) == (word in ("Faulted", "Unavailable"))


@pytest.mark.asyncio
@pytest.mark.parametrize("version", V2)
async def test_evse_0_and_the_past_say_nothing(site: Site, version: str) -> None:
    client = await site.connect(version)
    await says(client, "Faulted", 0)
    await says(client, "Available", 9)
    await says(client, "Occupied", when=ago(10))
    await says(client, "Available", when=ago(20))
    assert (await status(site), await status(site, 2)) == (ConnectorStatus.OCCUPIED, ConnectorStatus.UNKNOWN)
