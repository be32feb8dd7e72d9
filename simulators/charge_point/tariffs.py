"""Default tariffs of a simulated OCPP 2.1 charge point, one per EVSE (OCPP 2.1 part 2 I07, I08, I09)."""

from __future__ import annotations

from typing import cast

from simulators.charge_point.device_state import DeviceState, Handler, Json


class Tariffs:
    def __init__(self, state: DeviceState) -> None:
        self._state = state
        self.of_evse: dict[int, Json] = {}

    def handlers(self) -> dict[str, Handler]:
        if self._state.version != "ocpp2.1":
            return {}
        return {"SetDefaultTariff": self._set, "GetTariffs": self._get, "ClearTariffs": self._clear}

    def _evses(self, evse_id: int) -> tuple[int, ...]:
        """0 is all of them; empty: unknown."""
        if evse_id == 0:
            return self._state.connector_numbers
        return (evse_id,) if self._state.knows(evse_id) else ()

    def _set(self, body: Json) -> Json:
        tariff, evses = cast(Json, body["tariff"]), self._evses(int(body["evseId"]))
        if not evses:
            return self._state.reply("Rejected", "UnknownEvse")
        elsewhere = (kept for evse, kept in self.of_evse.items() if evse not in evses)
        if any(kept["tariffId"] == tariff["tariffId"] and kept != tariff for kept in elsewhere):
            return self._state.reply("DuplicateTariffId")
        self.of_evse |= dict.fromkeys(evses, tariff)
        return self._state.reply("Accepted")

    def _get(self, body: Json) -> Json:
        evses = self._evses(int(body["evseId"]))
        if not evses:
            return self._state.reply("Rejected", "UnknownEvse")
        assignments: dict[str, Json] = {}
        for evse in evses:
            if evse in self.of_evse:
                tariff = self.of_evse[evse]
                fresh: Json = {"tariffId": tariff["tariffId"], "tariffKind": "DefaultTariff", "evseIds": []}
                if "validFrom" in tariff:
                    fresh["validFrom"] = tariff["validFrom"]
                assignments.setdefault(str(tariff["tariffId"]), fresh)["evseIds"].append(evse)
        if not assignments:
            return self._state.reply("NoTariff")
        return {"status": "Accepted", "tariffAssignments": list(assignments.values())}

    def _clear(self, body: Json) -> Json:
        """Without ids all tariffs of the EVSE, without an EVSE those of all."""
        evses = self._evses(int(body.get("evseId", 0)))
        held = {str(self.of_evse[evse]["tariffId"]) for evse in evses if evse in self.of_evse}
        wanted: list[str] = body.get("tariffIds") or sorted(held)
        self.of_evse = {
            evse: tariff
            for evse, tariff in self.of_evse.items()
            if evse not in evses or tariff["tariffId"] not in wanted
        }
        results: list[Json] = [
            {"tariffId": w, "status": "Accepted" if w in held else "NoTariff"} for w in wanted
        ]
        return {"clearTariffsResult": results or [{"status": "NoTariff"}]}

    def snapshot(self) -> Json:
        return {str(evse): tariff for evse, tariff in self.of_evse.items()}

    def restore(self, kept: Json) -> None:
        self.of_evse = {int(evse): tariff for evse, tariff in kept.items()}
