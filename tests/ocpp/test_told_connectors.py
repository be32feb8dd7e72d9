"""What stops on their way hear of their connector, over the real gateway: turns only, and only of others."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from connectors.ocpp.truth.clock import CLAMPED
from connectors.ocpp.wire.schemas import Json, Version
from models.evidence import Evidence, EvidenceKind
from models.reason_codes import ReasonCode
from simulators.twin import PlugIn
from tests.ocpp.case_station import connected, settle
from tests.ocpp.conftest import Client, Site
from tests.ocpp.limit_bench import DC, VERSIONS, live, until
from tests.ocpp.test_connector_reports import status_2x, status_16
from tests.ocpp.truth_site import event, from_now, remotely, row, says, start, stop

pytestmark = pytest.mark.asyncio
K = EvidenceKind
V16, V201 = Version.V16, Version.V201


def told(site: Site, number: int = 1) -> list[tuple[str, str]]:
    """Kind and vendor's words of what was said of a connector, oldest first."""
    mine = site.charger(number).charger_id
    found = [e for e in site.sink.heard.values() if e.charger_id == mine and e.attempt_id is None]
    return [(e.kind.value, e.vendor_code) for e in found]


@pytest.mark.parametrize("word", ["Charging", "SuspendedEV", "SuspendedEVSE", "Finishing", "Reserved"])
async def test_who_uses_the_connector_without_us_is_told_once_and_that_he_left(site: Site, word: str) -> None:
    async with connected(site, V16) as station:
        await station.says(status_16(1, "Available", -60))
        assert told(site) == [], "free as ever"
        for second in range(3):
            await station.says(status_16(1, word, second - 50))
        await station.says(status_16(1, "Available", -40), status_16(1, "Available", -39))
    assert told(site) == [
        ("connector_occupied", f"ocpp1.6:{word}"),
        ("connector_available", "ocpp1.6:Available"),
    ]


async def test_a_plug_is_the_stops_to_judge_and_what_follows_is_told(site: Site) -> None:
    async with connected(site, V16) as station:
        words = ("Preparing", "Preparing", "Charging", "SuspendedEV", "Charging", "Finishing", "Available")
        for second, word in enumerate(words):
            await station.says(status_16(1, word, second - 60))
    assert [kind for kind, _ in told(site)] == ["plugged_in", "connector_occupied", "connector_available"]


@pytest.mark.parametrize("version", [V16, V201])
async def test_out_of_service_is_told_with_its_word(site: Site, version: Version) -> None:
    status = status_16 if version is V16 else status_2x
    generation = "ocpp1.6" if version is V16 else "ocpp2.0.1"
    async with connected(site, version) as station:
        for second, word in enumerate(("Unavailable", "Unavailable", "Available")):
            await station.says(status(1, word, second - 60))
    assert told(site) == [
        ("connector_faulted", f"{generation}:Unavailable"),
        ("connector_available", f"{generation}:Available"),
    ]
    (fault,) = site.sink.of(K.CONNECTOR_FAULTED)
    assert fault.reason is ReasonCode.START_INOPERATIVE


async def test_what_was_told_outlives_the_connection(site: Site) -> None:
    async with connected(site, V16) as station:
        await station.says(status_16(1, "Reserved", -60), status_16(2, "Unavailable", -60))
    async with connected(site, V16) as station:
        await station.says(status_16(1, "Reserved", -50), status_16(2, "Available", -50))
        await station.says(status_16(1, "Available", -40))
    assert [kind for kind, _ in told(site)] == ["connector_occupied", "connector_available"]
    assert [kind for kind, _ in told(site, 2)] == ["connector_faulted", "connector_available"]


async def test_our_own_session_occupies_nothing(site: Site) -> None:
    await site.attempt()
    async with connected(site, V16) as station:
        await station.says(status_16(1, "Preparing", -60))
        body: Json = {"connectorId": 1, "idTag": "TAG1", "meterStart": 0, "timestamp": from_now(1)}
        number = (await station.call("StartTransaction", body))["transactionId"]
        words = ("Charging", "SuspendedEV", "SuspendedEVSE", "Charging")
        await station.says(*(status_16(1, word, second + 2) for second, word in enumerate(words)))
        end: Json = {"transactionId": number, "meterStop": 9, "timestamp": from_now(10), "reason": "Local"}
        await station.call("StopTransaction", end)
        await station.says(status_16(1, "Finishing", 11), status_16(1, "Available", 12))
    assert [kind for kind, _ in told(site)] == ["plugged_in", "connector_available"]


async def test_a_status_may_overtake_the_start_that_it_speaks_of(site: Site) -> None:
    """Some stations say Charging before StartTransaction: for a stop that waits, it is no stranger."""
    await site.attempt()
    async with connected(site, V16) as station:
        await station.says(status_16(1, "Charging", -5), status_16(2, "Charging", -5))
    assert told(site) == []
    assert [kind for kind, _ in told(site, 2)] == ["connector_occupied"]


@pytest.mark.parametrize("welcome", [True, False])
async def test_a_strangers_transaction_is_told(site: Site, welcome: bool) -> None:
    await settle(site, foreign_tokens=welcome)
    client = await site.connect(V16)
    number = await start(client, from_now(), tag="STRANGER")
    assert told(site) == ([("connector_occupied", "ocpp1.6:transaction")] if welcome else [])
    status: Json = {"connectorId": 1, "errorCode": "NoError", "status": "Charging", "timestamp": from_now()}
    await client.call("StatusNotification", status)
    assert [kind for kind, _ in told(site)] == ["connector_occupied"]
    await stop(client, number, from_now(1), 101_000)
    await client.call("StatusNotification", {**status, "status": "Available", "timestamp": from_now(2)})
    assert [kind for kind, _ in told(site)] == ["connector_occupied", "connector_available"]


async def test_a_strangers_start_from_before_an_outage_is_history(site: Site) -> None:
    await settle(site, foreign_tokens=True)
    client = await site.connect(V16)
    await start(client, from_now(-3600), tag="STRANGER")
    assert told(site) == []


async def test_in_2x_the_transaction_says_who_charges(site: Site) -> None:
    client = await site.connect(V201)
    plugged = event("Started", "T1", 0, from_now(), info={"chargingState": "EVConnected"})
    await says(client, plugged)
    assert told(site) == [], "it may still become ours"
    badge: Json = {"idToken": {"idToken": "STRANGER", "type": "ISO14443"}}
    charging: Json = {"chargingState": "Charging"}
    await says(client, event("Updated", "T1", 1, from_now(1), info=charging, **badge))
    await says(client, event("Updated", "T1", 2, from_now(2), info={"chargingState": "SuspendedEV"}))
    assert told(site) == [("connector_occupied", "ocpp2.0.1:Charging")]


async def test_in_2x_our_transaction_is_no_stranger(site: Site) -> None:
    attempt_id = await site.attempt()
    client = await site.connect(V201)
    info: Json = {**remotely(attempt_id), "chargingState": "Charging"}
    await says(client, event("Started", "T1", 0, from_now(), 0, info=info))
    occupied = {"evseId": 1, "connectorId": 1, "connectorStatus": "Occupied", "timestamp": from_now(1)}
    await client.call("StatusNotification", occupied)
    assert told(site) == []


# --- clocks -----------------------------------------------------------------------------------------------

CLOCKS = ["0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z", "0001-01-01T00:00:00+14:00",
          "9999-12-31T23:59:59-14:00", "1970-01-01T00:00:00Z"]  # fmt: skip


def just_now(item: Evidence) -> bool:
    return abs(item.observed_at - datetime.now(UTC)) < timedelta(seconds=30)


async def until_answered(client: Client, calls: list[tuple[str, Json]]) -> list[Json]:
    return [await client.call(action, body) for action, body in calls]


@pytest.mark.parametrize("clock", CLOCKS)
async def test_a_1_6_clock_at_the_calendars_end_breaks_nothing(site: Site, clock: str) -> None:
    attempt_id = await site.attempt()
    client = await site.connect(V16)
    status: Json = {"connectorId": 1, "errorCode": "NoError", "timestamp": clock}
    answers = await until_answered(
        client,
        [
            ("StatusNotification", {**status, "status": "Preparing"}),
            (
                "StartTransaction",
                {"connectorId": 1, "idTag": "TAG1", "meterStart": 0, "timestamp": clock},
            ),
            ("StatusNotification", {**status, "status": "SuspendedEV"}),
        ],
    )
    number = answers[1]["transactionId"]
    value: Json = {"timestamp": clock, "sampledValue": [{"value": "2000", "unit": "Wh"}]}
    end: Json = {"transactionId": number, "meterStop": 3000, "timestamp": clock}
    await until_answered(
        client,
        [
            ("MeterValues", {"connectorId": 1, "transactionId": number, "meterValue": [value]}),
            ("StopTransaction", end),
        ],
    )
    heard = list(site.sink.heard.values())
    assert {e.kind for e in heard} >= {
        K.PLUGGED_IN,
        K.SESSION_STARTED,
        K.SUSPENDED_BY_VEHICLE,
        K.SESSION_ENDED,
    }
    assert all(just_now(e) for e in heard)
    named = [e for e in heard if e.kind not in (K.METER, K.ENERGY_FLOWING)]
    assert {e.detail for e in named} == {CLAMPED}
    assert {e.attempt_id for e in heard} == {attempt_id, None}
    assert (await row(site)).ended_at is not None


@pytest.mark.parametrize("clock", CLOCKS)
async def test_a_2x_clock_at_the_calendars_end_breaks_nothing(site: Site, clock: str) -> None:
    attempt_id = await site.attempt()
    client = await site.connect(V201)
    occupied = {"evseId": 1, "connectorId": 1, "connectorStatus": "Occupied", "timestamp": clock}
    await client.call("StatusNotification", occupied)
    info = remotely(attempt_id)
    await says(
        client,
        event("Started", "T", 0, clock, 0, info=info),
        event("Updated", "T", 1, clock, 2000, info={"chargingState": "SuspendedEVSE"}),
        event("Ended", "T", 2, clock, 3000),
    )
    heard = list(site.sink.heard.values())
    assert {e.kind for e in heard} >= {
        K.PLUGGED_IN,
        K.SESSION_STARTED,
        K.SUSPENDED_BY_CHARGER,
        K.SESSION_ENDED,
    }
    assert all(just_now(e) for e in heard)
    assert all(e.detail == CLAMPED for e in heard if e.kind not in (K.METER, K.ENERGY_FLOWING))


async def test_a_right_clock_has_no_detail(site: Site) -> None:
    async with connected(site, V16) as station:
        await station.says(status_16(1, "Preparing", -5))
    (plugged,) = site.sink.of(K.PLUGGED_IN)
    assert plugged.detail == ""


# --- live stations ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", VERSIONS)
async def test_a_strangers_car_at_a_live_station(site: Site, version: Any) -> None:
    async with live(site, version, DC) as bench:
        connector = bench.station.connectors[1]
        car = PlugIn(vehicle_id="stranger", soc_percent=20, battery_kwh=500, max_power_kw=100)
        assert connector.plug(car)
        assert connector.badge("STRANGER")
        await site.sink.until(K.CONNECTOR_OCCUPIED)
        connector.end()
        await until(lambda: connector.session is None)
        connector.unplug()
        await site.sink.until(K.CONNECTOR_AVAILABLE)
        kinds = [kind for kind, _ in told(site)]
        assert [kind for kind in kinds if kind != "plugged_in"] == [
            "connector_occupied",
            "connector_available",
        ]
