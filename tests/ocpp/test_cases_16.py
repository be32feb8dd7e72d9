"""OCPP 1.6 CSMS cases of the compliance tool (docs/ocpp-cases.md): what a charge point does by itself, and
the commands of a charging stop. The other commands: test_cases_16_commands.py."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus

from connectors.ocpp.wire.schemas import Json, Version
from models.commands import CommandKind, CommandOutcome
from models.evidence import EvidenceKind
from models.reason_codes import ReasonCode
from tests.ocpp.case_station import BOOT_16, Station, at, connected, connector_status, old_attempt, order
from tests.ocpp.conftest import Site

V16 = Version.V16
ACCEPTED = {"idTagInfo": {"status": "Accepted"}}
CALLED_START, CALLED_STOP = "RemoteStartTransaction", "RemoteStopTransaction"


def status(word: str, number: int = 1, error: str = "NoError", when: str | None = None) -> tuple[str, Json]:
    body = {"connectorId": number, "status": word, "errorCode": error, "timestamp": when or at()}
    return "StatusNotification", body


async def start(station: Station, tag: str = "TAG1", when: str | None = None, **more: Any) -> int:
    body = {"connectorId": 1, "idTag": tag, "meterStart": 0, "timestamp": when or at(), **more}
    reply = await station.call("StartTransaction", body)
    assert reply["idTagInfo"] == {"status": "Accepted"}
    assert reply["transactionId"] > 0
    return int(reply["transactionId"])


async def stop(station: Station, number: int, reason: str, when: str | None = None) -> None:
    body = {"transactionId": number, "idTag": "TAG1", "meterStop": 10, "timestamp": when or at()}
    assert await station.call("StopTransaction", {**body, "reason": reason}) == ACCEPTED


async def authorise(station: Station, tag: str = "TAG1") -> None:
    assert await station.call("Authorize", {"idTag": tag}) == ACCEPTED


async def charge(station: Station) -> int:
    """The reusable state Charging."""
    await station.says(status("Preparing"))
    await authorise(station)
    number = await start(station)
    await station.says(status("Charging"))
    return number


@pytest.mark.asyncio
async def test_tc_001_csms_cold_boot(site: Site) -> None:
    async with connected(site, V16, boot=False) as station:
        booted = await station.call("BootNotification", BOOT_16)
        assert booted["status"] == "Accepted"
        assert booted["interval"] > 0
        told = datetime.fromisoformat(booted["currentTime"])
        assert abs(told - datetime.now(UTC)) < timedelta(seconds=5)
        await station.says(*(status("Available", number) for number in (0, 1, 2)))
        assert set(await station.call("Heartbeat", {})) == {"currentTime"}
        assert [await connector_status(site, number) for number in (1, 2)] == ["available"] * 2
        assert station.unasked == []


@pytest.mark.asyncio
@pytest.mark.parametrize(
    "order_of_events",
    [
        pytest.param(("plug", "authorise"), id="TC_003_CSMS"),
        pytest.param(("authorise", "plug"), id="TC_004_1_CSMS"),
        pytest.param(("plug",), id="TC_007_CSMS"),
    ],
)
async def test_tc_local_start(site: Site, order_of_events: tuple[str, ...]) -> None:
    """Plug first, card first, and a card from the station's cache (no Authorize at all)."""
    attempt_id = await site.attempt()
    async with connected(site, V16) as station:
        for event in order_of_events:
            if event == "plug":
                await station.says(status("Preparing"))
            else:
                await authorise(station)
        number = await start(station)
        await station.says(status("Charging"))
        (started,) = await site.sink.until(EvidenceKind.SESSION_STARTED)
        assert (started.attempt_id, started.session_ref) == (attempt_id, str(number))
        assert site.sink.of(EvidenceKind.PLUGGED_IN) != []
        assert await connector_status(site) == "occupied"


@pytest.mark.asyncio
async def test_tc_004_2_csms_no_plug_in_time(site: Site) -> None:
    await site.attempt()
    async with connected(site, V16) as station:
        await authorise(station)
        await station.says(status("Preparing"), status("Available", when=at(1)))
        assert await connector_status(site) == "available"
        assert site.sink.of(EvidenceKind.SESSION_STARTED) == []


@pytest.mark.asyncio
async def test_tc_005_1_csms_unplugged_at_the_vehicle(site: Site) -> None:
    attempt_id = await site.attempt()
    async with connected(site, V16) as station:
        number = await charge(station)
        await station.says(status("SuspendedEV"))
        await stop(station, number, "EVDisconnected")
        await station.says(status("Finishing"), status("Available", when=at(1)))
        assert len(site.sink.of(EvidenceKind.SUSPENDED_BY_VEHICLE)) == 1
        (ended,) = site.sink.of(EvidenceKind.SESSION_ENDED)
        assert (ended.attempt_id, ended.energy_kwh) == (attempt_id, 0.01)
        assert ended.reason is ReasonCode.SUSTAIN_UNPLUGGED_EARLY
        assert await connector_status(site) == "available"


# --- remote start and stop ------------------------------------------------------------------------------


@pytest.mark.asyncio
@pytest.mark.parametrize(
    "plugged_first",
    [pytest.param(True, id="TC_010_CSMS"), pytest.param(False, id="TC_011_1_CSMS")],
)
async def test_tc_remote_start(site: Site, plugged_first: bool) -> None:
    attempt_id = await site.attempt()
    async with connected(site, V16) as station:
        if plugged_first:
            await station.says(status("Preparing"))
        reply, asked = await order(
            site, station, CommandKind.START, CALLED_START, {"status": "Accepted"}, attempt_id=attempt_id
        )
        assert reply.outcome is CommandOutcome.ACCEPTED
        assert asked == {"idTag": "TAG1", "connectorId": 1}
        await authorise(station)
        if not plugged_first:
            await station.says(status("Preparing"))
        number = await start(station)
        await station.says(status("Charging"))
        (started,) = await site.sink.until(EvidenceKind.SESSION_STARTED)
        assert (started.attempt_id, started.session_ref) == (attempt_id, str(number))


@pytest.mark.asyncio
async def test_tc_011_2_csms_remote_start_and_no_plug(site: Site) -> None:
    await site.attempt()
    async with connected(site, V16) as station:
        reply, _ = await order(site, station, CommandKind.START, CALLED_START, {"status": "Accepted"})
        assert reply.outcome is CommandOutcome.ACCEPTED
        await authorise(station)
        await station.says(status("Preparing"), status("Available", when=at(1)))
        assert await connector_status(site) == "available"
        assert site.sink.of(EvidenceKind.SESSION_STARTED) == []


@pytest.mark.asyncio
async def test_tc_012_csms_remote_stop(site: Site) -> None:
    await site.attempt()
    async with connected(site, V16) as station:
        number = await charge(station)
        reply, asked = await order(
            site, station, CommandKind.STOP, CALLED_STOP, {"status": "Accepted"}, session_ref=str(number)
        )
        assert (reply.outcome, asked) == (CommandOutcome.ACCEPTED, {"transactionId": number})
        await stop(station, number, "Remote")
        await station.says(status("Finishing"), status("Available", when=at(1)))
        (ended,) = site.sink.of(EvidenceKind.SESSION_ENDED)
        assert ended.session_ref == str(number)


@pytest.mark.asyncio
async def test_tc_026_csms_remote_start_rejected(site: Site) -> None:
    async with connected(site, V16) as station:
        reply, _ = await order(site, station, CommandKind.START, CALLED_START, {"status": "Rejected"})
        assert (reply.outcome, reply.reason) == (CommandOutcome.REJECTED, ReasonCode.START_REJECTED)


@pytest.mark.asyncio
async def test_tc_028_csms_remote_stop_of_an_unknown_transaction(site: Site) -> None:
    async with connected(site, V16) as station:
        reply, asked = await order(
            site, station, CommandKind.STOP, CALLED_STOP, {"status": "Rejected"}, session_ref="999999"
        )
        assert asked == {"transactionId": 999_999}
        assert (reply.outcome, reply.reason) == (CommandOutcome.REJECTED, ReasonCode.STOP_REJECTED)


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        pytest.param("Unlocked", CommandOutcome.ACCEPTED, id="TC_017_1_CSMS"),
        pytest.param("NotSupported", CommandOutcome.REJECTED, id="TC_017_2_CSMS"),
        pytest.param("UnlockFailed", CommandOutcome.REJECTED, id="TC_030_CSMS"),
        pytest.param("NotSupported", CommandOutcome.REJECTED, id="TC_031_CSMS"),
    ],
)
async def test_tc_unlock(site: Site, answer: str, outcome: CommandOutcome) -> None:
    """Cable that comes off, fixed cable, stuck lock, and a connector the station does not have."""
    async with connected(site, V16) as station:
        reply, asked = await order(site, station, CommandKind.UNLOCK, "UnlockConnector", {"status": answer})
        assert (reply.outcome, asked) == (outcome, {"connectorId": 1})
        assert answer in reply.vendor_code


@pytest.mark.asyncio
async def test_tc_018_1_csms_unlock_while_charging(site: Site) -> None:
    await site.attempt()
    async with connected(site, V16) as station:
        number = await charge(station)
        reply, _ = await order(site, station, CommandKind.UNLOCK, "UnlockConnector", {"status": "Unlocked"})
        assert reply.outcome is CommandOutcome.ACCEPTED
        await station.says(status("Finishing"))
        await stop(station, number, "UnlockCommand")
        await station.says(status("Available", when=at(1)))
        assert len(site.sink.of(EvidenceKind.SESSION_ENDED)) == 1


@pytest.mark.asyncio
async def test_tc_023_1_csms_unknown_tag(site: Site) -> None:
    async with connected(site, V16) as station:
        reply = await station.call("Authorize", {"idTag": "STRANGER"})
        assert reply == {"idTagInfo": {"status": "Invalid"}}


# --- faults, power loss, offline ------------------------------------------------------------------------


@pytest.mark.asyncio
async def test_tc_024_csms_lock_failure(site: Site) -> None:
    await site.attempt()
    async with connected(site, V16) as station:
        await authorise(station)
        await station.says(status("Preparing"), status("Faulted", error="ConnectorLockFailure", when=at(1)))
        (fault,) = site.sink.of(EvidenceKind.CONNECTOR_FAULTED)
        assert "ConnectorLockFailure" in fault.vendor_code
        assert fault.reason is not None
        assert await connector_status(site) == "faulted"


@pytest.mark.asyncio
async def test_tc_032_1_csms_power_lost_while_charging(site: Site) -> None:
    attempt_id = await site.attempt()
    async with connected(site, V16) as station:
        number = await charge(station)
    async with connected(site, V16) as station:
        await station.says(status("Available", 0), status("Finishing", 1), status("Available", 2))
        await stop(station, number, "PowerLoss")
        (ended,) = site.sink.of(EvidenceKind.SESSION_ENDED)
        assert (ended.attempt_id, ended.vendor_code) == (attempt_id, "ocpp1.6:PowerLoss")


@pytest.mark.asyncio
async def test_tc_037_1_csms_start_told_hours_later(site: Site) -> None:
    four_hours_ago = at(-4 * 3600)
    await old_attempt(site, 4.1)
    async with connected(site, V16) as station:
        number = await start(station, when=four_hours_ago)
        await station.says(status("Charging", when=four_hours_ago))
        async with site.store.tenant(site.tenant_id) as unit:
            kept = await unit.sessions.find(site.station_id, transaction_id=number)
        assert kept is not None
        assert kept.started_at == datetime.fromisoformat(four_hours_ago)
        assert kept.ended_at is None


@pytest.mark.asyncio
async def test_tc_037_3_csms_strangers_start_told_hours_later(site: Site) -> None:
    when = at(-4 * 3600)
    body = {"connectorId": 1, "idTag": "STRANGER", "meterStart": 0, "timestamp": when}
    async with connected(site, V16) as station:
        reply = await station.call("StartTransaction", body)
        assert reply["idTagInfo"] == {"status": "Invalid"}
        assert reply["transactionId"] > 0
        await station.says(status("Charging", when=when))
        ended = {"transactionId": reply["transactionId"], "meterStop": 10, "timestamp": at()}
        assert await station.call("StopTransaction", {**ended, "reason": "DeAuthorized"}) == {}
        await station.says(status("Finishing"))
        assert site.sink.of(EvidenceKind.SESSION_STARTED) == []


@pytest.mark.asyncio
async def test_tc_039_csms_whole_transaction_offline(site: Site) -> None:
    began, ended = at(-4 * 3600), at(-3 * 3600)
    await old_attempt(site, 4.1)
    async with connected(site, V16) as station:
        number = await start(station, when=began)
        await stop(station, number, "Local", when=ended)
        async with site.store.tenant(site.tenant_id) as unit:
            kept = await unit.sessions.find(site.station_id, transaction_id=number)
        assert kept is not None
        assert (kept.started_at, kept.ended_at) == (
            datetime.fromisoformat(began),
            datetime.fromisoformat(ended),
        )


@pytest.mark.asyncio
async def test_tc_064_csms_data_transfer_of_an_unknown_vendor(site: Site) -> None:
    body = {"vendorId": "com.example.vendor", "messageId": "test", "data": "payload"}
    async with connected(site, V16) as station:
        assert await station.call("DataTransfer", body) == {"status": "UnknownVendorId"}


# --- the door -------------------------------------------------------------------------------------------


@pytest.mark.asyncio
async def test_tc_085_csms_basic_authentication(site: Site) -> None:
    with pytest.raises(InvalidStatus) as refused:
        await site.connect(V16, password="another-password-16")
    assert refused.value.response.status_code == 401
    async with connected(site, V16) as station:
        await station.says(status("Available"))


@pytest.mark.asyncio
async def test_tc_088_csms_subprotocol(site: Site) -> None:
    unknown = await site.connect("ocpp0.1")
    with pytest.raises(ConnectionClosed):
        await unknown.frame()
    known = await site.connect("ocpp0.1", V16)
    assert known.socket.subprotocol == V16
    assert (await known.call("BootNotification", BOOT_16))["status"] == "Accepted"
    await known.socket.close()
