"""Transactions whose end a station never tells: given up, booked, and still open to the end that comes."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from connectors.ocpp.ports import StartOfTransaction
from connectors.ocpp.session import STALE_AFTER
from connectors.ocpp.wire.schemas import Version
from models.charger import ConnectorStatus
from models.evidence import EvidenceKind
from models.reason_codes import ReasonCode
from tests.ocpp.case_station import Station, connected
from tests.ocpp.conftest import Client, Site
from tests.ocpp.truth_site import (
    V2,
    V16,
    V201,
    event,
    from_now,
    kept_aside,
    meter,
    minute,
    row,
    rows,
    sampled,
    start,
    stop,
    told,
)

LOST = {"end_not_told"}


def later() -> datetime:
    return datetime.now(UTC) + STALE_AFTER + timedelta(seconds=1)


async def free_16(client: Client, number: int = 1) -> None:
    body = {"connectorId": number, "errorCode": "NoError", "status": "Available"}
    assert await client.call("StatusNotification", body) == {}


async def lost_16(site: Site) -> tuple[Client, int]:
    """A session whose end was not told, given up by the gateway."""
    client = await site.connect(V16)
    number = await start(client, minute(0))
    await meter(client, number, sampled(minute(10), 103_000))
    await free_16(client)
    await site.gateway.end_stale(later())
    return client, number


@pytest.mark.asyncio
async def test_a_connector_that_is_free_has_no_transaction(site: Site) -> None:
    await site.attempt()
    client = await site.connect(V16)
    number = await start(client, minute(0))
    await meter(client, number, sampled(minute(10), 103_000))
    await site.gateway.end_stale(later())
    assert (await row(site)).ended_at is None, "the connector was not reported free"
    await free_16(client)
    await site.gateway.end_stale(datetime.now(UTC))
    assert (await row(site)).ended_at is None, "its stop may be on its way"
    await site.gateway.end_stale(later())
    ended = await row(site)
    assert told(ended) == (3_000, LOST)
    assert (ended.reason, ended.ended_at) == ("ocpp1.6:Lost", datetime.fromisoformat(minute(10)))


@pytest.mark.asyncio
async def test_the_stop_hears_why_it_ended(site: Site) -> None:
    attempt_id = await site.attempt()
    client = await site.connect(V16)
    number = await start(client, datetime.now(UTC).isoformat())
    await meter(client, number, sampled(datetime.now(UTC).isoformat(), 102_000))
    await free_16(client)
    await site.gateway.end_stale(later())
    (heard,) = site.sink.of(EvidenceKind.SESSION_ENDED)
    assert (heard.attempt_id, heard.energy_kwh) == (attempt_id, 2.0)
    assert heard.reason is ReasonCode.SUSTAIN_CONTACT_LOST
    assert heard.vendor_code == "ocpp1.6:Lost"


@pytest.mark.asyncio
async def test_a_stop_told_after_all_is_the_end(site: Site) -> None:
    client, number = await lost_16(site)
    assert await stop(client, number, minute(42), 109_000) == {}
    ended = await row(site)
    assert told(ended) == (9_000, set())
    assert (ended.reason, ended.ended_at) == ("ocpp1.6:Local", datetime.fromisoformat(minute(42)))
    assert await kept_aside(site) == []
    assert await stop(client, number, minute(42), 109_000) == {}, "and told again it is the same"
    assert told(await row(site)) == (9_000, set())


@pytest.mark.asyncio
async def test_a_stop_told_after_all_counts_over_a_reconnect(site: Site) -> None:
    _, number = await lost_16(site)
    again = await site.connect(V16)
    await meter(again, number, sampled(minute(20), 105_000))
    assert (await row(site)).reason == "ocpp1.6:Lost", "a meter value is no end"
    await stop(again, number, minute(42), 109_000)
    assert told(await row(site))[0] == 9_000


@pytest.mark.asyncio
async def test_another_transaction_at_the_connector_ends_the_one_before(site: Site) -> None:
    client = await site.connect(V16)
    older = await start(client, minute(0))
    await meter(client, older, sampled(minute(5), 101_000))
    newer = await start(client, minute(30), meter=101_500)
    elsewhere = await start(client, minute(30), number=2)
    await site.gateway.end_stale(datetime.fromisoformat(minute(30)) + timedelta(seconds=1))
    assert [one.ended_at for one in await rows(site)] == [None] * 3
    await site.gateway.end_stale(later())
    ended = {one.transaction_id: one.reason for one in await rows(site) if one.ended_at is not None}
    assert ended == {older: "ocpp1.6:Lost"}
    await stop(client, newer, minute(60), 104_500)
    await stop(client, elsewhere, minute(60), 101_000)
    assert [one.energy_wh for one in await rows(site)] == [1_000, 3_000, 1_000]


@pytest.mark.asyncio
async def test_transactions_of_no_connector_yet_say_nothing_about_each_other(site: Site) -> None:
    client = await site.connect(V201)
    for number, reference in enumerate(("A", "B")):
        begun = event("Started", reference, 0, minute(30 * number), 100_000)
        del begun["evse"]
        await client.call("TransactionEvent", begun)
    await site.gateway.end_stale(later())
    assert [one.ended_at for one in await rows(site)] == [None, None]


@pytest.mark.asyncio
async def test_the_connection_after_finds_what_the_one_before_left_open(site: Site) -> None:
    """The connector was free already when the old line was held: the new one knows it from the store."""
    client = await site.connect(V16)
    await start(client, minute(0))
    await free_16(client)
    await site.connect(V16)
    async with asyncio.timeout(5):
        while site.gateway.counts["replaced"] < 1:
            await asyncio.sleep(0.01)
    held = site.gateway.connection(site.station_id)
    assert held is not None
    assert held.session.track(1).status is ConnectorStatus.AVAILABLE
    await site.gateway.end_stale(later())
    assert (await row(site)).reason == "ocpp1.6:Lost"


@pytest.mark.asyncio
@pytest.mark.parametrize("version", V2)
async def test_an_ended_event_told_after_all_is_the_end(site: Site, version: str) -> None:
    client = await site.connect(version)
    await client.call("TransactionEvent", event("Started", "T", 0, minute(0), 100_000))
    await client.call("TransactionEvent", event("Updated", "T", 1, minute(10), 103_000))
    free = {"timestamp": minute(50), "connectorStatus": "Available", "evseId": 1, "connectorId": 1}
    assert await client.call("StatusNotification", free) == {}
    await site.gateway.end_stale(later())
    lost = await row(site)
    assert (lost.reason, *told(lost)) == ("ocpp2.0.1:Lost", 3_000, {"end_not_told", "events_missing"})
    await client.call("TransactionEvent", event("Updated", "T", 2, minute(20), 105_000))
    assert (await row(site)).reason == "ocpp2.0.1:Lost"
    info = {"stoppedReason": "EVDisconnected"}
    await client.call("TransactionEvent", event("Ended", "T", 3, minute(42), 109_000, info=info))
    ended = await row(site)
    assert (ended.reason, *told(ended)) == ("ocpp2.0.1:EVDisconnected", 9_000, set())


@pytest.mark.asyncio
@pytest.mark.parametrize("boot", [True, False])
@pytest.mark.parametrize(
    ("answer", "is_lost"),
    [
        ({"ongoingIndicator": False, "messagesInQueue": False}, True),
        ({"ongoingIndicator": False, "messagesInQueue": True}, False),
        ({"ongoingIndicator": True, "messagesInQueue": False}, False),
        ({"messagesInQueue": False}, False),
        ("NotSupported", False),
    ],
)
async def test_a_station_that_does_not_know_its_transaction_has_lost_the_end(
    site: Site, monkeypatch: pytest.MonkeyPatch, boot: bool, answer: dict[str, bool] | str, is_lost: bool
) -> None:
    monkeypatch.setattr("connectors.ocpp.greeting._BOOT_WAIT_S", 0.2)
    async with connected(site, Version.V201) as station:
        await station.call("TransactionEvent", event("Started", "T", 0, minute(0), 100_000))
        await station.call("TransactionEvent", event("Updated", "T", 1, minute(10), 103_000))
    async with connected(site, Version.V201, boot=boot) as station:
        station.answers("TriggerMessage", {"status": "Rejected"}, {"status": "Rejected"})
        station.answers("GetTransactionStatus", answer)
        await until_asked(station, "GetTransactionStatus")
        await station.call("Heartbeat", {})
        if is_lost:
            async with asyncio.timeout(5):
                while (await row(site)).ended_at is None:
                    await asyncio.sleep(0.02)
        assert (await row(site)).reason == ("ocpp2.0.1:Lost" if is_lost else None)
        await station.call("TransactionEvent", event("Ended", "T", 2, minute(42), 109_000))
    assert told(await row(site)) == (9_000, set())


async def until_asked(station: Station, action: str) -> None:
    async with asyncio.timeout(10):
        while action not in [name for name, _ in station.asked + station.unasked]:
            await asyncio.sleep(0.02)


@pytest.mark.asyncio
@pytest.mark.parametrize("version", [V16, V201])
async def test_a_transaction_opened_by_the_dying_socket_goes_on_at_the_new_one(
    site: Site, version: str
) -> None:
    """The old socket's start was under way while the new one read what is open."""
    await site.attempt()
    newer = await site.connect(version)
    await newer.call("Heartbeat", {})
    held = site.gateway.connection(site.station_id)
    assert held is not None
    assert await held.session.open_transactions() == {}
    under_way = StartOfTransaction(
        connector_number=1,
        id_tag="TAG1",
        started_at=datetime.now(UTC),
        meter_start_wh=100_000,
        transaction_ref=None if version == V16 else "T",
    )
    opened = await held.session.house.start(held.session.station, under_way, [], lambda _: [])
    if version == V16:
        await meter(newer, opened.transaction_id, sampled(from_now(1), 103_000))
        await stop(newer, opened.transaction_id, from_now(2), 104_000)
    else:
        await newer.call("TransactionEvent", event("Updated", "T", 1, from_now(1), 103_000))
        await newer.call("TransactionEvent", event("Ended", "T", 2, from_now(2), 104_000))
    assert told(await row(site))[0] == 4_000
    assert len(site.sink.of(EvidenceKind.ENERGY_FLOWING)) == 1
