"""Live stations with each fault that touches the truth of a session: one session, its energy, findings."""

from __future__ import annotations

import pytest

from models.charger import ConnectorStatus
from models.commands import CommandKind, CommandOutcome
from models.evidence import EvidenceKind
from simulators.twin import Fault, FaultKind
from store.sessions import Transaction
from tests.ocpp.conftest import Site
from tests.ocpp.truth_site import V2, V16, findings, journal
from tests.ocpp.twin_site import TICK_WH, VAN, TwinSite, live, until

VERSIONS = (V16, *V2)
MODELS = {"ocpp1.6": "Twin T16", "ocpp2.0.1": "Twin T201", "ocpp2.1": "Twin T21"}
every_version = pytest.mark.parametrize("version", VERSIONS)


async def whole(twin: TwinSite, *, readings: int = 3) -> Transaction:
    """A session from our command to our command."""
    attempt_id = await twin.charge(readings=readings)
    session = twin.connector.session
    assert session is not None
    stop = twin.site.command(CommandKind.STOP, attempt_id, session_ref=session.shown_reference)
    assert (await twin.site.gateway.send(stop)).outcome is CommandOutcome.ACCEPTED
    done = await twin.ended()
    assert done.attempt_id == attempt_id
    assert len(twin.site.sink.of(EvidenceKind.SESSION_STARTED)) == 1
    assert twin.site.gateway.counts["handler failed"] == 0
    return done


NOTHING: set[str] = set()
FAULTS: list[tuple[FaultKind, set[str]]] = [
    (FaultKind.REGISTER_ROLLOVER, {"register_rolled_over"}),
    (FaultKind.KWH_AND_WH_MIXED, NOTHING),
    (FaultKind.MISSING_METER_FIELDS, NOTHING),
    (FaultKind.SIGNED_METER, NOTHING),
    (FaultKind.DUPLICATE_EVENTS, NOTHING),
    (FaultKind.REORDERED_EVENTS, NOTHING),
    (FaultKind.START_BEFORE_REPLY, NOTHING),
    (FaultKind.VENDOR_FIELDS, NOTHING),
    (FaultKind.WRONG_CLOCK, {"clock_ahead"}),
]


@pytest.mark.asyncio
@every_version
@pytest.mark.parametrize(("kind", "found"), FAULTS, ids=[str(kind) for kind, _ in FAULTS])
async def test_the_energy_is_right_to_1_wh(
    site: Site, version: str, kind: FaultKind, found: set[str]
) -> None:
    async with live(site, version, kind) as twin:
        done = await whole(twin)
        assert done.energy_wh == pytest.approx(twin.truth_wh, abs=1)
        assert findings(done) == found
        if kind is FaultKind.SIGNED_METER:
            lines = await journal(site, done.transaction_id)
            signed = [line for line in lines if (line.body or {}).get("signed")]
            assert len(signed) >= 4
        if kind is FaultKind.VENDOR_FIELDS:
            counted = {(seen.model, seen.field) for seen in site.gateway.vendor_fields.take()}
            assert (MODELS[version], "vendorState") in counted


@pytest.mark.asyncio
@every_version
async def test_a_register_that_falls_to_0_costs_only_what_it_never_showed(site: Site, version: str) -> None:
    async with live(site, version, Fault(kind=FaultKind.REGISTER_RESET, delay_s=1.0)) as twin:
        done = await whole(twin, readings=6)
        assert done.energy_wh is not None
        assert -1 <= twin.truth_wh - done.energy_wh <= TICK_WH + 1
        assert findings(done) == {"register_reset"}


@pytest.mark.asyncio
async def test_a_stop_of_transaction_minus_one(site: Site) -> None:
    async with live(site, V16, FaultKind.MINUS_ONE_TRANSACTION) as twin:
        done = await whole(twin)
        assert twin.of("StopTransaction")[0]["transactionId"] == -1
        assert done.energy_wh == pytest.approx(twin.truth_wh, abs=1)
        assert findings(done) == set()


@pytest.mark.asyncio
@every_version
@pytest.mark.parametrize(
    "kinds",
    [
        (FaultKind.DUPLICATE_EVENTS, FaultKind.REORDERED_EVENTS, FaultKind.WRONG_CLOCK),
        (FaultKind.REGISTER_ROLLOVER, FaultKind.KWH_AND_WH_MIXED, FaultKind.SIGNED_METER),
        (FaultKind.MINUS_ONE_TRANSACTION, FaultKind.MISSING_METER_FIELDS, FaultKind.DUPLICATE_EVENTS),
    ],
    ids=lambda kinds: "-".join(kinds),
)
async def test_faults_that_come_together_in_an_outage(
    site: Site, version: str, kinds: tuple[FaultKind, ...]
) -> None:
    async with live(site, version, *kinds) as twin:
        await twin.charge()
        twin.station.drop(1.0)
        await until(lambda: not twin.station.is_online)
        await until(lambda: len(twin.station.outbox) >= 2)
        twin.connector.unplug()
        done = await twin.ended()
        assert done.energy_wh == pytest.approx(twin.truth_wh, abs=1)
        assert "events_missing" not in findings(done)


@pytest.mark.asyncio
@every_version
async def test_old_statuses_after_a_reconnect_take_nothing_back(site: Site, version: str) -> None:
    async with live(site, version, FaultKind.KEEP_OLD_TIMESTAMPS) as twin:
        await twin.charge()
        told = len(twin.of("StatusNotification"))
        twin.station.drop(0.5)
        await until(lambda: len(twin.of("StatusNotification")) >= told + 2)
        await twin.until_read(2)
        old = twin.of("StatusNotification")[told : told + 2]
        assert old[0]["timestamp"] > old[1]["timestamp"]
        async with site.store.tenant(site.tenant_id) as unit:
            charger = await unit.chargers.get(site.charger(1).charger_id)
        assert charger is not None
        assert charger.status is ConnectorStatus.OCCUPIED
        twin.connector.unplug()
        done = await twin.ended()
        assert done.energy_wh == pytest.approx(twin.truth_wh, abs=1)


@pytest.mark.asyncio
@every_version
async def test_a_vehicle_that_draws_nothing_is_a_session_of_0_kwh(site: Site, version: str) -> None:
    async with live(site, version, FaultKind.SUSPENDED_EV) as twin:
        attempt_id = await site.attempt()
        twin.connector.plug(VAN)
        sent = await site.gateway.send(site.command(CommandKind.START, attempt_id))
        assert sent.outcome is CommandOutcome.ACCEPTED
        await site.sink.until(EvidenceKind.METER, 2)
        twin.connector.unplug()
        done = await twin.ended()
        assert (done.energy_wh, findings(done)) == (0, set())
