"""Certificates of charging stations: our authority, what it signs, and how OCPP names a certificate.

OCPP 2.0.1 part 2: A00.FR.5xx (properties), A02 and A03 (update); OCPP 1.6 security white paper ed. 3, which
uses the same numbers. No I/O and no clock here: instants are aware, PEM comes in and goes out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from ipaddress import ip_address
from typing import NamedTuple

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509 import ocsp
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID, ObjectIdentifier

_CSR_MOST_CHARACTERS = 5500  # SignCertificateRequest.csr in every version
_RSA_LEAST_BITS = 2048
_CURVES = (ec.SECP256R1, ec.SECP384R1, ec.SECP521R1)
# A02.FR.06: a station refuses a certificate that is not valid yet, and its clock may be behind ours.
_BACKDATED = timedelta(hours=1)

_O = NameOID.ORGANIZATION_NAME
_SigningKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey
_PublicKey = ec.EllipticCurvePublicKey | rsa.RSAPublicKey


class CsrFault(StrEnum):
    """Why a signing request is refused."""

    TOO_LARGE = "too_large"
    UNREADABLE = "unreadable"
    WEAK_KEY = "weak_key"
    """Under RSA 2048 or P-256, or a kind that the suites of A00.FR.318 cannot use (Ed25519, other curves)."""
    BAD_SIGNATURE = "bad_signature"
    WRONG_COMMON_NAME = "wrong_common_name"
    WRONG_OPERATOR = "wrong_operator"
    CA_REQUESTED = "ca_requested"


class CsrRefused(Exception):
    """A signing request that we do not sign. Says nothing of what was sent: `code` is all there is."""

    def __init__(self, code: CsrFault) -> None:
        super().__init__(code.value)
        self.code = code


@dataclass(frozen=True)
class SignedCertificate:
    """`chain_pem` is CertificateSigned's certificateChain: the leaf first, without the root. Lower-case hex:
    `serial_hex` as in CertificateHashData (no leading zeros), `fingerprint_sha256` of the DER."""

    chain_pem: str
    serial_hex: str
    fingerprint_sha256: str
    not_after: datetime


@dataclass(frozen=True, repr=False)
class ServerCertificate:
    """A gateway's certificate with its private key, unencrypted: development and tests only."""

    chain_pem: bytes
    key_pem: bytes


class CertificateSubject(NamedTuple):
    """Whose certificate it is (CN and O), which one, and until when."""

    common_name: str
    operator: str
    serial_hex: str
    not_after: datetime


class StationAuthority:
    """Signs the certificates of charging stations: a root, or a CA below an operator's root.

    `cert_pem` begins with the CA's own certificate; those above it may follow. `key_pem` is not encrypted.
    Raises ValueError where they do not belong together, or are no CA of RSA 2048 / P-256 or stronger.
    """

    def __init__(self, cert_pem: bytes, key_pem: bytes) -> None:
        chain = x509.load_pem_x509_certificates(cert_pem)
        try:
            key = load_pem_private_key(key_pem, password=None)
        except TypeError as error:
            raise ValueError("the key is encrypted") from error
        if not isinstance(key, _SigningKey) or not _is_strong(key.public_key()):
            raise ValueError("a CA needs a key of RSA 2048, P-256 or stronger")
        if key.public_key() != chain[0].public_key():
            raise ValueError("the key is not that of the certificate")
        if not _is_ca(chain[0].extensions):
            raise ValueError("the certificate is not one of a CA")
        self.cert_pem = cert_pem
        self.key_pem = key_pem
        self._certificate = chain[0]
        self._key = key
        self._below_root = [each for each in chain if each.issuer != each.subject]

    @classmethod
    def create(cls, operator: str, now: datetime, days: int = 3650) -> StationAuthority:
        """A new self-signed P-256 root, for development and tests."""
        key = ec.generate_private_key(ec.SECP256R1())
        name = _name("Charging station CA", operator)
        builder = (
            _builder(name, name, key.public_key(), now, now + timedelta(days=days))
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_key_usage(ca=True), critical=True)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key()), critical=False
            )
        )
        return cls(_sign(builder, key).public_bytes(Encoding.PEM), _private_pem(key))

    def sign(
        self, csr_pem: str, station_id: str, operator: str, now: datetime, days: int = 365
    ) -> SignedCertificate:
        """A client certificate for the station that sent `csr_pem` (SignCertificateRequest.csr).

        Only the key is taken from the request; names and extensions are ours. Ends with the CA at the latest.
        Raises CsrRefused; ValueError where the CA itself is not valid now.
        """
        key = _checked_key(csr_pem, station_id, operator)
        leaf = self._issue(_name(station_id, operator), key, ExtendedKeyUsageOID.CLIENT_AUTH, None, now, days)
        return SignedCertificate(
            chain_pem=self._chain(leaf).decode(),
            serial_hex=_serial_hex(leaf),
            fingerprint_sha256=leaf.fingerprint(hashes.SHA256()).hex(),
            not_after=leaf.not_valid_after_utc,
        )

    def issue_server(
        self, common_name: str, names: Sequence[str], now: datetime, days: int = 30, *, rsa_key: bool = False
    ) -> ServerCertificate:
        """The gateway's own certificate with a new key, for development and tests. `names`: further DNS names
        and IP addresses. A00.FR.318 wants one certificate of each kind of key."""
        key = (
            rsa.generate_private_key(65537, _RSA_LEAST_BITS)
            if rsa_key
            else ec.generate_private_key(ec.SECP256R1())
        )
        reached_by = x509.SubjectAlternativeName(
            [_general_name(name) for name in dict.fromkeys((common_name, *names))]
        )
        subject = x509.Name(
            [
                *self._certificate.subject.get_attributes_for_oid(_O),
                x509.NameAttribute(NameOID.COMMON_NAME, common_name),
            ]
        )
        leaf = self._issue(subject, key.public_key(), ExtendedKeyUsageOID.SERVER_AUTH, reached_by, now, days)
        return ServerCertificate(self._chain(leaf), _private_pem(key))

    def _issue(
        self,
        subject: x509.Name,
        key: _PublicKey,
        use: ObjectIdentifier,
        reached_by: x509.SubjectAlternativeName | None,
        now: datetime,
        days: int,
    ) -> x509.Certificate:
        ours = self._certificate
        if not ours.not_valid_before_utc <= now < ours.not_valid_after_utc:
            raise ValueError("the CA is not valid now")
        not_after = min(now + timedelta(days=days), ours.not_valid_after_utc)
        builder = (
            _builder(subject, ours.subject, key, now, not_after)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(
                # RFC 5480: only an elliptic curve's key can agree on another.
                _key_usage(agreement=isinstance(key, ec.EllipticCurvePublicKey)),
                critical=True,
            )
            # One use only: a station's key must never pass for the gateway's, nor the other way.
            .add_extension(x509.ExtendedKeyUsage([use]), critical=False)
            .add_extension(self._key_identifier(), critical=False)
        )
        if reached_by is not None:
            builder = builder.add_extension(reached_by, critical=False)
        return _sign(builder, self._key)

    def _key_identifier(self) -> x509.AuthorityKeyIdentifier:
        """The CA's own identifier where it has one: another way to compute it would break the chain."""
        try:
            own = self._certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
        except x509.ExtensionNotFound:
            return x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())
        return x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(own)

    def _chain(self, leaf: x509.Certificate) -> bytes:
        return b"".join(each.public_bytes(Encoding.PEM) for each in (leaf, *self._below_root))


def certificate_subject(der_or_pem: bytes) -> CertificateSubject:
    """Of a certificate, or of the leaf of a PEM chain. Raises ValueError where it is unreadable, or has not
    exactly one CN and one O (A00.FR.509, FR.511)."""
    certificate = _load(der_or_pem)
    try:
        common_name, operator = (_only(certificate.subject, kind) for kind in (NameOID.COMMON_NAME, _O))
    except TypeError as error:  # what the library makes of a malformed name
        raise ValueError("an unreadable subject") from error
    if common_name is None or operator is None:
        raise ValueError("a certificate needs one CN and one O")
    return CertificateSubject(
        common_name, operator, _serial_hex(certificate), certificate.not_valid_after_utc
    )


def hash_data(certificate: bytes, issuer: bytes) -> dict[str, str]:
    """CertificateHashDataType of 2.0.1, as sent (A00.FR.506: SHA-256). Both DER or PEM; a root is its own
    issuer. Raises ValueError where one is unreadable, or `issuer` did not sign `certificate`."""
    ours, above = _load(certificate), _load(issuer)
    try:
        ours.verify_directly_issued_by(above)
    except (InvalidSignature, TypeError, ValueError) as error:
        raise ValueError("not issued by this issuer") from error
    # The hashes are those of an OCSP CertID (RFC 6960, 4.1.1).
    named = ocsp.OCSPRequestBuilder().add_certificate(ours, above, hashes.SHA256()).build()
    return {
        "hashAlgorithm": "SHA256",
        "issuerNameHash": named.issuer_name_hash.hex(),
        "issuerKeyHash": named.issuer_key_hash.hex(),
        "serialNumber": _serial_hex(ours),
    }


def due_for_renewal(not_after: datetime, now: datetime, days: int = 30) -> bool:
    """From `days` before the end on, and for good once it has passed."""
    return now >= not_after - timedelta(days=days)


def _checked_key(csr_pem: str, station_id: str, operator: str) -> _PublicKey:
    """The key of a request that may be signed. Raises CsrRefused."""
    if len(csr_pem) > _CSR_MOST_CHARACTERS:
        raise CsrRefused(CsrFault.TOO_LARGE)
    try:
        csr = x509.load_pem_x509_csr(csr_pem.encode())
        # All that is used of it is parsed here: each part may be malformed on its own.
        common_name, owner = _only(csr.subject, NameOID.COMMON_NAME), _only(csr.subject, _O)
        asks_for_ca = _is_ca(csr.extensions)
        key = csr.public_key()
        is_signed = csr.is_signature_valid
    except UnsupportedAlgorithm:
        raise CsrRefused(CsrFault.WEAK_KEY) from None
    except Exception:  # noqa: BLE001  hostile DER makes the parser raise ValueError, TypeError and its own
        raise CsrRefused(CsrFault.UNREADABLE) from None
    if not isinstance(key, _PublicKey) or not _is_strong(key):
        raise CsrRefused(CsrFault.WEAK_KEY)
    if not is_signed:
        raise CsrRefused(CsrFault.BAD_SIGNATURE)
    if common_name != station_id:
        raise CsrRefused(CsrFault.WRONG_COMMON_NAME)
    if owner != operator:
        raise CsrRefused(CsrFault.WRONG_OPERATOR)
    if asks_for_ca:
        raise CsrRefused(CsrFault.CA_REQUESTED)
    return key


def _is_strong(key: _PublicKey) -> bool:
    if isinstance(key, rsa.RSAPublicKey):
        return key.key_size >= _RSA_LEAST_BITS
    return isinstance(key.curve, _CURVES)


def _is_ca(extensions: x509.Extensions) -> bool:
    try:
        return extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except x509.ExtensionNotFound:
        return False


def _only(name: x509.Name, kind: ObjectIdentifier) -> str | None:
    """The value of the one attribute of its kind; None for none, several, or one that is no text."""
    found = name.get_attributes_for_oid(kind)
    value = found[0].value if len(found) == 1 else None
    return value if isinstance(value, str) else None


def _name(common_name: str, operator: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(_O, operator), x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _builder(
    subject: x509.Name, issuer: x509.Name, key: _PublicKey, now: datetime, not_after: datetime
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _BACKDATED)
        .not_valid_after(not_after)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def _key_usage(*, ca: bool = False, agreement: bool = False) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not ca,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=agreement,
        key_cert_sign=ca,
        crl_sign=ca,
        encipher_only=False,
        decipher_only=False,
    )


def _sign(builder: x509.CertificateBuilder, key: _SigningKey) -> x509.Certificate:
    """ECDSA or RSA-PSS (A00.FR.505), with SHA-256 (FR.506)."""
    if isinstance(key, rsa.RSAPrivateKey):
        pss = padding.PSS(padding.MGF1(hashes.SHA256()), padding.PSS.DIGEST_LENGTH)
        return builder.sign(key, hashes.SHA256(), rsa_padding=pss)
    return builder.sign(key, hashes.SHA256())


def _serial_hex(certificate: x509.Certificate) -> str:
    return f"{certificate.serial_number:x}"


def _load(der_or_pem: bytes) -> x509.Certificate:
    is_pem = b"-----BEGIN" in der_or_pem
    return (x509.load_pem_x509_certificate if is_pem else x509.load_der_x509_certificate)(der_or_pem)


def _private_pem(key: _SigningKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
