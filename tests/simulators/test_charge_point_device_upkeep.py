"""Certificates, firmware, logs, triggers and tariffs of the simulated device."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from charge_point_bench import START, Bench
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from simulators.charge_point.device_state import StationHooks

every = pytest.mark.parametrize("version", ["ocpp1.6", "ocpp2.0.1", "ocpp2.1"])


# --- certificates -----------------------------------------------------------------------------------------


def signed_by_itself(name: str, days: float = 365) -> str:
    key = ec.generate_private_key(ec.SECP256R1())
    who = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    return _certificate(who, key.public_key(), who, key, days)


def _certificate(subject: x509.Name, public_key: Any, issuer: x509.Name, key: Any, days: float = 365) -> str:
    builder = x509.CertificateBuilder(issuer, subject, public_key, x509.random_serial_number())
    builder = builder.not_valid_before(START - timedelta(days=400)).not_valid_after(
        START + timedelta(days=days)
    )
    return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM).decode()


def answer_to(csr_pem: str, days: float = 365) -> str:
    csr = x509.load_pem_x509_csr(csr_pem.encode())
    issuer = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "CA")])
    return _certificate(csr.subject, csr.public_key(), issuer, ec.generate_private_key(ec.SECP256R1()), days)


@every
class TestCertificates:
    def test_roots_come_and_go(self, version: Any) -> None:
        bench = Bench(version)
        kind = "CentralSystemRootCertificate" if version == "ocpp1.6" else "CSMSRootCertificate"
        asked = {"certificateType": kind if version == "ocpp1.6" else [kind]}
        root = signed_by_itself("root")
        assert bench.status("GetInstalledCertificateIds", **asked) == "NotFound"
        for broken in ("nonsense", signed_by_itself("old", days=-1)):
            assert bench.status("InstallCertificate", certificateType=kind, certificate=broken) == "Rejected"
        for _ in range(2):
            assert bench.status("InstallCertificate", certificateType=kind, certificate=root) == "Accepted"
        bench.restart()
        assert bench.device.certificates.root_pems(kind) == [root]
        answer = bench.ask("GetInstalledCertificateIds", **asked)
        if version == "ocpp1.6":
            (data,) = answer["certificateHashData"]
        else:
            (chain,) = answer["certificateHashDataChain"]
            assert chain["certificateType"] == kind
            data = chain["certificateHashData"]
        other = {**data, "serialNumber": "1"}
        assert bench.status("DeleteCertificate", certificateHashData=other) == "NotFound"
        assert bench.status("DeleteCertificate", certificateHashData=data) == "Accepted"
        assert bench.status("GetInstalledCertificateIds", **asked) == "NotFound"

    def test_store_is_full(self, version: Any) -> None:
        bench = Bench(version)
        bench.device.settings.preset("CertificateStoreMaxLength", "1")
        ask = {"certificateType": "ManufacturerRootCertificate"}
        said = [
            bench.status("InstallCertificate", **ask, certificate=signed_by_itself(name))
            for name in ("a", "b")
        ]
        assert said == ["Accepted", "Rejected"]

    def test_a_new_key_is_asked_for_and_taken(self, version: Any) -> None:
        bench = Bench(version, serial_number="CP-1")
        early = bench.status("CertificateSigned", certificateChain=signed_by_itself("CP-1"))
        assert early == "Rejected"
        if version == "ocpp1.6":
            wanted = {"requestedMessage": "SignChargePointCertificate"}
            assert bench.status("ExtendedTriggerMessage", **wanted) == "Accepted"
        else:
            wanted = {"requestedMessage": "SignChargingStationCertificate"}
            assert bench.status("TriggerMessage", **wanted) == "Accepted"
        (request,) = bench.heard("SignCertificate")
        subject = x509.load_pem_x509_csr(request["csr"].encode()).subject.rfc4514_string()
        assert subject == "CN=CP-1,O=Backstop twin"
        bench.restart()
        expired = answer_to(request["csr"], days=-1)
        for wrong in (expired, signed_by_itself("CP-1"), "nonsense"):
            assert bench.status("CertificateSigned", certificateChain=wrong) == "Rejected"
        kinds = {event["type"] for event in bench.heard("SecurityEventNotification")}
        assert kinds == {"InvalidChargingStationCertificate"}
        good = answer_to(request["csr"])
        assert bench.status("CertificateSigned", certificateChain=good) == "Accepted"
        assert bench.device.certificates.chain_pem == good
        assert "PRIVATE KEY" in bench.device.certificates.key_pem


# --- firmware and logs ------------------------------------------------------------------------------------


def test_16_firmware_and_diagnostics_statuses_in_order() -> None:
    bench = Bench("ocpp1.6")
    assert bench.ask("UpdateFirmware", location="https://f.example/1.bin", retrieveDate=bench.at(5)) == {}
    bench.wait(4)
    assert bench.told == []
    bench.wait(1.5)
    assert bench.status("TriggerMessage", requestedMessage="FirmwareStatusNotification") == "Accepted"
    bench.wait(10)
    assert bench.words("FirmwareStatusNotification") == [
        "Downloading",
        "Downloading",
        "Downloaded",
        "Installing",
        "Installed",
    ]
    bench.status("TriggerMessage", requestedMessage="FirmwareStatusNotification")
    assert bench.words("FirmwareStatusNotification")[-1] == "Idle"
    assert bench.ask("GetDiagnostics", location="sftp://d.example/")["fileName"].endswith(".log")
    bench.wait(5)
    bench.ask("GetDiagnostics", location="gopher://d.example/")
    bench.wait(5)
    words = bench.words("DiagnosticsStatusNotification")
    assert words == ["Uploading", "Uploaded", "Uploading", "UploadFailed"]


def update(bench: Bench, id: int, *, location: str = "https://f.example/1.bin", **more: Any) -> str:
    action = "SignedUpdateFirmware" if bench.version == "ocpp1.6" else "UpdateFirmware"
    signed = {"signingCertificate": signed_by_itself("vendor"), "signature": "c2lnbmVk"}
    firmware = {"location": location, "retrieveDateTime": bench.at(), **signed, **more}
    return bench.status(action, requestId=id, firmware=firmware)


@every
class TestSignedFirmware:
    def words(self, bench: Bench) -> list[tuple[int, str]]:
        prefix = "Signed" if bench.version == "ocpp1.6" else ""
        return [(p["requestId"], p["status"]) for p in bench.heard(f"{prefix}FirmwareStatusNotification")]

    def test_downloads_verifies_installs(self, version: Any) -> None:
        bench = Bench(version)
        later = {"retrieveDateTime": bench.at(10), "installDateTime": bench.at(30)}
        assert update(bench, 1, **later) == "Accepted"
        bench.wait(15)
        bench.restart()
        bench.wait(60)
        words = ["DownloadScheduled", "Downloading", "Downloaded", "SignatureVerified", "InstallScheduled"]
        assert self.words(bench) == [(1, word) for word in [*words, "Installing", "Installed"]]
        assert [e["type"] for e in bench.heard("SecurityEventNotification")] == ["FirmwareUpdated"]

    def test_a_second_order_cancels_the_first(self, version: Any) -> None:
        bench = Bench(version)
        update(bench, 1)
        bench.wait(1)
        assert update(bench, 2) == "AcceptedCanceled"
        bench.wait(20)
        told = self.words(bench)
        assert [word for id, word in told if id == 1] == ["Downloading", "Downloaded"]
        assert told[-1] == (2, "Installed")

    @pytest.mark.parametrize(
        ("wrong", "last"),
        [({"location": "gopher://x"}, "DownloadFailed"), ({"signature": "?"}, "InvalidSignature")],
    )
    def test_failures(self, version: Any, wrong: dict[str, str], last: str) -> None:
        bench = Bench(version)
        assert update(bench, 1, **wrong) == "Accepted"
        bench.wait(30)
        assert self.words(bench)[-1] == (1, last)

    def test_broken_signing_certificate(self, version: Any) -> None:
        bench = Bench(version)
        assert update(bench, 1, signingCertificate="nonsense") == "InvalidCertificate"
        bench.wait(30)
        assert self.words(bench) == []

    def test_log(self, version: Any) -> None:
        bench = Bench(version)
        asked = {"logType": "SecurityLog", "log": {"remoteLocation": "https://l.example/"}}
        assert bench.ask("GetLog", requestId=1, **asked)["filename"].startswith("SecurityLog")
        bench.wait(0.5)
        assert bench.status("GetLog", requestId=2, **asked) == "AcceptedCanceled"
        bench.wait(10)
        told = [(p["requestId"], p["status"]) for p in bench.heard("LogStatusNotification")]
        cancelled = [] if version == "ocpp1.6" else [(1, "AcceptedCanceled")]
        assert told == [(1, "Uploading"), *cancelled, (2, "Uploading"), (2, "Uploaded")]


@every
def test_triggered_messages(version: Any) -> None:
    asked: list[tuple[str, int | None]] = []

    def trigger(message: str, number: int | None) -> bool:
        asked.append((message, number))
        return message == "MeterValues"

    bench = Bench(version, hooks=StationHooks(trigger=trigger))
    place = {"connectorId": 2} if version == "ocpp1.6" else {"evse": {"id": 2}}
    unknown = {"connectorId": 9} if version == "ocpp1.6" else {"evse": {"id": 9}}
    actions = ("TriggerMessage", "ExtendedTriggerMessage") if version == "ocpp1.6" else ("TriggerMessage",)
    for action in actions:
        assert bench.status(action, requestedMessage="MeterValues", **place) == "Accepted"
        assert asked[-1] == ("MeterValues", 2)
        assert bench.status(action, requestedMessage="MeterValues", **unknown) == "Rejected"
        assert bench.status(action, requestedMessage="BootNotification") == "NotImplemented"
        assert bench.status(action, requestedMessage="Heartbeat") == "Accepted"
        assert bench.told[-1] == ("Heartbeat", {})
    if version != "ocpp1.6":
        assert bench.status("TriggerMessage", requestedMessage="LogStatusNotification") == "Accepted"
        assert bench.told[-1] == ("LogStatusNotification", {"status": "Idle"})


def test_21_tariffs() -> None:
    bench = Bench("ocpp2.1")
    tariff = {"tariffId": "night", "currency": "EUR", "energy": {"prices": [{"priceKwh": 0.3}]}}
    dear = {**tariff, "energy": {"prices": [{"priceKwh": 0.9}]}}
    assert bench.status("GetTariffs", evseId=0) == "NoTariff"
    assert bench.status("SetDefaultTariff", evseId=0, tariff=tariff) == "Accepted"
    assert bench.status("SetDefaultTariff", evseId=9, tariff=tariff) == "Rejected"
    assert bench.status("SetDefaultTariff", evseId=1, tariff=dear) == "DuplicateTariffId"
    assert bench.status("SetDefaultTariff", evseId=1, tariff={**dear, "tariffId": "day"}) == "Accepted"
    bench.restart()
    assignments = bench.ask("GetTariffs", evseId=0)["tariffAssignments"]
    assert {a["tariffId"]: a["evseIds"] for a in assignments} == {"day": [1], "night": [2]}
    cleared = bench.ask("ClearTariffs", tariffIds=["night", "noon"])["clearTariffsResult"]
    assert [c["status"] for c in cleared] == ["Accepted", "NoTariff"]
    assert [c["status"] for c in bench.ask("ClearTariffs", evseId=1)["clearTariffsResult"]] == ["Accepted"]
    assert bench.status("GetTariffs", evseId=1) == "NoTariff"
    assert bench.ask("ClearTariffs")["clearTariffsResult"] == [{"status": "NoTariff"}]
