"""Configuration messages of a simulated charge point: 1.6 keys, 2.x variables, reports, monitors, networks.

OCPP 1.6 sections 5.3, 5.8; OCPP 2.0.1 part 2 B05-B09 (variables, reports, networks) and N01-N08 (monitoring).
"""

from __future__ import annotations

from collections.abc import Iterable

from simulators.charge_point.device_state import DeviceState, Handler, Json, objects
from simulators.charge_point.settings import Setting, Settings

_ITEMS_PER_PART = 10
_SLOTS = (1, 2, 3)
_MONITORED = {
    "UpperThreshold": "Threshold",
    "LowerThreshold": "Threshold",
    "Delta": "Delta",
    "TargetDelta": "Delta",
    "TargetDeltaRelative": "Delta",
}


def _name_of(place: Json) -> str:
    parts = [place["component"]["name"], place["variable"]["name"], place["variable"].get("instance", "")]
    return ".".join(part for part in parts if part)


def _place_of(name: str) -> Json:
    component, variable, *instance = name.split(".")
    named: Json = {"name": variable, "instance": instance[0]} if instance else {"name": variable}
    return {"component": {"name": component}, "variable": named}


def _parts(items: list[Json]) -> list[list[Json]]:
    return [items[at : at + _ITEMS_PER_PART] for at in range(0, len(items), _ITEMS_PER_PART)]


class Variables:
    def __init__(self, state: DeviceState, settings: Settings) -> None:
        self._state, self._settings = state, settings
        self.monitors: dict[int, Json] = {}
        self.network_profiles: dict[int, Json] = {}
        self.monitoring_level = 8

    def handlers(self) -> dict[str, Handler]:
        if self._state.is_16:
            return {"ChangeConfiguration": self._change, "GetConfiguration": self._get_configuration}
        return {
            "SetVariables": self._set,
            "GetVariables": self._get,
            "GetBaseReport": self._base_report,
            "GetReport": self._report,
            "SetMonitoringBase": self._monitoring_base,
            "SetMonitoringLevel": self._level,
            "SetVariableMonitoring": self._set_monitors,
            "ClearVariableMonitoring": self._clear_monitors,
            "GetMonitoringReport": self._monitoring_report,
            "SetNetworkProfile": self._network,
        }

    def _shown(self, setting: Setting, name: str) -> str | None:
        """A write-only value is never given back."""
        return None if setting.access == "WriteOnly" else self._settings.text(name)

    # --- OCPP 1.6 ---------------------------------------------------------------------------------------

    def _change(self, body: Json) -> Json:
        name, value = str(body["key"]), str(body["value"])
        if name not in self._settings.known:
            return {"status": "NotSupported"}
        change = self._settings.change(name, value)
        if change == "Accepted":
            self._state.hooks.setting_changed(name, value)
        return {"status": change}

    def _get_configuration(self, body: Json) -> Json:
        asked: list[str] = body.get("key") or list(self._settings.known)
        found: list[Json] = []
        for name in asked:
            setting = self._settings.known.get(name)
            if setting is None:
                continue
            entry: Json = {"key": name, "readonly": setting.access == "ReadOnly"}
            value = self._shown(setting, name)
            found.append(entry if value is None else {**entry, "value": value[:500]})
        unknown = [name for name in asked if name not in self._settings.known]
        return {"configurationKey": found} | ({"unknownKey": unknown} if unknown else {})

    # --- OCPP 2.x variables -----------------------------------------------------------------------------

    def _unknown(self, place: Json) -> str | None:
        if _name_of(place) in self._settings.known and "instance" not in place["component"]:
            return None
        components = {name.partition(".")[0] for name in self._settings.known}
        return "UnknownVariable" if place["component"]["name"] in components else "UnknownComponent"

    def _place_status(self, item: Json) -> str | None:
        unknown = self._unknown(item)
        if unknown is None and item.get("attributeType", "Actual") != "Actual":
            return "NotSupportedAttributeType"
        return unknown

    def _echo(self, item: Json, status: str) -> Json:
        kept = {key: item[key] for key in ("attributeType", "component", "variable") if key in item}
        return {**kept, "attributeStatus": status}

    def _set(self, body: Json) -> Json:
        results: list[Json] = []
        for item in objects(body["setVariableData"]):
            name, value = _name_of(item), str(item["attributeValue"])
            status = self._place_status(item) or self._settings.change(name, value)
            if status == "Accepted":
                self._state.hooks.setting_changed(name, value)
            result = self._echo(item, status)
            if status == "Rejected":
                read_only = self._settings.known[name].access == "ReadOnly"
                reason = "ReadOnly" if read_only else "InvalidValue"
                result["attributeStatusInfo"] = {"reasonCode": reason}
            results.append(result)
        return {"setVariableResult": results}

    def _get(self, body: Json) -> Json:
        results: list[Json] = []
        for item in objects(body["getVariableData"]):
            status = self._place_status(item)
            of_evse = next((row for row in self._evse_rows() if _covers(item, row)), None)
            if of_evse is not None and status == "UnknownComponent" and "evse" in item["component"]:
                value = of_evse["variableAttribute"][0]["value"]
                results.append({**self._echo(item, "Accepted"), "attributeValue": value})
            elif status is None:
                value = self._shown(self._settings.known[_name_of(item)], _name_of(item))
                shown: Json = {} if value is None else {"attributeValue": value}
                refused: Json = {"attributeStatusInfo": {"reasonCode": "WriteOnly"}} if value is None else {}
                status = "Rejected" if value is None else "Accepted"
                results.append({**self._echo(item, status), **shown, **refused})
            else:
                results.append(self._echo(item, status))
        return {"getVariableResult": results}

    # --- OCPP 2.x reports -------------------------------------------------------------------------------

    def _base_report(self, body: Json) -> Json:
        base = str(body["reportBase"])
        if base == "SummaryInventory":
            rows = [row for row in self._inventory() if row["variable"]["name"] == "AvailabilityState"]
        elif base == "ConfigurationInventory":
            settable = {name for name, s in self._settings.known.items() if s.access != "ReadOnly"}
            rows = [row for row in self._inventory() if _name_of(row) in settable]
        else:
            rows = list(self._inventory())
        self._tell_rows("NotifyReport", "reportData", int(body["requestId"]), rows)
        return self._state.reply("Accepted")

    def _report(self, body: Json) -> Json:
        places = objects(body.get("componentVariable"))
        rows = [row for row in self._inventory() if not places or any(_covers(p, row) for p in places)]
        criteria = body.get("componentCriteria")
        if criteria is not None:  # of these four the device has none but Available and Enabled
            rows = [row for row in rows if row["variable"]["name"] in criteria]
        if not rows:
            return self._state.reply("EmptyResultSet")
        self._tell_rows("NotifyReport", "reportData", int(body["requestId"]), rows)
        return self._state.reply("Accepted")

    def _inventory(self) -> Iterable[Json]:
        for name, setting in self._settings.known.items():
            value = self._shown(setting, name)
            attribute: Json = {"type": "Actual", "mutability": setting.access, "persistent": True}
            yield {
                **_place_of(name),
                "variableAttribute": [attribute if value is None else {**attribute, "value": value}],
                "variableCharacteristics": {"dataType": setting.kind, "supportsMonitoring": False},
            }
        yield from self._evse_rows()

    def _evse_rows(self) -> Iterable[Json]:
        for number in self._state.connector_numbers:
            open_ = number not in self._state.inoperative
            attributes = {"value": "Available" if open_ else "Unavailable", "mutability": "ReadOnly"}
            yield {
                "component": {"name": "EVSE", "evse": {"id": number}},
                "variable": {"name": "AvailabilityState"},
                "variableAttribute": [{"type": "Actual", **attributes}],
                "variableCharacteristics": {"dataType": "OptionList", "supportsMonitoring": True},
            }

    def _tell_rows(self, action: str, field: str, request_id: int, rows: list[Json]) -> None:
        self._state.tell_parts(action, ({"requestId": request_id, field: part} for part in _parts(rows)))

    # --- OCPP 2.x monitoring ----------------------------------------------------------------------------

    def _monitoring_base(self, body: Json) -> Json:
        if body["monitoringBase"] != "All":  # N03: the custom monitors go
            self.monitors = {}
        return self._state.reply("Accepted")

    def _level(self, body: Json) -> Json:
        if not 0 <= int(body["severity"]) <= 9:
            return self._state.reply("Rejected", "ValueOutOfRange")
        self.monitoring_level = int(body["severity"])
        return self._state.reply("Accepted")

    def _set_monitors(self, body: Json) -> Json:
        results: list[Json] = []
        for item in objects(body["setMonitoringData"]):
            kept = {key: item[key] for key in ("type", "severity", "component", "variable")}
            status = self._monitor_refusal(item, kept)
            if status is None:
                number = int(item.get("id") or max(self.monitors, default=0) + 1)
                monitored = {"transaction": item.get("transaction", False), "value": item["value"]}
                self.monitors[number] = {**kept, **monitored}
                results.append({**kept, "id": number, "status": "Accepted"})
            else:
                results.append({**kept, "status": status})
        return {"setMonitoringResult": results}

    def _monitor_refusal(self, item: Json, kept: Json) -> str | None:
        if self._unknown(item) is not None and item["component"]["name"] != "EVSE":
            return self._unknown(item)
        if ("id" in item and item["id"] not in self.monitors) or not 0 <= int(item["severity"]) <= 9:
            return "Rejected"
        alike = (i for i, m in self.monitors.items() if kept.items() <= m.items() and i != item.get("id"))
        return "Duplicate" if next(alike, None) is not None else None

    def _clear_monitors(self, body: Json) -> Json:
        results: list[Json] = []
        for number in body["id"]:
            gone = self.monitors.pop(int(number), None)
            results.append({"id": number, "status": "NotFound" if gone is None else "Accepted"})
        return {"clearMonitoringResult": results}

    def _monitoring_report(self, body: Json) -> Json:
        places, criteria = objects(body.get("componentVariable")), body.get("monitoringCriteria")
        rows: list[Json] = []
        for number, monitor in self.monitors.items():
            kind = _MONITORED.get(monitor["type"], "Periodic") + "Monitoring"
            covered = not places or any(_covers(place, monitor) for place in places)
            if covered and (criteria is None or kind in criteria):
                fields = ("transaction", "value", "type", "severity")
                shown: Json = {"id": number, **{key: monitor[key] for key in fields}}
                if self._state.version == "ocpp2.1":
                    shown["eventNotificationType"] = "CustomMonitor"
                place = {key: monitor[key] for key in ("component", "variable")}
                rows.append({**place, "variableMonitoring": [shown]})
        if not rows:
            return self._state.reply("EmptyResultSet")
        self._tell_rows("NotifyMonitoringReport", "monitor", int(body["requestId"]), rows)
        return self._state.reply("Accepted")

    # --- OCPP 2.x network -------------------------------------------------------------------------------

    def _network(self, body: Json) -> Json:
        slot, connection = int(body["configurationSlot"]), body["connectionData"]
        if slot not in _SLOTS:
            return self._state.reply("Rejected", "InvalidConfSlot")
        if connection["securityProfile"] < self._settings.number("SecurityCtrlr.SecurityProfile"):
            return self._state.reply("Rejected", "NoSecurityDowngrade")
        if connection["ocppTransport"] != "JSON":
            return self._state.reply("Rejected", "InvalidNetworkConf")
        self.network_profiles[slot] = connection
        return self._state.reply("Accepted")

    # --- restart ----------------------------------------------------------------------------------------

    def snapshot(self) -> Json:
        return {
            "settings": self._settings.snapshot(),
            "monitors": {str(number): monitor for number, monitor in self.monitors.items()},
            "monitoring_level": self.monitoring_level,
            "network_profiles": {str(slot): data for slot, data in self.network_profiles.items()},
        }

    def restore(self, kept: Json) -> None:
        self._settings.restore(kept["settings"])
        self.monitors = {int(number): monitor for number, monitor in kept["monitors"].items()}
        self.monitoring_level = int(kept["monitoring_level"])
        self.network_profiles = {int(slot): data for slot, data in kept["network_profiles"].items()}


def _covers(place: Json, row: Json) -> bool:
    """A place without a variable covers the whole component."""
    wanted, component = place["component"], row["component"]
    if wanted["name"] != component["name"] or wanted.get("evse", component.get("evse")) != component.get(
        "evse"
    ):
        return False
    return "variable" not in place or place["variable"] == row["variable"]
