"""Certificates of a simulated charge point: the roots it trusts, its own key, and what it signs up for.

OCPP 1.6 security white paper (sections 4, 5); OCPP 2.0.1 part 2 A02 (update), M03-M05 (manage).
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, cast

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.ocsp import OCSPRequestBuilder
from cryptography.x509.oid import NameOID

from simulators.charge_point.device_state import DeviceState, Handler, Json
from simulators.charge_point.settings import Settings

_HASHES: dict[str, hashes.HashAlgorithm] = {
    "SHA256": hashes.SHA256(),
    "SHA384": hashes.SHA384(),
    "SHA512": hashes.SHA512(),
}


def hash_data(certificate: x509.Certificate, algorithm: str = "SHA256") -> Json:
    """CertificateHashData of a self-signed root: its issuer hashed as in an OCSP request."""
    builder = OCSPRequestBuilder().add_certificate(certificate, certificate, _HASHES[algorithm])
    request = builder.build()
    return {
        "hashAlgorithm": algorithm,
        "issuerNameHash": request.issuer_name_hash.hex(),
        "issuerKeyHash": request.issuer_key_hash.hex(),
        "serialNumber": f"{certificate.serial_number:x}",
    }


def _in_force(certificate: x509.Certificate, at: datetime) -> bool:
    return certificate.not_valid_before_utc <= at < certificate.not_valid_after_utc


def read_chain(pem: str) -> list[x509.Certificate]:
    """Empty where it is no PEM certificate."""
    try:
        return x509.load_pem_x509_certificates(pem.encode())
    except ValueError:
        return []


class Certificates:
    """`chain_pem` and `key_pem`: the station's own, for TLS; "" until the central system has signed one."""

    def __init__(self, state: DeviceState, settings: Settings) -> None:
        self._state, self._settings = state, settings
        self._roots: list[tuple[str, str]] = []
        self._asked_key_pem = ""
        self.chain_pem = ""
        self.key_pem = ""

    def handlers(self) -> dict[str, Handler]:
        return {
            "CertificateSigned": self._signed,
            "InstallCertificate": self._install,
            "DeleteCertificate": self._delete,
            "GetInstalledCertificateIds": self._installed,
        }

    def root_pems(self, kind: str) -> list[str]:
        """Of CentralSystemRootCertificate (1.6), CSMSRootCertificate (2.x) ..."""
        return [pem for installed, pem in self._roots if installed == kind]

    def ask_for_certificate(self) -> None:
        """A new key, and SignCertificate: O is the operator, CN the serial number (A00.FR.509-511)."""
        key = ec.generate_private_key(ec.SECP256R1())
        self._asked_key_pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
        subject = x509.Name(
            [
                x509.NameAttribute(NameOID.ORGANIZATION_NAME, self._settings.text("CpoName")),
                x509.NameAttribute(NameOID.COMMON_NAME, self._state.serial_number),
            ]
        )
        request = x509.CertificateSigningRequestBuilder().subject_name(subject).sign(key, hashes.SHA256())
        body: Json = {"csr": request.public_bytes(Encoding.PEM).decode()}
        if not self._state.is_16:
            body["certificateType"] = "ChargingStationCertificate"
        if self._state.version == "ocpp2.1":
            body["requestId"] = 1
        self._state.tell("SignCertificate", body)

    def _signed(self, body: Json) -> Json:
        """Taken when it is in force and carries the key last asked for."""
        chain = read_chain(str(body["certificateChain"]))
        if body.get("certificateType", "ChargingStationCertificate") != "ChargingStationCertificate":
            return self._state.reply("Rejected", "UnsupportedParam")
        if not chain or not _in_force(chain[0], self._state.now()) or not self._is_asked_for(chain[0]):
            self._state.security_event("InvalidChargingStationCertificate")
            return self._state.reply("Rejected", "InvalidCertificate")
        self.chain_pem, self.key_pem = str(body["certificateChain"]), self._asked_key_pem
        self._asked_key_pem = ""
        return self._state.reply("Accepted")

    def _is_asked_for(self, certificate: x509.Certificate) -> bool:
        if not self._asked_key_pem:
            return False
        asked = cast(Any, load_pem_private_key(self._asked_key_pem.encode(), None)).public_key()
        return asked == certificate.public_key()

    def _install(self, body: Json) -> Json:
        kind, pem = str(body["certificateType"]), str(body["certificate"])
        chain = read_chain(pem)
        if len(chain) != 1 or not _in_force(chain[0], self._state.now()):
            return self._state.reply("Rejected", "InvalidCertificate")
        if (kind, pem) in self._roots:
            return self._state.reply("Accepted")
        if len(self._roots) >= self._settings.number("CertificateStoreMaxLength"):
            return self._state.reply("Rejected", "OutOfStorage")
        self._roots.append((kind, pem))
        return self._state.reply("Accepted")

    def _delete(self, body: Json) -> Json:
        wanted = {key: str(value).lower() for key, value in body["certificateHashData"].items()}
        algorithm = str(body["certificateHashData"]["hashAlgorithm"])

        def is_wanted(pem: str) -> bool:
            found = hash_data(read_chain(pem)[0], algorithm)
            return all(str(found[key]).lower() == wanted[key] for key in found)

        left = [(kind, pem) for kind, pem in self._roots if not is_wanted(pem)]
        if len(left) == len(self._roots):
            return self._state.reply("NotFound")
        self._roots = left
        return self._state.reply("Accepted")

    def _installed(self, body: Json) -> Json:
        wanted = body.get("certificateType")
        kinds = [wanted] if isinstance(wanted, str) else wanted
        found = [(kind, hash_data(read_chain(pem)[0])) for kind, pem in self._roots if _is_in(kind, kinds)]
        if not found:
            return self._state.reply("NotFound")
        if self._state.is_16:
            return {"status": "Accepted", "certificateHashData": [data for _, data in found]}
        chains: list[Json] = [{"certificateType": kind, "certificateHashData": data} for kind, data in found]
        return {"status": "Accepted", "certificateHashDataChain": chains}

    def snapshot(self) -> Json:
        own = {"chain_pem": self.chain_pem, "key_pem": self.key_pem, "asked_key_pem": self._asked_key_pem}
        return {"roots": [list(root) for root in self._roots], **own}

    def restore(self, kept: Json) -> None:
        self._roots = [(str(kind), str(pem)) for kind, pem in kept["roots"]]
        self.chain_pem, self.key_pem = str(kept["chain_pem"]), str(kept["key_pem"])
        self._asked_key_pem = str(kept["asked_key_pem"])


def _is_in(kind: str, kinds: list[str] | None) -> bool:
    return kinds is None or kind in kinds
