"""The inner device of a simulated charge point: answers commands, and keeps their effect.

No sockets and no tasks: the station hands it CALLs (`answer`), tells it what happens at its connectors, and
calls `tick` several times a second. What it wants to send goes to `tell`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime

from simulators.charge_point.certificates import Certificates
from simulators.charge_point.device_state import (
    DeviceState,
    Handler,
    Json,
    OcppVersion,
    RunningTransaction,
    StationHooks,
    Wiring,
)
from simulators.charge_point.maintenance import Maintenance
from simulators.charge_point.power import ramp
from simulators.charge_point.profiles import ChargingProfiles
from simulators.charge_point.reservations import Reservations
from simulators.charge_point.settings import Settings
from simulators.charge_point.tariffs import Tariffs
from simulators.charge_point.tokens import Tokens
from simulators.charge_point.variables import Variables

QUIRKS = frozenset(
    {"ends_at_zero", "says_watt_means_ampere", "accepts_and_ignores", "empty_composite", "no_smart_charging"}
)


class DeviceTwin:
    """`connector_numbers` are EVSE ids in 2.x. `tell(action, payload)` queues a CALL to the central system.

    Quirks of vendors: `ends_at_zero` (a limit of 0 ends the transaction), `says_watt_means_ampere` (claims W,
    reads every number as amperes), `accepts_and_ignores` (a profile is accepted and reported, not obeyed),
    `empty_composite` (GetCompositeSchedule without periods for 8.6e12 s; breaks the 2.x schema, as meant),
    `no_smart_charging`. Raises ValueError for another."""

    ramp = staticmethod(ramp)

    def __init__(
        self,
        version: OcppVersion,
        connector_numbers: Sequence[int],
        *,
        clock: Callable[[], datetime],
        tell: Callable[[str, Json], None],
        quirks: frozenset[str] = frozenset(),
        hooks: StationHooks | None = None,
        wiring: Mapping[int, Wiring] | None = None,
        serial_number: str = "twin",
    ) -> None:
        if quirks - QUIRKS:
            raise ValueError(f"no such quirk: {sorted(quirks - QUIRKS)}")
        numbers = tuple(connector_numbers)
        wired = {number: (wiring or {}).get(number, Wiring()) for number in numbers}
        self.state = DeviceState(
            version, numbers, clock, tell, hooks or StationHooks(), wired, quirks, serial_number
        )
        self.settings = Settings(version)
        self._preset()
        self.certificates = Certificates(self.state, self.settings)
        self.profiles = ChargingProfiles(self.state, self.settings)
        self.reservations = Reservations(self.state, self.settings)
        self.tokens = Tokens(self.state, self.settings)
        self.variables = Variables(self.state, self.settings)
        self.tariffs = Tariffs(self.state)
        self.resets: list[str] = []
        """Every reset accepted, as asked for: Hard, Soft, Immediate, OnIdle, ImmediateAndResume."""
        self._reset_when_idle = ""
        maintenance = Maintenance(self.state, self.certificates)
        self._handlers: dict[str, Handler] = {
            "Reset": self._reset,
            "UnlockConnector": self._unlock,
            "DataTransfer": lambda body: {"status": "UnknownVendorId"},
        }
        if not self.state.is_16:
            self._handlers["GetTransactionStatus"] = self._transaction_status
        for part in (
            self.certificates, self.profiles, self.reservations, self.tokens, self.variables, self.tariffs,
            maintenance,
        ):  # fmt: skip
            self._handlers |= part.handlers()

    def _preset(self) -> None:
        state, settings = self.state, self.settings
        units = ("Power", "W") if "says_watt_means_ampere" in state.quirks else ("Current,Power", "A,W")
        settings.preset("ChargingScheduleAllowedChargingRateUnit", units[0 if state.is_16 else 1])
        settings.preset("ChargePointSerialNumber", state.serial_number)
        is_smart = "no_smart_charging" not in state.quirks
        if state.is_16:
            settings.preset("NumberOfConnectors", str(len(state.connector_numbers)))
            profiles = settings.text("SupportedFeatureProfiles").split(",")
            left = [p for p in profiles if is_smart or p != "SmartCharging"]
            settings.preset("SupportedFeatureProfiles", ",".join(left))
        else:
            settings.preset("SmartChargingCtrlr.Available", "true" if is_smart else "false")

    # --- messages ---------------------------------------------------------------------------------------

    @property
    def actions(self) -> frozenset[str]:
        """What `answer` knows."""
        return frozenset(self._handlers)

    def answer(self, action: str, payload: Json) -> Json | None:
        """The result of a CALL; None: not known here, so CALLERROR NotImplemented.

        Raises KeyError, TypeError or ValueError for a payload that does not fit its schema."""
        handler = self._handlers.get(action)
        return None if handler is None else handler(payload)

    def _reset(self, body: Json) -> Json:
        kind, evse = str(body["type"]), body.get("evseId")
        if evse is not None and not self.state.knows(int(evse)):
            return self.state.reply("Rejected", "UnknownEvse")
        self.resets.append(kind)
        if kind == "OnIdle" and self.state.transactions:
            self._reset_when_idle = kind
            return self.state.reply("Scheduled")
        self.state.hooks.reset(kind)
        return self.state.reply("Accepted")

    def _unlock(self, body: Json) -> Json:
        number = int(body["connectorId"] if self.state.is_16 else body["evseId"])
        if not self.state.knows(number):
            return self.state.reply("NotSupported" if self.state.is_16 else "UnknownConnector")
        if not self.state.is_16 and number in self.state.transactions:
            return self.state.reply("OngoingAuthorizedTransaction")
        return self.state.reply("Unlocked" if self.state.hooks.unlock(number) else "UnlockFailed")

    def _transaction_status(self, body: Json) -> Json:
        """E14: without an id only whether anything waits in the queue."""
        named = body.get("transactionId")
        if named is None:
            return {"messagesInQueue": self.state.hooks.has_queued(None)}
        is_running = self.state.transaction_of(str(named)) is not None
        return {"ongoingIndicator": is_running, "messagesInQueue": self.state.hooks.has_queued(str(named))}

    # --- what happens at the station --------------------------------------------------------------------

    def tick(self) -> bool:
        """Tell what is due by the clock: statuses under way, reservations that expired. True: something was,
        so a kept snapshot is out of date."""
        reserved = len(self.reservations.kept)
        self.reservations.expire()
        return self.state.work_off() or len(self.reservations.kept) != reserved

    def occupied(self, number: int, is_occupied: bool) -> None:
        """A vehicle is plugged in, or a connector is otherwise not free."""
        (self.state.occupied.add if is_occupied else self.state.occupied.discard)(number)

    def faulted(self, number: int, is_faulted: bool) -> None:
        if is_faulted:
            self.state.faulted.add(number)
            self.reservations.faulted(number)
        else:
            self.state.faulted.discard(number)

    def may_start(self, number: int, id_token: str, group: str = "") -> bool:
        """False: inoperative, faulted, or reserved for another token."""
        return self.reservations.may_start(number, id_token, group)

    def hold_for_start(self, number: int, profile: Json | None) -> bool:
        """The TxProfile of a remote start, for the next transaction there; None forgets it. False: refuse
        the start."""
        return self.profiles.hold_for_start(number, profile)

    def transaction_began(
        self, number: int, transaction_id: str, id_token: str, group: str = ""
    ) -> int | None:
        """Returns the reservation it used. `transaction_id` "" in 1.6 until `transaction_numbered`."""
        self.state.transactions[number] = RunningTransaction(transaction_id, id_token, self.state.now())
        used = self.reservations.use(number, id_token, group)
        self.profiles.transaction_began(number)
        return used

    def transaction_numbered(self, number: int, transaction_id: str) -> None:
        """1.6: the central system has given the number."""
        if number in self.state.transactions:
            self.state.transactions[number].transaction_id = transaction_id

    def transaction_ended(self, number: int) -> None:
        self.state.transactions.pop(number, None)
        self.profiles.transaction_ended(number)
        self.reservations.transaction_ended(number)
        if self._reset_when_idle and not self.state.transactions:
            kind, self._reset_when_idle = self._reset_when_idle, ""
            self.state.hooks.reset(kind)

    def rebooted(self) -> None:
        """After a reboot (not after a lost connection): settings that waited for it take effect."""
        self.profiles.rebooted()
        for name, value in self.settings.rebooted().items():
            self.state.hooks.setting_changed(name, value)

    # --- power ------------------------------------------------------------------------------------------

    def limit_kw(
        self, connector_number: int, at: datetime, phases: int | None, voltage_v: float
    ) -> float | None:
        """What charging profiles allow this connector; None: no limit. `phases` None: direct current."""
        return self.profiles.limit_kw(connector_number, at, Wiring(phases, voltage_v))

    def ends_transaction(self, limit_kw: float | None) -> bool:
        """The quirk of stations that take a limit of 0 for the end."""
        return "ends_at_zero" in self.state.quirks and limit_kw == 0

    # --- restart ----------------------------------------------------------------------------------------

    def snapshot(self) -> Json:
        """JSON; holds the station's private key and password."""
        return {
            "state": self.state.snapshot(),
            "resets": list(self.resets),
            "reset_when_idle": self._reset_when_idle,
            **{name: part.snapshot() for name, part in self._kept_parts().items()},
        }

    def restore(self, kept: Json) -> None:
        """Call `rebooted` after it if the station lost its power as well."""
        self.state.restore(kept["state"])
        self.resets, self._reset_when_idle = list(kept["resets"]), str(kept["reset_when_idle"])
        for name, part in self._kept_parts().items():
            part.restore(kept[name])

    def _kept_parts(
        self,
    ) -> dict[str, Certificates | ChargingProfiles | Reservations | Tokens | Variables | Tariffs]:
        return {
            "certificates": self.certificates,
            "profiles": self.profiles,
            "reservations": self.reservations,
            "tokens": self.tokens,
            "variables": self.variables,
            "tariffs": self.tariffs,
        }
