"""What is booked of OCPP 2.0.1 and 2.1 transactions, in whatever order and however often they are told."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime, timedelta
from itertools import permutations
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed

from connectors.ocpp.wire.schemas import Json
from models.evidence import EvidenceKind
from models.reason_codes import ReasonCode
from tests.ocpp.conftest import Site
from tests.ocpp.truth_site import (
    BEGAN,
    ENERGY,
    V2,
    V201,
    event,
    findings,
    from_now,
    journal,
    kept_aside,
    minute,
    outage,
    reading_2x,
    remotely,
    row,
    rows,
    says,
    told,
)

both_versions = pytest.mark.parametrize("version", V2)
REFERENCE = "tx-1"
NOTHING: set[str] = set()


def story(attempt_id: str = "", **changes: Any) -> list[Json]:
    """A whole transaction: 5 kWh in an hour, told with what stations tell once in its first event only."""
    info: Json = {"info": remotely(attempt_id)} if attempt_id else {}
    token = {"idToken": {"idToken": "TAG1", "type": "Central"}}
    unplugged = {"stoppedReason": "EVDisconnected"}
    return [
        event("Started", REFERENCE, 0, minute(0), 100_000, **info, **token, **changes),
        event("Updated", REFERENCE, 1, minute(20), 102_000, **changes),
        event("Updated", REFERENCE, 2, minute(40), 104_000, **changes),
        event("Ended", REFERENCE, 3, minute(60), 105_000, info=unplugged, **changes),
    ]


@pytest.mark.asyncio
@both_versions
@pytest.mark.parametrize("order", list(permutations(range(4))), ids=lambda order: "".join(map(str, order)))
async def test_every_order_of_events_books_the_same(site: Site, version: str, order: tuple[int, ...]) -> None:
    """Was a bug: what came after the Ended changed nothing, not even by the start of the register."""
    attempt_id = await site.attempt()
    client = await site.connect(version)
    events = story(attempt_id, offline=True)
    await says(client, *(events[place] for place in order))
    done = await row(site)
    assert (done.energy_wh, done.attempt_id, done.connector_number) == (5_000, attempt_id, 1)
    assert (done.started_at, done.ended_at) == (BEGAN, BEGAN + timedelta(hours=1))
    assert findings(done) <= {"told_after_the_end"}
    (started,) = site.sink.of(EvidenceKind.SESSION_STARTED)
    (ended,) = site.sink.of(EvidenceKind.SESSION_ENDED)
    assert started.attempt_id == ended.attempt_id == attempt_id
    assert (ended.reason, ended.session_ref) == (ReasonCode.SUSTAIN_UNPLUGGED_EARLY, REFERENCE)
    if order.index(3) > order.index(0):
        # Told at once, of what was known then. Later events correct the row, and say nothing twice.
        assert (ended.energy_kwh or 0) > 0
    lines = await journal(site, done.transaction_id)
    assert [line.sequence for line in lines if line.kind == "meter"] == [0, 1, 2, 3]
    assert all(line.offline for line in lines if line.sequence is not None)


@pytest.mark.asyncio
@both_versions
async def test_each_event_twice_books_the_same_and_says_nothing_twice(site: Site, version: str) -> None:
    attempt_id = await site.attempt()
    client = await site.connect(version)
    for one in story(attempt_id):
        await says(client, one, one)
    again = await site.connect(version)
    await says(again, *story(attempt_id))
    assert told(await row(site)) == (5_000, set())
    for kind in (EvidenceKind.SESSION_STARTED, EvidenceKind.SESSION_ENDED, EvidenceKind.ENERGY_FLOWING):
        assert len(site.sink.of(kind)) == 1


@pytest.mark.asyncio
@both_versions
async def test_what_comes_after_the_end_never_reopens(site: Site, version: str) -> None:
    attempt_id = await site.attempt()
    client = await site.connect(version)
    await says(client, *story(attempt_id))
    heard = len(site.sink.heard)
    charging = {"chargingState": "Charging", **remotely(attempt_id)}
    await says(client, event("Updated", REFERENCE, 4, minute(90), 180_000, info=charging))
    done = await row(site)
    assert told(done) == (5_000, {"sample_outside_transaction"})
    assert done.ended_at == BEGAN + timedelta(hours=1)
    assert len(site.sink.heard) == heard
    connection = site.gateway.connection(site.station_id)
    assert connection is not None
    assert await connection.session.open_transactions() == {}


@pytest.mark.asyncio
@both_versions
async def test_a_second_end_changes_nothing(site: Site, version: str) -> None:
    client = await site.connect(version)
    await says(client, *story(), event("Ended", REFERENCE, 4, minute(80), 120_000))
    done = await row(site)
    assert (done.energy_wh, done.ended_at) == (5_000, BEGAN + timedelta(hours=1))


# --- sequence numbers -----------------------------------------------------------------------------------


@pytest.mark.asyncio
@both_versions
@pytest.mark.parametrize("lost", [0, 1, 2])
async def test_a_gap_is_noted_and_closes_when_it_is_filled(site: Site, version: str, lost: int) -> None:
    """A station may drop Updated events when its memory is full (2.0.1 part 2, E04)."""
    client = await site.connect(version)
    events = story()
    await says(client, *events[:lost], *events[lost + 1 :])
    assert "events_missing" in findings(await row(site))
    await says(client, events[lost])
    assert told(await row(site))[0] == 5_000
    assert "events_missing" not in findings(await row(site))


@pytest.mark.asyncio
@both_versions
async def test_one_counter_over_all_transactions_is_fine(site: Site, version: str) -> None:
    client = await site.connect(version)
    counter = 4_711
    for reference in ("tx-1", "tx-2"):
        for one in story():
            info = {**one["transactionInfo"], "transactionId": reference}
            await says(client, {**one, "seqNo": counter, "transactionInfo": info})
            counter += 1
    assert [told(one) for one in await rows(site)] == [(5_000, set())] * 2


@pytest.mark.asyncio
@both_versions
async def test_the_numbers_tell_the_order_where_the_clock_does_not(site: Site, version: str) -> None:
    """The clock is set back by an hour in mid charge; then the register resets."""
    client = await site.connect(version)
    await says(
        client,
        event("Started", REFERENCE, 0, minute(60), 100_000),
        event("Updated", REFERENCE, 1, minute(70), 102_000),
        event("Updated", REFERENCE, 2, minute(10), 104_000),
        event("Updated", REFERENCE, 3, minute(20), 1_000),
        event("Ended", REFERENCE, 4, minute(30), 2_000),
    )
    energy_wh, found = told(await row(site))
    assert energy_wh == 6_000
    assert found == {"register_reset", "sample_outside_transaction", "stop_before_start"}
    assert "stop_before_start" not in await kept_aside(site), "its event is in the journal"


@pytest.mark.asyncio
async def test_numbers_that_start_anew_in_a_transaction_are_not_believed(site: Site) -> None:
    client = await site.connect(V201)
    await says(
        client,
        event("Started", REFERENCE, 0, minute(0), 100_000),
        event("Updated", REFERENCE, 1, minute(20), 120_000),
        event("Updated", REFERENCE, 0, minute(40), 140_000),
        event("Ended", REFERENCE, 1, minute(60), 160_000),
    )
    assert (await row(site)).energy_wh == 60_000


# --- clocks and places ----------------------------------------------------------------------------------


@pytest.mark.asyncio
@both_versions
@pytest.mark.parametrize(
    ("text", "means", "found"),
    [
        ("2016-03-02T06:00:00Z", datetime(2016, 3, 2, 6, tzinfo=UTC), NOTHING),
        ("2026-03-02T06:00:00", BEGAN, NOTHING),
        ("2h ahead", None, {"clock_ahead"}),
        ("banana", None, NOTHING),
    ],
)
async def test_times_of_a_2x_station(
    site: Site, version: str, text: str, means: datetime | None, found: set[str]
) -> None:
    before = datetime.now(UTC) - timedelta(milliseconds=1)
    client = await site.connect(version)
    when = from_now(7200) if text == "2h ahead" else text
    await says(client, event("Started", REFERENCE, 0, when, 100_000))
    await says(client, event("Updated", REFERENCE, 1, when, 101_000))
    await says(client, event("Ended", REFERENCE, 2, when, 102_000))
    done = await row(site)
    assert done.ended_at is not None
    assert told(done) == (2_000, found)
    if means is not None:
        assert (done.started_at, done.ended_at) == (means, means)
    else:
        assert before <= done.started_at <= done.ended_at <= datetime.now(UTC)


@pytest.mark.asyncio
@both_versions
async def test_events_out_of_order_with_a_clock_ahead(site: Site, version: str) -> None:
    """All of them count as told now: only the numbers know better."""
    client = await site.connect(version)
    events = story()
    for place, one in enumerate(events):
        when = from_now(7200 + place)
        one["timestamp"] = one["meterValue"][0]["timestamp"] = when
    await says(client, *(events[place] for place in (3, 2, 0, 1)))
    energy_wh, found = told(await row(site))
    assert (energy_wh, "clock_ahead" in found) == (5_000, True)


@pytest.mark.asyncio
@both_versions
@pytest.mark.parametrize(
    ("evse", "found"),
    [({"id": 99}, {"connector_unknown"}), ({"id": 0}, {"connector_unknown"}), (None, NOTHING)],
)
async def test_a_start_at_an_unknown_evse_is_kept_and_booked(
    site: Site, version: str, evse: Json | None, found: set[str]
) -> None:
    """No EVSE at all is right until a cable is in one (E02)."""
    client = await site.connect(version)
    first, *others = story()
    del first["evse"]
    await says(client, first | ({"evse": evse} if evse else {}), *others)
    assert told(await row(site)) == (5_000, found)
    assert await kept_aside(site) == sorted(found)


@pytest.mark.asyncio
@both_versions
async def test_an_evse_that_is_told_later_is_taken(site: Site, version: str) -> None:
    client = await site.connect(version)
    first, second, *others = story()
    del first["evse"]
    await says(client, first, second | {"evse": {"id": 2, "connectorId": 1}}, *others)
    assert (await row(site)).connector_number == 2


# --- registers ------------------------------------------------------------------------------------------


@pytest.mark.asyncio
@both_versions
async def test_the_whole_story_within_the_end(site: Site, version: str) -> None:
    """TxEndedMeasurands with a TxEndedInterval: the Ended carries all samples once more."""
    client = await site.connect(version)
    *others, last = story()
    values = [value for one in [*others, last] for value in one["meterValue"]]
    await says(client, *others, last | {"meterValue": values})
    assert told(await row(site)) == (5_000, set())


@pytest.mark.asyncio
@both_versions
async def test_kwh_wh_and_multipliers_mixed(site: Site, version: str) -> None:
    client = await site.connect(version)
    events = story()
    units: list[Json] = [
        {"value": 100.0, "unitOfMeasure": {"unit": "kWh"}},
        {"value": 102_000},
        {"value": 104, "unitOfMeasure": {"unit": "Wh", "multiplier": 3}},
        {"value": 0.105, "unitOfMeasure": {"unit": "kWh", "multiplier": 3}, "measurand": ENERGY},
    ]
    for one, sample in zip(events, units, strict=True):
        one["meterValue"][0]["sampledValue"] = [sample]
    await says(client, *events)
    assert told(await row(site)) == (pytest.approx(5_000), set())


@pytest.mark.asyncio
@both_versions
async def test_registers_that_2x_does_not_say(site: Site, version: str) -> None:
    client = await site.connect(version)
    first, *others, last = story()
    del first["meterValue"], last["meterValue"]
    await says(client, first, *others, last)
    assert told(await row(site)) == (2_000, {"meter_start_missing", "meter_stop_missing"})


@pytest.mark.asyncio
@both_versions
async def test_an_end_alone_knows_no_energy(site: Site, version: str) -> None:
    """Was a bug: it was booked as 0 kWh."""
    client = await site.connect(version)
    await says(client, story()[-1])
    assert told(await row(site)) == (None, {"events_missing", "meter_start_missing"})


@pytest.mark.asyncio
@both_versions
async def test_meter_values_beside_the_transaction_count(site: Site, version: str) -> None:
    client = await site.connect(version)
    events = story()
    await says(client, *events[:2])
    for when, wh in ((minute(30), 103_000), (minute(33), 500)):
        await client.call("MeterValues", {"evseId": 1, "meterValue": [reading_2x(when, wh)]})
    events[2]["meterValue"] = [reading_2x(minute(40), 1_000)]
    events[3]["meterValue"] = [reading_2x(minute(60), -5), reading_2x(minute(60), 2_000)]
    await says(client, *events[2:])
    assert told(await row(site)) == (5_000, {"register_reset"})


@pytest.mark.asyncio
@both_versions
async def test_signed_2x_values_are_kept_as_they_came(site: Site, version: str) -> None:
    client = await site.connect(version)
    *others, last = story()
    signed = {
        "signedMeterData": "OCMF|{}|{}",
        "signingMethod": "ECDSA-secp256r1-SHA256",
        "encodingMethod": "OCMF",
        "publicKey": "30",
    }
    last["meterValue"][0]["sampledValue"][0]["signedMeterValue"] = signed
    await says(client, *others, last)
    done = await row(site)
    assert told(done) == (5_000, set())
    (line,) = [e for e in await journal(site, done.transaction_id) if (e.body or {}).get("signed")]
    assert line.body is not None
    assert line.body["signed"]["signedMeterValue"] == signed


# --- outages --------------------------------------------------------------------------------------------


@pytest.mark.asyncio
@both_versions
async def test_an_outage_at_any_event_costs_nothing(site: Site, version: str) -> None:
    attempt_id = await site.attempt()
    down = ("start", "record", "end", "late", "find")
    client = await site.connect(version)
    for one in [*story(attempt_id), story()[1]]:
        with outage(site, *down):
            await client.socket.send(json.dumps([2, "a", "TransactionEvent", one]))
            with pytest.raises(ConnectionClosed) as closed:
                async with asyncio.timeout(5):
                    await client.socket.recv()
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1013
        client = await site.connect(version)
        await says(client, one)
    assert told(await row(site)) == (5_000, set())
    assert len(site.sink.of(EvidenceKind.SESSION_ENDED)) == 1
