"""Live stations that lose the gateway, power or their process in mid charge: the same session, to 1 Wh."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from models.commands import CommandKind, CommandOutcome
from models.evidence import EvidenceKind
from tests.ocpp.conftest import Site
from tests.ocpp.truth_site import V2, V16, findings, rows
from tests.ocpp.twin_site import PACE, VAN, TwinProcess, live, other_gateway, process, until, until_true

VERSIONS = (V16, *V2)
every_version = pytest.mark.parametrize("version", VERSIONS)


@pytest.mark.asyncio
@every_version
async def test_an_outage_in_mid_charge_costs_no_energy_and_makes_no_second_session(
    site: Site, version: str, tmp_path: Path
) -> None:
    async with live(site, version, state_dir=str(tmp_path)) as twin:
        attempt_id = await twin.charge()
        (before,) = await rows(site)
        told = len(twin.said)
        twin.station.drop(1.5)
        await until(lambda: not twin.station.is_online)
        await until(lambda: len(twin.station.outbox) >= 3)
        twin.connector.unplug()  # the end too happens out of our sight
        done = await twin.ended()
        assert done.transaction_id == before.transaction_id
        assert done.attempt_id == attempt_id
        assert done.energy_wh == pytest.approx(twin.truth_wh, abs=1)
        assert findings(done) == set()
        again = twin.said[told:]
        assert "BootNotification" not in [action for action, _ in again]
        if version == V16:
            assert len([1 for action, _ in again if action == "MeterValues"]) >= 3
        else:
            events = [body for action, body in again if action == "TransactionEvent"]
            assert len([body for body in events if body.get("offline")]) >= 3
        assert len(site.sink.of(EvidenceKind.SESSION_STARTED)) == 1


@pytest.mark.asyncio
@every_version
async def test_a_charge_that_begins_and_ends_out_of_sight(site: Site, version: str) -> None:
    """The station goes on alone right after the command: all it says about the session is a replay."""
    async with live(site, version) as twin:
        attempt_id = await site.attempt()
        twin.connector.plug(VAN)
        sent = await site.gateway.send(site.command(CommandKind.START, attempt_id))
        assert sent.outcome is CommandOutcome.ACCEPTED
        twin.station.drop(2.0)
        await until(lambda: len(twin.station.outbox) >= 4)
        twin.connector.unplug()
        done = await twin.ended()
        assert done.attempt_id == attempt_id
        assert done.energy_wh == pytest.approx(twin.truth_wh, abs=1)
        assert findings(done) == set()


@pytest.mark.asyncio
@every_version
async def test_the_gateway_stops_in_mid_charge_and_another_goes_on(site: Site, version: str) -> None:
    port = site.gateway.port
    async with live(site, version) as twin:
        attempt_id = await twin.charge()
        await site.gateway.stop()
        await until(lambda: len(twin.station.outbox) >= 3)
        gateway = await other_gateway(site, port)
        try:
            twin.listen()
            await twin.until_read(4)
            session = twin.connector.session
            assert session is not None
            reference = session.shown_reference
            stop = site.command(CommandKind.STOP, attempt_id, session_ref=reference)
            assert (await gateway.send(stop)).outcome is CommandOutcome.ACCEPTED
            done = await twin.ended()
        finally:
            await gateway.stop()
        assert len(twin.of("BootNotification")) == 1, "the first one"
        assert done.energy_wh == pytest.approx(twin.truth_wh, abs=1)
        assert findings(done) == set()
        told = [e.energy_kwh or 0 for e in site.sink.of(EvidenceKind.METER)]
        assert told == sorted(told), "the new gateway counts on from what the old one booked"


@pytest.mark.asyncio
@every_version
@pytest.mark.parametrize("keeps_power", [True, False])
async def test_a_killed_station_process_in_mid_charge(
    site: Site, version: str, keeps_power: bool, tmp_path: Path, unused_tcp_port: int
) -> None:
    boots = {"boots_after_restart": not keeps_power}
    attempt_id = await site.attempt()
    async with process(site, version, tmp_path, unused_tcp_port, **boots) as first:
        await first.post("plug", VAN.model_dump(mode="json"))
        sent = await site.gateway.send(site.command(CommandKind.START, attempt_id))
        assert sent.outcome is CommandOutcome.ACCEPTED
        await site.sink.until(EvidenceKind.ENERGY_FLOWING)
        await site.sink.until(EvidenceKind.METER, 3)
        await first.kill()
    await until(lambda: site.gateway.connection(site.station_id) is None)
    async with process(site, version, tmp_path, unused_tcp_port, **boots) as second:
        if keeps_power:
            told = len(site.sink.of(EvidenceKind.METER))
            await site.sink.until(EvidenceKind.METER, told + 3)
            await second.post("unplug", {})
        (ended,) = await site.sink.until(EvidenceKind.SESSION_ENDED)
        entries = await second.ledger()
    (done,) = await rows(site)
    (truth,) = [entry for entry in entries if entry.what == "session_ended"]
    assert "message_lost" not in [entry.what for entry in entries]
    assert truth.energy_kwh is not None
    assert done.energy_wh == pytest.approx(truth.energy_kwh * 1000, abs=1)
    assert ended.energy_kwh == pytest.approx(truth.energy_kwh, abs=0.001)
    assert (done.attempt_id, findings(done)) == (attempt_id, set())


@pytest.mark.asyncio
@every_version
async def test_both_fall_silent_and_come_back(
    site: Site, version: str, tmp_path: Path, unused_tcp_port: int
) -> None:
    """The gateway is away when the station's process is killed, and comes back after the station did."""
    port = site.gateway.port
    boots = {"boots_after_restart": False}
    attempt_id = await site.attempt()
    async with process(site, version, tmp_path, unused_tcp_port, **boots) as first:
        await first.post("plug", VAN.model_dump(mode="json"))
        await site.gateway.send(site.command(CommandKind.START, attempt_id))
        await site.sink.until(EvidenceKind.ENERGY_FLOWING)
        await site.gateway.stop()
        energy_kwh = (await first.state())["energy_kwh"]

        async def has_charged_on() -> bool:
            return (await first.state())["energy_kwh"] > energy_kwh + 1

        await until_true(has_charged_on)
        await first.kill()
    gateway = await other_gateway(site, port)
    try:
        async with process(site, version, tmp_path, unused_tcp_port, **boots) as second:
            await asyncio.wait_for(_charging(second), 15)
            await second.post("unplug", {})
            (ended,) = await site.sink.until(EvidenceKind.SESSION_ENDED)
            entries = await second.ledger()
    finally:
        await gateway.stop()
    (done,) = await rows(site)
    (truth,) = [entry for entry in entries if entry.what == "session_ended"]
    assert truth.energy_kwh is not None
    assert done.energy_wh == pytest.approx(truth.energy_kwh * 1000, abs=1)
    assert ended.attempt_id == attempt_id
    assert findings(done) == set()


async def _charging(twin: TwinProcess) -> None:
    while not (await twin.state())["charging"]:
        await asyncio.sleep(PACE.reconnect_s)
