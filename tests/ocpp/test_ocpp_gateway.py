"""The gateway over real websockets: who may connect, what counts, what is answered."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus

from connectors.ocpp.vendor_fields import VendorFields
from models.commands import CommandKind, CommandOutcome
from models.evidence import EvidenceKind
from models.ids import remote_start_id_for
from models.reason_codes import ReasonCode
from tests.ocpp.conftest import Client, Site
from workers.gateway.house import OcppHouse

V16, V201 = "ocpp1.6", "ocpp2.0.1"


def at(seconds: float = 0) -> str:
    return (datetime.now(UTC) + timedelta(seconds=seconds)).isoformat().replace("+00:00", "Z")


async def start_16(client: Client, tag: str = "TAG1", meter: int = 5000, when: str | None = None) -> int:
    body = {"connectorId": 1, "idTag": tag, "meterStart": meter, "timestamp": when or at()}
    return int((await client.call("StartTransaction", body))["transactionId"])


@pytest.mark.asyncio
async def test_unknown_station_and_wrong_password_get_the_same_answer(site: Site) -> None:
    answers = []
    for password, user, station in (
        ("wrong", None, site.station_id),
        ("wrong", "nobody", "nobody"),
        ("a-station-password-16+", "somebody-else", site.station_id),
    ):
        url = site.url.replace(site.station_id, station)
        with pytest.raises(InvalidStatus) as refused:
            await site.connect(V16, password=password, user=user, url=url)
        response = refused.value.response
        answers.append((response.status_code, response.body, response.headers.get("WWW-Authenticate")))
    assert answers == [answers[0]] * 3
    assert answers[0][0] == 401


@pytest.mark.asyncio
async def test_the_clients_order_chooses_the_version(site: Site) -> None:
    first = await site.connect(V201, V16)
    assert first.socket.subprotocol == V201
    second = await site.connect(V16, V201)
    assert second.socket.subprotocol == V16
    none = await site.connect("ocpp9.9")
    with pytest.raises(ConnectionClosed) as closed:
        await none.frame()
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 1002


@pytest.mark.asyncio
async def test_a_newcomer_replaces_and_the_old_close_takes_nothing_away(site: Site) -> None:
    old = await site.connect(V16)
    await old.call("BootNotification", {"chargePointVendor": "V", "chargePointModel": "M"})
    new = await site.connect(V16)
    await new.call("Heartbeat", {})
    async with site.store.platform() as unit:
        held = await unit.find_route(site.station_id)
    await old.socket.close()
    await new.call("Heartbeat", {})
    async with site.store.platform() as unit:
        still = await unit.find_route(site.station_id)
    assert held is not None
    assert still is not None
    assert still.generation == held.generation
    sent = asyncio.create_task(site.gateway.send(site.command(CommandKind.UNLOCK)))
    call = await new.frame()
    await new.socket.send(json.dumps([3, call[1], {"status": "Unlocked"}]))
    assert (await sent).outcome is CommandOutcome.ACCEPTED


@pytest.mark.asyncio
async def test_a_start_told_twice_is_one_transaction(site: Site) -> None:
    attempt_id = await site.attempt()
    client = await site.connect(V16)
    when = at()
    first = await start_16(client, when=when)
    assert first > 0
    assert await start_16(client, when=when) == first
    (started,) = await site.sink.until(EvidenceKind.SESSION_STARTED)
    assert (started.attempt_id, started.session_ref) == (attempt_id, str(first))


@pytest.mark.asyncio
async def test_energy_of_a_16_session_in_any_unit(site: Site) -> None:
    await site.attempt()
    client = await site.connect(V16)
    number = await start_16(client, meter=5000)
    for value, unit in (("6000", "Wh"), ("7.5", "kWh"), ("8000", None), ("", "Wh")):
        sample: dict[str, Any] = {"value": value} if unit is None else {"value": value, "unit": unit}
        values = [{"timestamp": at(), "sampledValue": [sample]}]
        await client.call("MeterValues", {"connectorId": 1, "transactionId": number, "meterValue": values})
    told = site.sink.of(EvidenceKind.ENERGY_FLOWING) + site.sink.of(EvidenceKind.METER)
    assert [evidence.energy_kwh for evidence in told] == [1.0, 2.5, 3.0]
    body = {"transactionId": number, "meterStop": 9000, "timestamp": at(), "reason": "EVDisconnected"}
    for _ in range(2):
        await client.call("StopTransaction", body)
    (ended,) = site.sink.of(EvidenceKind.SESSION_ENDED)
    assert (ended.energy_kwh, ended.reason) == (4.0, ReasonCode.SUSTAIN_UNPLUGGED_EARLY)


@pytest.mark.asyncio
async def test_unknown_and_nameless_stops_are_answered(site: Site) -> None:
    await site.attempt()
    client = await site.connect(V16)
    unknown = {"transactionId": 999_999_999, "meterStop": 1, "timestamp": at()}
    assert await client.call("StopTransaction", unknown) == {}
    tagged = await client.call("StopTransaction", {**unknown, "idTag": "TAG1"})
    assert tagged == {"idTagInfo": {"status": "Accepted"}}
    await start_16(client, meter=100)
    nameless = {"transactionId": -1, "meterStop": 1100, "timestamp": at(), "reason": "Remote"}
    await client.call("StopTransaction", nameless)
    (ended,) = site.sink.of(EvidenceKind.SESSION_ENDED)
    assert ended.energy_kwh == 1.0


@pytest.mark.asyncio
async def test_sessions_of_others_are_kept_and_told_to_nobody(site: Site) -> None:
    client = await site.connect(V16)
    number = await start_16(client, tag="STRANGER")
    await client.call("StopTransaction", {"transactionId": number, "meterStop": 9000, "timestamp": at()})
    assert site.sink.heard == {}


def event_201(kind: str, reference: str, **changes: Any) -> dict[str, Any]:
    return {
        "eventType": kind,
        "timestamp": at(),
        "triggerReason": "RemoteStart" if kind == "Started" else "ChargingStateChanged",
        "seqNo": 0,
        "transactionInfo": {"transactionId": reference, **changes.pop("info", {})},
        "evse": {"id": 1, "connectorId": 1},
        **changes,
    }


def meter_201(wh: float) -> list[dict[str, Any]]:
    sample = {"value": wh, "measurand": "Energy.Active.Import.Register", "unitOfMeasure": {"unit": "Wh"}}
    return [{"timestamp": at(), "sampledValue": [sample]}]


@pytest.mark.asyncio
async def test_an_event_that_overtakes_its_start_books_the_right_energy(site: Site) -> None:
    """Was a bug: the register's total (101.3 kWh) was booked, because the start was not known yet."""
    attempt_id = await site.attempt()
    client = await site.connect(V201)
    info = {"remoteStartId": remote_start_id_for(attempt_id)}
    await client.call("TransactionEvent", event_201("Updated", "tx1", info=info))
    await client.call(
        "TransactionEvent", event_201("Started", "tx1", info=info, meterValue=meter_201(100_000))
    )
    await client.call(
        "TransactionEvent", event_201("Started", "tx1", info=info, meterValue=meter_201(100_000))
    )
    ended = event_201("Ended", "tx1", info={"stoppedReason": "EVDisconnected"}, meterValue=meter_201(103_900))
    for _ in range(2):
        await client.call("TransactionEvent", ended)
    (told,) = site.sink.of(EvidenceKind.SESSION_ENDED)
    assert told.energy_kwh == pytest.approx(3.9)
    assert told.attempt_id == attempt_id
    assert len(site.sink.of(EvidenceKind.SESSION_STARTED)) == 1
    before = len(site.sink.heard)
    late = event_201("Updated", "tx1", meterValue=meter_201(104_000))
    await client.call("TransactionEvent", late)
    assert len(site.sink.heard) == before, "what comes after the end says nothing new"


@pytest.mark.asyncio
async def test_a_fault_carries_its_code_and_the_vendors_words(site: Site) -> None:
    attempt_id = await site.attempt()
    client = await site.connect(V16)
    await start_16(client)
    body = {
        "connectorId": 1,
        "errorCode": "OtherError",
        "status": "Faulted",
        "timestamp": at(),
        "vendorId": "https://chargex.inl.gov",
        "vendorErrorCode": "CX002",
    }
    await client.call("StatusNotification", body)
    (fault,) = site.sink.of(EvidenceKind.CONNECTOR_FAULTED)
    assert (fault.attempt_id, fault.reason) == (attempt_id, ReasonCode.SUSTAIN_EVSE_FAULT)
    assert "CX002" in fault.vendor_code


@pytest.mark.asyncio
async def test_replies_to_commands_say_what_the_station_said(site: Site) -> None:
    nobody = await site.gateway.send(site.command(CommandKind.START))
    assert (nobody.outcome, nobody.reason) == (CommandOutcome.UNREACHABLE, ReasonCode.START_OFFLINE)
    client = await site.connect(V16)
    await client.call("BootNotification", {"chargePointVendor": "V", "chargePointModel": "M"})
    answers: list[tuple[list[Any], CommandOutcome]] = [
        ([3, None, {"status": "Accepted"}], CommandOutcome.ACCEPTED),
        ([3, None, {"status": "Rejected"}], CommandOutcome.REJECTED),
        ([4, None, "InternalError", "no", {}], CommandOutcome.REJECTED),
        ([3, None, {"status": "Perhaps"}], CommandOutcome.UNCERTAIN),
    ]
    for answer, outcome in answers:
        sent = asyncio.create_task(site.gateway.send(site.command(CommandKind.START)))
        call = await client.frame()
        assert (call[2], call[3]) == ("RemoteStartTransaction", {"idTag": "TAG1", "connectorId": 1})
        await client.socket.send(json.dumps([answer[0], call[1], *answer[2:]]))
        assert (await sent).outcome is outcome
    silent = await site.gateway.send(site.command(CommandKind.START, timeout_s=0.2))
    assert (silent.outcome, silent.reason) == (CommandOutcome.UNCERTAIN, ReasonCode.START_TIMEOUT)
    unanswered = await client.frame()
    await client.socket.send(json.dumps([3, unanswered[1], {"status": "Accepted"}]))
    await client.call("Heartbeat", {})
    stop = await site.gateway.send(site.command(CommandKind.STOP))
    assert (stop.outcome, stop.reason) == (CommandOutcome.REJECTED, ReasonCode.STOP_REJECTED)


HOSTILE: list[tuple[str | bytes, str | None, str | None]] = [
    ("not json", "FormationViolation", "RpcFrameworkError"),
    ("{}", "FormationViolation", "RpcFrameworkError"),
    ("[" * 100_000, "FormationViolation", "RpcFrameworkError"),
    ("[]", "FormationViolation", "RpcFrameworkError"),
    ('[2, 17, "Heartbeat", {}]', "FormationViolation", "RpcFrameworkError"),
    ('["2", "a", "Heartbeat", {}]', "FormationViolation", "RpcFrameworkError"),
    ('[2, "a", "Heartbeat"]', "FormationViolation", "RpcFrameworkError"),
    ('[2, "a", {}, {}]', "FormationViolation", "RpcFrameworkError"),
    ('[2, "a", ["Heartbeat"], {}]', "FormationViolation", "RpcFrameworkError"),
    ('[2, "a", "Heartbeat", []]', "FormationViolation", "RpcFrameworkError"),
    ('[2, "' + "x" * 10_000 + '", "Heartbeat", {}]', "FormationViolation", "RpcFrameworkError"),
    (b"\x00\x01binary", "FormationViolation", "RpcFrameworkError"),
    ('[2, "a", "NoSuchAction", {}]', "NotImplemented", "NotImplemented"),
    ('[2, "a", "StatusNotification", {}]', "OccurenceConstraintViolation", "OccurrenceConstraintViolation"),
    ('[2, "a", "BootNotification", {"chargePointVendor": 1, "chargePointModel": "M"}]', None, None),
]


@pytest.mark.asyncio
@pytest.mark.parametrize("version", [V16, V201])
async def test_hostile_frames_get_one_error_and_the_loop_lives(site: Site, version: str) -> None:
    client = await site.connect(version)
    for frame, code_16, code_201 in HOSTILE:
        answer = await client.raw(frame)
        assert answer[0] == 4, frame[:60]
        expected = code_16 if version == V16 else code_201
        if expected is not None:
            assert answer[2] == expected, frame[:60]
        assert len(json.dumps(answer)) < 300
        assert "currentTime" in await client.call("Heartbeat", {})


@pytest.mark.asyncio
async def test_vendor_fields_are_passed_over(site: Site) -> None:
    client = await site.connect(V16)
    body = {"chargePointVendor": "V", "chargePointModel": "M", "vendorExtra": {"deep": [1, 2]}}
    assert (await client.call("BootNotification", body))["status"] == "Accepted"


@pytest.mark.asyncio
async def test_vendor_fields_are_kept_with_an_example_and_counted_per_model(site: Site) -> None:
    client = await site.connect(V16)
    body = {"chargePointVendor": "V", "chargePointModel": "M"}
    await client.call("BootNotification", body)
    status = {"connectorId": 1, "errorCode": "NoError", "status": "Available"}
    extra = {"vendorTemp": {"inlet": 41}, "password": "a-secret", "bad\u0000name": [1]}
    for _ in range(3):
        await client.call("StatusNotification", {**status, **extra})
    house = site.gateway._house  # pyright: ignore[reportPrivateUsage]
    assert isinstance(house, OcppHouse)
    seen = site.gateway.vendor_fields.take()
    site.gateway.vendor_fields.put_back(seen)
    assert site.gateway.vendor_fields.take() == seen
    await house.count_fields(seen)
    await house.count_fields(seen)
    async with site.store.tenant(site.tenant_id) as unit:
        fields = await unit.stations.vendor_fields(10)
    assert {(f.model, f.action, f.field, f.messages, f.example) for f in fields} == {
        ("V M", "StatusNotification", "vendorTemp", 6, '{"inlet":41}'),
        ("V M", "StatusNotification", "password", 6, '"***"'),
        ("V M", "StatusNotification", "bad\ufffdname", 6, "[1]"),
    }


def test_names_that_a_station_makes_up_fill_no_memory() -> None:
    fields = VendorFields()
    for number in range(12_000):
        fields.count("t", "M", "Heartbeat", f"f{number}", 1)
    fields.count("t", "M", "Heartbeat", "f1", 2)
    taken = fields.take()
    assert len(taken) == 10_000
    assert taken[1].messages == 2
    assert fields.take() == []
