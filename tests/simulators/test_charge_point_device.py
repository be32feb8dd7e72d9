"""The simulated device answers as specified; every payload is checked against OCPP's schemas."""

from __future__ import annotations

from typing import Any

import pytest
from charge_point_bench import Bench

from simulators.charge_point.device_state import StationHooks

VERSIONS = ("ocpp1.6", "ocpp2.0.1", "ocpp2.1")
every = pytest.mark.parametrize("version", VERSIONS)
every_2 = pytest.mark.parametrize("version", VERSIONS[1:])


def test_unknown_commands_are_left_to_the_caller() -> None:
    assert Bench("ocpp1.6").device.answer("SetVariables", {}) is None
    assert Bench("ocpp2.0.1").device.answer("ChangeConfiguration", {}) is None
    assert Bench("ocpp2.0.1").device.answer("SetDefaultTariff", {}) is None
    assert Bench("ocpp2.1").device.answer("Sing", {}) is None


def test_a_payload_that_does_not_fit_is_said_to_the_caller() -> None:
    with pytest.raises(KeyError):
        Bench("ocpp1.6").device.answer("ChangeConfiguration", {"key": "HeartbeatInterval"})


def availability(bench: Bench, number: int, operative: bool) -> str:
    word = "Operative" if operative else "Inoperative"
    if bench.version == "ocpp1.6":
        return bench.status("ChangeAvailability", connectorId=number, type=word)
    evse = {"evse": {"id": number}} if number else {}
    return bench.status("ChangeAvailability", operationalStatus=word, **evse)


def reserve(
    bench: Bench, number: int, seconds: float = 60, id: int = 1, token: str = "TAG", group: str = ""
) -> str:
    if bench.version == "ocpp1.6":
        parent = {"parentIdTag": group} if group else {}
        about = {"connectorId": number, "reservationId": id, "idTag": token, **parent}
        return bench.status("ReserveNow", expiryDate=bench.at(seconds), **about)
    about = {"id": id, "idToken": {"idToken": token, "type": "Central"}}
    about |= {"evseId": number} if number else {}
    about |= {"groupIdToken": {"idToken": group, "type": "Central"}} if group else {}
    return bench.status("ReserveNow", expiryDateTime=bench.at(seconds), **about)


def shown(bench: Bench) -> list[tuple[int, str]]:
    key = ("connectorId", "status") if bench.version == "ocpp1.6" else ("evseId", "connectorStatus")
    return [(p[key[0]], p[key[1]]) for p in bench.heard("StatusNotification")]


@every
class TestAvailability:
    def test_at_once_or_after_the_transaction(self, version: Any) -> None:
        bench = Bench(version)
        bench.begin(1)
        assert availability(bench, 1, False) == "Scheduled"
        assert availability(bench, 2, False) == "Accepted"
        assert availability(bench, 9, False) == "Rejected"
        assert shown(bench) == [(2, "Unavailable")]
        bench.restart()
        bench.device.transaction_ended(1)
        assert shown(bench) == [(2, "Unavailable"), (1, "Unavailable")]
        assert not bench.device.may_start(1, "TAG")
        assert availability(bench, 0, True) == "Accepted"
        assert bench.device.may_start(1, "TAG")

    def test_all_connectors_and_a_change_of_mind(self, version: Any) -> None:
        bench = Bench(version)
        bench.begin(1)
        assert availability(bench, 0, False) == "Scheduled"
        assert availability(bench, 0, True) == "Accepted"
        bench.device.transaction_ended(1)
        assert bench.device.may_start(1, "TAG")
        assert bench.device.may_start(2, "TAG")


@every
class TestReservations:
    def test_only_its_token_starts_and_uses_it_up(self, version: Any) -> None:
        bench = Bench(version)
        assert reserve(bench, 1, id=5) == "Accepted"
        assert shown(bench) == [(1, "Reserved")]
        assert not bench.device.may_start(1, "OTHER")
        assert bench.device.may_start(2, "OTHER")
        assert bench.device.may_start(1, "tag")
        assert bench.begin(1) == 5
        bench.device.transaction_ended(1)
        assert bench.device.may_start(1, "OTHER")

    def test_group_may_use_it(self, version: Any) -> None:
        bench = Bench(version)
        reserve(bench, 1, group="FLEET")
        assert bench.device.may_start(1, "OTHER", "FLEET")
        assert not bench.device.may_start(1, "OTHER", "RIVAL")

    def test_obstacles(self, version: Any) -> None:
        bench = Bench(version)
        bench.device.occupied(1, True)
        assert reserve(bench, 1) == "Occupied"
        bench.device.occupied(1, False)
        bench.device.faulted(1, True)
        assert reserve(bench, 1) == "Faulted"
        bench.device.faulted(1, False)
        availability(bench, 1, False)
        assert reserve(bench, 1) == "Unavailable"
        assert reserve(bench, 2, seconds=-1) == "Rejected"
        assert reserve(bench, 9) == "Rejected"
        assert reserve(bench, 2, id=1) == "Accepted"
        assert reserve(bench, 2, id=2, token="OTHER") == "Occupied"
        assert reserve(bench, 2, id=1, token="OTHER") == "Accepted"

    def test_expires_once(self, version: Any) -> None:
        bench = Bench(version)
        reserve(bench, 1, seconds=30, id=5)
        bench.wait(20)
        bench.restart()
        assert not bench.device.may_start(1, "OTHER")
        bench.wait(60)
        assert bench.device.may_start(1, "OTHER")
        assert shown(bench) == [(1, "Reserved"), (1, "Available")]
        updates = bench.heard("ReservationStatusUpdate")
        expired = {"reservationId": 5, "reservationUpdateStatus": "Expired"}
        assert updates == ([] if version == "ocpp1.6" else [expired])

    def test_cancel(self, version: Any) -> None:
        bench = Bench(version)
        reserve(bench, 1, id=5)
        assert bench.status("CancelReservation", reservationId=6) == "Rejected"
        assert bench.status("CancelReservation", reservationId=5) == "Accepted"
        assert bench.device.may_start(1, "OTHER")

    def test_any_connector_keeps_one_free(self, version: Any) -> None:
        bench = Bench(version)
        assert reserve(bench, 0, id=5) == "Accepted"
        assert bench.device.may_start(1, "OTHER")
        assert reserve(bench, 1, id=6, token="OTHER") == "Accepted"
        assert reserve(bench, 2, id=7, token="OTHER") == "Occupied"
        assert not bench.device.may_start(2, "OTHER")
        assert bench.device.may_start(2, "TAG")
        assert bench.begin(2) == 5

    def test_any_connector_may_be_unsupported(self, version: Any) -> None:
        bench = Bench(version)
        bench.device.settings.preset("ReserveConnectorZeroSupported", "false")
        assert reserve(bench, 0) == "Rejected"

    def test_a_fault_removes_it(self, version: Any) -> None:
        bench = Bench(version)
        reserve(bench, 1, id=5)
        bench.device.faulted(1, True)
        assert bench.status("CancelReservation", reservationId=5) == "Rejected"
        removed = [u["reservationUpdateStatus"] for u in bench.heard("ReservationStatusUpdate")]
        assert removed == ([] if version == "ocpp1.6" else ["Removed"])


def send_list(bench: Bench, number: int, entries: dict[str, str | None], update: str) -> str:
    if bench.version == "ocpp1.6":
        rows = [{"idTag": t} | ({"idTagInfo": {"status": s}} if s else {}) for t, s in entries.items()]
        about = {"listVersion": number}
    else:
        rows = [
            {"idToken": {"idToken": t, "type": "Central"}} | ({"idTokenInfo": {"status": s}} if s else {})
            for t, s in entries.items()
        ]
        about = {"versionNumber": number}
    listed = {"localAuthorizationList": rows} if rows else {}
    return bench.status("SendLocalList", updateType=update, **about, **listed)


def list_version(bench: Bench) -> int:
    (number,) = bench.ask("GetLocalListVersion").values()
    return number


@every
class TestTokens:
    def test_full_and_differential_lists(self, version: Any) -> None:
        bench = Bench(version)
        assert list_version(bench) == 0
        assert send_list(bench, 3, {"A": "Accepted", "B": "Blocked"}, "Full") == "Accepted"
        assert send_list(bench, 3, {"C": "Accepted"}, "Differential") == "VersionMismatch"
        assert send_list(bench, 4, {"C": "Accepted", "B": None}, "Differential") == "Accepted"
        bench.restart()
        assert list_version(bench) == 4
        assert [bench.device.tokens.status(t) for t in ("a", "B", "C")] == ["Accepted", None, "Accepted"]
        assert send_list(bench, 5, {"D": None}, "Full") == "Failed"
        assert send_list(bench, 5, {}, "Full") == "Accepted"
        assert bench.device.tokens.status("A") is None

    def test_limits_of_the_list(self, version: Any) -> None:
        bench = Bench(version)
        many = {f"T{n}": "Accepted" for n in range(101)}
        assert send_list(bench, 1, many, "Full") == "Failed"
        assert list_version(bench) == 0
        bench.device.settings.preset("LocalAuthListEnabled", "false")
        said = send_list(bench, 1, {"A": "Accepted"}, "Full")
        assert said == ("NotSupported" if version == "ocpp1.6" else "Failed")
        assert list_version(bench) == (-1 if version == "ocpp1.6" else 0)

    def test_cache(self, version: Any) -> None:
        bench = Bench(version)
        bench.device.tokens.remember("TAG", "Accepted")
        assert bench.device.tokens.status("tag") == "Accepted"
        assert bench.status("ClearCache") == "Accepted"
        assert bench.device.tokens.status("TAG") is None
        bench.device.settings.preset("AuthorizationCacheEnabled", "false")
        assert bench.status("ClearCache") == "Rejected"


def test_16_list_entry_expires() -> None:
    bench = Bench("ocpp1.6")
    entry = {"idTag": "A", "idTagInfo": {"status": "Accepted", "expiryDate": bench.at(60)}}
    bench.ask("SendLocalList", listVersion=1, updateType="Full", localAuthorizationList=[entry])
    assert bench.device.tokens.status("A") == "Accepted"
    bench.wait(60)
    assert bench.device.tokens.status("A") == "Expired"


@every_2
def test_customer_information(version: Any) -> None:
    bench = Bench(version)
    send_list(bench, 1, {"TAG": "Accepted"}, "Full")
    bench.device.tokens.remember("TAG", "Accepted")
    bench.begin()
    token = {"idToken": {"idToken": "TAG", "type": "Central"}}
    asked = {"requestId": 3, "report": True, "clear": True}
    assert bench.status("CustomerInformation", **asked, **token) == "Accepted"
    (part,) = bench.heard("NotifyCustomerInformation")
    assert part["tbc"] is False
    assert all(word in part["data"] for word in ("localList", "cache", '"7"'))
    assert bench.status("CustomerInformation", **asked, **token) == "Accepted"
    assert "cache" not in bench.heard("NotifyCustomerInformation")[-1]["data"]
    assert bench.status("CustomerInformation", **asked) == "Invalid"
    assert bench.status("CustomerInformation", **asked, customerIdentifier="nobody") == "Accepted"
    assert bench.heard("NotifyCustomerInformation")[-1]["data"] == ""


@every
class TestReset:
    def test_accepted_and_handed_on(self, version: Any) -> None:
        asked: list[str] = []
        bench = Bench(version, hooks=StationHooks(reset=asked.append))
        kind = "Hard" if version == "ocpp1.6" else "Immediate"
        assert bench.status("Reset", type=kind) == "Accepted"
        assert asked == bench.device.resets == [kind]

    def test_on_idle_waits_for_the_last_transaction(self, version: Any) -> None:
        if version == "ocpp1.6":
            return
        asked: list[str] = []
        bench = Bench(version, hooks=StationHooks(reset=asked.append))
        bench.begin(1, "7")
        bench.begin(2, "8")
        assert bench.status("Reset", type="OnIdle") == "Scheduled"
        bench.device.transaction_ended(1)
        assert asked == []
        bench.restart()
        bench.device.transaction_ended(2)
        assert asked == ["OnIdle"]
        assert bench.status("Reset", type="Immediate", evseId=9) == "Rejected"


@every
def test_data_transfer_and_unlock(version: Any) -> None:
    bench = Bench(version, hooks=StationHooks(unlock=lambda number: number == 1))
    assert bench.status("DataTransfer", vendorId="com.example") == "UnknownVendorId"

    def unlock(number: int) -> str:
        if version == "ocpp1.6":
            return bench.status("UnlockConnector", connectorId=number)
        return bench.status("UnlockConnector", evseId=number, connectorId=1)

    assert unlock(1) == "Unlocked"
    assert unlock(2) == "UnlockFailed"
    assert unlock(9) == ("NotSupported" if version == "ocpp1.6" else "UnknownConnector")
    bench.begin(1)
    assert unlock(1) == ("Unlocked" if version == "ocpp1.6" else "OngoingAuthorizedTransaction")


@every_2
def test_transaction_status(version: Any) -> None:
    bench = Bench(version, hooks=StationHooks(has_queued=lambda transaction: transaction in (None, "old")))
    bench.begin(1, "7")
    ask = "GetTransactionStatus"
    assert bench.ask(ask) == {"messagesInQueue": True}
    assert bench.ask(ask, transactionId="7") == {"ongoingIndicator": True, "messagesInQueue": False}
    assert bench.ask(ask, transactionId="old") == {"ongoingIndicator": False, "messagesInQueue": True}


@every
def test_snapshot_of_a_restored_device_is_the_same(version: Any) -> None:
    bench = Bench(version)
    bench.begin(1)
    bench.install(0, "max", 20)
    reserve(bench, 2)
    send_list(bench, 3, {"A": "Accepted"}, "Full")
    availability(bench, 1, False)
    before = bench.device.snapshot()
    bench.restart()
    assert bench.device.snapshot() == before
