"""Who may use a connector of a simulated charge point: its availability and its reservations.

OCPP 1.6 sections 5.1, 5.2, 5.13; OCPP 2.0.1 part 2 G03-G04 (availability) and H01-H04 (reservations).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

from simulators.charge_point.device_state import DeviceState, Handler, Json, read_time, stamp
from simulators.charge_point.settings import Settings


@dataclass
class Reservation:
    """`number` 0: any connector. `group`: a parent idTag, every token of which may use it."""

    reservation_id: int
    number: int
    id_token: str
    group: str
    expires_at: str


class Reservations:
    def __init__(self, state: DeviceState, settings: Settings) -> None:
        self._state, self._settings = state, settings
        self.kept: dict[int, Reservation] = {}
        self._planned: dict[int, bool] = {}
        """Connectors whose availability changes when their transaction ends: operative or not."""

    def handlers(self) -> dict[str, Handler]:
        return {
            "ChangeAvailability": self._change_availability,
            "ReserveNow": self._reserve,
            "CancelReservation": self._cancel,
        }

    # --- availability -----------------------------------------------------------------------------------

    def _change_availability(self, body: Json) -> Json:
        if self._state.is_16:
            number, operative = int(body["connectorId"]), body["type"] == "Operative"
        else:
            number, operative = (
                int(body.get("evse", {}).get("id", 0)),
                body["operationalStatus"] == "Operative",
            )
        if number != 0 and not self._state.knows(number):
            return self._state.reply("Rejected", "UnknownEvse")
        numbers = self._state.connector_numbers if number == 0 else (number,)
        running = [n for n in numbers if n in self._state.transactions]
        for each in numbers:
            if each in running and not operative:
                self._planned[each] = operative
            else:
                self._planned.pop(each, None)
                self._make(each, operative)
        return self._state.reply("Scheduled" if running and not operative else "Accepted")

    def _make(self, number: int, operative: bool) -> None:
        if operative and number in self._state.inoperative:
            self._state.inoperative.discard(number)
            in_use = "Preparing" if self._state.is_16 else "Occupied"
            self._state.show_status(number, in_use if self._state.is_busy(number) else "Available")
        elif not operative and number not in self._state.inoperative:
            self._state.inoperative.add(number)
            self._remove_of(number)
            self._state.show_status(number, "Unavailable")

    # --- the station asks -------------------------------------------------------------------------------

    def may_start(self, number: int, id_token: str, group: str = "") -> bool:
        """Not inoperative, not faulted, and not kept for somebody else."""
        self.expire()
        if number in self._state.inoperative or number in self._state.faulted:
            return False
        holder = self._holder(number)
        if holder is not None:
            return _is_for(holder, id_token, group)
        others = [r for r in self.kept.values() if r.number == 0 and not _is_for(r, id_token, group)]
        return len(self._free() - {number}) >= len(others)

    def use(self, number: int, id_token: str, group: str = "") -> int | None:
        """The reservation a start consumes: its id goes into StartTransaction / TransactionEvent."""
        self.expire()
        mine = [r for r in self.kept.values() if r.number in (number, 0) and _is_for(r, id_token, group)]
        if not mine:
            return None
        used = max(mine, key=lambda r: r.number)
        del self.kept[used.reservation_id]
        return used.reservation_id

    def transaction_ended(self, number: int) -> None:
        if number in self._planned:
            self._make(number, self._planned.pop(number))

    def faulted(self, number: int) -> None:
        self._remove_of(number)

    def expire(self) -> None:
        now = self._state.now()
        for reservation in [r for r in self.kept.values() if read_time(r.expires_at) <= now]:
            del self.kept[reservation.reservation_id]
            self._tell_update(reservation, "Expired")
            self._show_free(reservation)

    def _remove_of(self, number: int) -> None:
        """A reserved connector that cannot be used any more loses its reservation (H01.FR.16)."""
        holder = self._holder(number)
        if holder is not None:
            del self.kept[holder.reservation_id]
            self._tell_update(holder, "Removed")

    def _tell_update(self, reservation: Reservation, word: str) -> None:
        """1.6 has no message for it."""
        if not self._state.is_16:
            body = {"reservationId": reservation.reservation_id, "reservationUpdateStatus": word}
            self._state.tell("ReservationStatusUpdate", body)

    def _holder(self, number: int) -> Reservation | None:
        return next((r for r in self.kept.values() if r.number == number), None)

    def _free(self) -> set[int]:
        state = self._state
        return {
            n
            for n in state.connector_numbers
            if not state.is_busy(n)
            and n not in state.faulted
            and n not in state.inoperative
            and self._holder(n) is None
        }

    # --- messages ---------------------------------------------------------------------------------------

    def _reserve(self, body: Json) -> Json:
        self.expire()
        if self._state.is_16:
            number, reservation_id = int(body["connectorId"]), int(body["reservationId"])
            token, group = str(body["idTag"]), str(body.get("parentIdTag", ""))
            expires_at = read_time(body["expiryDate"])
        else:
            number, reservation_id = int(body.get("evseId", 0)), int(body["id"])
            token, group = (
                str(body["idToken"]["idToken"]),
                str(body.get("groupIdToken", {}).get("idToken", "")),
            )
            expires_at = read_time(body["expiryDateTime"])
        if expires_at <= self._state.now():
            return self._state.reply("Rejected", "InvalidValue")
        if number == 0 and not self._settings.is_on("ReserveConnectorZeroSupported"):
            return self._state.reply("Rejected", "UnsupportedParam")
        if number != 0 and not self._state.knows(number):
            return self._state.reply("Rejected", "UnknownEvse")
        replaced = self.kept.pop(reservation_id, None)
        status = self._obstacle(number)
        if status is not None:
            if replaced is not None:
                self.kept[reservation_id] = replaced
            return self._state.reply(status)
        self.kept[reservation_id] = Reservation(reservation_id, number, token, group, stamp(expires_at))
        if replaced is not None and replaced.number != number:
            self._show_free(replaced)
        if number != 0:
            self._state.show_status(number, "Reserved")
        return self._state.reply("Accepted")

    def _obstacle(self, number: int) -> str | None:
        state = self._state
        numbers = set(state.connector_numbers) if number == 0 else {number}
        if numbers <= state.faulted:
            return "Faulted"
        if numbers <= state.inoperative | state.faulted:
            return "Unavailable"
        promised = sum(1 for r in self.kept.values() if r.number == 0)
        return "Occupied" if not numbers & self._free() or len(self._free()) <= promised else None

    def _cancel(self, body: Json) -> Json:
        self.expire()
        gone = self.kept.pop(int(body["reservationId"]), None)
        if gone is None:
            return self._state.reply("Rejected", "NotFound")
        self._show_free(gone)
        return self._state.reply("Accepted")

    def _show_free(self, reservation: Reservation) -> None:
        if reservation.number in self._free():
            self._state.show_status(reservation.number, "Available")

    # --- restart ----------------------------------------------------------------------------------------

    def snapshot(self) -> Json:
        return {
            "kept": [asdict(r) for r in self.kept.values()],
            "planned": {str(number): operative for number, operative in self._planned.items()},
        }

    def restore(self, kept: Json) -> None:
        self.kept = {int(r["reservation_id"]): Reservation(**r) for r in kept["kept"]}
        self._planned = {int(number): bool(operative) for number, operative in kept["planned"].items()}


def _is_for(reservation: Reservation, id_token: str, group: str) -> bool:
    """Tokens are compared without case, as OCPP wants."""
    own = reservation.id_token.lower() == id_token.lower()
    return own or bool(group and reservation.group.lower() == group.lower())
