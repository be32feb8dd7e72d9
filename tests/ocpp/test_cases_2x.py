"""OCPP 2.0.1 CSMS cases of part 6 (docs/ocpp-cases.md): the door, boot, transactions.
The rest: test_cases_2x_remote.py, _meter.py, _commands.py, _upkeep.py and _profiles.py beside this."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus

from connectors.ocpp.wire.schemas import Json, Version
from models.evidence import EvidenceKind
from models.station import Admission
from store.sessions import Transaction
from tests.ocpp.case_station import (
    BOOT_201,
    Refused,
    Station,
    at,
    command,
    connected,
    connector_status,
    settle,
)
from tests.ocpp.conftest import Site

V201 = Version.V201
TOKEN = {"idToken": "TAG1", "type": "Central"}
STRANGER = {"idToken": "STRANGER", "type": "Central"}
ACCEPTED = {"idTokenInfo": {"status": "Accepted"}}


def status(word: str, evse: int = 1, when: str | None = None) -> tuple[str, Json]:
    body = {"evseId": evse, "connectorId": 1, "connectorStatus": word, "timestamp": when or at()}
    return "StatusNotification", body


async def authorise(station: Station) -> None:
    assert await station.call("Authorize", {"idToken": TOKEN}) == ACCEPTED


@dataclass
class Tx:
    """One transaction of a station; `tell` sends its next event.

    A reply says what a token is worth where one was shown, and nothing else (TransactionEventResponse)."""

    station: Station
    reference: str = field(default_factory=lambda: uuid.uuid4().hex)
    seq: int = 0

    async def tell(
        self,
        kind: str,
        trigger: str,
        state: str | None = None,
        *,
        token: bool = False,
        stopped: str | None = None,
        evse: int | None = 1,
        remote_start_id: int | None = None,
        **more: Any,
    ) -> Json:
        info = {"chargingState": state, "stoppedReason": stopped, "remoteStartId": remote_start_id}
        body: Json = {
            "eventType": kind,
            "triggerReason": trigger,
            "timestamp": at(),
            "seqNo": self.seq,
            "transactionInfo": {
                "transactionId": self.reference,
                **{key: value for key, value in info.items() if value is not None},
            },
            **({"evse": {"id": evse, "connectorId": 1}} if evse else {}),
            **({"idToken": TOKEN} if token else {}),
            **more,
        }
        self.seq += 1
        reply = await self.station.call("TransactionEvent", body)
        if "idToken" not in more:
            assert reply == (ACCEPTED if token else {})
        return reply

    async def charge(self) -> None:
        """The reusable state Charging, card first."""
        await authorise(self.station)
        await self.tell("Started", "Authorized", token=True)
        await self.station.says(status("Occupied"))
        await self.tell("Updated", "CablePluggedIn", "EVConnected")
        await self.tell("Updated", "ChargingStateChanged", "Charging")

    async def kept(self, site: Site) -> Transaction:
        async with site.store.tenant(site.tenant_id) as unit:
            row = await unit.sessions.find(site.station_id, transaction_ref=self.reference)
        assert row is not None
        return row


# --- A, B, P: the door, boot, data transfer -------------------------------------------------------------


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("user", "password"),
    [
        pytest.param("somebody-else", "a-station-password-16+", id="TC_A_02_CSMS"),
        pytest.param(None, "another-password-16", id="TC_A_03_CSMS"),
    ],
)
async def test_tc_bad_credentials(site: Site, user: str | None, password: str) -> None:
    with pytest.raises(InvalidStatus) as refused:
        await site.connect(V201, user=user, password=password)
    assert refused.value.response.status_code == 401


@pytest.mark.asyncio
async def test_tc_a_01_csms_basic_authentication(site: Site) -> None:
    async with connected(site, V201) as station:
        await station.says(status("Available"))


@pytest.mark.asyncio
async def test_tc_b_01_csms_cold_boot(site: Site) -> None:
    async with connected(site, V201, boot=False) as station:
        booted = await station.call("BootNotification", BOOT_201)
        assert booted["status"] == "Accepted"
        assert booted["interval"] > 0
        told = datetime.fromisoformat(booted["currentTime"])
        assert abs(told - datetime.now(UTC)) < timedelta(seconds=5)
        await station.says(status("Available", 1), status("Available", 2))
        assert set(await station.call("Heartbeat", {})) == {"currentTime"}
        assert [await connector_status(site, number) for number in (1, 2)] == ["available"] * 2


@pytest.mark.asyncio
async def test_tc_b_02_csms_pending_then_accepted(site: Site) -> None:
    await settle(site, admission=Admission.PENDING)
    async with connected(site, V201, boot=False) as station:
        told = await station.call("BootNotification", BOOT_201)
        assert told["status"] == "Pending"
        assert told["interval"] > 0
    await settle(site, admission=Admission.ACCEPTED)
    async with connected(site, V201) as station:
        await station.says(status("Available"))


@pytest.mark.asyncio
@pytest.mark.parametrize("admission", [Admission.PENDING, Admission.REJECTED])
async def test_tc_b_30_csms_message_before_an_accepted_boot(site: Site, admission: Admission) -> None:
    await settle(site, admission=admission)
    async with connected(site, V201, boot=False) as station:
        await station.call("BootNotification", BOOT_201)
        with pytest.raises(Refused, match="SecurityError"):
            await station.says(status("Available"))


@pytest.mark.asyncio
async def test_tc_b_31_csms_boot_triggered_while_pending(site: Site) -> None:
    await settle(site, admission=Admission.PENDING)
    async with connected(site, V201, boot=False) as station:
        await station.call("BootNotification", BOOT_201)
        asked = {"requestedMessage": "BootNotification"}
        await command(site, station, "TriggerMessage", asked, {"status": "Accepted"})
        again = await station.call("BootNotification", {**BOOT_201, "reason": "Triggered"})
        assert again["status"] == "Pending"


@pytest.mark.asyncio
async def test_tc_b_58_csms_subprotocol(site: Site) -> None:
    unknown = await site.connect("ocpp0.1")
    with pytest.raises(ConnectionClosed):
        await unknown.frame()
    known = await site.connect("ocpp0.1", V201)
    assert known.socket.subprotocol == V201
    await known.socket.close()


@pytest.mark.asyncio
async def test_tc_p_02_csms_data_transfer_of_an_unknown_vendor(site: Site) -> None:
    async with connected(site, V201) as station:
        reply = await station.call("DataTransfer", {"vendorId": "com.example.vendor", "messageId": "test"})
        assert reply == {"status": "UnknownVendorId"}


@pytest.mark.asyncio
async def test_tc_p_03_csms_custom_data(site: Site) -> None:
    custom = {"customData": {"vendorId": "com.example.vendor", "more": [1, 2]}}
    async with connected(site, V201) as station:
        assert set(await station.call("Heartbeat", custom)) == {"currentTime"}
        await station.says(("StatusNotification", {**status("Available")[1], **custom}))


# --- C, E: how transactions start -----------------------------------------------------------------------

Event = tuple[Any, ...]  # eventType, triggerReason, chargingState, "token" where the event carries one
CARD, PLUG = ("card",), ("plug",)
CHARGING = ("Updated", "ChargingStateChanged", "Charging")
STARTS: dict[str, list[Event]] = {
    "TC_E_01_CSMS": [
        CARD,
        PLUG,
        ("Started", "ChargingStateChanged", "SuspendedEVSE", "token"),
        CHARGING,
    ],
    "TC_E_02_CSMS": [CARD, PLUG, ("Started", "ChargingStateChanged", "Charging", "token")],
    "TC_E_03_CSMS": [
        PLUG,
        ("Started", "CablePluggedIn", "EVConnected"),
        CARD,
        ("Updated", "Authorized", "EVConnected", "token"),
        CHARGING,
    ],
    "TC_E_04_CSMS": [
        CARD,
        ("Started", "Authorized", None, "token"),
        PLUG,
        ("Updated", "CablePluggedIn", "EVConnected"),
        CHARGING,
    ],
    "TC_E_09_CSMS": [PLUG, ("Started", "CablePluggedIn", "EVConnected")],
    "TC_E_10_CSMS": [CARD, ("Started", "Authorized", None, "token")],
    "TC_E_11_CSMS": [CARD, PLUG, ("Started", "SignedDataReceived", "EVConnected", "token"), CHARGING],
    "TC_E_12_CSMS": [("Started", "EVDetected", None)],
    "TC_E_38_CSMS": [
        CARD,
        ("Started", "Authorized", None, "token"),
        PLUG,
        ("Updated", "CablePluggedIn", "EVConnected"),
        ("Updated", "ChargingStateChanged", "SuspendedEV"),
        CHARGING,
    ],
}


@pytest.mark.asyncio
@pytest.mark.parametrize("case", STARTS)
async def test_tc_start(site: Site, case: str) -> None:
    """Whatever opens a transaction (TxStartPoint), the first event opens exactly one and it stays open."""
    await site.attempt()
    async with connected(site, V201) as station:
        tx = Tx(station)
        for event in STARTS[case]:
            if event == CARD:
                await authorise(station)
            elif event == PLUG:
                await station.says(status("Occupied"))
            else:
                kind, trigger, state, *rest = event
                await tx.tell(kind, trigger, state, token="token" in rest)
        assert (await tx.kept(site)).ended_at is None
        async with site.store.tenant(site.tenant_id) as unit:
            assert len(await unit.sessions.open_of_station(site.station_id)) == 1


@pytest.mark.asyncio
async def test_tc_c_08_csms_cached_token(site: Site) -> None:
    """An event that carries a token must be answered with its status (TransactionEventResponse)."""
    await site.attempt()
    async with connected(site, V201) as station:
        await station.says(status("Occupied"))
        assert await Tx(station).tell("Started", "Authorized", "EVConnected", token=True) == ACCEPTED


@pytest.mark.asyncio
async def test_tc_c_02_csms_unknown_token(site: Site) -> None:
    async with connected(site, V201) as station:
        reply = await station.call("Authorize", {"idToken": STRANGER})
        assert reply == {"idTokenInfo": {"status": "Unknown"}}


@pytest.mark.asyncio
@pytest.mark.parametrize(
    "trigger",
    [pytest.param("CablePluggedIn", id="TC_C_20_CSMS"), pytest.param("Authorized", id="TC_E_16_CSMS")],
)
async def test_tc_strangers_token(site: Site, trigger: str) -> None:
    """The event is answered with what the token is worth; the station then ends by itself."""
    async with connected(site, V201) as station:
        await station.says(status("Occupied"))
        tx = Tx(station)
        reply = await tx.tell("Started", trigger, "EVConnected", idToken=STRANGER)
        assert reply == {"idTokenInfo": {"status": "Unknown"}}
        await tx.tell("Updated", "Deauthorized", "EVConnected")
        await tx.tell("Ended", "Deauthorized", "EVConnected", stopped="DeAuthorized")
        assert (await tx.kept(site)).ended_at is not None
        assert site.sink.of(EvidenceKind.SESSION_STARTED) == []


@pytest.mark.asyncio
async def test_tc_e_53_csms_sequence_numbers_begin_again(site: Site) -> None:
    await site.attempt()
    async with connected(site, V201) as station:
        for _ in range(2):
            tx = Tx(station)
            await tx.charge()
            await tx.tell("Ended", "StopAuthorized", "EVConnected", stopped="Local", token=True)
            assert (await tx.kept(site)).ended_at is not None


# --- E: how transactions end ----------------------------------------------------------------------------

UNPLUGGED = ("Updated", "EVCommunicationLost", "Idle")
SUSPENDED = ("Updated", "ChargingStateChanged", "SuspendedEV")
ENDS: dict[str, tuple[list[Event], Event, str]] = {
    "TC_E_07_CSMS": ([], ("StopAuthorized", "EVConnected"), "Local"),
    "TC_E_08_CSMS": ([], ("StopAuthorized", "EVConnected"), "Local"),
    "TC_E_14_CSMS": (
        [("Updated", "StopAuthorized", "EVConnected", "token")],
        ("EVCommunicationLost", "Idle"),
        "Local",
    ),
    "TC_E_15_CSMS": ([], ("StopAuthorized", "EVConnected"), "Local"),
    "TC_E_17_CSMS": ([], ("EVCommunicationLost", "Idle"), "EVDisconnected"),
    "TC_E_19_CSMS": (
        [("Updated", "StopAuthorized", "EVConnected", "token"), UNPLUGGED],
        ("EVDeparted", "Idle"),
        "Local",
    ),
    "TC_E_20_CSMS": ([SUSPENDED], ("EVCommunicationLost", "Idle"), "EVDisconnected"),
    "TC_E_22_CSMS": ([], ("ChargingStateChanged", "SuspendedEV"), "StoppedByEV"),
}


@pytest.mark.asyncio
@pytest.mark.parametrize("case", ENDS)
async def test_tc_end(site: Site, case: str) -> None:
    """Whatever closes a transaction (TxStopPoint), the last event closes it with the station's reason."""
    before, (trigger, state), stopped = ENDS[case]
    attempt_id = await site.attempt()
    async with connected(site, V201) as station:
        tx = Tx(station)
        await tx.charge()
        for kind, reason, new_state, *rest in before:
            await tx.tell(kind, reason, new_state, token="token" in rest)
        await tx.tell("Ended", trigger, state, stopped=stopped)
        await station.says(status("Available"))
        assert (await tx.kept(site)).ended_at is not None
        (ended,) = site.sink.of(EvidenceKind.SESSION_ENDED)
        assert (ended.attempt_id, ended.vendor_code) == (attempt_id, f"ocpp2.0.1:{stopped}")
        assert await connector_status(site) == "available"


@pytest.mark.asyncio
async def test_tc_e_26_csms_unplugged_and_plugged_again(site: Site) -> None:
    await site.attempt()
    async with connected(site, V201) as station:
        tx = Tx(station)
        await tx.charge()
        await tx.tell(*UNPLUGGED)
        await tx.tell("Updated", "CablePluggedIn", "EVConnected")
        await tx.tell(*CHARGING)
        assert (await tx.kept(site)).ended_at is None


@pytest.mark.asyncio
async def test_tc_e_39_csms_no_plug_in_time(site: Site) -> None:
    await site.attempt()
    async with connected(site, V201) as station:
        tx = Tx(station)
        await authorise(station)
        await tx.tell("Started", "Authorized", token=True)
        await tx.tell("Ended", "EVConnectTimeout", "Idle", stopped="Timeout")
        (ended,) = site.sink.of(EvidenceKind.SESSION_ENDED)
        assert ended.vendor_code == "ocpp2.0.1:Timeout"
        assert ended.energy_kwh in (None, 0.0)
