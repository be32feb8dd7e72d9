"""Known defects of OCPP servers and ways of real stations that no other test covers: docs/ocpp-defects.md."""

from __future__ import annotations

import asyncio
import base64
import json

import pytest
from websockets.asyncio.client import connect
from websockets.typing import Subprotocol

from connectors.ocpp.server import Gateway
from connectors.ocpp.wire.schemas import Json, Version
from models.commands import CommandKind, CommandOutcome
from models.evidence import EvidenceKind
from models.ids import remote_start_id_for
from models.reason_codes import ReasonCode
from tests.ocpp.case_station import connected, connector_status, order
from tests.ocpp.conftest import PASSWORD, Client, Site
from tests.ocpp.rpc_peer import Peer, quiet, until
from tests.ocpp.truth_site import (
    BEGAN,
    V2,
    V16,
    event,
    from_now,
    meter,
    minute,
    row,
    rows,
    sampled,
    says,
    start,
    stop,
    told,
)
from workers.gateway.house import OcppHouse

EVERY = [V16, *V2]
WARNINGS = """
    ConnectorLockFailure EVCommunicationError GroundFailure HighTemperature InternalError LocalListConflict
    OtherError OverCurrentFailure OverVoltage PowerMeterFailure PowerSwitchFailure ReaderFailure ResetFailure
    UnderVoltage WeakSignal
"""


async def status(client: Client, word: str, code: str = "NoError", **more: str) -> None:
    body = {"connectorId": 1, "status": word, "errorCode": code, "timestamp": from_now(), **more}
    assert await client.call("StatusNotification", body) == {}


async def unlocked(site: Site, client: Client) -> str:
    """One command of ours, answered; its message id."""
    sent = asyncio.create_task(site.gateway.send(site.command(CommandKind.UNLOCK)))
    call = await client.frame()
    await client.socket.send(json.dumps([3, call[1], {"status": "Unlocked"}]))
    assert (await sent).outcome is CommandOutcome.ACCEPTED
    return str(call[1])


# --- ids --------------------------------------------------------------------------------------------------


@pytest.mark.asyncio
async def test_a_message_id_of_ours_is_not_used_again_on_the_next_connection(site: Site) -> None:
    """2.0.1 part 4: unique for the station, over all its connections."""
    ids: list[str] = []
    for _ in range(3):
        client = await site.connect(V16)
        await client.call("Heartbeat", {})
        ids += [await unlocked(site, client) for _ in range(3)]
    assert len(set(ids)) == 9


@pytest.mark.asyncio
@pytest.mark.parametrize("version", EVERY)
async def test_a_message_id_of_the_station_may_come_again(site: Site, version: str) -> None:
    """Nothing is kept of ids: firmware that counts from 1 after each restart is served, not closed."""
    frame = json.dumps([2, "1", "Heartbeat", {}])
    for _ in range(2):
        client = await site.connect(version)
        for _ in range(50):
            assert (await client.raw(frame))[:2] == [3, "1"]


@pytest.mark.asyncio
async def test_transaction_ids_are_positive_and_fit_32_bits(site: Site) -> None:
    client = await site.connect(V16)
    numbers = [await start(client, minute(number), tag=tag) for number, tag in enumerate(("TAG1", "X", "Y"))]
    assert len(set(numbers)) == 3
    assert all(0 < number < 2**31 for number in numbers)


# --- starts -----------------------------------------------------------------------------------------------


@pytest.mark.asyncio
@pytest.mark.parametrize("version", EVERY)
async def test_a_session_that_hangs_does_not_refuse_its_token(site: Site, version: str) -> None:
    """No ConcurrentTx: the open one may be a ghost, and the answer would end the start that we asked for."""
    await site.attempt("TAG1", 2)
    client = await site.connect(version)
    token: Json = {"idToken": "TAG1", "type": "Central"}
    if version == V16:
        await start(client, from_now(), number=2)
    else:
        await says(client, event("Started", "ghost", 0, from_now(), evse={"id": 2}, idToken=token))
    attempt_id = await site.attempt("TAG1", 1)
    if version == V16:
        assert (await client.call("Authorize", {"idTag": "TAG1"}))["idTagInfo"] == {"status": "Accepted"}
        body: Json = {"connectorId": 1, "idTag": "TAG1", "meterStart": 0, "timestamp": from_now(1)}
        assert (await client.call("StartTransaction", body))["idTagInfo"] == {"status": "Accepted"}
    else:
        assert (await client.call("Authorize", {"idToken": token}))["idTokenInfo"] == {"status": "Accepted"}
        info: Json = {"remoteStartId": remote_start_id_for(attempt_id)}
        again = event("Started", "new", 0, from_now(1), info=info, idToken=token)
        assert (await client.call("TransactionEvent", again))["idTokenInfo"] == {"status": "Accepted"}
    assert [one.attempt_id for one in await rows(site)][-1] == attempt_id


@pytest.mark.asyncio
@pytest.mark.parametrize("version", V2)
async def test_no_plug_in_time_has_a_reason_of_its_own(site: Site, version: str) -> None:
    attempt_id = await site.attempt()
    client = await site.connect(version)
    info: Json = {"remoteStartId": remote_start_id_for(attempt_id), "chargingState": "Idle"}
    over: Json = {"stoppedReason": "Timeout", "chargingState": "Idle"}
    begun = event("Started", "tx", 0, from_now(), info=info)
    await says(
        client, begun, event("Ended", "tx", 1, from_now(1), triggerReason="EVConnectTimeout", info=over)
    )
    (ended,) = site.sink.of(EvidenceKind.SESSION_ENDED)
    assert (ended.attempt_id, ended.reason) == (attempt_id, ReasonCode.CONFIRM_NOT_PLUGGED)


@pytest.mark.asyncio
async def test_a_connector_that_charges_without_a_start_is_no_session_until_it_is_told(site: Site) -> None:
    attempt_id = await site.attempt()
    client = await site.connect(V16)
    began = from_now()
    await status(client, "Preparing")
    await status(client, "Charging")
    nameless: Json = {"connectorId": 1, "meterValue": [sampled(from_now(), 101_000, unit="Wh")]}
    await client.call("MeterValues", nameless)
    assert [e.kind for e in site.sink.heard.values()] == [EvidenceKind.PLUGGED_IN]
    number = await start(client, began)
    await stop(client, number, from_now(1), 102_000)
    (ended,) = site.sink.of(EvidenceKind.SESSION_ENDED)
    assert (ended.attempt_id, ended.energy_kwh) == (attempt_id, 2.0)


@pytest.mark.asyncio
async def test_a_start_is_sent_to_a_connector_that_is_finishing(site: Site) -> None:
    """Some stations take it, most want a new plug: the station's answer decides, not its status."""
    async with connected(site, Version.V16) as station:
        for answer, outcome in (("Accepted", CommandOutcome.ACCEPTED), ("Rejected", CommandOutcome.REJECTED)):
            body: Json = {"connectorId": 1, "status": "Finishing", "errorCode": "NoError"}
            await station.says(("StatusNotification", body))
            reply, _ = await order(
                site, station, CommandKind.START, "RemoteStartTransaction", {"status": answer}
            )
            assert reply.outcome is outcome


# --- states -----------------------------------------------------------------------------------------------


@pytest.mark.asyncio
async def test_every_code_beside_another_status_is_a_warning(site: Site) -> None:
    await site.attempt()
    client = await site.connect(V16)
    await start(client, from_now())
    for code in WARNINGS.split():
        await status(client, "Charging", code)
    assert site.sink.of(EvidenceKind.CONNECTOR_FAULTED) == []
    assert await connector_status(site) == "occupied"
    assert (await row(site)).ended_at is None


@pytest.mark.asyncio
async def test_a_cable_pulled_at_the_vehicle_may_leave_the_transaction_open(site: Site) -> None:
    """StopTransactionOnEVSideDisconnect=false: SuspendedEV, and the same transaction goes on when plugged."""
    attempt_id = await site.attempt()
    client = await site.connect(V16)
    number = await start(client, from_now())
    await status(client, "SuspendedEV", info="EV side disconnected")
    assert (await row(site)).ended_at is None
    assert site.sink.of(EvidenceKind.SESSION_ENDED) == site.sink.of(EvidenceKind.CONNECTOR_FAULTED) == []
    await status(client, "Charging")
    await stop(client, number, from_now(1), 104_000)
    (ended,) = site.sink.of(EvidenceKind.SESSION_ENDED)
    assert (ended.attempt_id, ended.energy_kwh) == (attempt_id, 4.0)


# --- energy -----------------------------------------------------------------------------------------------


@pytest.mark.asyncio
async def test_power_is_never_made_into_energy(site: Site) -> None:
    client = await site.connect(V16)
    number = await start(client, minute(0))
    for at in (5, 20, 50):
        value = sampled(minute(at), 50_000, measurand="Power.Active.Import", unit="W")
        await meter(client, number, value)
    await stop(client, number, minute(60), None)
    assert told(await row(site)) == (0, {"meter_stop_missing"})


@pytest.mark.asyncio
@pytest.mark.parametrize("names", [("L1", "L2", "L3"), ("L1-N", "L2-N", "L3-N")])
async def test_a_register_told_by_phase_alone_is_their_sum(site: Site, names: tuple[str, ...]) -> None:
    client = await site.connect(V16)
    number = await start(client, minute(0), meter=90_000)
    each = [{"value": "31.0", "unit": "kWh", "phase": name} for name in names]
    await meter(client, number, {"timestamp": minute(5), "sampledValue": each})
    await stop(client, number, minute(9), None)
    assert told(await row(site)) == (3_000, {"meter_stop_missing"})
    assert (await row(site)).started_at == BEGAN


# --- the wire ---------------------------------------------------------------------------------------------


@pytest.mark.asyncio
async def test_a_connection_is_not_compressed_even_where_the_station_offers_it(site: Site) -> None:
    """Its buffers would be two thirds of the memory of an idle station."""
    token = base64.b64encode(f"{site.station_id}:{PASSWORD}".encode()).decode()
    async with connect(
        site.url,
        subprotocols=[Subprotocol(V16)],
        additional_headers={"Authorization": f"Basic {token}"},
        compression="deflate",
        proxy=None,
    ) as socket:
        assert list(socket.protocol.extensions) == []
        assert "currentTime" in await Client(socket).call("Heartbeat", {})


@pytest.mark.asyncio
async def test_a_station_that_does_not_read_its_answers_is_not_read_either() -> None:
    """What waits to be sent is bounded: the line is full, so the station's next frames stay in its socket."""
    peer, taken = Peer(), list[int]()
    peer.clear.clear()

    async def read() -> None:
        for number in range(200):
            await peer.say(2, str(number), "Heartbeat", {})
            taken.append(number)

    reader = asyncio.create_task(read())
    await until(lambda: len(taken) >= 64)
    await quiet()
    assert (len(taken) <= 65, len(peer.handled), peer.frames) == (True, 1, [])
    peer.clear.set()
    assert [(await peer.heard())[1] for _ in range(200)] == [str(number) for number in range(200)]
    await reader


def test_schemas_are_compiled_before_the_first_station_comes(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiled: list[Version] = []
    monkeypatch.setattr("connectors.ocpp.server.schemas_of", compiled.append)
    Gateway(OcppHouse(site.store, "backstop-ocpp-test", site.sink), 0.0)
    assert compiled == list(Version)


@pytest.mark.asyncio
@pytest.mark.parametrize("version", [Version.V201, Version.V21])
async def test_external_constraints_are_not_ours_to_set(site: Site, version: Version) -> None:
    schedule: Json = {
        "id": 1,
        "chargingRateUnit": "A",
        "startSchedule": minute(0),
        "chargingSchedulePeriod": [{"startPeriod": 0, "limit": 10}],
    }
    profile: Json = {
        "id": 1,
        "stackLevel": 0,
        "chargingProfilePurpose": "ChargingStationExternalConstraints",
        "chargingProfileKind": "Absolute",
        "chargingSchedule": [schedule],
    }
    async with connected(site, version) as station:
        payload: Json = {"evseId": 0, "chargingProfile": profile}
        reply = await site.gateway.request(site.station_id, "SetChargingProfile", payload, 2.0)
        assert (reply.outcome, reply.error_code) == (CommandOutcome.REJECTED, "NotSupported")
        assert station.asked == station.unasked == []


@pytest.mark.asyncio
@pytest.mark.parametrize("version", V2)
@pytest.mark.parametrize(
    ("trigger", "flows", "reason"),
    [
        ("Deauthorized", False, ReasonCode.CONFIRM_DEAUTHORISED),
        ("Deauthorized", True, ReasonCode.SUSTAIN_DEAUTHORISED),
        ("EVConnectTimeout", False, ReasonCode.CONFIRM_NOT_PLUGGED),
    ],
)
async def test_a_transaction_that_will_never_charge_is_told_to_its_stop(
    site: Site, version: str, trigger: str, flows: bool, reason: ReasonCode
) -> None:
    """It ends when the vehicle leaves the bay: the stop must not wait for that."""
    attempt_id = await site.attempt()
    client = await site.connect(version)
    info = {"remoteStartId": remote_start_id_for(attempt_id)}
    await client.call("TransactionEvent", event("Started", "T", 0, from_now(), 0, info=info))
    if flows:
        await client.call("TransactionEvent", event("Updated", "T", 1, from_now(1), 5_000))
    assert site.sink.of(EvidenceKind.SESSION_INVALID) == []
    told_so = event("Updated", "T", 2, from_now(2), triggerReason=trigger)
    for _ in range(2):
        await client.call("TransactionEvent", told_so)
    (heard,) = site.sink.of(EvidenceKind.SESSION_INVALID)
    assert (heard.attempt_id, heard.reason) == (attempt_id, reason)
    assert heard.vendor_code == f"ocpp2.0.1:{trigger}"
    assert (await row(site)).ended_at is None
