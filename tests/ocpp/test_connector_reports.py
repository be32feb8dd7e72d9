"""Connector states and faults over the real gateway: what planning, evidence and the station's log learn."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from connectors.ocpp.truth.faults import MREC_VENDOR
from connectors.ocpp.wire.schemas import Version
from models.charger import Charger
from models.evidence import Evidence, EvidenceKind
from models.reason_catalogue import from_mrec
from models.reason_codes import Phase, ReasonCode
from models.station import StationEvent, StationEventKind
from simulators.twin import Fault, FaultKind
from tests.ocpp.case_station import at, connected
from tests.ocpp.conftest import Site
from tests.ocpp.connector_words import WORDS_2X, WORDS_16, C
from tests.ocpp.limit_bench import DC, VERSIONS, live, until


async def charger(site: Site, number: int = 1) -> Charger:
    async with site.store.tenant(site.tenant_id) as unit:
        found = await unit.chargers.get(site.charger(number).charger_id)
    assert found is not None
    return found


async def faults(site: Site) -> list[StationEvent]:
    """FAULT lines, oldest first."""
    async with site.store.tenant(site.tenant_id) as unit:
        found = await unit.stations.events(site.station_id, 100, StationEventKind.FAULT)
    return list(reversed(found))


def status_16(number: int, word: str, seconds: float = 0, error: str = "NoError", **more: Any) -> Any:
    body = {"connectorId": number, "status": word, "errorCode": error, "timestamp": at(seconds)}
    return "StatusNotification", {**body, **more}


def status_2x(number: int, word: str, seconds: float = 0) -> Any:
    body = {"evseId": number, "connectorId": 1, "connectorStatus": word, "timestamp": at(seconds)}
    return "StatusNotification", body


def event_2x(value: str, seconds: float = 0, **more: Any) -> Any:
    event = {
        "eventId": 1,
        "timestamp": at(seconds),
        "trigger": "Alerting",
        "actualValue": value,
        "eventNotificationType": "HardWiredNotification",
        "component": {"name": "EVSE", "evse": {"id": 1}},
        "variable": {"name": "Problem"},
    }
    return "NotifyEvent", {"generatedAt": at(), "seqNo": 0, "eventData": [{**event, **more}]}


def connector_faults(site: Site) -> list[Evidence]:
    return site.sink.of(EvidenceKind.CONNECTOR_FAULTED)


class TestFirstGeneration:
    @pytest.mark.asyncio
    async def test_every_word_reaches_planning(self, site: Site) -> None:
        async with connected(site, Version.V16) as station:
            for second, (word, (state, status)) in enumerate(WORDS_16.items()):
                await station.says(status_16(1, word, second - 60))
                found = await charger(site)
                assert found.status is status
                assert found.health is not None
                assert found.health.connected
                assert found.health.state_since == found.status_at
                held = site.gateway.connection(site.station_id)
                assert held is not None
                assert held.session.track(1).state is state
            assert (await charger(site, 2)).status is C.UNKNOWN

    @pytest.mark.asyncio
    async def test_connector_zero_says_nothing_of_a_plug(self, site: Site) -> None:
        async with connected(site, Version.V16) as station:
            await station.says(
                status_16(1, "Available", -9),
                status_16(0, "Unavailable", -8),
                status_16(0, "Faulted", -7, "InternalError"),
            )
            assert (await charger(site)).status is C.AVAILABLE
            assert connector_faults(site) == []
            assert [line.body["connector"] for line in await faults(site)] == [0]

    @pytest.mark.asyncio
    async def test_a_warning_is_noted_and_nothing_more(self, site: Site) -> None:
        async with connected(site, Version.V16) as station:
            await station.says(
                status_16(1, "Charging", -9),
                status_16(1, "Charging", -8, "HighTemperature", info="derating", vendorErrorCode="T9"),
            )
            found = await charger(site)
            assert found.status is C.OCCUPIED
            assert found.health is not None
            assert (found.health.fault_code, found.health.changes_last_hour) == ("", 0)
            assert connector_faults(site) == []
            (line,) = await faults(site)
            assert line.body == {
                "connector": 1, "status": "Charging", "error_code": "HighTemperature", "vendor_id": "",
                "vendor_code": "T9", "info": "derating",
            }  # fmt: skip

    @pytest.mark.asyncio
    async def test_a_fault_with_its_code(self, site: Site) -> None:
        async with connected(site, Version.V16) as station:
            mrec = {"vendorId": MREC_VENDOR, "vendorErrorCode": "CX001"}
            foreign = {"vendorId": "com.example", "vendorErrorCode": "CX001"}
            await station.says(
                status_16(1, "Faulted", -9, "OtherError", **mrec),
                status_16(2, "Faulted", -9, "OtherError", **foreign),
            )
            by_charger = {e.charger_id: e for e in connector_faults(site)}
            one, two = (by_charger[site.charger(n).charger_id] for n in (1, 2))
            assert (one.reason, one.vendor_code) == (
                from_mrec("CX001", Phase.CONFIRM),
                "ocpp1.6:OtherError CX001",
            )
            assert (two.reason, two.vendor_code) == (
                ReasonCode.CONFIRM_EVSE_FAULT,
                "ocpp1.6:OtherError CX001",
            )
            health = (await charger(site)).health
            assert health is not None
            assert health.fault_code == "ocpp1.6:OtherError CX001"
            await station.says(status_16(1, "Available", -5))
            health = (await charger(site)).health
            assert health is not None
            assert (health.fault_code, health.changes_last_hour) == ("", 1)
            assert len(await faults(site)) == 2

    @pytest.mark.asyncio
    async def test_what_is_older_says_nothing(self, site: Site) -> None:
        async with connected(site, Version.V16) as station:
            await station.says(status_16(1, "Available", -5), status_16(1, "Faulted", -60, "GroundFailure"))
            assert (await charger(site)).status is C.AVAILABLE
            assert connector_faults(site) == []
            assert len(await faults(site)) == 1, "the log keeps it"

    @pytest.mark.asyncio
    async def test_flapping_reaches_planning(self, site: Site) -> None:
        async with connected(site, Version.V16) as station:
            for second in range(7):
                await station.says(status_16(1, "Available" if second % 2 else "Unavailable", second - 60))
            health = (await charger(site)).health
            assert health is not None
            assert health.changes_last_hour == 6


@pytest.mark.parametrize("version", [Version.V201, Version.V21])
class TestSecondGeneration:
    @pytest.mark.asyncio
    async def test_every_word_reaches_planning(self, site: Site, version: Version) -> None:
        async with connected(site, version) as station:
            for second, (word, (_, status)) in enumerate(WORDS_2X.items()):
                await station.says(status_2x(1, word, second - 60), status_2x(0, "Faulted"))
                assert (await charger(site)).status is status

    @pytest.mark.asyncio
    async def test_a_problem_with_an_mrec_is_a_fault_until_a_status_ends_it(
        self, site: Site, version: Version
    ) -> None:
        async with connected(site, version) as station:
            await station.says(status_2x(1, "Available", -9), event_2x("true", -8, techCode="F1,CX001"))
            (told,) = connector_faults(site)
            assert (told.reason, told.vendor_code) == (from_mrec("CX001", Phase.CONFIRM), "mrec:F1,CX001")
            assert (await charger(site)).status is C.FAULTED
            await station.says(event_2x("false", -7, techCode="CX001", cleared=True))
            assert (await charger(site)).status is C.FAULTED, "cleared is not yet available"
            await station.says(status_2x(1, "Available", -6))
            assert (await charger(site)).status is C.AVAILABLE
            assert [line.body["cleared"] for line in await faults(site)] == [False, True]
            assert len(connector_faults(site)) == 1

    @pytest.mark.parametrize("order", [1, -1])
    @pytest.mark.asyncio
    async def test_status_and_code_of_one_moment_in_either_order(
        self, site: Site, version: Version, order: int
    ) -> None:
        async with connected(site, version) as station:
            moment = at(-5)
            status, event = status_2x(1, "Faulted"), event_2x("true", techCode="CX008")
            status[1]["timestamp"] = event[1]["eventData"][0]["timestamp"] = moment
            await station.says(*(status, event)[::order])
            told = connector_faults(site)
            assert ("mrec:CX008", from_mrec("CX008", Phase.CONFIRM)) in {
                (e.vendor_code, e.reason) for e in told
            }
            health = (await charger(site)).health
            assert health is not None
            assert health.fault_code == "mrec:CX008"

    @pytest.mark.asyncio
    async def test_a_later_status_keeps_the_code(self, site: Site, version: Version) -> None:
        async with connected(site, version) as station:
            await station.says(event_2x("true", -8, techCode="CX008"), status_2x(1, "Faulted", -3))
            assert {e.reason for e in connector_faults(site)} == {from_mrec("CX008", Phase.CONFIRM)}

    @pytest.mark.parametrize(
        "more",
        [
            {"techCode": "E-4711"},
            {},
            {"techCode": "CX008", "component": {"name": "ChargingStation"}},
            {"techCode": "CX008", "variable": {"name": "Temperature"}},
        ],
    )
    @pytest.mark.asyncio
    async def test_other_problems_are_noted_only(
        self, site: Site, version: Version, more: dict[str, Any]
    ) -> None:
        async with connected(site, version) as station:
            await station.says(status_2x(1, "Available", -9), event_2x("true", -8, **more))
            assert (await charger(site)).status is C.AVAILABLE
            assert connector_faults(site) == []
            assert [line.body["code"] for line in await faults(site)] == [more.get("techCode", "")]

    @pytest.mark.parametrize("component", ["Connector", "EVSE"])
    @pytest.mark.asyncio
    async def test_a_status_may_come_as_an_event(self, site: Site, version: Version, component: str) -> None:
        place = {"name": component, "evse": {"id": 1, "connectorId": 1}}
        state: dict[str, Any] = {
            "component": place,
            "variable": {"name": "AvailabilityState"},
            "trigger": "Delta",
        }
        async with connected(site, version) as station:
            for second, (word, (_, status)) in enumerate(WORDS_2X.items()):
                await station.says(event_2x(word, second - 60, **state))
                assert (await charger(site)).status is status
            assert [e.vendor_code for e in connector_faults(site)] == [
                "ocpp2.0.1:Unavailable",
                "ocpp2.0.1:Faulted",
            ]
            assert len(site.sink.of(EvidenceKind.PLUGGED_IN)) == 1
            await station.says(event_2x("Melting", **state))
            assert (await charger(site)).status is C.FAULTED
            assert len(await faults(site)) == 1


class TestLiveStation:
    @pytest.mark.parametrize("version", VERSIONS)
    @pytest.mark.asyncio
    async def test_a_fault_in_mid_charge_is_the_attempts(self, site: Site, version: Any) -> None:
        async with live(site, version, DC) as bench:
            connector = bench.station.connectors[1]
            connector.faults.append(Fault(kind=FaultKind.FAULT_MID_CHARGE, delay_s=0.3, mrec="CX008"))
            await bench.charge()
            expected = from_mrec("CX008", Phase.SUSTAIN)
            await until(lambda: any(e.reason is expected for e in connector_faults(site)))
            told = [e for e in connector_faults(site) if e.reason is expected]
            assert all(e.attempt_id and "CX008" in e.vendor_code for e in told)
            async with asyncio.timeout(10):
                while (await charger(site)).status is not C.FAULTED:
                    await asyncio.sleep(0.02)
            assert [line.body.get("code") or line.body.get("vendor_code") for line in await faults(site)] == [
                "CX008"
            ]
