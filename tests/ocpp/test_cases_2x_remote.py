"""OCPP 2.0.1 CSMS cases of part 6 (docs/ocpp-cases.md): remote start, remote stop, unlock, transaction
status."""

from __future__ import annotations

import pytest

from connectors.ocpp.wire.schemas import Json, Version
from models.commands import CommandKind, CommandOutcome
from models.evidence import EvidenceKind
from models.ids import remote_start_id_for
from tests.ocpp.case_station import Station, command, connected, order
from tests.ocpp.conftest import Site
from tests.ocpp.test_cases_2x import CHARGING, TOKEN, Tx, authorise, status

V201 = Version.V201
YES = {"status": "Accepted"}


@pytest.mark.asyncio
async def test_tc_e_21_csms_remote_stop(site: Site) -> None:
    await site.attempt()
    async with connected(site, V201) as station:
        tx = Tx(station)
        await tx.charge()
        reply, asked = await order(
            site, station, CommandKind.STOP, "RequestStopTransaction", YES, session_ref=tx.reference
        )
        assert (reply.outcome, asked) == (CommandOutcome.ACCEPTED, {"transactionId": tx.reference})
        await tx.tell("Ended", "RemoteStop", "EVConnected", stopped="Remote")
        assert (await tx.kept(site)).ended_at is not None


QUEUES = {
    "TC_E_29_CSMS": (True, True, True),
    "TC_E_30_CSMS": (True, True, False),
    "TC_E_31_CSMS": (True, False, True),
    "TC_E_33_CSMS": (False, None, True),
    "TC_E_34_CSMS": (False, None, False),
}


@pytest.mark.asyncio
@pytest.mark.parametrize("case", QUEUES)
async def test_tc_transaction_status(site: Site, case: str) -> None:
    """The answer comes back; queued events that follow, marked offline, are taken in."""
    named, ongoing, queued = QUEUES[case]
    await site.attempt()
    async with connected(site, V201) as station:
        tx = Tx(station)
        await tx.charge()
        asked = {"transactionId": tx.reference} if named else {}
        answer: Json = {"messagesInQueue": queued} | (
            {} if ongoing is None else {"ongoingIndicator": ongoing}
        )
        await command(site, station, "GetTransactionStatus", asked, answer)
        if queued:
            await tx.tell("Updated", "MeterValuePeriodic", "Charging", offline=True)
        if ongoing is False:
            await tx.tell("Ended", "StopAuthorized", "EVConnected", stopped="Local", offline=True)
        assert ((await tx.kept(site)).ended_at is not None) is (ongoing is False)


# --- F: remote start ------------------------------------------------------------------------------------


async def remote_start(site: Site, station: Station, attempt_id: str) -> int:
    wanted = remote_start_id_for(attempt_id)
    reply, asked = await order(
        site, station, CommandKind.START, "RequestStartTransaction", YES, attempt_id=attempt_id
    )
    assert reply.outcome is CommandOutcome.ACCEPTED
    assert asked == {"idToken": TOKEN, "remoteStartId": wanted, "evseId": 1}
    return wanted


@pytest.mark.asyncio
async def test_tc_f_01_csms_remote_start_of_a_plugged_vehicle(site: Site) -> None:
    attempt_id = await site.attempt()
    async with connected(site, V201) as station:
        await station.says(status("Occupied"))
        tx = Tx(station)
        await tx.tell("Started", "CablePluggedIn", "EVConnected")
        wanted = await remote_start(site, station, attempt_id)
        await tx.tell("Updated", "RemoteStart", "EVConnected", token=True, remote_start_id=wanted)
        await tx.tell(*CHARGING)
        assert (await tx.kept(site)).ended_at is None


@pytest.mark.asyncio
@pytest.mark.parametrize(
    "authorises", [pytest.param(True, id="TC_F_02_CSMS"), pytest.param(False, id="TC_F_03_CSMS")]
)
async def test_tc_remote_start_first(site: Site, authorises: bool) -> None:
    attempt_id = await site.attempt()
    async with connected(site, V201) as station:
        wanted = await remote_start(site, station, attempt_id)
        if authorises:
            await authorise(station)
        tx = Tx(station)
        await tx.tell("Started", "RemoteStart", token=True, remote_start_id=wanted)
        await station.says(status("Occupied"))
        await tx.tell("Updated", "CablePluggedIn", "EVConnected")
        await tx.tell(*CHARGING)
        (started,) = await site.sink.until(EvidenceKind.SESSION_STARTED)
        assert (started.attempt_id, started.session_ref) == (attempt_id, tx.reference)


@pytest.mark.asyncio
async def test_tc_f_04_csms_remote_start_and_no_plug(site: Site) -> None:
    attempt_id = await site.attempt()
    async with connected(site, V201) as station:
        wanted = await remote_start(site, station, attempt_id)
        tx = Tx(station)
        await tx.tell("Started", "RemoteStart", token=True, remote_start_id=wanted)
        await tx.tell("Ended", "EVConnectTimeout", "Idle", stopped="Timeout")
        (ended,) = site.sink.of(EvidenceKind.SESSION_ENDED)
        assert (ended.attempt_id, ended.vendor_code) == (attempt_id, "ocpp2.0.1:Timeout")


@pytest.mark.asyncio
async def test_tc_f_06_csms_unlock(site: Site) -> None:
    async with connected(site, V201) as station:
        reply, asked = await order(
            site, station, CommandKind.UNLOCK, "UnlockConnector", {"status": "Unlocked"}
        )
        assert (reply.outcome, asked) == (CommandOutcome.ACCEPTED, {"evseId": 1, "connectorId": 1})
