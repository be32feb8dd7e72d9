"""What is booked of OCPP 1.6 transactions, whatever the station repeats, mixes up or leaves out."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed

from connectors.ocpp.truth.checks import HARD, SOFT
from connectors.ocpp.wire.schemas import Json
from models.evidence import EvidenceKind
from tests.ocpp.conftest import Site
from tests.ocpp.truth_site import (
    BEGAN,
    V16,
    from_now,
    journal,
    kept_aside,
    meter,
    minute,
    outage,
    row,
    rows,
    sampled,
    start,
    stop,
    told,
)

NOTHING: set[str] = set()
NO_TIME = ["banana", "", "1970-01-01T00:00:12Z", "2h ahead"]


def when_of(text: str) -> str:
    return from_now(7200) if text == "2h ahead" else text


# --- starts ---------------------------------------------------------------------------------------------


@pytest.mark.asyncio
async def test_the_same_start_again_is_the_same_transaction_on_another_socket_too(site: Site) -> None:
    await site.attempt()
    first = await site.connect(V16)
    when = from_now()
    number = await start(first, when)
    assert await start(first, when) == number
    second = await site.connect(V16)
    assert await start(second, when) == number
    assert await stop(second, number, from_now(1), 101_000) == {}
    assert await start(second, when) == number, "it stays ended"
    assert told(await row(site)) == (1_000, set())
    assert len(site.sink.of(EvidenceKind.SESSION_STARTED)) == 1


@pytest.mark.asyncio
async def test_another_time_is_another_start_and_both_are_booked(site: Site) -> None:
    """On one connector, with one open: the older one's stop may still be on its way."""
    client = await site.connect(V16)
    older, newer = await start(client, minute(0)), await start(client, minute(9), meter=102_000)
    assert older != newer
    nameless = {"connectorId": 1, "meterValue": [sampled(minute(12), 102_500)]}
    await client.call("MeterValues", nameless)
    assert [e.register_wh for e in await journal(site, newer)] == [102_000, 102_500], "the newest is meant"
    await stop(client, newer, minute(20), 104_000)
    await stop(client, older, minute(8), 101_500)
    assert [one.energy_wh for one in await rows(site)] == [1_500, 2_000]


@pytest.mark.asyncio
@pytest.mark.parametrize("text", NO_TIME)
@pytest.mark.parametrize("meter_start", [100_000, None])
async def test_a_start_without_a_usable_time_told_again_is_the_same(
    site: Site, text: str, meter_start: int | None
) -> None:
    """Was a bug: each repeat was a new transaction, and the first stayed open for ever."""
    await site.attempt()
    client = await site.connect(V16)
    number = await start(client, when_of(text), meter=meter_start)
    again = await site.connect(V16)
    assert await start(again, when_of(text), meter=meter_start) == number
    await stop(again, number, from_now(), 103_000)
    energy_wh, found = told(await row(site))
    assert energy_wh == (3_000 if meter_start else None)
    assert ("clock_ahead" in found, "meter_start_missing" in found) == (text == "2h ahead", not meter_start)
    assert len(site.sink.of(EvidenceKind.SESSION_ENDED)) == 1


@pytest.mark.asyncio
async def test_a_start_without_a_usable_time_for_another_attempt_is_another(site: Site) -> None:
    client = await site.connect(V16)
    first = await start(client, "banana")
    attempt_id = await site.attempt("TAG1")
    assert await start(client, "banana") != first
    assert [one.attempt_id for one in await rows(site)] == [None, attempt_id]


@pytest.mark.asyncio
@pytest.mark.parametrize("number", [0, 99])
async def test_a_start_at_an_unknown_connector_is_kept_and_booked(site: Site, number: int) -> None:
    client = await site.connect(V16)
    transaction = await start(client, minute(0), number=number)
    await stop(client, transaction, minute(9), 101_000)
    assert told(await row(site)) == (1_000, {"connector_unknown"})
    assert await kept_aside(site) == ["connector_unknown"]


# --- stops ----------------------------------------------------------------------------------------------


@pytest.mark.asyncio
async def test_a_stop_of_an_unknown_transaction_is_kept_aside(site: Site) -> None:
    client = await site.connect(V16)
    assert await stop(client, 2**31 - 1, minute(9), 101_000) == {}
    tagged = await stop(client, 999_999_999, minute(9), 101_000, idTag="TAG1")
    assert tagged == {"idTagInfo": {"status": "Accepted"}}
    assert await kept_aside(site) == ["stop_unknown"] * 2
    assert await rows(site) == []


@pytest.mark.asyncio
async def test_a_stop_of_another_stations_transaction_is_unknown(site: Site) -> None:
    async with site.store.tenant(site.tenant_id) as unit:
        other = await unit.sessions.open_transaction("elsewhere", 1, "TAG1", BEGAN, 0, None)
    client = await site.connect(V16)
    await stop(client, other.transaction_id, minute(9), 101_000)
    assert await kept_aside(site) == ["stop_unknown"]


@pytest.mark.asyncio
async def test_the_first_stop_stands(site: Site) -> None:
    await site.attempt()
    client = await site.connect(V16)
    number = await start(client, minute(0))
    for _ in range(2):
        assert await stop(client, number, minute(9), 101_000) == {}
    assert told(await row(site)) == (1_000, set())
    assert await kept_aside(site) == [], "a repeat is no news"
    assert await stop(client, number, minute(30), 150_000) == {}
    assert told(await row(site)) == (1_000, {"stop_repeated"})
    assert (await row(site)).ended_at == BEGAN + timedelta(minutes=9)
    assert await kept_aside(site) == ["stop_repeated"]
    assert len([e for e in await journal(site, number) if e.kind == "stop"]) == 3
    assert len(site.sink.of(EvidenceKind.SESSION_ENDED)) <= 1


@pytest.mark.asyncio
async def test_a_repeat_that_knows_the_meter_completes_the_first(site: Site) -> None:
    client = await site.connect(V16)
    number = await start(client, minute(0))
    await stop(client, number, minute(9), None)
    assert told(await row(site)) == (0, {"meter_stop_missing"})
    await stop(client, number, minute(9), 101_000)
    assert told(await row(site)) == (1_000, {"meter_stop_missing", "told_after_the_end"})


@pytest.mark.asyncio
@pytest.mark.parametrize("nobody", [-1, 0])
async def test_a_nameless_stop_ends_the_only_open_one(site: Site, nobody: int) -> None:
    client = await site.connect(V16)
    await start(client, minute(0), number=2)
    await stop(client, nobody, minute(9), 101_000)
    assert told(await row(site)) == (1_000, set())


@pytest.mark.asyncio
async def test_a_nameless_stop_told_again_does_not_end_the_neighbour(site: Site) -> None:
    """Was a bug: its own transaction had ended, so the other connector's was the only open one."""
    client = await site.connect(V16)
    first = await start(client, minute(0), tag="TAG1")
    second = await start(client, minute(1), tag="TAG2", number=2)
    for _ in range(2):
        await stop(client, -1, minute(9), 101_000, idTag="TAG1")
    assert told(await row(site, first)) == (1_000, set())
    assert (await row(site, second)).ended_at is None


@pytest.mark.asyncio
@pytest.mark.parametrize("tag", [None, "TAG9"])
async def test_a_nameless_stop_that_may_be_two_is_kept_aside(site: Site, tag: str | None) -> None:
    client = await site.connect(V16)
    await start(client, minute(0))
    await start(client, minute(1), number=2)
    await stop(client, 0, minute(9), 101_000, **({"idTag": tag} if tag else {}))
    assert await kept_aside(site) == ["stop_unknown"]
    assert [one.ended_at for one in await rows(site)] == [None, None]


@pytest.mark.asyncio
async def test_a_nameless_stop_means_the_newest_of_a_connector(site: Site) -> None:
    client = await site.connect(V16)
    stale, newest = await start(client, minute(0)), await start(client, minute(5), meter=102_000)
    await stop(client, -1, minute(9), 103_000)
    assert (await row(site, stale)).ended_at is None
    assert (await row(site, newest)).energy_wh == 1_000


@pytest.mark.asyncio
async def test_a_stop_before_its_start_ends_it_where_it_began(site: Site) -> None:
    client = await site.connect(V16)
    number = await start(client, minute(30))
    await stop(client, number, minute(9), 101_000)
    done = await row(site)
    assert told(done) == (1_000, {"stop_before_start"})
    assert done.ended_at == done.started_at
    assert await kept_aside(site) == ["stop_before_start"]


@pytest.mark.asyncio
async def test_a_stop_by_another_tag_is_noted(site: Site) -> None:
    client = await site.connect(V16)
    number = await start(client, minute(0))
    await stop(client, number, minute(9), 101_000, idTag="TAG2")
    assert told(await row(site)) == (1_000, {"stop_tag_unrelated"})


# --- clocks ---------------------------------------------------------------------------------------------


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("text", "means", "found"),
    [
        ("2016-03-02T06:00:00Z", datetime(2016, 3, 2, 6, tzinfo=UTC), NOTHING),
        ("2026-03-02T06:00:00", BEGAN, NOTHING),
        ("2026-03-02T08:00:00+02:00", BEGAN, NOTHING),
        ("2h ahead", None, {"clock_ahead"}),
        ("banana", None, NOTHING),
        ("2001-01-01T00:00:00Z", None, NOTHING),
    ],
)
async def test_times_of_a_station(site: Site, text: str, means: datetime | None, found: set[str]) -> None:
    """Old ones stand, those without a zone are in UTC, and for the rest it is when we heard it."""
    before = datetime.now(UTC) - timedelta(milliseconds=1)
    client = await site.connect(V16)
    number = await start(client, when_of(text))
    await meter(client, number, sampled(when_of(text), 100_400))
    await stop(client, number, when_of(text), 101_000)
    done = await row(site)
    assert done.ended_at is not None
    assert told(done) == (1_000, found)
    if means is not None:
        assert (done.started_at, done.ended_at) == (means, means)
    else:
        assert before <= done.started_at <= done.ended_at <= datetime.now(UTC)


@pytest.mark.asyncio
async def test_a_clock_set_back_in_mid_charge_does_not_silence_the_session(site: Site) -> None:
    """As by the end of summer time at a station that tells local time."""
    await site.attempt()
    client = await site.connect(V16)
    number = await start(client, from_now())
    for seconds, wh in ((30, 101_000), (-3_560, 102_000), (-3_550, 103_000)):
        await meter(client, number, sampled(from_now(seconds), wh, unit="Wh"))
    told_kwh = site.sink.of(EvidenceKind.ENERGY_FLOWING) + site.sink.of(EvidenceKind.METER)
    assert [evidence.energy_kwh for evidence in told_kwh] == [1, 2, 3]
    await stop(client, number, from_now(-3_540), 104_000)
    assert (await row(site)).energy_wh == 4_000


# --- after the end --------------------------------------------------------------------------------------


@pytest.mark.asyncio
async def test_a_meter_value_told_after_the_stop_counts_where_it_was_measured_before(site: Site) -> None:
    client = await site.connect(V16)
    number = await start(client, minute(0))
    await stop(client, number, minute(9), None)
    await meter(client, number, sampled(minute(8), 104_000, unit="Wh"))
    found = {"meter_stop_missing", "told_after_the_end"}
    assert told(await row(site)) == (4_000, found)
    await meter(client, number, sampled(minute(30), 150_000, unit="Wh"))
    assert told(await row(site)) == (4_000, found | {"sample_outside_transaction"})
    assert (await row(site)).ended_at == BEGAN + timedelta(minutes=9)


@pytest.mark.asyncio
async def test_meter_values_of_nobody_are_kept_in_the_journal(site: Site) -> None:
    client = await site.connect(V16)
    await meter(client, 999_999_999, sampled(minute(1), 100_000))
    await client.call("MeterValues", {"connectorId": 0, "meterValue": [sampled(minute(2), 100_001)]})
    assert await rows(site) == []


# --- outages --------------------------------------------------------------------------------------------


@pytest.mark.asyncio
async def test_an_outage_of_the_house_is_no_error_and_the_repeat_is_booked(site: Site) -> None:
    """An error would burn one of the station's attempts; a lost connection burns none."""
    number = 0
    client = await site.connect(V16)
    when = minute(0)
    calls: list[tuple[str, str, Any]] = [
        ("start", "StartTransaction", lambda: _start_body(when)),
        ("record", "MeterValues", lambda: _meter_body(number)),
        ("end", "StopTransaction", lambda: _stop_body(number)),
    ]
    for method, action, body in calls:
        with outage(site, method):
            await client.socket.send(json.dumps([2, "a", action, body()]))
            with pytest.raises(ConnectionClosed) as closed:
                async with asyncio.timeout(5):
                    await client.socket.recv()
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1013
        client = await site.connect(V16)
        reply = await client.call(action, body())
        number = reply.get("transactionId", number)
    assert told(await row(site)) == (3_000, set())
    assert site.gateway.counts["handler failed"] == 3


def _start_body(when: str) -> Json:
    return {"connectorId": 1, "idTag": "TAG1", "meterStart": 100_000, "timestamp": when}


def _meter_body(number: int) -> Json:
    return {"connectorId": 1, "transactionId": number, "meterValue": [sampled(minute(5), 101_000)]}


def _stop_body(number: int) -> Json:
    return {"transactionId": number, "meterStop": 103_000, "timestamp": minute(9)}


def test_every_finding_is_met_in_a_test() -> None:
    files = Path(__file__).parent.glob("test_transaction_truth*.py")
    said = "".join(file.read_text() for file in files)
    assert {name for name in SOFT | HARD if f'"{name}"' not in said} == set()
