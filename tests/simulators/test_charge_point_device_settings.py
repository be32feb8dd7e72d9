"""Configuration of the simulated device: 1.6 keys, 2.x variables, reports, monitors, network profiles."""

from __future__ import annotations

from typing import Any

import pytest
from charge_point_bench import Bench

from simulators.charge_point.device_state import StationHooks

every_2 = pytest.mark.parametrize("version", ["ocpp2.0.1", "ocpp2.1"])


class TestConfiguration16:
    def test_change(self) -> None:
        heard: list[tuple[str, str]] = []
        bench = Bench("ocpp1.6", hooks=StationHooks(setting_changed=lambda n, v: heard.append((n, v))))

        def change(key: str, value: str) -> str:
            return bench.status("ChangeConfiguration", key=key, value=value)

        assert change("HeartbeatInterval", "45") == "Accepted"
        assert bench.device.settings.number("HeartbeatInterval") == 45
        assert change("HeartbeatInterval", "-1") == "Rejected"
        assert change("LocalPreAuthorize", "maybe") == "Rejected"
        assert change("NumberOfConnectors", "9") == "Rejected"
        assert change("Nonsense", "9") == "NotSupported"
        assert change("AuthorizationKey", "zz") == "Rejected"
        assert change("AuthorizationKey", "00" * 16) == "Accepted"
        assert change("SecurityProfile", "2") == "Accepted"
        assert change("SecurityProfile", "1") == "Rejected"
        assert change("WebSocketPingInterval", "7") == "RebootRequired"
        assert bench.device.settings.number("WebSocketPingInterval") == 30
        assert [name for name, _ in heard] == ["HeartbeatInterval", "AuthorizationKey", "SecurityProfile"]
        bench.restart()
        bench.device.rebooted()
        assert bench.device.settings.number("WebSocketPingInterval") == 7
        assert heard[-1] == ("WebSocketPingInterval", "7")
        assert bench.device.settings.text("AuthorizationKey") == "00" * 16

    def test_get(self) -> None:
        bench = Bench("ocpp1.6")
        answer = bench.ask("GetConfiguration", key=["NumberOfConnectors", "AuthorizationKey", "Nonsense"])
        assert answer == {
            "configurationKey": [
                {"key": "NumberOfConnectors", "readonly": True, "value": "2"},
                {"key": "AuthorizationKey", "readonly": False},
            ],
            "unknownKey": ["Nonsense"],
        }
        everything = bench.ask("GetConfiguration")
        assert len(everything["configurationKey"]) > 30
        assert "unknownKey" not in everything


def place(component: str, variable: str, instance: str = "", **more: Any) -> dict[str, Any]:
    named = {"name": variable} | ({"instance": instance} if instance else {})
    return {"component": {"name": component}, "variable": named, **more}


@every_2
class TestVariables:
    def test_set(self, version: Any) -> None:
        bench = Bench(version)
        asked = [
            place("OCPPCommCtrlr", "HeartbeatInterval", attributeValue="45"),
            place("OCPPCommCtrlr", "MessageAttempts", "TransactionEvent", attributeValue="3"),
            place("OCPPCommCtrlr", "WebSocketPingInterval", attributeValue="5"),
            place("SmartChargingCtrlr", "RateUnit", attributeValue="A"),
            place("OCPPCommCtrlr", "Nonsense", attributeValue="3"),
            place("Nonsense", "HeartbeatInterval", attributeValue="3"),
            place("OCPPCommCtrlr", "HeartbeatInterval", attributeValue="3", attributeType="Target"),
            place("SecurityCtrlr", "BasicAuthPassword", attributeValue="x" * 16),
        ]
        results = bench.ask("SetVariables", setVariableData=asked)["setVariableResult"]
        assert [r["attributeStatus"] for r in results] == [
            "Accepted",
            "Accepted",
            "RebootRequired",
            "Rejected",
            "UnknownVariable",
            "UnknownComponent",
            "NotSupportedAttributeType",
            "Accepted",
        ]
        assert results[3]["attributeStatusInfo"]["reasonCode"] == "ReadOnly"
        assert bench.device.settings.number("HeartbeatInterval") == 45
        assert bench.device.settings.number("TransactionMessageAttempts") == 3

    def test_get(self, version: Any) -> None:
        bench = Bench(version)
        evse = {"component": {"name": "EVSE", "evse": {"id": 2}}, "variable": {"name": "AvailabilityState"}}
        asked = [
            place("OCPPCommCtrlr", "HeartbeatInterval"),
            place("SecurityCtrlr", "BasicAuthPassword"),
            place("SecurityCtrlr", "Nonsense"),
            evse,
        ]
        assert (
            bench.status("ChangeAvailability", evse={"id": 2}, operationalStatus="Inoperative") == "Accepted"
        )
        results = bench.ask("GetVariables", getVariableData=asked)["getVariableResult"]
        assert [(r["attributeStatus"], r.get("attributeValue")) for r in results] == [
            ("Accepted", "30"),
            ("Rejected", None),
            ("UnknownVariable", None),
            ("Accepted", "Unavailable"),
        ]

    def test_reports_come_in_numbered_parts_and_hide_the_password(self, version: Any) -> None:
        bench = Bench(version)
        bench.device.settings.preset("SecurityCtrlr.BasicAuthPassword", "secret-secret-secret")
        assert bench.status("GetBaseReport", requestId=4, reportBase="FullInventory") == "Accepted"
        parts = bench.heard("NotifyReport")
        assert [p["seqNo"] for p in parts] == list(range(len(parts)))
        assert [p["tbc"] for p in parts] == [True] * (len(parts) - 1) + [False]
        assert {p["requestId"] for p in parts} == {4}
        assert len(parts) > 3
        assert "secret-secret" not in str(parts)

    def test_report_by_criteria(self, version: Any) -> None:
        bench = Bench(version)
        wanted = [{"component": {"name": "SmartChargingCtrlr"}, "variable": {"name": "RateUnit"}}]
        assert bench.status("GetReport", requestId=1, componentVariable=wanted) == "Accepted"
        (part,) = bench.heard("NotifyReport")
        assert part["reportData"][0]["variableAttribute"][0]["value"] == "A,W"
        unknown = [{"component": {"name": "Nonsense"}}]
        assert bench.status("GetReport", requestId=1, componentVariable=unknown) == "EmptyResultSet"
        assert bench.status("GetBaseReport", requestId=2, reportBase="SummaryInventory") == "Accepted"
        assert len(bench.heard("NotifyReport")[-1]["reportData"]) == 3

    def test_monitors(self, version: Any) -> None:
        bench = Bench(version)
        monitor = place("EVSE", "Power", value=20000.0, type="UpperThreshold", severity=5)
        other = place("OCPPCommCtrlr", "HeartbeatInterval", value=1.0, type="Delta", severity=5)
        unknown = place("Nonsense", "Power", value=20000.0, type="UpperThreshold", severity=5)
        asked = [monitor, other, monitor, unknown, {**monitor, "severity": 10}]
        results = bench.ask("SetVariableMonitoring", setMonitoringData=asked)["setMonitoringResult"]
        assert [r["status"] for r in results] == [
            "Accepted",
            "Accepted",
            "Duplicate",
            "UnknownComponent",
            "Rejected",
        ]
        asked_for = ["DeltaMonitoring"]
        assert bench.status("GetMonitoringReport", requestId=8, monitoringCriteria=asked_for) == "Accepted"
        (part,) = bench.heard("NotifyMonitoringReport")
        assert [m["variableMonitoring"][0]["id"] for m in part["monitor"]] == [results[1]["id"]]
        bench.restart()
        cleared = bench.ask("ClearVariableMonitoring", id=[results[0]["id"], 77])
        assert [r["status"] for r in cleared["clearMonitoringResult"]] == ["Accepted", "NotFound"]
        assert bench.status("SetMonitoringBase", monitoringBase="FactoryDefault") == "Accepted"
        assert bench.status("GetMonitoringReport", requestId=9) == "EmptyResultSet"
        assert bench.status("SetMonitoringLevel", severity=4) == "Accepted"
        assert bench.status("SetMonitoringLevel", severity=11) == "Rejected"

    def test_network_profile_never_downgrades_security(self, version: Any) -> None:
        bench = Bench(version)
        bench.device.settings.preset("SecurityCtrlr.SecurityProfile", "2")
        good = {
            "ocppVersion": "OCPP20",
            "ocppTransport": "JSON",
            "ocppCsmsUrl": "wss://csms.example/ocpp",
            "messageTimeout": 30,
            "securityProfile": 2,
            "ocppInterface": "Wired0",
        }
        ask = "SetNetworkProfile"
        assert bench.status(ask, configurationSlot=1, connectionData=good) == "Accepted"
        assert bench.status(ask, configurationSlot=9, connectionData=good) == "Rejected"
        worse = {**good, "securityProfile": 1}
        assert bench.status(ask, configurationSlot=1, connectionData=worse) == "Rejected"
        assert bench.device.variables.network_profiles == {1: good}
