"""Whether energy flows in our sessions, as their stops hear it: each turn once, both generations."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from connectors.ocpp.truth.connector_news import ConnectorNews, News
from connectors.ocpp.truth.connector_state import ConnectorState
from connectors.ocpp.truth.flow import Flow, FlowState
from connectors.ocpp.wire.schemas import Json
from models.charger import ConnectorStatus
from models.evidence import EvidenceKind
from tests.ocpp.conftest import Client, Site
from tests.ocpp.limit_bench import DC, VERSIONS, live
from tests.ocpp.truth_site import V2, V16, event, from_now, meter, remotely, sampled, says, start

K = EvidenceKind
T0 = datetime(2026, 3, 2, 6, tzinfo=UTC)
FLOW = ("energy_flowing", "suspended_by_vehicle", "suspended_by_charger")


def t(seconds: float) -> datetime:
    return T0 + timedelta(seconds=seconds)


def turns(site: Site) -> list[str]:
    return [e.kind.value for e in site.sink.heard.values() if e.kind.value in FLOW]


async def word_16(client: Client, word: str, seconds: float) -> None:
    body: Json = {"connectorId": 1, "errorCode": "NoError", "status": word, "timestamp": from_now(seconds)}
    assert await client.call("StatusNotification", body) == {}


def wh(seconds: float, register: float) -> Json:
    return sampled(from_now(seconds), register, unit="Wh")


@pytest.mark.asyncio
async def test_1_6_tells_each_turn_once(site: Site) -> None:
    attempt_id = await site.attempt()
    client = await site.connect(V16)
    number = await start(client, from_now())
    await word_16(client, "Charging", 1)
    assert turns(site) == [], "before any energy was seen the word proves nothing"
    await meter(client, number, wh(2, 102_000))
    for second, word in enumerate(
        ("SuspendedEVSE", "SuspendedEVSE", "SuspendedEV", "Charging", "Charging", "SuspendedEV", "Charging")
    ):
        await word_16(client, word, 10 + second)
    assert turns(site) == [
        "energy_flowing",
        "suspended_by_charger",
        "suspended_by_vehicle",
        "energy_flowing",
        "suspended_by_vehicle",
        "energy_flowing",
    ]
    mine = [e for e in site.sink.heard.values() if e.kind.value in FLOW]
    assert {e.attempt_id for e in mine} == {attempt_id}
    assert mine[-1].energy_kwh == 2.0


@pytest.mark.asyncio
async def test_a_meter_that_grows_again_ends_a_pause_that_no_word_ended(site: Site) -> None:
    await site.attempt()
    client = await site.connect(V16)
    number = await start(client, from_now())
    await meter(client, number, wh(1, 102_000))
    await word_16(client, "SuspendedEVSE", 10)
    await meter(client, number, wh(20, 102_500), wh(30, 102_500))
    assert turns(site) == ["energy_flowing", "suspended_by_charger"], "that had flowed before the pause"
    await meter(client, number, wh(40, 103_500))
    assert turns(site) == ["energy_flowing", "suspended_by_charger", "energy_flowing"]


@pytest.mark.asyncio
async def test_an_old_word_turns_nothing(site: Site) -> None:
    await site.attempt()
    client = await site.connect(V16)
    number = await start(client, from_now())
    await meter(client, number, wh(1, 102_000))
    await word_16(client, "SuspendedEV", 20)
    await word_16(client, "Charging", 5)
    assert turns(site) == ["energy_flowing", "suspended_by_vehicle"]


@pytest.mark.asyncio
@pytest.mark.parametrize("version", V2)
async def test_2x_tells_each_turn_once(site: Site, version: str) -> None:
    attempt_id = await site.attempt()
    client = await site.connect(version)

    def state(word: str) -> Json:
        return {"chargingState": word}

    await says(
        client,
        event("Started", "T", 0, from_now(), 0, info={**remotely(attempt_id), **state("Charging")}),
        event("Updated", "T", 1, from_now(1), 2_000, info=state("Charging")),
        event("Updated", "T", 2, from_now(2), info=state("SuspendedEVSE")),
        # What the register gained up to here it gained before the pause: the station says that it rests.
        event("Updated", "T", 3, from_now(3), 2_400, info=state("SuspendedEVSE")),
        event("Updated", "T", 4, from_now(4), info=state("Charging")),
        event("Updated", "T", 5, from_now(5), 3_000, info=state("Charging")),
        event("Updated", "T", 6, from_now(6), info=state("SuspendedEV")),
    )
    expected = ["energy_flowing", "suspended_by_charger", "energy_flowing", "suspended_by_vehicle"]
    assert turns(site) == expected
    await says(client, event("Updated", "T", 6, from_now(6), info=state("SuspendedEV")))
    assert turns(site) == expected


@pytest.mark.asyncio
async def test_after_a_reconnect_the_first_growth_says_that_it_flows(site: Site) -> None:
    """What the earlier connection heard last of the pause is not known to this one."""
    await site.attempt()
    client = await site.connect(V16)
    number = await start(client, from_now())
    await meter(client, number, wh(1, 102_000))
    await word_16(client, "SuspendedEVSE", 2)
    again = await site.connect(V16)
    await meter(again, number, wh(10, 102_000))
    assert turns(site) == ["energy_flowing", "suspended_by_charger"]
    await meter(again, number, wh(20, 103_000), wh(30, 104_000))
    assert turns(site) == ["energy_flowing", "suspended_by_charger", "energy_flowing"]


@pytest.mark.asyncio
@pytest.mark.parametrize("version", VERSIONS)
async def test_a_pause_by_load_management_and_its_end(site: Site, version: Any) -> None:
    async with live(site, version, DC) as bench:
        await bench.charge()
        connector = bench.station.connectors[1]
        await bench.ask_for_meter()
        await site.sink.until(K.ENERGY_FLOWING)
        connector.paused = True
        await site.sink.until(K.SUSPENDED_BY_CHARGER)
        connector.paused = False
        await site.sink.until(K.ENERGY_FLOWING, 2)
        assert turns(site) == ["energy_flowing", "suspended_by_charger", "energy_flowing"]


# --- the pure part ----------------------------------------------------------------------------------------


class TestFlow:
    def test_a_word_is_no_proof_before_the_meter_has_moved(self) -> None:
        flow = Flow()
        assert not flow.charges(t(0))
        assert not flow.shows(t(1), 5, None)
        assert flow.shows(t(2), 500, None)
        assert not flow.shows(t(3), 900, 11)
        assert not flow.charges(t(4))

    def test_power_alone_shows_it_but_not_from_before_the_pause(self) -> None:
        flow = Flow()
        assert flow.shows(t(0), 0, 11.0)
        assert flow.pauses(FlowState.PAUSED_BY_VEHICLE, t(10))
        assert not flow.shows(t(9), 0, 11.0)
        assert flow.shows(t(11), 0, 11.0)

    def test_a_pause_from_the_start_ends_with_energy_only(self) -> None:
        flow = Flow()
        assert flow.pauses(FlowState.PAUSED_BY_STATION, t(0))
        assert not flow.charges(t(1))
        assert flow.shows(t(2), 50, None)


class TestConnectorNews:
    def test_free_is_news_only_after_something_else(self) -> None:
        news = ConnectorNews()
        assert news.turn(ConnectorState.FREE) is None
        told = news.turn(ConnectorState.CHARGING)
        assert told == News(K.CONNECTOR_OCCUPIED)
        assert news.turn(ConnectorState.CHARGING) == told, "until it is durable it is still to be told"
        news.told(News(K.CONNECTOR_OCCUPIED))
        assert news.turn(ConnectorState.PAUSED_BY_VEHICLE) is None
        assert news.turn(ConnectorState.FREE) == News(K.CONNECTOR_AVAILABLE)

    @pytest.mark.parametrize("status", list(ConnectorStatus))
    def test_it_goes_on_from_what_was_kept(self, status: ConnectorStatus) -> None:
        news = ConnectorNews(status, "code")
        owes = status in (ConnectorStatus.OCCUPIED, ConnectorStatus.RESERVED, ConnectorStatus.FAULTED)
        assert (news.turn(ConnectorState.FREE) is not None) == owes
        is_known_fault = status is ConnectorStatus.FAULTED
        assert (news.turn(ConnectorState.FAULTED, "code") is None) == is_known_fault
        assert news.turn(ConnectorState.FAULTED, "other code") is not None
