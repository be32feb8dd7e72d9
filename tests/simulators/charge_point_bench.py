"""A device on the bench: a clock the test moves, and every payload checked against OCPP's own schemas."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from functools import cache
from importlib.resources import files
from typing import Any

import jsonschema_rs

from simulators.charge_point.device import DeviceTwin
from simulators.charge_point.device_state import OcppVersion, stamp

Json = dict[str, Any]
START = datetime(2026, 3, 2, 6, 0, tzinfo=UTC)
FOLDERS = {"ocpp1.6": "v16", "ocpp2.0.1": "v201", "ocpp2.1": "v21"}


@cache
def _validator(version: str, name: str) -> jsonschema_rs.Validator:
    text = (files("ocpp") / FOLDERS[version] / "schemas" / f"{name}.json").read_text(encoding="utf-8-sig")
    return jsonschema_rs.validator_for(json.loads(text), validate_formats=True)


def check(version: str, action: str, payload: Json, *, response: bool = False) -> None:
    ending = "Response" if response else "" if version == "ocpp1.6" else "Request"
    json.dumps(payload)
    _validator(version, action + ending).validate(payload)


class Bench:
    """`strict` off: a quirk that is meant to break the schema."""

    def __init__(self, version: OcppVersion, numbers: tuple[int, ...] = (1, 2), **more: Any) -> None:
        self.version, self.numbers, self.more = version, numbers, more
        self.now = START
        self.strict = True
        self.told: list[tuple[str, Json]] = []
        self.device = self.make()

    def make(self) -> DeviceTwin:
        return DeviceTwin(self.version, self.numbers, clock=lambda: self.now, tell=self._tell, **self.more)

    def _tell(self, action: str, payload: Json) -> None:
        check(self.version, action, payload)
        self.told.append((action, payload))

    def ask(self, action: str, **payload: Any) -> Json:
        check(self.version, action, payload)
        answer = self.device.answer(action, payload)
        assert answer is not None, f"{action} is not known"
        if self.strict:
            check(self.version, action, answer, response=True)
        return answer

    def status(self, action: str, **payload: Any) -> str:
        return str(self.ask(action, **payload)["status"])

    def restart(self) -> None:
        """Another process takes over what the last one kept."""
        kept = json.loads(json.dumps(self.device.snapshot()))
        self.device = self.make()
        self.device.restore(kept)

    def wait(self, seconds: float) -> None:
        """The clock moves in steps, as the station's loop would see it."""
        end = self.now + timedelta(seconds=seconds)
        while self.now < end:
            self.now = min(end, self.now + timedelta(seconds=0.5))
            self.device.tick()

    def heard(self, action: str) -> list[Json]:
        return [payload for told, payload in self.told if told == action]

    def words(self, action: str) -> list[str]:
        return [str(payload["status"]) for payload in self.heard(action)]

    def at(self, seconds: float = 0) -> str:
        return stamp(self.now + timedelta(seconds=seconds))

    # --- charging profiles, in the version's own shape --------------------------------------------------

    def profile(
        self,
        purpose: str,
        limit: float | list[tuple[int, float]],
        *,
        id: int = 1,
        stack: int = 0,
        unit: str = "A",
        kind: str = "Absolute",
        transaction: str | None = None,
        start: str | None = None,
        schedule: Json | None = None,
        **more: Any,
    ) -> Json:
        """`purpose`: max, default, tx, or OCPP's own word."""
        is_16 = self.version == "ocpp1.6"
        words = {
            "max": "ChargePointMaxProfile" if is_16 else "ChargingStationMaxProfile",
            "default": "TxDefaultProfile",
            "tx": "TxProfile",
        }
        steps = limit if isinstance(limit, list) else [(0, limit)]
        inner: Json = {
            "chargingRateUnit": unit,
            "chargingSchedulePeriod": [{"startPeriod": s, "limit": value} for s, value in steps],
        }
        if kind in ("Absolute", "Recurring"):
            inner["startSchedule"] = start or self.at()
        inner |= schedule or {}
        body: Json = {
            "stackLevel": stack,
            "chargingProfilePurpose": words.get(purpose, purpose),
            "chargingProfileKind": kind,
            **more,
        }
        if transaction is not None:
            body["transactionId"] = int(transaction) if is_16 else transaction
        if is_16:
            return {"chargingProfileId": id, "chargingSchedule": inner, **body}
        return {"id": id, "chargingSchedule": [{"id": id, **inner}], **body}

    def install(self, number: int, purpose: str, limit: float | list[tuple[int, float]], **more: Any) -> Json:
        profile = self.profile(purpose, limit, **more)
        if self.version == "ocpp1.6":
            return self.ask("SetChargingProfile", connectorId=number, csChargingProfiles=profile)
        return self.ask("SetChargingProfile", evseId=number, chargingProfile=profile)

    def begin(self, number: int = 1, transaction: str = "7", token: str = "TAG") -> int | None:
        return self.device.transaction_began(number, transaction, token)

    def limit_a(self, number: int = 1, phases: int = 3) -> float | None:
        """Per phase, at 230 V."""
        limit_kw = self.device.limit_kw(number, self.now, phases, 230.0)
        return None if limit_kw is None else round(limit_kw * 1000 / 230 / phases, 6)
