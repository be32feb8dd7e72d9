"""OCPP 2.0.1 CSMS cases of part 6 (docs/ocpp-cases.md): charging profiles, display messages, cost."""

from __future__ import annotations

from typing import Any

import pytest

from connectors.ocpp.wire.schemas import Json, Version
from tests.ocpp.case_station import Ask, Say, at, command, command_refused, connected, play
from tests.ocpp.conftest import Site
from tests.ocpp.test_cases_2x import Tx

V201 = Version.V201
YES = {"status": "Accepted"}
NOW, SOON, LATER = at(), at(60), at(3600)


# --- K: charging profiles -------------------------------------------------------------------------------


def profile(purpose: str, number: int = 1, kind: str = "Absolute", **more: Any) -> Json:
    schedule: Json = {
        "id": number,
        "chargingRateUnit": "A",
        "duration": 900,
        "chargingSchedulePeriod": [{"startPeriod": 0, "limit": 10.0, "numberPhases": 3}],
    }
    if kind != "Relative":
        schedule["startSchedule"] = NOW
    return {
        "id": number,
        "stackLevel": 0,
        "chargingProfilePurpose": purpose,
        "chargingProfileKind": kind,
        "chargingSchedule": [schedule],
        **more,
    }


def put(evse_id: int, body: Json, answer: str = "Accepted") -> Ask:
    return Ask("SetChargingProfile", {"evseId": evse_id, "chargingProfile": body}, {"status": answer})


def clear(answer: str = "Accepted", **asked: Any) -> Ask:
    return Ask("ClearChargingProfile", asked, {"status": answer})


def listed(criteria: Json, *, source: str = "CSO", body: Json | None = None, **where: int) -> list[Ask | Say]:
    asked = Ask("GetChargingProfiles", {"requestId": 8, "chargingProfile": criteria, **where}, YES)
    one = body or profile("TxDefaultProfile")
    told = {"requestId": 8, "evseId": where.get("evseId", 1), "chargingLimitSource": source, "tbc": False}
    return [asked, Say("ReportChargingProfiles", {**told, "chargingProfile": [one]})]


def composite(evse_id: int) -> Ask:
    schedule = {
        "evseId": evse_id,
        "duration": 300,
        "scheduleStart": NOW,
        "chargingRateUnit": "A",
        "chargingSchedulePeriod": [{"startPeriod": 0, "limit": 10.0}],
    }
    asked = {"evseId": evse_id, "duration": 300, "chargingRateUnit": "A"}
    return Ask("GetCompositeSchedule", asked, {"status": "Accepted", "schedule": schedule})


DEFAULT, MAXIMUM = "TxDefaultProfile", "ChargingStationMaxProfile"
PURPOSE, LEVEL = {"chargingProfilePurpose": DEFAULT}, {"stackLevel": 0}
CRITERIA = {**PURPOSE, **LEVEL, "evseId": 1}
OUTSIDE = profile("ChargingStationExternalConstraints")
PROFILES: dict[str, list[Ask | Say]] = {
    "TC_K_01_CSMS": [put(1, profile(DEFAULT))],
    "TC_K_02_CSMS": [put(1, profile("TxProfile", kind="Relative", transactionId="none"), "Rejected")],
    "TC_K_03_CSMS": [put(0, profile(MAXIMUM))],
    "TC_K_04_CSMS": [put(1, profile(DEFAULT)), put(1, profile(DEFAULT, validTo=LATER))],
    "TC_K_05_CSMS": [put(1, profile(DEFAULT)), clear(chargingProfileId=1)],
    "TC_K_06_CSMS": [put(1, profile(DEFAULT)), clear(chargingProfileCriteria=CRITERIA)],
    "TC_K_08_CSMS": [clear("Unknown", chargingProfileCriteria=CRITERIA)],
    "TC_K_10_CSMS": [put(0, profile(DEFAULT))],
    "TC_K_19_CSMS": [put(1, profile(DEFAULT, kind="Recurring", recurrencyKind="Daily"))],
    "TC_K_29_CSMS": listed({"chargingProfilePurpose": MAXIMUM}, body=profile(MAXIMUM), evseId=0),
    "TC_K_30_CSMS": listed(PURPOSE, evseId=1),
    "TC_K_31_CSMS": listed(PURPOSE),
    "TC_K_32_CSMS": listed({"chargingProfileId": [1]}),
    "TC_K_33_CSMS": listed(LEVEL, evseId=1),
    "TC_K_34_CSMS": listed({"chargingLimitSource": ["CSO"]}, evseId=1),
    "TC_K_35_CSMS": listed(PURPOSE, evseId=1),
    "TC_K_36_CSMS": listed({**PURPOSE, **LEVEL}, evseId=1),
    "TC_K_43_CSMS": [composite(1)],
    "TC_K_44_CSMS": [composite(0)],
    "TC_K_52_CSMS": [
        Say(
            "NotifyChargingLimit",
            {
                "evseId": 1,
                "chargingLimit": {"chargingLimitSource": "EMS"},
                "chargingSchedule": OUTSIDE["chargingSchedule"],
            },
        ),
        *listed(
            {"chargingProfilePurpose": OUTSIDE["chargingProfilePurpose"]},
            source="EMS",
            body=OUTSIDE,
            evseId=1,
        ),
    ],
}


@pytest.mark.asyncio
@pytest.mark.parametrize("case", PROFILES)
async def test_tc_profiles(site: Site, case: str) -> None:
    async with connected(site, V201) as station:
        await play(site, station, *PROFILES[case])
        assert station.unasked == []


@pytest.mark.asyncio
async def test_tc_k_15_csms_station_without_smart_charging(site: Site) -> None:
    body = {"evseId": 1, "chargingProfile": profile(DEFAULT)}
    async with connected(site, V201) as station:
        await command_refused(site, station, "SetChargingProfile", body, "NotSupported")


@pytest.mark.asyncio
@pytest.mark.parametrize(
    "others",
    [
        pytest.param([], id="TC_K_60_CSMS"),
        pytest.param([put(1, profile(DEFAULT, 2)), put(0, profile(MAXIMUM, 3))], id="TC_K_70_CSMS"),
    ],
)
async def test_tc_profiles_while_charging(site: Site, others: list[Ask]) -> None:
    await site.attempt()
    async with connected(site, V201) as station:
        tx = Tx(station)
        await tx.charge()
        wanted = profile("TxProfile", kind="Relative", transactionId=tx.reference)
        await play(site, station, *(others or [put(1, wanted)]))
        await tx.tell("Updated", "ChargingRateChanged", "Charging")


# --- O: display messages --------------------------------------------------------------------------------


def message(number: int = 1, text: str = "Welcome", **more: Any) -> Json:
    content = {"format": "UTF8", "content": text}
    return {"id": number, "priority": "NormalCycle", "message": content, **more}


def show(body: Json, answer: str = "Accepted") -> Ask:
    return Ask("SetDisplayMessage", {"message": body}, {"status": answer})


def shown(*bodies: Json, **filters: Any) -> list[Ask | Say]:
    answer = {"status": "Accepted" if bodies else "Unknown"}
    asked = Ask("GetDisplayMessages", {"requestId": 6, **filters}, answer)
    if not bodies:
        return [asked]
    return [asked, Say("NotifyDisplayMessages", {"requestId": 6, "tbc": False, "messageInfo": list(bodies)})]


def unshow(answer: str) -> Ask:
    return Ask("ClearDisplayMessage", {"id": 1}, {"status": answer})


FRONT, CHARGING_ONLY = message(priority="AlwaysFront"), message(state="Charging")
MESSAGES: dict[str, list[Ask | Say]] = {
    "TC_O_01_CSMS": [show(message())],
    "TC_O_02_CSMS": shown(message(1), message(2)),
    "TC_O_03_CSMS": shown(),
    "TC_O_04_CSMS": [show(message()), unshow("Accepted")],
    "TC_O_05_CSMS": [unshow("Unknown")],
    "TC_O_07_CSMS": shown(message(), id=[1]),
    "TC_O_08_CSMS": shown(FRONT, priority="AlwaysFront"),
    "TC_O_09_CSMS": shown(CHARGING_ONLY, state="Charging"),
    "TC_O_10_CSMS": [show(message(transactionId="none"), "UnknownTransaction")],
    "TC_O_11_CSMS": shown(priority="InFront", state="Faulted"),
    "TC_O_12_CSMS": [show(message()), show(message(text="Good night")), *shown(message(text="Good night"))],
    "TC_O_13_CSMS": [show(message(startDateTime=SOON))],
    "TC_O_14_CSMS": [show(message(endDateTime=LATER))],
    "TC_O_17_CSMS": [show(FRONT, "NotSupportedPriority")],
    "TC_O_18_CSMS": [show(CHARGING_ONLY, "NotSupportedState")],
    "TC_O_19_CSMS": [show(message(), "NotSupportedMessageFormat")],
    "TC_O_25_CSMS": [show(CHARGING_ONLY)],
    "TC_O_26_CSMS": [show(message(), "Rejected")],
}


@pytest.mark.asyncio
@pytest.mark.parametrize("case", MESSAGES)
async def test_tc_messages(site: Site, case: str) -> None:
    async with connected(site, V201) as station:
        await play(site, station, *MESSAGES[case])
        assert station.unasked == []


@pytest.mark.asyncio
@pytest.mark.parametrize(
    "times",
    [
        pytest.param({}, id="TC_O_06_CSMS"),
        pytest.param({"startDateTime": SOON}, id="TC_O_27_CSMS"),
        pytest.param({"endDateTime": LATER}, id="TC_O_28_CSMS"),
    ],
)
async def test_tc_message_for_a_transaction(site: Site, times: Json) -> None:
    await site.attempt()
    async with connected(site, V201) as station:
        tx = Tx(station)
        await tx.charge()
        await play(site, station, show(message(transactionId=tx.reference, **times)))


# --- I: cost --------------------------------------------------------------------------------------------


@pytest.mark.asyncio
async def test_tc_i_01_csms_running_cost(site: Site) -> None:
    await site.attempt()
    async with connected(site, V201) as station:
        tx = Tx(station)
        await tx.charge()
        asked = {"transactionId": tx.reference, "totalCost": 4.2}
        await command(site, station, "CostUpdated", asked, {})
