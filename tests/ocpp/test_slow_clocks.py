"""OCPP 1.6 repeats no reference of ours: whose start it is, where the station's clock is behind."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from connectors.ocpp.truth.clock import Lag
from models.evidence import EvidenceKind
from tests.ocpp.conftest import Client, Site
from tests.ocpp.truth_site import V16, V201, event, from_now, remotely, sampled, says, start, stop

NOW = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)


def before(seconds: float) -> datetime:
    return NOW - timedelta(seconds=seconds)


async def status(client: Client, when: str, word: str = "Preparing") -> None:
    body = {"connectorId": 1, "errorCode": "NoError", "status": word, "timestamp": when}
    assert await client.call("StatusNotification", body) == {}


async def owners(site: Site) -> list[str | None]:
    return [evidence.attempt_id for evidence in site.sink.of(EvidenceKind.SESSION_STARTED)]


@pytest.mark.asyncio
@pytest.mark.parametrize("behind_s", [0, 4, 10, 90, 3600])
@pytest.mark.parametrize("clock_is_known", [True, False])
async def test_a_start_told_now_by_a_clock_that_is_behind_is_the_attempts(
    site: Site, behind_s: int, clock_is_known: bool
) -> None:
    attempt_id = await site.attempt()
    client = await site.connect(V16)
    if clock_is_known:
        await status(client, from_now(-behind_s))
    await start(client, from_now(-behind_s))
    assert await owners(site) == [attempt_id]


@pytest.mark.asyncio
async def test_a_start_of_an_outage_from_before_the_intent_is_not_the_attempts(site: Site) -> None:
    """The clock is right, as its status shows: what it tells as of an hour ago was an hour ago."""
    await site.attempt()
    client = await site.connect(V16)
    await status(client, from_now())
    await start(client, from_now(-3600))
    assert await owners(site) == []


@pytest.mark.asyncio
async def test_queued_samples_do_not_vouch_for_the_clock(site: Site) -> None:
    attempt_id = await site.attempt()
    client = await site.connect(V16)
    old = sampled(from_now(-3000), 100_000)
    await client.call("MeterValues", {"connectorId": 1, "meterValue": [old]})
    await start(client, from_now(-3600))
    assert await owners(site) == [attempt_id]


@pytest.mark.asyncio
async def test_a_second_transaction_of_one_attempt_is_told_as_its_session(site: Site) -> None:
    """A station that ends with power loss and goes on with the token."""
    attempt_id = await site.attempt()
    client = await site.connect(V16)
    first = await start(client, from_now())
    await stop(client, first, from_now(1), 104_000, reason="PowerLoss")
    second = await start(client, from_now(2), meter=104_000)
    assert second != first
    assert await owners(site) == [attempt_id, attempt_id]
    refs = {evidence.session_ref for evidence in site.sink.of(EvidenceKind.SESSION_STARTED)}
    assert len(refs) == 2


@pytest.mark.asyncio
async def test_in_2x_our_reference_wins_over_an_old_clock(site: Site) -> None:
    """And the instant is the station's."""
    attempt_id = await site.attempt()
    client = await site.connect(V201)
    old = from_now(-13 * 3600)
    await says(client, event("Started", "tx", 0, old, 0.0, info=remotely(attempt_id)))
    (told,) = site.sink.of(EvidenceKind.SESSION_STARTED)
    assert told.attempt_id == attempt_id
    assert told.observed_at.isoformat()[:13] == old[:13]


def test_the_youngest_word_bounds_how_far_the_clock_is_behind() -> None:
    lag = Lag()
    assert lag.when(before(90), NOW) == [before(90), NOW]
    lag.hear(before(4000), NOW, queued=True)
    assert lag.when(before(90), NOW) == [before(90), NOW]
    lag.hear(before(60), NOW)
    assert lag.when(before(90), NOW) == [before(30)]
    assert lag.when(before(20), NOW) == [NOW]
    lag.hear(NOW + timedelta(seconds=30), before(1))  # ahead: nothing is set back
    assert lag.when(before(90), NOW) == [before(90)]


def test_a_time_that_was_not_taken_says_nothing_of_the_clock() -> None:
    lag = Lag()
    lag.hear(NOW, NOW)
    assert lag.when(before(90), NOW) == [before(90), NOW]
