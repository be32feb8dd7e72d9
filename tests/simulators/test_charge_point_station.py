"""The simulated charge point against a central system of the test's own: what it says, keeps and obeys."""

from __future__ import annotations

from typing import Any

import pytest
from central_system import PASSWORD, VAN, VERSIONS, CentralSystem, at_central, central_system, site_of

Json = dict[str, Any]
V2 = VERSIONS[1:]


def sample(sampled: list[Json], measurand: str) -> float:
    return next(float(s["value"]) for s in sampled if s.get("measurand") == measurand)


@pytest.mark.asyncio
@pytest.mark.parametrize("version", VERSIONS)
async def test_a_charge_from_boot_to_stop_fits_the_schemas(version: str) -> None:
    async with site_of(version) as site:
        await site.charge()
        sampled = (await site.until_metered(2))[-1]
        assert sample(sampled, "Power.Active.Import") in (50, 50_000)
        assert sample(sampled, "Power.Offered") in (50, 50_000)
        assert sample(sampled, "Current.Offered") == pytest.approx(125)
        await site.stop()
        ended = await site.until_ended()
        site.connector.unplug()
        await site.central.until(
            lambda: site.connector.status == "Available" and not len(site.station.outbox)
        )
        assert site.central.invalid == []
        assert [action for action, _ in site.central.heard][:2] == ["BootNotification", "StatusNotification"]
        booked = site.booked("session_ended")[0].energy_kwh
        assert booked is not None
        if version == "ocpp1.6":
            started = site.central.of("StartTransaction")[0]
            assert (ended["transactionId"], ended["reason"]) == (101, "Remote")
            assert ended["meterStop"] - started["meterStart"] == pytest.approx(booked * 1000, abs=1)
        else:
            events = site.central.events()
            assert [e["seqNo"] for e in events] == list(range(len(events)))
            assert events[0]["transactionInfo"]["remoteStartId"] == 77
            assert ended["transactionInfo"]["stoppedReason"] == "Remote"


@pytest.mark.asyncio
async def test_21_streams_power_as_unconfirmed_sends() -> None:
    async with site_of("ocpp2.1", streams_power=True) as site:
        await site.charge()
        await site.central.until(lambda: len(site.central.frames) >= 2)
        opened = site.central.of("OpenPeriodicEventStream")[0]["constantStreamData"]
        kinds = {(frame[0], frame[2], frame[3]["id"]) for frame in site.central.frames}
        assert kinds == {(6, "NotifyPeriodicEventStream", opened["id"])}
        await site.stop()
        await site.central.until_heard("ClosePeriodicEventStream")
        assert site.central.invalid == []


@pytest.mark.asyncio
async def test_21_answers_a_wrong_result_with_callresulterror_and_says_it_again() -> None:
    async with site_of("ocpp2.1") as site:
        wrong: list[Json] = [{"nonsense": True}]
        site.central.replies["TransactionEvent"] = lambda body: wrong.pop() if wrong else {}
        await site.charge()
        kind, _, code, _, details = site.central.frames[0]
        assert (kind, code, details) == (5, "FormatViolation", {})
        assert [e["seqNo"] for e in site.central.events()][:3] == [0, 0, 1]


# --- outage and queue -----------------------------------------------------------------------------------


@pytest.mark.asyncio
@pytest.mark.parametrize("version", V2)
async def test_after_an_outage_events_are_replayed_as_offline_without_boot(version: str) -> None:
    async with site_of(version) as site:
        await site.charge()
        seen = len(site.central.heard)
        site.station.drop(1.0)
        await site.central.until(lambda: len(site.station.outbox) >= 2)
        await site.central.until(lambda: site.central.heard[seen:] and not len(site.station.outbox))
        assert "BootNotification" not in [action for action, _ in site.central.heard[seen:]]
        replayed = [e for e in site.central.events() if e.get("offline")]
        assert len(replayed) >= 2
        numbers = [e["seqNo"] for e in site.central.events()]
        assert numbers == list(range(len(numbers)))
        assert site.central.invalid == []


@pytest.mark.asyncio
async def test_a_16_start_made_offline_gives_its_number_to_what_follows() -> None:
    async with site_of("ocpp1.6") as site:
        site.connector.plug(VAN)
        assert await site.start() == "Accepted"
        site.station.drop(1.5)
        await site.central.until(lambda: len(site.station.outbox) >= 3)
        assert site.central.of("StartTransaction") == []
        site.connector.stop("Local")
        await site.until_ended()
        spoken = [action for action, _ in site.central.heard if "Transaction" in action or "Meter" in action]
        assert (spoken[0], spoken[-1]) == ("StartTransaction", "StopTransaction")
        about = site.central.of("MeterValues") + site.central.of("StopTransaction")
        assert {body["transactionId"] for body in about} == {101}


@pytest.mark.asyncio
@pytest.mark.parametrize("version", VERSIONS)
async def test_a_message_refused_to_the_last_attempt_is_lost_and_booked(version: str) -> None:
    async with site_of(version, message_attempts=3) as site:
        await site.charge()
        action = "StopTransaction" if version == "ocpp1.6" else "TransactionEvent"

        def refuse(body: Json) -> Json | str:
            return "InternalError" if body.get("eventType", "Ended") == "Ended" else {}

        site.central.replies[action] = refuse
        await site.stop()
        lost = (await site.central.until(lambda: site.booked("message_lost")))[0]
        assert (lost.result, lost.charger_id) == (action, "CP1:1")
        refused = [body for body in site.central.of(action) if body.get("eventType", "Ended") == "Ended"]
        assert len(refused) == 3
        assert refused[0] == refused[1] == refused[2]
        site.central.replies.clear()
        site.connector.unplug()
        await site.central.until(lambda: not len(site.station.outbox))
        assert len([b for b in site.central.of(action) if b.get("eventType", "Ended") == "Ended"]) == 3


@pytest.mark.asyncio
async def test_the_number_of_attempts_follows_the_configuration_and_others_overtake() -> None:
    async with site_of("ocpp1.6") as site:
        for key, value in (("TransactionMessageAttempts", "2"), ("TransactionMessageRetryInterval", "1")):
            reply = await site.central.call("ChangeConfiguration", {"key": key, "value": value})
            assert reply == {"status": "Accepted"}
        site.central.replies["StartTransaction"] = lambda body: "InternalError"
        site.connector.plug(VAN)
        await site.start()
        await site.central.until(lambda: site.booked("message_lost"))
        order = [action for action, _ in site.central.heard]
        first, second = (i for i, action in enumerate(order) if action == "StartTransaction")
        assert "StatusNotification" in order[first:second]
        assert "MeterValues" not in order[first:second]


# --- passwords ------------------------------------------------------------------------------------------


@pytest.mark.asyncio
@pytest.mark.parametrize("version", VERSIONS)
async def test_a_changed_password_is_used_at_the_next_connection(version: str, tmp_path: Any) -> None:
    new = bytes(range(0xE0, 0xF4)) if version == "ocpp1.6" else b"another-password-16"
    async with central_system(version) as central:
        async with at_central(central, state_dir=str(tmp_path)) as site:
            await change_password(central, new)
            site.station.drop(0)
            await central.until(lambda: len(central.passwords) == 2)
        async with at_central(central, state_dir=str(tmp_path)):
            assert central.passwords == [PASSWORD.encode(), new, new]


async def change_password(central: CentralSystem, new: bytes) -> None:
    if central.version == "ocpp1.6":
        body: Json = {"key": "AuthorizationKey", "value": new.hex()}
        assert await central.call("ChangeConfiguration", body) == {"status": "Accepted"}
        return
    place = {"component": {"name": "SecurityCtrlr"}, "variable": {"name": "BasicAuthPassword"}}
    body = {"setVariableData": [{**place, "attributeValue": new.decode()}]}
    result = (await central.call("SetVariables", body))["setVariableResult"][0]
    assert result["attributeStatus"] == "Accepted"


# --- the device -----------------------------------------------------------------------------------------


@pytest.mark.asyncio
@pytest.mark.parametrize("version", VERSIONS)
async def test_power_obeys_a_charging_profile_and_says_so(version: str) -> None:
    async with site_of(version) as site:
        await site.charge()
        await set_limit(site.central, 11_000)

        def limited() -> bool:
            return site.connector.state().power_kw == pytest.approx(11)

        await site.central.until(limited)
        seen = len(await site.until_metered())
        sampled = (await site.until_metered(seen + 2))[-1]
        assert sample(sampled, "Power.Active.Import") in (11, 11_000)
        assert sample(sampled, "Power.Offered") in (11, 11_000)
        assert sample(sampled, "Current.Offered") == pytest.approx(27.5)
        await set_limit(site.central, 0)
        await site.central.until(lambda: site.connector.status == "SuspendedEVSE")
        assert site.connector.state().power_kw == 0
        await site.central.until(lambda: not len(site.station.outbox))
        assert site.central.invalid == []
        if version == "ocpp1.6":
            assert site.central.of("StatusNotification")[-1]["status"] == "SuspendedEVSE"
        else:
            states = [e["transactionInfo"]["chargingState"] for e in site.central.events()]
            assert "SuspendedEVSE" in states


@pytest.mark.asyncio
async def test_the_quirk_that_ends_a_transaction_at_zero() -> None:
    async with site_of("ocpp1.6", quirks=["ends_at_zero"]) as site:
        await site.charge()
        await set_limit(site.central, 0)
        assert (await site.until_ended())["reason"] == "Other"


async def set_limit(central: CentralSystem, watts: float) -> None:
    schedule: Json = {
        "chargingRateUnit": "W",
        "chargingSchedulePeriod": [{"startPeriod": 0, "limit": watts}],
    }
    profile: Json = {
        "stackLevel": 0,
        "chargingProfilePurpose": "TxDefaultProfile",
        "chargingProfileKind": "Absolute",
    }
    if central.version == "ocpp1.6":
        profile |= {"chargingProfileId": 1, "chargingSchedule": schedule}
        body: Json = {"connectorId": 1, "csChargingProfiles": profile}
    else:
        start = "2026-01-01T00:00:00Z"
        profile |= {"id": 1, "chargingSchedule": [{"id": 1, "startSchedule": start, **schedule}]}
        body = {"evseId": 1, "chargingProfile": profile}
    assert (await central.call("SetChargingProfile", body))["status"] == "Accepted"


@pytest.mark.asyncio
@pytest.mark.parametrize("version", VERSIONS)
async def test_a_reset_ends_the_charge_and_boots(version: str) -> None:
    async with site_of(version) as site:
        await site.charge()
        kind = "Hard" if version == "ocpp1.6" else "Immediate"
        assert (await site.central.call("Reset", {"type": kind}))["status"] == "Accepted"
        boots = await site.central.until_heard("BootNotification", 2)
        ended = await site.until_ended()
        if version == "ocpp1.6":
            assert ended["reason"] == "HardReset"
        else:
            assert boots[1]["reason"] == "RemoteReset"
            assert ended["transactionInfo"]["stoppedReason"] == "ImmediateReset"


@pytest.mark.asyncio
@pytest.mark.parametrize("version", VERSIONS)
async def test_what_is_triggered_is_said_after_the_answer(version: str) -> None:
    async with site_of(version) as site:
        for message in ("BootNotification", "Heartbeat", "MeterValues", "StatusNotification"):
            before = len(site.central.of(message))
            site.central.order.clear()
            reply = await site.central.call("TriggerMessage", {"requestedMessage": message})
            assert reply == {"status": "Accepted"}
            await site.central.until_heard(message, before + 1)
            assert site.central.order[:2] == ["reply", message]
        assert site.central.invalid == []


@pytest.mark.asyncio
@pytest.mark.parametrize("version", VERSIONS)
async def test_an_inoperative_connector_says_so_and_refuses_starts(version: str) -> None:
    async with site_of(version) as site:
        if version == "ocpp1.6":
            body: Json = {"connectorId": 1, "type": "Inoperative"}
        else:
            body = {"evse": {"id": 1}, "operationalStatus": "Inoperative"}
        assert (await site.central.call("ChangeAvailability", body))["status"] == "Accepted"
        await site.central.until_heard("StatusNotification", 2)
        told = site.central.of("StatusNotification")[-1]
        assert "Unavailable" in (told.get("status"), told.get("connectorStatus"))
        assert await site.start() == "Rejected"


@pytest.mark.asyncio
@pytest.mark.parametrize("version", VERSIONS)
async def test_a_reserved_connector_takes_only_its_token_and_names_the_reservation(version: str) -> None:
    async with site_of(version) as site:
        expiry = "2099-01-01T00:00:00Z"
        for number, token in ((1, "OTHER"), (2, "TAG1")):
            if version == "ocpp1.6":
                body: Json = {"connectorId": 1, "idTag": token, "reservationId": number, "expiryDate": expiry}
            else:
                named = {"idToken": token, "type": "Central"}
                body = {"id": number, "evseId": 1, "idToken": named, "expiryDateTime": expiry}
            assert (await site.central.call("ReserveNow", body))["status"] == "Accepted"
            if token == "OTHER":
                assert await site.start() == "Rejected"
                await site.central.call("CancelReservation", {"reservationId": number})
        await site.charge()
        begin = (site.central.of("StartTransaction") + site.central.events("Started"))[0]
        assert begin["reservationId"] == 2
        if version != "ocpp1.6":
            reply = await site.central.call("TriggerMessage", {"requestedMessage": "TransactionEvent"})
            assert reply == {"status": "Accepted"}
            await site.central.until(
                lambda: [e for e in site.central.events() if e["triggerReason"] == "Trigger"]
            )
        assert site.central.invalid == []


@pytest.mark.asyncio
async def test_malformed_frames_do_not_end_the_connection() -> None:
    async with site_of("ocpp2.0.1") as site:
        assert site.central.socket is not None
        for raw in ("{", "[]", "[2]", '[2,"1"]', "[3]", "7"):
            await site.central.socket.send(raw)
        await site.charge()
        assert len(site.central.passwords) == 1
        assert site.central.refusals == ["RpcFrameworkError"] * 6


@pytest.mark.asyncio
async def test_unknown_commands_and_unfit_payloads_are_refused_and_the_connection_lives() -> None:
    async with site_of("ocpp2.0.1") as site:
        assert await site.central.call("PublishFirmware", publish()) == "NotImplemented"
        token = {"idToken": "TAG1", "type": "Central"}
        body: Json = {"evseId": 9, "idToken": token, "remoteStartId": 1}
        assert (await site.central.call("RequestStartTransaction", body))["status"] == "Rejected"
        assert len(site.central.passwords) == 1


def publish() -> Json:
    return {"location": "https://files.example/fw", "checksum": "0" * 32, "requestId": 1}


@pytest.mark.asyncio
async def test_a_station_that_is_not_accepted_says_nothing_but_boot() -> None:
    async with central_system("ocpp1.6") as central:
        answers = ["Rejected", "Pending"]
        now = "2026-01-01T00:00:00Z"
        central.replies["BootNotification"] = lambda body: {
            "status": answers.pop() if answers else "Accepted", "currentTime": now, "interval": 0
        }  # fmt: skip
        async with at_central(central):
            await central.until_heard("StatusNotification")
            spoken = [action for action, _ in central.heard]
            assert spoken == ["BootNotification"] * 3 + ["StatusNotification"]
